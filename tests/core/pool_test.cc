// Pool: what was put is found again, nobody gets what another has, and what nobody uses goes.
#include <gtest/gtest.h>
#include <heddle/core/clock.h>
#include <heddle/core/go.h>
#include <heddle/core/internal/pool_clock.h>
#include <heddle/core/pool.h>
#include <heddle/core/run.h>
#include <heddle/core/wait_group.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "traffic.h"

namespace heddle {
namespace {

using test::on_one_p;
using test::on_procs;

// Counts those alive. Cannot be moved.
struct Counted {
  explicit Counted(std::atomic<int>& n) : alive(n) { ++alive; }
  ~Counted() { --alive; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
  std::atomic<int>& alive;
  long users = 0;  // plain: only one has it at a time
};

auto counted_pool(std::atomic<int>& alive) {
  return Pool([&alive] { return Counted(alive); });
}

TEST(Pool, makes_one_if_it_has_none) {
  Pool<std::string> pool;
  auto a = pool.get();
  auto b = pool.get();
  EXPECT_NE(a.get(), b.get());
  EXPECT_EQ(*a, "");
  Pool fives([] { return 5; });
  EXPECT_EQ(*fives.get(), 5);
}

TEST(Pool, gives_what_was_given_back_last) {
  on_one_p([] {
    std::atomic<int> alive{0};
    auto pool = counted_pool(alive);
    const Counted* first = nullptr;
    const Counted* second = nullptr;
    {
      auto a = pool.get();
      auto b = pool.get();
      first = a.get();
      second = b.get();
      b.reset();
      EXPECT_FALSE(b);
      a.reset();
    }
    const auto again = pool.get();
    const auto and_again = pool.get();
    EXPECT_EQ(again.get(), first);
    EXPECT_EQ(and_again.get(), second);
    EXPECT_EQ(alive, 2);
  });
}

TEST(Pool, a_handle_moves) {
  std::atomic<int> alive{0};
  auto pool = counted_pool(alive);
  auto a = pool.get();
  const Counted* object = a.get();
  Pooled<Counted> b(std::move(a));
  EXPECT_EQ(b.get(), object);
  Pooled<Counted> c;
  c = std::move(b);
  EXPECT_EQ(c.get(), object);
  c = pool.get();  // gives the first back
  EXPECT_EQ(alive, 2);
}

TEST(Pool, what_is_discarded_does_not_come_back) {
  std::atomic<int> alive{0};
  auto pool = counted_pool(alive);
  auto a = pool.get();
  a.discard();
  EXPECT_FALSE(a);
  EXPECT_EQ(alive, 0);
}

TEST(Pool, destroys_what_it_holds) {
  std::atomic<int> alive{0};
  {
    auto pool = counted_pool(alive);
    std::vector<Pooled<Counted>> out;
    for (int i = 0; i < 10; ++i) out.push_back(pool.get());
    out.clear();
    EXPECT_EQ(alive, 10);
  }
  EXPECT_EQ(alive, 0);
}

TEST(Pool, passes_on_what_its_factory_throws) {
  Pool pool([]() -> int { throw std::runtime_error("none"); });
  EXPECT_THROW(static_cast<void>(pool.get()), std::runtime_error);
}

TEST(Pool, finds_what_was_put_on_another_p) {
  on_procs(4, [] {
    std::atomic<int> alive{0};
    auto pool = counted_pool(alive);
    for (int i = 0; i < 200; ++i) {
      WaitGroup wg;
      wg.go([&] { static_cast<void>(pool.get()); });  // on this P or any other
      wg.wait();
      gosched();
    }
    EXPECT_EQ(alive, 1);
  });
}

TEST(Pool, is_for_foreign_threads_too) {
  std::atomic<int> alive{0};
  auto pool = counted_pool(alive);
  pool.get()->users = 1;
  std::thread([&] { pool.get()->users = 2; }).join();
  EXPECT_EQ(pool.get()->users, 2);
  // The first look of a first run() at the clock may age the pool: then this is a new one, and the old one is gone.
  on_one_p([&] { static_cast<void>(pool.get()); });
  EXPECT_EQ(alive, 1);
}

TEST(Pool, frees_what_nobody_used_for_two_generations) {
  on_one_p([] {
    std::atomic<int> alive{0};
    auto pool = counted_pool(alive);
    {
      auto a = pool.get();
      auto b = pool.get();
      auto c = pool.get();
    }
    pool.trim();
    EXPECT_EQ(alive, 3);
    static_cast<void>(pool.get());  // one of the old ones is used again
    EXPECT_EQ(alive, 3);
    pool.trim();
    EXPECT_EQ(alive, 1);
    pool.trim();
    EXPECT_EQ(alive, 0);
  });
}

std::atomic<std::int64_t> fake_now{1};

// sysmon tells the time; the pool's next use acts on it.
TEST(Pool, ages_as_time_passes) {
  detail::set_clock_for_test([]() noexcept { return fake_now.load(); });
  on_one_p([] {
    std::atomic<int> alive{0};
    auto pool = counted_pool(alive);
    std::vector<Pooled<Counted>> out;
    for (int i = 0; i < 10; ++i) out.push_back(pool.get());
    out.clear();
    EXPECT_EQ(alive, 10);
    fake_now += 2 * kPoolGeneration;
    while (alive != 1) {  // a get may make one, and put it back, before sysmon has looked at the clock
      static_cast<void>(pool.get());
      gosched();
    }
  });
  detail::set_clock_for_test(nullptr);
}

// --- under load ---

TEST(PoolStress, nobody_gets_what_another_has) {
  test::on_all_schedules([](std::uint64_t seed, int effort) {
    const int rounds = 10 * effort;
    std::atomic<int> alive{0};
    {
      auto pool = counted_pool(alive);
      WaitGroup wg;
      for (std::uint64_t i = 0; i < 8; ++i) {
        wg.go([&, i] {
          test::Random random(seed * 100 + i);
          std::vector<Pooled<Counted>> mine;
          for (int r = 0; r < rounds; ++r) {
            switch (random.below(8)) {
              case 0: pool.trim(); break;
              case 1: gosched(); break;
              case 2:
                if (!mine.empty()) mine.back().discard(), mine.pop_back();
                break;
              case 3: mine.clear(); break;
              default: {
                auto one = pool.get();
                ASSERT_EQ(one->users++, 0);
                if (random.below(2) == 0) gosched();
                ASSERT_EQ(one->users--, 1);
                if (mine.size() < 5) mine.push_back(std::move(one));
              }
            }
          }
        });
      }
      wg.wait();
    }
    EXPECT_EQ(alive, 0);  // none lost
  });
}

}  // namespace
}  // namespace heddle
