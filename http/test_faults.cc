#include <heddle/http/test_faults.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include <heddle/http/test_conn.h>

namespace heddle::http::test {
namespace {

constexpr std::size_t kReadAhead = 4096;

}  // namespace

FaultyTransport::FaultyTransport(std::unique_ptr<net::Transport> inner, const Faults& faults)
    : inner_(std::move(inner)), faults_(faults) {}

FaultyTransport::~FaultyTransport() { close(); }

Result<std::size_t> FaultyTransport::read(const Context& ctx, std::span<std::byte> buf) {
  if (buf.empty()) return inner_->read(ctx, buf);
  if (faults_.cut_read_after && given_ >= *faults_.cut_read_after) cut();
  const auto over = [this]() -> std::optional<Result<std::size_t>> {
    if (stopped_.load(std::memory_order_relaxed)) return 0;  // relaxed: a call that races with it may go either way
    if (!cut_.load(std::memory_order_acquire)) return std::nullopt;  // acquire: pairs with cut()
    if (faults_.cut_by == CutBy::kEnd) return 0;
    return std::unexpected(Error{Code::kReset, 0, "read"});
  };
  if (const auto end = over()) return *end;
  if (held_.empty()) {
    std::byte piece[kReadAhead];
    // With a delay all that is there is taken, for it grows old together; without one no more than can be given out.
    std::size_t most = faults_.read_delay > Duration::zero() ? kReadAhead : std::min(kReadAhead, buf.size());
    if (faults_.read_at_most != 0 && faults_.read_delay <= Duration::zero())
      most = std::min(most, faults_.read_at_most);
    const Result<std::size_t> n = inner_->read(ctx, std::span(piece).first(most));
    if (const auto end = over()) return *end;
    if (!n || *n == 0) return n;
    held_.assign(reinterpret_cast<const char*>(piece), *n);
    due_ = nanos_after(nanotime(), faults_.read_delay);
    holds_.store(true, std::memory_order_relaxed);  // relaxed: it stands for itself
  }
  if (const Result<void> waited = reading_.wait_until(due_, ctx, "read"); !waited) {
    if (const auto end = over()) return *end;
    return std::unexpected(waited.error());
  }
  std::size_t n = std::min(buf.size(), held_.size());
  if (faults_.read_at_most != 0) n = std::min(n, faults_.read_at_most);
  if (faults_.cut_read_after)
    n = static_cast<std::size_t>(std::min<std::uint64_t>(n, *faults_.cut_read_after - given_));
  std::memcpy(buf.data(), held_.data(), n);
  held_.erase(0, n);
  holds_.store(!held_.empty(), std::memory_order_relaxed);  // relaxed: as above
  given_ += n;
  return n;
}

Result<void> FaultyTransport::write(const Context& ctx, std::span<const std::byte> buf) {
  do {
    std::size_t n = faults_.write_at_most == 0 ? buf.size() : std::min(buf.size(), faults_.write_at_most);
    if (faults_.cut_write_after) {
      n = static_cast<std::size_t>(std::min<std::uint64_t>(n, *faults_.cut_write_after - sent_));
      if (n == 0 && !buf.empty()) cut();
    }
    if (cut_.load(std::memory_order_acquire))  // acquire: pairs with cut()
      return std::unexpected(Error{Code::kReset, 0, "write"});
    if (faults_.write_delay > Duration::zero()) {
      const std::int64_t when = nanos_after(nanotime(), faults_.write_delay);
      if (const Result<void> waited = writing_.wait_until(when, ctx, "write"); !waited)
        return std::unexpected(after_cut(waited.error()));
    }
    if (const Result<void> written = inner_->write(ctx, buf.first(n)); !written)
      return std::unexpected(after_cut(written.error()));
    sent_ += n;
    buf = buf.subspan(n);
  } while (!buf.empty());
  return {};
}

Error FaultyTransport::after_cut(Error error) const noexcept {
  if (cut_.load(std::memory_order_acquire)) error.code = Code::kReset;  // acquire: pairs with cut()
  return error;
}

void FaultyTransport::cut() noexcept {
  // release: whoever the end of the inner transport wakes sees it.
  if (cut_.exchange(true, std::memory_order_acq_rel)) return;
  auto* const conn = dynamic_cast<TestConn*>(inner_.get());
  if (conn != nullptr && faults_.cut_by == CutBy::kReset) {
    conn->reset();
  } else {
    inner_->close();
  }
  reading_.end();
  writing_.end();
}

Result<void> FaultyTransport::close_read() {
  stopped_.store(true, std::memory_order_relaxed);  // relaxed: the inner call, or the delay's lock, publishes it
  reading_.end();
  return inner_->close_read();
}

void FaultyTransport::set_read_deadline(TimePoint when) noexcept {
  reading_.set_deadline(to_nanos(when));
  inner_->set_read_deadline(when);
}

void FaultyTransport::set_write_deadline(TimePoint when) noexcept {
  writing_.set_deadline(to_nanos(when));
  inner_->set_write_deadline(when);
}

bool FaultyTransport::is_alive() const noexcept {
  // relaxed: who asks while another goroutine reads may be told either. acquire: pairs with cut()
  return !holds_.load(std::memory_order_relaxed) && !cut_.load(std::memory_order_acquire) && inner_->is_alive();
}

void FaultyTransport::close() noexcept {
  inner_->close();
  reading_.end();
  writing_.end();
}

// ---- Delay ----

Result<void> FaultyTransport::Delay::wait_until(std::int64_t when, const Context& ctx, const char* op) {
  lock.lock();
  Error stop{};
  for (;;) {
    const std::int64_t now = nanotime();
    if (over) {
      stop = {Code::kClosed, 0, op};
    } else if (deadline != kNever && now >= deadline) {
      stop = {Code::kTimeout, 0, op};
    } else if (const std::optional<Error> done = ctx.err()) {
      stop = {done->code, 0, op};
    }
    if (stop.code != Code::kOk || now >= when) break;
    Waiter self(op);
    line.push_back(self);
    const std::int64_t until = std::min(when, deadline);
    lock.unlock();
    static_cast<void>(line.wait(lock, self, WaitReason::kSleep, until, ctx.can_be_done() ? &ctx : nullptr));
    lock.lock();
  }
  lock.unlock();
  if (stop.code != Code::kOk) return std::unexpected(stop);
  return {};
}

void FaultyTransport::Delay::set_deadline(std::int64_t when) noexcept {
  WakeList woken;
  {
    const LockGuard guard(lock);
    deadline = when;
    wake_locked(woken);
  }
  woken.wake();
}

void FaultyTransport::Delay::end() noexcept {
  WakeList woken;
  {
    const LockGuard guard(lock);
    over = true;
    wake_locked(woken);
  }
  woken.wake();
}

void FaultyTransport::Delay::wake_locked(WakeList& woken) noexcept {
  while (Waiter* w = line.front()) static_cast<void>(line.take(*w, woken));
}

Decorator with_faults(const Faults& faults) {
  return [faults](std::unique_ptr<net::Transport> inner) -> std::unique_ptr<net::Transport> {
    return std::make_unique<FaultyTransport>(std::move(inner), faults);
  };
}

}  // namespace heddle::http::test
