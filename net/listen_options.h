// ListenOptions: how a TCP socket is made to listen, by goroutines' listeners and by those of streams.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>

#include <heddle/core/clock.h>
#include <heddle/core/error.h>

namespace heddle::net {

/// Which of IPv4 and IPv6.
enum class IpFamily : std::uint8_t { kAny, kV4, kV6 };

/// How long a listener that leaves a shared port waits for handshakes that have begun: longer than a round trip to most
/// clients, and half of what they wait before they send a SYN again (RFC 6298 s2).
inline constexpr Duration kHandshakePatience = std::chrono::milliseconds(500);

struct ListenOptions {
  int backlog = 4096;       // connections that the kernel completes ahead of accept(); it may cap this (somaxconn)
  bool reuse_port = false;  // SO_REUSEPORT: share the port with other sockets of this user's that set it

  /// What ":PORT" (all interfaces) takes: kAny both; kV4 binds 0.0.0.0; kV6 leaves IPv4 out (IPV6_V6ONLY). With any other
  /// address it must fit the address, or is kInvalid.
  IpFamily family = IpFamily::kAny;

  /// Called with the socket before it is bound, for options of the caller's (setsockopt); an error ends listen() with it. It
  /// may be called more than once, with another socket each time.
  std::function<Result<void>(int fd)> configure = {};
};

}  // namespace heddle::net
