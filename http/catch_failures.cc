#include <heddle/http/catch_failures.h>

#include <unistd.h>

#include <string>
#include <string_view>
#include <utility>

#include <heddle/core/panic.h>
#include <heddle/core/task.h>
#include <heddle/http/request_id.h>
#include <heddle/http/status.h>

namespace heddle::http {
namespace {

constexpr std::size_t kMaxLine = 1024;   // with its end
constexpr std::size_t kMaxTarget = 400;  // the rest is for what was thrown

// The handler's exception, if it is one to be kept from going on.
std::exception_ptr failure_of(const Handler& handler, Request& r, ResponseWriter& w) {
  std::exception_ptr failure;
  try {
    handler(r, w);
  } catch (...) {
    if (!heddle::detail::keep_exception(failure)) throw;  // goexit()
  }
  return failure;
}

// Nothing in a line may look like another one, or steer a terminal.
void append_printable(std::string& line, std::string_view text, std::size_t most) {
  for (const char c : text.substr(0, most)) line += c >= 0x20 && c <= 0x7e ? c : '?';
  if (text.size() > most) line += "...";
}

}  // namespace

Middleware catch_failures(FailureHook on_failure) {
  if (!on_failure) on_failure = log_failure;
  return [on_failure = std::move(on_failure)](Handler next) -> Handler {
    return [on_failure, next = std::move(next)](Request& r, ResponseWriter& w) {
      const ResponseWriter::Mark before = w.mark();
      std::exception_ptr failure = failure_of(next, r, w);
      if (!failure) [[likely]]
        return;
      on_failure(r, failure);
      if (!w.rewind(before)) std::rethrow_exception(std::move(failure));
      static constexpr std::string_view kText = "500 Internal Server Error\n";
      static_cast<void>(w.status(kStatusInternalServerError));
      static_cast<void>(w.set_header("Content-Type", "text/plain; charset=utf-8"));
      // Whoever stands around may have announced another length.
      static_cast<void>(w.set_header("Content-Length", std::to_string(kText.size())));
      static_cast<void>(w.write(kText));
    };
  };
}

void log_failure(const Request& request, std::exception_ptr failure) {
  std::string line = "heddle: http: ";
  line.append(to_string(request.method())).append(" ");
  append_printable(line, request.target(), kMaxTarget);
  if (const std::string_view id = current_request_id(); !id.empty()) line.append(" [").append(id).append("]");
  line += ": ";
  const std::size_t left = kMaxLine - line.size() - sizeof("...");
  append_printable(line, PanicValue(std::move(failure)).text(), left);
  line += '\n';
  // One write, so that lines of others do not come in between. What cannot be written is lost: there is nobody to tell.
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace heddle::http
