// Timers: the per-P 4-ary heap of armed TimerNodes.
//
// Four children a node: half the depth of a binary heap, and the four keys that a sift compares share a cache line, because
// the heap holds (when, node) pairs, not nodes.
//
// I1. Everything but `next_` is guarded by lock_; the P's M starts and runs timers, any M may stop one or run them for a
//     P whose M is busy.
// I2. heap_[node->index].node == node and node->p == our P, for every armed node, so that stop() is a removal by index.
// I3. next_ is the earliest `when`, or kNever; written under the lock, read by anybody as a hint. The M that sleeps for its
//     idle P reads it after the P's last timer_start, so it never sleeps past one.
// I4. The array comes from mmap and grows by mremap: the scheduler never calls malloc (runtime-facts D.3, rule 2).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include <heddle/core/clock.h>
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

  /// Fires all that are due at `now`. Returns how many.
  int run(std::int64_t now) noexcept;

  [[nodiscard]] std::int64_t next() const noexcept {
    return next_.load(std::memory_order_acquire);  // acquire: pairs with publish_next(); see I3
  }
  [[nodiscard]] std::uint32_t size() const noexcept { return size_stat_.load(std::memory_order_relaxed); }

 private:
  struct Entry {
    std::int64_t when;
    TimerNode* node;
  };

  void remove_at(std::uint32_t i) noexcept;
  void sift_up(std::uint32_t i, Entry e) noexcept;
  void sift_down(std::uint32_t i, Entry e) noexcept;
  void place(std::uint32_t i, Entry e) noexcept;
  void grow() noexcept;
  void publish_next() noexcept;

  RawMutex lock_{LockRank::kTimers};
  Entry* heap_ = nullptr;
  std::uint32_t size_ = 0;
  std::uint32_t capacity_ = 0;
  std::atomic<std::int64_t> next_{kNever};
  std::atomic<std::uint32_t> size_stat_{0};
};

}  // namespace heddle
