// Address: where a socket is, as the kernel sees it: IPv4 or IPv6 address and port.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <string_view>

#include <heddle/core/error.h>

namespace heddle::net {

/// A numeric IP endpoint. Small and copyable. Source: ip(7), ipv6(7).
class Address {
 public:
  Address() noexcept = default;

  /// Parses "127.0.0.1:8080", "[::1]:8080", ":8080" (all interfaces, IPv6 dual stack), "localhost:8080" (127.0.0.1).
  /// Other names are kInvalid with a message that says so: names are resolved elsewhere.
  [[nodiscard]] static Result<Address> parse(std::string_view text);
  [[nodiscard]] static Address from(const sockaddr* sa, socklen_t len) noexcept;

  /// "127.0.0.1:8080" or "[::1]:8080".
  [[nodiscard]] std::string to_string() const;
  [[nodiscard]] std::uint16_t port() const noexcept;
  /// The same host with another port.
  [[nodiscard]] Address with_port(std::uint16_t port) const noexcept;
  [[nodiscard]] int family() const noexcept { return storage_.ss_family; }
  [[nodiscard]] const sockaddr* sa() const noexcept { return reinterpret_cast<const sockaddr*>(&storage_); }
  [[nodiscard]] socklen_t size() const noexcept;

  friend bool operator==(const Address& a, const Address& b) noexcept;

 private:
  sockaddr_storage storage_{};
};

}  // namespace heddle::net
