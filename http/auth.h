// Who asks: HTTP's Basic and Bearer schemes, as parsers and as middleware.
//
//   mux.use(basic_auth({.realm = "admin", .check = [](Request&, const BasicCredentials& c) {
//     return equal_secret(c.password, password_of(c.user));
//   }}));
//
// Both send secrets as they are: they are for connections with TLS. The answers are those of RFC 7617 and RFC 6750; a
// request with several Authorization fields has no one reading and is taken for one without.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include <heddle/http/mux.h>

namespace heddle::http {

/// True if `given` is `secret`. How long it takes depends on the length of `given`, and on whether `secret` has the
/// same, and on no byte of either: so a secret cannot be guessed piece by piece. Its length can; where that matters
/// compare hashes of both.
[[nodiscard]] bool equal_secret(std::string_view given, std::string_view secret) noexcept;

struct BasicCredentials {
  std::string user;  // without a colon
  std::string password;
};

/// Reads "Basic dXNlcjpwYXNz"; nothing if it is of another scheme, not base64 with its padding, without a colon, or has
/// controls in it (RFC 7617 s2). Bytes beyond ASCII are as they came: the challenge asks for UTF-8, and nothing ensures
/// it.
[[nodiscard]] std::optional<BasicCredentials> parse_basic(std::string_view authorization);

/// Reads "Bearer token"; nothing if it is of another scheme, or no token (RFC 6750 s2.1). Lifetime: as `authorization`.
[[nodiscard]] std::optional<std::string_view> parse_bearer(std::string_view authorization) noexcept;

struct BasicAuthOptions {
  std::string realm;  ///< What browsers show, and what the password is for.
  /// True lets the request through. It may park. Secrets are compared by equal_secret(), or by a password hash's own.
  std::function<bool(Request&, const BasicCredentials&)> check;
};

/// Middleware that answers 401 with WWW-Authenticate unless check() agrees.
/// Errors: throws std::invalid_argument without check(), or for a realm with controls in it.
[[nodiscard]] Middleware basic_auth(BasicAuthOptions options);

enum class TokenVerdict : std::uint8_t {
  kGood,
  kInvalid,            // expired, revoked, forged: 401 invalid_token
  kInsufficientScope,  // good, but not for this: 403 insufficient_scope
};

struct BearerAuthOptions {
  std::string realm;
  std::string scope{};  ///< Named in an answer of insufficient_scope; empty: not named.
  std::function<TokenVerdict(Request&, std::string_view token)> check;
};

/// Middleware that lets requests through whose token check() finds good. Without a token: 401 that says nothing but the
/// realm; with a malformed one 400 invalid_request (RFC 6750 s3.1).
/// Errors: as basic_auth(); `scope` is held to RFC 6750 s3.
[[nodiscard]] Middleware bearer_auth(BearerAuthOptions options);

}  // namespace heddle::http
