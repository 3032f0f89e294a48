// Semaphore: so many units, of which each goroutine takes as many as it needs. golang.org/x/sync/semaphore's Weighted.
//
// I1. Who has to wait stands in line, and nobody passes it: neither a newcomer, nor a small request behind a large one
//     that would fit. So each request is served once those before it have given back enough; a large one cannot starve.
// I2. held_ counts for a waiter from the moment that it is taken from the line (under the lock), not when it wakes: so
//     units are never given twice, and size_ - held_ is what is free for the first in line.
// I3. After anything that might let the first in line go on (a release, a waiter that gave up), the line is looked at.
//
// The price of I1: units may lie idle while the first in line waits for more.
#pragma once

#include <cstdint>

#include <heddle/core/clock.h>
#include <heddle/core/error.h>
#include <heddle/core/lock.h>
#include <heddle/core/wait_list.h>

namespace heddle {

class Context;

/// A counting semaphore, first come first served, with requests of any weight.
///
/// Memory:   what was done before a release() is seen by those whom it lets in.
/// Threads:  acquire on goroutines (a foreign thread may as long as it need not wait), the rest anywhere. It has no
///           owner: one goroutine may acquire and another release.
/// Lifetime: may be destroyed when all calls on it have returned; units that are held do not matter. Not to be used
///           again after a run() that abandoned its waiters.
/// Source:   pkg.go.dev/golang.org/x/sync/semaphore#Weighted.
class Semaphore {
 public:
  /// A semaphore of `size` units, all free. Dies with a message if that is negative.
  explicit Semaphore(std::int64_t size) noexcept;
  Semaphore(const Semaphore&) = delete;
  Semaphore& operator=(const Semaphore&) = delete;

  /// Takes `n` units; parks until they are free and all who came before have theirs.
  ///
  /// Dies with a message if `n` is negative, or more than there ever are.
  void acquire(std::int64_t n = 1);

  /// Takes `n` units if they are free and nobody waits. Never parks.
  [[nodiscard]] bool try_acquire(std::int64_t n = 1) noexcept;

  /// As acquire(), until `deadline` at the latest. Units that are free are taken even if it has passed.
  ///
  /// Returns: true if the units were taken. More than there ever are: false when the deadline has passed.
  [[nodiscard]] bool acquire_until(TimePoint deadline, std::int64_t n = 1);

  /// acquire_until() so long from now.
  [[nodiscard]] bool acquire_for(Duration timeout, std::int64_t n = 1);

  /// As acquire(), unless `ctx` is done first.
  ///
  /// Errors:  ctx.err()'s code, "semacquire"; if it is done already nothing is tried. More than there ever are: when it is
  ///          done, or dies with a message if it cannot be.
  [[nodiscard]] Result<void> acquire(const Context& ctx, std::int64_t n = 1);

  /// Gives `n` units back. Dies with a message if fewer are held, or if `n` is negative.
  void release(std::int64_t n = 1) noexcept;

 private:
  bool acquire_by(std::int64_t deadline, std::int64_t n, const Context* ctx = nullptr);
  bool take_locked(std::int64_t n) noexcept;
  void serve_locked(WakeList& woken) noexcept;

  const std::int64_t size_;
  RawMutex mutex_{LockRank::kSync};
  std::int64_t held_ = 0;  // guarded by mutex_
  WaitList waiters_;
};

}  // namespace heddle
