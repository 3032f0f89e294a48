// The server's half of a WebSocket's handshake (RFC 6455 s4.2), and a handler that does it.
#include <algorithm>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <heddle/core/task.h>
#include <heddle/http/internal/ws_engine.h>
#include <heddle/http/internal/ws_extension.h>
#include <heddle/http/internal/ws_handshake.h>
#include <heddle/http/internal/ws_key.h>
#include <heddle/http/status.h>
#include <heddle/http/url.h>
#include <heddle/http/websocket.h>

namespace heddle::http::ws {
namespace {

constexpr std::string_view kVersion = "13";

std::unexpected<Error> refuse(ResponseWriter& writer, int status, Code code, const char* why) {
  static_cast<void>(writer.status(status));
  static_cast<void>(writer.set_header("Content-Type", "text/plain; charset=utf-8"));
  static_cast<void>(writer.write(std::string(why) + "\n"));
  return std::unexpected(Error{code, 0, why});
}

std::unexpected<Error> bad(ResponseWriter& writer, const char* why) {
  return refuse(writer, kStatusBadRequest, Code::kProtocol, why);
}

std::unexpected<Error> other_version(ResponseWriter& writer) {
  static_cast<void>(writer.set_header("Sec-WebSocket-Version", kVersion));
  require_upgrade(writer, "websocket");
  return std::unexpected(Error{Code::kProtocol, 0, "websocket: no Upgrade: websocket of version 13"});
}

std::string_view choose(const std::vector<std::string>& ours, const std::vector<std::string_view>& offered) {
  for (const std::string& one : ours) {
    if (std::ranges::find(offered, one) != offered.end()) return one;
  }
  return {};
}

template <class Serve>
Handler make_handler(Serve serve, Options options) {
  return [serve = std::move(serve), options = std::move(options)](Request& request, ResponseWriter& writer) {
    Result<Connection> socket = accept(request, writer, options);
    if (!socket) return;
    std::exception_ptr thrown;
    try {
      serve(*socket, request);
    } catch (...) {
      if (!heddle::detail::keep_exception(thrown)) throw;
    }
    static_cast<void>(socket->close(thrown == nullptr ? kNormalClosure : kInternalError));
    if (thrown != nullptr) std::rethrow_exception(thrown);
  };
}

}  // namespace

bool same_origin(const Request& request, std::string_view origin) {
  if (origin.empty()) return true;
  const Result<Url> url = Url::parse(origin);  // "null" is none
  if (!url || url->path() != "/" || url->query() || url->fragment()) return false;
  return equal_fold(url->authority(), request.host()) ||
         equal_fold(url->host() + ":" + std::to_string(url->port()), request.host());
}

Result<Connection> accept(Request& request, ResponseWriter& writer, const Options& options) {
  const HeaderList headers = request.headers();
  if (!headers.lists("Upgrade", "websocket")) return other_version(writer);
  if (request.method() != Method::kGet || request.minor_version() < 1)
    return bad(writer, "websocket: not GET by HTTP/1.1");
  if (!headers.lists("Connection", "upgrade")) return bad(writer, "websocket: no Connection: upgrade");
  if (request.content_length() != 0) return bad(writer, "websocket: a body");
  const std::string version = joined(headers, "Sec-WebSocket-Version");
  if (version.empty()) return bad(writer, "websocket: no Sec-WebSocket-Version");
  if (version != kVersion) return other_version(writer);
  const std::optional<std::string_view> key = headers.find_only("Sec-WebSocket-Key");
  if (!key || !is_key(*key)) return bad(writer, "websocket: Sec-WebSocket-Key");

  const std::string protocols = joined(headers, "Sec-WebSocket-Protocol");
  const std::optional<std::vector<std::string_view>> offered = tokens(protocols);
  if (!offered) return bad(writer, "websocket: Sec-WebSocket-Protocol");
  const Result<std::optional<Answer>> extension =
      answer_offers(joined(headers, "Sec-WebSocket-Extensions"), options.compression);
  if (!extension) return bad(writer, extension.error().op);

  const std::string origin = joined(headers, "Origin");  // several are none that anybody expects
  if (!(options.check_origin ? options.check_origin(request, origin) : same_origin(request, origin))) {
    return refuse(writer, kStatusForbidden, Code::kDenied, "websocket: Origin");
  }

  const std::string_view protocol = choose(options.subprotocols, *offered);
  static_cast<void>(writer.set_header("Sec-WebSocket-Accept", accept_key(*key)));
  if (!protocol.empty()) static_cast<void>(writer.set_header("Sec-WebSocket-Protocol", protocol));
  Engine::Setup setup{.role = Role::kServer,
                      .deflate = {},
                      .subprotocol = std::string(protocol),
                      .ctx = request.context(),
                      .drain = request.draining(),
                      .lingers = false};
  if (*extension) {
    static_cast<void>(writer.set_header("Sec-WebSocket-Extensions", (*extension)->field));
    setup.deflate = (*extension)->agreed;
  }
  const Result<net::Transport*> transport = writer.upgrade("websocket");
  if (!transport) return std::unexpected(transport.error());
  return Connection(std::make_unique<Engine>(**transport, nullptr, options, std::move(setup)));
}

Handler handler(std::function<void(Connection&)> serve, Options options) {
  return make_handler([serve = std::move(serve)](Connection& socket, Request&) { serve(socket); }, std::move(options));
}

Handler handler(std::function<void(Connection&, Request&)> serve, Options options) {
  return make_handler(std::move(serve), std::move(options));
}

}  // namespace heddle::http::ws
