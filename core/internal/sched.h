// Sched: the one scheduler of the process, and the functions through which G, M and P change hands.
//
//   spawn.cc      new_g start_g, exit                    a G's birth and end
//   park.cc       park ready gosched sleep               a G leaves its M and comes back
//   sched.cc      schedule loop, find_runnable, execute  an M seeks a G and runs it
//   wakeup.cc     wake_p start_m stop_m                  Ms go to sleep and are woken; the protocol against lost wake-ups
//   run.cc        run                                    start and end
//   sysmon.cc     sysmon                                 the watchdog
//
// Two designs were on the table (runtime-facts B.1, B.3): a ring that travels with its P, and a ring per M with Ps that
// return home. A ring's requests stay bound to the thread that submitted them, so the first degrades silently; we have the
// second: P i and worker M i belong together, a parked M sleeps in its own ring, and its idle P waits for it.
#pragma once

#include <atomic>
#include <cstdint>

#include <heddle/core/internal/g.h>
#include <heddle/core/internal/globq.h>
#include <heddle/core/internal/idle.h>
#include <heddle/core/internal/m.h>
#include <heddle/core/internal/p.h>

namespace heddle {

struct Sched {
  // Constant while run() is under way.
  int nprocs = 0;
  P* ps = nullptr;       // [kMaxProcs]; allocated once, for ever
  M* ms = nullptr;       // [kMaxProcs]; likewise
  std::uint64_t seed = 0;
  int schedtrace_ms = 0;
  bool scheddetail = false;
  std::int64_t start_time = 0;
  const char* poller_name = "";

  std::atomic<bool> running{false};
  alignas(64) std::atomic<bool> stopping{false};
  std::atomic<std::uint64_t> next_id{1};
  alignas(64) std::atomic<int> spinning{0};  // Ms that seek work and have not found any; see wakeup.cc
  alignas(64) IdleMask idle;
  alignas(64) GlobQ globq;
};

extern constinit Sched sched;

// --- who am I; out of line, because a compiler may keep a thread_local's address across a switch of stacks ---
[[nodiscard]] M* current_m() noexcept;
void set_current_m(M* m) noexcept;
[[nodiscard]] M* current_m_or_die(const char* op) noexcept;

// --- sched.cc ---
/// Runs goroutines on `m` until the scheduler stops.
void schedule_loop(M* m);
/// Leaves the current goroutine for its M's scheduler, which does what `m->leave` says. Returns when it runs again.
void leave_g(M* m, G* g) noexcept;
/// A G for M `m` to run, or nullptr when the scheduler stops. Has a P on return unless it stops.
G* find_runnable(M* m);
/// Puts a runnable G on the holder's ring; the overflow goes to the global queue.
void runq_put(P* p, G* g) noexcept;
/// Puts it next in line; what it displaces goes to the ring. Returns true if something was displaced.
bool runq_put_next(P* p, G* g) noexcept;
[[nodiscard]] std::uint64_t next_random(P* p) noexcept;

// --- wakeup.cc ---
/// Work was queued: starts one spinning M, if a P is idle and no M spins already.
void wake_p() noexcept;
/// Gives P `p`, which the caller owns, to its home M.
void start_m(P* p, bool spinning) noexcept;
/// Gives up the M's P and parks the M; returns true with a P, false when the scheduler stops.
bool stop_m(M* m);
/// The M found work while spinning: others may be needed.
void reset_spinning(M* m) noexcept;
void become_spinning(M* m) noexcept;
void acquire_p(M* m, P* p) noexcept;
P* release_p(M* m) noexcept;

// --- spawn.cc ---
/// First function on a new goroutine's stack.
void g_main(void* g);
/// On the scheduler's side: the G has left its stack for good.
void free_g(P* p, G* g) noexcept;
/// Thrown by goexit().
struct GoExit {};

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
/// Reports exceptions that leave a goroutine as panics.
void install_terminate_handler();

// --- procs.cc ---
/// The CPUs that this process may use.
[[nodiscard]] int available_procs() noexcept;

// --- sleep_poller.cc ---
std::unique_ptr<Poller> make_sleep_poller();

// --- poller.cc ---
extern PollerFactory poller_factory;
extern PollerProbe poller_probe;

}  // namespace heddle
