// The lazy wheel: when entries fire, how often they are looked at, and that no earlier deadline is missed.
#include <heddle/net/internal/wheel.h>

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <random>
#include <thread>
#include <vector>

namespace heddle::net {
namespace {

constexpr std::int64_t kMs = 1'000'000;
constexpr std::int64_t kSecond = 1000 * kMs;
constexpr std::int64_t kStart = 7 * 3600 * kSecond + 123'456'789;  // not on a tick

struct Timer : WheelEntry {
  Timer() : WheelEntry([](WheelEntry* e) { static_cast<Timer*>(e)->fired(); }) {}
  void fired() {
    ++count;
    fired_at = now == nullptr ? 0 : *now;
  }
  void set(Wheel& wheel, std::int64_t when) {
    if (WheelEntry::set(when)) wheel.relook(*this);
  }
  int count = 0;
  std::int64_t fired_at = 0;
  const std::int64_t* now = nullptr;
};

// Advances as a poller does: sleeps to next(), then turns. Returns the number of wake-ups.
int run_until(Wheel& wheel, std::int64_t& now, std::int64_t end) {
  int wakes = 0;
  while (wheel.next() <= end) {
    now = std::max(now, wheel.next());
    wheel.advance(now, 1 << 20);
    ++wakes;
  }
  now = end;
  wheel.advance(now, 1 << 20);
  return wakes;
}

TEST(Wheel, fires_no_earlier_than_its_deadline_and_at_most_a_tick_late) {
  for (const std::int64_t after : {std::int64_t{1}, kMs, 8 * kMs, 9 * kMs, 500 * kMs, 2 * kSecond, 3 * kSecond, 60 * kSecond,
                                   500 * kSecond, 600 * kSecond, 7200 * kSecond}) {
    std::int64_t now = kStart;
    Wheel wheel(now);
    Timer timer;
    timer.now = &now;
    timer.set(wheel, kStart + after);
    run_until(wheel, now, kStart + after + 2 * Wheel::kTick);
    EXPECT_EQ(timer.count, 1) << after;
    EXPECT_GE(timer.fired_at, kStart + after);
    EXPECT_LE(timer.fired_at, kStart + after + Wheel::kTick) << after;
    EXPECT_EQ(wheel.next(), kNever);
  }
}

TEST(Wheel, a_deadline_in_the_past_fires_at_the_next_tick) {
  std::int64_t now = kStart;
  Wheel wheel(now);
  Timer timer;
  timer.set(wheel, kStart - kSecond);
  run_until(wheel, now, kStart + Wheel::kTick);
  EXPECT_EQ(timer.count, 1);
}

TEST(Wheel, a_later_deadline_is_only_stored) {
  Wheel wheel(kStart);
  Timer timer;
  timer.set(wheel, kStart + 10 * kSecond);
  for (int i = 1; i < 1000; ++i) EXPECT_FALSE(timer.WheelEntry::set(kStart + 10 * kSecond + i));
  std::int64_t now = kStart;
  run_until(wheel, now, kStart + 10 * kSecond - 1);
  EXPECT_EQ(timer.count, 0);
  run_until(wheel, now, kStart + 10 * kSecond + 999 + Wheel::kTick);
  EXPECT_EQ(timer.count, 1);
}

TEST(Wheel, the_same_deadline_again_asks_for_nothing) {
  Wheel wheel(kStart);
  Timer timer;
  for (const std::int64_t after : {std::int64_t{5}, 5 * kMs, 100 * kMs, 5 * kSecond, 1000 * kSecond}) {
    timer.set(wheel, kStart + after);
    EXPECT_FALSE(timer.WheelEntry::set(kStart + after)) << after;
  }
}

TEST(Wheel, an_earlier_deadline_asks_for_a_relook_and_fires_in_time) {
  std::int64_t now = kStart;
  Wheel wheel(now);
  Timer timer;
  timer.now = &now;
  timer.set(wheel, kStart + 60 * kSecond);
  EXPECT_TRUE(timer.WheelEntry::set(kStart + 100 * kMs));
  wheel.relook(timer);
  run_until(wheel, now, kStart + 60 * kSecond);
  EXPECT_EQ(timer.count, 1);
  EXPECT_LE(timer.fired_at, kStart + 100 * kMs + Wheel::kTick);
}

TEST(Wheel, a_cleared_deadline_does_not_fire) {
  std::int64_t now = kStart;
  Wheel wheel(now);
  Timer timer;
  timer.set(wheel, kStart + kSecond);
  timer.set(wheel, kNever);
  run_until(wheel, now, kStart + 100 * kSecond);
  EXPECT_EQ(timer.count, 0);
  EXPECT_EQ(wheel.next(), kNever);
  timer.set(wheel, now + kSecond);  // and it can be set again
  run_until(wheel, now, now + 2 * kSecond);
  EXPECT_EQ(timer.count, 1);
}

TEST(Wheel, unlinked_entries_leave_nothing_behind) {
  Wheel wheel(kStart);
  std::int64_t now = kStart;
  std::vector<std::unique_ptr<Timer>> timers;
  for (int i = 0; i < 1000; ++i) {
    timers.push_back(std::make_unique<Timer>());
    timers.back()->set(wheel, kStart + (i % 100) * 37 * kMs + (i % 7) * 100 * kSecond);
  }
  for (auto& timer : timers) wheel.unlink(*timer);
  run_until(wheel, now, kStart + 1000 * kSecond);
  for (auto& timer : timers) EXPECT_EQ(timer->count, 0);
  EXPECT_EQ(wheel.next(), kNever);
}

// Whoever took the last entry out does not turn the wheel again before there is another.
TEST(Wheel, has_no_next_moment_once_its_last_entry_is_unlinked) {
  for (const std::int64_t after : {kMs, kSecond, 100 * kSecond}) {
    Wheel wheel(kStart);
    Timer first;
    Timer second;
    first.set(wheel, kStart + after);
    second.set(wheel, kStart + 2 * after);
    wheel.unlink(first);
    EXPECT_LE(wheel.next(), kStart + 2 * after);
    wheel.unlink(second);
    EXPECT_EQ(wheel.next(), kNever) << after;
    std::int64_t now = kStart + 1000 * after;  // and goes on from any later moment
    first.now = &now;
    first.set(wheel, now + after);
    run_until(wheel, now, now + after + 2 * Wheel::kTick);
    EXPECT_EQ(first.count, 1) << after;
    EXPECT_LE(first.fired_at, kStart + 1001 * after + Wheel::kTick);
  }
}

TEST(Wheel, ten_thousand_idle_connections_wake_it_once_in_two_seconds) {
  std::int64_t now = kStart;
  Wheel wheel(now);
  std::vector<std::unique_ptr<Timer>> timers;
  std::mt19937_64 random(1);
  for (int i = 0; i < 10'000; ++i) {
    timers.push_back(std::make_unique<Timer>());
    timers.back()->set(wheel, kStart + 60 * kSecond + static_cast<std::int64_t>(random() % (60 * kSecond)));
  }
  const int wakes = run_until(wheel, now, kStart + 59 * kSecond);
  EXPECT_LE(wakes, 1);
  for (auto& timer : timers) EXPECT_EQ(timer->count, 0);
}

TEST(Wheel, a_budget_bounds_a_turn_and_the_rest_stays_due) {
  Wheel wheel(kStart);
  std::vector<std::unique_ptr<Timer>> timers;
  for (int i = 0; i < 100; ++i) {
    timers.push_back(std::make_unique<Timer>());
    timers.back()->set(wheel, kStart + 10 * kMs);
  }
  const std::int64_t now = kStart + kSecond;
  EXPECT_EQ(wheel.advance(now, 30), 30);
  EXPECT_LE(wheel.next(), now);
  EXPECT_EQ(wheel.advance(now, 30), 30);
  EXPECT_EQ(wheel.advance(now, 300), 40);
  EXPECT_EQ(wheel.next(), kNever);
}

TEST(Wheel, firing_may_unlink_and_set_any_entry) {
  struct Chain : WheelEntry {
    Chain() : WheelEntry([](WheelEntry* e) {
        auto& self = *static_cast<Chain*>(e);
        ++self.count;
        self.wheel->unlink(*self.other);
        if (self.count == 1 && self.WheelEntry::set(kStart + 5 * kSecond)) self.wheel->relook(self);
      }) {}
    Wheel* wheel = nullptr;
    Chain* other = nullptr;
    int count = 0;
  };
  std::int64_t now = kStart;
  Wheel wheel(now);
  Chain a, b;
  a.wheel = b.wheel = &wheel;
  a.other = &b;
  b.other = &a;
  for (Chain* c : {&a, &b}) {
    if (c->WheelEntry::set(kStart + kSecond)) wheel.relook(*c);
  }
  run_until(wheel, now, kStart + 2 * kSecond);
  EXPECT_EQ(a.count + b.count, 1);
  run_until(wheel, now, kStart + 6 * kSecond);
  EXPECT_EQ(a.count + b.count, 2);
}

TEST(Wheel, fires_like_a_sorted_list_under_random_sets) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    std::int64_t now = kStart;
    Wheel wheel(now);
    std::vector<std::unique_ptr<Timer>> timers(64);
    std::vector<std::int64_t> model(timers.size(), kNever);
    for (auto& timer : timers) {
      timer = std::make_unique<Timer>();
      timer->now = &now;
    }
    for (int step = 0; step < 3000; ++step) {
      const std::size_t i = random() % timers.size();
      const std::int64_t range = std::int64_t{1} << (20 + random() % 22);
      const std::int64_t when = random() % 8 == 0 ? kNever : now + static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(range));
      timers[i]->set(wheel, when);
      model[i] = when;
      now += static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(std::int64_t{1} << (10 + random() % 24)));
      wheel.advance(now, 1 << 20);
      for (std::size_t k = 0; k < timers.size(); ++k) {
        if (timers[k]->count != 0) {
          ASSERT_LE(model[k], now) << "fired early";
          model[k] = kNever;
          timers[k]->count = 0;
        } else if (model[k] != kNever) {
          ASSERT_GT(model[k], now - 2 * Wheel::kTick) << "missed";
          ASSERT_LE(wheel.next(), model[k] + Wheel::kTick);
        }
      }
    }
  }
}

// One thread keeps making the deadline earlier and later, the home turns the wheel and serves its requests: whatever the
// order, the last deadline set fires.
TEST(Wheel, a_deadline_set_by_another_thread_is_never_missed) {
  for (int round = 0; round < 60; ++round) {
    std::int64_t now = kStart;
    Wheel wheel(now);
    Timer timer;
    timer.set(wheel, kStart + 2 * Wheel::kTick);
    std::atomic<int> asked{0};
    std::atomic<bool> done{false};
    std::thread setter([&] {
      if (timer.WheelEntry::set(kStart + 400 * kSecond)) asked.fetch_add(1);
      if (timer.WheelEntry::set(kStart + 6 * Wheel::kTick)) asked.fetch_add(1);
      done.store(true);
    });
    int served = 0;
    const auto turn = [&] {
      while (served < asked.load()) {
        ++served;
        wheel.relook(timer);
      }
      wheel.advance(now, 100);
    };
    while (!done.load()) {
      if (now < kStart + 5 * Wheel::kTick) now += Wheel::kTick / 4;
      turn();
    }
    setter.join();
    const int before = timer.count;
    turn();
    now = kStart + 8 * Wheel::kTick;
    turn();
    // It may have fired for the first deadline too; the last one must.
    ASSERT_GE(timer.count, 1) << "round " << round << " before " << before;
    ASSERT_EQ(timer.deadline.load(), kNever) << "round " << round;
  }
}

}  // namespace
}  // namespace heddle::net
