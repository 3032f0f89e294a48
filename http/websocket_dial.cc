// The client's half of a WebSocket's handshake (RFC 6455 s4.1).
#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include <heddle/http/internal/ws_engine.h>
#include <heddle/http/internal/ws_extension.h>
#include <heddle/http/internal/ws_handshake.h>
#include <heddle/http/internal/ws_key.h>
#include <heddle/http/url.h>
#include <heddle/http/websocket.h>

namespace heddle::http::ws {
namespace {

std::unexpected<Error> failed(Code code, const char* why) { return std::unexpected(Error{code, 0, why}); }

// ws and wss are http and https by other names (RFC 6455 s3).
std::string by_http(std::string_view url) {
  const std::size_t colon = std::min(url.find(':'), url.size());
  if (equal_fold(url.substr(0, colon), "ws")) return "http" + std::string(url.substr(colon));
  if (equal_fold(url.substr(0, colon), "wss")) return "https" + std::string(url.substr(colon));
  return std::string(url);
}

Result<ClientRequest> make_request(const Context& ctx, std::string_view url, std::string_view key,
                                   const Options& options) {
  Result<Url> parsed = Url::parse(by_http(url));
  if (!parsed) return std::unexpected(parsed.error());
  if (parsed->fragment()) return failed(Code::kInvalid, "websocket: a fragment");  // s3
  ClientRequest request;
  request.url = std::move(*parsed);
  request.ctx = ctx;
  request.tunnel = true;  // s4.1, step 2
  request.headers = options.headers;
  std::string protocols;
  for (const std::string& one : options.subprotocols) {
    if (!is_token(one)) return failed(Code::kInvalid, "websocket: subprotocol");
    protocols += (protocols.empty() ? "" : ", ") + one;
  }
  bool set = request.headers.set("Upgrade", "websocket") && request.headers.set("Sec-WebSocket-Version", "13") &&
             request.headers.set("Sec-WebSocket-Key", key);
  request.headers.remove("Sec-WebSocket-Protocol");
  request.headers.remove("Sec-WebSocket-Extensions");
  if (!protocols.empty()) set = set && request.headers.set("Sec-WebSocket-Protocol", protocols);
  if (options.compression.enabled) {
    set = set && request.headers.set("Sec-WebSocket-Extensions", make_offer(options.compression));
  }
  if (!set) return failed(Code::kInvalid, "websocket: a header field");
  return request;
}

Error refusal(int status) noexcept {
  const Code code = status == 401 || status == 403 ? Code::kDenied : status == 404 ? Code::kNotFound : Code::kProtocol;
  return {code, 0, "websocket: the server refused"};
}

// What was agreed on, if `response` is what `key` was to be answered with.
Result<Engine::Setup> check_answer(const ClientResponse& response, std::string_view key, const Options& options) {
  const HeaderList headers = response.headers();
  if (!equal_fold(joined(headers, "Upgrade"), "websocket")) return failed(Code::kProtocol, "websocket: Upgrade");
  if (!headers.lists("Connection", "upgrade")) return failed(Code::kProtocol, "websocket: Connection");
  if (joined(headers, "Sec-WebSocket-Accept") != accept_key(key)) {
    return failed(Code::kProtocol, "websocket: Sec-WebSocket-Accept");
  }
  Engine::Setup setup{.role = Role::kClient, .deflate = {}, .subprotocol = {}, .ctx = {}, .drain = {}};
  const Result<std::optional<Agreed>> agreed =
      read_answer(joined(headers, "Sec-WebSocket-Extensions"), options.compression);
  if (!agreed) return std::unexpected(agreed.error());
  setup.deflate = *agreed;
  if (headers.find("Sec-WebSocket-Protocol")) {
    setup.subprotocol = joined(headers, "Sec-WebSocket-Protocol");
    if (std::ranges::find(options.subprotocols, setup.subprotocol) == options.subprotocols.end()) {
      return failed(Code::kProtocol, "websocket: a subprotocol that was not offered");
    }
  }
  return setup;
}

}  // namespace

Result<Connection> dial(const Context& ctx, Client& client, std::string_view url, const Options& options) {
  const std::string key = make_key();
  const Result<ClientRequest> request = make_request(ctx, url, key, options);
  if (!request) return std::unexpected(request.error());
  Result<ClientResponse> response = client.send(*request);
  if (!response) return std::unexpected(response.error());
  if (response->status() != 101) {
    if (options.on_refusal) options.on_refusal(*response);
    return std::unexpected(refusal(response->status()));
  }
  Result<Engine::Setup> setup = check_answer(*response, key, options);
  if (!setup) return std::unexpected(setup.error());
  Result<std::unique_ptr<net::Transport>> transport = response->take_transport();
  if (!transport) return std::unexpected(transport.error());
  net::Transport& at = **transport;
  return Connection(std::make_unique<Engine>(at, std::move(*transport), options, std::move(*setup)));
}

}  // namespace heddle::http::ws
