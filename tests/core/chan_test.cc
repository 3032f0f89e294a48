// Channels: what Go's specification and memory model promise, one test per promise. Load is in chan_stress_test.cc.
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
using test::on_one_p;
using test::on_procs;

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
  on_one_p([] {
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
  });
}

TEST(Chan, receive_waits_for_a_value) {
  on_one_p([] {
    auto ch = make_chan<int>();
    int got = 0;
    go([&] { got = ch.recv().value(); });
    let_others_park();
    EXPECT_EQ(got, 0);
    ch.send(7);
    let_others_park();
    EXPECT_EQ(got, 7);
  });
}

TEST(Chan, buffered_send_waits_only_when_the_buffer_is_full) {
  on_one_p([] {
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
  });
}

TEST(Chan, values_keep_their_order_through_buffer_and_waiting_senders) {
  on_one_p([] {
    auto ch = make_chan<int>(3);
    for (int i = 0; i < 3; ++i) ch.send(i);
    WaitGroup wg;
    for (int i = 3; i < 8; ++i) {
      wg.go([&, i] { ch.send(i); });
      let_others_park();  // so that they queue up in this order
    }
    for (int i = 0; i < 8; ++i) EXPECT_EQ(ch.recv(), i);
    wg.wait();
  });
}

TEST(Chan, receivers_are_served_in_the_order_they_came) {
  on_one_p([] {
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
  });
}

TEST(Chan, senders_are_served_in_the_order_they_came) {
  on_one_p([] {
    auto ch = make_chan<int>();
    WaitGroup wg;
    for (int i = 0; i < 5; ++i) {
      wg.go([&, i] { ch.send(i); });
      let_others_park();
    }
    for (int i = 0; i < 5; ++i) EXPECT_EQ(ch.recv(), i);
    wg.wait();
  });
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
  on_one_p([] {
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
  });
  EXPECT_EQ(Counted::live, 0);
}

TEST(Chan, a_value_goes_through_the_buffer_by_two_moves) {
  on_one_p([] {
    auto ch = make_chan<Counted>(1);
    Counted::moves = 0;
    ch.send(Counted(7));
    EXPECT_EQ(Counted::moves, 1);
    EXPECT_EQ(ch.recv()->v, 7);
    EXPECT_EQ(Counted::moves, 2);
  });
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
  on_one_p([] {
    auto ch = make_chan<std::unique_ptr<int>>();
    go([ch] {
      for (int i = 0; i < 3; ++i) ch.send(std::make_unique<int>(i));
      ch.close();
    });
    int expected = 0;
    for (auto v : ch) EXPECT_EQ(*v, expected++);
    EXPECT_EQ(expected, 3);
  });
}

TEST(Chan, carries_large_overaligned_and_not_default_constructible_values) {
  struct alignas(32) Big {
    explicit Big(int v) noexcept { words.fill(v); }
    std::array<int, 100> words{};
  };
  on_one_p([] {
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
  });
}

TEST(Chan, close_drains_then_gives_none) {
  on_one_p([] {
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
  });
}

TEST(Chan, close_lets_waiting_receivers_go_in_order) {
  on_one_p([] {
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
  });
}

TEST(Chan, close_makes_waiting_senders_panic) {
  on_one_p([] {
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
  });
  EXPECT_EQ(Counted::live, 0);
}

TEST(Chan, misuse_of_a_closed_or_nil_channel_panics_with_gos_words) {
  on_one_p([] {
    auto ch = make_chan<int>(1);
    ch.close();
    EXPECT_EQ(panic_of([&] { ch.send(1); }), "send on closed channel");
    EXPECT_EQ(panic_of([&] { static_cast<void>(ch.try_send(1)); }), "send on closed channel");
    EXPECT_EQ(panic_of([&] { ch.close(); }), "close of closed channel");
    EXPECT_EQ(panic_of([&] { Chan<int>().close(); }), "close of nil channel");
  });
}

TEST(Chan, try_ops_never_wait) {
  on_one_p([] {
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
  });
}

TEST(Chan, a_try_send_that_fails_leaves_the_value_alone) {
  on_one_p([] {
    auto ch = make_chan<std::unique_ptr<int>>(1);
    auto value = std::make_unique<int>(1);
    EXPECT_TRUE(ch.try_send(std::move(value)));
    EXPECT_EQ(value, nullptr);
    value = std::make_unique<int>(2);
    EXPECT_FALSE(ch.try_send(std::move(value)));
    ASSERT_NE(value, nullptr);
    EXPECT_EQ(*value, 2);
  });
}

TEST(Chan, nil_channel_is_never_ready) {
  const Chan<int> nil;
  EXPECT_FALSE(nil);
  EXPECT_EQ(nil.len(), 0u);
  EXPECT_EQ(nil.cap(), 0u);
  EXPECT_FALSE(nil.try_send(1));
  EXPECT_EQ(nil.try_recv(), std::nullopt);
  int returned = 0;
  on_one_p([&] {
    go([&] {
      nil.send(1);
      ++returned;
    });
    go([&] {
      static_cast<void>(nil.recv());
      ++returned;
    });
    let_others_park();
  });  // says on standard error that it leaves two goroutines behind
  EXPECT_EQ(returned, 0);
}

TEST(Chan, handles_are_the_same_channel_and_convert_to_views) {
  on_one_p([] {
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
  });
}

TEST(Chan, range_for_may_leave_early) {
  on_one_p([] {
    auto ch = make_chan<int>(10);
    for (int i = 0; i < 10; ++i) ch.send(i);
    for (int v : ch) {
      if (v == 3) break;
    }
    EXPECT_EQ(ch.len(), 6u);
    EXPECT_EQ(ch.recv(), 4);
  });
}

TEST(Chan, foreign_threads_may_do_what_never_parks) {
  on_procs(2, [] {
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
  });
}

TEST(Chan, abandoned_waiters_keep_their_channel_but_harm_nobody) {
#if defined(__SANITIZE_ADDRESS__)
  const __lsan::ScopedDisabler the_channel_is_leaked_on_purpose;
#endif
  auto ch = make_chan<int>();
  on_one_p([&] {
    go([&] { static_cast<void>(ch.recv()); });
    let_others_park();
  });  // reports one goroutine left behind
  ch = make_chan<int>();
  on_one_p([&] {
    WaitGroup wg;
    wg.go([&] { ch.send(1); });
    EXPECT_EQ(ch.recv(), 1);
    wg.wait();
  });
}

}  // namespace
}  // namespace heddle
