// BufWriter: many small writes to a stream for few system calls. Go's bufio.Writer, with a buffer that is there only while it
// has something in it.
//
//     BufWriter out(conn);
//     out.write(head);
//     out.write(body);
//     if (auto sent = out.flush(); !sent) …
//
// I1. Between two calls there is a buffer if and only if bytes are buffered.
// I2. Bytes reach the stream in order. What does not fit beside what is buffered goes with it, in one writev(): so a large
//     write is never copied, and makes no system call of its own.
// I3. After a write to the stream has failed nobody knows how much of it arrived: what is buffered is dropped, and every
//     later call fails with the same error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include <heddle/core/context.h>
#include <heddle/net/buffer.h>
#include <heddle/net/copy.h>
#include <heddle/net/ends.h>
#include <heddle/net/transport.h>

namespace heddle::net {

/// Gathers what is written to a Writer. Nothing goes out by itself: flush() at the end, and before waiting for an answer. The
/// destructor drops what is buffered.
///
/// Errors are the Writer's, kCanceled or kTimeout for a context; see I3. A context that has ended before anything is done
/// fails that call alone. It ends every wait of a Transport; of another Writer it is looked at when the call begins.
/// Threads:  one goroutine at a time. Lifetime: `to` must outlive it.
/// Source:   pkg.go.dev/bufio#Writer.
class BufWriter final : public Writer {
 public:
  /// `size`: the bytes a buffer has room for: 4, 16 or 64 KiB, the first that is enough, or 64.
  explicit BufWriter(Writer& to, std::size_t size = 4096) noexcept : to_(to), size_(buffer_size_for(size)) {}
  BufWriter(const BufWriter&) = delete;
  BufWriter& operator=(const BufWriter&) = delete;

  /// Buffers `buf`, or writes it out with what is buffered if it does not fit. Parks in that case alone.
  [[nodiscard]] Result<void> write(std::span<const std::byte> buf) override { return write({}, buf); }
  [[nodiscard]] Result<void> write(const Context& ctx, std::span<const std::byte> buf);

  [[nodiscard]] Result<void> write_byte(std::byte one) { return write({&one, 1}); }
  [[nodiscard]] Result<void> write_byte(const Context& ctx, std::byte one) { return write(ctx, {&one, 1}); }

  /// Writes out what is buffered, and gives the buffer back.
  [[nodiscard]] Result<void> flush() { return flush({}); }
  [[nodiscard]] Result<void> flush(const Context& ctx);

  /// Takes all of `from`, or `most` bytes of it. If nothing is buffered, and the kernel can copy from one to the other, it
  /// does (copy.h); else the bytes are gathered like all others, and the last ones wait for flush().
  ///
  /// Returns: as copy(). Bytes that are buffered count as written; `lost` counts what read_from() took and has not written.
  Copied read_from(Reader& from, std::uint64_t most = kAllBytes) { return read_from({}, from, most); }
  Copied read_from(const Context& ctx, Reader& from, std::uint64_t most = kAllBytes);

  [[nodiscard]] std::size_t buffered() const noexcept { return used_; }
  /// How much more is buffered before something goes out.
  [[nodiscard]] std::size_t available() const noexcept { return capacity_of(size_) - used_; }
  [[nodiscard]] bool has_buffer() const noexcept { return static_cast<bool>(buffer_); }  // I1

 private:
  [[nodiscard]] Result<void> ready_for(const Context& ctx) const;
  [[nodiscard]] Result<void> settle(Result<void> written) noexcept;

  Sink to_;
  const BufferSize size_;
  Buffer buffer_;
  std::size_t used_ = 0;         // buffered: the first used_ bytes of buffer_
  std::optional<Error> failed_;  // I3
};

}  // namespace heddle::net
