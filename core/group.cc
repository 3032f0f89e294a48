#include <heddle/core/check.h>
#include <heddle/core/group.h>
#include <heddle/core/wait_reason.h>

namespace heddle::detail {

GroupCore::GroupCore(const Context& parent) : GroupCore(with_cancel(parent)) {}

GroupCore::~GroupCore() {
  // Keeps I3: leaves a destructor, so it ends in std::terminate, which reports a panic.
  // relaxed: the reference counts order it after every wait().
  if (exception_ != nullptr && !taken_.load(std::memory_order_relaxed)) std::rethrow_exception(exception_);
}

void GroupCore::enter() {
  if (limit_) limit_->acquire();
  count();
}

Result<void> GroupCore::enter(const Context& ctx) {
  if (ctx.err()) return std::unexpected(done_error(ctx, to_string(WaitReason::kSemAcquire)));
  if (limit_) {
    if (Result<void> unit = limit_->acquire(ctx); !unit) return unit;
  }
  count();
  return {};
}

bool GroupCore::try_enter() {
  if (limit_ && !limit_->try_acquire()) return false;
  count();
  return true;
}

void GroupCore::count() noexcept {
  under_way_.fetch_add(1, std::memory_order_relaxed);  // relaxed: see set_limit()
  members_.add(1);
}

void GroupCore::leave() noexcept {
  under_way_.fetch_sub(1, std::memory_order_relaxed);  // relaxed: see set_limit()
  if (limit_) limit_->release();
  members_.done();
}

void GroupCore::fail(Error error) noexcept {
  if (!first_failure()) return;
  error_ = error;
  cancel_(error);
}

void GroupCore::fail(std::exception_ptr exception) noexcept {
  if (!first_failure()) return;
  exception_ = std::move(exception);
  cancel_(Error{Code::kCanceled, 0, "Group"});
}

bool GroupCore::first_failure() noexcept {
  // relaxed: decides who is first, and no more; what that one stores is published by members_ (I1).
  return !failed_.exchange(true, std::memory_order_relaxed);
}

void GroupCore::set_limit(std::int64_t n) {
  // relaxed: a check for misuse. Who may call has seen all members leave, by wait().
  if (const std::int64_t members = under_way_.load(std::memory_order_relaxed); members != 0) {
    fatal("Group: set_limit while there are %lld members", static_cast<long long>(members));
  }
  limit_.reset();
  if (n >= 0) limit_.emplace(n);
}

Result<void> GroupCore::wait(const Context& ctx) {
  if (Result<void> ended = members_.wait(ctx); !ended) return ended;
  return wait();
}

Result<void> GroupCore::wait() {
  members_.wait();
  cancel_();
  if (exception_ != nullptr) {
    taken_.store(true, std::memory_order_relaxed);  // relaxed: read when the last reference goes
    std::rethrow_exception(exception_);
  }
  if (error_) return std::unexpected(*error_);
  return {};
}

}  // namespace heddle::detail
