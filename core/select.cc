// select's mechanism: look, look under all locks, wait in all queues, leave all queues.
//
//   1. In random order, each case that looks ready without its lock is tried under its lock. Usually that is all.
//   2. All channels are locked, in address order; the cases are tried again, in the same random order.
//   3. With otherwise() that is the answer: nothing was ready while we held all locks. Else a Sudog goes into every
//      channel's queue, and the G parks; its commit arms the timer and unlocks.
//   4. One partner, or the timer, claims the SelectWait, does its part and readies the G.
//   5. The G takes its other Sudogs out, one lock after the other, and stops the timer.
//
// I1. A step that finds a ready case is uniform among the ready ones: the order is random, and step 1 only leaves out what
//     was not ready at a moment of this call.
// I2. Locks are taken in address order, each channel once, so two selects cannot deadlock. Step 5 holds one at a time.
// I3. The commit still reads our frame while the first channels are unlocked already, and a partner may then have readied
//     the G. But the G cannot leave step 5 before it has had the lock of every channel it lost on, and the commit reads
//     nothing after the last unlock (with no channel at all: after timer_start). So it reads a live frame.
// I4. After step 5 nobody knows the frame: losers on a channel have dropped our Sudog before they released its lock
//     (sudog.h I3), the winner was done with it when it readied us, and timer_stop() waits out a timer that came too late.
#include <heddle/core/select.h>

#include <algorithm>
#include <functional>
#include <new>
#include <span>

#include <heddle/core/internal/chan_core.h>
#include <heddle/core/internal/sched.h>
#include <heddle/core/internal/done_waiter.h>
#include <heddle/core/internal/waits_for.h>
#include <heddle/core/park.h>
#include <heddle/core/timer_node.h>

namespace heddle::detail {
namespace {

static_assert(sizeof(Sudog) <= sizeof(SelectCase::waiter) && alignof(Sudog) <= alignof(void*));

using Order = std::span<const std::uint16_t>;

// From the P's generator if the run is seeded, so that it repeats its choices. A foreign thread has no P, and no seed.
[[gnu::cold, gnu::noinline]] bool draw_seeded(std::uint64_t* drawn) noexcept {
  const Section section;
  P* p = held_p(section.m());
  if (p != nullptr) *drawn = next_random(p);
  return p != nullptr;
}

// Else from the thread's own: nobody else is on it, and there is no park in between, so that it takes no section.
std::uint64_t draw() noexcept {
  if (std::uint64_t seeded = 0; sched.seed != 0 && draw_seeded(&seeded)) [[unlikely]] return seeded;
  ThreadState* t = thread_state();
  std::uint64_t x = t->rng;
  if (x == 0) [[unlikely]] x = (static_cast<std::uint64_t>(nanotime()) ^ reinterpret_cast<std::uintptr_t>(t)) | 1;
  // xorshift64*, as next_random().
  x ^= x >> 12;
  x ^= x << 25;
  x ^= x >> 27;
  t->rng = x;
  return (x * 0x2545'F491'4F6C'DD1DULL) >> 16;
}

// Fills `order` with the cases that have a channel, in random order. Returns how many.
std::size_t shuffle(const SelectCase* cases, std::size_t n, std::uint16_t* order) noexcept {
  std::size_t live = 0;
  std::uint32_t fraction = 0;  // a random number in [0, 1), times 2^32
  for (std::size_t i = 0; i < n; ++i) {
    if (cases[i].chan == nullptr) continue;
    // What the multiplication below leaves over is again random, but has log2(live + 1) bits less: after the first
    // eight (8! < 2^16) that would show.
    if (live == 1 || live >= 8) fraction = static_cast<std::uint32_t>(draw());
    const std::uint64_t scaled = std::uint64_t{fraction} * (live + 1);
    const auto j = static_cast<std::size_t>(scaled >> 32);  // in [0, live]
    fraction = static_cast<std::uint32_t>(scaled);
    order[live++] = order[j];
    order[j] = static_cast<std::uint16_t>(i);
  }
  return live;
}

void lock_all(const SelectCase* cases, Order by_address) noexcept {
  ChanCore* last = nullptr;
  for (const std::uint16_t i : by_address) {
    if (cases[i].chan == last) continue;
    last = cases[i].chan;
    last->lock.lock();
  }
}

// Each channel is unlocked when the next one has been read: see I3.
void unlock_all(const SelectCase* cases, Order by_address) noexcept {
  ChanCore* last = nullptr;
  for (const std::uint16_t i : by_address) {
    ChanCore* chan = cases[i].chan;
    if (chan != last && last != nullptr) last->lock.unlock();
    last = chan;
  }
  if (last != nullptr) last->lock.unlock();
}

Outcome peek(const SelectCase& c) noexcept { return c.sends ? peek_send(*c.chan) : peek_recv(*c.chan); }

Step step_of(const SelectCase& c) noexcept {
  return c.sends ? send_step(*c.chan, c.value) : recv_step(*c.chan, c.value);
}

Selected result(const SelectCase& c, bool ok) {
  if (c.sends && !ok) throw Panic("send on closed channel");
  return {c.position, ok};
}

// No lock held.
Selected finish(const SelectCase& c, const Step& step) {
  if (c.sends) {
    finish_send(*c.chan, step.partner, c.value);
  } else {
    finish_recv(*c.chan, step.partner, c.value);
  }
  return result(c, step.outcome == Outcome::kDone);
}

struct Waiting : SelectWait, TimerNode {
  Waiting() noexcept : TimerNode(&time_is_up) {}

  const SelectCase* cases = nullptr;
  Order by_address;
  std::int64_t deadline = kNever;

  // Under the timers' lock, on the scheduler's side. `winner` stays null.
  static void time_is_up(TimerNode* timer) {
    auto* w = static_cast<Waiting*>(timer);
    if (w->claim()) ready_tail(w->g);
  }

  // The commit of our park.
  static bool publish(G*, void* arg) {
    auto* w = static_cast<Waiting*>(arg);
    // Copies, because without channels the frame may be gone when timer_start returns.
    const SelectCase* cases = w->cases;
    const Order by_address = w->by_address;
    if (w->deadline != kNever) timer_start(*w, w->deadline);
    unlock_all(cases, by_address);
    return true;
  }
};

Sudog* sudog_of(SelectCase& c) noexcept { return std::launder(reinterpret_cast<Sudog*>(c.waiter)); }

// Steps 3 to 5. All channels are locked on entry, none on return.
Selected wait(SelectCase* cases, std::size_t n, Order by_address, const SelectIdle& idle) {
  Waiting w;
  w.g = must_current_g("select");
  w.cases = cases;
  w.by_address = by_address;
  if (idle.has_timeout) w.deadline = nanos_after(nanotime(), idle.timeout);
  for (const std::uint16_t i : by_address) {
    SelectCase& c = cases[i];
    auto* sg = ::new (static_cast<void*>(c.waiter)) Sudog;
    sg->g = w.g;
    sg->value = c.value;
    sg->select = &w;
    (c.sends ? c.chan->senders : c.chan->receivers).push_back(sg);
  }
  {
    const WaitsFor what{.kind = WaitKind::kSelect, .object = cases, .n = n, .timed = idle.has_timeout};
    const WaitMark mark(w.g, what);
    park(&Waiting::publish, &w, n == 0 && !idle.has_timeout ? WaitReason::kSelectNoCases : WaitReason::kSelect);
  }

  SelectCase* won = nullptr;
  for (const std::uint16_t i : by_address) {
    SelectCase& c = cases[i];
    Sudog* sg = sudog_of(c);
    if (sg == w.winner) {
      won = &c;
      continue;
    }
    // Also if it is queued no more: keeps I3 and I4.
    LockGuard guard(c.chan->lock);
    if (sg->queued) (c.sends ? c.chan->senders : c.chan->receivers).remove(sg);
  }
  if (won == nullptr) return {idle.position};
  if (w.deadline != kNever) static_cast<void>(timer_stop(w));
  return result(*won, sudog_of(*won)->ok);
}

}  // namespace

void forget_wait(const WaitsFor& what) noexcept {
  // One that has been served, and never came to run, keeps no channel alive: that may be gone.
  const auto forget = [](ChanCore* c, bool queued) {
    if (!queued) return;
    c->senders.forget();
    c->receivers.forget();
  };
  switch (what.kind) {
    case WaitKind::kNothing:
    case WaitKind::kSync: return;  // Sema::forget_waiters()
    case WaitKind::kChan: return forget(static_cast<ChanCore*>(const_cast<void*>(what.object)), *what.queued);
    case WaitKind::kContext: return static_cast<DoneWaiter*>(const_cast<void*>(what.object))->leave();
    case WaitKind::kSelect: break;
  }
  const auto* cases = static_cast<const SelectCase*>(what.object);
  for (std::size_t i = 0; i < what.n; ++i) {
    if (cases[i].chan != nullptr) forget(cases[i].chan, reinterpret_cast<const Sudog*>(cases[i].waiter)->queued);
  }
}

Selected select_go(SelectCase* cases, std::size_t n, std::uint16_t* order, const SelectIdle& idle) {
  const std::size_t live = shuffle(cases, n, order);
  const Order by_chance(order, live);
  for (const std::uint16_t i : by_chance) {
    const SelectCase& c = cases[i];
    if (peek(c) == Outcome::kWouldWait) continue;
    c.chan->lock.lock();
    const Step step = step_of(c);
    c.chan->lock.unlock();
    if (step.outcome != Outcome::kWouldWait) return finish(c, step);
  }
  const bool never_waits = idle.otherwise || (idle.has_timeout && idle.timeout <= Duration::zero());
  // A single case was looked at at one moment already.
  if (never_waits && live <= 1) return {idle.position};

  std::copy_n(order, live, order + n);
  std::sort(order + n, order + n + live,
            [cases](std::uint16_t a, std::uint16_t b) { return std::less<>()(cases[a].chan, cases[b].chan); });
  const Order by_address(order + n, live);
  lock_all(cases, by_address);
  for (const std::uint16_t i : by_chance) {
    const SelectCase& c = cases[i];
    const Step step = step_of(c);
    if (step.outcome == Outcome::kWouldWait) continue;
    unlock_all(cases, by_address);
    return finish(c, step);
  }
  if (never_waits) {
    unlock_all(cases, by_address);
    return {idle.position};
  }
  return wait(cases, n, by_address, idle);
}

}  // namespace heddle::detail
