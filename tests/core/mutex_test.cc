// Mutex: exclusion, order, no starvation, no lost wake-up, and clear words for misuse.
#include <gtest/gtest.h>
#include <heddle/core/clock.h>
#include <heddle/core/go.h>
#include <heddle/core/mutex.h>
#include <heddle/core/run.h>
#include <heddle/core/wait_group.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "traffic.h"

namespace heddle {
namespace {

using test::let_others_park;
using test::on_one_p;
using test::on_procs;

TEST(Mutex, excludes_others_while_its_holder_parks) {
  on_one_p([] {
    Mutex mutex;
    bool entered = false;
    WaitGroup wg;
    mutex.lock();
    wg.go([&] {
      const std::lock_guard guard(mutex);
      entered = true;
    });
    let_others_park();
    EXPECT_FALSE(entered);
    mutex.unlock();
    wg.wait();
    EXPECT_TRUE(entered);
  });
}

TEST(Mutex, try_lock_never_waits) {
  Mutex mutex;  // needs no scheduler as long as nobody waits
  EXPECT_TRUE(mutex.try_lock());
  EXPECT_FALSE(mutex.try_lock());
  mutex.unlock();
  const std::unique_lock lock(mutex, std::try_to_lock);
  EXPECT_TRUE(lock.owns_lock());
}

TEST(Mutex, works_with_the_standard_guards) {
  on_one_p([] {
    Mutex a;
    Mutex b;
    int n = 0;
    WaitGroup wg;
    for (int i = 0; i < 4; ++i) {
      wg.go([&, i] {
        for (int r = 0; r < 100; ++r) {
          const auto both = i % 2 == 0 ? std::make_unique<std::scoped_lock<Mutex, Mutex>>(a, b)
                                       : std::make_unique<std::scoped_lock<Mutex, Mutex>>(b, a);
          ++n;
          if (r % 10 == 0) gosched();
        }
      });
    }
    wg.wait();
    EXPECT_EQ(n, 400);
  });
}

TEST(Mutex, waiters_get_it_in_the_order_they_came) {
  on_one_p([] {
    Mutex mutex;
    std::vector<int> order;
    WaitGroup wg;
    mutex.lock();
    for (int i = 0; i < 6; ++i) {
      wg.go([&, i] {
        const std::lock_guard guard(mutex);
        order.push_back(i);
      });
      let_others_park();
    }
    mutex.unlock();
    wg.wait();
    EXPECT_EQ(order, (std::vector{0, 1, 2, 3, 4, 5}));
  });
}

TEST(Mutex, may_be_unlocked_by_another_goroutine) {
  on_one_p([] {
    Mutex mutex;
    mutex.lock();
    WaitGroup wg;
    wg.go([&] { mutex.unlock(); });
    mutex.lock();
    wg.wait();
    mutex.unlock();
  });
}

// A newcomer that locks again before the woken waiter has run wins every time, until the waiter has starved for 1 ms and
// gets the lock handed over. Without that this test does not end.
TEST(Mutex, a_greedy_goroutine_cannot_starve_a_waiter) {
  for (const int procs : {1, 2}) {
    on_procs(procs, [] {
      Mutex mutex;
      std::atomic<bool> served{false};
      WaitGroup wg;
      mutex.lock();
      wg.go([&] {
        const std::lock_guard guard(mutex);
        served = true;
      });
      let_others_park();
      while (!served) {
        mutex.unlock();
        mutex.lock();
        gosched();  // holds it whenever the waiter gets to run
      }
      mutex.unlock();
      wg.wait();
    });
  }
}

std::atomic<std::int64_t> fake_now{1};

// The clock of the runs in a scope stands still; it moves when told.
struct StoppedClock {
  StoppedClock() {
    detail::set_clock_for_test([]() noexcept { return fake_now.load(); });
  }
  ~StoppedClock() { detail::set_clock_for_test(nullptr); }
  StoppedClock(const StoppedClock&) = delete;
  StoppedClock& operator=(const StoppedClock&) = delete;
  static void forward(std::chrono::nanoseconds d) { fake_now += d.count(); }
};

// For a millisecond the newcomer wins each time, which is what makes the lock fast; then once more at most.
TEST(Mutex, a_waiter_that_has_starved_is_passed_over_once_more_at_most) {
  const StoppedClock clock;
  on_one_p([] {
    Mutex mutex;
    int taken = 0;
    int taken_before_waiter = -1;
    WaitGroup wg;
    mutex.lock();
    wg.go([&] {
      const std::lock_guard guard(mutex);
      taken_before_waiter = taken;
    });
    let_others_park();
    const auto take_again = [&] {
      mutex.unlock();
      mutex.lock();
      ++taken;
      gosched();
    };
    for (int i = 0; i < 100; ++i) take_again();
    EXPECT_EQ(taken_before_waiter, -1);
    StoppedClock::forward(std::chrono::microseconds(1001));
    for (int i = 0; i < 2; ++i) take_again();
    EXPECT_GE(taken_before_waiter, 100);
    EXPECT_LE(taken_before_waiter, 101);
    mutex.unlock();
    wg.wait();
  });
}

TEST(Mutex, a_newcomer_stands_in_line_behind_all_who_have_starved) {
  const StoppedClock clock;
  on_one_p([] {
    Mutex mutex;
    std::vector<int> order;
    WaitGroup wg;
    mutex.lock();
    for (int i = 0; i < 5; ++i) {
      wg.go([&, i] {
        const std::lock_guard guard(mutex);
        order.push_back(i);
      });
      let_others_park();
    }
    StoppedClock::forward(std::chrono::milliseconds(2));
    while (order.size() < 5) {
      mutex.unlock();
      mutex.lock();
      order.push_back(-1);  // us
      gosched();
    }
    mutex.unlock();
    wg.wait();
    order.resize(7, -2);
    EXPECT_EQ(order, (std::vector{-1, 0, 1, 2, 3, 4, -1}));
  });
}

TEST(Mutex, returns_to_normal_after_starvation) {
  on_one_p([] {
    Mutex mutex;
    WaitGroup wg;
    mutex.lock();
    int served = 0;
    for (int i = 0; i < 3; ++i) {
      wg.go([&] {
        const std::lock_guard guard(mutex);
        ++served;
      });
    }
    let_others_park();
    while (served < 3) {
      mutex.unlock();
      mutex.lock();
      gosched();
    }
    mutex.unlock();
    wg.wait();
    for (int i = 0; i < 100; ++i) {  // nobody waits, so nobody starves: the fast path is open
      EXPECT_TRUE(mutex.try_lock());
      mutex.unlock();
    }
  });
}

TEST(Mutex, foreign_threads_may_use_it_while_it_is_free) {
  on_procs(2, [] {
    Mutex mutex;
    int n = 0;
    mutex.lock();
    WaitGroup wg;
    wg.go([&] {
      const std::lock_guard guard(mutex);
      ++n;
    });
    std::thread foreign([&] { mutex.unlock(); });  // and wakes the waiter from there
    wg.wait();
    foreign.join();
    std::thread([&] {
      const std::lock_guard guard(mutex);
      ++n;
    }).join();
    EXPECT_EQ(n, 2);
  });
}

TEST(MutexDeathTest, unlock_of_an_unlocked_mutex_is_fatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        Mutex mutex;
        mutex.unlock();
      },
      "unlock of unlocked mutex");
}

#ifdef HEDDLE_DCHECKS
TEST(MutexDeathTest, to_destroy_it_while_it_is_locked_is_fatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        Mutex mutex;
        mutex.lock();
      },
      "Mutex: destroyed while locked");
}
#endif

TEST(MutexDeathTest, to_wait_outside_a_goroutine_is_fatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        Mutex mutex;
        mutex.lock();
        mutex.lock();
      },
      "sync.Mutex.Lock outside a goroutine");
}

// Makes 300 locks, each with three waiters, at random addresses: some 40 pairs of them share a bucket of the semaphores'
// table. Unlocks them if `let_go`.
void contend_for_many(std::vector<Mutex>& field, bool let_go) {
  test::Random random(1);
  std::vector<Mutex*> locks;
  std::vector<int> served(300);
  WaitGroup wg;
  for (std::size_t i = 0; i < served.size(); ++i) {
    Mutex* mutex = nullptr;
    do {
      mutex = &field[random.below(field.size())];
    } while (!mutex->try_lock());
    locks.push_back(mutex);
  }
  for (int waiter = 0; waiter < 3; ++waiter) {
    for (std::size_t i = 0; i < locks.size(); ++i) {
      wg.go([&, i] {
        const std::lock_guard guard(*locks[i]);
        ++served[i];
      });
    }
    let_others_park();
  }
  if (!let_go) return;
  for (Mutex* mutex : locks) mutex->unlock();
  wg.wait();
  for (const int n : served) EXPECT_EQ(n, 3);
}

TEST(Mutex, neighbours_in_the_table_keep_their_own_waiters) {
  on_one_p([] {
    std::vector<Mutex> field(50'000);
    contend_for_many(field, true);
  });
}

// The next run() finds no trace of waiters that the last one abandoned: their stacks have new tenants by then.
TEST(Mutex, waiters_abandoned_by_one_run_do_not_disturb_the_next) {
  static auto* first = new std::vector<Mutex>(50'000);  // never destroyed: 300 of them stay locked
  on_one_p([&] { contend_for_many(*first, false); });    // reports the goroutines left behind
  std::vector<Mutex> second(50'000);
  on_one_p([&] { contend_for_many(second, true); });
}

// --- under load ---

TEST(MutexStress, counts_exactly) {
  test::on_all_schedules([](std::uint64_t seed, int effort) {
    constexpr int kGoroutines = 8;
    const int rounds = 20 * effort;
    Mutex mutex;
    long count = 0;  // plain: the mutex is all that orders it
    WaitGroup wg;
    for (int i = 0; i < kGoroutines; ++i) {
      wg.go([&, i] {
        test::Random random(seed * 100 + static_cast<std::uint64_t>(i));
        for (int r = 0; r < rounds; ++r) {
          const std::lock_guard guard(mutex);
          const long old = count;
          if (random.below(8) == 0) gosched();  // others try meanwhile
          count = old + 1;
        }
      });
    }
    wg.wait();
    EXPECT_EQ(count, long{kGoroutines} * rounds);
  });
}

TEST(MutexStress, try_lock_and_lock_together_count_exactly) {
  test::on_all_schedules([](std::uint64_t, int effort) {
    const int rounds = 20 * effort;
    Mutex mutex;
    long count = 0;
    long expected = 0;
    WaitGroup wg;
    for (int i = 0; i < 6; ++i) {
      expected += rounds;
      wg.go([&, i] {
        for (int r = 0; r < rounds; ++r) {
          if (i % 2 == 0) {
            mutex.lock();
          } else {
            while (!mutex.try_lock()) gosched();
          }
          ++count;
          mutex.unlock();
        }
      });
    }
    wg.wait();
    EXPECT_EQ(count, expected);
  });
}

// A mutex dies as soon as its last user has it: unlock() must not touch it after the hand-over.
TEST(MutexStress, may_be_destroyed_by_who_got_it_last) {
  test::on_all_schedules([](std::uint64_t, int effort) {
    for (int round = 0; round < 5 * effort; ++round) {
      struct Shared {
        Mutex mutex;
        int users = 3;
      };
      auto* shared = new Shared;
      WaitGroup wg;
      for (int i = 0; i < 3; ++i) {
        wg.go([shared] {
          shared->mutex.lock();
          const bool last = --shared->users == 0;
          if (!last) gosched();
          shared->mutex.unlock();
          if (last) delete shared;
        });
      }
      wg.wait();
    }
  });
}

// Thousands of hand-overs among locks in a ring.
TEST(MutexStress, many_contended_locks_lose_no_wake_up) {
  test::on_all_schedules(
      [](std::uint64_t, int effort) {
        constexpr std::size_t kLocks = 64;
        constexpr std::size_t kGoroutines = 128;
        std::vector<Mutex> locks(kLocks);
        std::vector<long> counts(kLocks);
        WaitGroup wg;
        const int rounds = effort;
        for (std::size_t i = 0; i < kGoroutines; ++i) {
          wg.go([&, i] {
            for (int r = 0; r < rounds; ++r) {
              for (std::size_t k = 0; k < 4; ++k) {
                const std::size_t at = (i + k) % kLocks;
                const std::lock_guard guard(locks[at]);
                gosched();
                ++counts[at];
              }
            }
          });
        }
        wg.wait();
        for (const long n : counts) EXPECT_EQ(n, long{kGoroutines / kLocks} * 4 * rounds);
      },
      100);
}

}  // namespace
}  // namespace heddle
