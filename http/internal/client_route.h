// ClientRoute: by which connections a URL is reached: directly, by a proxy that forwards, or through one that tunnels.
//
//     http                    dial host                                     origin-form
//     http, proxy             dial proxy                                    absolute-form, Proxy-Authorization
//     https                   dial host, TLS                                origin-form
//     https, proxy            dial proxy, CONNECT host, TLS                 origin-form
//     http+unix               dial socket                                   origin-form
//
// I1. Requests share a pool's connections exactly if their `key` is the same; so it names all that a connection was made by,
//     the proxy's credentials among it.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include <heddle/core/context.h>
#include <heddle/core/error.h>
#include <heddle/http/client_options.h>
#include <heddle/net/transport.h>

namespace heddle::http {

struct ClientRoute {
  std::string key;
  std::string origin;  // for the trace: "http://example.org:80"
  Url url;
  std::optional<Proxy> proxy;

  [[nodiscard]] bool forwards() const noexcept { return proxy && url.scheme() == Url::Scheme::kHttp; }
};

/// Errors: what options.proxy says; kUnsupported for https without options.secure, and for a proxy that is not http.
[[nodiscard]] Result<ClientRoute> find_client_route(const Url& url, const ClientOptions& options);

/// Makes a connection; parks. The dial_timeout is for all of it. Errors: as Client::send().
[[nodiscard]] Result<std::unique_ptr<net::Transport>> dial_client_route(const Context& ctx, const ClientRoute& route,
                                                                        const ClientOptions& options,
                                                                        const ClientTrace* trace);

}  // namespace heddle::http
