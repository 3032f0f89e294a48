// Peer: who is at the other end of a connection, small enough to be kept with each of them.
//
// The kernel forgets a peer that has reset the connection, and just of those a log wants to tell, and a limit must know. So it
// is asked as the connection is accepted.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include <heddle/net/address.h>

namespace heddle::http {

struct Peer {
  enum class Kind : std::uint8_t { kUnknown, kV4, kV6 };

  /// Bytes that write() may need: brackets, address, colon, port.
  static constexpr std::size_t kMaxText = 64;

  /// kUnknown for what is no IP address. An IPv4 address in IPv6's clothes is IPv4.
  [[nodiscard]] static Peer of(const net::Address& address) noexcept;

  /// "192.0.2.1:40312", "[2001:db8::1]:40312"; empty if unknown. A view of `to`.
  [[nodiscard]] std::string_view write(std::span<char, kMaxText> to) const noexcept;

  /// What one customer usually has: the IPv4 address, or the first 64 bits of the IPv6 address. 0: unknown.
  [[nodiscard]] std::uint64_t network() const noexcept;
  /// From this machine: 127.0.0.0/8, ::1.
  [[nodiscard]] bool is_loopback() const noexcept;

  std::array<std::uint8_t, 16> ip{};  // kV4: the first four
  std::uint16_t port = 0;
  Kind kind = Kind::kUnknown;
};

}  // namespace heddle::http
