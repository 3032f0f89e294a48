// A WebSocket over memory, on a clock of its own and under many schedules: messages both ways, who may do what at once, time-outs,
// and every way to end.
#include <heddle/core/chan.h>

#include <algorithm>
#include <cstdint>
#include <new>

#include "ws_test_util.h"

namespace heddle::http::ws::test {
namespace {

constexpr std::uint64_t kSeeds = 100;

TEST(WsEngine, messages_of_all_sizes_come_whole_in_frames_or_one_compressed_or_not) {
  heddle::test::run(
      [] {
        for (const std::size_t write_frame : {std::size_t{7}, std::size_t{1000}, std::size_t{1} << 20}) {
          for (const bool deflate : {false, true}) {
            auto [near, far] = net::memory_pair();
            Options options = calm();
            options.write_frame = write_frame;
            options.max_fragments = 100'000;
            const auto agreed = deflate ? std::optional(Agreed{}) : std::nullopt;
            Connection client = connection_on(near, Role::kClient, options, agreed);
            Connection server = connection_on(far, Role::kServer, options, agreed);
            const std::size_t sizes[] = {0, 1, 125, 126, 256, 1000, 65535, 65536, 200'000, 3};
            WaitGroup all;
            all.go([&] {
              while (Result<Message> got = server.read()) EXPECT_TRUE(server.write(*got));
            });
            for (const std::size_t size : sizes) {
              if (size / write_frame > 20'000) continue;
              const std::string sent = text_of(size, write_frame);
              all.go([&] { EXPECT_TRUE(client.write_text(sent)); });
              const Result<Message> back = client.read();
              ASSERT_TRUE(back);
              EXPECT_TRUE(back->data == sent) << size;
            }
            EXPECT_EQ(code_of(client.close(1000, "done")), "ok");
            all.wait();
            EXPECT_EQ(server.peer_close().code, 1000);
            EXPECT_EQ(server.peer_close().reason, "done");
          }
        }
      },
      {.most_steps = 1'000'000'000});
}

TEST(WsEngine, the_largest_of_limits_is_none) {
  heddle::test::run([] {
    Options options = calm();
    options.max_message = options.max_frame = options.max_fragments = options.write_frame = SIZE_MAX;
    for (const bool deflate : {false, true}) {
      auto [near, far] = net::memory_pair({.capacity = 100});
      const auto agreed = deflate ? std::optional(Agreed{}) : std::nullopt;
      Connection client = connection_on(near, Role::kClient, options, agreed);
      Connection server = connection_on(far, Role::kServer, options, agreed);
      std::string sent(50'000, '\0');  // that does not compress
      std::uint64_t state = 1;
      for (char& c : sent) c = static_cast<char>((state = state * 6364136223846793005U + 1442695040888963407U) >> 56);
      WaitGroup all;
      all.go([&] { EXPECT_TRUE(client.write_binary(sent)); });
      const Result<Message> got = server.read();
      EXPECT_TRUE(got && got->data == sent) << said(got).substr(0, 100);
      all.wait();
    }
  });
}

TEST(WsEngine, writers_share_a_connection_by_whole_messages) {
  heddle::test::explore(kSeeds, [] {
    auto [near, far] = net::memory_pair({.capacity = 100});
    Options options = calm();
    options.write_frame = 5;
    Connection client = connection_on(near, Role::kClient, options);
    Connection server = connection_on(far, Role::kServer);
    WaitGroup writers;
    for (std::size_t w = 0; w < 3; ++w) {
      writers.go([&client, w] {
        for (std::size_t i = 0; i < 3; ++i) {
          EXPECT_TRUE(client.write_text(text_of(23, w * 10 + i)));
          EXPECT_TRUE(client.ping("p"));
        }
      });
    }
    std::vector<std::string> got;
    std::vector<std::string> wanted;
    for (std::size_t n = 0; n < 9; ++n) {
      Result<Message> one = server.read();
      ASSERT_TRUE(one);
      got.push_back(std::move(one->data));
      wanted.push_back(text_of(23, n / 3 * 10 + n % 3));
    }
    std::ranges::sort(got);
    std::ranges::sort(wanted);
    EXPECT_EQ(got, wanted);
    writers.wait();
  });
}

TEST(WsEngine, a_ping_and_a_close_find_their_place_between_fragments) {
  bool between = false;
  heddle::test::explore(kSeeds, [&] {
    auto [near, far] = net::memory_pair({.capacity = 8});
    Options options = calm();
    options.write_frame = 4;
    Connection server = connection_on(near, Role::kServer, options);
    WaitGroup all;
    all.go([&] {
      const Result<void> written = server.write_text("aaaabbbbccccdddd");
      EXPECT_TRUE(written || written.error().code == Code::kClosed);
    });
    all.go([&] {
      EXPECT_TRUE(server.ping("now"));
      static_cast<void>(server.close());
    });
    all.go([&] { static_cast<void>(far.write(bytes(frame(0x88, close_of(1000), true)))); });
    const std::string wire = words(read_to_end(far), Role::kServer);
    all.wait();
    between = between || wire.starts_with("~text(aaaa) ping(now)");
    EXPECT_TRUE(wire.ends_with("close(1000)")) << wire;
  });
  EXPECT_TRUE(between);
}

TEST(WsEngine, both_sides_close_at_once) {
  heddle::test::explore(kSeeds, [] {
    auto [near, far] = net::memory_pair();
    Connection client = connection_on(near, Role::kClient);
    Connection server = connection_on(far, Role::kServer);
    WaitGroup all;
    all.go([&] { EXPECT_EQ(code_of(client.close(3000)), "ok"); });
    all.go([&] { EXPECT_EQ(code_of(server.close(4000)), "ok"); });
    all.go([&] {
      const Result<Message> got = server.read();
      EXPECT_TRUE(!got && (got.error().code == Code::kClosed || got.error().code == Code::kEof));
    });
    all.wait();
    EXPECT_EQ(code_of(client.close()), "ok");
    EXPECT_FALSE(client.write_text("x"));
  });
}

TEST(WsEngine, close_ends_a_read_that_waits_and_drops_what_comes_late) {
  heddle::test::explore(kSeeds, [] {
    auto [near, far] = net::memory_pair();
    Connection server = connection_on(near, Role::kServer);
    WaitGroup all;
    all.go([&] { EXPECT_EQ(said(server.read()), "closed"); });
    all.go([&] { EXPECT_EQ(code_of(server.close(1001)), "ok"); });
    all.go([&] { EXPECT_EQ(code_of(server.close(1001)), "ok"); });
    heddle::test::wait();
    EXPECT_TRUE(
        far.write(bytes(frame(0x81, "late", true) + frame(0x89, "late", true) + frame(0x88, close_of(1001), true))));
    EXPECT_EQ(words(read_to_end(far), Role::kServer), "close(1001)");
    far.close();
    all.wait();
    EXPECT_EQ(said(server.read()), "closed");
  });
}

TEST(WsEngine, close_waits_for_an_answer_as_long_as_it_may) {
  heddle::test::explore(20, [](std::uint64_t seed) {
    auto [near, far] = net::memory_pair();
    Connection client = connection_on(near, Role::kClient);
    WaitGroup all;
    if (seed % 2 == 0) all.go([&] { EXPECT_EQ(said(client.read()), "closed"); });
    const TimePoint began = now();
    EXPECT_EQ(code_of(client.close()), "timeout");
    EXPECT_EQ(now() - began, 5s);
    all.wait();
    EXPECT_EQ(words(read_to_end(far), Role::kClient), "close(1000)");
  });
}

// A client that never ends its stream after the handshake holds the server as long, and a server the client.
TEST(WsEngine, after_both_closes_the_end_of_the_stream_is_waited_for_no_longer) {
  for (const Role role : {Role::kServer, Role::kClient}) {
    heddle::test::run([role] {
      auto [near, far] = net::memory_pair();
      Connection one = connection_on(near, role);
      EXPECT_TRUE(far.write(bytes(frame(0x88, close_of(1000), role == Role::kServer))));
      const TimePoint began = now();
      EXPECT_EQ(said(one.read()), "end of stream");
      EXPECT_EQ(now() - began, 5s);
      EXPECT_EQ(words(read_to_end(far), role), "close(1000)");
    });
  }
}

// Nor by a reader that has a ping to answer behind it.
TEST(WsEngine, close_is_not_held_up_by_a_writer_that_nobody_reads) {
  heddle::test::explore(kSeeds, [](std::uint64_t seed) {
    auto [near, far] = net::memory_pair({.capacity = 10});
    Options options = calm();
    Connection server = connection_on(near, Role::kServer, options);
    WaitGroup all;
    all.go([&] { EXPECT_FALSE(server.write_text(std::string(1000, 'x'))); });
    all.go([&] { EXPECT_FALSE(server.read()); });
    heddle::test::wait();
    if (seed % 2 == 0) {
      EXPECT_TRUE(far.write(bytes(frame(0x89, "", true))));
      heddle::test::wait();
    }
    const TimePoint began = now();
    EXPECT_FALSE(server.close());
    EXPECT_EQ(now() - began, 5s);
    all.wait();
  });
}

TEST(WsEngine, a_silent_peer_is_pinged_and_then_given_up) {
  heddle::test::explore(10, [] {
    auto [near, far] = net::memory_pair();
    Connection server = connection_on(near, Role::kServer, Options{});
    const TimePoint began = now();
    // A caller that looks in every 7 s waits as well as one that stays.
    Result<Message> got = std::unexpected(Error{});
    do got = server.read(with_timeout({}, 7s).ctx);
    while (!got && now() - began < 90s);
    EXPECT_EQ(said(server.read()), "timeout");
    EXPECT_EQ(now() - began, 90s);
    EXPECT_EQ(words(read_to_end(far), Role::kServer), "ping() ping() close(1001 idle)");
  });
}

TEST(WsEngine, silence_adds_up_over_reads_that_were_called_off) {
  heddle::test::run([] {
    auto [near, far] = net::memory_pair();
    Options options = calm();
    options.idle_timeout = 10s;
    Connection server = connection_on(near, Role::kServer, options);
    const TimePoint began = now();
    EXPECT_EQ(said(server.read(with_timeout({}, 7s).ctx)), "timeout");
    EXPECT_EQ(said(server.read()), "timeout");
    EXPECT_EQ(now() - began, 10s);
    EXPECT_EQ(words(read_to_end(far), Role::kServer), "close(1001 idle)");
  });
}

TEST(WsEngine, a_peer_that_answers_pings_is_kept) {
  heddle::test::run([] {
    auto [near, far] = net::memory_pair();
    Connection server = connection_on(near, Role::kServer, Options{});
    Connection client = connection_on(far, Role::kClient, calm());
    WaitGroup all;
    all.go([&] { EXPECT_EQ(said(client.read()), "text(at last)"); });
    all.go([&] { EXPECT_EQ(said(server.read()), "connection reset"); });
    sleep(10h);
    EXPECT_TRUE(server.write_text("at last"));
    heddle::test::wait();
    client.abort();
    all.wait();
  });
}

TEST(WsEngine, nothing_is_counted_while_nobody_reads) {
  heddle::test::run([] {
    auto [near, far] = net::memory_pair();
    Connection server = connection_on(near, Role::kServer, Options{});
    sleep(1h);
    EXPECT_TRUE(far.write(bytes(frame(0x81, "x", true))));
    EXPECT_EQ(said(server.read()), "text(x)");
  });
}

TEST(WsEngine, a_peer_that_does_not_read_fails_the_writer_and_the_reader) {
  heddle::test::explore(kSeeds, [] {
    auto [near, far] = net::memory_pair({.capacity = 10});
    Connection server = connection_on(near, Role::kServer);
    WaitGroup all;
    all.go([&] { EXPECT_EQ(said(server.read()), "timeout"); });
    const TimePoint began = now();
    EXPECT_EQ(code_of(server.write_text(std::string(100, 'x'))), "timeout");
    EXPECT_EQ(now() - began, 30s);
    EXPECT_EQ(code_of(server.write_text("y")), "timeout");
    all.wait();
  });
}

// Pongs are held back like all else: what is not read is not answered, and what is not answered is not read.
TEST(WsEngine, nothing_is_read_from_a_peer_that_does_not_read) {
  heddle::test::run([] {
    auto [near, far] = net::memory_pair({.capacity = 100});
    Connection server = connection_on(near, Role::kServer);
    WaitGroup all;
    std::size_t sent = 0;
    all.go([&] {
      while (far.write(bytes(frame(0x89, std::string(50, 'p'), true)))) ++sent;
    });
    all.go([&] { EXPECT_FALSE(server.read()); });
    heddle::test::wait();
    EXPECT_LT(sent, 400u);  // two queues of 100 bytes, and 16 KiB read ahead
    server.abort();
    far.close();
    all.wait();
  });
}

TEST(WsEngine, nobody_reads_unless_asked) {
  heddle::test::run([] {
    auto [near, far] = net::memory_pair({.capacity = 100});
    Connection server = connection_on(near, Role::kServer);
    far.set_write_deadline(now() + 1h);
    EXPECT_TRUE(far.write(bytes(std::string(100, 'x'))));
    EXPECT_EQ(far.write(bytes("y")).error().code, Code::kTimeout);
  });
}

TEST(WsEngine, a_read_whose_context_ends_loses_nothing) {
  heddle::test::explore(20, [] {
    const std::string wire = frames_to(Role::kServer, {{0x01, "one "}, {0x89, "p"}, {0x80, "message"}});
    for (std::size_t at = 0; at < wire.size(); ++at) {
      auto [near, far] = net::memory_pair();
      Connection server = connection_on(near, Role::kServer);
      EXPECT_TRUE(far.write(bytes(wire).first(at)));
      EXPECT_EQ(said(server.read(with_timeout({}, 1s).ctx)), "timeout");
      auto [ctx, cancel] = with_cancel({});
      cancel();
      EXPECT_EQ(said(server.read(ctx)), "canceled");
      EXPECT_TRUE(far.write(bytes(wire).subspan(at)));
      EXPECT_EQ(said(server.read()), "text(one message)");
    }
  });
}

TEST(WsEngine, a_drain_says_going_away_to_the_peer_and_why_to_the_caller) {
  for (const bool reads : {true, false}) {
    heddle::test::explore(kSeeds, [reads] {
      auto [near, far] = net::memory_pair();
      auto [ctx, cancel] = with_cancel({});
      Connection server = connection_on(near, Role::kServer, calm(), {}, ctx);
      Connection client = connection_on(far, Role::kClient);
      WaitGroup all;
      all.go([&] {
        if (reads) {
          auto [own, own_cancel] = with_cancel({});
          EXPECT_EQ(said(server.read(own)), "canceled");
        } else {
          while (server.write_text("tick")) sleep(1s);
          EXPECT_EQ(code_of(server.write_text("tick")), "canceled");
        }
        EXPECT_EQ(code_of(server.close()), "ok");
        EXPECT_EQ(said(server.read()), "canceled");
      });
      all.go([&] {
        while (client.read()) {
        }
        EXPECT_EQ(client.peer_close().code, 1001);
      });
      sleep(10s);
      cancel();
      all.wait();
    });
  }
}

// Who sends without a pause makes nobody wait; contexts and close() are served all the same.
TEST(WsEngine, a_flood_keeps_nobody_from_leaving) {
  for (const int way : {0, 1, 2}) {
    heddle::test::explore(20, [way] {
      auto [near, far] = net::memory_pair();
      auto [ctx, cancel] = with_cancel({});
      Connection server = connection_on(near, Role::kServer, calm(), {}, way == 0 ? ctx : Context());
      std::string flood;
      for (int i = 0; i < 1000; ++i) flood += frame(0x8a, "unasked", true);
      WaitGroup all;
      all.go([&] {
        while (far.write(bytes(flood))) heddle::test::spend(1s);
      });
      all.go([&] {
        sleep(10s);
        way == 2 ? static_cast<void>(server.close()) : cancel();
      });
      EXPECT_EQ(said(server.read(way == 1 ? ctx : Context())), way == 2 ? "closed" : "canceled");
      server.abort();
      far.close();
      all.wait();
    });
  }
}

// The client has sent, closed and gone, and the server's context has ended with it before anybody has read.
TEST(WsEngine, what_a_client_said_before_it_left_is_read) {
  heddle::test::run([] {
    auto [near, far] = net::memory_pair();
    auto [ctx, cancel] = with_cancel({});
    Connection server = connection_on(near, Role::kServer, calm(), {}, ctx);
    EXPECT_TRUE(far.write(bytes(frame(0x81, "last words", true) + frame(0x88, close_of(1000), true))));
    far.close();
    cancel({Code::kEof, 0, "client"});
    EXPECT_EQ(said(server.read()), "text(last words)");
    EXPECT_EQ(said(server.read()), "end of stream");
    EXPECT_EQ(code_of(server.close()), "ok");
  });
}

TEST(WsEngine, what_must_not_be_sent_is_refused) {
  heddle::test::run([] {
    auto [near, far] = net::memory_pair();
    Connection server = connection_on(near, Role::kServer);
    EXPECT_EQ(code_of(server.write_text("\xff")), "invalid argument");
    EXPECT_EQ(code_of(server.write_text("\xc3")), "invalid argument");
    EXPECT_TRUE(server.write_binary("\xff"));
    EXPECT_EQ(code_of(server.ping(std::string(126, 'p'))), "invalid argument");
    for (const int code : {0, 999, 1004, 1006, 1015, 1016, 2999, 5000}) {
      EXPECT_EQ(code_of(server.close(code)), "invalid argument") << code;
    }
    EXPECT_EQ(code_of(server.close(kNoStatus, "why")), "invalid argument");
    EXPECT_EQ(code_of(server.close(1000, std::string(124, 'r'))), "invalid argument");
    EXPECT_EQ(code_of(server.close(1000, "\xff")), "invalid argument");
    EXPECT_TRUE(far.write(bytes(frame(0x88, "", true))));
    far.close_write().value();
    EXPECT_EQ(code_of(server.close(kNoStatus)), "ok");
    EXPECT_EQ(words(read_to_end(far), Role::kServer), "bin(\xff) close()");
    EXPECT_EQ(server.peer_close().code, kNoStatus);
  });
}

// A Transport that has no memory for one of its writes.
class Starved final : public net::Transport {
 public:
  Starved(net::Transport& inner, int write) : inner_(inner), left_(write) {}
  using net::Transport::read;
  using net::Transport::write;
  [[nodiscard]] Result<std::size_t> read(std::span<std::byte> buf) override { return inner_.read(buf); }
  [[nodiscard]] Result<std::size_t> read(const Context& ctx, std::span<std::byte> buf) override {
    return inner_.read(ctx, buf);
  }
  [[nodiscard]] Result<void> write(std::span<const std::byte> buf) override { return write({}, buf); }
  [[nodiscard]] Result<void> write(const Context& ctx, std::span<const std::byte> buf) override {
    if (--left_ == 0) throw std::bad_alloc();
    return inner_.write(ctx, buf);
  }
  [[nodiscard]] Result<void> close_read() override { return inner_.close_read(); }
  [[nodiscard]] Result<void> close_write() override { return inner_.close_write(); }
  void set_read_deadline(TimePoint when) noexcept override { inner_.set_read_deadline(when); }
  void set_write_deadline(TimePoint when) noexcept override { inner_.set_write_deadline(when); }
  [[nodiscard]] Result<net::Address> local_address() const override { return inner_.local_address(); }
  [[nodiscard]] Result<net::Address> remote_address() const override { return inner_.remote_address(); }
  [[nodiscard]] bool is_alive() const noexcept override { return inner_.is_alive(); }
  void close() noexcept override { inner_.close(); }

 private:
  net::Transport& inner_;
  int left_;
};

TEST(WsEngine, nothing_follows_a_message_that_memory_gave_out_for) {
  heddle::test::run([] {
    auto [near, far] = net::memory_pair();
    Starved starved(near, 3);  // head and payload of a frame, and the next head
    Options options = calm();
    options.write_frame = 4;
    Connection server = connection_on(starved, Role::kServer, options);
    EXPECT_THROW((void)server.write_text("12345678"), std::bad_alloc);
    EXPECT_EQ(code_of(server.write_text("next")), to_string(Code::kNoResources));
    EXPECT_EQ(code_of(server.ping()), to_string(Code::kNoResources));
    EXPECT_EQ(server.read().error().code, Code::kNoResources);
    EXPECT_EQ(read_to_end(far), frame(0x01, "1234", false));
  });
}

TEST(WsEngine, pongs_are_told) {
  heddle::test::run([] {
    auto [near, far] = net::memory_pair();
    std::string pongs;
    Options options = calm();
    options.on_pong = [&](std::string_view payload) { pongs += payload; };
    Connection client = connection_on(near, Role::kClient, options);
    Connection server = connection_on(far, Role::kServer);
    WaitGroup all;
    all.go([&] { EXPECT_EQ(said(server.read()), "end of stream"); });
    EXPECT_TRUE(client.ping("1"));
    EXPECT_TRUE(client.ping("2"));
    EXPECT_EQ(code_of(client.close()), "ok");
    all.wait();
    EXPECT_EQ(pongs, "12");
  });
}

TEST(WsEngine, abort_ends_whoever_waits) {
  heddle::test::explore(kSeeds, [] {
    auto [near, far] = net::memory_pair({.capacity = 10});
    Connection server = connection_on(near, Role::kServer);
    WaitGroup all;
    all.go([&] { EXPECT_EQ(said(server.read()), "closed"); });
    all.go([&] { EXPECT_EQ(code_of(server.write_text("more than there is room for")), "closed"); });
    heddle::test::wait();
    server.abort();
    all.wait();
    EXPECT_FALSE(server.close());
  });
}

}  // namespace
}  // namespace heddle::http::ws::test
