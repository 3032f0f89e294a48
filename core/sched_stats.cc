#include <heddle/core/sched_stats.h>

#include <cstddef>
#include <numeric>

#include <heddle/core/internal/run_state.h>
#include <heddle/core/internal/sched.h>

namespace heddle {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;  // relaxed, all: statistics

ProcStats stats_of(const P& p) {
  ProcStats s;
  s.retired = p.retired.load(std::memory_order_relaxed);
  s.idle = sched.idle.holds(p.index) || sched.resting.holds(p.index);
  s.switches = p.schedtick.get();
  s.steals = p.steals.get();
  s.steal_tries = p.steal_tries.get();
  const int nps = sched.nps.load(std::memory_order_acquire);  // acquire: with its Ps
  for (int i = 0; i < nps; ++i) s.stolen_from.push_back(p.stolen_from[i].get());
  s.polls = p.polls.get();
  s.events = p.events.get();
  s.preempts = p.preempts.load(kRelaxed);
  s.retakes = p.retakes.load(kRelaxed);
  s.handoffs = p.handoffs.get();
  s.started = p.started.get();
  s.ended = p.ended.get();
  s.queued = p.runq.size() + (p.runq.has_next() ? 1U : 0U);
  s.timers = p.timers.size();
  s.pauses = p.pauses.load(kRelaxed);
  s.paused = Duration(p.paused_ns.load(kRelaxed));
  s.longest_pause = Duration(p.longest_pause_ns.load(kRelaxed));
  for (std::size_t i = 0; i < LatencyHistogram::kBuckets; ++i) s.ready_waits.counts[i] = p.ready_waits[i].get();
  return s;
}

}  // namespace

std::uint64_t LatencyHistogram::samples() const noexcept { return std::accumulate(counts.begin(), counts.end(), std::uint64_t{0}); }

Duration LatencyHistogram::quantile(double q) const noexcept {
  const std::uint64_t all = samples();
  if (all == 0) return Duration::zero();
  const double wanted = q * static_cast<double>(all);
  std::uint64_t below = 0;
  std::size_t last = 0;
  for (std::size_t i = 0; i < kBuckets; ++i) {
    if (counts[i] == 0) continue;
    last = i;
    below += counts[i];
    if (static_cast<double>(below) >= wanted) break;
  }
  return bound(last);
}

LatencyHistogram& LatencyHistogram::operator+=(const LatencyHistogram& other) noexcept {
  for (std::size_t i = 0; i < kBuckets; ++i) counts[i] += other.counts[i];
  return *this;
}

SchedStats sched_stats() {
  SchedStats all;
  const int nps = sched.nps.load(std::memory_order_acquire);  // acquire: as above
  for (int i = 0; i < nps; ++i) all.procs.push_back(stats_of(sched.ps[i]));
  for (const ProcStats& p : all.procs) all.ready_waits += p.ready_waits;
  all.goroutines = RunState::living();
  all.global_queue = sched.globq.size();
  all.preempted = static_cast<std::uint32_t>(sched.hogs.size());
  all.spinning = static_cast<std::uint32_t>(sched.spinning.load(kRelaxed));
  for (int i = 0; i < sched.nms.load(std::memory_order_acquire); ++i) {
    if (sched.all_ms[i].load(kRelaxed) != nullptr) ++all.threads;
  }
  all.spares = static_cast<std::uint32_t>(sched.spares.count());
  all.world_stops = sched.stops.load(kRelaxed);
  all.world_stopping = Duration(sched.stopping_ns.load(kRelaxed));
  all.blocking = static_cast<std::uint32_t>(sched.blocking.load(kRelaxed));
  return all;
}

}  // namespace heddle
