// Cond: who is woken, in what order, by what; deadlines; and that no signal is lost to a waiter that gave up.
#include <gtest/gtest.h>
#include <heddle/core/clock.h>
#include <heddle/core/cond.h>
#include <heddle/core/go.h>
#include <heddle/core/mutex.h>
#include <heddle/core/run.h>
#include <heddle/core/rw_mutex.h>
#include <heddle/core/wait_group.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <thread>
#include <vector>

#include "traffic.h"

namespace heddle {
namespace {

using namespace std::chrono_literals;
using test::let_others_park;
using test::on_one_p;
using test::on_procs;

// Goroutines that note the order in which a condition variable lets them go.
struct Line {
  Mutex mutex;
  Cond cond;
  std::vector<int> order;
  WaitGroup wg;

  void join(int number) {
    wg.go([this, number] {
      const std::lock_guard lock(mutex);
      cond.wait(mutex);
      order.push_back(number);
    });
    let_others_park();
  }
};

TEST(Cond, signal_wakes_one_and_the_one_that_waited_longest) {
  on_one_p([] {
    Line line;
    for (int i = 0; i < 4; ++i) line.join(i);
    for (int i = 0; i < 4; ++i) {
      line.cond.signal();
      let_others_park();
      EXPECT_EQ(line.order.size(), static_cast<std::size_t>(i) + 1);
    }
    line.wg.wait();
    EXPECT_EQ(line.order, (std::vector{0, 1, 2, 3}));
  });
}

TEST(Cond, broadcast_wakes_all_in_order) {
  on_one_p([] {
    Line line;
    for (int i = 0; i < 5; ++i) line.join(i);
    line.cond.broadcast();
    line.wg.wait();
    EXPECT_EQ(line.order, (std::vector{0, 1, 2, 3, 4}));
  });
}

TEST(Cond, a_signal_that_nobody_waits_for_is_gone) {
  on_one_p([] {
    Line line;
    line.cond.signal();
    line.cond.broadcast();
    line.join(0);
    EXPECT_TRUE(line.order.empty());
    line.cond.signal();
    line.wg.wait();
  });
}

TEST(Cond, holds_the_lock_whenever_it_looks_at_the_condition) {
  on_one_p([] {
    Mutex mutex;
    Cond cond;
    int value = 0;
    WaitGroup wg;
    wg.go([&] {
      std::unique_lock lock(mutex);
      cond.wait(lock, [&] {
        EXPECT_FALSE(mutex.try_lock());
        return value == 3;
      });
      EXPECT_TRUE(lock.owns_lock());
      EXPECT_EQ(value, 3);
    });
    for (int i = 0; i < 3; ++i) {
      let_others_park();
      EXPECT_TRUE(mutex.try_lock());  // the waiter has given it up
      ++value;
      mutex.unlock();
      cond.signal();
    }
    wg.wait();
  });
}

TEST(Cond, takes_any_lock) {
  on_one_p([] {
    Cond cond;
    RWMutex mutex;
    int through = 0;
    WaitGroup wg;
    wg.go([&] {
      std::shared_lock lock(mutex);
      cond.wait(lock);
      ++through;
    });
    wg.go([&] {
      const std::unique_lock lock(mutex);
      cond.wait(mutex);
      ++through;
    });
    let_others_park();
    cond.broadcast();
    wg.wait();
    EXPECT_EQ(through, 2);
  });
}

TEST(Cond, tells_a_deadline_from_a_signal) {
  on_one_p([] {
    Mutex mutex;
    Cond cond;
    std::unique_lock lock(mutex);
    EXPECT_EQ(cond.wait_for(lock, 1ms), std::cv_status::timeout);
    EXPECT_TRUE(lock.owns_lock());
    EXPECT_EQ(cond.wait_until(lock, now() - 1h), std::cv_status::timeout);
    EXPECT_FALSE(cond.wait_for(lock, 1us, [] { return false; }));
    EXPECT_TRUE(cond.wait_for(lock, -1h, [] { return true; }));  // looks first
    WaitGroup wg;
    for (const Duration timeout : {Duration(1h), Duration::max()}) {
      wg.go([&] {
        const std::lock_guard guard(mutex);
        cond.signal();
      });
      EXPECT_EQ(cond.wait_for(lock, timeout), std::cv_status::no_timeout);
    }
    bool ready = false;
    wg.go([&] {
      const std::lock_guard guard(mutex);
      ready = true;
      cond.broadcast();
    });
    EXPECT_TRUE(cond.wait_until(lock, kNoDeadline, [&] { return ready; }));
    lock.unlock();
    wg.wait();
  });
}

TEST(Cond, who_gave_up_is_passed_over) {
  on_one_p([] {
    Line line;
    WaitGroup gone;
    for (int i = 0; i < 3; ++i) {
      gone.go([&] {
        std::unique_lock lock(line.mutex);
        EXPECT_EQ(line.cond.wait_for(lock, 1us), std::cv_status::timeout);
      });
      line.join(i);
    }
    gone.wait();
    for (int i = 0; i < 3; ++i) {
      line.cond.signal();
      let_others_park();
    }
    line.wg.wait();
    EXPECT_EQ(line.order, (std::vector{0, 1, 2}));
  });
}

TEST(Cond, may_be_signalled_from_a_foreign_thread) {
  on_procs(2, [] {
    Mutex mutex;
    Cond cond;
    bool done = false;
    std::unique_lock lock(mutex);
    std::thread foreign([&] {
      while (!mutex.try_lock()) std::this_thread::yield();  // it may not wait
      done = true;
      mutex.unlock();
      cond.signal();
    });
    cond.wait(lock, [&] { return done; });
    lock.unlock();
    foreign.join();
  });
}

TEST(CondDeathTest, to_wait_outside_a_goroutine_is_fatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        Mutex mutex;
        Cond cond;
        mutex.lock();
        cond.wait(mutex);
      },
      "heddle: fatal: sync.Cond.Wait outside a goroutine");
}

TEST(CondDeathTest, to_wait_without_the_lock_is_fatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(on_one_p([] {
                 Mutex mutex;
                 Cond cond;
                 cond.wait(mutex);
               }),
               "Mutex: unlock of unlocked mutex");
}

// --- under load ---

// A queue whose producers signal once for each item. Half of the consumers give up again and again: a signal that such
// a one took with it would leave an item with nobody to fetch it, and the others would wait for ever.
TEST(CondStress, no_signal_is_lost_to_a_waiter_that_gives_up) {
  test::on_all_schedules([](std::uint64_t seed, int effort) {
    constexpr std::uint64_t kEach = 4;
    const auto items = kEach * 10 * static_cast<std::uint64_t>(effort);
    test::Ledger ledger(items);
    Mutex mutex;
    Cond cond;
    std::deque<test::Parcel> queue;
    std::uint64_t left = items;
    WaitGroup wg;
    for (std::uint64_t i = 0; i < kEach; ++i) {
      wg.go([&, i] {
        test::Random random(seed * 100 + i);
        for (std::uint64_t n = i; n < items; n += kEach) {
          {
            const std::lock_guard lock(mutex);
            queue.emplace_back(n);
          }
          if (random.below(3) == 0) gosched();
          cond.signal();
        }
      });
      wg.go([&, i] {
        test::Random random(seed * 200 + i);
        std::unique_lock lock(mutex);
        while (left > 0) {
          const bool found = i % 2 == 0 ? (cond.wait(lock, [&] { return !queue.empty() || left == 0; }), true)
                                        : cond.wait_for(lock, Duration(static_cast<int>(random.below(20'000))),
                                                        [&] { return !queue.empty(); });
          if (!found || queue.empty()) continue;
          ledger.note(queue.front());
          queue.pop_front();
          if (--left == 0) cond.broadcast();
        }
      });
    }
    wg.wait();
    ledger.expect_each_once();
  });
}

// Goroutines count themselves with the lock held and then wait: once it is seen free with `count` at `n`, all are in
// line.
void let_all_wait(Mutex& mutex, const int& count, int n) {
  for (;;) {
    {
      const std::lock_guard lock(mutex);
      if (count == n) return;
    }
    gosched();
  }
}

TEST(CondStress, each_signal_wakes_exactly_one) {
  test::on_all_schedules([](std::uint64_t, int effort) {
    for (int round = 0; round < 3 * effort; ++round) {
      constexpr int kWaiters = 6;
      Mutex mutex;
      Cond cond;
      int waiting = 0;
      std::atomic<int> woken{0};
      WaitGroup wg;
      for (int i = 0; i < kWaiters; ++i) {
        wg.go([&] {
          const std::lock_guard lock(mutex);
          ++waiting;
          cond.wait(mutex);
          ++woken;
        });
      }
      let_all_wait(mutex, waiting, kWaiters);
      for (int i = 0; i < kWaiters; ++i) wg.go([&] { cond.signal(); });
      wg.wait();
      ASSERT_EQ(woken, kWaiters);
    }
  });
}

// A barrier that dies with its last round: broadcast() has returned, the woken may still wait for the lock.
TEST(CondStress, may_be_destroyed_when_all_were_woken) {
  test::on_all_schedules([](std::uint64_t, int effort) {
    for (int round = 0; round < 5 * effort; ++round) {
      Mutex mutex;
      auto cond = std::make_unique<Cond>();
      int in_line = 0;
      WaitGroup wg;
      for (int i = 0; i < 4; ++i) {
        wg.go([&] {
          const std::lock_guard lock(mutex);
          ++in_line;
          cond->wait(mutex);
        });
      }
      let_all_wait(mutex, in_line, 4);
      cond->broadcast();
      cond.reset();
      wg.wait();
    }
  });
}

}  // namespace
}  // namespace heddle
