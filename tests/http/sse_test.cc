// Server-sent events as they stand on the wire.
#include <heddle/http/sse.h>

#include "http_test.h"

namespace heddle::http::test {
namespace {

// The body of the answer to one GET, chunks joined; `lines` are further lines of the head.
std::string stream_of(Handler handler, std::string_view lines = {}) {
  std::vector<std::string> all;
  on_one_p([&] {
    Rig rig(std::move(handler));
    rig.stream.send("GET / HTTP/1.1\r\nHost: a\r\n" + std::string(lines) + "\r\n");
    rig.stream.settle();
    all = rig.responses();
  });
  EXPECT_EQ(all.size(), 1u);
  const std::string& one = all.front();
  constexpr std::string_view kHead = "200 chunked Cache-Control=no-cache, no-transform X-Accel-Buffering=no [";
  EXPECT_TRUE(one.starts_with(kHead)) << one;
  return one.substr(kHead.size(), one.size() - kHead.size() - 1);
}

TEST(Sse, an_event_has_a_line_for_each_of_its_parts) {
  EXPECT_EQ(stream_of([](Request& r, ResponseWriter& w) {
              auto sse = SseWriter::start(r, w);
              ASSERT_TRUE(sse);
              EXPECT_TRUE(sse->send({.data = "one"}));
              EXPECT_TRUE(sse->send({.data = "a\nb\r\nc\rd\n", .event = "kind", .id = "7", .retry = 1500ms}));
              EXPECT_TRUE(sse->send({.data = "", .id = ""}));
              EXPECT_TRUE(sse->comment("x"));
              EXPECT_TRUE(sse->comment());
            }),
            "data: one\n\n"
            "event: kind\nid: 7\nretry: 1500\ndata: a\ndata: b\ndata: c\ndata: d\ndata: \n\n"
            "id: \ndata: \n\n"
            ": x\n\n"
            ": \n\n");
}

TEST(Sse, nothing_can_be_smuggled_into_a_line) {
  EXPECT_EQ(stream_of([](Request& r, ResponseWriter& w) {
              auto sse = SseWriter::start(r, w);
              ASSERT_TRUE(sse);
              EXPECT_FALSE(sse->send({.data = "x", .event = "a\ndata: b"}));
              EXPECT_FALSE(sse->send({.data = "x", .id = "1\r2"}));
              EXPECT_FALSE(sse->send({.data = "x", .id = std::string("1\0", 2)}));
              EXPECT_FALSE(sse->send({.data = "x", .retry = -1ms}));
              EXPECT_FALSE(sse->comment("a\nb"));
              EXPECT_TRUE(sse->send({.data = "still"}));
            }),
            "data: still\n\n");
}

TEST(Sse, tells_what_the_client_saw_last) {
  EXPECT_EQ(stream_of(
                [](Request& r, ResponseWriter& w) {
                  auto sse = SseWriter::start(r, w);
                  ASSERT_TRUE(sse);
                  EXPECT_TRUE(sse->send({.data = std::string(sse->last_event_id().value_or("none"))}));
                },
                "Last-Event-ID: 41\r\n"),
            "data: 41\n\n");
}

TEST(Sse, does_not_start_behind_what_was_written) {
  on_one_p([] {
    Rig rig([](Request& r, ResponseWriter& w) {
      w.write("x");
      EXPECT_FALSE(SseWriter::start(r, w));
    });
    rig.stream.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    rig.stream.settle();
    EXPECT_EQ(rig.responses(), std::vector<std::string>{"200 cl=1 [x]"});
  });
}

TEST(Sse, a_channel_is_sent_until_it_is_closed) {
  auto events = make_chan<SseEvent>(4);
  events.send({.data = "1"});
  events.send({.data = "2"});
  events.close();
  EXPECT_EQ(stream_of([&](Request& r, ResponseWriter& w) {
              auto sse = SseWriter::start(r, w);
              ASSERT_TRUE(sse);
              EXPECT_TRUE(sse->send_all(events));
            }),
            "data: 1\n\ndata: 2\n\n");
}

TEST(Sse, head_gets_the_head_and_holds_nobody_up) {
  on_one_p([] {
    const auto silent = make_chan<SseEvent>();
    Rig rig([&](Request& r, ResponseWriter& w) {
      auto sse = SseWriter::start(r, w);
      ASSERT_TRUE(sse);
      EXPECT_EQ(sse->send({.data = "x", .event = "a\nb"}).error().code, Code::kInvalid);
      int sent = 0;
      while (sent < 100 && sse->send({.data = "x"})) ++sent;
      EXPECT_EQ(sent, 0);
      const auto all = sse->send_all(silent);
      EXPECT_EQ(all ? Code::kOk : all.error().code, Code::kClosed);
    });
    for (int i = 0; i < 2; ++i) {  // the connection goes on
      rig.stream.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
      rig.stream.settle();
    }
    EXPECT_EQ(rig.responses("hh"),
              std::vector<std::string>(2, "200 chunked Cache-Control=no-cache, no-transform X-Accel-Buffering=no"));
  });
}

TEST(Sse, no_keep_alive_is_silence_and_not_a_flood) {
  on_one_p([] {
    for (const Duration none : {Duration(0), Duration(-1)}) {
      auto events = make_chan<SseEvent>();
      Rig rig([&](Request& r, ResponseWriter& w) {
        auto sse = SseWriter::start(r, w);
        ASSERT_TRUE(sse);
        EXPECT_TRUE(sse->send_all(events, none));
      });
      rig.stream.take_in_all(2000);  // so that a flood ends
      rig.stream.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
      rig.stream.settle();
      EXPECT_TRUE(rig.stream.written().ends_with("\r\n\r\n"));
      EXPECT_EQ(rig.stream.written().find(": \n"), std::string::npos) << rig.stream.written();
      events.close();
      rig.stream.take_in_all(MemoryStream::kNoLimit);
      rig.stream.settle();
    }
  });
}

TEST(Sse, silence_is_filled_with_comments_and_the_clients_end_is_noticed) {
  on_one_p(
      [] {
        FakeTime time;
        auto events = make_chan<SseEvent>();
        std::optional<Error> end;
        Rig rig([&](Request& r, ResponseWriter& w) {
          auto sse = SseWriter::start(r, w);
          ASSERT_TRUE(sse);
          const auto sent = sse->send_all(events, 15s);
          if (!sent) end = sent.error();
        });
        rig.stream.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        rig.stream.settle();
        for (int i = 0; i < 2; ++i) {
          time.pass(16s);
          rig.stream.settle();
        }
        EXPECT_NE(rig.stream.written().find("\r\n: \n\n\r\n4\r\n: \n\n\r\n"), std::string::npos)
            << rig.stream.written();
        EXPECT_FALSE(end);
        rig.stream.end(Code::kReset);
        rig.stream.settle();
        ASSERT_TRUE(end);
        EXPECT_EQ(end->code, Code::kCanceled);
      },
      1);
}

}  // namespace
}  // namespace heddle::http::test
