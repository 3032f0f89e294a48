#include <heddle/http/websocket.h>

#include <heddle/http/internal/ws_engine.h>

namespace heddle::http::ws {

Connection::Connection(std::unique_ptr<Engine> engine) noexcept : engine_(std::move(engine)) {}
Connection::Connection(Connection&& other) noexcept = default;
Connection& Connection::operator=(Connection&& other) noexcept = default;
Connection::~Connection() = default;

Result<Message> Connection::read(const Context& ctx) { return engine_->read(ctx); }

Result<void> Connection::write(Kind kind, std::string_view data) { return engine_->write(kind, data); }

Result<Reader> Connection::next_reader(const Context& ctx) {
  const Result<Engine::Begun> begun = engine_->begin_read(ctx);
  if (!begun) return std::unexpected(begun.error());
  return Reader(*engine_, begun->kind, begun->number);
}

Result<Writer> Connection::next_writer(Kind kind, const Context& ctx) {
  if (const Result<void> begun = engine_->begin_message(kind, ctx); !begun) return std::unexpected(begun.error());
  return Writer(*engine_);
}

Result<void> Connection::ping(std::string_view payload) { return engine_->ping(payload); }

Result<void> Connection::close(int code, std::string_view reason) {
  if (engine_ == nullptr) return {};
  return engine_->close(code, reason);
}

void Connection::abort() noexcept { engine_->abort(); }

CloseStatus Connection::peer_close() const { return engine_->peer_close(); }

const std::string& Connection::subprotocol() const noexcept { return engine_->subprotocol(); }

bool Connection::compressed() const noexcept { return engine_->compressed(); }

}  // namespace heddle::http::ws
