// Addresses: what parses, what does not, and that printing is parsing's inverse.
#include <heddle/net/address.h>
#include <heddle/net/endpoint.h>

#include <gtest/gtest.h>
#include <netinet/in.h>

#include <cstring>

namespace heddle::net {
namespace {

TEST(Address, parses_what_it_prints) {
  struct Case {
    const char* text;
    const char* printed;
    int family;
    int port;
  };
  for (const Case& c : {Case{"127.0.0.1:8080", "127.0.0.1:8080", AF_INET, 8080},
                        Case{"0.0.0.0:0", "0.0.0.0:0", AF_INET, 0},
                        Case{"255.255.255.255:65535", "255.255.255.255:65535", AF_INET, 65535},
                        Case{"localhost:80", "127.0.0.1:80", AF_INET, 80},
                        Case{":8080", "[::]:8080", AF_INET6, 8080},
                        Case{"[::1]:443", "[::1]:443", AF_INET6, 443},
                        Case{"[2001:DB8:0:0::1]:1", "[2001:db8::1]:1", AF_INET6, 1},
                        Case{"[fe80::1%1]:9", "[fe80::1%lo]:9", AF_INET6, 9}}) {
    const Result<Address> address = Address::parse(c.text);
    ASSERT_TRUE(address) << c.text << ": " << address.error().message();
    EXPECT_EQ(address->to_string(), c.printed);
    EXPECT_EQ(address->family(), c.family);
    EXPECT_EQ(address->port(), c.port);
    EXPECT_EQ(Address::parse(address->to_string()), *address);
    EXPECT_EQ(Address::from(address->sa(), address->size()), *address);
  }
}

TEST(Address, refuses_what_is_not_numeric_and_says_why) {
  for (const char* text : {"", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1: 80", "127.0.0.1:80 ",
                           "127.0.0.1:0x50", "127.0.0.1:000080", "127.1:80", "256.0.0.1:80", "::1:80", "[::1:80", "::1]:80", "[]:80",
                           "[::1%]:80", "[::1%nosuchif]:80", "[127.0.0.1]:80", "example.org:80", "[::1]80", "1.2.3.4.5:80",
                           "[1:2:3:4:5:6:7:8:9:10:11:12:13:14:15:16:17:18:19:20:21]:80"}) {
    const Result<Address> address = Address::parse(text);
    ASSERT_FALSE(address) << text;
    EXPECT_EQ(address.error().code, Code::kInvalid);
    EXPECT_NE(address.error().message().find("address"), std::string::npos);
  }
}

TEST(Address, an_ipv4_peer_of_a_dual_stack_socket_is_an_ipv4_peer) {
  sockaddr_in6 mapped{};
  mapped.sin6_family = AF_INET6;
  mapped.sin6_port = htons(40312);
  const unsigned char bytes[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1};
  std::memcpy(&mapped.sin6_addr, bytes, sizeof bytes);
  EXPECT_EQ(Address::from(reinterpret_cast<const sockaddr*>(&mapped), sizeof mapped).to_string(), "127.0.0.1:40312");
}

TEST(Address, an_unknown_family_is_empty) {
  EXPECT_EQ(Address().to_string(), "");
  EXPECT_EQ(Address().size(), 0U);
  sockaddr unix_like{};
  unix_like.sa_family = AF_UNIX;
  EXPECT_EQ(Address::from(&unix_like, sizeof unix_like), Address());
}

TEST(Endpoint, is_an_ip_address_or_a_unix_socket) {
  for (const char* text : {"127.0.0.1:80", "[::1]:443", "unix:/run/app.sock", "unix:app.sock", "unix:@app",
                           "unix:./@app", "unix:127.0.0.1:80"}) {
    const Result<Endpoint> endpoint = Endpoint::parse(text);
    ASSERT_TRUE(endpoint) << text << ": " << endpoint.error().message();
    EXPECT_EQ(endpoint->to_string(), text);
    EXPECT_EQ(Endpoint::parse(endpoint->to_string()), *endpoint);
    EXPECT_EQ(endpoint->local() != nullptr, std::string_view(text).starts_with("unix:"));
    EXPECT_EQ(endpoint->ip() != nullptr, endpoint->local() == nullptr);
  }
  for (const std::string text :
       {"unix:", "unix", "/run/app.sock", "UNIX:/run/app.sock", "127.0.0.1", "", "example.org:80"})
    EXPECT_EQ(Endpoint::parse(text).error().code, Code::kInvalid) << text;
  EXPECT_EQ(Endpoint::parse("unix:/" + std::string(107, 'a')).error().code, Code::kInvalid);
  EXPECT_NE(*Endpoint::parse("unix:@app"), *Endpoint::parse("unix:app"));
}

}  // namespace
}  // namespace heddle::net
