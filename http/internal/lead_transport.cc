#include <heddle/http/internal/lead_transport.h>

#include <algorithm>
#include <cstring>

namespace heddle::http {
namespace {

// relaxed, all over this file: each value stands for itself, and publishes nothing (I1, I2).
constexpr auto kRelaxed = std::memory_order_relaxed;

}  // namespace

bool LeadTransport::leads() const noexcept { return at_.load(kRelaxed) != lead_.size() && !dropped_.load(kRelaxed); }

// Keeps I2.
std::optional<Error> LeadTransport::stop_of(const Context* ctx) const noexcept {
  if (closed_.load(kRelaxed)) return Error{Code::kClosed, 0, "read"};
  const std::int64_t deadline = deadline_.load(kRelaxed);
  if (deadline != kNever && nanotime() >= deadline) return Error{Code::kTimeout, 0, "read"};
  if (ctx == nullptr) return std::nullopt;
  const std::optional<Error> over = ctx->err();
  return over ? std::optional(Error{over->code, 0, "read"}) : std::nullopt;
}

Result<std::size_t> LeadTransport::take(const Context* ctx, std::span<std::byte> buf) noexcept {
  if (const std::optional<Error> stop = stop_of(ctx)) return std::unexpected(*stop);
  const std::size_t at = at_.load(kRelaxed);
  const std::size_t n = std::min(buf.size(), lead_.size() - at);
  if (n != 0) std::memcpy(buf.data(), lead_.data() + at, n);
  at_.store(at + n, kRelaxed);
  return n;
}

Result<std::size_t> LeadTransport::read(std::span<std::byte> buf) {
  return leads() ? take(nullptr, buf) : inner_->read(buf);
}

Result<std::size_t> LeadTransport::read(const Context& ctx, std::span<std::byte> buf) {
  return leads() ? take(&ctx, buf) : inner_->read(ctx, buf);
}

Result<std::size_t> LeadTransport::try_read(std::span<std::byte> buf) {
  return leads() ? take(nullptr, buf) : inner_->try_read(buf);
}

Result<void> LeadTransport::wait_readable(const Context& ctx) {
  if (!leads()) return inner_->wait_readable(ctx);
  if (const std::optional<Error> stop = stop_of(&ctx)) return std::unexpected(*stop);
  return {};
}

Result<void> LeadTransport::close_read() {
  dropped_.store(true, kRelaxed);
  return inner_->close_read();
}

void LeadTransport::set_read_deadline(TimePoint when) noexcept {
  deadline_.store(to_nanos(when), kRelaxed);
  inner_->set_read_deadline(when);
}

bool LeadTransport::is_alive() const noexcept { return !leads() && inner_->is_alive(); }

void LeadTransport::close() noexcept {
  closed_.store(true, kRelaxed);
  inner_->close();
}

std::unique_ptr<net::Transport> with_lead(std::string lead, std::unique_ptr<net::Transport> inner) {
  if (lead.empty()) return inner;
  return std::make_unique<LeadTransport>(std::move(lead), std::move(inner));
}

}  // namespace heddle::http
