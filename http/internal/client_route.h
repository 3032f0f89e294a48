// ClientRoute: by which connections a URL is reached: directly, by a proxy that forwards, or through one that tunnels.
//
//     http                    dial host                                     origin-form
//     http, proxy             dial proxy                                    absolute-form, Proxy-Authorization
//     https                   dial host, TLS                                origin-form
//     http, proxy, tunnel     dial proxy, CONNECT host                      origin-form
//     https, proxy            dial proxy, CONNECT host, TLS                 origin-form
//     http+unix               dial socket                                   origin-form
//
// I1. Requests share a pool's connections exactly if their `key` is the same; so it names all that a connection was made by,
//     the proxy's credentials among it.
#pragma once

#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <heddle/core/context.h>
#include <heddle/core/error.h>
#include <heddle/http/client_options.h>
#include <heddle/http/internal/open_tunnel.h>
#include <heddle/net/transport.h>

namespace heddle::http {

struct ClientRoute {
  std::string key;
  std::string origin;  // for the trace: "http://example.org:80"
  Url url;
  std::optional<Proxy> proxy;
  bool tunnels = false;  // through the proxy, which is there then

  [[nodiscard]] bool forwards() const noexcept { return proxy && !tunnels; }
};

/// `tunnel`: through a proxy by CONNECT, if there is one, also for http. Errors: what options.proxy says; kUnsupported for https
/// without options.secure, and for a proxy that is not http.
[[nodiscard]] Result<ClientRoute> find_client_route(const Url& url, bool tunnel, const ClientOptions& options);

/// The route of a tunnel to `authority`, host:port. `given`: by this proxy. Errors: kInvalid for what is no authority; kNotFound
/// if no proxy is given and options.proxy names none; as find_client_route().
[[nodiscard]] Result<ClientRoute> find_tunnel_route(std::string_view authority, const std::optional<Proxy>& given,
                                                    const ClientOptions& options);

/// Dials route.proxy and asks it for a tunnel; parks. `ask` has neither an authority nor an authorization yet.
/// Errors: what dialing says; as open_tunnel().
[[nodiscard]] std::expected<Tunnel, TunnelError> dial_tunnel(const Context& ctx, const ClientRoute& route,
                                                             TunnelAsk ask, TimePoint deadline,
                                                             const ClientOptions& options, const ClientTrace* trace);

/// Makes a connection; parks. The dial_timeout is for all of it. Errors: as Client::send().
[[nodiscard]] Result<std::unique_ptr<net::Transport>> dial_client_route(const Context& ctx, const ClientRoute& route,
                                                                        const ClientOptions& options,
                                                                        const ClientTrace* trace);

}  // namespace heddle::http
