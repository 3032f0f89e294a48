// IdleMask: which Ps are idle, as bits: whoever clears a P's bit owns that P.
//
// Half of the wake-up protocol stands here, because the order of its accesses is what makes it right:
//
//     a submitter                                an M that finds nothing to do
//     S1. puts a G on a queue                    A1. put(p): sets the bit (seq_cst)
//     S2. reads the mask (seq_cst)               A2. reads all queues again (after a seq_cst fence)
//         -> an idle P: wakes its M                  -> a G: takes a P back, goes on
//
// I1. The two stores and two loads form Dekker's pattern: S1, fence, S2 against A1, fence, A2. So either the submitter
//     sees the idle P, or the M sees the G; never neither. Every access of the mask is seq_cst for that, and submitters
//     of queued work issue a seq_cst fence between S1 and S2 (wake_p).
// I2. A bit is set only by the holder of the P.
#pragma once

#include <bit>
#include <cstdint>

#include <heddle/core/internal/atomics.h>

namespace heddle {

inline constexpr int kMaxProcs = 256;

template <template <class> class Atomic = RealAtomic>
class BasicIdleMask {
 public:
  void put(int p) noexcept {
    words_[p / 64].fetch_or(bit(p), std::memory_order_seq_cst);  // seq_cst: A1
  }

  /// Takes P `p` if it is idle.
  [[nodiscard]] bool try_take(int p) noexcept {
    // seq_cst: one total order with put() and any(); also acquires what the last holder wrote to the P.
    return (words_[p / 64].fetch_and(~bit(p), std::memory_order_seq_cst) & bit(p)) != 0;
  }

  /// Takes some idle P; -1 if there is none.
  [[nodiscard]] int take_any() noexcept {
    for (int w = 0; w < kWords; ++w) {
      std::uint64_t word = words_[w].load(std::memory_order_seq_cst);  // seq_cst: S2
      while (word != 0) {
        const int p = w * 64 + std::countr_zero(word);
        if (try_take(p)) return p;
        word = words_[w].load(std::memory_order_seq_cst);  // seq_cst: S2, again
      }
    }
    return -1;
  }

  [[nodiscard]] bool any() const noexcept {
    for (const auto& word : words_) {
      if (word.load(std::memory_order_seq_cst) != 0) return true;  // seq_cst: S2
    }
    return false;
  }

  [[nodiscard]] int count() const noexcept {
    int n = 0;
    for (const auto& word : words_) n += std::popcount(word.load(std::memory_order_relaxed));  // relaxed: a statistic
    return n;
  }

  [[nodiscard]] bool holds(int p) const noexcept {
    return (words_[p / 64].load(std::memory_order_relaxed) & bit(p)) != 0;  // relaxed: a statistic
  }

 private:
  static constexpr int kWords = kMaxProcs / 64;
  [[nodiscard]] static constexpr std::uint64_t bit(int p) noexcept { return std::uint64_t{1} << (p % 64); }

  alignas(64) Atomic<std::uint64_t> words_[kWords]{};
};

using IdleMask = BasicIdleMask<>;

}  // namespace heddle
