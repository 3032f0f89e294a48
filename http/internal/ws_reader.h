// MessageReader: bytes in, events out: messages, whole or piece by piece, control frames, and the first thing that breaks the
// protocol. Knows no connection and no time.
//
//                  head                  payload
//   kHead ------------------> kPayload ----------> kHead      an event at the end of a message or of a control frame
//     |                          |
//     '--- fault ---> kOver <----'---- Close, fault           what comes then is thrown away
//
// I1. A fault is told at the byte that shows it: a bad head before its payload, bad text before its frame's end.
// I2. Memory is set aside for bytes that came, never for those that a head promises; and a head that promises more than the
//     limits allow is a fault. So a connection holds at most max_message bytes, and what a control frame has; and of a message
//     that is taken piece by piece as many as its taker has room for, however much a compressed one stands for.
// I3. Control frames may stand between the fragments of a message, and change nothing about it (s5.4).
//
// I4. A message is the same one, and has the same faults, whether it is taken whole or in pieces of any size: there is one way
//     that its bytes go, which stops where the room ends.
//
// Source: RFC 6455 s5, s7.4.1, s8.1; RFC 7692 s6, s7.2.2.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
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
  enum class Event : std::uint8_t { kMore, kData, kMessage, kPing, kPong, kClose, kFault };

  static constexpr std::size_t kWhole = static_cast<std::size_t>(-1);

  struct Limits {
    std::size_t max_message;
    std::size_t max_frame;
    std::size_t max_fragments;
  };

  /// `deflate`: what was agreed, if anything.
  MessageReader(Role role, const Limits& limits, const std::optional<Agreed>& deflate);

  /// Takes bytes off the front of `in`, up to an event; kMore if there is none in them: then all were taken. Out of memory is a
  /// fault, too.
  ///
  /// `room`: bytes of a message that there may be at a time. kWhole: the message as a whole. Else kData says that there are some,
  /// or that with a room of 0 the next byte is one of a message's; and there may be some with kMessage, too.
  [[nodiscard]] Event step(std::string_view& in, std::size_t room = kWhole) noexcept;
  /// True if step() has more to give although nothing comes.
  [[nodiscard]] bool pending() const noexcept { return inflating_; }

  /// True if a message has begun, and its end has not come.
  [[nodiscard]] bool in_message() const noexcept { return in_message_; }
  /// Of that one, or after kMessage: whether it is text.
  [[nodiscard]] bool is_text() const noexcept { return opcode_ == Opcode::kText; }
  /// Its bytes, as far as they are there; the caller's now.
  [[nodiscard]] std::string take_message() noexcept;
  /// Throws them away.
  void drop() noexcept { message_ = {}; }
  /// The first of them that fit into `to`; returns how many.
  [[nodiscard]] std::size_t take_some(std::span<char> to) noexcept;
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
  [[nodiscard]] Event take_payload(std::string_view& in, std::size_t room);
  void take_control(std::string_view& in) noexcept;
  [[nodiscard]] Event take_plain(std::string_view& in, std::size_t room);
  [[nodiscard]] Event take_compressed(std::string_view& in, std::size_t room);
  [[nodiscard]] Event inflated(Inflater::Status status) noexcept;
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
  bool inflating_ = false;  // the Inflater had no room for all (kFull)
  Opcode opcode_ = Opcode::kBinary;
  std::size_t fragments_ = 0;
  std::uint64_t wire_bytes_ = 0;   // payloads of its frames, as their heads say
  std::uint64_t plain_bytes_ = 0;  // what came of them, if it is compressed
  Utf8Check utf8_;
  std::string message_;  // what is there, and was not taken

  int fault_code_ = 0;
  const char* fault_ = "";
};

}  // namespace heddle::http::ws
