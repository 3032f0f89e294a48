// Source and Sink: a Reader and a Writer as buffered I/O and copy() use them, with a context where they understand one. For
// authors of such things.
//
// I1. Where the stream can tell (Reader::try_read), no buffer is held while it is waited for.
// I2. A wait costs no system call that a plain read() would not make: after a read that filled its buffer the next one is
//     tried at once, after any other it is waited for first.
// I3. The end of a context ends every wait of a Transport, and of a Reader that can tell. Of others it is looked at when
//     the call begins.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <optional>
#include <span>

#include <heddle/core/context.h>
#include <heddle/net/buffer.h>
#include <heddle/net/transport.h>

namespace heddle::net {

/// Threads: one goroutine at a time. Lifetime: the Reader must outlive it.
class Source {
 public:
  explicit Source(Reader& reader) noexcept : reader_(reader), transport_(dynamic_cast<Transport*>(&reader)) {}

  [[nodiscard]] Reader& reader() const noexcept { return reader_; }

  /// As Transport::read().
  [[nodiscard]] Result<std::size_t> read(const Context& ctx, std::span<std::byte> buf);

  /// Reads into `buffer`, which has none: it gets one of `size` bytes when there is something to put in, `most` of it at
  /// most. Returns: as read(). At the end of the stream, and after an error, `buffer` has none.
  [[nodiscard]] Result<std::size_t> read_into(const Context& ctx, Buffer& buffer, BufferSize size, std::size_t most);

  [[nodiscard]] Result<std::size_t> try_read(std::span<std::byte> buf) { return reader_.try_read(buf); }
  [[nodiscard]] Result<void> wait_readable(const Context& ctx) { return reader_.wait_readable(ctx); }

 private:
  [[nodiscard]] Result<std::size_t> read_when_ready(const Context& ctx, Buffer& buffer, BufferSize size,
                                                    std::size_t most);

  Reader& reader_;
  Transport* const transport_;  // the same, if it is one
  bool can_tell_ = true;        // until it says kUnsupported
  bool looks_empty_ = false;    // the last read took all there was: wait before the next
};

/// Threads and lifetime as Source.
class Sink {
 public:
  explicit Sink(Writer& writer) noexcept : writer_(writer), transport_(dynamic_cast<Transport*>(&writer)) {}

  [[nodiscard]] Writer& writer() const noexcept { return writer_; }

  [[nodiscard]] Result<void> write(const Context& ctx, std::span<const std::byte> buf);
  [[nodiscard]] Result<void> writev(const Context& ctx, std::span<const iovec> buffers);

 private:
  Writer& writer_;
  Transport* const transport_;  // the same, if it is one
};

/// Why a call within `ctx` fails before it has begun.
[[nodiscard]] inline std::optional<Error> end_of(const Context& ctx, const char* op) noexcept {
  const std::optional<Error> end = ctx.err();
  return end ? std::optional(Error{end->code, 0, op}) : std::nullopt;
}

}  // namespace heddle::net
