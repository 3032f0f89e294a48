// The schedule loop: an M seeks a G, runs it, and does what the G asked for when it left.
//
//   find_runnable, in this order (DESIGN.md 3):
//     every 61st G     the global queue, or two Gs that feed each other could hide it for ever
//     runnext, ring    our own
//     timers           ours, if due
//     global queue     a fair share
//     the poller       without waiting
//     hogs             one that was preempted; before all else if the last one was long ago (I4)
//     stealing         rounds over all Ps; the last also takes timers that are late and runnext
//     stop_m           gives up the P, looks once more, sleeps in the poller
//
// I1. While an M is out of local work for less than a system call's time it makes none: the poller is asked first whether
//     a reap can pay.
// I2. Gs that feed each other through runnext share one turn of kNextStreak runs; then the ring has its turn. So a
//     ping-pong pair cannot starve the rest.
// I3. A P that is never out of work still polls and runs its timers every kTendEvery, or kTendTurns Gs later: each is a few
//     microseconds at most, or sysmon sees it and says so (tend_due).
// I4. Preempted Gs, which have had a slice, come after all others, but not later than kHogEvery after the last one was
//     stopped: so they get a third of a busy P or so, and a short request waits for one slice at most.
#include <heddle/core/internal/sched.h>

#include <time.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include <heddle/core/check.h>
#include <heddle/core/clock.h>
#include <heddle/core/internal/bubble.h>
#include <heddle/core/internal/context.h>
#include <heddle/core/internal/latency.h>
#include <heddle/core/internal/sanitizer.h>
#include <heddle/core/internal/world.h>

constinit thread_local heddle::detail::ThreadState heddle_thread_state;

namespace heddle {

#if !defined(__x86_64__)
[[gnu::noinline]] detail::ThreadState* detail::thread_state() noexcept {
  asm volatile("");
  return &heddle_thread_state;
}
#endif

constinit Sched sched;

namespace {

constexpr std::uint32_t kGlobalEvery = 61;  // Go's: prime, so that it falls out of step with users' periods
constexpr std::uint32_t kSampleEvery = kGlobalEvery;  // turns (latency.h); those that find_own() leaves alone anyway
constexpr std::uint32_t kTendTurns = 8;  // Gs; the clock costs 10 ns, and so few of a request's 10 us are kTendEvery
constexpr std::uint32_t kNextStreak = 256;  // some 10-20 us of the shortest possible Gs
constexpr std::int64_t kTendEvery = 100'000;  // ns
constexpr std::uint32_t kDeepQueue = 64;      // runnable Gs beyond which more need not be fetched soon,
constexpr std::uint64_t kDeepFactor = 16;     // but this many times later: 1.6 ms
constexpr std::uint64_t kHogFactor = 20;      // kHogEvery = 2 ms, in kTendEvery
constexpr std::uint32_t kWakeDepth = 2;  // Gs that a reap must leave over to be worth another M's wake (5-8 us)
constexpr int kTimersPerTurn = 8;           // lazy timers fired at least at each look, however long the queue is

// kTendEvery in coarse ticks. x86: at 2 GHz; a faster clock only means that we look a little more often. arm64: 25 MHz to
// 1 GHz; at the lowest this is 4 ms, at the highest 100 us.
constexpr std::uint64_t kTendTicks =
#if defined(__x86_64__)
    200'000;
#else
    100'000;
#endif

// Fires what is due; wakes another M if that left more than this one can run at once.
void run_timers(P* p) noexcept {
  const std::int64_t next = p->timers.next();
  if (next == kNever) return;
  const std::int64_t now = nanotime();
  if (next > now) return;
  // Those that are queued go first: at least a few timers, at most as many as make the queue long.
  const int room = Timers::kMostPerRun - static_cast<int>(p->runq.size());
  const int fired = p->timers.run(now, std::max(room, kTimersPerTurn));
  if (fired > 0 && sched.nprocs > 1 && p->runq.size() > 1) wake_p();
}

// Lets the poller ready goroutines; wakes another M if it left more than this one can run at once.
void poll(P* p) {
  const int events = p->poller->reap();
  p->polls.add();
  p->events.add(static_cast<std::uint64_t>(events));
  p->last_poll = coarse_ticks();
  if (events > 0 && sched.nprocs > 1 && p->runq.size() > kWakeDepth) wake_p();
}

// A poller without descriptors may still have been asked for something (pending).
bool worth_polling(const P* p) noexcept { return p->poller->in_use() || p->poller->pending(); }

// Every few Gs, and when sysmon says that one of them took long: what must not wait until the queue is empty (I3).
void tend(P* p) {
  const std::uint64_t ticks = coarse_ticks();
  // relaxed: a hint; to see it a G later does no harm.
  const bool due = p->tend_due.load(std::memory_order_relaxed);
  if (ticks - p->last_poll < kTendTicks && !due && sched.seed == 0) return;
  if (due) p->tend_due.store(false, std::memory_order_relaxed);  // relaxed: as above
  run_timers(p);
  // Work that is queued comes first: to fetch more on top would only make each of 10,000 ready connections hold a stack
  // while it waits its turn. But not for ever, or a queue that never empties would hide the network.
  const bool deep = p->runq.size() >= kDeepQueue;
  if (deep && ticks - p->last_poll < kDeepFactor * kTendTicks) return;
  p->last_poll = ticks;
  if (worth_polling(p)) poll(p);
}

[[gnu::always_inline]] inline G* pick(P* p) noexcept {
  if (p->next_streak < kNextStreak) [[likely]] {
    if (G* g = p->runq.take_next(); g != nullptr) {
      ++p->next_streak;
      return g;
    }
    p->next_streak = 0;
    return p->runq.pop();
  }
  p->next_streak = 0;  // keeps I2
  if (G* g = p->runq.pop(); g != nullptr) return g;
  return p->runq.take_next();
}

// Tests: a seed permutes what runs next, reproducibly on one P.
G* pick_seeded(P* p) noexcept {
  if (next_random(p) % 4 != 0) {
    if (G* next = p->runq.take_next(); next != nullptr) runq_put(p, next);
  }
  const std::uint32_t size = p->runq.size();
  if (size > 1) {
    for (std::uint64_t turns = next_random(p) % size; turns > 0; --turns) {
      if (G* g = p->runq.pop(); g != nullptr) runq_put(p, g);
    }
  }
  if (G* g = p->runq.pop(); g != nullptr) return g;
  return p->runq.take_next();
}

G* pick_any(P* p) noexcept { return sched.seed == 0 ? pick(p) : pick_seeded(p); }

// An eighth of a ring: those who gave way there (spawn.cc) find room for what they start, and do not give way again at once.
constexpr std::uint32_t kGlobalBatch = Runq<G>::kCapacity / 8;

// Takes up to `most` from the global queue: one to run, the others to the ring.
G* globq_get(P* p, std::uint32_t most) noexcept {
  const std::uint32_t size = sched.globq.size();
  if (size == 0) return nullptr;
  const auto share = size / static_cast<std::uint32_t>(sched.nprocs) + 1;
  GQueue batch;
  sched.globq.pop(std::min({most, share, kGlobalBatch}), batch);
  G* first = batch.pop_front();
  while (G* g = batch.pop_front()) runq_put(p, g);
  return first;
}

void relax_for_a_moment() noexcept {
  // Some 2 us: longer than it takes a G that has readied another to park (a channel operation is ~50 ns).
  for (int i = 0; i < 64; ++i) {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }
}

// The last resort: a G that `victim`'s M readied and has not come to run yet. Taking it from a G about to park would only
// move it between caches, so look twice.
G* steal_next(P* p, P* victim) noexcept {
  if (!victim->runq.has_next()) return nullptr;
  const std::uint64_t tick = victim->schedtick.get();
  relax_for_a_moment();
  if (victim->schedtick.get() != tick) return nullptr;
  return victim->runq.steal_into(p->runq, true);
}

G* steal_round(P* p, bool last) noexcept {
  // acquire: with its Ps. A retired one's goroutine may compute on beside a full queue.
  const auto n = static_cast<std::uint32_t>(sched.nps.load(std::memory_order_acquire));
  // A random start and a step coprime to n visit every P once.
  const auto start = static_cast<std::uint32_t>(next_random(p) % n);
  std::uint32_t step = static_cast<std::uint32_t>(next_random(p) % n) | 1U;
  while (std::gcd(step, n) != 1) ++step;
  for (std::uint32_t i = 0, at = start; i < n; ++i, at = (at + step) % n) {
    P* victim = &sched.ps[at];
    if (victim == p) continue;
    p->steal_tries.add();
    if (last && victim->timers.next() != kNever) {
      const std::int64_t now = nanotime();
      if (victim->timers.next() <= now && victim->timers.run(now) > 0) {
        if (G* g = pick_any(p); g != nullptr) return g;
      }
    }
    G* g = victim->runq.steal_into(p->runq, false);
    if (g == nullptr && last) g = steal_next(p, victim);
    if (g != nullptr) {
      p->steals.add();
      p->stolen_from[at].add();
      return g;
    }
  }
  return nullptr;
}

// A preempted G, if its turn has come; or in any case, if nothing else is there.
G* take_hog(P* p, bool in_any_case) noexcept {
  if (sched.hogs.size() == 0) [[likely]] return nullptr;
  const std::uint64_t ticks = coarse_ticks();
  if (!in_any_case && ticks - p->last_hog < kHogFactor * kTendTicks) return nullptr;
  p->last_hog = ticks;
  G* g = sched.hogs.take();
  if (g != nullptr) sanitizer::happens_after(g);
  return g;
}

G* steal(M* m, P* p) noexcept {
  // At most half as many seekers as workers: more of them find nothing more, and take the CPU from those who work.
  if (!m->spinning) {
    const int busy = sched.nprocs - sched.idle.count();
    if (2 * sched.spinning.load(std::memory_order_relaxed) >= busy) return nullptr;  // relaxed: a throttle
    become_spinning(m);
  }
  // On few cores a spinner costs the core that the load generator and the kernel's softirq want (runtime-facts G).
  const int rounds = sched.nprocs <= 4 ? 2 : 4;
  for (int i = 0; i < rounds; ++i) {
    if (G* g = steal_round(p, i == rounds - 1); g != nullptr) return g;
  }
  return nullptr;
}

// Saves the exception state and goes over to `g`; returns when a G leaves this M.
HEDDLE_INLINE_SWITCH void enter_g(M* m, G* g) noexcept {
  if (g->eh.any()) {
    *m->eh = g->eh;
    g->eh = EhGlobals{};
  }
  sanitizer::start_switch(&m->g0_fake_stack, g->stack_lo, static_cast<std::size_t>(g->stack_hi - g->stack_lo),
                          g->tsan_fiber);
  switch_stack(&m->g0_sp, g->sp);
  sanitizer::finish_switch(m->g0_fake_stack);
}

// Does what `g` asked for. Returns true if it stays on this M. The M may have lost its P meanwhile.
[[gnu::always_inline]] inline bool settle(M* m, G* g) noexcept {
  if (!g->guarded) [[unlikely]] StackArena::check_canary(g);
  switch (m->leave) {
    case Leave::kPark:
      // relaxed: whoever readies the G got it through what commit publishes.
      g->status.store(GStatus::kWaiting, std::memory_order_relaxed);
      return m->commit != nullptr && !m->commit(g, m->commit_arg);
    case Leave::kYield:
      g->status.store(GStatus::kRunnable, std::memory_order_relaxed);  // relaxed: published by the queue
      if (m->p != nullptr) [[likely]] {
        detail::stamp_ready(m->p, g);
        if (!m->p->runq.push(g)) [[unlikely]] runq_put(m->p, g);
      } else {
        sched.globq.push(g);
        wake_p();
      }
      return false;
    case Leave::kExit:
      if (m->locked_g == g) m->locked_g = nullptr;
      free_g(m->p, g);
      return false;
    case Leave::kAbandon:
      *m->eh = EhGlobals{};  // what it had in flight stays there with it
      g->status.store(GStatus::kPreempted, std::memory_order_relaxed);  // relaxed: for the report at the end
      return false;
  }
  return false;
}

// This M belongs to a G that has parked: its P goes elsewhere, and comes back with the G.
G* wait_for_locked(M* m) {
  while (m->p != nullptr) {
    if (M* next = take_successor(m->p); next != nullptr) {
      pass_p(next, release_p(m));
      break;
    }
    want_spares(1);
    const timespec pause{0, 50'000};
    ::nanosleep(&pause, nullptr);
    stand_if_asked(m);
    if (sched.stopping.load(std::memory_order_acquire)) return nullptr;  // acquire: as in find_runnable()
  }
  if (!wait_for_p(m)) return nullptr;
  HEDDLE_CHECK(m->lent != nullptr);  // nobody else gives it one
  return std::exchange(m->lent, nullptr);
}

// A retired P: its poller's events and its timers are seen to, and what they ready is for the other Ps.
void serve_retired(M* m, P* p) {
  if (m->spinning) reset_spinning(m);
  run_timers(p);
  if (worth_polling(p)) poll(p);
  GQueue readied;
  while (G* g = pick(p)) readied.push_back(g);
  if (!readied.empty()) sched.globq.push_all(readied);
  // Also for what others relied on this M to find while it was spinning: it looks for nothing any more.
  if (work_anywhere()) wake_p();
  for (int c = 0; c < kStackClasses; ++c) {
    if (!p->free_gs[c].empty()) stack_arena().give(static_cast<StackSize>(c), p->free_gs[c]);
  }
}

// No P, or one that is not to be used here: see to it. False: the scheduler stops.
bool settle_p(M* m) {
  // With `lent` the P has come for that goroutine alone.
  while (m->p == nullptr || (m->lent == nullptr && m->p->home != m && (give_back(m) || go_home(m)))) {
    if (!wait_for_p(m)) return false;
    m->p->last_hog = coarse_ticks();  // it was some long runner's until now: others first (I4)
  }
  P* p = m->p;
  const bool at_home = p->home == m;
  if (p->at_home != at_home) [[unlikely]] {
    p->at_home = at_home;
    p->poller->drive(at_home);
  }
  m->settled = at_home && m->lent == nullptr && sched.bubble == nullptr;  // bubble.h I4
  return true;
}

}  // namespace

std::uint64_t next_random(P* p) noexcept {
  // xorshift64*; Marsaglia 2003, Vigna 2016.
  std::uint64_t x = p->rng;
  x ^= x >> 12;
  x ^= x << 25;
  x ^= x >> 27;
  p->rng = x;
  return (x * 0x2545'F491'4F6C'DD1DULL) >> 16;
}

void runq_put(P* p, G* g) noexcept {
  while (!p->runq.push(g)) {
    G* half[Runq<G>::kCapacity / 2];
    if (!p->runq.take_half(half)) continue;  // thieves made room
    GQueue batch;
    for (G* h : half) batch.push_back(h);
    sched.globq.push_all(batch);
  }
}

namespace {

[[gnu::always_inline]] inline void execute_here(M* m, G* g) {
  detail::ThreadState* ts = m->ts;
  bool stays = true;
  while (stays) {
    if (g->ready_at != 0) [[unlikely]] detail::note_ready_wait(m->p, g);
    // relaxed: a wish for the last G; one that comes now and is lost is repeated.
    if (ts->want_yield.load(std::memory_order_relaxed) != 0) ts->want_yield.store(0, std::memory_order_relaxed);
    g->m = m;
    m->curg = g;
    m->curg_seen.store(g, std::memory_order_relaxed);               // relaxed: for reports
    g->status.store(GStatus::kRunning, std::memory_order_relaxed);  // relaxed: the G is ours
    if (m->p != nullptr) [[likely]] m->p->schedtick.add();
    sanitizer::happens_before(g);  // for who takes it from the hogs, where a handler put it
    enter_g(m, g);
    m->curg = nullptr;
    // acquire: as in held_p().
    if (m->lease.load(std::memory_order_acquire) != m->p) [[unlikely]] {
      m->p = held_p_back(m);
      m->settled = false;
    }
    if (m->p != nullptr) sanitizer::happens_after(m->p);
    stays = settle(m, g);
  }
  m->curg_seen.store(nullptr, std::memory_order_relaxed);  // relaxed: for reports
}

// What find_runnable() returns nearly always, for a fraction of its price: the next of our own queue, unless there is
// anything else to look at in this turn. nullptr: ask find_runnable(). keeps I1 to I4
[[gnu::always_inline]] inline G* find_own(M* m) noexcept {
  // acquire, both: as in find_runnable() and stand_if_asked().
  if (sched.stopping.load(std::memory_order_acquire) || !m->settled) [[unlikely]] return nullptr;
  if ((sched.world.load(std::memory_order_acquire) & 1) != 0 || sched.seed != 0) [[unlikely]] return nullptr;
  P* p = m->p;
  const std::uint64_t tick = p->schedtick.get();
  // relaxed: as in tend().
  if (tick % kTendTurns == 0 || tick % kGlobalEvery == 0 || p->tend_due.load(std::memory_order_relaxed)) return nullptr;
  // A retired P always has tend_due. A G that becomes a hog now is seen in a turn's time (I4).
  if (p->sampling || sched.hogs.size() != 0) [[unlikely]] return nullptr;
  return pick(p);
}

}  // namespace

void execute(M* m, G* g) { execute_here(m, g); }

void schedule_loop(M* m) {
  for (;;) {
    G* g = find_own(m);
    if (g == nullptr) [[unlikely]] {
      g = find_runnable(m);
      if (g == nullptr) return;
    }
    if (m->spinning) reset_spinning(m);
    if (const M* bound = g->bound.load(std::memory_order_relaxed); bound != nullptr && bound != m) [[unlikely]] {  // relaxed: as g
      lend_p(m, g);
      continue;
    }
    execute_here(m, g);
  }
}

G* find_runnable(M* m) {
  for (;;) {
    // acquire: pairs with the release in stop_scheduler(); all that main did is before it.
    if (sched.stopping.load(std::memory_order_acquire)) return nullptr;
    if (!m->settled) [[unlikely]] {
      if (m->locked_g != nullptr && m->lent == nullptr) return wait_for_locked(m);
      if (!settle_p(m)) return nullptr;
      // To an M with a locked G: what to run came with the P.
      if (m->lent != nullptr) return std::exchange(m->lent, nullptr);
      if (sched.bubble != nullptr) {
        if (stand_if_asked(m)) continue;
        if (G* g = sched.bubble->next(m->p); g != nullptr) return g;
        // What a ring has not told the kernel yet, or has to tell us: as long as it stands nobody counts as blocked, and
        // rest() does not sleep.
        if (m->p->poller->pending()) {
          poll(m->p);
          continue;
        }
        if (!sched.bubble->rest(m)) return nullptr;
        continue;
      }
    }
    if (stand_if_asked(m)) [[unlikely]] continue;
    P* p = m->p;
    if (p->retired.load(std::memory_order_relaxed)) [[unlikely]] {
      serve_retired(m, p);
      if (!stop_m(m)) return nullptr;
      continue;
    }
    const std::uint64_t tick = p->schedtick.get();
    p->sampling = tick % kSampleEvery == 0 && detail::ns_per_tick.load(std::memory_order_relaxed) != 0;  // relaxed: a number
    // relaxed: as in tend().
    if (tick % kTendTurns == 0 || p->tend_due.load(std::memory_order_relaxed)) tend(p);
    if (tick % kGlobalEvery == 0) {
      if (G* g = globq_get(p, 1); g != nullptr) return g;
    }
    if (G* g = take_hog(p, false); g != nullptr) return g;
    if (G* g = pick_any(p); g != nullptr) return g;
    run_timers(p);
    if (G* g = pick_any(p); g != nullptr) return g;
    if (G* g = globq_get(p, Runq<G>::kCapacity); g != nullptr) return g;
    if (worth_polling(p)) {
      poll(p);
      if (G* g = pick_any(p); g != nullptr) return g;
    }
    if (G* g = take_hog(p, true); g != nullptr) return g;
    if (sched.nps.load(std::memory_order_relaxed) > 1) {  // relaxed: a guard
      if (G* g = steal(m, p); g != nullptr) return g;
    }
    if (!stop_m(m)) return nullptr;
  }
}

}  // namespace heddle
