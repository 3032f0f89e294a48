// The scheduler end to end: run, go, gosched, goexit, sleep, exceptions, what is left behind.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <heddle/core/dump.h>
#include <heddle/core/run.h>
#include <heddle/core/wait_group.h>

namespace heddle {
namespace {

using namespace std::chrono_literals;

#if defined(__SANITIZE_THREAD__)
constexpr int kMany = 1'000;  // TSan has room for some 8,000 stacks
#else
constexpr int kMany = 20'000;
#endif

TEST(Run, returns_what_main_returns_and_may_run_again) {
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(heddle::run([i] { return i; }, {.procs = i % 4 + 1}), i);
    EXPECT_EQ(procs(), 0);
  }
  EXPECT_EQ(heddle::run([] {}), 0);
}

TEST(Run, knows_its_procs_and_poller_name) {
  heddle::run(
      [] {
        EXPECT_EQ(procs(), 3);
        EXPECT_TRUE(on_goroutine());
        EXPECT_EQ(goroutine_id(), 1U);
        EXPECT_STREQ(poller_name(), "sleep");
      },
      {.procs = 3});
  EXPECT_FALSE(on_goroutine());
  EXPECT_EQ(goroutine_id(), 0U);
}

TEST(Run, reports_goroutines_left_behind_with_their_sites) {
  ::testing::internal::CaptureStderr();
  heddle::run([] {
    go([] { sleep(1h); });
    gosched();
  });
  const std::string text = ::testing::internal::GetCapturedStderr();
  EXPECT_NE(text.find("1 goroutine left behind"), std::string::npos) << text;
  EXPECT_NE(text.find("[sleep], created at tests/core/scheduler_test.cc:"), std::string::npos) << text;
}

TEST(Go, runs_each_goroutine_once) {
  for (const int procs : {1, 2, 4}) {
    std::vector<std::atomic<int>> runs(static_cast<std::size_t>(kMany));
    heddle::run(
        [&] {
          WaitGroup wg;
          for (auto& r : runs) wg.go([&r] { r.fetch_add(1); });
          wg.wait();
        },
        {.procs = procs});
    for (auto& r : runs) ASSERT_EQ(r.load(), 1);
  }
}

TEST(Go, takes_move_only_and_large_closures) {
  heddle::run([] {
    WaitGroup wg;
    wg.add(2);
    auto p = std::make_unique<int>(42);
    go([&wg, p = std::move(p)] {
      EXPECT_EQ(*p, 42);
      wg.done();
    });
    std::array<char, 50'000> big{};
    big[49'999] = 7;
    go([&wg, big] {
      EXPECT_EQ(big[49'999], 7);
      wg.done();
    });
    wg.wait();
  });
}

struct ThrowsWhenMoved {
  ThrowsWhenMoved() = default;
  ThrowsWhenMoved(const ThrowsWhenMoved&) { throw std::runtime_error("copy"); }
  void operator()() const {}
};

TEST(Go, a_closure_that_throws_when_moved_starts_nothing) {
  heddle::run([] {
    ThrowsWhenMoved f;
    EXPECT_THROW(go(f), std::runtime_error);
    gosched();
    std::atomic<bool> ran{false};
    go([&] { ran = true; });
    gosched();
    EXPECT_TRUE(ran.load());
  }, {.procs = 1, .preempt = false});
}

TEST(Go, destroys_the_closure_when_the_goroutine_ends) {
  const auto token = std::make_shared<int>(1);
  heddle::run([&] {
    WaitGroup wg;
    for (int i = 0; i < 100; ++i) wg.go([token] { gosched(); });
    wg.wait();
    while (token.use_count() != 1) gosched();
  });
  EXPECT_EQ(token.use_count(), 1);
}

TEST(Go, runs_the_newest_next_and_the_others_in_order) {
  heddle::run(
      [] {
        std::string order;
        for (const char c : {'a', 'b', 'c'}) go([&order, c] { order += c; });
        gosched();
        gosched();
        EXPECT_EQ(order, "cab");
      },
      {.procs = 1, .preempt = false});
}

TEST(Gosched, a_ping_pong_through_runnext_does_not_starve_the_queue) {
  heddle::run(
      [] {
        // Each of the pair starts the next, for ever, so runnext is never empty.
        std::atomic<bool> stop{false};
        std::atomic<bool> ran{false};
        struct Chain {
          std::atomic<bool>& stop;
          void operator()() const {
            if (!stop.load()) go(Chain{stop});
          }
        };
        go([&] {
          ran = true;
          stop = true;
        });
        go(Chain{stop});
        while (!ran.load()) gosched();
      },
      {.procs = 1, .preempt = false});
}

TEST(Goexit, runs_destructors_and_ends_only_its_goroutine) {
  heddle::run([] {
    WaitGroup wg;
    std::atomic<int> destroyed{0};
    wg.add(1);
    go([&] {
      struct Note {
        std::atomic<int>& n;
        WaitGroup& wg;
        ~Note() {
          ++n;
          wg.done();
        }
      } note{destroyed, wg};
      goexit();
    });
    wg.wait();
    EXPECT_EQ(destroyed.load(), 1);
  });
}

TEST(Goexit, of_main_waits_for_the_others) {
  std::atomic<int> done{0};
  heddle::run(
      [&] {
        for (int i = 0; i < 100; ++i) {
          go([&] {
            sleep(1ms);
            go([&] { ++done; });
          });
        }
        goexit();
      },
      {.procs = 2});
  EXPECT_EQ(done.load(), 100);
}

TEST(Sleep, lasts_at_least_as_long_as_asked_and_wakes_in_order) {
  heddle::run([] {
    WaitGroup wg;
    std::atomic<int> next{0};
    for (int i = 9; i >= 0; --i) {
      wg.go([&, i] {
        const auto start = now();
        sleep(i * 20ms);
        EXPECT_GE(now() - start, i * 20ms);
        next.fetch_add(1);
      });
    }
    wg.wait();
    EXPECT_EQ(next.load(), 10);
    sleep(-1ms);
    sleep(0ms);
  });
}

TEST(Exceptions, cross_parks_and_ms_with_their_goroutine) {
  heddle::run(
      [] {
        WaitGroup wg;
        std::atomic<int> right{0};
        for (int i = 0; i < 200; ++i) {
          wg.go([&, i] {
            for (int round = 0; round < 20; ++round) {
              try {
                throw i;
              } catch (int caught) {
                gosched();  // others throw and catch meanwhile, and we may come back on another M
                try {
                  throw std::to_string(i);
                } catch (const std::string& s) {
                  gosched();
                  if (caught == i && s == std::to_string(i) && std::uncaught_exceptions() == 0) ++right;
                }
                try {
                  throw;
                } catch (int again) {
                  if (again != i) right -= 1000;
                }
              }
            }
          });
        }
        wg.wait();
        EXPECT_EQ(right.load(), 200 * 20);
      },
      {.procs = 4});
}

TEST(Exceptions, unwinding_may_park) {
  heddle::run(
      [] {
        WaitGroup wg;
        std::atomic<int> right{0};
        for (int i = 0; i < 100; ++i) {
          wg.go([&] {
            struct Parks {
              std::atomic<int>& right;
              ~Parks() {
                gosched();
                if (std::uncaught_exceptions() == 1) ++right;
              }
            };
            try {
              Parks p{right};
              throw 1;
            } catch (int) {
              if (std::uncaught_exceptions() == 0) ++right;
            }
          });
        }
        wg.wait();
        EXPECT_EQ(right.load(), 200);
      },
      {.procs = 2});
}

TEST(PanicDeathTest, an_exception_that_leaves_a_goroutine_ends_the_process_with_status_2) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(heddle::run([] {
                go({.name = "thrower"}, [] { throw std::runtime_error("boom"); });
                for (;;) gosched();
              }),
              ::testing::ExitedWithCode(2),
              "panic: std::runtime_error: boom\n\ngoroutine [0-9]+ \\[running\\] \"thrower\":\n"
              "(.|\n)*created by goroutine 1 at tests/core/scheduler_test.cc:[0-9]+");
}

TEST(ParkDeathTest, outside_a_goroutine_says_so) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(sleep(1ms), "sleep outside a goroutine");
  EXPECT_DEATH(go([] {}), "go needs a goroutine");
}

TEST(Dump, tells_status_reason_name_and_site) {
  heddle::run(
      [] {
        go({.name = "sleeper"}, [] { sleep(1h); });
        gosched();
        go([] {});  // runnable
        const std::string text = dump_goroutines();
        EXPECT_NE(text.find("goroutine 1 [running] \"main\":\ncreated at tests/core/scheduler_test.cc:"), std::string::npos)
            << text;
        EXPECT_NE(text.find("[sleep] \"sleeper\":\ncreated by goroutine 1 at tests/core/scheduler_test.cc:"),
                  std::string::npos)
            << text;
        EXPECT_NE(text.find("[runnable]:"), std::string::npos) << text;
      },
      {.procs = 1, .preempt = false});
  EXPECT_EQ(dump_goroutines(), "");
}

TEST(Seed, permutes_the_order_and_repeats_it) {
  const auto order_of = [](std::uint64_t seed) {
    std::string order;
    heddle::run(
        [&] {
          for (char c = 'a'; c <= 'j'; ++c) {
            go([&order, c] {
              order += c;
              gosched();
              order += c;
            });
          }
          while (order.size() < 20) gosched();
        },
        {.procs = 1, .seed = seed});
    return order;
  };
  std::set<std::string> orders;
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    const std::string first = order_of(seed);
    ASSERT_EQ(first, order_of(seed)) << "seed " << seed;
    orders.insert(first);
  }
  EXPECT_GT(orders.size(), 45U);
}

}  // namespace
}  // namespace heddle
