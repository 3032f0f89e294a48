// The doorbell: a ring before, during or after the decision to sleep ends the sleep.
#include <heddle/net/internal/doorbell.h>

#include <gtest/gtest.h>
#include <poll.h>

#include "explorer.h"

namespace heddle::net {
namespace {

using test::Explorer;
using test::HookedAtomic;

// The worker: looks for work, announces sleep, sleeps until a write comes. Wakers: leave work, then ring.
TEST(Doorbell, no_ring_is_lost) {
  for (std::uint64_t seed = 1; seed <= 1000; ++seed) {
    BasicDoorWord<HookedAtomic> door;
    HookedAtomic<int> work{0};
    int writes = 0;
    void* sleeper = nullptr;
    bool sleeps = false;
    Explorer explorer(seed);
    explorer.actor([&] {
      for (int done = 0; done < 3;) {
        done += work.exchange(0);
        if (done == 3 || !door.try_sleep()) continue;
        if (writes == 0) {
          sleeps = true;
          sleeper = Explorer::self();
          Explorer::block();
        }
        writes = 0;
        door.awaken();
      }
    });
    for (int i = 0; i < 3; ++i) {
      explorer.actor([&] {
        work.fetch_add(1);
        if (!door.ring()) return;
        ++writes;
        if (sleeps) {
          sleeps = false;
          Explorer::unblock(sleeper);
        }
      });
    }
    ASSERT_TRUE(explorer.run()) << "lost wake-up; seed " << seed;
  }
}

TEST(Doorbell, a_ring_before_the_sleep_forbids_it_once) {
  BasicDoorWord<> door;
  EXPECT_FALSE(door.ring());  // awake: no system call
  EXPECT_FALSE(door.ring());
  EXPECT_FALSE(door.try_sleep());
  EXPECT_TRUE(door.try_sleep());
  EXPECT_TRUE(door.ring());   // asleep: the ringer must write
  EXPECT_FALSE(door.ring());  // once
  door.awaken();
  EXPECT_TRUE(door.try_sleep());
}

TEST(Doorbell, rings_through_its_descriptor_only_if_the_owner_sleeps_and_keeps_errno) {
  Doorbell door;
  pollfd look{door.fd(), POLLIN, 0};
  door.ring();
  EXPECT_EQ(::poll(&look, 1, 0), 0);
  EXPECT_FALSE(door.try_sleep());
  EXPECT_TRUE(door.try_sleep());
  errno = 77;
  door.ring();
  EXPECT_EQ(errno, 77);
  EXPECT_EQ(::poll(&look, 1, 0), 1);
}

}  // namespace
}  // namespace heddle::net
