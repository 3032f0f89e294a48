// TestServer: whole exchanges in memory, under every schedule and on a clock that costs nothing.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <optional>
#include <stdexcept>
#include <string>

#include <heddle/core/chan.h>
#include <heddle/core/run.h>
#include <heddle/core/test.h>
#include <heddle/core/wait_group.h>
#include <heddle/http/mux.h>
#include <heddle/http/test_faults.h>
#include <heddle/http/test_server.h>

namespace heddle::http::test {
namespace {

using namespace std::chrono_literals;

bool any_failure() { return testing::Test::HasFailure(); }

/// Under some seeds, in bubbles.
template <class Body>
void explore(std::uint64_t seeds, Body body) {
  heddle::test::explore(seeds, body, {.failed = &any_failure});
}

void hello(Request& request, ResponseWriter& w) {
  const Result<std::string> body = request.read_all(1 << 20);
  w.write("hello " + std::string(request.path()) + " " + body.value_or("broken"));
}

std::string told(Result<ClientResponse> response) {
  if (!response) return to_string(response.error().code);
  const Result<std::string> body = response->read_all(1 << 20);
  return std::to_string(response->status()) + " " + (body ? *body : to_string(body.error().code));
}

TEST(TestServer, answers_its_client_under_any_schedule) {
  explore(30, [] {
    TestServer server(hello);
    auto client = server.client();
    EXPECT_EQ(told(client.get("http://example.test/a")), "200 hello /a ");
    EXPECT_EQ(told(client.post({}, server.url("/b"), "text/plain", RequestBody::bytes("body"))), "200 hello /b body");
    EXPECT_EQ(server.stats().accepted, 2u) << "one connection for each host";
  });
}

TEST(TestServer, serves_many_clients_at_once_and_keeps_their_connections) {
  explore(20, [] {
    TestServer server(hello);
    auto client = server.client({.max_per_origin = 3});
    WaitGroup group;
    for (int i = 0; i < 8; ++i) {
      group.go([&, i] {
        const std::string n = std::to_string(i);
        EXPECT_EQ(told(client.get(server.url("/" + n))), "200 hello /" + n + " ");
      });
    }
    group.wait();
    EXPECT_LE(server.stats().accepted, 3u);
  });
}

TEST(TestServer, an_hour_of_idle_timeout_takes_no_time) {
  const auto before = std::chrono::steady_clock::now();
  heddle::test::run([] {
    TestServer server(hello, {.server = {.idle_timeout = 1h}});
    auto client = server.client({.idle_timeout = 0s});
    EXPECT_EQ(told(client.get(server.url())), "200 hello / ");
    heddle::sleep(59min + 59s);
    heddle::test::wait();
    EXPECT_EQ(server.stats().open, 1u);
    heddle::sleep(10s);
    heddle::test::wait();
    EXPECT_EQ(server.stats().open, 0u);
  });
  EXPECT_LT(std::chrono::steady_clock::now() - before, 10min);
}

TEST(TestServer, the_servers_time_outs_go_by_the_tests_clock) {
  heddle::test::run([] {
    TestServer server(hello, {.server = {.header_timeout = 20min, .body_timeout = 30min}});
    const TimePoint start = now();
    EXPECT_EQ(server.play(Script().patience(2h).send("GET / HT").expect_until("\r\n\r\n").expect_size(0)).problem, "");
    EXPECT_GE(now() - start, 20min);
    EXPECT_LT(now() - start, 21min);
  });
}

TEST(TestServer, a_body_flows_through_a_network_that_holds_little_both_ways_at_once) {
  const std::string text = [] {
    std::string all;
    for (int i = 0; all.size() < 200'000; ++i) all += std::to_string(i) + " ";
    return all;
  }();
  heddle::test::run([&] {
    TestServer server(
        [](Request& request, ResponseWriter& w) {
          std::array<std::byte, 3000> buf;
          for (;;) {
            const Result<std::size_t> n = request.read(buf);
            if (!n || *n == 0) return;
            if (!w.write(std::span(buf).first(*n)) || !w.flush()) return;
          }
        },
        {.capacity = 512});
    auto client = server.client();
    EXPECT_EQ(told(client.post({}, server.url(), "text/plain", RequestBody::bytes(text))), "200 " + text);
  });
}

TEST(TestServer, a_peer_that_takes_nothing_is_dropped_at_write_timeout) {
  heddle::test::run([] {
    std::atomic<bool> failed{false};
    TestServer server(
        [&](Request&, ResponseWriter& w) {
          const std::string much(1 << 20, 'x');
          failed = !w.write(much) || !w.flush();
        },
        {.server = {.write_timeout = 5min}, .capacity = 1000});
    auto conn = server.dial();
    ASSERT_TRUE(conn);
    ASSERT_TRUE((*conn)->write(bytes_of("GET / HTTP/1.1\r\nHost: a\r\n\r\n")));
    heddle::sleep(4min);
    EXPECT_FALSE(failed);
    heddle::sleep(2min);
    EXPECT_TRUE(failed);
    heddle::sleep(10min);  // what had been written is given up, too
    heddle::test::wait();
    EXPECT_EQ(server.stats().open, 0u);
  });
}

TEST(TestServer, a_client_that_leaves_ends_the_requests_context) {
  explore(20, [] {
    const Chan<Code> ended = make_chan<Code>(1);
    TestServer server([&](Request& request, ResponseWriter&) {
      const Context ctx = request.context();
      static_cast<void>(ctx.done().recv());
      ended.send(ctx.cause() ? ctx.cause()->code : Code::kOk);
    });
    {
      auto conn = server.dial();
      ASSERT_TRUE(conn);
      ASSERT_TRUE((*conn)->write(bytes_of("GET / HTTP/1.1\r\nHost: a\r\n\r\n")));
      heddle::test::wait();
      (*conn)->reset();
    }
    EXPECT_EQ(ended.recv(), Code::kReset);
  });
}

TEST(TestServer, close_waits_for_requests_and_refuses_what_comes_later) {
  explore(10, [] {
    const Chan<int> begun = make_chan<int>(1);
    bool done = false;
    std::optional<TestServer> server(std::in_place, [&](Request&, ResponseWriter& w) {
      begun.send(1);
      heddle::sleep(3s);
      done = true;
      w.write("late");
    });
    auto client = server->client();
    WaitGroup group;
    group.go([&] { EXPECT_EQ(told(client.get(server->url())), "200 late"); });
    static_cast<void>(begun.recv());
    EXPECT_TRUE(server->close());
    EXPECT_TRUE(done);
    group.wait();
    EXPECT_EQ(told(client.get(server->url())), "connection refused");
    server.reset();
    EXPECT_EQ(told(client.get("http://server.test/")), "connection refused");
  });
}

TEST(TestServer, close_cuts_what_does_not_end_in_time) {
  heddle::test::run([] {
    TestServer server([](Request& request, ResponseWriter& w) {
      w.write("part");
      w.flush();
      static_cast<void>(request.context().done().recv());
    });
    auto client = server.client();
    auto response = client.get(server.url());
    ASSERT_TRUE(response);
    EXPECT_FALSE(server.close(2s));
    EXPECT_FALSE(response->read_all(100));
  });
}

TEST(TestServer, handlers_see_the_clients_address_and_clients_the_servers) {
  heddle::test::run([] {
    const auto peer = [](Request& request, ResponseWriter& w) { w.write(request.peer_address()); };
    {
      TestServer server(peer, {.client_address = *net::Address::parse("[2001:db8::1]:99")});
      auto client = server.client();
      EXPECT_EQ(told(client.get(server.url())), "200 [2001:db8::1]:99");
    }
    TestServer server(peer);
    auto client = server.client();
    EXPECT_EQ(told(client.get(server.url())), "200 192.0.2.1:49152");
    EXPECT_EQ(told(client.get("http://other.test/")), "200 192.0.2.1:49153");
  });
}

TEST(TestServer, takes_a_mux_and_runs_by_the_real_clock_too) {
  heddle::run([] {
    Mux mux;
    mux.handle("GET /users/{id}",
               [](Request& r, ResponseWriter& w) { w.write("user " + std::string(r.path_value("id"))); });
    TestServer server(mux);
    auto client = server.client();
    EXPECT_EQ(told(client.get(server.url("/users/7"))), "200 user 7");
    EXPECT_EQ(told(client.get(server.url("/nobody"))).substr(0, 3), "404");
  });
}

TEST(TestServer, serves_goroutines_of_several_ps_over_a_network_with_faults) {
  heddle::run(
      [] {
        const Faults faults{.read_at_most = 40, .write_at_most = 30};
        TestServer server(hello,
                          {.capacity = 100, .client_end = with_faults(faults), .server_end = with_faults(faults)});
        auto client = server.client({.max_per_origin = 5});
        const std::string text(300, 'x');
        WaitGroup group;
        for (int i = 0; i < 10; ++i) {
          group.go([&] {
            for (int k = 0; k < 10; ++k) {
              EXPECT_EQ(told(client.post({}, server.url("/a"), "text/plain", RequestBody::bytes(text))),
                        "200 hello /a " + text);
            }
          });
          group.go([&] {
            const Result<std::unique_ptr<TestConn>> conn = server.dial();
            ASSERT_TRUE(conn);
            static_cast<void>((*conn)->write(bytes_of("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET")));
            std::byte one;
            static_cast<void>((*conn)->read({&one, 1}));
            (*conn)->reset();
          });
        }
        group.wait();
        client.close_idle();
        EXPECT_TRUE(server.close());
        EXPECT_EQ(server.stats().open, 0u);
      },
      {.procs = 4});
}

TEST(TestServer, listens_on_a_port_of_the_loopback_as_well) {
  heddle::run([] {
    TestServer server(hello);
    const Result<std::string> url = server.listen_loopback();
    ASSERT_TRUE(url) << url.error().message();
    EXPECT_EQ(server.url("/a"), *url + "/a");
    {
      Client over_sockets({.proxy = nullptr});
      EXPECT_EQ(told(over_sockets.get(server.url("/a"))), "200 hello /a ");
      auto in_memory = server.client();
      EXPECT_EQ(told(in_memory.get(server.url("/b"))), "200 hello /b ");
    }
    EXPECT_TRUE(server.close());
  });
}

}  // namespace
}  // namespace heddle::http::test
