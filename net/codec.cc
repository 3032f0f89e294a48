// The codecs that are not templates, and the buffers on both sides of them.
#include <heddle/net/codec.h>

#include <algorithm>
#include <cstring>

#include <heddle/core/check.h>

namespace heddle::net {
namespace {

// Up to here a copy costs less than an entry of its own in writev(2).
constexpr std::size_t kCopiedUpTo = 256;

// A buffer that grew larger is given back when it is empty: a connection that is idle shall not keep the memory of its
// largest message.
constexpr std::size_t kKeptUpTo = 64 * 1024;

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::unexpected<Error> too_long(const char* what) { return std::unexpected(Error{Code::kLimit, 0, what}); }
std::unexpected<Error> unsendable(const char* what) { return std::unexpected(Error{Code::kInvalid, 0, what}); }

}  // namespace

void Outgoing::copy(std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  copies_.insert(copies_.end(), bytes.begin(), bytes.end());
  if (!pieces_.empty() && pieces_.back().at == nullptr) {
    pieces_.back().size += bytes.size();
  } else {
    pieces_.push_back({nullptr, bytes.size()});
  }
  size_ += bytes.size();
}

void Outgoing::refer(std::span<const std::byte> bytes) {
  if (bytes.size() <= kCopiedUpTo) return copy(bytes);
  pieces_.push_back({bytes.data(), bytes.size()});
  size_ += bytes.size();
}

// Late, because copies_ may move as it grows.
std::span<const iovec> Outgoing::buffers() {
  buffers_.clear();
  std::byte* copied = copies_.data();
  for (const Piece& piece : pieces_) {
    if (piece.at == nullptr) {
      buffers_.push_back({copied, piece.size});
      copied += piece.size;
    } else {
      buffers_.push_back({const_cast<std::byte*>(piece.at), piece.size});  // writev(2) has no const, and writes nothing
    }
  }
  return buffers_;
}

void Outgoing::cut(std::size_t size) noexcept {
  while (size_ > size) {
    Piece& last = pieces_.back();
    const std::size_t off = std::min(last.size, size_ - size);
    if (last.at == nullptr) copies_.resize(copies_.size() - off);
    last.size -= off;
    size_ -= off;
    if (last.size == 0) pieces_.pop_back();
  }
  if (size_ == 0 && copies_.capacity() > kKeptUpTo) copies_ = Bytes();
}

Result<Decoded<std::string>> LineCodec::decode(std::span<const std::byte> bytes) {
  const std::string_view text = text_of(bytes);
  const std::size_t at = text.find('\n', looked_);
  if (at == std::string_view::npos) {
    // The shortest line that this can become has its end at once: CR, which is there, and LF.
    if (text.size() > max_ && text.size() - max_ >= 2) return too_long("line");
    looked_ = text.size();
    return Decoded<std::string>{};
  }
  looked_ = 0;
  std::string_view line = text.substr(0, at);
  if (line.ends_with('\r')) line.remove_suffix(1);
  if (line.size() > max_) return too_long("line");
  return Decoded<std::string>{std::string(line), at + 1};
}

Result<void> LineCodec::encode(const std::string& line, Outgoing& to) const {
  if (line.size() > max_) return too_long("line");
  if (line.ends_with('\r') || line.find('\n') != std::string::npos) return unsendable("line");
  to.refer(line);
  to.copy(end_ == End::kCrLf ? std::string_view("\r\n") : std::string_view("\n"));
  return {};
}

DelimiterCodec::DelimiterCodec(std::string delimiter, std::size_t max) : delimiter_(std::move(delimiter)), max_(max) {
  HEDDLE_CHECK(!delimiter_.empty());
}

Result<Decoded<std::string>> DelimiterCodec::decode(std::span<const std::byte> bytes) {
  const std::string_view text = text_of(bytes);
  const std::size_t at = text.find(delimiter_, looked_);
  if (at == std::string_view::npos) {
    // A delimiter that ends with the next byte at the earliest begins behind more than max_ bytes.
    if (text.size() >= delimiter_.size() && text.size() - delimiter_.size() >= max_) return too_long("message");
    looked_ = text.size() < delimiter_.size() ? 0 : text.size() - delimiter_.size() + 1;
    return Decoded<std::string>{};
  }
  looked_ = 0;
  if (at > max_) return too_long("message");
  return Decoded<std::string>{std::string(text.substr(0, at)), at + delimiter_.size()};
}

Result<void> DelimiterCodec::encode(const std::string& text, Outgoing& to) const {
  if (text.size() > max_) return too_long("message");
  // Where the first delimiter is in text + delimiter. It may begin in the one and end in the other ("a-" before "--").
  if (text.find(delimiter_) != std::string::npos) return unsendable("message");
  const std::size_t tail = std::min(text.size(), delimiter_.size() - 1);
  const std::string seam = text.substr(text.size() - tail) + delimiter_;
  if (seam.find(delimiter_) != tail) return unsendable("message");
  to.refer(text);
  to.copy(delimiter_);
  return {};
}

LengthPrefixCodec::LengthPrefixCodec(std::size_t width, std::size_t max, Order order)
    : width_(width), max_(max), order_(order) {
  HEDDLE_CHECK(width == 1 || width == 2 || width == 4 || width == 8);
}

Result<Decoded<Bytes>> LengthPrefixCodec::decode(std::span<const std::byte> bytes) {
  if (bytes.size() < width_) return Decoded<Bytes>{};
  std::uint64_t length = 0;
  for (std::size_t i = 0; i < width_; ++i) {
    const std::size_t shift = 8 * (order_ == Order::kBigEndian ? width_ - 1 - i : i);
    length |= static_cast<std::uint64_t>(bytes[i]) << shift;
  }
  if (length > max_) return too_long("message");
  const std::span<const std::byte> behind = bytes.subspan(width_);
  if (behind.size() < length) return Decoded<Bytes>{};
  const std::span<const std::byte> body = behind.first(static_cast<std::size_t>(length));
  return Decoded<Bytes>{Bytes(body.begin(), body.end()), width_ + body.size()};
}

Result<void> LengthPrefixCodec::encode(const Bytes& message, Outgoing& to) const {
  const std::uint64_t length = message.size();
  if (length > max_ || (width_ < 8 && (length >> (8 * width_)) != 0)) return too_long("message");
  std::byte prefix[8];
  for (std::size_t i = 0; i < width_; ++i) {
    const std::size_t shift = 8 * (order_ == Order::kBigEndian ? width_ - 1 - i : i);
    prefix[i] = static_cast<std::byte>(length >> shift);
  }
  to.copy(std::span<const std::byte>(prefix, width_));
  to.refer(message);
  return {};
}

Result<Decoded<Bytes>> RawCodec::decode(std::span<const std::byte> bytes) const {
  if (bytes.empty()) return Decoded<Bytes>{};
  const std::span<const std::byte> some = bytes.first(std::min(bytes.size(), max_));
  return Decoded<Bytes>{Bytes(some.begin(), some.end()), some.size()};
}

Result<void> RawCodec::encode(const Bytes& message, Outgoing& to) const {
  to.refer(message);
  return {};
}

namespace detail {

std::span<std::byte> InBuffer::room() {
  if (buffer_.empty()) buffer_.resize(first_);
  // Half full of what is still needed: more room. Else what is needed moves to the front, which costs less than what it
  // has made room for: so each byte is moved a few times at most, however small the reads.
  if (end_ - begin_ > buffer_.size() / 2) {
    Bytes larger(buffer_.size() * 2);
    std::memcpy(larger.data(), buffer_.data() + begin_, end_ - begin_);
    buffer_ = std::move(larger);
    end_ -= begin_;
    begin_ = 0;
  } else if (begin_ > 0 && end_ > buffer_.size() / 2) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  return std::span(buffer_).subspan(end_);
}

void InBuffer::consume(std::size_t n) noexcept {
  begin_ += n;
  if (begin_ < end_) return;
  begin_ = end_ = 0;
  if (buffer_.size() > std::max(kKeptUpTo, first_)) buffer_ = Bytes();
}

}  // namespace detail

}  // namespace heddle::net
