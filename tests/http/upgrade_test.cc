// Upgrades and tunnels over streams in memory: what must have been asked, what is answered, whose each byte is, and how the
// calls of an upgraded connection end.
#include <heddle/core/wait_group.h>
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

// ---- the calls of an upgraded connection ----

// Runs `handler(transport, request)` upgraded, with `client(rig)` as the peer; what the handler expects it expects.
template <class H, class C>
void upgraded(H handler, C client, std::string_view ask = kAsk) {
  on_one_p([&] {
    bool returned = false;
    Rig rig([&](Request& r, ResponseWriter& w) {
      const auto to = r.method() == Method::kConnect ? w.tunnel() : w.upgrade("echo/1");
      ASSERT_TRUE(to);
      handler(**to, r);
      returned = true;
    });
    rig.stream.send(ask);
    rig.stream.settle();
    client(rig);
    EXPECT_TRUE(rig.stream.pump_until([&] { return returned; }));
    rig.stream.end();
    rig.stream.settle();
    EXPECT_TRUE(rig.stream.gone());
  });
}

// Reads or writes as `ctx` allows.
Code code_of_read(net::Transport& to, const Context& ctx = {}) {
  std::byte buffer[100];
  const Result<std::size_t> n = to.read(ctx, buffer);
  return n ? Code::kOk : n.error().code;
}
Code code_of_write(net::Transport& to, const Context& ctx = {}) {
  const Result<void> written = to.write(ctx, std::as_bytes(std::span("some text", 9)));
  return written ? Code::kOk : written.error().code;
}

TEST(UpgradedConn, ends_reads_by_deadline_context_and_close) {
  upgraded(
      [](net::Transport& to, Request&) {
        std::byte buffer[10];
        EXPECT_EQ(to.read(std::span(buffer, 0)), std::size_t{0});
        EXPECT_EQ(to.try_read(buffer).error().code, Code::kWouldBlock);
        to.set_read_deadline(now() - 1s);
        EXPECT_EQ(code_of_read(to), Code::kTimeout);
        EXPECT_EQ(to.wait_readable({}).error().code, Code::kTimeout);
        to.set_read_deadline(now() + 5ms);
        EXPECT_EQ(code_of_read(to), Code::kTimeout);
        EXPECT_EQ(code_of_write(to), Code::kOk);  // the other direction has its own
        to.set_read_deadline(kNoDeadline);
        EXPECT_EQ(code_of_read(to, with_timeout({}, 5ms).ctx), Code::kTimeout);
        const auto [ctx, cancel] = with_cancel({});
        WaitGroup wg;
        wg.go([&] { EXPECT_EQ(code_of_read(to, ctx), Code::kCanceled); });
        gosched();
        cancel();
        wg.wait();
        EXPECT_EQ(code_of_read(to, ctx), Code::kCanceled);
        for (int i = 0; i < 2; ++i) {  // a deadline that comes while it waits, and one that goes
          to.set_read_deadline(i == 0 ? kNoDeadline : now() + 1h);
          wg.go([&] { EXPECT_EQ(code_of_read(to), Code::kTimeout); });
          gosched();
          to.set_read_deadline(now() + 2h);
          gosched();
          to.set_read_deadline(now() - 1s);
          wg.wait();
        }
        to.set_read_deadline(kNoDeadline);
        wg.go([&] { EXPECT_EQ(code_of_read(to), Code::kClosed); });
        gosched();
        to.close();
        to.close();
        wg.wait();
        EXPECT_EQ(code_of_read(to), Code::kClosed);
        EXPECT_EQ(code_of_write(to), Code::kClosed);
        EXPECT_EQ(to.close_write().error().code, Code::kClosed);
        EXPECT_FALSE(to.is_alive());
      },
      [](Rig&) {});
}

TEST(UpgradedConn, ends_writes_by_deadline_context_and_close) {
  bool full = false;
  upgraded(
      [&](net::Transport& to, Request&) {
        while (!full) gosched();
        to.set_write_deadline(now() + 5ms);
        EXPECT_EQ(code_of_write(to), Code::kTimeout);
        EXPECT_EQ(code_of_write(to), Code::kTimeout);
        to.set_write_deadline(kNoDeadline);
        EXPECT_EQ(code_of_write(to, with_timeout({}, 5ms).ctx), Code::kTimeout);
        const auto [ctx, cancel] = with_cancel({});
        WaitGroup wg;
        wg.go([&] { EXPECT_EQ(code_of_write(to, ctx), Code::kCanceled); });
        gosched();
        cancel();
        wg.wait();
        EXPECT_EQ(code_of_write(to, ctx), Code::kCanceled);
        for (int i = 0; i < 2; ++i) {
          to.set_write_deadline(i == 0 ? kNoDeadline : now() + 1h);
          wg.go([&] { EXPECT_EQ(code_of_write(to), Code::kTimeout); });
          gosched();
          to.set_write_deadline(now() + 2h);
          gosched();
          to.set_write_deadline(now() - 1s);
          wg.wait();
        }
        to.set_write_deadline(kNoDeadline);
        wg.go([&] { EXPECT_EQ(code_of_write(to), Code::kClosed); });
        gosched();
        to.close();
        wg.wait();
      },
      [&](Rig& rig) {
        rig.stream.take_in_all(0);
        full = true;
      });
}

TEST(UpgradedConn, reads_what_came_before_the_end_and_then_the_end) {
  for (const Code code : {Code::kEof, Code::kReset}) {
    upgraded(
        [code](net::Transport& to, Request&) {
          for (int i = 0; i < 100; ++i) gosched();
          std::byte buffer[4];
          EXPECT_TRUE(to.wait_readable({}));
          EXPECT_EQ(to.try_read(buffer), std::size_t{4});
          EXPECT_EQ(to.read(buffer), std::size_t{2});
          EXPECT_EQ(code_of_read(to), code == Code::kEof ? Code::kOk : code);
          EXPECT_EQ(to.try_read(buffer).has_value(), code == Code::kEof);
          EXPECT_EQ(code_of_write(to), code == Code::kEof ? Code::kOk : code);
          EXPECT_FALSE(to.is_alive());
        },
        [code](Rig& rig) {
          rig.stream.send("behind");
          rig.stream.end(code);
        });
  }
}

TEST(UpgradedConn, holds_the_client_back_while_nobody_reads) {
  bool read = false;
  constexpr std::size_t kMuch = 1 << 20;
  upgraded(
      [&](net::Transport& to, Request&) {
        while (!read) gosched();
        std::string all(kMuch, '\0');
        EXPECT_EQ(to.read_full(std::as_writable_bytes(std::span(all))), kMuch);
        EXPECT_EQ(all, std::string(kMuch, 'm'));
      },
      [&](Rig& rig) {
        rig.stream.send(std::string(kMuch, 'm'));
        rig.stream.settle();
        EXPECT_TRUE(rig.stream.paused());
        EXPECT_GT(rig.stream.held(), kMuch * 3 / 4);
        read = true;
      });
}

TEST(UpgradedConn, drops_what_comes_after_close_read) {
  bool sent = false;
  upgraded(
      [&](net::Transport& to, Request&) {
        EXPECT_TRUE(to.close_read());
        while (!sent) gosched();
        EXPECT_EQ(code_of_read(to), Code::kOk);
        std::byte one[1];
        EXPECT_EQ(to.read(one), std::size_t{0});
        EXPECT_EQ(code_of_write(to), Code::kOk);
        EXPECT_TRUE(to.close_write());
        EXPECT_EQ(code_of_write(to), Code::kReset);
      },
      [&](Rig& rig) {
        rig.stream.send(std::string(1 << 20, 'm'));
        rig.stream.settle();
        EXPECT_EQ(rig.stream.held(), 0u);
        sent = true;
      });
}

TEST(UpgradedConn, waits_for_calls_of_other_goroutines_when_the_handler_returns) {
  WaitGroup wg;
  bool full = false;
  upgraded(
      [&](net::Transport& to, Request&) {
        while (!full) gosched();
        wg.go([&to] { EXPECT_EQ(code_of_read(to), Code::kClosed); });
        wg.go([&to] {
          Code code = Code::kOk;
          while (code == Code::kOk) code = code_of_write(to);
          EXPECT_EQ(code, Code::kClosed);
        });
        for (int i = 0; i < 20; ++i) gosched();
      },
      [&](Rig& rig) {
        rig.stream.take_in_all(20);
        full = true;
      });
  wg.wait();
}

// ---- what the end of the client's half says ----

TEST(UpgradedConn, takes_the_end_of_the_clients_half_for_its_leave) {
  upgraded(
      [](net::Transport&, Request& r) {  // nobody reads, nothing is there to be read
        static_cast<void>(r.context().done().recv());
        EXPECT_EQ(r.context().cause()->code, Code::kEof);
      },
      [](Rig& rig) { rig.stream.end(); });
  upgraded(
      [](net::Transport& to, Request& r) {  // all is read first, within that context
        const Context ctx = r.context();
        for (int i = 0; i < 100; ++i) gosched();
        EXPECT_EQ(code_of_read(to, ctx), Code::kOk);
        std::byte one[1];
        EXPECT_FALSE(ctx.err());
        EXPECT_EQ(to.read(ctx, one), std::size_t{0});
        EXPECT_EQ(ctx.cause()->code, Code::kEof);
      },
      [](Rig& rig) {
        rig.stream.send("last words");
        rig.stream.end();
      });
  upgraded(
      [](net::Transport& to, Request& r) {  // a reader that waits learns it first
        std::byte one[1];
        EXPECT_EQ(to.read(r.context(), one), std::size_t{0});
        EXPECT_EQ(r.context().cause()->code, Code::kEof);
      },
      [](Rig& rig) { rig.stream.end(); });
}

TEST(UpgradedConn, lets_a_tunnels_client_end_its_half_and_stay) {
  upgraded(
      [](net::Transport& to, Request& r) {
        const Context ctx = r.context();
        std::byte one[1];
        EXPECT_EQ(to.read(ctx, one), std::size_t{0});
        EXPECT_FALSE(ctx.err());
        EXPECT_FALSE(r.context().err());
        EXPECT_EQ(code_of_write(to, ctx), Code::kOk);
      },
      [](Rig& rig) { rig.stream.end(); }, kConnect);
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

TEST(Tunnel, is_opened_for_a_client_that_has_said_all_before) {
  const Handler handler = [](Request& r, ResponseWriter& w) {
    const Context ctx = r.context();
    for (int i = 0; i < 200; ++i) gosched();  // dials, say: meanwhile the client's half ends
    const auto to = w.tunnel();
    ASSERT_TRUE(to);
    EXPECT_FALSE(ctx.err());
    EXPECT_EQ(code_of_read(**to, ctx), Code::kOk);
    std::byte one[1];
    EXPECT_EQ((*to)->read(ctx, one), std::size_t{0});
    EXPECT_EQ(code_of_write(**to, ctx), Code::kOk);
  };
  on_one_p([&] {
    Rig rig(handler);
    rig.stream.send(std::string(kConnect) + "all");
    rig.stream.end();
    rig.stream.settle();
    EXPECT_TRUE(rig.stream.pump_until([&] { return rig.stream.gone(); }));
    EXPECT_EQ(rig.stream.written(), std::string(kEstablished) + "some text");
  });
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
