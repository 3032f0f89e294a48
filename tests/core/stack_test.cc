// The stack arena: slots, classes, guards by every kind and what an overflow says, high-water marks.
//
// Tests that measure memory have arenas of their own, which share nothing with the process's but the system calls.
#include <heddle/core/internal/stack.h>

#include <gtest/gtest.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <set>
#include <vector>

#include <heddle/core/internal/stack_sys.h>
#include <heddle/core/run.h>
#include <heddle/core/stack_stats.h>
#include <heddle/core/wait_group.h>


namespace heddle {
namespace {

[[gnu::noinline]] int dive(int depth) {
  volatile char page[2048];
  page[0] = static_cast<char>(depth);
  return depth == 0 ? page[0] : dive(depth - 1) + page[0];
}

TEST(StackArena, slots_are_distinct_and_of_their_class) {
  std::set<G*> seen;
  for (const StackSize s : {StackSize::kSmall, StackSize::kDefault, StackSize::kLarge}) {
    GQueue got;
    ASSERT_EQ(stack_arena().take(s, 300, got), 300);
    GQueue back;
    while (G* g = got.pop_front()) {
      EXPECT_TRUE(seen.insert(g).second);
      EXPECT_EQ(g->stack_class, s);
      EXPECT_LT(static_cast<std::size_t>(g->stack_hi - g->stack_lo), slot_bytes(s));
      EXPECT_GT(static_cast<std::size_t>(g->stack_hi - g->stack_lo), slot_bytes(s) - (std::size_t{24} << 10));
      bool in_guard = true;
      EXPECT_EQ(stack_arena().find(g->stack_lo, &in_guard), g);
      EXPECT_FALSE(in_guard);
      EXPECT_EQ(stack_arena().find(g->stack_lo - 1, &in_guard), g);
      EXPECT_TRUE(in_guard);
      back.push_back(g);
    }
    stack_arena().give(s, back);
  }
}

TEST(StackArena, deep_frames_fit_their_class) {
  heddle::run([] {
    WaitGroup wg;
    wg.add(2);
    go({.stack = StackSize::kDefault}, [&] {
      dive(80);  // 160 KiB and more
      wg.done();
    });
    go({.stack = StackSize::kLarge}, [&] {
      dive(400);
      wg.done();
    });
    wg.wait();
  });
}


constexpr std::size_t kPage = 4096;
constexpr std::size_t kKiB = 1024;
constexpr int kDefaultClass = static_cast<int>(StackSize::kDefault);

std::vector<G*> take_all(StackArena& arena, StackSize s, int n) {
  GQueue got;
  EXPECT_EQ(arena.take(s, n, got), n);
  std::vector<G*> gs;
  while (G* g = got.pop_front()) gs.push_back(g);
  return gs;
}

// As a goroutine would that goes `bytes` deep.
void soil(const G* g, std::size_t bytes, int pattern = 0x5a) {
  std::memset(StackArena::top_of(g) - bytes, pattern, bytes - 4 * kKiB);
}

// --- measuring ---

TEST(StackUse, measure_tells_resident_memory_and_depth_of_each_class) {
  StackArena arena;
  const std::vector<G*> gs = take_all(arena, StackSize::kDefault, 10);
  for (int i = 0; i < 3; ++i) soil(gs[static_cast<std::size_t>(i)], 100 * kKiB);
  soil(gs[3], 12 * kKiB);
  gs[0]->status.store(GStatus::kWaiting);
  const StackMeasure m = arena.measure();
  const StackClassUse c = m.classes[kDefaultClass];
  EXPECT_EQ(c.size, StackSize::kDefault);
  EXPECT_EQ(c.live.stacks, 1U);
  EXPECT_EQ(c.live.max_high_water, 100 * kKiB);
  EXPECT_EQ(c.live.resident_bytes, 100 * kKiB);
  EXPECT_EQ(c.free.stacks, 9U);
  EXPECT_EQ(c.free.max_high_water, 100 * kKiB);
  EXPECT_EQ(c.free.resident_bytes, 2 * 100 * kKiB + 12 * kKiB + 6 * 4 * kKiB);
  EXPECT_EQ(c.free.high_water[0], 6U);  // the G's page
  EXPECT_EQ(c.free.high_water[1], 0U);
  EXPECT_EQ(c.free.high_water[2], 1U);  // 8 to 16 KiB
  EXPECT_EQ(c.free.high_water[5], 2U);  // 64 to 128 KiB
  EXPECT_EQ(std::accumulate(c.free.high_water.begin(), c.free.high_water.end(), std::size_t{0}), 9U);
  EXPECT_EQ(m.classes[0].free.stacks + m.classes[2].free.stacks, 0U);
  gs[0]->status.store(GStatus::kIdle);
}

TEST(StackUse, a_whole_stack_fits_the_histogram) {
  StackArena arena;
  const std::vector<G*> gs = take_all(arena, StackSize::kLarge, 1);
  soil(gs[0], static_cast<std::size_t>(StackArena::top_of(gs[0]) - gs[0]->stack_lo));
  const StackUse use = arena.measure().classes[static_cast<int>(StackSize::kLarge)].free;
  EXPECT_EQ(use.max_high_water, 1024 * kKiB - kStackGuard);
  EXPECT_EQ(use.high_water[StackUse::kBuckets - 1], 1U);
}

TEST(StackUse, a_kernel_that_does_not_tell_counts_as_nothing_touched) {
  StackArena arena;
  const std::vector<G*> gs = take_all(arena, StackSize::kDefault, 2);
  StackSys sys = kRealStackSys;
  sys.mincore = [](void*, std::size_t, unsigned char*) noexcept { return -EAGAIN; };
  ScopedStackSys scoped(sys);
  EXPECT_EQ(arena.measure().classes[kDefaultClass].free.resident_bytes, 0U);
  EXPECT_EQ(arena.measure().classes[kDefaultClass].free.stacks, 2U);
}

TEST(StackUse, high_water_follows_the_deepest_call) {
  EXPECT_EQ(stack_high_water(), 0U);
  heddle::run([] {
    const std::size_t before = stack_high_water();
    EXPECT_GE(before, kPage);
    dive(200);
    const std::size_t after = stack_high_water();
    EXPECT_GE(after, 200 * 2 * kKiB);
    EXPECT_LE(after, 1024 * kKiB);
    EXPECT_EQ(stack_high_water(), after) << "it stays when the calls have returned";
    EXPECT_GE(measure_stacks().classes[static_cast<int>(StackSize::kLarge)].live.max_high_water, after);
  });
}

TEST(StackUse, stats_count_slots_and_guards) {
  const StackStats before = stack_stats();
  heddle::run([] {
    WaitGroup wg;
    wg.add(200);
    for (int i = 0; i < 200; ++i) {
      go({.stack = StackSize::kSmall}, [&] {
        gosched();
        wg.done();
      });
    }
    const StackClassStats now = stack_stats().classes[0];
    EXPECT_GE(now.slots - now.free, 200U);
    wg.wait();
  });
  const StackStats after = stack_stats();
  EXPECT_GE(after.classes[0].slots, before.classes[0].slots);
  for (const StackClassStats& c : after.classes) {
    EXPECT_EQ(c.free, c.slots) << "all came back";
    EXPECT_EQ(c.markers + c.mappings + c.canaries, c.slots);
    EXPECT_EQ(c.slot_bytes, slot_bytes(c.size));
  }
}

#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
void overflow(const char* guard) {
  if (guard != nullptr) setenv("HEDDLE_STACK_GUARD", guard, 1);
  heddle::run([] {
    go({.name = "diver", .stack = StackSize::kSmall}, [] { dive(100'000); });
    for (;;) gosched();
  });
}

TEST(StackOverflowDeathTest, names_the_goroutine_and_its_size) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(overflow(nullptr), ::testing::ExitedWithCode(2), "goroutine [0-9]+ \"diver\" overflowed its stack of 64 KiB");
}

TEST(StackOverflowDeathTest, mapping_guards_serve_where_markers_are_missing) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(overflow("mapping"), ::testing::ExitedWithCode(2), "created by goroutine 1 at .*stack_test.cc");
}

TEST(StackOverflowDeathTest, a_canary_speaks_up_at_the_next_park) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        setenv("HEDDLE_STACK_GUARD", "canary", 1);
        heddle::run([] {
          go({.name = "writer", .stack = StackSize::kSmall}, [] {
            G* g = current_g();
            *reinterpret_cast<volatile std::uint64_t*>(g->stack_lo) = 1;  // what an overflow would hit first
            gosched();
          });
          for (int i = 0; i < 10; ++i) gosched();
        });
      },
      "stack overflow: goroutine [0-9]+, created at .*stack_test.cc:[0-9]+, ran over its 64 KiB stack");
}
#endif

}  // namespace
}  // namespace heddle
