// BufReader: many small reads of a stream for few system calls; lines; a look ahead. Go's bufio.Reader, with a buffer that is
// there only while it has something in it.
//
//     BufReader in(conn);
//     std::string line;
//     while (*in.read_line(line, 1024)) { … }
//
// I1. Between two calls there is a buffer if and only if bytes are buffered. A call that waits while none are holds no
//     buffer, if the stream can tell when bytes come (Reader::try_read: sockets, memory). So ten thousand idle
//     connections hold none.
// I2. Bytes are handed out in order, each once. A call that fails leaves what it had buffered, and the same call goes on
//     from there later, e.g. after a deadline was moved; what it has handed out already is said with each.
// I3. It never reads on after the end of the stream, or an error, unless it is asked again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include <heddle/core/context.h>
#include <heddle/net/buffer.h>
#include <heddle/net/copy.h>
#include <heddle/net/ends.h>
#include <heddle/net/transport.h>

namespace heddle::net {

/// Reads ahead from a Reader. What it has buffered the Reader has no more: from then on read here alone.
///
/// Errors are the Reader's, kCanceled or kTimeout for a context, and kLimit as said. A context ends every wait of a
/// Transport; of another Reader, if that cannot tell when it has bytes, it is looked at when the call begins.
/// Threads:  one goroutine at a time. Lifetime: `from` must outlive it.
/// Source:   pkg.go.dev/bufio#Reader.
class BufReader final : public Reader {
 public:
  /// `size`: the bytes a buffer has room for: 4, 16 or 64 KiB, the first that is enough, or 64.
  explicit BufReader(Reader& from, std::size_t size = 4096) noexcept : from_(from), size_(buffer_size_for(size)) {}
  BufReader(const BufReader&) = delete;
  BufReader& operator=(const BufReader&) = delete;

  /// See Reader. At most one read of the stream; into `buf` itself if that is as large as a buffer, and nothing is buffered.
  [[nodiscard]] Result<std::size_t> read(std::span<std::byte> buf) override { return read({}, buf); }
  [[nodiscard]] Result<std::size_t> read(const Context& ctx, std::span<std::byte> buf);
  [[nodiscard]] Result<std::size_t> try_read(std::span<std::byte> buf) override;
  [[nodiscard]] Result<void> wait_readable(const Context& ctx) override;

  /// Reads until `buf` is full, or the stream ends (Reader::read_full). If it fails, some of `buf` may have been filled.
  using Reader::read_full;
  [[nodiscard]] Result<std::size_t> read_full(const Context& ctx, std::span<std::byte> buf);

  /// The next byte; none at the end of the stream.
  [[nodiscard]] Result<std::optional<std::byte>> read_byte() { return read_byte({}); }
  [[nodiscard]] Result<std::optional<std::byte>> read_byte(const Context& ctx);

  /// The next `n` bytes, which stay; fewer if the stream ends before. Valid until the next call.
  ///
  /// Errors:  kLimit if a buffer has no room for `n`.
  [[nodiscard]] Result<std::span<const std::byte>> peek(std::size_t n) { return peek({}, n); }
  [[nodiscard]] Result<std::span<const std::byte>> peek(const Context& ctx, std::size_t n);

  /// Appends to `text` what comes, up to the first `delimiter` and with it, or up to the end of the stream.
  ///
  /// Returns: whether the delimiter came. False: the stream has ended, and what is left of it was appended.
  /// Errors:  kLimit if `text` has `limit` bytes, those that it had before included, and the delimiter is not among those
  ///          that came. What was appended stays, after every error: who calls again with the same `text` goes on.
  [[nodiscard]] Result<bool> read_until(std::byte delimiter, std::string& text, std::size_t limit) {
    return read_until({}, delimiter, text, limit);
  }
  [[nodiscard]] Result<bool> read_until(const Context& ctx, std::byte delimiter, std::string& text, std::size_t limit);

  /// Reads a line into `line`, in place of what is in it, without its end, "\n" or "\r\n".
  ///
  /// Returns: false if the stream has ended and there is no line. Bytes after the last line's end are a line.
  /// Errors:  kLimit if `limit` bytes of it have come and its end is not among them; the stream stands within the line
  ///          then, and so it does after every error: `line` has what was read of it, which read_until() could go on from.
  [[nodiscard]] Result<bool> read_line(std::string& line, std::size_t limit) { return read_line({}, line, limit); }
  [[nodiscard]] Result<bool> read_line(const Context& ctx, std::string& line, std::size_t limit);

  /// Skips `n` bytes. Returns: how many; fewer if the stream ends before. If it fails, some may have been skipped.
  [[nodiscard]] Result<std::uint64_t> discard(std::uint64_t n) { return discard({}, n); }
  [[nodiscard]] Result<std::uint64_t> discard(const Context& ctx, std::uint64_t n);

  /// Copies what is buffered, and then the rest of the stream, or `most` bytes together: copy() (copy.h) of it.
  Copied write_to(Writer& to, std::uint64_t most = kAllBytes) { return write_to({}, to, most); }
  Copied write_to(const Context& ctx, Writer& to, std::uint64_t most = kAllBytes);

  /// How many bytes are buffered; peek() has so many without a wait.
  [[nodiscard]] std::size_t buffered() const noexcept { return end_ - begin_; }
  [[nodiscard]] bool has_buffer() const noexcept { return static_cast<bool>(buffer_); }  // I1

 private:
  friend class BufWriter;  // its read_from()

  [[nodiscard]] std::span<const std::byte> content() const noexcept { return {buffer_.data() + begin_, buffered()}; }
  void consume(std::size_t n) noexcept;
  [[nodiscard]] Result<bool> fill(const Context& ctx);
  [[nodiscard]] Result<bool> fill_more(const Context& ctx);
  [[nodiscard]] std::size_t take_to(std::span<std::byte> buf) noexcept;

  Source from_;
  const BufferSize size_;
  Buffer buffer_;
  std::size_t begin_ = 0;  // buffered: [begin_, end_) of buffer_
  std::size_t end_ = 0;
};

}  // namespace heddle::net
