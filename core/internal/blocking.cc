// blocking(): the goroutine leaves its M and goes on, on its own stack, on a helper M, which has no P. What the runtime does
// for a goroutine without a P it does here: readied goroutines go to the global queue, and so does this one at the end.
//
//     enter_blocking: park; the commit puts the G on `jobs` and wakes a helper; a G that finds none idle has one made
//     helper:         takes a G, runs it until it leaves, takes the next; ends after ten seconds without any
//     exit_blocking:  yields, if it has no P: the G goes to the global queue
//
// I1. A job on the queue has a helper to come: it has reserved an idle one, which gets a token, or a new one, which waits for
//     its token first, unless all that are allowed are busy; and a busy helper looks at the queue before it becomes idle.
//     Helpers that wait number idle + tokens + reservations whose job is not queued yet.
//
// enter_syscall(): two stores. sysmon takes the P when it sees the flag stay up (watch.cc).
#include <heddle/core/blocking.h>

#include <errno.h>
#include <pthread.h>
#include <time.h>

#include <algorithm>
#include <cstdio>

#include <heddle/core/check.h>
#include <heddle/core/go.h>
#include <heddle/core/internal/blocking.h>
#include <heddle/core/internal/sched.h>

namespace heddle {
namespace {

constexpr std::int64_t kIdleExit = 10'000'000'000;  // ns
constinit std::atomic<std::int64_t> idle_exit{kIdleExit};  // less in tests
constexpr int kMostHelpers = 512;

struct Helpers {
  RawMutex lock{LockRank::kSched};
  // Guarded by lock.
  GQueue jobs;
  int idle = 0;   // waiting, less those that are reserved for a job
  int alive = 0;    // that take jobs, or will
  int threads = 0;  // that have not ended, or will be
  M* graves = nullptr;
  // Futex word of all idle helpers: a token per job that counted on one.
  std::atomic<std::uint32_t> tokens{0};
};
constinit Helpers helpers;
constinit std::atomic<int> most_helpers{kMostHelpers};

// Ms of helpers that have ended: used again, and freed only when sysmon, which may be looking at one, is gone.
M* dig_up() {
  M* m = nullptr;
  {
    const LockGuard guard(helpers.lock);
    m = helpers.graves;
    if (m != nullptr) helpers.graves = m->next_grave;
  }
  if (m != nullptr) return m;
  m = new M;
  m->helper = true;  // for good: sysmon may be looking at one from a grave
  return m;
}

// With the lock held.
void bury(M* m) noexcept {
  m->next_grave = helpers.graves;
  helpers.graves = m;
}

// True if the helper got a token; false after kIdleExit, or at the scheduler's stop.
bool wait_for_token() noexcept {
  const std::int64_t ns = idle_exit.load(std::memory_order_relaxed);  // relaxed: set while no scheduler runs
  const timespec limit{ns / 1'000'000'000, ns % 1'000'000'000};
  for (;;) {
    std::uint32_t n = helpers.tokens.load(std::memory_order_acquire);
    while (n > 0) {
      if (helpers.tokens.compare_exchange_weak(n, n - 1, std::memory_order_acq_rel)) return true;
    }
    if (sched.stopping.load(std::memory_order_acquire)) return false;
    if (::syscall(SYS_futex, &helpers.tokens, FUTEX_WAIT_PRIVATE, 0, &limit, nullptr, 0) < 0 && errno == ETIMEDOUT) {
      return false;
    }
  }
}

// The next job; nullptr: this helper is to end.
G* next_job() noexcept {
  for (;;) {
    {
      const LockGuard guard(helpers.lock);
      if (sched.stopping.load(std::memory_order_acquire)) return nullptr;
      if (G* g = helpers.jobs.pop_front(); g != nullptr) return g;
      ++helpers.idle;
    }
    while (!wait_for_token()) {
      const LockGuard guard(helpers.lock);
      if (sched.stopping.load(std::memory_order_acquire)) return nullptr;
      if (helpers.idle > 0) {
        --helpers.idle;
        --helpers.alive;  // from here on nobody counts on us
        return nullptr;
      }
      // A job counts on each of us who wait; its token is there, or comes when its goroutine has left its stack.
    }
  }
}

void* helper_thread(void* arg) {
  auto* m = static_cast<M*>(arg);
  unmask_signals();
  void* signal_stack = begin_thread(m, 'b', __builtin_frame_address(0));
  // It was made for a job, and reserved for it: so it does not count as idle before that has come, however long it takes.
  // acquire: as in find_runnable().
  while (!wait_for_token() && !sched.stopping.load(std::memory_order_acquire)) {
  }
  while (G* g = next_job()) {
    execute(m, g);
    if (m->p != nullptr) fatal("a helper thread has a P");
  }
  detach_thread(m);
  drop_signal_stack(signal_stack);
  leave_m(m);
  const LockGuard guard(helpers.lock);
  bury(m);
  --helpers.threads;
  return nullptr;
}

}  // namespace

// On the maker's thread.
void start_helper() {
  M* m = dig_up();
  pthread_attr_t attr;
  pthread_attr_init(&attr);
  pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
  int error = enter_m(m) < 0 ? EAGAIN : pthread_create(&m->thread, &attr, helper_thread, m);
  pthread_attr_destroy(&attr);
  if (error == 0) return;
  leave_m(m);
  const LockGuard guard(helpers.lock);
  bury(m);
  --helpers.threads;
  if (--helpers.alive == 0) fatal("blocking(): cannot start a helper thread: errno %d", error);
}

namespace {

bool queue(G* g, bool reserved) noexcept {
  {
    const LockGuard guard(helpers.lock);
    helpers.jobs.push_back(g);
    if (!reserved && helpers.idle > 0) {
      --helpers.idle;
      reserved = true;
    }
    if (reserved) helpers.tokens.fetch_add(1, std::memory_order_acq_rel);
  }
  if (reserved) ::syscall(SYS_futex, &helpers.tokens, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
  return true;
}
bool queue_reserved(G* g, void*) noexcept { return queue(g, true); }
bool queue_job(G* g, void*) noexcept { return queue(g, false); }

}  // namespace

namespace detail {

void enter_blocking() {
  G* g = current_g();
  if (g == nullptr) return;
  if (g->locks != 0) return enter_syscall();  // it has a thread of its own
  bool reserved = false;
  bool start = false;
  {
    const LockGuard guard(helpers.lock);
    if (helpers.idle > 0) {
      --helpers.idle;
      reserved = true;
    } else if (helpers.alive < most_helpers.load(std::memory_order_relaxed)) {
      ++helpers.alive;
      ++helpers.threads;
      start = reserved = true;
    }
  }
  if (start) want_helper();
  sched.blocking.fetch_add(1, std::memory_order_relaxed);  // relaxed: asked when all else is quiet
  park(reserved ? queue_reserved : queue_job, nullptr, WaitReason::kBlocking);
}

void exit_blocking() {
  G* g = current_g();
  if (g == nullptr) return;
  if (g->locks != 0) return exit_syscall();
  bool without = false;
  {
    const Section section;
    without = held_p() == nullptr;
  }
  if (without) gosched();
  // Until here: who finds the count at 0 finds the goroutine running on a P (bubble.cc). release: pairs with who asks.
  sched.blocking.fetch_sub(1, std::memory_order_release);
}

}  // namespace detail

void set_max_blocking(int n) noexcept {
  most_helpers.store(std::clamp(n, 1, kMostHelpers), std::memory_order_relaxed);  // relaxed: a limit
}

void helpers_stop() {
  {
    const LockGuard guard(helpers.lock);
    helpers.threads -= helpers_never_made();
  }
  for (;;) {
    helpers.tokens.store(0, std::memory_order_release);
    ::syscall(SYS_futex, &helpers.tokens, FUTEX_WAKE_PRIVATE, INT32_MAX, nullptr, nullptr, 0);
    {
      const LockGuard guard(helpers.lock);
      if (helpers.threads == 0) {
        GQueue left;
        left.append(helpers.jobs);  // found in the arena
        helpers.idle = helpers.alive = 0;
        return;  // the Ms: free_helpers()
      }
    }
    const timespec pause{0, 200'000};
    ::nanosleep(&pause, nullptr);
  }
}

void free_helpers() noexcept {
  while (helpers.graves != nullptr) {
    M* m = helpers.graves;
    helpers.graves = m->next_grave;
    delete m;
  }
}

void enter_syscall() noexcept {
  M* m = current_m();
  if (m == nullptr || m->curg == nullptr) return;
  m->in_syscall.store(1, std::memory_order_release);
}

void exit_syscall() {
  M* m = current_m();
  if (m == nullptr || m->curg == nullptr) return;
  bool without = false;
  {
    const Section section;
    m->in_syscall.store(0, std::memory_order_relaxed);  // relaxed: sysmon looks at the sections as well
    // Also if the scheduler stops: a goroutine that makes one call after the other is hardly ever outside libc, where it could
    // be ended. acquire: as in find_runnable().
    without = held_p() == nullptr || sched.stopping.load(std::memory_order_acquire);
  }
  if (without) gosched();
}

void lock_os_thread() {
  G* g = must_current_g("lock_os_thread");
  if (g->locks++ != 0) return;
  // To a thread of its own: a worker's is needed for its poller.
  for (;;) {
    {
      const Section section;
      if (const int i = sched.spares.take_any(); i >= 0) {
        g->bound = sched.all_ms[i].load(std::memory_order_acquire);
        g->bound.load(std::memory_order_relaxed)->locked_g = g;  // it waits for a P, and reads this when it has got one
        break;
      }
    }
    want_spares(1);
    sleep(std::chrono::microseconds(50));
  }
  gosched();
}

void unlock_os_thread() {
  G* g = must_current_g("unlock_os_thread");
  if (g->locks == 0) fatal("unlock_os_thread: the goroutine is not locked");
  if (--g->locks != 0) return;
  const Section section;
  g->bound.load(std::memory_order_relaxed)->locked_g = nullptr;  // relaxed: ours
  g->bound = nullptr;
}

namespace detail {
void set_helper_idle_exit_for_test(std::int64_t ns) noexcept {
  idle_exit.store(ns == 0 ? kIdleExit : ns, std::memory_order_relaxed);  // relaxed: as above
}
std::uint32_t helper_tokens_for_test() noexcept { return helpers.tokens.load(std::memory_order_acquire); }
}  // namespace detail

void yield_check() {
  detail::ThreadState* ts = detail::thread_state();
  // relaxed: a wish.
  if (ts->want_yield.load(std::memory_order_relaxed) == 0) [[likely]] return;
  if (ts->sections.load(std::memory_order_relaxed) == 0 && current_g() != nullptr) gosched();
}

}  // namespace heddle
