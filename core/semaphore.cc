#include <heddle/core/semaphore.h>

#include <heddle/core/check.h>
#include <heddle/core/context.h>
#include <heddle/core/go.h>

namespace heddle {
namespace {

void check_count(std::int64_t n) noexcept {
  if (n < 0) fatal("Semaphore: negative count");
}

}  // namespace

Semaphore::Semaphore(std::int64_t size) noexcept : size_(size) { check_count(size); }

void Semaphore::acquire(std::int64_t n) { static_cast<void>(acquire_by(kNever, n)); }

bool Semaphore::acquire_until(TimePoint deadline, std::int64_t n) { return acquire_by(to_nanos(deadline), n); }

bool Semaphore::acquire_for(Duration timeout, std::int64_t n) {
  if (try_acquire(n)) return true;  // without a look at the clock
  return acquire_by(nanos_after(nanotime(), timeout), n);
}

bool Semaphore::try_acquire(std::int64_t n) noexcept {
  check_count(n);
  const LockGuard guard(mutex_);
  return take_locked(n);
}

Result<void> Semaphore::acquire(const Context& ctx, std::int64_t n) {
  if (!ctx.err() && acquire_by(kNever, n, ctx.can_be_done() ? &ctx : nullptr)) return {};
  return std::unexpected(detail::done_error(ctx, to_string(WaitReason::kSemAcquire)));
}

bool Semaphore::acquire_by(std::int64_t deadline, std::int64_t n, const Context* ctx) {
  check_count(n);
  if (n > size_) {
    // Outside the line: it would hold up all others.
    if (ctx != nullptr) {
      select(on_done(*ctx, [] {}));
      return false;
    }
    if (deadline == kNever) {
      fatal("Semaphore: acquire of %lld units, and there are %lld", static_cast<long long>(n),
            static_cast<long long>(size_));
    }
    sleep(Duration(deadline - nanotime()));
    return false;
  }
  mutex_.lock();
  if (take_locked(n)) {
    mutex_.unlock();
    return true;
  }
  Waiter self(to_string(WaitReason::kSemAcquire), n);
  waiters_.push_back(self);
  mutex_.unlock();
  if (waiters_.wait(mutex_, self, WaitReason::kSemAcquire, deadline, ctx)) return true;
  WakeList woken;
  {
    const LockGuard guard(mutex_);
    serve_locked(woken);  // keeps I3
  }
  woken.wake();
  return false;
}

void Semaphore::release(std::int64_t n) noexcept {
  check_count(n);
  WakeList woken;
  {
    const LockGuard guard(mutex_);
    if (n > held_) fatal("Semaphore: released more than held");
    held_ -= n;
    serve_locked(woken);
  }
  woken.wake();
}

bool Semaphore::take_locked(std::int64_t n) noexcept {
  if (!waiters_.empty() || n > size_ - held_) return false;  // keeps I1
  held_ += n;
  return true;
}

void Semaphore::serve_locked(WakeList& woken) noexcept {
  for (Waiter* w = waiters_.front(); w != nullptr && w->wants() <= size_ - held_; w = waiters_.front()) {
    const std::int64_t n = w->wants();  // once taken, it may be gone
    if (waiters_.take(*w, woken)) held_ += n;
  }
}

}  // namespace heddle
