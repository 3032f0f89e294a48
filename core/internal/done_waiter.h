// DoneWaiter: a parked goroutine's place among what a context's end concerns: its children, its functions, and these.
//
// A primitive's Waiter (wait_list.h) is called off when the context is done. The place is a local of the goroutine that
// waits, like the Waiter, so waiting with a context allocates nothing.
//
// I1. `prev`, `next` and `linked` are guarded by the lock of the node in whose list the place stands. Who ends the
//     context ends the waits under that lock, and afterwards looks only at those whose goroutine it has to ready
//     itself: they sleep until then. So a place may die as soon as its goroutine has had the lock once more, which is
//     what its destructor does.
// I2. No goroutine is readied under that lock.
// I3. It keeps its context. So when run() abandons the goroutine, the place can still be taken out of the list.
#pragma once

#include <cstdint>

#include <heddle/core/context.h>
#include <heddle/core/wait_list.h>

namespace heddle::detail {

/// A place in a context's list.
struct ContextLink {
  enum class Kind : std::uint8_t { kContext, kFunction, kWaiter };
  explicit ContextLink(Kind k) noexcept : kind(k) {}

  ContextLink* prev = nullptr;
  ContextLink* next = nullptr;
  bool linked = false;
  const Kind kind;
};

/// Has `w` called off when `ctx` is done, as long as it lives; at once if it is. Threads: the goroutine that waits.
/// Lifetime: `w` must outlive it.
class DoneWaiter : public ContextLink {
 public:
  DoneWaiter(const Context& ctx, Waiter& w) noexcept;
  ~DoneWaiter() { leave(); }
  DoneWaiter(const DoneWaiter&) = delete;
  DoneWaiter& operator=(const DoneWaiter&) = delete;

  /// Out of the list; again: nothing.
  void leave() noexcept;

  Waiter& waiter;
  G* g = nullptr;  // the goroutine, once it is its ender's to ready

 private:
  const Context ctx_;
};

}  // namespace heddle::detail
