// Upgraded connections on real sockets, over whichever back end HEDDLE_POLLER names: both directions at once, ends of all
// kinds, and a proxy. Clients are plain threads with blocking sockets, so that nothing of heddle is on their side.
#include <heddle/core/wait_group.h>
#include <heddle/net/copy.h>
#include <heddle/net/tcp.h>

#include <algorithm>
#include <array>
#include <thread>

#include "sockets.h"

namespace heddle::http::test {
namespace {

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr std::size_t kMuch = 512 << 10;
#else
constexpr std::size_t kMuch = 4 << 20;
#endif

constexpr std::string_view kAsk = "GET /up HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: bytes\r\n\r\n";
constexpr std::string_view kSwitched =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: bytes\r\n\r\n";

// The byte at `at` of the stream `id`: no two places near one another look alike.
char byte_at(std::size_t at, unsigned id) { return static_cast<char>((at * 2654435761U + id) >> 13); }

std::string block(std::size_t from, std::size_t size, unsigned id) {
  std::string out(size, '\0');
  for (std::size_t i = 0; i < size; ++i) out[i] = byte_at(from + i, id);
  return out;
}

// Writes `size` bytes of the stream `id`, in pieces of changing sizes.
bool pour(net::Transport& to, std::size_t size, unsigned id) {
  std::size_t step = 1;
  for (std::size_t at = 0; at < size;) {
    step = step * 7 % 70'001 + 1;
    const std::string piece = block(at, std::min(step, size - at), id);
    const std::size_t half = piece.size() / 2;
    const std::array<iovec, 2> both{iovec{const_cast<char*>(piece.data()), half},
                                    iovec{const_cast<char*>(piece.data()) + half, piece.size() - half}};
    if (!to.writev(both)) return false;
    at += piece.size();
  }
  return true;
}

// Reads to the end of the stream; true if that was the stream `id`, `size` bytes of it.
bool drink(net::Transport& from, std::size_t size, unsigned id) {
  std::vector<std::byte> buffer(50'000);
  std::size_t at = 0;
  for (std::size_t room = 1;; room = room * 5 % buffer.size() + 1) {
    const Result<std::size_t> n = from.read(std::span(buffer).first(room));
    if (!n) return false;
    if (*n == 0) return at == size;
    for (std::size_t i = 0; i < *n; ++i) {
      if (static_cast<char>(buffer[i]) != byte_at(at + i, id)) return false;
    }
    at += *n;
  }
}

bool is_stream(std::string_view bytes, std::size_t size, unsigned id) { return bytes == block(0, size, id); }

TEST(UpgradeLoopback, carries_both_directions_at_once) {
  for (int procs : {1, 2, 4}) {
    std::atomic<int> right{0};
    with_server(
        procs,
        [](std::uint16_t port) {
          std::vector<std::thread> clients;
          for (unsigned c = 0; c < 3; ++c) {
            clients.emplace_back([port, c] {
              // One of them has small buffers: its writers wait at every turn.
              Socket s(port, c == 0 ? 4096 : 0);
              std::thread sender([&] {
                s.send(std::string(kAsk) + block(0, 1000, 1));
                for (std::size_t at = 1000; at < kMuch; at += 100'000)
                  s.send(block(at, std::min(std::size_t{100'000}, kMuch - at), 1));
                s.finish();
              });
              const std::string all = s.read_to_end();
              sender.join();
              EXPECT_TRUE(all.starts_with(kSwitched));
              EXPECT_TRUE(is_stream(std::string_view(all).substr(kSwitched.size()), kMuch, 2)) << all.size();
            });
          }
          for (std::thread& t : clients) t.join();
        },
        {},
        [&](Request&, ResponseWriter& w) {
          const auto to = w.upgrade("bytes");
          ASSERT_TRUE(to);
          WaitGroup wg;
          wg.go([&] {
            EXPECT_TRUE(pour(**to, kMuch, 2));
            EXPECT_TRUE((*to)->close_write());
          });
          EXPECT_TRUE(drink(**to, kMuch, 1));
          wg.wait();
          ++right;
        });
    EXPECT_EQ(right.load(), 3);
  }
}

TEST(UpgradeLoopback, echoes_with_one_goroutine_and_holds_the_client_back) {
  with_server(
      2,
      [](std::uint16_t port) {
        Socket s(port);
        std::thread sender([&] {
          s.send("GET /hello HTTP/1.1\r\nHost: a\r\n\r\n" + std::string(kAsk));
          s.send(block(0, kMuch, 1));
          s.finish();
        });
        const std::string all = s.read_to_end();
        sender.join();
        const std::size_t at = all.find("HTTP/1.1 101");
        ASSERT_NE(at, std::string::npos);
        EXPECT_EQ(read_responses(all.substr(0, at)), std::vector<std::string>{"200 cl=13 [Hello, World!]"});
        EXPECT_TRUE(is_stream(std::string_view(all).substr(at + kSwitched.size()), kMuch, 1)) << all.size();
      },
      {},
      [](Request& r, ResponseWriter& w) {
        if (r.path() == "/hello") return faces(r, w);
        const auto to = w.upgrade("bytes");
        ASSERT_TRUE(to);
        const net::Copied copied = net::copy(**to, **to);
        EXPECT_TRUE(copied);
        EXPECT_EQ(copied.bytes, kMuch);
      });
}

// Half of them have gone before anything was answered, and perhaps before they were accepted: those are not served.
TEST(UpgradeLoopback, ends_both_ways_when_the_client_resets) {
  std::atomic<int> begun{0}, ended{0};
  with_server(
      2,
      [](std::uint16_t port) {
        for (int i = 0; i < 20; ++i) {
          Socket s(port);
          s.send(std::string(kAsk) + block(0, static_cast<std::size_t>(i) * 997, 1));
          if (i % 2 == 0) s.read_some();
          s.reset();
        }
      },
      {},
      [&](Request& r, ResponseWriter& w) {
        ++begun;
        const Context ctx = r.context();
        const auto to = w.upgrade("bytes");
        if (!to) {  // it was gone before the answer
          ++ended;
          return;
        }
        WaitGroup wg;
        wg.go([&] { EXPECT_FALSE(pour(**to, std::size_t{1} << 40, 2)); });
        std::byte buffer[1000];
        Result<std::size_t> n = 1;
        while (n && *n != 0) n = (*to)->read(buffer);
        wg.wait();
        static_cast<void>(ctx.done().recv());
        EXPECT_TRUE(ctx.cause()->code == Code::kReset || ctx.cause()->code == Code::kEof) << ctx.cause()->message();
        EXPECT_FALSE((*to)->is_alive());
        ++ended;
      });
  EXPECT_GE(begun.load(), 10);
  EXPECT_EQ(ended.load(), begun.load());
}

// A handler that waits for its client in both directions, and a client that does nothing.
TEST(UpgradeLoopback, is_cut_when_the_grace_is_over) {
  std::atomic<int> there{0}, cut{0}, told{0};
  run([&] {
    Server server([&](Request& r, ResponseWriter& w) {
      const auto to = w.upgrade("bytes");
      ASSERT_TRUE(to);
      WaitGroup wg;
      wg.go([&] {
        Result<void> written;
        const std::string piece = block(0, 100'000, 2);
        while (written) written = (*to)->write(std::as_bytes(std::span(piece)));
        if (written.error().code == Code::kClosed) ++cut;
      });
      wg.go([&] {
        std::byte one[1];
        const Result<std::size_t> n = (*to)->read(one);
        if (!n && n.error().code == Code::kClosed) ++cut;
      });
      ++there;
      static_cast<void>(r.draining().done().recv());
      EXPECT_FALSE(r.context().err());
      ++told;
      wg.wait();
      static_cast<void>(r.context().done().recv());  // it is told by a goroutine of its own
      EXPECT_EQ(r.context().cause()->code, Code::kClosed);
    });
    const Result<net::Address> at = server.listen(kAnyPort);
    ASSERT_TRUE(at);
    std::vector<std::unique_ptr<Socket>> clients;
    on_a_thread([&] {
      for (int i = 0; i < 4; ++i) {
        clients.push_back(std::make_unique<Socket>(at->port(), 4096));
        clients.back()->send(kAsk);
      }
    });
    while (there.load() != 4) sleep(1ms);
    EXPECT_FALSE(server.shutdown(100ms));
    EXPECT_EQ(server.stats().open, 0u);
    EXPECT_EQ(cut.load(), 8);
    EXPECT_EQ(told.load(), 4);
  });
}

TEST(UpgradeLoopback, takes_its_leave_when_the_server_drains) {
  std::atomic<bool> there{false};
  run([&] {
    Server server([&](Request& r, ResponseWriter& w) {
      const auto to = w.upgrade("bytes");
      ASSERT_TRUE(to);
      there = true;
      std::byte one[1];
      const Result<std::size_t> n = (*to)->read(r.draining(), one);
      ASSERT_FALSE(n);
      EXPECT_EQ(n.error().code, Code::kCanceled);
      EXPECT_TRUE((*to)->write(std::as_bytes(std::span("bye", 3))));
    });
    const Result<net::Address> at = server.listen(kAnyPort);
    ASSERT_TRUE(at);
    std::string all;
    std::thread client([&] {
      Socket s(at->port());
      s.send(kAsk);
      all = s.read_to_end();
    });
    while (!there.load()) sleep(1ms);
    EXPECT_TRUE(server.shutdown(20s));
    client.join();
    EXPECT_EQ(all, std::string(kSwitched) + "bye");
  });
}

// A proxy: the client's half ends first, and what the other side sends after that still arrives.
TEST(TunnelLoopback, proxies_to_where_the_client_wants) {
  run([&] {
    Result<net::Listener> listener = net::listen(kAnyPort);
    ASSERT_TRUE(listener);
    const net::Address target = *listener->local_address();
    WaitGroup echo;
    echo.go([&] {
      for (;;) {
        Result<net::Conn> conn = listener->accept();
        if (!conn) return;
        echo.go([conn = std::make_shared<net::Conn>(std::move(*conn))] {
          std::string all;
          std::vector<std::byte> buffer(65536);
          for (;;) {  // all of it, and only then back
            const Result<std::size_t> n = conn->read(buffer);
            ASSERT_TRUE(n);
            if (*n == 0) break;
            all.append(reinterpret_cast<const char*>(buffer.data()), *n);
          }
          EXPECT_TRUE(conn->write(std::as_bytes(std::span(all))));
          conn->close();
        });
      }
    });
    Server server([](Request& r, ResponseWriter& w) {
      const Context ctx = r.context();
      Result<net::Conn> far = net::dial(r.host());
      if (!far) {
        w.status(kStatusBadGateway);
        return;
      }
      const auto near = w.tunnel();
      ASSERT_TRUE(near);
      WaitGroup wg;
      wg.go([&] {
        EXPECT_TRUE(net::copy(ctx, *far, **near));
        EXPECT_TRUE(far->close_write());
      });
      EXPECT_TRUE(net::copy(ctx, **near, *far));
      wg.wait();
      EXPECT_FALSE(ctx.err());
    });
    const Result<net::Address> at = server.listen(kAnyPort);
    ASSERT_TRUE(at);
    on_a_thread([&] {
      for (int i = 0; i < 3; ++i) {
        Socket s(at->port());
        s.send("CONNECT " + target.to_string() + " HTTP/1.1\r\nHost: " + target.to_string() + "\r\n\r\n");
        s.send(block(0, kMuch / 4, 1));
        s.finish();
        const std::string all = s.read_to_end();
        constexpr std::string_view kEstablished = "HTTP/1.1 200 OK\r\n\r\n";
        EXPECT_TRUE(all.starts_with(kEstablished));
        EXPECT_TRUE(is_stream(std::string_view(all).substr(kEstablished.size()), kMuch / 4, 1)) << all.size();
      }
      Socket nobody(at->port());
      nobody.send("CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: a\r\n\r\n");
      EXPECT_EQ(read_responses(nobody.read_to_end()), std::vector<std::string>{"502 cl=0 close []"});
    });
    EXPECT_TRUE(server.shutdown(20s));
    listener->close();
    echo.wait();
  });
}

}  // namespace
}  // namespace heddle::http::test
