// GlobQ: the shared overflow queue, for Gs that no P has: pushed out of a full ring, or readied by a foreign thread.
#pragma once

#include <atomic>
#include <cstdint>

#include <heddle/core/internal/g.h>
#include <heddle/core/lock.h>

namespace heddle {

class GlobQ {
 public:
  constexpr GlobQ() = default;

  void push(G* g) noexcept {
    LockGuard guard(lock_);
    q_.push_back(g);
    publish_size();
  }
  void push_all(GQueue& gs) noexcept {
    LockGuard guard(lock_);
    q_.append(gs);
    publish_size();
  }

  /// Moves up to `n` Gs, oldest first, to `out`.
  void pop(std::uint32_t n, GQueue& out) noexcept {
    LockGuard guard(lock_);
    for (; n > 0; --n) {
      G* g = q_.pop_front();
      if (g == nullptr) break;
      out.push_back(g);
    }
    publish_size();
  }

  /// Without the lock. For the recheck before sleep it is exact enough: a pusher publishes the size before its fence
  /// (idle.h S1), and seq_cst on x86 loads costs nothing.
  [[nodiscard]] std::uint32_t size() const noexcept { return size_.load(std::memory_order_seq_cst); }

 private:
  // release: the size is a hint; the Gs themselves are published by the lock.
  void publish_size() noexcept { size_.store(q_.size(), std::memory_order_release); }

  RawMutex lock_{LockRank::kSched};
  GQueue q_;  // guarded by lock_
  std::atomic<std::uint32_t> size_{0};
};

}  // namespace heddle
