// FaultyTransport: a bad network keeps a Transport's promises, and server and client keep theirs over it.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include <heddle/core/go.h>
#include <heddle/core/test.h>
#include <heddle/core/wait_group.h>
#include <heddle/http/test_faults.h>
#include <heddle/http/test_upstream.h>

namespace heddle::http::test {
namespace {

using namespace std::chrono_literals;

bool any_failure() { return testing::Test::HasFailure(); }

template <class Body>
void explore(std::uint64_t seeds, Body body) {
  heddle::test::explore(seeds, body, {.failed = &any_failure});
}

void echo(Request& request, ResponseWriter& w) {
  const Result<std::string> body = request.read_all(1 << 20);
  if (body) w.write("echo " + *body);
}

std::string told(Result<ClientResponse> response) {
  if (!response) return to_string(response.error().code);
  const Result<std::string> body = response->read_all(1 << 20);
  return std::to_string(response->status()) + " " + (body ? *body : to_string(body.error().code));
}

std::string next_read(net::Transport& conn) {
  std::vector<std::byte> buf(100);
  const Result<std::size_t> n = conn.read(buf);
  return n ? std::string(reinterpret_cast<const char*>(buf.data()), *n) : to_string(n.error().code);
}

std::string post(TestServer& server, const std::string& text) {
  auto client = server.client();
  return told(client.post({}, server.url(), "text/plain", RequestBody::bytes(text)));
}

TEST(TestFaults, server_and_client_stand_a_network_of_single_bytes) {
  heddle::test::run([] {
    const Faults bytewise{.read_at_most = 1, .write_at_most = 1};
    TestServer server(echo, {.client_end = with_faults(bytewise), .server_end = with_faults(bytewise)});
    EXPECT_EQ(post(server, std::string(300, 'x')), "200 echo " + std::string(300, 'x'));
  });
}

TEST(TestFaults, delays_go_by_the_tests_clock) {
  heddle::test::run([] {
    TestServer server(echo, {.client_end = with_faults({.read_delay = 3s, .write_delay = 5s})});
    const TimePoint start = now();
    EXPECT_EQ(post(server, "x"), "200 echo x");
    EXPECT_EQ(now() - start, 8s);
  });
}

TEST(TestFaults, a_connection_cut_at_any_byte_is_never_taken_for_a_whole_answer) {
  heddle::test::run([] {
    TestServer whole(echo);
    ASSERT_EQ(post(whole, "body"), "200 echo body");
    int cuts = 0;
    for (const CutBy how : {CutBy::kReset, CutBy::kEnd}) {
      for (std::uint64_t at = 0;; ++at) {
        TestServer server(echo, {.client_end = with_faults({.cut_read_after = at, .cut_by = how})});
        const std::string answer = post(server, "body");
        if (answer == "200 echo body") break;
        ++cuts;
        const std::string broken = to_string(how == CutBy::kReset ? Code::kReset : Code::kEof);
        EXPECT_TRUE(answer == broken || answer == "200 " + broken) << at << ": " << answer;
        ASSERT_LT(at, 1000u);
      }
    }
    EXPECT_GT(cuts, 100);
  });
}

TEST(TestFaults, a_request_cut_at_any_byte_is_never_shown_whole_to_the_handler) {
  heddle::test::run([] {
    for (std::uint64_t at = 0;; ++at) {
      ASSERT_LT(at, 1000u);
      bool seen = false;
      std::string answer;
      {
        TestServer server(
            [&](Request& request, ResponseWriter&) { seen = request.read_all(100).value_or("") == "body"; },
            {.client_end = with_faults({.cut_write_after = at})});
        answer = post(server, "body");
      }
      if (answer == "200 ") break;
      EXPECT_FALSE(seen) << at;
    }
  });
}

TEST(TestFaults, a_delayed_call_ends_at_its_deadline_and_keeps_the_bytes) {
  explore(10, [] {
    auto [near, far] = conn_pair();
    FaultyTransport slow(std::move(near), {.read_delay = 10s, .write_delay = 10s});
    EXPECT_TRUE(far->write(bytes_of("abc")));
    const TimePoint start = now();
    slow.set_deadline(now() + 1s);
    EXPECT_EQ(next_read(slow), "timeout");
    EXPECT_EQ(slow.write(bytes_of("x")).error().code, Code::kTimeout);
    EXPECT_EQ(now() - start, 1s);
    slow.set_deadline(kNoDeadline);
    EXPECT_EQ(next_read(slow), "abc");
    EXPECT_EQ(now() - start, 10s);
    auto [ctx, cancel] = with_timeout({}, 2s);
    std::byte one;
    EXPECT_TRUE(far->write(bytes_of("d")));
    EXPECT_EQ(slow.read(ctx, {&one, 1}).error().code, Code::kTimeout);
    cancel();
  });
}

TEST(TestFaults, close_close_read_and_cut_end_calls_that_wait) {
  explore(10, [] {
    for (const int how : {0, 1, 2, 3}) {
      auto [near, far] = conn_pair();
      FaultyTransport slow(std::move(near), {.read_delay = how < 3 ? Duration(1h) : Duration(0)});
      if (how < 3) {
        EXPECT_TRUE(far->write(bytes_of("abc")));
      }
      WaitGroup group;
      std::string got;
      group.go([&] { got = next_read(slow); });
      heddle::test::wait();
      if (how == 0) slow.close();
      if (how == 1) {
        EXPECT_TRUE(slow.close_read());
      }
      if (how >= 2) slow.cut();
      group.wait();
      EXPECT_EQ(got, how == 0 ? to_string(Code::kClosed) : how == 1 ? "" : to_string(Code::kReset)) << how;
      if (how == 2) {
        EXPECT_EQ(next_read(*far), to_string(Code::kReset));
      }
    }
  });
}

TEST(TestFaults, bytes_that_are_held_are_bytes_that_were_not_read) {
  heddle::test::run([] {
    const std::string ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    TestUpstream upstream({Script().expect_until("\r\n\r\n").send(ok + ok).expect_end(),
                           Script().expect_until("\r\n\r\n").send(ok).expect_end()});
    {
      Client client = upstream.client({}, with_faults({.read_at_most = ok.size(), .read_delay = 1s}));
      EXPECT_EQ(told(client.get(upstream.url())), "200 ok");
      heddle::sleep(5s);
      EXPECT_EQ(told(client.get(upstream.url())), "200 ok");
    }
    EXPECT_EQ(upstream.problem(), "");  // the surplus was no answer to the second request
  });
}

TEST(TestFaults, a_cut_is_for_both_directions_and_stays) {
  heddle::test::run([] {
    auto [near, far] = conn_pair();
    FaultyTransport bad(std::move(near), {.cut_read_after = 2, .cut_by = CutBy::kEnd});
    EXPECT_TRUE(far->write(bytes_of("abc")));
    EXPECT_EQ(next_read(bad), "ab");
    EXPECT_EQ(next_read(bad), "");
    EXPECT_EQ(next_read(bad), "");
    EXPECT_EQ(bad.write(bytes_of("x")).error().code, Code::kReset);
    EXPECT_FALSE(bad.is_alive());
    EXPECT_EQ(next_read(*far), "");
  });
}

TEST(TestFaults, a_clients_upstream_can_be_harmed_too) {
  heddle::test::run([] {
    TestUpstream upstream(
        {Script().expect_until("\r\n\r\n").send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole").expect_end()});
    {
      auto client = upstream.client({}, with_faults({.read_at_most = 1, .read_delay = 1s}));
      EXPECT_EQ(told(client.get(upstream.url())), "200 whole");
    }
    EXPECT_EQ(upstream.problem(), "");
  });
}

}  // namespace
}  // namespace heddle::http::test
