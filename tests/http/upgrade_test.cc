// Upgrades and tunnels over streams in memory: what must have been asked, what is answered, whose each byte is, and how the
// calls of an upgraded connection end.
#include <heddle/http/compress.h>
#include <heddle/http/limits.h>
#include <heddle/http/mux.h>
#include <heddle/net/transport.h>

#include <string>
#include <string_view>
#include <vector>

#include "http_test.h"

namespace heddle::http::test {
namespace {

constexpr std::string_view kAsk =
    "GET /up HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: h2c, Echo/1\r\n\r\n";
constexpr std::string_view kSwitched =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\n\r\n";
constexpr std::string_view kConnect = "CONNECT b.example:443 HTTP/1.1\r\nHost: b.example:443\r\n\r\n";
constexpr std::string_view kEstablished = "HTTP/1.1 200 OK\r\n\r\n";

// Answers each line in capitals.
void shout(net::Transport& to) {
  std::byte buffer[5];
  for (;;) {
    const Result<std::size_t> n = to.read(buffer);
    if (!n || *n == 0) return;
    for (std::byte& b : std::span(buffer).first(*n)) {
      if (b >= std::byte{'a'} && b <= std::byte{'z'}) b ^= std::byte{0x20};
    }
    if (!to.write(std::span(buffer).first(*n))) return;
  }
}

void shout_upgraded(Request&, ResponseWriter& w) {
  const auto to = w.upgrade("echo/1");
  if (!to) return require_upgrade(w, "echo/1");
  shout(**to);
}

void shout_tunnelled(Request&, ResponseWriter& w) {
  if (const auto to = w.tunnel()) shout(**to);
}

// What the server writes to `parts`, each a push of its own, with the client's end behind them.
std::string talk(const Handler& handler, const std::vector<std::string_view>& parts,
                 const ServerOptions& options = {}) {
  std::string all;
  on_one_p([&] {
    Rig rig(handler, options);
    for (const std::string_view part : parts) {
      rig.stream.send(part);
      rig.stream.settle();
    }
    rig.stream.end();
    rig.stream.settle();
    EXPECT_TRUE(rig.stream.gone());
    all = rig.stream.written();
  });
  return all;
}

TEST(Upgrade, gives_the_bytes_behind_the_head_split_anywhere) {
  const std::string all = std::string(kAsk) + "hello, first bytes";
  const std::string wanted = std::string(kSwitched) + "HELLO, FIRST BYTES";
  EXPECT_EQ(talk(shout_upgraded, {all}), wanted);
  for (std::size_t i = 1; i < all.size(); ++i) {
    EXPECT_EQ(talk(shout_upgraded, {all.substr(0, i), std::string_view(all).substr(i)}), wanted) << i;
  }
  std::vector<std::string_view> bytes;
  for (std::size_t i = 0; i < all.size(); ++i) bytes.push_back(std::string_view(all).substr(i, 1));
  EXPECT_EQ(talk(shout_upgraded, bytes), wanted);
}

TEST(Tunnel, gives_the_bytes_behind_the_head_split_anywhere) {
  const std::string all = std::string(kConnect) + "GET / HTTP/1.1\r\n\r\n";
  const std::string wanted = std::string(kEstablished) + "GET / HTTP/1.1\r\n\r\n";
  EXPECT_EQ(talk(shout_tunnelled, {all}), wanted);
  for (std::size_t i = 1; i < all.size(); ++i) {
    EXPECT_EQ(talk(shout_tunnelled, {std::string_view(all).substr(0, i), std::string_view(all).substr(i)}), wanted)
        << i;
  }
}

TEST(Upgrade, comes_behind_the_answers_to_what_was_asked_before) {
  const std::string before = "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n";
  const Handler handler = [](Request& r, ResponseWriter& w) {
    if (r.path() == "/up") return shout_upgraded(r, w);
    faces(r, w);
  };
  const std::string all = talk(handler, {before + before + std::string(kAsk) + "x"});
  EXPECT_EQ(all.find("101"), all.rfind("HTTP/1.1") + 9);
  EXPECT_EQ(read_responses(all.substr(0, all.find("HTTP/1.1 101"))),
            (std::vector<std::string>{"200 cl=13 [Hello, World!]", "200 cl=13 [Hello, World!]"}));
  EXPECT_TRUE(all.ends_with(std::string(kSwitched) + "X"));
}

TEST(Upgrade, is_given_to_who_asked_and_to_nobody_else) {
  struct Case {
    const char* head;
    bool switched;
  };
  const Case cases[] = {
      {"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: echo/1\r\n", true},
      {"GET / HTTP/1.1\r\nConnection: UPGRADE\r\nUpgrade: ECHO/1\r\n", true},
      {"GET / HTTP/1.1\r\nConnection: close\r\nConnection: upgrade\r\nUpgrade: a\r\nUpgrade: b , echo/1\r\n", true},
      {"POST / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: echo/1\r\nContent-Length: 0\r\n", true},
      {"GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: echo/1\r\n", false},
      {"GET / HTTP/1.1\r\nUpgrade: echo/1\r\n", false},
      {"GET / HTTP/1.1\r\nConnection: upgrade\r\n", false},
      {"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade:\r\n", false},
      {"GET / HTTP/1.1\r\nConnection: upgraded\r\nUpgrade: echo/1\r\n", false},
      {"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: echo\r\n", false},
      {"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: echo/1.1\r\n", false},
      {"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: xecho/1\r\n", false},
  };
  for (const Case& c : cases) {
    const std::string all = talk(shout_upgraded, {std::string(c.head) + "Host: a\r\n\r\nx"});
    if (c.switched) {
      EXPECT_EQ(all, std::string(kSwitched) + "X") << c.head;
    } else {
      EXPECT_TRUE(all.starts_with("HTTP/1.1 426 Upgrade Required\r\n")) << all;
      EXPECT_NE(all.find("Connection: Upgrade\r\nUpgrade: echo/1\r\n"), std::string::npos) << all;
    }
  }
}

TEST(Upgrade, waits_for_the_body_to_be_read) {
  const Handler handler = [](Request& r, ResponseWriter& w) {
    EXPECT_EQ(w.upgrade("echo/1").error().code, Code::kInvalid);
    EXPECT_FALSE(w.started());
    EXPECT_EQ(r.read_all(10), std::string("body"));
    shout_upgraded(r, w);
  };
  for (const char* framing :
       {"Content-Length: 4\r\n\r\nbody", "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"}) {
    EXPECT_EQ(talk(handler, {"POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo/1\r\n" +
                             std::string(framing) + "more"}),
              std::string(kSwitched) + "MORE");
  }
}

TEST(Upgrade, sends_the_fields_that_were_set_and_nothing_after_them) {
  const Handler handler = [](Request&, ResponseWriter& w) {
    EXPECT_EQ(w.upgrade("ec ho").error().code, Code::kInvalid);
    EXPECT_EQ(w.upgrade("echo/1\r\nA: b").error().code, Code::kInvalid);
    EXPECT_EQ(w.upgrade("").error().code, Code::kInvalid);
    EXPECT_EQ(w.tunnel().error().code, Code::kInvalid);
    w.set_header("Sec-WebSocket-Accept", "abc");
    w.set_header("Content-Length", "7");
    EXPECT_TRUE(w.upgrade("echo/1"));
    EXPECT_TRUE(w.started());
    EXPECT_EQ(w.status(), 101);
    EXPECT_EQ(w.write("no").error().code, Code::kInvalid);
    EXPECT_EQ(w.flush().error().code, Code::kInvalid);
    EXPECT_EQ(w.status(404).error().code, Code::kInvalid);
    EXPECT_EQ(w.upgrade("echo/1").error().code, Code::kInvalid);
  };
  EXPECT_EQ(talk(handler, {kAsk}),
            "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: abc\r\nConnection: Upgrade\r\nUpgrade: "
            "echo/1\r\n\r\n");
}

TEST(Upgrade, passes_through_middleware) {
  Mux mux;
  mux.use(compress());
  mux.use(timeout(10s));
  mux.handle("GET /up", shout_upgraded);
  EXPECT_EQ(talk(mux, {std::string(kAsk) + "x"}), std::string(kSwitched) + "X");
}

TEST(Upgrade, of_a_handler_that_throws_ends_cut) {
  const Handler handler = [](Request&, ResponseWriter& w) {
    EXPECT_TRUE(w.upgrade("echo/1"));
    throw std::runtime_error("handler");
  };
  EXPECT_EQ(talk(handler, {kAsk}), kSwitched);
}

// ---- CONNECT ----

TEST(Tunnel, is_for_connect_alone_and_needs_a_2xx) {
  const Handler handler = [](Request& r, ResponseWriter& w) {
    EXPECT_EQ(w.upgrade("echo/1").error().code, Code::kInvalid);
    if (r.method() != Method::kConnect) {
      EXPECT_EQ(w.tunnel().error().code, Code::kInvalid);
      return;
    }
    EXPECT_EQ(r.host(), "[::1]:80");
    EXPECT_EQ(r.target(), "[::1]:80");
    EXPECT_EQ(r.path(), "/");
    w.status(404);
    EXPECT_EQ(w.tunnel().error().code, Code::kInvalid);
    w.status(201);
    w.set_header("A", "b");
    w.set_header("Content-Length", "9");
    EXPECT_TRUE(w.tunnel());
  };
  EXPECT_EQ(talk(handler, {"CONNECT [::1]:80 HTTP/1.1\r\nHost: b\r\n\r\n"}), "HTTP/1.1 201 Created\r\nA: b\r\n\r\n");
  EXPECT_TRUE(talk(handler, {"GET / HTTP/1.1\r\nHost: b\r\n\r\n"}).starts_with("HTTP/1.1 200"));
}

TEST(Tunnel, is_never_believed_in_where_the_handler_opens_none) {
  const std::string asked = std::string(kConnect) + "GET /hello HTTP/1.1\r\nHost: smuggled\r\n\r\n";
  const Handler knows_nothing = [](Request&, ResponseWriter& w) { w.write("all is well\n"); };
  EXPECT_EQ(read_responses(talk(knows_nothing, {asked})), std::vector<std::string>{"501 cl=12 close [all is well\n]"});
  EXPECT_EQ(read_responses(talk([](Request&, ResponseWriter&) {}, {asked})),
            std::vector<std::string>{"501 cl=0 close []"});
  const Handler refuses = [](Request&, ResponseWriter& w) { w.status(403); };
  EXPECT_EQ(read_responses(talk(refuses, {asked})), std::vector<std::string>{"403 cl=0 close []"});
}

TEST(Tunnel, is_routed_by_method_and_authority) {
  Mux mux;
  mux.handle("GET /", [](Request&, ResponseWriter& w) { w.write("got"); });
  EXPECT_TRUE(talk(mux, {kConnect}).starts_with("HTTP/1.1 405 "));
  mux.handle("CONNECT b.example/", shout_tunnelled);
  EXPECT_EQ(talk(mux, {std::string(kConnect) + "x"}), std::string(kEstablished) + "X");
  EXPECT_TRUE(talk(mux, {"CONNECT c.example:443 HTTP/1.1\r\nHost: c\r\n\r\n"}).starts_with("HTTP/1.1 405 "));
  mux.handle("CONNECT /", shout_tunnelled);
  EXPECT_EQ(talk(mux, {"CONNECT c.example:443 HTTP/1.0\r\n\r\nx"}), std::string(kEstablished) + "X");
}

}  // namespace
}  // namespace heddle::http::test
