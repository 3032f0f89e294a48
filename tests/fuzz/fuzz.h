// What the fuzzers share: how an input is cut into choices and text, and how a broken property is told.
//
// A fuzzer is a file <name>_fuzz.cc with LLVMFuzzerTestOneInput(). It checks properties: that what was parsed and printed
// parses to the same, that a split makes no difference, that a slow and simple reading in the test agrees. Bytes of choice
// come first in an input, text behind them, so that a seed is a file that a person can write.
//
// I1. The same input does the same: no clock, no address, no random number that is not from the input.
// I2. Text is given to what is tested in memory of its very size, so that ASan sees a read behind it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace heddle::fuzz {

[[noreturn]] inline void broken(const char* file, int line, const char* property, const std::string& more = {}) {
  std::fprintf(stderr, "%s:%d: does not hold: %s\n%s%s", file, line, property, more.c_str(), more.empty() ? "" : "\n");
  std::abort();
}

/// A property that must hold; else the input is a find.
#define FUZZ_CHECK(property) ((property) ? static_cast<void>(0) : ::heddle::fuzz::broken(__FILE__, __LINE__, #property))

/// That two strings are equal; both are shown.
#define FUZZ_SAME(a, b) ::heddle::fuzz::same(__FILE__, __LINE__, #a " == " #b, a, b)

inline void same(const char* file, int line, const char* property, std::string_view a, std::string_view b) {
  if (a != b) broken(file, line, property, "[" + std::string(a) + "]\n[" + std::string(b) + "]");
}

/// Random numbers from a seed: xorshift64*.
class Random {
 public:
  explicit Random(std::uint64_t seed) noexcept : state_(seed * 0x9E37'79B9'7F4A'7C15U | 1U) {}
  std::uint64_t next() noexcept {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 0x2545'F491'4F6C'DD1DU;
  }
  std::size_t below(std::size_t n) noexcept { return static_cast<std::size_t>((next() >> 33) % n); }

 private:
  std::uint64_t state_;
};

/// Takes an input apart from its front.
class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) noexcept : data_(data), size_(size) {}

  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  /// 0 past the end.
  std::uint8_t byte() noexcept {
    if (size_ == 0) return 0;
    --size_;
    return *data_++;
  }
  std::size_t below(std::size_t n) noexcept { return byte() % n; }
  std::uint64_t word() noexcept {
    std::uint64_t value = 0;
    for (int i = 0; i < 4; ++i) value = value << 8 | byte();
    return value;
  }
  /// Up to the next line feed, without it.
  std::string line() {
    const auto* end = std::find(data_, data_ + size_, std::uint8_t{'\n'});
    std::string text(data_, end);
    const std::size_t taken = std::min(text.size() + 1, size_);
    data_ += taken;
    size_ -= taken;
    return text;
  }
  std::string rest() {
    std::string text(data_, data_ + size_);
    size_ = 0;
    return text;
  }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
};

/// Text in memory of its very size (I2).
class Exact {
 public:
  explicit Exact(std::string_view text) : size_(text.size()), memory_(std::make_unique<char[]>(text.size())) {
    std::copy(text.begin(), text.end(), memory_.get());
  }
  [[nodiscard]] std::string_view view() const noexcept { return {memory_.get(), size_}; }
  operator std::string_view() const noexcept { return view(); }

 private:
  std::size_t size_;
  std::unique_ptr<char[]> memory_;
};

/// `text` in pieces: single bytes, small ones, or two or three, as `seed` says.
inline std::vector<std::string_view> cut(std::string_view text, std::uint64_t seed) {
  std::vector<std::string_view> pieces;
  Random random(seed);
  const std::size_t most = seed % 4 == 0 ? 1 : seed % 4 == 1 ? 3 : seed % 4 == 2 ? 17 : text.size() + 1;
  while (!text.empty()) {
    const std::size_t n = std::min(text.size(), 1 + random.below(most));
    pieces.push_back(text.substr(0, n));
    text.remove_prefix(n);
  }
  return pieces;
}

}  // namespace heddle::fuzz
