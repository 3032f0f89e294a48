// LazyTimer: the timer under Timer, Ticker, after(), after_func() and a context's deadline. To move it to a later time
// is one CAS, from any M, whatever heap it is in.
//
// Its owner says in `due` when it shall fire; the heap has an entry whose key may be older. The heap looks at `due`
// when the entry surfaces, and then fires, sinks it to its new place, or drops it.
//
//   due:                 arm (under the heap's lock)
//         kOut ------------------------------------------> t >= 0  --.  later / earlier: CAS to another t
//          ^  ^                                            |  ^  ^---'
//          |  |   fires; or stop on the heap's own P       |  |
//          |  '--------------------------------------------'  |  arm: CAS
//          |                                       stop: CAS  v  |
//          '--------------- entry surfaces, or a sweep ---- kGarbage -- free --> kOrphan -- entry surfaces --> spent
//
// I1. It has an entry in the heap of P `p` exactly while due != kOut, and `p` changes while due == kOut only. An entry
//     comes and goes under that heap's lock.
// I2. An armed timer's key is never later than its due time, or somebody is about to see to it: who lowers `due` looks
//     at `key` afterwards, the heap that raises `key` looks at `due` afterwards, both sequentially consistent; so one
//     sees the other, and corrects under the heap's lock.
// I3. It fires only by the CAS that takes t away (or, periodic, moves it on), so who has changed `due` before, stop()
//     or a later reset, has prevented it; each t fires at most once.
// I4. `fire` runs without the heap's lock, under the P's fire lock: settle() takes that lock, and so returns after a
//     `fire` that the caller came too late for. `fire` may ready and start goroutines and use channels
//     (LockRank::kTimersFire); it must not park, allocate, settle a timer, or call user code.
// I5. The memory is the owner's until free(). Afterwards, if the heap still has the entry, it is the heap's, which must
//     not call malloc: spent timers wait in the heap for the next one made there, or freed there.
//
// Arming from kOut is for one at a time: who shares a timer serialises that (timer.cc, `ops`). All else is for any
// number.
//
// Stop on the heap's own P takes the entry out at once: it holds the lock that nobody else wants, knows the index, and
// most timers are stopped soon after they were made, when they are still near the heap's end. Elsewhere it marks the
// entry, and a heap of which more than a quarter is garbage is swept: so garbage is bounded, and no M waits for
// another's heap.
#pragma once

#include <atomic>
#include <cstdint>

#include <heddle/core/lock.h>
#include <heddle/core/timer_node.h>

namespace heddle {

struct LazyTimer : TimerNode {
  static constexpr std::int64_t kOut = -1;
  static constexpr std::int64_t kGarbage = -2;
  static constexpr std::int64_t kOrphan = -3;

  LazyTimer(Fire f, void* a) noexcept : TimerNode(f), arg(a) { lazy = true; }

  // Constant while armed.
  void* arg;
  void (*forget)(LazyTimer* timer) = nullptr;  // run() ended before the time came; on the thread that called it
  std::int64_t period = 0;                     // ns; 0: fires once

  RawMutex ops{LockRank::kTimerOps};  // for the owner's use
  LazyTimer* next_spent = nullptr;    // in Timers

  std::atomic<std::int64_t> due{kOut};  // see above
  std::atomic<std::int64_t> key{0};     // of the entry in the heap; written under the heap's lock
};

/// A timer that is not armed. Errors: std::bad_alloc. Threads: anywhere outside sections; so are the others.
[[nodiscard]] LazyTimer* lazy_timer_new(TimerNode::Fire fire, void* arg);

/// If it is armed: moves it to `when` and returns true.
bool lazy_timer_move(LazyTimer& timer, std::int64_t when) noexcept;

/// Makes it fire at `when`, armed or not. Returns true if it was armed. Inside run() only; for one caller at a time.
bool lazy_timer_arm(LazyTimer& timer, std::int64_t when) noexcept;

/// Disarms. True if it was armed: then it has not fired and will not.
bool lazy_timer_stop(LazyTimer& timer) noexcept;

/// Waits for a `fire` under way. After a stop() and this one, none runs and none will.
void lazy_timer_settle(LazyTimer& timer) noexcept;

/// Gives up a timer that is not armed and whose `fire` does not run.
void lazy_timer_free(LazyTimer* timer) noexcept;

}  // namespace heddle
