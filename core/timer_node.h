// TimerNode: the intrusive timer under sleep, select's timeout, and net's deadlines.
//
// A node lives in the heap of the P it was started on, and is usually a local of the goroutine that waits (no malloc).
// Timers that live longer than one wait, and are reset again and again, are LazyTimers (internal/lazy_timer.h).
//
// I1. `fire` runs on the scheduler's side with that heap's lock held (LockRank::kTimers): it may ready goroutines and
//     take locks of higher rank, but never park, start or stop a timer, or call user code.
// I2. stop() takes the same lock; so when it returns, `fire` is not running and will not run: the node may go away.
#pragma once

#include <atomic>
#include <cstdint>

namespace heddle {

struct P;

struct TimerNode {
  using Fire = void (*)(TimerNode* timer);

  explicit TimerNode(Fire f) noexcept : fire(f) {}
  TimerNode(const TimerNode&) = delete;
  TimerNode& operator=(const TimerNode&) = delete;

  Fire fire;
  std::int64_t when = 0;
  std::atomic<P*> p{nullptr};          // on whose heap it was started last; null: never
  std::uint32_t index = kNotArmed;     // where in that heap; guarded by its lock
  static constexpr std::uint32_t kNotArmed = 0xffff'ffff;
  bool lazy = false;                   // it is a LazyTimer
};

/// Arms `timer` to fire at nanotime() >= when, on the current P. It must not be armed. Threads: a goroutine or the
/// scheduler's side, with no lock of rank kTimers or above held.
void timer_start(TimerNode& timer, std::int64_t when) noexcept;

/// Disarms. Returns true if it had not fired. After it returns the node is in no heap and `fire` is not running.
bool timer_stop(TimerNode& timer) noexcept;

}  // namespace heddle
