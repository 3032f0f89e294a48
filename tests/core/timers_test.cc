// The timer heap alone, against a sorted reference.
#include <heddle/core/internal/timers.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

#include <heddle/core/internal/p.h>

namespace heddle {
namespace {

struct Recorder : TimerNode {
  Recorder() : TimerNode([](TimerNode* t) { static_cast<Recorder*>(t)->fired = true; }) {}
  bool fired = false;
};

TEST(Timers, fire_in_order_and_only_when_due) {
  P p;
  struct Ordered : TimerNode {
    explicit Ordered(std::vector<std::int64_t>* l)
        : TimerNode([](TimerNode* t) {
            auto* o = static_cast<Ordered*>(t);
            o->log->push_back(o->when);
          }),
          log(l) {}
    std::vector<std::int64_t>* log;
  };
  std::vector<std::int64_t> log;
  std::vector<std::unique_ptr<Ordered>> nodes;
  for (const std::int64_t when : {50, 10, 40, 20, 30, 10}) {
    nodes.push_back(std::make_unique<Ordered>(&log));
    p.timers.add(*nodes.back(), &p, when);
  }
  EXPECT_EQ(p.timers.next(), 10);
  EXPECT_EQ(p.timers.run(9), 0);
  EXPECT_EQ(p.timers.run(30), 4);
  EXPECT_EQ(log, (std::vector<std::int64_t>{10, 10, 20, 30}));
  EXPECT_EQ(p.timers.next(), 40);
  EXPECT_EQ(p.timers.run(1000), 2);
  EXPECT_EQ(p.timers.next(), kNever);
}

TEST(Timers, stop_tells_whether_it_came_in_time) {
  P p;
  Recorder a;
  Recorder b;
  EXPECT_FALSE(timer_stop(a));  // never started
  p.timers.add(a, &p, 1);
  p.timers.add(b, &p, 2);
  EXPECT_TRUE(timer_stop(a));
  EXPECT_FALSE(timer_stop(a));
  p.timers.run(5);
  EXPECT_FALSE(a.fired);
  EXPECT_TRUE(b.fired);
  EXPECT_FALSE(timer_stop(b));
}

TEST(Timers, hold_the_heap_under_random_starts_and_stops) {
  std::mt19937_64 rng(42);
  P p;
  constexpr int kNodes = 20'000;
  std::vector<std::unique_ptr<Recorder>> nodes;
  for (int i = 0; i < kNodes; ++i) {
    nodes.push_back(std::make_unique<Recorder>());
    p.timers.add(*nodes.back(), &p, static_cast<std::int64_t>(rng() % 1'000'000));
  }
  std::vector<Recorder*> live;
  for (auto& n : nodes) {
    if (rng() % 2 == 0) {
      ASSERT_TRUE(timer_stop(*n));
    } else {
      live.push_back(n.get());
    }
  }
  std::ranges::sort(live, {}, [](Recorder* r) { return r->when; });
  for (std::size_t i = 0; i < live.size(); i += 97) {
    ASSERT_EQ(p.timers.next(), [&] {
      for (Recorder* r : live) {
        if (!r->fired) return r->when;
      }
      return kNever;
    }());
    p.timers.run(live[i]->when);
    for (std::size_t j = 0; j < live.size(); ++j) ASSERT_EQ(live[j]->fired, live[j]->when <= live[i]->when);
    if (i > 2000) break;  // the check is quadratic
  }
  p.timers.run(kNever - 1);
  for (Recorder* r : live) ASSERT_TRUE(r->fired);
}

}  // namespace
}  // namespace heddle
