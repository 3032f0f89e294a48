// The adaptive limit: how it follows the latency, and who waits, gets in, or is refused.
#include <heddle/core/go.h>
#include <heddle/core/wait_group.h>
#include <heddle/http/adaptive_limit.h>

#include <atomic>
#include <stdexcept>
#include <string>
#include <vector>

#include "client_test_util.h"
#include "raw_ask.h"

namespace heddle::http::test {
namespace {

AdaptiveLimitOptions small() {
  AdaptiveLimitOptions o;
  o.initial_limit = 10;
  o.min_limit = 2;
  o.max_limit = 100;
  o.max_queue = 0;
  return o;
}

/// A window in which `at_once` requests run, each for `took`.
void window(AdaptiveLimiter& limiter, std::size_t at_once, Duration took) {
  std::size_t in = 0;
  while (in < at_once && limiter.enter()) ++in;
  FakeTime::pass(100ms);
  for (std::size_t i = 0; i < std::max<std::size_t>(in, 10); ++i) {
    if (i >= in && !limiter.enter()) return;
    limiter.leave(took);
  }
}

TEST(AdaptiveLimit, grows_while_latency_is_near_the_least) {
  const FakeTime time;
  on_one_p([] {
    AdaptiveLimiter limiter(small());
    std::size_t last = limiter.stats().limit;
    EXPECT_EQ(last, 10u);
    for (int i = 0; i < 200; ++i) {
      window(limiter, last, 10ms);
      EXPECT_GE(limiter.stats().limit, last);
      last = limiter.stats().limit;
    }
    EXPECT_EQ(last, 100u);  // and no further
    EXPECT_EQ(limiter.stats().least, 10ms);
  });
}

TEST(AdaptiveLimit, shrinks_while_latency_is_a_multiple_and_comes_back) {
  const FakeTime time;
  on_one_p([] {
    AdaptiveLimiter limiter(small());
    for (int i = 0; i < 5; ++i) window(limiter, limiter.stats().limit, 10ms);
    const std::size_t before = limiter.stats().limit;
    EXPECT_GT(before, 10u);
    for (int i = 0; i < 100; ++i) window(limiter, limiter.stats().limit, 200ms);
    const std::size_t squeezed = limiter.stats().limit;
    // Where half of it and the root of it meet: 4; there it stays, and asks for more again and again.
    EXPECT_LE(squeezed, 5u);
    EXPECT_GE(squeezed, 2u);
    for (int i = 0; i < 100; ++i) window(limiter, limiter.stats().limit, 10ms);
    EXPECT_GT(limiter.stats().limit, before);
  });
}

TEST(AdaptiveLimit, waits_for_the_longest_duration_there_is) {
  on_one_p([] {
    AdaptiveLimiter limiter({.initial_limit = 1, .min_limit = 1, .max_wait = Duration::max()});
    EXPECT_TRUE(limiter.enter());
    WaitGroup wg;
    wg.go([&] { EXPECT_TRUE(limiter.enter()); });
    while (limiter.stats().waiting == 0) gosched();
    limiter.leave(1ms);
    wg.wait();
  });
}

TEST(AdaptiveLimit, stays_where_it_is_while_it_is_not_needed) {
  const FakeTime time;
  on_one_p([] {
    AdaptiveLimiter limiter(small());
    for (int i = 0; i < 100; ++i) window(limiter, 1, 10ms);
    EXPECT_EQ(limiter.stats().limit, 10u);
    for (int i = 0; i < 20; ++i) window(limiter, 1, 200ms);  // but shrinks if it must
    EXPECT_LT(limiter.stats().limit, 10u);
  });
}

TEST(AdaptiveLimit, forgets_the_least_latency_after_a_time) {
  const FakeTime time;
  on_one_p([] {
    AdaptiveLimiter limiter(small());
    window(limiter, 10, 10ms);
    for (int i = 0; i < 50; ++i) window(limiter, limiter.stats().limit, 100ms);
    EXPECT_LE(limiter.stats().limit, 5u);
    FakeTime::pass(60s);
    for (int i = 0; i < 100; ++i) window(limiter, limiter.stats().limit, 100ms);  // it is slower for good
    EXPECT_EQ(limiter.stats().least, 100ms);
    EXPECT_GT(limiter.stats().limit, 10u);
  });
}

TEST(AdaptiveLimit, a_window_needs_its_time_and_its_requests) {
  const FakeTime time;
  on_one_p([] {
    AdaptiveLimiter limiter(small());
    for (int i = 0; i < 100; ++i) {
      EXPECT_TRUE(limiter.enter());
      limiter.leave(10ms);
    }
    EXPECT_EQ(limiter.stats().least, 0ms);  // time stood still
    FakeTime::pass(100ms);
    EXPECT_TRUE(limiter.enter());
    limiter.leave(10ms);
    EXPECT_EQ(limiter.stats().least, 10ms);
    FakeTime::pass(10s);
    for (int i = 0; i < 9; ++i) {
      EXPECT_TRUE(limiter.enter());
      limiter.leave(1ms);
    }
    EXPECT_EQ(limiter.stats().least, 10ms);
    EXPECT_TRUE(limiter.enter());
    limiter.leave(1ms);
    EXPECT_EQ(limiter.stats().least, 1ms);
  });
}

TEST(AdaptiveLimit, lets_a_short_line_wait_and_refuses_the_rest) {
  const FakeTime time;
  on_one_p([] {
    AdaptiveLimitOptions options = small();
    options.initial_limit = options.min_limit = options.max_limit = 1;
    options.max_queue = 2;
    AdaptiveLimiter limiter(options);
    std::string order;
    ASSERT_TRUE(limiter.enter());
    for (const char name : {'a', 'b', 'c'}) {
      go([&, name] {
        if (!limiter.enter()) {
          order += static_cast<char>(name - 'a' + 'A');
          return;
        }
        order += name;
        limiter.leave(1ms);
      });
    }
    while (limiter.stats().waiting < 2 || limiter.stats().refused < 1) gosched();
    EXPECT_EQ(order.size(), 1u);  // one was one too many
    limiter.leave(1ms);
    while (order.size() < 3) gosched();
    EXPECT_EQ(limiter.stats().running, 0u);
    EXPECT_EQ(limiter.stats().waiting, 0u);
    EXPECT_EQ(limiter.stats().refused, 1u);
    // And for so long only.
    ASSERT_TRUE(limiter.enter());
    order.clear();
    go([&] { order += limiter.enter() ? "in" : "out"; });
    while (limiter.stats().waiting < 1) gosched();
    FakeTime::pass(101ms);
    while (order.empty()) gosched();
    EXPECT_EQ(order, "out");
    limiter.leave(1ms);
  });
}

TEST(AdaptiveLimit, never_lets_more_in_than_it_says_and_loses_no_turn) {
  run([] {
    AdaptiveLimitOptions options = small();
    options.initial_limit = options.min_limit = options.max_limit = 3;
    options.max_queue = 1000;
    options.max_wait = 1h;
    AdaptiveLimiter limiter(options);
    std::atomic<int> inside = 0;
    std::atomic<int> most = 0;
    WaitGroup all;
    for (int g = 0; g < 50; ++g) {
      all.go([&] {
        for (int i = 0; i < 40; ++i) {
          EXPECT_TRUE(limiter.enter());
          const int now_inside = ++inside;
          for (int m = most; now_inside > m && !most.compare_exchange_weak(m, now_inside);) {
          }
          gosched();
          --inside;
          limiter.leave(1us);
        }
      });
    }
    all.wait();
    EXPECT_LE(most, 3);
    EXPECT_EQ(limiter.stats().running, 0u);
  });
}

TEST(AdaptiveLimit, answers_503_with_retry_after_and_keeps_the_connection) {
  AdaptiveLimitOptions options = small();
  options.initial_limit = options.min_limit = options.max_limit = 1;
  options.retry_after = 7s;
  auto limiter = std::make_shared<AdaptiveLimiter>(options);
  const Handler h = adaptive_limit(limiter)([](Request&, ResponseWriter& w) { w.write("in"); });
  const Handler once_full = [&](Request& r, ResponseWriter& w) {
    const bool full = r.path() == "/full";
    if (full) {
      EXPECT_TRUE(limiter->enter());
    }
    h(r, w);
    if (full) limiter->leave(1ms);
  };
  EXPECT_EQ(ask(once_full, "GET /full HTTP/1.1\r\nHost: a\r\n\r\n" + get()),
            (std::vector<std::string>{"503 cl=24 Retry-After=7 [503 Service Unavailable\n]", "200 cl=2 [in]"}));
  const Handler throws = adaptive_limit(limiter)([](Request&, ResponseWriter&) { throw 1; });
  EXPECT_EQ(ask(throws, get() + get()).size(), 2u);  // its place is free again
  on_one_p([&] { EXPECT_EQ(limiter->stats().running, 0u); });
}

TEST(AdaptiveLimit, refuses_options_that_make_no_sense) {
  const auto with = [](auto change) {
    AdaptiveLimitOptions o;
    change(o);
    return o;
  };
  using O = AdaptiveLimitOptions;
  EXPECT_THROW(AdaptiveLimiter(with([](O& o) { o.min_limit = 0; })), std::invalid_argument);
  EXPECT_THROW(AdaptiveLimiter(with([](O& o) { o.min_limit = 33; })), std::invalid_argument);
  EXPECT_THROW(AdaptiveLimiter(with([](O& o) { o.max_limit = 31; })), std::invalid_argument);
  EXPECT_THROW(AdaptiveLimiter(with([](O& o) { o.tolerance = 0.9; })), std::invalid_argument);
  EXPECT_THROW(AdaptiveLimiter(with([](O& o) { o.smoothing = 0; })), std::invalid_argument);
  EXPECT_THROW(AdaptiveLimiter(with([](O& o) { o.smoothing = 1.1; })), std::invalid_argument);
  EXPECT_THROW(AdaptiveLimiter(with([](O& o) { o.window_requests = 0; })), std::invalid_argument);
}

TEST(AdaptiveLimit, holds_a_server_on_sockets) {
  with_network([] {
    AdaptiveLimitOptions options = small();
    options.initial_limit = options.min_limit = options.max_limit = 2;
    Chan<Done> go_on = make_chan<Done>();
    std::atomic<int> inside = 0;
    const OwnServer server(adaptive_limit(options)([&](Request&, ResponseWriter& w) {
      ++inside;
      static_cast<void>(go_on.recv());
      w.write("in");
    }));
    Client client(plain());
    const auto status = [&] {
      const Result<ClientResponse> response = client.get(server.url("/"));
      return response ? response->status() : 0;
    };
    WaitGroup held;
    std::atomic<int> served = 0;
    for (int i = 0; i < 2; ++i) held.go([&] { served += status() == 200; });
    while (inside < 2) sleep(1ms);
    for (int i = 0; i < 5; ++i) EXPECT_EQ(status(), 503);
    go_on.close();
    held.wait();
    EXPECT_EQ(served, 2);
    EXPECT_EQ(status(), 200);
  });
}

}  // namespace
}  // namespace heddle::http::test
