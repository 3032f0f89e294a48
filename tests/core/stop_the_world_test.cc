// Stopping the world: what stands still, what goes on, and that everything goes on afterwards.
#include <heddle/core/internal/watch.h>
#include <heddle/core/stop_the_world.h>

#include <gtest/gtest.h>
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <numeric>
#include <thread>

#include <heddle/core/blocking.h>
#include <heddle/core/chan.h>
#include <heddle/core/mutex.h>
#include <heddle/core/sched_stats.h>
#include <heddle/core/wait_group.h>

#include "preemption.h"

namespace heddle {
namespace {

using namespace std::chrono_literals;
using test::DebugSetting;
using test::kForced;
using test::TimeLimit;

// Goroutines of every kind that has a P, each counting what it does in memory of its own, without locks.
class Traffic {
 public:
  static constexpr int kEach = 3;

  void start() {
    for (int i = 0; i < kEach; ++i) {
      go_counting([] {});
      go_counting([] { gosched(); });
      go_counting([] { sleep(20us); });
    }
    auto there = make_chan<int>();
    auto back = make_chan<int>(1);
    go_counting([this, there, back] {
      if (over_.load(std::memory_order_relaxed)) return there.close();
      there.send(1);
      static_cast<void>(back.recv());
    });
    wg_.go([there, back] {
      for (int v : there) back.send(v);
    });
  }

  void end() {
    over_.store(true, std::memory_order_relaxed);
    wg_.wait();
  }

  [[nodiscard]] std::uint64_t sum() const noexcept {
    std::uint64_t all = 0;
    for (const Count& c : counts_) all += c.n.load(std::memory_order_relaxed);
    return all;
  }

 private:
  struct alignas(64) Count {
    std::atomic<std::uint64_t> n{0};
  };

  template <class Fn>
  void go_counting(Fn fn) {
    Count& count = counts_[next_++];
    wg_.go([this, fn, &count] {
      while (!over_.load(std::memory_order_relaxed)) {
        fn();
        // Not atomic as a whole: only this goroutine writes it.
        count.n.store(count.n.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
      }
      fn();
    });
  }

  std::atomic<bool> over_{false};
  std::array<Count, 3 * kEach + 1> counts_;
  std::size_t next_ = 0;
  WaitGroup wg_;
};

// Some 30 us, long enough for anything that still runs to show.
[[gnu::noinline]] void linger() noexcept {
  for (int i = 0; i < 20'000; ++i) asm volatile("");
}

void stop_and_look(const Traffic& traffic, int times) {
  for (int i = 0; i < times; ++i) {
    std::uint64_t before = 0;
    std::uint64_t after = 1;
    if (const WorldStopped stopped; stopped) {
      before = traffic.sum();
      linger();
      after = traffic.sum();
    }
    ASSERT_EQ(before, after);
  }
}

// A thread of TSan's build often sleeps in TSan's own locks, and one that sleeps is left alone (stop_the_world.h): it computes
// on when it has that lock.
#if HEDDLE_TSAN
#define HEDDLE_SKIP_COMPUTING() GTEST_SKIP() << "threads sleep in TSan's own locks, and go on from there"
#else
#define HEDDLE_SKIP_COMPUTING() static_cast<void>(0)
#endif

class StopTheWorld : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(procs, StopTheWorld, testing::Values(1, 2, 4), testing::PrintToStringParamName());

TEST_P(StopTheWorld, no_goroutine_runs_until_it_is_started_again) {
  HEDDLE_SKIP_COMPUTING();
  const TimeLimit limit;
  heddle::run(
      [] {
        Traffic traffic;
        traffic.start();
        for (int round = 0; round < 20; ++round) {
          stop_and_look(traffic, 5);
          const std::uint64_t seen = traffic.sum();
          while (traffic.sum() == seen) gosched();  // all goes on
        }
        traffic.end();
      },
      {.procs = GetParam()});
}

TEST_P(StopTheWorld, under_forced_preemption_too) {
  HEDDLE_SKIP_COMPUTING();
  const TimeLimit limit;
  const DebugSetting debug(kForced);
  heddle::run(
      [] {
        Traffic traffic;
        traffic.start();
        for (int round = 0; round < 20; ++round) {
          stop_and_look(traffic, 5);
          gosched();
        }
        traffic.end();
      },
      {.procs = GetParam()});
}

TEST_P(StopTheWorld, several_stoppers_take_turns) {
  HEDDLE_SKIP_COMPUTING();
  const TimeLimit limit;
  heddle::run(
      [] {
        Traffic traffic;
        traffic.start();
        WaitGroup stoppers;
        for (int i = 0; i < 3; ++i) stoppers.go([&] { stop_and_look(traffic, 20); });
        std::atomic<bool> done{false};
        std::thread foreign([&] {
          stop_and_look(traffic, 20);
          done.store(true);
        });
        stoppers.wait();
        while (!done.load()) sleep(100us);
        foreign.join();
        traffic.end();
      },
      {.procs = GetParam()});
}

// Each round it sleeps in the kernel until sysmon has taken its P, and then computes on without one.
TEST_P(StopTheWorld, who_computes_without_a_P_stands_too) {
  HEDDLE_SKIP_COMPUTING();
  if (!membarrier_works()) GTEST_SKIP() << "without membarrier(2) no P is taken";
  const TimeLimit limit;
  heddle::run(
      [] {
        std::atomic<std::uint64_t> count{0};
        std::atomic<int> round{0};
        std::atomic<bool> lost{false};
        WaitGroup wg;
        wg.go([&] {
          for (int r = 0; r < 5; ++r) {
            gosched();  // it has a P again
            while (!lost.load()) ::usleep(1'000);
            while (round.load() == r) count.store(count.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
          }
        });
        for (int r = 0; r < 5; ++r) {
          for (const std::uint64_t before = test::retakes(); test::retakes() == before;) sleep(1ms);
          const std::uint64_t before = count.load();
          lost.store(true);
          while (count.load() == before) sleep(100us);
          for (int i = 0; i < 20; ++i) {
            std::uint64_t first = 0;
            std::uint64_t then = 1;
            if (const WorldStopped stopped; stopped) {
              first = count.load();
              linger();
              then = count.load();
            }
            EXPECT_EQ(first, then);
          }
          lost.store(false);
          ++round;
        }
        wg.wait();
      },
      {.procs = GetParam()});
}

TEST_P(StopTheWorld, an_idle_world_stops_and_wakes_for_events) {
  const TimeLimit limit;
  heddle::run(
      [] {
        auto ticks = make_chan<int>();
        WaitGroup wg;
        wg.go([&] {
          for (int i = 0; i < 50; ++i) {
            sleep(100us);
            ticks.send(i);
          }
          ticks.close();
        });
        int next = 0;
        for (int tick : ticks) {
          EXPECT_EQ(tick, next++);
          const WorldStopped stopped;
          EXPECT_TRUE(stopped);
        }
        EXPECT_EQ(next, 50);
        wg.wait();
      },
      {.procs = GetParam()});
}

// A raw read(2) on a pipe: nobody marked it, and a signal would cut it short.
TEST_P(StopTheWorld, a_system_call_goes_on_undisturbed) {
  const TimeLimit limit;
  heddle::run(
      [] {
        std::array<int, 2> ends{};
        ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
        std::atomic<int> reading{0};
        WaitGroup wg;
        for (const bool marked : {false, true}) {
          wg.go([&, marked] {
            char byte = 0;
            reading.fetch_add(1);
            if (marked) enter_syscall();
            const ssize_t n = ::read(ends[0], &byte, 1);
            const int error = errno;
            if (marked) exit_syscall();
            EXPECT_EQ(n, 1) << error;
          });
        }
        while (reading.load() != 2) gosched();
        for (int i = 0; i < 20; ++i) {
          const WorldStopped stopped;
          EXPECT_TRUE(stopped);
        }
        EXPECT_EQ(::write(ends[1], "ab", 2), 2);
        wg.wait();
        ::close(ends[0]);
        ::close(ends[1]);
      },
      {.procs = GetParam()});
}

TEST(StopTheWorldOnce, pauses_are_counted_for_every_P) {
  const TimeLimit limit;
  heddle::run(
      [] {
        Traffic traffic;
        traffic.start();
        ASSERT_TRUE(stop_the_world());
        linger();
        const WorldPause pause = start_the_world();
        EXPECT_LE(pause.stopping, pause.total);
        EXPECT_GT(pause.total, 0ns);
        traffic.end();
        const SchedStats stats = sched_stats();
        EXPECT_EQ(stats.world_stops, 1U);
        EXPECT_EQ(stats.world_stopping, pause.stopping);
        for (const ProcStats& p : stats.procs) {
          EXPECT_EQ(p.pauses, 1U);
          EXPECT_GT(p.paused, 0ns);
          EXPECT_LE(p.paused, pause.total);
          EXPECT_EQ(p.longest_pause, p.paused);
        }
      },
      {.procs = 2});
}

TEST(StopTheWorldOnce, run_may_end_while_a_goroutine_stops_it_again_and_again) {
  const TimeLimit limit;
  for (int i = 0; i < 50; ++i) {
    heddle::run(
        [] {
          for (int k = 0; k < 2; ++k) {
            go([] {
              for (;;) {
                const WorldStopped stopped;
              }
            });
          }
          for (int k = 0; k < 20; ++k) gosched();
        },
        {.procs = 2});
  }
}

TEST(StopTheWorldOnce, outside_run_there_is_none) { EXPECT_FALSE(stop_the_world()); }

TEST(StopTheWorldDeathTest, parking_meanwhile_is_fatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(heddle::run(
                   [] {
                     const WorldStopped stopped;
                     sleep(1ms);
                   },
                   {.procs = 2}),
               "parks or yields while it has stopped the world");
}

}  // namespace
}  // namespace heddle
