// One table of what each byte may be in HTTP's grammar. Several classes per byte, one load per test.
//
// Source: RFC 9110 s5.6.2 (token), s5.5 (field-content); RFC 3986 s2, s3.2.2, s3.3, s3.4.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace heddle::http::chars {

inline constexpr std::uint8_t kToken = 1;   // tchar
inline constexpr std::uint8_t kValue = 2;   // in a field value: visible, space, tab, 80-ff
inline constexpr std::uint8_t kHost = 4;    // reg-name without escapes: unreserved, sub-delims
inline constexpr std::uint8_t kTarget = 8;  // plain in a path or query: visible ASCII but '#' and '%'
inline constexpr std::uint8_t kHex = 16;
inline constexpr std::uint8_t kDigit = 32;

namespace detail {
consteval std::array<std::uint8_t, 256> make_table() {
  std::array<std::uint8_t, 256> t{};
  auto mark = [&t](std::string_view set, std::uint8_t bit) {
    for (char c : set) t[static_cast<unsigned char>(c)] |= bit;
  };
  const std::string_view alnum = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  mark(alnum, kToken | kHost);
  mark("!#$%&'*+-.^_`|~", kToken);
  mark("-._~!$&'()*+,;=", kHost);
  mark("0123456789abcdefABCDEF", kHex);
  mark("0123456789", kDigit);
  for (unsigned c = 0x21; c < 0x7f; ++c) t[c] |= kValue | kTarget;
  for (unsigned c = 0x80; c < 0x100; ++c) t[c] |= kValue;
  mark(" \t", kValue);
  t['#'] &= static_cast<std::uint8_t>(~kTarget);
  t['%'] &= static_cast<std::uint8_t>(~kTarget);
  return t;
}
inline constexpr std::array<std::uint8_t, 256> kTable = make_table();
}  // namespace detail

[[nodiscard]] constexpr bool is(char c, std::uint8_t classes) noexcept {
  return (detail::kTable[static_cast<unsigned char>(c)] & classes) != 0;
}

[[nodiscard]] constexpr bool all(std::string_view text, std::uint8_t classes) noexcept {
  for (char c : text) {
    if (!is(c, classes)) return false;
  }
  return true;
}

[[nodiscard]] constexpr char lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

/// The value of a hex digit; the caller has tested kHex.
[[nodiscard]] constexpr int hex_value(char c) noexcept { return c <= '9' ? c - '0' : lower(c) - 'a' + 10; }

}  // namespace heddle::http::chars
