// G: one goroutine. It lives at the top of its own stack slot, so making one costs no allocation, and a stale pointer
// finds a recycled G, never foreign memory.
//
// Slot, low to high:   guard | unused stack ... frames | closure | G | colour pad (so that slots differ in cache sets)
//
//   kIdle --start_g--> kRunnable --execute--> kRunning --park--> kWaiting --ready--> kRunnable
//                                             kRunning --yield--> kRunnable
//                                             kRunning --exit--> kDead --free list--> kIdle
//                                             kRunning --preempt--> kPreempted --resume--> kRunning
//
// A preempted G keeps its thread, which waits inside the signal handler: it is *bound* to that M. Running it means to give
// that M a P (lend_p). So is one that called lock_os_thread().
//
// I1. A G is on at most one queue (`link`), and only while kRunnable or free.
// I2. `sp` is valid exactly while the G is not kRunning; it is written by the M that leaves the G, before anything that
//     lets another M see the G runnable (the queues' release stores, or the commit of its park).
// I3. Identity (id, name, site, creator) changes only while kIdle; the dump reads it at any time, hence relaxed atomics:
//     a line of a dump may mix two tenants of one slot, and nothing else depends on it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include <heddle/core/go.h>
#include <heddle/core/internal/keepsakes.h>
#include <heddle/core/park.h>

namespace heddle {

struct M;
struct WaitsFor;

enum class GStatus : std::uint8_t { kIdle, kRunnable, kRunning, kWaiting, kDead, kPreempted };

/// What the C++ runtime keeps per thread about exceptions in flight; ours travels with the G.
/// Source: Itanium C++ ABI, 2.2.2 (__cxa_eh_globals).
struct EhGlobals {
  void* caught = nullptr;
  unsigned int uncaught = 0;
  [[nodiscard]] bool any() const noexcept { return (reinterpret_cast<std::uintptr_t>(caught) | uncaught) != 0; }
};

class Recover;

namespace detail {
struct PanicNote;

/// The panics under way on a goroutine, and the deferred call that it runs (panics.h). The goroutine's alone.
struct PanicState {
  PanicNote* notes = nullptr;
  Recover* call = nullptr;
};
}  // namespace detail

struct alignas(64) G {
  // Touched by every switch and queue: one cache line.
  void* sp = nullptr;
  G* link = nullptr;
  M* m = nullptr;      // while kRunning
  std::atomic<M*> bound{nullptr};  // the one M that can run it; null: any. Written by the M that runs it
  void (*on_park)(void*) = nullptr;
  EhGlobals eh;
  std::atomic<GStatus> status{GStatus::kIdle};  // written by whoever owns the G in that state
  std::atomic<WaitReason> wait_reason{WaitReason::kNone};
  StackSize stack_class = StackSize::kDefault;
  bool guarded = true;  // false: no guard page could be had, the canary is checked at park
  std::uint32_t ready_at = 0;  // a stamp, if its wait is a sample (latency.h)

  // Touched by every start and end.
  void (*entry)(void*) = nullptr;
  void* closure = nullptr;
  detail::PanicState panics;
  std::byte* stack_lo = nullptr;  // lowest usable byte, above the guard
  std::byte* stack_hi = nullptr;  // the G itself

  G* hog_link = nullptr;  // in Sched::hogs
  void* on_park_arg = nullptr;
  std::uint32_t locks = 0;  // lock_os_thread() calls

  // Identity; see I3.
  std::atomic<std::uint64_t> id{0};
  std::atomic<std::uint64_t> creator{0};
  std::atomic<const char*> name{nullptr};
  std::atomic<const char*> site_file{nullptr};
  std::atomic<const char*> site_function{nullptr};
  std::atomic<std::uint32_t> site_line{0};

  Keepsakes keepsakes;
  // For the search for leaked goroutines.
  std::atomic<const WaitsFor*> waits_for{nullptr};  // written by the G around a park; null: nobody can tell
  std::size_t boxed = 0;  // bytes of the closure, if `closure` is only the address of one in the heap

  // Sanitizers' idea of this stack; unused elsewhere.
  void* fake_stack = nullptr;
  void* tsan_fiber = nullptr;
};

static_assert(offsetof(G, ready_at) + sizeof(std::uint32_t) <= 64);

/// Intrusive LIFO or FIFO of Gs through `link`.
class GQueue {
 public:
  void push_back(G* g) noexcept {
    g->link = nullptr;
    if (tail_ != nullptr) {
      tail_->link = g;
    } else {
      head_ = g;
    }
    tail_ = g;
    ++size_;
  }
  void push_front(G* g) noexcept {
    g->link = head_;
    head_ = g;
    if (tail_ == nullptr) tail_ = g;
    ++size_;
  }
  [[nodiscard]] G* pop_front() noexcept {
    G* g = head_;
    if (g == nullptr) return nullptr;
    head_ = g->link;
    if (head_ == nullptr) tail_ = nullptr;
    g->link = nullptr;
    --size_;
    return g;
  }
  /// Moves all of `other` behind ours.
  void append(GQueue& other) noexcept {
    if (other.head_ == nullptr) return;
    if (tail_ != nullptr) {
      tail_->link = other.head_;
    } else {
      head_ = other.head_;
    }
    tail_ = other.tail_;
    size_ += other.size_;
    other = GQueue();
  }
  [[nodiscard]] std::uint32_t size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return head_ == nullptr; }

 private:
  G* head_ = nullptr;
  G* tail_ = nullptr;
  std::uint32_t size_ = 0;
};

}  // namespace heddle
