#include <heddle/core/wait_group.h>

#include <heddle/core/check.h>

namespace heddle {

void WaitGroup::add_slow(std::uint64_t now, std::int32_t n) noexcept {
  const std::int32_t count = counter(now);
  const auto waiters = static_cast<std::uint32_t>(now);
  if (count < 0) fatal("WaitGroup: negative counter");
  if (waiters != 0 && n > 0 && count == n) fatal("WaitGroup: add called concurrently with wait");
  if (count > 0) return;
  // Counter 0 with waiters: the state is ours alone now, unless the contract is broken. So a look and a store do, as in Go's:
  // to exchange it at once would cost a sixteenth of a goroutine's life, to catch one breach in a thousand more.
  // relaxed, both: the waiters get what add() collected through the semaphore.
  if (state_.load(std::memory_order_relaxed) != now) fatal("WaitGroup: add called concurrently with wait");
  state_.store(0, std::memory_order_relaxed);
  for (std::uint32_t i = 0; i < waiters; ++i) sema_.release();
}

void WaitGroup::wait_slow() {
  // acquire, here and where the CAS fails: as in wait().
  std::uint64_t state = state_.load(std::memory_order_acquire);
  do {
    if (counter(state) == 0) return;
  } while (!state_.compare_exchange_weak(state, state + 1, std::memory_order_acquire));
  sema_.acquire(WaitReason::kWaitGroupWait);
  // relaxed: for the check only. Our unit may have been another round's, or the other way round.
  if (state_.load(std::memory_order_relaxed) != 0) fatal("WaitGroup: reused before the last wait returned");
}

}  // namespace heddle
