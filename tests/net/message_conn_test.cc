// MessageConn: order and back-pressure, every way to end and what it says, time-outs to the instant; over memory under
// seeded schedules, and over TCP.
#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <vector>

#include <heddle/core/test.h>
#include <heddle/net/message_conn.h>

#include "net_test_util.h"
#include "pipe_transport.h"

namespace heddle::net {
namespace {

using namespace test;
namespace kit = heddle::test;

using Lines = MessageConn<LineCodec>;

bool failed() { return testing::Test::HasFailure(); }

// Under many schedules; `most` of them in a plain build.
template <class Body>
void explore(std::uint64_t most, Body body) {
  kit::explore(kSanitized != 0 ? most / 10 + 1 : most, body, {.failed = &failed});
}

std::string line(int i) { return "line " + std::to_string(i); }

TEST(MessageConn, what_comes_is_received_and_what_is_sent_goes_out_in_order) {
  explore(200, [] {
    auto [near, far] = PipeTransport::pair(16);
    Lines left(*near);
    Lines right(*far);
    WaitGroup wg;
    for (Lines* one : {&left, &right}) {
      wg.go([one] {
        for (int i = 0; i < 20; ++i) one->out().send(line(i));
        one->out().close();
      });
      wg.go([one] {
        int i = 0;
        for (std::string text : one->in()) EXPECT_EQ(text, line(i++));
        EXPECT_EQ(i, 20);
        EXPECT_EQ(one->in_end().code, Code::kEof);
      });
    }
    wg.wait();
    for (Lines* one : {&left, &right}) {
      select(on_recv(one->context().done(), [] {}));
      EXPECT_EQ(one->context().cause()->code, Code::kEof);
    }
  });
}

TEST(MessageConn, closing_out_sends_what_is_queued_and_then_the_end) {
  explore(200, [] {
    auto [near, far] = PipeTransport::pair(4);
    Lines conn(*near);
    WaitGroup wg;
    wg.go([&] { EXPECT_EQ(far->read_all(), "line 0\nline 1\nline 2\n"); });
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(conn.send(line(i)));
    conn.out().close();
    wg.wait();
    ASSERT_TRUE(far->write("still heard\n"));
    EXPECT_EQ(conn.recv(), "still heard");
    EXPECT_FALSE(conn.context().err());
  });
}

TEST(MessageConn, the_peers_end_closes_in_and_one_may_answer_behind_it) {
  explore(200, [] {
    auto [near, far] = PipeTransport::pair();
    Lines conn(*near);
    ASSERT_TRUE(far->write("question\n"));
    ASSERT_TRUE(far->close_write());
    EXPECT_EQ(conn.recv(), "question");
    const Result<std::string> none = conn.recv();
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().code, Code::kEof);
    EXPECT_TRUE(conn.send("answer"));
    EXPECT_TRUE(conn.finish());
    EXPECT_EQ(far->read_all(), "answer\n");
    EXPECT_EQ(conn.context().cause()->code, Code::kEof);
    const Result<void> sent = conn.send("too late");
    ASSERT_FALSE(sent);
    EXPECT_EQ(sent.error().code, Code::kEof);
  });
}

TEST(MessageConn, an_end_within_a_message_is_a_protocol_error) {
  explore(100, [] {
    auto [near, far] = PipeTransport::pair();
    Lines conn(*near);
    ASSERT_TRUE(far->write("whole\nhal"));
    ASSERT_TRUE(far->close_write());
    EXPECT_EQ(conn.recv(), "whole");
    EXPECT_EQ(conn.recv().error().code, Code::kProtocol);
    EXPECT_EQ(conn.finish().error().code, Code::kProtocol);
  });
}

TEST(MessageConn, a_message_that_the_codec_refuses_can_be_answered) {
  explore(200, [] {
    auto [near, far] = PipeTransport::pair(8);
    Lines conn(*near, LineCodec(8));
    WaitGroup wg;
    wg.go([&far = far] {
      ASSERT_TRUE(far->write("fine\nfar too long a line\nand more that nobody reads\n"));
      EXPECT_EQ(far->read_all(), "no\n");
      ASSERT_TRUE(far->close_write());
    });
    EXPECT_EQ(conn.recv(), "fine");
    EXPECT_EQ(conn.recv().error().code, Code::kLimit);
    EXPECT_EQ(conn.recv().error().code, Code::kLimit);
    EXPECT_TRUE(conn.send("no"));
    EXPECT_EQ(conn.finish().error().code, Code::kLimit);
    EXPECT_EQ(conn.context().cause()->code, Code::kLimit);
    wg.wait();
  });
}

TEST(MessageConn, a_peer_that_goes_on_after_a_refusal_has_as_long_as_for_a_message) {
  explore(20, [] {
    auto [near, far] = PipeTransport::pair();
    Lines conn(*near, LineCodec(8), {.read_timeout = 3s});
    const TimePoint start = now();
    WaitGroup wg;
    wg.go([&far = far] {
      while (far->write("far too long a line\n")) sleep(100ms);
    });
    EXPECT_EQ(conn.recv().error().code, Code::kLimit);
    select(on_done(conn.context(), [] {}));
    EXPECT_EQ(now() - start, 3s);
    EXPECT_EQ(conn.context().cause()->code, Code::kLimit);
    wg.wait();
  });
}

TEST(MessageConn, who_does_not_receive_stops_the_peer) {
  explore(50, [] {
    auto [near, far] = PipeTransport::pair(10);
    Lines conn(*near, LineCodec(), {.in_capacity = 3, .read_buffer = 10});
    std::size_t written = 0;
    WaitGroup wg;
    wg.go([&written, &far = far] {
      while (far->write("1234\n")) ++written;
    });
    kit::wait();
    // Three in the queue, one in the reader's hand, what one read of ten bytes brought, and what the transport holds.
    EXPECT_GE(written, 3u + 1 + 2);
    EXPECT_LE(written, 3u + 1 + 2 + 2);
    const std::size_t before = written;
    for (int i = 0; i < 4; ++i) EXPECT_EQ(conn.recv(), "1234");
    kit::wait();
    EXPECT_GE(written, before + 3);  // a write may lie in the transport in part
    EXPECT_LE(written, before + 5);
    conn.close();
    wg.wait();
  });
}

TEST(MessageConn, a_peer_that_does_not_read_stops_the_sender) {
  explore(50, [] {
    auto [near, far] = PipeTransport::pair(10);
    Lines conn(*near, LineCodec(), {.out_capacity = 3, .max_batch = 2, .write_timeout = {}});
    std::size_t sent = 0;
    WaitGroup wg;
    wg.go([&] {
      while (conn.send("1234")) ++sent;
    });
    kit::wait();
    EXPECT_GE(sent, 3u + 1);
    EXPECT_LE(sent, 3u + 2 + 2);
    const std::size_t before = sent;
    EXPECT_EQ(far->read_some(20), "1234\n1234\n1234\n1234\n");
    kit::wait();
    EXPECT_GE(sent, before + 2);
    EXPECT_LE(sent, before + 6);
    conn.close();
    wg.wait();
  });
}

TEST(MessageConn, messages_that_wait_together_are_written_together) {
  kit::run([] {
    auto [near, far] = PipeTransport::pair(10);
    Lines conn(*near, LineCodec(), {.out_capacity = 100, .max_batch = 8});
    conn.out().send("the transport is full of this");
    kit::wait();
    ASSERT_EQ(near->writevs, 1u);
    std::string expected = "the transport is full of this\n";
    for (int i = 0; i < 20; ++i) {
      conn.out().send(line(i));
      expected += line(i) + "\n";
    }
    EXPECT_EQ(far->read_some(expected.size()), expected);
    kit::wait();
    EXPECT_EQ(near->writevs, 1u + 3);  // of 8, 8 and 4
  });
}

TEST(MessageConn, a_message_that_drips_has_its_time_and_the_next_one_its_own) {
  explore(50, [] {
    auto [near, far] = PipeTransport::pair();
    Lines conn(*near, LineCodec(), {.read_timeout = 10s});
    sleep(60s);  // nothing has begun
    ASSERT_TRUE(far->write("a"));
    sleep(9s);
    ASSERT_TRUE(far->write("b\nc"));
    EXPECT_EQ(conn.recv(), "ab");
    const TimePoint begun = now();
    for (int i = 0; i < 3; ++i) {
      sleep(2s);
      ASSERT_TRUE(far->write("c"));
    }
    const Result<std::string> cut = conn.recv();
    ASSERT_FALSE(cut);
    EXPECT_EQ(cut.error().message(), "read message: timeout");
    EXPECT_EQ(now() - begun, 10s);
    EXPECT_EQ(conn.context().cause(), cut.error());
    EXPECT_EQ(far->read_all(), "");
  });
}

TEST(MessageConn, time_in_which_nobody_receives_is_not_the_peers) {
  explore(50, [] {
    auto [near, far] = PipeTransport::pair();
    Lines conn(*near, LineCodec(), {.in_capacity = 1, .read_timeout = 10s, .idle_timeout = 20s});
    ASSERT_TRUE(far->write("one\ntwo\nthree\nfou"));
    sleep(1h);
    for (const char* text : {"one", "two", "three"}) EXPECT_EQ(conn.recv(), text);
    sleep(9s);
    ASSERT_TRUE(far->write("r\n"));
    EXPECT_EQ(conn.recv(), "four");
  });
}

TEST(MessageConn, a_peer_that_takes_nothing_has_the_time_of_one_write) {
  explore(50, [] {
    auto [near, far] = PipeTransport::pair(10);
    Lines conn(*near, LineCodec(), {.write_timeout = 5s});
    sleep(1min);
    const TimePoint begun = now();
    EXPECT_TRUE(conn.send("more than there is room for"));
    select(on_done(conn.context(), [] {}));
    EXPECT_EQ(now() - begun, 5s);
    EXPECT_EQ(conn.context().cause()->message(), "write message: timeout");
    EXPECT_EQ(conn.recv().error().code, Code::kTimeout);
  });
}

TEST(MessageConn, a_connection_on_which_nothing_happens_ends) {
  explore(50, [] {
    auto [near, far] = PipeTransport::pair();
    Lines conn(*near, LineCodec(), {.idle_timeout = 10s});
    const TimePoint start = now();
    for (int i = 0; i < 3; ++i) {
      sleep(6s);
      ASSERT_TRUE(far->write("x\n"));
      EXPECT_EQ(conn.recv(), "x");
      sleep(6s);
      EXPECT_TRUE(conn.send("y"));  // what is written counts, too
    }
    const Result<std::string> none = conn.recv();
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().message(), "idle: timeout");
    EXPECT_EQ(now() - start, 36s + 10s);
  });
}

TEST(MessageConn, a_connection_that_is_left_half_open_is_idle_in_the_end) {
  explore(50, [] {
    auto [near, far] = PipeTransport::pair();
    Lines conn(*near, LineCodec(), {.idle_timeout = 10s});
    ASSERT_TRUE(far->close_write());
    EXPECT_EQ(conn.recv().error().code, Code::kEof);
    sleep(9s);
    EXPECT_TRUE(conn.send("y"));
    const TimePoint sent = now();
    select(on_done(conn.context(), [] {}));
    EXPECT_EQ(now() - sent, 10s);
    EXPECT_EQ(conn.context().cause()->op, std::string("idle"));
  });
}

TEST(MessageConn, the_end_of_the_callers_context_is_the_connections) {
  explore(200, [] {
    auto [near, far] = PipeTransport::pair(4);
    const auto [ctx, cancel] = with_cancel({});
    Lines conn(*near, LineCodec(), {.ctx = ctx, .out_capacity = 0});
    WaitGroup wg;
    wg.go([&] { EXPECT_EQ(conn.recv().error().code, Code::kRefused); });
    wg.go([&] {
      Result<void> sent;
      while (sent) sent = conn.send("a long line");
      EXPECT_EQ(sent.error().code, Code::kRefused);
    });
    wg.go([cancel] { cancel({Code::kRefused, 0, "test"}); });
    wg.wait();
    EXPECT_EQ(conn.finish().error().code, Code::kRefused);
  });
}

TEST(MessageConn, what_had_come_before_an_end_is_received_before_it) {
  explore(100, [] {
    auto [near, far] = PipeTransport::pair();
    Lines conn(*near);
    ASSERT_TRUE(far->write("one\ntwo\n"));
    kit::wait();
    conn.close();
    kit::wait();
    EXPECT_EQ(conn.recv(), "one");
    EXPECT_EQ(conn.recv(), "two");
    EXPECT_EQ(conn.recv().error().code, Code::kClosed);
    EXPECT_EQ(conn.context().cause()->code, Code::kClosed);
  });
}

TEST(MessageConn, sends_go_nowhere_but_do_not_wait_after_the_end) {
  explore(100, [] {
    auto [near, far] = PipeTransport::pair(4);
    Lines conn(*near, LineCodec(), {.out_capacity = 1});
    WaitGroup wg;
    wg.go([&] {
      for (int i = 0; i < 50; ++i) conn.out().send("a long line");
      conn.out().close();
    });
    wg.go([&] { conn.close(); });
    wg.wait();
  });
}

TEST(MessageConn, the_destructor_leaves_nothing_whatever_is_under_way) {
  explore(500, [] {
    auto [near, far] = PipeTransport::pair(8);
    WaitGroup wg;
    wg.go([&far = far] {
      while (far->write("something\n")) {
      }
    });
    {
      Lines conn(*near, LineCodec(), {.in_capacity = kit::random(2), .out_capacity = kit::random(2)});
      for (std::uint64_t i = kit::random(4); i > 0; --i) static_cast<void>(conn.out().try_send("a long line"));
      for (std::uint64_t i = kit::random(4); i > 0; --i) static_cast<void>(conn.in().try_recv());
      if (kit::random(2) == 0) conn.out().close();
    }
    near.reset();  // nobody is at it any more
    wg.wait();
  });
}

TEST(MessageConn, it_may_own_its_transport_and_be_moved) {
  explore(50, [] {
    auto [near, far] = PipeTransport::pair();
    std::optional<Lines> there;
    {
      Lines here(std::move(near));
      EXPECT_TRUE(here.send("before"));
      there.emplace(std::move(here));
    }
    EXPECT_TRUE(there->send("behind"));
    EXPECT_EQ(far->read_some(14), "before\nbehind\n");
    there.reset();
    EXPECT_EQ(far->read_all(), "");
  });
}

TEST(MessageConn, channels_outlive_it_and_are_at_their_end) {
  explore(50, [] {
    auto [near, far] = PipeTransport::pair();
    RecvChan<std::string> in;
    Context ctx;
    {
      Lines conn(*near);
      in = conn.in();
      ctx = conn.context();
    }
    EXPECT_FALSE(in.recv());
    EXPECT_EQ(ctx.cause()->code, Code::kClosed);
  });
}

TEST(MessageConn, finish_can_be_called_off_and_out_closed_before) {
  explore(50, [] {
    auto [near, far] = PipeTransport::pair();
    Lines conn(*near);
    conn.out().send("bye");
    conn.out().close();
    const TimePoint start = now();
    const Result<void> ended = conn.finish(with_timeout({}, 2s).ctx);  // the peer does not end
    ASSERT_FALSE(ended);
    EXPECT_EQ(ended.error().code, Code::kTimeout);
    EXPECT_EQ(now() - start, 2s);
    EXPECT_EQ(far->read_all(), "bye\n");
    EXPECT_THROW(static_cast<void>(conn.send("more")), Panic);
  });
}

TEST(MessageConn, a_message_that_cannot_be_encoded_ends_it_behind_those_before) {
  explore(100, [] {
    auto [near, far] = PipeTransport::pair();
    Lines conn(*near);
    conn.out().send("good");
    conn.out().send("two\nlines");
    conn.out().send("never sent");
    EXPECT_EQ(far->read_all(), "good\n");
    EXPECT_EQ(conn.recv().error().code, Code::kInvalid);
  });
}

struct Throws : LineCodec {
  Result<Decoded<In>> decode(std::span<const std::byte> bytes) {
    if (bytes[0] == std::byte{'!'}) throw std::runtime_error("decode");
    if (bytes[0] == std::byte{'.'}) goexit();
    return LineCodec::decode(bytes);
  }
  Result<void> encode(const Out& text, Outgoing& to) {
    if (text == "!") throw std::runtime_error("encode");
    if (text == ".") goexit();
    return LineCodec::encode(text, to);
  }
};

TEST(MessageConn, what_the_codec_throws_is_thrown_to_who_receives) {
  for (const bool reading : {true, false}) {
    explore(50, [&] {
      auto [near, far] = PipeTransport::pair();
      MessageConn<Throws> conn(*near);
      ASSERT_TRUE(far->write("fine\n"));
      EXPECT_EQ(conn.recv(), "fine");
      if (reading) {
        ASSERT_TRUE(far->write("!\n"));
      } else {
        EXPECT_TRUE(conn.send("!"));
      }
      EXPECT_THROW(static_cast<void>(conn.recv()), std::runtime_error);
      EXPECT_THROW(static_cast<void>(conn.finish()), std::runtime_error);
      EXPECT_EQ(conn.context().cause()->code, Code::kInvalid);
    });
  }
}

TEST(MessageConn, goexit_in_the_codec_ends_it_too) {
  for (const bool reading : {true, false}) {
    explore(50, [&] {
      auto [near, far] = PipeTransport::pair();
      MessageConn<Throws> conn(*near);
      if (reading) {
        ASSERT_TRUE(far->write(".\n"));
      } else {
        EXPECT_TRUE(conn.send("."));
      }
      EXPECT_EQ(conn.recv().error().code, Code::kInvalid);
    });
  }
}

// Whatever is done to it and whenever it ends: what is received is what was sent, in order, from the first on; and
// nobody is left waiting (or the kit says so).
TEST(MessageConn, traffic_that_ends_anywhere_is_a_beginning_of_what_was_sent) {
  explore(1000, [] {
    auto [near, far] = PipeTransport::pair(1 + kit::random(40));
    const MessageOptions options{.in_capacity = kit::random(3),
                                 .out_capacity = kit::random(3),
                                 .max_batch = 1 + kit::random(3),
                                 .read_buffer = 1 + kit::random(20)};
    Lines left(*near, LineCodec(), options);
    Lines right(*far, LineCodec(), options);
    WaitGroup wg;
    for (Lines* one : {&left, &right}) {
      wg.go([one] {
        const int most = static_cast<int>(kit::random(12));
        for (int i = 0; i < most; ++i) {
          if (!one->send(line(i))) return;
        }
        if (kit::random(2) == 0) static_cast<void>(one->finish());
      });
      wg.go([one] {
        int i = 0;
        for (std::uint64_t most = kit::random(12); most > 0; --most) {
          const Result<std::string> got = one->recv();
          if (!got) return;
          // Another goroutine's finish() may have dropped some between.
          EXPECT_TRUE(got->starts_with("line "));
          const int n = std::stoi(got->substr(5));
          EXPECT_GE(n, i);
          i = n + 1;
        }
      });
    }
    if (kit::random(2) == 0) kit::wait();
    left.close();
    if (kit::random(2) == 0) kit::wait();
    right.close();
    wg.wait();
  });
}

class MessageConnOnProcs : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(procs, MessageConnOnProcs, testing::Values(1, 2, 4));

TEST_P(MessageConnOnProcs, many_messages_of_all_sizes_go_both_ways_over_tcp) {
  with_procs(GetParam(), [] {
    using Frames = MessageConn<LengthPrefixCodec>;
    auto [near, far] = connected_pair();
    Frames left(near);
    Frames right(far);
    constexpr std::size_t kMessages = 400;
    const auto size_of = [](std::size_t i) { return i % 50 == 0 ? i * 257 % 70'000 : i * 31 % 600; };
    WaitGroup wg;
    for (Frames* one : {&left, &right}) {
      wg.go([&, one] {
        for (std::size_t i = 0; i < kMessages; ++i) one->out().send(bytes_of(size_of(i), i));
        one->out().close();
      });
      wg.go([&, one] {
        std::size_t i = 0;
        for (Bytes message : one->in()) {
          ASSERT_EQ(message.size(), size_of(i));
          static_cast<void>(check_bytes(message, 0, i));
          ++i;
        }
        EXPECT_EQ(i, kMessages);
      });
    }
    wg.wait();
    EXPECT_TRUE(left.finish());
    EXPECT_TRUE(right.finish());
  });
}

TEST_P(MessageConnOnProcs, many_connections_come_and_go_in_all_ways_over_tcp) {
  with_procs(GetParam(), [] {
    WaitGroup wg;
    for (int i = 0; i < 60 / (1 + kSanitized); ++i) {
      wg.go([i] {
        auto [near, far] = connected_pair();
        Lines left(near, LineCodec(), {.in_capacity = 2, .out_capacity = 2});
        Lines right(far, LineCodec(), {.in_capacity = 2, .out_capacity = 2});
        for (int k = 0; k < 5; ++k) {
          ASSERT_TRUE(left.send(line(k)));
          EXPECT_EQ(right.recv(), line(k));
        }
        switch (i % 4) {
          case 0: break;  // the destructors
          case 1: left.close(); break;
          case 2:
            left.out().close();
            EXPECT_TRUE(right.finish());
            break;
          case 3:
            while (left.out().try_send(std::string(1000, 'x'))) {
            }
            break;
        }
      });
    }
    wg.wait();
  });
}

TEST(MessageConn, a_peer_over_tcp_that_goes_away_rudely_is_told_as_reset) {
  with_procs(2, [] {
    auto [near, far] = connected_pair();
    Lines conn(near);
    ASSERT_TRUE(far.write(std::as_bytes(std::span("hello\n", 6))));
    EXPECT_EQ(conn.recv(), "hello");
    ASSERT_TRUE(far.set_linger(0));
    far.close();
    EXPECT_EQ(conn.recv().error().code, Code::kReset);
    EXPECT_EQ(conn.context().cause()->code, Code::kReset);
  });
}

}  // namespace
}  // namespace heddle::net
