// One message as it comes, and as it is made: what a Reader gives and when, what a Writer sends, and what else goes on meanwhile.
#include <heddle/core/chan.h>

#include <array>
#include <random>

#include "ws_test_util.h"

namespace heddle::http::ws::test {
namespace {

constexpr std::uint64_t kSeeds = 50;

/// What one read() of a buffer of `most` gives: "(bytes)", "end", or an error.
std::string some(Reader& reader, std::size_t most = 100, const Context& ctx = {}) {
  std::vector<std::byte> buf(most);
  const Result<std::size_t> n = reader.read(ctx, buf);
  if (!n) return to_string(n.error().code);
  if (*n == 0) return "end";
  return "(" + std::string(reinterpret_cast<const char*>(buf.data()), *n) + ")";
}

/// A message in full, by buffers of `most`: "text(bytes)", or "text(bytes error".
std::string all_of(Reader& reader, std::size_t most) {
  std::string out = reader.kind() == Kind::kText ? "text(" : "bin(";
  std::vector<std::byte> buf(most);
  for (;;) {
    const Result<std::size_t> n = reader.read(buf);
    if (!n) return out + " " + to_string(n.error().code);
    if (*n == 0) return out + ")";
    out.append(reinterpret_cast<const char*>(buf.data()), *n);
  }
}

std::string squeezed(std::string_view text) {
  std::string out;
  EXPECT_TRUE(Deflater(15, 9, false).take(text, true, out));
  return out.substr(0, out.size() - 4);
}

/// A server that reads what the test's goroutine sends bit by bit.
struct Fed {
  explicit Fed(const Options& options = calm(), const std::optional<Agreed>& deflate = {}, const Context& ctx = {})
      : ends(net::memory_pair({.capacity = std::size_t{1} << 20})),
        socket(connection_on(ends.first, Role::kServer, options, deflate, ctx)) {}

  void feed(std::string_view wire) { EXPECT_TRUE(ends.second.write(bytes(wire))); }
  /// What was answered, once the server has closed or ended.
  std::string answers() { return words(read_to_end(ends.second), Role::kServer); }

  std::pair<net::MemoryConn, net::MemoryConn> ends;
  Connection socket;
};

// ---- reading ----

TEST(WsStream, a_message_is_read_as_it_comes) {
  heddle::test::run([] {
    Fed fed;
    const Chan<std::string> got = make_chan<std::string>(10);
    WaitGroup all;
    all.go([&] {
      Result<Reader> reader = fed.socket.next_reader();
      got.send(reader->kind() == Kind::kText ? "text" : "bin");
      for (std::string one = some(*reader); one != "end"; one = some(*reader)) got.send(one);
      EXPECT_EQ(some(*reader), "end") << "as often as one asks";
      got.send("end");
    });
    const auto now_there = [&] {
      heddle::test::wait();
      std::string out;
      while (const std::optional<std::string> one = got.try_recv()) out += *one;
      return out;
    };
    const std::string first = frame(0x01, "one two", true);
    EXPECT_EQ(now_there(), "");
    fed.feed(first.substr(0, 6));
    EXPECT_EQ(now_there(), "text") << "its head has come, and nothing else";
    fed.feed(first.substr(6, 3));
    EXPECT_EQ(now_there(), "(one)");
    fed.feed(first.substr(9));
    EXPECT_EQ(now_there(), "( two)");
    fed.feed(frame(0x89, "now", true) + frame(0x00, "", true));
    EXPECT_EQ(now_there(), "");
    fed.feed(frame(0x00, "three", true));
    EXPECT_EQ(now_there(), "(three)");
    fed.feed(frame(0x80, "", true));
    EXPECT_EQ(now_there(), "end");
    all.wait();
    fed.socket.abort();
    EXPECT_EQ(fed.answers(), "pong(now)") << "while the message was read";
  });
}

TEST(WsStream, is_the_same_message_at_every_split_and_by_every_buffer) {
  const std::string text = "caf\xc3\xa9 \xe2\x82\xac and so on and so on and so on";
  const struct {
    std::string wire;
    std::string result;
  } rows[] = {
      {frame(0x81, text, true), "text(" + text + ")"},
      {frame(0x01, text.substr(0, 4), true) + frame(0x89, "", true) + frame(0x80, text.substr(4), true),
       "text(" + text + ")"},
      {frame(0xc1, squeezed(text), true), "text(" + text + ")"},
      {frame(0x42, squeezed(text).substr(0, 5), true) + frame(0x80, squeezed(text).substr(5), true),
       "bin(" + text + ")"},
      {frame(0x82, "", true), "bin()"},
      {frame(0xc1, std::string(1, '\0'), true), "text()"},
  };
  heddle::test::run(
      [&] {
        for (const auto& row : rows) {
          for (const std::size_t most : {1U, 3U, 1000U}) {
            for (std::size_t cut = 0; cut < row.wire.size(); ++cut) {
              Fed fed(calm(), Agreed{});
              WaitGroup all;
              all.go([&] {
                Result<Reader> reader = fed.socket.next_reader();
                ASSERT_TRUE(reader);
                EXPECT_EQ(all_of(*reader, most), row.result) << cut << " " << most;
                EXPECT_EQ(said(fed.socket.read()), "text(next)");
              });
              fed.feed(row.wire.substr(0, cut));
              heddle::test::wait();
              fed.feed(row.wire.substr(cut) + frame(0x81, "next", true));
              all.wait();
            }
          }
        }
      },
      {.most_steps = 1'000'000'000});
}

TEST(WsStream, a_message_that_breaks_off_is_an_error_behind_what_came) {
  Options options = calm();
  options.max_message = 8;
  const std::string begun = frame(0x01, "abc", true);
  const struct {
    std::string then;
    std::string result;
    std::string answers;
  } rows[] = {
      {frame(0x80, "d\xff", true).substr(0, 8), "text(abc protocol error", "close(1007 not UTF-8)"},
      {frame(0x80, "\xc3", true), "text(abc protocol error", "close(1007 not UTF-8)"},
      {frame(0x81, "d", true), "text(abc protocol error", "close(1002 a message within a message)"},
      {frame(0x80, "defghi", true), "text(abc limit reached", "close(1009 message too large)"},
      {frame(0x88, close_of(1001, "off"), true), "text(abc end of stream", "close(1001)"},
      {"", "text(abc connection reset", ""},
      {frame(0x80, "def", true).substr(0, 8), "text(abcde connection reset", ""},
  };
  heddle::test::run([&] {
    for (const auto& row : rows) {
      Fed fed(options, Agreed{});
      WaitGroup all;
      all.go([&] {
        Result<Reader> reader = fed.socket.next_reader();
        ASSERT_TRUE(reader);
        EXPECT_EQ(all_of(*reader, 100), row.result);
        EXPECT_EQ(some(*reader), row.result.substr(row.result.find_first_of(' ') + 1)) << "and so it stays";
        EXPECT_EQ(code_of(fed.socket.next_reader()), some(*reader));
      });
      fed.feed(begun);
      heddle::test::wait();
      if (!row.then.empty()) fed.feed(row.then);
      heddle::test::wait();
      EXPECT_TRUE(fed.ends.second.close_write());
      all.wait();
      EXPECT_EQ(fed.answers(), row.answers);
    }
  });
}

TEST(WsStream, who_goes_on_to_the_next_message_drops_the_rest) {
  heddle::test::explore(kSeeds, [] {
    Fed fed(calm(), Agreed{});
    const std::string long_one = text_of(100'000, 1);
    WaitGroup all;
    all.go([&] {
      // The windows of the compressed ones are kept although nobody reads them.
      fed.feed(frame(0xc1, squeezed(long_one), true) + frame(0x89, "", true) + frame(0x81, "two", true));
      fed.feed(frame(0x02, "thr", true));
      fed.feed(frame(0x80, "ee", true) + frame(0xc2, std::string("\xf2\x48\xcd\xc9\xc9\x07\x00", 7), true));
      fed.feed(frame(0xc2, std::string("\xf2\x00\x11\x00\x00", 5), true) + frame(0x81, "", true));
    });
    Result<Reader> first = fed.socket.next_reader();
    EXPECT_EQ(some(*first, 5), "(" + long_one.substr(0, 5) + ")");
    Result<Reader> second = fed.socket.next_reader();
    EXPECT_EQ(some(*first), "canceled");
    EXPECT_EQ(some(*second, 1), "(t)");
    EXPECT_EQ(said(fed.socket.read()), "bin(three)");
    EXPECT_EQ(some(*second), "canceled");
    Result<Reader> hello = fed.socket.next_reader();
    Result<Reader> again = fed.socket.next_reader();
    EXPECT_EQ(all_of(*again, 2), "bin(Hello)");
    Result<Reader> empty = fed.socket.next_reader();
    EXPECT_EQ(some(*hello), "canceled");
    EXPECT_EQ(some(*again), "end") << "it was read whole";
    EXPECT_EQ(all_of(*empty, 2), "text()");
    all.wait();
  });
}

TEST(WsStream, a_context_that_ends_loses_nothing) {
  heddle::test::run([] {
    Fed fed;
    const auto canceled = [](auto body) {
      auto [ctx, cancel] = with_cancel({});
      WaitGroup all;
      all.go([&, ctx = ctx] { EXPECT_EQ(body(ctx), "canceled"); });
      heddle::test::wait();
      cancel();
      all.wait();
    };
    canceled([&](const Context& ctx) { return code_of(fed.socket.next_reader(ctx)); });
    fed.feed(frame(0x01, "what read() began", true));
    canceled([&](const Context& ctx) { return said(fed.socket.read(ctx)); });
    Result<Reader> reader = fed.socket.next_reader();
    EXPECT_EQ(some(*reader, 9), "(what read)") << "is handed over";
    EXPECT_EQ(some(*reader), "(() began)");
    canceled([&](const Context& ctx) { return some(*reader, 100, ctx); });
    fed.feed(frame(0x80, ", and ends", true));
    EXPECT_EQ(all_of(*reader, 100), "text(, and ends)");
    // The same for one who is dropping the rest.
    fed.feed(frame(0x01, "three", true));
    reader = fed.socket.next_reader();
    canceled([&](const Context& ctx) { return code_of(fed.socket.next_reader(ctx)); });
    fed.feed(frame(0x80, "four", true) + frame(0x81, "five", true));
    EXPECT_EQ(some(*reader), "canceled");
    EXPECT_EQ(said(fed.socket.read()), "text(five)");
  });
}

TEST(WsStream, close_ends_a_message_that_is_read_and_drops_its_rest) {
  heddle::test::explore(kSeeds, [] {
    Options options = calm();
    options.max_message = static_cast<std::size_t>(-1);
    Fed fed(options);
    fed.feed(frame(0x02, "begun", true));
    Result<Reader> reader = fed.socket.next_reader();
    ASSERT_TRUE(reader);
    WaitGroup all;
    all.go([&] { EXPECT_EQ(code_of(fed.socket.close()), "ok"); });
    all.go([&] {
      std::string one = some(*reader);
      while (one.starts_with("(")) one = some(*reader);
      EXPECT_EQ(one, to_string(Code::kClosed));
    });
    all.go([&] {
      for (int i = 0; i < 20; ++i) fed.feed(frame(0x00, "more and more", true));
      heddle::test::wait();
      fed.feed(frame(0x00, "and more", true) + frame(0x88, close_of(1000), true));
    });
    EXPECT_EQ(fed.answers(), "close(1000)");
    all.wait();
  });
}

// ---- writing ----

TEST(WsStream, a_message_is_sent_as_it_is_made) {
  heddle::test::run([] {
    auto [near, far] = net::memory_pair();
    Options options = calm();
    options.write_frame = 4;
    Connection client = connection_on(near, Role::kClient, options);
    const auto sent = [&far = far] {
      std::array<std::byte, 1000> buf;
      const Result<std::size_t> n = far.try_read(buf);
      return n ? words({reinterpret_cast<const char*>(buf.data()), *n}, Role::kClient) : to_string(n.error().code);
    };
    Result<Writer> writer = client.next_writer(Kind::kText);
    ASSERT_TRUE(writer);
    EXPECT_EQ(code_of(writer->write("")), "ok");
    EXPECT_EQ(code_of(writer->flush()), "ok");
    EXPECT_EQ(sent(), to_string(Code::kWouldBlock)) << "nothing yet";
    EXPECT_EQ(code_of(writer->write("one")), "ok");
    EXPECT_EQ(sent(), "~text(one)");
    EXPECT_TRUE(client.ping("now"));
    EXPECT_EQ(code_of(writer->write(bytes("two, three"))), "ok");
    EXPECT_EQ(sent(), "ping(now) ~cont(two,) ~cont( thr) ~cont(ee)");
    EXPECT_EQ(code_of(writer->close()), "ok");
    EXPECT_EQ(sent(), "cont()");
    EXPECT_EQ(code_of(writer->write("more")), "canceled");
    EXPECT_EQ(code_of(writer->close()), "canceled");
    writer = client.next_writer(Kind::kBinary);
    EXPECT_EQ(code_of(writer->close()), "ok");
    EXPECT_EQ(sent(), "bin()") << "an empty message";
    EXPECT_TRUE(client.write_text("next"));
    EXPECT_EQ(sent(), "text(next)");
  });
}

TEST(WsStream, text_is_checked_over_all_its_pieces) {
  heddle::test::run([] {
    auto [near, far] = net::memory_pair();
    Connection server = connection_on(near, Role::kServer);
    Result<Writer> writer = server.next_writer(Kind::kText);
    EXPECT_EQ(code_of(writer->write("caf\xc3")), "ok");
    EXPECT_EQ(code_of(writer->write("e")), "invalid argument");
    EXPECT_EQ(code_of(writer->close()), "invalid argument");
    EXPECT_EQ(code_of(writer->write("\xa9\xff")), "invalid argument");
    EXPECT_EQ(code_of(writer->write("\xa9")), "ok");
    EXPECT_EQ(code_of(writer->close()), "ok");
    writer = server.next_writer(Kind::kBinary);
    EXPECT_EQ(code_of(writer->write("\xff")), "ok");
    EXPECT_EQ(code_of(writer->close()), "ok");
    server.abort();
    EXPECT_EQ(words(read_to_end(far), Role::kServer), "~text(caf\xc3) ~cont(\xa9) cont() ~bin(\xff) cont()");
  });
}

TEST(WsStream, others_messages_wait_and_a_message_that_was_left_is_the_last) {
  heddle::test::explore(kSeeds, [] {
    auto [near, far] = net::memory_pair();
    Connection server = connection_on(near, Role::kServer);
    WaitGroup all;
    {
      const Result<Writer> nothing = server.next_writer(Kind::kText);
      ASSERT_TRUE(nothing);
    }
    {
      Result<Writer> writer = server.next_writer(Kind::kText);
      ASSERT_TRUE(writer);
      all.go([&] { EXPECT_TRUE(server.write_text("behind")); });
      auto [ctx, cancel] = with_timeout({}, 1s);
      EXPECT_EQ(code_of(server.next_writer(Kind::kText, ctx)), "timeout");
      EXPECT_TRUE(writer->write("one "));
      Writer moved = std::move(*writer);
      EXPECT_EQ(code_of(writer->write("nobody's")), "canceled");
      EXPECT_TRUE(moved.write("message"));
      EXPECT_TRUE(moved.close());
      all.wait();
    }
    {
      Result<Writer> left = server.next_writer(Kind::kText);
      EXPECT_TRUE(left->write("left"));
    }
    EXPECT_EQ(code_of(server.write_text("more")), "canceled");
    EXPECT_EQ(code_of(server.next_writer(Kind::kText)), "canceled");
    EXPECT_TRUE(server.ping("still here"));
    all.go([&] { EXPECT_TRUE(far.write(bytes(frame(0x88, close_of(1000), true)))); });
    EXPECT_EQ(code_of(server.close(1011)), "ok");
    EXPECT_EQ(code_of(server.write_text("more")), to_string(Code::kClosed));
    EXPECT_EQ(words(read_to_end(far), Role::kServer),
              "~text(one ) ~cont(message) cont() text(behind) ~text(left) ping(still here) close(1011)");
    all.wait();
  });
}

TEST(WsStream, a_message_ends_where_the_connection_does) {
  heddle::test::run([] {
    for (const bool drains : {false, true}) {
      auto [near, far] = net::memory_pair();
      auto [ctx, cancel] = with_cancel({});
      Connection server = connection_on(near, Role::kServer, calm(), {}, ctx);
      Result<Writer> writer = server.next_writer(Kind::kText);
      EXPECT_TRUE(writer->write("begun"));
      WaitGroup all;
      if (drains) {
        cancel();
      } else {
        all.go([&] { EXPECT_EQ(code_of(server.close()), "ok"); });
      }
      heddle::test::wait();
      const std::string why = drains ? "canceled" : to_string(Code::kClosed);
      EXPECT_EQ(code_of(writer->write("more")), why);
      EXPECT_EQ(code_of(writer->close()), "canceled");
      EXPECT_EQ(code_of(server.next_writer(Kind::kText)), why);
      EXPECT_TRUE(far.write(bytes(frame(0x88, close_of(1000), true))));
      all.wait();
      server.abort();
      EXPECT_EQ(words(read_to_end(far), Role::kServer),
                drains ? "~text(begun) close(1001)" : "~text(begun) close(1000)");
    }
  });
}

TEST(WsStream, pieces_are_compressed_as_one_message) {
  heddle::test::run([] {
    for (const bool takeover : {true, false}) {
      auto [near, far] = net::memory_pair();
      Agreed agreed;
      agreed.own_takeover = agreed.peer_takeover = takeover;
      Connection client = connection_on(near, Role::kClient, calm(), agreed);
      Connection server = connection_on(far, Role::kServer, calm(), agreed);
      const std::string piece = text_of(300, 1);
      for (int round = 0; round < 3; ++round) {
        Result<Writer> writer = client.next_writer(Kind::kText);
        EXPECT_TRUE(writer->write(piece));
        EXPECT_TRUE(writer->flush());
        Result<Reader> reader = server.next_reader();
        EXPECT_EQ(some(*reader, 1000), "(" + piece + ")") << "flushed: it is all there";
        EXPECT_TRUE(writer->flush());
        if (round == 1) {
          EXPECT_TRUE(writer->write("x"));
          EXPECT_TRUE(writer->write(piece));
        }
        EXPECT_TRUE(writer->close());
        EXPECT_EQ(all_of(*reader, 1000), round == 1 ? "text(x" + piece + ")" : "text()");
      }
      // The first piece decides (Compression::threshold).
      Result<Writer> plain = server.next_writer(Kind::kBinary);
      EXPECT_TRUE(plain->write("tiny"));
      EXPECT_TRUE(plain->write(piece));
      EXPECT_TRUE(plain->close());
      EXPECT_EQ(said(client.read()), "bin(size 304)");
    }
  });
}

// Messages of all sizes, made in pieces of any, read in others or whole, with pings in between.
TEST(WsStream, what_is_written_in_pieces_is_read_in_pieces) {
  heddle::test::explore(20,
                        [] {
                          std::mt19937 random(7);
                          for (const bool deflate : {false, true}) {
                            auto [near, far] = net::memory_pair({.capacity = 1000});
                            Options options = calm();
                            options.write_frame = 700;
                            options.compression.threshold = 50;
                            const auto agreed = deflate ? std::optional(Agreed{}) : std::nullopt;
                            Connection client = connection_on(near, Role::kClient, options, agreed);
                            Connection server = connection_on(far, Role::kServer, options, agreed);
                            const std::size_t sizes[] = {0, 1, 49, 100, 3000, 20'000, 7};
                            WaitGroup all;
                            all.go([&] {
                              for (const std::size_t size : sizes) {
                                const std::string text = text_of(size, size);
                                Result<Writer> writer = client.next_writer(Kind::kText);
                                ASSERT_TRUE(writer);
                                for (std::string_view rest = text; !rest.empty();) {
                                  const std::string_view piece = rest.substr(0, 1 + random() % 2000);
                                  rest.remove_prefix(piece.size());
                                  EXPECT_TRUE(writer->write(piece));
                                  if (random() % 4 == 0) static_cast<void>(writer->flush());
                                  if (random() % 4 == 0) static_cast<void>(client.ping());
                                }
                                EXPECT_TRUE(writer->close());
                              }
                              static_cast<void>(client.close());
                            });
                            for (const std::size_t size : sizes) {
                              if (random() % 3 == 0) {
                                EXPECT_EQ(server.read()->data, text_of(size, size));
                                continue;
                              }
                              Result<Reader> reader = server.next_reader();
                              ASSERT_TRUE(reader);
                              EXPECT_EQ(all_of(*reader, 1 + random() % 3000), "text(" + text_of(size, size) + ")");
                            }
                            EXPECT_EQ(said(server.read()), "end of stream");
                            all.wait();
                          }
                        },
                        {.most_steps = 1'000'000'000});
}

}  // namespace
}  // namespace heddle::http::ws::test
