#include <heddle/core/sched_stats.h>

#include <gtest/gtest.h>

#include <atomic>

#include <heddle/core/blocking.h>
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

}  // namespace
}  // namespace heddle
