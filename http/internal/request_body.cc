// A running request's body: from the socket, by way of the exchange's window and the queue, to whoever reads it on the
// request's goroutine; and what is left of it after the handler.
#include <algorithm>
#include <array>
#include <span>

#include <heddle/core/clock.h>
#include <heddle/core/park.h>
#include <heddle/http/internal/head_parser.h>
#include <heddle/http/internal/server_conn.h>
#include <heddle/http/internal/server_core.h>
#include <heddle/http/status.h>

namespace heddle::http {

Result<std::size_t> ServerConn::read_body(std::span<std::byte> to) {
  Body& body = x_->body;
  if (to.empty()) return 0;
  for (;;) {
    if (const std::size_t n = take_body(to); n != 0) {
      continue_due_ = false;  // it did not wait for us
      return n;
    }
    if (body.fault != 0) return std::unexpected(body.error);
    if (body.done) return 0;
    if (continue_due_ && !send_continue()) return std::unexpected(body_ended(false));
    if (!split_) out_.send_meanwhile();  // what the hook would have done at more cost
    const std::int64_t since = nanotime();
    lock_.lock();
    if (pull_body_locked()) {
      lock_.unlock();
      continue;
    }
    if (ended_ || dead_) {
      lock_.unlock();
      return std::unexpected(body_ended(false));
    }
    // Keeps I3: from here to the park the lock is held.
    reader_ = {current_g(), reinterpret_cast<char*>(to.data()), body.kind == BodyKind::kFixed ? to.size() : 0, 0,
               false};
    arm_locked(body_deadline(since));
    park_unlock(lock_, WaitReason::kHttpBody);
    waited_ += nanotime() - since;
    // Whoever took the reader is done with it.
    if (reader_.got != 0) return reader_.got;
    if (reader_.timed_out) return std::unexpected(body_ended(true));
  }
}

void ServerConn::limit_body(std::uint64_t most) noexcept {
  Body& body = x_->body;
  body.limit = std::min(body.limit, most);
  if (body.fault != 0 || body.kind != BodyKind::kFixed || body.received + body.left <= body.limit) return;
  body.fault = kStatusContentTooLarge;
  body.error = Error{Code::kLimit, 0, "read body"};
}

// Decodes from what the goroutine owns: the exchange's window, then the buffer taken off the queue. Once there are some
// bytes, also from the buffers that have come since, as far as `to` has room: who passes them on writes as much at a time.
std::size_t ServerConn::take_body(std::span<std::byte> to) noexcept {
  Exchange& x = *x_;
  char* const out = reinterpret_cast<char*>(to.data());
  std::size_t got = 0;
  while (got < to.size() && !x.body.done && x.body.fault == 0) {
    Decoded d{};
    if (x.read < x.visible) {
      d = decode_body(x, x.data + x.read, x.visible - x.read, out + got, to.size() - got);
      x.read += static_cast<std::uint32_t>(d.consumed);
    } else if (chunk_ != nullptr) {
      d = decode_body(x, chunk_->data + chunk_->begin, chunk_->end - chunk_->begin, out + got, to.size() - got);
      chunk_->begin += static_cast<std::uint32_t>(d.consumed);
      if (chunk_->begin == chunk_->end) {
        Inbound::free(chunk_);
        chunk_ = nullptr;
      }
    } else if (got == 0) {
      return 0;
    } else {
      LockGuard guard(lock_);
      if (!pull_body_locked()) break;
    }
    got += d.produced;
  }
  return got;
}

// Called with the window and chunk_ read to their ends. True if there is more now.
bool ServerConn::pull_body_locked() {
  Exchange& x = *x_;
  if (x.visible != x.filled) {
    x.visible = x.filled;
    return true;
  }
  x.read = x.visible = x.filled = x.scanned;  // the window is free again, up to the head's end
  chunk_ = inbound_.pop();
  overflow_ = chunk_ != nullptr;
  let_more_come_locked();
  return chunk_ != nullptr;
}

std::int64_t ServerConn::body_deadline(std::int64_t now) const noexcept {
  const Duration silence = core_.options.body_timeout;
  if (silence <= Duration::zero()) return kNever;
  const std::uint64_t rate = core_.options.min_body_rate;
  if (rate == 0) return nanos_after(now, silence);
  // What it may have waited in all: one silence, and the time that the bytes so far were worth.
  const std::uint64_t received = std::min<std::uint64_t>(x_->body.received, std::uint64_t{1} << 33);
  const auto earned = static_cast<std::int64_t>(received * 1'000'000'000 / rate);
  return nanos_after(now, std::min(silence, Duration(nanos_after(silence.count(), Duration(earned - waited_)))));
}

// The body ends here and is not whole: an error that stays, and the status for a handler that says nothing.
Error ServerConn::body_ended(bool timed_out) noexcept {
  Body& body = x_->body;
  bool dead = false;
  {
    LockGuard guard(lock_);
    dead = dead_;
  }
  const Code code = timed_out ? Code::kTimeout : dead || (!split_ && out_.failed()) ? Code::kReset : Code::kEof;
  body.fault = timed_out ? kStatusRequestTimeout : kStatusBadRequest;
  body.error = Error{code, 0, "read body"};
  return body.error;
}

bool ServerConn::split_reading() {
  if (continue_due_ && !send_continue()) return false;
  set_on_park(nullptr, nullptr);  // the hook would send from under the one who writes
  split_ = true;
  return true;
}

// RFC 9110 s10.1.1. It goes in front of a response that has begun but is not committed.
bool ServerConn::send_continue() {
  continue_due_ = false;
  return out_.insert_before_current("HTTP/1.1 100 Continue\r\n\r\n") && out_.flush();
}

// Reads what the handler left of the body, so that the next head can be found; false if that would take too long.
bool ServerConn::drain_body() {
  const Body& body = x_->body;
  if (body.done) [[likely]]
    return true;
  if (continue_due_ || body.fault != 0) return false;
  // The client may be waiting for the response before it goes on.
  if (x_->read == x_->visible && chunk_ == nullptr && !out_.flush()) return false;
  std::array<std::byte, 4096> scratch;
  std::size_t drained = 0;
  while (!body.done) {
    const Result<std::size_t> n = read_body(scratch);
    if (!n) return false;
    drained += *n;
    if (drained > core_.options.max_drain) return false;
  }
  return true;
}

}  // namespace heddle::http
