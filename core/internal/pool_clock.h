// The number by which pools tell that time has passed (core/pool.h I2). sysmon moves it on; pools look at it at every
// use, so it is a line that all read and that changes once in a generation.
#pragma once

#include <cstdint>

namespace heddle {

/// How long an object is kept in a pool without being used: from one to two of these. Nanoseconds. Go's is the time
/// between two collections, two minutes at most.
inline constexpr std::int64_t kPoolGeneration = 10'000'000'000;

/// Tells all pools what time it is. Threads: sysmon alone.
void tell_pools(std::int64_t now) noexcept;

}  // namespace heddle
