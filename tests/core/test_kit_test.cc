// The testing kit: its clock, its schedules, what it finds, and what it tells.
#include <gtest/gtest.h>
#include <heddle/core/blocking.h>
#include <heddle/core/chan.h>
#include <heddle/core/context.h>
#include <heddle/core/dump.h>
#include <heddle/core/go.h>
#include <heddle/core/mutex.h>
#include <heddle/core/panic.h>
#include <heddle/core/select.h>
#include <heddle/core/test.h>
#include <heddle/core/timer.h>
#include <heddle/core/wait_group.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "traffic.h"

namespace heddle {
namespace {

using namespace std::chrono_literals;

// The Failure that `fn` ends in; none is one of the test's.
template <class Fn>
test::Failure failure_of(Fn fn) {
  try {
    fn();
  } catch (const test::Failure& failure) {
    return failure;
  }
  ADD_FAILURE() << "no test::Failure";
  return {"", 0};
}

bool says(const test::Failure& failure, std::string_view text) {
  return std::string_view(failure.what()).find(text) != std::string_view::npos;
}

// --- the clock ---

TEST(TestClock, begins_at_the_same_moment_each_time) {
  std::vector<TimePoint> starts;
  test::explore(3, [&] {
    starts.push_back(now());
    sleep(1h);
  });
  test::run([&] { starts.push_back(now()); });
  EXPECT_EQ(starts, std::vector<TimePoint>(4, starts[0]));
}

TEST(TestClock, goes_on_by_exactly_what_is_slept) {
  const auto real = std::chrono::steady_clock::now();
  test::run([] {
    const TimePoint start = now();
    sleep(1ns);
    EXPECT_EQ(now() - start, 1ns);
    sleep(24h * 365);
    EXPECT_EQ(now() - start, 24h * 365 + 1ns);
    sleep_until(start);
    EXPECT_EQ(now() - start, 24h * 365 + 1ns);
  });
  EXPECT_LT(std::chrono::steady_clock::now() - real, 1h);
}

TEST(TestClock, stands_still_while_a_goroutine_can_run) {
  test::explore(50, [] {
    const TimePoint start = now();
    bool over = false;
    WaitGroup wg;
    wg.go([&] {
      for (int i = 0; i < 100; ++i) gosched();
      EXPECT_EQ(now(), start);
      over = true;
    });
    sleep(1ns);
    EXPECT_TRUE(over);
    wg.wait();
  });
}

TEST(TestClock, is_that_of_timers_selects_and_contexts) {
  test::explore(50, [] {
    const TimePoint start = now();
    EXPECT_EQ(*after(3s).recv() - start, 3s);
    auto never = make_chan<int>();
    select(on_recv(never, [](int, bool) {}), on_timeout(4s, [] {}));
    EXPECT_EQ(now() - start, 7s);
    auto [ctx, cancel] = with_timeout(Context::background(), 1min);
    static_cast<void>(ctx.done().recv());
    EXPECT_EQ(now() - start, 67s);
    Ticker ticker(10s);
    for (int i = 1; i <= 5; ++i) EXPECT_EQ(*ticker.c().recv() - start, 67s + i * 10s);
    int runs = 0;
    static_cast<void>(after_func(1s, [&] { ++runs; }));
    sleep(1s);
    test::wait();
    EXPECT_EQ(runs, 1);
  });
}

TEST(TestClock, goes_on_by_what_a_goroutine_spends_and_timers_are_late) {
  test::explore(50, [] {
    const TimePoint start = now();
    TimePoint woke;
    WaitGroup wg;
    wg.go([&] {
      sleep(10ms);
      woke = now();
    });
    test::wait();
    test::spend(25ms);
    test::spend(-1ms);
    EXPECT_EQ(now() - start, 25ms);
    wg.wait();
    EXPECT_EQ(woke - start, 25ms);
  });
}

TEST(TestClock, fires_timers_in_the_order_of_their_times) {
  test::explore(50, [] {
    std::vector<int> order;
    WaitGroup wg;
    for (const int ms : {5, 3, 9, 1, 7}) {
      wg.go([&, ms] {
        sleep(std::chrono::milliseconds(ms));
        order.push_back(ms);
      });
    }
    wg.wait();
    EXPECT_EQ(order, (std::vector{1, 3, 5, 7, 9}));
  });
}

TEST(TestClock, stands_still_while_a_goroutine_is_in_blocking) {
  test::run([] {
    const TimePoint start = now();
    auto done = make_chan<int>();
    go([=]() mutable {
      blocking([] { std::this_thread::sleep_for(5ms); });
      done.send(1);
    });
    select(on_recv(done, [](int, bool) {}), on_timeout(1ns, [] { ADD_FAILURE() << "the clock went on"; }));
    EXPECT_EQ(now(), start);
  });
}

TEST(TestClock, stands_still_while_a_report_is_written) {
  test::run([] {
    const TimePoint start = now();
    WaitGroup wg;
    wg.go([] { sleep(1h); });
    EXPECT_NE(dump_goroutines({.stacks = true}).find("goroutine 1 [running] \"test\""), std::string::npos);
    EXPECT_EQ(now(), start);
    wg.wait();
  });
}

TEST(TestWait, returns_when_all_others_wait) {
  test::explore(100, [] {
    auto c = make_chan<int>();
    int at = 0;
    WaitGroup wg;
    wg.go([&] {
      at = 1;
      for (int v : c) at += v;
    });
    test::wait();
    EXPECT_EQ(at, 1);
    c.send(10);
    test::wait();
    EXPECT_EQ(at, 11);
    c.close();
    wg.wait();
  });
}

TEST(TestWait, returns_before_the_clock_goes_on) {
  test::explore(100, [] {
    const TimePoint start = now();
    bool woke = false;
    WaitGroup wg;
    wg.go([&] {
      sleep(1ns);
      woke = true;
    });
    test::wait();
    EXPECT_EQ(now(), start);
    EXPECT_FALSE(woke);
    sleep(1ns);
    test::wait();
    EXPECT_TRUE(woke);
    wg.wait();
  });
}

TEST(TestWait, is_for_one_goroutine_at_a_time) {
  test::explore(20, [] {
    int refused = 0;
    const auto try_wait = [&] {
      try {
        test::wait();
      } catch (const Panic&) {
        ++refused;
      }
    };
    WaitGroup wg;
    wg.go(try_wait);
    wg.go(try_wait);
    wg.wait();
    EXPECT_EQ(refused, 1);
  });
}

// --- the schedule ---

// Three goroutines that tell their turns, by way of most operations that are points of the schedule.
std::string turns() {
  std::string text;
  Mutex mutex;
  auto c = make_chan<int>(2);
  auto d = make_chan<int>();
  WaitGroup wg;
  for (char name = 'a'; name < 'd'; ++name) {
    wg.go([&, name] {
      for (int i = 0; i < 3; ++i) {
        {
          const std::lock_guard guard(mutex);
          text += name;
        }
        select(on_send(c, i, [] {}), on_recv(c, [&](int, bool) { text += '.'; }), on_recv(d, [](int, bool) {}));
        if (i == 1) sleep(1ms);
      }
    });
  }
  wg.wait();
  return text + std::to_string(goroutine_id());
}

TEST(TestSchedule, is_the_same_for_the_same_seed) {
  std::vector<std::string> texts;
  std::vector<std::uint64_t> schedules;
  const auto seen = test::explore(100, [&] {
    texts.push_back(turns());
    EXPECT_EQ(goroutine_id(), 1u);
  });
  EXPECT_EQ(seen.seeds, 100u);
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    std::string text;
    const auto outcome = test::run([&] { text = turns(); }, {.seed = seed});
    EXPECT_EQ(text, texts[seed - 1]) << "alone, and as one of many";
    EXPECT_EQ(outcome.seed, seed);
    EXPECT_EQ(outcome.schedule, test::run([] { turns(); }, {.seed = seed}).schedule);
  }
}

TEST(TestSchedule, differs_between_seeds) {
  EXPECT_GT(test::explore(100, [] { turns(); }).schedules, 95u);
}

TEST(TestSchedule, is_not_changed_by_what_earlier_seeds_left_armed) {
  std::vector<std::uint64_t> seen;
  test::explore(20, [&](std::uint64_t seed) {
    if (seed < 20) {
      static_cast<void>(after_func(1ms, [] {}));
      static_cast<void>(after(0ms));
      return;
    }
    turns();
    seen.push_back(static_cast<std::uint64_t>((now() - TimePoint{}).count()));
  });
  test::run(
      [&] {
        turns();
        EXPECT_EQ(seen.at(0), static_cast<std::uint64_t>((now() - TimePoint{}).count()));
      },
      {.seed = 20});
}

TEST(TestSchedule, reaches_each_order_of_what_is_runnable) {
  std::vector<bool> seen(24);
  test::explore(2000, [&] {
    std::string order;
    WaitGroup wg;
    for (char name = 'a'; name < 'e'; ++name) wg.go([&, name] { order += name; });
    wg.wait();
    std::string permutation = "abcd";
    std::size_t i = 0;
    for (; permutation != order; ++i) std::ranges::next_permutation(permutation);
    seen[i] = true;
  });
  EXPECT_EQ(std::ranges::count(seen, true), 24);
}

TEST(TestSchedule, draws_random_numbers_from_the_seed) {
  std::vector<std::uint64_t> numbers;
  for (int i = 0; i < 2; ++i) {
    test::run(
        [&] {
          for (int n = 0; n < 10; ++n) numbers.push_back(test::random(1000));
          EXPECT_EQ(test::seed(), 7u);
        },
        {.seed = 7});
  }
  EXPECT_TRUE(std::equal(numbers.begin(), numbers.begin() + 10, numbers.begin() + 10));
  EXPECT_EQ(test::seed(), 0u);
}

// --- what it finds ---

// Read and written under the lock each, but not together.
void lose_an_update() {
  Mutex mutex;
  int balance = 0;
  WaitGroup wg;
  for (int i = 0; i < 2; ++i) {
    wg.go([&] {
      mutex.lock();
      const int read = balance;
      mutex.unlock();
      const std::lock_guard guard(mutex);
      balance = read + 1;
    });
  }
  wg.wait();
  if (balance != 2) throw std::runtime_error("an update was lost");
}

TEST(TestExplore, finds_a_lost_update_between_two_locks) {
  std::uint64_t seed = 0;
  EXPECT_THROW(test::explore(200,
                             [&] {
                               seed = test::seed();
                               lose_an_update();
                             }),
               std::runtime_error);
  for (int i = 0; i < 3; ++i) EXPECT_THROW(test::run(lose_an_update, {.seed = seed}), std::runtime_error);
}

// Two locks, taken in two orders.
void lock_crosswise() {
  Mutex a;
  Mutex b;
  WaitGroup wg;
  wg.go([&] {
    const std::scoped_lock first(a);
    const std::scoped_lock second(b);
  });
  wg.go([&] {
    const std::scoped_lock first(b);
    const std::scoped_lock second(a);
  });
  wg.wait();
}

TEST(TestExplore, finds_a_lock_order_that_can_deadlock) {
  const auto failure = failure_of([] { test::explore(200, lock_crosswise); });
  EXPECT_TRUE(says(failure, "all goroutines are asleep - deadlock!")) << failure.what();
  EXPECT_TRUE(says(failure, "[sync.Mutex.Lock]")) << failure.what();
  EXPECT_TRUE(says(failure, "[sync.WaitGroup.Wait] \"test\"")) << failure.what();
  const auto again = failure_of([&] { test::run(lock_crosswise, {.seed = failure.seed()}); });
  EXPECT_EQ(again.seed(), failure.seed());
}

// Who looks whether there is room, and sends then, does two things.
TEST(TestExplore, finds_a_check_that_another_overtakes) {
  const auto failure = failure_of([] {
    test::explore(200, [] {
      auto c = make_chan<int>(1);
      WaitGroup wg;
      for (int i = 0; i < 2; ++i) {
        wg.go([&, i] {
          if (c.len() < c.cap()) c.send(i);
        });
      }
      wg.wait();
    });
  });
  EXPECT_TRUE(says(failure, "[chan send]")) << failure.what();
}

TEST(TestExplore, finds_what_happens_only_if_the_new_goroutine_is_first) {
  EXPECT_THROW(test::explore(100,
                             [] {
                               int x = 0;
                               WaitGroup wg;
                               wg.go([&] { x = 1; });
                               const int seen = x;
                               wg.wait();
                               if (seen == 1) throw std::runtime_error("seen");
                             }),
               std::runtime_error);
}

TEST(TestExplore, stops_at_the_first_failure) {
  int runs = 0;
  const auto failure = failure_of([&] {
    test::explore(100, [&](std::uint64_t seed) {
      ++runs;
      if (seed == 7) go([] { static_cast<void>(make_chan<int>().recv()); });
    });
  });
  EXPECT_EQ(runs, 7);
  EXPECT_EQ(failure.seed(), 7u);
}

bool fails_now = false;

TEST(TestExplore, asks_the_framework_whether_the_body_failed) {
  fails_now = false;
  const auto failure = failure_of([] {
    test::explore(100, [](std::uint64_t seed) { fails_now = seed == 12; },
                  {.seed = 10, .failed = [] { return fails_now; }});
  });
  EXPECT_EQ(failure.seed(), 12u);
  EXPECT_TRUE(says(failure, "HEDDLE_TEST_SEED=12 runs this schedule again")) << failure.what();
}

TEST(TestExplore, runs_the_seed_of_the_environment_alone) {
  ::setenv("HEDDLE_TEST_SEED", "4711", 1);
  std::vector<std::uint64_t> seeds;
  test::explore(100, [&](std::uint64_t seed) { seeds.push_back(seed); });
  test::run([&](std::uint64_t seed) { seeds.push_back(seed); }, {.seed = 3});
  ::unsetenv("HEDDLE_TEST_SEED");
  EXPECT_EQ(seeds, (std::vector<std::uint64_t>{4711, 4711}));
}

// --- ends ---

TEST(TestRun, fails_if_goroutines_are_left_and_lists_them) {
  const auto failure = failure_of([] {
    test::run([] {
      auto c = make_chan<int>();
      go({.name = "lost"}, [c]() mutable { static_cast<void>(c.recv()); });
      go([] { sleep(1h); });
    });
  });
  EXPECT_TRUE(says(failure, "goroutines are left when the test's body has returned")) << failure.what();
  EXPECT_TRUE(says(failure, "[chan receive] \"lost\"")) << failure.what();
  EXPECT_TRUE(says(failure, "[sleep]")) << failure.what();
  EXPECT_TRUE(says(failure, "created by goroutine 1 at tests/core/test_kit_test.cc")) << failure.what();
  EXPECT_FALSE(says(failure, "\"main\"")) << "the driver is none of the test's";
}

TEST(TestRun, lets_the_others_run_out) {
  test::explore(50, [] {
    auto c = make_chan<int>();
    go([c]() mutable { c.send(1); });
    go([c]() mutable {
      for (int i = 0; i < 10; ++i) gosched();
      static_cast<void>(c.recv());
    });
  });
}

TEST(TestRun, may_be_told_that_goroutines_are_left) {
  int runs = 0;
  test::explore(5,
                [&] {
                  ++runs;
                  go([] { sleep(1h); });
                },
                {.may_leave = true});
  EXPECT_EQ(runs, 5);
}

TEST(TestRun, ends_a_deadlock_and_the_process_goes_on) {
  for (int i = 0; i < 3; ++i) {
    const auto failure = failure_of([] { test::run([] { static_cast<void>(make_chan<int>().recv()); }); });
    EXPECT_TRUE(says(failure, "deadlock!")) << failure.what();
    EXPECT_TRUE(says(failure, "goroutine 1 [chan receive] \"test\"")) << failure.what();
  }
  test::run([] {});
}

TEST(TestRun, bounds_what_never_ends) {
  const auto spinning = failure_of([] {
    test::run(
        [] {
          for (;;) gosched();
        },
        {.most_steps = 1000});
  });
  EXPECT_TRUE(says(spinning, "not done after 1000 steps")) << spinning.what();
  // All wait, and the ticker ticks for nobody.
  const auto ticking = failure_of([] {
    test::run(
        [] {
          const Ticker ticker(1s);
          static_cast<void>(make_chan<int>().recv());
        },
        {.most_steps = 1000});
  });
  EXPECT_TRUE(says(ticking, "[chan receive]")) << ticking.what();
}

TEST(TestRun, passes_on_what_leaves_the_body) {
  EXPECT_THROW(test::run([] { throw std::out_of_range("x"); }), std::out_of_range);
  EXPECT_THROW(test::run([] {
                 go([] { static_cast<void>(make_chan<int>().recv()); });
                 throw 5;
               }),
               int);
}

TEST(TestRun, waits_for_the_others_if_the_body_leaves_by_goexit) {
  bool done = false;
  test::run([&] {
    go([&] { done = true; });
    goexit();
  });
  EXPECT_TRUE(done);
}

TEST(TestRun, holds_more_goroutines_than_a_ring) {
  test::run([] {
    int ran = 0;
    WaitGroup wg;
    for (int i = 0; i < 2000; ++i) wg.go([&] { ++ran; });
    wg.wait();
    EXPECT_EQ(ran, 2000);
  });
}

TEST(TestRun, leaves_the_clock_and_locks_as_they_were) {
  test::run([] {});
  const auto real = std::chrono::steady_clock::now();
  EXPECT_GE(now(), real);
  heddle::run([] {
    Mutex mutex;
    const std::lock_guard guard(mutex);
    test::yield_point();
  });
}

TEST(TestRunDeathTest, a_panic_tells_the_seed) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(test::run(
                  [] {
                    go([] { throw std::runtime_error("lost"); });
                    sleep(1s);
                  },
                  {.seed = 31}),
              testing::ExitedWithCode(2), "lost(.|\n)*heddle: in a test under seed 31\n");
}

TEST(TestRunDeathTest, is_not_for_goroutines) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(heddle::run([] { test::run([] {}); }), "test::run\\(\\) while a run\\(\\) is under way");
  EXPECT_DEATH(test::run([] { test::run([] {}); }), "test::run\\(\\) while a run\\(\\) is under way");
}

}  // namespace
}  // namespace heddle
