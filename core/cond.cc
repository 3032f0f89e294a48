#include <heddle/core/cond.h>

#include <heddle/core/context.h>

namespace heddle {

bool Cond::is_done(const Context& ctx) noexcept { return ctx.err().has_value(); }

Error Cond::ended(const Context& ctx) noexcept { return detail::done_error(ctx, to_string(WaitReason::kCondWait)); }

bool Cond::wait_unlocked(void* lock, void (*give_up)(void*) noexcept, std::int64_t deadline,
                         const Context* ctx) noexcept {
  Waiter self(to_string(WaitReason::kCondWait));
  {
    const LockGuard guard(mutex_);
    waiters_.push_back(self);  // keeps I1
  }
  give_up(lock);
  return waiters_.wait(mutex_, self, WaitReason::kCondWait, deadline, ctx);
}

void Cond::signal() noexcept {
  WakeList woken;
  {
    const LockGuard guard(mutex_);
    while (Waiter* w = waiters_.front()) {
      if (waiters_.take(*w, woken)) break;
    }
  }
  woken.wake();
}

void Cond::broadcast() noexcept {
  WakeList woken;
  {
    const LockGuard guard(mutex_);
    while (Waiter* w = waiters_.front()) static_cast<void>(waiters_.take(*w, woken));
  }
  woken.wake();
}

TimePoint Cond::after(Duration timeout) noexcept {
  const std::int64_t when = nanos_after(nanotime(), timeout);
  return when == kNever ? kNoDeadline : TimePoint(std::chrono::duration_cast<Clock::duration>(Duration(when)));
}

}  // namespace heddle
