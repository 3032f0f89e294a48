// SipHash-2-4: a hash of text that who does not know the key cannot steer. Source: Aumasson and Bernstein, "SipHash: a
// fast short-input PRF" (2012).
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace heddle::http {

[[nodiscard]] constexpr std::uint64_t siphash(std::uint64_t k0, std::uint64_t k1, std::string_view text) noexcept {
  std::uint64_t a = k0 ^ 0x736f6d6570736575;
  std::uint64_t b = k1 ^ 0x646f72616e646f6d;
  std::uint64_t c = k0 ^ 0x6c7967656e657261;
  std::uint64_t d = k1 ^ 0x7465646279746573;
  auto rounds = [&](int n) {
    for (int i = 0; i < n; ++i) {
      a += b, b = std::rotl(b, 13) ^ a, a = std::rotl(a, 32);
      c += d, d = std::rotl(d, 16) ^ c;
      a += d, d = std::rotl(d, 21) ^ a;
      c += b, b = std::rotl(b, 17) ^ c, c = std::rotl(c, 32);
    }
  };
  // Words of eight bytes, the first one lowest; the last word ends with the length.
  for (std::size_t at = 0;; at += 8) {
    const std::size_t n = text.size() - at < 8 ? text.size() - at : 8;
    std::uint64_t word = 0;
    for (std::size_t i = 0; i < n; ++i) word |= std::uint64_t{static_cast<unsigned char>(text[at + i])} << (8 * i);
    if (n < 8) word |= std::uint64_t{text.size()} << 56;
    d ^= word;
    rounds(2);
    a ^= word;
    if (n < 8) break;
  }
  c ^= 0xff;
  rounds(4);
  return a ^ b ^ c ^ d;
}

}  // namespace heddle::http
