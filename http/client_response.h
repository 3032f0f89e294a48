// ClientResponse: what a server answered: status, fields, and a body that is read as it comes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <heddle/core/error.h>
#include <heddle/http/header.h>
#include <heddle/http/url.h>
#include <heddle/net/transport.h>

namespace heddle::http {

/// A response. Movable; one that was moved from may only be assigned to or destroyed.
///
/// It holds a connection until its body has been read to the end (then the connection serves again), or it is closed or
/// destroyed. So read bodies, or close(): a forgotten response is a place in the pool that nobody else gets.
///
/// Threads:  one goroutine at a time. Lifetime: may outlive the Client; not the run().
class ClientResponse final : public net::Reader {
 public:
  struct State;
  explicit ClientResponse(std::unique_ptr<State> state) noexcept;
  ClientResponse(ClientResponse&&) noexcept;
  ClientResponse& operator=(ClientResponse&&) noexcept;
  /// Closes the connection if the body was not read to its end; waits for no peer.
  ~ClientResponse() override;

  [[nodiscard]] int status() const noexcept;
  /// As the server worded it; it means nothing.
  [[nodiscard]] std::string_view reason() const noexcept;
  /// The x of HTTP/1.x.
  [[nodiscard]] int minor_version() const noexcept;
  /// Without Content-Encoding and Content-Length if the body is being decoded. Lifetime: as this object.
  [[nodiscard]] HeaderList headers() const noexcept;
  [[nodiscard]] std::optional<std::string_view> header(std::string_view name) const noexcept {
    return headers().find(name);
  }
  /// The body's length if the server announced it (for HEAD: what GET would have) and nothing decodes it.
  [[nodiscard]] std::optional<std::uint64_t> content_length() const noexcept;
  /// True if a DecoderFactory undoes the body's coding.
  [[nodiscard]] bool decoded() const noexcept;
  /// Where it came from, after redirects.
  [[nodiscard]] const Url& url() const noexcept;

  /// Reads body bytes into `buf`; parks until at least one byte, the end of the body, or an error.
  ///
  /// Returns: bytes read; 0 only at the end of the body, whole (an empty `buf` returns 0 at once).
  /// Errors:  kTimeout (body_timeout, total_timeout), the context's code, kEof if the server ended in the middle, kReset,
  ///          kProtocol, kLimit; kClosed after close(); what a decoder says. An error stays, and holds no connection.
  [[nodiscard]] Result<std::size_t> read(std::span<std::byte> buf) override;
  /// Reads the rest; kLimit if it is longer than `limit` bytes. Throws std::bad_alloc.
  [[nodiscard]] Result<std::string> read_all(std::size_t limit);
  /// The fields behind a chunked body; empty before its end was read. Never mixed with headers(). Those that may not be
  /// trailers (RFC 9110 s6.5.1) are dropped.
  [[nodiscard]] HeaderList trailers() const noexcept;

  /// Says that the rest is not wanted: a little that is there soon is read away, so that the connection serves again (at most
  /// max_drain bytes, within 50 ms); else the connection is closed. Parks. Idempotent.
  void close();

  /// After a 101 to a request with Upgrade: the connection, without deadlines, and the bytes that came behind the head.
  struct Raw {
    std::unique_ptr<net::Transport> transport;
    std::string early;
  };
  /// Errors: kInvalid if this is no 101, or it was taken already. The response's context does not end it any more.
  [[nodiscard]] Result<Raw> take_connection();
  /// The same as one: what it reads begins with the bytes that came behind the head. It never serves the pool again.
  [[nodiscard]] Result<std::unique_ptr<net::Transport>> take_transport();

 private:
  friend class Client;

  std::unique_ptr<State> state_;
};

}  // namespace heddle::http
