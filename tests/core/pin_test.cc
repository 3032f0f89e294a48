// Pin: a pinned goroutine has its P to itself, and dies rather than wait.
#include <gtest/gtest.h>
#include <heddle/core/blocking.h>
#include <heddle/core/chan.h>
#include <heddle/core/go.h>
#include <heddle/core/park.h>
#include <heddle/core/pin.h>
#include <heddle/core/run.h>
#include <heddle/core/wait_group.h>

#include <cstdint>
#include <stdexcept>

#include "preemption.h"
#include "traffic.h"

namespace heddle {
namespace {

using test::on_one_p;
using test::on_procs;

struct alignas(64) Cell {
  std::uint64_t n = 0;
  bool busy = false;
};

// Counts without atomics in the P's own cell. Returns false if somebody else was in it.
bool count_on_own_p(Cell* cells) {
  const Pin pin;
  Cell& cell = cells[pin.p()];
  if (cell.busy) return false;
  cell.busy = true;
  const std::uint64_t n = cell.n;
  for (int i = 0; i < 50; ++i) asm volatile("");
  cell.n = n + 1;
  cell.busy = false;
  return true;
}

TEST(Pin, names_the_p) {
  on_procs(3, [] {
    const auto pinned = pin();
    EXPECT_GE(pinned.p(), 0);
    EXPECT_LT(pinned.p(), procs());
    EXPECT_EQ(pinned_p(), pinned.p());
  });
}

TEST(Pin, pins_nest_and_end_with_their_scopes) {
  on_one_p([] {
    {
      const Pin a;
      {
        const Pin b;
        EXPECT_EQ(a.p(), b.p());
      }
      EXPECT_EQ(pinned_p(), a.p());
    }
    gosched();  // allowed again
    try {
      const Pin c;
      throw std::runtime_error("out of it");
    } catch (const std::runtime_error&) {
    }
    gosched();
  });
}

TEST(Pin, what_does_not_wait_works_under_a_pin) {
  on_one_p([] {
    auto ch = make_chan<int>(1);
    WaitGroup wg;
    bool ran = false;
    wg.add(1);
    {
      const Pin pin;
      ch.send(1);
      go([&] {
        ran = true;
        wg.done();
      });
      EXPECT_FALSE(ran);
      EXPECT_EQ(ch.recv(), 1);
    }
    wg.wait();
    EXPECT_TRUE(ran);
  });
}

TEST(Pin, gives_the_park_hook_back) {
  on_one_p([] {
    int calls = 0;
    set_on_park([](void* n) { ++*static_cast<int*>(n); }, &calls);
    { const Pin pin; }
    gosched();
    set_on_park(nullptr, nullptr);
    EXPECT_EQ(calls, 1);
  });
}

// Preempted as often as the build bears, and retaken: still nobody meets another in a P's cell.
TEST(PinStress, a_p_is_one_goroutines_at_a_time) {
  for (const int procs : {1, 2, 4}) {
    const test::DebugSetting forced(test::kForced);
    static Cell cells[kMostPs];
    for (Cell& cell : cells) cell = Cell();
    constexpr std::uint64_t kRounds = 20'000 / test::kSlow;
    std::atomic<std::uint64_t> collisions{0};
    on_procs(procs, [&] {
      WaitGroup wg;
      for (int g = 0; g < 8; ++g) {
        wg.go([&, g] {
          for (std::uint64_t i = 0; i < kRounds; ++i) {
            if (!count_on_own_p(cells)) collisions.fetch_add(1);
            if (g % 2 == 0 && i % 64 == 0) gosched();
          }
        });
      }
      wg.wait();
    });
    std::uint64_t sum = 0;
    for (const Cell& cell : cells) sum += cell.n;
    EXPECT_EQ(collisions.load(), 0U);
    EXPECT_EQ(sum, 8 * kRounds) << procs << " Ps";
  }
}

TEST(PinDeathTest, whoever_waits_under_a_pin_dies) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const char* kMessage = "a pinned goroutine parks or yields";
  EXPECT_DEATH(on_one_p([] {
                 const Pin pin;
                 gosched();
               }),
               kMessage);
  EXPECT_DEATH(on_one_p([] {
                 auto ch = make_chan<int>();
                 const Pin pin;
                 static_cast<void>(ch.recv());
               }),
               kMessage);
  EXPECT_DEATH(on_one_p([] {
                 const Pin pin;
                 blocking([] {});
               }),
               kMessage);
}

TEST(PinDeathTest, pin_needs_a_goroutine_with_a_p) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH({ const Pin pin; }, "pin outside a goroutine");
  EXPECT_DEATH(on_one_p([] { blocking([] { const Pin pin; }); }), "pin inside blocking");
}

TEST(PinDeathTest, pinned_p_without_a_pin_is_fatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(on_one_p([] { static_cast<void>(pinned_p()); }), "the goroutine is not pinned");
}

}  // namespace
}  // namespace heddle
