// Files: system calls on helper threads.
//
// I1. Buffers are used by the calls alone, and a call returns when its helper is done: blocking() cannot be left early.
// I2. errno is read where the call was made (value_of, never inlined): before and after it the goroutine is on other
//     threads, and its address is a thread's.
// I3. A caller is inside the descriptor while a helper works for it: the number cannot become another file's.
#include <heddle/net/file.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string_view>

#include <heddle/core/blocking.h>
#include <heddle/net/internal/fd_use.h>

namespace heddle::net {
namespace {

constexpr std::size_t kPiece = std::size_t{1} << 20;    // between two looks at a context
constexpr std::size_t kCached = std::size_t{64} << 10;  // of the page cache: copied where the goroutine is, some 10 us
constexpr std::size_t kFirstRead = std::size_t{16} << 10;  // of files that do not know their size (proc(5))

// I2
template <class Call>
[[gnu::noinline]] std::int64_t value_of(Call call) noexcept {
  for (;;) {
    const std::int64_t value = call();
    if (value >= 0) return value;
    if (errno != EINTR) return -errno;
  }
}

template <class Call>
std::int64_t on_helper(Call call) {
  return blocking([&call] { return value_of(call); });
}

bool has_nul(const std::string& path) noexcept { return path.find('\0') != std::string::npos; }

// The end of a context, for a call that may be long.
std::optional<Error> end_of(const Context* ctx, const char* op) {
  if (ctx == nullptr) return std::nullopt;
  const std::optional<Error> end = ctx->err();
  return end ? std::optional(Error{end->code, 0, op}) : std::nullopt;
}

// Reads or writes `size` bytes by pieces, on the thread that it is called on; `one(done, size)` is a call that moves at
// most so many. Returns how many were moved: less than `size` if one() said 0.
template <class One>
Result<std::size_t> by_pieces(const Context* ctx, std::size_t size, const char* op, One one) {
  std::size_t done = 0;
  while (done < size) {
    if (const std::optional<Error> end = end_of(ctx, op)) return std::unexpected(*end);
    const std::int64_t n = value_of([&] { return one(done, std::min(size - done, kPiece)); });
    if (n < 0) return failed(n, op);
    if (n == 0) break;
    done += static_cast<std::size_t>(n);
  }
  return done;
}

Result<void> whole(const Result<std::size_t>& moved, std::size_t size, const char* op) {
  if (!moved) return std::unexpected(moved.error());
  if (*moved < size) return failed(-EIO, op);  // write(2) of something said 0: no file does
  return {};
}

// What the page cache has, from `offset` on (-1: the position), at most kCached; 0: nothing, or the end, or it cannot
// be known (some kernels say 0 where they should say EAGAIN: preadv2(2), "BUGS").
std::size_t read_cached(int fd, std::int64_t offset, std::span<std::byte> buf) noexcept {
  iovec iov{buf.data(), std::min(buf.size(), kCached)};
  const std::int64_t n = value_of([&] { return ::preadv2(fd, &iov, 1, offset, RWF_NOWAIT); });
  return n > 0 ? static_cast<std::size_t>(n) : 0;
}

Result<std::size_t> read_from(const detail::Handle& handle, const Context* ctx, std::uint64_t offset,
                              std::span<std::byte> buf) {
  constexpr const char* kOp = "read_at";
  Inside inside(handle, FdUse::kOther, kOp);
  if (!inside) return closed(kOp);
  if (const std::optional<Error> end = end_of(ctx, kOp)) return std::unexpected(*end);
  if (offset > static_cast<std::uint64_t>(std::numeric_limits<off_t>::max())) return failed(-EINVAL, kOp);
  const int fd = inside->fd;
  std::size_t done = 0;
  if (buf.size() <= kCached) {
    done = read_cached(fd, static_cast<std::int64_t>(offset), buf);
    if (done == buf.size()) return done;
  }
  const std::span<std::byte> rest = buf.subspan(done);
  const Result<std::size_t> more = blocking([&] {
    return by_pieces(ctx, rest.size(), kOp, [&](std::size_t at, std::size_t size) {
      return ::pread(fd, rest.data() + at, size, static_cast<off_t>(offset + done + at));
    });
  });
  if (!more) return more;
  return done + *more;
}

Result<void> write_to(const detail::Handle& handle, const Context* ctx, std::uint64_t offset,
                      std::span<const std::byte> buf) {
  constexpr const char* kOp = "write_at";
  Inside inside(handle, FdUse::kOther, kOp);
  if (!inside) return closed(kOp);
  if (const std::optional<Error> end = end_of(ctx, kOp)) return std::unexpected(*end);
  if (offset > static_cast<std::uint64_t>(std::numeric_limits<off_t>::max())) return failed(-EINVAL, kOp);
  const int fd = inside->fd;
  const Result<std::size_t> moved = blocking([&] {
    return by_pieces(ctx, buf.size(), kOp, [&](std::size_t at, std::size_t size) {
      return ::pwrite(fd, buf.data() + at, size, static_cast<off_t>(offset + at));
    });
  });
  return whole(moved, buf.size(), kOp);
}

Result<std::size_t> read_here(const detail::Handle& handle, const Context* ctx, std::span<std::byte> buf) {
  constexpr const char* kOp = "read";
  Inside inside(handle, FdUse::kRead, kOp);
  if (!inside) return closed(kOp);
  if (const std::optional<Error> end = end_of(ctx, kOp)) return std::unexpected(*end);
  if (buf.empty()) return std::size_t{0};
  const int fd = inside->fd;
  if (const std::size_t n = read_cached(fd, -1, buf); n > 0) return n;
  const std::int64_t n = on_helper([&] { return ::read(fd, buf.data(), buf.size()); });
  if (n < 0) return failed(n, kOp);
  return static_cast<std::size_t>(n);
}

template <class Call>
Result<void> on_file(const detail::Handle& handle, const char* op, Call call) {
  Inside inside(handle, FdUse::kOther, op);
  if (!inside) return closed(op);
  const int fd = inside->fd;
  const std::int64_t status = on_helper([&] { return call(fd); });
  if (status < 0) return failed(status, op);
  return {};
}

template <class Call>
Result<void> on_path(const std::string& path, const char* op, Call call) {
  if (has_nul(path)) return std::unexpected(Error{Code::kInvalid, 0, op});
  const std::int64_t status = on_helper([&] { return call(path.c_str()); });
  if (status < 0) return failed(status, op);
  return {};
}

FileInfo info_of(const struct stat& status) noexcept {
  FileInfo info;
  info.size = static_cast<std::uint64_t>(status.st_size);
  info.mode = status.st_mode;
  info.uid = status.st_uid;
  info.gid = status.st_gid;
  info.device = status.st_dev;
  info.inode = status.st_ino;
  info.links = status.st_nlink;
  info.modified = std::chrono::sys_time<std::chrono::nanoseconds>(std::chrono::seconds(status.st_mtim.tv_sec) +
                                                                  std::chrono::nanoseconds(status.st_mtim.tv_nsec));
  return info;
}

// On a helper: all of a file.
Result<std::string> read_all(const Context* ctx, const char* path, std::size_t most) {
  constexpr const char* kOp = "read_file";
  const std::int64_t opened = value_of([&] { return ::open(path, O_RDONLY | O_CLOEXEC); });
  if (opened < 0) return failed(opened, kOp);
  const OwnedFd fd(static_cast<int>(opened));
  struct stat status {};
  if (const std::int64_t known = value_of([&] { return ::fstat(fd.get(), &status); }); known < 0)
    return failed(known, kOp);
  std::string text;
  std::size_t size = 0;
  // One more than it says: so the end is found without growing. What it says may be 0, or change.
  std::size_t room = std::max(static_cast<std::size_t>(status.st_size) + 1, kFirstRead);
  for (;;) {
    if (most != kNoLimit) room = std::min(room, most + 1);
    text.resize(room);
    const Result<std::size_t> n = by_pieces(ctx, room - size, kOp, [&](std::size_t at, std::size_t piece) {
      return ::read(fd.get(), text.data() + size + at, piece);
    });
    if (!n) return std::unexpected(n.error());
    size += *n;
    if (size > most) return std::unexpected(Error{Code::kLimit, 0, kOp});
    if (size < room) break;  // the end
    room *= 2;
  }
  text.resize(size);
  return text;
}

// On a helper: writes `data` into an open file.
Result<void> write_all(const Context* ctx, int fd, std::span<const std::byte> data, const char* op) {
  const Result<std::size_t> n = by_pieces(
      ctx, data.size(), op, [&](std::size_t at, std::size_t size) { return ::write(fd, data.data() + at, size); });
  return whole(n, data.size(), op);
}

Result<void> write_here(const detail::Handle& handle, const Context* ctx, std::span<const std::byte> buf) {
  constexpr const char* kOp = "write";
  Inside inside(handle, FdUse::kRead, kOp);  // the position's, whoever moves it
  if (!inside) return closed(kOp);
  if (const std::optional<Error> end = end_of(ctx, kOp)) return std::unexpected(*end);
  const int fd = inside->fd;
  return blocking([&] { return write_all(ctx, fd, buf, kOp); });
}

// On a helper.
Result<void> write_whole(const Context* ctx, const char* path, std::span<const std::byte> data, mode_t mode) {
  constexpr const char* kOp = "write_file";
  const std::int64_t opened = value_of([&] { return ::open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode); });
  if (opened < 0) return failed(opened, kOp);
  const OwnedFd fd(static_cast<int>(opened));
  return write_all(ctx, fd.get(), data, kOp);
}

// A new file beside `path`, whose name nobody has. `name` gets it.
std::int64_t make_beside(const std::string& path, mode_t mode, std::string& name) {
  for (unsigned tries = 0;; ++tries) {
    name = path + ".new-" + std::to_string(::getpid()) + "-" + std::to_string(nanotime());
    const std::int64_t fd =
        value_of([&] { return ::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode); });
    if (fd != -EEXIST || tries == 100) return fd;
  }
}

// On a helper.
Result<void> replace_whole(const std::string& path, std::span<const std::byte> data, mode_t mode) {
  constexpr const char* kOp = "replace_file";
  std::string name;
  const std::int64_t made = make_beside(path, mode, name);
  if (made < 0) return failed(made, kOp);
  const OwnedFd fd(static_cast<int>(made));
  Result<void> result = write_all(nullptr, fd.get(), data, kOp);
  std::int64_t status = 0;
  if (result) status = value_of([&] { return ::fsync(fd.get()); });
  if (result && status == 0) status = value_of([&] { return ::rename(name.c_str(), path.c_str()); });
  if (!result || status < 0) {
    value_of([&] { return ::unlink(name.c_str()); });
    return result ? failed(status, kOp) : result;
  }
  const std::size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const std::int64_t opened = value_of([&] { return ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
  if (opened < 0) return failed(opened, kOp);
  const OwnedFd directory(static_cast<int>(opened));
  status = value_of([&] { return ::fsync(directory.get()); });
  if (status < 0) return failed(status, kOp);
  return {};
}

}  // namespace

bool FileInfo::is_regular() const noexcept { return S_ISREG(mode); }
bool FileInfo::is_directory() const noexcept { return S_ISDIR(mode); }
bool FileInfo::is_symlink() const noexcept { return S_ISLNK(mode); }

Result<File> File::open(const std::string& path, const OpenOptions& options) {
  constexpr const char* kOp = "open";
  if (has_nul(path) || (!options.read && !options.write)) return std::unexpected(Error{Code::kInvalid, 0, kOp});
  int flags = O_CLOEXEC | O_NONBLOCK;  // nonblocking means nothing to a file, but nobody waits for a FIFO's other end
  flags |= !options.write ? O_RDONLY : options.read ? O_RDWR : O_WRONLY;
  if (options.append) flags |= O_APPEND;
  if (options.create) flags |= O_CREAT;
  if (options.exclusive) flags |= O_EXCL;
  if (options.truncate) flags |= O_TRUNC;
  if (options.no_follow) flags |= O_NOFOLLOW;
  const std::int64_t fd = on_helper([&] { return ::open(path.c_str(), flags, options.mode); });
  if (fd < 0) return failed(fd, kOp);
  const Result<detail::Handle> handle = adopt_fd(OwnedFd(static_cast<int>(fd)), kOp);
  if (!handle) return std::unexpected(handle.error());
  return File(*handle);
}

Result<File> File::adopt(int fd) {
  OwnedFd owned(fd);
  struct stat status {};
  const bool fits = ::fstat(fd, &status) == 0 && (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode));
  if (!fits || ::fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) return std::unexpected(Error{Code::kInvalid, 0, "adopt"});
  const Result<detail::Handle> handle = adopt_fd(std::move(owned), "adopt");
  if (!handle) return std::unexpected(handle.error());
  return File(*handle);
}

Result<std::size_t> File::read(std::span<std::byte> buf) { return read_here(handle_, nullptr, buf); }
Result<std::size_t> File::read(const Context& ctx, std::span<std::byte> buf) { return read_here(handle_, &ctx, buf); }

Result<void> File::write(std::span<const std::byte> buf) { return write_here(handle_, nullptr, buf); }
Result<void> File::write(const Context& ctx, std::span<const std::byte> buf) { return write_here(handle_, &ctx, buf); }

Result<std::uint64_t> File::seek(std::int64_t offset, SeekFrom from) {
  Inside inside(handle_, FdUse::kRead, "seek");
  if (!inside) return closed("seek");
  const int fd = inside->fd;
  const int whence = from == SeekFrom::kStart ? SEEK_SET : from == SeekFrom::kCurrent ? SEEK_CUR : SEEK_END;
  const std::int64_t at = on_helper([&] { return ::lseek(fd, offset, whence); });  // kEnd may ask a server
  if (at < 0) return failed(at, "seek");
  return static_cast<std::uint64_t>(at);
}

Result<std::size_t> File::read_at(std::uint64_t offset, std::span<std::byte> buf) {
  return read_from(handle_, nullptr, offset, buf);
}
Result<std::size_t> File::read_at(const Context& ctx, std::uint64_t offset, std::span<std::byte> buf) {
  return read_from(handle_, &ctx, offset, buf);
}

Result<void> File::write_at(std::uint64_t offset, std::span<const std::byte> buf) {
  return write_to(handle_, nullptr, offset, buf);
}
Result<void> File::write_at(const Context& ctx, std::uint64_t offset, std::span<const std::byte> buf) {
  return write_to(handle_, &ctx, offset, buf);
}

Result<void> File::sync() {
  return on_file(handle_, "sync", [](int fd) { return ::fsync(fd); });
}

Result<void> File::sync_data() {
  return on_file(handle_, "sync_data", [](int fd) { return ::fdatasync(fd); });
}

Result<void> File::truncate(std::uint64_t size) {
  if (size > static_cast<std::uint64_t>(std::numeric_limits<off_t>::max())) return failed(-EFBIG, "truncate");
  return on_file(handle_, "truncate", [size](int fd) { return ::ftruncate(fd, static_cast<off_t>(size)); });
}

Result<FileInfo> File::stat() {
  struct stat status {};
  const Result<void> known = on_file(handle_, "stat", [&](int fd) { return ::fstat(fd, &status); });
  if (!known) return std::unexpected(known.error());
  return info_of(status);
}

Result<FileInfo> stat_file(const std::string& path) {
  struct stat status {};
  const Result<void> known = on_path(path, "stat", [&](const char* p) { return ::stat(p, &status); });
  if (!known) return std::unexpected(known.error());
  return info_of(status);
}

Result<FileInfo> stat_link(const std::string& path) {
  struct stat status {};
  const Result<void> known = on_path(path, "stat", [&](const char* p) { return ::lstat(p, &status); });
  if (!known) return std::unexpected(known.error());
  return info_of(status);
}

Result<void> rename_file(const std::string& from, const std::string& to) {
  if (has_nul(to)) return std::unexpected(Error{Code::kInvalid, 0, "rename"});
  return on_path(from, "rename", [&](const char* p) { return ::rename(p, to.c_str()); });
}

Result<void> unlink_file(const std::string& path) { return on_path(path, "unlink", ::unlink); }

Result<void> make_directory(const std::string& path, mode_t mode) {
  return on_path(path, "mkdir", [mode](const char* p) { return ::mkdir(p, mode); });
}

Result<void> remove_directory(const std::string& path) { return on_path(path, "rmdir", ::rmdir); }

Result<std::string> read_file(const std::string& path, std::size_t most) {
  return read_file(Context::background(), path, most);
}

Result<std::string> read_file(const Context& ctx, const std::string& path, std::size_t most) {
  if (has_nul(path)) return std::unexpected(Error{Code::kInvalid, 0, "read_file"});
  if (const std::optional<Error> end = end_of(&ctx, "read_file")) return std::unexpected(*end);
  return blocking([&] { return read_all(&ctx, path.c_str(), most); });
}

Result<void> write_file(const std::string& path, std::span<const std::byte> data, mode_t mode) {
  return write_file(Context::background(), path, data, mode);
}

Result<void> write_file(const Context& ctx, const std::string& path, std::span<const std::byte> data, mode_t mode) {
  if (has_nul(path)) return std::unexpected(Error{Code::kInvalid, 0, "write_file"});
  if (const std::optional<Error> end = end_of(&ctx, "write_file")) return std::unexpected(*end);
  return blocking([&] { return write_whole(&ctx, path.c_str(), data, mode); });
}

Result<void> replace_file(const std::string& path, std::span<const std::byte> data, mode_t mode) {
  if (has_nul(path)) return std::unexpected(Error{Code::kInvalid, 0, "replace_file"});
  return blocking([&] { return replace_whole(path, data, mode); });
}

}  // namespace heddle::net
