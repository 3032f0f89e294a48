// Unix sockets that keep messages apart: seqpacket (connections) and datagram (who sends whom what). Neither loses or
// reorders messages; a sender waits while the receiver's queue is full.
//
//     auto [a, b] = *net::seqpacket_pair();
//     a.send(request);                        // one send, one receive
//     auto got = b.receive(buf);              // got->size bytes; got->truncated if buf was too small
//
// Addresses, files, descriptors and credentials as in unix.h. Errors are values as in tcp.h.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <utility>

#include <heddle/core/context.h>
#include <heddle/net/descriptor.h>
#include <heddle/net/fd_passing.h>
#include <heddle/net/unix_address.h>
#include <heddle/net/unix_options.h>

namespace heddle::net {

class SocketFile;

/// One message that was received.
struct Message {
  std::size_t size = 0;    // bytes in the caller's buffer
  bool truncated = false;  // it was longer than the buffer, its rest is gone
};

/// What both kinds do. A message is sent whole or not at all.
///
/// Threads: one goroutine receives and one sends at a time (a second one dies with a message); all else from any
///          goroutine, also
/// while others are at it. Moving and destroying are for who owns it alone.
class UnixMessageSocket : public Descriptor {
 public:
  /// Takes the next message; parks until there is one. A seqpacket connection's end is a size of 0, which an empty
  /// message looks like as well: do not send any. A datagram socket takes them from anybody, or, connected, from its
  /// peer.
  ///
  /// Errors:  kTimeout past the read deadline, kClosed if close() won, kReset if the peer closed with messages unread;
  ///          with a context its end's code. Lifetime: `buf` is not touched after the call. Source: recvmsg(2).
  [[nodiscard]] Result<Message> receive(std::span<std::byte> buf);
  [[nodiscard]] Result<Message> receive(const Context& ctx, std::span<std::byte> buf);

  /// Sends one message to the peer; parks while the receiver's queue is full.
  ///
  /// Errors:  kReset or kRefused if the peer is gone; kSystem with EMSGSIZE if it is larger than the send buffer, with
  ///          ENOTCONN if there is no peer; kTimeout past the write deadline, kClosed if close() won. Source:
  ///          sendmsg(2).
  [[nodiscard]] Result<void> send(std::span<const std::byte> message);
  [[nodiscard]] Result<void> send(const Context& ctx, std::span<const std::byte> message);

  /// The same, with copies of descriptors that stay the caller's as well. Errors: also kInvalid if there are more than
  /// kMostFds, kNoResources if too many are on their way to receivers.
  [[nodiscard]] Result<void> send_fds(std::span<const std::byte> message, std::span<const int> fds);
  [[nodiscard]] Result<void> send_fds(const Context& ctx, std::span<const std::byte> message, std::span<const int> fds);
  /// The same, with the descriptors that came with it, at most `most` (or kMostFds). receive() closes those that it
  /// meets.
  [[nodiscard]] Result<ReceivedFds> receive_fds(std::span<std::byte> buf, std::size_t most);
  [[nodiscard]] Result<ReceivedFds> receive_fds(const Context& ctx, std::span<std::byte> buf, std::size_t most);

  /// Deadlines of receiving, sending, both: as Transport's (transport.h).
  void set_read_deadline(TimePoint when) noexcept;
  void set_write_deadline(TimePoint when) noexcept;
  void set_deadline(TimePoint when) noexcept {
    set_read_deadline(when);
    set_write_deadline(when);
  }

  [[nodiscard]] Result<PeerCredentials> peer_credentials() const;  // not of a datagram socket with dial_unix_datagram()
  [[nodiscard]] Result<UnixAddress> local_unix_address() const;
  [[nodiscard]] Result<UnixAddress> remote_unix_address() const;

 protected:
  UnixMessageSocket() noexcept = default;
  explicit UnixMessageSocket(detail::Handle handle) noexcept : Descriptor(handle) {}
};

/// One end of a seqpacket connection. Movable; the destructor closes it.
class UnixSeqpacket final : public UnixMessageSocket {
 public:
  UnixSeqpacket() noexcept = default;  // closed
  explicit UnixSeqpacket(detail::Handle handle) noexcept : UnixMessageSocket(handle) {}

  /// Makes one of a connected socket, which it owns then, also if this fails. Errors: kInvalid. Threads: a goroutine.
  [[nodiscard]] static Result<UnixSeqpacket> adopt(int fd);

  /// Ends sending: the peer receives what was sent, then the end. Receiving goes on.
  [[nodiscard]] Result<void> close_write();
};

/// A listening seqpacket socket. As UnixListener (unix.h).
class UnixSeqpacketListener final : public Descriptor {
 public:
  UnixSeqpacketListener() noexcept;  // closed
  UnixSeqpacketListener(detail::Handle handle, std::unique_ptr<SocketFile> file) noexcept;
  UnixSeqpacketListener(UnixSeqpacketListener&& other) noexcept;
  UnixSeqpacketListener& operator=(UnixSeqpacketListener&& other) noexcept;
  ~UnixSeqpacketListener();

  [[nodiscard]] Result<UnixSeqpacket> accept();
  [[nodiscard]] Result<UnixSeqpacket> accept(const Context& ctx);
  void set_deadline(TimePoint when) noexcept;
  [[nodiscard]] Result<UnixAddress> local_unix_address() const;
  void close();

 private:
  std::unique_ptr<SocketFile> file_;  // constant while open; null: not ours to unlink
};

/// A message with its sender.
struct UnixDatagramMessage : Message {
  UnixAddress from;  // unnamed if the sender has no name: it cannot be answered
};

/// A datagram socket. Movable; the destructor closes it.
class UnixDatagram final : public UnixMessageSocket {
 public:
  UnixDatagram() noexcept;  // closed
  UnixDatagram(detail::Handle handle, std::unique_ptr<SocketFile> file) noexcept;
  UnixDatagram(UnixDatagram&& other) noexcept;
  UnixDatagram& operator=(UnixDatagram&& other) noexcept;
  ~UnixDatagram();

  /// Makes one of a datagram socket, which it owns then, also if this fails. Its file stays. Errors: kInvalid. Threads:
  /// a goroutine.
  [[nodiscard]] static Result<UnixDatagram> adopt(int fd);

  /// As receive(), and says who sent it.
  [[nodiscard]] Result<UnixDatagramMessage> receive_from(std::span<std::byte> buf);
  [[nodiscard]] Result<UnixDatagramMessage> receive_from(const Context& ctx, std::span<std::byte> buf);

  /// Sends one message to `to`. While that one's queue is full it tries again, 20 ms apart at most: the kernel tells
  /// nobody but a connected sender when there is room.
  ///
  /// Errors:  kRefused if nobody has the name any more; kNotFound if nothing is there; else as send().
  [[nodiscard]] Result<void> send_to(std::span<const std::byte> message, const UnixAddress& to);
  [[nodiscard]] Result<void> send_to(const Context& ctx, std::span<const std::byte> message, const UnixAddress& to);

  /// Ends it: who receives or sends gets kClosed. Unlinks the file as UnixListener does. Idempotent; never parks.
  void close() noexcept;

 private:
  std::unique_ptr<SocketFile> file_;  // constant while open; null: not ours to unlink
};

/// Errors and threads of these as of listen_unix(), dial_unix(), unix_pair() (unix.h). A backlog is for listeners.
[[nodiscard]] Result<UnixSeqpacketListener> listen_seqpacket(const UnixAddress& address,
                                                             const UnixListenOptions& options = {});
[[nodiscard]] Result<UnixSeqpacket> dial_seqpacket(const UnixAddress& address, const UnixDialOptions& options = {});
[[nodiscard]] Result<std::pair<UnixSeqpacket, UnixSeqpacket>> seqpacket_pair();

/// A datagram socket with a name (none: an abstract one that the kernel picks), for receiving and answering.
[[nodiscard]] Result<UnixDatagram> bind_unix_datagram(const UnixAddress& address = {},
                                                      const UnixListenOptions& options = {});
/// A datagram socket that sends to `address` and receives from there alone. To be answered it needs options.local.
[[nodiscard]] Result<UnixDatagram> dial_unix_datagram(const UnixAddress& address, const UnixDialOptions& options = {});
[[nodiscard]] Result<std::pair<UnixDatagram, UnixDatagram>> unix_datagram_pair();

}  // namespace heddle::net
