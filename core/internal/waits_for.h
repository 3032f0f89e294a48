// WaitsFor: what a parked goroutine waits for, said so that a search for leaked goroutines (leak_search.h) can follow it.
//
// A primitive whose waiters only another goroutine can wake makes one on its stack before it parks. A wait that the kernel
// or a thread may end has none, and the goroutine is then never called leaked; so a primitive that says nothing
// costs a report, never a false one.
//
// I1. From the moment when it is set until the park returns the goroutine can be woken through `object` alone, by whoever takes
//     it out of the queue there; `*queued` is true, or every case's Sudog is queued, exactly until then. The queue's lock
//     guards that; the search reads it while everything holds still (freeze.h).
// I2. It is a local of the goroutine, and G::waits_for is cleared before its frame goes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <heddle/core/internal/g.h>

namespace heddle {

enum class WaitKind : std::uint8_t {
  kNothing,  // nil channels, a select of none: nobody can end it
  kChan,     // object: a ChanCore
  kSelect,   // object: the first of n SelectCases, all of channels
  kSync,     // object: a Sema, a WaitGroup
  kContext,  // object: a DoneWaiter; whoever has the context can end it, so it is `timed`
};

struct WaitsFor {
  WaitKind kind = WaitKind::kNothing;
  const void* object = nullptr;
  const bool* queued = nullptr;  // kChan, a Sema
  std::size_t n = 0;             // kSelect
  bool timed = false;            // time, or a context's end, may end it as well
};

/// Says what `g`, the current goroutine, waits for, for a scope.
class WaitMark {
 public:
  WaitMark(G* g, const WaitsFor& what) noexcept : g_(g) {
    g_->waits_for.store(&what, std::memory_order_relaxed);  // relaxed: read when its thread holds still
  }
  ~WaitMark() { g_->waits_for.store(nullptr, std::memory_order_relaxed); }  // relaxed: as above
  WaitMark(const WaitMark&) = delete;
  WaitMark& operator=(const WaitMark&) = delete;

 private:
  G* g_;
};

namespace detail {
/// select.cc: at the end of run(), when all who wait are abandoned: empties the queues of the channels waited for, and takes
/// those who wait for a context out of its list, or they would lead to stacks that have new tenants.
void forget_wait(const WaitsFor& what) noexcept;
}  // namespace detail

/// sema.cc: where the heads of all Semas' queues lie: the runtime's own way to a waiter.
[[nodiscard]] std::span<const std::byte> sema_waiters() noexcept;

}  // namespace heddle
