// set_procs(): the number of Ps changes under goroutines that run.
#include <heddle/core/run.h>

#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <thread>

#include <heddle/core/blocking.h>
#include <heddle/core/chan.h>
#include <heddle/core/sched_stats.h>
#include <heddle/core/wait_group.h>

#include "preemption.h"

namespace heddle {
namespace {

using namespace std::chrono_literals;
using test::DebugSetting;
using test::kForced;
using test::TimeLimit;

TEST(SetProcs, says_what_it_was_and_procs_says_what_it_is) {
  const TimeLimit limit;
  heddle::run(
      [] {
        EXPECT_EQ(set_procs(4), 2);
        EXPECT_EQ(procs(), 4);
        EXPECT_EQ(set_procs(1), 4);
        EXPECT_EQ(procs(), 1);
        EXPECT_EQ(set_procs(1), 1);
        EXPECT_EQ(set_procs(3), 1);
        EXPECT_EQ(procs(), 3);
        const SchedStats stats = sched_stats();
        ASSERT_EQ(stats.procs.size(), 4U);
        for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(stats.procs[i].retired, i == 3) << i;
      },
      {.procs = 2});
  EXPECT_EQ(procs(), 0);
}

TEST(SetProcs, new_Ps_run_goroutines_and_retired_ones_run_none) {
  const TimeLimit limit;
  heddle::run(
      [] {
        set_procs(3);
        std::atomic<bool> over{false};
        WaitGroup wg;
        for (int i = 0; i < 12; ++i) {
          wg.go([&] {
            while (!over.load(std::memory_order_relaxed)) gosched();
          });
        }
        const auto runs = [](std::size_t p) { return sched_stats().procs[p].switches; };
        while (runs(1) == 0 || runs(2) == 0) gosched();
        set_procs(1);
        // What ran there is preempted, or yields, soon; from then on the count stands.
        const auto now_and_then = [&] {
          for (int i = 0; i < 1000; ++i) gosched();
          return runs(1) + runs(2);
        };
        std::uint64_t before = runs(1) + runs(2);
        for (std::uint64_t after = now_and_then(); after != before; after = now_and_then()) before = after;
        EXPECT_EQ(now_and_then(), before);
        over.store(true);
        wg.wait();
      },
      {.procs = 1});
}

TEST(SetProcs, goroutines_of_a_retired_P_go_on_elsewhere) {
  const TimeLimit limit;
  heddle::run(
      [] {
        WaitGroup wg;
        std::atomic<int> woken{0};
        for (int i = 0; i < 200; ++i) {
          wg.go([&] {
            sleep(2ms);  // its timer may lie in the heap of a P that retires
            woken.fetch_add(1);
          });
        }
        gosched();
        set_procs(1);
        wg.wait();
        EXPECT_EQ(woken.load(), 200);
      },
      {.procs = 4});
}

TEST(SetProcs, one_that_computes_on_a_retired_P_is_taken_off_it) {
  const TimeLimit limit;
  heddle::run(
      [] {
        std::atomic<bool> running{false};
        std::atomic<bool> over{false};
        WaitGroup wg;
        wg.go([&] {
          running.store(true);
          test::spin_while_not(over);
        });
        while (!running.load()) gosched();
        set_procs(1);
        // Both want the one P now: they can only go on in turn.
        const std::uint64_t before = test::preempts();
        while (test::preempts() < before + 3) asm volatile("");
        over.store(true);
        wg.wait();
      },
      {.procs = 2});
}

// Everything that depends on a P's own state, while that comes and goes.
void storm(int rounds) {
  std::atomic<bool> over{false};
  std::atomic<int> sum{0};
  auto numbers = make_chan<int>(4);
  WaitGroup wg;
  WaitGroup readers;
  constexpr int kSenders = 4;
  constexpr int kEach = 1000;
  for (int i = 0; i < kSenders; ++i) {
    wg.go([&, i] {
      for (int k = 0; k < kEach; ++k) {
        numbers.send(1);
        if (k % 97 == i) sleep(10us);
        if (k % 501 == i) blocking([] { ::usleep(50); });
      }
    });
    readers.go([&] {
      for (int v : numbers) sum.fetch_add(v, std::memory_order_relaxed);
    });
  }
  WaitGroup spinners;
  for (int i = 0; i < 2; ++i) {
    spinners.go([&] {
      test::spin_while_not(over);
    });
  }
  for (int i = 0; i < rounds; ++i) {
    const int n = 1 + i * 5 % 7;
    set_procs(n);
    EXPECT_EQ(procs(), n);
    for (int k = 0; k < i % 5; ++k) gosched();
  }
  wg.wait();
  numbers.close();
  readers.wait();
  over.store(true);
  spinners.wait();
  EXPECT_EQ(sum.load(), kSenders * kEach);
}

TEST(SetProcs, nothing_is_lost_while_it_changes_again_and_again) {
  const TimeLimit limit;
  heddle::run([] { storm(40); }, {.procs = 2});
}

TEST(SetProcs, nor_under_forced_preemption) {
  const TimeLimit limit;
  const DebugSetting debug(kForced);
  heddle::run([] { storm(20); }, {.procs = 2});
}

TEST(SetProcs, from_many_callers_at_once_each_is_served) {
  const TimeLimit limit;
  heddle::run(
      [] {
        WaitGroup wg;
        for (int i = 0; i < 8; ++i) {
          wg.go([i] {
            for (int k = 0; k < 5; ++k) {
              const int before = set_procs(1 + (i + k) % 4);
              EXPECT_GE(before, 1);
              EXPECT_LE(before, 4);
            }
          });
        }
        std::atomic<bool> done{false};
        std::thread foreign([&] {
          for (int k = 0; k < 5; ++k) static_cast<void>(set_procs(2));
          done.store(true);
        });
        wg.wait();
        while (!done.load()) sleep(100us);
        foreign.join();
      },
      {.procs = 2});
}

TEST(SetProcs, run_may_end_in_the_middle) {
  const TimeLimit limit;
  for (int i = 0; i < 20; ++i) {
    heddle::run(
        [i] {
          for (int k = 0; k < 3; ++k) {
            go([k] {
              for (int n = k;; ++n) set_procs(1 + n % 5);
            });
          }
          for (int k = 0; k < i; ++k) gosched();
        },
        {.procs = 2});
  }
}

TEST(SetProcs, too_many_are_cut_to_what_there_may_be) {
  const TimeLimit limit;
  heddle::run(
      [] {
        set_procs(8);
        EXPECT_EQ(procs(), 8);
        set_procs(2);
      },
      {.procs = 1});
}

TEST(SetProcsDeathTest, a_negative_number_is_fatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(heddle::run([] { set_procs(-1); }), "a number of Ps is positive");
}

// The default follows the process's CPU affinity.
TEST(SetProcs, the_default_follows_the_affinity_until_a_number_is_named) {
  cpu_set_t all;
  ASSERT_EQ(::sched_getaffinity(0, sizeof all, &all), 0);
  if (CPU_COUNT(&all) < 2) GTEST_SKIP() << "needs two CPUs";
  if (available_procs() < 2) GTEST_SKIP() << "a cgroup's quota leaves one CPU";
  ::unsetenv("HEDDLE_PROCS");
  const TimeLimit limit;
  heddle::run([&] {
    ASSERT_GE(procs(), 2);
    const int before = procs();
    cpu_set_t one;
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++cpu) {
      if (CPU_ISSET(cpu, &all)) CPU_SET(cpu, &one);
    }
    ASSERT_EQ(::sched_setaffinity(::getpid(), sizeof one, &one), 0);
    while (procs() != 1) sleep(1ms);  // sysmon looks once a second
    ASSERT_EQ(::sched_setaffinity(::getpid(), sizeof all, &all), 0);
    while (procs() != before) sleep(1ms);
    set_procs(3);
    EXPECT_EQ(procs(), 3);
    EXPECT_EQ(set_procs(0), 3);
    EXPECT_EQ(procs(), before);
  });
}

}  // namespace
}  // namespace heddle
