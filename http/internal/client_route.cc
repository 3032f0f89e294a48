#include <heddle/http/internal/client_route.h>

#include <utility>

#include <heddle/http/internal/target.h>
#include <heddle/http/internal/upload.h>

namespace heddle::http {
namespace {

// Without the brackets of an IPv6 literal.
std::string bare_host(const Url& url) {
  const std::string& host = url.host();
  return host.starts_with('[') ? host.substr(1, host.size() - 2) : host;
}

std::string host_and_port(const Url& url) { return url.host() + ":" + std::to_string(url.port()); }

DialTarget target_of(const Url& url, TimePoint deadline, const ClientTrace* trace) {
  return {bare_host(url), url.port(), url.unix_socket(), deadline, trace};
}

Result<std::unique_ptr<net::Transport>> dial_first(const Context& ctx, const Url& url, TimePoint deadline,
                                                   const ClientOptions& options, const ClientTrace* trace) {
  const DialTarget target = target_of(url, deadline, trace);
  Result<std::unique_ptr<net::Transport>> made = options.dial ? options.dial(ctx, target) : dial_target(ctx, target);
  if (made && *made == nullptr) made = std::unexpected(Error{Code::kInvalid, 0, "http: dial"});
  return made;
}

Result<void> check_proxy(const Proxy& proxy) {
  if (proxy.url.scheme() == Url::Scheme::kHttps) return std::unexpected(Error{Code::kUnsupported, 0, "http: proxy"});
  if (!is_field_value(proxy.authorization)) return std::unexpected(Error{Code::kInvalid, 0, "http: proxy"});
  return {};
}

}  // namespace

Result<ClientRoute> find_client_route(const Url& url, bool tunnel, const ClientOptions& options) {
  const bool https = url.scheme() == Url::Scheme::kHttps;
  if (https && !options.secure) return std::unexpected(Error{Code::kUnsupported, 0, "http: https"});
  ClientRoute route;
  route.url = url;
  if (url.scheme() == Url::Scheme::kUnix) {
    route.key = route.origin = "http+unix:" + url.unix_socket();
    return route;
  }
  route.origin = std::string(url.scheme_name()) + "://" + host_and_port(url);
  if (options.proxy) {
    Result<std::optional<Proxy>> proxy = options.proxy(url);
    if (!proxy) return std::unexpected(proxy.error());
    route.proxy = std::move(*proxy);
  }
  if (!route.proxy) {
    route.key = route.origin;
    return route;
  }
  if (const Result<void> right = check_proxy(*route.proxy); !right) return std::unexpected(right.error());
  route.tunnels = https || tunnel;
  // keeps I1; what forwards goes anywhere by one connection. A line feed is in none of the parts.
  route.key = route.proxy->url.without_fragment() + "\n" + route.proxy->authorization + "\n" +
              (route.tunnels ? route.origin : "");
  return route;
}

Result<ClientRoute> find_tunnel_route(std::string_view authority, const std::optional<Proxy>& given,
                                      const ClientOptions& options) {
  const Error bad{Code::kInvalid, 0, "http: authority of a tunnel"};
  if (!is_authority_form(authority)) return std::unexpected(bad);
  Result<Url> url = Url::parse("https://" + std::string(authority));
  if (!url) return std::unexpected(bad);
  ClientRoute route;
  route.proxy = given;
  if (!given && options.proxy) {
    Result<std::optional<Proxy>> proxy = options.proxy(*url);
    if (!proxy) return std::unexpected(proxy.error());
    route.proxy = std::move(*proxy);
  }
  if (!route.proxy) return std::unexpected(Error{Code::kNotFound, 0, "http: no proxy"});
  if (const Result<void> right = check_proxy(*route.proxy); !right) return std::unexpected(right.error());
  route.url = std::move(*url);
  route.tunnels = true;
  return route;
}

std::expected<Tunnel, TunnelError> dial_tunnel(const Context& ctx, const ClientRoute& route, TunnelAsk ask,
                                               TimePoint deadline, const ClientOptions& options,
                                               const ClientTrace* trace) {
  Result<std::unique_ptr<net::Transport>> made = dial_first(ctx, route.proxy->url, deadline, options, trace);
  if (!made) return std::unexpected(TunnelError{made.error(), 0});
  const std::string authority = host_and_port(route.url);
  ask.authority = authority;
  ask.proxy_authorization = route.proxy->authorization;
  return open_tunnel(ctx, std::move(*made), ask, deadline, options);
}

Result<std::unique_ptr<net::Transport>> dial_client_route(const Context& ctx, const ClientRoute& route,
                                                          const ClientOptions& options, const ClientTrace* trace) {
  const TimePoint deadline = deadline_after(options.dial_timeout);
  Result<std::unique_ptr<net::Transport>> made;
  if (route.tunnels) {
    std::expected<Tunnel, TunnelError> tunnel = dial_tunnel(ctx, route, {}, deadline, options, trace);
    if (!tunnel) return std::unexpected(Error(tunnel.error()));
    // In TLS and in HTTP it is the client that speaks first.
    if (!tunnel->early.empty()) return std::unexpected(Error{Code::kProtocol, 0, "http: proxy CONNECT"});
    made = std::move(tunnel->transport);
  } else {
    made = dial_first(ctx, route.proxy ? route.proxy->url : route.url, deadline, options, trace);
  }
  if (!made || route.url.scheme() != Url::Scheme::kHttps) return made;
  made = options.secure(ctx, std::move(*made), target_of(route.url, deadline, trace));
  if (made && *made == nullptr) made = std::unexpected(Error{Code::kInvalid, 0, "http: secure"});
  return made;
}

}  // namespace heddle::http
