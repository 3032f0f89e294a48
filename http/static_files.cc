#include <heddle/http/static_files.h>

#include <fcntl.h>
#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include <heddle/core/blocking.h>
#include <heddle/http/conditional.h>
#include <heddle/http/date.h>
#include <heddle/http/internal/beneath.h>
#include <heddle/http/internal/file_body.h>
#include <heddle/http/internal/folder_page.h>
#include <heddle/http/internal/target.h>
#include <heddle/http/negotiate.h>
#include <heddle/http/range.h>
#include <heddle/http/status.h>

namespace heddle::http {
namespace {

using std::chrono::sys_seconds;

struct Variant {
  std::string_view coding;
  std::string_view suffix;
};
constexpr std::array<Variant, 3> kVariants = {{{"br", ".br"}, {"zstd", ".zst"}, {"gzip", ".gz"}}};  // smallest first

// The file that a response is of: what it is, and how its representation is told from others.
struct Selected {
  Opened file;
  std::string_view coding;  // of kVariants; empty: the file itself
  std::string_view type;
  std::string etag;
  sys_seconds modified;

  [[nodiscard]] std::uint64_t size() const noexcept { return static_cast<std::uint64_t>(file.status.st_size); }
};

bool is_single_name(std::string_view name) noexcept {
  return name != "." && name != ".." && name.find('/') == std::string_view::npos &&
         name.find('\0') == std::string_view::npos;
}

sys_seconds wall_now() noexcept { return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now()); }

void append_hex(std::string& text, std::uint64_t number) {
  std::array<char, 16> digits;
  text.append(digits.data(), std::to_chars(digits.begin(), digits.end(), number, 16).ptr);
}

std::string etag_of(const struct stat& status) {
  std::string text = "\"";
  append_hex(text, static_cast<std::uint64_t>(status.st_mtim.tv_sec) * 1'000'000'000U +
                       static_cast<std::uint64_t>(status.st_mtim.tv_nsec));
  text += '-';
  append_hex(text, static_cast<std::uint64_t>(status.st_size));
  text += '-';
  append_hex(text, static_cast<std::uint64_t>(status.st_ino));
  text += '"';
  return text;
}

bool is_older(const struct stat& a, const struct stat& b) noexcept {
  return std::pair(a.st_mtim.tv_sec, a.st_mtim.tv_nsec) < std::pair(b.st_mtim.tv_sec, b.st_mtim.tv_nsec);
}

// The field's value if it is there exactly once.
std::optional<std::string_view> single(const HeaderList& headers, std::string_view name) noexcept {
  std::optional<std::string_view> value;
  for (const HeaderField field : headers) {
    if (!equal_fold(field.name, name)) continue;
    if (value) return std::nullopt;
    value = field.value;
  }
  return value;
}

void answer_text(ResponseWriter& writer, int status, std::string_view text) {
  writer.status(status);
  writer.set_header("Content-Type", "text/plain; charset=utf-8");
  writer.write(text);
}

void answer_not_found(ResponseWriter& writer) { answer_text(writer, kStatusNotFound, "404 page not found\n"); }

// Keeps S3: all that a name can be the reason of is 404.
void answer_error(ResponseWriter& writer, int error) {
  switch (error) {
    case ENOENT:
    case ENOTDIR:
    case ELOOP:  // a symbolic link that is not to be followed
    case EXDEV:  // one that leads out
    case ENAMETOOLONG:
    case EINVAL:  // a name that this file system cannot have
    case EILSEQ:
    case ENXIO:  // a socket; a device that is gone
    case ENODEV:
    case ENOMEDIUM:
    case EBUSY:
    case ESTALE: return answer_not_found(writer);
    case EACCES:
    case EPERM: return answer_text(writer, kStatusForbidden, "403 forbidden\n");
    case EAGAIN:  // renamed all the time
    case EMFILE:
    case ENFILE:
    case ENOMEM: return answer_text(writer, kStatusServiceUnavailable, "503 service unavailable\n");
    default: return answer_text(writer, kStatusInternalServerError, "500 internal server error\n");
  }
}

// A line that is in none of the parts, for nobody can guess it.
std::string make_boundary() {
  std::array<unsigned char, 16> random;
  if (::getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size())) {
    throw std::runtime_error("getrandom");  // 500; up to 256 bytes it cannot be interrupted: getrandom(2)
  }
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const unsigned char byte : random) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

class Site {
 public:
  Site(net::OwnedFd folder, StaticFilesOptions options)
      : folder_(std::move(folder)),
        options_(std::move(options)),
        wildcard_("{" + options_.path_name + "...}"),
        links_(options_.follow_links ? Links::kFollow : Links::kRefuse) {}

  void answer(Request& request, ResponseWriter& writer) const;

 private:
  [[nodiscard]] std::optional<std::string> file_path(const Request& request) const;
  [[nodiscard]] Opened open(const std::string& path) const { return open_beneath(folder_.get(), path.c_str(), links_); }
  void answer_folder(Request& request, ResponseWriter& writer, const std::string& path, const Opened& folder) const;
  void answer_file(Request& request, ResponseWriter& writer, const std::string& path, Opened file) const;
  [[nodiscard]] Selected select(const Request& request, const std::string& path, Opened file) const;
  void describe(ResponseWriter& writer, const Selected& selected) const;

  const net::OwnedFd folder_;
  const StaticFilesOptions options_;
  const std::string wildcard_;  // how the pattern names the path
  const Links links_;
};

bool ends_with_slash(const Request& request) noexcept { return request.path().ends_with('/'); }

// Where the browser finds a folder's files by their names: the path that it asked for, and a slash.
void redirect_to_folder(Request& request, ResponseWriter& writer) {
  std::string location;
  for (std::string_view rest = request.path().substr(1);;) {
    const std::size_t end = std::min(rest.find('/'), rest.size());
    location += '/';
    encode_segment(rest.substr(0, end), location);
    if (end == rest.size()) break;
    rest.remove_prefix(end + 1);
  }
  location += '/';
  if (!request.query().empty()) location.append("?").append(request.query());
  writer.set_header("Location", location);
  writer.status(kStatusMovedPermanently);
}

void Site::answer(Request& request, ResponseWriter& writer) const {
  writer.set_header("X-Content-Type-Options", "nosniff");
  if (request.method() != Method::kGet && request.method() != Method::kHead) {
    writer.set_header("Allow", "GET, HEAD");
    return answer_text(writer, kStatusMethodNotAllowed, "405 method not allowed\n");
  }
  const std::optional<std::string> path = file_path(request);
  if (!path) return answer_not_found(writer);
  Opened file = open(*path);
  if (file.error != 0) return answer_error(writer, file.error);
  if (file.is_folder()) return answer_folder(request, writer, *path, file);
  if (!file.is_file() || ends_with_slash(request)) return answer_not_found(writer);
  answer_file(request, writer, *path, std::move(file));
}

// The path beneath our folder, without slashes at its ends; nothing if it cannot be one of ours. Keeps S1, together with
// open_beneath(): what is refused here is what would be another name for a file, or hidden.
std::optional<std::string> Site::file_path(const Request& request) const {
  // An escaped slash is a part of a name, and no name has one.
  const std::string_view target = request.target().substr(0, request.target().find('?'));
  if (target.find("%2F") != std::string_view::npos || target.find("%2f") != std::string_view::npos) return std::nullopt;
  const bool named = request.pattern().find(wildcard_) != std::string_view::npos;
  std::string_view path = named ? request.path_value(options_.path_name) : request.path().substr(1);
  if (path.ends_with('/')) path.remove_suffix(1);
  if (path.find('\0') != std::string_view::npos) return std::nullopt;
  for (std::string_view rest = path; !path.empty();) {
    const std::size_t end = std::min(rest.find('/'), rest.size());
    const std::string_view name = rest.substr(0, end);
    if (name.empty() || name == "." || name == "..") return std::nullopt;
    if (name.front() == '.' && !options_.dotfiles) return std::nullopt;
    if (end == rest.size()) break;
    rest.remove_prefix(end + 1);
  }
  return std::string(path);
}

void Site::answer_folder(Request& request, ResponseWriter& writer, const std::string& path,
                         const Opened& folder) const {
  if (!ends_with_slash(request)) return redirect_to_folder(request, writer);
  if (!options_.index.empty()) {
    const std::string index = path.empty() ? options_.index : path + "/" + options_.index;
    Opened file = open(index);
    if (file.is_file()) return answer_file(request, writer, index, std::move(file));
    if (file.error != 0 && file.error != ENOENT) return answer_error(writer, file.error);
  }
  if (!options_.list_folders) return answer_not_found(writer);
  std::vector<FolderEntry> entries;
  const int error = blocking([&] {
    return read_folder(folder.fd.get(), {.dotfiles = options_.dotfiles, .links = options_.follow_links}, entries);
  });
  if (error != 0) return answer_error(writer, error);
  writer.set_header("Content-Type", "text/html; charset=utf-8");
  writer.set_header("Content-Security-Policy", "default-src 'none'");
  writer.write(folder_page(request.path(), !path.empty(), entries));
}

// The file, or the variant of it that the client likes best.
Selected Site::select(const Request& request, const std::string& path, Opened file) const {
  Selected selected{.file = std::move(file), .coding = {}, .type = options_.types.of(path), .etag = {}, .modified = {}};
  std::vector<std::string_view> offers;
  if (options_.precompressed) {
    for (const Variant& variant : kVariants) offers.push_back(variant.coding);
  }
  while (!offers.empty()) {
    const std::string_view coding = choose_coding(request.headers(), offers);
    if (coding.empty()) break;
    const auto* const variant = std::ranges::find(kVariants, coding, &Variant::coding);
    Opened smaller = open(path + std::string(variant->suffix));
    if (smaller.is_file() && !is_older(smaller.status, selected.file.status)) {
      selected.file = std::move(smaller);
      selected.coding = variant->coding;
      break;
    }
    std::erase(offers, coding);
  }
  selected.etag = etag_of(selected.file.status);
  // Never later than the response's Date (RFC 9110 s8.8.2.1); what was before 1970 is told as 1970, for some file
  // systems have times beyond all calendars.
  selected.modified = std::clamp(sys_seconds(std::chrono::seconds(selected.file.status.st_mtim.tv_sec)), sys_seconds(),
                                 std::max(sys_seconds(), wall_now()));
  return selected;
}

// What 200, 206 and 304 say alike (RFC 9110 s15.4.5).
void Site::describe(ResponseWriter& writer, const Selected& selected) const {
  writer.set_header("ETag", selected.etag);
  writer.set_header("Last-Modified", format_date(selected.modified));
  if (options_.precompressed) writer.set_header("Vary", "Accept-Encoding");
  if (!options_.cache_control.empty()) writer.set_header("Cache-Control", options_.cache_control);
}

// RFC 9110 s14.2: ranges are for GET, after all other conditions, and only if If-Range holds.
RangeSet ranges_of(const Request& request, const Selected& selected) {
  const HeaderList headers = request.headers();
  if (request.method() != Method::kGet || !headers.find("Range")) return {};
  const std::optional<std::string_view> value = single(headers, "Range");
  if (!value) return {};
  if (headers.find("If-Range")) {
    const std::optional<std::string_view> condition = single(headers, "If-Range");
    if (!condition || !if_range_holds(*condition, selected.etag, selected.modified, wall_now())) return {};
  }
  return parse_range(*value, selected.size());
}

void write_parts(ResponseWriter& writer, net::File& file, const Selected& selected,
                 const std::vector<ByteRange>& ranges) {
  const std::string boundary = make_boundary();
  const std::string last = "\r\n--" + boundary + "--\r\n";
  std::vector<std::string> heads;
  std::uint64_t length = last.size();
  for (const ByteRange& range : ranges) {
    std::string head = (heads.empty() ? "--" : "\r\n--") + boundary + "\r\n";
    if (!selected.type.empty()) head.append("Content-Type: ").append(selected.type).append("\r\n");
    head += "Content-Range: " + content_range(range, selected.size()) + "\r\n\r\n";
    length += head.size() + range.size;
    heads.push_back(std::move(head));
  }
  writer.set_header("Content-Type", "multipart/byteranges; boundary=" + boundary);
  writer.set_header("Content-Length", std::to_string(length));
  FileBody body(writer, file, selected.file.status);
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    if (!writer.write(heads[i]) || !body.write(ranges[i])) return;
  }
  writer.write(last);
}

void Site::answer_file(Request& request, ResponseWriter& writer, const std::string& path, Opened file) const {
  Selected selected = select(request, path, std::move(file));
  const Validators validators{.etag = selected.etag, .modified = selected.modified};
  switch (check_preconditions(request.headers(), request.method(), validators)) {
    case Precondition::kProceed: break;
    case Precondition::kNotModified:
      describe(writer, selected);
      return static_cast<void>(writer.status(kStatusNotModified));
    case Precondition::kFailed: return answer_text(writer, kStatusPreconditionFailed, "412 precondition failed\n");
  }
  RangeSet set = ranges_of(request, selected);
  if (set.kind == RangeSet::Kind::kUnsatisfiable) {
    writer.set_header("Content-Range", content_range_of_none(selected.size()));
    return answer_text(writer, kStatusRangeNotSatisfiable, "416 range not satisfiable\n");
  }
  Result<net::File> opened = net::File::adopt(selected.file.fd.release());
  if (!opened) return answer_error(writer, ENOMEM);

  describe(writer, selected);
  writer.set_header("Accept-Ranges", "bytes");
  if (!selected.coding.empty()) writer.set_header("Content-Encoding", selected.coding);
  if (set.kind == RangeSet::Kind::kPartial) {
    writer.status(kStatusPartialContent);
    if (set.ranges.size() > 1) return write_parts(writer, *opened, selected, set.ranges);
    writer.set_header("Content-Range", content_range(set.ranges.front(), selected.size()));
  } else {
    set.ranges = {{0, selected.size()}};
  }
  if (!selected.type.empty()) writer.set_header("Content-Type", selected.type);
  writer.set_header("Content-Length", std::to_string(set.ranges.front().size));
  if (request.method() != Method::kGet) return;
  // What was announced and not written closes the connection, visibly.
  static_cast<void>(FileBody(writer, *opened, selected.file.status).write(set.ranges.front()));
}

// Not inlined: errno is the helper's.
[[gnu::noinline]] int open_folder(const char* path) noexcept {
  const int fd = ::open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
  return fd >= 0 ? fd : -errno;
}

}  // namespace

Result<Handler> static_files(const std::string& folder, StaticFilesOptions options) {
  constexpr const char* kOp = "static_files";
  if (folder.find('\0') != std::string::npos || !is_single_name(options.index)) {
    return std::unexpected(Error{Code::kInvalid, 0, kOp});
  }
  const int opened = blocking([&] { return open_folder(folder.c_str()); });
  if (opened < 0) return std::unexpected(Error::from_errno(-opened, kOp));
  const auto site = std::make_shared<const Site>(net::OwnedFd(opened), std::move(options));
  return Handler([site](Request& request, ResponseWriter& writer) { site->answer(request, writer); });
}

}  // namespace heddle::http
