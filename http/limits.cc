#include <heddle/http/limits.h>

#include <string>
#include <utility>

#include <heddle/core/context.h>
#include <heddle/http/status.h>

namespace heddle::http {
namespace {

// For the scope of a handler.
class ContextOf {
 public:
  ContextOf(Request& request, Context ctx) : request_(request), outer_(request.context()) {
    request_.set_context(std::move(ctx));
  }
  ~ContextOf() { request_.set_context(std::move(outer_)); }
  ContextOf(const ContextOf&) = delete;
  ContextOf& operator=(const ContextOf&) = delete;

 private:
  Request& request_;
  Context outer_;
};

void refuse(ResponseWriter& writer, int status, std::string_view text) {
  writer.status(status);
  writer.set_header("Content-Type", "text/plain; charset=utf-8");
  writer.set_header("Content-Length", std::to_string(text.size()));  // whoever stands around may have announced another
  writer.write(text);
}

}  // namespace

Middleware timeout(Duration limit) {
  return [limit](Handler inner) -> Handler {
    return [limit, inner = std::move(inner)](Request& request, ResponseWriter& writer) {
      const ResponseWriter::Mark before = writer.mark();
      const auto [ctx, cancel] = with_timeout(request.context(), limit);
      {
        const ContextOf scope(request, ctx);
        inner(request, writer);
      }
      const auto over = ctx.err();
      cancel();
      // What the handler had set speaks of a body that it has not written: its length, its coding, how long to keep it.
      if (over && over->code == Code::kTimeout && !writer.started() && writer.rewind(before)) {
        refuse(writer, kStatusServiceUnavailable, "503 the handler took too long\n");
      }
    };
  };
}

Middleware max_body(std::uint64_t bytes) {
  return [bytes](Handler inner) -> Handler {
    return [bytes, inner = std::move(inner)](Request& request, ResponseWriter& writer) {
      request.limit_body(bytes);
      if (request.content_length().value_or(0) > bytes) {
        return refuse(writer, kStatusContentTooLarge, "413 the body is too large\n");
      }
      inner(request, writer);
    };
  };
}

}  // namespace heddle::http
