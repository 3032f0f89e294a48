// spin: work that never calls anything, for the benchmarks of preemption.
#pragma once

#include <cstdint>

namespace heddle::bench {

/// Multiplies and adds `n` times, each step needing the one before. Nothing in the loop is a call, a system call or a
/// store, so whoever takes the CPU away must do it from outside.
inline std::uint64_t spin(std::uint64_t x, std::uint64_t n) {
  for (; n != 0; --n) {
    x = x * 3 + 1;
    asm("" : "+r"(x));  // else the compiler may fold steps; emits nothing, and is no barrier to memory
  }
  return x;
}

}  // namespace heddle::bench
