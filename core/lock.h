// RawMutex: the lock that blocks the thread, for the few lines of runtime state that have two writers.
//
// Not for users' data: a goroutine that waits here holds up its M. A section under it is a few dozen instructions, never
// parks, never calls user code, and readies a G only where the lock's own comment permits. It is a futex word:
//
//     0 free  --lock-->  1 held  --a waiter comes-->  2 held, somebody may sleep  --unlock wakes one-->  0
//
// A lock made for a test's bubble (internal/bubble.h) has a 0 of its own, so that it, and no other, goes by the slow paths:
//
//     4 free  --lock, after a point of the schedule-->  5 held  --unlock, by way of 0-->  4
//
// and is like any other from the moment that another thread meets it at 0 or 5.
//
// Holding one is a runtime section (section.h): a thread that holds one keeps its P and is not preempted, or all others
// would wait for a goroutine that waits for its turn.
//
// I1. Only the holder moves the word to 0 or 4, so a section is exclusive.
// I2. A sleeper has put 2 there before it sleeps, and a woken one takes the lock as 2; so unlock never forgets a sleeper.
#pragma once

#include <atomic>
#include <cstdint>

#include <heddle/core/lock_rank.h>
#include <heddle/core/section.h>

namespace heddle {

/// A non-recursive mutual exclusion lock of 8 bytes. Threads: any, also off goroutines. Source: futex(2).
class RawMutex {
 public:
  constexpr explicit RawMutex(LockRank rank) noexcept : rank_(rank) {}
  /// `tested`: its lock() is a point of a test's schedule. Such a lock must outlive each unlock() of it.
  RawMutex(LockRank rank, bool tested) noexcept : word_(tested ? kTestedFree : 0), rank_(rank) {}
  RawMutex(const RawMutex&) = delete;
  RawMutex& operator=(const RawMutex&) = delete;

  void lock() noexcept {
    detail::enter_section();
    check_rank();
    std::uint32_t free = 0;
    // acquire: sees all that the last holder wrote before its unlock(); pairs with the release there.
    if (!word_.compare_exchange_strong(free, 1, std::memory_order_acquire, std::memory_order_relaxed)) lock_slow();
    note_locked();
  }

  [[nodiscard]] bool try_lock() noexcept {
    detail::enter_section();
    std::uint32_t free = 0;
    // acquire: as in lock().
    if (!word_.compare_exchange_strong(free, 1, std::memory_order_acquire, std::memory_order_relaxed)) {
      detail::leave_section();
      return false;
    }
    note_locked();
    return true;
  }

  void unlock() noexcept {
    note_unlocked();
    // release: publishes the section to the next holder; pairs with the acquire in lock().
    if (const std::uint32_t was = word_.exchange(0, std::memory_order_release); was != 1) unlock_slow(was);
    detail::leave_section();
  }

 private:
#ifdef HEDDLE_DCHECKS
  void check_rank() const noexcept;
  void note_locked() const noexcept;
  void note_unlocked() const noexcept;
#else
  void check_rank() const noexcept {}
  void note_locked() const noexcept {}
  void note_unlocked() const noexcept {}
#endif
  void lock_slow() noexcept;
  void unlock_slow(std::uint32_t was) noexcept;

  static constexpr std::uint32_t kTestedFree = 4;
  static constexpr std::uint32_t kTestedHeld = 5;

  std::atomic<std::uint32_t> word_{0};
  LockRank rank_;
};

/// Holds a RawMutex for a scope.
class LockGuard {
 public:
  explicit LockGuard(RawMutex& mutex) noexcept : mutex_(mutex) { mutex_.lock(); }
  ~LockGuard() { mutex_.unlock(); }
  LockGuard(const LockGuard&) = delete;
  LockGuard& operator=(const LockGuard&) = delete;

 private:
  RawMutex& mutex_;
};

}  // namespace heddle
