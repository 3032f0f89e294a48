// Unix sockets for goroutines: streams within this machine, which also carry descriptors and say who the peer is.
//
//     auto listener = net::listen_unix(*net::UnixAddress::parse("/run/app.sock"), {.mode = 0660});
//     while (auto conn = listener->accept()) {
//       if (conn->peer_credentials()->uid != ::getuid()) continue;
//       …
//     }
//
// Sockets that keep messages apart (seqpacket, datagram) are unix_packet.h's. Errors as tcp.h has them.
//
// A socket's file that a process left when it was killed is taken away when another one listens there: the kernel tells
// whether any process still has the socket, without disturbing it (internal/socket_file.h I3). A path that is in use, or of
// another kind of file, is kAddressInUse and stays. Go and nginx leave the file, and fail, until somebody removes it:
// UnixListenOptions::replace_stale = false does so, too. The kernel can only speak for itself: where the folder is another
// machine's (NFS, a folder shared with a virtual machine), a path in use over there looks like one that was left.
#pragma once

#include <memory>
#include <utility>

#include <heddle/net/fd_passing.h>
#include <heddle/net/listen_options.h>
#include <heddle/net/socket_transport.h>
#include <heddle/net/unix_address.h>
#include <heddle/net/unix_options.h>

namespace heddle::net {

class SocketFile;

/// One end of a Unix stream connection. Movable; the destructor closes it. Threads: as Conn (tcp.h).
///
/// Not as over TCP: what close() finds written is delivered in any case; what it finds unread makes the peer's next
/// read fail with kReset; close_read() makes the peer's writes fail with kReset. local_address() and remote_address()
/// are empty Addresses.
class UnixConn final : public SocketTransport {
 public:
  UnixConn() noexcept = default;  // closed
  explicit UnixConn(detail::Handle handle) noexcept : SocketTransport(handle) {}
  UnixConn(UnixConn&& other) noexcept = default;
  UnixConn& operator=(UnixConn&& other) noexcept = default;

  /// Makes a UnixConn of a connected Unix stream socket, which it owns then, also if this fails.
  ///
  /// Errors:  kInvalid if `fd` is no such socket; kNoResources. Threads: a goroutine.
  [[nodiscard]] static Result<UnixConn> adopt(int fd);

  /// Writes all of `buf`, and with its first byte hands copies of `fds` over. They stay the caller's as well.
  ///
  /// Errors:  kInvalid if `buf` is empty, or there are more than kMostFds; kNoResources if too many are on their way to
  ///          receivers; kSystem with EBADF's errno for what is no descriptor; else as write(). If any, `fds` may have
  ///          been sent.
  /// Threads: a writer. Source: unix(7), SCM_RIGHTS.
  [[nodiscard]] Result<void> send_fds(std::span<const std::byte> buf, std::span<const int> fds);
  [[nodiscard]] Result<void> send_fds(const Context& ctx, std::span<const std::byte> buf, std::span<const int> fds);

  /// Reads as read() does, and takes the descriptors, at most `most` (or kMostFds), that were sent with these bytes.
  /// Bytes sent with descriptors begin a read of their own. A read() that meets them takes the bytes; the descriptors
  /// are closed.
  ///
  /// Threads: a reader.
  [[nodiscard]] Result<ReceivedFds> receive_fds(std::span<std::byte> buf, std::size_t most);
  [[nodiscard]] Result<ReceivedFds> receive_fds(const Context& ctx, std::span<std::byte> buf, std::size_t most);

  [[nodiscard]] Result<PeerCredentials> peer_credentials() const;
  [[nodiscard]] Result<UnixAddress> local_unix_address() const;
  /// The peer's; unnamed for who dialed.
  [[nodiscard]] Result<UnixAddress> remote_unix_address() const;
};

/// A listening Unix stream socket. Movable; the destructor closes it, as close() does but without waiting.
///
/// release_fd() hands it over; its file stays then.
class UnixListener final : public TransportListener, public Descriptor {
 public:
  UnixListener() noexcept;  // closed
  UnixListener(detail::Handle handle, std::unique_ptr<SocketFile> file) noexcept;
  UnixListener(UnixListener&& other) noexcept;
  UnixListener& operator=(UnixListener&& other) noexcept;
  ~UnixListener() override;

  /// Makes a UnixListener of a listening Unix stream socket, such as a supervisor passes on (inherit.h); it owns `fd`
  /// then, also if this fails. Its file is not its own: close() leaves it.
  ///
  /// Errors:  kInvalid if it does not listen, or is of another kind; kNoResources. Threads: a goroutine.
  [[nodiscard]] static Result<UnixListener> adopt(int fd);

  /// Takes the next connection; parks until there is one. Errors and threads as Listener::accept() (tcp.h).
  [[nodiscard]] Result<UnixConn> accept();
  [[nodiscard]] Result<UnixConn> accept(const Context& ctx);
  [[nodiscard]] Result<std::unique_ptr<Transport>> accept_transport() override;

  /// The deadline of accept().
  void set_deadline(TimePoint when) noexcept;

  /// An empty Address.
  [[nodiscard]] Result<Address> local_address() const override;
  [[nodiscard]] Result<UnixAddress> local_unix_address() const;

  /// Ends the listener so that no client is reset: who dials now is refused, or finds a successor; accept() goes on giving
  /// those that the kernel had let in, and then kClosed. Unlinks the file first, as close() does. If nobody accepts, what is
  /// left is reset after `patience`. Parks until the name is free.
  ///
  /// Not for a listener that another process holds too: nobody could connect to it any more. close() is.
  /// Threads: a goroutine, while another one accepts.
  void drain(Duration patience = kHandshakePatience);

  /// Ends the listener: who accepts gets kClosed; connections not accepted are reset. Unlinks the file if it is still
  /// the one that was made (a successor may have put its own there). Parks until the name is free. Idempotent. Threads:
  /// a goroutine.
  void close() override;

 private:
  std::unique_ptr<SocketFile> file_;  // constant while open; null: not ours to unlink
};

/// Listens on `address`; without a name: on an abstract one that the kernel picks.
///
/// Errors:  kAddressInUse (for what is in use after trying for a second, as tcp.h's listen()); kSystem with the errno
///          of bind(2); kNotFound if the path's folder is not there, kDenied …
/// Threads: a goroutine.
[[nodiscard]] Result<UnixListener> listen_unix(const UnixAddress& address, const UnixListenOptions& options = {});

/// Connects to `address`.
///
/// Errors:  kRefused if nobody listens there (any more), kNotFound if nothing is there, kDenied if the
///          file may not be written to; kTimeout, the code of the context's end.
/// Threads: a goroutine.
[[nodiscard]] Result<UnixConn> dial_unix(const UnixAddress& address, const UnixDialOptions& options = {});

/// Two connected ends without a name. Errors: kNoResources. Threads: a goroutine. Source: socketpair(2).
[[nodiscard]] Result<std::pair<UnixConn, UnixConn>> unix_pair();

}  // namespace heddle::net
