// A goroutine leaves its M and comes back: park, ready, gosched, sleep. The contract is in core/park.h.
#include <heddle/core/park.h>

#include <heddle/core/check.h>
#include <heddle/core/clock.h>
#include <heddle/core/go.h>
#include <heddle/core/internal/latency.h>
#include <heddle/core/internal/leave.h>
#include <heddle/core/internal/sched.h>

namespace heddle {
namespace {

G* must_run_g(const char* op) noexcept {
  M* m = current_m();
  if (m == nullptr || m->curg == nullptr) fatal("%s outside a goroutine: call it inside heddle::run()", op);
  return m->curg;
}

// The current G leaves its stack, in a section that the scheduler's side of this M takes over and that of the M it wakes on
// ends.
[[gnu::always_inline]] inline void leave(Leave how, ParkCommit commit, void* arg, WaitReason reason, const char* op) noexcept {
  M* m = detail::enter_section()->m;
  if (m == nullptr || m->curg == nullptr) [[unlikely]] fatal("%s outside a goroutine: call it inside heddle::run()", op);
  G* g = m->curg;
  if (g->on_park != nullptr) [[unlikely]] g->on_park(g->on_park_arg);  // may not park, so the M is the same afterwards
  g->wait_reason.store(reason, std::memory_order_relaxed);  // relaxed: for reports
  m->leave = how;
  m->commit = commit;
  m->commit_arg = arg;
  leave_g(m, g);
  detail::end_scheduler_section();
}

void make_runnable(G* g) noexcept {
  // relaxed: the G came to us through what its commit published.
  HEDDLE_CHECK(g->status.load(std::memory_order_relaxed) == GStatus::kWaiting);
  g->status.store(GStatus::kRunnable, std::memory_order_relaxed);  // relaxed: published by the queue
}

struct SleepTimer : TimerNode {
  SleepTimer(G* sleeper, std::int64_t until) noexcept
      : TimerNode([](TimerNode* t) { ready_tail(static_cast<SleepTimer*>(t)->g); }), g(sleeper), deadline(until) {}
  G* g;
  std::int64_t deadline;
};

void sleep_at_least_until(std::int64_t when) {
  SleepTimer timer(must_run_g("sleep"), when);
  // Armed once the G is off its stack: it may fire at once, on another M.
  park(
      [](G*, void* arg) {
        auto* t = static_cast<SleepTimer*>(arg);
        timer_start(*t, t->deadline);
        return true;
      },
      &timer, WaitReason::kSleep);
  // The node dies with this frame, and the M that fired it may not be out of Timers::run yet; but run() does not touch a
  // node after its `fire` (timers.cc).
}

}  // namespace

void park(ParkCommit commit, void* arg, WaitReason reason) {
  leave(Leave::kPark, commit, arg, reason, "park");
}

void park_unlock(RawMutex& mutex, WaitReason reason) {
  park(
      [](G*, void* arg) {
        static_cast<RawMutex*>(arg)->unlock();
        return true;
      },
      &mutex, reason);
}

void ready(G* g) {
  const Section section;
  make_runnable(g);
  if (P* p = held_p(section.m()); p != nullptr) [[likely]] {
    detail::stamp_ready(p, g);
    if (runq_put_next(p, g) && sched.nprocs > 1) wake_p();
    return;
  }
  sched.globq.push(g);
  wake_p();
}

void ready_tail(G* g) {
  const Section section;
  make_runnable(g);
  if (P* p = held_p(section.m()); p != nullptr) [[likely]] {
    detail::stamp_ready(p, g);
    runq_put(p, g);
    // On the scheduler's side whoever reaps a batch wakes once for all of it.
    if (section.m()->curg != nullptr && sched.nprocs > 1) wake_p();
    return;
  }
  sched.globq.push(g);
  wake_p();
}

G* current_g() noexcept {
  M* m = current_m();
  return m == nullptr ? nullptr : m->curg;
}

G* must_current_g(const char* op) noexcept { return must_run_g(op); }

void set_on_park(void (*hook)(void*), void* arg) noexcept {
  G* g = must_run_g("set_on_park");
  if (g->on_park == &pinned_parks) fatal("set_on_park inside pin()");
  g->on_park = hook;
  g->on_park_arg = arg;
}

void gosched() {
  leave(Leave::kYield, nullptr, nullptr, WaitReason::kNone, "gosched");
}

void sleep(Duration d) {
  if (d > Duration::zero()) sleep_at_least_until(nanos_after(nanotime(), d));
}

void sleep_until(TimePoint t) {
  const std::int64_t when = to_nanos(t);
  if (when > nanotime()) sleep_at_least_until(when);
}

std::uint64_t goroutine_id() noexcept {
  G* g = current_g();
  return g == nullptr ? 0 : g->id.load(std::memory_order_relaxed);  // relaxed: our own
}

bool on_goroutine() noexcept { return current_g() != nullptr; }

}  // namespace heddle
