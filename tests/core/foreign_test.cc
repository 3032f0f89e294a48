// Threads outside the scheduler: they post goroutines, wait for them, and are told when no run() takes them.
#include <gtest/gtest.h>
#include <heddle/core/chan.h>
#include <heddle/core/foreign.h>
#include <heddle/core/go.h>
#include <heddle/core/mutex.h>
#include <heddle/core/run.h>
#include <heddle/core/select.h>
#include <heddle/core/task.h>
#include <heddle/core/wait_group.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "traffic.h"

namespace heddle {
namespace {

using namespace std::chrono_literals;
using test::on_one_p;
using test::on_procs;

TEST(Post, starts_a_goroutine_from_a_thread) {
  on_procs(2, [] {
    auto done = make_chan<std::uint64_t>();
    std::thread thread([done] {
      EXPECT_FALSE(on_goroutine());
      EXPECT_TRUE(post([done] { done.send(goroutine_id()); }));
    });
    EXPECT_GT(done.recv().value(), 1U);
    thread.join();
  });
}

TEST(Post, works_on_goroutines_too) {
  on_one_p([] {
    WaitGroup wg;
    wg.add(1);
    EXPECT_TRUE(post({.name = "posted"}, [&wg] { wg.done(); }));
    wg.wait();
  });
}

TEST(Post, outside_run_is_refused_and_the_function_destroyed) {
  for (int i = 0; i < 2; ++i) {
    auto owned = std::make_shared<int>(1);
    const Result<void> r = post([owned] { ADD_FAILURE() << "called"; });
    ASSERT_FALSE(r);
    EXPECT_EQ(r.error().code, Code::kClosed);
    EXPECT_EQ(owned.use_count(), 1);
    on_one_p([] {});
  }
}

TEST(Post, keeps_run_alive_only_when_main_has_left_by_goexit) {
  std::thread thread;
  std::atomic<bool> ran{false};
  on_procs(2, [&] {
    auto started = make_chan<int>();
    go([&ran, started] {
      started.send(1);
      while (!ran.load()) gosched();
    });
    started.recv().value();
    thread = std::thread([&ran] { EXPECT_TRUE(post([&ran] { ran.store(true); })); });
    goexit();
  });
  thread.join();
  EXPECT_TRUE(ran.load());
}

TEST(RunAndWait, returns_the_result) {
  on_procs(2, [] {
    auto done = make_chan<int>(1);
    std::thread thread([done] {
      const Result<std::string> r = run_and_wait([] {
        gosched();
        return std::string("from a goroutine");
      });
      EXPECT_EQ(r.value(), "from a goroutine");
      EXPECT_TRUE(run_and_wait([] { sleep(1us); }));
      done.send(1);
    });
    done.recv().value();
    thread.join();
  });
}

TEST(RunAndWait, throws_what_the_function_threw_and_tells_of_goexit) {
  on_procs(2, [] {
    auto done = make_chan<int>(1);
    std::thread thread([done] {
      EXPECT_THROW(static_cast<void>(run_and_wait([]() -> int { throw std::runtime_error("x"); })), std::runtime_error);
      const Result<int> r = run_and_wait([]() -> int { goexit(); });
      EXPECT_FALSE(r);
      if (!r) {
        EXPECT_EQ(r.error().code, Code::kCanceled);
      }
      done.send(1);
    });
    done.recv().value();
    thread.join();
  });
}

TEST(RunAndWait, is_told_when_run_ends_first) {
  EXPECT_EQ(run_and_wait([] { return 1; }).error().code, Code::kClosed);
  std::thread thread;
  testing::internal::CaptureStderr();
  on_procs(2, [&] {
    auto entered = make_chan<int>();
    thread = std::thread([entered] {
      const Result<void> r = run_and_wait([&entered] {
        entered.send(1);
        sleep(1h);
      });
      EXPECT_FALSE(r);
    });
    entered.recv().value();
  });
  thread.join();
  EXPECT_NE(testing::internal::GetCapturedStderr().find("1 goroutine left behind"), std::string::npos);
}

// Threads go on posting while one run() after the other begins and ends under them: each call has one clear outcome, and
// what was promised happens.
TEST(ForeignStress, threads_post_through_many_runs) {
  testing::internal::CaptureStderr();  // those left behind at an end are reported
  std::atomic<bool> over{false};
  std::atomic<int> waited{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      test::Random random(static_cast<std::uint64_t>(t));
      while (!over.load()) {
        if (random.below(2) == 0) {
          static_cast<void>(post([] { gosched(); }));
        } else {
          int n = 0;
          const Result<int> r = run_and_wait([&n] {
            n = 7;
            gosched();
            return n;
          });
          if (r) {
            EXPECT_EQ(*r, 7);
            waited.fetch_add(1);
          }
        }
      }
    });
  }
  for (int i = 0; i < 60 / test::kSlow; ++i) {
    on_procs(1 + i % 3, [&] {
      const int until = waited.load() + 3;
      while (waited.load() < until) gosched();
    });
  }
  over.store(true);
  for (auto& thread : threads) thread.join();
  static_cast<void>(testing::internal::GetCapturedStderr());
}

TEST(ForeignStress, all_that_is_posted_in_a_run_is_run) {
  on_procs(4, [] {
    constexpr int kEach = 2000 / test::kSlow;
    std::atomic<int> ran{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t) {
      threads.emplace_back([&ran] {
        for (int i = 0; i < kEach; ++i) EXPECT_TRUE(post([&ran] { ran.fetch_add(1); }));
      });
    }
    while (ran.load() < 3 * kEach) gosched();
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(ran.load(), 3 * kEach);
  });
}

TEST(ForeignDeathTest, what_must_park_dies_outside_a_goroutine_by_name) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const struct {
    const char* message;
    std::function<void()> call;
  } kCases[] = {
      {"channel receive outside a goroutine", [] { static_cast<void>(make_chan<int>().recv()); }},
      {"channel send outside a goroutine", [] { make_chan<int>().send(1); }},
      {"select outside a goroutine", [] { select(on_timeout(1h, [] {})); }},
      {"sync.Mutex.Lock outside a goroutine",
       [] {
         Mutex mutex;
         mutex.lock();
         mutex.lock();
       }},
      {"sync.WaitGroup.Wait outside a goroutine",
       [] {
         WaitGroup wg;
         wg.add(1);
         wg.wait();
       }},
      {"sleep outside a goroutine", [] { sleep(1h); }},
      {"gosched outside a goroutine", [] { gosched(); }},
      {"goexit outside a goroutine", [] { goexit(); }},
  };
  for (const auto& c : kCases) {
    EXPECT_DEATH(on_one_p([&c] { std::thread(c.call).join(); }), c.message);
  }
}

TEST(ForeignDeathTest, run_and_wait_on_a_goroutine_is_fatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(on_one_p([] { static_cast<void>(run_and_wait([] {})); }), "run_and_wait on a goroutine");
}

}  // namespace
}  // namespace heddle
