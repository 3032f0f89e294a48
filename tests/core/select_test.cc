// select: each promise of core/select.h, then all kinds of traffic at once with conservation checks.
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

constexpr RunOptions kOneP{.procs = 1};
constexpr auto kIgnore = [] {};

TEST(Select, does_what_is_ready_and_says_which) {
  run(
      [] {
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
      },
      kOneP);
}

TEST(Select, does_exactly_one_of_several_ready_operations) {
  run(
      [] {
        for (int i = 0; i < 100; ++i) {
          auto a = make_chan<int>(1);
          auto b = make_chan<int>(1);
          auto c = make_chan<int>(1);
          a.send(1);
          b.send(2);
          select(on_recv(a, kIgnore), on_recv(b, kIgnore), on_send(c, 3, kIgnore));
          EXPECT_EQ(a.len() + b.len(), c.len() == 1 ? 2u : 1u);
        }
      },
      kOneP);
}

TEST(Select, waits_for_the_first_sender) {
  run(
      [] {
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
      },
      kOneP);
}

TEST(Select, waits_for_the_first_receiver) {
  run(
      [] {
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
      },
      kOneP);
}

TEST(Select, leaves_every_other_queue_when_it_goes_on) {
  run(
      [] {
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
      },
      kOneP);
}

TEST(Select, a_select_served_elsewhere_does_not_hide_who_waits_behind_it) {
  run(
      [] {
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
      },
      kOneP);
}

TEST(Select, nil_channels_are_never_ready) {
  run(
      [] {
        const Chan<int> nil;
        auto a = make_chan<int>(1);
        a.send(1);
        EXPECT_EQ(select(on_recv(nil, kIgnore), on_send(nil, 1, kIgnore), on_recv(a, kIgnore)), 2u);
        EXPECT_EQ(select(on_recv(nil, kIgnore), on_send(nil, 1, kIgnore), otherwise(kIgnore)), 2u);
        EXPECT_EQ(select(on_recv(nil, kIgnore), on_timeout(1us, kIgnore)), 1u);
      },
      kOneP);
}

TEST(Select, without_a_case_that_can_come_parks_forever) {
  int returned = 0;
  run(
      [&] {
        go([&] {
          select();
          ++returned;
        });
        go([&] {
          select(on_recv(Chan<int>(), kIgnore));
          ++returned;
        });
        let_others_park();
      },
      kOneP);  // says on standard error that it leaves two goroutines behind
  EXPECT_EQ(returned, 0);
}

TEST(Select, otherwise_is_for_when_nothing_is_ready) {
  run(
      [] {
        auto a = make_chan<int>(1);
        auto b = make_chan<int>();
        EXPECT_EQ(select(on_recv(a, kIgnore), otherwise(kIgnore)), 1u);
        EXPECT_EQ(select(on_send(b, 1, kIgnore), on_recv(a, kIgnore), on_recv(b, kIgnore), otherwise(kIgnore)), 3u);
        EXPECT_EQ(select(otherwise(kIgnore)), 0u);
        a.send(1);
        EXPECT_EQ(select(otherwise(kIgnore), on_recv(a, kIgnore), on_recv(b, kIgnore)), 1u);
      },
      kOneP);
}

TEST(Select, otherwise_needs_no_goroutine) {
  auto a = make_chan<int>(1);
  auto b = make_chan<int>(1);
  EXPECT_EQ(select(on_recv(a, kIgnore), on_recv(b, kIgnore), otherwise(kIgnore)), 2u);
  EXPECT_EQ(select(on_send(a, 1, kIgnore), otherwise(kIgnore)), 0u);
}

TEST(Select, times_out_when_nothing_comes) {
  run(
      [] {
        auto a = make_chan<int>();
        const auto start = now();
        EXPECT_EQ(select(on_recv(a, kIgnore), on_send(a, 1, kIgnore), on_timeout(2ms, kIgnore)), 2u);
        EXPECT_GE(now() - start, 2ms);
        EXPECT_FALSE(a.try_send(1));  // it has left the queues
        EXPECT_EQ(a.try_recv(), std::nullopt);
        EXPECT_EQ(select(on_timeout(1ms, kIgnore)), 0u);
      },
      kOneP);
}

TEST(Select, a_timeout_that_has_passed_is_otherwise) {
  run(
      [] {
        auto a = make_chan<int>(1);
        for (const Duration d : {Duration(0), Duration(-1h)}) {
          EXPECT_EQ(select(on_recv(a, kIgnore), on_timeout(d, kIgnore)), 1u);
          a.send(1);
          EXPECT_EQ(select(on_recv(a, kIgnore), on_timeout(d, kIgnore)), 0u);
        }
      },
      kOneP);
}

TEST(Select, a_timeout_that_comes_too_late_is_taken_back) {
  run(
      [] {
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
      },
      kOneP);
}

TEST(Select, closed_channel_is_ready_to_receive_from) {
  run(
      [] {
        auto a = make_chan<int>(1);
        auto b = make_chan<int>();
        a.send(5);
        a.close();
        EXPECT_EQ(select(on_recv(a, [](int v, bool ok) { EXPECT_TRUE(ok && v == 5); }), on_recv(b, kIgnore)), 0u);
        EXPECT_EQ(select(on_recv(a, [](int v, bool ok) { EXPECT_TRUE(!ok && v == 0); }), on_recv(b, kIgnore)), 0u);
        EXPECT_EQ(select(on_recv(a, [](std::optional<int> v) { EXPECT_FALSE(v.has_value()); })), 0u);
      },
      kOneP);
}

TEST(Select, close_ends_a_waiting_receive) {
  run(
      [] {
        auto a = make_chan<int>();
        auto b = make_chan<int>();
        bool done = false;
        WaitGroup wg;
        wg.go([&] { select(on_recv(a, kIgnore), on_recv(b, [&](int v, bool ok) { done = !ok && v == 0; })); });
        let_others_park();
        b.close();
        wg.wait();
        EXPECT_TRUE(done);
      },
      kOneP);
}

TEST(Select, send_on_a_closed_channel_panics_at_once_and_while_it_waits) {
  run(
      [] {
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
      },
      kOneP);
}

TEST(Select, functions_run_unlocked_on_the_callers_stack) {
  run(
      [] {
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
      },
      kOneP);
}

TEST(Select, carries_move_only_values_and_keeps_what_was_not_sent) {
  run(
      [] {
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
      },
      kOneP);
}

TEST(Select, takes_views_and_one_channel_several_times) {
  run(
      [] {
        auto a = make_chan<int>(1);
        std::array<int, 3> chosen{};
        for (int i = 0; i < 1000; ++i) {
          select(on_send(SendChan<int>(a), 1, kIgnore),
                 on_recv(RecvChan<int>(a), kIgnore));  // empty: only the send can be
          ++chosen[select(on_recv(a, kIgnore), on_recv(a, kIgnore), on_recv(a, kIgnore))];
        }
        for (const int n : chosen) EXPECT_GT(n, 200);
      },
      kOneP);
}

TEST(Select, waits_with_one_channel_several_times) {
  run(
      [] {
        auto a = make_chan<int>();
        for (int i = 0; i < 100; ++i) {
          WaitGroup wg;
          wg.go([&] {
            select(on_recv(a, kIgnore), on_send(a, 5, kIgnore), on_recv(a, kIgnore), on_send(a, 5, kIgnore));
          });
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
      },
      kOneP);
}

TEST(Select, never_pairs_with_itself_but_with_its_like) {
  run(
      [] {
        auto a = make_chan<int>();
        std::array<std::size_t, 2> chosen{9, 9};
        WaitGroup wg;
        const auto select_both = [&](std::size_t i) {
          chosen[i] = select(on_send(a, 1, kIgnore), on_recv(a, kIgnore));
        };
        wg.go([&] { select_both(0); });
        let_others_park();
        EXPECT_EQ(chosen[0], 9u);
        wg.go([&] { select_both(1); });
        wg.wait();
        EXPECT_EQ(chosen[0] + chosen[1], 1u);  // one sent, one received
      },
      kOneP);
}

TEST(Select, waits_among_many_cases_without_allocating) {
  run(
      [] {
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
            chosen = select(on_recv(c[0], kIgnore), on_recv(c[1], kIgnore), on_recv(c[2], kIgnore),
                            on_recv(c[3], kIgnore), on_send(c[4], 1, kIgnore), on_send(c[5], 1, kIgnore),
                            on_send(c[6], 1, kIgnore), on_send(c[7], 1, kIgnore), on_timeout(1h, kIgnore));
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
      },
      kOneP);
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
  run(
      [] {
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
      },
      kOneP);
}

TEST(SelectFairness, holds_among_the_ready_ones_beside_others_that_are_not) {
  run(
      [] {
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
      },
      kOneP);
}

TEST(SelectFairness, two_draws_in_a_row_are_independent) {
  run(
      [] {
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
      },
      kOneP);
}

// --- under load ---

using test::Ledger;
using test::Parcel;
using test::Random;

constexpr std::size_t kChannels = 4;
using Channels = std::array<Chan<Parcel>, kChannels>;

// Sends one parcel in one of the ways a program may.
void send_somehow(const Channels& c, const Parcel& parcel, Random& random, bool timeouts) {
  const auto pick = [&]() -> const Chan<Parcel>& { return c[random.below(kChannels)]; };
  switch (random.below(timeouts ? 5 : 4)) {
    case 0: return pick().send(parcel);
    case 1:
      while (!pick().try_send(parcel)) gosched();
      return;
    case 2: select(on_send(pick(), parcel, kIgnore), on_send(pick(), parcel, kIgnore)); return;
    case 3:
      for (bool sent = false; !sent;) {
        select(on_send(pick(), parcel, [&] { sent = true; }), on_send(pick(), parcel, [&] { sent = true; }),
               otherwise([] { gosched(); }));
      }
      return;
    default:
      for (bool sent = false; !sent;) {
        select(on_send(pick(), parcel, [&] { sent = true; }), on_send(pick(), parcel, [&] { sent = true; }),
               on_timeout(Duration(random.below(40'000)), kIgnore));
      }
  }
}

// Receives in changing ways until every channel is closed and drained, each of which then is nil for it: Go's idiom.
void receive_until_closed(Channels c, Ledger& ledger, Random random, bool timeouts) {
  const auto take = [&](std::size_t i) {
    return [&, i](std::optional<Parcel> parcel) {
      if (parcel) {
        ledger.note(*parcel);
      } else {
        c[i] = Chan<Parcel>();
      }
    };
  };
  const auto open = [&] {
    for (const auto& chan : c) {
      if (chan) return true;
    }
    return false;
  };
  while (open()) {
    const std::size_t i = random.below(kChannels);
    switch (random.below(timeouts ? 4 : 3)) {
      case 0:
        select(on_recv(c[0], take(0)), on_recv(c[1], take(1)), on_recv(c[2], take(2)), on_recv(c[3], take(3)));
        break;
      case 1: select(on_recv(c[i], take(i)), on_recv(c[i], take(i)), otherwise([] { gosched(); })); break;
      case 2: {
        Parcel parcel(0);
        if (!c[i]) break;
        const TryRecv found = c[i].try_recv(parcel);
        if (found == TryRecv::kValue) ledger.note(parcel);
        if (found == TryRecv::kClosed) c[i] = Chan<Parcel>();
        if (found == TryRecv::kEmpty) gosched();
        break;
      }
      default:
        select(on_recv(c[i], take(i)), on_recv(c[(i + 1) % kChannels], take((i + 1) % kChannels)),
               on_timeout(Duration(random.below(40'000)), kIgnore));
    }
  }
}

TEST(SelectStress, mixed_traffic_loses_nothing) {
  test::on_all_schedules([](std::uint64_t seed, int effort) {
    constexpr std::uint64_t kProducers = 4;
    const auto each = static_cast<std::uint64_t>(10 * effort);
    const bool timeouts = seed == 0;  // they are not the seed's to repeat
    const Channels c{make_chan<Parcel>(), make_chan<Parcel>(1), make_chan<Parcel>(), make_chan<Parcel>(3)};
    Ledger ledger(kProducers * each);
    WaitGroup producers;
    WaitGroup consumers;
    for (std::uint64_t p = 0; p < kProducers; ++p) {
      producers.go([&, p] {
        Random random(seed * 1000 + p);
        for (std::uint64_t i = 0; i < each; ++i) send_somehow(c, Parcel(p * each + i), random, timeouts);
      });
      consumers.go([&, p] { receive_until_closed(c, ledger, Random(seed * 1000 + 500 + p), timeouts); });
    }
    consumers.go([&] {
      for (auto&& parcel : c[0]) ledger.note(parcel);
    });
    producers.wait();
    for (const auto& chan : c) chan.close();
    consumers.wait();
    ledger.expect_each_once();
  });
}

// Everybody both sends and receives on the same channels in one select, in either order, until told to stop.
TEST(SelectStress, selects_that_meet_each_other_exchange_each_value_once) {
  test::on_all_schedules([](std::uint64_t, int effort) {
    constexpr std::uint64_t kMembers = 6;
    const auto each = static_cast<std::uint64_t>(10 * effort);
    auto a = make_chan<Parcel>();
    auto b = make_chan<Parcel>();
    auto quit = make_chan<int>();
    Ledger sent(kMembers * each);
    Ledger received(kMembers * each);
    std::atomic<std::uint64_t> exchanged{0};
    WaitGroup wg;
    for (std::uint64_t m = 0; m < kMembers; ++m) {
      wg.go([&, m] {
        std::uint64_t next = 0;
        const auto got = [&](std::optional<Parcel> parcel) {
          if (!parcel) return;
          received.note(*parcel);
          if (exchanged.fetch_add(1) + 1 == kMembers * each / 2) quit.close();
        };
        bool stop = false;
        while (!stop && next < each) {
          const Parcel mine(m * each + next);
          const auto gone = [&] {
            sent.note(mine);
            ++next;
          };
          const auto end = on_recv(quit, [&] { stop = true; });
          if (m % 2 == 0) {
            select(on_send(a, mine, gone), on_recv(b, got), on_recv(a, got), on_send(b, mine, gone), auto(end));
          } else {
            select(auto(end), on_recv(a, got), on_send(b, mine, gone), on_send(a, mine, gone), on_recv(b, got));
          }
        }
        // Out of values: takes what the others offer.
        while (!stop) select(on_recv(a, got), on_recv(b, got), on_recv(quit, [&] { stop = true; }));
      });
    }
    wg.wait();
    for (std::size_t n = 0; n < kMembers * each; ++n) ASSERT_EQ(sent.arrivals(n), received.arrivals(n)) << n;
  });
}

// The timer and a partner race for the same select, over and over, one of them late by chance: one wins, and what is sent
// is received.
TEST(SelectStress, timeout_and_partner_race_to_one_result) {
  for (const int procs : {1, 2, 4}) {
    SCOPED_TRACE("procs " + std::to_string(procs));
    run(
        [] {
          constexpr std::uint64_t kPairs = 8;
          const auto rounds = static_cast<std::uint64_t>(2000 / test::kSlow);
          Ledger ledger(kPairs * rounds);
          std::atomic<std::uint64_t> timeouts{0};
          WaitGroup wg;
          for (std::uint64_t pair = 0; pair < kPairs; ++pair) {
            auto ch = make_chan<Parcel>();
            const auto side = [&timeouts](std::uint64_t seed, auto attempt) {
              Random random(seed);
              for (bool more = true; more;) {
                if (random.below(2) == 0) select(on_timeout(Duration(random.below(20'000)), kIgnore));
                more = attempt(on_timeout(Duration(random.below(20'000)), [&timeouts] { timeouts.fetch_add(1); }));
              }
            };
            wg.go([=, &ledger] {
              std::uint64_t i = 0;
              side(pair, [&](auto timeout) {
                select(on_send(ch, Parcel(pair * rounds + i), [&] { ++i; }), timeout);
                return i < rounds;
              });
              ch.close();
            });
            wg.go([=, &ledger] {
              side(pair + 100, [&](auto timeout) {
                bool open = true;
                select(timeout, on_recv(ch, [&](std::optional<Parcel> parcel) {
                         open = parcel.has_value();
                         if (open) ledger.note(*parcel);
                       }));
                return open;
              });
            });
          }
          wg.wait();
          ledger.expect_each_once();
          EXPECT_GT(timeouts.load(), kPairs * rounds / 10) << "the race was hardly run";
        },
        {.procs = procs});
  }
}

// Closing while selects wait in several queues: each wakes once, none is left.
TEST(SelectStress, close_wakes_every_waiting_select_once) {
  test::on_all_schedules([](std::uint64_t seed, int effort) {
    Random random(seed);
    for (int round = 0; round < 2 * effort; ++round) {
      auto a = make_chan<int>();
      auto b = make_chan<int>();
      std::atomic<int> woken{0};
      WaitGroup wg;
      for (int i = 0; i < 10; ++i) {
        wg.go([&] { select(on_recv(a, [&] { woken.fetch_add(1); }), on_recv(b, [&] { woken.fetch_add(1); })); });
      }
      for (std::uint64_t turns = random.below(12); turns > 0; --turns) gosched();
      wg.go([&] { a.close(); });
      wg.go([&] { b.close(); });
      wg.wait();
      ASSERT_EQ(woken.load(), 10);
    }
  });
}

// Two selects on the same channels in opposite order would deadlock if locks were taken in the order of the cases.
TEST(SelectStress, opposite_orders_do_not_deadlock) {
  test::on_all_schedules([](std::uint64_t, int effort) {
    auto a = make_chan<int>();
    auto b = make_chan<int>();
    const int rounds = 20 * effort;
    WaitGroup wg;
    std::atomic<int> met{0};
    for (int i = 0; i < 2; ++i) {
      wg.go([&] {
        for (int r = 0; r < rounds; ++r) {
          select(on_recv(a, [&] { met.fetch_add(1); }), on_recv(b, [&] { met.fetch_add(1); }));
        }
      });
      wg.go([&] {
        for (int r = 0; r < rounds; ++r) select(on_send(b, 1, kIgnore), on_send(a, 1, kIgnore));
      });
    }
    wg.wait();
    EXPECT_EQ(met.load(), 2 * rounds);
  });
}

}  // namespace
}  // namespace heddle
