// Codecs: how messages lie in a byte stream. What a MessageConn (message_conn.h) needs to be told of a protocol.
//
//     LineCodec           a line each, ended by LF or CRLF
//     DelimiterCodec      text, ended by bytes of the caller's choice
//     LengthPrefixCodec   bytes behind a number that says how many
//     RawCodec            bytes as they come, for streams without messages
//     SharedCodec<C>      C, whose outbound messages are shared with others: what a Hub (hub.h) sends to many
//
// A codec of one's own is a type with two functions, and owned by one connection, so it may remember things. One
// goroutine calls decode() and another encode(), so what both of them touch is theirs to guard:
//
//     struct Celsius {
//       using In = double;                                                        // what comes
//       using Out = double;                                                       // what is sent
//       Result<Decoded<In>> decode(std::span<const std::byte> bytes);
//       Result<void> encode(const Out& message, Outgoing& to);
//     };
//
// I1. decode() sees the bytes that no earlier call has consumed, all of them, from the first: so what a call without a
//     message has seen stands at the front of the next one's bytes, and more behind it. It may remember how far it
//     looked.
// I2. What is decoded, and which error ends it, depends on the bytes alone and not on how they were cut: every codec
//     here decides about a message by its own bytes, and refuses one that is too long by a length that no continuation
//     mends.
// I3. No codec trusts a length that the peer names before it is checked, and the buffer grows with the bytes that came,
//     not with those that were announced.
#pragma once

#include <sys/uio.h>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <heddle/core/error.h>
#include <heddle/core/panic.h>

namespace heddle::net {

using Bytes = std::vector<std::byte>;

/// What decode() found at the front of the bytes.
template <class M>
struct Decoded {
  std::optional<M> message = {};  // none: the bytes are no whole message so far
  std::size_t consumed = 0;       // bytes that are done with: at least one if there is a message
};

/// Bytes on their way out, gathered for one writev.
class Outgoing {
 public:
  /// Adds a copy of `bytes`.
  void copy(std::span<const std::byte> bytes);
  void copy(std::string_view text) { copy(std::as_bytes(std::span(text))); }

  /// Adds `bytes`, which must stay as they are until they are written; what lies in the message does. Small ones are
  /// copied.
  void refer(std::span<const std::byte> bytes);
  void refer(std::string_view text) { refer(std::as_bytes(std::span(text))); }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }

  /// All of it, in order. Lifetime: until this object is changed.
  [[nodiscard]] std::span<const iovec> buffers();

  /// Takes back all that came after it was `size` bytes long, which it must have been between two calls.
  void cut(std::size_t size) noexcept;
  void clear() noexcept { cut(0); }

 private:
  struct Piece {
    const std::byte* at;  // null: a part of copies_
    std::size_t size;
  };

  std::vector<Piece> pieces_;
  Bytes copies_;  // of the pieces without an address, one behind the other
  std::vector<iovec> buffers_;
  std::size_t size_ = 0;
};

template <class C>
concept Codec = std::is_nothrow_move_constructible_v<typename C::In> &&
                std::is_nothrow_move_constructible_v<typename C::Out> && std::movable<C> &&
                requires(C& codec, std::span<const std::byte> bytes, const typename C::Out& message, Outgoing& to) {
                  { codec.decode(bytes) } -> std::same_as<Result<Decoded<typename C::In>>>;
                  { codec.encode(message, to) } -> std::same_as<Result<void>>;
                };

/// Lines. A line is given without its end, which is LF or CRLF; a CR elsewhere belongs to the line.
///
/// Errors: of decode(): kLimit for a line of more than `max` bytes. Of encode(): that, too; kInvalid for a line with an
///         LF in it or with a CR at its end, which would be read as something else.
class LineCodec {
 public:
  using In = std::string;
  using Out = std::string;
  enum class End : std::uint8_t { kLf, kCrLf };

  explicit LineCodec(std::size_t max = 64 * 1024, End end = End::kLf) noexcept : max_(max), end_(end) {}

  [[nodiscard]] Result<Decoded<In>> decode(std::span<const std::byte> bytes);
  [[nodiscard]] Result<void> encode(const Out& line, Outgoing& to) const;

 private:
  std::size_t max_;
  std::size_t looked_ = 0;  // bytes known to hold no LF
  End end_;
};

/// Text between delimiters. A message is given without the delimiter that ends it.
///
/// Errors: of decode(): kLimit for one of more than `max` bytes. Of encode(): that, too; kInvalid for one that, with
///         the delimiter behind it, would be read as another.
class DelimiterCodec {
 public:
  using In = std::string;
  using Out = std::string;

  /// Dies with a message if `delimiter` is empty.
  explicit DelimiterCodec(std::string delimiter, std::size_t max = 64 * 1024);

  [[nodiscard]] Result<Decoded<In>> decode(std::span<const std::byte> bytes);
  [[nodiscard]] Result<void> encode(const Out& text, Outgoing& to) const;

 private:
  std::string delimiter_;
  std::size_t max_;
  std::size_t looked_ = 0;  // bytes in which no delimiter begins
};

/// Bytes behind their length, a number of 1, 2, 4 or 8 bytes which does not count itself.
///
/// Errors: kLimit for a length of more than `max`, or, of encode(), of more than the number can say.
class LengthPrefixCodec {
 public:
  using In = Bytes;
  using Out = Bytes;
  enum class Order : std::uint8_t { kBigEndian, kLittleEndian };

  /// Dies with a message if `width` is none of 1, 2, 4, 8.
  explicit LengthPrefixCodec(std::size_t width = 4, std::size_t max = 1 << 20, Order order = Order::kBigEndian);

  [[nodiscard]] Result<Decoded<In>> decode(std::span<const std::byte> bytes);
  [[nodiscard]] Result<void> encode(const Out& message, Outgoing& to) const;

 private:
  std::size_t width_;
  std::size_t max_;
  Order order_;
};

/// Bytes as they come: a message is what there was to be read, `max` bytes at most. Where one ends means nothing.
///
/// No errors. An empty message sends nothing.
class RawCodec {
 public:
  using In = Bytes;
  using Out = Bytes;

  explicit RawCodec(std::size_t max = 64 * 1024) noexcept : max_(max > 0 ? max : 1) {}

  [[nodiscard]] Result<Decoded<In>> decode(std::span<const std::byte> bytes) const;
  [[nodiscard]] Result<void> encode(const Out& message, Outgoing& to) const;

 private:
  std::size_t max_;
};

/// C with outbound messages that many connections share. A null one sends nothing.
template <Codec C>
class SharedCodec {
 public:
  using In = typename C::In;
  using Out = std::shared_ptr<const typename C::Out>;

  explicit SharedCodec(C codec = C()) noexcept(std::is_nothrow_move_constructible_v<C>) : codec_(std::move(codec)) {}

  [[nodiscard]] Result<Decoded<In>> decode(std::span<const std::byte> bytes) { return codec_.decode(bytes); }
  [[nodiscard]] Result<void> encode(const Out& message, Outgoing& to) {
    if (message == nullptr) return {};
    return codec_.encode(*message, to);
  }

 private:
  C codec_;
};

namespace detail {

/// The bytes that were read and not consumed yet. It grows as they come (I3), and gives a large buffer back when it is
/// empty.
class InBuffer {
 public:
  explicit InBuffer(std::size_t first) : first_(first > 0 ? first : 1) {}

  /// Room for more bytes, at least one; filled() says how many came.
  [[nodiscard]] std::span<std::byte> room();
  void filled(std::size_t n) noexcept { end_ += n; }

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {buffer_.data() + begin_, end_ - begin_}; }
  void consume(std::size_t n) noexcept;

 private:
  const std::size_t first_;  // size of the first buffer
  Bytes buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

}  // namespace detail

/// Cuts a stream into messages by a codec: for who reads it himself.
///
///     Decoder<LineCodec> lines;
///     auto n = conn.read(lines.room());
///     lines.filled(*n);
///     while (auto line = *lines.next()) …
///
/// Threads: one at a time.
template <Codec C>
class Decoder {
 public:
  explicit Decoder(C codec = C(), std::size_t first_buffer = 4096) : codec_(std::move(codec)), in_(first_buffer) {}

  /// Where the next bytes go; never empty. Lifetime: until next().
  [[nodiscard]] std::span<std::byte> room() { return in_.room(); }
  /// `n` bytes have come there.
  void filled(std::size_t n) noexcept { in_.filled(n); }

  /// The next message; none if its bytes have not all come.
  ///
  /// Errors: the codec's; the stream cannot be read on then. Panic if the codec consumed what was not there, or made a
  ///         message of nothing.
  [[nodiscard]] Result<std::optional<typename C::In>> next() {
    for (;;) {
      if (in_.bytes().empty()) return std::nullopt;
      Result<Decoded<typename C::In>> got = codec_.decode(in_.bytes());
      if (!got) return std::unexpected(got.error());
      if (got->consumed > in_.bytes().size()) throw Panic("codec: more was consumed than there is");
      if (got->message && got->consumed == 0) throw Panic("codec: a message of no bytes");
      in_.consume(got->consumed);
      if (got->message || got->consumed == 0) return std::move(got->message);
    }
  }

  /// True if the bytes of a message have begun to come, and not all have.
  [[nodiscard]] bool in_message() const noexcept { return !in_.bytes().empty(); }

  /// What the stream's end means here. Errors: kProtocol if it is in the middle of a message.
  [[nodiscard]] Result<void> end() const {
    if (in_message()) return std::unexpected(Error{Code::kProtocol, 0, "stream ended within a message"});
    return {};
  }

  [[nodiscard]] C& codec() noexcept { return codec_; }

 private:
  C codec_;
  detail::InBuffer in_;
};

}  // namespace heddle::net
