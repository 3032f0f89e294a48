// run: starts the scheduler, runs the main goroutine, stops the scheduler.
#pragma once

#include <cstdint>
#include <source_location>
#include <type_traits>
#include <utility>

#include <heddle/core/go.h>
#include <heddle/core/poller.h>

namespace heddle {

/// How run() sets the scheduler up. Zero values mean the default or the environment's word.
struct RunOptions {
  int procs = 0;                          // Ps; 0: HEDDLE_PROCS, else the CPUs this process may use
  PollerKind poller = PollerKind::kAuto;  // kAuto: HEDDLE_POLLER, else io_uring if the kernel lets us, else epoll
  std::uint64_t seed = 0;                 // not 0: permute the order of runnable goroutines from this seed (tests)
  /// False: a goroutine keeps its P until it parks or yields, whatever it does: its order on one P is then its own. For
  /// tests; a seed implies it.
  bool preempt = true;
};

namespace detail {
/// Runs `entry(arg)` as main goroutine; returns when it has ended and the scheduler has stopped.
void run_main(void (*entry)(void*), void* arg, const RunOptions& options, const std::source_location& site);
}  // namespace detail

/// Starts the scheduler, runs `fn` as the main goroutine, stops the scheduler, and returns what `fn` returned (0 if void).
///
/// Goroutines left behind when `fn` returns are reported on standard error with their creation sites, and abandoned: their
/// stacks are taken back without unwinding. Those that waited for what nobody left could have reached are called leaked
/// (core/leaks.h): what `fn` itself held is gone by then. run() waits for those that are running at that moment to park or yield; one that
/// computes on for more than 10 ms is abandoned where it is, but not inside the C and C++ libraries, where it may hold a lock
/// that others need. A system call that it sits in is cut short by a signal (EINTR).
/// It may be called again after it returned.
///
/// Threads: one run() at a time; the calling thread becomes worker 0. Never from a goroutine.
template <class Fn>
int run(Fn&& fn, const RunOptions& options = {}, const std::source_location& site = std::source_location::current()) {
  struct Main {
    Fn& fn;
    int status;
  } main{fn, 0};
  detail::run_main(
      [](void* arg) {
        auto* m = static_cast<Main*>(arg);
        if constexpr (std::is_convertible_v<std::invoke_result_t<Fn&>, int>) {
          m->status = m->fn();
        } else {
          m->fn();
        }
      },
      &main, options, site);
  return main.status;
}

/// Number of Ps: how many goroutines may run at once. 0 outside run().
[[nodiscard]] int procs() noexcept;

/// Changes the number of Ps while run() is under way; returns when the new number holds.
///
/// With fewer, a goroutine that computes on a P too many goes on for a slice (some ms) at most, and connections that are at
/// home there are served on, by its thread, until they end. 0 stands for the default, which then follows the process's CPU
/// affinity and cgroup quota, as it does from the start if RunOptions and HEDDLE_PROCS name no number; any other number ends
/// that. At most 256.
///
/// Returns: the number before.
/// Errors:  n < 0 is fatal. The old number stays if run() is about to end, or no thread can be had for a new P (which is said on
///          standard error).
/// Threads: goroutines (whose thread may block for some 100 us), and any other while run() is sure to last.
int set_procs(int n);

/// The poller back end in use: "io_uring", "epoll", or "sleep" where net is not linked in. "" outside run().
[[nodiscard]] const char* poller_name() noexcept;

/// True on a thread that runs a goroutine now.
[[nodiscard]] bool on_goroutine() noexcept;

}  // namespace heddle
