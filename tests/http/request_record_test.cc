// What is told of requests when they are over: when, how often, and whether it is true.
#include <heddle/http/mux.h>
#include <heddle/http/request_id.h>
#include <heddle/http/request_record.h>

#include <mutex>
#include <string>
#include <vector>

#include "sockets.h"

namespace heddle::http::test {
namespace {

/// Keeps one line for each record.
class Records {
 public:
  ServerOptions options() {
    ServerOptions o;
    o.on_request_done = [this](const RequestRecord& r) {
      std::string line(r.method);
      line.append(" ").append(r.target).append(" ").append(std::to_string(r.status));
      line += " in=" + std::to_string(r.bytes_received) + " out=" + std::to_string(r.bytes_sent);
      if (r.refused) line += " refused";
      if (!r.whole) line += " cut";
      if (r.client_gone) line += " gone";
      if (!r.route.empty()) line.append(" route=").append(r.route);
      if (!r.id.empty()) line.append(" id=").append(r.id);
      if (r.minor_version != 1) line += " minor=" + std::to_string(r.minor_version);
      const std::lock_guard guard(lock_);
      lines_.push_back(line);
      took.push_back(r.took);
      first.push_back(r.first_byte);
      peers.emplace_back(r.peer);
      agents.emplace_back(r.headers.find("User-Agent").value_or("-"));
    };
    return o;
  }
  std::vector<std::string> lines() {
    const std::lock_guard guard(lock_);
    return lines_;
  }

  std::vector<Duration> took;
  std::vector<std::optional<Duration>> first;
  std::vector<std::string> peers;
  std::vector<std::string> agents;

 private:
  std::mutex lock_;
  std::vector<std::string> lines_;
};

struct Told {
  std::vector<std::string> lines;
  std::size_t sent = 0;  // bytes
};

Told told(std::string_view bytes, const Handler& handler = faces) {
  Told t;
  on_one_p([&] {
    Records records;
    Rig rig(handler, records.options());
    rig.stream.send(bytes);
    rig.stream.settle();
    t = {records.lines(), rig.stream.written().size()};
  });
  return t;
}

TEST(RequestRecord, tells_bytes_status_and_target) {
  const std::string request = "GET /hello?a=b HTTP/1.1\r\nHost: a\r\n\r\n";
  const Told one = told(request);
  EXPECT_EQ(one.lines, std::vector<std::string>{"GET /hello?a=b 200 in=" + std::to_string(request.size()) +
                                                " out=" + std::to_string(one.sent)});
  const std::string post = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
  const Told echoed = told(post);
  EXPECT_EQ(echoed.lines, std::vector<std::string>{"POST /echo 200 in=" + std::to_string(post.size()) +
                                                   " out=" + std::to_string(echoed.sent)});
  const Told big = told("GET /big?100000 HTTP/1.0\r\n\r\n");
  EXPECT_EQ(big.lines,
            std::vector<std::string>{"GET /big?100000 200 in=28 out=" + std::to_string(big.sent) + " minor=0"});
}

TEST(RequestRecord, of_pipelined_requests_is_one_for_each_with_its_own_bytes) {
  const std::string get = "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n";
  const Told one = told(get);
  const Told three = told(get + get + get);
  ASSERT_EQ(three.lines.size(), 3u);
  for (const std::string& line : three.lines) EXPECT_EQ(line, one.lines.at(0));
}

TEST(RequestRecord, of_a_refused_head_tells_what_is_known) {
  const struct {
    std::string bytes;
    std::string line;  // up to " out="
  } kTable[] = {
      {"GET / HTTP/1.1\r\n\r\n", "GET / 400 in=18"},
      {"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", "GET"},
      {"BREW /pot HTTP/1.1\r\nHost: a\r\n\r\n", "BREW"},
      {"GET / HTTP/2.0\r\n\r\n", "GET"},
      {"GET /" + std::string(9000, 'a') + " HTTP/1.1\r\n\r\n", "GET /aaa"},
      {"\x16\x03\x01\x02\r\n", ""},
      {"GET / HTTP/1.1\r\nHost: a\r\nA: " + std::string(40'000, 'a') + "\r\n\r\n", "GET / 431"},
  };
  for (const auto& row : kTable) {
    for (const std::size_t cut : {row.bytes.size(), std::size_t{1}, std::size_t{9}}) {
      on_one_p([&] {
        Records records;
        Rig rig(faces, records.options());
        rig.stream.send(row.bytes.substr(0, std::min(cut, row.bytes.size())));
        rig.stream.settle();
        rig.stream.send(row.bytes.substr(std::min(cut, row.bytes.size())));
        rig.stream.settle();
        const std::vector<std::string> lines = records.lines();
        ASSERT_EQ(lines.size(), 1u) << row.bytes.substr(0, 40);
        EXPECT_TRUE(lines[0].starts_with(row.line)) << lines[0];
        EXPECT_NE(lines[0].find(" out=" + std::to_string(rig.stream.written().size()) + " refused"), std::string::npos)
            << lines[0];
      });
    }
  }
}

TEST(RequestRecord, of_a_head_that_takes_too_long_is_a_408) {
  const FakeTime time;
  on_one_p([] {
    Records records;
    Rig rig(faces, records.options());
    rig.stream.send("GET /slow HTTP/1.1\r\nHos");
    rig.stream.settle();
    FakeTime::pass(11s);
    rig.stream.settle();
    ASSERT_EQ(records.lines().size(), 1u);
    EXPECT_TRUE(records.lines()[0].starts_with("GET /slow 408 in=23 ")) << records.lines()[0];
  });
}

TEST(RequestRecord, measures_time_to_the_first_and_to_the_last_byte) {
  const FakeTime time;
  on_one_p([] {
    Records records;
    Rig rig(
        [](Request&, ResponseWriter& w) {
          FakeTime::pass(5ms);
          w.write("a");
          w.flush();
          FakeTime::pass(7ms);
          w.write("b");
        },
        records.options());
    rig.stream.send("GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: me\r\n\r\n");
    rig.stream.settle();
    ASSERT_EQ(records.lines().size(), 1u);
    EXPECT_EQ(records.first[0], 5ms);
    EXPECT_EQ(records.took[0], 12ms);
    EXPECT_EQ(records.agents[0], "me");
    EXPECT_EQ(records.peers[0], "memory:1");
  });
}

TEST(RequestRecord, comes_after_the_kernel_has_the_response) {
  on_one_p([] {
    Records records;
    Rig rig(faces, records.options());
    rig.stream.take_in_all(20);
    rig.stream.send("GET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    rig.stream.settle();
    EXPECT_TRUE(records.lines().empty());
    rig.stream.take_in_all(MemoryStream::kNoLimit);
    rig.stream.settle();
    EXPECT_EQ(records.lines().size(), 1u);
  });
}

TEST(RequestRecord, tells_who_went_and_what_was_cut) {
  EXPECT_NE(told("GET /throw-flushed HTTP/1.1\r\nHost: a\r\n\r\n").lines.at(0).find(" cut"), std::string::npos);
  EXPECT_NE(told("GET /throw HTTP/1.1\r\nHost: a\r\n\r\n").lines.at(0).find(" 500 "), std::string::npos);
  on_one_p([] {
    Records records;
    Rig rig(faces, records.options());
    rig.stream.take_in_all(30);
    rig.stream.send("GET /big?100000 HTTP/1.1\r\nHost: a\r\n\r\n");
    rig.stream.settle();
    rig.stream.end(Code::kReset);
    rig.stream.settle();
    EXPECT_EQ(records.lines(), std::vector<std::string>{"GET /big?100000 200 in=37 out=30 cut gone"});
  });
}

TEST(RequestRecord, knows_the_route_and_the_id) {
  Mux mux;
  mux.use(request_id());
  mux.handle("GET /users/{id}", [](Request& r, ResponseWriter&) {
    if (r.path_value("id") == "7") throw 1;
  });
  const std::string fields = " HTTP/1.1\r\nHost: a\r\nX-Request-Id: abc\r\n\r\n";
  EXPECT_TRUE(told("GET /users/5" + fields, mux).lines.at(0).ends_with(" route=GET /users/{id} id=abc"));
  EXPECT_TRUE(told("GET /users/7" + fields, mux).lines.at(0).ends_with(" route=GET /users/{id} id=abc"));
  const std::vector<std::string> two = told("GET /users/5" + fields + "GET /x" + fields, mux).lines;
  EXPECT_EQ(two.at(1).find("route="), std::string::npos);  // nothing is left of the one before
  EXPECT_EQ(two.at(1).find("id="), std::string::npos);
}

TEST(RequestRecord, comes_from_sockets_with_their_address) {
  Records records;
  with_server(
      2,
      [](std::uint16_t port) {
        for (int i = 0; i < 20; ++i) {
          Socket socket(port);
          ASSERT_TRUE(socket.send("GET /hello HTTP/1.1\r\nHost: a\r\n\r\nGET /count HTTP/1.1\r\nHost: a\r\n\r\n"));
          EXPECT_FALSE(socket.read_response().empty());
          EXPECT_FALSE(socket.read_response().empty());
          socket.reset();
        }
      },
      records.options());
  EXPECT_EQ(records.lines().size(), 40u);
  for (const std::string& peer : records.peers) EXPECT_TRUE(peer.starts_with("127.0.0.1:")) << peer;
}

}  // namespace
}  // namespace heddle::http::test
