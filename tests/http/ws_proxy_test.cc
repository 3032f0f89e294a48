// A WebSocket that is dialed where proxies are: which one is asked, and what for (RFC 6455 s4.1, step 2).
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <heddle/core/context.h>
#include <heddle/http/internal/ws_key.h>
#include <heddle/http/test_upstream.h>
#include <heddle/http/websocket.h>

#include "client_test_util.h"
#include "ws_test_util.h"

namespace heddle::http::ws::test {
namespace {

using namespace http::test;

std::string first_line(const std::string& head) { return head.substr(0, head.find("\r\n")); }

std::string value_of(const std::string& head, const std::string& name) {
  const std::size_t at = head.find("\r\n" + name + ": ");
  if (at == std::string::npos) return {};
  const std::size_t from = at + name.size() + 4;
  return head.substr(from, head.find("\r\n", from) - from);
}

/// What was asked of whoever was dialed, and where that was; then the message that came: "one.example:80 | CONNECT … | hi".
struct Dialed {
  std::string where;
  std::vector<std::string> heads;
  std::string told;
};

/// Dials `url` in a network where all connections lead to one peer, which grants tunnels and accepts WebSockets.
Dialed dialed(std::string_view url) {
  Dialed out;
  Scripted peer([&](Peer& p, int) {
    for (;;) {
      const std::string head = p.head();
      if (head.empty()) return;
      out.heads.push_back(head);
      if (!head.starts_with("CONNECT ")) break;
      p.say("HTTP/1.1 200 Go\r\n\r\n");
    }
    p.say("HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
          accept_key(value_of(out.heads.back(), "Sec-WebSocket-Key")) + "\r\n\r\n" + frame(0x81, "hi", false) +
          frame(0x88, "", false));
    p.body(6);  // the client's Close
  });
  ClientOptions options;
  options.dial = [&](const Context& ctx, const DialTarget& target) {
    out.where = target.host + ":" + std::to_string(target.port);
    return dial_target(
        ctx, {.host = "127.0.0.1", .port = peer.address.port(), .unix_socket = {}, .deadline = target.deadline});
  };
  options.secure = [](const Context&, std::unique_ptr<net::Transport> t, const DialTarget&) {
    return Result<std::unique_ptr<net::Transport>>(std::move(t));
  };
  Client client(options);
  Result<Connection> socket = dial(client, url);
  if (!socket) {
    out.told = socket.error().message();
    return out;
  }
  const Result<Message> got = socket->read();
  out.told = got ? got->data : to_string(got.error().code);
  EXPECT_TRUE(socket->close());
  return out;
}

TEST(WsProxy, the_environments_proxy_is_asked_for_a_tunnel) {
  const Variables variables({{"http_proxy", "http://us:er@plain.proxy:3128"}, {"https_proxy", "secure.proxy:1"}});
  with_network([] {
    for (const std::string_view scheme : {"ws", "http", "wss"}) {
      const bool secure = scheme == "wss";
      const Dialed got = dialed(std::string(scheme) + "://far.example/chat");
      EXPECT_EQ(got.where, secure ? "secure.proxy:1" : "plain.proxy:3128");
      EXPECT_EQ(got.told, "hi") << scheme;
      ASSERT_EQ(got.heads.size(), 2U);
      const std::string port = secure ? "443" : "80";
      EXPECT_EQ(got.heads[0], "CONNECT far.example:" + port + " HTTP/1.1\r\nHost: far.example:" + port +
                                  "\r\nUser-Agent: heddle\r\n" +
                                  (secure ? "" : "Proxy-Authorization: Basic dXM6ZXI=\r\n") + "\r\n");
      EXPECT_EQ(first_line(got.heads[1]), "GET /chat HTTP/1.1") << "in the tunnel it is the server's own form";
      EXPECT_EQ(value_of(got.heads[1], "Host"), "far.example");
      EXPECT_EQ(value_of(got.heads[1], "Proxy-Authorization"), "");
    }
  });
}

TEST(WsProxy, where_the_environment_wants_none_there_is_none) {
  const Variables variables({{"http_proxy", "plain.proxy:3128"}, {"NO_PROXY", "near.example,10.0.0.1"}});
  with_network([] {
    for (const std::string_view host : {"near.example", "a.near.example", "10.0.0.1", "localhost"}) {
      const Dialed got = dialed("ws://" + std::string(host) + ":8080/chat");
      EXPECT_EQ(got.where, std::string(host) + ":8080");
      ASSERT_EQ(got.heads.size(), 1U);
      EXPECT_EQ(first_line(got.heads[0]), "GET /chat HTTP/1.1");
      EXPECT_EQ(got.told, "hi") << host;
    }
    EXPECT_EQ(dialed("wss://far.example/chat").where, "far.example:443") << "no https_proxy";
  });
}

TEST(WsProxy, a_proxy_that_refuses_or_is_silent_fails_the_dial) {
  const struct {
    std::string_view answer;
    Code code;
  } rows[] = {
      {"HTTP/1.1 407 Who\r\nContent-Length: 0\r\n\r\n", Code::kDenied},
      {"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", Code::kRefused},
      {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", Code::kProtocol},
      {"HTTP/1.1 200 Go\r\n\r\nHTTP/1.1 101 X\r\n\r\n", Code::kProtocol},
  };
  heddle::test::run([&] {
    ClientOptions options = plain();
    options.proxy = [](const Url&) -> Result<std::optional<Proxy>> { return Proxy{*Url::parse("http://p/"), ""}; };
    options.dial_timeout = 7s;
    for (const auto& row : rows) {
      TestUpstream upstream({Script().expect_until("\r\n\r\n").send(std::string(row.answer)).expect_end()});
      options.dial = upstream.dialer();
      Client client(options);
      EXPECT_EQ(dial(client, "ws://far.example/").error().code, row.code) << row.answer;
      EXPECT_EQ(upstream.problem(), "") << "nothing behind the CONNECT";
    }
    TestUpstream silent(std::vector<Script>(2, Script().expect_until("\r\n\r\n").expect_end()));
    options.dial = silent.dialer();
    Client client(options);
    const TimePoint start = now();
    EXPECT_EQ(dial(client, "ws://far.example/").error().code, Code::kTimeout);
    EXPECT_EQ(now() - start, 7s);
    auto [ctx, cancel] = with_cancel({});
    WaitGroup group;
    group.go([&, ctx = ctx] { EXPECT_EQ(dial(ctx, client, "ws://far.example/").error().code, Code::kCanceled); });
    heddle::test::wait();
    cancel();
    group.wait();
  });
}

}  // namespace
}  // namespace heddle::http::ws::test
