// Scripts: raw bytes against a handler and against a client, with splits that stay where they are; and the connection below.
#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

#include <heddle/core/go.h>
#include <heddle/core/test.h>
#include <heddle/core/wait_group.h>
#include <heddle/http/test_server.h>
#include <heddle/http/test_upstream.h>

namespace heddle::http::test {
namespace {

using namespace std::chrono_literals;

bool any_failure() { return testing::Test::HasFailure(); }

template <class Body>
void explore(std::uint64_t seeds, Body body) {
  heddle::test::explore(seeds, body, {.failed = &any_failure});
}

void echo(Request& request, ResponseWriter& w) { w.write(request.read_all(1 << 20).value_or("broken")); }

std::string told(Result<ClientResponse> response) {
  if (!response) return to_string(response.error().code);
  const Result<std::string> body = response->read_all(1 << 20);
  return std::to_string(response->status()) + " " + (body ? *body : to_string(body.error().code));
}

std::string next_read(net::Transport& conn, std::size_t most = 100) {
  std::vector<std::byte> buf(most);
  const Result<std::size_t> n = conn.read(buf);
  return n ? std::string(reinterpret_cast<const char*>(buf.data()), *n) : to_string(n.error().code);
}

TEST(TestConn, a_read_never_has_bytes_of_two_writes) {
  explore(20, [] {
    auto [near, far] = conn_pair({.capacity = 8});
    WaitGroup group;
    group.go([&conn = *near] {
      EXPECT_TRUE(conn.write(bytes_of("abc")));
      const iovec parts[] = {{const_cast<char*>("d"), 1}, {const_cast<char*>("ef"), 2}};
      EXPECT_TRUE(conn.writev(parts));
      EXPECT_TRUE(conn.write({}));
      EXPECT_TRUE(conn.write(bytes_of("g")));
      EXPECT_TRUE(conn.close_write());
    });
    EXPECT_EQ(next_read(*far), "abc");
    EXPECT_EQ(next_read(*far, 2), "de");
    EXPECT_EQ(next_read(*far), "f");
    EXPECT_EQ(next_read(*far), "g");
    EXPECT_EQ(next_read(*far), "");
    group.wait();
  });
}

TEST(TestConn, try_read_keeps_the_writers_splits_too) {
  heddle::test::run([] {
    auto [near, far] = conn_pair();
    std::array<std::byte, 10> buf;
    EXPECT_EQ(far->try_read(buf).error().code, Code::kWouldBlock);
    EXPECT_TRUE(near->write(bytes_of("ab")));
    EXPECT_TRUE(near->write(bytes_of("c")));
    EXPECT_EQ(far->try_read(buf), std::size_t{2});
    EXPECT_EQ(far->try_read(buf), std::size_t{1});
    near->close();
    EXPECT_EQ(far->try_read(buf), std::size_t{0});
  });
}

TEST(TestConn, a_reset_ends_the_peers_calls_and_loses_what_it_has_not_read) {
  explore(20, [] {
    auto [near, far] = conn_pair({.capacity = 4});
    EXPECT_TRUE(near->is_alive());
    WaitGroup group;
    group.go([&conn = *near] { EXPECT_EQ(next_read(conn), to_string(Code::kReset)); });
    group.go([&conn = *near] {
      const Result<void> written = conn.write(bytes_of("more than there is room for"));
      EXPECT_EQ(written.error().code, Code::kReset);
    });
    heddle::test::wait();
    far->reset();
    group.wait();
    EXPECT_FALSE(near->is_alive());
    EXPECT_EQ(next_read(*near), to_string(Code::kReset));
    EXPECT_EQ(next_read(*far), to_string(Code::kClosed));
  });
}

TEST(TestScript, bytes_reach_a_handler_at_every_split) {
  const std::string request =
      "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
  heddle::test::run([&] {
    TestServer server(echo);
    for (std::size_t cut = 1; cut < request.size(); ++cut) {
      const Played played = server.play(
          Script().send_split(request, {cut}).expect("HTTP/1.1 200 OK\r\n").expect_until("\r\n\r\nab").expect_end());
      EXPECT_EQ(played.problem, "") << cut;
    }
    const Played bytewise = server.play(Script().send_bytewise(request).expect_until("\r\n\r\nab").expect_end());
    EXPECT_EQ(bytewise.problem, "");
    EXPECT_TRUE(bytewise.received.starts_with("HTTP/1.1 200 OK\r\n"));
  });
}

TEST(TestScript, pauses_and_half_closes) {
  heddle::test::run([] {
    TestServer server(echo);
    const Played played = server.play(Script()
                                          .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
                                          .pause(20s)
                                          .send("cd")
                                          .expect_until("\r\n\r\n")
                                          .expect_size(4)
                                          .half_close()
                                          .expect_end());
    EXPECT_EQ(played.problem, "");
    EXPECT_TRUE(played.received.ends_with("\r\n\r\nabcd"));
  });
}

TEST(TestScript, tells_which_step_did_not_come_out_and_why) {
  heddle::test::run([] {
    TestServer server(echo);
    const auto problem = [&](const Script& rest) { return server.play(rest).problem; };
    EXPECT_EQ(problem(Script().send("GET / HTTP/1.0\r\n\r\n").expect("HTTP/1.1 404")),
              "step 2, expect \"HTTP/1.1 404\": came " +
                  to_literal(server.play(Script().send("GET / HTTP/1.0\r\n\r\n").expect_until("\r\n\r\n")).received));
    EXPECT_EQ(
        problem(Script().send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect_until("\r\n\r\n").patience(1s).expect_end()),
        "step 3, expect the end: read: timeout");
    EXPECT_EQ(problem(Script().half_close().expect("x")), "step 2, expect \"x\": the end came behind \"\"");
    server.close();
    EXPECT_EQ(problem(Script()), "no connection: dial: connection refused");
  });
}

TEST(TestUpstream, plays_one_script_for_each_connection) {
  explore(20, [] {
    TestUpstream upstream({
        Script()
            .expect("GET /a HTTP/1.1\r\n")
            .expect_until("\r\n\r\n")
            .send("HTTP/1.1 200 OK\r\nContent-Le")
            .pause(1s)
            .send("ngth: 2\r\n\r\no")
            .send("k")
            .expect_end(),
        Script().expect_until("\r\n\r\n").send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart").reset(),
        Script().expect_until("\r\n\r\n").send("HTTP/1.1 200 OK\r\n\r\nall").half_close().expect_end(),
    });
    {
      auto client = upstream.client();
      EXPECT_EQ(told(client.get(upstream.url("/a"))), "200 ok");
      client.close_idle();
      const std::string cut = told(client.get(upstream.url()));
      EXPECT_TRUE(cut == "connection reset" || cut == "200 connection reset") << cut;
      EXPECT_EQ(told(client.get(upstream.url())), "200 all");
      EXPECT_EQ(told(client.get(upstream.url())), "connection refused");
    }
    EXPECT_EQ(upstream.problem(), "");
  });
}

TEST(TestUpstream, tells_of_scripts_that_failed_or_that_nobody_dialed) {
  heddle::test::run([] {
    TestUpstream upstream({Script().expect("POST "), Script()});
    {
      auto client = upstream.client();
      static_cast<void>(told(client.get(upstream.url())));
    }
    EXPECT_TRUE(upstream.problem().starts_with("connection 1: step 1, expect \"POST \": came \"GET "))
        << upstream.problem();
    EXPECT_EQ(upstream.close()[1].problem, "nobody dialed");
  });
}

TEST(TestUpstream, a_clients_time_outs_go_by_the_tests_clock) {
  heddle::test::run([] {
    TestUpstream upstream({Script().expect_until("\r\n\r\n").patience(2h).expect_end()});
    auto client = upstream.client({.header_timeout = 1h});
    const TimePoint start = now();
    EXPECT_EQ(told(client.get(upstream.url())), "timeout");
    EXPECT_EQ(now() - start, 1h);
  });
}

TEST(TestScript, a_literal_shows_every_byte) {
  EXPECT_EQ(to_literal(std::string_view("a\r\n\t\\\"\0\x7f\xff", 9)), "\"a\\r\\n\\t\\\\\\\"\\x00\\x7f\\xff\"");
}

}  // namespace
}  // namespace heddle::http::test
