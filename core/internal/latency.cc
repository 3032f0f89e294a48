#include <heddle/core/internal/latency.h>

#include <time.h>

#include <heddle/core/sched_stats.h>

namespace heddle::detail {

constinit std::atomic<double> ns_per_tick{0};

namespace {

// The real one, also where a test has put another in nanotime()'s place.
std::uint64_t real_time() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace

void measure_ticks() noexcept {
  constexpr std::uint64_t kLongEnough = 1'000'000;  // ns: what one reading may be late is a thousandth of it
  static constinit std::uint64_t ticks_then = 0;
  static constinit std::uint64_t then = 0;
  if (ns_per_tick.load(std::memory_order_relaxed) != 0) return;  // relaxed: only this thread writes it
  const std::uint64_t now = real_time();
  const std::uint64_t ticks = coarse_ticks();
  if (then == 0) {
    then = now;
    ticks_then = ticks;
    return;
  }
  if (now - then < kLongEnough || ticks <= ticks_then) return;
  // relaxed: a number, no more.
  ns_per_tick.store(static_cast<double>(now - then) / static_cast<double>(ticks - ticks_then), std::memory_order_relaxed);
}

void note_ready_wait(P* p, G* g) noexcept {
  const std::uint32_t since = g->ready_at;
  g->ready_at = 0;
  if (p == nullptr) return;
  // The cores' clocks differ by a little: what seems to have run before it was ready ran at once.
  const auto passed = static_cast<std::int32_t>(ready_stamp() - since);
  const auto ticks = passed < 0 ? 0U : static_cast<std::uint64_t>(passed) << kStampShift;
  const double ns = static_cast<double>(ticks) * ns_per_tick.load(std::memory_order_relaxed);  // relaxed: see measure_ticks()
  p->ready_waits[LatencyHistogram::bucket_of(static_cast<std::uint64_t>(ns))].add();
}

}  // namespace heddle::detail
