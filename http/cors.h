// CORS: which pages of other origins may use what a server offers, by the Fetch standard (fetch.spec.whatwg.org, s3.2).
//
//   Server server(cors({.origins = {"https://app.example"}, .methods = {"GET", "PUT"}})(mux));
//
// It goes around the Mux and not into it: a preflight asks with OPTIONS, for which a route has no handler.
//
// It is the browser that keeps pages from reading; requests go on whatever their origin: this is no protection against
// forged requests.
//
// I1. Wherever an answer depends on the Origin it says so (Vary), also when it allows nothing: or a cache would hand
//     one origin's answer to another.
// I2. With credentials an answer names the one origin that asked, and neither "*" nor "null", which any page can make
//     itself (a sandboxed frame).
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <heddle/http/mux.h>

namespace heddle::http {

struct CorsOptions {
  /// Origins that may read responses, as browsers send them: "https://app.example", "http://localhost:3000", "null"; or
  /// "*", alone: all of them.
  std::vector<std::string> origins{};
  /// Beside that list, if set: what it says of an origin. Compare whole hosts: "https://evil-app.example" ends with
  /// "app.example", too.
  std::function<bool(std::string_view origin)> allow_origin{};
  /// Methods that they may use; GET, HEAD and POST are always allowed by browsers. In that case: "PATCH" is not
  /// "patch".
  std::vector<std::string> methods{};
  /// Request fields that they may set, beyond those that need no leave; "*": any.
  std::vector<std::string> headers{};
  /// Response fields that they may read, beyond those that need no leave.
  std::vector<std::string> expose{};
  /// Whether cookies and the like come along. Keeps I2.
  bool credentials = false;
  /// How long a browser may remember the answer to a preflight; zero or less: not at all. Browsers have limits of their
  /// own.
  std::chrono::seconds max_age = std::chrono::minutes(10);
};

/// Lets pages of other origins use what it stands around.
///
/// Preflights are answered here: 204 with what is allowed, or 403 without a word of it. Vary is added before the
/// handler runs; handlers add to it with add_header(), for set_header() would take it away.
///
/// Errors: throws std::invalid_argument for "*" with credentials or beside other origins, for "null" with credentials,
///         for an origin that no browser sends (in upper case, with a path), and for methods or fields that are no
///         tokens.
[[nodiscard]] Middleware cors(CorsOptions options);

}  // namespace heddle::http
