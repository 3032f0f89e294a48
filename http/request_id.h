// A name for each request, in its response and in what the service logs of it.
//
//   mux.use(request_id());
//   … log(current_request_id(), "order taken") …
//
// It is kept per goroutine (core/goroutine_local.h), and goroutines that a handler starts inherit it: so what logs need
// not be handed the request.
#pragma once

#include <string>
#include <string_view>

#include <heddle/http/mux.h>

namespace heddle::http {

struct RequestIdOptions {
  std::string header = "X-Request-Id";
  /// Take the client's id, if it sends one, of 1 to 128 letters, digits and "-._~:+/=@"; for services behind a proxy
  /// that makes them, or whose clients may choose what stands in the log.
  bool accept = true;
};

/// Gives each request an id: the client's, or 32 random hex digits. It is set on the response, and current_request_id()
/// tells it. Errors: throws std::invalid_argument for a header that is no token, or that belongs to the server.
[[nodiscard]] Middleware request_id(RequestIdOptions options = {});

/// The id of the request that this goroutine works for: its handler's, and those of goroutines started by it; empty
/// outside request_id(), and outside goroutines. Lifetime: until the handler returns; in other goroutines, until they
/// end.
[[nodiscard]] std::string_view current_request_id() noexcept;

}  // namespace heddle::http
