// run(): start and end of the scheduler.
//
//   the calling thread            worker threads 1..n-1           sysmon
//   set-up, Ps and Ms  ---------> start, make their pollers
//   its own poller
//   wait until all are up ------> wait likewise
//   main goroutine, schedule      schedule                        watch
//   main ends: stopping = true, wake everybody
//   let reports end, stop helpers and spares; sysmon ends goroutines that compute on (preempt.cc)
//   all have left their loops: a barrier, for until then a running goroutine may use any poller; stop sysmon
//   every M destroys its poller on its own thread; threads end
//   report and take back the goroutines left behind
#include <heddle/core/run.h>

#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cxxabi.h>
#include <string>
#include <vector>

#include <heddle/core/check.h>
#include <heddle/core/foreign.h>
#include <heddle/core/internal/blocking.h>
#include <heddle/core/internal/notify_end.h>
#include <heddle/core/internal/panics.h>
#include <heddle/core/internal/leaks.h>
#include <heddle/core/internal/report.h>
#include <heddle/core/internal/run_state.h>
#include <heddle/core/internal/sanitizer.h>
#include <heddle/core/internal/sched.h>
#include <heddle/core/internal/signals.h>
#include <heddle/core/internal/waits_for.h>
#include <heddle/core/internal/world.h>
#include <heddle/core/sema.h>
#include <heddle/core/wait_group.h>

namespace heddle {

constinit RunState run_state;

namespace {

// A counter that threads wait on to reach a value: the meeting points of a run.
class Meeting {
 public:
  void reset() noexcept { here_.store(0, std::memory_order_relaxed); }  // relaxed: before the threads exist
  // `all` tells how many, asked again and again: it may grow.
  void arrive_and_wait(std::uint32_t (*all)() noexcept) noexcept {
    // acq_rel: what each did before arriving is seen by all that leave; pairs with itself and the load below.
    std::uint32_t here = here_.fetch_add(1, std::memory_order_acq_rel) + 1;
    if (here == all()) ::syscall(SYS_futex, &here_, FUTEX_WAKE_PRIVATE, INT32_MAX, nullptr, nullptr, 0);
    while (here < all()) {
      ::syscall(SYS_futex, &here_, FUTEX_WAIT_PRIVATE, here, nullptr, nullptr, 0);
      here = here_.load(std::memory_order_acquire);
    }
  }

 private:
  std::atomic<std::uint32_t> here_{0};
};

constinit int first_procs = 0;
std::uint32_t first_workers() noexcept { return static_cast<std::uint32_t>(first_procs); }
// set_procs() makes more of them, but none any more when the caller of run() arrives. So nobody leaves a meeting of all of them
// before that, whatever number he saw when he came. acquire: pairs with add_p().
std::uint32_t all_workers() noexcept { return static_cast<std::uint32_t>(sched.nps.load(std::memory_order_acquire)); }

Meeting all_up;
Meeting all_idle;
Meeting unwatched;
PollerKind poller_kind = PollerKind::kAuto;

PollerKind wanted_poller(PollerKind option) {
  if (option != PollerKind::kAuto) return option;
  const char* env = std::getenv("HEDDLE_POLLER");
  if (env == nullptr || *env == '\0' || std::strcmp(env, "auto") == 0) return PollerKind::kAuto;
  if (std::strcmp(env, "io_uring") == 0) return PollerKind::kIoUring;
  if (std::strcmp(env, "epoll") == 0) return PollerKind::kEpoll;
  std::fprintf(stderr, "heddle: HEDDLE_POLLER=%s is not one of auto, io_uring, epoll\n", env);
  std::exit(2);
}

// `by_default`: nobody named a number.
int wanted_procs(int option, bool* by_default) {
  int n = option;
  *by_default = false;
  if (n <= 0) {
    if (const char* env = std::getenv("HEDDLE_PROCS"); env != nullptr && *env != '\0') {
      char* end = nullptr;
      const long v = std::strtol(env, &end, 10);
      if (*end != '\0' || v < 1) {
        std::fprintf(stderr, "heddle: HEDDLE_PROCS=%s is not a positive number\n", env);
        std::exit(2);
      }
      n = static_cast<int>(v < kMaxProcs ? v : kMaxProcs);
    } else {
      n = available_procs();
      *by_default = true;
    }
  }
  return n < kMaxProcs ? n : kMaxProcs;
}

// HEDDLE_DEBUG=schedtrace=1000,scheddetail=1,asyncpreemptoff=1,preempt=500 (us)
void read_debug_env() {
  sched.schedtrace_ms = 0;
  sched.scheddetail = false;
  sched.async_preempt = true;
  sched.force_preempt = 0;
  const char* env = std::getenv("HEDDLE_DEBUG");
  if (env == nullptr) return;
  std::string text = env;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t comma = std::min(text.find(',', at), text.size());
    const std::string item = text.substr(at, comma - at);
    at = comma + 1;
    if (item.starts_with("schedtrace=")) {
      sched.schedtrace_ms = std::atoi(item.c_str() + 11);
    } else if (item.starts_with("scheddetail=")) {
      sched.scheddetail = std::atoi(item.c_str() + 12) != 0;
    } else if (item.starts_with("asyncpreemptoff=")) {
      sched.async_preempt = std::atoi(item.c_str() + 16) == 0;
    } else if (item.starts_with("preempt=")) {
      sched.force_preempt = std::atoll(item.c_str() + 8) * 1000;
    } else if (!item.empty()) {
      std::fprintf(stderr, "heddle: HEDDLE_DEBUG: unknown setting '%s' ignored\n", item.c_str());
    }
  }
}

void choose_poller(PollerKind option) {
  const PollerKind wanted = wanted_poller(option);
  if (poller_probe == nullptr) {
    poller_kind = wanted;
    return;
  }
  const char* reason = nullptr;
  poller_kind = poller_probe(wanted, &reason);
  if (wanted != PollerKind::kAuto && poller_kind != wanted) {
    std::fprintf(stderr, "heddle: the poller asked for cannot be had here: %s\n", reason == nullptr ? "?" : reason);
    std::exit(1);
  }
}

void* worker_thread(void* arg) {
  auto* m = static_cast<M*>(arg);
  void* signal_stack = begin_thread(m, 'm', __builtin_frame_address(0));
  all_up.arrive_and_wait(first_workers);
  work_as_home(m, signal_stack);
  return nullptr;
}

void set_up(const RunOptions& options) {
  bool by_default = false;
  const int n = wanted_procs(options.procs, &by_default);
  first_procs = n;
  procs_open(by_default);
  sched.nprocs.set(n);
  sched.world.store(0, std::memory_order_relaxed);
  sched.stops.store(0, std::memory_order_relaxed);
  sched.stopping_ns.store(0, std::memory_order_relaxed);
  sched.seed = options.seed;
  sched.start_time = nanotime();
  sched.stopping.store(false, std::memory_order_relaxed);  // relaxed: the threads start after this
  sched.spinning.store(0, std::memory_order_relaxed);
  sched.started_elsewhere.store(0, std::memory_order_relaxed);
  sched.ended_elsewhere.store(0, std::memory_order_relaxed);
  sched.blocking.store(0, std::memory_order_relaxed);
  sched.next_id.store(1, std::memory_order_relaxed);
  run_state.main_left.store(false, std::memory_order_relaxed);
  all_up.reset();
  all_idle.reset();
  unwatched.reset();
  read_debug_env();
  sched.keeps_p = !options.preempt || options.seed != 0;
  choose_poller(options.poller);
  // Room for all that there may ever be: what is not used is not touched.
  sched.ps = static_cast<P*>(::operator new(sizeof(P) * kMaxProcs, std::align_val_t{alignof(P)}));
  sched.ms = static_cast<M*>(::operator new(sizeof(M) * kMaxProcs, std::align_val_t{alignof(M)}));
  for (int i = 0; i < n; ++i) {
    make_p(i);
    if (i > 0) sched.idle.put(i);
  }
  sched.nps.store(n, std::memory_order_release);  // release: the threads start after this, and read it
}

void start_workers() {
  for (int i = 1; i < sched.nps.load(std::memory_order_acquire); ++i) {
    M& m = sched.ms[i];
    const int err = pthread_create(&m.thread, nullptr, worker_thread, &m);
    if (err != 0) fatal("cannot start worker thread %d of %d: %s", i, int{sched.nprocs}, std::strerror(err));
  }
}

struct LeftBehind {
  std::vector<G*> gs;
  bool suspects = false;  // of being leaked
};

void take_back_stacks() {
  LeftBehind left;
  stack_arena().for_each(
      [](void* arg, G* g) {
        const GStatus s = g->status.load(std::memory_order_relaxed);  // relaxed: all threads are joined
        if (s != GStatus::kRunnable && s != GStatus::kWaiting && s != GStatus::kPreempted) return;
        auto* all = static_cast<LeftBehind*>(arg);
        all->gs.push_back(g);
        const WaitsFor* what = g->waits_for.load(std::memory_order_relaxed);  // relaxed: as above
        if (what != nullptr && !what->timed) all->suspects = true;
      },
      &left);
  constexpr std::size_t kMost = 20;
  const bool told = sched.bubble == nullptr;  // a test's kit tells it by itself
  if (told && !left.gs.empty()) {
    std::fprintf(stderr, "heddle: run() ended with %zu goroutine%s left behind\n", left.gs.size(),
                 left.gs.size() == 1 ? "" : "s");
  }
  LeakReport found;
  if (told && left.suspects) found = find_leaks_at_end();
  // All of them before the first gives up anything: what it kept may have been the last handle of the next one's
  // channel.
  for (G* g : left.gs) {
    const WaitsFor* what = g->waits_for.load(std::memory_order_relaxed);  // relaxed: as above
    if (what != nullptr) detail::forget_wait(*what);
    g->waits_for.store(nullptr, std::memory_order_relaxed);  // relaxed: as above
  }
  for (std::size_t i = 0; i < left.gs.size(); ++i) {
    G* g = left.gs[i];
    const GStatus s = g->status.load(std::memory_order_relaxed);  // relaxed: as above
    if (told && i < kMost) {
      const std::uint64_t id = g->id.load(std::memory_order_relaxed);  // relaxed, here and below: as above
      const bool leaked = std::ranges::binary_search(found.leaks, id, {}, &Leak::id);
      std::fprintf(stderr, "  goroutine %llu [%s%s], created at %s:%u\n", static_cast<unsigned long long>(id),
                   s == GStatus::kRunnable    ? "runnable"
                   : s == GStatus::kPreempted ? "running"
                                              : to_string(g->wait_reason.load(std::memory_order_relaxed)),
                   leaked ? ", leaked" : "",
                   g->site_file.load(std::memory_order_relaxed), g->site_line.load(std::memory_order_relaxed));
    } else if (told && i == kMost) {
      std::fprintf(stderr, "  and %zu more\n", left.gs.size() - kMost);
    }
    sanitizer::unpoison_stack(g->stack_lo, static_cast<std::size_t>(g->stack_hi - g->stack_lo));
    sanitizer::destroy_fiber(g->tsan_fiber);
    g->tsan_fiber = nullptr;
    g->eh = EhGlobals{};
    g->panics = detail::PanicState{};  // its notes stay lost, like all that the goroutine held
    if (g->keepsakes.flags != 0) drop_keepsakes(*g);
    g->on_park = nullptr;
    g->bound = nullptr;
    g->locks = 0;
    g->status.store(GStatus::kDead, std::memory_order_relaxed);  // relaxed: as above
    GQueue one;
    one.push_back(g);
    stack_arena().give(g->stack_class, one);
  }
}

void tear_down() {
  GQueue rest;
  sched.globq.pop(UINT32_MAX, rest);  // runnable Gs left behind are found in the arena
  for (int i = 0; i < sched.nps.load(std::memory_order_acquire); ++i) {
    static_cast<void>(take_idle(&sched.ps[i]));
    for (int c = 0; c < kStackClasses; ++c) stack_arena().give(static_cast<StackSize>(c), sched.ps[i].free_gs[c]);
  }
  while (sched.hogs.take() != nullptr) {
  }
  for (int i = 0; i < sched.nps.load(std::memory_order_relaxed); ++i) sched.ps[i].timers.clear();  // relaxed: as above
  take_back_stacks();
  Sema::forget_waiters();  // they stood on those stacks
  WaitGroup::forget_waiters();
  free_helpers();
  for (auto& m : sched.all_ms) m.store(nullptr, std::memory_order_relaxed);  // relaxed: all threads are joined
  sched.nms.store(0, std::memory_order_relaxed);
  while (sched.spares.take_any() >= 0) {
  }
  for (int i = 0; i < sched.nps.load(std::memory_order_relaxed); ++i) {  // relaxed: as above
    sched.ps[i].~P();
    sched.ms[i].~M();
  }
  ::operator delete(sched.ps, std::align_val_t{alignof(P)});
  ::operator delete(sched.ms, std::align_val_t{alignof(M)});
  sched.ps = nullptr;
  sched.ms = nullptr;
  sched.nprocs.set(0);
  sched.nps.store(0, std::memory_order_relaxed);  // relaxed: as above
  sched.poller_name = "";
}

}  // namespace

std::uint64_t RunState::living() noexcept {
  // Ended first: then equality means that at the moment of the first sum nobody was alive to start another.
  std::uint64_t ended = sched.ended_elsewhere.load(std::memory_order_seq_cst);
  std::uint64_t started = 0;
  for (int i = 0; i < sched.nps.load(std::memory_order_acquire); ++i) ended += sched.ps[i].ended.get();
  std::atomic_thread_fence(std::memory_order_seq_cst);  // the two sums in this order
  for (int i = 0; i < sched.nps.load(std::memory_order_acquire); ++i) started += sched.ps[i].started.get();
  started += sched.started_elsewhere.load(std::memory_order_seq_cst);
  return started - ended;
}

void RunState::stop() noexcept {
  // All that the main goroutine did is before every M's return from its loop; pairs with find_runnable(). seq_cst: then nps;
  // pairs with add_p(), which stores nps and then looks at this.
  sched.stopping.store(true, std::memory_order_seq_cst);
  for (int i = 0; i < sched.nps.load(std::memory_order_seq_cst); ++i) sched.ps[i].poller->wake();
  for (int i = 0; i < sched.nms.load(std::memory_order_acquire); ++i) {
    M* m = sched.all_ms[i].load(std::memory_order_acquire);  // acquire: pairs with enter_m()
    if (m == nullptr) continue;
    m->awake.store(1, std::memory_order_seq_cst);  // seq_cst: sleep_for_p() clears it, then looks at stopping
    ::syscall(SYS_futex, &m->awake, FUTEX_WAKE_PRIVATE, INT32_MAX, nullptr, nullptr, 0);
  }
}

void make_p(int i) {
  P& p = *::new (&sched.ps[i]) P;
  M& m = *::new (&sched.ms[i]) M;
  p.index = i;
  p.home = &m;
  m.home = &p;
  p.host.store(&m, std::memory_order_relaxed);  // relaxed: its thread starts after this
  if (enter_m(&m) < 0) fatal("more than %d threads", kMaxMs);
  // Any odd number will do; a seed makes a single-P schedule reproducible.
  p.rng = (sched.seed != 0 ? sched.seed : static_cast<std::uint64_t>(nanotime())) * 0x9E37'79B9'7F4A'7C15ULL +
          static_cast<std::uint64_t>(2 * i + 1);
  if (p.rng == 0) p.rng = 1;
}

void* begin_thread(M* m, char kind, const void* base) {
  void* signal_stack = make_signal_stack();
  attach_thread(m, base);
  char name[16];
  std::snprintf(name, sizeof name, "heddle-%c%d", kind, m->home != nullptr ? m->home->index : m->index);
  pthread_setname_np(pthread_self(), name);
  return signal_stack;
}

void work_as_home(M* m, void* signal_stack) {
  if (host_p(m, m->home)) schedule_loop(m);  // who made its P put it into a mask
  all_idle.arrive_and_wait(all_workers);
  unwatched.arrive_and_wait(all_workers);
  detach_thread(m);
  drop_signal_stack(signal_stack);
}

void attach_thread(M* m, const void* base) {
  m->g0_base = base;
  m->thread = pthread_self();
  m->ts = detail::thread_state();
  m->eh = reinterpret_cast<EhGlobals*>(abi::__cxa_get_globals());
  m->g0_fiber = sanitizer::current_fiber();
  pthread_attr_t attr;
  if (pthread_getattr_np(m->thread, &attr) == 0) {
    void* lo = nullptr;
    pthread_attr_getstack(&attr, &lo, &m->g0_stack_size);
    m->g0_stack_lo = lo;
    pthread_attr_destroy(&attr);
  }
  detail::enter_section();  // the scheduler's side
  m->ts->m = m;
  m->slot = register_signalled_thread();
  m->tid.store(static_cast<std::uint32_t>(::syscall(SYS_gettid)), std::memory_order_release);  // release: sysmon looks now
  if (m->home == nullptr) return;
  m->poller = poller_factory != nullptr ? poller_factory(m->home->index, poller_kind) : make_sleep_poller();
  m->home->poller = m->poller.get();
}

[[gnu::noinline]] void scrub_dead_stack() noexcept {
  std::byte dead[32768];
  ::explicit_bzero(dead, sizeof dead);
}

void detach_thread(M* m) noexcept {
  // What M and stack remember of goroutines would else look like a way to their successors (leaks.h).
  m->commit_arg = nullptr;
  m->g0_sp = nullptr;
  scrub_dead_stack();
  m->poller.reset();
  m->tid.store(0, std::memory_order_release);
  unregister_signalled_thread();
  m->ts->m = nullptr;
  detail::leave_section();
}

int enter_m(M* m) noexcept {
  for (int i = 0; i < kMaxMs; ++i) {
    M* none = nullptr;
    // release: publishes the M to whoever finds it; acquire: the last tenant's end.
    if (!sched.all_ms[i].compare_exchange_strong(none, m, std::memory_order_acq_rel)) continue;
    m->index = i;
    sanitizer::happens_before(m);
    int n = sched.nms.load(std::memory_order_relaxed);
    while (n <= i && !sched.nms.compare_exchange_weak(n, i + 1, std::memory_order_acq_rel)) {
    }
    return i;
  }
  return -1;
}

void leave_m(M* m) noexcept {
  if (sched.all_ms[m->index].load(std::memory_order_relaxed) == m) {
    sched.all_ms[m->index].store(nullptr, std::memory_order_release);  // release: pairs with enter_m()
  }
}

namespace detail {

void run_main(void (*entry)(void*), void* arg, const RunOptions& options, const std::source_location& site) {
  if (current_m() != nullptr) fatal("heddle::run() called inside heddle::run()");
  if (sched.running.exchange(true)) fatal("heddle::run() is already under way on another thread");
  install_signal_handlers();
  install_terminate_handler();
  forget_panics();
  set_up(options);
  void* signal_stack = make_signal_stack();
  M* m = &sched.ms[0];
  start_workers();
  attach_thread(m, __builtin_frame_address(0));
  sched.poller_name = m->poller->name();
  all_up.arrive_and_wait(first_workers);
  acquire_p(m, &sched.ps[0]);

  void* place = nullptr;
  struct Main {
    void (*entry)(void*);
    void* arg;
  };
  G* g = new_g(GoOptions{.name = "main", .stack = StackSize::kLarge}, sizeof(Main), site, &place);
  ::new (place) Main{entry, arg};
  run_state.main_g = g;
  start_g(g, [](void* p) {
    auto* main = static_cast<Main*>(p);
    main->entry(main->arg);
    wait_for_panics();
  });
  world_begins(true);
  reports_open();
  foreign_open();
  spares_start();
  sysmon_start();
  schedule_loop(m);
  foreign_close();  // from here on nobody queues goroutines from outside
  reports_close();  // like sysmon, and before it: a report's thread readies goroutines
  spares_quiesce();  // these two while sysmon still ends goroutines that compute on
  helpers_stop();
  all_idle.arrive_and_wait(all_workers);  // likewise
  world_begins(false);
  sysmon_stop();  // before any poller goes: it wakes Ms through them
  spares_end();
  unwatched.arrive_and_wait(all_workers);
  detach_thread(m);
  for (int i = 1; i < sched.nps.load(std::memory_order_acquire); ++i) pthread_join(sched.ms[i].thread, nullptr);
  drop_signal_stack(signal_stack);
  tear_down();
  ForeignCall::abandon_all();  // no goroutine runs any more
  notify_end();
  sched.running.store(false);
}

}  // namespace detail

int procs() noexcept { return sched.nprocs; }
const char* poller_name() noexcept { return sched.poller_name; }

}  // namespace heddle
