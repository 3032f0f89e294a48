// open_tunnel(): CONNECT on a connection to a proxy (RFC 9110 s9.3.6).
//
// I1. What the proxy says is told to the user as a status and an error, never as a response: it is not the server's.
// I2. Bytes behind a 2xx are the tunnel's, whatever the fields of its head say (RFC 9112 s6.3); they are handed over with it.
#pragma once

#include <expected>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include <heddle/core/clock.h>
#include <heddle/core/context.h>
#include <heddle/core/error.h>
#include <heddle/http/client_options.h>
#include <heddle/http/client_tunnel.h>
#include <heddle/http/fields.h>
#include <heddle/net/transport.h>

namespace heddle::http {

struct Tunnel {
  std::unique_ptr<net::Transport> transport;  // without deadlines
  std::string early;                          // came behind the head
};

/// What is asked of the proxy. All of it outlives the call.
struct TunnelAsk {
  std::string_view authority = {};            // host:port
  std::string_view proxy_authorization = {};  // none: empty
  const Fields* headers = nullptr;            // checked; null: none
  const std::function<void(int, HeaderList)>* on_answer = nullptr;
};

/// Asks for a tunnel on `transport`, which leads to a proxy; parks, until `deadline` at most. Errors: the context's code;
/// kTimeout; kEof, kReset … without an answer; kProtocol, kLimit for one that is none; kDenied for a 407, kRefused for any
/// other that is no 2xx. The connection is closed then.
[[nodiscard]] std::expected<Tunnel, TunnelError> open_tunnel(const Context& ctx,
                                                             std::unique_ptr<net::Transport> transport,
                                                             const TunnelAsk& ask, TimePoint deadline,
                                                             const ClientOptions& options);

}  // namespace heddle::http
