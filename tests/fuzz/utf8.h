// A slow and simple reading of UTF-8, to hold the one that takes pieces against: code points are put together and looked at,
// where the other one knows ranges of bytes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace heddle::fuzz {

struct Utf8Reading {
  std::size_t good =
      0;  // bytes at the front that begin some UTF-8 text; the next one, if there is one, cannot follow them
  bool whole = true;  // they end with a code point
};

/// True if there is a code point that is no surrogate, takes `size` bytes, and lies in [low, high].
inline bool has_code_point(std::uint32_t low, std::uint32_t high, std::size_t size) {
  constexpr std::uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  low = std::max(low, kLeast[size]);
  high = std::min<std::uint32_t>(high, 0x10ffff);
  return low <= high && (low < 0xd800 || high > 0xdfff);
}

inline Utf8Reading read_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[at + i]); };
    if (byte(0) < 0x80) {
      ++at;
      continue;
    }
    const std::size_t size = byte(0) >> 5 == 6 ? 2 : byte(0) >> 4 == 14 ? 3 : byte(0) >> 3 == 30 ? 4 : 0;
    if (size == 0) return {at, true};
    // What is known of the code point: its first bits. Those that are to come are all zeros at the least, all ones at most.
    std::uint32_t bits = byte(0) & (0x7fU >> size);
    for (std::size_t n = 1;; ++n) {
      const std::size_t to_come = 6 * (size - n);
      const std::uint32_t low = bits << to_come;
      if (!has_code_point(low, low + (1U << to_come) - 1, size)) return {at + n - 1, n == 1};
      if (n == size) break;
      if (at + n == text.size()) return {at + n, false};
      if (byte(n) >> 6 != 2) return {at + n, false};
      bits = bits << 6 | (byte(n) & 0x3fU);
    }
    at += size;
  }
  return {text.size(), true};
}

inline bool is_utf8(std::string_view text) {
  const Utf8Reading read = read_utf8(text);
  return read.good == text.size() && read.whole;
}

}  // namespace heddle::fuzz
