#include <heddle/http/internal/peer.h>

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace heddle::http {

Peer Peer::of(const net::Address& address) noexcept {
  Peer peer;
  if (address.family() == AF_INET) {
    sockaddr_in v4;
    std::memcpy(&v4, address.sa(), sizeof(v4));
    std::memcpy(peer.ip.data(), &v4.sin_addr, 4);
    peer.port = ntohs(v4.sin_port);
    peer.kind = Kind::kV4;
  } else if (address.family() == AF_INET6) {
    sockaddr_in6 v6;
    std::memcpy(&v6, address.sa(), sizeof(v6));
    const auto* const bytes = reinterpret_cast<const std::uint8_t*>(&v6.sin6_addr);
    const bool mapped = IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr);
    std::copy_n(mapped ? bytes + 12 : bytes, mapped ? 4 : 16, peer.ip.data());
    peer.port = ntohs(v6.sin6_port);
    peer.kind = mapped ? Kind::kV4 : Kind::kV6;
  }
  return peer;
}

std::string_view Peer::write(std::span<char, kMaxText> to) const noexcept {
  if (kind == Kind::kUnknown) return {};
  const bool v6 = kind == Kind::kV6;
  char* end = to.data();
  if (v6) *end++ = '[';
  ::inet_ntop(v6 ? AF_INET6 : AF_INET, ip.data(), end, INET6_ADDRSTRLEN);
  end += std::strlen(end);
  if (v6) *end++ = ']';
  *end++ = ':';
  end = std::to_chars(end, to.data() + to.size(), port).ptr;
  return {to.data(), static_cast<std::size_t>(end - to.data())};
}

std::uint64_t Peer::network() const noexcept {
  // Multicast networks, which no connection comes from, stand for IPv4.
  constexpr std::uint64_t kV4Prefix = std::uint64_t{0xffff'ffff} << 32;
  std::uint64_t n = 0;
  const std::size_t size = kind == Kind::kV4 ? 4 : kind == Kind::kV6 ? 8 : 0;
  for (std::size_t i = 0; i < size; ++i) n = n << 8 | ip[i];
  return kind == Kind::kV4 ? kV4Prefix | n : n;
}

bool Peer::is_loopback() const noexcept {
  if (kind == Kind::kV4) return ip[0] == 127;
  constexpr std::array<std::uint8_t, 16> kOne = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  return kind == Kind::kV6 && ip == kOne;
}

}  // namespace heddle::http
