// A request's context: it ends when the client goes, when the server cuts, when the handler returns; and a route's own limits.
#include <heddle/core/context.h>
#include <heddle/core/select.h>
#include <heddle/core/wait_group.h>
#include <heddle/http/limits.h>

#include "http_test.h"

namespace heddle::http::test {
namespace {

constexpr std::string_view kGet = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

void wait_for_end(const Context& ctx) { static_cast<void>(ctx.done().recv()); }

struct Seen {
  bool began = false;
  Context ctx;
  std::optional<Error> cause;
};

// Waits for its request's context, then answers.
Handler waits(Seen& seen) {
  return [&seen](Request& r, ResponseWriter& w) {
    seen.began = true;
    seen.ctx = r.context();
    wait_for_end(seen.ctx);
    seen.cause = seen.ctx.cause();
    w.write("late");
  };
}

TEST(RequestContext, ends_when_the_client_does) {
  for (const Code how : {Code::kEof, Code::kReset}) {
    on_one_p([&] {
      Seen seen;
      Rig rig(waits(seen));
      rig.stream.send(kGet);
      rig.stream.settle();
      ASSERT_TRUE(seen.began);
      EXPECT_FALSE(seen.cause);
      rig.stream.end(how);
      rig.stream.settle();
      ASSERT_TRUE(seen.cause);
      EXPECT_EQ(seen.cause->code, how);
      EXPECT_EQ(seen.ctx.err()->code, Code::kCanceled);
      // One that only ended its half gets its answer.
      const std::vector<std::string> answer = {"200 cl=4 [late]"};
      EXPECT_EQ(rig.responses(), how == Code::kEof ? answer : std::vector<std::string>());
    });
  }
}

TEST(RequestContext, is_over_already_if_the_client_went_before_it_was_asked_for) {
  on_one_p([] {
    std::optional<Error> cause;
    Rig rig([&](Request& r, ResponseWriter&) {
      for (int i = 0; i < 10; ++i) gosched();
      cause = r.context().cause();
    });
    rig.stream.send(kGet);
    rig.stream.end();
    rig.stream.settle();
    ASSERT_TRUE(cause);
    EXPECT_EQ(cause->code, Code::kEof);
  });
}

TEST(RequestContext, ends_with_the_handler_and_not_before) {
  on_one_p([] {
    Context kept;
    bool alive = false;
    Rig rig([&](Request& r, ResponseWriter& w) {
      kept = r.context();
      for (int i = 0; i < 20; ++i) gosched();
      alive = !kept.err();
      w.write("x");
    });
    rig.stream.send(std::string(kGet) + std::string(kGet));  // a pipelined request is no end
    rig.stream.settle();
    EXPECT_TRUE(alive);
    ASSERT_TRUE(kept.err());
    EXPECT_EQ(kept.cause()->code, Code::kCanceled);
    EXPECT_EQ(rig.responses().size(), 2u);
  });
}

TEST(RequestContext, ends_when_a_shutdown_cuts_the_request_off) {
  on_one_p([] {
    Seen seen;
    Rig rig(waits(seen));
    rig.stream.send(kGet);
    rig.stream.settle();
    WaitGroup stop;
    stop.go([&] { EXPECT_FALSE(rig.server.shutdown(1ms)); });
    EXPECT_TRUE(rig.stream.pump_until([&] { return seen.cause.has_value(); }));
    EXPECT_EQ(seen.cause->code, Code::kClosed);
    stop.wait();
  });
}

struct Name {
  using Value = int;
};

TEST(RequestContext, is_a_child_of_the_servers) {
  on_one_p([] {
    auto [base, cancel] = with_cancel(with_value<Name>(Context(), 7));
    Seen seen;
    ServerOptions options;
    options.base_context = base;
    Rig rig(waits(seen), options);
    rig.stream.send(kGet);
    rig.stream.settle();
    EXPECT_EQ(*seen.ctx.value<Name>(), 7);
    cancel();
    rig.stream.settle();
    EXPECT_EQ(rig.responses(), std::vector<std::string>{"200 cl=4 [late]"});
  });
}

// Clients that go at any moment, beside handlers that ask for their context at any moment.
TEST(RequestContext, is_always_told_on_many_ps) {
  run([] {
    WaitGroup all;
    for (int i = 0; i < 32; ++i) {
      all.go([i] {
        std::atomic<bool> told{false};
        Rig rig([&](Request& r, ResponseWriter&) {
          for (int n = 0; n < i % 5; ++n) gosched();
          const Context ctx = r.context();
          auto [child, cancel] = with_cancel(ctx);
          wait_for_end(child);
          told = true;
        });
        rig.stream.send(kGet);
        for (int n = 0; n < i % 7; ++n) gosched();
        rig.stream.end(i % 2 == 0 ? Code::kEof : Code::kReset);
        EXPECT_TRUE(rig.stream.pump_until([&] { return rig.stream.gone(); }));
        EXPECT_TRUE(told.load());
      });
    }
    all.wait();
  });
}

// --- limits of a route ---

std::vector<std::string> answers(Handler handler, std::string_view bytes) {
  std::vector<std::string> all;
  on_one_p([&] {
    Rig rig(std::move(handler));
    rig.stream.send(bytes);
    rig.stream.settle();
    all = rig.responses();
  });
  return all;
}

TEST(RouteLimits, a_timeout_ends_the_context_and_answers_for_who_has_said_nothing) {
  on_one_p(
      [] {
        FakeTime time;
        Code code = Code::kOk;
        Mux mux;
        Mux::Group slow = mux.group("/slow", {timeout(50ms)});
        slow.handle("/silent", [&](Request& r, ResponseWriter&) {
          const Context ctx = r.context();
          wait_for_end(ctx);
          code = ctx.err()->code;
        });
        slow.handle("/says", [](Request& r, ResponseWriter& w) {
          wait_for_end(r.context());
          w.write("partial");
        });
        slow.handle("/quick", [](Request&, ResponseWriter&) {});
        Rig rig(mux);
        for (const char* path : {"silent", "says", "quick"}) {
          rig.stream.send(std::string("GET /slow/") + path + " HTTP/1.1\r\nHost: a\r\n\r\n");
          rig.stream.settle();
          time.pass(60ms);
          rig.stream.settle();
        }
        EXPECT_EQ(code, Code::kTimeout);
        EXPECT_EQ(rig.responses(), (std::vector<std::string>{"503 cl=30 [503 the handler took too long\n]",
                                                             "200 cl=7 [partial]", "200 cl=0 []"}));
      },
      1);
}

// A length of which less comes would cut the 503; a coding that it does not have, or leave to keep it, would make it another one.
TEST(RouteLimits, a_timeout_forgets_what_the_handler_set_and_not_what_stands_around_it) {
  on_one_p(
      [] {
        FakeTime time;
        const Handler inner = timeout(50ms)([](Request& r, ResponseWriter& w) {
          w.status(201);
          w.set_header("ETag", "\"of the body\"");
          w.set_header("Content-Encoding", "gzip");
          w.set_header("X-Id", "changed");
          w.set_header("Content-Length", r.path() == "/short" ? "5" : "500");
          wait_for_end(r.context());
        });
        Rig rig([inner](Request& r, ResponseWriter& w) {
          w.set_header("X-Id", "7");
          w.set_header("Content-Length", "9");
          inner(r, w);
        });
        for (const char* path : {"short", "long"}) {
          rig.stream.send(std::string("GET /") + path + " HTTP/1.1\r\nHost: a\r\n\r\n");
          rig.stream.settle();
          time.pass(60ms);
          rig.stream.settle();
        }
        EXPECT_EQ(rig.responses(), std::vector<std::string>(2, "503 cl=30 X-Id=7 [503 the handler took too long\n]"));
      },
      1);
}

TEST(RouteLimits, a_body_past_the_routes_limit_is_refused) {
  int calls = 0;
  Mux mux;
  mux.group("/small", {max_body(4)}).handle("POST /", [&](Request& r, ResponseWriter& w) {
    ++calls;
    const auto body = r.read_all(100);
    if (body) w.write(*body);
  });
  const std::string post = "POST /small/ HTTP/1.1\r\nHost: a\r\n";
  EXPECT_EQ(answers(mux, post + "Content-Length: 4\r\n\r\nabcd"), std::vector<std::string>{"200 cl=4 [abcd]"});
  EXPECT_EQ(answers(mux, post + "Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n"),
            std::vector<std::string>{"200 cl=4 [abcd]"});
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(answers(mux, post + "Content-Length: 5\r\n\r\nabcde"),
            std::vector<std::string>{"413 cl=26 close [413 the body is too large\n]"});
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(answers(mux, post + "Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n").front().substr(0, 4),
            "413 ");
}

}  // namespace
}  // namespace heddle::http::test
