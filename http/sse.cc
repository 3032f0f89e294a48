#include <heddle/http/sse.h>

#include <algorithm>

#include <heddle/core/context.h>
#include <heddle/core/select.h>
#include <heddle/core/timer.h>

namespace heddle::http {
namespace {

constexpr std::string_view kLineEnds = "\r\n";

Error refusal() noexcept { return {Code::kInvalid, 0, "server-sent event"}; }

bool one_line(std::string_view text) noexcept { return text.find_first_of(kLineEnds) == std::string_view::npos; }

// To HEAD nothing is sent, so that nothing would ever fail, however long the client has gone: who loops until something does would
// loop for ever.
Result<void> has_events(const Request& request) noexcept {
  if (request.method() != Method::kHead) return {};
  return std::unexpected(Error{Code::kClosed, 0, "server-sent event"});
}

// A line for each of `text`, which CR LF, CR or LF ends.
void put_data(std::string_view text, std::string& out) {
  for (;;) {
    const std::size_t end = std::min(text.find_first_of(kLineEnds), text.size());
    out += "data: ";
    out += text.substr(0, end);
    out += '\n';
    if (end == text.size()) return;
    text.remove_prefix(end + (text.substr(end).starts_with("\r\n") ? 2 : 1));
  }
}

}  // namespace

Result<SseWriter> SseWriter::start(Request& request, ResponseWriter& writer) {
  if (writer.started()) return std::unexpected(refusal());
  writer.set_header("Content-Type", "text/event-stream");
  writer.set_header("Cache-Control", "no-cache, no-transform");
  writer.set_header("X-Accel-Buffering", "no");  // nginx
  if (auto sent = writer.flush(); !sent) return std::unexpected(sent.error());
  return SseWriter(request, writer);
}

std::optional<std::string_view> SseWriter::last_event_id() const noexcept { return request_->header("Last-Event-ID"); }

Result<void> SseWriter::send(const SseEvent& event) {
  constexpr std::string_view kNul("\0", 1);
  if (!one_line(event.event) || (event.retry && event.retry->count() < 0) ||
      (event.id && (!one_line(*event.id) || event.id->find(kNul) != std::string::npos))) {
    return std::unexpected(refusal());
  }
  std::string text;
  if (!event.event.empty()) text += "event: " + event.event + '\n';
  if (event.id) text += "id: " + *event.id + '\n';
  if (event.retry) text += "retry: " + std::to_string(event.retry->count()) + '\n';
  put_data(event.data, text);
  return put(text += '\n');
}

Result<void> SseWriter::comment(std::string_view text) {
  if (!one_line(text)) return std::unexpected(refusal());
  return put(": " + std::string(text) + "\n\n");
}

Result<void> SseWriter::send_all(const RecvChan<SseEvent>& events, Duration keep_alive) {
  if (auto there = has_events(*request_); !there) return there;
  const Context ctx = request_->context();
  if (keep_alive <= Duration::zero()) keep_alive = Duration::max();
  for (;;) {
    std::optional<SseEvent> event;
    bool closed = false;
    bool silent = false;
    select(on_done(ctx, [] {}), on_timeout(keep_alive, [&] { silent = true; }),
           on_recv(events, [&](std::optional<SseEvent> e) {
             closed = !e;
             event = std::move(e);
           }));
    if (closed) return {};
    if (!event && !silent) return std::unexpected(detail::done_error(ctx, "server-sent event"));
    if (auto sent = silent ? comment() : send(*event); !sent) return sent;
  }
}

Result<void> SseWriter::put(std::string_view text) {
  if (auto there = has_events(*request_); !there) return there;
  if (auto written = writer_->write(text); !written) return written;
  return writer_->flush();
}

}  // namespace heddle::http
