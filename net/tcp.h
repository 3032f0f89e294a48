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

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include <heddle/core/clock.h>
#include <heddle/core/context.h>
#include <heddle/core/error.h>
#include <heddle/net/address.h>
#include <heddle/net/listen_options.h>
#include <heddle/net/socket_transport.h>

namespace heddle::net {

/// SO_KEEPALIVE: the kernel asks a silent peer whether it is there, after `idle`, then every `interval`; after `probes` without
/// an answer reading and writing fail with kTimeout (ETIMEDOUT). Whole seconds, at least one. Source: tcp(7).
struct KeepAlive {
  std::chrono::seconds idle{15};
  std::chrono::seconds interval{15};
  int probes = 9;
};

/// One end of a TCP connection. Movable; the destructor closes it.
///
/// Threads: one goroutine reads and one writes at a time (a second reader dies with a message); all else from any
/// goroutine, also while others read and write. Moving and destroying are for who owns it alone.
class Conn final : public SocketTransport {
 public:
  Conn() noexcept = default;  // closed
  explicit Conn(detail::Handle handle) noexcept : SocketTransport(handle) {}
  Conn(Conn&& other) noexcept = default;
  Conn& operator=(Conn&& other) noexcept = default;

  /// Makes a Conn of a connected TCP socket, which it owns then, also if this fails. The reverse of release_fd().
  ///
  /// Errors:  kInvalid if `fd` is no TCP socket; kNoResources. Threads: a goroutine.
  [[nodiscard]] static Result<Conn> adopt(int fd);

  /// TCP_NODELAY: on by default. Off lets the kernel gather small writes (Nagle).
  [[nodiscard]] Result<void> set_nodelay(bool on);
  /// SO_LINGER. Zero seconds: close() drops what is not sent and resets the connection. nullopt: the kernel's default, close()
  /// returns at once and what was written is still sent.
  [[nodiscard]] Result<void> set_linger(std::optional<int> seconds);
  /// Keep-alive probes; nullopt, the default, sends none.
  [[nodiscard]] Result<void> set_keep_alive(std::optional<KeepAlive> value);
};

/// A listening TCP socket. Movable.
///
/// The destructor closes without waiting for the port, as close() does. release_fd() hands the listening socket over, with
/// the connections that wait in it.
class Listener final : public TransportListener, public Descriptor {
 public:
  Listener() noexcept = default;  // closed
  explicit Listener(detail::Handle handle) noexcept : Descriptor(handle) {}
  Listener(Listener&& other) noexcept = default;
  Listener& operator=(Listener&& other) noexcept = default;

  /// Makes a Listener of a listening TCP socket, such as a supervisor passes on (inherit.h); it owns `fd` then, also if this
  /// fails. Errors: kInvalid if it does not listen, or for TCP; kNoResources. Threads: a goroutine.
  [[nodiscard]] static Result<Listener> adopt(int fd);

  /// Takes the next connection; parks until there is one.
  ///
  /// Errors:  kClosed if close() won; kTimeout past the deadline; kNoResources if the process is out of descriptors or
  ///          memory: the connection stays queued, so sleep a little and call again. What fails about one connection
  ///          (ECONNABORTED …) is skipped.
  /// Threads: one goroutine at a time; a second one dies with a message.
  [[nodiscard]] Result<Conn> accept();
  /// The same within `ctx`: its end ends the call, with its code.
  [[nodiscard]] Result<Conn> accept(const Context& ctx);

  [[nodiscard]] Result<std::unique_ptr<Transport>> accept_transport() override;

  /// The deadline of accept().
  void set_deadline(TimePoint when) noexcept;

  /// The address in use, with the port that the kernel picked.
  [[nodiscard]] Result<Address> local_address() const override;

  /// Ends the listener so that no client is reset: the kernel lets no further connection in, accept() goes on giving those
  /// that it had let in, and then kClosed. Parks until the port is free.
  ///
  /// With ListenOptions::reuse_port new connections go to the others that share the port, and handshakes under way get
  /// `patience` to end; for that time the group's selecting program (SO_ATTACH_REUSEPORT_CBPF) is ours. Without it a client
  /// that knocks now gets no answer, and finds the port closed, or a successor, when it tries again. If nobody accepts,
  /// what is left is reset after `patience`.
  ///
  /// Not for a listener that another process holds too: nobody could connect to it any more. close() is.
  /// Threads: a goroutine, while another one accepts.
  void drain(Duration patience = kHandshakePatience);

  /// Ends the listener: who accepts gets kClosed; connections not accepted are reset. Parks until the port is free, so the
  /// next listen() on it works. Idempotent: a second call returns at once. Threads: a goroutine.
  void close() override;
};

class Resolver;

/// How one address fared in a dial by name.
struct DialAttempt {
  Address address;
  Error error;  // kOk: this one connected. kCanceled: called off, because another one had
};

struct DialOptions {
  TimePoint deadline = kNoDeadline;   // for all of it, from the call to the handshake's end
  Context ctx = {};                   // ends the attempt, not the connection
  std::optional<Address> local = {};  // where our end is bound; port 0: the kernel picks one
  std::optional<KeepAlive> keep_alive = {};

  // Dialing by name only.
  Duration attempt_delay =
      std::chrono::milliseconds(250);            // a silent address delays the next one by this; 10 ms at least (RFC 8305 s5)
  Resolver* resolver = nullptr;                  // null: the process's (resolve.h). Must outlive the call
  std::vector<DialAttempt>* attempts = nullptr;  // is told how each address that was tried fared, in order
};

/// Listens on `address`. ":PORT" takes IPv6 and IPv4. TCP_NODELAY is set on what is accepted.
///
/// Errors:  kAddressInUse (after trying for a second: a predecessor's sockets may outlive it that long), what
///          options.configure said, else the errno of socket(2), bind(2), listen(2).
/// Threads: a goroutine.
[[nodiscard]] Result<Listener> listen(const Address& address, const ListenOptions& options = {});

/// Connects to `address`; parks until connected. TCP_NODELAY is set.
///
/// Errors:  kRefused, kUnreachable, kTimeout (the deadline, or the kernel's own ETIMEDOUT), the code of the context's end,
///          else the errno of bind(2) or connect(2).
/// Threads: a goroutine.
[[nodiscard]] Result<Conn> dial(const Address& address, const DialOptions& options = {});

/// Connects to "HOST:PORT": a name (resolve.h) or a number, such as "example.org:80" or "[::1]:8080".
///
/// A name's addresses are tried as RFC 8305 has it ("happy eyeballs"): families alternate, beginning with the one that the
/// resolver prefers; each next attempt starts when the one before has failed, or after `attempt_delay`; the first to
/// connect wins, and the others are called off and closed before this returns. A name's addresses come all together, so
/// the RFC's wait for the other family's answer (s3) has nothing to do here.
///
/// With a port in options.local only one attempt of a family can be under way at a time: the others find it in use.
///
/// Errors:  what resolve() says; kTimeout or the context's code, if that ended it; if no address works, what the one said that
///          came furthest: an answer (kRefused) before silence before kUnreachable (options.attempts tells of all); kInvalid
///          if `text` is no HOST:PORT, or no address is of the family of options.local; else as above.
/// Threads: a goroutine.
[[nodiscard]] Result<Conn> dial(std::string_view text, const DialOptions& options = {});

namespace detail {
/// The lower bound of attempt_delay. Returns the one before. For tests, while nobody dials.
Duration set_least_attempt_delay_for_test(Duration least) noexcept;
}  // namespace detail

}  // namespace heddle::net
