// Time, in one type and from one place.
//
// Public interfaces speak std::chrono::steady_clock; inside, a moment is nanoseconds of CLOCK_MONOTONIC in an int64_t,
// because heaps and wheels compare and store it by the million. Everything reads the clock through nanotime(), so a
// test can hold time still (set_clock_for_test). One reading costs some 30 ns where the vDSO works: loops cache it, and
// who only wants to say "in an hour" asks nanotime_near(), which interpolates by the processor's counter for a third of
// that.
#pragma once

#include <chrono>
#include <cstdint>
#include <limits>

namespace heddle {

using Clock = std::chrono::steady_clock;
using Duration = std::chrono::nanoseconds;
using TimePoint = Clock::time_point;

/// A deadline that never comes.
inline constexpr TimePoint kNoDeadline = TimePoint::max();

/// The same as nanoseconds of the monotonic clock.
inline constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();

/// Nanoseconds of CLOCK_MONOTONIC, or of the test's clock.
[[nodiscard]] std::int64_t nanotime() noexcept;

/// nanotime(), or up to 10 us later, for less: for deadlines, never for measuring. Two calls may go backwards by so much.
/// Threads: any. Source: Intel SDM 3B, 18.17 (invariant TSC).
[[nodiscard]] std::int64_t nanotime_near() noexcept;

/// The current time as users see it. Threads: any.
[[nodiscard]] inline TimePoint now() noexcept {
  return TimePoint(std::chrono::duration_cast<Clock::duration>(Duration(nanotime())));
}

[[nodiscard]] inline std::int64_t to_nanos(TimePoint t) noexcept {
  return t == kNoDeadline ? kNever : std::chrono::duration_cast<Duration>(t.time_since_epoch()).count();
}

/// `now() + d` that saturates instead of overflowing: a huge `d` is kNever.
[[nodiscard]] inline std::int64_t nanos_after(std::int64_t base, Duration d) noexcept {
  std::int64_t when = 0;
  if (__builtin_add_overflow(base, static_cast<std::int64_t>(d.count()), &when)) {
    return d.count() > 0 ? kNever : 0;
  }
  return when;
}

namespace detail {
/// Replaces the clock (nullptr restores CLOCK_MONOTONIC). For tests; call it while no scheduler runs.
void set_clock_for_test(std::int64_t (*clock)() noexcept) noexcept;
}  // namespace detail

}  // namespace heddle
