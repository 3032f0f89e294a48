// Recorder: a handler's answer to a made-up request, as it would go over the wire.
#include <gtest/gtest.h>

#include <stdexcept>
#include <string>

#include <heddle/core/go.h>
#include <heddle/core/test.h>
#include <heddle/http/mux.h>
#include <heddle/http/test_recorder.h>

namespace heddle::http::test {
namespace {

using namespace std::chrono_literals;

http::Fields fields(std::initializer_list<std::pair<const char*, const char*>> list) {
  http::Fields out;
  for (const auto& [name, value] : list) EXPECT_TRUE(out.add(name, value));
  return out;
}

TEST(TestRecorder, gives_status_fields_and_body) {
  const Recorded answer = Recorder::run(
      [](Request& request, ResponseWriter& w) {
        w.status(201);
        w.set_header("Location", "/a/1");
        w.add_header("Set-Cookie", "a=1");
        w.add_header("Set-Cookie", "b=2");
        w.write(std::string(to_string(request.method())) + " " + std::string(request.target()) + " " +
                std::string(request.host()) + " " + std::string(request.header("X-A").value_or("none")) + " " +
                request.peer_address() + " " + request.read_all(100).value_or("broken"));
      },
      {.method = "POST", .target = "/a?b=c", .fields = fields({{"X-A", "x"}}), .body = "text"});
  EXPECT_EQ(answer.status, 201);
  EXPECT_EQ(answer.header("location"), "/a/1");
  EXPECT_EQ(answer.body, "POST /a?b=c server.test x 192.0.2.1:49152 text");
  EXPECT_TRUE(answer.whole());
  EXPECT_EQ(answer.header("Content-Length"), std::to_string(answer.body.size()));
  EXPECT_NE(answer.header("Date"), "");
  int cookies = 0;
  for (const http::Fields::Field& field : answer.fields) cookies += field.name == "Set-Cookie";
  EXPECT_EQ(cookies, 2);
}

TEST(TestRecorder, works_in_a_goroutine_and_in_a_bubble) {
  heddle::test::explore(20, [] {
    const Recorded answer = Recorder::run([](Request&, ResponseWriter& w) {
      heddle::sleep(1h);
      w.write("late");
    });
    EXPECT_EQ(answer.body, "late");
  });
}

TEST(TestRecorder, the_servers_rules_hold) {
  const auto never = [](Request&, ResponseWriter& w) { w.write("handler"); };
  EXPECT_EQ(Recorder::run(never, {.method = "G@T"}).status, 400);
  EXPECT_EQ(Recorder::run(never, {.method = "BREW"}).status, 501);
  EXPECT_EQ(Recorder::run(never, {.target = "/%00"}).status, 400);
  EXPECT_EQ(
      Recorder::run(never, {.fields = fields({{"Content-Length", "1"}, {"Transfer-Encoding", "chunked"}})}).status,
      400);
  EXPECT_EQ(Recorder::run(never, {.target = "/" + std::string(100, 'a')}, {.max_target = 50}).status, 414);
  EXPECT_EQ(Recorder::run(never, {.body = std::string(100, 'a')}, {.max_body = 50}).status, 413);
}

TEST(TestRecorder, a_head_has_the_length_and_no_body) {
  const Recorded answer = Recorder::run([](Request&, ResponseWriter& w) { w.write("12345"); }, {.method = "HEAD"});
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.header("Content-Length"), "5");
  EXPECT_EQ(answer.body, "");
  EXPECT_TRUE(answer.whole());
}

TEST(TestRecorder, what_is_thrown_is_a_500_or_a_cut) {
  const Recorded early = Recorder::run([](Request&, ResponseWriter&) { throw std::runtime_error("handler"); });
  EXPECT_EQ(early.status, 500);
  EXPECT_TRUE(early.whole());
  const Recorded late = Recorder::run([](Request&, ResponseWriter& w) {
    w.write("part");
    w.flush();
    throw std::runtime_error("handler");
  });
  EXPECT_EQ(late.status, 200);
  EXPECT_EQ(late.body, "part");
  EXPECT_EQ(late.error.code, Code::kEof);
}

TEST(TestRecorder, chunks_and_100_continue) {
  const auto echo = [](Request& request, ResponseWriter& w) { w.write(request.read_all(1 << 20).value_or("broken")); };
  EXPECT_EQ(Recorder::run(echo, {.method = "POST", .chunks = {"ab", "", std::string(20, 'c')}}).body,
            "ab" + std::string(20, 'c'));
  EXPECT_EQ(Recorder::run(echo, {.method = "POST", .trailers = fields({{"X-Sum", "1"}})}).status, 200);
  // The body is there already, so the server need not ask for it; one that is not there is asked for.
  const Recorded asked = Recorder::run(
      [](Request& request, ResponseWriter& w) {
        std::byte one;
        static_cast<void>(request.read({&one, 1}));
        w.write("x");
      },
      {.method = "POST", .fields = fields({{"Content-Length", "4"}, {"Expect", "100-continue"}})},
      {.body_timeout = 10ms});
  ASSERT_EQ(asked.informational.size(), 1u);
  EXPECT_EQ(asked.informational[0].status, 100);
}

TEST(TestRecorder, a_long_body_that_is_not_read_does_not_hang) {
  const Recorded answer = Recorder::run([](Request&, ResponseWriter& w) { w.write("no"); },
                                        {.method = "POST", .body = std::string(3 << 20, 'x')});
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, "no");
}

TEST(TestRecorder, an_answer_in_parts_is_put_together) {
  const Recorded answer = Recorder::run([](Request&, ResponseWriter& w) {
    for (int i = 0; i < 5; ++i) {
      w.write("part " + std::to_string(i) + ";");
      w.flush();
    }
  });
  EXPECT_EQ(answer.header("Transfer-Encoding"), "chunked");
  EXPECT_EQ(answer.body, "part 0;part 1;part 2;part 3;part 4;");
  EXPECT_EQ(Recorder::run(
                [](Request&, ResponseWriter& w) {
                  w.write("old");
                  w.flush();
                  w.write("er");
                },
                {.minor_version = 0})
                .body,
            "older");
}

}  // namespace
}  // namespace heddle::http::test
