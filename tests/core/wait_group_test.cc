// WaitGroup: who waits goes on exactly when the last is done, round after round.
#include <gtest/gtest.h>
#include <heddle/core/chan.h>
#include <heddle/core/context.h>
#include <heddle/core/go.h>
#include <heddle/core/run.h>
#include <heddle/core/wait_group.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "traffic.h"

namespace heddle {
namespace {

using test::let_others_park;
using test::on_one_p;
using test::on_procs;

TEST(WaitGroup, at_zero_wait_returns_at_once) {
  WaitGroup wg;
  wg.wait();  // does not park, so it needs no goroutine
  wg.add(2);
  wg.done();
  wg.done();
  wg.wait();
}

TEST(WaitGroup, wait_returns_when_the_last_is_done) {
  on_one_p([] {
    WaitGroup wg;
    auto gate = make_chan<int>();
    int finished = 0;
    for (int i = 0; i < 5; ++i) {
      wg.go([&] {
        gate.recv().value();
        ++finished;
      });
    }
    bool through = false;
    WaitGroup waiter;
    waiter.go([&] {
      wg.wait();
      through = true;
      EXPECT_EQ(finished, 5);
    });
    for (int i = 0; i < 5; ++i) {
      let_others_park();
      EXPECT_FALSE(through);
      gate.send(i);
    }
    waiter.wait();
    EXPECT_TRUE(through);
  });
}

TEST(WaitGroup, lets_all_waiters_go) {
  on_one_p([] {
    WaitGroup wg;
    WaitGroup waiters;
    wg.add(1);
    int through = 0;
    for (int i = 0; i < 10; ++i) {
      waiters.go([&] {
        wg.wait();
        ++through;
      });
    }
    let_others_park();
    EXPECT_EQ(through, 0);
    wg.done();
    waiters.wait();
    EXPECT_EQ(through, 10);
  });
}

TEST(WaitGroup, go_counts_before_the_goroutine_runs) {
  on_one_p([] {
    WaitGroup wg;
    bool ran = false;
    wg.go([&] { ran = true; });
    EXPECT_FALSE(ran);
    wg.wait();
    EXPECT_TRUE(ran);
  });
}

TEST(WaitGroup, go_counts_down_after_goexit) {
  on_one_p([] {
    WaitGroup wg;
    wg.go([] { goexit(); });
    wg.go([] {
      auto nested = std::make_unique<int>(1);
      goexit();
    });
    wg.wait();
  });
}

TEST(WaitGroup, what_a_closure_owns_is_gone_when_wait_returns) {
  on_one_p([] {
    auto resource = std::make_shared<int>(1);
    WaitGroup wg;
    for (int i = 0; i < 3; ++i) wg.go([resource] { gosched(); });
    wg.wait();
    EXPECT_EQ(resource.use_count(), 1);
  });
}

TEST(WaitGroup, go_takes_move_only_closures_and_large_ones) {
  on_one_p([] {
    WaitGroup wg;
    int sum = 0;
    wg.go([&sum, p = std::make_unique<int>(1)] { sum += *p; });
    std::vector<int> big(1);
    struct Large {
      char padding[5000] = {};
      int* sum;
      void operator()() { *sum += 2; }
    };
    wg.go(Large{.sum = &sum});
    wg.wait();
    EXPECT_EQ(sum, 3);
  });
}

TEST(WaitGroup, done_may_come_from_a_foreign_thread) {
  on_procs(2, [] {
    for (int i = 0; i < 20; ++i) {
      WaitGroup wg;
      int result = 0;
      wg.add(1);
      std::thread foreign([&] {
        result = 1;
        wg.done();
      });
      wg.wait();
      EXPECT_EQ(result, 1);
      foreign.join();
    }
  });
}

// One of them waits alone, two in line; one of these may give up.
TEST(WaitGroup, those_with_and_without_a_context_are_let_go_together) {
  on_one_p([] {
    WaitGroup wg;
    wg.add(1);
    WaitGroup waiters;
    int through = 0;
    auto [ctx, cancel] = with_cancel(Context());
    waiters.go([&, ctx = ctx] {
      EXPECT_TRUE(wg.wait(ctx));
      ++through;
    });
    for (int i = 0; i < 2; ++i) {
      waiters.go([&] {
        wg.wait();
        ++through;
      });
    }
    let_others_park();
    EXPECT_EQ(through, 0);
    wg.done();
    waiters.wait();
    EXPECT_EQ(through, 3);
    cancel();
  });
}

// The goroutine that waited is gone, and its slot has a new tenant, when the group comes to 0 in the next run().
TEST(WaitGroup, a_waiter_abandoned_by_one_run_does_not_disturb_the_next) {
  WaitGroup wg;
  wg.add(1);
  on_one_p([&wg] {
    go([&wg] { wg.wait(); });
    let_others_park();
  });
  on_one_p([&wg] {
    WaitGroup others;
    for (int i = 0; i < 8; ++i) others.go([] { gosched(); });
    bool through = false;
    others.go([&] {
      wg.wait();
      through = true;
    });
    let_others_park();
    EXPECT_FALSE(through);
    wg.done();
    others.wait();
    EXPECT_TRUE(through);
  });
}

TEST(WaitGroupDeathTest, a_negative_counter_is_fatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        WaitGroup wg;
        wg.add(1);
        wg.done();
        wg.done();
      },
      "WaitGroup: negative counter");
}

TEST(WaitGroupDeathTest, a_new_round_before_the_last_waiter_is_out_is_fatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(on_one_p([] {
                 WaitGroup wg;
                 wg.add(1);
                 go([&] { wg.wait(); });
                 let_others_park();
                 wg.done();
                 wg.add(1);  // the waiter has been let go, and has not run
                 let_others_park();
               }),
               "heddle: fatal: WaitGroup: reused before the last wait returned");
}

// --- under load ---

TEST(WaitGroupStress, may_be_used_again_round_after_round) {
  test::on_all_schedules([](std::uint64_t seed, int effort) {
    test::Random random(seed);
    WaitGroup wg;
    std::vector<int> done(8);
    for (int round = 1; round <= 10 * effort; ++round) {
      const auto n = static_cast<std::size_t>(1 + random.below(8));
      for (std::size_t i = 0; i < n; ++i) {
        wg.go([&done, i, round, hops = random.below(3)] {
          for (std::uint64_t h = 0; h < hops; ++h) gosched();
          done[i] = round;  // plain: wait() is all that orders it
        });
      }
      wg.wait();
      for (std::size_t i = 0; i < n; ++i) ASSERT_EQ(done[i], round);
    }
  });
}

// The group is a local of its only waiter, gone as soon as wait() returns: done() must be out of it by then.
TEST(WaitGroupStress, may_die_as_soon_as_wait_returns) {
  test::on_all_schedules([](std::uint64_t, int effort) {
    WaitGroup all;
    for (int i = 0; i < 4; ++i) {
      all.go([effort] {
        for (int round = 0; round < 10 * effort; ++round) {
          auto wg = std::make_unique<WaitGroup>();
          std::atomic<int> n{0};
          for (int k = 0; k < 3; ++k) wg->go([&n] { n.fetch_add(1); });
          wg->wait();
          wg.reset();
          ASSERT_EQ(n.load(), 3);
        }
      });
    }
    all.wait();
  });
}

TEST(WaitGroupStress, several_waiters_are_let_go_each_round) {
  test::on_all_schedules([](std::uint64_t, int effort) {
    for (int round = 0; round < 5 * effort; ++round) {
      WaitGroup wg;
      WaitGroup waiters;
      std::atomic<int> through{0};
      wg.add(3);
      for (int i = 0; i < 3; ++i) {
        waiters.go([&] {
          wg.wait();
          through.fetch_add(1);
        });
        go([&] { wg.done(); });
      }
      wg.wait();
      waiters.wait();
      ASSERT_EQ(through.load(), 3);
    }
  });
}

}  // namespace
}  // namespace heddle
