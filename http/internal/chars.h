// One table of what each byte may be in HTTP's grammar. Several classes per byte, one load per test.
//
// Source: RFC 9110 s5.6.2 (token), s5.5 (field-content); RFC 3986 s2, s3.2.2, s3.3, s3.4.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace heddle::http::chars {

inline constexpr std::uint8_t kToken = 1;   // tchar
inline constexpr std::uint8_t kValue = 2;   // in a field value: visible, space, tab, 80-ff
inline constexpr std::uint8_t kHost = 4;    // reg-name without escapes: unreserved, sub-delims
inline constexpr std::uint8_t kTarget = 8;  // plain in a path or query: visible ASCII but '#' and '%'
inline constexpr std::uint8_t kHex = 16;
inline constexpr std::uint8_t kDigit = 32;
inline constexpr std::uint8_t kPath = 64;  // kTarget but '?'

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
  for (unsigned c = 0x21; c < 0x7f; ++c) t[c] |= kValue | kTarget | kPath;
  for (unsigned c = 0x80; c < 0x100; ++c) t[c] |= kValue;
  mark(" \t", kValue);
  for (const char c : {'#', '%'}) t[static_cast<unsigned char>(c)] &= static_cast<std::uint8_t>(~(kTarget | kPath));
  t['?'] &= static_cast<std::uint8_t>(~kPath);
  return t;
}
inline constexpr std::array<std::uint8_t, 256> kTable = make_table();
}  // namespace detail

[[nodiscard]] constexpr bool is(char c, std::uint8_t classes) noexcept {
  return (detail::kTable[static_cast<unsigned char>(c)] & classes) != 0;
}

/// Where the first byte in [at, end) stands that is of none of the classes; `end` if there is none.
[[nodiscard]] constexpr const char* skip(const char* at, const char* end, std::uint8_t classes) noexcept {
  const auto classes_of = [](char c) { return detail::kTable[static_cast<unsigned char>(c)]; };
  // Four at a time: half the work a byte.
  for (; end - at >= 4; at += 4) {
    if ((classes_of(at[0]) & classes_of(at[1]) & classes_of(at[2]) & classes_of(at[3]) & classes) == 0) break;
  }
  while (at != end && is(*at, classes)) ++at;
  return at;
}

[[nodiscard]] constexpr bool all(std::string_view text, std::uint8_t classes) noexcept {
  return skip(text.data(), text.data() + text.size(), classes) == text.data() + text.size();
}

/// skip() for kValue, eight bytes at a time: a value is the longest thing in a head.
[[nodiscard]] inline const char* skip_value(const char* at, const char* end) noexcept {
  constexpr std::uint64_t kOnes = 0x0101010101010101;
  constexpr std::uint64_t kTops = kOnes * 0x80;
  while (end - at >= 8) {
    std::uint64_t w = 0;
    std::memcpy(&w, at, 8);
    if constexpr (std::endian::native == std::endian::big) w = __builtin_bswap64(w);
    // The top bit of each byte that is below a space, or DEL. A borrow may mark bytes above such a one, so the lowest is
    // right, which is the first in memory.
    const std::uint64_t below = w - kOnes * 0x20;
    const std::uint64_t del = (w ^ kOnes * 0x7f) - kOnes;
    const std::uint64_t marks = (below | del) & ~w & kTops;
    if (marks == 0) {
      at += 8;
      continue;
    }
    at += std::countr_zero(marks) / 8;
    if (*at != '\t') return at;
    ++at;
  }
  return skip(at, end, kValue);
}

/// True if `text` is `lower` in any case; `lower` holds small letters and '-' alone, `text` no control.
template <std::size_t kSize>
[[nodiscard]] constexpr bool is_name(std::string_view text, const char (&lower)[kSize]) noexcept {
  if (text.size() != kSize - 1) return false;
  unsigned differ = 0;
  for (std::size_t i = 0; i < kSize - 1; ++i) {
    differ |= static_cast<unsigned char>((text[i] | 0x20) ^ lower[i]);  // 0x20 makes a small letter of a capital
  }
  return differ == 0;
}

/// What may stand around a value (RFC 9110 s5.6.3).
[[nodiscard]] constexpr bool is_blank(char c) noexcept { return c == ' ' || c == '\t'; }

[[nodiscard]] constexpr char lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

/// The value of a hex digit; the caller has tested kHex.
[[nodiscard]] constexpr int hex_value(char c) noexcept { return c <= '9' ? c - '0' : lower(c) - 'a' + 10; }

}  // namespace heddle::http::chars
