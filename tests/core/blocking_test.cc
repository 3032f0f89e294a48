// blocking(): what it promises, at the edges, and with others under way.
#include <heddle/core/blocking.h>

#include <gtest/gtest.h>
#include <pthread.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <stdexcept>

#include <heddle/core/chan.h>
#include <heddle/core/internal/blocking.h>
#include <heddle/core/mutex.h>
#include <heddle/core/wait_group.h>

#include "preemption.h"

namespace heddle {
namespace {

using namespace std::chrono_literals;
using test::DebugSetting;
using test::kForced;
using test::tid;
using test::TimeLimit;

[[gnu::noipa]] std::string thread_name() {
  std::array<char, 16> name{};
  pthread_getname_np(pthread_self(), name.data(), name.size());
  return name.data();
}

bool on_helper() { return thread_name().starts_with("heddle-b"); }

// --- blocking() ---

TEST(Blocking, returns_what_the_function_returns_and_throws_what_it_throws) {
  const TimeLimit limit;
  heddle::run(
      [] {
        EXPECT_EQ(blocking([] { return 42; }), 42);
        EXPECT_EQ(*blocking([] { return std::make_unique<int>(7); }), 7);
        bool ran = false;
        blocking([&] { ran = true; });
        EXPECT_TRUE(ran);
        EXPECT_EQ(blocking([p = std::make_unique<int>(8)] { return *p; }), 8);
        for (int i = 0; i < 100; ++i) {
          try {
            blocking([i] {
              if (i >= 0) throw std::runtime_error(std::to_string(i));
            });
            ADD_FAILURE() << "not thrown";
          } catch (const std::runtime_error& e) {
            EXPECT_EQ(e.what(), std::to_string(i));
          }
          EXPECT_EQ(std::uncaught_exceptions(), 0);
        }
      },
      {.procs = 2});
}

TEST(Blocking, runs_on_a_helper_thread_and_comes_back_from_it) {
  const TimeLimit limit;
  heddle::run(
      [] {
        for (int i = 0; i < 100; ++i) {
          EXPECT_FALSE(on_helper());
          const long before = tid();
          long inside = 0;
          EXPECT_TRUE(blocking([&] {
            inside = tid();
            EXPECT_TRUE(on_goroutine());
            return on_helper();
          }));
          EXPECT_NE(inside, before);
          EXPECT_NE(tid(), inside);
          EXPECT_FALSE(on_helper());
        }
      },
      {.procs = 1});
}

TEST(Blocking, off_goroutines_it_just_calls) {
  EXPECT_EQ(blocking([] { return tid(); }), tid());
  const TimeLimit limit;
  heddle::run([] {
    bool same = false;
    std::thread foreign([&] { same = blocking([] { return tid(); }) == tid(); });
    blocking([&] { foreign.join(); });
    EXPECT_TRUE(same);
  });
}

TEST(Blocking, others_run_meanwhile_on_the_only_P) {
  const TimeLimit limit;
  heddle::run(
      [] {
        std::atomic<bool> ticked{false};
        WaitGroup wg;
        wg.go([&] {
          blocking([&] {
            while (!ticked.load()) ::usleep(100);  // returns only when others have run
          });
        });
        for (int i = 0; i < 20; ++i) sleep(1ms);
        ticked = true;
        wg.wait();
      },
      {.procs = 1});
}

TEST(Blocking, as_many_calls_run_at_once_as_are_allowed_and_no_more) {
  const TimeLimit limit;
  set_max_blocking(8);
  for (const int procs : {1, 2}) {
    heddle::run(
        [] {
          std::atomic<int> inside{0};
          std::atomic<int> most{0};
          std::atomic<int> done{0};
          std::atomic<bool> full{false};
          WaitGroup wg;
          for (int i = 0; i < 200; ++i) {
            wg.go([&, i] {
              const int got = blocking([&, i] {
                const int now_inside = inside.fetch_add(1) + 1;
                int seen = most.load();
                while (seen < now_inside && !most.compare_exchange_weak(seen, now_inside)) {
                }
                if (now_inside == 8) full = true;
                while (!full.load()) ::usleep(100);  // the first eight wait for each other
                inside.fetch_sub(1);
                return i;
              });
              EXPECT_EQ(got, i);
              ++done;
            });
          }
          wg.wait();
          EXPECT_EQ(done.load(), 200);
          EXPECT_EQ(most.load(), 8);
        },
        {.procs = procs});
  }
  set_max_blocking(512);
}

TEST(Blocking, a_goroutine_may_park_inside) {
  const TimeLimit limit;
  for (const int procs : {1, 2}) {
    heddle::run(
        [] {
          auto c = make_chan<int>();
          auto back = make_chan<int>();
          WaitGroup wg;
          for (int i = 0; i < 10; ++i) {
            wg.go([&] {
              const int got = blocking([&] {
                EXPECT_TRUE(on_helper());
                const int v = c.recv().value_or(-1);
                sleep(1ms);
                gosched();
                back.send(v);  // from wherever it is now
                return v;
              });
              EXPECT_GE(got, 0);
              EXPECT_FALSE(on_helper());
            });
          }
          wg.go([&] {
            for (int i = 0; i < 10; ++i) c.send(i);
          });
          int sum = 0;
          for (int i = 0; i < 10; ++i) sum += back.recv().value_or(-100);
          EXPECT_EQ(sum, 45);
          wg.wait();
        },
        {.procs = procs});
  }
}

TEST(Blocking, may_nest_and_start_goroutines) {
  const TimeLimit limit;
  set_max_blocking(1);
  heddle::run(
      [] {
        std::atomic<int> ran{0};
        WaitGroup wg;
        for (int i = 0; i < 20; ++i) {
          wg.go([&] {
            EXPECT_EQ(blocking([&] {
                        wg.go([&] { ++ran; });
                        return blocking([] { return 1; }) + 1;
                      }),
                      2);
          });
        }
        wg.wait();
        EXPECT_EQ(ran.load(), 20);
      },
      {.procs = 2});
  set_max_blocking(512);
}

TEST(Blocking, goexit_inside_ends_the_goroutine) {
  const TimeLimit limit;
  heddle::run([] {
    for (int i = 0; i < 100; ++i) {
      WaitGroup wg;
      wg.go([] {
        blocking([] { goexit(); });
        ADD_FAILURE() << "came back";
      });
      wg.wait();
    }
    EXPECT_EQ(blocking([] { return 1; }), 1);
  });
}

TEST(Blocking, run_may_end_while_calls_block) {
  const TimeLimit limit;
  for (const int calls : {1, 4, 20}) {
    set_max_blocking(4);
    ::testing::internal::CaptureStderr();
    heddle::run(
        [calls] {
          std::atomic<int> inside{0};
          for (int i = 0; i < calls; ++i) {
            go([&inside] {
              blocking([&inside] {
                ++inside;
                ::usleep(100'000);
              });
            });
          }
          while (inside.load() == 0) sleep(1ms);
        },
        {.procs = 2});
    const std::string text = ::testing::internal::GetCapturedStderr();
    // One that has begun before the end may be done by then.
    if (calls > 4) {
      EXPECT_NE(text.find("left behind"), std::string::npos) << text;
    }
    // The next run starts without their helpers, or their jobs.
    heddle::run([] { EXPECT_EQ(blocking([] { return 1; }), 1); });
  }
  set_max_blocking(512);
}

TEST(Blocking, run_may_end_while_calls_compute_for_ever) {
  const TimeLimit limit;
  ::testing::internal::CaptureStderr();
  heddle::run(
      [] {
        std::atomic<int> inside{0};
        for (int i = 0; i < 3; ++i) {
          go([&inside] {
            blocking([&inside] {
              ++inside;
              test::spin_for_ever();
            });
          });
        }
        while (inside.load() != 3) sleep(1ms);
      },
      {.procs = 1});
  const std::string text = ::testing::internal::GetCapturedStderr();
  EXPECT_NE(text.find("3 goroutines left behind"), std::string::npos) << text;
}

TEST(Blocking, counts_are_exact_under_forced_preemption) {
  const DebugSetting forced(kForced);
  const TimeLimit limit;
  for (const int procs : {1, 2, 4}) {
    heddle::run(
        [] {
          std::atomic<int> inside{0};
          int outside = 0;
          Mutex mutex;
          WaitGroup wg;
          for (int i = 0; i < 50; ++i) {
            wg.go([&] {
              for (int k = 0; k < 20; ++k) {
                blocking([&] { ++inside; });
                const std::lock_guard lock(mutex);
                ++outside;
              }
            });
          }
          wg.wait();
          EXPECT_EQ(inside.load(), 1'000);
          EXPECT_EQ(outside, 1'000);
        },
        {.procs = procs});
  }
}

// Calls that wait for each other, begun at the same moment on several Ms, while the first helpers are still coming up.
// A helper's time was up between a goroutine's reservation and its token, and it took a token that was not there yet: 2^32 - 1
// were left.
TEST(Blocking, helpers_that_end_at_any_moment_lose_no_job_and_leave_no_token) {
  const TimeLimit limit;
  detail::set_helper_idle_exit_for_test(20'000);
  heddle::run(
      [] {
        std::atomic<int> done{0};
        WaitGroup wg;
        for (int i = 0; i < 8; ++i) {
          wg.go([&] {
            for (int k = 0; k < 200; ++k) {
              blocking([&] { done.fetch_add(1); });
              for (int pause = k % 7; pause > 0; --pause) gosched();
            }
          });
        }
        wg.wait();
        EXPECT_EQ(done.load(), 8 * 200);
        EXPECT_LE(detail::helper_tokens_for_test(), 8U);
      },
      {.procs = 2});
  detail::set_helper_idle_exit_for_test(0);
}

TEST(Blocking, calls_that_wait_for_each_other_all_run) {
  const DebugSetting forced(kForced);
  const TimeLimit limit;
  constexpr int kCalls = 6;
  for (int run = 0; run < 200; ++run) {
    heddle::run(
        [] {
          for (int round = 0; round < 5; ++round) {
            std::atomic<int> here{0};
            WaitGroup wg;
            for (int i = 0; i < kCalls; ++i) {
              wg.go([&] {
                blocking([&] {
                  ++here;
                  while (here.load() < kCalls) ::usleep(50);
                });
              });
            }
            wg.wait();
          }
        },
        {.procs = 4});
  }
}

// --- the report of a deadlock ---

// TSan keeps a thread of its own, and a process with foreign threads is never said to be dead.
#if !defined(__SANITIZE_THREAD__)
TEST(BlockingDeathTest, a_deadlock_is_seen_beside_spares_and_helpers) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  for (const int procs : {1, 2}) {
    EXPECT_EXIT(heddle::run(
                    [] {
                      std::atomic<bool> stop{false};
                      WaitGroup wg;
                      for (int i = 0; i < 3; ++i) wg.go([&] { test::spin_while_not(stop); });
                      while (test::preempts() < 2) sleep(1ms);
                      stop = true;
                      wg.wait();
                      for (int i = 0; i < 3; ++i) blocking([] { ::usleep(5'000); });
                      WaitGroup never;
                      never.add(1);
                      never.wait();
                    },
                    {.procs = procs}),
                ::testing::ExitedWithCode(2),
                "fatal error: all goroutines are asleep - deadlock!\n\ngoroutine 1 \\[sync.WaitGroup.Wait\\] \"main\":");
  }
}
#endif

TEST(Blocking, is_no_deadlock_while_a_call_lasts) {
  const TimeLimit limit;
  heddle::run([] { blocking([] { ::usleep(300'000); }); });  // longer than sysmon waits before it asks
}

}  // namespace
}  // namespace heddle
