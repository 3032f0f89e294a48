// The pollers by themselves: wake() is never lost, time ends a sleep, and tiny rings lose nothing.
#include <heddle/core/poller.h>

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <thread>

#include <heddle/core/chan.h>
#include <heddle/core/test.h>
#include <heddle/net/internal/epoll_poller.h>
#include <heddle/net/internal/factory.h>
#include <heddle/net/internal/uring_poller.h>

#include "stream_test_util.h"

namespace heddle::net {
namespace {

using namespace test;

std::unique_ptr<NetPoller> make_one() {
  const char* wanted = std::getenv("HEDDLE_POLLER");
  const bool epoll = (wanted != nullptr && std::strcmp(wanted, "epoll") == 0) || why_no_io_uring() != nullptr;
  if (epoll) return std::make_unique<EpollPoller>();
  return must(UringPoller::make());
}

TEST(Poller, a_wake_before_the_wait_ends_it_at_once) {
  auto poller = make_one();
  poller->reap();  // hands over what the constructor prepared: now a wait would block
  const std::int64_t start = nanotime();
  poller->wake();
  poller->wait(kNever);
  poller->wake();
  poller->wake();
  poller->wait(kNever);
  EXPECT_LT(nanotime() - start, 5'000'000'000);
}

TEST(Poller, a_wait_ends_at_its_deadline_and_not_before) {
  auto poller = make_one();
  for (const std::int64_t after : {std::int64_t{200'000}, std::int64_t{3'000'000}, std::int64_t{20'000'000}}) {
    const std::int64_t when = nanotime() + after;
    while (nanotime() < when) {
      poller->wait(when);  // may end early for no reason, but not for ever
      poller->reap();
    }
    EXPECT_LT(nanotime(), when + 20'000'000'000);
  }
  poller->wait(nanotime() - 1);  // in the past: does not block
}

TEST(Poller, an_idle_wait_does_not_return_again_and_again) {
  auto poller = make_one();
  int returns = 0;
  const std::int64_t end = nanotime() + 100'000'000;
  while (nanotime() < end) {
    poller->wait(end);
    poller->reap();
    ++returns;
  }
  EXPECT_LE(returns, 5);
}

TEST(Poller, no_wake_from_any_thread_is_lost) {
  for (const int wakers : {1, 2, 4}) {
    auto poller = make_one();
    std::atomic<int> work{0};
    std::atomic<bool> asleep{false};
    const int each = (kSanitized ? 4'000 : 20'000) / wakers;
    std::vector<std::thread> threads;
    for (int i = 0; i < wakers; ++i) {
      threads.emplace_back([&, i] {
        for (int k = 0; k < each; ++k) {
          // Now and then let it go to sleep, or nearly so: else it would hardly ever sleep.
          while ((k + i) % 8 == 0 && !asleep.load()) std::this_thread::yield();
          work.fetch_add(1, std::memory_order_relaxed);  // the wake publishes it
          poller->wake();
        }
      });
    }
    for (int taken = 0; taken < wakers * each;) {
      taken += work.exchange(0, std::memory_order_relaxed);
      if (taken == wakers * each) break;
      const std::int64_t start = nanotime();
      asleep = true;
      poller->wait(start + 20'000'000'000);
      asleep = false;
      ASSERT_LT(nanotime() - start, 15'000'000'000) << "a wake was lost";
      poller->reap();
    }
    asleep = true;
    for (auto& thread : threads) thread.join();
  }
}

TEST(Poller, goroutines_readied_by_foreign_threads_run) {
  // The scheduler's side of the same: workers that sleep in their pollers are woken for work from outside.
  for (const int n : {1, 2, 4}) {
    with_procs(n, [] {
      const int rounds = kSanitized ? 500 : 3000;
      auto from_thread = make_chan<int>(1);
      std::atomic<int> sent{0}, got{0};
      std::thread foreign([&] {
        for (int i = 0; i < rounds; ++i) {
          while (!from_thread.try_send(i)) std::this_thread::yield();
          sent.fetch_add(1);
          while (got.load() <= i) std::this_thread::yield();
        }
      });
      for (int i = 0; i < rounds; ++i) {
        const auto v = from_thread.recv();
        ASSERT_TRUE(v);
        ASSERT_EQ(*v, i);
        got.fetch_add(1);
      }
      foreign.join();
    });
  }
}

TEST(Poller, a_tests_clock_goes_on_beside_a_poller_that_watches_nothing) {
  heddle::test::run([] {
    const TimePoint start = now();
    go([] { sleep(24h); });
    heddle::test::wait();
    EXPECT_EQ(now(), start);
    sleep(25h);
    EXPECT_EQ(now(), start + 25h);
  });
}

TEST(Poller, has_the_name_that_was_asked_for) {
  with_procs(1, [] {
    const char* wanted = std::getenv("HEDDLE_POLLER");
    if (wanted != nullptr && std::strcmp(wanted, "auto") != 0) {
      EXPECT_STREQ(poller_name(), wanted);
    }
    EXPECT_STREQ(current_poller()->name(), poller_name());
  });
}

// Rings so small that every limit is met at once: the submission queue fills, completions overflow, buffers run out.
class TinyRings : public testing::Test {
 protected:
  void SetUp() override {
    if (const char* why = why_no_io_uring(); why != nullptr) GTEST_SKIP() << why;
    set_poller_factory(
        [](int, PollerKind) -> std::unique_ptr<Poller> {
          return must(UringPoller::make({.entries = 2, .completions = 4, .buffers = 2}));
        },
        [](PollerKind, const char** reason) {
          *reason = nullptr;
          return PollerKind::kIoUring;
        });
  }
  void TearDown() override { register_pollers(); }
};

RunOptions uring_on(int procs) {
  RunOptions options;
  options.procs = procs;
  options.poller = PollerKind::kIoUring;
  return options;
}

TEST_F(TinyRings, streams_lose_nothing) {
  for (const int n : {1, 2}) {
    run(
        [] {
          EchoAcceptor acceptor;
          auto listener = must_listen_streams(acceptor);
          WaitGroup wg;
          for (int i = 0; i < 60; ++i) {
            wg.go([&, i] {
              Conn conn = must(dial(listener->local_address()));
              const auto seed = static_cast<std::uint64_t>(i);
              constexpr std::size_t kSize = 100'000;
              WaitGroup sender;
              sender.go([&] {
                ASSERT_TRUE(conn.write(bytes_of(kSize, seed)));
                ASSERT_TRUE(conn.close_write());
              });
              std::vector<std::byte> buf(kSize + 1);
              const Result<std::size_t> got = conn.read_full(buf);
              ASSERT_TRUE(got) << got.error().message();
              EXPECT_EQ(*got, kSize);
              static_cast<void>(check_bytes({buf.data(), *got}, 0, seed));
              sender.wait();
            });
          }
          wg.wait();
          until([&] { return acceptor.live.load() == 0; });
          listener->close();
        },
        uring_on(n));
  }
}

TEST_F(TinyRings, goroutines_connections_lose_nothing) {
  run(
      [] {
        WaitGroup wg;
        for (int i = 0; i < 50; ++i) {
          wg.go([i] {
            auto [near, far] = connected_pair();
            WaitGroup sender;
            sender.go([&near = near, i] {
              ASSERT_TRUE(near.write(bytes_of(1'000'000, static_cast<std::uint64_t>(i))));
              near.close();
            });
            std::vector<std::byte> buf(1'000'001);
            const Result<std::size_t> got = far.read_full(buf);
            ASSERT_TRUE(got);
            EXPECT_EQ(*got, 1'000'000U);
            static_cast<void>(check_bytes({buf.data(), *got}, 0, static_cast<std::uint64_t>(i)));
            sender.wait();
          });
        }
        wg.wait();
      },
      uring_on(2));
}

// What the wait armed lies in the ring's queue when the next goroutine begins to compute, and nothing it calls hands it over.
TEST(Poller, a_wait_that_began_just_before_another_goroutine_computes_is_heard) {
  with_procs(2, [] {
    for (int i = 0; i < 20; ++i) {
      auto [near, far] = connected_pair();
      std::atomic<bool> came{false};
      WaitGroup wg;
      wg.go([&, &near = near] {
        std::byte one[1];
        near.set_read_deadline(patience());
        EXPECT_EQ(near.read(one), 1U);
        came = true;
      });
      gosched();
      ASSERT_EQ(::send(far.native_handle(), "x", 1, MSG_NOSIGNAL), 1);
      const TimePoint end = patience();
      while (!came && now() < end) {
      }
      EXPECT_TRUE(came);
      wg.wait();
    }
  });
}

}  // namespace
}  // namespace heddle::net
