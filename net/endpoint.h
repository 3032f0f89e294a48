// Endpoint: where a program listens, as its users write it: an IP address with a port, or a Unix socket.
//
//     127.0.0.1:8080      [::1]:8080      :8080      localhost:8080      unix:/run/app.sock      unix:@app
//
// For flags and configuration files; who knows which of the two it is takes Address (address.h) or UnixAddress
// (unix_address.h), whose texts these are.
#pragma once

#include <string>
#include <string_view>
#include <variant>

#include <heddle/core/error.h>
#include <heddle/net/address.h>
#include <heddle/net/unix_address.h>

namespace heddle::net {

/// One of both. Small and copyable.
class Endpoint {
 public:
  Endpoint(const Address& address) noexcept : where_(address) {}      // NOLINT: it is one
  Endpoint(const UnixAddress& address) noexcept : where_(address) {}  // NOLINT

  /// "unix:" and what UnixAddress::parse() takes, but not without a name; else what Address::parse() takes.
  /// Errors: as theirs.
  [[nodiscard]] static Result<Endpoint> parse(std::string_view text);

  /// As parse() takes it.
  [[nodiscard]] std::string to_string() const;

  /// The IP address; null if it is a Unix socket's.
  [[nodiscard]] const Address* ip() const noexcept { return std::get_if<Address>(&where_); }
  /// The Unix socket's; null if it is an IP address.
  [[nodiscard]] const UnixAddress* local() const noexcept { return std::get_if<UnixAddress>(&where_); }

  friend bool operator==(const Endpoint& a, const Endpoint& b) noexcept { return a.where_ == b.where_; }

 private:
  std::variant<Address, UnixAddress> where_;
};

}  // namespace heddle::net
