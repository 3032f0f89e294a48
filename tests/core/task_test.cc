// spawn and Task: the result arrives once, errors do not get lost, and whoever waits goes on.
#include <gtest/gtest.h>
#include <heddle/core/chan.h>
#include <heddle/core/go.h>
#include <heddle/core/panic.h>
#include <heddle/core/run.h>
#include <heddle/core/select.h>
#include <heddle/core/task.h>
#include <heddle/core/wait_group.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "traffic.h"

namespace heddle {
namespace {

using namespace std::chrono_literals;
using test::let_others_park;
using test::on_one_p;
using test::on_procs;

TEST(Task, join_returns_the_result) {
  on_one_p([] {
    Task<int> task = spawn([] { return 42; });
    EXPECT_TRUE(task.valid());
    EXPECT_FALSE(task.done());
    EXPECT_EQ(task.join(), 42);
    EXPECT_FALSE(task.valid());
    EXPECT_FALSE(task.done());
  });
}

TEST(Task, join_moves_the_result_out) {
  on_one_p([] {
    auto task = spawn({.name = "maker"}, [] { return std::make_unique<std::string>("moved"); });
    let_others_park();
    EXPECT_TRUE(task.done());
    task.wait();  // leaves the result
    EXPECT_EQ(*task.join(), "moved");
  });
}

TEST(Task, of_a_function_without_a_result_tells_when_it_has_ended) {
  on_one_p([] {
    bool ran = false;
    Task<void> task = spawn([&ran] { ran = true; });
    task.join();
    EXPECT_TRUE(ran);
  });
}

TEST(Task, join_throws_what_the_function_threw) {
  on_one_p([] {
    Task<int> task = spawn([]() -> int { throw std::runtime_error("no page"); });
    let_others_park();
    EXPECT_TRUE(task.done());
    try {
      static_cast<void>(task.join());
      ADD_FAILURE() << "nothing thrown";
    } catch (const std::runtime_error& e) {
      EXPECT_STREQ(e.what(), "no page");
    }
    EXPECT_FALSE(task.valid());
    auto panics = spawn([] { make_chan<int>().close(), Chan<int>().close(); });
    EXPECT_THROW(panics.join(), Panic);
  });
}

TEST(Task, join_after_goexit_throws_a_panic) {
  on_one_p([] {
    Task<int> task = spawn([]() -> int { goexit(); });
    EXPECT_THROW(static_cast<void>(task.join()), Panic);
  });
}

TEST(Task, what_the_function_owns_is_gone_when_join_returns) {
  on_one_p([] {
    auto resource = std::make_shared<int>(1);
    spawn([resource] { gosched(); }).join();
    EXPECT_EQ(resource.use_count(), 1);
  });
}

TEST(Task, dropped_it_leaves_its_goroutine_running) {
  on_one_p([] {
    auto gate = make_chan<int>();
    auto alive = std::make_shared<int>(1);
    bool ran = false;
    {
      auto dropped = spawn([&, alive] {
        gate.recv().value();
        ran = true;
        return alive;
      });
    }
    gate.send(1);
    let_others_park();
    EXPECT_TRUE(ran);
    EXPECT_EQ(alive.use_count(), 1);
    {
      auto dropped_late = spawn([alive] { return alive; });
      let_others_park();
      EXPECT_EQ(alive.use_count(), 2);
    }
    EXPECT_EQ(alive.use_count(), 1);
  });
}

TEST(Task, moves_from_handle_to_handle) {
  on_one_p([] {
    Task<int> a = spawn([] { return 1; });
    Task<int> b = std::move(a);
    EXPECT_FALSE(a.valid());
    b = spawn([] { return 2; });
    EXPECT_EQ(b.join(), 2);
  });
}

TEST(Task, join_for_gives_up_in_time_and_may_be_called_again) {
  on_one_p([] {
    auto gate = make_chan<int>();
    Task<int> task = spawn([&] { return gate.recv().value(); });
    Result<int> r = task.join_for(1ms);
    ASSERT_FALSE(r);
    EXPECT_EQ(r.error().code, Code::kTimeout);
    EXPECT_FALSE(task.join_for(0ns));
    EXPECT_FALSE(task.join_until(now()));
    EXPECT_TRUE(task.valid());
    go([&] { gate.send(9); });
    r = task.join_until(kNoDeadline);
    ASSERT_TRUE(r);
    EXPECT_EQ(*r, 9);
    Task<void> nothing = spawn([] {});
    EXPECT_TRUE(nothing.join_for(1h));
  });
}

TEST(Task, stands_in_a_select) {
  on_one_p([] {
    auto gate = make_chan<int>();
    auto other = make_chan<int>();
    Task<int> task = spawn([&] { return gate.recv().value(); });
    bool done = false;
    select(on_done(task, [&] { done = true; }), on_timeout(1ms, [] {}));
    EXPECT_FALSE(done);
    go([&] { gate.send(3); });
    select(on_done(task, [&] { done = true; }), on_recv(other, [](int, bool) {}));
    EXPECT_TRUE(done);
    EXPECT_EQ(task.join(), 3);
    Task<void> over = spawn([] {});
    let_others_park();
    EXPECT_EQ(select(on_recv(other, [](int, bool) {}), on_done(over, [] {}), otherwise([] {})), 1U);
  });
}

TEST(Task, any_number_may_wait_for_one) {
  on_one_p([] {
    auto gate = make_chan<int>();
    Task<int> task = spawn([&] { return gate.recv().value(); });
    WaitGroup wg;
    int through = 0;
    for (int i = 0; i < 10; ++i) {
      wg.go([&, i] {
        if (i % 2 == 0) {
          task.wait();
        } else {
          static_cast<void>(task.done_channel().recv());
        }
        ++through;
      });
    }
    let_others_park();
    EXPECT_EQ(through, 0);
    gate.send(1);
    wg.wait();
    EXPECT_EQ(through, 10);
    EXPECT_EQ(task.join(), 1);
  });
}

TEST(Task, the_function_may_be_large_or_move_only) {
  on_one_p([] {
    struct Large {
      char padding[5000] = {};
      int operator()() { return 5; }
    };
    EXPECT_EQ(spawn(Large{}).join(), 5);
    EXPECT_EQ(spawn([p = std::make_unique<int>(6)] { return *p; }).join(), 6);
  });
}

// A tree of tasks: each result is a sum of those below.
int sum_of_tree(int depth, int leaf) {
  if (depth == 0) return leaf;
  std::vector<Task<int>> below;
  for (int i = 0; i < 4; ++i) below.push_back(spawn([depth, leaf, i] { return sum_of_tree(depth - 1, 4 * leaf + i); }));
  int sum = 0;
  for (auto& task : below) sum += task.join();
  return sum;
}

TEST(TaskStress, results_of_a_tree_add_up) {
  test::on_all_schedules([](std::uint64_t, int effort) {
    const int depth = effort == 1 ? 2 : (test::kSlow == 1 ? 6 : 4);
    const int leaves = 1 << (2 * depth);
    EXPECT_EQ(sum_of_tree(depth, 0), leaves * (leaves - 1) / 2);
  }, 100);
}

// Joins, waits, channels, timeouts and drops race with the end of the goroutine.
TEST(TaskStress, every_way_to_wait_races_with_the_end) {
  test::on_all_schedules([](std::uint64_t seed, int effort) {
    test::Random random(seed);
    auto live = std::make_shared<int>(0);
    for (int i = 0; i < 10 * effort; ++i) {
      auto task = spawn([live, yields = random.below(3)] {
        for (std::uint64_t y = 0; y < yields; ++y) gosched();
        return live;
      });
      WaitGroup wg;
      for (std::uint64_t w = random.below(3); w > 0; --w) wg.go([&task] { task.wait(); });
      if (random.below(2) == 0) wg.go([&task] { static_cast<void>(task.done_channel().recv()); });
      if (random.below(2) == 0) gosched();
      switch (random.below(4)) {
        case 0:
          wg.wait();
          EXPECT_EQ(task.join(), live);
          break;
        case 1:
          wg.wait();
          while (!task.join_for(1us)) {
          }
          break;
        case 2: wg.wait(); break;  // dropped when it is done
        default:
          wg.wait();
          if (!task.join_for(0ns)) static_cast<void>(std::move(task));
      }
    }
    while (live.use_count() > 1) gosched();
  }, 200);
}

TEST(TaskDeathTest, an_exception_that_nobody_can_take_is_a_panic) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(on_one_p([] {
                auto task = spawn([] { throw std::runtime_error("dropped before it failed"); });
                { const auto gone = std::move(task); }
                let_others_park();
              }),
              testing::ExitedWithCode(2), "panic: std::runtime_error: dropped before it failed");
  EXPECT_EXIT(on_one_p([] {
                auto task = spawn([] { throw std::runtime_error("dropped after it failed"); });
                let_others_park();
              }),
              testing::ExitedWithCode(2), "panic: std::runtime_error: dropped after it failed");
}

TEST(TaskDeathTest, to_join_nothing_is_fatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(Task<int>().join(), "Task::join: no goroutine");
  EXPECT_DEATH(on_one_p([] {
                 auto task = spawn([] {});
                 task.join();
                 task.wait();
               }),
               "Task::wait: no goroutine");
}

TEST(TaskDeathTest, to_wait_outside_a_goroutine_is_fatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(on_one_p([] {
                 auto task = spawn([] { sleep(1h); });
                 std::thread([&task] { task.wait(); }).join();
               }),
               "task join outside a goroutine");
}

}  // namespace
}  // namespace heddle
