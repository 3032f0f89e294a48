// Once and once_value: once in all, waited for by all, also when it fails.
#include <gtest/gtest.h>
#include <heddle/core/go.h>
#include <heddle/core/once.h>
#include <heddle/core/run.h>
#include <heddle/core/wait_group.h>

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "traffic.h"

namespace heddle {
namespace {

using test::let_others_park;
using test::on_one_p;
using test::on_procs;

TEST(Once, does_it_one_time_only) {
  Once once;  // needs no scheduler as long as nobody waits
  int n = 0;
  EXPECT_FALSE(once.done());
  for (int i = 0; i < 3; ++i) once.do_once([&] { ++n; });
  once.do_once([&] { n = 100; });  // another function, the same once
  EXPECT_EQ(n, 1);
  EXPECT_TRUE(once.done());
}

TEST(Once, all_wait_until_the_first_has_ended) {
  on_one_p([] {
    Once once;
    bool go_on = false;
    int through = 0;
    WaitGroup wg;
    for (int i = 0; i < 4; ++i) {
      wg.go([&] {
        once.do_once([&] {
          while (!go_on) gosched();
        });
        ++through;
      });
    }
    let_others_park();
    EXPECT_EQ(through, 0);
    go_on = true;
    wg.wait();
    EXPECT_EQ(through, 4);
  });
}

TEST(Once, an_exception_counts_as_done_and_goes_to_its_own_caller) {
  on_one_p([] {
    Once once;
    int caught = 0;
    int through = 0;
    WaitGroup wg;
    for (int i = 0; i < 3; ++i) {
      wg.go([&] {
        try {
          once.do_once([] {
            gosched();
            throw std::runtime_error("no");
          });
          ++through;
        } catch (const std::runtime_error&) {
          ++caught;
        }
      });
    }
    wg.wait();
    EXPECT_EQ(caught, 1);
    EXPECT_EQ(through, 2);
    EXPECT_TRUE(once.done());
  });
}

TEST(Once, goexit_counts_as_done) {
  on_one_p([] {
    Once once;
    WaitGroup wg;
    bool came_back = false;
    wg.go([&] {
      once.do_once([] { goexit(); });
      came_back = true;
    });
    wg.wait();
    EXPECT_FALSE(came_back);
    once.do_once([] { ADD_FAILURE(); });
  });
}

TEST(Once, foreign_threads_may_call_when_nobody_is_at_it) {
  on_procs(2, [] {
    Once once;
    int n = 0;
    std::thread([&] { once.do_once([&] { n = 1; }); }).join();
    once.do_once([&] { n = 2; });
    EXPECT_EQ(n, 1);
  });
}

TEST(OnceDeathTest, a_function_that_calls_its_own_once_waits_for_itself) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        Once once;
        once.do_once([&] { once.do_once([] {}); });
      },
      "sync.Mutex.Lock outside a goroutine");
}

TEST(OnceValue, is_computed_when_first_asked_for) {
  int calls = 0;
  auto value = once_value([&] {
    ++calls;
    return std::string("computed");
  });
  EXPECT_EQ(calls, 0);
  const std::string& first = value();
  EXPECT_EQ(first, "computed");
  EXPECT_EQ(&value(), &first);
  EXPECT_EQ(calls, 1);
}

TEST(OnceValue, takes_move_only_functions_and_immovable_values) {
  struct Immovable {
    explicit Immovable(int v) : n(v) {}
    Immovable(const Immovable&) = delete;
    Immovable& operator=(const Immovable&) = delete;
    int n;
  };
  auto owner = std::make_unique<int>(7);
  auto value = once_value([p = std::move(owner)] { return Immovable(*p); });
  EXPECT_EQ(value().n, 7);
}

TEST(OnceValue, lets_go_of_its_function_when_that_has_run_and_of_its_value_at_its_end) {
  auto captured = std::make_shared<int>(1);
  auto result = std::make_shared<int>(2);
  {
    auto value = once_value([captured, &result] { return result; });
    EXPECT_EQ(captured.use_count(), 2);
    EXPECT_EQ(*value(), 2);
    EXPECT_EQ(captured.use_count(), 1);
    EXPECT_EQ(result.use_count(), 2);
  }
  EXPECT_EQ(result.use_count(), 1);
}

TEST(OnceValue, throws_the_same_exception_to_every_caller) {
  on_one_p([] {
    int calls = 0;
    auto value = once_value([&]() -> int {
      ++calls;
      gosched();
      throw std::runtime_error("broken");
    });
    std::vector<const void*> caught;
    WaitGroup wg;
    for (int i = 0; i < 4; ++i) {
      wg.go([&] {
        try {
          static_cast<void>(value());
          ADD_FAILURE();
        } catch (const std::runtime_error& e) {
          EXPECT_STREQ(e.what(), "broken");
          caught.push_back(&e);
        }
      });
    }
    wg.wait();
    EXPECT_EQ(calls, 1);
    ASSERT_EQ(caught.size(), 4u);
    for (const void* e : caught) EXPECT_EQ(e, caught[0]);
  });
}

TEST(OnceValue, goexit_in_its_function_ends_every_caller) {
  on_one_p([] {
    auto value = once_value([]() -> int { goexit(); });
    int ended = 0;
    WaitGroup wg;
    for (int i = 0; i < 3; ++i) {
      wg.go([&] {
        struct Unwound {
          int& n;
          ~Unwound() { ++n; }
        } const unwound{ended};
        static_cast<void>(value());
        ADD_FAILURE();
      });
    }
    wg.wait();
    EXPECT_EQ(ended, 3);
  });
}

TEST(OnceFunc, calls_once_and_throws_to_all) {
  int calls = 0;
  auto fine = once_func([&] { ++calls; });
  fine();
  fine();
  EXPECT_EQ(calls, 1);
  auto broken = once_func([&] {
    ++calls;
    throw 7;
  });
  EXPECT_THROW(broken(), int);
  EXPECT_THROW(broken(), int);
  EXPECT_EQ(calls, 2);
}

// --- under load ---

TEST(OnceStress, what_it_did_is_seen_by_all) {
  test::on_all_schedules([](std::uint64_t seed, int effort) {
    constexpr int kGoroutines = 8;
    for (int round = 0; round < 5 * effort; ++round) {
      auto once = std::make_unique<Once>();
      int done = 0;  // plain: the once is all that orders it
      WaitGroup wg;
      for (std::uint64_t i = 0; i < kGoroutines; ++i) {
        wg.go([&, i] {
          test::Random random(seed * 100 + i);
          if (random.below(2) == 0) gosched();
          once->do_once([&] {
            if (random.below(2) == 0) gosched();
            ++done;
          });
          ASSERT_EQ(done, 1);
        });
      }
      wg.wait();
    }
  });
}

TEST(OnceStress, a_value_reaches_all) {
  test::on_all_schedules([](std::uint64_t, int effort) {
    for (int round = 0; round < 5 * effort; ++round) {
      auto value = once_value([round] {
        gosched();
        return std::to_string(round);
      });
      WaitGroup wg;
      for (int i = 0; i < 8; ++i) {
        wg.go([&] { ASSERT_EQ(value(), std::to_string(round)); });
      }
      wg.wait();
    }
  });
}

}  // namespace
}  // namespace heddle
