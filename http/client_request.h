// ClientRequest: what a client asks: method, URL, fields, a body that is bytes or a stream.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <heddle/core/context.h>
#include <heddle/http/fields.h>
#include <heddle/http/method.h>
#include <heddle/http/url.h>
#include <heddle/net/transport.h>

namespace heddle::http {

struct ClientTrace;

/// A request's body. Copyable; copies share what they hold.
///
/// Who sends a stream reads it on a goroutine of the client's, also after the response has begun, for both flow at once; and a
/// read() that is under way when the exchange ends cannot be called off. So streams are held by shared ownership, and what a
/// reader refers to must live as long as the reader.
class RequestBody {
 public:
  using Open = std::function<Result<std::shared_ptr<net::Reader>>()>;

  /// None.
  RequestBody() = default;
  /// These bytes, sent with their length; they can be sent again.
  static RequestBody bytes(std::string text);
  /// What `reader` gives until its end. With a length that is what is announced and sent, and a reader that ends early fails
  /// the request; without, the body is chunked. It can be sent once: neither repeated nor redirected (307, 308).
  static RequestBody stream(std::shared_ptr<net::Reader> reader, std::optional<std::uint64_t> length = std::nullopt);
  /// The same from `open`, which gives a fresh reader each time that the body is sent: when the one before is read no more.
  static RequestBody stream_from(Open open, std::optional<std::uint64_t> length = std::nullopt);
  /// The same from a function that fills a buffer: it returns how much, 0 at the end.
  static RequestBody callback(std::function<Result<std::size_t>(std::span<std::byte>)> fill,
                              std::optional<std::uint64_t> length = std::nullopt);

  /// What is sent behind a chunked body (RFC 9112 s7.1.2). `names` are announced in Trailer; `make` is called once the
  /// source has come to its end, on the goroutine that reads it, and must not throw. A field that `make` returns and that is not
  /// among the names fails the request.
  struct Trailers {
    std::vector<std::string> names;
    std::function<Fields()> make;
  };
  /// The same body with trailers. It must be a stream without a length, and no name one that may not be a trailer (RFC 9110
  /// s6.5.1: Content-Length, Host, Authorization …): else the request fails with kInvalid.
  [[nodiscard]] RequestBody with_trailers(Trailers trailers) const;
  [[nodiscard]] const Trailers* trailers() const noexcept { return trailers_.get(); }

  [[nodiscard]] bool empty() const noexcept { return text_ == nullptr && open_ == nullptr; }
  /// True if it can be sent more than once.
  [[nodiscard]] bool repeatable() const noexcept { return open_ == nullptr || repeatable_; }
  /// Announced; nothing: it is chunked. 0 without a body.
  [[nodiscard]] std::optional<std::uint64_t> length() const noexcept { return length_; }

  /// For the client: the bytes, if it is bytes; else open().
  [[nodiscard]] const std::shared_ptr<const std::string>& text() const noexcept { return text_; }
  [[nodiscard]] Result<std::shared_ptr<net::Reader>> open() const { return open_(); }

 private:
  std::shared_ptr<const std::string> text_;
  Open open_;
  std::shared_ptr<const Trailers> trailers_;
  bool repeatable_ = true;
  std::optional<std::uint64_t> length_ = 0;
};

struct ClientRequest {
  Method method = Method::kGet;
  Url url;

  /// Sent in their order. Not to be set here, for they are the client's: Content-Length, Transfer-Encoding, Connection,
  /// Keep-Alive, Proxy-Connection, Trailer, TE, Expect, Proxy-Authorization. Host may be.
  Fields headers;
  RequestBody body;

  /// Ends the exchange at any moment, the reading of the response's body included: with kCanceled or kTimeout. The connection
  /// is not used again then.
  Context ctx;

  /// Asks the server before the body is sent (Expect: 100-continue, RFC 9110 s10.1.1).
  bool expect_continue = false;
  /// Ends the connection after this exchange, and says so.
  bool close = false;
  /// Goes through a proxy, if there is one, in a tunnel of its own (CONNECT) also if the URL is http: the proxy then changes
  /// nothing, and passes on what it does not know. Always so for https.
  bool tunnel = false;
  /// Says that trailers are welcome (TE: trailers, RFC 9110 s10.1.4), which servers may ask for before they send any.
  bool accept_trailers = false;

  /// Called back along the way; null: nobody is. Shared by the request's copies.
  std::shared_ptr<const ClientTrace> trace;
};

}  // namespace heddle::http
