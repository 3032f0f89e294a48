#include <heddle/http/read_form.h>

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include <heddle/core/blocking.h>
#include <heddle/http/internal/media_type.h>
#include <heddle/http/request.h>

namespace heddle::http {
namespace {

constexpr std::size_t kRead = 16 * 1024;
constexpr std::size_t kWrite = 64 * 1024;

std::unexpected<Error> refuse(Code code) { return std::unexpected(Error{code, 0, "read form"}); }

std::span<std::byte> tail_of(std::string& text, std::size_t size) {
  text.resize(text.size() + size);
  return std::as_writable_bytes(std::span(text).last(size));
}

// On a helper: a file without a name, or -errno. Never inlined: before and after it the goroutine is on other threads.
[[gnu::noinline]] int open_unnamed(const std::string& folder) {
  int fd = ::open(folder.c_str(), O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
  if (fd >= 0) return fd;
  if (errno != EOPNOTSUPP && errno != EISDIR) return -errno;
  // This file system cannot: there it has a name for a moment.
  std::string name = folder + "/heddle-XXXXXX";
  fd = ::mkostemp(name.data(), O_CLOEXEC);
  if (fd < 0) return -errno;
  ::unlink(name.c_str());
  return fd;
}

std::string temporary_folder(const FormOptions& options) {
  if (!options.folder.empty()) return options.folder;
  const char* const set = ::secure_getenv("TMPDIR");
  return set != nullptr && *set != '\0' ? set : "/tmp";
}

}  // namespace

class FormCollector {
 public:
  FormCollector(MultipartReader& parts, const FormOptions& options) : parts_(parts), options_(options) {}

  Result<Form> collect() {
    for (;;) {
      const Result<bool> more = parts_.next();
      if (!more) return std::unexpected(more.error());
      if (!*more) return std::move(form_);
      const Result<void> kept = parts_.filename() ? keep_file() : keep_value();
      if (!kept) return std::unexpected(kept.error());
    }
  }

 private:
  Result<void> keep_value() {
    if (form_.values.size() == options_.fields.max_pairs) return refuse(Code::kLimit);
    std::string value;
    if (!count_field(parts_.name().size())) return refuse(Code::kLimit);
    for (;;) {
      if (field_bytes_ + value.size() > options_.fields.max_bytes) return refuse(Code::kLimit);
      const Result<std::size_t> n = append_to(value);
      if (!n) return std::unexpected(n.error());
      if (*n == 0) break;
    }
    field_bytes_ += value.size();
    value.shrink_to_fit();
    form_.values.add(parts_.name(), std::move(value));
    return {};
  }

  Result<void> keep_file() {
    FormFile file;
    file.name = parts_.name();
    file.filename = *parts_.filename();
    file.content_type = parts_.content_type();
    if (!count_field(file.name.size() + file.filename.size() + file.content_type.size())) return refuse(Code::kLimit);
    const std::size_t room = std::min(options_.memory_per_file, options_.memory - memory_used_);
    std::string bytes;  // all of it, or what is not written yet
    for (;;) {
      const Result<std::size_t> n = append_to(bytes);
      if (!n) return std::unexpected(n.error());
      file.size_ += *n;
      if (!file.file_ && file.size_ > room) {
        if (const Result<void> opened = put_on_disk(file); !opened) return opened;
      }
      if (file.file_ && (bytes.size() >= kWrite || *n == 0)) {
        if (const Result<void> written = write(file, bytes); !written) return written;
      }
      if (*n == 0) break;
    }
    if (file.file_) {
      disk_end_ += file.size_;
    } else {
      memory_used_ += bytes.size();
      bytes.shrink_to_fit();
      file.memory_ = std::move(bytes);
    }
    form_.files.push_back(std::move(file));
    return {};
  }

  // Keeps I3.
  bool count_field(std::size_t bytes) {
    field_bytes_ += bytes;
    return field_bytes_ <= options_.fields.max_bytes;
  }

  Result<std::size_t> append_to(std::string& bytes) {
    const std::size_t size = bytes.size();
    const Result<std::size_t> n = parts_.read(tail_of(bytes, kRead));
    bytes.resize(size + n.value_or(0));
    return n;
  }

  Result<void> put_on_disk(FormFile& file) {
    if (!disk_) {
      if (const Result<void> opened = open_disk(); !opened) return opened;
    }
    file.file_ = disk_;
    file.at_ = disk_end_;
    return {};
  }

  Result<void> open_disk() {
    const std::string folder = temporary_folder(options_);
    if (folder.find('\0') != std::string::npos) return refuse(Code::kInvalid);
    const int fd = blocking([&folder] { return open_unnamed(folder); });
    if (fd < 0) return std::unexpected(Error::from_errno(-fd, "temporary file"));
    Result<net::File> opened = net::File::adopt(fd);
    if (!opened) return std::unexpected(opened.error());
    disk_ = std::make_shared<net::File>(std::move(*opened));
    return {};
  }

  // `bytes` are the last of file.size_.
  static Result<void> write(FormFile& file, std::string& bytes) {
    if (bytes.empty()) return {};
    const std::uint64_t at = file.at_ + file.size_ - bytes.size();
    const Result<void> written = file.file_->write_at(at, std::as_bytes(std::span(bytes)));
    bytes.clear();
    return written;
  }

  MultipartReader& parts_;
  const FormOptions& options_;
  Form form_;
  std::size_t field_bytes_ = 0;
  std::size_t memory_used_ = 0;
  std::shared_ptr<net::File> disk_;  // null: nothing is on the disk
  std::uint64_t disk_end_ = 0;
};

Result<std::size_t> FormFile::read_at(std::uint64_t offset, std::span<std::byte> buf) const {
  if (offset >= size_) return 0;
  const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(buf.size(), size_ - offset));
  if (file_) return file_->read_at(at_ + offset, buf.first(n));  // behind it stands the next one's
  std::ranges::copy(std::as_bytes(std::span(memory_)).subspan(static_cast<std::size_t>(offset), n), buf.begin());
  return n;
}

Result<std::string> FormFile::read_all(std::size_t limit) const {
  if (size_ > limit) return refuse(Code::kLimit);
  if (!file_) return memory_;
  std::string all(static_cast<std::size_t>(size_), '\0');
  const Result<std::size_t> n = read_at(0, std::as_writable_bytes(std::span(all)));
  if (!n) return std::unexpected(n.error());
  all.resize(*n);
  return all;
}

Result<Form> read_form(MultipartReader& parts, const FormOptions& options) {
  return FormCollector(parts, options).collect();
}

Result<Form> read_form(Request& request, const FormOptions& options) {
  if (has_content_type(request, "application/x-www-form-urlencoded")) {
    Result<FormValues> values = read_urlencoded(request, options.fields);
    if (!values) return std::unexpected(values.error());
    return Form{std::move(*values), {}};
  }
  Result<MultipartReader> parts = MultipartReader::open(request, options.parts);
  if (!parts) return std::unexpected(parts.error());
  return read_form(*parts, options);
}

}  // namespace heddle::http
