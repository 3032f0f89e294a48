// The Stream calls of a connection over a socket. Reading is the back ends'; adopting and ending are net_poller.cc's.
#include <heddle/net/internal/stream_conn.h>

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <limits>

#include <heddle/net/address.h>
#include <heddle/net/internal/accept_desc.h>
#include <heddle/net/internal/fd_passing.h>
#include <heddle/net/internal/fd_use.h>
#include <heddle/net/internal/kernel_copy.h>
#include <heddle/net/internal/net_poller.h>
#include <heddle/net/internal/sys.h>

namespace heddle::net {

StreamConn::StreamConn() noexcept
    : PollDesc(DescKind::kStream), WheelEntry([](WheelEntry* entry) {
        auto* self = static_cast<StreamConn*>(entry);
        if (!self->lock.closing()) self->sink->on_timer();
      }) {}

void StreamConn::open_stream(int new_fd, AcceptDesc& from_listener, NetPoller& owner) noexcept {
  // relaxed: the slot is ours alone; open() and then the inbox (or nothing, at home) publish it.
  deadline.store(kNever, std::memory_order_relaxed);
  wants_data.store(true, std::memory_order_relaxed);
  ended = readable = doubted = false;
  of_unix = from_listener.of_unix;
  forget_weight();
  sink = nullptr;
  listener = &from_listener;
  open(new_fd);
  if (of_unix) uneven.store(true, std::memory_order_relaxed);  // a read also ends where descriptors were sent
  home.store(&owner, std::memory_order_seq_cst);
}

Result<std::size_t> StreamConn::try_writev(std::span<const iovec> iov) {
  switch (lock.enter(lock.generation(), FdUse::kWrite)) {
    case FdEnter::kClosed: return std::unexpected(Error{Code::kClosed, 0, "write"});
    case FdEnter::kBusy: fatal("fd %d: two writers on one stream", fd);
    case FdEnter::kInside: break;
  }
  constexpr int kFlags = MSG_DONTWAIT | MSG_NOSIGNAL;
  ssize_t n = 0;
  do {
    if (iov.size() == 1) {
      n = sys().send(fd, iov[0].iov_base, iov[0].iov_len, kFlags);
    } else {
      msghdr msg{};
      msg.msg_iov = const_cast<iovec*>(iov.data());  // sendmsg(2) does not write to it
      msg.msg_iovlen = std::min<std::size_t>(iov.size(), IOV_MAX);
      n = sys().sendmsg(fd, &msg, kFlags);
    }
  } while (n == -EINTR);
  leave(FdUse::kWrite);
  if (n < 0) return std::unexpected(Error::from_errno(static_cast<int>(-n), "write"));
  return static_cast<std::size_t>(n);
}

Result<std::size_t> StreamConn::send_of_file(int file, std::uint64_t offset, std::size_t size) {
  if (size == 0) return std::size_t{0};
  if (offset > static_cast<std::uint64_t>(std::numeric_limits<off_t>::max())) return failed(-EINVAL, "sendfile");
  const Inside inside({this, lock.generation()}, FdUse::kWrite, "sendfile");
  if (!inside) return closed("sendfile");
  for (;;) {
    const ssize_t n = sendfile_piece(fd, file, static_cast<off_t>(offset), size);
    if (n >= 0) return static_cast<std::size_t>(n);
    if (n == -EINTR) continue;
    if (lock.closing()) return closed("sendfile");
    if (kernel_cannot(n)) return std::unexpected(Error{Code::kUnsupported, 0, "sendfile"});
    return failed(n, "sendfile");
  }
}

Result<void> StreamConn::wait_writable(TimePoint until, const Context& ctx) {
  switch (lock.enter(lock.generation(), FdUse::kWrite)) {
    case FdEnter::kClosed: return std::unexpected(Error{Code::kClosed, 0, "write"});
    case FdEnter::kBusy: fatal("fd %d: two writers on one stream", fd);
    case FdEnter::kInside: break;
  }
  const WaitResult result = wait_until(Mode::kWrite, to_nanos(until), WaitReason::kIoWait, &ctx);
  leave(FdUse::kWrite);
  if (result.status != WaitStatus::kReady) return std::unexpected(to_error(result, "write", &ctx));
  return {};
}

// A false readiness: it is kept until the next wait (ready_word.h I1) and costs the writer one try.
void StreamConn::wake_writer() {
  if (lock.enter(lock.generation(), FdUse::kOther) != FdEnter::kInside) return;
  if (G* g = out.notify()) ready(g);
  leave(FdUse::kOther);
}

void StreamConn::pause() {
  // relaxed: the flag is a wish; the post publishes it to the home, which may act on an older one until then.
  if (!wants_data.exchange(false, std::memory_order_relaxed)) return;
  home.load(std::memory_order_relaxed)->post(*this, kReqVisit);
}

void StreamConn::resume() {
  if (wants_data.exchange(true, std::memory_order_relaxed)) return;  // as in pause()
  home.load(std::memory_order_relaxed)->post(*this, kReqVisit);
}

void StreamConn::set_timer(std::int64_t when) {
  if (WheelEntry::set(when)) home.load(std::memory_order_relaxed)->post(*this, kReqTimer);
}

void StreamConn::shutdown_write() {
  if (lock.enter(lock.generation(), FdUse::kOther) != FdEnter::kInside) return;
  // The result says nothing new: ENOTCONN means that the peer has gone, and reading reports that.
  static_cast<void>(sys().shutdown(fd, SHUT_WR));
  leave(FdUse::kOther);
}

void StreamConn::close() {
  if (!PollDesc::close(lock.generation())) fatal("fd %d: a stream was closed twice", fd);
}

bool StreamConn::all_arrived() const noexcept {
  auto* self = const_cast<StreamConn*>(this);
  if (self->lock.enter(lock.generation(), FdUse::kOther) != FdEnter::kInside) return false;
  int unsent = 0;
  const int status = ::ioctl(fd, SIOCOUTQ, &unsent);
  self->leave(FdUse::kOther);
  return status == 0 && unsent == 0;
}

std::string StreamConn::peer_address() const {
  if (const Result<PeerCredentials> who = peer_credentials())
    return "unix:uid=" + std::to_string(who->uid) + ",pid=" + std::to_string(who->pid);
  const Address address = peer();
  return address.family() == AF_UNSPEC ? std::string() : address.to_string();
}

Address StreamConn::peer() const {
  auto* self = const_cast<StreamConn*>(this);
  if (self->lock.enter(lock.generation(), FdUse::kOther) != FdEnter::kInside) return {};
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  const int status = sys().getpeername(fd, reinterpret_cast<sockaddr*>(&storage), &length);
  self->leave(FdUse::kOther);
  if (status < 0) return {};  // ENOTCONN: reset meanwhile
  return Address::from(reinterpret_cast<const sockaddr*>(&storage), length);
}

Result<PeerCredentials> StreamConn::peer_credentials() const {
  if (!of_unix) return Stream::peer_credentials();
  return credentials_of({const_cast<StreamConn*>(this), lock.generation()});
}

Result<Address> StreamConn::local_address() const {
  const Inside inside({const_cast<StreamConn*>(this), lock.generation()}, FdUse::kOther, "local_address");
  if (!inside) return closed("local_address");
  return local_address_of(fd);
}

Result<Address> StreamConn::remote_address() const {
  const Inside inside({const_cast<StreamConn*>(this), lock.generation()}, FdUse::kOther, "remote_address");
  if (!inside) return closed("remote_address");
  return peer_address_of(fd);
}

void StreamConn::deliver_end(Error reason) noexcept {
  if (ended) return;
  ended = true;
  if (!lock.closing()) sink->on_end(reason);
}

Slab<StreamConn>& stream_slab() noexcept {
  static constinit Slab<StreamConn> slab;
  return slab;
}

}  // namespace heddle::net
