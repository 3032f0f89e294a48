// A WebSocket as two channels, over memory and under many schedules: what comes, what goes, and every way to end. test::explore()
// fails if a goroutine is left.
#include <heddle/http/websocket_channels.h>

#include "ws_test_util.h"

namespace heddle::http::ws::test {
namespace {

constexpr std::uint64_t kSeeds = 200;

struct Two {
  explicit Two(std::size_t capacity = 65536)
      : ends(net::memory_pair({.capacity = capacity})),
        server(engine_on(ends.first, Role::kServer, calm())),
        client(engine_on(ends.second, Role::kClient, calm())) {}

  std::pair<net::MemoryConn, net::MemoryConn> ends;
  Connection server;
  Connection client;
};

TEST(WsChannels, echo_until_the_peer_closes) {
  heddle::test::explore(kSeeds, [] {
    Two two;
    WaitGroup all;
    all.go([&] {
      Channels chat(std::move(two.server), {.in_capacity = 2, .out_capacity = 1});
      for (Message m : chat.in()) chat.out().send(std::move(m));
      EXPECT_EQ(chat.in_end().code, Code::kEof);
      select(on_done(chat.context(), [] {}));
      EXPECT_EQ(chat.context().cause()->code, Code::kEof);
      EXPECT_EQ(chat.peer_close().code, 3001);
      EXPECT_EQ(code_of(chat.finish()), "ok");
    });
    for (int i = 0; i < 10; ++i) {
      EXPECT_TRUE(two.client.write_text(std::to_string(i)));
      if (i % 2 == 0) continue;
      EXPECT_EQ(said(two.client.read()), "text(" + std::to_string(i - 1) + ")");
      EXPECT_EQ(said(two.client.read()), "text(" + std::to_string(i) + ")");
    }
    EXPECT_EQ(code_of(two.client.close(3001)), "ok");
    all.wait();
  });
}

TEST(WsChannels, what_is_queued_is_sent_before_the_close) {
  for (const bool by_finish : {true, false}) {
    heddle::test::explore(kSeeds, [by_finish] {
      Two two;
      WaitGroup all;
      all.go([&] {
        Channels chat(std::move(two.server));
        for (int i = 0; i < 10; ++i) EXPECT_TRUE(chat.send({Kind::kBinary, std::to_string(i)}));
        if (by_finish) {
          EXPECT_EQ(code_of(chat.finish(4000, "over")), "ok");
        } else {
          chat.out().close();
          EXPECT_EQ(chat.recv().error().code, Code::kClosed);
        }
      });
      for (int i = 0; i < 10; ++i) EXPECT_EQ(said(two.client.read()), "bin(" + std::to_string(i) + ")");
      EXPECT_EQ(said(two.client.read()), "end of stream");
      EXPECT_EQ(two.client.peer_close().code, by_finish ? 4000 : 1000);
      all.wait();
    });
  }
}

TEST(WsChannels, a_close_that_cannot_be_said_ends_nothing) {
  heddle::test::explore(kSeeds, [] {
    Two two;
    WaitGroup all;
    all.go([&] {
      Channels chat(std::move(two.server));
      EXPECT_EQ(code_of(chat.finish(999)), "invalid argument");
      EXPECT_EQ(code_of(chat.finish(kNoStatus, "why")), "invalid argument");
      EXPECT_EQ(code_of(chat.finish(1000, std::string(124, 'x'))), "invalid argument");
      EXPECT_EQ(code_of(chat.finish(1000, "\xff")), "invalid argument");
      EXPECT_FALSE(chat.context().err());
      EXPECT_TRUE(chat.send({Kind::kText, "still here"}));
      EXPECT_EQ(code_of(chat.finish(kNoStatus)), "ok");
    });
    EXPECT_EQ(said(two.client.read()), "text(still here)");
    EXPECT_EQ(said(two.client.read()), "end of stream");
    EXPECT_EQ(two.client.peer_close().code, kNoStatus);
    all.wait();
  });
}

TEST(WsChannels, messages_that_came_before_the_close_are_received) {
  heddle::test::explore(kSeeds, [] {
    Two two;
    WaitGroup all;
    all.go([&] {
      for (int i = 0; i < 5; ++i) EXPECT_TRUE(two.client.write_text(std::to_string(i)));
      EXPECT_EQ(code_of(two.client.close()), "ok");
    });
    Channels chat(std::move(two.server), {.in_capacity = 1});
    for (int i = 0; i < 5; ++i) {
      sleep(1ms);
      EXPECT_EQ(said(chat.recv()), "text(" + std::to_string(i) + ")");
    }
    EXPECT_EQ(said(chat.recv()), "end of stream");
    all.wait();
  });
}

TEST(WsChannels, nobody_waits_for_ever_whatever_happens) {
  heddle::test::explore(kSeeds, [](std::uint64_t seed) {
    Two two(20);
    auto [ctx, cancel] = with_cancel({});
    WaitGroup all;
    {
      Channels chat(std::move(two.server), {.ctx = ctx, .in_capacity = 0, .out_capacity = 0});
      all.go([&] {  // more than the peer takes
        for (int i = 0; i < 20; ++i) {
          if (!chat.send({Kind::kText, std::string(10, 'x')})) return;
        }
      });
      all.go([&] {  // more than is received
        for (int i = 0; i < 20; ++i) {
          if (!two.client.write_text(std::string(10, 'y'))) return;
        }
      });
      EXPECT_EQ(said(chat.recv()), "text(yyyyyyyyyy)");
      switch (seed % 4) {
        case 0: cancel({Code::kLimit, 0, "enough"}); break;
        case 1: two.client.abort(); break;
        case 2: EXPECT_TRUE(two.ends.second.close_write()); break;
        default: two.ends.first.close(); break;
      }
      while (chat.recv()) {
      }
      EXPECT_NE(chat.in_end().code, Code::kOk);
      EXPECT_TRUE(seed % 4 != 0 || chat.in_end().code == Code::kLimit);
      two.client.abort();
      all.wait();
    }
  });
}

TEST(WsChannels, the_destructor_ends_all_at_once) {
  heddle::test::explore(kSeeds, [](std::uint64_t seed) {
    Two two(20);
    SendChan<Message> out;
    {
      Channels chat(std::move(two.server), {.in_capacity = 0, .out_capacity = 1});
      Channels moved(std::move(chat));
      out = moved.out();
      if (seed % 2 == 0) {
        EXPECT_TRUE(moved.send({Kind::kText, std::string(100, 'x')}));
      }
      if (seed % 3 == 0) heddle::test::wait();
    }
    EXPECT_FALSE(two.client.write_text("x") && two.client.read() && two.client.read());
  });
}

TEST(WsChannels, text_that_is_none_ends_it_for_the_sender_to_see) {
  heddle::test::explore(20, [] {
    Two two;
    Channels chat(std::move(two.server));
    EXPECT_TRUE(chat.send({Kind::kText, "\xff"}));
    EXPECT_EQ(said(chat.recv()), "invalid argument");
    EXPECT_EQ(chat.send({Kind::kText, "x"}).error().code, Code::kInvalid);
  });
}

}  // namespace
}  // namespace heddle::http::ws::test
