// Sema: the counting semaphore on which Mutex and WaitGroup park. Its waiters stand in a table keyed by its address.
//
// A primitive so needs four bytes for its waiters instead of a lock and a queue, and pays for them when it has some.
//
//     table:   bucket --> first waiter for sema A --> first waiter for sema B --> …      (by `other`)
//                              | next                      | next
//                         second waiter for A         second waiter for B
//
// I1. units and all links are guarded by the bucket's lock. If anybody waits, units is 0: a unit goes to the first waiter,
//     never past it. So whoever parked owns a unit when it wakes, and need not look again.
// I2. release() touches the Sema for the last time before it releases the bucket's lock; so a waiter that it wakes, or
//     whoever finds the unit, may destroy the Sema at once.
// I3. Different semas share a bucket's lock, so sections under it are short: finding a sema walks the semas of its bucket,
//     not their waiters.
//
// I4. A waiter is a local of a parked goroutine. When run() abandons goroutines, the table forgets them all
//     (forget_waiters), or the next run() would walk through stacks that have new tenants.
//
// I5. A waiter that its context's end called off is in line until it has the bucket's lock again. A unit that comes before
//     that is its own, as if nothing had been: so release() never looks for another. If none has come it asks, in the
//     section in which it leaves the line, whether it may: the primitive takes back what it had counted of this waiter, or
//     says that a unit for it is sure to come; then it waits on, for good.
//
// Buckets are many enough (1024) that thousands of contended semas make short walks; a tree per bucket, as in Go, is for
// programs that have tens of thousands contended at once.
#pragma once

#include <cstdint>

#include <heddle/core/wait_reason.h>

namespace heddle {

class Context;

class Sema {
 public:
  constexpr Sema() noexcept = default;
  Sema(const Sema&) = delete;
  Sema& operator=(const Sema&) = delete;

  /// Takes a unit; parks until there is one. `first`: ahead of those that wait already.
  void acquire(WaitReason reason, bool first = false);

  /// May the waiter leave without a unit? Called under the lock that release() takes; see I5.
  using Withdraw = bool (*)(void* arg) noexcept;

  /// acquire(), unless `ctx` is done first and `withdraw(arg)` says yes. Returns: true if a unit was taken.
  [[nodiscard]] bool acquire_unless(const Context& ctx, WaitReason reason, Withdraw withdraw, void* arg,
                                    bool first = false);

  /// Gives a unit to the first waiter, or puts it by.
  void release() noexcept;

  /// Empties the table. For the end of run(), when its threads have joined: keeps I4.
  static void forget_waiters() noexcept;

 private:
  std::uint32_t units_ = 0;
};

}  // namespace heddle
