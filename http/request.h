// Request: what the client asked, as a handler sees it.
//
// A view: every string_view points into the connection's own bytes and holds until the handler returns. What must live
// longer is copied by the handler. The body is a stream, read in blocking style; nothing of it is read ahead but what
// came with the head and a bounded queue.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <heddle/core/error.h>
#include <heddle/http/header.h>
#include <heddle/http/method.h>

namespace heddle::http {

class Exchange;
class ServerConn;

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

  /// The peer's address, "127.0.0.1:40312"; empty if the transport knows none.
  [[nodiscard]] std::string peer_address() const;

  /// The body's length if the client announced it; nothing for a chunked one. 0 without a body.
  [[nodiscard]] std::optional<std::uint64_t> content_length() const noexcept;

  /// Reads body bytes into `buf`; parks until at least one byte, the end of the body, or an error. The first call
  /// answers a client that waits for 100 (Continue).
  ///
  /// Returns: bytes read; 0 only at the end of the body, whole and checked (an empty `buf` returns 0 at once).
  /// Errors:  kTimeout (body_timeout, min_body_rate), kEof if the client ended in the middle, kReset, kProtocol for a
  ///          broken chunked body, kLimit past max_body. An error stays; the connection closes after the response. A
  ///          handler that then returns without having written anything lets the client have 408, 400 or 413.
  /// Threads: the handler's goroutine.
  [[nodiscard]] Result<std::size_t> read(std::span<std::byte> buf);

  /// Reads the rest of the body; kLimit if it is longer than `limit`. Throws std::bad_alloc.
  [[nodiscard]] Result<std::string> read_all(std::size_t limit);

 private:
  friend class ServerConn;
  explicit Request(ServerConn& conn) noexcept : conn_(conn) {}
  [[nodiscard]] const Exchange& exchange() const noexcept;

  ServerConn& conn_;
};

}  // namespace heddle::http
