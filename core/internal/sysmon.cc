// sysmon: the watchdog thread. It has no P and runs no goroutines; it looks, and makes others move.
//
//   every round   queued work or a late timer beside an idle P that nobody is about to wake: wake_p()
//                 a P whose G has not changed since the last round: asks it to poll before the next one
//                 a goroutine that keeps its M: preempts it, or takes its P (watch.h)
//   when nothing has run for 20 ms    whether all goroutines are asleep for ever (deadlock.h)
//   every round   gives back the memory of stacks that nobody has used for seconds (stack.h); tells the pools
//                 how late it is (pool.h)
//   on request    starts the thread that prints the dump of all goroutines, or the report of a stack overflow (a signal
//                 handler sets a flag: it must neither format text nor start a thread)
//   on time       schedtrace
//
// It starts at 20 us a round and, as long as it finds nothing to do, backs off to 10 ms (Go's figures). When nothing at all
// has run for a second it sleeps without limit; the next SIGQUIT or stop wakes it, and so does an M that leaves its sleep
// (kick), so that an idle process makes no wake-ups of its own.
//
// I1. sysmon is never needed for liveness of queued work: wake_p and stop_m see to that alone. It serves what they leave
//     out on purpose: a G in runnext behind a long-running one (wakeup.cc I3), and timers of a P whose M is busy.
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include <heddle/core/check.h>
#include <heddle/core/clock.h>
#include <heddle/core/internal/deadlock.h>
#include <heddle/core/internal/latency.h>
#include <heddle/core/internal/pool_clock.h>
#include <heddle/core/internal/report.h>
#include <heddle/core/internal/sched.h>
#include <heddle/core/internal/stack.h>
#include <heddle/core/internal/watch.h>

namespace heddle {
namespace {

constexpr std::int64_t kShortest = 20'000;         // ns
constexpr std::int64_t kLongest = 10'000'000;      // ns
constexpr int kRoundsBeforeBackOff = 50;           // 1 ms
constexpr std::int64_t kDeepAfter = 1'000'000'000;  // ns without a G run anywhere
constexpr std::int64_t kDeadAfter = 20'000'000;     // ns without a G run until we ask whether any ever will
constexpr std::int64_t kGrace = 10'000'000;         // ns between the scheduler's stop and the end of who computes on
constexpr std::int64_t kTimerLate = 1'000'000;     // ns that an M may be late for its timers before others help

enum Request : std::uint32_t { kNothing = 0, kKick = 1, kDump = 2, kStop = 4, kOverflow = 8 };

std::atomic<std::uint32_t> requests{kNothing};
std::atomic<bool> deep{false};  // sleeping without limit
std::atomic<bool> helps{true};  // false only in tests of the wake-up protocol
pthread_t thread;

void post(std::uint32_t bits) noexcept {
  requests.fetch_or(bits, std::memory_order_acq_rel);  // acq_rel: publishes the poster's reason; pairs with sleep_for
  ::syscall(SYS_futex, &requests, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

// Sleeps, at most `ns`, and takes what was requested.
std::uint32_t sleep_for(std::int64_t ns) noexcept {
  timespec ts{ns / 1'000'000'000, ns % 1'000'000'000};
  ::syscall(SYS_futex, &requests, FUTEX_WAIT_PRIVATE, kNothing, ns == kNever ? nullptr : &ts, nullptr, 0);
  return requests.exchange(kNothing, std::memory_order_acq_rel);  // acq_rel: pairs with post()
}

struct Seen {
  std::uint64_t tick = 0;
};

constexpr std::int64_t kWhileWatching = 500'000;  // ns between looks while a goroutine keeps its M

std::uint64_t all_ticks() noexcept {
  std::uint64_t sum = 0;
  for (int i = 0; i < sched.nps.load(std::memory_order_acquire); ++i) sum += sched.ps[i].schedtick.get();
  return sum;
}

// What is kept for later use ages by real time: a test's clock runs years ahead, and nothing would age again after it.
std::int64_t age_what_is_kept(std::int64_t now) noexcept {
  if (sched.bubble != nullptr) return kNever;
  tell_pools(now);
  return stack_arena().release_cold(now);
}

bool all_rest() noexcept {
  return sched.idle.count() + sched.resting.count() == sched.nps.load(std::memory_order_acquire);  // acquire: with its Ps
}

// True if something waits that an idle P could do, and its own P has not got to it since the last look.
bool something_waits(Seen* seen, std::int64_t now) noexcept {
  bool waits = sched.hogs.size() != 0;
  for (int i = 0; i < sched.nps.load(std::memory_order_acquire); ++i) {
    P& p = sched.ps[i];
    const std::uint64_t tick = p.schedtick.get();
    const bool stuck = tick == seen[i].tick;
    seen[i].tick = tick;
    if (sched.idle.holds(i) || sched.resting.holds(i)) continue;
    if (stuck) p.tend_due.store(true, std::memory_order_relaxed);  // relaxed: a hint
    if (stuck && (p.runq.size() != 0 || p.runq.has_next())) waits = true;
    const std::int64_t timer = p.timers.next();
    if (stuck && timer != kNever && timer + kTimerLate <= now) waits = true;
  }
  return waits;
}

void* sysmon_thread(void*) {
  ::prctl(PR_SET_TIMERSLACK, 1);
  pthread_setname_np(pthread_self(), "heddle-sysmon");
  Seen seen[kMaxProcs];
  static Watch watch;  // 50 KB, and nothing here may allocate
  watch.reset();
  std::int64_t stopped_at = kNever;
  std::int64_t delay = kShortest;
  int quiet_rounds = 0;
  std::uint64_t last_ticks = 0;
  std::int64_t last_active = nanotime();
  bool asked = false;  // whether it is dead, in this idle time
  std::int64_t next_trace = sched.schedtrace_ms > 0 ? sched.start_time : kNever;
  for (;;) {
    detail::measure_ticks();
    const std::int64_t now = nanotime();
    const std::uint64_t ticks = all_ticks();
    if (ticks != last_ticks) {
      last_ticks = ticks;
      last_active = now;
      asked = false;
    }
    if (!asked && now - last_active > kDeadAfter) {
      check_deadlock();
      asked = now - last_active > kDeepAfter;  // until then the idle time may still be a pause of somebody's
    }
    const bool may_go_deep = now - last_active > kDeepAfter && all_rest() && next_trace == kNever &&
                             age_what_is_kept(now) == kNever;
    std::uint32_t wants = kNothing;
    if (may_go_deep) {
      deep.store(true, std::memory_order_seq_cst);  // seq_cst: then look again; pairs with sysmon_kick()
      wants = all_ticks() == ticks ? sleep_for(kNever) : kNothing;
      deep.store(false, std::memory_order_relaxed);  // relaxed: a needless kick is harmless
      last_active = nanotime();
      delay = kShortest;
      quiet_rounds = 0;
    } else {
      std::int64_t until = delay;
      if (next_trace != kNever && next_trace - now < until) until = next_trace > now ? next_trace - now : 0;
      wants = sleep_for(until);
    }
    if ((wants & kStop) != 0) return nullptr;
    if ((wants & kDump) != 0) start_dump_thread();
    if ((wants & kOverflow) != 0) start_overflow_report();
    const std::int64_t woke = nanotime();
    if (woke >= next_trace) {
      print_schedtrace(sched.scheddetail);
      next_trace = woke + sched.schedtrace_ms * std::int64_t{1'000'000};
    }
    // acquire: as in find_runnable().
    if (sched.stopping.load(std::memory_order_acquire)) {
      // Others get a moment to come to a call of the runtime by themselves.
      if (stopped_at == kNever) stopped_at = woke;
      if (woke - stopped_at > kGrace) watch.end_running();
      delay = kWhileWatching;
      continue;
    }
    check_procs(woke);
    const bool keeps = watch.look(woke);
    static_cast<void>(age_what_is_kept(woke));
    // relaxed: set while no scheduler runs.
    if (helps.load(std::memory_order_relaxed) && something_waits(seen, woke) && sched.idle.any()) {
      wake_p();
      quiet_rounds = 0;
      delay = kShortest;
    } else if (++quiet_rounds > kRoundsBeforeBackOff) {
      delay = delay * 2 < kLongest ? delay * 2 : kLongest;
    }
    if (keeps) delay = std::min(delay, sched.force_preempt != 0 ? std::min(sched.force_preempt, kWhileWatching) : kWhileWatching);
  }
}

}  // namespace

void sysmon_start() {
  requests.store(kNothing, std::memory_order_relaxed);  // relaxed: the thread starts after this
  // All signals go to other threads: a handler here could run while sysmon holds nothing it needs, but to no use.
  sigset_t all;
  sigset_t old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  const int err = pthread_create(&thread, nullptr, sysmon_thread, nullptr);
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
  if (err != 0) fatal("cannot start the sysmon thread: %s", std::strerror(err));
}

void sysmon_stop() {
  post(kStop);
  pthread_join(thread, nullptr);
}

namespace detail {
void set_sysmon_helps_for_test(bool does) noexcept { helps.store(does, std::memory_order_relaxed); }  // relaxed: as above
}  // namespace detail

void sysmon_request_dump() noexcept { post(kDump); }
void sysmon_request_overflow_report() noexcept { post(kOverflow); }

void sysmon_kick() noexcept {
  // seq_cst: our P's tick was counted before this load; sysmon stored `deep` before it read the ticks.
  if (deep.load(std::memory_order_seq_cst)) [[unlikely]] post(kKick);
}

}  // namespace heddle
