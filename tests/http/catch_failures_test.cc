#include <heddle/core/panic.h>
#include <heddle/http/catch_failures.h>
#include <heddle/http/request_id.h>

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "raw_ask.h"

namespace heddle::http::test {
namespace {

// Request id around, failures inside, and `fail` as the handler.
template <class F>
std::vector<std::string> failing(F fail, FailureHook hook) {
  const Handler handler = catch_failures(std::move(hook))([fail](Request&, ResponseWriter& w) {
    w.set_header("ETag", "\"of the body\"");
    w.set_header("Content-Type", "image/png");
    w.set_header("X-Id", "changed");
    fail(w);
  });
  const Handler outer = [handler](Request& r, ResponseWriter& w) {
    w.set_header("X-Id", "7");
    handler(r, w);
  };
  return ask(outer, get() + get());
}

TEST(CatchFailures, answers_500_with_the_fields_from_before_the_handler) {
  int told = 0;
  const auto count = [&](const Request& r, std::exception_ptr e) {
    EXPECT_EQ(r.path(), "/");
    EXPECT_TRUE(e);
    ++told;
  };
  using Answers = std::vector<std::string>;
  const Answers answers(2, "500 cl=26 X-Id=7 [500 Internal Server Error\n]");
  EXPECT_EQ(failing([](ResponseWriter&) { throw std::runtime_error("x"); }, count), answers);
  EXPECT_EQ(failing([](ResponseWriter&) { panic("x"); }, count), answers);
  EXPECT_EQ(failing(
                [](ResponseWriter& w) {
                  w.status(204);
                  w.set_header("Content-Length", "3");
                  throw 7;
                },
                count),
            answers);
  EXPECT_EQ(told, 6);
  // A body that is still here.
  EXPECT_EQ(failing(
                [](ResponseWriter& w) {
                  w.write("not sent");
                  throw 7;
                },
                count),
            answers);
  EXPECT_EQ(told, 8);
}

TEST(CatchFailures, what_was_sent_is_cut_by_the_server) {
  int told = 0;
  EXPECT_EQ(failing(
                [](ResponseWriter& w) {
                  w.write("sent");
                  w.flush();
                  throw 7;
                },
                [&](const Request&, const std::exception_ptr&) { ++told; }),
            (std::vector<std::string>{"200 chunked ETag=\"of the body\" X-Id=changed cut [sent]"}));
  EXPECT_EQ(told, 1);
}

TEST(CatchFailures, goexit_and_success_are_none) {
  const auto never = [](const Request&, const std::exception_ptr&) { ADD_FAILURE(); };
  EXPECT_EQ(failing([](ResponseWriter&) {}, never),
            (std::vector<std::string>(2, "200 cl=0 ETag=\"of the body\" X-Id=changed []")));
  EXPECT_EQ(failing([](ResponseWriter&) { goexit(); }, never),
            (std::vector<std::string>(2, "500 cl=26 [500 Internal Server Error\n]")));
}

TEST(CatchFailures, caught_failures_are_not_the_servers) {
  on_one_p([] {
    Rig rig(catch_failures([](const Request&, const std::exception_ptr&) {})(faces));
    for (const char* path : {"throw", "throw-int", "throw-written", "throw-flushed"})
      rig.stream.send("GET /" + std::string(path) + " HTTP/1.1\r\nHost: a\r\n\r\n");
    rig.stream.settle();
    EXPECT_EQ(rig.responses().size(), 4u);
    EXPECT_EQ(rig.server.stats().handler_errors, 1u);  // the last one
  });
}

std::string logged(const Handler& handler, std::string_view request) {
  testing::internal::CaptureStderr();
  const std::vector<std::string> answers = ask(handler, request);
  std::string text = testing::internal::GetCapturedStderr();
  EXPECT_EQ(answers.size(), 1u);
  return text;
}

TEST(CatchFailures, logs_one_printable_line) {
  auto line = [](auto fail, std::string_view request) {
    return logged(catch_failures()([fail](Request&, ResponseWriter&) { fail(); }), request);
  };
  EXPECT_EQ(line([] { throw std::runtime_error("boom"); }, "GET /a?b=c HTTP/1.1\r\nHost: a\r\n\r\n"),
            "heddle: http: GET /a?b=c: std::runtime_error: boom\n");
  EXPECT_EQ(line([] { panic("boom"); }, "PUT / HTTP/1.1\r\nHost: a\r\n\r\n"), "heddle: http: PUT /: boom\n");
  // Nothing that a client can reach makes a second line, or runs on.
  EXPECT_EQ(
      line([] { throw std::runtime_error("a\r\nheddle: http: \x1b[2J\xff"); }, "GET /%0Ax HTTP/1.1\r\nHost: a\r\n\r\n"),
      "heddle: http: GET /%0Ax: std::runtime_error: a??heddle: http: ?[2J?\n");
  const std::string long_line = line([] { throw std::runtime_error(std::string(5000, 'x')); },
                                     "GET /" + std::string(2000, 'y') + " HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(long_line.size(), 1024u);
  EXPECT_TRUE(long_line.ends_with("xxx...\n"));
  EXPECT_NE(long_line.find("yyy...: std::runtime_error: xxx"), std::string::npos);

  const Handler named = request_id()(catch_failures()([](Request&, ResponseWriter&) { throw 7; }));
  EXPECT_EQ(logged(named, get("X-Request-Id: abc\r\n")), "heddle: http: GET / [abc]: int: 7\n");
}

}  // namespace
}  // namespace heddle::http::test
