// What the scheduler has done and does, in numbers.
//
// The counters are always on: each has one writer, the holder of the P, and costs an addition there. A snapshot reads them
// without stopping anybody, so numbers of one snapshot are not of one instant.
#pragma once

#include <cstdint>
#include <vector>

#include <heddle/core/clock.h>

namespace heddle {

/// One P since run() began.
struct ProcStats {
  bool idle = false;
  bool retired = false;           // set_procs() made it one too many: it only serves its poller
  std::uint64_t switches = 0;     // goroutines it ran, counted each time one was resumed
  std::uint64_t steals = 0;       // thefts that got something
  std::uint64_t steal_tries = 0;  // other Ps looked at for it
  std::vector<std::uint64_t> stolen_from;  // thefts by victim, one entry per P
  std::uint64_t polls = 0;        // looks at the poller
  std::uint64_t events = 0;       // what they found
  std::uint64_t preempts = 0;     // goroutines taken off it by a signal
  std::uint64_t retakes = 0;      // times it was taken from a thread that was blocked in the kernel
  std::uint64_t handoffs = 0;     // times it was lent to the thread of a preempted or locked goroutine
  std::uint64_t started = 0;      // goroutines
  std::uint64_t ended = 0;
  std::uint32_t queued = 0;       // runnable goroutines in its queue
  std::uint32_t timers = 0;
  std::uint64_t pauses = 0;       // times it stood because the world was stopped,
  Duration paused{};              // for how long in all, and at most
  Duration longest_pause{};
};

struct SchedStats {
  std::vector<ProcStats> procs;
  std::uint32_t global_queue = 0;  // runnable goroutines that no P has
  std::uint32_t preempted = 0;     // goroutines that were stopped by a signal and wait for their turn
  std::uint32_t spinning = 0;      // threads that seek work
  std::uint32_t threads = 0;       // workers, spares and helpers
  std::uint32_t spares = 0;        // of these, spares that wait for a P
  std::uint32_t blocking = 0;      // goroutines in blocking(), waiting or running
  std::uint64_t world_stops = 0;   // stop_the_world() calls,
  Duration world_stopping{};       // and how long it took in all until every P stood
};

/// The numbers now; all zero when no run() is under way. Allocates; some microseconds. Threads: goroutines, and any other
/// while run() is sure to last.
[[nodiscard]] SchedStats sched_stats();

}  // namespace heddle
