// Pipes: read(2) and write(2) around the waits of fd_use.h.
#include <heddle/net/pipe.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <heddle/net/internal/fd_use.h>
#include <heddle/net/internal/quietly.h>

namespace heddle::net {
namespace {

[[gnu::noinline]] ssize_t write_some(int fd, const void* data, std::size_t size) noexcept {
  const ssize_t n = ::write(fd, data, size);
  return n >= 0 ? n : -errno;
}

[[gnu::noinline]] ssize_t read_some(int fd, void* data, std::size_t size) noexcept {
  const ssize_t n = ::read(fd, data, size);
  return n >= 0 ? n : -errno;
}

[[gnu::noinline]] int make_pipe(int fds[2]) noexcept { return ::pipe2(fds, O_NONBLOCK | O_CLOEXEC) < 0 ? -errno : 0; }

// The open file of a stranger's: a pipe's end that can do what `access` says.
Result<detail::Handle> adopt_end(int raw, int access) {
  OwnedFd fd(raw);
  struct stat status;
  const int flags = ::fcntl(raw, F_GETFL);
  const bool fits = ::fstat(raw, &status) == 0 && S_ISFIFO(status.st_mode) && flags >= 0 &&
                    ((flags & O_ACCMODE) == access || (flags & O_ACCMODE) == O_RDWR);
  if (!fits || make_ours(raw) < 0) return std::unexpected(Error{Code::kInvalid, 0, "adopt"});
  return adopt_fd(std::move(fd), "adopt");
}

Result<std::size_t> receive(const detail::Handle& handle, const Context* ctx, std::span<std::byte> buf) {
  Inside inside(handle, FdUse::kRead, "read");
  if (!inside) return closed("read");
  if (buf.empty()) return std::size_t{0};
  PollDesc& pd = *inside;
  const Result<ssize_t> n =
      until_ready(pd, Mode::kRead, ctx, "read", [&] { return read_some(pd.fd, buf.data(), buf.size()); });
  if (!n) return std::unexpected(n.error());
  return static_cast<std::size_t>(*n);
}

Result<void> send(const detail::Handle& handle, const Context* ctx, std::span<const std::byte> buf) {
  Inside inside(handle, FdUse::kWrite, "write");
  if (!inside) return closed("write");
  PollDesc& pd = *inside;
  while (!buf.empty()) {
    const Result<ssize_t> n = until_ready(pd, Mode::kWrite, ctx, "write", [&] {
      return quietly(buf.size(), [&] { return write_some(pd.fd, buf.data(), buf.size()); });
    });
    if (!n) return std::unexpected(n.error());
    buf = buf.subspan(static_cast<std::size_t>(*n));
  }
  return {};
}

}  // namespace

Result<PipeReader> PipeReader::adopt(int fd) {
  static_cast<void>(must_current_g("net: PipeReader::adopt"));
  const Result<detail::Handle> handle = adopt_end(fd, O_RDONLY);
  if (!handle) return std::unexpected(handle.error());
  return PipeReader(*handle);
}

Result<std::size_t> PipeReader::read(std::span<std::byte> buf) { return receive(handle_, nullptr, buf); }
Result<std::size_t> PipeReader::read(const Context& ctx, std::span<std::byte> buf) {
  return receive(handle_, &ctx, buf);
}

void PipeReader::set_read_deadline(TimePoint when) noexcept { net::set_deadline(handle_, Mode::kRead, when); }

Result<PipeWriter> PipeWriter::adopt(int fd) {
  static_cast<void>(must_current_g("net: PipeWriter::adopt"));
  const Result<detail::Handle> handle = adopt_end(fd, O_WRONLY);
  if (!handle) return std::unexpected(handle.error());
  return PipeWriter(*handle);
}

Result<void> PipeWriter::write(std::span<const std::byte> buf) { return send(handle_, nullptr, buf); }
Result<void> PipeWriter::write(const Context& ctx, std::span<const std::byte> buf) { return send(handle_, &ctx, buf); }

void PipeWriter::set_write_deadline(TimePoint when) noexcept { net::set_deadline(handle_, Mode::kWrite, when); }

Result<Pipe> open_pipe() {
  static_cast<void>(must_current_g("net::open_pipe"));
  int fds[2];
  const int status = make_pipe(fds);
  if (status < 0) return failed(status, "pipe");
  OwnedFd second(fds[1]);
  const Result<detail::Handle> reader = adopt_fd(OwnedFd(fds[0]), "pipe");
  if (!reader) return std::unexpected(reader.error());
  Pipe pipe{PipeReader(*reader), {}};
  const Result<detail::Handle> writer = adopt_fd(std::move(second), "pipe");
  if (!writer) return std::unexpected(writer.error());
  pipe.writer = PipeWriter(*writer);
  return pipe;
}

}  // namespace heddle::net
