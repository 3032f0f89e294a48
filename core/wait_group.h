// WaitGroup: waits until a number of goroutines have finished.
//
//   state:   | counter: 32 bits, signed | somebody waits alone: 1 bit | waiters in line: 31 bits |
//   alone:   | of which run(): 16 bits | its G: 48 bits |
//
// Nearly every group has one waiter, and then a semaphore's lock and table cost more than all the rest of waiting. So the
// first to come waits alone, out of line: it claims `alone`, and sets its bit when it is off its stack.
//
// I1. Both halves of the state change by one atomic operation together: so add() and wait() agree on who came first. A
//     waiter has counted itself while the counter was above 0; the add() that brings it to 0 sees all of them, and wakes them.
// I2. That add() sets the state to 0 before it wakes: from then on the group may be used again. Whoever changes the state
//     meanwhile (an add() that races with the waiters of the last round) breaks the contract, and is told so.
// I3. An add() that sees no waiters touches the group no more; nor one that has released its last waiter (sema.h I2). So
//     the group may die as soon as all wait() calls have returned.
// I4. A waiter whose context ended counts itself out in the section in which it leaves its line (sema.h I5), as long as the
//     counter is above 0. At 0 it has been counted among those to wake, and waits for its unit. So one that has a context
//     always waits in line.
// I5. `alone` is claimed by an exchange from 0 and given up by whoever took the bit away, or by the claimant if it did not
//     set it. It may also hold a goroutine that the end of an earlier run() abandoned: that is not woken, and nobody claims
//     until the counter has come to 0, for its bit may still be set.
#pragma once

#include <atomic>
#include <cstdint>
#include <source_location>
#include <type_traits>
#include <utility>

#include <heddle/core/error.h>
#include <heddle/core/go.h>
#include <heddle/core/sema.h>

namespace heddle {

class Context;

/// Counts goroutines under way, and lets others wait until there are none.
///
/// Memory:   what a goroutine did before its done() is seen by whoever wait() has let through.
/// Threads:  add and done anywhere, wait on goroutines. An add() that starts a new round (from counter 0) must come after
///           all wait() calls of the last round returned, and one from 0 upward not at the same time as wait().
/// Lifetime: may be destroyed when all wait() calls have returned.
class WaitGroup {
 public:
  constexpr WaitGroup() noexcept = default;
  WaitGroup(const WaitGroup&) = delete;
  WaitGroup& operator=(const WaitGroup&) = delete;

  /// Counts `n` more (or fewer). Dies with a message if the counter goes below 0.
  void add(std::int32_t n) noexcept {
    const auto delta = static_cast<std::uint64_t>(static_cast<std::int64_t>(n)) << 32;
    // acq_rel: release publishes the caller's work, acquire collects the others' for the waiters that we may wake, and for
    // wait()'s look, which reads the end of this chain.
    const std::uint64_t now = state_.fetch_add(delta, std::memory_order_acq_rel) + delta;
    // Counter above 0 and no waiter: nothing to do. The only case on a hot path.
    if (static_cast<std::int64_t>(now) < 0 || static_cast<std::uint32_t>(now) != 0) add_slow(now, n);
  }

  /// One has finished.
  void done() noexcept { add(-1); }

  /// Parks until the counter is 0; returns at once if it is.
  void wait() {
    // acquire: pairs with the release in add().
    if (counter(state_.load(std::memory_order_acquire)) != 0) wait_slow();
  }

  /// As wait(), unless `ctx` is done first; nothing but this call is called off.
  ///
  /// Errors:  ctx.err()'s code, "sync.WaitGroup.Wait"; if it is done already nothing is looked at.
  [[nodiscard]] Result<void> wait(const Context& ctx);

  /// Runs `fn()` on a new goroutine and counts it until it ends, by return or by goexit().
  ///
  /// Errors: as heddle::go; then nothing is counted.
  template <class Fn>
  requires std::is_invocable_v < std::decay_t<Fn>
  & > void go(Fn&& fn, const std::source_location& site = std::source_location::current()) {
    struct Counted {
      WaitGroup* group;  // null: moved from, or never started
      explicit Counted(WaitGroup* g) noexcept : group(g) { group->add(1); }
      Counted(Counted&& other) noexcept : group(std::exchange(other.group, nullptr)) {}
      ~Counted() {
        if (group != nullptr) group->done();
      }
    };
    // Declared in this order, the closure dies before done(): what it owns is gone when wait() returns.
    struct Body {
      Counted counted;
      std::decay_t<Fn> fn;
      void operator()() { fn(); }
    };
    heddle::go(Body{Counted(this), std::forward<Fn>(fn)}, site);
  }

  /// Takes those for gone who wait alone, for any group. For the end of run(), when its threads have joined: keeps I5.
  static void forget_waiters() noexcept;

 private:
  static constexpr std::uint64_t kAlone = std::uint64_t{1} << 31;

  [[nodiscard]] static std::int32_t counter(std::uint64_t state) noexcept {
    return static_cast<std::int32_t>(state >> 32);
  }
  [[nodiscard]] static std::uint32_t in_line(std::uint64_t state) noexcept {
    return static_cast<std::uint32_t>(state & (kAlone - 1));
  }
  void add_slow(std::uint64_t now, std::int32_t n) noexcept;
  void wait_slow();
  [[nodiscard]] bool wait_alone();
  [[nodiscard]] bool count_in() noexcept;
  void check_over() const noexcept;
  static bool withdraw(void* group) noexcept;

  std::atomic<std::uint64_t> state_{0};
  std::atomic<std::uint64_t> alone_{0};
  Sema sema_;
};

}  // namespace heddle
