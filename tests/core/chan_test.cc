// Channels: what Go's specification and memory model promise, one test per promise; then conservation under load.
#include <gtest/gtest.h>
#include <heddle/core/chan.h>
#include <heddle/core/go.h>
#include <heddle/core/run.h>
#include <heddle/core/wait_group.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "traffic.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#endif

namespace heddle {
namespace {

using test::let_others_park;

constexpr RunOptions kOneP{.procs = 1};

// What the function panics with; "" if it returns.
template <class Fn>
std::string panic_of(Fn&& fn) {
  try {
    fn();
  } catch (const Panic& p) {
    return p.what();
  }
  return "";
}

TEST(Chan, unbuffered_send_returns_when_the_value_is_received) {
  run(
      [] {
        auto ch = make_chan<int>();
        bool sent = false;
        go([&] {
          ch.send(7);
          sent = true;
        });
        let_others_park();
        EXPECT_FALSE(sent);
        EXPECT_EQ(ch.recv(), 7);
        let_others_park();
        EXPECT_TRUE(sent);
      },
      kOneP);
}

TEST(Chan, receive_waits_for_a_value) {
  run(
      [] {
        auto ch = make_chan<int>();
        int got = 0;
        go([&] { got = ch.recv().value(); });
        let_others_park();
        EXPECT_EQ(got, 0);
        ch.send(7);
        let_others_park();
        EXPECT_EQ(got, 7);
      },
      kOneP);
}

TEST(Chan, buffered_send_waits_only_when_the_buffer_is_full) {
  run(
      [] {
        auto ch = make_chan<int>(2);
        int sent = 0;
        go([&] {
          for (int i = 0; i < 4; ++i) {
            ch.send(i);
            ++sent;
          }
        });
        let_others_park();
        EXPECT_EQ(sent, 2);
        EXPECT_EQ(ch.len(), 2u);
        EXPECT_EQ(ch.recv(), 0);
        let_others_park();
        EXPECT_EQ(sent, 3);
        EXPECT_EQ(ch.len(), 2u);
        for (int i = 1; i < 4; ++i) EXPECT_EQ(ch.recv(), i);
        EXPECT_EQ(ch.len(), 0u);
      },
      kOneP);
}

TEST(Chan, values_keep_their_order_through_buffer_and_waiting_senders) {
  run(
      [] {
        auto ch = make_chan<int>(3);
        for (int i = 0; i < 3; ++i) ch.send(i);
        WaitGroup wg;
        for (int i = 3; i < 8; ++i) {
          wg.go([&, i] { ch.send(i); });
          let_others_park();  // so that they queue up in this order
        }
        for (int i = 0; i < 8; ++i) EXPECT_EQ(ch.recv(), i);
        wg.wait();
      },
      kOneP);
}

TEST(Chan, receivers_are_served_in_the_order_they_came) {
  run(
      [] {
        auto ch = make_chan<int>();
        std::vector<std::pair<int, int>> got;
        for (int i = 0; i < 5; ++i) {
          go([&, i] {
            const int v = ch.recv().value();
            got.emplace_back(i, v);
          });
          let_others_park();
        }
        for (int i = 0; i < 5; ++i) {
          ch.send(i);
          let_others_park();
        }
        ASSERT_EQ(got.size(), 5u);
        for (int i = 0; i < 5; ++i) EXPECT_EQ(got[static_cast<std::size_t>(i)], std::pair(i, i));
      },
      kOneP);
}

TEST(Chan, senders_are_served_in_the_order_they_came) {
  run(
      [] {
        auto ch = make_chan<int>();
        WaitGroup wg;
        for (int i = 0; i < 5; ++i) {
          wg.go([&, i] { ch.send(i); });
          let_others_park();
        }
        for (int i = 0; i < 5; ++i) EXPECT_EQ(ch.recv(), i);
        wg.wait();
      },
      kOneP);
}

struct Counted {
  static inline int moves = 0;
  static inline int live = 0;
  int v;
  explicit Counted(int x) noexcept : v(x) { ++live; }
  Counted(Counted&& other) noexcept : v(std::exchange(other.v, -1)) {
    ++moves;
    ++live;
  }
  Counted& operator=(Counted&&) = delete;
  ~Counted() { --live; }
};

TEST(Chan, a_value_is_handed_over_by_one_move_when_somebody_waits) {
  run(
      [] {
        for (const std::size_t cap : {0U, 4U}) {  // a waiting receiver gets it past the buffer
          auto ch = make_chan<Counted>(cap);
          Counted::moves = 0;
          int got = 0;
          go([&] { got = ch.recv()->v; });
          let_others_park();
          ch.send(Counted(7));
          let_others_park();
          EXPECT_EQ(got, 7);
          EXPECT_EQ(Counted::moves, 1);
        }
        auto ch = make_chan<Counted>();
        Counted::moves = 0;
        go([&] { ch.send(Counted(8)); });
        let_others_park();
        EXPECT_EQ(ch.recv()->v, 8);
        EXPECT_EQ(Counted::moves, 1);
        let_others_park();
      },
      kOneP);
  EXPECT_EQ(Counted::live, 0);
}

TEST(Chan, a_value_goes_through_the_buffer_by_two_moves) {
  run(
      [] {
        auto ch = make_chan<Counted>(1);
        Counted::moves = 0;
        ch.send(Counted(7));
        EXPECT_EQ(Counted::moves, 1);
        EXPECT_EQ(ch.recv()->v, 7);
        EXPECT_EQ(Counted::moves, 2);
      },
      kOneP);
  EXPECT_EQ(Counted::live, 0);
}

TEST(Chan, buffered_values_die_with_the_last_handle) {
  auto ch = make_chan<Counted>(4);
  EXPECT_TRUE(ch.try_send(Counted(1)));  // never parks, so it needs no scheduler
  EXPECT_TRUE(ch.try_send(Counted(2)));
  auto copy = ch;
  ch = Chan<Counted>();
  EXPECT_EQ(Counted::live, 2);
  EXPECT_EQ(copy.try_recv()->v, 1);
  copy = Chan<Counted>();
  EXPECT_EQ(Counted::live, 0);
}

TEST(Chan, carries_move_only_values) {
  run(
      [] {
        auto ch = make_chan<std::unique_ptr<int>>();
        go([ch] {
          for (int i = 0; i < 3; ++i) ch.send(std::make_unique<int>(i));
          ch.close();
        });
        int expected = 0;
        for (auto v : ch) EXPECT_EQ(*v, expected++);
        EXPECT_EQ(expected, 3);
      },
      kOneP);
}

TEST(Chan, carries_large_overaligned_and_not_default_constructible_values) {
  struct alignas(32) Big {
    explicit Big(int v) noexcept { words.fill(v); }
    std::array<int, 100> words{};
  };
  run(
      [] {
        for (const std::size_t cap : {0U, 1U, 3U}) {
          auto ch = make_chan<Big>(cap);
          go([ch] {
            for (int i = 0; i < 10; ++i) ch.send(Big(i));
            ch.close();
          });
          int i = 0;
          for (auto&& big : ch) {
            EXPECT_EQ(reinterpret_cast<std::uintptr_t>(&big) % 32, 0u);
            EXPECT_EQ(big.words[0], i);
            EXPECT_EQ(big.words[99], i);
            ++i;
          }
          EXPECT_EQ(i, 10);
        }
      },
      kOneP);
}

TEST(Chan, close_drains_then_gives_none) {
  run(
      [] {
        auto ch = make_chan<int>(3);
        ch.send(1);
        ch.send(2);
        ch.close();
        EXPECT_EQ(ch.len(), 2u);
        EXPECT_EQ(ch.recv(), 1);
        int v = 0;
        EXPECT_TRUE(ch.recv(v));
        EXPECT_EQ(v, 2);
        EXPECT_FALSE(ch.recv(v));
        EXPECT_EQ(v, 2);  // left alone
        EXPECT_EQ(ch.recv(), std::nullopt);
        EXPECT_EQ(ch.try_recv(v), TryRecv::kClosed);
      },
      kOneP);
}

TEST(Chan, close_lets_waiting_receivers_go_in_order) {
  run(
      [] {
        auto ch = make_chan<int>();
        std::vector<int> order;
        for (int i = 0; i < 5; ++i) {
          go([&, i] {
            EXPECT_EQ(ch.recv(), std::nullopt);
            order.push_back(i);
          });
          let_others_park();
        }
        ch.close();
        let_others_park();
        EXPECT_EQ(order, (std::vector{0, 1, 2, 3, 4}));
      },
      kOneP);
}

TEST(Chan, close_makes_waiting_senders_panic) {
  run(
      [] {
        for (const std::size_t cap : {0U, 1U}) {
          auto ch = make_chan<Counted>(cap);
          if (cap == 1) ch.send(Counted(0));
          int panics = 0;
          for (int i = 0; i < 3; ++i) {
            go([&] { panics += panic_of([&] { ch.send(Counted(1)); }) == "send on closed channel" ? 1 : 0; });
          }
          let_others_park();
          ch.close();
          let_others_park();
          EXPECT_EQ(panics, 3);
        }
      },
      kOneP);
  EXPECT_EQ(Counted::live, 0);
}

TEST(Chan, misuse_of_a_closed_or_nil_channel_panics_with_gos_words) {
  run(
      [] {
        auto ch = make_chan<int>(1);
        ch.close();
        EXPECT_EQ(panic_of([&] { ch.send(1); }), "send on closed channel");
        EXPECT_EQ(panic_of([&] { static_cast<void>(ch.try_send(1)); }), "send on closed channel");
        EXPECT_EQ(panic_of([&] { ch.close(); }), "close of closed channel");
        EXPECT_EQ(panic_of([&] { Chan<int>().close(); }), "close of nil channel");
      },
      kOneP);
}

TEST(Chan, try_ops_never_wait) {
  run(
      [] {
        auto ch = make_chan<int>();
        int v = 5;
        EXPECT_FALSE(ch.try_send(1));
        EXPECT_EQ(ch.try_recv(), std::nullopt);
        EXPECT_EQ(ch.try_recv(v), TryRecv::kEmpty);
        EXPECT_EQ(v, 5);

        go([&] { ch.send(6); });
        let_others_park();
        EXPECT_EQ(ch.try_recv(v), TryRecv::kValue);
        EXPECT_EQ(v, 6);

        go([&] { v = ch.recv().value(); });
        let_others_park();
        EXPECT_TRUE(ch.try_send(7));
        let_others_park();
        EXPECT_EQ(v, 7);

        auto buffered = make_chan<int>(1);
        EXPECT_TRUE(buffered.try_send(1));
        EXPECT_FALSE(buffered.try_send(2));
        EXPECT_EQ(buffered.try_recv(), 1);
        EXPECT_EQ(buffered.try_recv(), std::nullopt);
      },
      kOneP);
}

TEST(Chan, a_try_send_that_fails_leaves_the_value_alone) {
  run(
      [] {
        auto ch = make_chan<std::unique_ptr<int>>(1);
        auto value = std::make_unique<int>(1);
        EXPECT_TRUE(ch.try_send(std::move(value)));
        EXPECT_EQ(value, nullptr);
        value = std::make_unique<int>(2);
        EXPECT_FALSE(ch.try_send(std::move(value)));
        ASSERT_NE(value, nullptr);
        EXPECT_EQ(*value, 2);
      },
      kOneP);
}

TEST(Chan, nil_channel_is_never_ready) {
  const Chan<int> nil;
  EXPECT_FALSE(nil);
  EXPECT_EQ(nil.len(), 0u);
  EXPECT_EQ(nil.cap(), 0u);
  EXPECT_FALSE(nil.try_send(1));
  EXPECT_EQ(nil.try_recv(), std::nullopt);
  int returned = 0;
  run(
      [&] {
        go([&] {
          nil.send(1);
          ++returned;
        });
        go([&] {
          static_cast<void>(nil.recv());
          ++returned;
        });
        let_others_park();
      },
      kOneP);  // says on standard error that it leaves two goroutines behind
  EXPECT_EQ(returned, 0);
}

TEST(Chan, handles_are_the_same_channel_and_convert_to_views) {
  run(
      [] {
        auto ch = make_chan<int>(2);
        const Chan<int> copy = ch;
        EXPECT_EQ(copy, ch);
        EXPECT_NE(copy, make_chan<int>(2));
        const SendChan<int> in = ch;
        const RecvChan<int> out = ch;
        in.send(1);
        copy.send(2);
        EXPECT_EQ(ch.cap(), 2u);
        EXPECT_EQ(out.len(), 2u);
        in.close();
        int sum = 0;
        for (int v : out) sum += v;
        EXPECT_EQ(sum, 3);

        Chan<int> moved = std::move(ch);
        EXPECT_EQ(moved, copy);
        EXPECT_FALSE(ch);
      },
      kOneP);
}

TEST(Chan, range_for_may_leave_early) {
  run(
      [] {
        auto ch = make_chan<int>(10);
        for (int i = 0; i < 10; ++i) ch.send(i);
        for (int v : ch) {
          if (v == 3) break;
        }
        EXPECT_EQ(ch.len(), 6u);
        EXPECT_EQ(ch.recv(), 4);
      },
      kOneP);
}

TEST(Chan, foreign_threads_may_do_what_never_parks) {
  run(
      [] {
        auto ch = make_chan<int>(4);
        auto to_waiter = make_chan<int>();
        std::thread foreign([ch, to_waiter] {
          EXPECT_TRUE(ch.try_send(1));
          ch.send(2);  // there is room
          while (!to_waiter.try_send(3)) std::this_thread::yield();
          ch.close();
        });
        EXPECT_EQ(to_waiter.recv(), 3);
        EXPECT_EQ(ch.recv(), 1);
        EXPECT_EQ(ch.recv(), 2);
        EXPECT_EQ(ch.recv(), std::nullopt);
        foreign.join();
      },
      {.procs = 2});
}

TEST(Chan, abandoned_waiters_keep_their_channel_but_harm_nobody) {
#if defined(__SANITIZE_ADDRESS__)
  const __lsan::ScopedDisabler the_channel_is_leaked_on_purpose;
#endif
  auto ch = make_chan<int>();
  run(
      [&] {
        go([&] { static_cast<void>(ch.recv()); });
        let_others_park();
      },
      kOneP);  // reports one goroutine left behind
  ch = make_chan<int>();
  run(
      [&] {
        WaitGroup wg;
        wg.go([&] { ch.send(1); });
        EXPECT_EQ(ch.recv(), 1);
        wg.wait();
      },
      kOneP);
}

// --- under load ---

// Producers and consumers on one channel; each consumer sees each producer's parcels in order.
void expect_conservation_and_order(std::size_t capacity, int effort) {
  constexpr std::uint64_t kProducers = 4;
  constexpr int kConsumers = 3;
  const auto each = static_cast<std::uint64_t>(20 * effort);
  auto ch = make_chan<test::Parcel>(capacity);
  test::Ledger ledger(kProducers * each);
  WaitGroup producers;
  WaitGroup consumers;
  for (int c = 0; c < kConsumers; ++c) {
    consumers.go([&] {
      std::array<std::uint64_t, kProducers> next{};
      for (auto&& parcel : ch) {
        ledger.note(parcel);
        const std::uint64_t from = parcel.number() / each;
        EXPECT_GE(parcel.number() % each, next[from]) << "overtaken in the channel";
        next[from] = parcel.number() % each + 1;
      }
    });
  }
  for (std::uint64_t p = 0; p < kProducers; ++p) {
    producers.go([&, p] {
      for (std::uint64_t i = 0; i < each; ++i) ch.send(test::Parcel(p * each + i));
    });
  }
  producers.wait();
  ch.close();
  consumers.wait();
  ledger.expect_each_once();
}

TEST(ChanStress, unbuffered_loses_nothing_and_keeps_order) {
  test::on_all_schedules([](std::uint64_t, int effort) { expect_conservation_and_order(0, effort); });
}

TEST(ChanStress, smallest_buffer_loses_nothing_and_keeps_order) {
  test::on_all_schedules([](std::uint64_t, int effort) { expect_conservation_and_order(1, effort); });
}

TEST(ChanStress, buffered_loses_nothing_and_keeps_order) {
  test::on_all_schedules([](std::uint64_t, int effort) { expect_conservation_and_order(7, effort); });
}

// A send either returns, and its value is received, or panics, and it is not.
TEST(ChanStress, close_among_senders_neither_loses_nor_invents) {
  test::on_all_schedules([](std::uint64_t seed, int effort) {
    test::Random random(seed);
    for (int round = 0; round < 3 * effort; ++round) {
      constexpr std::uint64_t kSenders = 4;
      constexpr std::uint64_t kEach = 8;
      auto ch = make_chan<test::Parcel>(random.below(3));
      test::Ledger sent(kSenders * kEach);
      test::Ledger received(kSenders * kEach);
      WaitGroup wg;
      for (std::uint64_t s = 0; s < kSenders; ++s) {
        wg.go([&, s] {
          for (std::uint64_t i = 0; i < kEach; ++i) {
            try {
              ch.send(test::Parcel(s * kEach + i));
              sent.note(test::Parcel(s * kEach + i));
            } catch (const Panic&) {
              return;
            }
          }
        });
      }
      for (int r = 0; r < 2; ++r) {
        wg.go([&] {
          for (auto&& parcel : ch) received.note(parcel);
        });
      }
      for (std::uint64_t turns = random.below(20); turns > 0; --turns) gosched();
      ch.close();
      wg.wait();
      for (std::size_t n = 0; n < kSenders * kEach; ++n) ASSERT_EQ(sent.arrivals(n), received.arrivals(n)) << n;
    }
  });
}

// Nobody is left asleep: a token goes round a ring, each member waiting in both its channels in turn. A lost wake-up
// stops it for good.
TEST(ChanStress, ring_of_goroutines_never_stalls) {
  test::on_all_schedules([](std::uint64_t, int effort) {
    constexpr std::size_t kMembers = 50;
    const int rounds = 2 * effort;
    std::vector<Chan<int>> links;
    for (std::size_t i = 0; i < kMembers; ++i) links.push_back(make_chan<int>());
    WaitGroup wg;
    for (std::size_t i = 0; i + 1 < kMembers; ++i) {
      wg.go([&, i] {
        for (int token : links[i]) links[i + 1].send(token + 1);
        links[i + 1].close();
      });
    }
    int token = 0;
    for (int r = 0; r < rounds; ++r) {
      links.front().send(token);
      token = links.back().recv().value();
    }
    links.front().close();
    EXPECT_EQ(links.back().recv(), std::nullopt);
    wg.wait();
    EXPECT_EQ(token, rounds * static_cast<int>(kMembers - 1));
  });
}

// Many pairs at once, so that every P is now out of work and now swamped.
TEST(ChanStress, pairs_in_ping_pong_all_finish) {
  test::on_all_schedules([](std::uint64_t, int effort) {
    constexpr int kPairs = 20;
    const int rounds = 10 * effort;
    WaitGroup wg;
    std::atomic<int> finished{0};
    for (int i = 0; i < kPairs; ++i) {
      auto ping = make_chan<int>();
      auto pong = make_chan<int>();
      wg.go([ping, pong] {
        for (int v : ping) pong.send(v + 1);
      });
      wg.go([ping, pong, rounds, &finished] {
        int v = 0;
        for (int r = 0; r < rounds; ++r) {
          ping.send(v);
          v = pong.recv().value();
        }
        ping.close();
        if (v == rounds) finished.fetch_add(1);
      });
    }
    wg.wait();
    EXPECT_EQ(finished.load(), kPairs);
  });
}

// A value's memory is seen by its receiver, and what happened before a close by who finds it closed: TSan watches.
TEST(ChanStress, plain_memory_is_published_by_send_and_close) {
  test::on_all_schedules([](std::uint64_t, int effort) {
    for (int round = 0; round < 5 * effort; ++round) {
      auto ch = make_chan<int*>(static_cast<std::size_t>(round % 2));
      int a = 0;
      int b = 0;
      WaitGroup wg;
      wg.go([&] {
        a = 1;
        ch.send(&a);
        b = 2;
        ch.close();
      });
      int* p = ch.recv().value();
      EXPECT_EQ(*p, 1);
      int* none = nullptr;
      while (ch.try_recv(none) != TryRecv::kClosed) gosched();
      EXPECT_EQ(b, 2);
      wg.wait();
    }
  });
}

// Two goroutines that meet without the scheduler's help, to run the next few instructions at the same time on two Ps.
class Rendezvous {
 public:
  void meet() {
    const int all = arrived_.fetch_add(1) / 2 * 2 + 2;
    for (int spins = 0; arrived_.load() < all; ++spins) {
      if (spins > 2000) gosched();  // we may share a P
    }
  }

 private:
  std::atomic<int> arrived_{0};
};

// A look without the lock may be late, but what it says was true at some moment of the call.
TEST(ChanStress, what_was_closed_while_full_is_never_found_open_and_empty) {
  run(
      [] {
        const auto rounds = static_cast<std::size_t>(100'000 / test::kSlow);
        std::vector<Chan<int>> chans;
        for (std::size_t i = 0; i < rounds; ++i) {
          chans.push_back(make_chan<int>(1));
          chans.back().send(1);
        }
        Rendezvous both;
        std::size_t received = 0;
        WaitGroup wg;
        wg.go([&] {
          for (auto& ch : chans) {
            both.meet();
            int v = 0;
            const TryRecv found = ch.try_recv(v);
            ASSERT_NE(found, TryRecv::kEmpty);
            if (found == TryRecv::kValue) ++received;
          }
        });
        std::size_t drained = 0;
        for (auto& ch : chans) {
          both.meet();
          ch.close();
          if (ch.recv()) ++drained;
        }
        wg.wait();
        EXPECT_EQ(wrong, 0u);
        EXPECT_EQ(received + drained, rounds);
      },
      {.procs = 2});
}

TEST(ChanStress, what_was_sent_before_a_close_is_never_overlooked) {
  run(
      [] {
        const auto rounds = static_cast<std::size_t>(100'000 / test::kSlow);
        std::vector<Chan<int>> chans;
        for (std::size_t i = 0; i < rounds; ++i) chans.push_back(make_chan<int>(1));
        std::vector<int> memory(rounds);  // plain: the close is all that orders it
        Rendezvous both;
        WaitGroup wg;
        wg.go([&] {
          for (std::size_t i = 0; i < rounds; ++i) {
            both.meet();
            int values = 0;
            int v = 0;
            TryRecv found{};
            for (int spins = 0; (found = chans[i].try_recv(v)) != TryRecv::kClosed; ++spins) {
              if (found == TryRecv::kValue) ++values;
              if (spins > 2000) gosched();
            }
            ASSERT_EQ(values, 1);
            ASSERT_EQ(memory[i], 1);
          }
        });
        for (std::size_t i = 0; i < rounds; ++i) {
          both.meet();
          chans[i].send(1);
          memory[i] = 1;
          chans[i].close();
        }
        wg.wait();
      },
      {.procs = 2});
}

}  // namespace
}  // namespace heddle
