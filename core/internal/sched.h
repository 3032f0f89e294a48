// Sched: the one scheduler of the process, and the functions through which G, M and P change hands.
//
//   spawn.cc      new_g start_g, exit                    a G's birth and end
//   park.cc       park ready gosched sleep               a G leaves its M (leave.h) and comes back
//   sched.cc      schedule loop, find_runnable, execute  an M seeks a G and runs it
//   wakeup.cc     wake_p start_m stop_m                  Ms go to sleep and are woken; the protocol against lost wake-ups
//   handover.cc   acquire_p release_p lend_p give_back   a P goes from M to M
//   preempt.cc    preempt_here                           a G is taken off by a signal (preempt.h)
//   blocking.cc   blocking enter_syscall exit_syscall    calls that block the thread
//   world.cc      stop_the_world start_the_world         all Ps stand
//   set_procs.cc  set_procs                              more Ps, or fewer
//   spares.cc     spares_start                           threads for Ps whose own are busy
//   run.cc        run                                    start and end
//   sysmon.cc     sysmon                                 the watchdog
//   bubble.cc     next                                   a test's schedule, in the place of find_runnable's
//
// P i and worker M i belong together: the M made the P's poller, usually holds the P, and sleeps in that poller while the P
// is idle. While a goroutine keeps that M (it computes on, or blocks in the kernel) another M holds the P and drives the
// poller; the connections are served on, and the P returns home as soon as home is free.
#pragma once

#include <atomic>
#include <cstdint>

#include <heddle/core/internal/g.h>
#include <heddle/core/internal/globq.h>
#include <heddle/core/internal/handover.h>
#include <heddle/core/internal/idle.h>
#include <heddle/core/internal/m.h>
#include <heddle/core/internal/p.h>

namespace heddle {

/// A number that everybody reads and that changes hardly ever (world.h I4).
class RareInt {
 public:
  // acquire: the Ps that it counts; pairs with the release in set(). For handlers, too.
  HEDDLE_UNINSTRUMENTED operator int() const noexcept { return __atomic_load_n(&v_, __ATOMIC_ACQUIRE); }
  HEDDLE_UNINSTRUMENTED void set(int v) noexcept { __atomic_store_n(&v_, v, __ATOMIC_RELEASE); }

 private:
  int v_ = 0;
};

class Bubble;

struct Sched {
  RareInt nprocs;                // Ps that run goroutines: the first so many of ps
  std::atomic<int> nps{0};       // Ps ever made in this run(); those from nprocs on are retired (set_procs.cc)
  std::atomic<std::uint32_t> world{0};  // odd: stopped, or being stopped (world.h)
  // Constant while run() is under way.
  P* ps = nullptr;       // room for kMaxProcs; the first nps exist
  M* ms = nullptr;       // likewise: their homes
  std::uint64_t seed = 0;
  Bubble* bubble = nullptr;  // a test's (bubble.h); null: none
  int schedtrace_ms = 0;
  bool scheddetail = false;
  std::int64_t start_time = 0;
  const char* poller_name = "";

  bool keeps_p = false;          // RunOptions::preempt is false
  bool async_preempt = true;     // HEDDLE_DEBUG=asyncpreemptoff=1
  std::int64_t force_preempt = 0;  // HEDDLE_DEBUG=preempt=500us: every so many ns, needed or not; 0: never

  std::atomic<bool> running{false};
  alignas(64) std::atomic<bool> stopping{false};
  std::atomic<std::uint64_t> next_id{1};
  alignas(64) std::atomic<int> spinning{0};  // Ms that seek work and have not found any; see wakeup.cc
  alignas(64) IdleMask idle;
  IdleMask resting;  // likewise, of retired Ps
  alignas(64) GlobQ globq;
  alignas(64) SpareSet spares;
  Hogs hogs;
  std::atomic<M*> all_ms[kMaxMs] = {};  // workers first, then spares and helpers in the order they were made
  std::atomic<int> nms{0};
  std::atomic<std::uint32_t> maker_tid{0};  // the thread that makes spares
  std::atomic<std::uint64_t> started_elsewhere{0}, ended_elsewhere{0};  // goroutines, by Ms without a P
  std::atomic<int> blocking{0};  // goroutines in blocking(), queued or running
  std::atomic<std::uint64_t> stops{0}, stopping_ns{0};  // of the world
};

extern constinit Sched sched;

// --- who am I (section.h says why not a plain thread_local) ---
[[nodiscard]] inline M* current_m() noexcept { return detail::thread_state()->m; }
/// The P that the caller may use; nullptr if it has none: a foreign thread, or its goroutine was blocked so long that sysmon
/// took the P. In a section.
[[nodiscard]] P* held_p_slow(M* m) noexcept;
/// The scheduler's side, where no lock is held: the same, but it waits for a P that the stopper of the world has in hand.
[[nodiscard]] P* held_p_back(M* m) noexcept;
[[nodiscard]] inline P* held_p(M* m) noexcept {
  if (m == nullptr) [[unlikely]] return nullptr;
  // acquire: pairs with acquire_p(), whoever ran it.
  P* p = m->lease.load(std::memory_order_acquire);
  if (p == nullptr) [[unlikely]] return held_p_slow(m);
  sanitizer::happens_after(p);
  return p;
}
[[nodiscard]] inline P* held_p() noexcept { return held_p(current_m()); }

// --- sched.cc ---
/// Runs goroutines on `m` until the scheduler stops.
void schedule_loop(M* m);
/// A G for M `m` to run, or nullptr when the scheduler stops. Has a P on return unless it stops.
G* find_runnable(M* m);
/// Runs `g` on `m` until it leaves, with whatever P `m` has, if any.
void execute(M* m, G* g);
/// Puts a runnable G on the holder's ring; the overflow goes to the global queue.
void runq_put(P* p, G* g) noexcept;
/// Puts it next in line; what it displaces goes to the ring. Returns true if something was displaced.
inline bool runq_put_next(P* p, G* g) noexcept {
  G* displaced = p->runq.set_next(g);
  if (displaced == nullptr) [[likely]] return false;
  runq_put(p, displaced);
  return true;
}
[[nodiscard]] std::uint64_t next_random(P* p) noexcept;

// --- wakeup.cc ---
/// Work was queued: starts one spinning M, if a P is idle and no M spins already.
void wake_p() noexcept;
/// True if there is a G that an idle P could run.
[[nodiscard]] bool work_anywhere() noexcept;
/// Takes P `p` if it is idle, or retired and at rest: the caller owns it then.
[[nodiscard]] bool take_idle(P* p) noexcept;
/// Gives P `p`, which the caller took from a mask, to its host.
void start_m(P* p, bool spinning) noexcept;
/// Gives up the M's P and parks the M; returns true with a P, false when the scheduler stops.
bool stop_m(M* m);
/// Sleeps in the poller of idle P `p`, whose host `m` is; as stop_m().
bool host_p(M* m, P* p);
/// The M found work while spinning: others may be needed.
void reset_spinning(M* m) noexcept;
void become_spinning(M* m) noexcept;

// --- handover.cc ---
void acquire_p(M* m, P* p) noexcept;
P* release_p(M* m) noexcept;
/// If home waits for the P that `m` holds: gives it and returns true.
bool give_back(M* m) noexcept;
/// If `m` is another P's home and somebody can take the P it holds: passes it on, to wait for its own, and returns true.
bool go_home(M* m) noexcept;
/// Gives the P of `m` to the M that `g` is bound to.
void lend_p(M* m, G* g) noexcept;
/// Waits outside a poller until somebody gives `m` a P: its home P, or any if it is a spare. False: the scheduler stops.
bool wait_for_p(M* m) noexcept;
/// The waiting itself, after `m` has said that it waits; takes the P, and the G that it may come for.
bool receive_p(M* m) noexcept;

// --- spares.cc ---
void spares_start();
/// Waits until no spare runs a goroutine any more; makes no more spares.
void spares_quiesce();
/// Ends and joins the spares, when nobody looks at Ms any more.
void spares_end();
/// Asks for `n` spares to be ready soon. Async-signal-safe; never blocks.
void want_spares(int n) noexcept;
/// Asks for one helper thread more (blocking.cc).
void want_helper() noexcept;
/// Asks the maker to serve_procs().
void want_procs() noexcept;
/// After spares_quiesce(): how many of these it did not come to.
[[nodiscard]] int helpers_never_made() noexcept;
/// On a thread that the maker started, whose signals are all blocked: as on the thread that called run().
void unmask_signals() noexcept;

// --- run.cc ---
/// P `i` and its home, at their places; nobody knows them yet.
void make_p(int i);
/// First and last things on a worker's thread; begin_thread() also on a spare's and a helper's. It returns the signal stack.
void* begin_thread(M* m, char kind, const void* base);
void work_as_home(M* m, void* signal_stack);
/// Makes the calling thread M `m`'s, and no longer. `base`: the frame address of the runtime's first function there.
void attach_thread(M* m, const void* base);
void detach_thread(M* m) noexcept;
/// Overwrites what the runtime left below the caller's frame: a thread's stack outlives it, and is used again.
void scrub_dead_stack() noexcept;
/// Enters `m` into sched.all_ms. -1: there are too many.
int enter_m(M* m) noexcept;
/// Takes it out again. The object must live on until sysmon has ended.
void leave_m(M* m) noexcept;

// --- spawn.cc ---
/// First function on a new goroutine's stack.
void g_main(void* g);
/// On the scheduler's side: the G has left its stack for good.
void free_g(P* p, G* g) noexcept;
/// Thrown by goexit().
struct GoExit {};

// --- foreign.cc ---
/// From here on threads may post goroutines; no longer, and nobody is about to.
void foreign_open() noexcept;
void foreign_close() noexcept;

// --- pin.cc ---
/// The park hook of a pinned goroutine: dies.
void pinned_parks(void*);

// --- sysmon.cc ---
void sysmon_start();
void sysmon_stop();
/// An M left its sleep: ends sysmon's, if that sleeps without limit. One load otherwise.
void sysmon_kick() noexcept;
/// Asks sysmon to print every goroutine. Async-signal-safe.
void sysmon_request_dump() noexcept;
/// Asks sysmon to have the overflow reported that fault.cc has noted down. Async-signal-safe.
void sysmon_request_overflow_report() noexcept;

namespace detail {
/// Without sysmon's help a lost wake-up stays lost, so that a test can see it.
void set_sysmon_helps_for_test(bool helps) noexcept;
}  // namespace detail

// --- schedtrace.cc ---
void print_schedtrace(bool detail) noexcept;

// --- fault.cc ---
/// Installs the handlers for stack overflow, SIGQUIT and the runtime signal; once per process.
void install_signal_handlers();
/// Gives the calling thread a signal stack. Returns it, for drop_signal_stack at the thread's end.
void* make_signal_stack();
void drop_signal_stack(void* stack) noexcept;
/// Starts the thread that reports a stack overflow; its goroutine waits in the handler.
void start_overflow_report() noexcept;
/// Reports what calls std::terminate on a goroutine.
void install_terminate_handler();
/// Reports the panic that nobody recovered, and ends the process with status 2. In its handler, on its goroutine.
[[noreturn]] void die_of_panic(const detail::PanicNote& note) noexcept;
/// True once a goroutine's failure is being reported.
[[nodiscard]] bool dying_of_panic() noexcept;

// --- set_procs.cc ---
/// While no scheduler runs. `follows`: the default number, kept up to date.
void procs_open(bool follows) noexcept;
/// On the maker's thread: does what set_procs() calls and sysmon asked for. `last`: refuses them from now on.
void serve_procs(bool last) noexcept;
/// From sysmon, now and then: has the number of CPUs looked at again if it is to be followed.
void check_procs(std::int64_t now) noexcept;

// --- procs.cc ---
/// The CPUs that this process may use: those of thread `tid`'s mask (0: the caller's), within the cgroup's quota.
[[nodiscard]] int available_procs(std::uint32_t tid = 0) noexcept;

// --- sleep_poller.cc ---
std::unique_ptr<Poller> make_sleep_poller();

// --- poller.cc ---
extern PollerFactory poller_factory;
extern PollerProbe poller_probe;

}  // namespace heddle
