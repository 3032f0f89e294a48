// Group: the first failure is the result and ends the context, the limit holds, wait() leaves nothing of a member.
#include <gtest/gtest.h>
#include <heddle/core/chan.h>
#include <heddle/core/context.h>
#include <heddle/core/go.h>
#include <heddle/core/group.h>
#include <heddle/core/panic.h>
#include <heddle/core/run.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>

#include "traffic.h"

namespace heddle {
namespace {

using test::let_others_park;
using test::on_all_schedules;
using test::on_one_p;
using test::on_procs;

constexpr Error kFirst{Code::kRefused, 111, "first"};
constexpr Error kSecond{Code::kReset, 104, "second"};

TEST(Group, without_members_waits_for_nothing) {
  on_one_p([] {
    Group group;
    EXPECT_TRUE(group.wait());
    EXPECT_TRUE(group.wait());
  });
}

TEST(Group, waits_for_all_members_and_for_what_they_own) {
  on_all_schedules(
      [](std::uint64_t, int) {
        Group group;
        std::atomic<int> ran{0};
        const auto owned = std::make_shared<int>(0);
        for (int i = 0; i < 10; ++i) {
          group.go([&ran, owned] {
            gosched();
            ran.fetch_add(1);
          });
        }
        ASSERT_TRUE(group.wait());
        EXPECT_EQ(ran.load(), 10);
        EXPECT_EQ(owned.use_count(), 1);
      },
      100);
}

TEST(Group, returns_the_first_error_and_drops_the_others) {
  on_one_p([] {
    Group group;
    auto gate = make_chan<int>();
    group.go([&gate]() -> Result<void> {
      static_cast<void>(gate.recv());
      return std::unexpected(kSecond);
    });
    group.go([]() -> Result<void> { return {}; });
    group.go([]() -> Result<void> { return std::unexpected(kFirst); });
    let_others_park();
    EXPECT_EQ(group.context().cause(), kFirst);
    gate.close();
    EXPECT_EQ(group.wait(), Result<void>(std::unexpected(kFirst)));
    EXPECT_EQ(group.wait(), Result<void>(std::unexpected(kFirst))) << "the second time";
    EXPECT_EQ(group.context().cause(), kFirst);
  });
}

TEST(Group, an_error_lets_go_of_members_that_wait_for_the_context) {
  for (const int procs : {1, 2, 4}) {
    on_procs(procs, [] {
      Group group;
      std::atomic<int> told{0};
      for (int i = 0; i < 20; ++i) {
        group.go([&, ctx = group.context()]() -> Result<void> {
          static_cast<void>(ctx.done().recv());
          told.fetch_add(ctx.cause() == kFirst ? 1 : 0);
          return std::unexpected(kSecond);
        });
      }
      group.go([]() -> Result<void> { return std::unexpected(kFirst); });
      EXPECT_EQ(group.wait(), Result<void>(std::unexpected(kFirst)));
      EXPECT_EQ(told.load(), 20);
    });
  }
}

TEST(Group, the_context_lives_until_wait_and_hangs_on_its_parent) {
  on_one_p([] {
    auto [parent, cancel] = with_cancel(Context());
    Group group(parent);
    group.go([] {});
    let_others_park();
    EXPECT_FALSE(group.context().err());
    EXPECT_TRUE(group.wait());
    EXPECT_EQ(group.context().err()->code, Code::kCanceled);
    EXPECT_FALSE(parent.err());

    Group other(parent);
    cancel(kFirst);
    EXPECT_EQ(other.context().cause(), kFirst);
    EXPECT_TRUE(other.wait()) << "no member has failed";
  });
}

TEST(Group, an_exception_cancels_the_others_and_wait_throws_it) {
  for (const int procs : {1, 2, 4}) {
    on_procs(procs, [] {
      Group group;
      group.go([ctx = group.context()] { static_cast<void>(ctx.done().recv()); });
      group.go([] { throw std::runtime_error("out of luck"); });
      for (int i = 0; i < 2; ++i) {
        try {
          static_cast<void>(group.wait());
          FAIL();
        } catch (const std::runtime_error& e) {
          EXPECT_STREQ(e.what(), "out of luck");
        }
      }
      EXPECT_EQ(group.context().cause()->code, Code::kCanceled);
    });
  }
}

TEST(Group, a_panic_keeps_its_value_on_the_way_to_wait) {
  on_one_p([] {
    Group group;
    group.go([] { panic(42); });
    try {
      static_cast<void>(group.wait());
      FAIL();
    } catch (const Panic& p) {
      ASSERT_NE(p.as<int>(), nullptr);
      EXPECT_EQ(*p.as<int>(), 42);
    }
  });
}

TEST(GroupDeathTest, an_exception_that_nobody_waits_for_is_a_panic) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(on_one_p([] {
                {
                  Group group;
                  group.go([] { throw std::runtime_error("out of luck"); });
                }
                let_others_park();
              }),
              testing::ExitedWithCode(2), "out of luck");
}

TEST(Group, goexit_of_a_member_is_no_failure) {
  on_one_p([] {
    Group group;
    group.set_limit(1);
    group.go([] { goexit(); });
    group.go([] {});
    EXPECT_TRUE(group.wait());
    EXPECT_FALSE(group.context().cause()->op == kFirst.op);
  });
}

TEST(Group, a_member_may_start_more_members) {
  on_procs(2, [] {
    Group group;
    std::atomic<int> ran{0};
    group.go([&] {
      for (int i = 0; i < 10; ++i) {
        group.go([&] {
          group.go([&] { ran.fetch_add(1); });
          ran.fetch_add(1);
        });
      }
    });
    EXPECT_TRUE(group.wait());
    EXPECT_EQ(ran.load(), 20);
  });
}

TEST(Group, no_more_members_run_than_the_limit) {
  on_all_schedules(
      [](std::uint64_t, int) {
        Group group;
        group.set_limit(3);
        std::atomic<int> running{0};
        std::atomic<int> most{0};
        for (int i = 0; i < 30; ++i) {
          group.go([&] {
            const int now = running.fetch_add(1) + 1;
            for (int seen = most.load(); seen < now && !most.compare_exchange_weak(seen, now);) {
            }
            gosched();
            running.fetch_sub(1);
          });
        }
        ASSERT_TRUE(group.wait());
        EXPECT_LE(most.load(), 3);
        EXPECT_EQ(running.load(), 0);
      },
      100);
}

TEST(Group, try_go_starts_nothing_and_takes_nothing_at_the_limit) {
  on_one_p([] {
    Group group;
    group.set_limit(1);
    auto gate = make_chan<int>();
    EXPECT_TRUE(group.try_go([gate] { static_cast<void>(gate.recv()); }));
    auto owned = std::make_unique<int>(7);
    int got = 0;
    auto takes = [owned = std::move(owned), &got] { got = *owned; };
    EXPECT_FALSE(group.try_go(std::move(takes)));
    gate.close();
    let_others_park();
    EXPECT_TRUE(group.try_go(std::move(takes)));
    EXPECT_TRUE(group.wait());
    EXPECT_EQ(got, 7);

    group.set_limit(0);
    EXPECT_FALSE(group.try_go([] {}));
    group.set_limit(-1);
    EXPECT_TRUE(group.try_go([] {}));
    EXPECT_TRUE(group.wait());
  });
}

TEST(GroupDeathTest, the_limit_does_not_change_under_members) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(on_one_p([] {
                 Group group;
                 group.go([] {});
                 group.set_limit(2);
               }),
               "Group: set_limit while there are 1 members");
}

TEST(Group, destroyed_early_it_cancels_and_the_members_end_by_themselves) {
  on_one_p([] {
    auto ended = make_chan<Error>(1);
    {
      Group group;
      group.go([ended, ctx = group.context()]() -> Result<void> {
        static_cast<void>(ctx.done().recv());
        ended.send(*ctx.err());
        return std::unexpected(kFirst);
      });
      let_others_park();
    }
    const std::optional<Error> why = ended.recv();
    ASSERT_TRUE(why);
    EXPECT_EQ(why->code, Code::kCanceled);
    let_others_park();
  });
}

}  // namespace
}  // namespace heddle
