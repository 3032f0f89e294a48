// Request: what the client asked, as a handler sees it.
//
// A view: every string_view points into the connection's own bytes and holds until the handler returns. What must live
// longer is copied by the handler. The body is a stream, read in blocking style; nothing of it is read ahead but what
// came with the head and a bounded queue.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <heddle/core/context.h>
#include <heddle/core/error.h>
#include <heddle/http/header.h>
#include <heddle/http/method.h>
#include <heddle/net/fd_passing.h>

namespace heddle::http {

class Exchange;
class ServerConn;
struct RouteMatch;

class Request {
 public:
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;

  [[nodiscard]] Method method() const noexcept;
  /// The target as it came: "/a%20b?c=d", "*", "http://host/path".
  [[nodiscard]] std::string_view target() const noexcept;
  /// The target's path with its escapes decoded once; "*" for OPTIONS of the server. `%2F` is not decoded, so that a
  /// path has one reading; dot segments stay as they are. It may hold any byte but NUL.
  [[nodiscard]] std::string_view path() const noexcept;
  /// What follows the '?', still escaped; empty if nothing does.
  [[nodiscard]] std::string_view query() const noexcept;
  /// The authority: of an absolute target, else the Host field. Empty only for an HTTP/1.0 request without Host.
  [[nodiscard]] std::string_view host() const noexcept;
  /// The x of HTTP/1.x: 0 or 1, or what the client claimed beyond (it is served as 1).
  [[nodiscard]] int minor_version() const noexcept;

  [[nodiscard]] HeaderList headers() const noexcept;
  /// The first field of that name, in any case.
  [[nodiscard]] std::optional<std::string_view> header(std::string_view name) const noexcept;

  /// What stands in the path for {name} of the Mux's pattern, decoded once, %2F too; empty if the pattern has no such name, or
  /// no Mux chose the handler. Like all here it holds until the handler returns.
  [[nodiscard]] std::string_view path_value(std::string_view name) const noexcept;
  /// The pattern that the Mux chose, as it was registered: "GET /users/{id}". For logs and metrics. Empty without a Mux.
  [[nodiscard]] std::string_view pattern() const noexcept;

  /// Ends when the client goes away (its stream ends or fails), when a shutdown() cuts this request off, or when the handler
  /// returns; the cause tells which: kEof, kReset, kClosed, kCanceled. A child of ServerOptions::base_context. A client that
  /// ends its half of the connection and waits for the answer counts as gone, for it cannot be told from one that is: the
  /// answer is sent all the same. While more than 64 KiB of further input wait to be read nothing is noticed.
  ///
  /// Made when first asked for. Errors: throws std::bad_alloc. Threads: the handler's goroutine; what it returns, anywhere.
  [[nodiscard]] Context context();
  /// Ends when Server::shutdown() begins: for a handler that would go on until its client leaves (an upgraded connection,
  /// a stream of events) and that has a way to take its leave. What is still there when the grace is over is cut.
  /// Threads: as context().
  [[nodiscard]] Context draining() const;
  /// Puts `ctx`, a child of context(), in its place, for those that are called with this request. For middleware, which
  /// puts the old one back.
  void set_context(Context ctx) noexcept { context_ = std::move(ctx); }

  /// The peer's address, "127.0.0.1:40312", also if it has reset the connection; over a Unix socket who has connected,
  /// "unix:uid=1000,pid=4711"; empty if the transport knows none.
  [[nodiscard]] std::string peer_address() const;
  /// Who has connected over a Unix socket, as the kernel knows it: something to decide by, which no client can make up.
  /// Errors: kUnsupported over anything else.
  [[nodiscard]] Result<net::PeerCredentials> peer_credentials() const;

  /// The body's length if the client announced it; nothing for a chunked one. 0 without a body.
  [[nodiscard]] std::optional<std::uint64_t> content_length() const noexcept;

  /// Reads body bytes into `buf`; parks until at least one byte, the end of the body, or an error. The first call
  /// answers a client that waits for 100 (Continue).
  ///
  /// Returns: bytes read; 0 only at the end of the body, whole and checked (an empty `buf` returns 0 at once).
  /// Errors:  kTimeout (body_timeout, min_body_rate), kEof if the client ended in the middle, kReset, kProtocol for a
  ///          broken chunked body, kLimit past max_body. An error stays; the connection closes after the response. A
  ///          handler that then returns without having written anything lets the client have 408, 400 or 413.
  /// Threads: the handler's goroutine; another one after ResponseWriter::enable_full_duplex().
  [[nodiscard]] Result<std::size_t> read(std::span<std::byte> buf);

  /// Holds this body to `most` bytes, if ServerOptions::max_body is not less already: a longer one fails with kLimit as
  /// past that, at once if its length was announced. Before the first read().
  void limit_body(std::uint64_t most) noexcept;

  /// Reads the rest of the body; kLimit if it is longer than `limit`. Throws std::bad_alloc.
  [[nodiscard]] Result<std::string> read_all(std::size_t limit);

  /// The fields behind a chunked body, once read() has returned 0; empty before, and for other bodies. Never mixed with
  /// headers(). Fields that may not be trailers (RFC 9110 s6.5.1), such as Host or Authorization, are dropped; with
  /// Content-Length or Transfer-Encoding among them the body is broken (kProtocol).
  [[nodiscard]] HeaderList trailers() const noexcept;

  /// A name for this request in what is told of it afterwards (request_record.h); request_id() gives it one. Empty: none.
  [[nodiscard]] std::string_view id() const noexcept;
  void set_id(std::shared_ptr<const std::string> id) noexcept;

 private:
  friend class Mux;
  friend class ServerConn;
  explicit Request(ServerConn& conn) noexcept : conn_(conn) {}
  ~Request();
  [[nodiscard]] const Exchange& exchange() const noexcept;
  [[nodiscard]] std::string_view raw_path() const noexcept;  // still escaped

  ServerConn& conn_;
  std::optional<CancelFunc> cancel_;  // there is a context of our own
  std::optional<Context> context_;
  const RouteMatch* match_ = nullptr;  // while the handler that a Mux chose runs
};

}  // namespace heddle::http
