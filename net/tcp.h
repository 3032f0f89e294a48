// TCP for goroutines: listen, accept, dial, and a Conn that is read and written in blocking style.
//
//     auto listener = net::listen(*net::Address::parse(":7000"));
//     while (auto conn = listener->accept()) {
//       go([c = std::move(*conn)]() mutable {
//         std::byte buf[4096];
//         for (auto n = c.read(buf); n && *n > 0; n = c.read(buf)) {
//           if (!c.write({buf, *n})) break;
//         }
//       });
//     }
//
// A call that cannot go on parks its goroutine and no thread. Errors are values: kTimeout past a deadline, kClosed if this
// side closed (before or during the call), kReset if the peer did so rudely, else the errno by name.
//
// A Conn and a Listener belong to the run() in which they were made: its end closes those that are left.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include <heddle/core/clock.h>
#include <heddle/core/error.h>
#include <heddle/net/address.h>

namespace heddle::net {

struct PollDesc;

namespace detail {

/// Names a descriptor without keeping it: a slot that is never freed, and the generation that is meant. Once that has been
/// closed the handle finds so, whoever has the slot then. A zero handle is closed.
struct Handle {
  PollDesc* pd = nullptr;
  std::uint32_t generation = 0;
};

}  // namespace detail

/// One end of a TCP connection. Movable; the destructor closes it.
///
/// Threads: one goroutine reads and one writes at a time (a second reader dies with a message); all else from any
/// goroutine, also while others read and write. Moving and destroying are for who owns it alone.
class Conn {
 public:
  Conn() noexcept = default;  // closed
  explicit Conn(detail::Handle handle) noexcept : handle_(handle) {}
  ~Conn() { close(); }
  Conn(Conn&& other) noexcept : handle_(other.release()) {}
  Conn& operator=(Conn&& other) noexcept;

  /// Reads into `buf`; parks until at least one byte, end of stream, or an error.
  ///
  /// Returns: bytes read; 0 only at end of stream (an empty `buf` returns 0 at once).
  /// Errors:  kTimeout past the read deadline, kClosed if close() won, else the errno of recv(2).
  /// Lifetime: `buf` is not touched after the call has returned.
  [[nodiscard]] Result<std::size_t> read(std::span<std::byte> buf);

  /// Reads until `buf` is full. Returns its size, or less if the stream ended first (0: it ended before the first byte).
  [[nodiscard]] Result<std::size_t> read_full(std::span<std::byte> buf);

  /// Writes all of `buf`; parks while the peer is slow.
  ///
  /// Errors:  kTimeout past the write deadline, kClosed if close() won, kReset if the peer is gone, else the errno of
  ///          send(2). Some of `buf` may have been sent then.
  [[nodiscard]] Result<void> write(std::span<const std::byte> buf);

  /// Writes all of several buffers, in order, in as few system calls as there can be.
  [[nodiscard]] Result<void> writev(std::span<const iovec> buffers);

  /// Stops reading: what comes is dropped, a reader finds the end of the stream.
  [[nodiscard]] Result<void> close_read();
  /// Sends FIN after what was written: the peer finds the end of the stream. Reading goes on.
  [[nodiscard]] Result<void> close_write();

  /// Deadlines of reading, writing, both. One in the past fails calls at once, also those that wait now; kNoDeadline clears.
  /// They stay in force for all later calls.
  void set_read_deadline(TimePoint when) noexcept;
  void set_write_deadline(TimePoint when) noexcept;
  void set_deadline(TimePoint when) noexcept;

  /// TCP_NODELAY: on by default. Off lets the kernel gather small writes (Nagle).
  [[nodiscard]] Result<void> set_nodelay(bool on);
  /// SO_LINGER. Zero seconds: close() drops what is not sent and resets the connection. nullopt: the kernel's default, close()
  /// returns at once and what was written is still sent.
  [[nodiscard]] Result<void> set_linger(std::optional<int> seconds);

  [[nodiscard]] Result<Address> local_address() const;
  [[nodiscard]] Result<Address> remote_address() const;

  /// The descriptor, or -1 if closed. For socket options; who closes it, or makes it blocking, breaks the connection.
  [[nodiscard]] int native_handle() const noexcept;

  /// Ends the connection: who reads or writes gets kClosed. What was written is still sent, unless input was left unread
  /// (then the kernel resets the connection). Idempotent; never parks.
  void close() noexcept;

 private:
  detail::Handle release() noexcept {
    const detail::Handle handle = handle_;
    handle_ = {};
    return handle;
  }

  detail::Handle handle_;
};

struct ListenOptions {
  int backlog = 4096;       // connections that the kernel completes ahead of accept(); it may cap this (somaxconn)
  bool reuse_port = false;  // SO_REUSEPORT: share the port with other sockets that set it
};

/// A listening TCP socket. Movable.
class Listener {
 public:
  Listener() noexcept = default;  // closed
  explicit Listener(detail::Handle handle) noexcept : handle_(handle) {}
  /// Closes, without waiting for the port as close() does.
  ~Listener();
  Listener(Listener&& other) noexcept : handle_(other.release()) {}
  Listener& operator=(Listener&& other) noexcept;

  /// Takes the next connection; parks until there is one.
  ///
  /// Errors:  kClosed if close() won; kTimeout past the deadline; kNoResources if the process is out of descriptors or
  ///          memory: the connection stays queued, so sleep a little and call again. What fails about one connection
  ///          (ECONNABORTED …) is skipped.
  /// Threads: one goroutine at a time; a second one dies with a message.
  [[nodiscard]] Result<Conn> accept();

  /// The deadline of accept().
  void set_deadline(TimePoint when) noexcept;

  /// The address in use, with the port that the kernel picked.
  [[nodiscard]] Result<Address> local_address() const;
  [[nodiscard]] int native_handle() const noexcept;

  /// Ends the listener: who accepts gets kClosed; connections not accepted are reset. Parks until the port is free, so the
  /// next listen() on it works. Idempotent: a second call returns at once. Threads: a goroutine.
  void close();

 private:
  detail::Handle release() noexcept {
    const detail::Handle handle = handle_;
    handle_ = {};
    return handle;
  }

  detail::Handle handle_;
};

struct DialOptions {
  TimePoint deadline = kNoDeadline;  // for connecting, from the call to the handshake's end
};

/// Listens on `address`. ":PORT" takes IPv6 and IPv4. TCP_NODELAY is set on what is accepted.
///
/// Errors:  kAddressInUse (after trying for a second: a predecessor's sockets may outlive it that long), else the errno
///          of socket(2), bind(2), listen(2).
/// Threads: a goroutine.
[[nodiscard]] Result<Listener> listen(const Address& address, const ListenOptions& options = {});

/// Connects to `address`; parks until connected. TCP_NODELAY is set.
///
/// Errors:  kRefused, kUnreachable, kTimeout (the deadline, or the kernel's own ETIMEDOUT), else the errno of connect(2).
/// Threads: a goroutine.
[[nodiscard]] Result<Conn> dial(const Address& address, const DialOptions& options = {});

}  // namespace heddle::net
