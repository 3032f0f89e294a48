// UDP for goroutines: datagrams one by one, in batches, and in segments that the kernel cuts or joins.
//
//     auto socket = net::bind_udp(*net::Address::parse(":5353"));
//     std::byte buf[1500];
//     while (auto got = socket->receive_from(buf)) {
//       socket->send_to({buf, got->size}, got->from);
//     }
//
// A datagram arrives whole or not at all, in any order, or twice. A call that cannot go on parks its goroutine and no
// thread. Errors are values: kTimeout past a deadline, kClosed if this side closed, kRefused on a connected socket if
// an earlier datagram met nobody (told once, by the next call of either direction), else the errno by name.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include <heddle/core/clock.h>
#include <heddle/core/context.h>
#include <heddle/core/error.h>
#include <heddle/net/address.h>
#include <heddle/net/descriptor.h>
#include <heddle/net/listen_options.h>

namespace heddle::net {

/// What a receive got.
struct Datagram {
  std::size_t size = 0;    // bytes in the caller's buffer
  bool truncated = false;  // it was longer than the buffer, its rest is gone
  /// Not 0: `size` bytes are several datagrams of this size, the last one may be shorter (set_gro()).
  std::uint16_t segment = 0;
  Address from;
};

/// How many datagrams one receive_batch() takes at most.
inline constexpr std::size_t kMostInBatch = 32;

/// One of many to receive: where to, then what came.
struct BatchIn : Datagram {
  std::span<std::byte> buf;
};

/// One of many to send.
struct BatchOut {
  std::span<const std::byte> data;
  Address to;  // empty: the peer of a connected socket
};

/// A UDP socket, bound or connected. Movable; the destructor closes it.
///
/// Threads: one goroutine receives and one sends at a time (a second one dies with a message); all else from any
///          goroutine, also
/// while others are at it. Moving and destroying are for who owns it alone.
/// Lifetime: buffers are not touched after the call that was given them.
class UdpSocket final : public Descriptor {
 public:
  UdpSocket() noexcept = default;  // closed
  explicit UdpSocket(detail::Handle handle) noexcept : Descriptor(handle) {}

  /// Makes one of a UDP socket, which it owns then, also if this fails. The reverse of release_fd().
  ///
  /// Errors:  kInvalid if `fd` is no UDP socket; kNoResources. Threads: a goroutine.
  [[nodiscard]] static Result<UdpSocket> adopt(int fd);

  /// Takes the next datagram; parks until there is one. An empty one has size 0. Source: recvmsg(2), udp(7).
  [[nodiscard]] Result<Datagram> receive_from(std::span<std::byte> buf);
  [[nodiscard]] Result<Datagram> receive_from(const Context& ctx, std::span<std::byte> buf);

  /// Takes what is there, at most kMostInBatch and as many as `batch` has places; parks until there is one. Returns how
  /// many: the first ones of `batch` are filled in. Source: recvmmsg(2).
  [[nodiscard]] Result<std::size_t> receive_batch(std::span<BatchIn> batch);
  [[nodiscard]] Result<std::size_t> receive_batch(const Context& ctx, std::span<BatchIn> batch);

  /// Sends a datagram to `to`; parks while the send buffer is full.
  ///
  /// Errors:  kSystem with EMSGSIZE if it is larger than the protocol allows; kUnreachable; kNoResources. Source:
  ///          sendmsg(2).
  [[nodiscard]] Result<void> send_to(std::span<const std::byte> data, const Address& to);
  [[nodiscard]] Result<void> send_to(const Context& ctx, std::span<const std::byte> data, const Address& to);

  /// The same to the peer of a connected socket. Errors: also kSystem with EDESTADDRREQ if it has none.
  [[nodiscard]] Result<void> send(std::span<const std::byte> data);
  [[nodiscard]] Result<void> send(const Context& ctx, std::span<const std::byte> data);

  /// Sends all of `batch` in order, in few system calls; parks while the send buffer is full.
  ///
  /// Returns: how many were sent. Less than all: the next one failed, and a call that begins with it tells why (or
  ///          sends it, if what failed was no fault of its own).
  /// Errors:  those of the first one. Source: sendmmsg(2).
  [[nodiscard]] Result<std::size_t> send_batch(std::span<const BatchOut> batch);
  [[nodiscard]] Result<std::size_t> send_batch(const Context& ctx, std::span<const BatchOut> batch);

  /// Sends `data` as datagrams of `segment` bytes, the last one may be shorter, to `to` (empty: the peer). The kernel,
  /// or the network card, cuts them (UDP_SEGMENT) where that can be had; else they are a batch. Which of the two is
  /// decided by what the kernel says to the first, and anew in each call.
  ///
  /// Returns: bytes sent, whole segments. Less than all: as send_batch(). Errors: kInvalid if `segment` is 0; as
  ///          send_to().
  /// Source:  udp(7), UDP_SEGMENT.
  [[nodiscard]] Result<std::size_t> send_segments(std::span<const std::byte> data, std::uint16_t segment,
                                                  const Address& to = {});
  [[nodiscard]] Result<std::size_t> send_segments(const Context& ctx, std::span<const std::byte> data,
                                                  std::uint16_t segment, const Address& to = {});

  /// UDP_GRO: lets the kernel hand datagrams of one sender over joined; Datagram::segment says how they were. Buffers
  /// should have 64 KiB then. Returns false, and nothing changes, where the kernel has no such thing. Source: udp(7).
  [[nodiscard]] Result<bool> set_gro(bool on);

  /// SO_RCVBUF, SO_SNDBUF in bytes; the kernel may cap them. What comes while the receive buffer is full is dropped.
  [[nodiscard]] Result<void> set_buffers(std::optional<int> receive, std::optional<int> send);
  /// SO_BROADCAST: off by default.
  [[nodiscard]] Result<void> set_broadcast(bool on);

  /// Receives, besides all else, what is sent to the multicast address `group` (its port does not matter), by the
  /// interface with this index (interface_index(); 0: the kernel picks one by its routes). What comes must also fit the
  /// address that the socket is bound to: ":PORT", or the group itself. Source: ip(7), ipv6(7), RFC 3678.
  ///
  /// Errors:  kInvalid if `group` is no multicast address, or of a family that the socket has not; kAddressInUse if it has
  ///          joined it there; kSystem with ENODEV if there is no such interface; kNoResources over the kernel's limit.
  [[nodiscard]] Result<void> join_group(const Address& group, unsigned interface = 0);
  /// The reverse, with the same two. Errors: also kSystem with EADDRNOTAVAIL if it had not joined.
  [[nodiscard]] Result<void> leave_group(const Address& group, unsigned interface = 0);
  /// By which interface multicast is sent; 0: by the routes, as without this.
  [[nodiscard]] Result<void> set_multicast_interface(unsigned interface);
  /// Whether members on this machine get what this socket sends to a group: on by default. (For IPv4 and IPv6 alike:
  /// Linux asks the sender.)
  [[nodiscard]] Result<void> set_multicast_loop(bool on);
  /// How many routers multicast may cross, plus one; 1, this network, by default; 0: this machine alone. At most 255.
  [[nodiscard]] Result<void> set_multicast_ttl(int hops);

  /// Deadlines of receiving, sending, both. One in the past fails calls at once, also those that wait now; kNoDeadline
  /// clears.
  void set_read_deadline(TimePoint when) noexcept;
  void set_write_deadline(TimePoint when) noexcept;
  void set_deadline(TimePoint when) noexcept {
    set_read_deadline(when);
    set_write_deadline(when);
  }

  /// The address in use, with the port that the kernel picked.
  [[nodiscard]] Result<Address> local_address() const;
  /// The peer's; kSystem with ENOTCONN if there is none.
  [[nodiscard]] Result<Address> remote_address() const;
};

struct UdpOptions {
  bool reuse_port = false;           // SO_REUSEPORT: share the port with other sockets that set it
  IpFamily family = IpFamily::kAny;  // as ListenOptions'
  /// Called with the socket before it is bound, possibly more than once, with another socket each time.
  std::function<Result<void>(int fd)> configure = {};
};

struct UdpDialOptions {
  std::optional<Address> local = {};  // where our end is bound; port 0: the kernel picks one
  std::function<Result<void>(int fd)> configure = {};
};

/// The index of the interface called `name` ("eth0"). Errors: kNotFound. Threads: any. Source: if_nametoindex(3).
[[nodiscard]] Result<unsigned> interface_index(const std::string& name);

/// A socket that receives at `address` and sends from there. ":PORT" takes IPv6 and IPv4; port 0: the kernel picks one.
///
/// Errors:  kAddressInUse (after trying for a second: a socket that was closed may keep its port that long), what
///          options.configure said, else the errno of socket(2), bind(2).
/// Threads: a goroutine.
[[nodiscard]] Result<UdpSocket> bind_udp(const Address& address, const UdpOptions& options = {});

/// A socket that sends to `address` and receives from there alone. Nothing is sent by this, so nobody need be there.
///
/// Errors:  kUnreachable, what options.configure said, else the errno of bind(2) or connect(2). Threads: a goroutine.
[[nodiscard]] Result<UdpSocket> dial_udp(const Address& address, const UdpDialOptions& options = {});

}  // namespace heddle::net
