// Cond: waits, with a lock given up meanwhile, for what others say has changed.
//
// I1. A waiter stands in line before its lock is released; so a signal by whoever takes the lock after it finds it.
// I2. signal() wakes the one that has waited longest, broadcast() all that wait; nobody else wakes, save at a deadline.
//     A waiter whose deadline passed first, or whose context ended, has left the line: the signal goes to the next one.
//     So no signal is lost, and wait() does not return without cause (the standard's condition variables may).
// I3. Who was woken has to take the lock again, and others may have it first: the condition is looked at again, in a
//     loop or by the calls that take a predicate.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <expected>
#include <type_traits>
#include <utility>

#include <heddle/core/clock.h>
#include <heddle/core/error.h>
#include <heddle/core/lock.h>
#include <heddle/core/wait_list.h>

namespace heddle {

class Context;

/// Lets goroutines wait for a condition that a lock guards. The lock is whatever has lock() and unlock(): a Mutex
/// itself, an RWMutex (for writing), a std::unique_lock<Mutex>, a std::shared_lock<RWMutex>.
///
///     cond.wait(lock, [&] { return !queue.empty(); });
///
/// Threads:  wait on goroutines, signal and broadcast anywhere, with the lock held or not.
/// Lifetime: may be destroyed as soon as all waiters were woken, also while they still wait for the lock, and the calls
///           of signal() and broadcast() have returned. Not to be used again after a run() that abandoned its waiters.
/// Source:   pkg.go.dev/sync#Cond; std::condition_variable_any.
class Cond {
 public:
  constexpr Cond() noexcept = default;
  Cond(const Cond&) = delete;
  Cond& operator=(const Cond&) = delete;

  /// Unlocks, parks until a signal or broadcast wakes it, and locks again. `lock` must be held.
  template <class Lock>
  void wait(Lock& lock) {
    static_cast<void>(wait_unlocked(&lock, &unlock<Lock>, kNever));
    lock.lock();
  }

  /// Waits until `condition()` is true; it is called with the lock held, and first of all before any wait.
  template <class Lock, class Condition>
    requires std::is_invocable_r_v<bool, Condition&>
  void wait(Lock& lock, Condition condition) {
    while (!condition()) wait(lock);
  }

  /// As wait(), unless `ctx` is done first.
  ///
  /// Errors:  ctx.err()'s code, "sync.Cond.Wait"; if it is done already the lock is kept all along. The lock is held again
  ///          in either case, however long that took.
  template <class Lock>
  [[nodiscard]] Result<void> wait(const Context& ctx, Lock& lock) {
    if (is_done(ctx)) return std::unexpected(ended(ctx));
    const bool woken = wait_unlocked(&lock, &unlock<Lock>, kNever, &ctx);
    lock.lock();
    if (!woken) return std::unexpected(ended(ctx));
    return {};
  }

  /// Waits until `condition()` is true. Errors: as above, only if `condition()` then still says no.
  template <class Lock, class Condition>
    requires std::is_invocable_r_v<bool, Condition&>
  [[nodiscard]] Result<void> wait(const Context& ctx, Lock& lock, Condition condition) {
    while (!condition()) {
      if (Result<void> woken = wait(ctx, lock); !woken && !condition()) return woken;
    }
    return {};
  }

  /// As wait(), until `deadline` at the latest.
  ///
  /// Returns: timeout if the deadline passed first. The lock is held again in either case, however long that took.
  template <class Lock>
  std::cv_status wait_until(Lock& lock, TimePoint deadline) {
    const bool woken = wait_unlocked(&lock, &unlock<Lock>, to_nanos(deadline));
    lock.lock();
    return woken ? std::cv_status::no_timeout : std::cv_status::timeout;
  }

  /// Returns: what `condition()` said last; false only if the deadline has passed.
  template <class Lock, class Condition>
  bool wait_until(Lock& lock, TimePoint deadline, Condition condition) {
    while (!condition()) {
      if (wait_until(lock, deadline) == std::cv_status::timeout) return condition();
    }
    return true;
  }

  /// wait_until() so long from now.
  template <class Lock>
  std::cv_status wait_for(Lock& lock, Duration timeout) {
    return wait_until(lock, after(timeout));
  }
  template <class Lock, class Condition>
  bool wait_for(Lock& lock, Duration timeout, Condition condition) {
    return wait_until(lock, after(timeout), std::move(condition));
  }

  /// Wakes the goroutine that has waited longest, if any waits.
  void signal() noexcept;

  /// Wakes all that wait now, in the order in which they came.
  void broadcast() noexcept;

 private:
  // A lock that throws here was not held: the program ends.
  template <class Lock>
  static void unlock(void* lock) noexcept {
    static_cast<Lock*>(lock)->unlock();
  }
  [[nodiscard]] static TimePoint after(Duration timeout) noexcept;
  [[nodiscard]] static bool is_done(const Context& ctx) noexcept;
  [[nodiscard]] static Error ended(const Context& ctx) noexcept;
  bool wait_unlocked(void* lock, void (*give_up)(void*) noexcept, std::int64_t deadline,
                     const Context* ctx = nullptr) noexcept;

  RawMutex mutex_{LockRank::kSync};
  WaitList waiters_;
};

}  // namespace heddle
