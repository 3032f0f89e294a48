// set_procs(): more Ps, or fewer, while goroutines run.
//
// A P that is one too many is *retired*, not taken apart: connections are at home in its poller, and their completions come
// to the thread that made that. Its home M serves the poller and the P's timers as before (serve_retired in sched.cc), and
// gives what they ready to the other Ps through the global queue. While it has nothing to do the P lies in sched.resting
// instead of sched.idle, so that no work ever wakes it.
//
//     (unknown) --add_p--> retired <--change_procs, the world stopped--> running goroutines
//
// I1. The maker (spares.cc) does it all, one change after the other: it may allocate and start threads, and nobody waits for
//     it who has something that it needs.
// I2. nps counts a P only when its home is up: then it has a poller; and the home goes on only when it is counted. Who ends the scheduler stores `stopping` and reads nps;
//     we store nps and read `stopping`: so a home that has only just come is told by one of the two.
// I3. A request lies on its caller's stack; the maker's last touch is the store to `done`, and its address lives on.
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <mutex>

#include <heddle/core/blocking.h>
#include <heddle/core/check.h>
#include <heddle/core/internal/freeze.h>
#include <heddle/core/internal/sched.h>
#include <heddle/core/internal/world.h>
#include <heddle/core/run.h>
#include <heddle/core/stop_the_world.h>

namespace heddle {
namespace {

constexpr std::int64_t kCheckEvery = 1'000'000'000;  // ns; Go looks at its limits as often
constexpr std::int64_t kPatience = 10'000'000;       // ns for the world to stop

struct Request {
  int n;
  int before = 0;
  Request* next = nullptr;
  std::atomic<std::uint32_t> done{0};
};

constinit std::atomic<Request*> requests{nullptr};
constinit std::atomic<bool> closed{true};   // the maker serves no more
constinit std::atomic<bool> follows{false};
constinit std::atomic<bool> check_due{false};
std::int64_t checked_at = 0;  // sysmon's

// Homes that have a poller: the maker waits for each. A home waits in turn until it is counted: else it could leave before
// anybody knows that one more is to be waited for.
constinit std::atomic<std::uint32_t> homes_up{0};
constinit std::atomic<std::uint32_t> homes_counted{0};

void advance(std::atomic<std::uint32_t>& word) noexcept {
  word.fetch_add(1, std::memory_order_release);  // release: what was done up to here; pairs with wait_for()
  ::syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, INT32_MAX, nullptr, nullptr, 0);
}

void wait_for(std::atomic<std::uint32_t>& word, std::uint32_t wanted) noexcept {
  for (std::uint32_t now; (now = word.load(std::memory_order_acquire)) < wanted;) {  // acquire: pairs with advance()
    ::syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, now, nullptr, nullptr, 0);
  }
}

struct LateHome {
  M* m;
  std::uint32_t number;  // 1 for the first that set_procs() made
};

void* late_worker_thread(void* arg) {
  const LateHome home = *static_cast<LateHome*>(arg);
  unmask_signals();
  void* signal_stack = begin_thread(home.m, 'm', __builtin_frame_address(0));
  advance(homes_up);
  wait_for(homes_counted, home.number);
  work_as_home(home.m, signal_stack);
  return nullptr;
}

// One P more, retired. False: there is no thread for it.
bool add_p() noexcept {
  const int i = sched.nps.load(std::memory_order_relaxed);  // relaxed: only we change it
  make_p(i);
  P* p = &sched.ps[i];
  M* m = &sched.ms[i];
  p->retired.store(true, std::memory_order_relaxed);  // relaxed: published by nps
  p->tend_due.store(true, std::memory_order_relaxed);  // relaxed: likewise; see change_procs()
  LateHome home{m, homes_counted.load(std::memory_order_relaxed) + 1};  // relaxed: ours
  int err = 0;
  {
    const std::lock_guard making(thread_making());
    err = pthread_create(&m->thread, nullptr, late_worker_thread, &home);
  }
  if (err != 0) {
    std::fprintf(stderr, "heddle: set_procs: no thread for P %d: %s\n", i, std::strerror(err));
    leave_m(m);
    p->~P();
    m->~M();
    return false;
  }
  wait_for(homes_up, home.number);
  // seq_cst, both: keeps I2. The first also publishes the P to all that read nps.
  sched.nps.store(i + 1, std::memory_order_seq_cst);
  if (sched.stopping.load(std::memory_order_seq_cst)) p->poller->wake();
  sched.resting.put(i);
  advance(homes_counted);
  return true;
}

void change_procs(int n) noexcept {
  if (sched.stopping.load(std::memory_order_acquire)) return;  // acquire: as in find_runnable()
  n = std::clamp(n, 1, kMaxProcs);
  while (sched.nps.load(std::memory_order_relaxed) < n) {  // relaxed: as above
    if (!add_p()) return;
  }
  if (n == sched.nprocs) return;
  // In short attempts: one goroutine that does not let go must not make all others wait with us.
  while (!stop_the_world_within(kPatience)) {
    if (sched.stopping.load(std::memory_order_acquire)) return;  // acquire: as above
    constexpr timespec kPause{0, 5'000'000};
    ::nanosleep(&kPause, nullptr);
  }
  // relaxed, all: as above; and read by holders of the P, after the stop.
  for (int i = 0; i < sched.nps.load(std::memory_order_relaxed); ++i) {
    sched.ps[i].retired.store(i >= n, std::memory_order_relaxed);
    if (i >= n) sched.ps[i].tend_due.store(true, std::memory_order_relaxed);  // so that find_own() leaves it alone
  }
  sched.nprocs.set(n);
  static_cast<void>(start_the_world());
}

// What run() would choose now: by the mask of the thread that called it, which is what taskset(1) changes.
int default_procs() noexcept { return available_procs(sched.ms[0].tid.load(std::memory_order_relaxed)); }  // relaxed: constant

void serve(Request* r) noexcept {
  r->before = sched.nprocs;
  follows.store(r->n == 0, std::memory_order_relaxed);  // relaxed: sysmon's next look
  change_procs(r->n == 0 ? default_procs() : r->n);
  std::atomic<std::uint32_t>* done = &r->done;
  done->store(1, std::memory_order_release);  // release: `before` and the new number; pairs with set_procs()
  ::syscall(SYS_futex, done, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

}  // namespace

void procs_open(bool default_number) noexcept {
  // relaxed, these: the threads start after this.
  requests.store(nullptr, std::memory_order_relaxed);
  follows.store(default_number, std::memory_order_relaxed);
  check_due.store(false, std::memory_order_relaxed);
  homes_up.store(0, std::memory_order_relaxed);
  homes_counted.store(0, std::memory_order_relaxed);
  closed.store(false, std::memory_order_relaxed);
  checked_at = nanotime();
}

void serve_procs(bool last) noexcept {
  Request* newest = requests.exchange(nullptr, std::memory_order_acquire);  // acquire: pairs with set_procs()
  Request* oldest = nullptr;
  while (newest != nullptr) {
    Request* next = newest->next;
    newest->next = oldest;
    oldest = newest;
    newest = next;
  }
  while (oldest != nullptr) {
    Request* next = oldest->next;
    serve(oldest);  // while the scheduler stops this changes nothing
    oldest = next;
  }
  if (last) {
    closed.store(true, std::memory_order_release);  // release: no request is touched any more
    return;
  }
  // relaxed: a wish, and who reads `follows` a moment late does what was right a moment ago.
  if (check_due.exchange(false, std::memory_order_relaxed) && follows.load(std::memory_order_relaxed)) {
    change_procs(default_procs());
  }
}

void check_procs(std::int64_t now) noexcept {
  if (!follows.load(std::memory_order_relaxed) || now - checked_at < kCheckEvery) return;  // relaxed: as above
  checked_at = now;
  check_due.store(true, std::memory_order_relaxed);  // relaxed: published by want_procs()
  want_procs();
}

int set_procs(int n) {
  if (n < 0) fatal("set_procs(%d): a number of Ps is positive, or 0 for the default", n);
  // acquire: with the maker; pairs with run_main().
  if (!sched.running.load(std::memory_order_acquire)) fatal("set_procs outside heddle::run()");
  if (world_stopped_here()) fatal("set_procs by a goroutine that has stopped the world");
  Request request{.n = n};
  Request* head = requests.load(std::memory_order_relaxed);  // relaxed: the CAS decides
  do {
    request.next = head;
    // release: the request; pairs with serve_procs().
  } while (!requests.compare_exchange_weak(head, &request, std::memory_order_release, std::memory_order_relaxed));
  want_procs();
  enter_syscall();
  constexpr timespec kLook{0, 1'000'000};
  while (request.done.load(std::memory_order_acquire) == 0) {  // acquire: pairs with serve()
    if (closed.load(std::memory_order_acquire) && request.done.load(std::memory_order_acquire) == 0) {
      request.before = sched.nprocs;  // run() is about to end
      break;
    }
    ::syscall(SYS_futex, &request.done, FUTEX_WAIT_PRIVATE, 0, &kLook, nullptr, 0);
  }
  exit_syscall();
  return request.before;
}

}  // namespace heddle
