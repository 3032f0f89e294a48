// Reports: gathering goroutines with their stacks, turning them into text, and the threads that do so.
//
//   dump_goroutines(), dump()   dump.cc        the caller's thread; a goroutine parks and a thread of its own does it
//   traceback()                 traceback.cc   likewise
//   SIGQUIT                     sysmon.cc      a thread of its own: sysmon must go on watching
//   panic, stack overflow       fault.cc       a thread of its own, waited for with a limit; else raw addresses
//
// I1. Reading debug information and formatting take malloc, files and time. So they never happen on a goroutine's stack (it
//     may be small), on the scheduler's side, or in a signal handler: always on a thread that is none of the scheduler's.
// I2. One report at a time: the report lock guards the debug information, and the runtime signal's askers. A plain mutex:
//     only threads take it that run no goroutines.
// I3. What a report reads of a running scheduler is the stack arena, which lives for ever, and atomics in it. Its threads
//     may ready the goroutine they work for; so run() lets them end before it takes the pollers down (reports_close).
// I4. Copying comes first, all of it; unwinding and names after that. It is done while the world stands (snapshot.h), so that the
//     report is of one instant. What could not be copied then is looked at again afterwards, state and stack together.
#pragma once

#include <string>

#include <heddle/core/dump.h>
#include <heddle/core/internal/unwind.h>

namespace heddle {

/// Every goroutine. `self`: the one on whose behalf we work; parked by now, it is shown as running.
/// Threads: with stacks, none that runs goroutines (I1).
[[nodiscard]] std::string report_all(const DumpOptions& options, const G* self, const G* except = nullptr);

/// One goroutine that holds still: its header, as running, its frames, its creation. `image` null: no frames.
[[nodiscard]] std::string report_one(const G& g, const StackImage* image, bool runtime_frames);

/// Its frames alone, or the first and last `ends` of them.
[[nodiscard]] std::string report_frames(const StackImage& image, bool runtime_frames, std::size_t ends);

/// Writes all of it to standard error.
void print_report(const std::string& text) noexcept;

/// Parks the calling goroutine until a thread of its own has run fn(arg). False, and nothing was run, if no thread can be
/// had or the scheduler stops.
[[nodiscard]] bool run_aside(void (*fn)(void*), void* arg);

/// Blocks the calling thread, which runs no goroutine, until a thread of its own has run fn(arg). False as above. `in_run`:
/// within run(), whose end waits for it; false at that end itself.
[[nodiscard]] bool run_apart(void (*fn)(void*), void* arg, bool in_run) noexcept;

/// Starts a thread that runs fn(arg); all signals go to others. False if it cannot be had.
[[nodiscard]] bool start_report_thread(void (*fn)(void*), void* arg) noexcept;

/// SIGQUIT: a thread prints the dump, unless one is at it already.
void start_dump_thread() noexcept;

/// run() begins; run() ends: no new report threads, and those under way have ended on return.
void reports_open() noexcept;
/// A report's thread is at work, or about to be.
[[nodiscard]] bool reports_under_way() noexcept;
void reports_close() noexcept;

}  // namespace heddle
