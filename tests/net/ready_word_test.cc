// The readiness word under seeded interleavings: no readiness, deadline or close is missed, and each G is readied once.
#include <heddle/net/internal/ready_word.h>

#include <gtest/gtest.h>

#include "explorer.h"

namespace heddle::net {
namespace {

using test::Explorer;
using test::HookedAtomic;
using Word = BasicReadyWord<HookedAtomic>;

constexpr std::uint64_t kSeeds = 800;

// Stands in for a parked goroutine: an actor that is blocked until somebody readies it.
struct alignas(16) FakeG {
  void* actor = nullptr;
  bool parked = false;
  int readied = 0;
};
G* as_g(FakeG& g) { return reinterpret_cast<G*>(&g); }

void ready_fake(G* g) {
  if (g == nullptr) return;
  Explorer::step();
  FakeG& fake = *reinterpret_cast<FakeG*>(g);
  EXPECT_TRUE(fake.parked) << "readied twice, or before it was parked";
  fake.parked = false;
  ++fake.readied;
  Explorer::unblock(fake.actor);
}

// What wait_ready() needs, with a clock that stands still at 10 and a timer that another actor may fire.
struct Env {
  explicit Env(HookedAtomic<std::int64_t>& d) : limit(d) { g.actor = Explorer::self(); }

  std::int64_t deadline() { return limit.load(); }
  std::int64_t now() const { return clock; }
  bool arm() { return error == 0; }
  void park(Word& word, std::int64_t) {
    g.parked = true;  // off its stack: from here on it may be readied
    if (!word.publish(as_g(g))) {
      g.parked = false;
    } else if (g.parked) {
      Explorer::block();
    }
  }
  void second_waiter() { FAIL() << "second waiter"; }

  HookedAtomic<std::int64_t>& limit;
  FakeG g;
  std::int64_t clock = 10;
  int error = 0;
};

// A socket with edges: `put` makes a byte available and then reports it.
struct Socket {
  Word word;
  HookedAtomic<int> bytes{0};

  void put() {
    bytes.fetch_add(1);
    ready_fake(word.notify());
  }
  bool try_take() {
    if (bytes.load() == 0) return false;
    bytes.fetch_sub(1);
    return true;
  }
};

TEST(ReadyWord, no_byte_is_missed_between_a_try_and_a_wait) {
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    Socket socket;
    HookedAtomic<std::int64_t> deadline{kNever};
    int taken = 0;
    Explorer explorer(seed);
    explorer.actor([&] {
      Env env(deadline);
      while (taken < 4) {
        if (socket.try_take()) {
          ++taken;
        } else {
          ASSERT_EQ(wait_ready(socket.word, env), WaitStatus::kReady);
        }
      }
    });
    for (int i = 0; i < 2; ++i) {
      explorer.actor([&] {
        socket.put();
        socket.put();
      });
    }
    ASSERT_TRUE(explorer.run()) << "lost wake-up; seed " << seed;
    ASSERT_EQ(taken, 4) << "seed " << seed;
  }
}

TEST(ReadyWord, a_deadline_set_by_another_ends_the_wait) {
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    Socket socket;
    HookedAtomic<std::int64_t> deadline{kNever};
    Explorer explorer(seed);
    WaitStatus last = WaitStatus::kReady;
    int tries = 0;
    explorer.actor([&] {
      Env env(deadline);
      while (last == WaitStatus::kReady && tries < 50) {
        ++tries;
        if (!socket.try_take()) last = wait_ready(socket.word, env);
      }
    });
    explorer.actor([&] {
      deadline.store(5);  // in the past: the clock stands at 10
      ready_fake(socket.word.kick());
    });
    explorer.actor([&] { socket.put(); });
    ASSERT_TRUE(explorer.run()) << "the deadline was missed; seed " << seed;
    ASSERT_EQ(last, WaitStatus::kTimeout) << "seed " << seed;
    ASSERT_LE(tries, 6) << "it spins; seed " << seed;
  }
}

TEST(ReadyWord, a_kick_is_no_readiness) {
  Word word;
  FakeG g;
  ASSERT_EQ(word.begin(), WaitBegin::kArmed);
  ASSERT_EQ(word.kick(), nullptr);
  EXPECT_FALSE(word.publish(as_g(g)));
  ASSERT_EQ(word.begin(), WaitBegin::kArmed);
  ASSERT_TRUE(word.publish(as_g(g)));
  EXPECT_EQ(word.kick(), as_g(g));
  EXPECT_EQ(word.begin(), WaitBegin::kArmed);
}

TEST(ReadyWord, deadlines_set_while_nobody_waits_cost_no_extra_try) {
  Word word;
  for (int i = 0; i < 3; ++i) EXPECT_EQ(word.kick(), nullptr);
  EXPECT_EQ(word.begin(), WaitBegin::kArmed);  // not kReady
  EXPECT_TRUE(word.cancel());
}

TEST(ReadyWord, close_ends_every_wait_and_is_never_overwritten) {
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    Socket socket;
    HookedAtomic<std::int64_t> deadline{kNever};
    Explorer explorer(seed);
    WaitStatus last = WaitStatus::kReady;
    explorer.actor([&] {
      Env env(deadline);
      while (last == WaitStatus::kReady) {
        if (!socket.try_take()) last = wait_ready(socket.word, env);
      }
    });
    explorer.actor([&] {
      ready_fake(socket.word.close());
      ready_fake(socket.word.close());  // idempotent
    });
    explorer.actor([&] {
      socket.put();
      ready_fake(socket.word.kick());
    });
    ASSERT_TRUE(explorer.run()) << "the close was missed; seed " << seed;
    ASSERT_EQ(last, WaitStatus::kClosed) << "seed " << seed;
    ASSERT_EQ(socket.word.begin(), WaitBegin::kClosed);
  }
}

TEST(ReadyWord, a_timer_that_fires_at_any_moment_ends_the_wait) {
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    Socket socket;
    HookedAtomic<std::int64_t> deadline{20};
    Explorer explorer(seed);
    WaitStatus last = WaitStatus::kReady;
    Env* env_of_waiter = nullptr;
    bool came = false;
    explorer.actor([&] {
      Env env(deadline);
      env_of_waiter = &env;
      while (last == WaitStatus::kReady) {
        if (!socket.try_take()) last = wait_ready(socket.word, env);
      }
      env_of_waiter = nullptr;
    });
    explorer.actor([&] {
      Explorer::step();
      if (env_of_waiter == nullptr) return;
      env_of_waiter->clock = 30;
      came = true;
      ready_fake(socket.word.kick());
    });
    explorer.actor([&] { socket.put(); });
    ASSERT_EQ(explorer.run(), came) << "the timer was missed; seed " << seed;
    ASSERT_EQ(last, came ? WaitStatus::kTimeout : WaitStatus::kReady) << "seed " << seed;
  }
}

TEST(ReadyWord, readiness_is_latched_once) {
  Word word;
  EXPECT_EQ(word.notify(), nullptr);
  EXPECT_EQ(word.notify(), nullptr);
  EXPECT_TRUE(word.looks_ready());
  EXPECT_EQ(word.begin(), WaitBegin::kReady);
  EXPECT_FALSE(word.looks_ready());
  EXPECT_EQ(word.begin(), WaitBegin::kArmed);
  EXPECT_EQ(word.begin(), WaitBegin::kBusy);  // a second waiter
}

TEST(ReadyWord, a_failed_arming_ends_the_wait_unless_something_came) {
  Word word;
  HookedAtomic<std::int64_t> deadline{kNever};
  Env env(deadline);
  env.error = 28;
  EXPECT_EQ(wait_ready(word, env), WaitStatus::kFailed);
  EXPECT_EQ(word.notify(), nullptr);
  EXPECT_EQ(wait_ready(word, env), WaitStatus::kReady);
}

}  // namespace
}  // namespace heddle::net
