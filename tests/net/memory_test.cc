// Connections, listeners and pipes in memory: the promises of transport.h under many schedules, on a clock of the tests'.
#include <heddle/net/memory.h>

#include <gtest/gtest.h>

#include <string>

#include <heddle/core/go.h>
#include <heddle/core/test.h>

#include "unix_test_util.h"

namespace heddle::net {
namespace {

using namespace test;

// Under many schedules; a test's time passes only while all wait.
template <class Body>
void explore(Body body) {
  heddle::test::explore(kSanitized ? 100 : 300, body);
}

std::string read_all(Reader& from) {
  std::string text;
  std::byte buf[7];
  for (;;) {
    const Result<std::size_t> n = from.read(buf);
    if (!n) return text + "!" + n.error().message();
    if (*n == 0) return text;
    text += text_of({buf, *n});
  }
}

TEST(Memory, bytes_go_both_ways_at_once_and_arrive_in_order) {
  explore([] {
    auto [a, b] = memory_pair({.capacity = 10});
    WaitGroup wg;
    const auto speak = [](MemoryConn& conn, std::uint64_t seed) {
      for (std::uint64_t at = 0, step = 1; at < 200; at += step, step = 1 + heddle::test::random(25)) {
        EXPECT_TRUE(conn.write(bytes_of(step, seed, at)));
      }
      EXPECT_TRUE(conn.close_write());
    };
    const auto listen = [](MemoryConn& conn, std::uint64_t seed) {
      std::vector<std::byte> buf(30);
      std::uint64_t at = 0;
      for (;;) {
        const Result<std::size_t> n = conn.read({buf.data(), 1 + heddle::test::random(30)});
        if (!n || *n == 0) break;
        at = check_bytes({buf.data(), *n}, at, seed);
      }
      EXPECT_GE(at, 200U);
      EXPECT_EQ(conn.read(buf), 0U) << "the end stays";
    };
    wg.go([&, &a = a] { speak(a, 1); });
    wg.go([&, &a = a] { listen(a, 2); });
    wg.go([&, &b = b] { speak(b, 2); });
    wg.go([&, &b = b] { listen(b, 1); });
    wg.wait();
  });
}

TEST(Memory, megabytes_arrive_whole_between_threads) {
  with_procs(4, [] {
    constexpr std::uint64_t kSize = 4 << 20;
    auto [a, b] = memory_pair({.capacity = 1'000});
    WaitGroup wg;
    wg.go([&a = a] {
      for (std::uint64_t at = 0; at < kSize; at += 1 << 14) ASSERT_TRUE(a.write(bytes_of(1 << 14, 3, at)));
      a.close();
    });
    std::vector<std::byte> buf(3'000);
    std::uint64_t at = 0;
    for (;;) {
      const Result<std::size_t> n = b.read(buf);
      ASSERT_TRUE(n);
      if (*n == 0) break;
      at = check_bytes({buf.data(), *n}, at, 3);
    }
    EXPECT_EQ(at, kSize);
    wg.wait();
  });
}

TEST(Memory, close_ends_calls_that_wait_on_both_sides) {
  explore([] {
    auto [a, b] = memory_pair({.capacity = 4});
    ASSERT_TRUE(a.write(bytes("bye!")));
    ASSERT_TRUE(b.write(bytes("full")));
    WaitGroup wg;
    wg.go([&a = a] { EXPECT_EQ(a.write(bytes("x")).error().code, Code::kClosed); });
    wg.go([&b = b] { EXPECT_EQ(b.write(bytes("x")).error().code, Code::kReset); });
    heddle::test::wait();
    a.close();
    wg.wait();
    EXPECT_EQ(read_all(b), "bye!") << "what was written is delivered";

    auto [c, d] = memory_pair();
    wg.go([&c = c] {
      std::byte buf[1];
      EXPECT_EQ(c.read(buf).error().code, Code::kClosed);
    });
    wg.go([&d = d] { EXPECT_EQ(read_all(d), ""); });
    heddle::test::yield_point();
    c.close();
    wg.wait();
  });
}

TEST(Memory, a_call_on_a_closed_end_says_so) {
  with_procs(1, [] {
    auto [a, b] = memory_pair();
    ASSERT_TRUE(b.write(bytes("x")));
    a.close();
    a.close();
    std::byte buf[1];
    EXPECT_EQ(a.read(buf).error().code, Code::kClosed);
    EXPECT_EQ(a.read({}).error().code, Code::kClosed);
    EXPECT_EQ(a.try_read(buf).error().code, Code::kClosed);
    EXPECT_EQ(a.wait_readable({}).error().code, Code::kClosed);
    EXPECT_EQ(a.write(buf).error().code, Code::kClosed);
    EXPECT_EQ(a.close_read().error().code, Code::kClosed);
    EXPECT_EQ(a.close_write().error().code, Code::kClosed);
    EXPECT_EQ(a.local_address().error().code, Code::kClosed);
    EXPECT_FALSE(a.is_alive());
    EXPECT_FALSE(b.is_alive());
    MemoryConn none;
    EXPECT_EQ(none.read(buf).error().code, Code::kClosed);
    EXPECT_EQ(none.write(buf).error().code, Code::kClosed);
    none.close();
    none = std::move(b);
    EXPECT_EQ(none.read(buf), 0U);
    EXPECT_EQ(none.write(buf).error().code, Code::kReset);
  });
}

TEST(Memory, halves_close_alone) {
  with_procs(1, [] {
    auto [a, b] = memory_pair({.capacity = 4});
    ASSERT_TRUE(a.write(bytes("ab")));
    ASSERT_TRUE(a.close_write());
    EXPECT_EQ(a.write(bytes("c")).error().code, Code::kReset);
    EXPECT_EQ(read_all(b), "ab");
    ASSERT_TRUE(b.write(bytes("back")));  // the other way goes on
    ASSERT_TRUE(a.close_read());
    EXPECT_EQ(read_all(a), "") << "what had come is dropped";
    ASSERT_TRUE(b.write(bytes("more than there is room for")));
  });
}

TEST(Memory, close_read_lets_a_writer_go_that_waits_for_room) {
  explore([] {
    auto [a, b] = memory_pair({.capacity = 4});
    WaitGroup wg;
    wg.go([&b = b] { EXPECT_TRUE(b.write(bytes("more than there is room for"))); });
    wg.go([&a = a] { read_all(a); });
    ASSERT_TRUE(a.close_read());
    wg.wait();
  });
}

TEST(Memory, deadlines_end_calls_at_their_time_and_may_be_moved) {
  explore([] {
    auto [a, b] = memory_pair({.capacity = 4});
    const TimePoint start = now();
    std::byte buf[10];
    a.set_deadline(start + 1h);
    EXPECT_EQ(a.read(buf).error().code, Code::kTimeout);
    EXPECT_EQ(now(), start + 1h);
    EXPECT_EQ(a.write(bytes("x")).error().code, Code::kTimeout) << "also one that need not wait";
    a.set_deadline(kNoDeadline);
    EXPECT_TRUE(a.write(bytes("full")));
    WaitGroup wg;
    wg.go([&a = a, start] {
      EXPECT_EQ(a.write(bytes("x")).error().code, Code::kTimeout);
      EXPECT_EQ(now(), start + 3h);
    });
    wg.go([&a = a, start] {
      EXPECT_EQ(a.wait_readable({}).error().code, Code::kTimeout);
      EXPECT_EQ(now(), start + 4h);
    });
    a.set_deadline(start + 2h);
    a.set_write_deadline(start + 3h);
    a.set_read_deadline(start + 4h);
    wg.wait();
    a.set_read_deadline(now() - 1ns);
    EXPECT_EQ(a.read(buf).error().code, Code::kTimeout);
    EXPECT_EQ(a.try_read(buf).error().code, Code::kTimeout);
  });
}

TEST(Memory, contexts_end_calls_that_wait_with_their_own_code) {
  explore([] {
    auto [a, b] = memory_pair({.capacity = 4});
    auto [ctx, cancel] = with_cancel({});
    auto [timed, cancel_timed] = with_timeout({}, 1h);
    EXPECT_TRUE(a.write(timed, bytes("full")));
    WaitGroup wg;
    wg.go([&a = a, ctx = ctx] { EXPECT_EQ(a.write(ctx, bytes("x")).error().code, Code::kCanceled); });
    wg.go([&a = a, timed = timed] {
      std::byte buf[1];
      EXPECT_EQ(a.read(timed, buf).error().code, Code::kTimeout);
      EXPECT_EQ(a.read(timed, buf).error().code, Code::kTimeout);
      EXPECT_EQ(a.wait_readable(timed).error().code, Code::kTimeout);
    });
    cancel();
    wg.wait();
    EXPECT_EQ(a.write(ctx, bytes("x")).error().code, Code::kCanceled);
    std::byte buf[10];
    EXPECT_EQ(b.read(buf), 4U) << "nothing was written by calls that had no room";
    cancel_timed();
  });
}

TEST(Memory, what_waits_is_woken_whoever_wins) {
  // A reader and a writer; deadlines, bytes, closing and a context from all sides at once. Each call returns.
  explore([] {
    auto [a, b] = memory_pair({.capacity = 2});
    auto [ctx, cancel] = with_cancel({});
    WaitGroup wg;
    wg.go([&a = a, ctx = ctx] {
      std::byte buf[3];
      while (a.read(ctx, buf).value_or(0) > 0) {
      }
    });
    wg.go([&b = b, ctx = ctx] {
      for (int i = 0; i < 5; ++i) {
        if (!b.write(ctx, bytes("abc"))) return;
      }
    });
    wg.go([&a = a] { a.set_read_deadline(now() + 1ns); });
    wg.go([&b = b] { b.set_deadline(now() + 1s); });
    wg.go([cancel = cancel] { cancel(); });
    if (heddle::test::random(2) == 0) a.close();
    wg.wait();
  });
}

TEST(Memory, a_connection_is_alive_until_the_peer_ends_or_says_something) {
  with_procs(1, [] {
    auto [a, b] = memory_pair();
    EXPECT_TRUE(a.is_alive());
    ASSERT_TRUE(b.write(bytes("x")));
    EXPECT_FALSE(a.is_alive());
    EXPECT_EQ(b.is_alive(), true);
    std::byte buf[1];
    ASSERT_EQ(a.read(buf), 1U);
    EXPECT_TRUE(a.is_alive());
    ASSERT_TRUE(b.close_write());
    EXPECT_FALSE(a.is_alive());
  });
}

TEST(Memory, addresses_are_those_that_were_given) {
  with_procs(1, [] {
    const Address server = *Address::parse("192.0.2.1:80");
    const Address client = *Address::parse("192.0.2.9:1234");
    MemoryListener listener({.address = server});
    EXPECT_EQ(*listener.local_address(), server);
    MemoryConn near = must(listener.dial({.local = client}));
    MemoryConn far = must(listener.accept());
    EXPECT_EQ(*near.local_address(), client);
    EXPECT_EQ(*near.remote_address(), server);
    EXPECT_EQ(*far.local_address(), server);
    EXPECT_EQ(*far.remote_address(), client);
  });
}

TEST(Memory, a_second_reader_dies_with_a_message) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(with_procs(1,
                          [] {
                            auto [a, b] = memory_pair();
                            go([&a = a] {
                              std::byte buf[1];
                              static_cast<void>(a.read(buf));
                            });
                            gosched();
                            std::byte buf[1];
                            static_cast<void>(a.read(buf));
                          }),
               "second goroutine calls read");
}

TEST(MemoryListener, connections_are_accepted_in_the_order_of_their_dials) {
  with_procs(1, [] {
    MemoryListener listener;
    for (int i = 0; i < 3; ++i) {
      std::vector<MemoryConn> clients;
      for (char c = 'a'; c < 'e'; ++c) {
        clients.push_back(must(listener.dial()));
        ASSERT_TRUE(clients.back().write(std::as_bytes(std::span(&c, 1))));
        ASSERT_TRUE(clients.back().close_write());
      }
      for (const char* expected : {"a", "b", "c", "d"}) {
        const std::unique_ptr<Transport> conn = must(listener.accept_transport());
        EXPECT_EQ(read_all(*conn), expected);
      }
    }
  });
}

TEST(MemoryListener, a_dial_waits_for_a_place_and_a_closed_listener_refuses) {
  explore([] {
    MemoryListener listener({.backlog = 2});
    WaitGroup wg;
    int refused = 0;
    int connected = 0;
    for (int i = 0; i < 6; ++i) {
      wg.go([&] {
        Result<MemoryConn> conn = listener.dial();
        if (conn) {
          ++connected;
          EXPECT_EQ(read_all(*conn), "");  // closed by who accepted it, or by the listener's end
        } else {
          ++refused;
          EXPECT_EQ(conn.error().code, Code::kRefused);
        }
      });
    }
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(listener.accept());
    heddle::test::wait();
    EXPECT_EQ(connected, 5);
    listener.close();
    EXPECT_EQ(listener.accept().error().code, Code::kClosed);
    wg.wait();
    EXPECT_EQ(connected, 5);
    EXPECT_EQ(refused, 1);
    listener.close();
    EXPECT_EQ(listener.dial().error().code, Code::kRefused);
  });
}

TEST(MemoryListener, deadlines_contexts_and_close_end_who_waits) {
  explore([] {
    MemoryListener listener({.backlog = 1});
    const TimePoint start = now();
    listener.set_deadline(start + 1h);
    EXPECT_EQ(listener.accept().error().code, Code::kTimeout);
    EXPECT_EQ(now(), start + 1h);
    listener.set_deadline(kNoDeadline);
    auto [ctx, cancel] = with_timeout({}, 1h);
    EXPECT_EQ(listener.accept(ctx).error().code, Code::kTimeout);
    MemoryConn waiting = must(listener.dial());
    EXPECT_EQ(listener.dial({.deadline = now() + 1h}).error().code, Code::kTimeout);
    EXPECT_EQ(now(), start + 3h);
    EXPECT_EQ(listener.dial({.ctx = ctx}).error().code, Code::kTimeout);
    EXPECT_TRUE(listener.accept());
    WaitGroup wg;
    wg.go([&] { EXPECT_EQ(listener.accept().error().code, Code::kClosed); });
    heddle::test::yield_point();
    listener.close();
    wg.wait();
    EXPECT_EQ(listener.local_address().error().code, Code::kClosed);
    cancel();
  });
}

TEST(MemoryPipe, what_is_written_is_read_and_then_comes_the_writers_reason) {
  explore([] {
    auto [reader, writer] = memory_pipe(5);
    WaitGroup wg;
    wg.go([&writer = writer] {
      EXPECT_TRUE(writer.write(bytes("more than it has room for")));
      if (heddle::test::random(2) == 0) {
        writer.close();
      } else {
        writer.close_with({Code::kProtocol, 0, "parse"});
        writer.close();  // the first one stands
      }
      EXPECT_EQ(writer.write(bytes("x")).error().code, Code::kClosed);
    });
    const std::string text = read_all(reader);
    EXPECT_TRUE(text == "more than it has room for" || text == "more than it has room for!parse: protocol error")
        << text;
    EXPECT_EQ(read_all(reader), text.substr(25)) << "again and again";
    wg.wait();
  });
}

TEST(MemoryPipe, the_readers_reason_ends_a_writer_that_waits) {
  explore([] {
    auto [reader, writer] = memory_pipe(5);
    WaitGroup wg;
    wg.go([&writer = writer] {
      const Result<void> written = writer.write(bytes("more than it has room for"));
      EXPECT_EQ(written.error().code, Code::kLimit);
    });
    std::byte buf[3];
    EXPECT_GT(reader.read(buf).value(), 0U);
    reader.close_with({Code::kLimit, 0, "body"});
    EXPECT_EQ(reader.read(buf).error().code, Code::kClosed);
    wg.wait();
    auto [other, end] = memory_pipe();
    other = MemoryReader();
    EXPECT_EQ(end.write(bytes("x")).error().code, Code::kReset) << "its destruction closes it";
  });
}

TEST(MemoryPipe, deadlines_and_contexts_end_calls_that_wait) {
  explore([] {
    auto [reader, writer] = memory_pipe(1);
    std::byte buf[1];
    reader.set_read_deadline(now() + 1h);
    EXPECT_EQ(reader.read(buf).error().code, Code::kTimeout);
    auto [ctx, cancel] = with_timeout({}, 1h);
    writer.set_write_deadline(now() + 2h);
    EXPECT_EQ(writer.write(ctx, bytes("ab")).error().code, Code::kTimeout);
    EXPECT_EQ(writer.write(bytes("c")).error().code, Code::kTimeout);
    reader.set_read_deadline(kNoDeadline);
    EXPECT_EQ(reader.read(buf), 1U) << "what had found room is there";
    EXPECT_EQ(buf[0], std::byte{'a'});
    EXPECT_EQ(reader.try_read(buf).error().code, Code::kWouldBlock);
    cancel();
  });
}

}  // namespace
}  // namespace heddle::net
