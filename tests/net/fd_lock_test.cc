// The descriptor's lock: one finisher, no stranger, under seeded interleavings.
#include <heddle/net/internal/fd_lock.h>

#include <gtest/gtest.h>

#include "explorer.h"

namespace heddle::net {
namespace {

using test::Explorer;
using test::HookedAtomic;
using Lock = BasicFdLock<HookedAtomic>;

TEST(FdLock, exactly_one_of_those_who_leave_a_closing_descriptor_finishes_it) {
  for (std::uint64_t seed = 1; seed <= 1000; ++seed) {
    Lock lock;
    const std::uint32_t generation = lock.open();
    int finished = 0;
    int inside = 0;
    const auto leave = [&](FdLeave what) {
      if (what == FdLeave::kNothing) return;
      EXPECT_EQ(inside, 0) << "closed under somebody's feet; seed " << seed;
      ++finished;
    };
    const auto use = [&](FdUse how) {
      if (lock.enter(generation, how) != FdEnter::kInside) return;
      ++inside;
      Explorer::step();
      --inside;
      leave(lock.leave(how));
    };
    Explorer explorer(seed);
    explorer.actor([&] {
      use(FdUse::kRead);
      use(FdUse::kRead);
    });
    explorer.actor([&] {
      use(FdUse::kWrite);
      use(FdUse::kOther);
    });
    for (int i = 0; i < 2; ++i) {
      explorer.actor([&] {
        if (!lock.close(generation)) return;
        lock.hold();  // for the home's inbox
        leave(lock.drop());
        leave(lock.drop());
      });
    }
    ASSERT_TRUE(explorer.run());
    ASSERT_EQ(finished, 1) << "seed " << seed;
    ASSERT_EQ(lock.enter(generation, FdUse::kOther), FdEnter::kClosed);
  }
}

TEST(FdLock, a_handle_of_an_earlier_tenant_never_gets_in) {
  for (std::uint64_t seed = 1; seed <= 600; ++seed) {
    Lock lock;
    const std::uint32_t first = lock.open();
    std::uint32_t tenant = first;
    Explorer explorer(seed);
    explorer.actor([&] {
      for (int i = 0; i < 4; ++i) {
        if (lock.enter(first, FdUse::kRead) != FdEnter::kInside) continue;
        EXPECT_EQ(tenant, first) << "a stale handle reads a stranger's connection; seed " << seed;
        if (lock.leave(FdUse::kRead) == FdLeave::kFinish) {
          lock.retire();
          tenant = lock.open();
        }
      }
      EXPECT_FALSE(tenant != first && lock.close(first)) << "a stale handle closes a stranger's; seed " << seed;
    });
    explorer.actor([&] {
      if (lock.close(first) && lock.drop() == FdLeave::kFinish) {
        lock.retire();
        tenant = lock.open();
      }
    });
    ASSERT_TRUE(explorer.run());
    ASSERT_NE(tenant, first);
    ASSERT_EQ(lock.enter(tenant, FdUse::kRead), FdEnter::kInside);
  }
}

TEST(FdLock, a_second_reader_is_told_and_a_writer_is_not_in_its_way) {
  Lock lock;
  const std::uint32_t generation = lock.open();
  EXPECT_EQ(lock.enter(generation, FdUse::kRead), FdEnter::kInside);
  EXPECT_EQ(lock.enter(generation, FdUse::kRead), FdEnter::kBusy);
  EXPECT_EQ(lock.enter(generation, FdUse::kWrite), FdEnter::kInside);
  EXPECT_EQ(lock.enter(generation, FdUse::kOther), FdEnter::kInside);
  EXPECT_EQ(lock.enter(generation, FdUse::kOther), FdEnter::kInside);
}

TEST(FdLock, a_zero_handle_fits_no_tenant) {
  Lock lock;
  EXPECT_NE(lock.open(), 0U);
  EXPECT_EQ(lock.enter(0, FdUse::kRead), FdEnter::kClosed);
  EXPECT_FALSE(lock.close(0));
}

}  // namespace
}  // namespace heddle::net
