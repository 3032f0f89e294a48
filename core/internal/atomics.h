// The shim between heddle's lock-free algorithms and the hardware: what a test replaces to permute interleavings.
//
// Runq, the idle mask and net's readiness word take `template <class> class Atomic` and use RealAtomic by default; the
// tests' one (tests/core/interleave.h) calls a seeded scheduler before every access, so that two or three actors can be
// run through thousands of orders from a printed seed.
#pragma once

#include <atomic>

namespace heddle {

template <class T>
using RealAtomic = std::atomic<T>;

}  // namespace heddle
