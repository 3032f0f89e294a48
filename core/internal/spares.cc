// Spare Ms: threads without a P, for the moment when a goroutine will not let go of its M.
//
// A thread of its own makes them: the signal handler that needs one may not, and sysmon must never wait for a lock that a
// preempted goroutine holds (pthread_create allocates). Programs whose goroutines all yield in time never have a spare.
//
// I1. all_ms[m->index] is published before the M can be found in the set of spares, and keeps its place until the end of
//     run(), when no thread is left that could look.
// I2. A spare's thread ends when no other M runs and sysmon has ended: both look at its thread state.
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include <atomic>
#include <cstdio>
#include <memory>
#include <mutex>
#include <vector>

#include <heddle/core/check.h>
#include <heddle/core/internal/blocking.h>
#include <heddle/core/internal/freeze.h>
#include <heddle/core/internal/sched.h>

namespace heddle {
namespace {

// The maker's futex word: how many spares are wanted; kStop ends it.
constexpr std::uint32_t kStop = 1U << 31;
constexpr std::uint32_t kHelper = 1U << 30;  // see helpers_wanted
constexpr std::uint32_t kProcs = 1U << 29;   // serve_procs() is due
constexpr std::uint32_t kSpares = kProcs - 1;  // the number
constinit std::atomic<std::uint32_t> wanted{0};
pthread_t maker;
sigset_t workers_mask;  // the signal mask of the thread that called run()
std::vector<std::unique_ptr<M>> made;  // the maker's; after its end, the caller's of spares_quiesce()
constinit std::atomic<int> starting{0};        // threads of spares that are not in the set yet
constinit std::atomic<int> helpers_wanted{0};  // threads for blocking(), to be started here: it allocates
std::vector<std::unique_ptr<M>> lost;           // whose threads could not be made
constinit std::atomic<std::uint32_t> at_gate{0};
constinit std::atomic<std::uint32_t> gate{0};

// As wait_for_p(), but counted as `starting` until it is in the set.
void wait_for_first_p(M* m) noexcept {
  m->parked_seen.store(true, std::memory_order_relaxed);  // relaxed: for reports
  sched.spares.put(m->index);
  starting.fetch_sub(1, std::memory_order_acq_rel);
  static_cast<void>(receive_p(m));
}

void* spare_thread(void* arg) {
  auto* m = static_cast<M*>(arg);
  unmask_signals();
  void* signal_stack = begin_thread(m, 's', __builtin_frame_address(0));
  wait_for_first_p(m);
  schedule_loop(m);
  at_gate.fetch_add(1, std::memory_order_acq_rel);
  // acquire: nobody looks at this thread's state any more (I2).
  while (gate.load(std::memory_order_acquire) == 0) ::syscall(SYS_futex, &gate, FUTEX_WAIT_PRIVATE, 0, nullptr, nullptr, 0);
  detach_thread(m);
  drop_signal_stack(signal_stack);
  return nullptr;
}

bool make_one() {
  const std::lock_guard<std::mutex> making(thread_making());
  auto m = std::make_unique<M>();
  if (enter_m(m.get()) < 0) return false;
  starting.fetch_add(1, std::memory_order_acq_rel);
  if (pthread_create(&m->thread, nullptr, spare_thread, m.get()) != 0) {
    starting.fetch_sub(1, std::memory_order_acq_rel);
    leave_m(m.get());
    lost.push_back(std::move(m));  // sysmon may be looking at it
    return false;
  }
  made.push_back(std::move(m));
  return true;
}

void* maker_thread(void*) {
  pthread_setname_np(pthread_self(), "heddle-maker");
  // release: for who must let it alone; pairs with of_no_consequence().
  sched.maker_tid.store(static_cast<std::uint32_t>(::syscall(SYS_gettid)), std::memory_order_release);
  for (;;) {
    const std::uint32_t n = wanted.load(std::memory_order_acquire);
    if ((n & kStop) != 0) {
      serve_procs(true);
      return nullptr;
    }
    if (helpers_wanted.load(std::memory_order_acquire) != 0) {
      helpers_wanted.fetch_sub(1, std::memory_order_acq_rel);
      const std::lock_guard<std::mutex> making(thread_making());
      start_helper();
      continue;
    }
    if ((n & kProcs) != 0) {
      wanted.fetch_and(~kProcs, std::memory_order_acq_rel);  // acq_rel: what comes after is seen the next time
      serve_procs(false);
      continue;
    }
    const std::uint32_t spares = n & kSpares;
    if (static_cast<std::uint32_t>(sched.spares.count() + starting.load(std::memory_order_acquire)) < spares && make_one()) continue;
    std::uint32_t served = n;
    if (!wanted.compare_exchange_strong(served, 0, std::memory_order_acq_rel)) continue;
    ::syscall(SYS_futex, &wanted, FUTEX_WAIT_PRIVATE, 0, nullptr, nullptr, 0);
  }
}

}  // namespace

void want_spares(int n) noexcept {
  if (sched.spares.count() >= n) return;
  std::uint32_t old = wanted.load(std::memory_order_relaxed);  // relaxed: the CAS decides
  do {
    if ((old & kStop) != 0 || (old & kSpares) >= static_cast<std::uint32_t>(n)) return;
  } while (!wanted.compare_exchange_weak(old, static_cast<std::uint32_t>(n) | (old & ~kSpares), std::memory_order_acq_rel));
  ::syscall(SYS_futex, &wanted, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

void unmask_signals() noexcept { pthread_sigmask(SIG_SETMASK, &workers_mask, nullptr); }

int helpers_never_made() noexcept { return helpers_wanted.exchange(0, std::memory_order_acq_rel); }

namespace {

void ask(std::uint32_t bit) noexcept {
  wanted.fetch_or(bit, std::memory_order_acq_rel);  // acq_rel: what is wanted; pairs with the maker's acquire
  ::syscall(SYS_futex, &wanted, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

}  // namespace

void want_helper() noexcept {
  helpers_wanted.fetch_add(1, std::memory_order_acq_rel);
  ask(kHelper);
}

void want_procs() noexcept { ask(kProcs); }

void spares_start() {
  starting.store(0, std::memory_order_relaxed);
  helpers_wanted.store(0, std::memory_order_relaxed);
  at_gate.store(0, std::memory_order_relaxed);  // relaxed, both: as below
  gate.store(0, std::memory_order_relaxed);
  wanted.store(0, std::memory_order_relaxed);  // relaxed: the thread starts after this
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &workers_mask);
  const int err = pthread_create(&maker, nullptr, maker_thread, nullptr);
  pthread_sigmask(SIG_SETMASK, &workers_mask, nullptr);
  if (err != 0) fatal("cannot start the thread that makes spares: errno %d", err);
}

void spares_quiesce() {
  wanted.store(kStop, std::memory_order_release);
  ::syscall(SYS_futex, &wanted, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
  pthread_join(maker, nullptr);
  while (at_gate.load(std::memory_order_acquire) != made.size()) {
    for (const auto& m : made) {  // one that was only just starting when all were woken
      m->awake.store(1, std::memory_order_seq_cst);
      ::syscall(SYS_futex, &m->awake, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
    }
    const timespec pause{0, 200'000};
    ::nanosleep(&pause, nullptr);
  }
}

void spares_end() {
  gate.store(1, std::memory_order_release);
  ::syscall(SYS_futex, &gate, FUTEX_WAKE_PRIVATE, INT32_MAX, nullptr, nullptr, 0);
  for (const auto& m : made) {
    pthread_join(m->thread, nullptr);
    leave_m(m.get());  // the search for leaks at run()'s end still looks at Ms
  }
  made.clear();
  lost.clear();
}

}  // namespace heddle
