// WorkPool: so many at a time, in order, none lost, and clear answers when it is full or closed.
#include <gtest/gtest.h>
#include <heddle/core/chan.h>
#include <heddle/core/go.h>
#include <heddle/core/run.h>
#include <heddle/core/wait_group.h>
#include <heddle/core/work_pool.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

#include "traffic.h"

namespace heddle {
namespace {

using test::let_others_park;
using test::on_one_p;
using test::on_procs;

TEST(WorkPool, runs_what_is_submitted_in_order) {
  on_one_p([] {
    WorkPool pool({.workers = 1, .queue = 3});
    std::vector<int> order;
    for (int i = 0; i < 20; ++i) EXPECT_TRUE(pool.submit([&order, i] { order.push_back(i); }));
    pool.wait();
    ASSERT_EQ(order.size(), 20U);
    for (int i = 0; i < 20; ++i) EXPECT_EQ(order[static_cast<std::size_t>(i)], i);
  });
}

TEST(WorkPool, runs_as_many_at_a_time_as_it_has_workers) {
  on_one_p([] {
    WorkPool pool({.workers = 3, .queue = 100});
    int running = 0;
    int most = 0;
    for (int i = 0; i < 30; ++i) {
      EXPECT_TRUE(pool.submit([&] {
        most = std::max(most, ++running);
        gosched();
        --running;
      }));
    }
    pool.wait();
    EXPECT_EQ(most, 3);
    EXPECT_EQ(running, 0);
  });
}

TEST(WorkPool, a_full_queue_parks_submit_and_refuses_try_submit) {
  on_one_p([] {
    WorkPool pool({.workers = 1, .queue = 2});
    auto gate = make_chan<int>();
    let_others_park();
    const auto job = [gate] { gate.recv().value(); };
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(pool.try_submit(job));  // one runs, two wait
    EXPECT_EQ(pool.queued(), 2U);
    EXPECT_EQ(pool.try_submit(job).error().code, Code::kWouldBlock);
    bool accepted = false;
    go([&] {
      EXPECT_TRUE(pool.submit(job));
      accepted = true;
    });
    let_others_park();
    EXPECT_FALSE(accepted);
    gate.send(1);
    let_others_park();
    EXPECT_TRUE(accepted);
    for (int i = 0; i < 3; ++i) gate.send(1);
    pool.wait();
  });
}

TEST(WorkPool, without_a_queue_a_job_needs_an_idle_worker) {
  on_one_p([] {
    WorkPool pool({.workers = 2, .queue = 0});
    let_others_park();
    auto gate = make_chan<int>();
    int ran = 0;
    const auto job = [&] {
      gate.recv().value();
      ++ran;
    };
    EXPECT_TRUE(pool.submit(job));
    EXPECT_TRUE(pool.submit(job));
    EXPECT_EQ(pool.try_submit(job).error().code, Code::kWouldBlock);
    go([&] { EXPECT_TRUE(pool.submit(job)); });
    for (int i = 0; i < 3; ++i) gate.send(1);
    pool.wait();
    EXPECT_EQ(ran, 3);
  });
}

TEST(WorkPool, close_refuses_the_parked_and_does_what_was_accepted) {
  on_one_p([] {
    auto gate = make_chan<int>();
    auto owned = std::make_shared<int>(1);
    int ran = 0;
    WorkPool pool({.workers = 1, .queue = 1});
    let_others_park();
    const auto job = [&, owned] {
      gate.recv().value();
      ++ran;
    };
    EXPECT_TRUE(pool.submit(job));
    EXPECT_TRUE(pool.submit(job));
    Code parked = Code::kOk;
    go([&] { parked = pool.submit(job).error().code; });
    let_others_park();
    EXPECT_EQ(parked, Code::kOk);
    pool.close();
    pool.close();
    let_others_park();
    EXPECT_EQ(parked, Code::kClosed);
    EXPECT_EQ(pool.submit(job).error().code, Code::kClosed);
    EXPECT_EQ(pool.try_submit(job).error().code, Code::kClosed);
    gate.send(1);
    gate.send(1);
    pool.wait();
    pool.wait();
    EXPECT_EQ(ran, 2);
    EXPECT_EQ(owned.use_count(), 2) << "ours, and in the function";
  });
}

TEST(WorkPool, drain_waits_for_all_and_leaves_it_open) {
  on_one_p([] {
    WorkPool pool({.workers = 2, .queue = 100});
    pool.drain();
    int ran = 0;
    for (int round = 1; round <= 3; ++round) {
      for (int i = 0; i < 10; ++i) {
        EXPECT_TRUE(pool.submit([&ran] {
          gosched();
          ++ran;
        }));
      }
      pool.drain();
      EXPECT_EQ(ran, 10 * round);
    }
  });
}

TEST(WorkPool, the_handle_may_go_first) {
  on_one_p([] {
    int ran = 0;
    auto owned = std::make_shared<int>(1);
    {
      WorkPool pool({.workers = 2, .queue = 100});
      for (int i = 0; i < 10; ++i) EXPECT_TRUE(pool.submit([&ran, owned] { ++ran; }));
    }
    let_others_park();
    EXPECT_EQ(ran, 10);
    EXPECT_EQ(owned.use_count(), 1);
  });
}

TEST(WorkPool, hands_exceptions_to_on_error_and_goes_on) {
  on_one_p([] {
    int errors = 0;
    WorkPool pool({.workers = 1, .on_error = [&errors](std::exception_ptr e) {
                     EXPECT_THROW(std::rethrow_exception(e), std::runtime_error);
                     ++errors;
                   }});
    int ran = 0;
    for (int i = 0; i < 6; ++i) {
      EXPECT_TRUE(pool.submit([&ran, i] {
        if (i % 2 == 0) throw std::runtime_error("job");
        ++ran;
      }));
    }
    pool.wait();
    EXPECT_EQ(errors, 3);
    EXPECT_EQ(ran, 3);
  });
}

TEST(WorkPool, goexit_in_a_job_costs_no_worker) {
  for (const bool catches : {false, true}) {
    on_one_p([catches] {
      WorkPoolOptions options{.workers = 2};
      if (catches) options.on_error = [](std::exception_ptr) { ADD_FAILURE() << "goexit is no error"; };
      WorkPool pool(std::move(options));
      int ran = 0;
      for (int i = 0; i < 20; ++i) {
        EXPECT_TRUE(pool.submit([&ran, i] {
          ++ran;
          if (i % 3 == 0) goexit();
        }));
      }
      pool.drain();
      EXPECT_EQ(ran, 20);
      pool.wait();
    });
  }
}

TEST(WorkPool, try_submit_and_close_work_on_foreign_threads) {
  on_procs(2, [] {
    WorkPool pool({.workers = 2, .queue = 1000});
    std::atomic<int> ran{0};
    std::thread thread([&] {
      for (int i = 0; i < 100; ++i) EXPECT_TRUE(pool.try_submit([&ran] { ran.fetch_add(1); }));
      pool.close();
    });
    while (pool.try_submit([] {})) gosched();
    thread.join();
    pool.wait();
    EXPECT_EQ(ran.load(), 100);
  });
}

// Many submit to few with a short queue, in every schedule; then some find it closed. What was accepted runs once.
TEST(WorkPoolStress, accepted_jobs_run_once_and_refused_ones_never) {
  test::on_all_schedules([](std::uint64_t seed, int effort) {
    constexpr int kSubmitters = 6;
    const int each = 2 * effort;
    std::vector<std::atomic<int>> runs(static_cast<std::size_t>(kSubmitters * each));
    std::vector<char> accepted(runs.size());
    WorkPool pool({.workers = 2, .queue = seed % 3});
    WaitGroup wg;
    for (int s = 0; s < kSubmitters; ++s) {
      wg.go([&, s] {
        for (int i = 0; i < each; ++i) {
          const auto n = static_cast<std::size_t>(s * each + i);
          accepted[n] = pool.submit([&runs, n] {
            if (n % 4 == 0) gosched();
            runs[n].fetch_add(1);
          }).has_value();
          if (s == 0 && i == each / 2) pool.close();
        }
      });
    }
    wg.wait();
    pool.wait();
    for (std::size_t n = 0; n < runs.size(); ++n) ASSERT_EQ(runs[n].load(), accepted[n]) << n;
  }, 200);
}

TEST(WorkPoolDeathTest, an_exception_without_on_error_is_a_panic) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(on_one_p([] {
                WorkPool pool({.workers = 1});
                static_cast<void>(pool.submit([] { throw std::runtime_error("in a job"); }));
                pool.wait();
              }),
              testing::ExitedWithCode(2), "panic: std::runtime_error: in a job");
}

TEST(WorkPoolDeathTest, needs_a_goroutine) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(WorkPool{}, "WorkPool outside a goroutine");
}

}  // namespace
}  // namespace heddle
