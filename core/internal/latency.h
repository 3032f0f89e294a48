// How long goroutines wait from ready to running, sampled.
//
// Each P stamps the goroutines that become ready in one of every 61 turns (P::sampling), with the cheap clock, in the G. Whoever
// runs such a G notes the difference on its own P, wherever the G came from. So a sample is as likely for one readying as
// for another, and the price for those that are not sampled is one look at the P and one at the G.
//
// I1. The stamp belongs to whoever has the G: written by who readies it, before the queue publishes it, cleared by who runs it.
//     A new G starts with none.
// I2. Nothing is sampled until the cheap clock's pace is known (measure_ticks, sysmon): a few ms after the first run() began.
//
// Not counted: the wait of a goroutine that was preempted (its turn comes last on purpose; sched.cc I4), and of those made
// ready where there is no P.
#pragma once

#include <atomic>
#include <cstdint>

#include <heddle/core/internal/p.h>
#include <heddle/core/internal/ticks.h>

namespace heddle::detail {

/// The cheap clock, cut to 32 bits; never 0, which is no stamp. They last for a minute at least.
#if defined(__x86_64__)
inline constexpr int kStampShift = 6;  // 13 to 64 ns
#else
inline constexpr int kStampShift = 2;
#endif
[[nodiscard]] inline std::uint32_t ready_stamp() noexcept {
  return static_cast<std::uint32_t>(coarse_ticks() >> kStampShift) | 1U;
}

/// The clock's pace; 0: not known yet. Written once, by sysmon.
extern constinit std::atomic<double> ns_per_tick;

/// Finds the pace out when it has been called twice with a millisecond or more in between. Threads: sysmon.
void measure_ticks() noexcept;

/// `g`, which has a stamp, runs now, on `p` (null: nobody's; then it is only cleared).
void note_ready_wait(P* p, G* g) noexcept;

/// `g` becomes ready on `p`, the caller's.
[[gnu::always_inline]] inline void stamp_ready(const P* p, G* g) noexcept {
  if (p->sampling) [[unlikely]] g->ready_at = ready_stamp();
}

}  // namespace heddle::detail
