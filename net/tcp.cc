// TCP over PollDesc: the system call first, then the wait, then the call again.
//
// I1. A caller is inside the descriptor (FdLock) from before its first system call until after its last: so the number
//     cannot become another connection's under it.
// I2. errno travels by value (sys.h): after a park the goroutine may stand on another thread.
#include <heddle/net/tcp.h>

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>

#include <heddle/core/check.h>
#include <heddle/net/internal/accept_desc.h>
#include <heddle/net/internal/poll_desc.h>
#include <heddle/net/internal/socket.h>
#include <heddle/net/internal/sys.h>

namespace heddle::net {
namespace {

constexpr int kSendFlags = MSG_DONTWAIT | MSG_NOSIGNAL;

// One use of a descriptor, from enter to leave (I1).
class Inside {
 public:
  Inside(const detail::Handle& handle, FdUse use, const char* op) noexcept : pd_(handle.pd), use_(use) {
    if (pd_ == nullptr) return;
    switch (pd_->lock.enter(handle.generation, use)) {
      case FdEnter::kInside:
        return;
      case FdEnter::kBusy:
        fatal("fd %d: a second goroutine calls %s", pd_->fd, op);
      case FdEnter::kClosed:
        pd_ = nullptr;
    }
  }
  ~Inside() {
    if (pd_ != nullptr) pd_->leave(use_);
  }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;

  explicit operator bool() const noexcept { return pd_ != nullptr; }
  PollDesc* operator->() const noexcept { return pd_; }
  PollDesc& operator*() const noexcept { return *pd_; }

 private:
  PollDesc* pd_;
  const FdUse use_;
};

std::unexpected<Error> closed(const char* op) { return std::unexpected(Error{Code::kClosed, 0, op}); }
std::unexpected<Error> failed(ssize_t status, const char* op) {
  return std::unexpected(Error::from_errno(static_cast<int>(-status), op));
}

// A deadline that has passed fails a call even if it could succeed at once. The clock is read only if there is one.
bool is_late(const std::atomic<std::int64_t>& deadline) noexcept {
  const std::int64_t when = deadline.load(std::memory_order_relaxed);  // whoever sets it concurrently may be missed
  return when != kNever && nanotime() >= when;
}

// Gives `fd` a slot.
Result<detail::Handle> adopt_fd(OwnedFd fd, const char* op) {
  PollDesc* pd = socket_slab().take();
  if (pd == nullptr) return failed(-ENOMEM, op);
  const std::uint32_t generation = pd->open(fd.release());
  return detail::Handle{pd, generation};
}

int set_flag(int fd, int level, int name, int value) noexcept {
  return sys().setsockopt(fd, level, name, &value, sizeof value);
}

template <class Call>
Result<void> with_fd(const detail::Handle& handle, const char* op, Call call) {
  Inside inside(handle, FdUse::kOther, op);
  if (!inside) return closed(op);
  const int status = call(*inside);
  if (status < 0) return failed(status, op);
  return {};
}

// Sends until all is sent; `send_some()` makes one system call and returns what it sent, `left()` says if any is left.
template <class SendSome, class Left>
Result<void> send_all(PollDesc& pd, SendSome send_some, Left left) {
  if (is_late(pd.out_deadline)) return std::unexpected(Error{Code::kTimeout, 0, "write"});
  while (left()) {
    const ssize_t n = send_some();
    if (n >= 0 || n == -EINTR) continue;
    if (n != -EAGAIN) return failed(n, "write");
    const WaitResult result = pd.wait(Mode::kWrite, WaitReason::kIoWait);
    if (result.status != WaitStatus::kReady) return std::unexpected(to_error(result, "write"));
  }
  return {};
}

}  // namespace

Conn& Conn::operator=(Conn&& other) noexcept {
  if (this != &other) {
    close();
    handle_ = other.release();
  }
  return *this;
}

Result<std::size_t> Conn::read(std::span<std::byte> buf) {
  Inside inside(handle_, FdUse::kRead, "read");
  if (!inside) return closed("read");
  if (buf.empty()) return std::size_t{0};
  PollDesc& pd = *inside;
  if (is_late(pd.in_deadline)) return std::unexpected(Error{Code::kTimeout, 0, "read"});
  // The last read took all there was, and nothing has been reported since: a try would be a system call for nothing. After
  // the peer's end was reported nothing more need be.
  // relaxed: hung_up was released by the readiness that looks_ready() or a later wait sees.
  bool try_first = !pd.drained || pd.in.looks_ready() || pd.hung_up.load(std::memory_order_relaxed);
  for (;;) {
    if (try_first) {
      const ssize_t n = sys().recv(pd.fd, buf.data(), buf.size(), MSG_DONTWAIT);
      if (n >= 0) {
        pd.drained = static_cast<std::size_t>(n) < buf.size();
        return static_cast<std::size_t>(n);
      }
      if (n == -EINTR) continue;
      if (n != -EAGAIN) return failed(n, "read");
    }
    const WaitResult result = pd.wait(Mode::kRead, WaitReason::kIoWait);
    if (result.status != WaitStatus::kReady) return std::unexpected(to_error(result, "read"));
    try_first = true;
  }
}

Result<std::size_t> Conn::read_full(std::span<std::byte> buf) {
  std::size_t done = 0;
  while (done < buf.size()) {
    const Result<std::size_t> n = read(buf.subspan(done));
    if (!n) return n;
    if (*n == 0) break;
    done += *n;
  }
  return done;
}

Result<void> Conn::write(std::span<const std::byte> buf) {
  Inside inside(handle_, FdUse::kWrite, "write");
  if (!inside) return closed("write");
  PollDesc& pd = *inside;
  return send_all(
      pd,
      [&] {
        const ssize_t n = sys().send(pd.fd, buf.data(), buf.size(), kSendFlags);
        if (n > 0) buf = buf.subspan(static_cast<std::size_t>(n));
        return n;
      },
      [&] { return !buf.empty(); });
}

Result<void> Conn::writev(std::span<const iovec> buffers) {
  Inside inside(handle_, FdUse::kWrite, "writev");
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
      pd,
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

Result<void> Conn::close_read() {
  return with_fd(handle_, "close_read", [](PollDesc& pd) {
    const int status = sys().shutdown(pd.fd, SHUT_RD);
    // The kernel wakes pollers for this; a reader between its try and its wait is covered too.
    if (G* g = pd.in.notify()) ready(g);
    return status;
  });
}

Result<void> Conn::close_write() {
  return with_fd(handle_, "close_write", [](PollDesc& pd) { return sys().shutdown(pd.fd, SHUT_WR); });
}

void Conn::set_read_deadline(TimePoint when) noexcept {
  if (Inside inside(handle_, FdUse::kOther, "set_deadline"); inside) inside->set_deadline(Mode::kRead, to_nanos(when));
}

void Conn::set_write_deadline(TimePoint when) noexcept {
  if (Inside inside(handle_, FdUse::kOther, "set_deadline"); inside) inside->set_deadline(Mode::kWrite, to_nanos(when));
}

void Conn::set_deadline(TimePoint when) noexcept {
  set_read_deadline(when);
  set_write_deadline(when);
}

Result<void> Conn::set_nodelay(bool on) {
  return with_fd(handle_, "set_nodelay",
                 [on](PollDesc& pd) { return set_flag(pd.fd, IPPROTO_TCP, TCP_NODELAY, on ? 1 : 0); });
}

Result<void> Conn::set_linger(std::optional<int> seconds) {
  return with_fd(handle_, "set_linger", [seconds](PollDesc& pd) {
    const linger value{.l_onoff = seconds ? 1 : 0, .l_linger = seconds.value_or(0)};
    const int status = sys().setsockopt(pd.fd, SOL_SOCKET, SO_LINGER, &value, sizeof value);
    // relaxed: read by whoever closes, who has been told of this call if it matters.
    if (status == 0) pd.abort.store(seconds == 0, std::memory_order_relaxed);
    return status;
  });
}

Result<Address> Conn::local_address() const {
  Inside inside(handle_, FdUse::kOther, "local_address");
  if (!inside) return closed("local_address");
  return local_address_of(inside->fd);
}

Result<Address> Conn::remote_address() const {
  Inside inside(handle_, FdUse::kOther, "remote_address");
  if (!inside) return closed("remote_address");
  return peer_address_of(inside->fd);
}

int Conn::native_handle() const noexcept {
  Inside inside(handle_, FdUse::kOther, "native_handle");
  return inside ? inside->fd : -1;
}

void Conn::close() noexcept {
  if (handle_.pd != nullptr) handle_.pd->close(handle_.generation);
}

Listener::~Listener() {
  if (handle_.pd != nullptr) handle_.pd->close(handle_.generation);
}

Listener& Listener::operator=(Listener&& other) noexcept {
  if (this != &other) {
    if (handle_.pd != nullptr) handle_.pd->close(handle_.generation);
    handle_ = other.release();
  }
  return *this;
}

Result<Conn> Listener::accept() {
  Inside inside(handle_, FdUse::kRead, "accept");
  if (!inside) return closed("accept");
  PollDesc& pd = *inside;
  if (is_late(pd.in_deadline)) return std::unexpected(Error{Code::kTimeout, 0, "accept"});
  for (;;) {
    const int fd = sys().accept4(pd.fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      Result<detail::Handle> handle = adopt_fd(OwnedFd(fd), "accept");
      if (!handle) return std::unexpected(handle.error());
      return Conn(*handle);
    }
    switch (accept_verdict(-fd)) {
      case AcceptVerdict::kGoOn:
        continue;
      case AcceptVerdict::kRest:
        return failed(fd, "accept");
      case AcceptVerdict::kDrained:
        break;
    }
    const WaitResult result = pd.wait(Mode::kRead, WaitReason::kAccept);
    if (result.status != WaitStatus::kReady) return std::unexpected(to_error(result, "accept"));
  }
}

void Listener::set_deadline(TimePoint when) noexcept {
  if (Inside inside(handle_, FdUse::kOther, "set_deadline"); inside) inside->set_deadline(Mode::kRead, to_nanos(when));
}

Result<Address> Listener::local_address() const {
  Inside inside(handle_, FdUse::kOther, "local_address");
  if (!inside) return closed("local_address");
  return local_address_of(inside->fd);
}

int Listener::native_handle() const noexcept {
  Inside inside(handle_, FdUse::kOther, "native_handle");
  return inside ? inside->fd : -1;
}

void Listener::close() {
  static_cast<void>(must_current_g("net: Listener::close"));
  if (handle_.pd == nullptr) return;
  FinishWaiter waiter;
  if (handle_.pd->close(handle_.generation, &waiter)) waiter.wait(WaitReason::kIoWait);
}

Result<Listener> listen(const Address& address, const ListenOptions& options) {
  static_cast<void>(must_current_g("net::listen"));
  Result<OwnedFd> fd = tcp_listen(address, options.backlog, options.reuse_port);
  if (!fd) return std::unexpected(fd.error());
  Result<detail::Handle> handle = adopt_fd(std::move(*fd), "listen");
  if (!handle) return std::unexpected(handle.error());
  return Listener(*handle);
}

Result<Conn> dial(const Address& address, const DialOptions& options) {
  static_cast<void>(must_current_g("net::dial"));
  const std::int64_t deadline = to_nanos(options.deadline);
  // A port of this machine that nobody listens on can be the one the kernel picks for our end: then TCP's simultaneous
  // open connects the socket to itself. Nobody wants that; try again with another one.
  for (int tries = 0; tries < 4; ++tries) {
    Result<OwnedFd> fd = tcp_socket(address.family());
    if (!fd) return std::unexpected(fd.error());
    static_cast<void>(set_flag(fd->get(), IPPROTO_TCP, TCP_NODELAY, 1));  // an optimisation: not worth failing for
    Result<detail::Handle> handle = adopt_fd(std::move(*fd), "dial");
    if (!handle) return std::unexpected(handle.error());
    Conn conn(*handle);
    {
      Inside inside(*handle, FdUse::kWrite, "dial");
      for (;;) {
        const int status = sys().connect(inside->fd, address.sa(), address.size());
        if (status == 0 || status == -EISCONN) break;
        // EALREADY, EINTR: under way since an earlier try.
        if (status != -EINPROGRESS && status != -EALREADY && status != -EINTR) return failed(status, "dial");
        const WaitResult result = inside->wait_until(Mode::kWrite, deadline, WaitReason::kConnect);
        if (result.status != WaitStatus::kReady) return std::unexpected(to_error(result, "dial"));
      }
    }
    const Result<Address> local = conn.local_address();
    const Result<Address> remote = conn.remote_address();
    if (!local || !remote || !(*local == *remote)) return conn;
  }
  return failed(-ECONNREFUSED, "dial");
}

}  // namespace heddle::net
