// Context: done once, for one reason, in tree order; nothing leaks, nothing recurses, and functions run or are stopped.
#include <gtest/gtest.h>
#include <heddle/core/chan.h>
#include <heddle/core/clock.h>
#include <heddle/core/context.h>
#include <heddle/core/go.h>
#include <heddle/core/internal/sched.h>
#include <heddle/core/run.h>
#include <heddle/core/select.h>
#include <heddle/core/test.h>
#include <heddle/core/wait_group.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "preemption.h"
#include "traffic.h"

namespace heddle {
namespace {

using namespace std::chrono_literals;
using test::let_others_park;
using test::on_procs;

Code code_of(const Context& ctx) { return ctx.err() ? ctx.err()->code : Code::kOk; }

// One P that a goroutine keeps until it waits: what each line finds is certain.
template <class Fn>
void on_one_p(Fn fn) {
  run(fn, {.procs = 1, .preempt = false});
}

// A value that tells by its count whether the contexts that hold it live.
struct Token {
  using Value = std::shared_ptr<int>;
};

TEST(Context, background_is_never_done) {
  const Context ctx = Context::background();
  EXPECT_FALSE(ctx.err().has_value());
  EXPECT_FALSE(ctx.cause().has_value());
  EXPECT_FALSE(ctx.deadline().has_value());
  EXPECT_FALSE(ctx.done());
  EXPECT_FALSE(ctx.can_be_done());
}

TEST(Context, cancel_ends_it_once) {
  on_one_p([] {
    auto [ctx, cancel] = with_cancel(Context());
    auto done = ctx.done();
    EXPECT_EQ(done, ctx.done());
    EXPECT_EQ(code_of(ctx), Code::kOk);
    cancel();
    cancel();
    EXPECT_EQ(code_of(ctx), Code::kCanceled);
    EXPECT_EQ(ctx.cause(), ctx.err());
    EXPECT_FALSE(done.recv().has_value());  // closed
    const Context copy = ctx;
    EXPECT_FALSE(copy.done().recv().has_value());
  });
}

TEST(Context, the_first_cause_wins) {
  on_one_p([] {
    auto [ctx, cancel] = with_cancel_cause(Context());
    cancel(Error{Code::kReset, 0, "peer"});
    cancel(Error{Code::kLimit, 0, "late"});
    EXPECT_EQ(code_of(ctx), Code::kCanceled);
    EXPECT_EQ(ctx.cause(), (Error{Code::kReset, 0, "peer"}));
  });
}

TEST(Context, a_parent_ends_its_descendants_with_its_cause) {
  on_one_p([] {
    auto [parent, cancel] = with_cancel_cause(Context());
    auto child = with_cancel(parent);
    auto grandchild = with_timeout_cause(with_value<int>(child.ctx, 1), 1h, Error{Code::kLimit, 0, "slow"});
    cancel(Error{Code::kReset, 0, "peer"});
    for (const Context& c : {child.ctx, grandchild.ctx}) {
      EXPECT_EQ(code_of(c), Code::kCanceled);
      EXPECT_EQ(c.cause(), (Error{Code::kReset, 0, "peer"}));
    }
    EXPECT_EQ(sched.ps[0].timers.size(), 0u);
  });
}

TEST(Context, a_child_does_not_end_its_parent) {
  on_one_p([] {
    auto [parent, cancel_parent] = with_cancel(Context());
    auto [child, cancel] = with_cancel(parent);
    cancel();
    EXPECT_EQ(code_of(child), Code::kCanceled);
    EXPECT_EQ(code_of(parent), Code::kOk);
  });
}

TEST(Context, a_child_of_one_that_is_done_is_done) {
  on_one_p([] {
    auto [parent, cancel] = with_cancel_cause(Context());
    cancel(Error{Code::kEof, 0, "x"});
    auto child = with_timeout(parent, 1h);
    EXPECT_EQ(code_of(child.ctx), Code::kCanceled);
    EXPECT_EQ(child.ctx.cause(), (Error{Code::kEof, 0, "x"}));
    EXPECT_EQ(sched.ps[0].timers.size(), 0u);
  });
}

TEST(Context, a_deadline_ends_it) {
  const auto wait_for_it = [](Duration timeout) {
    const TimePoint start = now();
    auto [ctx, cancel] = with_timeout_cause(Context(), timeout, Error{Code::kLimit, 0, "slow"});
    EXPECT_FALSE(ctx.done().recv().has_value());
    EXPECT_EQ(code_of(ctx), Code::kTimeout);
    EXPECT_EQ(ctx.cause(), (Error{Code::kLimit, 0, "slow"}));
    return now() - start;
  };
  test::explore(20, [&] { EXPECT_EQ(wait_for_it(24h), 24h); });
  on_procs(2, [&] { EXPECT_GE(wait_for_it(2ms), 2ms); });
}

TEST(Context, a_deadline_in_the_past_ends_it_at_once) {
  on_one_p([] {
    auto [ctx, cancel] = with_deadline(Context(), now() - 1s);
    EXPECT_EQ(code_of(ctx), Code::kTimeout);
    cancel();
    EXPECT_EQ(code_of(ctx), Code::kTimeout);
    EXPECT_FALSE(ctx.done().recv().has_value());
  });
}

TEST(Context, the_earlier_deadline_of_parent_and_child_stands) {
  on_one_p([] {
    auto outer = with_deadline(Context(), now() + 1h);
    auto later = with_deadline(outer.ctx, now() + 2h);
    auto sooner = with_deadline(outer.ctx, now() + 1min);
    EXPECT_EQ(later.ctx.deadline(), outer.ctx.deadline());
    EXPECT_LT(*sooner.ctx.deadline(), *outer.ctx.deadline());
    EXPECT_EQ(with_cancel(sooner.ctx).ctx.deadline(), sooner.ctx.deadline());
    EXPECT_EQ(sched.ps[0].timers.size(), 2u);
  });
}

TEST(Context, without_cancel_keeps_values_only) {
  on_one_p([] {
    auto [parent, cancel] = with_timeout(with_value<std::string>(Context(), "v"), 1h);
    const Context free = without_cancel(parent);
    cancel();
    EXPECT_FALSE(free.can_be_done());
    EXPECT_FALSE(free.deadline().has_value());
    EXPECT_EQ(*free.value<std::string>(), "v");
  });
}

struct UserId {
  using Value = int;
};
struct TraceId {
  using Value = int;
};

TEST(Context, values_are_found_by_type_nearest_first) {
  const Context a = with_value<UserId>(Context(), 1);
  const Context b = with_value<TraceId>(a, 2);
  const Context c = with_value<UserId>(with_cancel(b).ctx, 3);
  EXPECT_EQ(*b.value<UserId>(), 1);
  EXPECT_EQ(*c.value<UserId>(), 3);
  EXPECT_EQ(*c.value<TraceId>(), 2);
  EXPECT_EQ(a.value<TraceId>(), nullptr);
  EXPECT_EQ(Context().value<UserId>(), nullptr);
}

TEST(Context, to_drop_the_last_handle_lets_its_waiters_go) {
  on_one_p([] {
    RecvChan<Done> done;
    { done = with_timeout(Context(), 1h).ctx.done(); }
    EXPECT_FALSE(done.recv().has_value());
    EXPECT_EQ(sched.ps[0].timers.size(), 0u);
  });
}

TEST(Context, is_freed_with_its_last_handle) {
  on_one_p([] {
    auto token = std::make_shared<int>(0);
    auto parent = with_cancel(Context());
    for (int i = 0; i < 100'000 / test::kSlow; ++i) {
      auto child = with_timeout(with_value<Token>(parent.ctx, token), 1h);
      if (i % 2 == 0) child.cancel();
    }
    EXPECT_EQ(token.use_count(), 1);
    EXPECT_EQ(sched.ps[0].timers.size(), 0u);
    auto grandchild = with_cancel(with_value<Token>(parent.ctx, token));
    parent.cancel();
    EXPECT_EQ(token.use_count(), 2);
  });
}

TEST(Context, nests_a_hundred_thousand_deep) {
  on_one_p([] {
    constexpr int kDepth = 100'000;
    auto root = with_cancel(Context());
    auto leaf = with_value<UserId>(root.ctx, 7);
    for (int i = 0; i < kDepth; ++i) leaf = with_cancel(leaf).ctx;
    EXPECT_EQ(*leaf.value<UserId>(), 7);
    root.cancel();
    EXPECT_EQ(code_of(leaf), Code::kCanceled);
  });
}

TEST(ContextAfterFunc, runs_when_it_is_done_parents_first_in_order) {
  on_one_p([] {
    std::vector<int> order;
    auto root = with_cancel(Context());
    auto a = with_cancel(root.ctx);
    auto b = with_cancel(root.ctx);
    auto aa = with_cancel(a.ctx);
    // Each is seen done when those before it are: a goroutine's turn comes in the order of their starts, but for the
    // last.
    static_cast<void>(after_func(b.ctx, [&] { order.push_back(3); }));
    static_cast<void>(after_func(aa.ctx, [&] { order.push_back(2); }));
    static_cast<void>(after_func(a.ctx, [&] { order.push_back(1); }));
    static_cast<void>(after_func(root.ctx, [&] { order.push_back(0); }));
    auto last = with_cancel(root.ctx);
    static_cast<void>(after_func(last.ctx, [&] { order.push_back(4); }));
    root.cancel();
    EXPECT_TRUE(order.empty());  // not by the canceller
    let_others_park();
    ASSERT_EQ(order.size(), 5u);
    std::erase(order, 4);  // started last, it is next in line
    EXPECT_EQ(order, (std::vector{0, 1, 2, 3}));
  });
}

TEST(ContextAfterFunc, runs_at_once_if_it_is_done_already) {
  on_one_p([] {
    auto [ctx, cancel] = with_cancel(Context());
    cancel();
    bool ran = false;
    auto stop = after_func(ctx, [&] { ran = true; });
    let_others_park();
    EXPECT_TRUE(ran);
    EXPECT_FALSE(stop());
  });
}

TEST(ContextAfterFunc, stop_prevents_it_once) {
  on_one_p([] {
    auto token = std::make_shared<int>(0);
    {
      auto [ctx, cancel] = with_cancel(Context());
      bool ran = false;
      auto stop = after_func(ctx, [&ran, token] { ran = true; });
      EXPECT_TRUE(stop());
      EXPECT_FALSE(stop());
      cancel();
      let_others_park();
      EXPECT_FALSE(ran);
    }
    EXPECT_EQ(token.use_count(), 1);
    auto never = after_func(Context(), [token] {});
    EXPECT_TRUE(never());
    EXPECT_FALSE(never());
  });
}

TEST(ContextAfterFunc, keeps_its_context_until_the_deadline) {
  on_one_p([] {
    auto ran = make_chan<int>(1);
    static_cast<void>(after_func(with_timeout(Context(), 1ms).ctx, [ran] { ran.send(1); }));
    EXPECT_EQ(ran.recv(), 1);
  });
}

TEST(ContextAfterFunc, may_cancel_and_register_more) {
  on_one_p([] {
    auto a = with_cancel(Context());
    auto b = with_cancel(Context());
    int ran = 0;
    static_cast<void>(after_func(a.ctx, [&] {
      a.cancel();
      b.cancel();
      static_cast<void>(after_func(a.ctx, [&] { ++ran; }));
    }));
    static_cast<void>(after_func(b.ctx, [&] { ++ran; }));
    a.cancel();
    let_others_park();
    EXPECT_EQ(ran, 2);
  });
}

TEST(ContextAfterFunc, runs_when_a_foreign_thread_cancels) {
  const test::TimeLimit limit;
  on_procs(2, [] {
    auto [ctx, cancel] = with_cancel(Context());
    auto ran = make_chan<int>();
    static_cast<void>(after_func(ctx, [ran] { ran.send(1); }));
    std::thread foreign([cancel = cancel] { cancel(); });
    EXPECT_EQ(ran.recv(), 1);
    foreign.join();
  });
}

TEST(ContextWaits, sleep_says_whether_it_slept_through) {
  test::explore(20, [] {
    const TimePoint start = now();
    auto [ctx, cancel] = with_cancel(Context());
    EXPECT_TRUE(sleep(Context(), 1h));
    EXPECT_TRUE(sleep(ctx, 1h));
    EXPECT_TRUE(sleep(ctx, 0s));
    EXPECT_EQ(now() - start, 2h);
    go([cancel = cancel] { cancel(); });
    EXPECT_FALSE(sleep(ctx, 1h));
    EXPECT_FALSE(sleep(ctx, 0s));
    EXPECT_EQ(now() - start, 2h);
  });
}

TEST(ContextWaits, send_and_recv_end_with_it) {
  on_one_p([] {
    auto ch = make_chan<std::string>(1);
    auto [ctx, cancel] = with_cancel(Context());
    EXPECT_TRUE(send(ctx, ch, "a").has_value());
    EXPECT_EQ(recv(ctx, ch).value(), "a");
    EXPECT_TRUE(send(Context(), ch, "full").has_value());
    go([cancel = cancel] { cancel(); });
    EXPECT_EQ(send(ctx, ch, "b").error(), (Error{Code::kCanceled, 0, "channel send"}));
    EXPECT_EQ(recv(ctx, ch).error(), (Error{Code::kCanceled, 0, "channel receive"}));
    EXPECT_EQ(recv(Context(), ch).value(), "full");
    ch.close();
    EXPECT_FALSE(recv(Context(), ch).value().has_value());
    auto timed = with_timeout(Context(), 1ms);
    EXPECT_EQ(recv(timed.ctx, make_chan<int>()).error().code, Code::kTimeout);
  });
}

TEST(ContextWaits, on_done_is_a_case_of_select) {
  on_one_p([] {
    auto [ctx, cancel] = with_cancel(Context());
    bool idle = false;
    select(on_done(ctx, [] {}), on_done(Context(), [] {}), otherwise([&] { idle = true; }));
    EXPECT_TRUE(idle);
    cancel();
    bool done = false;
    select(on_done(ctx, [&] { done = true; }), on_done(Context(), [] {}));
    EXPECT_TRUE(done);
  });
}

// --- under load ---

// Children come, go, are cancelled and dropped while their parent is cancelled: all that are left are done, all are
// freed.
TEST(ContextStress, a_family_ends_together) {
  test::on_all_schedules(
      [](std::uint64_t seed, int effort) {
        auto token = std::make_shared<int>(0);
        for (int round = 0; round < effort; ++round) {
          auto parent = with_cancel(with_value<Token>(Context(), token));
          std::atomic<int> started{0};
          std::atomic<int> ran_or_stopped{0};
          WaitGroup wg;
          for (std::uint64_t i = 0; i < 4; ++i) {
            wg.go([&, i] {
              test::Random random(seed * 100 + i + static_cast<std::uint64_t>(round));
              std::vector<ContextAndCancel> mine;
              for (int step = 0; step < 20; ++step) {
                const Context& under = mine.empty() || random.below(2) == 0 ? parent.ctx : mine.back().ctx;
                switch (random.below(5)) {
                  case 0: mine.push_back(with_cancel(under)); break;
                  case 1: mine.push_back(with_timeout(under, std::chrono::microseconds(random.below(100)))); break;
                  case 2:
                    if (!mine.empty()) mine.erase(mine.begin());
                    break;
                  case 3: {
                    ++started;
                    auto stop = after_func(under, [&] { ++ran_or_stopped; });
                    if (random.below(2) == 0 && stop()) ++ran_or_stopped;
                    break;
                  }
                  case 4: gosched(); break;
                  default: break;
                }
              }
              if (i == 0) parent.cancel();
              if (parent.ctx.err()) {
                for (auto& c : mine) {
                  // Another may be at it still; each ends with a close, which this waits for.
                  static_cast<void>(c.ctx.done().recv());
                  EXPECT_TRUE(c.ctx.err().has_value());
                }
              }
            });
          }
          wg.wait();
          while (ran_or_stopped < started) gosched();
          EXPECT_EQ(ran_or_stopped, started);
        }
        while (token.use_count() > 1) gosched();  // goroutines that ran functions have yet to drop theirs
      },
      50);
}

}  // namespace
}  // namespace heddle
