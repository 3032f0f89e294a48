// What a handler throws or panics with, caught near the handler: the client gets 500, the log a line.
//
//   mux.use(request_id());
//   mux.use(cors({…}));
//   mux.use(catch_failures());
//
// The server does the like by itself (ServerOptions::on_handler_error), but with a response of its own. Here the fields
// that were set when the handler was called stay: so the answer has its request id, and may be read across origins.
// Those that the handler set go, for they speak of a body that is not sent (ETag, Content-Encoding, Cache-Control).
#pragma once

#include <exception>
#include <functional>

#include <heddle/http/mux.h>

namespace heddle::http {

/// Told of a failure on the request's goroutine; it must not throw.
using FailureHook = std::function<void(const Request&, std::exception_ptr)>;

/// Catches what a handler throws or panics with: tells `on_failure`, and answers 500.
///
/// If some of the response may have been sent, the exception goes on to the server, which shows the failure by cutting
/// the response, and counts it; what is answered here the server neither hears of nor counts. goexit() goes on, too,
/// and is no failure.
/// Default: log_failure().
[[nodiscard]] Middleware catch_failures(FailureHook on_failure = {});

/// Writes one line to standard error: method, target, what was thrown, and the request's id if there is one. Whatever
/// the client or the exception has in it, the line is one, of printable ASCII, and at most 1 KiB long.
void log_failure(const Request& request, std::exception_ptr failure);

}  // namespace heddle::http
