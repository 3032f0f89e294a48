#include <heddle/core/task.h>

#include <heddle/core/check.h>
#include <heddle/core/context.h>
#include <heddle/core/internal/sched.h>
#include <heddle/core/panic.h>

namespace heddle::detail {

bool keep_exception(std::exception_ptr& out) noexcept {
  try {
    throw;
  } catch (const GoExit&) {
    return false;
  } catch (...) {
    out = std::current_exception();
    return true;
  }
}

void no_task(const char* op) noexcept {
  fatal("Task::%s: no goroutine (never had one, joined before, or moved from)", op);
}

void TaskCore::finish() noexcept {
  // acq_rel: release publishes the result, acquire gets the channel that was wanted. Pairs with finished(), wait_slow()
  // and channel().
  const std::uint32_t before = state_.fetch_or(kFinished, std::memory_order_acq_rel);
  for (std::uint32_t waiters = before / kWaiter; waiters > 0; --waiters) sema_.release();
  if ((before & kWantsChannel) != 0) channel_.close();
}

void TaskCore::wait_slow() {
  // acquire, here and where the CAS fails: as in finished().
  std::uint32_t state = state_.load(std::memory_order_acquire);
  do {
    if ((state & kFinished) != 0) return;
  } while (!state_.compare_exchange_weak(state, state + kWaiter, std::memory_order_acquire));
  sema_.acquire(WaitReason::kTaskJoin);  // its lock orders finish() before our return
}

bool TaskCore::wait_for(Duration d) {
  if (finished()) return true;
  const RecvChan<std::monostate> end = channel();
  select(on_recv(end, [] {}), on_timeout(d, [] {}));
  return finished();
}

Result<void> TaskCore::wait(const Context& ctx) {
  if (!ctx.can_be_done()) {
    wait();
    return {};
  }
  if (!ctx.err()) {
    if (!finished()) select(on_recv(channel(), [] {}), on_done(ctx, [] {}));
    if (finished()) return {};
  }
  return std::unexpected(done_error(ctx, to_string(WaitReason::kTaskJoin)));
}

RecvChan<std::monostate> TaskCore::channel() {
  {
    const LockGuard guard(lock_);
    if (channel_) return channel_;
  }
  Chan<std::monostate> fresh = make_chan<std::monostate>();
  {
    const LockGuard guard(lock_);
    if (channel_) return channel_;  // somebody was faster; ours goes when the lock is free again
    channel_ = fresh;
  }
  // acq_rel: publishes the channel to finish(). If that came before, the closing is ours (I1).
  if ((state_.fetch_or(kWantsChannel, std::memory_order_acq_rel) & kFinished) != 0) fresh.close();
  return fresh;
}

void TaskCore::rethrow() {
  if (error == nullptr) throw Panic("join of a goroutine that called goexit");
  std::rethrow_exception(std::exchange(error, nullptr));
}

void TaskCore::release() noexcept {
  // acq_rel: the last one comes after all that the other side did.
  if (refs_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  if (error != nullptr) std::rethrow_exception(error);  // keeps I3: ends in std::terminate, which reports a panic
  destroy_(this);
}

}  // namespace heddle::detail
