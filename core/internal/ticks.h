// A clock that costs a few nanoseconds, in ticks of its own: for "has that much passed?", and for samples.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace heddle {

/// x86: the time stamp counter, 1 to 5 GHz. arm64: the virtual counter, 25 MHz to 1 GHz. Nearly the same on all cores.
[[nodiscard, gnu::always_inline]] inline std::uint64_t coarse_ticks() noexcept {
#if defined(__x86_64__)
  return __rdtsc();
#elif defined(__aarch64__)
  std::uint64_t v;
  asm volatile("mrs %0, cntvct_el0" : "=r"(v));
  return v;
#endif
}

}  // namespace heddle
