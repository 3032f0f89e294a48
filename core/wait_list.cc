#include <heddle/core/wait_list.h>

#include <utility>

#include <heddle/core/internal/done_waiter.h>
#include <heddle/core/internal/waits_for.h>
#include <heddle/core/park.h>

namespace heddle {

Waiter::Waiter(const char* op, std::int64_t wants) noexcept
    // A batch of timers may be due with it: so it goes to the tail.
    : TimerNode([](TimerNode* timer) {
        auto* w = static_cast<Waiter*>(timer);
        G* g = w->g_;
        if (w->end(State::kCalledOff) == State::kParked) ready_tail(g);
      }),
      g_(must_current_g(op)),
      wants_(wants) {}

void Waiter::call_off() noexcept {
  G* g = nullptr;
  if (try_call_off(&g)) ready(g);
}

bool Waiter::try_call_off(G** g) noexcept {
  G* ours = g_;  // before the change of state: keeps I3
  if (end(State::kCalledOff) != State::kParked) return false;
  *g = ours;
  return true;
}

Waiter::State Waiter::end(State how) noexcept {
  State before = state_.load(std::memory_order_relaxed);  // relaxed: the CAS decides
  while (before == State::kOpen || before == State::kParked) {
    // release: what the caller gives; pairs with the failing CAS in commit(), if the G has not parked. acquire: if it
    // has, it is the caller's with all that its M wrote when it left; pairs with the release in commit().
    if (state_.compare_exchange_weak(before, how, std::memory_order_acq_rel, std::memory_order_relaxed)) break;
  }
  return before;
}

bool Waiter::wait(WaitReason reason, std::int64_t deadline, const Context* ctx) noexcept {
  deadline_ = deadline;
  if (ctx == nullptr) {
    park(&Waiter::commit, this, reason);
  } else {
    detail::DoneWaiter done(*ctx, *this);
    const WaitsFor what{.kind = WaitKind::kContext, .object = &done, .timed = true};
    const WaitMark mark(g_, what);
    park(&Waiter::commit, this, reason);
  }
  if (deadline != kNever) static_cast<void>(timer_stop(*this));
  // relaxed: who ended the wait readied us after it, or the commit saw it.
  return state_.load(std::memory_order_relaxed) == State::kTaken;
}

bool Waiter::commit(G*, void* waiter) {
  auto* w = static_cast<Waiter*>(waiter);
  if (w->deadline_ != kNever) timer_start(*w, w->deadline_);
  State open = State::kOpen;
  // release: the G is off its stack. acquire on failure: the wait has ended already. Both pair with end().
  return w->state_.compare_exchange_strong(open, State::kParked, std::memory_order_release, std::memory_order_acquire);
}

void WaitList::push_back(Waiter& w) noexcept {
  w.next_ = nullptr;
  w.prev_ = last_;
  w.queued_ = true;
  (last_ != nullptr ? last_->next_ : first_) = &w;
  last_ = &w;
}

void WaitList::remove(Waiter& w) noexcept {
  if (!std::exchange(w.queued_, false)) return;
  (w.prev_ != nullptr ? w.prev_->next_ : first_) = w.next_;
  (w.next_ != nullptr ? w.next_->prev_ : last_) = w.prev_;
}

bool WaitList::take(Waiter& w, WakeList& woken) noexcept {
  remove(w);
  const Waiter::State before = w.end(Waiter::State::kTaken);
  if (before != Waiter::State::kParked) return before == Waiter::State::kOpen;  // keeps I2 and I3
  w.next_ = nullptr;
  (woken.last_ != nullptr ? woken.last_->next_ : woken.first_) = &w;
  woken.last_ = &w;
  return true;
}

bool WaitList::wait(RawMutex& lock, Waiter& w, WaitReason reason, std::int64_t deadline, const Context* ctx) noexcept {
  if (w.wait(reason, deadline, ctx)) return true;  // keeps I4
  const LockGuard guard(lock);
  remove(w);
  return false;
}

void WakeList::wake() noexcept {
  if (first_ == nullptr) return;
  if (first_ == last_) return ready(first_->g_);
  for (Waiter* w = first_; w != nullptr;) {
    G* g = w->g_;
    w = w->next_;  // before the G runs: its frame goes
    ready_tail(g);
  }
}

}  // namespace heddle
