// Stream and StreamSink: a connection without a goroutine. The seam on which http (and later tls) stands.
//
// An idle keep-alive connection must not own a stack or a buffer. So bytes are pushed: the poller of the connection's home
// worker reads them into memory of its own and calls the sink, which looks, copies what it wants to keep, and returns.
// A goroutine comes in only when there is something for it to do. Tests give a sink a stream in memory.
//
//     scheduler's side of the home worker             any goroutine (one writer at a time)
//     sink->lend_room(), on_data(bytes) …             stream->try_writev / send_of_file / wait_writable
//     sink->on_end(reason)      once                  stream->pause / resume / set_timer / wake_writer
//     sink->on_timer()                                stream->shutdown_write / close
//     sink->on_closed()         once, last
//
// I1. The sink's calls come one at a time, on the home worker's scheduler side, with a P: they may ready and spawn
//     goroutines and call the stream back, but not park, block or throw.
// I2. The bytes of on_data belong to the poller, unless they lie in what lend_room() gave, and are valid only during the call.
// I3. After close() returns no on_data, on_end or on_timer begins any more (one may be running on the home worker at that
//     moment); on_closed follows, when the kernel holds nothing of the connection. Only then may the sink be freed, and the
//     stream is gone when on_closed returns.
// I4. on_data keeps coming while a goroutine works on what came before; a sink that has enough says pause().
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include <heddle/core/clock.h>
#include <heddle/core/context.h>
#include <heddle/core/error.h>
#include <heddle/net/address.h>
#include <heddle/net/fd_passing.h>

namespace heddle::net {

/// The receiving side of a Stream; see the file's opening for threads and lifetimes.
class StreamSink {
 public:
  virtual void on_data(std::span<const std::byte> bytes) = 0;

  /// Where the next bytes would best be put, so that nobody has to copy them: memory that is the sink's, and that nobody but the
  /// stream touches until the sink's next call. Asked right before a read. If bytes were put there, that next call is an
  /// on_data() of them; but whoever reads may put them elsewhere, and a sink takes them from wherever they are.
  ///
  /// Returns: empty, the default, if there is no such memory, or so little that a read of it alone is not worth its call.
  [[nodiscard]] virtual std::span<std::byte> lend_room() { return {}; }

  /// The peer's half ended (kEof) or the connection failed (kReset, …). Nothing more comes; writing may still work
  /// after kEof.
  virtual void on_end(Error reason) = 0;

  /// The time of the last set_timer() has come (at most some 10 ms late). Not exact against a concurrent set_timer():
  /// compare the clock with your own deadline.
  virtual void on_timer() = 0;

  /// The stream is closed and forgotten; the last call.
  virtual void on_closed() = 0;

 protected:
  ~StreamSink() = default;
};

/// One connection, by whoever holds it. Made by net's stream listener or by a test.
class Stream {
 public:
  /// Writes what the peer will take now. Returns the bytes written, or kWouldBlock, kReset, kClosed, …
  /// Threads: one writer at a time, on any M. Never parks.
  [[nodiscard]] virtual Result<std::size_t> try_writev(std::span<const iovec> iov) = 0;

  /// Sends what the peer will take now of `size` bytes of an open file, from `offset` on, without having them in this
  /// process: sendfile(2). Parks while a helper thread fetches what is not in the page cache, never for the peer.
  ///
  /// Returns: bytes sent, 256 KiB at most; 0 only at the file's end, or of a `size` of 0.
  /// Errors:  as try_writev(); kUnsupported: this kind of stream, or the kernel for this file, cannot: read and write.
  ///          After another than kWouldBlock and kUnsupported nothing more can be written: the file or the peer failed.
  /// Threads: a goroutine, which is the writer.
  /// Source:  sendfile(2). What is sent is the page cache's memory: a change of the file shows in what the kernel has
  ///          taken and not yet sent.
  [[nodiscard]] virtual Result<std::size_t> send_of_file([[maybe_unused]] int file,
                                                         [[maybe_unused]] std::uint64_t offset,
                                                         [[maybe_unused]] std::size_t size) {
    return std::unexpected(Error{Code::kUnsupported, 0, "sendfile"});
  }

  /// Parks until a write may succeed, or somebody calls wake_writer(). It may return sooner: try, and wait again.
  ///
  /// Errors:  kTimeout past the deadline, the code of the end of `ctx`, kClosed, and what waiting itself can meet. Each is
  ///          looked at when it begins and while it waits; that the stream has failed is for the next write to tell.
  /// Threads: a goroutine, which is the writer.
  [[nodiscard]] virtual Result<void> wait_writable(TimePoint deadline, const Context& ctx) = 0;
  [[nodiscard]] Result<void> wait_writable(TimePoint deadline) { return wait_writable(deadline, Context()); }

  /// Ends the wait of wait_writable(), or the next one if nobody waits: for who has changed something that the writer looks
  /// at before it waits. So a change that is made before the call is never missed.
  /// Threads: any, while the stream is not closed; also with the sink's own lock held.
  virtual void wake_writer() = 0;

  /// Stops on_data soon (what is under way may still come); a full socket then holds the peer back. Any thread.
  virtual void pause() = 0;
  /// Lets on_data come again. Any thread; never calls the sink before it returns unless on the home's scheduler side.
  virtual void resume() = 0;

  /// Asks for on_timer() at `when` in nanotime()'s terms (kNever: none). Later than before is a plain store.
  virtual void set_timer(std::int64_t when) = 0;

  /// Sends FIN after what was written. Any thread.
  virtual void shutdown_write() = 0;

  /// Ends the connection; on_closed() follows on the home worker, never before close() has returned. Call once, any
  /// thread. What was written and not yet sent is still sent by the kernel, unless unread input makes it send RST.
  virtual void close() = 0;

  /// True if the peer's system has acknowledged all that was written: then not even an RST takes any of it away. False if that is
  /// not known. Any thread, until close(). Source: tcp(7), SIOCOUTQ; unix(7): what the peer has not read.
  [[nodiscard]] virtual bool all_arrived() const noexcept { return false; }

  /// The peer's IP address, asked of the kernel; an empty one (family 0) if there is none, or it is gone. Any thread, until
  /// close().
  [[nodiscard]] virtual Address peer() const { return {}; }

  /// "127.0.0.1:40312"; over a Unix socket who has connected: "unix:uid=1000,pid=4711"; empty if unknown.
  [[nodiscard]] virtual std::string peer_address() const = 0;

  /// Who has connected over a Unix socket. Errors: kUnsupported for any other kind of stream, kClosed. Any thread, until
  /// close().
  [[nodiscard]] virtual Result<PeerCredentials> peer_credentials() const {
    return std::unexpected(Error{Code::kUnsupported, 0, "peer_credentials"});
  }

  /// The two ends; empty ones over a Unix socket. Errors: kUnsupported if this kind of stream knows none, kClosed, the
  /// errno of getsockname(2).
  [[nodiscard]] virtual Result<Address> local_address() const {
    return std::unexpected(Error{Code::kUnsupported, 0, "local_address"});
  }
  [[nodiscard]] virtual Result<Address> remote_address() const {
    return std::unexpected(Error{Code::kUnsupported, 0, "remote_address"});
  }

 protected:
  ~Stream() = default;
};

}  // namespace heddle::net
