// Parsing and printing numeric endpoints.
#include <heddle/net/address.h>

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace heddle::net {
namespace {

std::unexpected<Error> invalid(const char* why) { return std::unexpected(Error{Code::kInvalid, 0, why}); }

// inet_pton(3) and if_nametoindex(3) want a terminator.
template <std::size_t N>
bool copy_to(char (&buf)[N], std::string_view text) noexcept {
  if (text.size() >= N) return false;
  std::memcpy(buf, text.data(), text.size());
  buf[text.size()] = '\0';
  return true;
}

bool parse_port(std::string_view text, std::uint16_t& port) noexcept {
  if (text.empty() || text.size() > 5) return false;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc{} && end == text.data() + text.size();
}

bool parse_v4(std::string_view text, in_addr& out) noexcept {
  char buf[INET_ADDRSTRLEN];
  return copy_to(buf, text) && ::inet_pton(AF_INET, buf, &out) == 1;
}

// "fe80::1%eth0" or "fe80::1%2" too (RFC 4007 s11).
bool parse_v6(std::string_view text, sockaddr_in6& out) noexcept {
  const std::size_t percent = text.find('%');
  if (percent != std::string_view::npos) {
    const std::string_view zone = text.substr(percent + 1);
    char name[IF_NAMESIZE];
    const auto [end, error] = std::from_chars(zone.data(), zone.data() + zone.size(), out.sin6_scope_id);
    if (error != std::errc{} || end != zone.data() + zone.size()) {
      if (zone.empty() || !copy_to(name, zone)) return false;
      out.sin6_scope_id = ::if_nametoindex(name);
    }
    if (out.sin6_scope_id == 0) return false;
    text = text.substr(0, percent);
  }
  char buf[INET6_ADDRSTRLEN];
  return copy_to(buf, text) && ::inet_pton(AF_INET6, buf, &out.sin6_addr) == 1;
}

}  // namespace

Result<Address> Address::parse(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return invalid("parse address: no port (HOST:PORT)");
  std::uint16_t port = 0;
  if (!parse_port(text.substr(colon + 1), port)) return invalid("parse address: the port is not in 0-65535");
  std::string_view host = text.substr(0, colon);

  Address address;
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(port);
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_port = htons(port);
  if (host.empty()) {
    v6.sin6_addr = in6addr_any;
  } else if (host.front() == '[') {
    if (host.size() < 2 || host.back() != ']') return invalid("parse address: '[' without ']'");
    if (!parse_v6(host.substr(1, host.size() - 2), v6)) return invalid("parse address: not an IPv6 address in []");
  } else if (host == "localhost") {
    v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  } else if (parse_v4(host, v4.sin_addr)) {
  } else if (host.find(':') != std::string_view::npos) {
    return invalid("parse address: an IPv6 address needs [] around it");
  } else {
    return invalid("parse address: a name, not a number (names are resolved elsewhere)");
  }
  if (host.empty() || host.front() == '[') {
    std::memcpy(&address.storage_, &v6, sizeof v6);
  } else {
    std::memcpy(&address.storage_, &v4, sizeof v4);
  }
  return address;
}

Address Address::from(const sockaddr* sa, socklen_t len) noexcept {
  Address address;
  if (sa == nullptr || len < sizeof(sa_family_t)) return address;
  if (sa->sa_family == AF_INET6 && len >= sizeof(sockaddr_in6)) {
    sockaddr_in6 v6{};
    std::memcpy(&v6, sa, sizeof v6);
    if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {  // an IPv4 peer of a dual-stack socket is an IPv4 peer
      sockaddr_in v4{};
      v4.sin_family = AF_INET;
      v4.sin_port = v6.sin6_port;
      std::memcpy(&v4.sin_addr, &v6.sin6_addr.s6_addr[12], sizeof v4.sin_addr);
      std::memcpy(&address.storage_, &v4, sizeof v4);
    } else {
      std::memcpy(&address.storage_, &v6, sizeof v6);
    }
  } else if (sa->sa_family == AF_INET && len >= sizeof(sockaddr_in)) {
    std::memcpy(&address.storage_, sa, sizeof(sockaddr_in));
  }
  return address;
}

std::string Address::to_string() const {
  char text[INET6_ADDRSTRLEN] = "";
  if (family() == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(&storage_);
    ::inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
    return std::string(text) + ":" + std::to_string(port());
  }
  if (family() == AF_INET6) {
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&storage_);
    ::inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
    std::string host = text;
    if (v6->sin6_scope_id != 0) {
      char name[IF_NAMESIZE];
      host += '%';
      host += ::if_indextoname(v6->sin6_scope_id, name) != nullptr ? name : std::to_string(v6->sin6_scope_id);
    }
    return "[" + host + "]:" + std::to_string(port());
  }
  return {};
}

std::uint16_t Address::port() const noexcept {
  if (family() == AF_INET) return ntohs(reinterpret_cast<const sockaddr_in*>(&storage_)->sin_port);
  if (family() == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6*>(&storage_)->sin6_port);
  return 0;
}

Address Address::with_port(std::uint16_t port) const noexcept {
  Address out = *this;
  if (family() == AF_INET) reinterpret_cast<sockaddr_in*>(&out.storage_)->sin_port = htons(port);
  if (family() == AF_INET6) reinterpret_cast<sockaddr_in6*>(&out.storage_)->sin6_port = htons(port);
  return out;
}

socklen_t Address::size() const noexcept {
  if (family() == AF_INET) return sizeof(sockaddr_in);
  if (family() == AF_INET6) return sizeof(sockaddr_in6);
  return 0;
}

bool operator==(const Address& a, const Address& b) noexcept {
  if (a.family() != b.family()) return false;
  if (a.family() == AF_INET) {
    const auto& x = reinterpret_cast<const sockaddr_in&>(a.storage_);
    const auto& y = reinterpret_cast<const sockaddr_in&>(b.storage_);
    return x.sin_port == y.sin_port && x.sin_addr.s_addr == y.sin_addr.s_addr;
  }
  if (a.family() == AF_INET6) {
    const auto& x = reinterpret_cast<const sockaddr_in6&>(a.storage_);
    const auto& y = reinterpret_cast<const sockaddr_in6&>(b.storage_);
    return x.sin6_port == y.sin6_port && x.sin6_scope_id == y.sin6_scope_id &&
           std::memcmp(&x.sin6_addr, &y.sin6_addr, sizeof x.sin6_addr) == 0;
  }
  return true;
}

}  // namespace heddle::net
