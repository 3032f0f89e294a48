// SSE: server-sent events, the stream that a browser's EventSource reads. Source: WHATWG HTML, "Server-sent events".
//
//   mux.handle("GET /ticks", [](Request& request, ResponseWriter& writer) {
//     auto events = SseWriter::start(request, writer);
//     for (int i = 0; events && events->send({.data = std::to_string(i), .id = std::to_string(i)}); ++i) sleep(1s);
//   });
//
// A client that goes away ends the next send() with an error, and Request::context() at once. HEAD, which such a route serves, too,
// gets the head, and every send() ends with kClosed.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include <heddle/core/chan.h>
#include <heddle/core/error.h>
#include <heddle/http/request.h>
#include <heddle/http/response_writer.h>

namespace heddle::http {

struct SseEvent {
  std::string data = {};                                // of any number of lines
  std::string event = {};                               // its type; empty: "message"
  std::optional<std::string> id = {};                   // what Last-Event-ID will say; "" resets it
  std::optional<std::chrono::milliseconds> retry = {};  // how long a client waits before it connects again
};

/// Writes events. Each is sent at once. Lifetime: within the handler. Threads: the handler's goroutine.
class SseWriter {
 public:
  /// Sends the head: text/event-stream, not to be cached or transformed on its way. A handler may have set other fields.
  /// Errors: kInvalid if something was written already; else as ResponseWriter::flush().
  [[nodiscard]] static Result<SseWriter> start(Request& request, ResponseWriter& writer);

  /// The id of the last event that the client has seen, if it comes back.
  [[nodiscard]] std::optional<std::string_view> last_event_id() const noexcept;

  /// Errors: kInvalid for an `event` or `id` with a line end, an `id` with NUL or a negative `retry`, and nothing is sent;
  ///         else why the connection failed, then and ever after.
  Result<void> send(const SseEvent& event);

  /// A line that clients pass over. Errors: kInvalid if `text` has a line end; else as send().
  Result<void> comment(std::string_view text = {});

  /// Sends what comes from `events` until it is closed, and a comment after each `keep_alive` of silence, so that proxies
  /// and dead clients are noticed; zero or less: none. Ends also when the client goes away.
  ///
  /// Errors: as send(); kCanceled or kTimeout when request.context() ends.
  Result<void> send_all(const RecvChan<SseEvent>& events, Duration keep_alive = std::chrono::seconds(15));

 private:
  SseWriter(Request& request, ResponseWriter& writer) noexcept : request_(&request), writer_(&writer) {}
  Result<void> put(std::string_view text);

  Request* request_;
  ResponseWriter* writer_;
};

}  // namespace heddle::http
