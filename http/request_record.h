// RequestRecord: what there is to tell of a request once it has been answered. For logs and metrics.
//
//   ServerOptions options;
//   options.on_request_done = [](const RequestRecord& r) { count(r.status, r.took); };
//
// on_request_done is called once for each request, those included whose head was refused (400, 408, 414, 431 …), on the
// request's goroutine, when its response was handed to the kernel or has failed. The connection's next request waits for
// it, so it must be short and must not park; nor throw. Without it a request costs one look at an empty function more.
//
// With it every response is sent by itself: those of pipelined requests are not gathered into one write.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>

#include <heddle/core/clock.h>
#include <heddle/http/header.h>

namespace heddle::http {

/// Lifetime: all of it, during the call of on_request_done.
struct RequestRecord {
  std::chrono::system_clock::time_point began;  // when the head was whole, or refused
  Duration took{};                              // from then until the last byte was handed to the kernel, or it failed
  std::optional<Duration>
      first_byte;  // the same of the first byte, an informational response's too; none: nothing went

  std::string_view
      peer;  // as Request::peer_address(): "192.0.2.1:40312", "unix:uid=1000,pid=4711"; empty: it knows none
  std::string_view method;  // "GET"; empty if a refused head does not tell
  std::string_view target;  // as it came: of a refused head it may be cut, and hold any byte
  std::string_view route;   // the pattern of the innermost Mux that chose a handler: "GET /users/{id}"; empty: none.
                            // Its text is the Mux's, which must so outlive the request
  std::string_view id;      // Request::id()
  HeaderList headers;       // the request's; empty for a refused head
  int minor_version = 1;    // the x of HTTP/1.x

  int status = 0;                    // of the final response; if nothing was sent: what it would have been
  std::uint64_t bytes_received = 0;  // head, body and its framing, as far as they were read
  std::uint64_t bytes_sent = 0;      // heads, body and its framing, as far as the kernel took them

  bool refused = false;      // the head was: no handler has seen the request
  bool whole = false;        // the response went out as long as it says it is
  bool client_gone = false;  // the client ended or broke the connection meanwhile; as for Request::context(), one that
                             // ended its half and waits is not told apart
};

}  // namespace heddle::http
