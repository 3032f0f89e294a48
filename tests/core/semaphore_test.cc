// Semaphore: units are neither lost nor made, the line is kept, deadlines, and clear words for misuse.
#include <gtest/gtest.h>
#include <heddle/core/clock.h>
#include <heddle/core/go.h>
#include <heddle/core/run.h>
#include <heddle/core/semaphore.h>
#include <heddle/core/wait_group.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "traffic.h"

namespace heddle {
namespace {

using namespace std::chrono_literals;
using test::let_others_park;
using test::on_one_p;
using test::on_procs;

TEST(Semaphore, gives_what_is_free_and_no_more) {
  struct Case {
    std::int64_t size;
    std::int64_t held;
    std::int64_t wanted;
    bool given;
  };
  constexpr std::array kTable{
      Case{1, 0, 1, true},  Case{1, 1, 1, false}, Case{1, 1, 0, true}, Case{0, 0, 0, true},
      Case{0, 0, 1, false}, Case{5, 2, 3, true},  Case{5, 2, 4, false}, Case{5, 0, 6, false},
      Case{INT64_MAX, 1, INT64_MAX - 1, true}, Case{INT64_MAX, 2, INT64_MAX - 1, false},
  };
  for (const Case& c : kTable) {
    Semaphore s(c.size);  // needs no scheduler as long as nobody waits
    ASSERT_TRUE(s.try_acquire(c.held));
    EXPECT_EQ(s.try_acquire(c.wanted), c.given) << c.size << ' ' << c.held << ' ' << c.wanted;
  }
}

TEST(Semaphore, serves_in_the_order_of_arrival) {
  on_one_p([] {
    Semaphore s(1);
    s.acquire();
    std::vector<int> order;
    WaitGroup wg;
    for (int i = 0; i < 6; ++i) {
      wg.go([&, i] {
        s.acquire();
        order.push_back(i);
        s.release();
      });
      let_others_park();
    }
    s.release();
    wg.wait();
    EXPECT_EQ(order, (std::vector{0, 1, 2, 3, 4, 5}));
  });
}

TEST(Semaphore, small_requests_do_not_pass_a_large_one) {
  on_one_p([] {
    Semaphore s(10);
    s.acquire(4);
    std::string order;
    WaitGroup wg;
    wg.go([&] {
      s.acquire(10);
      order += 'L';
      s.release(10);
    });
    let_others_park();
    for (int i = 0; i < 3; ++i) {
      wg.go([&] {
        s.acquire(1);  // would fit
        order += 's';
        s.release(1);
      });
    }
    let_others_park();
    EXPECT_FALSE(s.try_acquire(1));
    EXPECT_TRUE(order.empty());
    s.release(4);
    wg.wait();
    EXPECT_EQ(order, "Lsss");
  });
}

// Units are taken all the time: a semaphore that let small requests pass would never end this test.
TEST(Semaphore, a_stream_of_small_requests_does_not_starve_a_large_one) {
  for (const int procs : {1, 2}) {
    on_procs(procs, [] {
      Semaphore s(3);
      std::atomic<bool> served{false};
      WaitGroup wg;
      for (int i = 0; i < 4; ++i) {
        wg.go([&] {
          while (!served) {
            s.acquire();
            gosched();
            gosched();
            s.release();
          }
        });
      }
      wg.go([&] {
        gosched();
        s.acquire(3);
        served = true;
        s.release(3);
      });
      wg.wait();
    });
  }
}

TEST(Semaphore, one_release_serves_all_that_it_suffices_for) {
  on_one_p([] {
    Semaphore s(6);
    s.acquire(6);
    std::string order;
    WaitGroup wg;
    for (const int n : {1, 2, 3, 4}) {
      wg.go([&, n] {
        s.acquire(n);
        order += std::to_string(n);
      });
      let_others_park();
    }
    s.release(6);
    let_others_park();
    EXPECT_EQ(order, "123");
    s.release(4);
    wg.wait();
    EXPECT_EQ(order, "1234");
  });
}

TEST(Semaphore, a_deadline_ends_the_wait) {
  on_one_p([] {
    Semaphore s(2);
    EXPECT_TRUE(s.acquire_until(now() - 1h));  // free: taken though it is late
    s.acquire();
    EXPECT_FALSE(s.acquire_until(now() - 1h));
    EXPECT_FALSE(s.acquire_for(1ms));
    EXPECT_FALSE(s.acquire_for(1ms, 3));  // there never are so many
    WaitGroup wg;
    wg.go([&] { s.release(2); });
    EXPECT_TRUE(s.acquire_for(Duration::max(), 2));
    wg.wait();
    s.release(2);
    EXPECT_TRUE(s.try_acquire(2));
  });
}

// The one in front wants more than is free, and holds up those behind it until it gives up.
TEST(Semaphore, who_gives_up_in_front_lets_the_others_through) {
  on_one_p([] {
    Semaphore s(3);
    s.acquire(2);
    int served = 0;
    WaitGroup wg;
    wg.go([&] { EXPECT_FALSE(s.acquire_for(5ms, 3)); });
    let_others_park();
    wg.go([&] {
      s.acquire(1);
      ++served;
    });
    wg.wait();
    EXPECT_EQ(served, 1);
  });
}

TEST(Semaphore, foreign_threads_may_use_it_while_they_need_not_wait) {
  on_procs(2, [] {
    Semaphore s(1);
    s.acquire();
    std::thread foreign([&] { s.release(); });
    s.acquire();
    foreign.join();
    s.release();
    std::thread([&] {
      s.acquire();
      EXPECT_FALSE(s.try_acquire());
      s.release();
    }).join();
  });
}

TEST(SemaphoreDeathTest, misuse_is_told_in_clear_words) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  struct Case {
    void (*misuse)(Semaphore&);
    const char* says;
  };
  const std::array table{
      Case{[](Semaphore& s) { s.release(); }, "heddle: fatal: Semaphore: released more than held"},
      Case{[](Semaphore& s) {
             s.acquire();
             s.release(2);
           },
           "heddle: fatal: Semaphore: released more than held"},
      Case{[](Semaphore& s) { s.acquire(-1); }, "heddle: fatal: Semaphore: negative count"},
      Case{[](Semaphore& s) { static_cast<void>(s.try_acquire(-1)); }, "heddle: fatal: Semaphore: negative count"},
      Case{[](Semaphore& s) { s.release(-1); }, "heddle: fatal: Semaphore: negative count"},
      Case{[](Semaphore&) { const Semaphore negative(-1); }, "heddle: fatal: Semaphore: negative count"},
      Case{[](Semaphore& s) { s.acquire(3); }, "heddle: fatal: Semaphore: acquire of 3 units, and there are 2"},
      Case{[](Semaphore& s) {
             s.acquire(2);
             s.acquire();
           },
           "heddle: fatal: semacquire outside a goroutine"},
  };
  for (const Case& c : table) {
    EXPECT_DEATH(
        {
          Semaphore s(2);
          c.misuse(s);
        },
        c.says);
  }
}

// --- under load ---

TEST(SemaphoreStress, never_more_is_held_than_there_is_and_all_comes_back) {
  test::on_all_schedules([](std::uint64_t seed, int effort) {
    constexpr std::int64_t kSize = 5;
    const int rounds = 10 * effort;
    Semaphore s(kSize);
    std::atomic<std::int64_t> held{0};
    std::atomic<int> served{0};
    std::atomic<int> gave_up{0};
    WaitGroup wg;
    for (std::uint64_t i = 0; i < 8; ++i) {
      wg.go([&, i] {
        test::Random random(seed * 100 + i);
        for (int r = 0; r < rounds; ++r) {
          const auto n = static_cast<std::int64_t>(1 + random.below(kSize));
          bool got = true;
          switch (random.below(3)) {
            case 0: s.acquire(n); break;
            case 1: got = s.try_acquire(n); break;
            default: got = s.acquire_for(Duration(static_cast<int>(random.below(20'000))), n);
          }
          if (!got) {
            ++gave_up;
            continue;
          }
          ++served;
          ASSERT_LE(held += n, kSize);
          if (random.below(2) == 0) gosched();
          held -= n;
          s.release(n);
        }
      });
    }
    wg.wait();
    EXPECT_EQ(served + gave_up, 8 * rounds);
    EXPECT_TRUE(s.try_acquire(kSize));
  });
}

// As a lock: what was done before a release is seen by the next.
TEST(SemaphoreStress, orders_what_it_separates) {
  test::on_all_schedules([](std::uint64_t seed, int effort) {
    const int rounds = 20 * effort;
    Semaphore s(1);
    long count = 0;  // plain
    WaitGroup wg;
    for (std::uint64_t i = 0; i < 6; ++i) {
      wg.go([&, i] {
        test::Random random(seed * 100 + i);
        for (int r = 0; r < rounds; ++r) {
          s.acquire();
          const long old = count;
          if (random.below(8) == 0) gosched();
          count = old + 1;
          s.release();
        }
      });
    }
    wg.wait();
    EXPECT_EQ(count, 6L * rounds);
  });
}

}  // namespace
}  // namespace heddle
