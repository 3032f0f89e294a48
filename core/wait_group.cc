#include <heddle/core/wait_group.h>

#include <heddle/core/check.h>
#include <heddle/core/context.h>

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

Result<void> WaitGroup::wait(const Context& ctx) {
  if (!ctx.err() && wait_slow(ctx.can_be_done() ? &ctx : nullptr)) return {};
  return std::unexpected(detail::done_error(ctx, to_string(WaitReason::kWaitGroupWait)));
}

bool WaitGroup::wait_slow(const Context* ctx) {
  // acquire, here and where the CAS fails: as in wait().
  std::uint64_t state = state_.load(std::memory_order_acquire);
  do {
    if (counter(state) == 0) return true;
  } while (!state_.compare_exchange_weak(state, state + 1, std::memory_order_acquire));
  if (ctx == nullptr) {
    sema_.acquire(WaitReason::kWaitGroupWait);
  } else if (!sema_.acquire_unless(*ctx, WaitReason::kWaitGroupWait, &WaitGroup::withdraw, this)) {
    return false;
  }
  // relaxed: for the check only. Our unit may have been another round's, or the other way round.
  if (state_.load(std::memory_order_relaxed) != 0) fatal("WaitGroup: reused before the last wait returned");
  return true;
}

// Counts a waiter out, unless the counter has come to 0: then whoever brought it there gives each waiter a unit.
bool WaitGroup::withdraw(void* group) noexcept {
  auto& word = static_cast<WaitGroup*>(group)->state_;
  std::uint64_t state = word.load(std::memory_order_relaxed);  // relaxed: the CAS decides
  while (counter(state) > 0 && static_cast<std::uint32_t>(state) != 0) {
    // relaxed, both: publishes nothing.
    if (word.compare_exchange_weak(state, state - 1, std::memory_order_relaxed, std::memory_order_relaxed)) return true;
  }
  return false;
}

}  // namespace heddle
