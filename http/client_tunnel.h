// TunnelOptions, TunnelError: what Client::connect_tunnel() is asked for, and why there is no tunnel.
//
//     client                    proxy                   example.org:22
//        | CONNECT example.org:22 |                            |
//        |----------------------->|--------- connects -------->|
//        |          200           |                            |
//        |<-----------------------|                            |
//        |<=========== bytes, as they are, both ways =========>|
//
// The same that the client does on its own for https: by way of a proxy (RFC 9110 s9.3.6).
#pragma once

#include <expected>
#include <functional>
#include <memory>
#include <optional>

#include <heddle/core/error.h>
#include <heddle/http/client_options.h>
#include <heddle/http/fields.h>
#include <heddle/http/header.h>
#include <heddle/net/transport.h>

namespace heddle::http {

struct TunnelOptions {
  /// Through this one; nothing: through the one that ClientOptions::proxy names for "https://authority/".
  std::optional<Proxy> proxy = {};
  /// Sent with the CONNECT. Not to be set here: what may not be in ClientRequest::headers either.
  Fields headers = {};
  /// Shown the proxy's answer, a 2xx too: its status, and its fields, which are valid during the call. Called on the goroutine
  /// that asks; it must not throw. Proxy-Authenticate is there, for who wants to come back with what it asks for.
  std::function<void(int status, HeaderList headers)> on_answer = {};
  /// Told of the dialing. Null: nobody is.
  std::shared_ptr<const ClientTrace> trace = {};
};

/// Why there is no tunnel: an Error, and what the proxy said.
struct [[nodiscard]] TunnelError : Error {
  int status = 0;  // of the proxy's answer; 0: there was none
};

using TunnelResult = std::expected<std::unique_ptr<net::Transport>, TunnelError>;

}  // namespace heddle::http
