// Timers: the per-P 4-ary heap of armed timers.
//
// Four children a node: half the depth of a binary heap, and the four keys that a sift compares share a cache line,
// because the heap holds (when, node) pairs, not nodes.
//
// Two kinds share it. A plain TimerNode is a local of somebody who waits: it is added and removed at once, under the
// lock, and fires under it. A LazyTimer is moved and stopped without the lock, and fires outside it (lazy_timer.h).
//
// I1. Everything but `next_` is guarded by lock_; the P's M starts and runs timers, any M may stop one or run them for
//     a P whose M is busy.
// I2. heap_[node->index].node == node and node->p == our P, for every node in the heap, so that a removal is by index.
// I3. next_ is the earliest key, or kNever; written under the lock, read by anybody as a hint. The M that sleeps for
//     its idle P reads it after the P's last timer_start, so it never sleeps past one; who makes another P's next_
//     earlier wakes that P's poller.
// I4. The array comes from mmap and grows by mremap: the scheduler never calls malloc (runtime-facts D.3, rule 2).
// I5. One M at a time runs a heap's timers: the holder of fire_lock_. It has lock_ as well, but not while a LazyTimer
//     fires.
// I6. A run fires `most` lazy timers at most; who called it looks for work, and comes back before it sleeps, as next_
//     is still due. So a million that are due at once do not start a million goroutines before the first has run: those
//     that have been started fit into the P's ring and its store of free stacks (bench_core, after_func_1m).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include <heddle/core/clock.h>
#include <heddle/core/internal/lazy_timer.h>
#include <heddle/core/internal/sanitizer.h>
#include <heddle/core/lock.h>
#include <heddle/core/timer_node.h>

namespace heddle {

class Timers {
 public:
  Timers() = default;
  ~Timers();
  Timers(const Timers&) = delete;
  Timers& operator=(const Timers&) = delete;

  /// Arms `t` at `when` for P `p`, whose heap this is.
  void add(TimerNode& t, P* p, std::int64_t when) noexcept;

  /// Removes `t` if it is in this heap.
  bool remove(TimerNode& t) noexcept;

  /// Arms `t`, which is in no heap, likewise.
  void add_lazy(LazyTimer& t, P* p, std::int64_t when) noexcept;

  /// Its due time was lowered below its key: moves its entry, if it is still here. True: it is the first now.
  bool hurry(LazyTimer& t) noexcept;

  /// Disarms `t`, armed for `due` when the caller looked, and takes its entry out. False: it was not so, or the lock is
  /// taken.
  bool try_stop(LazyTimer& t, std::int64_t due) noexcept;

  /// An entry here has become garbage (n = 1), or was armed again (-1).
  // relaxed: says when to sweep. It may be below 0 for a moment, if the entry is gone before it was counted.
  void count_garbage(int n) noexcept { garbage_.fetch_add(n, std::memory_order_relaxed); }

  /// Waits until no `fire` runs that began before the call.
  void wait_for_fire() noexcept { LockGuard guard(fire_lock_); }

  /// A timer that the heap was left with and needs no more; null if there is none.
  [[nodiscard]] LazyTimer* take_spent() noexcept;

  static constexpr int kMostPerRun = 128;

  /// Fires what is due at `now`. Returns how many; 0 also if another M is at it.
  int run(std::int64_t now, int most = kMostPerRun) noexcept;

  /// Forgets all timers, for the end of run(), when its threads have joined.
  void clear() noexcept;

  [[nodiscard]] std::int64_t next() const noexcept {
    return next_.load(std::memory_order_acquire);  // acquire: pairs with publish_next(); see I3
  }
  /// The part of the array that holds no armed timer, but pointers to timers of the past. While nobody changes it.
  [[nodiscard]] HEDDLE_UNINSTRUMENTED std::span<const std::byte> stale() const noexcept {
    return {reinterpret_cast<const std::byte*>(heap_ + size_), (capacity_ - size_) * sizeof(Entry)};
  }
  [[nodiscard]] std::uint32_t size() const noexcept { return size_stat_.load(std::memory_order_relaxed); }

 private:
  struct Entry {
    std::int64_t when;
    TimerNode* node;
  };
  struct Batch;

  void surface(LazyTimer& t, std::int64_t now, Batch& batch) noexcept;
  void fire_batch(Batch& batch) noexcept;
  bool drop_garbage(LazyTimer& t, std::int64_t state) noexcept;
  [[nodiscard]] static std::int64_t raise_key(LazyTimer& t, std::int64_t due) noexcept;
  void sweep() noexcept;
  void make_room() noexcept;
  void remove_at(std::uint32_t i) noexcept;
  void sift_up(std::uint32_t i, Entry e) noexcept;
  void sift_down(std::uint32_t i, Entry e) noexcept;
  void place(std::uint32_t i, Entry e) noexcept;
  void grow() noexcept;
  void publish_next() noexcept;

  RawMutex fire_lock_{LockRank::kTimersFire};
  RawMutex lock_{LockRank::kTimers};
  Entry* heap_ = nullptr;
  std::uint32_t size_ = 0;
  std::uint32_t capacity_ = 0;
  std::atomic<LazyTimer*> spent_{nullptr};  // chained by next_spent
  std::atomic<int> garbage_{0};
  std::atomic<std::int64_t> next_{kNever};
  std::atomic<std::uint32_t> size_stat_{0};
};

}  // namespace heddle
