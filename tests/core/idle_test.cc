// The idle mask, and the model of the wake-up protocol that is built on it (idle.h, wakeup.cc).
#include <heddle/core/internal/idle.h>

#include <gtest/gtest.h>

#include "interleave.h"

namespace heddle {
namespace {

using testing::Interleaver;
using testing::ShimAtomic;

TEST(IdleMask, gives_each_p_to_one_taker) {
  IdleMask mask;
  mask.put(3);
  mask.put(130);
  EXPECT_TRUE(mask.any());
  EXPECT_EQ(mask.count(), 2);
  EXPECT_TRUE(mask.try_take(130));
  EXPECT_FALSE(mask.try_take(130));
  EXPECT_EQ(mask.take_any(), 3);
  EXPECT_EQ(mask.take_any(), -1);
  EXPECT_FALSE(mask.any());
}

// The protocol of wakeup.cc with two Ps, step by step as there: submitters queue jobs and call wake_p after
// each; P1's M searches, gives up its P, looks again, sleeps until it is woken. At the end of every schedule either all
// jobs are taken or somebody is awake to take them.
class Model {
 public:
  explicit Model(std::uint64_t seed) : world_(seed) {}

  void run(std::uint64_t seed) {
    // Two submitters: one may leave because it sees the other's attempt to wake somebody.
    for (int s = 0; s < 2; ++s) {
      world_.actor([&] {
        for (int i = 0; i < 2; ++i) {
          queued_.fetch_add(1);
          wake_p();
        }
      });
    }
    world_.actor([&] { m1(); });
    // A second P that goes to sleep at the same time, and so contends for wakes.
    world_.actor([&] { m2_gives_up(); });
    world_.run();
    // Asleep, with jobs queued and nobody told: a lost wake-up.
    const bool told = nextp_[0].load() || nextp_[1].load();
    ASSERT_TRUE(queued_.load() == 0 || told) << "lost wake-up, seed " << seed;
  }

 private:
  void wake_p() {
    while (mask_.any()) {
      int nobody = 0;
      if (spinning_.load() != 0 || !spinning_.compare_exchange_strong(nobody, 1)) return;
      const int p = mask_.take_any();
      if (p >= 0) {
        nextp_[p].store(true);
        return;
      }
      spinning_.fetch_sub(1);
    }
  }

  bool take_job() {
    int n = queued_.load();
    while (n > 0) {
      if (queued_.compare_exchange_strong(n, n - 1)) return true;
    }
    return false;
  }

  // Searches (spinning), gives up, looks again; true if it sleeps.
  void m1() {
    bool spinning = true;
    spinning_.fetch_add(1);
    for (;;) {
      while (take_job()) {
        if (spinning) {
          spinning = false;
          if (spinning_.fetch_sub(1) == 1) wake_p();
        }
      }
      mask_.put(0);
      if (spinning) {
        spinning = false;
        spinning_.fetch_sub(1);
      }
      if (queued_.load() != 0 && mask_.try_take(0)) {
        spinning_.fetch_add(1);
      } else if (!nextp_[0].exchange(false)) {
        return;  // sleeps
      }
      spinning = true;  // counted by us, or by the waker for us
    }
  }

  void m2_gives_up() {
    mask_.put(1);
    if (queued_.load() == 0 || !mask_.try_take(1)) return;
    spinning_.fetch_add(1);
    while (take_job()) {
    }
    mask_.put(1);
    spinning_.fetch_sub(1);
    if (queued_.load() != 0 && mask_.try_take(1)) {
      nextp_[1].store(true);  // goes on: awake
    }
  }

  Interleaver world_;
  BasicIdleMask<ShimAtomic> mask_;
  ShimAtomic<int> spinning_{0};
  ShimAtomic<int> queued_{0};
  ShimAtomic<bool> nextp_[2];
};

TEST(WakeUpProtocol, loses_no_wake_up_under_permuted_orders) {
  for (std::uint64_t seed = 1; seed <= testing::seeds(50'000); ++seed) {
    Model(seed).run(seed);
    if (::testing::Test::HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace heddle
