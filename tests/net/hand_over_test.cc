// Hand-over of descriptors under fire: release_fd() while others read, write and accept, numbers that get a new tenant at
// once, homes whose thread is away. What is conserved: each byte arrives once and in order, each connection is served once,
// and no descriptor is lost.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <heddle/net/tcp.h>

#include "net_test_util.h"

namespace heddle::net {
namespace {

using namespace test;

class HandOverOnProcs : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(procs, HandOverOnProcs, testing::Values(1, 2, 4));

// Keeps a thread long enough to lose its P, so that a ring's connections are served by the stand-in meanwhile. To no harm:
// whoever depends on it finds another way.
void occupy_thread() {
  const timespec pause{0, 3'000'000};
  ::nanosleep(&pause, nullptr);
}

// Reads until the stream's end, or until the descriptor is taken from under it. Returns the position reached.
std::uint64_t read_on(Conn& conn, std::uint64_t at, std::uint64_t seed, Code& why) {
  std::vector<std::byte> buf(700);
  for (;;) {
    const Result<std::size_t> n = conn.read({buf.data(), buf.size()});
    if (!n || *n == 0) {
      why = n ? Code::kEof : n.error().code;
      return at;
    }
    at = check_bytes({buf.data(), *n}, at, seed);
  }
}

TEST_P(HandOverOnProcs, a_stream_that_changes_hands_while_it_is_read_keeps_its_bytes) {
  with_procs(GetParam(), [] {
    std::atomic<bool> done{false};
    WaitGroup others;
    others.go([&] {
      while (!done.load()) {
        occupy_thread();
        gosched();
      }
    });
    WaitGroup wg;
    for (std::uint64_t worker = 0; worker < 4; ++worker) {
      wg.go([worker] {
        constexpr std::uint64_t kTotal = 60'000;
        auto [near, far] = connected_pair();
        WaitGroup users;
        users.go([&far = far, worker] {  // in pieces, with pauses: the reader waits now and then
          for (std::uint64_t at = 0; at < kTotal; at += 600) {
            ASSERT_TRUE(far.write(bytes_of(600, worker, at)));
            if (at % 1800 == 0) gosched();
          }
          EXPECT_TRUE(far.close_write());
        });
        std::uint64_t at = 0;
        Code why = Code::kOk;
        for (int round = 0; why != Code::kEof; ++round) {
          near.set_read_deadline(patience());
          WaitGroup reading;
          reading.go([&, &near = near] { at = read_on(near, at, worker, why); });
          for (std::uint64_t k = 0; k < (worker + static_cast<std::uint64_t>(round)) % 5; ++k) gosched();
          const Result<int> fd = near.release_fd();
          ASSERT_TRUE(fd);
          reading.wait();
          ASSERT_TRUE(why == Code::kClosed || why == Code::kEof) << to_string(why);
          near = must(Conn::adopt(*fd));
        }
        users.wait();
        EXPECT_EQ(at, kTotal);
      });
    }
    wg.wait();
    done = true;
    others.wait();
  });
}

TEST_P(HandOverOnProcs, a_number_whose_owner_closes_it_may_be_anothers_at_once) {
  // The old home must report nothing more under that number, and the new tenant must miss nothing.
  with_procs(GetParam(), [] {
    WaitGroup wg;
    for (std::uint64_t worker = 0; worker < 4; ++worker) {
      wg.go([worker] {
        for (std::uint64_t i = 0; i < 12; ++i) {
          auto [near, far] = connected_pair();
          const int size = 16384;  // so that filling takes little
          ASSERT_EQ(::setsockopt(near.native_handle(), SOL_SOCKET, SO_SNDBUF, &size, sizeof size), 0);
          WaitGroup users;
          users.go([&near = near] {
            std::byte buf[1];
            EXPECT_EQ(near.read(buf).error().code, Code::kClosed);
          });
          users.go([&near = near] {  // more than fits: waits to write
            EXPECT_EQ(near.write(std::vector<std::byte>(1 << 20)).error().code, Code::kClosed);
          });
          for (std::uint64_t k = 0; k < (worker + i) % 4; ++k) gosched();
          const Result<int> fd = near.release_fd();
          ASSERT_TRUE(fd);
          ASSERT_EQ(::close(*fd), 0);
          auto [next, peer] = connected_pair();  // most likely under that number
          next.set_deadline(patience());
          users.go([&next = next, worker] {
            std::vector<std::byte> buf(100);
            EXPECT_EQ(next.read_full({buf.data(), buf.size()}), std::size_t{100});
            EXPECT_EQ(check_bytes({buf.data(), buf.size()}, 0, worker), 100U);
          });
          gosched();
          far.close();  // the old one's peer: no concern of the new one's
          ASSERT_TRUE(peer.write(bytes_of(100, worker)));
          users.wait();
        }
      });
    }
    wg.wait();
  });
}

TEST_P(HandOverOnProcs, who_gives_a_number_away_while_its_home_is_away_gets_it_all_the_same) {
  with_procs(GetParam(), [] {
    for (int i = 0; i < 10; ++i) {
      auto [near, far] = connected_pair();
      WaitGroup wg;
      wg.go([&near = near] {
        std::byte buf[1];
        EXPECT_EQ(near.read(buf).error().code, Code::kClosed);
      });
      gosched();
      wg.go([] { occupy_thread(); });
      wg.go([] { occupy_thread(); });
      gosched();
      const Result<int> fd = near.release_fd();
      ASSERT_TRUE(fd);
      wg.wait();
      ASSERT_EQ(::write(*fd, "x", 1), 1);
      std::byte buf[1];
      EXPECT_EQ(far.read_full(buf), std::size_t{1});
      Conn again = must(Conn::adopt(*fd));
      again.set_read_deadline(patience());
      wg.go([] { occupy_thread(); });
      wg.go([&again] {
        std::byte inner[1];
        EXPECT_EQ(again.read_full(inner), std::size_t{1});
      });
      gosched();
      ASSERT_TRUE(far.write(bytes_of(1)));
      wg.wait();
    }
  });
}

TEST_P(HandOverOnProcs, what_changes_hands_while_its_homes_thread_is_away_is_served_by_the_stand_in) {
  // With one P: its ring's thread sits in a system call for all of this, so nothing here is ever armed in the ring.
  with_procs(GetParam(), [] {
    int pipe_ends[2];
    ASSERT_EQ(::pipe(pipe_ends), 0);
    std::atomic<bool> away{false};
    WaitGroup wg;
    wg.go([&] {
      away = true;
      char end;
      EXPECT_EQ(::read(pipe_ends[0], &end, 1), 1);
    });
    while (!away.load()) gosched();
    {
      auto [near, far] = connected_pair();
      bool fits = true;  // no early return: somebody sits in read(2)
      for (int i = 0; i < 5 && fits; ++i) {
        near.set_read_deadline(patience());
        std::atomic<bool> took{false};
        WaitGroup reading;
        reading.go([&, &near = near] {
          std::byte buf[1];
          fits = near.read_full(buf) == std::size_t{1};
          took = true;
          EXPECT_EQ(near.read(buf).error().code, Code::kClosed);
        });
        gosched();
        EXPECT_TRUE(far.write(bytes_of(1)));
        while (!took.load()) gosched();
        EXPECT_TRUE(fits) << "the byte came, and nobody told, in round " << i;
        near = must(Conn::adopt(must(near.release_fd())));
        reading.wait();
      }
    }
    EXPECT_EQ(::write(pipe_ends[1], "x", 1), 1);
    wg.wait();
    ::close(pipe_ends[0]);
    ::close(pipe_ends[1]);
  });
}

TEST_P(HandOverOnProcs, a_listener_that_changes_hands_while_it_accepts_serves_each_connection_once) {
  with_procs(GetParam(), [] {
    constexpr int kClients = 3, kEach = 40;
    Listener listener = must_listen();
    const Address address = *listener.local_address();
    std::atomic<int> served{0}, left{kClients};
    WaitGroup wg;
    for (int client = 0; client < kClients; ++client) {
      wg.go([&, client] {
        for (int i = 0; i < kEach; ++i) {
          Conn conn = must(dial(address, {.deadline = patience()}));
          conn.set_deadline(patience());
          const std::byte sent[1] = {static_cast<std::byte>(client * kEach + i)};
          ASSERT_TRUE(conn.write(sent));
          std::byte back[1];
          ASSERT_EQ(conn.read_full(back), std::size_t{1});
          EXPECT_EQ(back[0], sent[0]);
        }
        left.fetch_sub(1);
      });
    }
    for (int round = 0; left.load() > 0; ++round) {
      WaitGroup accepting;
      accepting.go([&] {
        for (;;) {
          Result<Conn> conn = listener.accept();
          if (!conn) {
            ASSERT_EQ(conn.error().code, Code::kClosed) << conn.error().message();
            return;
          }
          served.fetch_add(1);
          accepting.go([c = std::move(*conn)]() mutable {
            c.set_deadline(patience());
            std::byte buf[1];
            ASSERT_EQ(c.read_full(buf), std::size_t{1});
            ASSERT_TRUE(c.write(buf));
          });
        }
      });
      for (int k = 0; k < round % 7; ++k) gosched();
      const Result<int> fd = listener.release_fd();
      ASSERT_TRUE(fd);
      accepting.wait();
      listener = must(Listener::adopt(*fd));
    }
    wg.wait();
    EXPECT_EQ(served.load(), kClients * kEach);
  });
}

TEST_P(HandOverOnProcs, close_and_release_at_once_have_one_winner) {
  const int before = open_fds();
  with_procs(GetParam(), [] {
    for (int i = 0; i < 100; ++i) {
      auto [near, far] = connected_pair();
      std::atomic<int> got{0};
      WaitGroup wg;
      wg.go([&near = near] {
        std::byte buf[1];
        EXPECT_EQ(near.read(buf).error().code, Code::kClosed);
      });
      if (i % 2 == 0) gosched();
      for (int k = 0; k < 2; ++k) {
        wg.go([&, &near = near] {
          const Result<int> fd = near.release_fd();
          if (!fd) {
            EXPECT_EQ(fd.error().code, Code::kClosed);
            return;
          }
          got.fetch_add(1);
          EXPECT_EQ(::close(*fd), 0);
        });
      }
      wg.go([&near = near] { near.close(); });
      wg.wait();
      EXPECT_LE(got.load(), 1);
      std::byte buf[1];
      far.set_read_deadline(patience());
      EXPECT_EQ(far.read(buf), std::size_t{0});  // closed once, by whoever won
    }
  });
  EXPECT_EQ(open_fds(), before);
}

}  // namespace
}  // namespace heddle::net
