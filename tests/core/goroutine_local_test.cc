// GoroutineLocal: a value for each goroutine, found wherever it runs, passed on only if asked, destroyed once.
#include <gtest/gtest.h>
#include <heddle/core/blocking.h>
#include <heddle/core/chan.h>
#include <heddle/core/go.h>
#include <heddle/core/goroutine_local.h>
#include <heddle/core/run.h>
#include <heddle/core/wait_group.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "traffic.h"

namespace heddle {
namespace {

using test::let_others_park;
using test::on_one_p;
using test::on_procs;

GoroutineLocal<int> number;
GoroutineLocal<std::string> text;
GoroutineLocal<std::string, Inherit::kCopy> heirloom;

// Counts who lives, and how many were made.
struct Counted {
  static inline std::atomic<int> alive{0};
  static inline std::atomic<int> made{0};
  Counted() noexcept { note(); }
  Counted(const Counted&) noexcept { note(); }
  Counted& operator=(const Counted&) = default;
  ~Counted() { alive.fetch_sub(1); }
  static void note() noexcept {
    alive.fetch_add(1);
    made.fetch_add(1);
  }
};
GoroutineLocal<Counted> counted;
GoroutineLocal<Counted, Inherit::kCopy> counted_heirloom;

TEST(GoroutineLocal, is_empty_until_it_is_set) {
  on_one_p([] {
    EXPECT_FALSE(number.has());
    EXPECT_EQ(number.get(), nullptr);
    EXPECT_EQ(number.set(7), 7);
    ASSERT_TRUE(number.has());
    EXPECT_EQ(*number.get(), 7);
    number.reset();
    EXPECT_FALSE(number.has());
    number.reset();
  });
}

TEST(GoroutineLocal, each_goroutine_sees_its_own_wherever_it_runs) {
  on_procs(4, [] {
    WaitGroup wg;
    std::atomic<int> wrong{0};
    for (int i = 0; i < 200; ++i) {
      wg.go([i, &wrong] {
        if (number.has() || text.has()) ++wrong;
        number.set(i);
        text.set(std::to_string(i));
        for (int r = 0; r < 20; ++r) {
          gosched();
          if (*number.get() != i || *text.get() != std::to_string(i)) ++wrong;
        }
      });
    }
    wg.wait();
    EXPECT_EQ(wrong.load(), 0);
    EXPECT_FALSE(number.has());
  });
}

TEST(GoroutineLocal, the_next_goroutine_on_a_stack_starts_without_values) {
  on_one_p([] {
    for (int i = 0; i < 3; ++i) {
      WaitGroup wg;
      wg.go([] {
        EXPECT_FALSE(number.has());
        number.set(1);
      });
      wg.wait();
    }
  });
}

TEST(GoroutineLocal, many_variables_are_kept_apart) {
  static GoroutineLocal<int> many[40];
  on_one_p([] {
    WaitGroup wg;
    for (int g = 0; g < 10; ++g) {
      wg.go([g] {
        // Backwards, so that the array has to grow from its far end, and again in the next goroutine.
        for (int i = 39; i >= 0; i -= 1 + g % 3) many[i].set(100 * g + i);
        gosched();
        for (int i = 39; i >= 0; i -= 1 + g % 3) EXPECT_EQ(*many[i].get(), 100 * g + i);
      });
    }
    wg.wait();
  });
}

TEST(GoroutineLocal, a_new_goroutine_inherits_only_where_asked) {
  on_one_p([] {
    text.set("mine");
    heirloom.set("ours");
    WaitGroup wg;
    wg.go([&wg] {
      EXPECT_FALSE(text.has());
      ASSERT_TRUE(heirloom.has());
      EXPECT_EQ(*heirloom.get(), "ours");
      *heirloom.get() = "changed";
      wg.go([] { EXPECT_EQ(*heirloom.get(), "changed"); });
    });
    wg.wait();
    EXPECT_EQ(*heirloom.get(), "ours");
  });
}

struct Refuses {
  Refuses() = default;
  Refuses(const Refuses&) { throw std::runtime_error("no copies"); }
  Refuses& operator=(const Refuses&) = default;
};
GoroutineLocal<Refuses, Inherit::kCopy> refuses;

TEST(GoroutineLocal, a_copy_that_throws_leaves_go_and_starts_nothing) {
  on_one_p([] {
    counted_heirloom.set();
    refuses.set();
    bool ran = false;
    EXPECT_THROW(go([&ran] { ran = true; }), std::runtime_error);
    refuses.reset();
    let_others_park();
    EXPECT_FALSE(ran);
    EXPECT_EQ(Counted::alive.load(), 1);
    WaitGroup wg;
    wg.go([] { EXPECT_TRUE(counted_heirloom.has()); });
    wg.wait();
    counted_heirloom.reset();
  });
  EXPECT_EQ(Counted::alive.load(), 0);
}

TEST(GoroutineLocal, values_die_with_their_goroutine) {
  Counted::made = 0;
  on_one_p([] {
    WaitGroup wg;
    wg.go([] {
      counted.set();
      counted.set();  // destroys the first
      EXPECT_EQ(Counted::alive.load(), 1);
    });
    wg.wait();
    let_others_park();
    EXPECT_EQ(Counted::alive.load(), 0);
    wg.go([] {
      counted.set();
      goexit();
    });
    wg.wait();
    let_others_park();
    EXPECT_EQ(Counted::alive.load(), 0);
    counted.set();
  });
  EXPECT_EQ(Counted::made.load(), 4);
  EXPECT_EQ(Counted::alive.load(), 0) << "main's own";
}

TEST(GoroutineLocal, values_of_abandoned_goroutines_are_destroyed_by_run) {
  testing::internal::CaptureStderr();
  on_procs(2, [] {
    go([] {
      counted.set();
      sleep(std::chrono::hours(1));
    });
    while (Counted::alive.load() == 0) gosched();
  });
  EXPECT_NE(testing::internal::GetCapturedStderr().find("1 goroutine left behind"), std::string::npos);
  EXPECT_EQ(Counted::alive.load(), 0);
}

// Parks in its destructor, and sets another value there.
struct Farewell {
  Chan<int> to;
  explicit Farewell(Chan<int> c) noexcept : to(std::move(c)) {}
  ~Farewell() {
    to.send(1);
    text.set("from a destructor");
    counted.set();
  }
};
GoroutineLocal<Farewell> farewell;

TEST(GoroutineLocal, a_destructor_may_park_and_set_others) {
  on_one_p([] {
    auto ch = make_chan<int>();
    go([ch] { farewell.set(ch); });
    EXPECT_EQ(ch.recv(), 1);
    let_others_park();
    EXPECT_EQ(Counted::alive.load(), 0);
  });
}

TEST(GoroutineLocalStress, nothing_is_lost_or_kept) {
  Counted::made = 0;
  on_procs(4, [] {
    counted_heirloom.set();
    WaitGroup wg;
    for (int i = 0; i < 2000 / test::kSlow; ++i) {
      wg.go([i, &wg] {
        if (i % 2 == 0) counted.set();
        if (i % 3 == 0) gosched();
        wg.go([] { EXPECT_TRUE(counted_heirloom.has() && !counted.has()); });
        if (i % 5 == 0) goexit();
      });
    }
    wg.wait();
  });
  EXPECT_EQ(Counted::alive.load(), 0);
  const int n = 2000 / test::kSlow;
  EXPECT_EQ(Counted::made.load(), 1 + 2 * n + (n + 1) / 2);
}

TEST(GoroutineLocalDeathTest, set_outside_a_goroutine_is_fatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EQ(number.get(), nullptr);
  EXPECT_DEATH(number.set(1), "GoroutineLocal::set outside a goroutine");
}

struct Immortal {
  ~Immortal();
};
GoroutineLocal<Immortal> immortal;
Immortal::~Immortal() { immortal.set(); }

TEST(GoroutineLocalDeathTest, destructors_that_never_stop_setting_values_are_fatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(on_one_p([] { immortal.set(); }), "goroutine-local values go on setting others");
}

GoroutineLocal<int> trace_of_work;

TEST(GoroutineIsAsNew, until_something_is_left_on_it) {
  run([] {
    EXPECT_TRUE(goroutine_is_as_new());
    lock_os_thread();
    EXPECT_FALSE(goroutine_is_as_new());
    unlock_os_thread();
    EXPECT_TRUE(goroutine_is_as_new());
    trace_of_work.set(1);
    EXPECT_FALSE(goroutine_is_as_new());
  });
}

}  // namespace
}  // namespace heddle
