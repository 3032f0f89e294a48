#include <heddle/http/websocket_stream.h>

#include <utility>

#include <heddle/http/internal/ws_engine.h>

namespace heddle::http::ws {
namespace {

std::string_view text_of(std::span<const std::byte> bytes) noexcept {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::unexpected<Error> over() { return std::unexpected(Error{Code::kCanceled, 0, "websocket: write"}); }

}  // namespace

Result<std::size_t> Reader::read(const Context& ctx, std::span<std::byte> buf) {
  if (ended_ || buf.empty()) return std::size_t{0};
  Result<std::size_t> n = engine_->read_some(ctx, number_, std::span(reinterpret_cast<char*>(buf.data()), buf.size()));
  ended_ = n && *n == 0;
  return n;
}

Writer::Writer(Writer&& other) noexcept : engine_(std::exchange(other.engine_, nullptr)) {}

Writer& Writer::operator=(Writer&& other) noexcept {
  std::swap(engine_, other.engine_);
  return *this;
}

Writer::~Writer() {
  if (engine_ != nullptr) engine_->leave_message();
}

Result<void> Writer::write(std::span<const std::byte> buf) { return write(text_of(buf)); }

Result<void> Writer::write(std::string_view text) {
  if (engine_ == nullptr) return over();
  return done(engine_->write_some(text, More::kYes), false);
}

Result<void> Writer::flush() {
  if (engine_ == nullptr) return over();
  return done(engine_->write_some({}, More::kFlush), false);
}

Result<void> Writer::close() {
  if (engine_ == nullptr) return over();
  return done(engine_->write_some({}, More::kNo), true);
}

// Behind the last frame, and behind an error that nothing can follow, others may go.
Result<void> Writer::done(Result<void> result, bool last) {
  const bool goes_on = result ? !last : result.error().code == Code::kInvalid;
  if (!goes_on) std::exchange(engine_, nullptr)->leave_message();
  return result;
}

}  // namespace heddle::http::ws
