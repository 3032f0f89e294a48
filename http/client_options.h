// ClientOptions: every limit, time-out and seam of the HTTP client. ClientTrace: what it tells along the way.
//
// Each time-out says which event starts its clock. A duration of zero or less means "no limit".
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <heddle/core/clock.h>
#include <heddle/core/context.h>
#include <heddle/core/error.h>
#include <heddle/http/cookie_store.h>
#include <heddle/http/decode.h>
#include <heddle/http/header.h>
#include <heddle/http/url.h>
#include <heddle/net/tcp.h>
#include <heddle/net/transport.h>

namespace heddle::http {

/// What a request may be told while it is under way; any of it may be empty. Go's net/http/httptrace.
///
/// The functions are called on the goroutine that sends; wrote_request also on one that streams the body, which may be after
/// send() has returned. Several at once if several requests share the trace. They must not throw.
struct ClientTrace {
  struct GotConn {
    bool reused = false;  // it has carried a request before
    Duration idle{};      // how long it lay in the pool, if it was reused
    net::Address remote;  // empty if the transport knows none
  };

  std::function<void(std::string_view origin)> get_conn;  // a connection is wanted: "http://example.org:80"
  std::function<void(const GotConn&)> got_conn;
  std::function<void(std::string_view host)> dns_start;  // not for numbers, nor for a dialer of the user's
  std::function<void(std::span<const net::Address>, const Error&)> dns_done;
  std::function<void(std::string_view target)> connect_start;  // "example.org:80", or a socket's path
  std::function<void(std::span<const net::DialAttempt>, const Error&)> connect_done;
  std::function<void()> wrote_head;
  std::function<void(const Error&)> wrote_request;            // head and body; kOk if all went out
  std::function<void()> first_byte;                           // of the response, informational ones included
  std::function<void(int status, HeaderList)> informational;  // 100, 103 …; the list is valid during the call
  std::function<void(const Url& next, int status)> redirect;  // about to be followed
};

/// Where a connection is to lead.
struct DialTarget {
  std::string host;  // without brackets
  std::uint16_t port = 0;
  std::string unix_socket;  // not empty: there (net/unix_address.h), and host and port say nothing
  TimePoint deadline = kNoDeadline;
  const ClientTrace* trace = nullptr;  // null: nobody listens
};

/// Makes connections. Called on the goroutine that sends; `ctx` and the target's deadline end it.
using Dialer = std::function<Result<std::unique_ptr<net::Transport>>(const Context& ctx, const DialTarget& target)>;

/// Dials TCP by name (happy eyeballs) and Unix sockets, and tells the trace. The client's own dialer.
[[nodiscard]] Result<std::unique_ptr<net::Transport>> dial_target(const Context& ctx, const DialTarget& target);

/// Puts TLS on a connection, with `host` as the name to be proved. The connection is its own from then on.
using Securer = std::function<Result<std::unique_ptr<net::Transport>>(
    const Context& ctx, std::unique_ptr<net::Transport> transport, const DialTarget& target)>;

struct Proxy {
  Url url;                    // http: where it listens
  std::string authorization;  // sent as Proxy-Authorization if it is not empty: "Basic …"
};

/// Which proxy a request to `target` goes by; nothing: none. An error fails the request.
using ProxyChooser = std::function<Result<std::optional<Proxy>>(const Url& target)>;

/// Chooses as http_proxy, HTTPS_PROXY or https_proxy, and NO_PROXY or no_proxy say when this is called. HTTP_PROXY counts
/// too, unless REQUEST_METHOD is set: in a CGI program any client could set it ("httpoxy", CVE-2016-5385).
///
/// A proxy is "http://[user:password@]host[:port]", or host:port alone; another scheme fails the requests. NO_PROXY is a list of
/// names ("example.org" and all below it; ".example.org" and "*.example.org" only what is below), addresses, blocks of them
/// ("10.0.0.0/8", "2001:db8::/32"), and "*"; names and addresses with a port are for that port alone. localhost and loopback
/// addresses are never asked of a proxy.
[[nodiscard]] ProxyChooser proxy_from_environment();

/// Undoes a content coding ("gzip"): returns a Reader of the decoded bytes that pulls from `encoded`, or null if it does not
/// know the coding. `encoded` outlives what is returned.
using DecoderFactory = std::function<std::unique_ptr<net::Reader>(std::string_view coding, net::Reader& encoded)>;

/// What to do with a redirect.
enum class RedirectChoice : std::uint8_t {
  kFollow,
  kReturn,  // the 3xx response is the answer
  kFail,    // kDenied
};

struct ClientOptions {
  // ---- time ----

  /// For finding the address, connecting, the proxy's CONNECT and TLS. Starts when the pool has no connection to give.
  std::chrono::nanoseconds dial_timeout = std::chrono::seconds(30);
  /// For a place in the pool. Starts when max_per_origin or max_connections is reached.
  std::chrono::nanoseconds pool_timeout = std::chrono::seconds(0);
  /// For a server that takes nothing of what is sent. Starts with each piece of at most 64 KiB.
  std::chrono::nanoseconds write_timeout = std::chrono::seconds(30);
  /// For a response's head. Starts when the request is sent, body included, and anew with an informational response. And for a
  /// body's source that is to be opened again, and still read: starts when the exchange that reads it has ended.
  std::chrono::nanoseconds header_timeout = std::chrono::seconds(60);
  /// For silence inside a response's body. Starts with each read that waits.
  std::chrono::nanoseconds body_timeout = std::chrono::seconds(60);
  /// For all of it, redirects and the reading of the body included. Starts with the call.
  std::chrono::nanoseconds total_timeout = std::chrono::seconds(0);
  /// For the answer to Expect: 100-continue; then the body is sent without it. Starts when the head is sent.
  std::chrono::nanoseconds continue_timeout = std::chrono::seconds(1);
  /// For a connection that nobody uses. Starts when it comes back. Less than servers usually grant, so that it is ours that ends.
  std::chrono::nanoseconds idle_timeout = std::chrono::seconds(50);

  // ---- the pool ----

  std::size_t max_per_origin = 64;       ///< Connections to one origin, those in use included; further requests wait.
  std::size_t max_connections = 1024;    ///< In all. An idle one of another origin gives way.
  std::size_t max_idle_per_origin = 16;  ///< More are closed when they come back.

  // ---- size ----

  std::size_t max_head_bytes = 64 * 1024;  ///< Bytes of a response's head; more: kLimit.
  std::size_t max_headers = 256;           ///< Its fields; more: kLimit.
  std::size_t max_framing = 16 * 1024;     ///< Bytes of a chunked body's extensions and trailers; more: kLimit.
  int max_informational = 16;              ///< 1xx responses before one final one; more: kProtocol.
  /// Bytes of a body left unread that close() reads away to keep the connection; more closes it.
  std::size_t max_drain = 64 * 1024;

  // ---- redirects ----

  int max_redirects = 10;        ///< One more is kLimit; 0: 3xx responses are answers like others.
  bool allow_downgrade = false;  ///< From https to http: else kDenied.
  /// Asked before each redirect; `via` are the URLs so far. Empty: kFollow.
  std::function<RedirectChoice(const Url& next, std::span<const Url> via)> on_redirect = {};

  // ---- seams ----

  Dialer dial = dial_target;                       ///< Empty: the same.
  Securer secure = {};                             ///< Empty: https is kUnsupported.
  ProxyChooser proxy = proxy_from_environment();   ///< Empty: none. Unix sockets never go by one.
  std::shared_ptr<CookieStore> cookies = {};       ///< Null: none are kept. std::make_shared<CookieJar>() keeps them.
  DecoderFactory decode = decode_coding;           ///< Empty: bodies come as they are.
  std::string accept_encoding{kDecodableCodings};  ///< What `decode` knows, for Accept-Encoding.
  std::string user_agent = "heddle";               ///< If the request has none; empty: not sent.
};

}  // namespace heddle::http
