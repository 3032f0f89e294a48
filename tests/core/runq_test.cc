// The ring of a P, with a capacity of four so that it wraps at once, under permuted orders and on real threads.
#include <heddle/core/internal/runq.h>

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <thread>
#include <vector>

#include "interleave.h"

namespace heddle {
namespace {

using testing::Interleaver;
using testing::ShimAtomic;

struct Item {
  int id = 0;
};

using Small = Runq<Item, 4>;
using SmallShim = Runq<Item, 4, ShimAtomic>;

TEST(Runq, is_first_in_first_out) {
  Small q;
  Item items[4];
  for (auto& i : items) ASSERT_TRUE(q.push(&i));
  for (auto& i : items) EXPECT_EQ(q.pop(), &i);
  EXPECT_EQ(q.pop(), nullptr);
}

TEST(Runq, refuses_when_full_and_gives_half_away) {
  Small q;
  Item items[5];
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(q.push(&items[i]));
  EXPECT_FALSE(q.push(&items[4]));
  Item* half[2];
  ASSERT_TRUE(q.take_half(half));
  EXPECT_EQ(half[0], &items[0]);
  EXPECT_EQ(half[1], &items[1]);
  EXPECT_TRUE(q.push(&items[4]));
  EXPECT_EQ(q.size(), 3U);
}

TEST(Runq, counters_wrap) {
  Small q;
  Item item;
  for (int i = 0; i < 1'000'000; ++i) {
    ASSERT_TRUE(q.push(&item));
    ASSERT_EQ(q.pop(), &item);
  }
}

TEST(Runq, steal_takes_half_rounded_up) {
  for (int n = 1; n <= 4; ++n) {
    Small from;
    Small into;
    Item items[4];
    for (int i = 0; i < n; ++i) ASSERT_TRUE(from.push(&items[i]));
    Item* first = from.steal_into(into, false);
    ASSERT_NE(first, nullptr);
    const int taken = static_cast<int>(into.size()) + 1;
    EXPECT_EQ(taken, (n + 1) / 2);
    EXPECT_EQ(static_cast<int>(from.size()), n / 2);
    EXPECT_EQ(first, &items[taken - 1]);  // the youngest runs at once, the older keep their order
  }
}

TEST(Runq, runnext_is_stolen_only_when_asked_and_the_ring_is_empty) {
  Small from;
  Small into;
  Item a;
  Item b;
  EXPECT_EQ(from.set_next(&a), nullptr);
  EXPECT_EQ(from.steal_into(into, false), nullptr);
  EXPECT_EQ(from.set_next(&b), &a);
  EXPECT_EQ(from.steal_into(into, true), &b);
  EXPECT_EQ(from.take_next(), nullptr);
}

// An owner that pushes, pops and overflows, and two thieves: whatever the order, each item comes out exactly once.
void conserves(std::uint64_t seed) {
  Interleaver world(seed);
  SmallShim q;
  SmallShim mine[2];
  std::vector<Item> items(12);
  for (int i = 0; i < 12; ++i) items[static_cast<std::size_t>(i)].id = i;
  std::map<int, int> seen;
  const auto saw = [&](Item* item) {
    if (item != nullptr) ++seen[item->id];
  };
  world.actor([&] {
    for (auto& item : items) {
      Item* push = &item;
      if (item.id % 3 == 0) push = q.set_next(push);
      while (push != nullptr && !q.push(push)) {
        Item* half[2];
        if (q.take_half(half)) {
          saw(half[0]);
          saw(half[1]);
        }
      }
      if (item.id % 4 == 3) saw(q.pop());
      if (item.id % 5 == 4) saw(q.take_next());
    }
  });
  for (auto& own : mine) {
    world.actor([&q, &own, &saw] {
      for (int i = 0; i < 6; ++i) {
        saw(q.steal_into(own, i % 2 == 1));
        while (Item* item = own.pop()) saw(item);
      }
    });
  }
  world.run();
  while (Item* item = q.pop()) saw(item);
  saw(q.take_next());
  for (auto& own : mine) {
    while (Item* item = own.pop()) saw(item);
  }
  ASSERT_EQ(seen.size(), 12U) << "seed " << seed;
  for (const auto& [id, times] : seen) ASSERT_EQ(times, 1) << "item " << id << ", seed " << seed;
}

TEST(Runq, conserves_items_under_permuted_orders) {
  for (std::uint64_t seed = 1; seed <= testing::seeds(20'000); ++seed) {
    conserves(seed);
    if (::testing::Test::HasFatalFailure()) return;
  }
}

TEST(Runq, push_many_takes_what_fits_in_order) {
  Item items[6];
  Runq<Item, 4> q;
  ASSERT_TRUE(q.push(&items[0]));
  ASSERT_EQ(q.pop(), &items[0]);  // so that it wraps
  ASSERT_TRUE(q.push(&items[0]));
  int next = 1;
  const auto take = [&]() noexcept { return &items[next++]; };
  EXPECT_EQ(q.push_many(5, take), 3U);
  EXPECT_EQ(q.push_many(5, take), 0U);
  EXPECT_EQ(q.push_many(0, take), 0U);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(q.pop(), &items[i]);
  EXPECT_EQ(q.pop(), nullptr);
  EXPECT_EQ(q.push_many(1, take), 1U);
  EXPECT_EQ(q.pop(), &items[4]);
}

TEST(Runq, conserves_items_on_real_threads) {
  constexpr int kItems = 200'000;
  Runq<Item, 8> q;
  std::vector<Item> items(kItems);
  std::vector<std::atomic<int>> seen(kItems);
  for (int i = 0; i < kItems; ++i) items[static_cast<std::size_t>(i)].id = i;
  std::atomic<bool> over{false};
  const auto saw = [&](Item* item) {
    // relaxed: counted, and read after the join.
    if (item != nullptr) seen[static_cast<std::size_t>(item->id)].fetch_add(1, std::memory_order_relaxed);
  };
  std::vector<std::thread> thieves;
  for (int t = 0; t < 2; ++t) {
    thieves.emplace_back([&] {
      Runq<Item, 8> own;
      while (!over.load()) {
        saw(q.steal_into(own, true));
        while (Item* item = own.pop()) saw(item);
        std::this_thread::yield();
      }
    });
  }
  for (auto& item : items) {
    Item* push = item.id % 7 == 0 ? q.set_next(&item) : &item;
    while (push != nullptr && !q.push(push)) {
      Item* half[4];
      if (!q.take_half(half)) continue;
      for (Item* h : half) saw(h);
    }
    if (item.id % 3 == 0) saw(q.pop());
  }
  while (Item* item = q.pop()) saw(item);
  saw(q.take_next());
  over.store(true);
  for (auto& t : thieves) t.join();
  for (int i = 0; i < kItems; ++i) ASSERT_EQ(seen[static_cast<std::size_t>(i)].load(), 1) << "item " << i;
}

}  // namespace
}  // namespace heddle
