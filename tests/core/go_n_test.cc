// go_n: all numbers run once, each with its own copy, or none runs at all. And who starts many gives way to them.
#include <gtest/gtest.h>
#include <heddle/core/go.h>
#include <heddle/core/labels.h>
#include <heddle/core/run.h>
#include <heddle/core/wait_group.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <vector>

#include "traffic.h"

namespace heddle {
namespace {

using test::let_others_park;
using test::on_one_p;
using test::on_procs;

// A ring of 256 and the one that runs next are alive at a time. A busy machine may take the starter's P away for a while:
// what it starts then goes to the global queue. Without the rule all 3000 are.
TEST(Go, who_starts_more_than_fit_goes_behind_them) {
  heddle::run(
      [] {
        WaitGroup wg;
        int ended = 0;
        int most = 0;
        for (int i = 1; i <= 3000; ++i) {
          wg.go([&] { ++ended; });
          most = std::max(most, i - ended);
        }
        EXPECT_LE(most, 1000);
        wg.wait();
      },
      {.procs = 1});
}

TEST(GoN, runs_each_number_once) {
  for (const int procs : {1, 2, 4}) {
    // None, one, less than a ring, a ring, more than one.
    for (const std::size_t n : {0, 1, 100, 256, 1000 / test::kSlow * 3}) {
      std::vector<std::atomic<int>> runs(n + 1);
      on_procs(procs, [&] {
        WaitGroup wg;
        wg.add(static_cast<std::int32_t>(n));
        go_n(n, [&](std::size_t i) {
          runs[i].fetch_add(1);
          wg.done();
        });
        wg.wait();
      });
      for (std::size_t i = 0; i < n; ++i) ASSERT_EQ(runs[i].load(), 1) << i << " of " << n;
    }
  }
}

TEST(GoN, returns_before_any_of_them_runs_on_one_p) {
  on_one_p([] {
    int ran = 0;
    go_n(10, [&ran](std::size_t) { ++ran; });
    EXPECT_EQ(ran, 0);
    let_others_park();
    EXPECT_EQ(ran, 10);
  });
}

TEST(GoN, joins_a_queue_that_is_not_empty) {
  on_one_p([] {
    int ran = 0;
    for (int round = 0; round < 5; ++round) {
      for (int i = 0; i < 50; ++i) go([&ran] { ++ran; });
      go_n(100, [&ran](std::size_t) { ++ran; });
    }
    while (ran < 750) gosched();
  });
}

struct Copies {
  static inline int alive = 0;
  static inline int copied = 0;
  static inline int moved = 0;
  static inline int refuse_at = -1;
  Copies() { ++alive; }
  Copies(const Copies&) {
    if (copied == refuse_at) throw std::runtime_error("no more copies");
    ++copied;
    ++alive;
  }
  Copies(Copies&&) noexcept { ++moved, ++alive; }
  Copies& operator=(const Copies&) = default;
  ~Copies() { --alive; }
};

TEST(GoN, copies_an_rvalue_n_minus_one_times) {
  on_one_p([] {
    Copies::copied = 0;
    int ran = 0;
    go_n(5, [c = Copies(), &ran](std::size_t) { ++ran; });
    EXPECT_EQ(Copies::copied, 4);
    EXPECT_EQ(Copies::alive, 5);
    let_others_park();
    EXPECT_EQ(ran, 5);
    EXPECT_EQ(Copies::alive, 0);
  });
}

TEST(GoN, starts_none_if_a_copy_throws) {
  on_one_p([] {
    Copies::copied = 0;
    Copies::refuse_at = 7;
    int ran = 0;
    EXPECT_THROW(go_n(10, [c = Copies(), &ran](std::size_t) { ++ran; }), std::runtime_error);
    Copies::refuse_at = -1;
    let_others_park();
    EXPECT_EQ(ran, 0);
    EXPECT_EQ(Copies::alive, 0);
  });
}

TEST(GoN, takes_large_functions) {
  on_one_p([] {
    struct Large {
      char padding[5000] = {};
      std::shared_ptr<int> sum;
      void operator()(std::size_t i) { *sum += static_cast<int>(i); }
    };
    auto sum = std::make_shared<int>(0);
    go_n(4, Large{.sum = sum});
    let_others_park();
    EXPECT_EQ(*sum, 6);
    EXPECT_EQ(sum.use_count(), 1);
  });
}

TEST(GoN, all_inherit_the_creators_labels) {
  on_one_p([] {
    int labelled = 0;
    with_labels({{"batch", "1"}}, [&] {
      go_n(20, [&labelled](std::size_t) { labelled += labels().find("batch") == "1" ? 1 : 0; });
    });
    let_others_park();
    EXPECT_EQ(labelled, 20);
  });
}

TEST(GoNStress, many_batches_at_once_lose_nobody) {
  on_procs(4, [] {
    constexpr std::size_t kBatches = 50 / test::kSlow;
    std::atomic<std::size_t> ran{0};
    WaitGroup wg;
    for (int g = 0; g < 8; ++g) {
      wg.go([&] {
        for (std::size_t b = 0; b < kBatches; ++b) {
          wg.add(200);
          go_n(200, [&](std::size_t i) {
            if (i % 16 == 0) gosched();
            ran.fetch_add(1);
            wg.done();
          });
          gosched();
        }
      });
    }
    wg.wait();
    EXPECT_EQ(ran.load(), 8 * kBatches * 200);
  });
}

TEST(GoNDeathTest, needs_a_goroutine) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(go_n(2, [](std::size_t) {}), "go needs a goroutine");
}

}  // namespace
}  // namespace heddle
