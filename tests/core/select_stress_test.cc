// select under load: all kinds of traffic at once, with conservation checks, on permuted one-P schedules and on several Ps.
#include <gtest/gtest.h>
#include <heddle/core/chan.h>
#include <heddle/core/go.h>
#include <heddle/core/select.h>
#include <heddle/core/wait_group.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "traffic.h"

namespace heddle {
namespace {

using test::on_procs;

constexpr auto kIgnore = [] {};

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
    on_procs(procs, [] {
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
    });
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
