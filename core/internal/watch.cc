// What sysmon does about an M whose goroutine does not leave:
//
//     outside every section, thread computes:  past its slice -> want_yield; a look later SIGURG (preempt.cc)
//     outside every section, thread sleeps:    twice so, at least 1 ms apart -> its P is taken, without a signal: a call
//                                              must not be disturbed (retake)
//     said enter_syscall():                    its P is taken at once if something waits for it, else like the above
//     has no P any more and computes:          signalled; it waits in the handler for its turn
//
// A slice is 10 ms (Go's) while only other long runners wait. While something short waits (a goroutine on this P, a timer, an
// event) it is 1 ms: then a request beside a computation waits for about that, and a switch costs some 30 us.
//
// I1. Retaking is Dekker's pattern with the M's sections (section.h): we exchange the lease with null; membarrier(2) puts a
//     full barrier between the M's store of its section count and its load of the lease; we read the count. Either we see
//     the section, and give the lease back, or the M finds no lease at its next section.
// I2. A P is taken only when its successor is known; so sysmon never keeps one.
// I3. All wait for what a preempted goroutine holds (malloc's lock, say, and no spare can be made): nothing runs any more, while
//     `hogs` is not empty. Then one of these goes on without a P, which is only a thread more (let_one_run).
#include <heddle/core/internal/watch.h>

#include <fcntl.h>
#include <linux/membarrier.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include <heddle/core/clock.h>
#include <heddle/core/internal/sched.h>
#include <heddle/core/internal/signals.h>
#include <heddle/core/internal/world.h>

namespace heddle {

bool membarrier_works() noexcept {
  static const bool works =
      ::syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
  return works;
}

void membarrier() noexcept { ::syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0); }

// Source: proc_pid_stat(5), field 3.
bool thread_sleeps(std::uint32_t tid) noexcept {
  char text[128];
  std::snprintf(text, sizeof text, "/proc/self/task/%u/stat", tid);
  const int fd = ::open(text, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const auto n = ::read(fd, text, sizeof text - 1);
  ::close(fd);
  if (n <= 0) return false;
  text[n] = '\0';
  const char* end = std::strrchr(text, ')');  // the name may hold anything
  return end != nullptr && end[1] == ' ' && (end[2] == 'S' || end[2] == 'D');
}

namespace {

constexpr std::int64_t kSlice = 10'000'000;      // ns
constexpr std::int64_t kShortSlice = 1'000'000;  // ns
constexpr std::int64_t kTimerLate = 500'000;     // ns
constexpr std::int64_t kStill = 1'000'000;       // ns between two looks that find a thread asleep
constexpr std::int64_t kStuck = 20'000'000;      // ns without any run, I3
constexpr std::int64_t kBusy = 100'000;          // ns of CPU time: more than there is between two short calls that block

// CPU time of a thread, in ns; -1 if it has gone. Source: clock_getcpuclockid(3), "per-thread".
std::int64_t cpu_time(std::uint32_t tid) noexcept {
  const auto clock = static_cast<clockid_t>((~static_cast<unsigned>(tid) << 3) | 6U);
  timespec ts{};
  if (::clock_gettime(clock, &ts) != 0) return -1;
  return ts.tv_sec * 1'000'000'000 + ts.tv_nsec;
}

// Something short that only this P's M would see to.
bool something_short_waits(P* p, std::int64_t now) noexcept {
  if (p->retired.load(std::memory_order_relaxed) || p->runq.size() != 0 || p->runq.has_next() || sched.globq.size() != 0) return true;
  const std::int64_t timer = p->timers.next();
  if (timer != kNever && timer + kTimerLate <= now) return true;
  return p->poller->in_use() && p->poller->has_ready();
}

void preempt(M* m) noexcept {
  want_spares(2);
  if (sched.async_preempt && m->slot != nullptr) signal_preempt(m->slot);
}

// Takes the P of an M that is outside every section. False: not now.
bool retake(M* m) noexcept {
  if (!membarrier_works()) return false;
  P* p = m->lease.load(std::memory_order_acquire);
  if (p == nullptr) return false;
  M* next = take_successor(p);  // keeps I2
  if (next == nullptr) {
    want_spares(2);
    return false;
  }
  // Before the attempt, too: after one that failed none may begin while the M is still in the section that made it fail, for
  // it takes a lease that is null and not being retaken as gone for good (held_p_slow, preempt_here).
  const bool in_section = m->ts->sections.load(std::memory_order_acquire) != 0;
  // Nobody but the M itself and sysmon takes home_waits or a spare for a P that is held, so `next` may be put back.
  m->retaking.store(true, std::memory_order_seq_cst);
  P* held = p;
  bool taken = !in_section && m->lease.compare_exchange_strong(held, nullptr, std::memory_order_seq_cst);
  if (taken) {
    membarrier();  // I1
    // acquire: with 0, all that the M did in its last section.
    if (m->ts->sections.load(std::memory_order_acquire) != 0 || m->curg_seen.load(std::memory_order_relaxed) == nullptr) {
      m->lease.store(p, std::memory_order_release);
      taken = false;
    }
  }
  m->retaking.store(false, std::memory_order_release);
  if (!taken) {
    untake_successor(p, next);
    return false;
  }
  p->retakes.fetch_add(1, std::memory_order_relaxed);  // a statistic
  p->m.store(nullptr, std::memory_order_relaxed);      // for reports
  pass_p(next, p);
  return true;
}

}  // namespace

bool Watch::look_at(M* m, Seen& seen, std::int64_t now) noexcept {
  const std::uint32_t tid = m->tid.load(std::memory_order_acquire);
  // relaxed, these: looked at again before anything is done.
  if (tid == 0 || m->curg_seen.load(std::memory_order_relaxed) == nullptr) return false;
  if (m->helper || m->preempted_seen.load(std::memory_order_relaxed)) return false;
  P* p = m->lease.load(std::memory_order_acquire);
  // A P counts its runs; without one an M still runs what it ran when it lost it.
  std::uint64_t runs = seen.runs != 0 ? seen.runs : 1;
  if (p != nullptr) runs = (p->schedtick.get() << 9) + static_cast<unsigned>(p->index) + 2;
  if (runs != seen.runs) {
    seen = Seen{};
    seen.runs = runs;
    seen.since = seen.cpu_at = now;
    seen.cpu = cpu_time(tid);
    return false;
  }
  if (sched.force_preempt != 0) {
    if (now - seen.since >= sched.force_preempt) preempt(m);
    return true;
  }
  if (m->in_syscall.load(std::memory_order_acquire) != 0) {
    if (p != nullptr && (something_short_waits(p, now) || sched.hogs.size() != 0 || now - seen.since >= kStill)) retake(m);
    return p != nullptr;
  }
  if (now - seen.since < kShortSlice) return true;
  const std::int64_t cpu = cpu_time(tid);
  if (p == nullptr) {
    // It lost its P while it slept, and may sleep again any moment; a signal must not meet it there. So only who computes
    // for a while is stopped. Nearly always it sleeps on, and that costs a reading of its clock; to ask whether it sleeps,
    // of 16 at every look, cost a fifth of a CPU.
    const std::int64_t used = cpu - seen.cpu;
    const bool idles = used <= (now - seen.cpu_at) / 16;
    if (!idles && used < 2 * kShortSlice) return true;
    seen.cpu = cpu;
    seen.cpu_at = now;
    if (!idles && !thread_sleeps(tid)) preempt(m);
    return used > 0;
  }
  // Only who has just computed is ever signalled: one that goes from sleep to sleep with little between would sooner or later
  // be met as it falls asleep, and its call cut short.
  const bool computes = cpu - seen.cpu > std::max((now - seen.cpu_at) / 16, kBusy);
  if (!computes && now - seen.cpu_at >= kStill) {
    // Too little CPU time: blocked, or goes from sleep to sleep, or the kernel gave the CPU to others.
    if (thread_sleeps(tid)) {
      if (++seen.still >= 2 && retake(m)) seen.still = 0;
    } else {
      seen.still = 0;
    }
    seen.cpu = cpu;
    seen.cpu_at = now;
    return true;
  }
  if (!computes) return true;  // looked too soon to tell
  seen.still = 0;
  seen.cpu = cpu;
  seen.cpu_at = now;
  const bool waits = something_short_waits(p, now);
  const bool over = waits || (now - seen.since >= kSlice && sched.hogs.size() != 0);
  if (!over) return true;
  if (!seen.asked) {
    seen.asked = true;
    m->ts->want_yield.store(1, std::memory_order_relaxed);  // relaxed: a wish
    want_spares(2);
    return true;
  }
  // It may have begun to sleep since: a signal would cut its call short (runtime-facts D.3, rule 6).
  if (!thread_sleeps(tid)) preempt(m);
  return true;
}

void Watch::let_one_run(std::int64_t now) noexcept {
  std::uint64_t ticks = 0;
  for (int i = 0; i < sched.nps.load(std::memory_order_acquire); ++i) ticks += sched.ps[i].schedtick.get();
  if (ticks != ticks_ || sched.hogs.size() == 0) {
    ticks_ = ticks;
    ticks_since_ = now;
    return;
  }
  if (now - ticks_since_ < kStuck) return;
  // Goroutines that compute are no reason: they are preempted. Only if every P's M is asleep: in a section, or outside and
  // there is no spare to take its P.
  for (int i = 0; i < sched.nps.load(std::memory_order_acquire); ++i) {
    M* m = sched.ps[i].m.load(std::memory_order_relaxed);  // relaxed: Ms live until sysmon has ended
    if (m == nullptr || !thread_sleeps(m->tid.load(std::memory_order_acquire))) return;
  }
  ticks_since_ = now;
  if (G* g = sched.hogs.take(); g != nullptr) {
    sanitizer::happens_after(g);
    M* m = g->bound;
    m->nextp.store(kNoP, std::memory_order_release);
    m->awake.store(1, std::memory_order_seq_cst);
    ::syscall(SYS_futex, &m->awake, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
  }
}

bool Watch::look(std::int64_t now) noexcept {
  if (sched.keeps_p) return false;
  if (!world_try_lock()) return true;
  bool again = sched.hogs.size() != 0;
  const int n = sched.nms.load(std::memory_order_acquire);
  for (int i = 0; i < n; ++i) {
    M* m = sched.all_ms[i].load(std::memory_order_acquire);
    if (m != nullptr && look_at(m, seen_[i], now)) again = true;
  }
  let_one_run(now);
  world_unlock();
  return again;
}

void Watch::end_running() noexcept {
  const int n = sched.nms.load(std::memory_order_acquire);
  for (int i = 0; i < n; ++i) {
    M* m = sched.all_ms[i].load(std::memory_order_acquire);
    // acquire: the slot is known since; pairs with attach_thread(). relaxed: asked again by the handler.
    if (m == nullptr || m->tid.load(std::memory_order_acquire) == 0) continue;
    if (m->curg_seen.load(std::memory_order_relaxed) != nullptr && m->slot != nullptr) signal_preempt(m->slot);
  }
}

}  // namespace heddle
