// Mutex: a lock that parks the goroutine, not the thread. Go's algorithm (src/sync/mutex.go).
//
//   state:   | waiters: 28 bits | tested: 1 | starving: 1 | woken: 1 | locked: 1 |
//
//   normal     unlock() frees the lock and wakes the first waiter, which then competes with newcomers. They usually win,
//              being on a CPU already: that is what makes it fast (no switch per hand-over).
//   starving   a waiter that has lost for 1 ms sets it. unlock() leaves the lock to the first waiter outright, newcomers
//              queue up behind. Left by a waiter that is the last one or waited for less than 1 ms.
//   tested     from birth to death, for one made in a test's bubble (core/test.h): every lock() and unlock() then takes the
//              slow path, where the test's schedule has its say. It says nothing about the lock.
//
// I1. `locked` clear and nobody starving: whoever sets `locked` by CAS has the lock.
// I2. `woken` means that somebody awake competes already; so unlock() wakes at most one waiter at a time.
// I3. Every unlock() that finds waiters, and nobody woken, wakes one. So a waiter is never left asleep beside a free lock:
//     who takes the lock meanwhile will unlock it, who is woken will look.
// I4. Waiters stand in line; one that lost its competition goes back to the front. After 1 ms it is served by I1's
//     exception, so the wait is bounded by the line and the holders' own times.
// I5. Who waits is counted in `waiters`, or has been counted as `woken` and owns a unit of sema_ that is there or on its way;
//     in starving mode the one that the lock is left to owns a unit and is still counted. So a waiter whose context ended
//     may leave if its count can be taken back: units and waiters then still match. If it cannot, a unit is on its way
//     that nobody else is there for, and it waits for that. `starving` goes with the last waiter.
// I6. unlock() touches the state once. It frees the lock and takes a waiter to be woken in one step: between two, others could
//     lock, wake that waiter, let it unlock, and destroy the Mutex. That waiter keeps it alive until its unit comes.
#pragma once

#include <atomic>
#include <cstdint>

#include <heddle/core/error.h>
#include <heddle/core/sema.h>

namespace heddle {

class Context;

namespace detail {
/// What the state of a Mutex is at first; changed by the testing kit while no scheduler runs.
extern constinit std::uint32_t new_mutex_state;
void test_new_mutexes(bool on) noexcept;
}  // namespace detail

/// Mutual exclusion between goroutines. Works with std::lock_guard, std::unique_lock and std::scoped_lock.
///
/// Not recursive. It has no owner: one goroutine may lock it and another unlock it, and the holder may park.
/// Threads:  goroutines. A foreign thread may use it as long as it finds the lock free; else it dies with a message.
/// Lifetime: may be destroyed as soon as nobody holds it or waits for it, also by who has just got it.
class Mutex {
 public:
  constexpr Mutex() noexcept : state_(first_state()) {}
#ifdef HEDDLE_DCHECKS
  ~Mutex();  // dies with a message if it is locked
#endif
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  /// Locks; parks while another holds it (and spins for some microseconds before that, if other Ps are at work).
  void lock() {
    std::uint32_t free = 0;
    // acquire: sees all that the last holder wrote; pairs with the release in unlock().
    if (!state_.compare_exchange_strong(free, kLocked, std::memory_order_acquire, std::memory_order_relaxed))
      static_cast<void>(lock_slow(nullptr));
  }

  /// As lock(), unless `ctx` is done first: `std::lock_guard guard(mutex, std::adopt_lock)` then holds it.
  ///
  /// Errors:  ctx.err()'s code, "sync.Mutex.Lock"; if it is done already nothing is tried.
  [[nodiscard]] Result<void> lock(const Context& ctx);

  /// Locks if that is possible at once. Never parks.
  [[nodiscard]] bool try_lock() noexcept {
    // relaxed: only a hint; the CAS decides.
    std::uint32_t old = state_.load(std::memory_order_relaxed);
    return (old & (kLocked | kStarving)) == 0 &&
           // acquire: as in lock().
           state_.compare_exchange_strong(old, old | kLocked, std::memory_order_acquire, std::memory_order_relaxed);
  }

  /// Unlocks, and sees to it that a waiter gets its chance. Dies with a message if it is not locked.
  void unlock() {
    std::uint32_t held = kLocked;
    // release: publishes the section to the next holder; pairs with the acquires in lock(). relaxed on failure: the CAS of
    // unlock_slow() is the release then.
    if (!state_.compare_exchange_strong(held, 0, std::memory_order_release, std::memory_order_relaxed))
      unlock_slow(held);
  }

 private:
  static constexpr std::uint32_t kLocked = 1;
  static constexpr std::uint32_t kWoken = 2;
  static constexpr std::uint32_t kStarving = 4;
  static constexpr std::uint32_t kTested = 8;
  static constexpr std::uint32_t kWaiter = 16;  // one of them

  friend void detail::test_new_mutexes(bool on) noexcept;
  static constexpr std::uint32_t first_state() noexcept {
    if consteval {
      return 0;
    } else {
      return detail::new_mutex_state;
    }
  }

  // False: `ctx` (null: there is none) was done first.
  bool lock_slow(const Context* ctx);
  static bool withdraw(void* mutex) noexcept;
  void unlock_slow(std::uint32_t old);
  bool spin(std::uint32_t* old, bool awake) noexcept;

  std::atomic<std::uint32_t> state_;
  Sema sema_;
};

}  // namespace heddle
