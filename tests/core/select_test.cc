// select: each promise of core/select.h. Load is in select_stress_test.cc.
#include <gtest/gtest.h>
#include <heddle/core/chan.h>
#include <heddle/core/go.h>
#include <heddle/core/run.h>
#include <heddle/core/select.h>
#include <heddle/core/wait_group.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "traffic.h"

// Counts allocations, for the one promise that is about them. The sanitizers' own operators check more than ours would.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define HEDDLE_COUNTS_ALLOCATIONS
namespace {
std::atomic<long> allocations{0};
}
// noinline: else g++ sees malloc here and our delete there, and warns of a mismatch.
[[gnu::noinline]] void* operator new(std::size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* p = std::malloc(size)) return p;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { std::free(p); }
#endif

namespace heddle {
namespace {

using namespace std::chrono_literals;
using test::let_others_park;
using test::on_one_p;

constexpr auto kIgnore = [] {};

TEST(Select, does_what_is_ready_and_says_which) {
  on_one_p([] {
    auto a = make_chan<int>(1);
    auto b = make_chan<int>(1);
    b.send(7);
    int got = 0;
    EXPECT_EQ(select(on_recv(a, [](int, bool) { ADD_FAILURE(); }), on_recv(b,
                                                                           [&](int v, bool ok) {
                                                                             EXPECT_TRUE(ok);
                                                                             got = v;
                                                                           })),
              1u);
    EXPECT_EQ(got, 7);
    EXPECT_EQ(select(on_recv(b, kIgnore), on_timeout(1h, kIgnore), on_send(a, 3, kIgnore)), 2u);
    EXPECT_EQ(a.recv(), 3);
  });
}

TEST(Select, does_exactly_one_of_several_ready_operations) {
  on_one_p([] {
    for (int i = 0; i < 100; ++i) {
      auto a = make_chan<int>(1);
      auto b = make_chan<int>(1);
      auto c = make_chan<int>(1);
      a.send(1);
      b.send(2);
      select(on_recv(a, kIgnore), on_recv(b, kIgnore), on_send(c, 3, kIgnore));
      EXPECT_EQ(a.len() + b.len(), c.len() == 1 ? 2u : 1u);
    }
  });
}

TEST(Select, waits_for_the_first_sender) {
  on_one_p([] {
    auto a = make_chan<int>();
    auto b = make_chan<int>();
    std::size_t chosen = 9;
    WaitGroup wg;
    wg.go([&] {
      chosen = select(on_recv(a, kIgnore), on_recv(b, [](int v, bool ok) {
                        EXPECT_EQ(v, 7);
                        EXPECT_TRUE(ok);
                      }));
    });
    let_others_park();
    EXPECT_EQ(chosen, 9u);
    b.send(7);
    wg.wait();
    EXPECT_EQ(chosen, 1u);
  });
}

TEST(Select, waits_for_the_first_receiver) {
  on_one_p([] {
    auto a = make_chan<int>();
    auto b = make_chan<int>(1);
    b.send(0);
    std::size_t chosen = 9;
    WaitGroup wg;
    wg.go([&] { chosen = select(on_send(a, 1, kIgnore), on_send(b, 2, kIgnore)); });
    let_others_park();
    EXPECT_EQ(chosen, 9u);
    EXPECT_EQ(b.recv(), 0);  // makes room, and takes the waiting value in
    wg.wait();
    EXPECT_EQ(chosen, 1u);
    EXPECT_EQ(b.recv(), 2);
  });
}

TEST(Select, leaves_every_other_queue_when_it_goes_on) {
  on_one_p([] {
    auto a = make_chan<int>();
    auto b = make_chan<int>();
    auto c = make_chan<int>();
    WaitGroup wg;
    wg.go([&] { select(on_recv(a, kIgnore), on_recv(b, kIgnore), on_send(c, 1, kIgnore)); });
    let_others_park();
    a.send(1);
    EXPECT_FALSE(b.try_send(2)) << "a receiver that is gone still stands in b";
    EXPECT_EQ(c.try_recv(), std::nullopt) << "a sender that is gone still stands in c";
    wg.wait();
    EXPECT_FALSE(b.try_send(2));
    EXPECT_EQ(c.try_recv(), std::nullopt);
  });
}

TEST(Select, a_select_served_elsewhere_does_not_hide_who_waits_behind_it) {
  on_one_p([] {
    auto a = make_chan<int>();
    auto b = make_chan<int>();
    int got = 0;
    WaitGroup wg;
    wg.go([&] { select(on_recv(a, kIgnore), on_recv(b, kIgnore)); });
    let_others_park();
    wg.go([&] { got = b.recv().value(); });
    let_others_park();
    a.send(1);                   // the select is served, but has not run yet: it still stands first in b
    EXPECT_TRUE(b.try_send(2));  // and this goes past it
    wg.wait();
    EXPECT_EQ(got, 2);
  });
}

TEST(Select, nil_channels_are_never_ready) {
  on_one_p([] {
    const Chan<int> nil;
    auto a = make_chan<int>(1);
    a.send(1);
    EXPECT_EQ(select(on_recv(nil, kIgnore), on_send(nil, 1, kIgnore), on_recv(a, kIgnore)), 2u);
    EXPECT_EQ(select(on_recv(nil, kIgnore), on_send(nil, 1, kIgnore), otherwise(kIgnore)), 2u);
    EXPECT_EQ(select(on_recv(nil, kIgnore), on_timeout(1us, kIgnore)), 1u);
  });
}

TEST(Select, without_a_case_that_can_come_parks_forever) {
  int returned = 0;
  on_one_p([&] {
    go([&] {
      select();
      ++returned;
    });
    go([&] {
      select(on_recv(Chan<int>(), kIgnore));
      ++returned;
    });
    let_others_park();
  });  // says on standard error that it leaves two goroutines behind
  EXPECT_EQ(returned, 0);
}

TEST(Select, otherwise_is_for_when_nothing_is_ready) {
  on_one_p([] {
    auto a = make_chan<int>(1);
    auto b = make_chan<int>();
    EXPECT_EQ(select(on_recv(a, kIgnore), otherwise(kIgnore)), 1u);
    EXPECT_EQ(select(on_send(b, 1, kIgnore), on_recv(a, kIgnore), on_recv(b, kIgnore), otherwise(kIgnore)), 3u);
    EXPECT_EQ(select(otherwise(kIgnore)), 0u);
    a.send(1);
    EXPECT_EQ(select(otherwise(kIgnore), on_recv(a, kIgnore), on_recv(b, kIgnore)), 1u);
  });
}

TEST(Select, otherwise_needs_no_goroutine) {
  auto a = make_chan<int>(1);
  auto b = make_chan<int>(1);
  EXPECT_EQ(select(on_recv(a, kIgnore), on_recv(b, kIgnore), otherwise(kIgnore)), 2u);
  EXPECT_EQ(select(on_send(a, 1, kIgnore), otherwise(kIgnore)), 0u);
}

TEST(Select, times_out_when_nothing_comes) {
  on_one_p([] {
    auto a = make_chan<int>();
    const auto start = now();
    EXPECT_EQ(select(on_recv(a, kIgnore), on_send(a, 1, kIgnore), on_timeout(2ms, kIgnore)), 2u);
    EXPECT_GE(now() - start, 2ms);
    EXPECT_FALSE(a.try_send(1));  // it has left the queues
    EXPECT_EQ(a.try_recv(), std::nullopt);
    EXPECT_EQ(select(on_timeout(1ms, kIgnore)), 0u);
  });
}

TEST(Select, a_timeout_that_has_passed_is_otherwise) {
  on_one_p([] {
    auto a = make_chan<int>(1);
    for (const Duration d : {Duration(0), Duration(-1h)}) {
      EXPECT_EQ(select(on_recv(a, kIgnore), on_timeout(d, kIgnore)), 1u);
      a.send(1);
      EXPECT_EQ(select(on_recv(a, kIgnore), on_timeout(d, kIgnore)), 0u);
    }
  });
}

TEST(Select, a_timeout_that_comes_too_late_is_taken_back) {
  on_one_p([] {
    auto a = make_chan<int>();
    for (int i = 0; i < 50; ++i) {
      std::size_t chosen = 9;
      WaitGroup wg;
      wg.go([&] { chosen = select(on_timeout(200us, kIgnore), on_recv(a, kIgnore)); });
      let_others_park();
      const bool sent = a.try_send(i);  // false if we were too slow
      wg.wait();
      EXPECT_EQ(chosen, sent ? 1u : 0u);
      select(on_timeout(300us, kIgnore));  // the time of a timer left behind passes; its frame is gone
    }
  });
}

TEST(Select, closed_channel_is_ready_to_receive_from) {
  on_one_p([] {
    auto a = make_chan<int>(1);
    auto b = make_chan<int>();
    a.send(5);
    a.close();
    EXPECT_EQ(select(on_recv(a, [](int v, bool ok) { EXPECT_TRUE(ok && v == 5); }), on_recv(b, kIgnore)), 0u);
    EXPECT_EQ(select(on_recv(a, [](int v, bool ok) { EXPECT_TRUE(!ok && v == 0); }), on_recv(b, kIgnore)), 0u);
    EXPECT_EQ(select(on_recv(a, [](std::optional<int> v) { EXPECT_FALSE(v.has_value()); })), 0u);
  });
}

TEST(Select, close_ends_a_waiting_receive) {
  on_one_p([] {
    auto a = make_chan<int>();
    auto b = make_chan<int>();
    bool done = false;
    WaitGroup wg;
    wg.go([&] { select(on_recv(a, kIgnore), on_recv(b, [&](int v, bool ok) { done = !ok && v == 0; })); });
    let_others_park();
    b.close();
    wg.wait();
    EXPECT_TRUE(done);
  });
}

TEST(Select, send_on_a_closed_channel_panics_at_once_and_while_it_waits) {
  on_one_p([] {
    auto a = make_chan<int>();
    auto b = make_chan<int>();
    int panics = 0;
    const auto attempt = [&] {
      try {
        select(on_send(a, 1, [] { ADD_FAILURE(); }), on_recv(b, kIgnore));
      } catch (const Panic& p) {
        EXPECT_STREQ(p.what(), "send on closed channel");
        ++panics;
      }
    };
    WaitGroup wg;
    wg.go(attempt);
    let_others_park();
    a.close();
    wg.wait();
    attempt();
    EXPECT_EQ(panics, 2);
    EXPECT_FALSE(b.try_send(1));
  });
}

TEST(Select, functions_run_unlocked_on_the_callers_stack) {
  on_one_p([] {
    auto a = make_chan<int>(1);
    auto b = make_chan<int>();
    a.send(1);
    WaitGroup wg;
    wg.go([&] { b.send(2); });
    int sum = 0;
    select(on_recv(a, [&](int v, bool) {
      a.send(v);                                           // the same channel again
      sum += b.recv().value();                             // parks
      select(on_recv(a, [&](int w, bool) { sum += w; }));  // selects
    }));
    EXPECT_EQ(sum, 3);
    a.send(1);
    EXPECT_THROW(select(on_recv(a, [] { throw std::runtime_error("mine"); })), std::runtime_error);
    wg.wait();
  });
}

TEST(Select, carries_move_only_values_and_keeps_what_was_not_sent) {
  on_one_p([] {
    auto a = make_chan<std::unique_ptr<int>>(1);
    auto b = make_chan<int>(1);
    auto sending = on_send(a, std::make_unique<int>(7), kIgnore);
    EXPECT_EQ(select(sending, otherwise(kIgnore)), 0u);
    EXPECT_EQ(sending.value, nullptr);
    sending.value = std::make_unique<int>(8);
    EXPECT_EQ(select(sending, on_send(b, 1, kIgnore)), 1u);  // a is full
    ASSERT_NE(sending.value, nullptr);
    EXPECT_EQ(*sending.value, 8);
    std::unique_ptr<int> got;
    select(on_recv(a, [&](std::unique_ptr<int> v, bool ok) {
      EXPECT_TRUE(ok);
      got = std::move(v);
    }));
    EXPECT_EQ(*got, 7);
  });
}

TEST(Select, takes_views_and_one_channel_several_times) {
  on_one_p([] {
    auto a = make_chan<int>(1);
    std::array<int, 3> chosen{};
    for (int i = 0; i < 1000; ++i) {
      select(on_send(SendChan<int>(a), 1, kIgnore), on_recv(RecvChan<int>(a), kIgnore));  // empty: only the send can be
      ++chosen[select(on_recv(a, kIgnore), on_recv(a, kIgnore), on_recv(a, kIgnore))];
    }
    for (const int n : chosen) EXPECT_GT(n, 200);
  });
}

TEST(Select, waits_with_one_channel_several_times) {
  on_one_p([] {
    auto a = make_chan<int>();
    for (int i = 0; i < 100; ++i) {
      WaitGroup wg;
      wg.go([&] { select(on_recv(a, kIgnore), on_send(a, 5, kIgnore), on_recv(a, kIgnore), on_send(a, 5, kIgnore)); });
      let_others_park();
      if (i % 2 == 0) {
        a.send(1);
      } else {
        EXPECT_EQ(a.recv(), 5);
      }
      wg.wait();
      EXPECT_FALSE(a.try_send(1));
      EXPECT_EQ(a.try_recv(), std::nullopt);
    }
  });
}

TEST(Select, never_pairs_with_itself_but_with_its_like) {
  on_one_p([] {
    auto a = make_chan<int>();
    std::array<std::size_t, 2> chosen{9, 9};
    WaitGroup wg;
    const auto select_both = [&](std::size_t i) { chosen[i] = select(on_send(a, 1, kIgnore), on_recv(a, kIgnore)); };
    wg.go([&] { select_both(0); });
    let_others_park();
    EXPECT_EQ(chosen[0], 9u);
    wg.go([&] { select_both(1); });
    wg.wait();
    EXPECT_EQ(chosen[0] + chosen[1], 1u);  // one sent, one received
  });
}

TEST(Select, waits_among_many_cases_without_allocating) {
  on_one_p([] {
    std::vector<Chan<int>> c;
    for (int i = 0; i < 8; ++i) c.push_back(make_chan<int>());
    std::array<std::size_t, 8> order{};
    WaitGroup wg;
    [[maybe_unused]] long before = 0;
    [[maybe_unused]] long after = 0;
    wg.go([&] {
#ifdef HEDDLE_COUNTS_ALLOCATIONS
      before = allocations.load();
#endif
      for (auto& chosen : order) {
        chosen = select(on_recv(c[0], kIgnore), on_recv(c[1], kIgnore), on_recv(c[2], kIgnore), on_recv(c[3], kIgnore),
                        on_send(c[4], 1, kIgnore), on_send(c[5], 1, kIgnore), on_send(c[6], 1, kIgnore),
                        on_send(c[7], 1, kIgnore), on_timeout(1h, kIgnore));
      }
#ifdef HEDDLE_COUNTS_ALLOCATIONS
      after = allocations.load();
#endif
    });
    for (std::size_t i = 0; i < 8; ++i) {
      const std::size_t at = (i * 3 + 2) % 8;
      if (at < 4) {
        c[at].send(1);
      } else {
        EXPECT_EQ(c[at].recv(), 1);
      }
    }
    wg.wait();
    for (std::size_t i = 0; i < 8; ++i) EXPECT_EQ(order[i], (i * 3 + 2) % 8);
    EXPECT_EQ(after - before, 0);
  });
}

// --- fairness ---

// Chi-square of `counts` against "all alike". For k counts it exceeds kLimit[k] once in 10^9 runs if select is fair.
double chi_square(const std::vector<long>& counts) {
  double total = 0;
  for (const long n : counts) total += static_cast<double>(n);
  const double expected = total / static_cast<double>(counts.size());
  double sum = 0;
  for (const long n : counts)
    sum += (static_cast<double>(n) - expected) * (static_cast<double>(n) - expected) / expected;
  return sum;
}
constexpr double kLimit[] = {0, 0, 37.32, 41.45, 44.84, 47.88, 0, 0, 55.87};

TEST(SelectFairness, each_of_two_three_four_or_eight_ready_cases_is_as_likely) {
  on_one_p([] {
    constexpr int kDraws = 40'000;
    std::vector<Chan<int>> c;
    for (int i = 0; i < 8; ++i) {
      c.push_back(make_chan<int>());
      c.back().close();  // ready for ever
    }
    const auto draw = [&]<std::size_t... kI>(std::index_sequence<kI...>) {
      std::vector<long> counts(sizeof...(kI));
      for (int i = 0; i < kDraws; ++i) ++counts[select(on_recv(c[kI], kIgnore)...)];
      EXPECT_LT(chi_square(counts), kLimit[sizeof...(kI)]) << sizeof...(kI) << " cases";
    };
    draw(std::make_index_sequence<2>());
    draw(std::make_index_sequence<3>());
    draw(std::make_index_sequence<4>());
    draw(std::make_index_sequence<8>());
  });
}

TEST(SelectFairness, holds_among_the_ready_ones_beside_others_that_are_not) {
  on_one_p([] {
    constexpr int kDraws = 40'000;
    auto never = make_chan<int>();
    auto a = make_chan<int>(1);
    const Chan<int> nil;
    auto closed = make_chan<int>();
    closed.close();
    std::vector<long> counts(3);
    for (int i = 0; i < kDraws; ++i) {
      static_cast<void>(a.try_recv());
      switch (select(on_recv(never, kIgnore), on_recv(closed, kIgnore), on_send(nil, 1, kIgnore),
                     on_send(a, 1, kIgnore), on_send(never, 1, kIgnore), on_recv(closed, kIgnore))) {
        case 1: ++counts[0]; break;
        case 3: ++counts[1]; break;
        case 5: ++counts[2]; break;
        default: FAIL();
      }
    }
    EXPECT_LT(chi_square(counts), kLimit[3]);
  });
}

TEST(SelectFairness, two_draws_in_a_row_are_independent) {
  on_one_p([] {
    constexpr int kDraws = 40'000;
    auto a = make_chan<int>();
    a.close();
    std::vector<long> pairs(4);
    std::size_t last = 0;
    for (int i = 0; i < kDraws; ++i) {
      const std::size_t chosen = select(on_recv(a, kIgnore), on_recv(a, kIgnore));
      if (i % 2 == 1) ++pairs[2 * last + chosen];
      last = chosen;
    }
    EXPECT_LT(chi_square(pairs), kLimit[4]);
  });
}

}  // namespace
}  // namespace heddle
