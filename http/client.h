// Client: HTTP/1.1 requests, over pooled connections.
//
//     http::Client client;
//     auto response = client.get(ctx, "http://example.org/");
//     if (response && response->status() == 200) auto text = response->read_all(1 << 20);
//
// One Client serves any number of goroutines, and is meant to live long: its pool is what makes it fast. What it does on its
// own, and what never:
//
//   follows redirects    301, 302, 303: with GET and without a body, unless the method was GET or HEAD; 307, 308: with the
//                        same method and body, if the body can be sent again (else the 3xx is the answer). Another origin
//                        does not get Authorization, Cookie or a Host of the user's, on no later hop either. Never from
//                        https to http unless allowed, and never to a Unix socket's from elsewhere. Without a Location, or
//                        with an empty one, the 3xx is the answer.
//   repeats requests     once, on a new connection, if a connection that lay idle ended before a byte of the answer, the
//                        method is idempotent (RFC 9110 s9.2.2) or the request has an Idempotency-Key, and the body can be
//                        sent again. Whatever the method, if the request went in one piece and what came on such a connection
//                        is a 408 with Connection: close: the server gave it up while it was idle, and has got no whole request
//                        (s15.5.9). Nothing else is ever sent twice. And without Expect, after a 417.
//   reuses connections   only when both messages ended in good order and nothing surplus came; looked at before: one that the
//                        server has ended, or said anything on, is dropped.
//   pipelines            never: a connection carries one exchange at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <heddle/core/context.h>
#include <heddle/core/error.h>
#include <heddle/http/client_options.h>
#include <heddle/http/client_request.h>
#include <heddle/http/client_response.h>
#include <heddle/http/client_tunnel.h>

namespace heddle::http {

class ClientPool;

struct ClientStats {
  std::size_t open = 0;     // connections: in use, being made, or idle
  std::size_t idle = 0;     // of them
  std::size_t waiting = 0;  // requests that wait for a connection
};

/// Threads: goroutines, any number at once. Lifetime: of one run(), as its connections (net/tcp.h) and timers are: in another one
/// what is idle would never expire.
class Client {
 public:
  explicit Client(ClientOptions options = {});
  /// Closes idle connections. No call may be under way; responses may live on.
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  /// Sends a request and returns when the head of the final response is there; parks. (`do` is C++'s.)
  ///
  /// Any status is a response, not an error.
  /// Errors:  kInvalid for a request that cannot be sent; the context's code; kTimeout past one of the limits; kRefused,
  ///          kUnreachable, kNotFound … from dialing; kEof or kReset if the server ended without an answer; kProtocol for an
  ///          answer that is no HTTP/1.x; kLimit for a head too large, or too many redirects; kDenied for a redirect that must
  ///          not be followed; kUnsupported for https without options.secure; what a body's source said.
  /// Threads: goroutines, any number at once.
  [[nodiscard]] Result<ClientResponse> send(const ClientRequest& request);

  [[nodiscard]] Result<ClientResponse> get(const Context& ctx, std::string_view url);
  [[nodiscard]] Result<ClientResponse> get(std::string_view url) { return get({}, url); }
  [[nodiscard]] Result<ClientResponse> head(const Context& ctx, std::string_view url);
  [[nodiscard]] Result<ClientResponse> post(const Context& ctx, std::string_view url, std::string_view content_type,
                                            RequestBody body);

  /// Opens a tunnel through a proxy (CONNECT) to `authority`, "example.org:22", and gives it back as a connection of the
  /// caller's own, without deadlines; parks. What it reads begins with the bytes that came behind the proxy's answer. Neither the
  /// pool nor a limit knows of it any more. The dial_timeout is for all of it, and nothing is tried twice. Without a proxy there
  /// is none: whoever wants a direct connection then dials it.
  ///
  /// Errors:  kInvalid for what is no host:port, and for fields that are the client's; kNotFound if there is no proxy for it;
  ///          kUnsupported for one that is not http; kDenied with the status 407, kRefused with any other that is no 2xx;
  ///          kProtocol, kLimit, kEof, kReset for what is no answer; the context's code; kTimeout; as dialing.
  /// Threads: goroutines, any number at once.
  /// Source:  RFC 9110 s9.3.6.
  [[nodiscard]] TunnelResult connect_tunnel(const Context& ctx, std::string_view authority,
                                            const TunnelOptions& options = {});

  /// Closes the connections that nobody uses.
  void close_idle();
  [[nodiscard]] ClientStats stats();

 private:
  [[nodiscard]] Result<ClientResponse> send_once(const ClientRequest& request, const Context& ctx);

  const ClientOptions options_;
  const std::shared_ptr<ClientPool> pool_;
};

}  // namespace heddle::http
