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

MessageReader::Event MessageReader::step(std::string_view& in) noexcept {
  try {
    while (!in.empty()) {
      Event event = Event::kMore;
      switch (state_) {
        case State::kHead: event = take_head(in); break;
        case State::kPayload: event = take_payload(in); break;
        case State::kOver: in = {}; break;
      }
      if (event != Event::kMore) return event;
    }
  } catch (const std::bad_alloc&) {  // some bytes are lost: there is no going on
    return fail(1011, "out of memory");
  }
  return Event::kMore;
}

std::string MessageReader::take_message() noexcept { return std::exchange(message_, {}); }

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
      wire_bytes_ = 0;
      utf8_ = {};
      message_.clear();
    }
    if (++fragments_ > limits_.max_fragments) return fail(1009, "too many fragments");
    if (head_.length > limits_.max_frame) return fail(1009, "frame too large");
    wire_bytes_ += head_.length;  // no overflow: the sum is held below, and a length is at most max_frame
    // What does not compress grows by some bytes in a thousand: twice as much, and a little, is never honest.
    const std::uint64_t most = compressed_ ? 2 * std::uint64_t{limits_.max_message} + 1024 : limits_.max_message;
    if (wire_bytes_ > most) return fail(1009, "message too large");
  }
  if (head_.length == 0) return end_frame();
  state_ = State::kPayload;
  return Event::kMore;
}

MessageReader::Event MessageReader::take_payload(std::string_view& in) {
  const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(in.size(), head_.length - at_));
  const std::string_view piece = in.substr(0, n);
  in.remove_prefix(n);
  if (is_control(head_.opcode)) {
    std::memcpy(control_.data() + control_size_, piece.data(), n);
    if (head_.masked) apply_mask(std::span(control_).subspan(control_size_, n), head_.mask, at_);
    control_size_ += n;
  } else if (const Event event = take_data(piece); event != Event::kMore) {
    return event;
  }
  at_ += n;
  return at_ == head_.length ? end_frame() : Event::kMore;
}

MessageReader::Event MessageReader::take_data(std::string_view piece) {
  if (compressed_) {
    std::array<char, 4096> plain;
    for (std::uint64_t at = at_; !piece.empty();) {
      const std::size_t n = std::min(piece.size(), plain.size());
      std::memcpy(plain.data(), piece.data(), n);
      if (head_.masked) apply_mask(std::span(plain).first(n), head_.mask, at);
      piece.remove_prefix(n);
      at += n;
      if (const Event event = inflate({plain.data(), n}, false); event != Event::kMore) return event;
    }
    return Event::kMore;
  }
  const std::size_t before = message_.size();
  message_ += piece;
  if (head_.masked) apply_mask(std::span(message_).subspan(before), head_.mask, at_);
  if (opcode_ == Opcode::kText && !utf8_.take(std::string_view(message_).substr(before)))
    return fail(1007, "not UTF-8");
  return Event::kMore;
}

MessageReader::Event MessageReader::inflate(std::string_view piece, bool last) {
  const auto check = [](void* self, std::string_view text) {
    auto* const reader = static_cast<MessageReader*>(self);
    return reader->opcode_ != Opcode::kText || reader->utf8_.take(text);
  };
  switch (inflater_->take(piece, last, limits_.max_message, message_, check, this)) {
    case Inflater::Status::kOk: return Event::kMore;
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
    if (const Event event = inflate({}, true); event != Event::kMore) return event;
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
  fault_code_ = code;
  fault_ = why;
  message_ = {};
  return Event::kFault;
}

}  // namespace heddle::http::ws
