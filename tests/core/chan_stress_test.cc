// Channels under load: nothing is lost, doubled or overtaken, nobody is left asleep, memory is published. On permuted
// one-P schedules and on several Ps.
#include <gtest/gtest.h>
#include <heddle/core/chan.h>
#include <heddle/core/clock.h>
#include <heddle/core/go.h>
#include <heddle/core/wait_group.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "traffic.h"

namespace heddle {
namespace {

using test::on_procs;

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

// Two goroutines that meet without the scheduler's help, round after round, to run the next few instructions at the same
// time on two Ps. The leader ends it for both when it has taken long: on a busy machine a meeting may cost milliseconds.
class Rendezvous {
 public:
  [[nodiscard]] bool lead(std::size_t round) {
    if (now() - start_ > std::chrono::seconds(2))
      end_.store(round, std::memory_order_relaxed);  // relaxed: meet() orders it
    meet();
    return round < end_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] bool follow(std::size_t round) {
    meet();
    return round < end_.load(std::memory_order_relaxed);
  }

 private:
  void meet() {
    const std::size_t all = arrived_.fetch_add(1) / 2 * 2 + 2;
    for (int spins = 0; arrived_.load() < all; ++spins) {
      if (spins > 2000) gosched();  // we may share a P
    }
  }

  const TimePoint start_ = now();
  std::atomic<std::size_t> arrived_{0};
  std::atomic<std::size_t> end_{SIZE_MAX};  // the first round that does not take place
};

// A look without the lock may be late, but what it says was true at some moment of the call.
TEST(ChanStress, what_was_closed_while_full_is_never_found_open_and_empty) {
  on_procs(2, [] {
    const auto rounds = static_cast<std::size_t>(100'000 / test::kSlow);
    std::vector<Chan<int>> chans;
    for (std::size_t i = 0; i < rounds; ++i) {
      chans.push_back(make_chan<int>(1));
      chans.back().send(1);
    }
    Rendezvous both;
    std::size_t received = 0;
    std::size_t wrong = 0;
    WaitGroup wg;
    wg.go([&] {
      for (std::size_t i = 0; i < rounds && both.follow(i); ++i) {
        int v = 0;
        const TryRecv found = chans[i].try_recv(v);
        if (found == TryRecv::kEmpty) ++wrong;
        if (found == TryRecv::kValue) ++received;
      }
    });
    std::size_t drained = 0;
    std::size_t done = 0;
    for (; done < rounds && both.lead(done); ++done) {
      chans[done].close();
      if (chans[done].recv()) ++drained;
    }
    wg.wait();
    EXPECT_EQ(wrong, 0u);
    EXPECT_EQ(received + drained, done);
  });
}

TEST(ChanStress, what_was_sent_before_a_close_is_never_overlooked) {
  on_procs(2, [] {
    const auto rounds = static_cast<std::size_t>(100'000 / test::kSlow);
    std::vector<Chan<int>> chans;
    for (std::size_t i = 0; i < rounds; ++i) chans.push_back(make_chan<int>(1));
    std::vector<int> memory(rounds);  // plain: the close is all that orders it
    Rendezvous both;
    WaitGroup wg;
    wg.go([&] {
      for (std::size_t i = 0; i < rounds && both.follow(i); ++i) {
        int values = 0;
        int v = 0;
        TryRecv found{};
        for (int spins = 0; (found = chans[i].try_recv(v)) != TryRecv::kClosed; ++spins) {
          if (found == TryRecv::kValue) ++values;
          if (spins > 2000) gosched();
        }
        EXPECT_EQ(values, 1);
        EXPECT_EQ(memory[i], 1);
      }
    });
    for (std::size_t i = 0; i < rounds && both.lead(i); ++i) {
      chans[i].send(1);
      memory[i] = 1;
      chans[i].close();
    }
    wg.wait();
  });
}

}  // namespace
}  // namespace heddle
