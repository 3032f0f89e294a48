#include <heddle/http/internal/client_route.h>

#include <utility>

#include <heddle/http/internal/client_conn.h>
#include <heddle/http/internal/response_parser.h>
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

// RFC 9110 s9.3.6. What the proxy says but a 2xx is not shown to the user: it is not the server's answer.
Result<std::unique_ptr<net::Transport>> open_tunnel(const Context& ctx, std::unique_ptr<net::Transport> transport,
                                                    const ClientRoute& route, TimePoint deadline,
                                                    const ClientOptions& options) {
  const std::string authority = host_and_port(route.url);
  std::string head = "CONNECT " + authority + " HTTP/1.1\r\nHost: " + authority + "\r\n";
  if (!options.user_agent.empty()) head += "User-Agent: " + options.user_agent + "\r\n";
  if (!route.proxy->authorization.empty()) head += "Proxy-Authorization: " + route.proxy->authorization + "\r\n";
  head += "\r\n";
  ClientConn conn(std::move(transport));
  conn.transport->set_deadline(deadline);
  if (const Result<void> written = conn.transport->write(ctx, std::as_bytes(std::span(head))); !written)
    return std::unexpected(Error{written.error().code, written.error().sys, "http: proxy CONNECT"});
  const ResponseLimits limits{options.max_head_bytes, options.max_headers, options.max_framing};
  ResponseHead answer;
  std::size_t seen = 0;
  int informational = 0;
  for (;;) {
    const Result<std::size_t> size = parse_response_head(conn.text(), seen, Method::kConnect, limits, answer);
    if (!size) return std::unexpected(Error{size.error().code, 0, "http: proxy CONNECT"});
    if (*size != 0) {
      conn.take(*size);
      seen = 0;
      if (answer.status >= 200) break;
      if (answer.status == 101 || ++informational > options.max_informational)
        return std::unexpected(Error{Code::kProtocol, 0, "http: proxy CONNECT"});
      continue;
    }
    const Result<std::size_t> n = conn.fill(ctx);
    if (!n) return std::unexpected(Error{n.error().code, n.error().sys, "http: proxy CONNECT"});
    if (*n == 0) return std::unexpected(Error{Code::kEof, 0, "http: proxy CONNECT"});
  }
  if (answer.status / 100 != 2)
    return std::unexpected(Error{answer.status == 407 ? Code::kDenied : Code::kRefused, 0, "http: proxy CONNECT"});
  // In TLS it is the client that speaks first.
  if (!conn.unread().empty()) return std::unexpected(Error{Code::kProtocol, 0, "http: proxy CONNECT"});
  conn.transport->set_deadline(kNoDeadline);
  return conn.release_transport();
}

}  // namespace

Result<ClientRoute> find_client_route(const Url& url, const ClientOptions& options) {
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
  if (route.proxy->url.scheme() == Url::Scheme::kHttps)
    return std::unexpected(Error{Code::kUnsupported, 0, "http: proxy"});
  if (!is_field_value(route.proxy->authorization)) return std::unexpected(Error{Code::kInvalid, 0, "http: proxy"});
  // keeps I1; what forwards goes anywhere by one connection. A line feed is in none of the parts.
  route.key =
      route.proxy->url.without_fragment() + "\n" + route.proxy->authorization + "\n" + (https ? route.origin : "");
  return route;
}

Result<std::unique_ptr<net::Transport>> dial_client_route(const Context& ctx, const ClientRoute& route,
                                                          const ClientOptions& options, const ClientTrace* trace) {
  const TimePoint deadline = deadline_after(options.dial_timeout);
  const Url& first = route.proxy ? route.proxy->url : route.url;
  const DialTarget target = target_of(first, deadline, trace);
  Result<std::unique_ptr<net::Transport>> made = options.dial ? options.dial(ctx, target) : dial_target(ctx, target);
  if (made && *made == nullptr) made = std::unexpected(Error{Code::kInvalid, 0, "http: dial"});
  if (!made || route.url.scheme() != Url::Scheme::kHttps) return made;
  if (route.proxy) made = open_tunnel(ctx, std::move(*made), route, deadline, options);
  if (!made) return made;
  made = options.secure(ctx, std::move(*made), target_of(route.url, deadline, trace));
  if (made && *made == nullptr) made = std::unexpected(Error{Code::kInvalid, 0, "http: secure"});
  return made;
}

}  // namespace heddle::http
