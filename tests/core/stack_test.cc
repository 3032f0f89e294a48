// The stack arena: slots, classes, guards by every kind, and what an overflow says.
#include <heddle/core/internal/stack.h>

#include <gtest/gtest.h>

#include <cstdlib>
#include <set>

#include <heddle/core/run.h>
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
