// lock_os_thread(): the goroutine keeps its thread, the thread runs no other, the others run all the same.
#include <heddle/core/blocking.h>

#include <gtest/gtest.h>
#include <dirent.h>
#include <unistd.h>

#include <heddle/core/chan.h>
#include <heddle/core/wait_group.h>

#include "preemption.h"

namespace heddle {
namespace {

using namespace std::chrono_literals;
using test::DebugSetting;
using test::kForced;
using test::tid;
using test::TimeLimit;

int count_threads() {
  DIR* dir = ::opendir("/proc/self/task");
  int n = 0;
  while (const dirent* entry = ::readdir(dir)) n += entry->d_name[0] != '.' ? 1 : 0;
  ::closedir(dir);
  return n;
}

thread_local int of_this_thread = 0;
[[gnu::noipa]] int& mine() { return of_this_thread; }

TEST(LockOsThread, a_locked_goroutine_keeps_its_thread_over_parks) {
  const TimeLimit limit;
  for (const int procs : {1, 2, 4}) {
    heddle::run(
        [] {
          auto c = make_chan<int>();
          WaitGroup wg;
          for (int i = 1; i <= 4; ++i) {
            wg.go([&, i] {
              lock_os_thread();
              const long thread = tid();
              mine() = i;
              for (int k = 0; k < 20; ++k) {
                if (k % 3 == 0) sleep(100us);
                if (k % 3 == 1) gosched();
                if (k % 3 == 2) {
                  EXPECT_EQ(c.recv(), 5);
                }
                ASSERT_EQ(tid(), thread);
                ASSERT_EQ(mine(), i) << "another goroutine used this thread";
              }
              mine() = 0;
              unlock_os_thread();
            });
          }
          wg.go([&] {
            for (int k = 0; k < 4 * 6; ++k) c.send(5);
          });
          // Others, which leave a trace wherever they run.
          for (int i = 0; i < 4; ++i) {
            wg.go([] {
              for (int k = 0; k < 200; ++k) {
                EXPECT_EQ(mine(), 0) << "on a locked goroutine's thread";
                gosched();
              }
            });
          }
          wg.wait();
        },
        {.procs = procs});
  }
}

TEST(LockOsThread, others_run_while_a_locked_goroutine_waits_or_computes) {
  const TimeLimit limit;
  heddle::run(
      [] {
        std::atomic<bool> stop{false};
        WaitGroup wg;
        wg.go([&] {
          lock_os_thread();
          const long thread = tid();
          test::spin_while_not(stop);
          EXPECT_EQ(tid(), thread);
        });
        auto c = make_chan<int>();
        wg.go([&] {
          lock_os_thread();
          EXPECT_EQ(c.recv(), 3);
        });
        for (int i = 0; i < 20; ++i) sleep(1ms);
        stop = true;
        c.send(3);
        wg.wait();
      },
      {.procs = 1});
}

TEST(LockOsThread, calls_are_counted) {
  const TimeLimit limit;
  heddle::run(
      [] {
        lock_os_thread();
        const long thread = tid();
        const auto stays = [&] {
          for (int i = 0; i < 20; ++i) {
            gosched();
            sleep(50us);
            ASSERT_EQ(tid(), thread);
          }
        };
        lock_os_thread();
        lock_os_thread();
        stays();
        unlock_os_thread();
        stays();
        unlock_os_thread();
        stays();
        unlock_os_thread();
        // Free again: its thread serves others.
        WaitGroup wg;
        wg.go([] {});
        wg.wait();
        lock_os_thread();
        unlock_os_thread();
      },
      {.procs = 2});
}

TEST(LockOsThread, a_goroutine_that_ends_locked_gives_the_thread_back) {
  const TimeLimit limit;
  for (const int procs : {1, 2}) {
    heddle::run(
        [] {
          for (int i = 0; i < 1'000; ++i) {
            WaitGroup wg;
            wg.go([i] {
              lock_os_thread();
              if (i % 3 == 0) lock_os_thread();
              if (i % 2 == 0) gosched();
              if (i % 7 == 0) goexit();
            });
            wg.wait();
          }
          EXPECT_LT(count_threads(), 100);
        },
        {.procs = procs});
  }
}

TEST(LockOsThread, a_blocking_call_stays_on_the_thread) {
  const TimeLimit limit;
  heddle::run(
      [] {
        lock_os_thread();
        const long thread = tid();
        for (int i = 0; i < 20; ++i) {
          EXPECT_EQ(blocking([] { return tid(); }), thread);
          ASSERT_EQ(tid(), thread);
          ::usleep(3'000);  // its P may be taken
          ASSERT_EQ(tid(), thread);
          gosched();
          ASSERT_EQ(tid(), thread);
        }
        unlock_os_thread();
      },
      {.procs = 2});
}

TEST(LockOsThread, many_at_once_under_forced_preemption) {
  const DebugSetting forced(kForced);
  const TimeLimit limit;
  for (const int procs : {1, 2, 4}) {
    heddle::run(
        [] {
          std::atomic<int> rounds{0};
          WaitGroup wg;
          for (int i = 1; i <= 12; ++i) {
            wg.go([&, i] {
              for (int k = 0; k < 10; ++k) {
                lock_os_thread();
                const long thread = tid();
                mine() = i;
                for (int n = 0; n < 5; ++n) {
                  gosched();
                  const TimePoint until = now() + 200us;
                  while (now() < until) asm volatile("");
                  ASSERT_EQ(tid(), thread);
                  ASSERT_EQ(mine(), i);
                }
                unlock_os_thread();
                ++rounds;
              }
            });
          }
          wg.wait();
          EXPECT_EQ(rounds.load(), 120);
        },
        {.procs = procs});
  }
}

TEST(LockOsThread, run_may_end_while_goroutines_are_locked) {
  const TimeLimit limit;
  for (int i = 0; i < 5; ++i) {
    ::testing::internal::CaptureStderr();
    heddle::run(
        [] {
          std::atomic<int> locked{0};
          for (int k = 0; k < 2; ++k) {
            go([&] {
              lock_os_thread();
              ++locked;
              if (locked.load() == 1) test::spin_for_ever();
              sleep(1h);
            });
          }
          while (locked.load() != 2) sleep(1ms);
        },
        {.procs = 2});
    const std::string text = ::testing::internal::GetCapturedStderr();
    EXPECT_NE(text.find("2 goroutines left behind"), std::string::npos) << text;
  }
}

TEST(LockOsThreadDeathTest, an_unlock_too_many_dies_with_a_message) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(heddle::run([] {
                 lock_os_thread();
                 unlock_os_thread();
                 unlock_os_thread();
               }),
               "unlock_os_thread: the goroutine is not locked");
}

// TSan keeps a thread of its own, and a process with foreign threads is never said to be dead.
#if !defined(__SANITIZE_THREAD__)
TEST(LockOsThreadDeathTest, a_deadlock_of_locked_goroutines_is_seen) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  for (const int procs : {1, 2}) {
    EXPECT_EXIT(heddle::run(
                    [] {
                      WaitGroup never;
                      never.add(1);
                      go({.name = "locked"}, [&] {
                        lock_os_thread();
                        never.wait();
                      });
                      never.wait();
                    },
                    {.procs = procs}),
                ::testing::ExitedWithCode(2),
                "fatal error: all goroutines are asleep - deadlock!\n\ngoroutine 1 \\[sync.WaitGroup.Wait\\] \"main\":\n"
                "(.|\n)*\\[sync.WaitGroup.Wait\\] \"locked\":");
  }
}
#endif

}  // namespace
}  // namespace heddle
