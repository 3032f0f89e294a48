// httpbin's WebSocket: what comes goes back, as it came.
#include <heddle/http/websocket.h>

#include "httpbin.h"

namespace heddle::apps::httpbin {
namespace {

namespace ws = http::ws;

constexpr std::size_t kMaxMessage = std::size_t{16} << 20;  // bytes; more: Close 1009

void echo(ws::Connection& socket) {
  while (const Result<ws::Message> message = socket.read()) {
    if (!socket.write(*message)) return;
  }
}

}  // namespace

void add_ws(Mux& mux) {
  ws::Options options;
  options.max_message = options.max_frame = kMaxMessage;
  options.compression.enabled = true;
  // Pages of other hosts may ask, too: nothing is told here that they did not say.
  options.check_origin = [](const Request&, std::string_view) { return true; };
  mux.handle("GET /ws", ws::handler(echo, options));
}

}  // namespace heddle::apps::httpbin
