// The client against servers that follow a script, good manners or none: what may be reused, what is repeated, what is refused.
#include <heddle/core/context.h>
#include <heddle/core/test.h>
#include <heddle/http/status.h>
#include <heddle/http/test_upstream.h>
#include <heddle/net/unix.h>

#include <cstring>
#include <vector>

#include "../net/unix_test_util.h"
#include "client_test_util.h"

namespace heddle::http::test {
namespace {

TEST(ClientWire, what_is_no_clean_end_is_not_used_again) {
  with_network([] {
    const std::string_view answers[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi surplus",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
    };
    for (const std::string_view answer : answers) {
      Scripted server([answer](Peer& peer, int) {
        while (!peer.head().empty()) peer.say(answer);
      });
      Client client(plain());
      EXPECT_EQ(told(client.get(server.url())), "200 [hi]") << answer;
      EXPECT_EQ(client.stats().open, 0U) << answer;
      EXPECT_EQ(told(client.get(server.url())), "200 [hi]") << answer;
      EXPECT_EQ(server.connections, 2) << answer;
    }
    for (const std::string_view answer :
         {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
          "HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nhi",
          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nA: b\r\n\r\n"}) {
      Scripted server([answer](Peer& peer, int) {
        while (!peer.head().empty()) peer.say(answer);
      });
      Client client(plain());
      EXPECT_EQ(told(client.get(server.url())), "200 [hi]") << answer;
      EXPECT_EQ(told(client.get(server.url())), "200 [hi]") << answer;
      EXPECT_EQ(server.connections, 1) << answer;
      ClientRequest last = request_to(server.url());
      last.close = true;
      EXPECT_EQ(told(client.send(last)), "200 [hi]") << answer;
      EXPECT_EQ(client.stats().open, 0U) << answer;
    }
  });
}

TEST(ClientWire, broken_answers_are_errors_and_end_the_connection) {
  with_network([] {
    const struct {
      std::string_view answer;
      std::string_view result;
    } kTable[] = {
        {"", "end of stream"},
        {"HTTP/1.1 200 OK\r\nContent-Le", "end of stream"},
        {"SSH-2.0-OpenSSH\r\n", "protocol error"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "protocol error"},
        {"HTTP/1.1 101 Switching Protocols\r\n\r\n", "protocol error"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi", "200 [hi] then end of stream"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n", "200 [hi] then end of stream"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhixx\r\n", "200 [] then protocol error"},
        {"HTTP/1.1 200 OK\r\n\r\nto the end", "200 [to the end]"},
    };
    for (const auto& row : kTable) {
      Scripted server([&row](Peer& peer, int) {
        peer.head();
        peer.say(row.answer);
      });
      Client client(plain());
      EXPECT_EQ(told(client.get(server.url())), row.result) << row.answer;
      EXPECT_EQ(client.stats().open, 0U);
      EXPECT_EQ(server.connections, 1) << "a fresh connection is not tried twice";
    }
    ClientOptions options = plain();
    options.max_head_bytes = 1000;
    Scripted endless([](Peer& peer, int) {
      peer.head();
      if (!peer.say("HTTP/1.1 200 OK\r\n")) return;
      while (peer.say("A: bbbbbbbbbbbbbbbbbbbbbbbbbbb\r\n")) {
      }
    });
    Client client(options);
    EXPECT_EQ(told(client.get(endless.url())), to_string(Code::kLimit));
    Scripted hints([](Peer& peer, int) {
      peer.head();
      while (peer.say("HTTP/1.1 103 Early Hints\r\n\r\n")) {
      }
    });
    EXPECT_EQ(told(client.get(hints.url())), "protocol error");
  });
}

TEST(ClientWire, a_stale_connection_never_surfaces_for_what_may_be_repeated) {
  with_network([] {
    // The first connection answers once, takes the next request, and goes without a word.
    const auto stale = [](Peer& peer, int n) {
      peer.head();
      peer.ok("first");
      if (n == 0) {
        peer.head();
        return;
      }
      while (!peer.head().empty()) peer.ok("again");
    };
    for (const Method method : {Method::kGet, Method::kPut, Method::kDelete, Method::kOptions}) {
      Scripted server(stale);
      Client client(plain());
      EXPECT_EQ(told(client.get(server.url())), "200 [first]");
      EXPECT_EQ(told(client.send(request_to(server.url(), method))), "200 [first]");
      EXPECT_EQ(server.connections, 2);
    }
    {
      Scripted server(stale);
      Client client(plain());
      EXPECT_EQ(told(client.get(server.url())), "200 [first]");
      const std::string result = told(client.send(request_to(server.url(), Method::kPost)));
      EXPECT_EQ(result, "end of stream") << "a POST goes out once";
      EXPECT_EQ(server.connections, 1);
    }
    {
      Scripted server(stale);
      Client client(plain());
      EXPECT_EQ(told(client.get(server.url())), "200 [first]");
      ClientRequest request = request_to(server.url(), Method::kPost);
      ASSERT_TRUE(request.headers.set("Idempotency-Key", "7"));
      EXPECT_EQ(told(client.send(request)), "200 [first]");
    }
    {
      // A byte of an answer came: it was seen.
      Scripted server([](Peer& peer, int) {
        peer.head();
        peer.ok("first");
        peer.head();
        peer.say("H");
      });
      Client client(plain());
      EXPECT_EQ(told(client.get(server.url())), "200 [first]");
      EXPECT_EQ(told(client.get(server.url())), "end of stream");
      EXPECT_EQ(server.connections, 1);
    }
    {
      // A stream that can be sent once only.
      Scripted server(stale);
      Client client(plain());
      EXPECT_EQ(told(client.get(server.url())), "200 [first]");
      ClientRequest request = request_to(server.url(), Method::kPut);
      request.body =
          RequestBody::callback([n = 1](std::span<std::byte>) mutable -> Result<std::size_t> { return n--; });
      const std::string result = told(client.send(request));
      EXPECT_TRUE(result == "end of stream" || result == to_string(Code::kReset)) << result;
      EXPECT_EQ(server.connections, 1);
    }
  });
}

TEST(ClientWire, a_source_that_fails_is_not_taken_for_a_stale_connection) {
  with_network([] {
    Scripted server([](Peer& peer, int) {
      peer.head();
      peer.ok();
      peer.head();
      peer.wait_for_end();
    });
    Client client(plain());
    EXPECT_EQ(told(client.get(server.url())), "200 []");
    int opened = 0;
    ClientRequest request = request_to(server.url(), Method::kPut);
    request.body = RequestBody::stream_from(
        [&opened]() -> Result<std::shared_ptr<net::Reader>> {
          ++opened;
          return std::unexpected(Error{Code::kEof, 0, "source"});
        },
        10);
    EXPECT_EQ(told(client.send(request)), "end of stream");
    EXPECT_EQ(opened, 1);
    EXPECT_EQ(server.connections, 1);
  });
}

TEST(ClientWire, a_body_is_opened_anew_when_it_is_sent_again) {
  with_network([] {
    Scripted server([](Peer& peer, int n) {
      peer.head();
      if (n == 0) {
        peer.ok();
        peer.head();  // and goes
        return;
      }
      peer.ok(peer.body(3));
      peer.wait_for_end();
    });
    Client client(plain());
    EXPECT_EQ(told(client.get(server.url())), "200 []");
    std::atomic<int> opened{0};
    ClientRequest request = request_to(server.url(), Method::kPut);
    request.body = RequestBody::stream_from(
        [&opened]() -> Result<std::shared_ptr<net::Reader>> {
          class Abc final : public net::Reader {
            [[nodiscard]] Result<std::size_t> read(std::span<std::byte> buf) override {
              std::memcpy(buf.data(), "abc", 3);
              return 3;
            }
          };
          ++opened;
          return std::make_shared<Abc>();
        },
        3);
    EXPECT_EQ(told(client.send(request)), "200 [abc]");
    EXPECT_EQ(opened, 2);
    EXPECT_EQ(server.connections, 2);
  });
}

TEST(ClientWire, a_connection_that_died_while_idle_is_seen_before_it_is_used) {
  with_network([] {
    const Chan<int> go_away = make_chan<int>();
    const Chan<int> say_late = make_chan<int>();
    Scripted server([&](Peer& peer, int n) {
      peer.head();
      peer.ok(std::to_string(n));
      if (n == 0) static_cast<void>(go_away.recv());
      if (n == 1) {
        static_cast<void>(say_late.recv());
        peer.say("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
      }
      if (n >= 1) peer.wait_for_end();
    });
    ClientOptions options = plain();
    net::Transport* last = nullptr;
    options.dial = [&](const Context& ctx, const DialTarget& target) {
      auto made = dial_target(ctx, target);
      if (made) last = made->get();
      return made;
    };
    Client client(options);
    std::vector<bool> reused;
    auto trace = std::make_shared<ClientTrace>();
    trace->got_conn = [&](const ClientTrace::GotConn& c) { reused.push_back(c.reused); };
    ClientRequest request = request_to(server.url(), Method::kPost);  // never repeated
    request.trace = trace;
    EXPECT_EQ(told(client.send(request)), "200 [0]");
    go_away.close();
    // The pool holds it, and the kernel has told of its end.
    const auto until_dead = [&] {
      for (const TimePoint until = net::test::patience(); last->is_alive() && now() < until;) sleep(1ms);
    };
    until_dead();
    EXPECT_EQ(told(client.send(request)), "200 [1]");
    say_late.close();
    until_dead();
    EXPECT_EQ(told(client.send(request)), "200 [2]");
    EXPECT_EQ(reused, (std::vector<bool>{false, false, false}));
  });
}

TEST(ClientWire, an_early_answer_ends_the_upload_and_the_connection) {
  with_network([] {
    Scripted server([](Peer& peer, int) {
      peer.head();
      peer.say("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno");
      peer.wait_for_end();
    });
    Client client(plain());
    ClientRequest request = request_to(server.url(), Method::kPost);
    const Chan<int> never = make_chan<int>();
    request.body = RequestBody::callback([never](std::span<std::byte> buf) -> Result<std::size_t> {
      if (never.recv()) return buf.size();
      return 0;
    });
    EXPECT_EQ(told(client.send(request)), "413 [no]");
    EXPECT_EQ(client.stats().open, 0U);
    never.close();
  });
}

TEST(ClientWire, an_answer_is_seen_although_the_server_took_nothing_and_went) {
  with_network([] {
    Scripted server([](Peer& peer, int) {
      peer.head();
      peer.say("HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno");
      peer.body(100'000);  // some, so that our answer is not lost to a reset
      peer.wait_for_end();
    });
    Client client(plain());
    EXPECT_EQ(told(client.post({}, server.url(), "a/b", RequestBody::bytes(std::string(1 << 20, 'x')))), "413 [no]");
    EXPECT_EQ(client.stats().open, 0U);
  });
}

TEST(ClientWire, the_server_is_asked_before_the_body_goes) {
  with_network([] {
    ClientOptions options = plain();
    options.continue_timeout = 20s;
    ClientRequest request;
    request.method = Method::kPost;
    request.body = RequestBody::bytes("the body");
    request.expect_continue = true;
    {
      Scripted server([](Peer& peer, int) {
        EXPECT_NE(peer.head().find("Expect: 100-continue\r\n"), std::string::npos);
        peer.say("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n");
        EXPECT_EQ(peer.body(8), "the body");
        peer.ok("thanks");
        peer.wait_for_end();
      });
      Client client(options);
      std::string informational;
      auto trace = std::make_shared<ClientTrace>();
      trace->informational = [&](int status, HeaderList fields) {
        informational += std::to_string(status) + ":" + std::to_string(fields.size()) + " ";
      };
      request.trace = trace;
      request.url = *Url::parse(server.url());
      EXPECT_EQ(told(client.send(request)), "200 [thanks]");
      EXPECT_EQ(informational, "103:1 100:0 ");
    }
    request.trace = nullptr;
    {  // refused: the body never goes, and the connection is of no use
      Scripted server([](Peer& peer, int) {
        peer.head();
        peer.say("HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n");
        EXPECT_EQ(peer.body(8), "");
      });
      Client client(options);
      request.url = *Url::parse(server.url());
      EXPECT_EQ(told(client.send(request)), "401 []");
      EXPECT_EQ(client.stats().open, 0U);
    }
    {  // not understood: again, without
      Scripted server([](Peer& peer, int n) {
        const std::string head = peer.head();
        EXPECT_EQ(head.find("Expect") == std::string::npos, n == 1);
        if (n == 0) {
          peer.say("HTTP/1.1 417 What\r\nContent-Length: 0\r\n\r\n");
        } else {
          EXPECT_EQ(peer.body(8), "the body");
          peer.ok("thanks");
        }
        peer.wait_for_end();
      });
      Client client(options);
      request.url = *Url::parse(server.url());
      EXPECT_EQ(told(client.send(request)), "200 [thanks]");
      EXPECT_EQ(server.connections, 2);
    }
    {  // no answer: it goes all the same
      options.continue_timeout = 10ms;
      Scripted server([](Peer& peer, int) {
        peer.head();
        EXPECT_EQ(peer.body(8), "the body");
        peer.ok("thanks");
        peer.wait_for_end();
      });
      Client client(options);
      request.url = *Url::parse(server.url());
      EXPECT_EQ(told(client.send(request)), "200 [thanks]");
    }
    {  // nothing to ask about
      Scripted server([](Peer& peer, int) {
        EXPECT_EQ(peer.head().find("Expect"), std::string::npos);
        peer.ok();
        peer.wait_for_end();
      });
      Client client(options);
      request.body = {};
      request.url = *Url::parse(server.url());
      EXPECT_EQ(told(client.send(request)), "200 []");
    }
  });
}

TEST(ClientWire, each_phase_has_its_time_limit) {
  with_network([] {
    const Chan<int> client_done = make_chan<int>();
    Scripted server([&](Peer& peer, int) {
      const std::string head = peer.head();
      if (head.find("/half") != std::string::npos) peer.say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
      if (head.find("/slow") != std::string::npos) {
        while (peer.say("HTTP/1.1 103 Hints\r\n\r\n")) sleep(5ms);
      }
      if (head.find("/stop") == std::string::npos) {
        peer.wait_for_end();
      } else {
        static_cast<void>(client_done.recv());  // takes nothing
      }
    });
    {
      ClientOptions options = plain();
      options.header_timeout = 20ms;
      Client client(options);
      EXPECT_EQ(told(client.get(server.url("/silent"))), "timeout");
      ClientRequest upload = request_to(server.url("/silent"), Method::kPost);
      upload.body = RequestBody::bytes(std::string(100'000, 'x'));
      EXPECT_EQ(told(client.send(upload)), "timeout");
      EXPECT_EQ(client.stats().open, 0U);
    }
    {
      ClientOptions options = plain();
      options.body_timeout = 20ms;
      Client client(options);
      EXPECT_EQ(told(client.get(server.url("/half"))), "200 [half] then timeout");
      EXPECT_EQ(client.stats().open, 0U);
    }
    {
      ClientOptions options = plain();
      options.total_timeout = 50ms;
      options.max_informational = 1 << 30;
      Client client(options);
      EXPECT_EQ(told(client.get(server.url("/slow"))), "timeout");
      EXPECT_TRUE(told(client.get(server.url("/half"))).ends_with("timeout"));
    }
    {
      ClientOptions options = plain();
      options.write_timeout = 20ms;
      Client client(options);
      ClientRequest upload = request_to(server.url("/stop"), Method::kPost);
      upload.body = RequestBody::bytes(std::string(32 << 20, 'x'));
      EXPECT_EQ(told(client.send(upload)), "timeout");
      EXPECT_EQ(client.stats().open, 0U);
      client_done.close();
    }
    {
      ClientOptions options = plain();
      options.dial_timeout = 20ms;
      options.dial = [](const Context& ctx, const DialTarget& target) -> Result<std::unique_ptr<net::Transport>> {
        EXPECT_NE(target.deadline, kNoDeadline);
        static_cast<void>(sleep(ctx, target.deadline - now()));
        return std::unexpected(Error{Code::kTimeout, 0, "dial"});
      };
      Client client(options);
      EXPECT_EQ(told(client.get("http://a/")), "timeout");
      EXPECT_EQ(client.stats().open, 0U);
    }
  });
}

TEST(ClientWire, an_informational_response_starts_the_clock_for_the_head_anew) {
  heddle::test::run([] {
    const auto server = [](Duration pause) {
      return Script()
          .expect_until("\r\n\r\n")
          .pause(pause)
          .send("HTTP/1.1 103 Hints\r\n\r\n")
          .pause(pause)
          .send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    };
    TestUpstream upstream({server(900ms), server(1100ms)});
    ClientOptions options;
    options.header_timeout = 1s;
    Client client = upstream.client(options);
    EXPECT_EQ(told(client.get(upstream.url())), "200 [ok]");
    EXPECT_EQ(told(client.get(upstream.url())), "timeout");
  });
}

TEST(ClientWire, an_upload_that_ends_later_does_not_cut_the_bodys_reading_short) {
  heddle::test::run([] {
    TestUpstream upstream({Script()
                               .expect_until("\r\n\r\n")
                               .send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlo")
                               .expect_until("0\r\n\r\n")
                               .pause(5s)
                               .send("ng")
                               .expect_end()});
    {
      ClientOptions options;
      options.header_timeout = 1s;
      Client client = upstream.client(options);
      ClientRequest request = request_to(upstream.url(), Method::kPost);
      request.body = RequestBody::callback([](std::span<std::byte>) -> Result<std::size_t> {
        sleep(3s);  // the answer's head is there by then
        return std::size_t{0};
      });
      EXPECT_EQ(told(client.send(request)), "200 [long]");
      EXPECT_EQ(client.stats().idle, 1U);
    }
    EXPECT_EQ(upstream.problem(), "");
  });
}

TEST(ClientWire, trailers_come_after_the_body_and_stay_apart) {
  with_network([] {
    Scripted server([](Peer& peer, int) {
      peer.head();
      peer.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nSum: 7\r\n\r\n");
      peer.wait_for_end();
    });
    Client client(plain());
    Result<ClientResponse> response = client.get(server.url());
    ASSERT_TRUE(response);
    EXPECT_EQ(response->read_all(10), "hi");
    EXPECT_EQ(response->trailers().find("sum"), "7");
    EXPECT_FALSE(response->header("Sum"));
    EXPECT_EQ(client.stats().idle, 1U);
  });
}

TEST(ClientWire, an_upgraded_connection_is_handed_over_with_its_bytes) {
  with_network([] {
    Scripted server([](Peer& peer, int) {
      const std::string head = peer.head();
      EXPECT_NE(head.find("Connection: Upgrade\r\n"), std::string::npos);
      peer.say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\nearly");
      EXPECT_EQ(peer.body(4), "ping");
      peer.say("pong");
      peer.wait_for_end();
    });
    Client client(plain());
    ClientRequest request = request_to(server.url());
    ASSERT_TRUE(request.headers.set("Upgrade", "echo"));
    Result<ClientResponse> response = client.send(request);
    ASSERT_TRUE(response) << response.error().message();
    EXPECT_EQ(response->status(), 101);
    Result<ClientResponse::Raw> raw = response->take_connection();
    ASSERT_TRUE(raw);
    EXPECT_FALSE(response->take_connection());
    EXPECT_EQ(client.stats().open, 0U);
    ASSERT_TRUE(raw->transport->write(bytes("ping")));
    std::string got = raw->early;
    std::byte buf[16];
    while (got.size() < 9) {
      const Result<std::size_t> n = raw->transport->read(buf);
      ASSERT_TRUE(n && *n > 0);
      got.append(reinterpret_cast<const char*>(buf), *n);
    }
    EXPECT_EQ(got, "earlypong");
  });
}

TEST(ClientWire, an_upgraded_connection_reads_its_first_bytes_first) {
  with_network([] {
    for (const std::string_view early : {"", "early"}) {
      Scripted server([early](Peer& peer, int) {
        peer.head();
        peer.say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n" +
                 std::string(early));
        EXPECT_EQ(peer.body(4), "ping");
        peer.say("pong");
        peer.wait_for_end();
      });
      Client client(plain());
      ClientRequest request = request_to(server.url());
      ASSERT_TRUE(request.headers.set("Upgrade", "echo"));
      Result<ClientResponse> response = client.send(request);
      ASSERT_TRUE(response) << response.error().message();
      Result<std::unique_ptr<net::Transport>> taken = response->take_transport();
      ASSERT_TRUE(taken);
      EXPECT_FALSE(response->take_transport());
      EXPECT_EQ(client.stats().open, 0U);
      net::Transport& conn = **taken;
      // Bytes that are there already give way to what ends a call, as those in a socket do.
      std::byte buf[16];
      conn.set_read_deadline(now() - 1s);
      EXPECT_EQ(conn.read(buf).error().code, Code::kTimeout);
      conn.set_read_deadline(kNoDeadline);
      const auto [ctx, cancel] = with_cancel({});
      cancel();
      EXPECT_EQ(conn.read(ctx, buf).error().code, Code::kCanceled);
      EXPECT_EQ(conn.wait_readable(ctx).error().code, Code::kCanceled);
      if (!early.empty()) {
        EXPECT_FALSE(conn.is_alive());
        EXPECT_TRUE(conn.wait_readable({}));
        EXPECT_EQ(conn.read(std::span(buf, 2)), std::size_t{2});
        EXPECT_EQ(conn.try_read(buf), std::size_t{3});
        EXPECT_EQ(static_cast<char>(buf[0]), 'r');
      }
      EXPECT_TRUE(conn.is_alive());
      ASSERT_TRUE(conn.write(bytes("ping")));
      EXPECT_EQ(conn.read_full(std::span(buf, 4)), std::size_t{4});
      EXPECT_EQ(static_cast<char>(buf[1]), 'o');
      conn.close();
      EXPECT_EQ(conn.read(buf).error().code, Code::kClosed);
    }
  });
}

TEST(ClientWire, a_101_that_nobody_asked_for_is_no_answer) {
  with_network([] {
    Scripted server([](Peer& peer, int) {
      peer.head();
      peer.say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n");
      peer.wait_for_end();
    });
    Client client(plain());
    const Result<ClientResponse> response = client.get(server.url());
    ASSERT_FALSE(response);
    EXPECT_EQ(response.error().code, Code::kProtocol);
    EXPECT_EQ(client.stats().open, 0U);
  });
}

TEST(ClientWire, a_unix_socket_is_a_target_like_others) {
  with_network([] {
    net::test::Folder folder;
    net::UnixListener listener = net::test::must(net::listen_unix(folder.address("s")));
    WaitGroup group;
    group.go([&] {
      net::UnixConn conn = net::test::must(listener.accept());
      Peer peer(conn);
      EXPECT_EQ(peer.head(), "GET /v1?x HTTP/1.1\r\nHost: localhost\r\nUser-Agent: heddle\r\n\r\n");
      peer.ok("one");
      EXPECT_NE(peer.head(), "");
      peer.ok("two");
      peer.wait_for_end();
    });
    {
      Client client(plain());
      std::string url = "http+unix://";
      for (const char c : folder.path("s")) url += c == '/' ? std::string("%2F") : std::string(1, c);
      EXPECT_EQ(told(client.get(url + "/v1?x")), "200 [one]");
      EXPECT_EQ(told(client.get(url + "/v2")), "200 [two]");
      EXPECT_EQ(told(client.get("http+unix://%2Fnone/")), to_string(Code::kNotFound));
    }
    group.wait();
    listener.close();
  });
}

TEST(ClientWire, any_transport_will_do) {
  with_network([] {
    WaitGroup group;
    ClientOptions options = plain();
    options.dial = [&](const Context&, const DialTarget& target) -> Result<std::unique_ptr<net::Transport>> {
      EXPECT_EQ(target.host, "somewhere.example");
      EXPECT_EQ(target.port, 80);
      auto [near, far] = net::test::must(net::unix_pair());
      group.go([c = std::make_shared<net::UnixConn>(std::move(far))] {
        Peer peer(*c);
        while (!peer.head().empty()) peer.ok("memory");
      });
      return std::make_unique<net::UnixConn>(std::move(near));
    };
    {
      Client client(options);
      EXPECT_EQ(told(client.get("http://somewhere.example/")), "200 [memory]");
      EXPECT_EQ(told(client.get("http://somewhere.example/")), "200 [memory]");
      client.close_idle();
      EXPECT_EQ(client.stats().open, 0U);
    }
    group.wait();
  });
}

}  // namespace
}  // namespace heddle::http::test
