// Utf8Check: tells whether bytes that come in pieces are UTF-8, at the first byte that cannot belong to any.
//
// A piece may end within a code point, so the state is what the next byte may be: a range, and how many bytes follow.
//
//     lead byte       next            then 80-BF
//     C2-DF           80-BF           -
//     E0              A0-BF (not overlong)      1
//     E1-EC, EE, EF   80-BF                     1
//     ED              80-9F (no surrogates)     1
//     F0              90-BF (not overlong)      2
//     F1-F3           80-BF                     2
//     F4              80-8F (to U+10FFFF)       2
//
// Source: RFC 3629 s4; RFC 6455 s8.1 (an endpoint fails the connection).
#pragma once

#include <cstdint>
#include <string_view>

namespace heddle::http::ws {

class Utf8Check {
 public:
  /// Takes the next bytes. False: what came so far begins no UTF-8 text, and never will.
  [[nodiscard]] bool take(std::string_view bytes) noexcept;
  /// True if what was taken is whole: no code point has only begun.
  [[nodiscard]] bool whole() const noexcept { return need_ == 0; }

 private:
  std::uint8_t need_ = 0;  // bytes that the code point still wants; the first of them within [low_, high_]
  std::uint8_t low_ = 0x80;
  std::uint8_t high_ = 0xbf;
};

/// True if `text` is UTF-8.
[[nodiscard]] bool is_utf8(std::string_view text) noexcept;

}  // namespace heddle::http::ws
