// MessageReader: bytes in, events out: messages, control frames, and the first thing that breaks the protocol. Knows no
// connection and no time.
//
//                  head                  payload
//   kHead ------------------> kPayload ----------> kHead      an event at the end of a message or of a control frame
//     |                          |
//     '--- fault ---> kOver <----'---- Close, fault           what comes then is thrown away
//
// I1. A fault is told at the byte that shows it: a bad head before its payload, bad text before its frame's end.
// I2. Memory is set aside for bytes that came, never for those that a head promises; and a head that promises more than the
//     limits allow is a fault. So a connection holds at most max_message bytes, and what a control frame has.
// I3. Control frames may stand between the fragments of a message, and change nothing about it (s5.4).
//
// Source: RFC 6455 s5, s7.4.1, s8.1; RFC 7692 s6, s7.2.2.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <heddle/http/internal/ws_close.h>
#include <heddle/http/internal/ws_deflate.h>
#include <heddle/http/internal/ws_extension.h>
#include <heddle/http/internal/ws_frame.h>
#include <heddle/http/internal/ws_utf8.h>
#include <heddle/http/websocket_options.h>

namespace heddle::http::ws {

class MessageReader {
 public:
  enum class Event : std::uint8_t { kMore, kMessage, kPing, kPong, kClose, kFault };

  struct Limits {
    std::size_t max_message;
    std::size_t max_frame;
    std::size_t max_fragments;
  };

  /// `deflate`: what was agreed, if anything.
  MessageReader(Role role, const Limits& limits, const std::optional<Agreed>& deflate);

  /// Takes bytes off the front of `in`, up to an event; kMore if there is none in them: then all were taken. Out of memory is a
  /// fault, too.
  [[nodiscard]] Event step(std::string_view& in) noexcept;

  /// After kMessage: whether it is text, and its bytes, which are the caller's now.
  [[nodiscard]] bool is_text() const noexcept { return opcode_ == Opcode::kText; }
  [[nodiscard]] std::string take_message() noexcept;
  /// After kPing, kPong: the payload. Valid until the next step().
  [[nodiscard]] std::string_view control() const noexcept { return {control_.data(), control_size_}; }
  /// After kClose. Valid until the next step().
  [[nodiscard]] const ClosePayload& close() const noexcept { return close_; }
  /// After kFault: the code to fail with, and why.
  [[nodiscard]] int fault_code() const noexcept { return fault_code_; }
  [[nodiscard]] const char* fault() const noexcept { return fault_; }

 private:
  enum class State : std::uint8_t { kHead, kPayload, kOver };

  [[nodiscard]] Event take_head(std::string_view& in);
  [[nodiscard]] Event begin_frame();
  [[nodiscard]] Event take_payload(std::string_view& in);
  [[nodiscard]] Event take_data(std::string_view piece);
  [[nodiscard]] Event inflate(std::string_view piece, bool last);
  [[nodiscard]] Event end_frame();
  [[nodiscard]] Event end_control();
  [[nodiscard]] Event fail(int code, const char* why) noexcept;

  const Role role_;
  const Limits limits_;
  std::unique_ptr<Inflater> inflater_;  // null: nothing was agreed

  State state_ = State::kHead;
  std::array<char, kMaxFrameHead> head_bytes_;
  std::size_t head_size_ = 0;  // of the head that has begun
  FrameHead head_;
  std::uint64_t at_ = 0;  // bytes of the payload that came

  std::array<char, kMaxControl> control_;
  std::size_t control_size_ = 0;
  ClosePayload close_;

  // The message that has begun.
  bool in_message_ = false;
  bool compressed_ = false;
  Opcode opcode_ = Opcode::kBinary;
  std::size_t fragments_ = 0;
  std::uint64_t wire_bytes_ = 0;  // payloads of its frames, as their heads say
  Utf8Check utf8_;
  std::string message_;

  int fault_code_ = 0;
  const char* fault_ = "";
};

}  // namespace heddle::http::ws
