// What the scheduler has done and does, in numbers.
//
// The counters are always on: each has one writer, the holder of the P, and costs an addition there. A snapshot reads them
// without stopping anybody, so numbers of one snapshot are not of one instant.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <heddle/core/clock.h>

namespace heddle {

/// Waits, counted by length: four classes to each doubling, so that a quantile is at most a fifth too high.
class LatencyHistogram {
 public:
  static constexpr std::size_t kBuckets = 1 + 4 * 30;  // below 64 ns; then up to 34 s, and what is longer in the last

  /// The class of a wait of `ns`.
  [[nodiscard]] static constexpr std::size_t bucket_of(std::uint64_t ns) noexcept {
    if (ns < kLeast) return 0;
    const auto octave = static_cast<unsigned>(std::bit_width(ns)) - 1;
    const std::size_t i = 1 + 4 * (octave - kLeastOctave) + ((ns >> (octave - 2)) & 3);
    return i < kBuckets ? i : kBuckets - 1;
  }
  /// All waits in a class are shorter than this.
  [[nodiscard]] static constexpr Duration bound(std::size_t bucket) noexcept {
    if (bucket == 0) return Duration(kLeast);
    const std::size_t octave = (bucket - 1) / 4 + kLeastOctave;
    return Duration((std::int64_t{5} + static_cast<std::int64_t>((bucket - 1) % 4)) << (octave - 2));
  }

  std::array<std::uint64_t, kBuckets> counts{};

  [[nodiscard]] std::uint64_t samples() const noexcept;
  /// What at least the share `q` (0 to 1) of the waits stayed below; zero without samples.
  [[nodiscard]] Duration quantile(double q) const noexcept;
  LatencyHistogram& operator+=(const LatencyHistogram& other) noexcept;

 private:
  static constexpr unsigned kLeastOctave = 6;
  static constexpr std::uint64_t kLeast = 1U << kLeastOctave;  // ns
};

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
  std::uint64_t started = 0;      // goroutines, by who held it: a thread without a P counts for none,
  std::uint64_t ended = 0;        // so their difference tells nothing: SchedStats::goroutines does
  std::uint32_t queued = 0;       // runnable goroutines in its queue
  std::uint32_t timers = 0;
  std::uint64_t pauses = 0;       // times it stood because the world was stopped,
  Duration paused{};              // for how long in all, and at most
  Duration longest_pause{};
  LatencyHistogram ready_waits;   // from ready to running, of one in 61 goroutines that it ran
};

struct SchedStats {
  std::vector<ProcStats> procs;
  std::uint64_t goroutines = 0;    // that there are; of more than one moment, so too many rather than too few
  std::uint32_t global_queue = 0;  // runnable goroutines that no P has
  std::uint32_t preempted = 0;     // goroutines that were stopped by a signal and wait for their turn
  std::uint32_t spinning = 0;      // threads that seek work
  std::uint32_t threads = 0;       // workers, spares and helpers
  std::uint32_t spares = 0;        // of these, spares that wait for a P
  std::uint32_t blocking = 0;      // goroutines in blocking(), waiting or running
  std::uint64_t world_stops = 0;   // stop_the_world() calls,
  Duration world_stopping{};       // and how long it took in all until every P stood
  LatencyHistogram ready_waits;    // of all Ps
};

/// The numbers now; all zero when no run() is under way. Allocates; some microseconds. Threads: goroutines, and any other
/// while run() is sure to last.
[[nodiscard]] SchedStats sched_stats();

}  // namespace heddle
