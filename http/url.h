// Url: where a request goes. Parsed strictly, compared and resolved by RFC 3986.
//
//     http://example.org:8080/a%20b?c=d#e       https://[::1]/       http+unix://%2Frun%2Fapp.sock/path
//     scheme host        port path   query fragment                              socket          path
//
// I1. A Url that exists is valid: its parts hold nothing but what RFC 3986 lets them hold, so none of them can break out of a
//     request line or a Host field. What is not valid is refused, never mended.
// I2. There is no user information in it (RFC 9110 s4.2.4): text with an '@' before the path is refused. So no password
//     travels in a target, a log, a Referer or an error message. Credentials are header fields.
// I3. Scheme and host are lower-case, and a port is there only if it is not the scheme's own. Path and query stay as they
//     were written, for their meaning is the server's.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <heddle/core/error.h>

namespace heddle::http {

/// An absolute URL of one of three schemes. Copyable. A default-constructed one is "http://localhost/".
class Url {
 public:
  enum class Scheme : std::uint8_t { kHttp, kHttps, kUnix };

  Url() = default;

  /// Parses an absolute URL. In http+unix the host is the socket's path with its escapes ("%2Frun%2Fapp.sock"); "%40app" is
  /// the abstract name "@app" (net/unix_address.h).
  ///
  /// Errors:  kUnsupported for another scheme; kInvalid for a relative reference, user information, an empty host, a port
  ///          that is 0 or over 65535, a broken escape or %00, a blank, a control, or a byte beyond ASCII.
  [[nodiscard]] static Result<Url> parse(std::string_view text);

  /// What `reference` means on the page at this URL: RFC 3986 s5.2, strict. The fragment is the reference's, or none.
  ///
  /// Errors:  as parse().
  [[nodiscard]] Result<Url> resolve(std::string_view reference) const;

  [[nodiscard]] Scheme scheme() const noexcept { return scheme_; }
  /// "http", "https" or "http+unix".
  [[nodiscard]] std::string_view scheme_name() const noexcept;
  /// "example.org", "192.0.2.1", "[2001:db8::1]"; for http+unix "localhost".
  [[nodiscard]] const std::string& host() const noexcept { return host_; }
  /// The port in the text, or the scheme's own; 0 for http+unix.
  [[nodiscard]] std::uint16_t port() const noexcept;
  /// For http+unix the socket's address as UnixAddress::parse() takes it, else empty.
  [[nodiscard]] const std::string& unix_socket() const noexcept { return socket_; }

  /// Escaped; begins with '/'.
  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  /// Escaped, without its '?'; nothing if there is no '?'.
  [[nodiscard]] const std::optional<std::string>& query() const noexcept { return query_; }
  /// Escaped, without its '#'; nothing if there is no '#'.
  [[nodiscard]] const std::optional<std::string>& fragment() const noexcept { return fragment_; }
  /// Takes the fragment of `from`, if this has none: what a redirect does.
  void inherit_fragment(const Url& from) {
    if (!fragment_) fragment_ = from.fragment_;
  }

  /// What a Host field says: "example.org:8080"; the port only if it is not the scheme's own.
  [[nodiscard]] std::string authority() const;
  /// The request target in origin-form: path and query.
  [[nodiscard]] std::string target() const;
  /// All of it, without the fragment: a request target in absolute-form.
  [[nodiscard]] std::string without_fragment() const;
  [[nodiscard]] std::string to_string() const;

  /// True if scheme, host and port (or socket) are the same: what credentials are meant for.
  [[nodiscard]] bool same_origin(const Url& other) const noexcept;

 private:
  [[nodiscard]] bool set_authority(std::string_view text);
  [[nodiscard]] bool set_rest(std::string_view text);  // [path] ["?" query] ["#" fragment]

  Scheme scheme_ = Scheme::kHttp;
  std::uint16_t port_ = 0;  // 0: the scheme's own
  std::string host_ = "localhost";
  std::string socket_;
  std::string path_ = "/";
  std::optional<std::string> query_;
  std::optional<std::string> fragment_;
};

}  // namespace heddle::http
