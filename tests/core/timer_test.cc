// Timer, Ticker, after, after_func: Go's rules for them, under any interleaving, and by the million.
//
// Where a test must be sure of the time it runs on the testing kit's clock, and lets time pass as if it computed: so timers are
// late, and several may be due at once.
#include <gtest/gtest.h>
#include <heddle/core/clock.h>
#include <heddle/core/go.h>
#include <heddle/core/internal/sched.h>
#include <heddle/core/mutex.h>
#include <heddle/core/panic.h>
#include <heddle/core/run.h>
#include <heddle/core/select.h>
#include <heddle/core/test.h>
#include <heddle/core/timer.h>
#include <heddle/core/wait_group.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "preemption.h"
#include "traffic.h"

namespace heddle {
namespace {

using namespace std::chrono_literals;
using test::on_procs;

// One P that a goroutine keeps until it waits: what each line finds is certain.
template <class Fn>
void on_one_p(Fn fn) {
  run(fn, {.procs = 1, .preempt = false});
}

// Lets `d` pass, and all that is due then happen.
void pass(Duration d) {
  test::spend(d);
  test::wait();
}

template <class Fn>
void in_fake_time(Fn fn) {
  test::explore(20, fn, {.failed = [] { return testing::Test::HasFailure(); }});
}

TEST(Timer, sends_the_time_once_when_it_has_come) {
  in_fake_time([] {
    Timer timer(10ms);
    pass(9ms);
    EXPECT_FALSE(timer.c().try_recv().has_value());
    pass(1ms);
    EXPECT_EQ(timer.c().try_recv(), now());
    pass(1h);
    EXPECT_FALSE(timer.c().try_recv().has_value());
  });
}

TEST(Timer, wakes_who_waits_for_it) {
  for (const int procs : {1, 2, 4}) {
    on_procs(procs, [] {
      const TimePoint start = now();
      Timer timer(2ms);
      const auto tick = timer.c().recv();
      ASSERT_TRUE(tick.has_value());
      EXPECT_GE(*tick - start, 2ms);
      EXPECT_GE(now() - start, 2ms);
    });
  }
}

TEST(Timer, with_no_time_to_wait_fires_at_once) {
  on_one_p([] {
    for (const Duration d : {Duration(0), Duration(-5), Duration(Duration::min())}) {
      Timer timer(d);
      EXPECT_TRUE(timer.c().recv().has_value());
    }
  });
}

TEST(Timer, set_to_the_end_of_time_never_fires) {
  in_fake_time([] {
    Timer timer(Duration::max());
    pass(24h * 365);
    EXPECT_FALSE(timer.c().try_recv().has_value());
    EXPECT_TRUE(timer.stop());
  });
}

TEST(Timer, stop_prevents_the_tick) {
  in_fake_time([] {
    Timer timer(10ms);
    EXPECT_TRUE(timer.stop());
    EXPECT_FALSE(timer.stop());
    pass(1h);
    EXPECT_FALSE(timer.c().try_recv().has_value());
  });
}

TEST(Timer, stop_takes_back_a_tick_that_nobody_received) {
  in_fake_time([] {
    Timer timer(10ms);
    pass(10ms);
    EXPECT_TRUE(timer.stop());
    EXPECT_FALSE(timer.c().try_recv().has_value());
    EXPECT_FALSE(timer.stop());
  });
}

TEST(Timer, stop_after_the_tick_was_received_is_false) {
  in_fake_time([] {
    Timer timer(10ms);
    pass(10ms);
    EXPECT_TRUE(timer.c().try_recv().has_value());
    EXPECT_FALSE(timer.stop());
  });
}

TEST(Timer, reset_takes_back_a_tick_that_nobody_received) {
  in_fake_time([] {
    Timer timer(10ms);
    pass(10ms);
    EXPECT_TRUE(timer.reset(20ms));
    EXPECT_FALSE(timer.c().try_recv().has_value());
    pass(19ms);
    EXPECT_FALSE(timer.c().try_recv().has_value());
    pass(1ms);
    EXPECT_EQ(timer.c().try_recv(), now());
    EXPECT_FALSE(timer.reset(1ms));
    EXPECT_TRUE(timer.stop());
  });
}

TEST(Timer, reset_to_later_and_to_earlier_both_hold) {
  in_fake_time([] {
    Timer timer(10ms);
    EXPECT_TRUE(timer.reset(50ms));
    pass(49ms);
    EXPECT_FALSE(timer.c().try_recv().has_value());
    EXPECT_TRUE(timer.reset(1h));
    EXPECT_TRUE(timer.reset(5ms));
    pass(5ms);
    EXPECT_TRUE(timer.c().try_recv().has_value());
  });
}

TEST(Timer, reset_after_stop_starts_it_again) {
  in_fake_time([] {
    Timer timer(10ms);
    EXPECT_TRUE(timer.stop());
    EXPECT_FALSE(timer.reset(20ms));
    pass(20ms);
    EXPECT_TRUE(timer.c().try_recv().has_value());
  });
}

TEST(Timer, its_channel_looks_unbuffered) {
  in_fake_time([] {
    Timer timer(10ms);
    EXPECT_EQ(timer.c().cap(), 0u);
    pass(10ms);
    EXPECT_EQ(timer.c().len(), 0u);
    EXPECT_TRUE(timer.c().try_recv().has_value());
  });
}

TEST(Timer, gone_leaves_a_channel_that_stays_silent) {
  in_fake_time([] {
    RecvChan<TimePoint> c;
    {
      const Timer timer(10ms);
      c = timer.c();
    }
    pass(1h);
    EXPECT_FALSE(c.try_recv().has_value());
    EXPECT_EQ(sched.ps[0].timers.size(), 0u);
  });
}

TEST(Timer, may_be_moved) {
  in_fake_time([] {
    Timer a(10ms);
    Timer b(std::move(a));
    a = Timer(20ms);
    pass(10ms);
    EXPECT_TRUE(b.c().try_recv().has_value());
    EXPECT_FALSE(a.c().try_recv().has_value());
    pass(10ms);
    EXPECT_TRUE(a.c().try_recv().has_value());
  });
}

TEST(Timer, outlives_the_run_that_armed_it_and_serves_the_next) {
  std::optional<Timer> timer;
  std::optional<Timer> fired;
  test::run([&] {
    timer.emplace(10ms);
    fired.emplace(0ms);
    pass(1ms);
  });
  test::run([&] {
    EXPECT_FALSE(timer->stop());
    EXPECT_TRUE(fired->stop());
    pass(1h);
    EXPECT_FALSE(timer->c().try_recv().has_value());
    EXPECT_FALSE(timer->reset(5ms));
    pass(5ms);
    EXPECT_TRUE(timer->c().try_recv().has_value());
  });
  timer.reset();
}

TEST(SleepUntil, returns_when_the_time_has_come) {
  on_one_p([] {
    const TimePoint start = now();
    sleep_until(start - 1s);
    sleep_until(start + 2ms);
    EXPECT_GE(now(), start + 2ms);
  });
}

TEST(After, sends_once) {
  in_fake_time([] {
    auto c = after(10ms);
    pass(10ms);
    EXPECT_TRUE(c.try_recv().has_value());
    pass(1h);
    EXPECT_FALSE(c.try_recv().has_value());
  });
}

TEST(After, leaves_no_timer_behind_when_its_channel_is_dropped) {
  in_fake_time([] {
    for (int i = 0; i < 1000; ++i) {
      auto c = after(1h);
      EXPECT_FALSE(c.try_recv().has_value());
    }
    EXPECT_EQ(sched.ps[0].timers.size(), 0u);
  });
}

TEST(Ticker, ticks_on_its_grid_however_late_it_is_served) {
  in_fake_time([] {
    const TimePoint start = now();
    Ticker ticker(10ms);
    std::vector<std::int64_t> at;
    for (int i = 0; i < 10; ++i) {
      pass(i % 3 == 0 ? 13ms : 9ms);  // the scheduler comes to it at odd times
      if (const auto t = ticker.c().try_recv()) at.push_back((*t - start).count() / 1'000'000);
    }
    // 13 22 31 44 53 62 75 84 93 106: the first look at or after each multiple of 10.
    EXPECT_EQ(at, (std::vector<std::int64_t>{13, 22, 31, 44, 53, 62, 75, 84, 93, 106}));
  });
}

TEST(Ticker, drops_ticks_for_a_slow_receiver) {
  in_fake_time([] {
    Ticker ticker(10ms);
    for (int i = 0; i < 100; ++i) pass(10ms);
    EXPECT_TRUE(ticker.c().try_recv().has_value());
    EXPECT_FALSE(ticker.c().try_recv().has_value());
    pass(35ms);  // three at once
    EXPECT_TRUE(ticker.c().try_recv().has_value());
    EXPECT_FALSE(ticker.c().try_recv().has_value());
    pass(5ms);
    EXPECT_TRUE(ticker.c().try_recv().has_value());
  });
}

TEST(Ticker, stop_takes_back_a_tick_and_reset_starts_again) {
  in_fake_time([] {
    Ticker ticker(10ms);
    pass(10ms);
    ticker.stop();
    EXPECT_FALSE(ticker.c().try_recv().has_value());
    pass(1h);
    EXPECT_FALSE(ticker.c().try_recv().has_value());
    ticker.reset(3ms);
    pass(3ms);
    EXPECT_TRUE(ticker.c().try_recv().has_value());
    pass(2ms);
    ticker.reset(7ms);
    pass(6ms);
    EXPECT_FALSE(ticker.c().try_recv().has_value());
    pass(1ms);
    EXPECT_TRUE(ticker.c().try_recv().has_value());
  });
}

TEST(Ticker, refuses_a_period_that_is_none) {
  on_one_p([] {
    EXPECT_THROW(Ticker(0ms), Panic);
    Ticker ticker(1h);
    EXPECT_THROW(ticker.reset(-1ms), Panic);
  });
}

TEST(AfterFunc, runs_the_function_on_a_goroutine_of_its_own) {
  in_fake_time([] {
    std::uint64_t id = 0;
    auto timer = after_func(10ms, [&] {
      id = goroutine_id();
      gosched();  // it may park
    });
    pass(9ms);
    EXPECT_EQ(id, 0u);
    pass(1ms);
    EXPECT_NE(id, 0u);
    EXPECT_NE(id, goroutine_id());
    EXPECT_FALSE(timer.stop());
  });
}

TEST(AfterFunc, stop_prevents_it) {
  in_fake_time([] {
    bool ran = false;
    auto timer = after_func(10ms, [&] { ran = true; });
    EXPECT_TRUE(timer.stop());
    EXPECT_FALSE(timer.stop());
    pass(1h);
    EXPECT_FALSE(ran);
  });
}

TEST(AfterFunc, reset_runs_it_later_or_once_more) {
  in_fake_time([] {
    int runs = 0;
    auto timer = after_func(10ms, [&] { ++runs; });
    EXPECT_TRUE(timer.reset(20ms));
    pass(19ms);
    EXPECT_EQ(runs, 0);
    pass(1ms);
    EXPECT_EQ(runs, 1);
    EXPECT_FALSE(timer.reset(5ms));
    pass(5ms);
    EXPECT_EQ(runs, 2);
  });
}

// A function's captures tell whether it lives.
TEST(AfterFunc, its_function_dies_once_it_is_needed_no_more) {
  in_fake_time([] {
    auto token = std::make_shared<int>(0);
    static_cast<void>(after_func(10ms, [token] {}));  // dropped: goes on
    EXPECT_EQ(token.use_count(), 2);
    pass(10ms);
    EXPECT_EQ(token.use_count(), 1);
    {
      auto timer = after_func(10ms, [token] {});
      EXPECT_TRUE(timer.stop());
    }
    EXPECT_EQ(token.use_count(), 1);
    static_cast<void>(after_func(0ms, [token] { goexit(); }));
    pass(0ms);
    EXPECT_EQ(token.use_count(), 1);
  });
}

TEST(AfterFunc, dies_with_the_run_that_ends_first) {
  auto token = std::make_shared<int>(0);
  on_one_p([&] {
    for (int i = 0; i < 100; ++i) static_cast<void>(after_func(1h, [token] {}));
  });
  EXPECT_EQ(token.use_count(), 1);
}

// Main computes without a call into the runtime; the timer is on its P.
TEST(Timers, of_a_busy_P_are_run_by_another) {
  const test::TimeLimit limit;
  run(
      [] {
        std::atomic<bool> fired{false};
        static_cast<void>(after_func(1ms, [&] { fired = true; }));
        test::spin_while_not(fired);
      },
      {.procs = 2, .preempt = false});
}

// A sleeping P is woken for a timer of its own that another P's goroutine made earlier.
TEST(Timers, made_earlier_from_another_P_wake_the_P_that_has_them) {
  const test::TimeLimit limit;
  on_procs(2, [] {
    for (int round = 0; round < 20; ++round) {
      Timer timer(1h);
      std::thread foreign([&] { EXPECT_TRUE(timer.reset(0ms)); });
      EXPECT_TRUE(timer.c().recv().has_value());
      foreign.join();
    }
  });
}

// --- under load ---

// Under the testing kit time passes only if somebody says so while nobody waits.
void give_way() {
  if (test::seed() != 0) test::spend(5us);
  gosched();
}

// Whoever stops or resets a timer gets no tick from before.
TEST(TimerStress, no_stale_tick_after_stop_or_reset) {
  test::on_all_schedules(
      [](std::uint64_t seed, int effort) {
        test::Random random(seed);
        Timer timer(0ms);
        for (int i = 0; i < 10 * effort; ++i) {
          const auto some = std::chrono::microseconds(random.below(20));
          timer.reset(some);
          for (std::uint64_t n = random.below(4); n > 0; --n) give_way();
          if (random.below(2) == 0) {
            static_cast<void>(timer.stop());
            ASSERT_FALSE(timer.c().try_recv().has_value());
            for (std::uint64_t n = random.below(4); n > 0; --n) give_way();
            ASSERT_FALSE(timer.c().try_recv().has_value());
          } else {
            timer.reset(1h);
            ASSERT_FALSE(timer.c().try_recv().has_value());
            ASSERT_TRUE(timer.stop());
          }
        }
      },
      200);
}

// Every arming ends in exactly one of: stopped (or moved) before it fired, or one run of the function.
TEST(TimerStress, each_arming_fires_or_is_called_off_but_not_both) {
  test::on_all_schedules(
      [](std::uint64_t seed, int effort) {
        std::atomic<int> runs{0};
        int called_off = 0;
        int armed = 1;
        test::Random random(seed + 1);
        auto timer = after_func(0ms, [&] { ++runs; });
        for (int i = 0; i < 20 * effort; ++i) {
          if (random.below(2) == 0) {
            if (timer.stop()) ++called_off;
          } else {
            if (timer.reset(std::chrono::microseconds(random.below(10)))) ++called_off;
            ++armed;
          }
          if (random.below(3) == 0) give_way();
        }
        if (timer.stop()) ++called_off;
        while (runs + called_off < armed) give_way();
        EXPECT_EQ(runs + called_off, armed);
      },
      200);
}

// Timers made here, moved, stopped and freed there.
TEST(TimerStress, many_goroutines_share_timers) {
  test::on_all_schedules(
      [](std::uint64_t seed, int effort) {
        constexpr std::size_t kTimers = 100;
        std::vector<std::unique_ptr<Timer>> timers;
        std::atomic<int> started{0};
        std::atomic<int> runs{0};
        for (std::size_t i = 0; i < kTimers; ++i) timers.push_back(std::make_unique<Timer>(1h));
        WaitGroup wg;
        for (std::uint64_t worker = 0; worker < 6; ++worker) {
          wg.go([&, worker] {
            test::Random random(seed * 10 + worker);
            for (int i = 0; i < 20 * effort; ++i) {
              Timer& t = *timers[random.below(kTimers)];
              switch (random.below(6)) {
                case 0: static_cast<void>(t.stop()); break;
                case 1: t.reset(std::chrono::microseconds(random.below(50))); break;
                case 2: t.reset(std::chrono::hours(1 + random.below(5))); break;
                case 3: static_cast<void>(t.c().try_recv()); break;
                case 4:
                  ++started;
                  static_cast<void>(after_func(std::chrono::microseconds(random.below(50)), [&] { ++runs; }));
                  break;
                case 5: give_way(); break;
                default: break;
              }
            }
          });
        }
        wg.wait();
        for (auto& t : timers) static_cast<void>(t->stop());
        for (auto& t : timers) EXPECT_FALSE(t->c().try_recv().has_value());
        timers.clear();
        while (runs < started) give_way();
      },
      100);
}

// A million timers over 50 ms of a clock moved by hand: none before its time, all of a millisecond in that one.
TEST(TimerStress, a_million_live_timers_fire_in_their_millisecond) {
  test::run([] {
    constexpr std::size_t kTimers = 1'000'000 / (test::kSlow * test::kSlow);
    constexpr std::int64_t kMilliseconds = 50;
    test::Random random(7);
    struct Shared {
      std::int64_t start = nanotime();
      std::size_t fired = 0;
      std::size_t wrong = 0;
    } shared;
    std::vector<std::size_t> in(kMilliseconds + 1);
    for (std::size_t i = 0; i < kTimers; ++i) {
      const auto ms = static_cast<std::int64_t>(1 + random.below(kMilliseconds));
      ++in[static_cast<std::size_t>(ms)];
      static_cast<void>(after_func(std::chrono::milliseconds(ms) - Duration(10'000), [&shared, ms] {
        ++shared.fired;
        if ((nanotime() - shared.start) / 1'000'000 != ms) ++shared.wrong;
      }));
    }
    EXPECT_EQ(sched.ps[0].timers.size(), kTimers);
    std::size_t expected = 0;
    for (std::int64_t ms = 1; ms <= kMilliseconds; ++ms) {
      test::spend(1ms);
      expected += in[static_cast<std::size_t>(ms)];
      while (shared.fired < expected) gosched();
      EXPECT_EQ(shared.fired, expected);
    }
    EXPECT_EQ(shared.wrong, 0u);
    EXPECT_EQ(sched.ps[0].timers.size(), 0u);
  });
}

}  // namespace
}  // namespace heddle
