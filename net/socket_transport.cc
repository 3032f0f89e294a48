// Stream sockets: recv, send, sendmsg around the waits of fd_use.h.
#include <heddle/net/socket_transport.h>

#include <sys/socket.h>

#include <algorithm>
#include <array>

#include <heddle/net/internal/fd_use.h>

namespace heddle::net {
namespace {

constexpr int kSendFlags = MSG_DONTWAIT | MSG_NOSIGNAL;

Result<std::size_t> receive(const detail::Handle& handle, const Context* ctx, std::span<std::byte> buf) {
  Inside inside(handle, FdUse::kRead, "read");
  if (!inside) return closed("read");
  if (buf.empty()) return std::size_t{0};
  PollDesc& pd = *inside;
  if (const Error early = early_end(pd, Mode::kRead, ctx, "read"); early.code != Code::kOk)
    return std::unexpected(early);
  // The last read took all there was, and nothing has been reported since: a try would be a system call for nothing. After
  // the peer's end was reported nothing more need be, and before an urgent byte a read takes less than there is.
  // relaxed: uneven was released by the readiness that looks_ready() or a later wait sees.
  bool try_first = !pd.drained || pd.in.looks_ready() || pd.uneven.load(std::memory_order_relaxed);
  for (;;) {
    if (try_first) {
      const ssize_t n = sys().recv(pd.fd, buf.data(), buf.size(), MSG_DONTWAIT);
      if (n == 0 && pd.lock.closing()) return closed("read");  // the end that close() made, not the peer's
      if (n >= 0) {
        pd.drained = pd.short_read_drains && static_cast<std::size_t>(n) < buf.size();
        return static_cast<std::size_t>(n);
      }
      if (n == -EINTR) continue;
      if (n != -EAGAIN) return failed(pd, n, "read");
    }
    if (const Error end = wait_for(pd, Mode::kRead, ctx, "read"); end.code != Code::kOk) return std::unexpected(end);
    pd.drained = false;  // the report is consumed
    try_first = true;
  }
}

// One look at what is there, without taking it: 0 or more, or -errno.
ssize_t peek(int fd) noexcept {
  for (;;) {
    std::byte one;
    const ssize_t n = sys().recv(fd, &one, 1, MSG_PEEK | MSG_DONTWAIT);
    if (n != -EINTR) return n;
  }
}

// Sends until all is sent; `send_some()` makes one system call and returns what it sent, `left()` says if any is left.
template <class SendSome, class Left>
Result<void> send_all(PollDesc& pd, const Context* ctx, SendSome send_some, Left left) {
  if (const Error early = early_end(pd, Mode::kWrite, ctx, "write"); early.code != Code::kOk) {
    return std::unexpected(early);
  }
  while (left()) {
    const ssize_t n = send_some();
    if (n >= 0 || n == -EINTR) continue;
    if (n != -EAGAIN) return failed(pd, n, "write");
    if (const Error end = wait_for(pd, Mode::kWrite, ctx, "write"); end.code != Code::kOk) return std::unexpected(end);
  }
  return {};
}

Result<void> send(const detail::Handle& handle, const Context* ctx, std::span<const std::byte> buf) {
  Inside inside(handle, FdUse::kWrite, "write");
  if (!inside) return closed("write");
  PollDesc& pd = *inside;
  return send_all(
      pd, ctx,
      [&] {
        const ssize_t n = sys().send(pd.fd, buf.data(), buf.size(), kSendFlags);
        if (n > 0) buf = buf.subspan(static_cast<std::size_t>(n));
        return n;
      },
      [&] { return !buf.empty(); });
}

Result<void> send_all_of(const detail::Handle& handle, const Context* ctx, std::span<const iovec> buffers) {
  Inside inside(handle, FdUse::kWrite, "writev");
  if (!inside) return closed("writev");
  PollDesc& pd = *inside;
  // A window over the caller's array: copied, because a short write cuts into one of the entries.
  std::array<iovec, 64> window;
  std::size_t skip = 0;  // bytes of buffers.front() that are sent
  const auto left = [&] {
    while (!buffers.empty() && buffers.front().iov_len == skip) {
      buffers = buffers.subspan(1);
      skip = 0;
    }
    return !buffers.empty();
  };
  return send_all(
      pd, ctx,
      [&] {
        const std::size_t count = std::min(buffers.size(), window.size());
        std::copy_n(buffers.begin(), count, window.begin());
        window[0].iov_base = static_cast<std::byte*>(window[0].iov_base) + skip;
        window[0].iov_len -= skip;
        msghdr msg{};
        msg.msg_iov = window.data();
        msg.msg_iovlen = count;
        const ssize_t n = sys().sendmsg(pd.fd, &msg, kSendFlags);
        for (std::size_t sent = n > 0 ? static_cast<std::size_t>(n) : 0; sent > 0;) {
          const std::size_t step = std::min(sent, buffers.front().iov_len - skip);
          sent -= step;
          skip += step;
          if (skip == buffers.front().iov_len) {
            buffers = buffers.subspan(1);
            skip = 0;
          }
        }
        return n;
      },
      left);
}

}  // namespace

Result<std::size_t> SocketTransport::read(std::span<std::byte> buf) { return receive(handle_, nullptr, buf); }
Result<std::size_t> SocketTransport::read(const Context& ctx, std::span<std::byte> buf) {
  return receive(handle_, &ctx, buf);
}

Result<void> SocketTransport::write(std::span<const std::byte> buf) { return send(handle_, nullptr, buf); }
Result<void> SocketTransport::write(const Context& ctx, std::span<const std::byte> buf) {
  return send(handle_, &ctx, buf);
}

Result<void> SocketTransport::writev(std::span<const iovec> buffers) { return send_all_of(handle_, nullptr, buffers); }
Result<void> SocketTransport::writev(const Context& ctx, std::span<const iovec> buffers) {
  return send_all_of(handle_, &ctx, buffers);
}

Result<std::size_t> SocketTransport::try_read(std::span<std::byte> buf) {
  Inside inside(handle_, FdUse::kRead, "read");
  if (!inside) return closed("read");
  if (buf.empty()) return std::size_t{0};
  PollDesc& pd = *inside;
  if (const Error early = early_end(pd, Mode::kRead, nullptr, "read"); early.code != Code::kOk)
    return std::unexpected(early);
  for (;;) {
    const ssize_t n = sys().recv(pd.fd, buf.data(), buf.size(), MSG_DONTWAIT);
    if (n == -EINTR) continue;
    if (n == 0 && pd.lock.closing()) return closed("read");  // as in receive()
    // A failed try is as good as a short read: what comes later will be reported to who waits.
    pd.drained = n == -EAGAIN || (n >= 0 && pd.short_read_drains && static_cast<std::size_t>(n) < buf.size());
    if (n >= 0) return static_cast<std::size_t>(n);
    return failed(pd, n, "read");  // EAGAIN: kWouldBlock
  }
}

Result<void> SocketTransport::wait_readable(const Context& ctx) {
  Inside inside(handle_, FdUse::kRead, "read");
  if (!inside) return closed("read");
  PollDesc& pd = *inside;
  if (const Error early = early_end(pd, Mode::kRead, &ctx, "read"); early.code != Code::kOk)
    return std::unexpected(early);
  // relaxed: as in receive(); after the peer's end nothing more need be reported.
  if (!pd.drained || pd.uneven.load(std::memory_order_relaxed)) {
    if (peek(pd.fd) != -EAGAIN) return {};  // an error, too, is for the read to tell
  }
  if (const Error end = wait_for(pd, Mode::kRead, &ctx, "read"); end.code != Code::kOk) return std::unexpected(end);
  pd.drained = false;  // the report is consumed: the next read has to try
  return {};
}

Result<void> SocketTransport::close_read() {
  return with_fd(handle_, "close_read", [](PollDesc& pd) {
    const int status = sys().shutdown(pd.fd, SHUT_RD);
    // The kernel wakes pollers for this; a reader between its try and its wait is covered too.
    if (G* g = pd.in.notify()) ready(g);
    return status;
  });
}

Result<void> SocketTransport::close_write() {
  return with_fd(handle_, "close_write", [](PollDesc& pd) { return sys().shutdown(pd.fd, SHUT_WR); });
}

void SocketTransport::set_read_deadline(TimePoint when) noexcept {
  if (Inside inside(handle_, FdUse::kOther, "set_deadline"); inside) inside->set_deadline(Mode::kRead, to_nanos(when));
}

void SocketTransport::set_write_deadline(TimePoint when) noexcept {
  if (Inside inside(handle_, FdUse::kOther, "set_deadline"); inside) inside->set_deadline(Mode::kWrite, to_nanos(when));
}

Result<Address> SocketTransport::local_address() const {
  Inside inside(handle_, FdUse::kOther, "local_address");
  if (!inside) return closed("local_address");
  return local_address_of(inside->fd);
}

Result<Address> SocketTransport::remote_address() const {
  Inside inside(handle_, FdUse::kOther, "remote_address");
  if (!inside) return closed("remote_address");
  return peer_address_of(inside->fd);
}

bool SocketTransport::is_alive() const noexcept {
  Inside inside(handle_, FdUse::kOther, "is_alive");
  if (!inside) return false;
  return peek(inside->fd) == -EAGAIN;  // else the end of the stream, bytes that nobody asked for, or an error
}

}  // namespace heddle::net
