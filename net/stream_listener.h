// StreamListener: accepts connections as Streams, without a goroutine.
//
// It deals connections out to the workers, so that each is homed on one poller; the acceptor is asked, on that worker's
// scheduler side, for the sink that shall serve the connection.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include <heddle/core/error.h>
#include <heddle/net/address.h>
#include <heddle/net/listen_options.h>
#include <heddle/net/stream.h>
#include <heddle/net/unix_address.h>
#include <heddle/net/unix_options.h>

namespace heddle::net {

/// Decides what serves a new connection.
class StreamAcceptor {
 public:
  /// On the scheduler side of the stream's home worker, possibly of several workers at once. Returns the sink that serves
  /// `stream` from now on, or nullptr to refuse: then the connection is closed at once and the stream is gone.
  virtual StreamSink* on_accept(Stream& stream) = 0;

 protected:
  ~StreamAcceptor() = default;
};

using StreamListenOptions = ListenOptions;

/// A listening socket that feeds a StreamAcceptor. Source: listen(2), accept4(2).
class StreamListener {
 public:
  virtual ~StreamListener() = default;

  /// Binds and listens on `address` (port 0: the kernel picks one). `acceptor` must outlive close().
  /// Threads: a goroutine.
  [[nodiscard]] static Result<std::unique_ptr<StreamListener>> listen(const Address& address, StreamAcceptor& acceptor,
                                                                       const StreamListenOptions& options = {});

  /// The same on a Unix socket, as net::listen_unix() makes it: with its permissions, and a file that is taken away at
  /// close(). Errors and threads: as listen_unix().
  [[nodiscard]] static Result<std::unique_ptr<StreamListener>> listen(const UnixAddress& address,
                                                                      StreamAcceptor& acceptor,
                                                                      const UnixListenOptions& options = {});

  /// The same with a socket that listens already, such as a supervisor passes on (inherit.h), for TCP or a Unix stream
  /// socket. It owns `fd` then, also if this fails. Errors: kInvalid if it is no such socket. Threads: a goroutine.
  ///
  /// The supervisor may keep it for a successor: close() leaves the socket, and its file, as it is, and who waits in it then
  /// is the successor's, if there is one.
  [[nodiscard]] static Result<std::unique_ptr<StreamListener>> adopt(int fd, StreamAcceptor& acceptor);

  /// The address in use, with the port that the kernel picked. Empty for a Unix socket.
  [[nodiscard]] virtual Address local_address() const = 0;
  /// The Unix socket's, with the name that the kernel picked. Unnamed for TCP.
  [[nodiscard]] virtual UnixAddress local_unix_address() const = 0;

  /// Has the kernel give new connections to the other sockets that share this one's port (ListenOptions::reuse_port), such
  /// as a successor's, while handshakes that have begun still end here and are accepted. The first step of a close() that
  /// no client notices; the second is to wait kHandshakePatience, for a round trip to the clients. If this socket has the port
  /// to itself it gets new connections as before.
  ///
  /// For the time to close() the group's selecting program (SO_ATTACH_REUSEPORT_CBPF) is ours; then it has none.
  /// Returns: true if the port may be shared, so that waiting has a point. Parks for some milliseconds at most.
  /// Threads: a goroutine; before close().
  virtual bool divert() = 0;

  /// Stops accepting and frees the port, or the path, whose file is unlinked if it is still the one that was made: parks until
  /// the kernel holds the socket no more, so the next bind() works, and until no on_accept is running or to come.
  /// Connections already accepted live on. Idempotent.
  virtual void close() = 0;
};

}  // namespace heddle::net
