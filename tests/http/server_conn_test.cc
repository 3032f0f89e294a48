// Connections over memory: bytes in, responses and close out. Each case of the tables runs whole, split at every byte,
// and byte by byte, and must come out the same.
#include "http_test.h"

namespace heddle::http::test {
namespace {

enum class After { kOpen, kClosed };

struct Case {
  std::string in;
  std::vector<std::string> out;
  After after = After::kOpen;
  std::string heads{};      // which responses answer a HEAD, see read_responses()
  bool half_close = false;  // the client ends its half after the bytes
};

void expect_case(const Case& c, const std::vector<std::size_t>& cuts, const ServerOptions& options) {
  Rig rig(faces, options);
  std::size_t from = 0;
  for (std::size_t cut : cuts) {
    rig.stream.send(std::string_view(c.in).substr(from, cut - from));
    from = cut;
    rig.stream.settle();
  }
  if (c.half_close) rig.stream.end();
  rig.stream.settle();
  EXPECT_EQ(rig.responses(c.heads), c.out);
  EXPECT_EQ(rig.stream.shut() || rig.stream.closed(), c.after == After::kClosed);
}

void expect(const Case& c, const ServerOptions& options = {}) {
  SCOPED_TRACE(testing::PrintToString(c.in.substr(0, 300)));
  on_one_p([&] {
    expect_case(c, {c.in.size()}, options);
    std::vector<std::size_t> every;
    const std::size_t step = c.in.size() > 1000 ? 61 : 1;
    for (std::size_t i = 1; i < c.in.size(); i += step) {
      if (testing::Test::HasFailure()) return;
      SCOPED_TRACE("split at " + std::to_string(i));
      expect_case(c, {i, c.in.size()}, options);
      every.push_back(i);
    }
    every.push_back(c.in.size());
    SCOPED_TRACE("piece by piece");
    expect_case(c, every, options);
  });
}

std::string get(std::string target, std::string fields = {}) {
  return "GET " + target + " HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n";
}
std::string post(std::string target, std::string body, std::string fields = {}) {
  return "POST " + target + " HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" + fields +
         "\r\n" + body;
}
std::string chunked(std::string target, std::string chunks, std::string fields = {}) {
  return "POST " + target + " HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n" + fields + "\r\n" + chunks;
}

const std::string kHello = "200 cl=13 [Hello, World!]";

TEST(ServerConn, answers_and_keeps_alive) {
  expect({get("/hello"), {kHello}});
  expect({get("/hello") + get("/hello"), {kHello, kHello}});
  expect({"\r\n" + get("/hello") + "\r\n\r\n" + get("/empty"), {kHello, "200 cl=0 []"}});
  expect({get("/nothing"), {"404 cl=4 [none]"}});
  expect({get("http://b:1/target?x=%20"), {"200 cl=33 [http://b:1/target?x=%20 b:1 x=%20]"}});
}

TEST(ServerConn, closes_when_asked_and_ignores_what_follows) {
  expect({get("/hello", "Connection: close\r\n"), {"200 cl=13 close [Hello, World!]"}, After::kClosed});
  expect({get("/hello") + get("/hello", "Connection: x, Close\r\n") + get("/hello"),
          {kHello, "200 cl=13 close [Hello, World!]"},
          After::kClosed});
  expect({get("/hello", "Connection: close\r\n") + "garbage \x01\r\n\r\n",
          {"200 cl=13 close [Hello, World!]"},
          After::kClosed});
  expect({get("/close") + get("/hello"), {"200 cl=3 close [bye]"}, After::kClosed});
}

// What cannot become a request line waits for the line's end behind a response as anywhere else: once the goroutine that
// had answered looked at it again and again, for ever.
TEST(ServerConn, waits_for_the_end_of_a_bad_line_behind_a_request) {
  const std::string bad = "400 cl=16 close [400 Bad Request\n]";
  expect({get("/hello") + "-", {kHello}});
  expect({get("/hello") + "--x", {kHello}});
  expect({post("/ignore", "abc") + "-", {"200 cl=7 [ignored]"}});
  expect({get("/hello") + "-x\r\n", {kHello, bad}, After::kClosed});
  expect({get("/hello") + "GET /hello HTTP/1.12", {kHello}});
  expect({get("/hello") + "GET /hello HTTP/1.2\r\nHost: a\r\n\r\n", {kHello, kHello}});
}

TEST(ServerConn, serves_http10) {
  expect({"GET /hello HTTP/1.0\r\n\r\n", {"200 cl=13 close [Hello, World!]"}, After::kClosed});
  expect({"GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", {"200 cl=13 keep [Hello, World!]"}});
  expect({"GET /flushed?2 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", {"200 close [partpart]"}, After::kClosed});
  expect({"GET /big?40000 HTTP/1.0\r\n\r\n", {"200 close [size 40000]"}, After::kClosed});
  expect({"POST /echo HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
          {"200 cl=3 close [abc]"},
          After::kClosed});
  expect({"POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
          {"400 cl=16 close [400 Bad Request\n]"},
          After::kClosed});
  expect({"GET /hello HTTP/1.2\r\nHost: a\r\n\r\n", {kHello}});
}

TEST(ServerConn, refuses_with_the_right_status_and_closes) {
  auto text = [](int status, std::string reason) {
    const std::string body = std::to_string(status) + " " + reason + "\n";
    return std::to_string(status) + " cl=" + std::to_string(body.size()) + " close [" + body + "]";
  };
  const std::string bad = text(400, "Bad Request");
  expect({"GET /hello\r\n\r\n" + get("/hello"), {bad}, After::kClosed});
  expect({"GET /hello HTTP/1.1\r\n\r\n" + get("/hello"), {bad}, After::kClosed});
  expect({get("/hello", "A : b\r\n") + get("/hello"), {bad}, After::kClosed});
  expect({get("/hello") + get("/hello", " x\r\n") + get("/hello"), {kHello, bad}, After::kClosed});
  expect({get("/%00") + get("/hello"), {bad}, After::kClosed});
  expect({"BREW / HTTP/1.1\r\nHost: a\r\n\r\n", {text(501, "Not Implemented")}, After::kClosed});
  expect({"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", {text(501, "Not Implemented")}, After::kClosed});
  expect({"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nsecret", {bad}, After::kClosed});
  expect({"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {text(505, "HTTP Version Not Supported")}, After::kClosed});
  expect({get("/" + std::string(9000, 'x')), {text(414, "URI Too Long")}, After::kClosed});
  expect({get("/", "A: " + std::string(40000, 'x') + "\r\n"),
          {text(431, "Request Header Fields Too Large")},
          After::kClosed});
  expect({get("/hello", "Expect: x\r\n"), {text(417, "Expectation Failed")}, After::kClosed});
  expect({"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n",
          {text(413, "Content Too Large")},
          After::kClosed});
  expect({"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" +
              get("/hello"),
          {bad},
          After::kClosed});
  expect({"HEAD /hello HTTP/1.1\r\n\r\n", {"400 cl=16 close"}, After::kClosed, "h"});
}

TEST(ServerConn, answers_head_like_get_without_body) {
  auto head = [](std::string target) { return "HEAD " + target + " HTTP/1.1\r\nHost: a\r\n\r\n"; };
  expect({head("/hello") + get("/hello"), {"200 cl=13", kHello}, After::kOpen, "h-"});
  expect({head("/flushed?2") + get("/hello"), {"200 chunked", kHello}, After::kOpen, "h-"});
  expect(
      {head("/length?5") + head("/length?0") + get("/hello"), {"200 cl=5", "200 cl=5", kHello}, After::kOpen, "hh-"});
  expect({head("/throw") + get("/hello"), {"500 cl=26", kHello}, After::kOpen, "h-"});
  expect({head("/big?50000") + get("/hello"), {"200 cl=50000", kHello}, After::kOpen, "h-"});
}

TEST(ServerConn, knows_the_statuses_without_body) {
  expect({get("/bare?204") + get("/status?204"), {"204", "204"}});
  expect({get("/bare?304") + get("/status?304"), {"304", "304"}});
  expect({get("/bare?205") + get("/status?205"), {"205 cl=0 []", "205 cl=0 []"}});
  expect({get("/status?101") + get("/status?99") + get("/status?600"),
          {"200 cl=4 [text]", "200 cl=4 [text]", "200 cl=4 [text]"}});
  expect({get("/status?418") + get("/status?299"), {"418 cl=4 [text]", "299 cl=4 [text]"}});
}

TEST(ServerConn, frames_responses) {
  expect({get("/parts?10"),
          {"200 cl=100 [" + std::string("0123456789012345678901234567890123456789") +
           "012345678901234567890123456789012345678901234567890123456789]"}});
  expect({get("/parts?1500"), {"200 cl=15000 [size 15000]"}});
  expect({get("/parts?3000") + get("/hello"), {"200 chunked [size 30000]", kHello}});
  expect({get("/big?16000") + get("/hello"), {"200 cl=16000 [size 16000]", kHello}});
  expect({get("/big?16384") + get("/hello"), {"200 chunked [size 16384]", kHello}});
  expect({get("/big?1000000") + get("/hello"), {"200 chunked [size 1000000]", kHello}});
  expect({get("/flushed?3") + get("/flushed?0"), {"200 chunked [partpartpart]", "200 cl=0 []"}});
}

TEST(ServerConn, holds_handlers_to_their_length) {
  expect({get("/length?5") + get("/hello"), {"200 cl=5 [xxxxx]", kHello}});
  expect({get("/length?3") + get("/hello"), {"200 cl=5 cut [xxx]"}, After::kClosed});
  expect({get("/length?6") + get("/hello"), {"200 cl=5 cut []"}, After::kClosed});
}

TEST(ServerConn, reads_fixed_bodies) {
  expect({post("/echo", "hello") + get("/hello"), {"200 cl=5 [hello]", kHello}});
  expect({post("/count", std::string(150, 'x')) + post("/echo", ""), {"200 cl=3 [150]", "200 cl=0 []"}});
  expect({post("/stream", "hello") + get("/hello"), {"200 chunked [hello]", kHello}}, {});
  expect(
      {"GET /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody" + get("/hello"), {"200 cl=4 [body]", kHello}});
  expect({post("/ignore", "GET /hello HTTP/1.1\r\n\r\n") + get("/hello"), {"200 cl=7 [ignored]", kHello}});
  expect({post("/throw", "body") + get("/hello"), {"500 cl=26 [500 Internal Server Error\n]", kHello}});
}

TEST(ServerConn, reads_chunked_bodies) {
  expect({chunked("/echo", "5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nT: u\r\n\r\n") + get("/hello"),
          {"200 cl=11 [hello world]", kHello}});
  expect({chunked("/count", "a\r\n0123456789\r\n0\r\n\r\n") + chunked("/echo", "0\r\n\r\n"),
          {"200 cl=2 [10]", "200 cl=0 []"}});
  expect({chunked("/ignore", "5\r\nhello\r\n0\r\n\r\n") + get("/hello"), {"200 cl=7 [ignored]", kHello}});
  // Broken: what the handler left unsaid becomes 400, and nothing behind it runs.
  expect({chunked("/echo", "5\r\nhelloX\r\n0\r\n\r\n") + get("/hello"),
          {"400 cl=16 close [400 Bad Request\n]"},
          After::kClosed});
  expect({chunked("/echo", "zz\r\n") + get("/hello"), {"400 cl=16 close [400 Bad Request\n]"}, After::kClosed});
}

TEST(ServerConn, never_shows_an_incomplete_body_as_whole) {
  expect({"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhello",
          {"400 cl=16 close [400 Bad Request\n]"},
          After::kClosed,
          "",
          true});
  expect({chunked("/echo", "5\r\nhello\r\n0\r\n"), {"400 cl=16 close [400 Bad Request\n]"}, After::kClosed, "", true});
  expect({chunked("/count", "5\r\nhello\r\n"),
          {"200 cl=30 close [error read body: end of stream]"},
          After::kClosed,
          "",
          true});
}

TEST(ServerConn, a_half_close_is_no_abort) {
  expect({get("/hello") + get("/yield?3") + get("/hello"),
          {kHello, "200 cl=7 [yielded]", kHello},
          After::kClosed,
          "",
          true});
  expect({post("/echo", "abc"), {"200 cl=3 [abc]"}, After::kClosed, "", true});
  expect({get("/hello") + "GET /hel", {kHello}, After::kClosed, "", true});
  expect({"", {}, After::kClosed, "", true});
}

TEST(ServerConn, a_throwing_handler_is_a_500_and_harms_nobody) {
  const std::string failed = "500 cl=26 [500 Internal Server Error\n]";
  expect({get("/throw") + get("/hello"), {failed, kHello}});
  expect({get("/hello") + get("/throw-int") + get("/hello"), {kHello, failed, kHello}});
  expect({get("/hello") + get("/throw-written") + get("/hello"), {kHello, failed, kHello}});
  expect({get("/goexit") + get("/hello"), {failed, kHello}});
  expect({get("/hello") + get("/throw-flushed") + get("/hello"), {kHello, "200 chunked cut [sent]"}, After::kClosed});
  expect({get("/hello") + get("/throw-length") + get("/hello"), {kHello, "200 cl=9 cut [sent]"}, After::kClosed});
}

TEST(ServerConn, bounds_bodies) {
  ServerOptions options;
  options.max_body = 10;
  expect({post("/echo", "0123456789"), {"200 cl=10 [0123456789]"}}, options);
  expect({"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n",
          {"413 cl=22 close [413 Content Too Large\n]"},
          After::kClosed},
         options);
  expect({chunked("/echo", "b\r\n0123456789a\r\n0\r\n\r\n") + get("/hello"),
          {"413 cl=22 close [413 Content Too Large\n]"},
          After::kClosed},
         options);
  options.max_body = 1000;
  options.max_drain = 10;
  expect({post("/ignore", "0123456789") + get("/hello"), {"200 cl=7 [ignored]", kHello}}, options);
  expect({post("/ignore", "0123456789a") + get("/hello"), {"200 cl=7 close [ignored]"}, After::kClosed}, options);
  expect({chunked("/ignore", "b\r\n0123456789a\r\n0\r\n\r\n") + get("/hello"), {"200 cl=7 [ignored]"}, After::kClosed},
         options);
}

TEST(ServerConn, answers_100_continue_when_the_body_is_wanted) {
  const std::string expecting = "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
  on_one_p([&] {
    Rig rig;
    rig.stream.send(expecting);
    rig.stream.settle();
    EXPECT_EQ(rig.responses(), std::vector<std::string>{"100"});
    rig.stream.send("abc");
    rig.stream.settle();
    EXPECT_EQ(rig.responses(), (std::vector<std::string>{"100", "200 cl=3 [abc]"}));
    EXPECT_FALSE(rig.stream.shut());
  });
  // Refused without reading: the body may or may not come, so the connection ends.
  on_one_p([&] {
    Rig rig;
    rig.stream.send("POST /ignore HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    rig.stream.settle();
    EXPECT_EQ(rig.responses(), std::vector<std::string>{"200 cl=7 close [ignored]"});
    EXPECT_TRUE(rig.stream.shut());
  });
  // A client that does not wait needs no 100.
  on_one_p([&] {
    Rig rig;
    rig.stream.send(get("/hello") + expecting + "abc" + get("/hello"));
    rig.stream.settle();
    EXPECT_EQ(rig.responses(), (std::vector<std::string>{kHello, "200 cl=3 [abc]", kHello}));
  });
  // Behind earlier responses, in front of one that has begun.
  on_one_p([&] {
    Rig rig([](Request& r, ResponseWriter& w) {
      w.write("early ");
      w.write(*r.read_all(100));
    });
    rig.stream.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n" + expecting);
    rig.stream.settle();
    EXPECT_EQ(rig.responses(), (std::vector<std::string>{"200 cl=6 [early ]", "100"}));
    rig.stream.send("abc");
    rig.stream.settle();
    EXPECT_EQ(rig.responses(), (std::vector<std::string>{"200 cl=6 [early ]", "100", "200 cl=9 close [early abc]"}));
  });
}

TEST(ServerConn, a_pipelined_batch_leaves_in_one_write_in_order) {
  on_one_p([] {
    Rig rig;
    std::string batch;
    std::vector<std::string> wanted;
    for (int i = 0; i < 16; ++i) {
      const std::string path = "/target?" + std::to_string(i);
      batch += get(path);
      const std::string body = path + " a " + std::to_string(i);
      wanted.push_back("200 cl=" + std::to_string(body.size()) + " [" + body + "]");
    }
    rig.stream.send(batch);
    rig.stream.settle();
    EXPECT_EQ(rig.responses(), wanted);
    EXPECT_EQ(rig.stream.writes().size(), 1u);
    rig.stream.forget_writes();
    rig.stream.send(batch);
    rig.stream.settle();
    EXPECT_EQ(rig.responses(), wanted);
    EXPECT_EQ(rig.stream.writes().size(), 1u);
  });
}

TEST(ServerConn, a_deep_pipeline_is_answered_whole_whatever_the_peer_takes) {
  for (const std::size_t per_write : {MemoryStream::kNoLimit, std::size_t{1000}, std::size_t{17}}) {
    on_one_p([&] {
      Rig rig;
      rig.stream.take_per_write(per_write);
      std::string batch;
      std::vector<std::string> wanted;
      for (int i = 0; i < 5000; ++i) {
        batch += i % 7 == 3    ? post("/echo", std::to_string(i))
                 : i % 11 == 5 ? chunked("/echo", "1\r\nx\r\n0\r\n\r\n")
                               : get("/hello");
        const std::string n = std::to_string(i);
        wanted.push_back(i % 7 == 3    ? "200 cl=" + std::to_string(n.size()) + " [" + n + "]"
                         : i % 11 == 5 ? "200 cl=1 [x]"
                                       : kHello);
      }
      rig.stream.send(batch);
      rig.stream.settle();
      EXPECT_EQ(rig.responses(), wanted);
    });
  }
}

TEST(ServerConn, earlier_responses_do_not_wait_for_a_handler_that_waits) {
  on_one_p([] {
    Chan<int> gate = make_chan<int>();
    Rig rig([gate](Request& r, ResponseWriter& w) mutable {
      if (r.path() == "/wait") static_cast<void>(gate.recv());
      w.write(r.path());
    });
    rig.stream.send(get("/1") + get("/2") + get("/wait") + get("/4"));
    rig.stream.settle();
    EXPECT_EQ(rig.responses(), (std::vector<std::string>{"200 cl=2 [/1]", "200 cl=2 [/2]"}));
    EXPECT_EQ(rig.stream.writes().size(), 1u);
    gate.send(1);
    rig.stream.settle();
    EXPECT_EQ(rig.responses().size(), 4u);
    EXPECT_EQ(rig.stream.writes().size(), 2u);
  });
}

// The rest of a head comes while the goroutine waits for the peer to take the response before it.
TEST(ServerConn, what_comes_during_the_last_flush_is_not_left_lying) {
  on_one_p([] {
    Rig rig;
    rig.stream.take_in_all(50);
    const std::string second = get("/target?2");
    rig.stream.send(get("/hello") + second.substr(0, 10));
    rig.stream.settle();
    EXPECT_EQ(rig.stream.written().size(), 50u);
    rig.stream.send(second.substr(10) + get("/empty"));
    rig.stream.settle();
    rig.stream.take_in_all(MemoryStream::kNoLimit);
    rig.stream.settle();
    EXPECT_EQ(rig.responses(), (std::vector<std::string>{kHello, "200 cl=13 [/target?2 a 2]", "200 cl=0 []"}));
  });
}

TEST(ServerConn, a_requests_views_hold_until_its_handler_returns) {
  on_one_p([] {
    Rig rig([](Request& r, ResponseWriter& w) {
      const std::string_view path = r.path();
      const std::string_view field = *r.header("x-field");
      std::size_t size = 0;
      std::array<std::byte, 100> buffer;
      for (auto n = r.read(buffer); n && *n != 0; n = r.read(buffer)) size += *n;
      w.write(std::string(path) + ' ' + std::string(field) + ' ' + std::to_string(size) + ' ' +
              std::string(*r.header("HOST")));
    });
    std::vector<std::string> wanted;
    for (const std::size_t size : {std::size_t{10}, std::size_t{5000}, std::size_t{100'000}}) {
      const std::string request = post("/path/of/it", std::string(size, '\xff'), "X-Field: its value\r\n");
      for (std::size_t at = 0; at < request.size(); at += 1000) {
        rig.stream.send(request.substr(at, 1000));
        if (at % 3000 == 0) rig.stream.settle();
      }
      rig.stream.settle();
      const std::string body = "/path/of/it its value " + std::to_string(size) + " a";
      wanted.push_back("200 cl=" + std::to_string(body.size()) + " [" + body + "]");
    }
    EXPECT_EQ(rig.responses(), wanted);
  });
}

// The client has sent a part of a body that nobody reads, and waits for the response before it sends the rest.
TEST(ServerConn, a_response_does_not_wait_for_the_rest_of_a_body_that_nobody_reads) {
  for (const std::string& begun :
       {post("/ignore", std::string(10, 'x')), chunked("/ignore", "5\r\nhello\r\n0\r\n\r\n")}) {
    on_one_p([&] {
      Rig rig;
      rig.stream.take_in_all(50);
      rig.stream.send(begun.substr(0, begun.size() - 6));
      rig.stream.settle();
      EXPECT_EQ(rig.stream.written().size(), 50u);
      rig.stream.take_in_all(MemoryStream::kNoLimit);
      rig.stream.settle();
      EXPECT_EQ(rig.responses(), std::vector<std::string>{"200 cl=7 [ignored]"});
      rig.stream.send(begun.substr(begun.size() - 6) + get("/hello"));
      rig.stream.settle();
      EXPECT_EQ(rig.responses(), (std::vector<std::string>{"200 cl=7 [ignored]", kHello}));
    });
  }
}

// What was written while something before it was on its way does not wait for the handler's next write.
TEST(ServerConn, what_is_written_does_not_wait_for_a_body_that_is_waited_for) {
  for (const bool slow : {false, true}) {
    on_one_p([slow] {
      Rig rig([](Request& r, ResponseWriter& w) {
        std::byte one[1];
        w.flush();
        for (const char c : {'a', 'b', 'c'}) {
          w.write(std::string(50, c));
          static_cast<void>(r.read(one));
        }
      });
      rig.stream.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n");
      rig.stream.settle();
      std::string wanted = std::string(50, 'a');
      EXPECT_EQ(rig.responses().back(), "200 chunked cut [" + wanted + "]");
      for (const char c : {'b', 'c'}) {
        rig.stream.take_in_all(10);
        rig.stream.send("x");
        rig.stream.settle();
        if (slow && c == 'b') continue;  // the next one is behind what has not gone
        rig.stream.take_in_all(MemoryStream::kNoLimit);
        rig.stream.settle();
        wanted = std::string(50, 'a') + std::string(50, 'b') + (c == 'c' ? std::string(50, 'c') : "");
        EXPECT_EQ(rig.responses().back(), "200 chunked cut [" + wanted + "]");
      }
    });
  }
}

TEST(ServerConn, streams_both_ways_at_once) {
  on_one_p([] {
    Rig rig;
    rig.stream.send("POST /stream HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    std::string wanted;
    for (int i = 0; i < 50; ++i) {
      rig.stream.send("2\r\n" + std::to_string(i + 10) + "\r\n");
      rig.stream.settle();
      wanted += std::to_string(i + 10);
      EXPECT_EQ(rig.responses().back(), "200 chunked cut [" + wanted + "]");
    }
    rig.stream.send("0\r\n\r\n" + get("/hello"));
    rig.stream.settle();
    EXPECT_EQ(rig.responses(), (std::vector<std::string>{"200 chunked [" + wanted + "]", kHello}));
  });
}

TEST(ServerConn, holds_a_fast_sender_back) {
  on_one_p([] {
    Chan<int> gate = make_chan<int>();
    std::size_t got = 0;
    bool right = true;
    Rig rig([&](Request& r, ResponseWriter& w) {
      static_cast<void>(gate.recv());
      std::array<std::byte, 1000> buffer;
      for (;;) {
        const Result<std::size_t> n = r.read(buffer);
        if (!n || *n == 0) break;
        for (std::size_t i = 0; i < *n; ++i) right = right && static_cast<unsigned char>(buffer[i]) == (got + i) % 251;
        got += *n;
      }
      w.write("done");
    });
    constexpr std::size_t kSize = 3'000'000;
    std::string body(kSize, '\0');
    for (std::size_t i = 0; i < kSize; ++i) body[i] = static_cast<char>(i % 251);
    rig.stream.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(kSize) + "\r\n\r\n" + body);
    rig.stream.settle();
    EXPECT_TRUE(rig.stream.paused());
    EXPECT_LT(kSize - rig.stream.held(), 100'000u) << "taken although nobody reads";
    gate.send(1);
    rig.stream.settle();
    EXPECT_EQ(got, kSize);
    EXPECT_TRUE(right);
    EXPECT_EQ(rig.responses(), std::vector<std::string>{"200 cl=4 [done]"});
    EXPECT_FALSE(rig.stream.paused());
  });
}

TEST(ServerConn, one_read_takes_all_that_has_come) {
  on_one_p([] {
    constexpr std::size_t kSize = 60'000;
    for (const bool chunked : {false, true}) {
      Chan<int> gate = make_chan<int>();
      std::vector<std::size_t> reads;
      std::string got;
      Rig rig([&](Request& r, ResponseWriter& w) {
        static_cast<void>(gate.recv());
        std::vector<std::byte> buffer(64 * 1024);
        for (;;) {
          const Result<std::size_t> n = r.read(buffer);
          if (!n || *n == 0) break;
          reads.push_back(*n);
          got.append(reinterpret_cast<const char*>(buffer.data()), *n);
        }
        w.write("done");
      });
      std::string body(kSize, '\0');
      for (std::size_t i = 0; i < kSize; ++i) body[i] = static_cast<char>(i % 251);
      // In pieces, of which the first lies behind the head and the others in buffers of the queue.
      rig.stream.send(std::string("POST / HTTP/1.1\r\nHost: a\r\n") +
                      (chunked ? "Transfer-Encoding: chunked\r\n\r\n7530\r\n" + body.substr(0, 30'000) +
                                     "\r\n7530\r\n" + body.substr(30'000) + "\r\n0\r\n\r\n"
                               : "Content-Length: " + std::to_string(kSize) + "\r\n\r\n" + body));
      rig.stream.settle();
      gate.send(1);
      rig.stream.settle();
      EXPECT_EQ(got, body);
      EXPECT_EQ(reads, std::vector<std::size_t>{kSize});
      EXPECT_EQ(rig.responses(), std::vector<std::string>{"200 cl=4 [done]"});
    }
  });
}

TEST(ServerConn, who_waits_with_much_room_is_read_into_directly) {
  struct Room {
    std::size_t room;
    std::size_t body;
    bool lends;
    const char* what;
  };
  const Room cases[] = {{64 * 1024, 1'000'000, true, "the usual one"},
                        {16 * 1024, 1'000'000, true, "the least room"},
                        {16 * 1024 - 1, 1'000'000, false, "less room"},
                        {64 * 1024, 16 * 1024 - 1, false, "less to come"}};
  for (const Room& c : cases) {
    on_one_p([&c] {
      std::size_t got = 0;
      bool right = true;
      Rig rig([&](Request& r, ResponseWriter& w) {
        std::vector<std::byte> buffer(c.room);
        for (;;) {
          const Result<std::size_t> n = r.read(buffer);
          if (!n || *n == 0) break;
          for (std::size_t i = 0; i < *n; ++i)
            right = right && static_cast<unsigned char>(buffer[i]) == (got + i) % 251;
          got += *n;
        }
        w.write("done");
      });
      std::string body(c.body, '\0');
      for (std::size_t i = 0; i < body.size(); ++i) body[i] = static_cast<char>(i % 251);
      rig.stream.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n");
      rig.stream.settle();  // the reader waits
      rig.stream.send(body + get("/hello"));
      rig.stream.settle();
      EXPECT_EQ(got, body.size()) << c.what;
      EXPECT_TRUE(right) << c.what;
      EXPECT_EQ(rig.stream.lent() != 0, c.lends) << c.what;
      EXPECT_LE(rig.stream.lent(), body.size()) << c.what << ": the next request's bytes are no body";
      EXPECT_EQ(rig.responses(), (std::vector<std::string>{"200 cl=4 [done]", "200 cl=4 [done]"})) << c.what;
    });
  }
}

TEST(ServerConn, waits_for_a_slow_receiver) {
  on_one_p([] {
    Rig rig;
    rig.stream.take_in_all(100);
    rig.stream.send(get("/big?300000") + get("/parts?3000") + get("/hello"));
    rig.stream.settle();
    EXPECT_EQ(rig.stream.written().size(), 100u);
    for (int i = 0; i < 1000 && rig.responses().back() != kHello; ++i) {
      rig.stream.take_in_all(777);
      rig.stream.settle();
    }
    EXPECT_EQ(rig.responses(),
              (std::vector<std::string>{"200 chunked [size 300000]", "200 chunked [size 30000]", kHello}));
  });
}

TEST(ServerConn, refuses_fields_that_would_break_the_response) {
  on_one_p([] {
    Rig rig([](Request&, ResponseWriter& w) {
      EXPECT_FALSE(w.set_header("X", "a\r\nY: b"));
      EXPECT_FALSE(w.set_header("X", "a\nb"));
      EXPECT_FALSE(w.set_header("X", std::string_view("a\0b", 3)));
      EXPECT_FALSE(w.set_header("X", "a\x7f"));
      EXPECT_FALSE(w.set_header("X", " a"));
      EXPECT_FALSE(w.set_header("X\r\nY", "a"));
      EXPECT_FALSE(w.set_header("X Y", "a"));
      EXPECT_FALSE(w.set_header("", "a"));
      for (const char* name : {"Transfer-Encoding", "connection", "DATE", "Keep-Alive", "Trailer", "Upgrade"}) {
        EXPECT_EQ(w.set_header(name, "chunked").error().code, Code::kUnsupported) << name;
      }
      EXPECT_FALSE(w.set_header("Content-Length", "+5"));
      EXPECT_FALSE(w.set_header("Content-Length", "99999999999999999999"));
      EXPECT_FALSE(w.set_header("X", std::string(13'000, 'x')));
      EXPECT_TRUE(w.set_header("A", "1"));
      EXPECT_TRUE(w.add_header("A", "2"));
      EXPECT_TRUE(w.add_header("B", "x"));
      EXPECT_TRUE(w.set_header("a", "3"));
      EXPECT_TRUE(w.set_header("C", std::string(3'000, 'c')));
      EXPECT_TRUE(w.set_header("B", "y"));
      EXPECT_TRUE(w.set_header("C", "z"));
      EXPECT_TRUE(w.set_header("E", ""));
      w.write("ok");
      EXPECT_FALSE(w.set_header("D", "late"));
      EXPECT_FALSE(w.status(404));
    });
    rig.stream.send(get("/"));
    rig.stream.settle();
    EXPECT_EQ(rig.responses(), std::vector<std::string>{"200 cl=2 a=3 B=y C=z E= [ok]"});
  });
}

TEST(ServerConn, refuses_connections_past_its_limit) {
  on_one_p([] {
    ServerOptions options;
    options.max_connections = 1;
    Rig rig(faces, options);
    MemoryStream second;
    EXPECT_EQ(rig.server.acceptor().on_accept(second), nullptr);
    EXPECT_EQ(rig.server.stats().refused, 1u);
    EXPECT_EQ(rig.server.stats().open, 1u);
  });
}

TEST(ServerConn, tells_what_a_handler_threw) {
  on_one_p([] {
    std::string told;
    ServerOptions options;
    options.on_handler_error = [&](const Request& r, std::exception_ptr what) {
      try {
        std::rethrow_exception(what);
      } catch (const std::exception& e) {
        told = std::string(r.path()) + ": " + e.what();
      }
    };
    Rig rig(faces, options);
    rig.stream.send(get("/throw"));
    rig.stream.settle();
    EXPECT_EQ(told, "/throw: handler");
    EXPECT_EQ(rig.server.stats().handler_errors, 1u);
  });
}

// The client goes away after each byte of a busy conversation, in each way.
TEST(ServerConn, survives_clients_that_vanish_at_any_point) {
  const std::string talk =
      get("/hello") + post("/stream", std::string(100, 'x')) + chunked("/count", "3\r\nabc\r\n0\r\n\r\n") +
      "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc" + get("/flushed?3");
  on_one_p([&] {
    for (const Code how : {Code::kEof, Code::kReset}) {
      for (const std::size_t taken : {std::size_t{0}, std::size_t{300}, MemoryStream::kNoLimit}) {
        for (std::size_t i = 0; i <= talk.size(); ++i) {
          Rig rig;
          rig.stream.take_in_all(taken);
          rig.stream.send(std::string_view(talk).substr(0, i));
          if (i % 3 != 0) rig.stream.settle();
          rig.stream.end(how);
          rig.stream.settle();
        }
      }
    }
  });
}

}  // namespace
}  // namespace heddle::http::test
