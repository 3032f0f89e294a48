// RWMutex: who may be inside with whom, who goes first, that neither side starves, and clear words for misuse.
#include <gtest/gtest.h>
#include <heddle/core/go.h>
#include <heddle/core/run.h>
#include <heddle/core/rw_mutex.h>
#include <heddle/core/wait_group.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <thread>
#include <vector>

#include "traffic.h"

namespace heddle {
namespace {

using test::let_others_park;
using test::on_one_p;
using test::on_procs;

// What each way to take it finds, for each way in which it is held already. One table for all four.
TEST(RWMutex, admits_what_its_table_says) {
  enum class Held { kNot, kForReading, kForWriting };
  struct Case {
    Held held;
    bool reader_may;
    bool writer_may;
  };
  constexpr std::array kTable{Case{Held::kNot, true, true}, Case{Held::kForReading, true, false},
                              Case{Held::kForWriting, false, false}};
  on_one_p([&] {
    for (const Case& c : kTable) {
      RWMutex mutex;
      if (c.held == Held::kForReading) mutex.lock_shared();
      if (c.held == Held::kForWriting) mutex.lock();
      EXPECT_EQ(mutex.try_lock_shared(), c.reader_may);
      if (c.reader_may) mutex.unlock_shared();
      EXPECT_EQ(mutex.try_lock(), c.writer_may);
      if (c.writer_may) mutex.unlock();

      std::string entered;
      WaitGroup wg;
      wg.go([&] {
        const std::shared_lock lock(mutex);
        entered += 'r';
      });
      let_others_park();
      EXPECT_EQ(entered, c.reader_may ? "r" : "");
      wg.go([&] {
        const std::unique_lock lock(mutex);
        entered += 'w';
      });
      let_others_park();
      EXPECT_EQ(entered, std::string(c.reader_may ? "r" : "") + (c.writer_may ? "w" : ""));
      if (c.held == Held::kForReading) mutex.unlock_shared();
      if (c.held == Held::kForWriting) mutex.unlock();
      wg.wait();
      EXPECT_EQ(entered, "rw");
    }
  });
}

TEST(RWMutex, readers_are_inside_together) {
  on_one_p([] {
    RWMutex mutex;
    int inside = 0;
    WaitGroup wg;
    for (int i = 0; i < 5; ++i) {
      wg.go([&] {
        const std::shared_lock lock(mutex);
        ++inside;
        while (inside < 5) gosched();
      });
    }
    wg.wait();
    EXPECT_EQ(inside, 5);
  });
}

TEST(RWMutex, a_waiting_writer_keeps_new_readers_out) {
  on_one_p([] {
    RWMutex mutex;
    std::string order;
    WaitGroup wg;
    mutex.lock_shared();
    wg.go([&] {
      const std::unique_lock lock(mutex);
      order += 'w';
    });
    let_others_park();
    EXPECT_FALSE(mutex.try_lock_shared());
    wg.go([&] {
      const std::shared_lock lock(mutex);
      order += 'r';
    });
    let_others_park();
    EXPECT_EQ(order, "");
    mutex.unlock_shared();
    wg.wait();
    EXPECT_EQ(order, "wr");
  });
}

TEST(RWMutex, readers_that_waited_go_before_the_next_writer) {
  on_one_p([] {
    RWMutex mutex;
    std::string order;
    WaitGroup wg;
    mutex.lock();
    for (int i = 0; i < 3; ++i) {
      wg.go([&] {
        const std::unique_lock lock(mutex);
        order += 'w';
        gosched();
      });
      let_others_park();
      for (int r = 0; r < 2; ++r) {
        wg.go([&] {
          const std::shared_lock lock(mutex);
          order += 'r';
        });
      }
      let_others_park();
    }
    mutex.unlock();
    wg.wait();
    EXPECT_EQ(order, "rrrrrrwww");
  });
}

// A reader is inside at any time: a lock that let new ones pass a waiting writer would never end this test.
TEST(RWMutex, a_stream_of_readers_does_not_starve_a_writer) {
  for (const int procs : {1, 2}) {
    on_procs(procs, [] {
      RWMutex mutex;
      std::atomic<bool> written{false};
      WaitGroup wg;
      for (int i = 0; i < 3; ++i) {
        wg.go([&] {
          while (!written) {
            const std::shared_lock lock(mutex);
            gosched();
            gosched();
          }
        });
      }
      wg.go([&] {
        gosched();
        const std::unique_lock lock(mutex);
        written = true;
      });
      wg.wait();
    });
  }
}

// A writer is inside or waiting at any time.
TEST(RWMutex, a_stream_of_writers_does_not_starve_a_reader) {
  for (const int procs : {1, 2}) {
    on_procs(procs, [] {
      RWMutex mutex;
      std::atomic<bool> read{false};
      WaitGroup wg;
      for (int i = 0; i < 3; ++i) {
        wg.go([&] {
          while (!read) {
            const std::unique_lock lock(mutex);
            gosched();
            gosched();
          }
        });
      }
      wg.go([&] {
        gosched();
        const std::shared_lock lock(mutex);
        read = true;
      });
      wg.wait();
    });
  }
}

// Writers that come while a reader waits do not delay it by more than the one that is inside.
TEST(RWMutex, a_reader_waits_for_one_writer_only) {
  on_one_p([] {
    RWMutex mutex;
    int writes = 0;
    int writes_before_read = -1;
    WaitGroup wg;
    mutex.lock();
    wg.go([&] {
      const std::shared_lock lock(mutex);
      writes_before_read = writes;
    });
    let_others_park();
    for (int i = 0; i < 10; ++i) {
      wg.go([&] {
        const std::unique_lock lock(mutex);
        ++writes;
      });
    }
    let_others_park();
    ++writes;
    mutex.unlock();
    wg.wait();
    EXPECT_EQ(writes_before_read, 1);
    EXPECT_EQ(writes, 11);
  });
}

TEST(RWMutex, foreign_threads_may_use_it_while_they_need_not_wait) {
  on_procs(2, [] {
    RWMutex mutex;
    int n = 0;
    mutex.lock();
    WaitGroup wg;
    wg.go([&] {
      const std::shared_lock lock(mutex);
      EXPECT_EQ(n, 1);
    });
    std::thread foreign([&] {
      ++n;
      mutex.unlock();  // and lets the reader in from there
    });
    wg.wait();
    foreign.join();
    std::thread([&] {
      const std::unique_lock lock(mutex);
      ++n;
    }).join();
    std::thread([&] {
      const std::shared_lock lock(mutex);
      EXPECT_EQ(n, 2);
    }).join();
  });
}

TEST(RWMutexDeathTest, misuse_is_told_in_clear_words) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  struct Case {
    void (*misuse)(RWMutex&);
    const char* says;
  };
  const std::array table{
      Case{[](RWMutex& m) { m.unlock(); }, "heddle: fatal: RWMutex: unlock of unlocked mutex"},
      Case{[](RWMutex& m) {
             m.lock_shared();
             m.unlock();
           },
           "heddle: fatal: RWMutex: unlock of unlocked mutex"},
      Case{[](RWMutex& m) { m.unlock_shared(); }, "heddle: fatal: RWMutex: unlock_shared of unlocked mutex"},
      Case{[](RWMutex& m) {
             m.lock();
             m.unlock_shared();
           },
           "heddle: fatal: RWMutex: unlock_shared of unlocked mutex"},
      Case{[](RWMutex& m) {
             m.lock();
             m.lock_shared();
           },
           "heddle: fatal: sync.RWMutex.RLock outside a goroutine"},
      Case{[](RWMutex& m) {
             m.lock_shared();
             m.lock();
           },
           "heddle: fatal: sync.RWMutex.Lock outside a goroutine"},
  };
  for (const Case& c : table) {
    EXPECT_DEATH(
        {
          RWMutex mutex;
          c.misuse(mutex);
        },
        c.says);
  }
}

#ifdef HEDDLE_DCHECKS
TEST(RWMutexDeathTest, to_destroy_it_while_it_is_locked_is_fatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        RWMutex mutex;
        mutex.lock_shared();
      },
      "RWMutex: destroyed while locked for reading");
  EXPECT_DEATH(
      {
        RWMutex mutex;
        mutex.lock();
      },
      "RWMutex: destroyed while locked for writing");
}
#endif

// --- under load ---

// Two plain words that only a writer may find unequal: a reader beside a writer sees it, and so does TSan.
TEST(RWMutexStress, readers_never_see_a_write_half_done) {
  test::on_all_schedules([](std::uint64_t seed, int effort) {
    constexpr int kGoroutines = 8;
    const int rounds = 10 * effort;
    RWMutex mutex;
    long a = 0;
    long b = 0;
    std::array<long, kGoroutines> written{};
    WaitGroup wg;
    for (std::size_t i = 0; i < kGoroutines; ++i) {
      wg.go([&, i] {
        test::Random random(seed * 100 + i);
        for (int r = 0; r < rounds; ++r) {
          if (random.below(3) == 0) {
            const std::unique_lock lock(mutex);
            ++a;
            if (random.below(4) == 0) gosched();
            ++b;
            ++written[i];
          } else {
            const std::shared_lock lock(mutex);
            const long seen = a;
            if (random.below(4) == 0) gosched();
            ASSERT_EQ(seen, b);
          }
        }
      });
    }
    wg.wait();
    long all = 0;
    for (const long n : written) all += n;
    EXPECT_EQ(a, all);
    EXPECT_EQ(b, all);
  });
}

TEST(RWMutexStress, tries_and_waits_together_count_exactly) {
  test::on_all_schedules([](std::uint64_t seed, int effort) {
    const int rounds = 10 * effort;
    RWMutex mutex;
    long count = 0;
    std::atomic<long> readers{0};
    WaitGroup wg;
    for (std::uint64_t i = 0; i < 6; ++i) {
      wg.go([&, i] {
        test::Random random(seed * 100 + i);
        for (int r = 0; r < rounds; ++r) {
          if (i % 2 == 0) {
            while (!mutex.try_lock()) gosched();
            ASSERT_EQ(readers, 0);
            ++count;
            mutex.unlock();
          } else {
            if (random.below(2) == 0) {
              while (!mutex.try_lock_shared()) gosched();
            } else {
              mutex.lock_shared();
            }
            ++readers;
            if (random.below(4) == 0) gosched();
            --readers;
            mutex.unlock_shared();
          }
        }
      });
    }
    wg.wait();
    EXPECT_EQ(count, 3L * rounds);
  });
}

// Under ASan and TSan: no call that has returned leaves anything behind that would still look at it.
TEST(RWMutexStress, may_be_destroyed_when_all_calls_have_returned) {
  test::on_all_schedules([](std::uint64_t, int effort) {
    for (int round = 0; round < 5 * effort; ++round) {
      auto mutex = std::make_unique<RWMutex>();
      WaitGroup wg;
      for (int i = 0; i < 4; ++i) {
        wg.go([&, i] {
          if (i % 2 == 0) {
            const std::unique_lock lock(*mutex);
            gosched();
          } else {
            const std::shared_lock lock(*mutex);
            gosched();
          }
        });
      }
      wg.wait();
      mutex.reset();
    }
  });
}

}  // namespace
}  // namespace heddle
