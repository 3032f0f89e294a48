// MessageCore: the time-outs and the end of a MessageConn.
#include <heddle/net/message_conn.h>

#include <algorithm>
#include <array>

namespace heddle::net::detail {
namespace {

TimePoint after(Duration d) noexcept {
  const std::int64_t at = nanos_after(nanotime(), d);
  return at == kNever ? kNoDeadline : TimePoint(std::chrono::duration_cast<Clock::duration>(Duration(at)));
}

bool is_set(Duration timeout) noexcept { return timeout > Duration::zero(); }

// A deadline of ours, not the kernel's ETIMEDOUT.
bool is_deadline(const Error& error) noexcept { return error.code == Code::kTimeout && error.sys == 0; }

}  // namespace

MessageCore::MessageCore(Transport& transport, std::unique_ptr<Transport> owned, const MessageOptions& options)
    : MessageCore(transport, std::move(owned), options, with_cancel_cause(options.ctx)) {}

MessageCore::MessageCore(Transport& transport, std::unique_ptr<Transport> owned, const MessageOptions& options,
                         ContextAndCancel made)
    : transport_(transport),
      owned_(std::move(owned)),
      read_timeout_(options.read_timeout),
      write_timeout_(options.write_timeout),
      idle_timeout_(options.idle_timeout),
      ctx_(std::move(made.ctx)),
      cancel_(std::move(made.cancel)),
      began_waiting_(now()) {
  transport_.set_deadline(kNoDeadline);
}

Error MessageCore::cause() const noexcept { return ctx_.cause().value_or(Error{}); }

Result<std::size_t> MessageCore::read(std::span<std::byte> into, bool begun) {
  if (is_set(idle_timeout_)) began_waiting_ = now();
  if (begun && message_until_ == kNoDeadline && is_set(read_timeout_)) message_until_ = after(read_timeout_);
  for (;;) {
    const TimePoint until = std::min(message_until_, idle_at());
    if (until != read_until_) transport_.set_read_deadline(read_until_ = until);
    const Result<std::size_t> n = transport_.read(ctx_, into);
    if (n || !is_deadline(n.error()) || until == kNoDeadline || ctx_.err()) return n;
    const TimePoint t = now();
    if (t >= message_until_) return std::unexpected(Error{Code::kTimeout, 0, "read message"});
    if (t >= idle_at()) return std::unexpected(Error{Code::kTimeout, 0, "idle"});
    // Something was written meanwhile.
  }
}

// When the connection will have been idle for too long, if nothing happens.
TimePoint MessageCore::idle_at() const noexcept {
  if (!is_set(idle_timeout_)) return kNoDeadline;
  // relaxed: a write that begins or ends in the moment in which the time is over may come before it or after it.
  const std::int64_t written = last_write_.load(std::memory_order_relaxed);
  if (written == kNever) return after(idle_timeout_);
  const std::int64_t at = nanos_after(std::max(to_nanos(began_waiting_), written), idle_timeout_);
  return at == kNever ? kNoDeadline : TimePoint(std::chrono::duration_cast<Clock::duration>(Duration(at)));
}

void MessageCore::linger(bool refused) {
  if (ctx_.err()) return;
  if (refused) throw_away();
  half_ended();
  began_waiting_ = now();
  while (!ctx_.err()) {
    if (!is_set(idle_timeout_)) {
      select(on_done(ctx_, [] {}));
    } else if (const TimePoint at = idle_at(); at <= now()) {
      end({Code::kTimeout, 0, "idle"});
    } else {
      static_cast<void>(sleep(ctx_, at - now()));
    }
  }
}

// Until the peer's end, or as long as a message may take. Were it left unread, the kernel would reset the connection
// when it is closed, and the peer might not get the answer to what was wrong.
void MessageCore::throw_away() {
  transport_.set_read_deadline(is_set(read_timeout_) ? after(read_timeout_) : kNoDeadline);
  std::array<std::byte, 4096> into;
  for (;;) {
    const Result<std::size_t> n = transport_.read(ctx_, into);
    if (!n) return end(in_end_);
    if (*n == 0) return;
  }
}

bool MessageCore::write(Outgoing& bytes) {
  if (bytes.empty()) return true;
  // relaxed, both: as in idle_at().
  last_write_.store(kNever, std::memory_order_relaxed);
  if (is_set(write_timeout_)) transport_.set_write_deadline(after(write_timeout_));
  const Result<void> written = transport_.writev(bytes.buffers());
  last_write_.store(is_set(idle_timeout_) ? nanotime() : 0, std::memory_order_relaxed);
  if (written) return true;
  end(is_deadline(written.error()) ? Error{Code::kTimeout, 0, "write message"} : written.error());
  return false;
}

void MessageCore::outbound_ends() noexcept {
  if (const Result<void> told = transport_.close_write(); !told) return end(told.error());
  half_ended();
}

void MessageCore::half_ended() noexcept {
  // acq_rel: the reader's publishes in_end_, the writer's, if it is the last, acquires it.
  if (halves_.fetch_sub(1, std::memory_order_acq_rel) == 1) end(in_end_);
}

bool MessageCore::caught(const char* op) {
  std::exception_ptr exception;
  const bool kept = heddle::detail::keep_exception(exception);
  {
    const std::lock_guard guard(lock_);
    if (exception_ == nullptr) exception_ = exception;
  }
  end({Code::kInvalid, 0, op});
  return kept;
}

void MessageCore::rethrow() {
  std::exception_ptr exception;
  {
    const std::lock_guard guard(lock_);
    exception = exception_;
  }
  if (exception != nullptr) std::rethrow_exception(exception);
}

}  // namespace heddle::net::detail
