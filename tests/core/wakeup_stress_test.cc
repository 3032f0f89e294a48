// Work that is queued is run, soon, by somebody: the wake-up protocol on real cores.
//
// Each test keeps one M busy on purpose, so that only a wake of another can make progress, and gives it far longer than any
// scheduling delay; sysmon's help is switched off, because it would cover a lost wake-up after some milliseconds.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include <heddle/core/internal/sched.h>
#include <heddle/core/run.h>
#include <heddle/core/wait_group.h>

namespace heddle {
namespace {

using namespace std::chrono_literals;

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr int kRounds = 3'000;
#else
constexpr int kRounds = 30'000;
#endif
constexpr auto kFarTooLong = 20s;

// Computes, without a runtime call, until `done`; false if it never comes.
bool busy_until(const std::atomic<bool>& done) {
  const auto limit = std::chrono::steady_clock::now() + kFarTooLong;
  while (!done.load()) {
    if (std::chrono::steady_clock::now() > limit) return false;
    std::this_thread::yield();  // the test machine may have fewer cores than Ps
  }
  return true;
}

class WakeUp : public ::testing::Test {
 protected:
  void SetUp() override { detail::set_sysmon_helps_for_test(false); }
  void TearDown() override { detail::set_sysmon_helps_for_test(true); }
};

TEST_F(WakeUp, a_queued_goroutine_is_taken_by_an_idle_p) {
  for (const int procs : {2, 4}) {
    heddle::run(
        [] {
          for (int round = 0; round < kRounds; ++round) {
            std::atomic<bool> a{false};
            std::atomic<bool> b{false};
            go([&] { a = true; });  // displaced from runnext by b: queued, and so somebody must be woken
            go([&] { b = true; });
            ASSERT_TRUE(busy_until(a)) << "round " << round;
            while (!b.load()) gosched();
          }
        },
        {.procs = procs});
  }
}

TEST_F(WakeUp, a_chain_of_wakes_reaches_all_idle_ps) {
  static constexpr int kProcs = 4;
  heddle::run(
      [] {
        for (int round = 0; round < kRounds / 30; ++round) {
          // As many goroutines as Ps meet: each computes until all are there, so all Ps must have been woken.
          std::atomic<int> here{0};
          WaitGroup wg;
          for (int i = 0; i < kProcs; ++i) {
            wg.go([&] {
              here.fetch_add(1);
              const auto limit = std::chrono::steady_clock::now() + kFarTooLong;
              while (here.load() < kProcs && std::chrono::steady_clock::now() < limit) std::this_thread::yield();
            });
          }
          wg.wait();
          ASSERT_EQ(here.load(), kProcs) << "round " << round;
        }
      },
      {.procs = kProcs + 1});
}

TEST_F(WakeUp, a_foreign_thread_wakes_a_sleeping_scheduler) {
  for (const int procs : {1, 2, 3}) {
    heddle::run(
        [] {
          // Two goroutines that only foreign threads ready: all Ms go to sleep each time.
          struct Slot {
            std::atomic<G*> g{nullptr};
          };
          Slot slots[2];
          std::atomic<bool> over{false};
          std::vector<std::thread> wakers;
          for (auto& slot : slots) {
            wakers.emplace_back([&slot, &over] {
              while (!over.load()) {
                if (G* g = slot.g.exchange(nullptr); g != nullptr) ready(g);
                std::this_thread::yield();
              }
            });
          }
          WaitGroup wg;
          for (auto& slot : slots) {
            wg.go([&slot] {
              for (int round = 0; round < kRounds / 3; ++round) {
                park(
                    [](G* g, void* arg) {
                      static_cast<Slot*>(arg)->g.store(g);
                      return true;
                    },
                    &slot, WaitReason::kOther);
              }
            });
          }
          wg.wait();
          over = true;
          for (auto& w : wakers) w.join();
        },
        {.procs = procs});
  }
}

TEST_F(WakeUp, timers_of_sleeping_ms_fire) {
  heddle::run(
      [] {
        WaitGroup wg;
        for (int i = 0; i < 50; ++i) {
          wg.go([i] {
            for (int round = 0; round < 20; ++round) sleep(std::chrono::microseconds(100 * (i % 7 + 1)));
          });
        }
        wg.wait();
      },
      {.procs = 4});
}

TEST(Sysmon, has_a_goroutine_in_runnext_stolen_from_behind_a_busy_one) {
  heddle::run(
      [] {
        for (int round = 0; round < 20; ++round) {
          std::atomic<bool> ran{false};
          go([&] { ran = true; });  // stays in runnext, which wakes nobody
          ASSERT_TRUE(busy_until(ran)) << "round " << round;
        }
      },
      {.procs = 2});
}

TEST(Steal, spreads_work_and_runs_each_goroutine_once) {
  std::atomic<int> sum{0};
  heddle::run(
      [&] {
        WaitGroup wg;
        for (int i = 0; i < 64; ++i) {
          wg.go([&] {
            for (int k = 0; k < kRounds / 100; ++k) {
              wg.go([&] { sum.fetch_add(1); });
              if (k % 16 == 0) gosched();
            }
          });
        }
        wg.wait();
      },
      {.procs = 4});
  EXPECT_EQ(sum.load(), 64 * (kRounds / 100));
}

}  // namespace
}  // namespace heddle
