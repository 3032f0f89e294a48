#include <heddle/core/wait_group.h>

#include <heddle/core/check.h>
#include <heddle/core/context.h>
#include <heddle/core/internal/waits_for.h>
#include <heddle/core/park.h>

namespace heddle {
namespace {

constexpr unsigned kPointerBits = 48;

// Which run() it is, in the bits above a pointer. They come round after 65,536 of them.
constinit std::uint64_t this_run = 0;

std::uint64_t word_of(G* g) noexcept { return reinterpret_cast<std::uintptr_t>(g) | this_run; }

// Null: there is none, or one of an earlier run().
G* g_in(std::uint64_t word) noexcept {
  const std::uint64_t g = word ^ this_run;
  return g >> kPointerBits == 0 ? reinterpret_cast<G*>(g) : nullptr;
}

}  // namespace

void WaitGroup::add_slow(std::uint64_t now, std::int32_t n) noexcept {
  const std::int32_t count = counter(now);
  const auto waiters = static_cast<std::uint32_t>(now);
  if (count < 0) fatal("WaitGroup: negative counter");
  if (waiters != 0 && n > 0 && count == n) fatal("WaitGroup: add called concurrently with wait");
  if (count > 0) return;
  // Counter 0 with waiters: the state is ours alone now, unless the contract is broken. So a look and a store do, as in Go's:
  // to exchange it at once would cost a sixteenth of a goroutine's life, to catch one breach in a thousand more.
  // relaxed: the waiters get what add() collected through the semaphore, or through ready().
  if (state_.load(std::memory_order_relaxed) != now) fatal("WaitGroup: add called concurrently with wait");
  state_.store(0, std::memory_order_release);  // keeps the chain of add()s whole for a wait() that reads it
  G* alone = nullptr;
  if ((now & kAlone) != 0) {
    // relaxed, all: what its commit published came with add(), and what wait() looks at next comes through ready().
    alone = g_in(alone_.load(std::memory_order_relaxed));
    alone_.store(0, std::memory_order_relaxed);
    if (alone != nullptr) alone->waits_for.store(nullptr, std::memory_order_relaxed);  // keeps waits_for.h I1
  }
  // The group may end with the one that is let go last: `alone`, if there is no line.
  if (alone != nullptr) ready(alone);
  for (std::uint32_t line = in_line(now); line != 0; --line) sema_.release();
}

Result<void> WaitGroup::wait(const Context& ctx) {
  if (!ctx.err()) {
    if (!ctx.can_be_done()) {
      wait();
      return {};
    }
    if (!count_in()) return {};
    if (sema_.acquire_unless(ctx, WaitReason::kWaitGroupWait, &WaitGroup::withdraw, this)) {
      check_over();
      return {};
    }
  }
  return std::unexpected(detail::done_error(ctx, to_string(WaitReason::kWaitGroupWait)));
}

void WaitGroup::wait_slow() {
  if (wait_alone() || !count_in()) return;
  sema_.acquire(WaitReason::kWaitGroupWait);
  check_over();
}

// False: another one waits alone. True also if the counter came to 0 meanwhile.
bool WaitGroup::wait_alone() {
  struct Place {
    WaitGroup* group;
    bool waited = true;
  } place{this};
  G* g = must_current_g(to_string(WaitReason::kWaitGroupWait));
  std::uint64_t claimed = alone_.load(std::memory_order_relaxed);  // relaxed: the CAS decides
  // relaxed: what goes with the claim is published by the state.
  if (claimed != 0 ||
      !alone_.compare_exchange_strong(claimed, word_of(g), std::memory_order_relaxed, std::memory_order_relaxed)) {
    return false;
  }
  const WaitsFor what{.kind = WaitKind::kSync, .object = this};
  const WaitMark mark(g, what);
  park(
      [](G*, void* arg) {
        auto* self = static_cast<Place*>(arg);
        auto& word = self->group->state_;
        std::uint64_t state = word.load(std::memory_order_acquire);  // acquire: as in wait()
        do {
          if (counter(state) == 0) {
            self->group->alone_.store(0, std::memory_order_relaxed);  // relaxed: as above
            return self->waited = false;
          }
          // release: the G is off its stack; pairs with add(). acquire, here and above: as in wait().
        } while (!word.compare_exchange_weak(state, state | kAlone, std::memory_order_acq_rel, std::memory_order_acquire));
        return true;
      },
      &place, WaitReason::kWaitGroupWait);
  if (place.waited) check_over();
  return true;
}

// Counts the caller among those in line. False: the counter is 0.
bool WaitGroup::count_in() noexcept {
  // acquire, here and where the CAS fails: as in wait().
  std::uint64_t state = state_.load(std::memory_order_acquire);
  do {
    if (counter(state) == 0) return false;
  } while (!state_.compare_exchange_weak(state, state + 1, std::memory_order_acquire));
  return true;
}

void WaitGroup::check_over() const noexcept {
  // relaxed: for the check only. Our unit may have been another round's, or the other way round.
  if (state_.load(std::memory_order_relaxed) != 0) fatal("WaitGroup: reused before the last wait returned");
}

void WaitGroup::forget_waiters() noexcept { this_run += std::uint64_t{1} << kPointerBits; }

// Counts a waiter out, unless the counter has come to 0: then whoever brought it there gives each waiter a unit.
bool WaitGroup::withdraw(void* group) noexcept {
  auto& word = static_cast<WaitGroup*>(group)->state_;
  std::uint64_t state = word.load(std::memory_order_relaxed);  // relaxed: the CAS decides
  while (counter(state) > 0 && in_line(state) != 0) {
    // relaxed, both: publishes nothing.
    if (word.compare_exchange_weak(state, state - 1, std::memory_order_relaxed, std::memory_order_relaxed)) return true;
  }
  return false;
}

}  // namespace heddle
