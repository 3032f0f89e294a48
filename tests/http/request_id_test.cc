#include <heddle/core/wait_group.h>
#include <heddle/http/request_id.h>

#include <stdexcept>
#include <string>
#include <variant>
#include <vector>

#include "raw_ask.h"

namespace heddle::http::test {
namespace {

TEST(RequestId, ids_are_taken_or_made) {
  const Handler tell = [](Request&, ResponseWriter& w) {
    EXPECT_FALSE(current_request_id().empty());
    std::string there;
    WaitGroup group;
    group.go([&] { there = current_request_id(); });
    group.wait();
    EXPECT_EQ(there, current_request_id());
    w.write(current_request_id());
  };
  auto id = [](const Handler& h, std::string fields) {
    const std::string answer = ask(h, get(fields)).at(0);
    const std::string body = answer.substr(answer.find('[') + 1, answer.size() - answer.find('[') - 2);
    EXPECT_NE(answer.find("X-Request-Id=" + body + " "), std::string::npos) << answer;
    return body;
  };
  const Handler h = request_id()(tell);
  EXPECT_EQ(id(h, "x-request-ID: aB9-._~:+/=@\r\n"), "aB9-._~:+/=@");
  EXPECT_EQ(id(h, "X-Request-Id: " + std::string(128, 'x') + "\r\n"), std::string(128, 'x'));
  const std::string made = id(h, "");
  EXPECT_EQ(made.size(), 32u);
  EXPECT_EQ(made.find_first_not_of("0123456789abcdef"), std::string::npos);
  EXPECT_NE(id(h, ""), made);
  for (const std::string bad : {"", "a b", "a\"b", "a,b", "\xc3\xa4", "{x}"})
    EXPECT_EQ(id(h, "X-Request-Id: " + bad + "\r\n").size(), 32u) << bad;
  EXPECT_EQ(id(h, "X-Request-Id: " + std::string(129, 'x') + "\r\n").size(), 32u);
  EXPECT_EQ(id(h, "X-Request-Id: a\r\nX-Request-Id: a\r\n").size(), 32u);
  EXPECT_EQ(id(request_id({.accept = false})(tell), "X-Request-Id: abc\r\n").size(), 32u);
  for (const char* server : {"a b", "", "Connection", "date", "Content-Length"})
    EXPECT_THROW(static_cast<void>(request_id({.header = server})), std::invalid_argument) << server;
  EXPECT_EQ(current_request_id(), "");
}

TEST(RequestId, ids_outlive_the_handler_in_goroutines_that_it_started) {
  on_one_p([] {
    const Chan<std::monostate> over = make_chan<std::monostate>();
    WaitGroup group;
    Rig rig(request_id()([&](Request&, ResponseWriter&) {
      group.go([&] {
        const std::string_view id = current_request_id();
        static_cast<void>(over.recv());
        EXPECT_EQ(id, "abc");
        EXPECT_EQ(current_request_id(), "abc");
      });
    }));
    rig.stream.send(get("X-Request-Id: abc\r\n"));
    rig.stream.settle();
    EXPECT_EQ(rig.responses().size(), 1u);
    over.close();
    group.wait();
  });
}

TEST(RequestId, ids_end_with_what_they_stand_around) {
  const Handler outer = request_id()([](Request& r, ResponseWriter& w) {
    const std::string_view before = current_request_id();
    request_id({.header = "X-In", .accept = false})([before](Request&, ResponseWriter&) {
      EXPECT_EQ(current_request_id().size(), 32u);
      EXPECT_EQ(before, "out");  // views hold
    })(r, w);
    EXPECT_EQ(before, "out");
    w.write(current_request_id());
  });
  const std::string answer = ask(outer, get("X-Request-Id: out\r\n")).at(0);
  EXPECT_TRUE(answer.ends_with("[out]")) << answer;
  // Whatever way the handler is left, and the next request begins without.
  on_one_p([] {
    Rig rig([](Request& r, ResponseWriter& w) {
      EXPECT_EQ(current_request_id(), "");
      try {
        request_id()([](Request&, ResponseWriter&) { throw 7; })(r, w);
      } catch (int) {
      }
      EXPECT_EQ(current_request_id(), "");
      request_id()([](Request&, ResponseWriter&) { goexit(); })(r, w);
    });
    rig.stream.send(get("X-Request-Id: a\r\n") + get());
    rig.stream.settle();
    EXPECT_EQ(rig.responses().size(), 2u);
  });
  on_one_p([] {
    Rig rig([](Request& r, ResponseWriter& w) {
      request_id()([](Request&, ResponseWriter&) {})(r, w);
      EXPECT_EQ(current_request_id(), "");
    });
    rig.stream.send(get());
    rig.stream.settle();
    EXPECT_EQ(rig.responses().size(), 1u);
  });
}

}  // namespace
}  // namespace heddle::http::test
