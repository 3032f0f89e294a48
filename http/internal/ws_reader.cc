#include <heddle/http/internal/ws_reader.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

namespace heddle::http::ws {

MessageReader::MessageReader(Role role, const Limits& limits, const std::optional<Agreed>& deflate)
    : role_(role), limits_(limits) {
  if (deflate) inflater_ = std::make_unique<Inflater>(deflate->peer_bits, deflate->peer_takeover);
}

MessageReader::Event MessageReader::step(std::string_view& in, std::size_t room) noexcept {
  try {
    while (!in.empty() || inflating_) {
      Event event = Event::kMore;
      switch (state_) {
        case State::kHead: event = take_head(in); break;
        case State::kPayload: event = take_payload(in, room); break;
        case State::kOver: in = {}; break;
      }
      if (event != Event::kMore) return event;
      if (room != kWhole && !message_.empty()) return Event::kData;
    }
  } catch (const std::bad_alloc&) {  // some bytes are lost: there is no going on
    return fail(1011, "out of memory");
  }
  return Event::kMore;
}

std::string MessageReader::take_message() noexcept { return std::exchange(message_, {}); }

std::size_t MessageReader::take_some(std::span<char> to) noexcept {
  const std::size_t n = std::min(message_.size(), to.size());
  if (n != 0) std::memcpy(to.data(), message_.data(), n);
  if (n == message_.size()) {
    drop();
  } else {
    message_.erase(0, n);
  }
  return n;
}

MessageReader::Event MessageReader::take_head(std::string_view& in) {
  const std::size_t before = head_size_;
  const std::size_t n = std::min(head_bytes_.size() - before, in.size());
  std::memcpy(head_bytes_.data() + before, in.data(), n);
  head_size_ += n;
  const HeadRead read = read_head({head_bytes_.data(), head_size_}, role_, inflater_ != nullptr, head_);
  if (read.broken != nullptr) return fail(1002, read.broken);
  if (read.size == 0) {
    in.remove_prefix(n);
    return Event::kMore;
  }
  in.remove_prefix(read.size - before);
  head_size_ = 0;
  return begin_frame();
}

MessageReader::Event MessageReader::begin_frame() {
  at_ = 0;
  if (is_control(head_.opcode)) {
    control_size_ = 0;
  } else {
    const bool first = head_.opcode != Opcode::kContinuation;
    if (first == in_message_) return fail(1002, first ? "a message within a message" : "continuation of nothing");
    if (first) {
      in_message_ = true;
      opcode_ = head_.opcode;
      compressed_ = head_.rsv1;
      fragments_ = 0;
      wire_bytes_ = plain_bytes_ = 0;
      utf8_ = {};
      message_.clear();
    }
    if (++fragments_ > limits_.max_fragments) return fail(1009, "too many fragments");
    if (head_.length > limits_.max_frame) return fail(1009, "frame too large");
    wire_bytes_ += head_.length;  // no overflow: a length is less than 2^63, and what it adds to has come
    // What does not compress grows by some bytes in a thousand: twice as much, and a little, is never honest.
    const std::uint64_t spare = compressed_ ? std::uint64_t{limits_.max_message} + 1024 : 0;
    if (wire_bytes_ > spare && wire_bytes_ - spare > limits_.max_message) return fail(1009, "message too large");
  }
  if (head_.length == 0) return end_frame();
  state_ = State::kPayload;
  return Event::kMore;
}

MessageReader::Event MessageReader::take_payload(std::string_view& in, std::size_t room) {
  if (is_control(head_.opcode)) {
    take_control(in);
  } else {
    if (message_.size() >= room) return Event::kData;  // keeps I2
    const Event event = compressed_ ? take_compressed(in, room) : take_plain(in, room);
    if (event != Event::kMore) return event;
  }
  return at_ == head_.length && !inflating_ ? end_frame() : Event::kMore;
}

void MessageReader::take_control(std::string_view& in) noexcept {
  const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(in.size(), head_.length - at_));
  std::memcpy(control_.data() + control_size_, in.data(), n);
  if (head_.masked) apply_mask(std::span(control_).subspan(control_size_, n), head_.mask, at_);
  control_size_ += n;
  in.remove_prefix(n);
  at_ += n;
}

MessageReader::Event MessageReader::take_plain(std::string_view& in, std::size_t room) {
  const std::size_t before = message_.size();
  const std::size_t fits = std::min(in.size(), room - before);
  const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(fits, head_.length - at_));
  message_ += in.substr(0, n);
  if (head_.masked) apply_mask(std::span(message_).subspan(before), head_.mask, at_);
  in.remove_prefix(n);
  at_ += n;
  if (opcode_ == Opcode::kText && !utf8_.take(std::string_view(message_).substr(before)))
    return fail(1007, "not UTF-8");
  return Event::kMore;
}

MessageReader::Event MessageReader::take_compressed(std::string_view& in, std::size_t room) {
  const auto check = [](void* self, std::string_view text) {
    auto* const reader = static_cast<MessageReader*>(self);
    return reader->opcode_ != Opcode::kText || reader->utf8_.take(text);
  };
  std::array<char, 4096> plain;
  const std::size_t fits = std::min(in.size(), plain.size());
  const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(fits, head_.length - at_));
  if (n != 0) std::memcpy(plain.data(), in.data(), n);
  if (head_.masked) apply_mask(std::span(plain).first(n), head_.mask, at_);
  std::string_view piece(plain.data(), n);
  const std::size_t before = message_.size();
  const auto most = static_cast<std::size_t>(limits_.max_message - plain_bytes_);
  const Inflater::Status status = inflater_->take(piece, room - before, most, message_, check, this);
  plain_bytes_ += message_.size() - before;
  in.remove_prefix(n - piece.size());
  at_ += n - piece.size();
  inflating_ = status == Inflater::Status::kFull;
  return inflated(status);
}

MessageReader::Event MessageReader::inflated(Inflater::Status status) noexcept {
  switch (status) {
    case Inflater::Status::kOk:
    case Inflater::Status::kFull: return Event::kMore;
    case Inflater::Status::kBroken: return fail(1007, "not DEFLATE");
    case Inflater::Status::kLimit: return fail(1009, "message too large");
    case Inflater::Status::kRefused: return fail(1007, "not UTF-8");
    case Inflater::Status::kNoMemory: break;
  }
  return fail(1011, "out of memory");
}

MessageReader::Event MessageReader::end_frame() {
  state_ = State::kHead;
  if (is_control(head_.opcode)) return end_control();
  if (!head_.fin) return Event::kMore;
  if (compressed_) {
    if (const Event event = inflated(inflater_->finish()); event != Event::kMore) return event;
  }
  if (opcode_ == Opcode::kText && !utf8_.whole()) return fail(1007, "not UTF-8");
  in_message_ = false;
  return Event::kMessage;
}

MessageReader::Event MessageReader::end_control() {
  if (head_.opcode == Opcode::kPing) return Event::kPing;
  if (head_.opcode == Opcode::kPong) return Event::kPong;
  close_ = read_close(control());
  if (close_.fault != 0) return fail(close_.fault, "close frame");
  state_ = State::kOver;
  return Event::kClose;
}

MessageReader::Event MessageReader::fail(int code, const char* why) noexcept {
  state_ = State::kOver;
  inflating_ = false;
  fault_code_ = code;
  fault_ = why;
  message_ = {};
  return Event::kFault;
}

}  // namespace heddle::http::ws
