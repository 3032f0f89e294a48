// Connections per client address: what counts as one client, and that what is refused is counted and forgotten.
#include <heddle/http/internal/network_counts.h>
#include <heddle/http/internal/peer.h>

#include <memory>
#include <string>
#include <vector>

#include "sockets.h"

namespace heddle::http::test {
namespace {

Peer peer(std::string_view address) { return Peer::of(*net::Address::parse(address)); }

std::string written(const Peer& p) {
  std::array<char, Peer::kMaxText> text;
  return std::string(p.write(text));
}

TEST(ConnectionLimit, a_peer_is_written_as_it_is_read) {
  for (const char* text : {"192.0.2.1:1", "255.255.255.255:65535", "[::1]:80", "[2001:db8::1]:443",
                           "[1111:2222:3333:4444:5555:6666:7777:8888]:65535"})
    EXPECT_EQ(written(peer(text)), text);
  EXPECT_EQ(written(peer("[::ffff:192.0.2.1]:80")), "192.0.2.1:80");
  EXPECT_EQ(written(Peer()), "");
}

TEST(ConnectionLimit, one_client_is_an_ipv4_address_or_an_ipv6_network) {
  EXPECT_EQ(peer("192.0.2.1:1").network(), peer("192.0.2.1:2").network());
  EXPECT_EQ(peer("192.0.2.1:1").network(), peer("[::ffff:192.0.2.1]:2").network());
  EXPECT_NE(peer("192.0.2.1:1").network(), peer("192.0.2.2:1").network());
  EXPECT_EQ(peer("[2001:db8:1:2::1]:1").network(), peer("[2001:db8:1:2:ffff::]:1").network());
  EXPECT_NE(peer("[2001:db8:1:2::1]:1").network(), peer("[2001:db8:1:3::1]:1").network());
  EXPECT_TRUE(peer("127.1.2.3:1").is_loopback());
  EXPECT_TRUE(peer("[::1]:1").is_loopback());
  EXPECT_TRUE(peer("[::ffff:127.0.0.1]:1").is_loopback());
  EXPECT_FALSE(peer("128.0.0.1:1").is_loopback());
  EXPECT_FALSE(peer("[::2]:1").is_loopback());
}

TEST(ConnectionLimit, counts_come_and_go) {
  NetworkCounts counts(2);
  for (std::uint64_t network = 0; network < 1000; ++network) {
    EXPECT_TRUE(counts.enter(network));
    EXPECT_TRUE(counts.enter(network));
    EXPECT_FALSE(counts.enter(network));
  }
  for (std::uint64_t network = 0; network < 1000; ++network) counts.leave(network);
  for (std::uint64_t network = 0; network < 1000; ++network) {
    EXPECT_TRUE(counts.enter(network));
    EXPECT_FALSE(counts.enter(network));
  }
}

/// A server and any number of connections to it in memory.
class Clients {
 public:
  explicit Clients(const ServerOptions& options) : server(faces, options) {}
  ~Clients() {
    for (const auto& stream : streams) drop(*stream);
    EXPECT_EQ(server.stats().open, 0u);
  }
  /// A connection from `address` (empty: none that is known); null if it was refused.
  MemoryStream* come(std::string_view address) {
    auto stream = std::make_unique<MemoryStream>();
    if (!address.empty()) stream->come_from(address);
    net::StreamSink* const sink = server.acceptor().on_accept(*stream);
    if (sink == nullptr) return nullptr;
    stream->attach(sink);
    streams.push_back(std::move(stream));
    return streams.back().get();
  }
  static void drop(MemoryStream& stream) {
    if (stream.gone()) return;
    stream.end(Code::kReset);
    EXPECT_TRUE(stream.pump_until([&] { return stream.gone(); }));
  }

  Server server;
  std::vector<std::unique_ptr<MemoryStream>> streams;
};

TEST(ConnectionLimit, holds_each_client_to_its_share) {
  on_one_p([] {
    ServerOptions options;
    options.max_connections_per_ip = 2;
    Clients clients(options);
    MemoryStream* const first = clients.come("192.0.2.1:1");
    ASSERT_NE(first, nullptr);
    EXPECT_NE(clients.come("192.0.2.1:2"), nullptr);
    EXPECT_EQ(clients.come("192.0.2.1:3"), nullptr);
    EXPECT_EQ(clients.come("[::ffff:192.0.2.1]:4"), nullptr);
    EXPECT_NE(clients.come("192.0.2.2:1"), nullptr);
    EXPECT_NE(clients.come("[2001:db8::1]:1"), nullptr);
    EXPECT_NE(clients.come("[2001:db8::2]:1"), nullptr);
    EXPECT_EQ(clients.come("[2001:db8::3]:1"), nullptr);
    EXPECT_NE(clients.come("[2001:db8:0:1::1]:1"), nullptr);
    EXPECT_EQ(clients.server.stats().refused_per_ip, 3u);
    EXPECT_EQ(clients.server.stats().refused, 0u);
    EXPECT_EQ(clients.server.stats().open, 6u);
    Clients::drop(*first);
    EXPECT_NE(clients.come("192.0.2.1:5"), nullptr);
    EXPECT_EQ(clients.come("192.0.2.1:6"), nullptr);
  });
}

TEST(ConnectionLimit, spares_this_machine_unless_told_and_who_has_no_address) {
  on_one_p([] {
    ServerOptions options;
    options.max_connections_per_ip = 1;
    for (const bool limited : {false, true}) {
      options.limit_loopback = limited;
      Clients clients(options);
      for (const char* address : {"127.0.0.1:1", "[::1]:1"}) {
        EXPECT_NE(clients.come(address), nullptr);
        EXPECT_EQ(clients.come(address) == nullptr, limited) << address;
      }
      for (int i = 0; i < 3; ++i) EXPECT_NE(clients.come(""), nullptr);
    }
    options.max_connections_per_ip = 0;
    Clients clients(options);
    for (int i = 0; i < 100; ++i) EXPECT_NE(clients.come("192.0.2.1:1"), nullptr);
  });
}

TEST(ConnectionLimit, one_refused_for_the_sum_of_all_is_not_counted_for_its_client) {
  on_one_p([] {
    ServerOptions options;
    options.max_connections = 1;
    options.max_connections_per_ip = 1;
    Clients clients(options);
    MemoryStream* const other = clients.come("192.0.2.9:1");
    EXPECT_EQ(clients.come("192.0.2.1:1"), nullptr);
    EXPECT_EQ(clients.server.stats().refused, 1u);
    Clients::drop(*other);
    EXPECT_NE(clients.come("192.0.2.1:1"), nullptr);
  });
}

TEST(ConnectionLimit, closes_sockets_over_it_as_they_come) {
  ServerOptions options;
  options.max_connections_per_ip = 2;
  options.limit_loopback = true;
  with_server(
      2,
      [](std::uint16_t port) {
        const std::string request = "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n";
        for (int round = 0; round < 3; ++round) {
          Socket one(port);
          Socket two(port);
          // Both are there for certain once they were answered.
          for (Socket* s : {&one, &two}) {
            // The round before may still be on its way out.
            for (;;) {
              ASSERT_TRUE(s->send(request));
              if (!s->read_response().empty()) break;
              s->~Socket();
              new (s) Socket(port);
            }
          }
          Socket three(port);
          EXPECT_EQ(three.read_to_end(), "");
        }
      },
      options);
}

}  // namespace
}  // namespace heddle::http::test
