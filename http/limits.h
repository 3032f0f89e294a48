// Limits of a route's own, as middleware: time and body.
//
//   mux.group("/upload", {timeout(30s), max_body(1 << 30)}).handle("POST /", upload);
#pragma once

#include <cstdint>

#include <heddle/core/clock.h>
#include <heddle/http/mux.h>

namespace heddle::http {

/// Gives each request's context `limit` from the moment when its handler begins. The handler is told by Request::context() and
/// whatever it passes that to; it is not interrupted. If it returns after that time without having written anything, the
/// client gets 503 (Service Unavailable), with the fields that were set before the handler was called, and none of its own.
[[nodiscard]] Middleware timeout(Duration limit);

/// Holds request bodies to `bytes` (Request::limit_body): one that is announced as longer is answered 413 and no handler is called.
/// ServerOptions::max_body stands beside it: it can only be less.
[[nodiscard]] Middleware max_body(std::uint64_t bytes);

}  // namespace heddle::http
