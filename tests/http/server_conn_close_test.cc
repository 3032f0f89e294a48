// How a connection ends that the server closes: at once where that can lose nothing, else in stages; and that the response
// before it says so.
#include <string>
#include <utility>
#include <vector>

#include "http_test.h"

namespace heddle::http::test {
namespace {

std::string request(std::string target, std::string fields = {}) {
  return "GET " + target + " HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n";
}

TEST(ServerConnClose, closes_at_once_where_the_client_has_said_its_last_word) {
  for (const std::string& last :
       {request("/hello", "Connection: close\r\n"), std::string("GET /hello HTTP/1.0\r\n\r\n"),
        request("/hello") + request("/hello", "Connection: close\r\n")}) {
    on_one_p([&last] {
      Rig rig;
      rig.stream.send(last);
      rig.stream.settle();
      EXPECT_TRUE(rig.stream.gone()) << last;
      EXPECT_EQ(rig.responses().back(), "200 cl=13 close [Hello, World!]");
    });
  }
}

TEST(ServerConnClose, lingers_after_the_last_word_while_the_response_is_under_way) {
  on_one_p([] {
    Rig rig;
    rig.stream.keep_under_way();
    rig.stream.send(request("/hello", "Connection: close\r\n"));
    rig.stream.settle();
    EXPECT_TRUE(rig.stream.shut());
    EXPECT_FALSE(rig.stream.closed());
    rig.stream.send(request("/hello"));
    rig.stream.settle();
    EXPECT_EQ(rig.stream.held(), 0u) << "input is read away";
    EXPECT_FALSE(rig.stream.closed());
    rig.stream.end();
    rig.stream.settle();
    EXPECT_TRUE(rig.stream.gone());
  });
}

TEST(ServerConnClose, lingers_where_the_client_breaks_its_word_or_its_body_was_not_read) {
  for (const std::string& last : {request("/hello", "Connection: close\r\n") + "\r\n",
                                  request("/hello", "Connection: close\r\n") + request("/hello"),
                                  request("/hello", "Connection: close\r\nContent-Length: 5\r\n") + "ab"}) {
    on_one_p([&last] {
      Rig rig;
      rig.stream.send(last);
      rig.stream.settle();
      EXPECT_TRUE(rig.stream.shut()) << last;
      EXPECT_FALSE(rig.stream.closed()) << last;
      rig.stream.end();
      rig.stream.settle();
      EXPECT_TRUE(rig.stream.gone()) << last;
    });
  }
}

TEST(ServerConnClose, closes_in_stages) {
  on_one_p([] {
    Rig rig;
    rig.stream.send(request("/close"));
    rig.stream.settle();
    EXPECT_TRUE(rig.stream.shut());
    EXPECT_FALSE(rig.stream.closed()) << "the client has not ended its half";
    rig.stream.send(std::string(1'000'000, 'x'));
    rig.stream.settle();
    EXPECT_EQ(rig.stream.held(), 0u) << "input is read away";
    rig.stream.end();
    rig.stream.settle();
    EXPECT_TRUE(rig.stream.gone());
  });
}

TEST(ServerConnClose, says_close_whenever_the_handler_decides_it_before_the_head_is_sent) {
  const std::pair<std::string_view, std::string> cases[] = {{"measured", "200 cl=3 close [bye]"},
                                                            {"length", "200 cl=3 close [bye]"},
                                                            {"large", "200 cl=60003 close [size 60003]"},
                                                            {"stream", "200 chunked close [bye]"},
                                                            {"none", "204 close"}};
  for (const auto& [way, wanted] : cases) {
    on_one_p([&] {
      Rig rig([&](Request&, ResponseWriter& w) {
        if (way == "length") w.set_header("Content-Length", "3");
        if (way == "large") w.set_header("Content-Length", "60003");
        if (way == "none") w.status(204);
        w.write(way == "none" ? "" : "bye");
        w.close_connection();
        if (way == "large") w.write(std::string(60'000, 'x'));
        if (way == "stream") w.flush();
      });
      rig.stream.send(request("/"));
      rig.stream.settle();
      EXPECT_EQ(rig.responses(), std::vector<std::string>{wanted});
    });
  }
}

// There is no room in the buffer for one more field.
TEST(ServerConnClose, a_late_close_costs_no_byte_of_a_full_buffer) {
  on_one_p([] {
    std::size_t said = 0;
    for (std::size_t size = 16'150; size < 16'350; ++size) {
      Rig rig([size](Request&, ResponseWriter& w) {
        w.set_header("Content-Length", std::to_string(size));
        w.write(std::string(size, 'x'));
        w.close_connection();
      });
      rig.stream.send(request("/"));
      rig.stream.settle();
      const std::string n = std::to_string(size);
      const std::string answer = rig.responses().at(0);
      if (answer == "200 cl=" + n + " close [size " + n + "]") {
        ++said;
      } else {
        EXPECT_EQ(answer, "200 cl=" + n + " [size " + n + "]");
      }
      EXPECT_TRUE(rig.stream.shut());
    }
    EXPECT_GT(said, 0u);
    EXPECT_LT(said, 200u);
  });
}

}  // namespace
}  // namespace heddle::http::test
