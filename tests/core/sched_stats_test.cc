#include <heddle/core/sched_stats.h>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>

#include <heddle/core/blocking.h>
#include <heddle/core/clock.h>
#include <heddle/core/go.h>
#include <heddle/core/run.h>
#include <heddle/core/wait_group.h>

namespace heddle {
namespace {

TEST(SchedStats, is_empty_without_a_scheduler) { EXPECT_TRUE(sched_stats().procs.empty()); }

TEST(SchedStats, counts_what_goes_on) {
  heddle::run(
      [] {
        WaitGroup wg;
        for (int i = 0; i < 100; ++i) wg.go([] { gosched(); });
        wg.wait();
        blocking([] {});
        const SchedStats s = sched_stats();
        ASSERT_EQ(s.procs.size(), 2U);
        std::uint64_t started = 0;
        std::uint64_t ended = 0;
        std::uint64_t switches = 0;
        for (const ProcStats& p : s.procs) {
          EXPECT_EQ(p.stolen_from.size(), 2U);
          EXPECT_GE(p.steal_tries, p.steals);
          started += p.started;
          ended += p.ended;
          switches += p.switches;
        }
        // Less what was counted without a P: main may have lost its own for a moment.
        EXPECT_GT(started, 50U);
        EXPECT_LE(started, 101U);  // and main
        EXPECT_LE(ended, 100U);
        EXPECT_GE(switches, 150U);
        EXPECT_GE(s.threads, 3U);  // a helper
        EXPECT_EQ(s.blocking, 0U);
      },
      {.procs = 2});
}

TEST(SchedStats, counts_the_goroutines_that_there_are) {
  heddle::run(
      [] {
        EXPECT_EQ(sched_stats().goroutines, 1U);
        WaitGroup over;
        WaitGroup wg;
        over.add(1);
        for (int i = 0; i < 50; ++i) wg.go([&] { over.wait(); });
        EXPECT_EQ(sched_stats().goroutines, 51U);
        // Some of these end on a thread that has no P at the moment.
        for (int i = 0; i < 100; ++i) {
          wg.go([] {
            enter_syscall();
            exit_syscall();
          });
        }
        while (sched_stats().goroutines > 51) gosched();
        over.done();
        wg.wait();
        while (sched_stats().goroutines > 1) gosched();
      },
      {.procs = 4});
}

TEST(SchedStats, counts_preemptions) {
  heddle::run(
      [] {
        std::atomic<bool> seen{false};
        go([&] {
          for (;;) {
            const SchedStats s = sched_stats();
            if (s.procs[0].preempts > 0) break;
            gosched();
          }
          seen = true;
        });
        while (!seen.load()) asm volatile("");
        EXPECT_GE(sched_stats().procs[0].handoffs, 1U);  // main came back by one
      },
      {.procs = 1});
}

TEST(LatencyHistogram, puts_each_wait_below_its_bound_and_not_below_the_one_before) {
  for (std::uint64_t ns = 0; ns < std::uint64_t{1} << 34; ns += ns / 37 + 1) {
    const std::size_t i = LatencyHistogram::bucket_of(ns);
    ASSERT_LT(i, LatencyHistogram::kBuckets);
    EXPECT_LT(static_cast<std::int64_t>(ns), LatencyHistogram::bound(i).count()) << ns;
    if (i > 0) {
      EXPECT_GE(static_cast<std::int64_t>(ns), LatencyHistogram::bound(i - 1).count()) << ns;
    }
  }
  EXPECT_EQ(LatencyHistogram::bucket_of(~std::uint64_t{0}), LatencyHistogram::kBuckets - 1);
}

TEST(LatencyHistogram, tells_quantiles) {
  LatencyHistogram h;
  EXPECT_EQ(h.quantile(0.5), Duration::zero());
  h.counts[LatencyHistogram::bucket_of(100)] = 99;
  h.counts[LatencyHistogram::bucket_of(1'000'000)] = 1;
  EXPECT_EQ(h.samples(), 100U);
  EXPECT_EQ(h.quantile(0), h.quantile(0.99));
  EXPECT_EQ(h.quantile(0.99), LatencyHistogram::bound(LatencyHistogram::bucket_of(100)));
  EXPECT_EQ(h.quantile(1), LatencyHistogram::bound(LatencyHistogram::bucket_of(1'000'000)));
  LatencyHistogram twice = h;
  twice += h;
  EXPECT_EQ(twice.samples(), 200U);
  EXPECT_EQ(twice.quantile(0.99), h.quantile(0.99));
}

// A hundred goroutines that each keep the P for 20 us and yield: whoever is ready waits for the 99 others.
TEST(SchedStats, samples_how_long_the_ready_wait) {
  heddle::run(
      [] {
        const LatencyHistogram before = sched_stats().ready_waits;
        EXPECT_EQ(before.samples(), 0U);
        bool enough = false;
        WaitGroup wg;
        for (int i = 0; i < 100; ++i) {
          wg.go([&, i] {
            while (!enough) {
              const TimePoint until = now() + std::chrono::microseconds(20);
              while (now() < until) {}
              if (i == 0) enough = sched_stats().ready_waits.samples() >= 50;
              gosched();
            }
          });
        }
        wg.wait();
        const SchedStats s = sched_stats();
        EXPECT_EQ(s.ready_waits.samples(), s.procs[0].ready_waits.samples());
        EXPECT_GE(s.ready_waits.quantile(0.5), std::chrono::milliseconds(1));
      },
      {.procs = 1, .preempt = false});
}

}  // namespace
}  // namespace heddle
