// WebSockets between our own client and our own server, on real sockets, over whichever back end HEDDLE_POLLER names. Nothing may
// be left behind: no goroutine, no descriptor.
#include <atomic>
#include <vector>

#include <heddle/net/copy.h>

#include "client_test_util.h"
#include "ws_test_util.h"

namespace heddle::http::ws::test {
namespace {

using http::test::OwnServer;
using http::test::plain;
using http::test::with_network;

/// A loaded machine is not a peer that does not answer.
Options patient() {
  Options options;
  options.close_timeout = 20s;
  return options;
}

Handler echo(const Options& options = patient()) {
  return handler(
      [](Connection& socket) {
        while (Result<Message> message = socket.read()) {
          if (!socket.write(*message)) break;
        }
      },
      options);
}

std::string ws_url(const OwnServer& server) { return "ws" + server.url("/").substr(4); }

TEST(WsLoopback, many_handshakes_messages_and_closes) {
  with_network([] {
    OwnServer server(echo());
    Client client(plain());
    WaitGroup all;
    for (int w = 0; w < 8; ++w) {
      all.go([&, w] {
        for (int i = 0; i < 5; ++i) {
          Result<Connection> socket = dial(client, ws_url(server), patient());
          ASSERT_TRUE(socket) << socket.error().message();
          const std::string text = "message " + std::to_string(w * 100 + i);
          EXPECT_TRUE(socket->write_text(text));
          const Result<Message> got = socket->read();
          ASSERT_TRUE(got) << got.error().message();
          EXPECT_EQ(got->data, text);
          if (i % 2 == 0) {
            EXPECT_TRUE(socket->close(1000, "bye"));
            EXPECT_EQ(socket->peer_close().code, 1000);
          }  // else it is dropped
        }
      });
    }
    all.wait();
  });
}

TEST(WsLoopback, large_messages_both_ways_at_once_compressed_or_not) {
  with_network([] {
    for (const bool compressed : {false, true}) {
      Options options = patient();
      options.compression.enabled = compressed;
      OwnServer server(echo(options));
      Client client(plain());
      Result<Connection> socket = dial(client, ws_url(server), options);
      ASSERT_TRUE(socket) << socket.error().message();
      EXPECT_EQ(socket->compressed(), compressed);
      WaitGroup all;
      all.go([&] {
        for (std::size_t i = 0; i < 10; ++i) {
          std::string data(100'000 * i + 7, '\0');
          for (std::size_t k = 0; k < data.size(); ++k) data[k] = static_cast<char>((k * k + i) >> 3);
          EXPECT_TRUE(socket->write_binary(data));
        }
      });
      for (std::size_t i = 0; i < 10; ++i) {
        const Result<Message> got = socket->read();
        ASSERT_TRUE(got) << got.error().message();
        ASSERT_EQ(got->data.size(), 100'000 * i + 7);
        std::size_t wrong = 0;
        for (std::size_t k = 0; k < got->data.size(); ++k) wrong += got->data[k] != static_cast<char>((k * k + i) >> 3);
        EXPECT_EQ(wrong, 0u);
      }
      all.wait();
      EXPECT_TRUE(socket->close());
    }
  });
}

TEST(WsLoopback, a_message_that_nobody_holds_goes_there_and_back_in_pieces) {
  with_network([] {
    for (const bool compressed : {false, true}) {
      Options options = patient();
      options.compression.enabled = compressed;
      options.max_message = 4 << 20;
      OwnServer server(handler(
          [](Connection& socket) {
            while (Result<Reader> in = socket.next_reader()) {
              Result<Writer> out = socket.next_writer(in->kind());
              if (!out || !net::copy(*out, *in) || !out->close()) break;
            }
          },
          options));
      Client client(plain());
      Result<Connection> socket = dial(client, ws_url(server), options);
      ASSERT_TRUE(socket) << socket.error().message();
      std::string piece(60'000, '\0');
      for (std::size_t k = 0; k < piece.size(); ++k) piece[k] = static_cast<char>((k * k) >> 3);
      constexpr std::size_t kPieces = 30;
      WaitGroup all;
      all.go([&] {
        Result<Writer> out = socket->next_writer(Kind::kBinary);
        ASSERT_TRUE(out);
        for (std::size_t i = 0; i < kPieces; ++i) EXPECT_TRUE(out->write(piece));
        EXPECT_TRUE(out->close());
      });
      Result<Reader> in = socket->next_reader();
      ASSERT_TRUE(in);
      std::size_t size = 0;
      std::size_t wrong = 0;
      std::vector<std::byte> buf(5000);
      for (Result<std::size_t> n = in->read(buf); n && *n != 0; n = in->read(buf)) {
        for (std::size_t k = 0; k < *n; ++k, ++size) wrong += static_cast<char>(buf[k]) != piece[size % piece.size()];
      }
      EXPECT_EQ(size, kPieces * piece.size());
      EXPECT_EQ(wrong, 0U);
      all.wait();
      EXPECT_TRUE(socket->close());
    }
  });
}

TEST(WsLoopback, clients_that_vanish_in_any_state_leave_nothing) {
  with_network([] {
    std::atomic<int> ended{0};
    OwnServer server(handler([&](Connection& socket) {
      while (Result<Message> message = socket.read()) {
        if (!socket.write(*message)) break;
      }
      ++ended;
    }));
    Client client(plain());
    for (int i = 0; i < 12; ++i) {
      Result<Connection> socket = dial(client, ws_url(server), patient());
      ASSERT_TRUE(socket);
      if (i % 3 > 0) {
        EXPECT_TRUE(socket->write_text("x"));
      }
      if (i % 3 > 1) {
        EXPECT_TRUE(socket->read());
      }
      socket->abort();
    }
    for (const TimePoint until = net::test::patience(); ended != 12 && now() < until;) sleep(1ms);
    EXPECT_EQ(ended, 12);
  });
}

TEST(WsLoopback, a_shutdown_says_going_away_and_does_not_wait_for_the_grace) {
  with_network([] {
    std::optional<OwnServer> server(std::in_place, echo());
    Client client(plain());
    std::vector<Connection> sockets;
    for (int i = 0; i < 4; ++i) {
      Result<Connection> socket = dial(client, ws_url(*server), patient());
      ASSERT_TRUE(socket);
      EXPECT_TRUE(socket->write_text("x"));
      EXPECT_TRUE(socket->read());
      sockets.push_back(std::move(*socket));
    }
    WaitGroup all;
    for (Connection& socket : sockets) {
      all.go([&socket] {
        EXPECT_EQ(said(socket.read()), "end of stream");
        EXPECT_EQ(socket.peer_close().code, kGoingAway);
      });
    }
    server.reset();  // shutdown(), which must end all of them
    all.wait();
  });
}

// Who only writes is told as well.
TEST(WsLoopback, the_end_of_the_requests_context_says_going_away) {
  with_network([] {
    auto [ctx, cancel] = with_cancel({});
    ServerOptions server_options;
    server_options.base_context = ctx;
    std::atomic<int> ended{0};
    OwnServer server(handler(
                         [&](Connection& socket, Request& request) {
                           if (request.path() == "/reads") {
                             EXPECT_EQ(said(socket.read()), "canceled");
                           } else {
                             while (socket.write_text("tick")) sleep(1ms);
                           }
                           ++ended;
                         },
                         patient()),
                     server_options);
    Client client(plain());
    WaitGroup all;
    for (const char* path : {"reads", "writes"}) {
      all.go([&, path] {
        Result<Connection> socket = dial(client, ws_url(server) + path, patient());
        ASSERT_TRUE(socket);
        if (path[0] == 'w') {
          EXPECT_TRUE(socket->read());
          cancel();
        }
        while (socket->read()) {
        }
        EXPECT_EQ(socket->peer_close().code, kGoingAway);
      });
    }
    all.wait();
    for (const TimePoint until = net::test::patience(); ended != 2 && now() < until;) sleep(1ms);
    EXPECT_EQ(ended, 2);
  });
}

TEST(WsLoopback, the_server_ends_the_connection_after_a_fault_and_the_fault_is_told) {
  with_network([] {
    OwnServer server(echo());
    for (int i = 0; i < 5; ++i) {
      net::Conn conn = net::test::must(net::dial(server.address));
      conn.set_deadline(net::test::patience());
      const std::string request =
          "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
          "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
      ASSERT_TRUE(
          conn.write(bytes(request + frame(0x81, "x", true) + frame(0x83, "y", true) + frame(0x81, "z", true))));
      const std::string all = read_to_end(conn);
      EXPECT_EQ(words(all.substr(all.find("\r\n\r\n") + 4), Role::kServer), "text(x) close(1002 unknown opcode)");
    }
  });
}

}  // namespace
}  // namespace heddle::http::ws::test
