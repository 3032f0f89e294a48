// singleflight: one call for all who come while it is under way, and one end, good or bad, for all of them.
#include <gtest/gtest.h>
#include <heddle/core/go.h>
#include <heddle/core/run.h>
#include <heddle/core/singleflight.h>
#include <heddle/core/wait_group.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "traffic.h"

namespace heddle {
namespace {

using singleflight::Arrival;
using singleflight::Group;
using test::let_others_park;
using test::on_one_p;

TEST(Singleflight, alone_it_is_a_plain_call) {
  on_one_p([] {
    Group<std::string, int> group;
    int calls = 0;
    for (int i = 0; i < 3; ++i) {
      const auto [value, shared] = group.do_("key", [&] { return ++calls; });
      EXPECT_EQ(value, i + 1);  // nothing is kept
      EXPECT_FALSE(shared);
    }
  });
}

TEST(Singleflight, who_comes_meanwhile_shares_the_call) {
  on_one_p([] {
    Group<std::string, std::string> group;
    int calls = 0;
    bool go_on = false;
    int got = 0;
    WaitGroup wg;
    for (int i = 0; i < 5; ++i) {
      wg.go([&] {
        const auto [value, shared] = group.do_("key", [&] {
          ++calls;
          while (!go_on) gosched();
          return std::string("fetched");
        });
        EXPECT_EQ(value, "fetched");
        EXPECT_TRUE(shared);  // the leader, too
        ++got;
      });
    }
    let_others_park();
    EXPECT_EQ(got, 0);
    EXPECT_EQ(group.do_("another key", [] { return std::string("at once"); }).value, "at once");
    go_on = true;
    wg.wait();
    EXPECT_EQ(calls, 1);
    EXPECT_EQ(got, 5);
  });
}

TEST(Singleflight, do_chan_delivers_to_all_and_waits_for_nobody) {
  on_one_p([] {
    Group<int, std::unique_ptr<int>> group;  // never copied
    bool go_on = false;
    const auto fetch = [&] {
      while (!go_on) gosched();
      return std::make_unique<int>(7);
    };
    const auto first = group.do_chan(1, fetch);
    const auto second = group.do_chan(1, fetch);
    static_cast<void>(group.do_chan(1, fetch));  // nobody receives
    let_others_park();
    EXPECT_EQ(first.len(), 0u);
    go_on = true;
    const auto a = first.recv();
    const auto b = second.recv();
    ASSERT_TRUE(a && b);
    EXPECT_EQ(*a->value(), 7);
    EXPECT_EQ(&a->value(), &b->value());
    EXPECT_TRUE(a->shared());
    EXPECT_TRUE(b->shared());
    const auto alone = group.do_chan(2, fetch).recv();
    EXPECT_FALSE(alone.value().shared());
  });
}

TEST(Singleflight, do_and_do_chan_share_a_call) {
  on_one_p([] {
    Group<int, int> group;
    int calls = 0;
    WaitGroup wg;
    const auto channel = group.do_chan(1, [&] {
      ++calls;
      gosched();
      gosched();
      return 5;
    });
    EXPECT_EQ(group.do_(1, [] { return 6; }).value, 5);
    EXPECT_EQ(channel.recv()->value(), 5);
    EXPECT_EQ(calls, 1);
  });
}

TEST(Singleflight, after_forget_the_next_call_is_a_new_one) {
  on_one_p([] {
    Group<int, int> group;
    bool go_on = false;
    const auto slow = [&] {
      while (!go_on) gosched();
      return 1;
    };
    const auto first = group.do_chan(1, slow);
    const auto second = group.do_chan(1, slow);
    let_others_park();
    group.forget(1);
    group.forget(99);
    const auto [value, shared] = group.do_(1, [] { return 2; });
    EXPECT_EQ(value, 2);
    EXPECT_FALSE(shared);
    const auto third = group.do_chan(1, [&] {
      while (!go_on) gosched();
      return 3;
    });
    go_on = true;
    EXPECT_EQ(first.recv()->value(), 1);
    EXPECT_EQ(second.recv()->value(), 1);
    EXPECT_EQ(third.recv()->value(), 3);  // the end of the forgotten one did not take it away
  });
}

TEST(Singleflight, an_exception_reaches_all_who_share_the_call) {
  on_one_p([] {
    Group<int, int> group;
    const auto error = std::make_exception_ptr(std::runtime_error("down"));
    int caught = 0;
    WaitGroup wg;
    const auto fail = [&]() -> int {
      gosched();
      std::rethrow_exception(error);
    };
    for (int i = 0; i < 3; ++i) {
      wg.go([&] {
        try {
          static_cast<void>(group.do_(1, fail));
          ADD_FAILURE();
        } catch (const std::runtime_error& e) {
          EXPECT_STREQ(e.what(), "down");
          ++caught;
        }
      });
    }
    const auto channel = group.do_chan(1, fail);
    const auto arrival = channel.recv();
    EXPECT_THROW(static_cast<void>(arrival->value()), std::runtime_error);
    wg.wait();
    EXPECT_EQ(caught, 3);
    EXPECT_EQ(group.do_(1, [] { return 4; }).value, 4);
  });
}

TEST(Singleflight, goexit_ends_all_who_share_the_call) {
  on_one_p([] {
    Group<int, int> group;
    int ended = 0;
    WaitGroup wg;
    for (int i = 0; i < 3; ++i) {
      wg.go([&] {
        struct Unwound {
          int& n;
          ~Unwound() { ++n; }
        } const unwound{ended};
        static_cast<void>(group.do_(1, []() -> int {
          gosched();
          goexit();
        }));
        ADD_FAILURE();
      });
    }
    wg.wait();
    EXPECT_EQ(ended, 3);
  });
}

// --- under load ---

TEST(SingleflightStress, flights_of_a_key_never_overlap_and_all_get_theirs) {
  test::on_all_schedules([](std::uint64_t seed, int effort) {
    constexpr std::size_t kKeys = 3;
    constexpr int kGoroutines = 8;
    const int rounds = 5 * effort;
    Group<std::size_t, std::uint64_t> group;
    std::array<std::atomic<int>, kKeys> in_flight{};
    std::array<std::atomic<std::uint64_t>, kKeys> flights{};
    std::atomic<int> got{0};
    WaitGroup wg;
    for (std::uint64_t i = 0; i < kGoroutines; ++i) {
      wg.go([&, i] {
        test::Random random(seed * 100 + i);
        for (int r = 0; r < rounds; ++r) {
          const auto key = static_cast<std::size_t>(random.below(kKeys));
          const bool yields = random.below(2) == 0;
          const std::uint64_t before = flights[key];
          const auto fetch = [&flights, &in_flight, key, yields] {
            EXPECT_EQ(in_flight[key].fetch_add(1), 0);
            const std::uint64_t number = ++flights[key];
            if (yields) gosched();
            in_flight[key].fetch_sub(1);
            return number;
          };
          std::uint64_t number = 0;
          if (random.below(3) == 0) {
            number = group.do_chan(key, fetch).recv()->value();
          } else {
            number = group.do_(key, fetch).value;
          }
          // One that was under way when we asked, or a later one.
          ASSERT_GE(number, before);
          ASSERT_GE(number, 1u);
          ASSERT_LE(number, flights[key]);
          ++got;
        }
      });
    }
    wg.wait();
    EXPECT_EQ(got, kGoroutines * rounds);
  });
}

}  // namespace
}  // namespace heddle
