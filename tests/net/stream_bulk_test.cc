// Streams that carry large pieces: where the bytes are put, how a ring changes its way of reading, and that none of it loses a
// byte, an order or an end.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <random>
#include <thread>
#include <vector>

#include <heddle/net/internal/stream_conn.h>

#include "stream_test_util.h"

namespace heddle::net {
namespace {

using namespace test;

// A server of one stream: checks that all bytes come in their order.
struct Reader {
  explicit Reader(std::uint64_t seed = 0)
      : acceptor([this, seed](Stream& s) {
          auto* made = new TestSink(s);
          made->data = [this, seed, made](std::span<const std::byte> bytes) {
            if (on_data) on_data(*made, bytes);
            bulky = static_cast<StreamConn&>(made->stream).bulky;
            got.store(check_bytes(bytes, got.load(), seed));
          };
          made->end = [this, made](Error reason) {
            EXPECT_EQ(reason.code, Code::kEof);
            ended = true;
            made->stream.close();
          };
          if (set_up) set_up(*made);
          sink = made;
          return made;
        }),
        listener(must_listen_streams(acceptor)) {}

  std::function<void(TestSink&)> set_up;
  std::function<void(TestSink&, std::span<const std::byte>)> on_data;
  std::atomic<TestSink*> sink{nullptr};
  std::atomic<std::uint64_t> got{0};
  std::atomic<bool> bulky{false};  // after the last piece
  std::atomic<bool> ended{false};
  TestAcceptor acceptor;
  std::unique_ptr<StreamListener> listener;
};

class BulkOnProcs : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(procs, BulkOnProcs, testing::Values(1, 2, 4));

TEST(StreamBulk, is_decided_by_the_pieces_that_came) {
  struct Step {
    int times;
    std::size_t size;
    bool bulky;  // afterwards
  };
  constexpr std::size_t kFull = StreamConn::kLargePiece;
  const std::vector<std::vector<Step>> cases = {
      {{1000, 64, false}},
      {{3, kFull, false}, {1, kFull, true}},
      {{3, kFull, false}, {1, 500, false}, {1, kFull, false}, {1, kFull, true}},
      {{4, kFull, true}, {3, 64, true}, {1, 64, false}, {3, kFull, false}, {1, kFull, true}},
      {{1000, 65536, true}, {7, kFull - 1, true}, {1, 64, false}},
      {{4, kFull, true}, {1, 64, true}, {1, kFull, true}},
  };
  for (std::size_t i = 0; i < cases.size(); ++i) {
    StreamConn stream;
    for (std::size_t step = 0; step < cases[i].size(); ++step) {
      for (int k = 0; k < cases[i][step].times; ++k) stream.weigh(cases[i][step].size);
      EXPECT_EQ(stream.bulky, cases[i][step].bulky) << "case " << i << ", step " << step;
    }
  }
}

TEST_P(BulkOnProcs, large_pieces_go_into_the_memory_that_the_sink_lends) {
  with_procs(GetParam(), [] {
    constexpr std::size_t kSize = 8 << 20;
    std::vector<std::byte> room(50'000);
    std::atomic<std::uint64_t> in_place{0};
    Reader reader(3);
    reader.set_up = [&](TestSink& sink) {
      sink.room = [&] {
        EXPECT_EQ(current_g(), nullptr);  // on the scheduler's side
        std::ranges::fill(room, std::byte{0});
        return std::span(room);
      };
    };
    reader.on_data = [&](TestSink&, std::span<const std::byte> bytes) {
      if (bytes.data() != room.data()) return;
      EXPECT_LE(bytes.size(), room.size());
      in_place += bytes.size();
    };
    Conn conn = must(dial(reader.listener->local_address()));
    ASSERT_TRUE(conn.write(bytes_of(kSize, 3)));
    ASSERT_TRUE(conn.close_write());
    until([&] { return reader.ended.load(); });
    EXPECT_EQ(reader.got.load(), kSize);
    EXPECT_GT(in_place.load(), kSize / 2);
    finish(*reader.listener);
  });
}

TEST_P(BulkOnProcs, room_that_is_lent_now_and_then_takes_what_fits) {
  with_procs(GetParam(), [] {
    constexpr std::size_t kSize = 4 << 20;
    std::vector<std::byte> room(70'000);
    std::mt19937_64 random(5);  // the home's
    Reader reader(4);
    reader.set_up = [&](TestSink& sink) {
      sink.room = [&] {
        return random() % 2 == 0 ? std::span<std::byte>() : std::span(room).first(1 + random() % room.size());
      };
    };
    Conn conn = must(dial(reader.listener->local_address()));
    ASSERT_TRUE(conn.write(bytes_of(kSize, 4)));
    ASSERT_TRUE(conn.close_write());
    until([&] { return reader.ended.load(); });
    EXPECT_EQ(reader.got.load(), kSize);
    finish(*reader.listener);
  });
}

TEST_P(BulkOnProcs, large_and_small_pieces_alternate_and_all_come_in_order) {
  with_procs(GetParam(), [] {
    Reader reader(5);
    Conn conn = must(dial(reader.listener->local_address()));
    std::uint64_t sent = 0;
    const auto send = [&](std::size_t size) {
      ASSERT_TRUE(conn.write(bytes_of(size, 5, sent)));
      sent += size;
      until([&] { return reader.got.load() == sent; });
    };
    for (int round = 0; round < 5; ++round) {
      send(1'000'000);
      EXPECT_TRUE(reader.bulky.load()) << "round " << round;
      for (int i = 0; i < StreamConn::kMaxWeight; ++i) send(1 + static_cast<std::size_t>(i) * 100);
      EXPECT_FALSE(reader.bulky.load()) << "round " << round;
    }
    ASSERT_TRUE(conn.close_write());
    until([&] { return reader.ended.load(); });
    EXPECT_EQ(reader.got.load(), sent);
    finish(*reader.listener);
  });
}

TEST_P(BulkOnProcs, a_paused_one_keeps_what_came_and_the_end_behind_it) {
  with_procs(GetParam(), [] {
    constexpr std::size_t kSize =
        300'000;  // more than is read before the pause, less than the buffers of both ends hold
    std::atomic<bool> paused{false};
    Reader reader(6);
    reader.on_data = [&](TestSink& sink, std::span<const std::byte>) {
      if (!static_cast<StreamConn&>(sink.stream).bulky || paused.exchange(true)) return;
      sink.stream.pause();
    };
    Conn conn = must(dial(reader.listener->local_address()));
    ASSERT_TRUE(conn.write(bytes_of(kSize, 6)));
    until([&] { return paused.load(); });
    conn.close();  // the poll reports it, and is not to do so again and again
    sleep(10ms);
    EXPECT_FALSE(reader.ended.load() && reader.got.load() != kSize);
    reader.sink.load()->stream.resume();
    until([&] { return reader.ended.load(); });
    EXPECT_EQ(reader.got.load(), kSize);
    finish(*reader.listener);
  });
}

TEST_P(BulkOnProcs, one_may_be_closed_at_any_moment) {
  const int kConns = kSanitized ? 30 : 150;
  with_procs(GetParam(), [kConns] {
    const auto block = bytes_of(100'000, 7);
    for (int i = 0; i < kConns; ++i) {
      const std::uint64_t most = static_cast<std::uint64_t>(i) * 3'000;
      std::atomic<bool> closed{false};
      TestAcceptor acceptor([&](Stream& s) {
        auto* sink = new TestSink(s);
        sink->data = [&, at = std::uint64_t{0}, over = false, sink](std::span<const std::byte> bytes) mutable {
          EXPECT_FALSE(over);
          at += bytes.size();
          if (at < most) return;
          over = true;
          sink->stream.close();
        };
        sink->closed = [&] { closed = true; };
        return sink;
      });
      auto listener = must_listen_streams(acceptor);
      Conn conn = must(dial(listener->local_address()));
      while (conn.write(block)) {
      }
      until([&] { return closed.load(); });
      finish(*listener);
    }
  });
}

TEST_P(BulkOnProcs, the_stand_in_takes_over_in_the_middle_and_gives_back) {
  with_procs(GetParam(), [] {
    constexpr std::size_t kSize = 8 << 20;
    Reader reader(8);
    Conn conn = must(dial(reader.listener->local_address()));
    std::atomic<bool> done{false};
    WaitGroup wg;
    wg.go([&] {
      while (!done.load()) {
        ::usleep(1'000);  // nobody is told: the thread, which may be the home's, is kept
        sleep(500us);
      }
    });
    for (std::size_t at = 0; at < kSize; at += 250'000) {
      ASSERT_TRUE(conn.write(bytes_of(std::min<std::size_t>(250'000, kSize - at), 8, at)));
      if (at % 1'000'000 == 0) until([&] { return reader.got.load() >= at; });
    }
    ASSERT_TRUE(conn.close_write());
    until([&] { return reader.ended.load(); });
    done = true;
    wg.wait();
    EXPECT_EQ(reader.got.load(), kSize);
    finish(*reader.listener);
  });
}

// Streams that become bulky and cease to be all the time, while a goroutine blocks the home's thread for so long that another
// thread stands in: with a receive's completion still in the ring's queue, it must not read what came behind that.
TEST(StreamBulk, bytes_keep_their_order_when_a_stand_in_finds_completions) {
  constexpr std::size_t kConns = 100;
  constexpr int kTurns = 60;
  with_procs(1, [] {
    std::atomic<std::size_t> ended{0};
    TestAcceptor acceptor([&](Stream& s) {
      auto* sink = new TestSink(s);
      sink->data = [at = std::uint64_t{0}](std::span<const std::byte> bytes) mutable {
        at = check_bytes(bytes, at, 1);
      };
      sink->end = [&, sink](Error) {
        ++ended;
        sink->stream.close();
      };
      return sink;
    });
    auto listener = must_listen_streams(acceptor);
    const Address address = listener->local_address();
    std::atomic<bool> stop{false};
    std::atomic<bool> over{false};
    std::thread client([&] {
      std::mt19937_64 random(99);
      const std::vector<std::byte> bytes = bytes_of(4 << 20, 1);
      std::vector<int> fds;
      std::vector<std::size_t> at(kConns);
      for (std::size_t i = 0; i < kConns; ++i) {
        fds.push_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        ASSERT_EQ(::connect(fds.back(), address.sa(), address.size()), 0);
      }
      while (!stop.load()) {
        for (std::size_t i = 0; i < kConns && !stop.load(); ++i) {
          const std::size_t size = random() % 24 == 0 ? 20'000 + random() % 30'000 : 1 + random() % 200;
          const std::size_t end = std::min(at[i] + size, bytes.size());
          while (at[i] != end) {
            const ssize_t n = ::send(fds[i], bytes.data() + at[i], end - at[i], MSG_NOSIGNAL);
            ASSERT_GT(n, 0);
            at[i] += static_cast<std::size_t>(n);
          }
        }
        ::usleep(static_cast<unsigned>(random() % 2'000));  // or all would be bulky for good
      }
      for (const int fd : fds) ::close(fd);
      over = true;
    });
    for (int i = 0; i < kTurns; ++i) {
      ::usleep(12'000);  // nobody is told: the thread, which is the home's, is kept
      sleep(300us);
    }
    stop = true;
    until([&] { return over.load() && ended.load() == kConns; });
    client.join();
    finish(*listener);
  });
}

TEST_P(BulkOnProcs, what_is_behind_an_urgent_byte_comes_without_more) {
  with_procs(GetParam(), [] {
    Reader reader(9);
    Conn conn = must(dial(reader.listener->local_address()));
    const int fd = conn.native_handle();
    std::uint64_t sent = 0;
    for (int round = 0; round < 2; ++round) {
      ASSERT_TRUE(conn.write(bytes_of(200'000, 9, sent)));
      sent += 200'000;
      ASSERT_EQ(::send(fd, "!", 1, MSG_OOB | MSG_NOSIGNAL), 1);
      ASSERT_TRUE(conn.write(bytes_of(10, 9, sent)));
      sent += 10;
      until([&] { return reader.got.load() == sent; });
    }
    conn.close();
    until([&] { return reader.ended.load(); });
    finish(*reader.listener);
  });
}

}  // namespace
}  // namespace heddle::net
