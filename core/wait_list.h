// WaitList: goroutines that wait in line for something, first come, first served, and may give up at a deadline, or when a
// context is done. Under Cond, Semaphore and WorkPool; for authors of primitives, like park.h.
//
// A Waiter is a local of the goroutine that waits, so waiting allocates nothing. The primitive guards its list with a
// RawMutex of its own (rank kSync), here called the lock. Under it the waiter is queued; then it parks. Its state:
//
//                park: the commit
//     kOpen ------------------------> kParked        in the list, both
//       |  |                           |   |
//       |  '------------ take() -------|---+-------> kTaken        out of the list;  wait() returns true
//       |                              |
//       '--- deadline, call_off() -----+-----------> kCalledOff    leaves the list;  wait() returns false
//
// I1. The links are guarded by the lock. The state changes by one atomic operation, which also tells whoever ended the
//     wait whether the G had parked: then it is his to ready, once (park.h I2); else it finds out when it comes to
//     park.
// I2. take() drops a Waiter that was called off, and says so: what is given away is never given to one that has left.
// I3. Of one that had not parked nobody looks at anything after the change of state; of one that had, nobody after
//     ready(). One that was called off takes the lock once more before its frame goes, to leave the list. wait() stops
//     the timer before it returns (timer_node.h I2), and leaves the context's list (internal/done_waiter.h I1). So
//     nobody looks at a dead one.
// I4. A waiter that was taken does not touch list or lock again. So whoever has served the last one, and is out of its
//     own call, may destroy the primitive while those it served are still on their way.
//
// One that leaves from the front may have been all that held up those behind it: after a wait() that returned false the
// primitive looks whether the next can be served.
//
// Where run() abandons goroutines that wait, the list keeps pointers into their stacks: such an object is not used
// again.
#pragma once

#include <atomic>
#include <cstdint>

#include <heddle/core/clock.h>
#include <heddle/core/lock.h>
#include <heddle/core/timer_node.h>
#include <heddle/core/wait_reason.h>

namespace heddle {

struct G;
class Context;

/// One goroutine's place in a WaitList.
class Waiter : private TimerNode {
 public:
  /// A place for the current goroutine, which `wants` something that the primitive understands. Dies with "`op` outside
  /// a goroutine" if there is none.
  explicit Waiter(const char* op, std::int64_t wants = 0) noexcept;

  [[nodiscard]] std::int64_t wants() const noexcept { return wants_; }

  /// Ends the wait without success, unless something else has ended it.
  ///
  /// Threads:  any, with no lock of rank kSched or above held. Lifetime: the Waiter must outlive the call: who lets
  ///           others know of it waits for them before its frame goes, as wait() does for the timer by timer_stop().
  void call_off() noexcept;

  /// call_off() for who must not ready a G where he is. True: the caller has to ready `*g`, and until then the Waiter
  /// stays. False: it is none of his business any more.
  [[nodiscard]] bool try_call_off(G** g) noexcept;

 private:
  friend class WaitList;
  friend class WakeList;
  friend class Sema;  // which has lines of its own

  enum class State : std::uint8_t { kOpen, kParked, kTaken, kCalledOff };

  // What ends the wait: kTaken or kCalledOff. Returns the state before, which is one of these if another was first.
  State end(State how) noexcept;
  // Parks until the wait has ended. True: by kTaken. `ctx` may be null.
  [[nodiscard]] bool wait(WaitReason reason, std::int64_t deadline, const Context* ctx) noexcept;
  static bool commit(G* g, void* waiter);

  G* g_;
  std::int64_t wants_;
  Waiter* next_ = nullptr;
  Waiter* prev_ = nullptr;
  std::int64_t deadline_ = kNever;
  bool queued_ = false;
  std::atomic<State> state_{State::kOpen};
};

/// Waiters that were taken and sleep; gathered under the lock, woken when it is released.
class WakeList {
 public:
  /// Readies them in the order in which they were taken. A single one runs next; several go to the queue's tail.
  void wake() noexcept;

 private:
  friend class WaitList;
  Waiter* first_ = nullptr;
  Waiter* last_ = nullptr;
};

/// The line. Every method but wait() wants the primitive's lock held.
class WaitList {
 public:
  constexpr WaitList() noexcept = default;
  WaitList(const WaitList&) = delete;
  WaitList& operator=(const WaitList&) = delete;

  [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }

  /// Who is next; null if nobody is. It may have been called off.
  [[nodiscard]] Waiter* front() const noexcept { return first_; }

  void push_back(Waiter& w) noexcept;

  /// Takes `w` out of the list. True: it gets what it waits for, and `woken` has it if it sleeps. False: it was called
  /// off.
  [[nodiscard]] bool take(Waiter& w, WakeList& woken) noexcept;

  /// Parks until `w`, which was pushed here, is taken or called off, by `deadline` (kNever: there is none) or the end of
  /// `ctx` (null: there is none) at the latest. `lock` is the list's, not held. Returns: true if it was taken.
  [[nodiscard]] bool wait(RawMutex& lock, Waiter& w, WaitReason reason, std::int64_t deadline,
                          const Context* ctx = nullptr) noexcept;

 private:
  void remove(Waiter& w) noexcept;

  Waiter* first_ = nullptr;
  Waiter* last_ = nullptr;
};

}  // namespace heddle
