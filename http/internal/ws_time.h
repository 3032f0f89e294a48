// Deadlines of a WebSocket: a duration from now, where zero or less means that there is none.
#pragma once

#include <chrono>

#include <heddle/core/clock.h>
#include <heddle/core/error.h>

namespace heddle::http::ws {

[[nodiscard]] inline TimePoint deadline_after(Duration d) noexcept {
  if (d <= Duration::zero()) return kNoDeadline;
  const std::int64_t at = nanos_after(nanotime(), d);
  return at == kNever ? kNoDeadline : TimePoint(std::chrono::duration_cast<Clock::duration>(Duration(at)));
}

/// A deadline of ours, not the kernel's ETIMEDOUT.
[[nodiscard]] inline bool is_deadline(const Error& error) noexcept {
  return error.code == Code::kTimeout && error.sys == 0;
}

}  // namespace heddle::http::ws
