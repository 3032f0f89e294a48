// File to socket: sendfile(2), which never takes from a file what the socket has no room for. So nothing is ever lost.
//
// sendfile(2) waits for the disk where it is called, whatever the socket's flags say. What the page cache seems to have is
// sent where the goroutine is; the rest by a helper thread (core/blocking.h).
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>

#include <heddle/core/blocking.h>
#include <heddle/net/internal/fd_use.h>
#include <heddle/net/internal/kernel_copy.h>
#include <heddle/net/internal/quietly.h>

namespace heddle::net {
namespace {

constexpr std::size_t kPiece = std::size_t{256} << 10;  // what one call may send, and the page cache is asked about

constexpr off_t kLastByte = std::numeric_limits<off_t>::max();

[[gnu::noinline]] ssize_t look(int fd, off_t at) noexcept {
  std::byte one;
  iovec iov{&one, 1};
  const ssize_t n = ::preadv2(fd, &iov, 1, at, RWF_NOWAIT);
  return n >= 0 ? n : -errno;
}

[[gnu::noinline]] off_t position_of(int fd) noexcept {
  const off_t at = ::lseek(fd, 0, SEEK_CUR);
  return at >= 0 ? at : -errno;
}

// By its first and last byte. A guess: in between some may be missing, and then the call just takes long.
bool looks_cached(int fd, off_t at, std::size_t size) noexcept {
  return look(fd, at) >= 0 && look(fd, at + static_cast<off_t>(size) - 1) >= 0;
}

// `size` is at most kPiece.
ssize_t send_piece(int to, int from, off_t at, bool moves_position, std::size_t size) {
  // The kernel writes where the next one begins; by a position of the file's it does so there.
  const auto call = [&] {
    return quietly(size, [&] { return sys().sendfile(to, from, moves_position ? nullptr : &at, size); });
  };
  if (!looks_cached(from, at, size)) return blocking(call);
  const SyscallScope scope;
  return call();
}

// sendfile(2) does not say whose fault it was. These are a file's alone.
Copied::Side side_of(ssize_t status) noexcept {
  switch (status) {
    case -EIO:
    case -EBADF:  // not open for reading
    case -EISDIR:
    case -EOVERFLOW: return Copied::Side::kReading;
    default: return Copied::Side::kWriting;
  }
}

}  // namespace

ssize_t sendfile_piece(int to, int from, off_t at, std::size_t size) {
  return send_piece(to, from, at, false, std::min({size, kPiece, static_cast<std::size_t>(kLastByte - at)}));
}

KernelCopy sendfile_copy(const Context& ctx, SocketTransport& to, File& from, std::optional<std::uint64_t>& offset,
                         std::uint64_t n, Copied& result) {
  using Side = Copied::Side;
  Inside reading(detail::HandleOf::get(from), offset ? FdUse::kOther : FdUse::kRead, "copy");
  if (!reading) return copy_failed(result, closed("read").error(), Side::kReading);
  Inside writing(detail::HandleOf::get(to), FdUse::kWrite, "copy");
  if (!writing) return copy_failed(result, closed("write").error(), Side::kWriting);
  const int file = reading->fd;
  PollDesc& out = *writing;

  const bool moves_position = !offset;
  off_t at = offset ? static_cast<off_t>(*offset) : position_of(file);
  if (at < 0)
    return copy_failed(result, Error::from_errno(offset ? EINVAL : static_cast<int>(-at), "read"), Side::kReading);
  n = std::min(n, static_cast<std::uint64_t>(kLastByte - at));
  while (n > 0) {
    if (reading->lock.closing()) return copy_failed(result, closed("read").error(), Side::kReading);
    Error end = early_end(out, Mode::kWrite, &ctx, "write");
    if (end.code == Code::kOk && out.lock.closing()) end = {Code::kClosed, 0, "write"};
    if (end.code != Code::kOk) return copy_failed(result, end, Side::kWriting);
    const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(n, kPiece));
    const ssize_t sent = send_piece(out.fd, file, at, moves_position, size);
    if (sent > 0) {
      at += sent;
      n -= static_cast<std::uint64_t>(sent);
      result.bytes += static_cast<std::uint64_t>(sent);
      if (offset) *offset = static_cast<std::uint64_t>(at);
      continue;
    }
    if (sent == 0) break;  // the file's end
    if (sent == -EINTR) continue;
    if (sent == -EAGAIN) {
      end = wait_for(out, Mode::kWrite, &ctx, "write");
      if (end.code == Code::kOk) continue;
      return copy_failed(result, end, Side::kWriting);
    }
    if (out.lock.closing()) return copy_failed(result, closed("write").error(), Side::kWriting);
    if (kernel_cannot(sent)) return KernelCopy::kCannot;
    const Side side = side_of(sent);
    return copy_failed(result, failed(sent, side == Side::kReading ? "read" : "write").error(), side);
  }
  return KernelCopy::kOver;
}

}  // namespace heddle::net
