// The two readings of time that every request needs, cheap: the Date line, and a moment for deadlines.
//
// Both come from the kernel's coarse clocks (some 5 ns instead of 25-40: no read of the TSC), which lag by up to one
// tick (4 ms): nothing to a Date of one second's grain, nor to a deadline of seconds.
#pragma once

#include <cstddef>
#include <cstdint>

#include <heddle/core/clock.h>

namespace heddle::http {

/// "Date: Sat, 21 Nov 2026 02:47:38 GMT\r\n": always this long.
inline constexpr std::size_t kDateLineSize = 37;

/// Writes the current Date line (RFC 9110 s5.6.7) and returns the end. It is formatted once per second and thread.
/// Threads: any. Never parks.
char* put_date_line(char* to) noexcept;

/// nanotime() to within a tick. Threads: any.
[[nodiscard]] std::int64_t coarse_now() noexcept;

/// When a time-out of options.h that begins at `now` is over: kNever if it is zero or less, or too long for an end.
[[nodiscard]] inline std::int64_t deadline_after(std::int64_t now, Duration limit) noexcept {
  return limit > Duration::zero() ? nanos_after(now, limit) : kNever;
}

namespace detail {
/// Makes coarse_now() read nanotime(), which a test may have replaced. Threads: any; another thread may go on by the kernel's
/// clock for a moment, which is the same time unless a test has replaced it, and such a test has one thread.
void use_exact_time_for_test(bool exact) noexcept;
}  // namespace detail

}  // namespace heddle::http
