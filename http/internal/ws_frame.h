// Frames: the head of a WebSocket frame, read and written, and the mask.
//
//      0 1 2 3 4 5 6 7   0 1 2 3 4 5 6 7
//     |F|R|R|R| opcode| |M| length      |  126: two bytes of length follow; 127: eight    M: then four bytes of mask
//
// What a head may not be is told when the byte that shows it has come, before its payload: RSV bits that no extension gave a
// meaning, an unknown opcode, a control frame that is a fragment or longer than 125, a length that fits in fewer bytes or
// has the top bit set, a mask where there must be none, and none where there must be one. All of it is 1002.
//
// Source: RFC 6455 s5.2, s5.3, s5.5.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace heddle::http::ws {

/// Which end of the connection this is.
enum class Role : std::uint8_t { kServer, kClient };

enum class Opcode : std::uint8_t { kContinuation = 0, kText = 1, kBinary = 2, kClose = 8, kPing = 9, kPong = 10 };

[[nodiscard]] constexpr bool is_control(Opcode opcode) noexcept { return static_cast<unsigned>(opcode) >= 8; }

inline constexpr std::size_t kMaxFrameHead = 14;
inline constexpr std::size_t kMaxControl = 125;  // bytes of a control frame's payload (s5.5)

using Mask = std::array<std::uint8_t, 4>;

struct FrameHead {
  Opcode opcode = Opcode::kContinuation;
  bool fin = true;
  bool rsv1 = false;  // permessage-deflate: the message is compressed (RFC 7692 s6)
  bool masked = false;
  Mask mask{};
  std::uint64_t length = 0;  // of the payload
};

/// What read_head() found.
struct HeadRead {
  std::size_t size = 0;          // bytes of the head; 0: it is not all there
  const char* broken = nullptr;  // not null: it breaks the protocol so
};

/// Reads a head from the front of `bytes`, as `role` receives it. RSV1 may be set if `rsv1` says so, and then on the first
/// frame of a message alone.
[[nodiscard]] HeadRead read_head(std::string_view bytes, Role role, bool rsv1, FrameHead& head) noexcept;

/// Writes a head; returns its size. The length takes as few bytes as there can be.
[[nodiscard]] std::size_t put_head(const FrameHead& head, std::span<char, kMaxFrameHead> to) noexcept;

/// Masks `bytes`, or unmasks them. `at`: which byte of the payload the first one is.
void apply_mask(std::span<char> bytes, const Mask& mask, std::uint64_t at) noexcept;

}  // namespace heddle::http::ws
