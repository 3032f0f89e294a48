// The handshake of a WebSocket, both halves: what a server refuses and how, what a client does not believe, and what they agree on.
#include <heddle/http/internal/ws_key.h>
#include <heddle/http/websocket_channels.h>

#include "client_test_util.h"
#include "raw_ask.h"
#include "ws_test_util.h"

namespace heddle::http::ws::test {
namespace {

using http::test::ask;

constexpr const char* kKey = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

struct Parts {
  std::string line = "GET /chat HTTP/1.1\r\n";
  std::string host = "Host: example.org\r\n";
  std::string upgrade = "Upgrade: websocket\r\n";
  std::string connection = "Connection: Upgrade\r\n";
  std::string key = kKey;
  std::string version = "Sec-WebSocket-Version: 13\r\n";
  std::string more = "";

  [[nodiscard]] std::string text() const { return line + host + upgrade + connection + key + version + more + "\r\n"; }
};

template <class Change>
std::string asked(Change change) {
  Parts parts;
  change(parts);
  return parts.text();
}

// All that a server with an echo writes, whatever it is, and what accept() said.
struct Exchanged {
  std::string wire;
  std::string error = "none";
  std::string subprotocol;
};

Exchanged echoed(const std::string& request, const Options& options = {}) {
  Exchanged out;
  http::test::on_one_p([&] {
    http::test::Rig rig([&](Request& r, ResponseWriter& w) {
      w.set_header("X-Mine", "1");
      Result<Connection> socket = accept(r, w, options);
      if (!socket) {
        out.error = to_string(socket.error().code);
        return;
      }
      out.subprotocol = socket->subprotocol();
      while (Result<Message> got = socket->read()) EXPECT_TRUE(socket->write(*got));
    });
    rig.stream.send(request);
    rig.stream.settle();
    rig.stream.end();
    rig.stream.settle();
    out.wire = rig.stream.written();
  });
  return out;
}

std::string head_of(const std::string& wire) { return wire.substr(0, wire.find("\r\n\r\n") + 4); }
std::string body_of(const std::string& wire) { return wire.substr(wire.find("\r\n\r\n") + 4); }
std::string status_of(const std::string& wire) { return wire.size() < 12 ? "none" : wire.substr(9, 3); }
bool has(const std::string& wire, std::string_view field) { return head_of(wire).find(field) != std::string::npos; }

TEST(WsHandshake, of_the_rfc) {
  const Exchanged got = echoed(Parts().text());
  EXPECT_EQ(status_of(got.wire), "101");
  EXPECT_TRUE(has(got.wire, "\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n")) << got.wire;
  EXPECT_TRUE(has(got.wire, "\r\nUpgrade: websocket\r\n"));
  EXPECT_TRUE(has(got.wire, "\r\nConnection: Upgrade\r\n"));
  EXPECT_TRUE(has(got.wire, "\r\nX-Mine: 1\r\n"));
  EXPECT_FALSE(has(got.wire, "Sec-WebSocket-Extensions"));
  EXPECT_FALSE(has(got.wire, "Sec-WebSocket-Protocol"));
}

// What a client sends behind its head, before the answer, is the WebSocket's; split anywhere.
TEST(WsHandshake, frames_right_behind_the_head_are_read) {
  const std::string all = Parts().text() + frames_to(Role::kServer, {{0x81, "early"}, {0x88, close_of(1000)}});
  for (std::size_t at = 0; at < all.size(); at += 3) {
    http::test::on_one_p([&] {
      http::test::Rig rig(handler([](Connection& socket) {
        while (Result<Message> got = socket.read()) EXPECT_TRUE(socket.write(*got));
      }));
      rig.stream.send(std::string_view(all).substr(0, at));
      rig.stream.settle();
      rig.stream.send(std::string_view(all).substr(at));
      rig.stream.settle();
      EXPECT_EQ(words(body_of(rig.stream.written()), Role::kServer), "text(early) close(1000)") << at;
      EXPECT_TRUE(rig.stream.shut());  // the server ends the stream, and does not wait for the client
    });
  }
}

TEST(WsHandshake, what_is_no_websocket_is_refused) {
  struct {
    const char* name;
    std::string request;
    const char* status;
  } const cases[] = {
      {"tokens in any case, in lists", asked([](Parts& p) {
         p.upgrade = "Upgrade: h2c, WebSocket\r\n";
         p.connection = "Connection: keep-alive, upgrade\r\n";
       }),
       "101"},
      {"an extension nobody knows", asked([](Parts& p) { p.more = "Sec-WebSocket-Extensions: foo; bar=1\r\n"; }),
       "101"},
      {"no upgrade", asked([](Parts& p) { p.upgrade = ""; }), "426"},
      {"another protocol", asked([](Parts& p) { p.upgrade = "Upgrade: h2c\r\n"; }), "426"},
      {"no connection", asked([](Parts& p) { p.connection = ""; }), "400"},
      {"keep-alive", asked([](Parts& p) { p.connection = "Connection: keep-alive\r\n"; }), "400"},
      {"POST", asked([](Parts& p) { p.line = "POST /chat HTTP/1.1\r\n"; }), "400"},
      {"HTTP/1.0", asked([](Parts& p) { p.line = "GET /chat HTTP/1.0\r\n"; }), "400"},
      {"a body", asked([](Parts& p) { p.more = "Content-Length: 1\r\n\r\nx"; }), "400"},
      {"a chunked body", asked([](Parts& p) { p.more = "Transfer-Encoding: chunked\r\n\r\n0\r\n"; }), "400"},
      {"no key", asked([](Parts& p) { p.key = ""; }), "400"},
      {"two keys", asked([](Parts& p) { p.key += kKey; }), "400"},
      {"a short key", asked([](Parts& p) { p.key = "Sec-WebSocket-Key: dGhlIHNhbXBsZQ==\r\n"; }), "400"},
      {"a long key", asked([](Parts& p) { p.key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZSE=\r\n"; }), "400"},
      {"a key without padding", asked([](Parts& p) { p.key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ\r\n"; }),
       "400"},
      {"no version", asked([](Parts& p) { p.version = ""; }), "400"},
      {"version 8", asked([](Parts& p) { p.version = "Sec-WebSocket-Version: 8\r\n"; }), "426"},
      {"two versions", asked([](Parts& p) { p.version = "Sec-WebSocket-Version: 13, 8\r\n"; }), "426"},
      {"protocols", asked([](Parts& p) { p.more = "Sec-WebSocket-Protocol: a b\r\n"; }), "400"},
      {"extensions", asked([](Parts& p) { p.more = "Sec-WebSocket-Extensions: a; =\r\n"; }), "400"},
      {"another origin", asked([](Parts& p) { p.more = "Origin: http://elsewhere.org\r\n"; }), "403"},
      {"two origins",
       asked([](Parts& p) { p.more = "Origin: http://example.org\r\nOrigin: http://elsewhere.org\r\n"; }), "403"},
      {"no origin but the word", asked([](Parts& p) { p.more = "Origin: null\r\n"; }), "403"},
      {"another port", asked([](Parts& p) { p.more = "Origin: http://example.org:8080\r\n"; }), "403"},
      {"the same origin", asked([](Parts& p) { p.more = "Origin: https://Example.org\r\n"; }), "101"},
      {"the same port", asked([](Parts& p) {
         p.host = "Host: example.org:8080\r\n";
         p.more = "Origin: http://example.org:8080\r\n";
       }),
       "101"},
      {"the scheme's own port, said", asked([](Parts& p) {
         p.host = "Host: example.org:80\r\n";
         p.more = "Origin: http://example.org\r\n";
       }),
       "101"},
  };
  for (const auto& c : cases) {
    const Exchanged got = echoed(c.request);
    EXPECT_EQ(status_of(got.wire), c.status) << c.name << '\n' << got.wire;
    EXPECT_EQ(got.error == "none", std::string_view(c.status) == "101") << c.name;
    if (std::string_view(c.status) == "426") {
      EXPECT_TRUE(has(got.wire, "\r\nSec-WebSocket-Version: 13\r\n")) << got.wire;
      EXPECT_TRUE(has(got.wire, "\r\nUpgrade: websocket\r\n"));
    }
  }
}

TEST(WsHandshake, the_origin_hook_has_the_last_word) {
  Options options;
  std::string seen;
  options.check_origin = [&](const Request& request, std::string_view origin) {
    seen = std::string(origin) + " to " + std::string(request.host());
    return origin.ends_with(".friends.org");
  };
  const auto with = [](const char* origin) {
    return asked([&](Parts& p) { p.more = "Origin: " + std::string(origin) + "\r\n"; });
  };
  EXPECT_EQ(status_of(echoed(with("https://a.friends.org"), options).wire), "101");
  EXPECT_EQ(seen, "https://a.friends.org to example.org");
  EXPECT_EQ(status_of(echoed(with("http://example.org"), options).wire), "403");
}

TEST(WsHandshake, the_servers_first_choice_among_the_clients_subprotocols) {
  Options options;
  options.subprotocols = {"v2", "v1"};
  const auto with = [](const char* field) { return asked([&](Parts& p) { p.more = field; }); };
  const Exchanged both = echoed(with("Sec-WebSocket-Protocol: v0, v1\r\nSec-WebSocket-Protocol: v2\r\n"), options);
  EXPECT_TRUE(has(both.wire, "\r\nSec-WebSocket-Protocol: v2\r\n"));
  EXPECT_EQ(both.subprotocol, "v2");
  const Exchanged none = echoed(with("Sec-WebSocket-Protocol: V1, v3\r\n"), options);
  EXPECT_FALSE(has(none.wire, "Sec-WebSocket-Protocol"));
  EXPECT_EQ(none.subprotocol, "");
}

TEST(WsHandshake, compression_is_agreed_on_and_used) {
  Options options;
  options.compression.enabled = true;
  options.compression.threshold = 5;
  const std::string hello("\xf2\x48\xcd\xc9\xc9\x07\x00", 7);
  const std::string request =
      asked(
          [](Parts& p) { p.more = "Sec-WebSocket-Extensions: foo, permessage-deflate; client_max_window_bits\r\n"; }) +
      frames_to(Role::kServer, {{0xc1, hello}, {0x81, "tiny"}, {0x88}});
  const Exchanged got = echoed(request, options);
  EXPECT_TRUE(has(got.wire, "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n")) << got.wire;
  EXPECT_EQ(words(body_of(got.wire), Role::kServer), "ztext(" + hello + ") text(tiny) close()");
}

TEST(WsHandshake, a_handler_that_throws_closes_with_1011) {
  http::test::on_one_p([] {
    http::test::Rig rig(handler([](Connection&) { throw std::runtime_error("handler"); }));
    rig.stream.send(Parts().text() + frames_to(Role::kServer, {{0x88, close_of(1011)}}));
    rig.stream.settle();
    EXPECT_EQ(words(body_of(rig.stream.written()), Role::kServer), "close(1011)");
    EXPECT_EQ(rig.server.stats().handler_errors, 1u);
  });
}

TEST(WsHandshake, a_handler_may_put_its_connection_into_channels) {
  for (const bool throws : {false, true}) {
    http::test::on_one_p([throws] {
      http::test::Rig rig(handler([throws](Connection& socket) {
        Channels chat(std::move(socket));
        for (Message m : chat.in()) chat.out().send(std::move(m));
        if (throws) throw std::runtime_error("handler");
      }));
      rig.stream.send(Parts().text() + frames_to(Role::kServer, {{0x81, "hi"}}));
      rig.stream.settle();
      rig.stream.send(frames_to(Role::kServer, {{0x88, close_of(1000)}}));
      rig.stream.settle();
      EXPECT_EQ(words(body_of(rig.stream.written()), Role::kServer), "text(hi) close(1000)");
      EXPECT_EQ(rig.server.stats().handler_errors, throws ? 1u : 0u);
    });
  }
}

// ---- the client ----

std::string value_of(const std::string& head, const std::string& name) {
  const std::size_t at = head.find("\r\n" + name + ": ");
  if (at == std::string::npos) return {};
  const std::size_t from = at + name.size() + 4;
  return head.substr(from, head.find("\r\n", from) - from);
}

TEST(WsHandshake, a_client_believes_only_what_proves_itself) {
  using namespace http::test;
  struct {
    const char* name;
    std::string answer;  // ACCEPT stands for the right one
    const char* told;
  } const cases[] = {
      {"right", "101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ACCEPT\r\n\r\n", "hi"},
      {"in any case",
       "101 X\r\nupgrade: WebSocket\r\nconnection: keep-alive, UPGRADE\r\nsec-websocket-accept: ACCEPT\r\n\r\n", "hi"},
      {"a subprotocol",
       "101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ACCEPT\r\nSec-WebSocket-Protocol: "
       "v1\r\n\r\n",
       "hi"},
      {"another subprotocol",
       "101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ACCEPT\r\nSec-WebSocket-Protocol: "
       "v3\r\n\r\n",
       "protocol error"},
      {"two subprotocols",
       "101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ACCEPT\r\nSec-WebSocket-Protocol: "
       "v1, v2\r\n\r\n",
       "protocol error"},
      {"an extension",
       "101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
       "ACCEPT\r\nSec-WebSocket-Extensions: "
       "permessage-deflate\r\n\r\n",
       "protocol error"},
      {"no accept", "101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "protocol error"},
      {"another's accept",
       "101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
       "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
       "protocol error"},
      {"two accepts",
       "101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ACCEPT\r\nSec-WebSocket-Accept: "
       "ACCEPT\r\n\r\n",
       "protocol error"},
      {"no upgrade", "101 X\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ACCEPT\r\n\r\n", "protocol error"},
      {"another upgrade", "101 X\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ACCEPT\r\n\r\n",
       "protocol error"},
      {"no connection", "101 X\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ACCEPT\r\n\r\n", "protocol error"},
      {"200", "200 OK\r\nContent-Length: 0\r\n\r\n", "protocol error 200"},
      {"403", "403 No\r\nContent-Length: 0\r\n\r\n", "permission denied 403"},
      {"404", "404 No\r\nContent-Length: 0\r\n\r\n", "not found 404"},
  };
  with_network([&] {
    std::string asked_with;
    Scripted peer([&](Peer& p, int n) {
      asked_with = p.head();
      std::string answer = cases[n].answer;
      const std::string accept = accept_key(value_of(asked_with, "Sec-WebSocket-Key"));
      for (std::size_t at = 0; (at = answer.find("ACCEPT", at)) != std::string::npos;) answer.replace(at, 6, accept);
      p.say("HTTP/1.1 " + answer + frame(0x81, "hi", false) + frame(0x88, "", false));
      p.body(6);  // the client's Close, or its end
    });
    Client client(plain());
    for (const auto& c : cases) {
      Options options;
      options.subprotocols = {"v1", "v2"};
      static_cast<void>(options.headers.set("Origin", "http://mine.org"));
      std::string refusal;
      options.on_refusal = [&](ClientResponse& response) { refusal = " " + std::to_string(response.status()); };
      Result<Connection> socket = dial(client, "ws" + peer.url("/chat?x=1").substr(4), options);
      std::string told;
      if (socket) {
        const Result<Message> got = socket->read();
        told = got ? got->data : to_string(got.error().code);
        EXPECT_TRUE(socket->close());
      } else {
        told = to_string(socket.error().code) + refusal;
      }
      EXPECT_EQ(told, c.told) << c.name;
    }
    EXPECT_TRUE(asked_with.starts_with("GET /chat?x=1 HTTP/1.1\r\n")) << asked_with;
    EXPECT_EQ(value_of(asked_with, "Connection"), "Upgrade");
    EXPECT_EQ(value_of(asked_with, "Upgrade"), "websocket");
    EXPECT_EQ(value_of(asked_with, "Sec-WebSocket-Version"), "13");
    EXPECT_EQ(value_of(asked_with, "Sec-WebSocket-Protocol"), "v1, v2");
    EXPECT_EQ(value_of(asked_with, "Sec-WebSocket-Extensions"), "");
    EXPECT_EQ(value_of(asked_with, "Origin"), "http://mine.org");
    EXPECT_TRUE(is_key(value_of(asked_with, "Sec-WebSocket-Key")));
  });
}

TEST(WsHandshake, what_cannot_be_dialed_is_told_without_a_connection) {
  http::test::with_network([] {
    Client client(http::test::plain());
    EXPECT_EQ(dial(client, "ftp://a/").error().code, Code::kUnsupported);
    EXPECT_EQ(dial(client, "ws://a/#part").error().code, Code::kInvalid);
    EXPECT_EQ(dial(client, "nothing").error().code, Code::kInvalid);
    EXPECT_EQ(dial(client, "wss://127.0.0.1:1/").error().code, Code::kUnsupported);  // no ClientOptions::secure
    Options options;
    options.subprotocols = {"a b"};
    EXPECT_EQ(dial(client, "ws://a/", options).error().code, Code::kInvalid);
    auto [ctx, cancel] = with_cancel({});
    cancel();
    EXPECT_EQ(dial(ctx, client, "ws://127.0.0.1:1/").error().code, Code::kCanceled);
  });
}

}  // namespace
}  // namespace heddle::http::ws::test
