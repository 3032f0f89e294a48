// P: the right to run Gs, and what running needs. An M that holds a P owns it alone; other Ms reach only what says so.
#pragma once

#include <atomic>
#include <cstdint>

#include <heddle/core/internal/g.h>
#include <heddle/core/internal/idle.h>
#include <heddle/core/internal/runq.h>
#include <heddle/core/internal/sanitizer.h>
#include <heddle/core/internal/stack.h>
#include <heddle/core/internal/timers.h>
#include <heddle/core/sched_stats.h>
#include <heddle/core/section.h>

namespace heddle {

struct M;
class Poller;

enum class PStatus : std::uint8_t { kIdle, kRunning, kStopped };

/// A counter with one writer (the holder of the P) and readers who want a glance: no locked instruction.
class OwnedCounter {
 public:
  // relaxed, both: a statistic; the P changes hands through the idle mask, which orders the writers.
  void add(std::uint64_t n = 1) noexcept { v_.store(v_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed); }
  HEDDLE_UNINSTRUMENTED void add_from_handler() noexcept {
    auto* v = reinterpret_cast<std::uint64_t*>(&v_);
    __atomic_store_n(v, __atomic_load_n(v, __ATOMIC_RELAXED) + 1, __ATOMIC_RELAXED);
  }
  [[nodiscard]] std::uint64_t get() const noexcept { return v_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> v_{0};
};

struct alignas(128) P {
  // Constant while the scheduler runs, but for `retired`.
  int index = 0;
  M* home = nullptr;  // the worker that this P returns to whenever it is free: its connections are on that M's ring
  std::atomic<bool> retired{false};  // set_procs() made it one too many: it serves its poller, runs no goroutines (world.h I4)
  Poller* poller = nullptr;  // made by home, used by whoever holds the P, or sleeps as its host while it is idle

  // Owned by the holder.
  std::uint32_t next_streak = 0;     // Gs taken from runnext in a row: they share one turn
  std::uint64_t last_poll = 0;       // coarse ticks of the last reap
  std::uint64_t last_hog = 0;        // coarse ticks when a long runner last had it
  std::uint64_t rng = 0;
  bool sampling = false;             // what becomes ready in this turn is stamped (latency.h)
  bool at_home = true;               // what the poller was last told: home is the holder
  std::uint64_t next_id = 0;         // goroutine ids come in batches
  std::uint64_t end_id = 0;
  GQueue free_gs[kStackClasses];     // dead Gs with their stacks, hottest first

  // Owner writes, others glance.
  OwnedCounter schedtick;            // Gs run; every 61st time the global queue comes first, every 8th is tended to
  OwnedCounter steals;               // thefts that got something
  OwnedCounter steal_tries;          // victims looked at
  OwnedCounter polls, events;        // reaps, and what they found
  OwnedCounter handoffs;             // times lent to a bound G's M
  std::atomic<std::uint64_t> preempts{0}, retakes{0};  // times taken from a goroutine; by handlers, by sysmon
  OwnedCounter started, ended;       // goroutines; their sums over all Ps tell how many live (run.cc)
  std::atomic<bool> tend_due{false};  // sysmon: a G ran long, look at timers and poller before the next one. And as long as it is retired
  std::atomic<PStatus> status{PStatus::kIdle};
  std::atomic<M*> m{nullptr};        // the holder
  std::atomic<M*> host{nullptr};     // idle: the M that sleeps in the poller
  std::atomic<std::uint32_t> stood{0};  // the number of the stop for which its holder stands (world.h I3)
  std::atomic<std::uint64_t> pauses{0}, paused_ns{0}, longest_pause_ns{0};  // written by the stopper
  std::atomic<bool> home_waits{false};  // home has no P and wants this one back; whoever takes the flag must give it

  OwnedCounter stolen_from[kMaxProcs];  // thefts, by victim
  OwnedCounter ready_waits[LatencyHistogram::kBuckets];  // from ready to running, sampled

  // Shared by their own rules.
  Runq<G> runq;
  Timers timers;
};

}  // namespace heddle
