// Reader, Writer, Transport, TransportListener: byte streams by what they do, whatever they are made of. The seam on which
// protocols stand that shall also run over TLS, over Unix sockets, and over memory in tests.
//
//     Reader   Writer
//        \      /
//       Transport         net::Conn (TCP), net::UnixConn, net::MemoryConn; a TLS connection over any of them
//
// The classes at the bottom are final: who has a Conn calls Conn's functions directly, and pays for the seam with two
// pointers in the object; only who holds a Transport& calls through a table.
//
// What every implementation promises:
// I1. One goroutine reads and one writes at a time; all else is for any goroutine, also while those are at it.
// I2. A buffer is not touched after the call that was given it has returned.
// I3. close() ends calls that wait with kClosed. A deadline in the past ends them with kTimeout, and so does one that is
//     set while they wait; it stays in force until it is moved. A context that is done ends the call that was given it with
//     the context's own code, kCanceled or kTimeout; it is looked at when the call begins and whenever it has to wait.
// I4. The end of the stream is 0 bytes read and no error; it stays at its end.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <memory>
#include <span>

#include <heddle/core/clock.h>
#include <heddle/core/context.h>
#include <heddle/core/error.h>
#include <heddle/net/address.h>

namespace heddle::net {

/// Where bytes come from.
class Reader {
 public:
  virtual ~Reader() = default;

  /// Reads into `buf`; parks until at least one byte, end of stream, or an error.
  ///
  /// Returns: bytes read; 0 only at end of stream (an empty `buf` returns 0 at once).
  /// Errors:  kTimeout past the read deadline, kClosed if close() won, else what the stream is made of says.
  [[nodiscard]] virtual Result<std::size_t> read(std::span<std::byte> buf) = 0;

  /// Reads until `buf` is full. Returns its size, or less if the stream ended first (0: it ended before the first byte).
  [[nodiscard]] Result<std::size_t> read_full(std::span<std::byte> buf);

  // For who lends a buffer only while there is something to put into it, so that a thousand idle connections hold none
  // (buf_reader.h, copy.h). A stream has both calls or neither.

  /// Reads what is there now; never parks.
  ///
  /// Returns: as read(). Errors: kWouldBlock if nothing is there; kUnsupported: this stream cannot tell, and only read()
  ///          finds out; else as read(). The default: kUnsupported.
  [[nodiscard]] virtual Result<std::size_t> try_read(std::span<std::byte> buf);

  /// Parks until try_read() is worth a try: bytes, the end of the stream, an error. It may return sooner.
  ///
  /// Errors:  kTimeout, kClosed, kUnsupported as above; the code of the end of `ctx`. The default: kUnsupported.
  [[nodiscard]] virtual Result<void> wait_readable(const Context& ctx);

 protected:
  Reader() = default;
  Reader(const Reader&) = default;
  Reader& operator=(const Reader&) = default;
};

/// Where bytes go.
class Writer {
 public:
  virtual ~Writer() = default;

  /// Writes all of `buf`; parks while the other side is slow.
  ///
  /// Errors:  kTimeout past the write deadline, kClosed if close() won, kReset if the peer is gone, else what the stream is
  ///          made of says. Some of `buf` may have been written then.
  [[nodiscard]] virtual Result<void> write(std::span<const std::byte> buf) = 0;

  /// Writes all of several buffers, in order; in as few system calls as there can be, where there are any.
  [[nodiscard]] virtual Result<void> writev(std::span<const iovec> buffers);

 protected:
  Writer() = default;
  Writer(const Writer&) = default;
  Writer& operator=(const Writer&) = default;
};

/// One end of a byte stream that goes both ways. See the file's opening for threads and for how calls end.
class Transport : public Reader, public Writer {
 public:
  using Reader::read;
  using Writer::write;
  using Writer::writev;

  /// The same within `ctx` (I3). Errors: also ctx.err()'s code.
  [[nodiscard]] virtual Result<std::size_t> read(const Context& ctx, std::span<std::byte> buf) = 0;
  [[nodiscard]] virtual Result<void> write(const Context& ctx, std::span<const std::byte> buf) = 0;
  [[nodiscard]] virtual Result<void> writev(const Context& ctx, std::span<const iovec> buffers);

  /// Stops reading: what comes is dropped, a reader finds the end of the stream.
  [[nodiscard]] virtual Result<void> close_read() = 0;
  /// Ends the stream after what was written: the peer finds its end. Reading goes on.
  [[nodiscard]] virtual Result<void> close_write() = 0;

  /// Deadlines of reading, writing, both. One in the past fails calls at once, also those that wait now; kNoDeadline clears.
  /// They stay in force for all later calls.
  virtual void set_read_deadline(TimePoint when) noexcept = 0;
  virtual void set_write_deadline(TimePoint when) noexcept = 0;
  void set_deadline(TimePoint when) noexcept {
    set_read_deadline(when);
    set_write_deadline(when);
  }

  [[nodiscard]] virtual Result<Address> local_address() const = 0;
  [[nodiscard]] virtual Result<Address> remote_address() const = 0;

  /// True if the peer, as far as is known here, is there and has sent nothing that was not read: what a pool asks before it
  /// hands an idle connection out again. No promise: it may have gone a moment ago. Nothing is consumed; never parks.
  [[nodiscard]] virtual bool is_alive() const noexcept = 0;

  /// Ends both directions: who reads or writes gets kClosed. Idempotent; never parks.
  virtual void close() noexcept = 0;
};

/// Where Transports come from.
class TransportListener {
 public:
  virtual ~TransportListener() = default;

  /// Takes the next connection; parks until there is one. Errors: as the accept() of what it is made of.
  /// Threads: one goroutine at a time.
  [[nodiscard]] virtual Result<std::unique_ptr<Transport>> accept_transport() = 0;

  [[nodiscard]] virtual Result<Address> local_address() const = 0;

  /// Ends the listener: who accepts gets kClosed. May park. Idempotent. Threads: a goroutine.
  virtual void close() = 0;

 protected:
  TransportListener() = default;
  TransportListener(const TransportListener&) = default;
  TransportListener& operator=(const TransportListener&) = default;
};

}  // namespace heddle::net
