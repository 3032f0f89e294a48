// Streams over loopback: bytes, back-pressure, timers, ends, and closing from anywhere.
#include <heddle/net/stream.h>

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <map>

#include <heddle/core/chan.h>

#include "stream_test_util.h"

namespace heddle::net {
namespace {

using namespace test;

// A client of an echo: sends, half-closes, checks what comes back.
void check_echo(Conn conn, std::size_t size, std::uint64_t seed) {
  WaitGroup sender;
  sender.go([&] {
    std::mt19937_64 random(seed);
    for (std::size_t at = 0; at < size;) {
      const std::size_t piece = std::min<std::size_t>(size - at, 1 + random() % 20'000);
      ASSERT_TRUE(conn.write(bytes_of(piece, seed, at)));
      at += piece;
    }
    ASSERT_TRUE(conn.close_write());
  });
  std::vector<std::byte> buf(7000);
  std::uint64_t at = 0;
  for (;;) {
    const Result<std::size_t> n = conn.read(buf);
    ASSERT_TRUE(n) << n.error().message();
    if (*n == 0) break;
    at = check_bytes({buf.data(), *n}, at, seed);
  }
  EXPECT_EQ(at, size);
  sender.wait();
}

class StreamOnProcs : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(procs, StreamOnProcs, testing::Values(1, 2, 4));

TEST_P(StreamOnProcs, an_echo_sink_returns_every_byte_in_order) {
  with_procs(GetParam(), [] {
    EchoAcceptor acceptor;
    auto listener = must_listen_streams(acceptor);
    WaitGroup wg;
    for (int i = 0; i < 40; ++i) {
      wg.go([&, i] {
        check_echo(must(dial(listener->local_address())), i == 0 ? 8 << 20 : 20'000, static_cast<std::uint64_t>(i));
      });
    }
    wg.wait();
    until([&] { return acceptor.live.load() == 0; });
    EXPECT_EQ(acceptor.accepted.load(), 40);
    finish(*listener);
  });
}

TEST_P(StreamOnProcs, an_echo_to_a_peer_that_does_not_read_is_paused_and_goes_on) {
  with_procs(GetParam(), [] {
    EchoAcceptor acceptor;
    auto listener = must_listen_streams(acceptor);
    Conn conn = must(dial(listener->local_address()));
    constexpr std::size_t kSize = 24 << 20;
    WaitGroup wg;
    wg.go([&] {
      ASSERT_TRUE(conn.write(bytes_of(kSize)));
      ASSERT_TRUE(conn.close_write());
    });
    until([&] { return acceptor.flushes.load() > 0; });
    std::vector<std::byte> buf(100'000);
    std::uint64_t at = 0;
    for (;;) {
      const Result<std::size_t> n = conn.read(buf);
      ASSERT_TRUE(n) << n.error().message();
      if (*n == 0) break;
      at = check_bytes({buf.data(), *n}, at);
    }
    EXPECT_EQ(at, kSize);
    wg.wait();
    until([&] { return acceptor.live.load() == 0; });
    finish(*listener);
  });
}

TEST_P(StreamOnProcs, pause_holds_the_peer_back_and_resume_brings_the_rest) {
  with_procs(GetParam(), [] {
    std::atomic<std::uint64_t> received{0};
    std::atomic<TestSink*> the_sink{nullptr};
    std::atomic<bool> ended{false};
    TestAcceptor acceptor([&](Stream& stream) {
      auto* sink = new TestSink(stream);
      sink->data = [&, sink](std::span<const std::byte> bytes) {
        if (received.load() == 0) sink->stream.pause();
        received.store(check_bytes(bytes, received.load(), 3));
      };
      sink->end = [&, sink](Error reason) {
        EXPECT_EQ(reason.code, Code::kEof);
        ended = true;
        sink->stream.close();
      };
      the_sink = sink;
      return sink;
    });
    auto listener = must_listen_streams(acceptor);
    Conn conn = must(dial(listener->local_address()));
    constexpr std::size_t kSize = 32 << 20;
    WaitGroup wg;
    wg.go([&] {
      ASSERT_TRUE(conn.write(bytes_of(kSize, 3)));
      ASSERT_TRUE(conn.close_write());
    });
    until([&] { return received.load() > 0; });
    // What was under way may still come; then it stands still.
    std::uint64_t before = 0;
    do {
      before = received.load();
      sleep(20ms);
    } while (received.load() != before);
    EXPECT_LT(before, 4U << 20);
    EXPECT_FALSE(ended.load());
    the_sink.load()->stream.resume();
    until([&] { return ended.load(); });
    EXPECT_EQ(received.load(), kSize);
    wg.wait();
    finish(*listener);
  });
}

TEST_P(StreamOnProcs, pause_and_resume_from_elsewhere_at_any_moment_lose_nothing) {
  with_procs(GetParam(), [] {
    std::atomic<std::uint64_t> received{0};
    std::atomic<TestSink*> the_sink{nullptr};
    std::atomic<bool> ended{false};
    TestAcceptor acceptor([&](Stream& stream) {
      auto* sink = new TestSink(stream);
      sink->data = [&](std::span<const std::byte> bytes) { received.store(check_bytes(bytes, received.load(), 4)); };
      sink->end = [&](Error) { ended = true; };
      the_sink = sink;
      return sink;
    });
    auto listener = must_listen_streams(acceptor);
    Conn conn = must(dial(listener->local_address()));
    until([&] { return the_sink.load() != nullptr; });
    constexpr std::size_t kSize = 8 << 20;
    WaitGroup wg;
    wg.go([&] {
      for (std::size_t at = 0; at < kSize; at += 8192) ASSERT_TRUE(conn.write(bytes_of(8192, 4, at)));
      ASSERT_TRUE(conn.close_write());
    });
    wg.go([&] {
      std::mt19937_64 random(1);
      while (!ended.load()) {
        the_sink.load()->stream.pause();
        if (random() % 2 == 0) gosched();
        if (random() % 8 == 0) sleep(20us);
        the_sink.load()->stream.resume();
        if (random() % 2 == 0) gosched();
        if (random() % 8 == 0) sleep(20us);
      }
    });
    wg.wait();
    EXPECT_EQ(received.load(), kSize);
    std::atomic<bool> closed{false};
    the_sink.load()->closed = [&] { closed = true; };
    the_sink.load()->stream.close();
    until([&] { return closed.load(); });
    finish(*listener);
  });
}

TEST_P(StreamOnProcs, closing_from_any_goroutine_ends_with_one_on_closed) {
  const int kConns = kSanitized ? 150 : 600;
  with_procs(GetParam(), [kConns] {
    std::atomic<int> opened{0}, closed{0};
    auto streams = make_chan<Stream*>(10);
    TestAcceptor acceptor([&](Stream& stream) {
      auto* sink = new TestSink(stream);
      opened.fetch_add(1);
      auto closing = std::make_shared<std::atomic<bool>>(false);
      const auto close_once = [closing, &stream] {
        if (!closing->exchange(true)) stream.close();
      };
      sink->end = [close_once](Error) { close_once(); };
      sink->closed = [&] { closed.fetch_add(1); };
      const int n = opened.load();
      go([close_once, n] {  // wherever this goroutine runs, at some moment of the connection's life
        for (int i = 0; i < n % 7; ++i) gosched();
        if (n % 3 == 0) sleep(100us);
        close_once();
      });
      return sink;
    });
    auto listener = must_listen_streams(acceptor);
    WaitGroup wg;
    for (int worker = 0; worker < 5; ++worker) {
      wg.go([&] {
        for (int i = 0; i < kConns / 5; ++i) {
          Conn conn = must(dial(listener->local_address()));
          static_cast<void>(conn.write(bytes_of(1 + static_cast<std::size_t>(i) * 37)));
          std::byte buf[10];
          static_cast<void>(conn.read(buf));  // the end or a reset
        }
      });
    }
    wg.wait();
    until([&] { return closed.load() == kConns; });
    EXPECT_EQ(opened.load(), kConns);
    finish(*listener);
  });
}

TEST_P(StreamOnProcs, writers_on_any_worker_meet_a_close) {
  with_procs(GetParam(), [] {
    std::atomic<int> closed{0};
    constexpr int kConns = 60;
    TestAcceptor acceptor([&](Stream& stream) {
      auto* sink = new TestSink(stream);
      auto users = std::make_shared<std::atomic<int>>(2);
      const auto leave = [users, &stream] {
        if (users->fetch_sub(1) == 1) stream.close();
      };
      sink->closed = [&] { closed.fetch_add(1); };
      sink->end = [leave](Error) { leave(); };
      go([&stream, leave] {
        const std::vector<std::byte> block = bytes_of(100'000);
        const iovec iov{const_cast<std::byte*>(block.data()), block.size()};
        for (;;) {
          const Result<std::size_t> n = stream.try_writev({&iov, 1});
          if (n) continue;
          if (n.error().code != Code::kWouldBlock) break;
          if (!stream.wait_writable(patience())) break;
        }
        leave();
      });
      return sink;
    });
    auto listener = must_listen_streams(acceptor);
    WaitGroup wg;
    for (int i = 0; i < kConns; ++i) {
      wg.go([&, i] {
        Conn conn = must(dial(listener->local_address()));
        std::vector<std::byte> buf(50'000);
        for (int k = 0; k < i % 10; ++k) ASSERT_TRUE(conn.read(buf));
        conn.close();  // with unread data: a reset
      });
    }
    wg.wait();
    until([&] { return closed.load() == kConns; });
    finish(*listener);
  });
}

// Runs `fn(stream)` with a stream whose peer takes nothing and has taken all it ever will, closes it, and waits for the
// goroutines that `fn` has started.
template <class F>
void with_full_stream(F fn) {
  with_procs(2, [&] {
    std::atomic<Stream*> the_stream{nullptr};
    std::atomic<bool> closed{false};
    TestAcceptor acceptor([&](Stream& stream) {
      auto* sink = new TestSink(stream);
      sink->closed = [&] { closed = true; };
      the_stream = &stream;
      return sink;
    });
    auto listener = must_listen_streams(acceptor);
    Conn conn = must(dial(listener->local_address()));
    until([&] { return the_stream.load() != nullptr; });
    Stream& stream = *the_stream.load();
    EXPECT_EQ(stream.remote_address(), conn.local_address());
    EXPECT_EQ(stream.local_address(), conn.remote_address());
    EXPECT_TRUE(stream.wait_writable(patience()));
    const std::vector<std::byte> block = bytes_of(1 << 20);
    const iovec iov{const_cast<std::byte*>(block.data()), block.size()};
    while (stream.try_writev({&iov, 1}) || stream.wait_writable(now() + 30ms)) {
    }
    WaitGroup wg;
    fn(stream, wg);
    stream.close();
    wg.wait();
    until([&] { return closed.load(); });
    finish(*listener);
  });
}

TEST(Stream, wait_writable_ends_at_its_deadline_and_at_close) {
  with_full_stream([](Stream& stream, WaitGroup& wg) {
    const TimePoint start = now();
    const Result<void> late = stream.wait_writable(start + 30ms);
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().code, Code::kTimeout);
    EXPECT_GE(now(), start + 30ms);
    wg.go([&stream] {
      const Result<void> ready = stream.wait_writable(kNoDeadline);
      ASSERT_FALSE(ready);
      EXPECT_EQ(ready.error().code, Code::kClosed);
    });
    gosched();
    gosched();
  });
}

TEST(Stream, wait_writable_ends_with_its_context) {
  with_full_stream([](Stream& stream, WaitGroup& wg) {
    const auto [over, cancel_now] = with_cancel(Context());
    cancel_now();
    const Result<void> early = stream.wait_writable(patience(), over);
    ASSERT_FALSE(early);
    EXPECT_EQ(early.error().code, Code::kCanceled);
    const auto timed = with_timeout(Context(), 5ms).ctx;
    const Result<void> late = stream.wait_writable(patience(), timed);
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().code, Code::kTimeout);
    const auto [ctx, cancel] = with_cancel(Context());
    wg.go([&] {
      const Result<void> ready = stream.wait_writable(patience(), ctx);
      ASSERT_FALSE(ready);
      EXPECT_EQ(ready.error().code, Code::kCanceled);
    });
    gosched();
    cancel();
    wg.wait();
  });
}

// Whoever changes what the writer looks at, and then calls, is heard: whether the writer looks, waits, or is between the two.
TEST(Stream, wake_writer_is_never_missed) {
  with_full_stream([](Stream& stream, WaitGroup& wg) {
    stream.wake_writer();  // nobody waits: remembered
    EXPECT_TRUE(stream.wait_writable(patience()));
    constexpr int kRounds = 20'000;
    std::atomic<int> changed{0}, seen{0};
    wg.go([&] {
      for (int want = 1; want <= kRounds; ++want) {
        while (changed.load() < want) ASSERT_TRUE(stream.wait_writable(patience()));
        seen = want;
      }
    });
    for (int i = 1; i <= kRounds; ++i) {
      changed = i;
      stream.wake_writer();
      while (i % 16 == 0 && seen.load() < i) gosched();  // else run ahead
    }
    wg.wait();
  });
}

TEST(Stream, a_timer_fires_once_when_its_last_setting_has_come) {
  with_procs(2, [] {
    struct {
      std::atomic<int> fired{0};
      std::atomic<std::int64_t> at{0};
    } seen;
    std::atomic<Stream*> the_stream{nullptr};
    std::atomic<bool> closed{false};
    TestAcceptor acceptor([&](Stream& stream) {
      auto* sink = new TestSink(stream);
      sink->timer = [&] {
        seen.at = nanotime();
        seen.fired.fetch_add(1);
      };
      sink->end = [&stream](Error) { stream.close(); };
      sink->closed = [&] { closed = true; };
      the_stream = &stream;
      return sink;
    });
    auto listener = must_listen_streams(acceptor);
    Conn conn = must(dial(listener->local_address()));
    until([&] { return the_stream.load() != nullptr; });
    Stream& stream = *the_stream.load();
    const auto check_fires_at = [&](std::int64_t when) {
      const int before = seen.fired.load();
      until([&] { return seen.fired.load() > before; });
      EXPECT_GE(seen.at.load(), when);
      EXPECT_LT(seen.at.load(), when + 5'000'000'000);
    };
    std::int64_t when = nanotime() + 40'000'000;
    stream.set_timer(when);
    check_fires_at(when);
    stream.set_timer(nanotime() + 3600'000'000'000);  // earlier than what was set: from another thread, while it sleeps
    when = nanotime() + 30'000'000;
    stream.set_timer(when);
    check_fires_at(when);
    stream.set_timer(nanotime() + 10'000'000);  // later than what was set
    when = nanotime() + 60'000'000;
    stream.set_timer(when);
    check_fires_at(when);
    stream.set_timer(nanotime() + 10'000'000);
    stream.set_timer(kNever);
    sleep(50ms);
    EXPECT_EQ(seen.fired.load(), 3);
    stream.set_timer(1);  // in the past
    until([&] { return seen.fired.load() == 4; });
    conn.close();
    until([&] { return closed.load(); });
    finish(*listener);
  });
}

TEST(Stream, a_reset_ends_it_with_the_reason) {
  with_procs(1, [] {
    std::atomic<int> ended{0}, closed{0};
    Code code = Code::kOk;
    TestAcceptor acceptor([&](Stream& stream) {
      auto* sink = new TestSink(stream);
      sink->end = [&](Error reason) {
        code = reason.code;
        ended.fetch_add(1);
        stream.close();
      };
      sink->closed = [&] { closed.fetch_add(1); };
      return sink;
    });
    auto listener = must_listen_streams(acceptor);
    Conn conn = must(dial(listener->local_address()));
    ASSERT_TRUE(conn.write(bytes_of(10)));
    sleep(1ms);
    ASSERT_TRUE(conn.set_linger(0));
    conn.close();
    until([&] { return closed.load() == 1; });
    EXPECT_EQ(code, Code::kReset);
    EXPECT_EQ(ended.load(), 1);
    finish(*listener);
  });
}

TEST(Stream, shutdown_write_ends_the_peers_reading_only) {
  with_procs(2, [] {
    std::atomic<std::size_t> received{0};
    std::atomic<bool> closed{false};
    TestAcceptor acceptor([&](Stream& stream) {
      auto* sink = new TestSink(stream);
      const std::vector<std::byte> block = bytes_of(10);
      const iovec iov{const_cast<std::byte*>(block.data()), block.size()};
      EXPECT_EQ(stream.try_writev({&iov, 1}), std::size_t{10});
      stream.shutdown_write();
      sink->data = [&](std::span<const std::byte> bytes) { received.fetch_add(bytes.size()); };
      sink->end = [&](Error) { stream.close(); };
      sink->closed = [&] { closed = true; };
      return sink;
    });
    auto listener = must_listen_streams(acceptor);
    Conn conn = must(dial(listener->local_address()));
    std::vector<std::byte> buf(20);
    EXPECT_EQ(conn.read_full(buf), std::size_t{10});
    ASSERT_TRUE(conn.write(bytes_of(1000)));
    until([&] { return received.load() == 1000; });
    EXPECT_EQ(conn.remote_address()->to_string(), listener->local_address().to_string());
    conn.close();
    until([&] { return closed.load(); });
    finish(*listener);
  });
}

TEST(Stream, what_was_written_before_close_arrives) {
  with_procs(2, [] {
    TestAcceptor acceptor([&](Stream& stream) {
      auto* sink = new TestSink(stream);
      sink->data = [&](std::span<const std::byte> bytes) {
        const std::vector<std::byte> block = bytes_of(50'000);
        const iovec iov{const_cast<std::byte*>(block.data()), block.size()};
        EXPECT_EQ(bytes.size(), 1U);
        EXPECT_EQ(stream.try_writev({&iov, 1}), std::size_t{50'000});
        stream.close();
      };
      return sink;
    });
    auto listener = must_listen_streams(acceptor);
    for (int i = 0; i < 20; ++i) {
      Conn conn = must(dial(listener->local_address()));
      ASSERT_TRUE(conn.write(bytes_of(1)));
      std::vector<std::byte> buf(60'000);
      const Result<std::size_t> n = conn.read_full(buf);
      ASSERT_TRUE(n) << n.error().message();
      EXPECT_EQ(*n, 50'000U);
    }
    finish(*listener);
  });
}

TEST(Stream, the_peers_address_is_known) {
  with_procs(1, [] {
    std::string seen;
    TestAcceptor acceptor([&](Stream& stream) {
      seen = stream.peer_address();
      return nullptr;
    });
    auto listener = must_listen_streams(acceptor);
    Conn conn = must(dial(listener->local_address()));
    const std::string mine = conn.local_address()->to_string();
    std::byte buf[1];
    EXPECT_EQ(conn.read(buf), std::size_t{0});  // refused: closed at once
    EXPECT_EQ(seen, mine);
    finish(*listener);
  });
}

TEST_P(StreamOnProcs, an_end_right_behind_data_is_told) {
  // Both come before the home enters the kernel again: one wake-up for two events.
  with_procs(GetParam(), [] {
    constexpr int kConns = 30;
    std::atomic<int> ended{0};
    std::atomic<std::size_t> got{0};
    TestAcceptor acceptor([&](Stream& stream) {
      auto* sink = new TestSink(stream);
      sink->data = [&](std::span<const std::byte> bytes) { got.fetch_add(bytes.size()); };
      sink->end = [&](Error) {
        ended.fetch_add(1);
        stream.close();
      };
      return sink;
    });
    auto listener = must_listen_streams(acceptor);
    for (int i = 0; i < kConns; ++i) {
      Conn conn = must(dial(listener->local_address()));
      const std::size_t before = got.load();
      ASSERT_TRUE(conn.write(bytes_of(10)));
      until([&] { return got.load() == before + 10; });  // it is armed, and waits
      const linger reset{1, 0};
      if (i % 2 == 0) {
        ASSERT_EQ(::setsockopt(conn.native_handle(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
      }
      const int fd = *conn.release_fd();
      ASSERT_EQ(::send(fd, "0123456789", 10, MSG_NOSIGNAL), 10);
      ::close(fd);
      until([&] { return ended.load() == i + 1; });
    }
    finish(*listener);
  });
}

}  // namespace
}  // namespace heddle::net
