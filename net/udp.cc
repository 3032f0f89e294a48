// UDP: making sockets, and datagrams in and out.
//
// I1. What a system call fills in lies on the stack of the call that makes it, and is read before anything parks.
// I2. A batch goes in pieces of kMostInBatch: their headers (5 KB) are to fit into a goroutine's stack, and are not
//     held while it waits (noinline).
#include <heddle/net/udp.h>

#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string>

#include <heddle/core/go.h>
#include <heddle/net/internal/fd_use.h>

namespace heddle::net {
namespace {

using namespace std::chrono_literals;

constexpr auto kBindPatience = 1s;  // as for TCP (socket.cc)
constexpr auto kBindPause = 5ms;
constexpr std::size_t kBatch = kMostInBatch;
constexpr std::size_t kMostSegments = 64;   // UDP_MAX_SEGMENTS of the first kernels that had it
constexpr std::size_t kMostInOne = 65'000;  // bytes of one sendmsg(2): 65535 less headers and IP's options
constexpr std::size_t kControl = CMSG_SPACE(sizeof(int));

iovec vector_of(std::span<const std::byte> data) noexcept {
  return {const_cast<std::byte*>(data.data()), data.size()};  // sending only reads
}

void set_target(msghdr& msg, const Address& to) noexcept {
  if (to.size() == 0) return;
  msg.msg_name = const_cast<sockaddr*>(to.sa());
  msg.msg_namelen = to.size();
}

// Where one receive puts what is not data.
struct Envelope {
  sockaddr_in6 from;  // the largest that comes
  alignas(cmsghdr) std::array<std::byte, kControl> control;

  void attach(msghdr& msg, iovec& iov) noexcept {
    msg = {};
    msg.msg_name = &from;
    msg.msg_namelen = sizeof from;
    msg.msg_iov = &iov;
    msg.msg_iovlen = 1;
    msg.msg_control = control.data();
    msg.msg_controllen = control.size();
  }

  void open(msghdr& msg, std::size_t size, Datagram& out) const noexcept {
    out.size = size;
    out.truncated = (msg.msg_flags & MSG_TRUNC) != 0;
    out.segment = 0;
    out.from = Address::from(reinterpret_cast<const sockaddr*>(&from), msg.msg_namelen);
    for (cmsghdr* c = CMSG_FIRSTHDR(&msg); c != nullptr; c = CMSG_NXTHDR(&msg, c)) {
      if (c->cmsg_level != IPPROTO_UDP || c->cmsg_type != UDP_GRO) continue;
      int segment = 0;
      std::memcpy(&segment, CMSG_DATA(c), sizeof segment);
      // One datagram is one, whatever it is called.
      if (size > static_cast<std::size_t>(segment)) out.segment = static_cast<std::uint16_t>(segment);
    }
  }
};

Result<Datagram> receive(const detail::Handle& handle, const Context* ctx, std::span<std::byte> buf) {
  Inside inside(handle, FdUse::kRead, "receive_from");
  if (!inside) return closed("receive_from");
  PollDesc& pd = *inside;
  Datagram got;
  const Result<ssize_t> n = until_ready(pd, Mode::kRead, ctx, "receive_from", [&]() -> ssize_t {
    Envelope envelope;
    iovec iov{buf.data(), buf.size()};
    msghdr msg;
    envelope.attach(msg, iov);
    const ssize_t size = sys().recvmsg(pd.fd, &msg, MSG_DONTWAIT);
    if (size >= 0) envelope.open(msg, static_cast<std::size_t>(size), got);
    return size;
  });
  if (!n) return std::unexpected(n.error());
  return got;
}

Result<std::size_t> receive_many(const detail::Handle& handle, const Context* ctx, std::span<BatchIn> batch) {
  Inside inside(handle, FdUse::kRead, "receive_batch");
  if (!inside) return closed("receive_batch");
  if (batch.empty()) return std::size_t{0};
  PollDesc& pd = *inside;
  // One call and no more: an error that came after some datagrams is kept by the kernel for the next one.
  const Result<ssize_t> n = until_ready(
      pd, Mode::kRead, ctx, "receive_batch", [&]() __attribute__((noinline))->ssize_t {
        const std::size_t room = std::min(batch.size(), kBatch);
        std::array<mmsghdr, kBatch> messages;
        std::array<iovec, kBatch> iov;
        std::array<Envelope, kBatch> envelopes;
        for (std::size_t i = 0; i < room; ++i) {
          iov[i] = {batch[i].buf.data(), batch[i].buf.size()};
          envelopes[i].attach(messages[i].msg_hdr, iov[i]);
        }
        const int came = sys().recvmmsg(pd.fd, messages.data(), static_cast<unsigned>(room), MSG_DONTWAIT);
        for (int i = 0; i < came; ++i) {
          const auto k = static_cast<std::size_t>(i);
          envelopes[k].open(messages[k].msg_hdr, messages[k].msg_len, batch[k]);
        }
        return came;
      });
  if (!n) return std::unexpected(n.error());
  return static_cast<std::size_t>(*n);
}

Result<void> send_one(const detail::Handle& handle, const Context* ctx, std::span<const std::byte> data,
                      const Address& to, const char* op) {
  Inside inside(handle, FdUse::kWrite, op);
  if (!inside) return closed(op);
  PollDesc& pd = *inside;
  const Result<ssize_t> n = until_ready(pd, Mode::kWrite, ctx, op, [&] {
    iovec iov = vector_of(data);
    msghdr msg{};
    set_target(msg, to);
    msg.msg_iov = &iov;
    msg.msg_iovlen = 1;
    return sys().sendmsg(pd.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
  });
  if (!n) return std::unexpected(n.error());
  return {};
}

// Sends `count` datagrams; `at(i, iov, msg)` says what the i-th is. Returns how many went out.
template <class At>
Result<std::size_t> send_many(PollDesc& pd, const Context* ctx, std::size_t count, const char* op, At at) {
  std::size_t done = 0;
  const auto send_piece = [&]() __attribute__((noinline))->ssize_t {
    const std::size_t piece = std::min(count - done, kBatch);
    std::array<mmsghdr, kBatch> messages;
    std::array<iovec, kBatch> iov;
    for (std::size_t i = 0; i < piece; ++i) {
      messages[i] = {};
      messages[i].msg_hdr.msg_iov = &iov[i];
      messages[i].msg_hdr.msg_iovlen = 1;
      at(done + i, iov[i], messages[i].msg_hdr);
    }
    return sys().sendmmsg(pd.fd, messages.data(), static_cast<unsigned>(piece), MSG_DONTWAIT | MSG_NOSIGNAL);
  };
  while (done < count) {
    const Result<ssize_t> n = until_ready(pd, Mode::kWrite, ctx, op, send_piece);
    if (!n && done == 0) return std::unexpected(n.error());
    if (!n) break;
    done += static_cast<std::size_t>(*n);
  }
  return done;
}

Result<std::size_t> send_all_of(const detail::Handle& handle, const Context* ctx, std::span<const BatchOut> batch) {
  Inside inside(handle, FdUse::kWrite, "send_batch");
  if (!inside) return closed("send_batch");
  return send_many(*inside, ctx, batch.size(), "send_batch", [&](std::size_t i, iovec& iov, msghdr& msg) {
    iov = vector_of(batch[i].data);
    set_target(msg, batch[i].to);
  });
}

// True for what sendmsg(2) says if it cannot cut: an old kernel, a route whose card cannot, segments above the path's
// MTU. If it means the datagrams themselves, sending them one by one says so again.
bool cannot_cut(int error) noexcept {
  switch (error) {
    case EINVAL:
    case EIO:
    case EMSGSIZE:
    case EOPNOTSUPP:
    case ENOPROTOOPT: return true;
    default: return false;
  }
}

ssize_t send_cut(int fd, std::span<const std::byte> data, std::uint16_t segment, const Address& to) noexcept {
  iovec iov = vector_of(data);
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof segment)> control{};
  msghdr msg{};
  set_target(msg, to);
  msg.msg_iov = &iov;
  msg.msg_iovlen = 1;
  msg.msg_control = control.data();
  msg.msg_controllen = control.size();
  cmsghdr* c = CMSG_FIRSTHDR(&msg);
  c->cmsg_level = IPPROTO_UDP;
  c->cmsg_type = UDP_SEGMENT;
  c->cmsg_len = CMSG_LEN(sizeof segment);
  std::memcpy(CMSG_DATA(c), &segment, sizeof segment);
  return sys().sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

Result<std::size_t> send_in_segments(const detail::Handle& handle, const Context* ctx, std::span<const std::byte> data,
                                     std::uint16_t segment, const Address& to) {
  constexpr const char* kOp = "send_segments";
  if (segment == 0) return std::unexpected(Error{Code::kInvalid, 0, kOp});
  Inside inside(handle, FdUse::kWrite, kOp);
  if (!inside) return closed(kOp);
  PollDesc& pd = *inside;
  // As many segments as fit into one call; data of one segment needs no cutting.
  const std::size_t in_one = std::clamp<std::size_t>(kMostInOne / segment, 1, kMostSegments) * segment;
  std::size_t done = 0;
  while (in_one > segment && data.size() - done > segment) {
    const std::span<const std::byte> piece = data.subspan(done, std::min(in_one, data.size() - done));
    const Result<ssize_t> n =
        until_ready(pd, Mode::kWrite, ctx, kOp, [&] { return send_cut(pd.fd, piece, segment, to); });
    if (!n) {
      if (cannot_cut(n.error().sys)) break;
      if (done == 0) return std::unexpected(n.error());
      return done;
    }
    done += piece.size();
  }
  if (done == data.size()) return done;
  const std::span<const std::byte> rest = data.subspan(done);
  const Result<std::size_t> sent =
      send_many(pd, ctx, (rest.size() + segment - 1) / segment, kOp, [&](std::size_t i, iovec& iov, msghdr& msg) {
        const auto one = rest.subspan(i * segment);
        iov = vector_of(one.first(std::min<std::size_t>(one.size(), segment)));
        set_target(msg, to);
      });
  if (!sent && done == 0) return sent;
  return done + (sent ? std::min(*sent * segment, rest.size()) : 0);
}

bool is_any_v6(const Address& address) noexcept {
  return address.family() == AF_INET6 &&
         IN6_IS_ADDR_UNSPECIFIED(&reinterpret_cast<const sockaddr_in6*>(address.sa())->sin6_addr);
}

Address any_v4(const Address& any_v6) { return *Address::parse("0.0.0.0:" + std::to_string(any_v6.port())); }

Result<OwnedFd> udp_socket(int family, const char* op) {
  const int fd = sys().socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return failed(fd, op);
  return OwnedFd(fd);
}

Result<UdpSocket> socket_of(OwnedFd fd, const char* op) {
  const Result<detail::Handle> handle = adopt_fd(std::move(fd), op);
  if (!handle) return std::unexpected(handle.error());
  return UdpSocket(*handle);
}

}  // namespace

Result<UdpSocket> UdpSocket::adopt(int fd) {
  static_cast<void>(must_current_g("net: UdpSocket::adopt"));
  OwnedFd owned(fd);
  if (const Result<void> fits = check_socket(fd, {.type = SOCK_DGRAM, .ip = true}, "adopt"); !fits) {
    return std::unexpected(fits.error());
  }
  return socket_of(std::move(owned), "adopt");
}

Result<Datagram> UdpSocket::receive_from(std::span<std::byte> buf) { return receive(handle_, nullptr, buf); }
Result<Datagram> UdpSocket::receive_from(const Context& ctx, std::span<std::byte> buf) {
  return receive(handle_, &ctx, buf);
}

Result<std::size_t> UdpSocket::receive_batch(std::span<BatchIn> batch) { return receive_many(handle_, nullptr, batch); }
Result<std::size_t> UdpSocket::receive_batch(const Context& ctx, std::span<BatchIn> batch) {
  return receive_many(handle_, &ctx, batch);
}

Result<void> UdpSocket::send_to(std::span<const std::byte> data, const Address& to) {
  return send_one(handle_, nullptr, data, to, "send_to");
}
Result<void> UdpSocket::send_to(const Context& ctx, std::span<const std::byte> data, const Address& to) {
  return send_one(handle_, &ctx, data, to, "send_to");
}

Result<void> UdpSocket::send(std::span<const std::byte> data) { return send_one(handle_, nullptr, data, {}, "send"); }
Result<void> UdpSocket::send(const Context& ctx, std::span<const std::byte> data) {
  return send_one(handle_, &ctx, data, {}, "send");
}

Result<std::size_t> UdpSocket::send_batch(std::span<const BatchOut> batch) {
  return send_all_of(handle_, nullptr, batch);
}
Result<std::size_t> UdpSocket::send_batch(const Context& ctx, std::span<const BatchOut> batch) {
  return send_all_of(handle_, &ctx, batch);
}

Result<std::size_t> UdpSocket::send_segments(std::span<const std::byte> data, std::uint16_t segment,
                                             const Address& to) {
  return send_in_segments(handle_, nullptr, data, segment, to);
}
Result<std::size_t> UdpSocket::send_segments(const Context& ctx, std::span<const std::byte> data, std::uint16_t segment,
                                             const Address& to) {
  return send_in_segments(handle_, &ctx, data, segment, to);
}

Result<bool> UdpSocket::set_gro(bool on) {
  const Result<void> set =
      with_fd(handle_, "set_gro", [on](PollDesc& pd) { return set_flag(pd.fd, IPPROTO_UDP, UDP_GRO, on ? 1 : 0); });
  if (set) return true;
  if (set.error().sys == ENOPROTOOPT) return false;
  return std::unexpected(set.error());
}

Result<void> UdpSocket::set_buffers(std::optional<int> receive, std::optional<int> send) {
  return with_fd(handle_, "set_buffers", [&](PollDesc& pd) {
    int status = receive ? set_flag(pd.fd, SOL_SOCKET, SO_RCVBUF, *receive) : 0;
    if (status == 0 && send) status = set_flag(pd.fd, SOL_SOCKET, SO_SNDBUF, *send);
    return status;
  });
}

Result<void> UdpSocket::set_broadcast(bool on) {
  return with_fd(handle_, "set_broadcast",
                 [on](PollDesc& pd) { return set_flag(pd.fd, SOL_SOCKET, SO_BROADCAST, on ? 1 : 0); });
}

void UdpSocket::set_read_deadline(TimePoint when) noexcept { net::set_deadline(handle_, Mode::kRead, when); }
void UdpSocket::set_write_deadline(TimePoint when) noexcept { net::set_deadline(handle_, Mode::kWrite, when); }

Result<Address> UdpSocket::local_address() const {
  Inside inside(handle_, FdUse::kOther, "local_address");
  if (!inside) return closed("local_address");
  return local_address_of(inside->fd);
}

Result<Address> UdpSocket::remote_address() const {
  Inside inside(handle_, FdUse::kOther, "remote_address");
  if (!inside) return closed("remote_address");
  return peer_address_of(inside->fd);
}

Result<UdpSocket> bind_udp(const Address& address, const UdpOptions& options) {
  static_cast<void>(must_current_g("net::bind_udp"));
  const bool any = is_any_v6(address);
  const Address& at = any && options.family == IpFamily::kV4 ? any_v4(address) : address;
  const int wanted = options.family == IpFamily::kV4 ? AF_INET : options.family == IpFamily::kV6 ? AF_INET6 : 0;
  if (wanted != 0 && wanted != at.family()) return std::unexpected(Error{Code::kInvalid, 0, "bind"});
  const bool dual = any && options.family == IpFamily::kAny;
  const TimePoint give_up = now() + kBindPatience;
  for (;;) {
    Result<OwnedFd> fd = udp_socket(at.family(), "bind");
    if (!fd && fd.error().sys == EAFNOSUPPORT && dual) return bind_udp(any_v4(address), options);
    if (!fd) return std::unexpected(fd.error());
    int status = options.reuse_port ? set_flag(fd->get(), SOL_SOCKET, SO_REUSEPORT, 1) : 0;
    if (status == 0 && at.family() == AF_INET6) status = set_flag(fd->get(), IPPROTO_IPV6, IPV6_V6ONLY, dual ? 0 : 1);
    if (status == 0 && options.configure) {
      if (const Result<void> set = options.configure(fd->get()); !set) return std::unexpected(set.error());
    }
    if (status == 0) status = sys().bind(fd->get(), at.sa(), at.size());
    if (status == 0) return socket_of(std::move(*fd), "bind");
    if (status != -EADDRINUSE || now() >= give_up) return failed(status, "bind");
    sleep(kBindPause);
  }
}

Result<UdpSocket> dial_udp(const Address& address, const UdpDialOptions& options) {
  static_cast<void>(must_current_g("net::dial_udp"));
  Result<OwnedFd> fd = udp_socket(address.family(), "dial");
  if (!fd) return std::unexpected(fd.error());
  if (options.configure) {
    if (const Result<void> set = options.configure(fd->get()); !set) return std::unexpected(set.error());
  }
  int status = options.local ? sys().bind(fd->get(), options.local->sa(), options.local->size()) : 0;
  if (status == 0) status = sys().connect(fd->get(), address.sa(), address.size());
  if (status < 0) return failed(status, "dial");
  return socket_of(std::move(*fd), "dial");
}

}  // namespace heddle::net
