#include <heddle/http/internal/transport_stream.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

#include <heddle/core/check.h>
#include <heddle/core/go.h>

namespace heddle::http {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kOutMax = 16 * 1024;     // bytes written and not taken by the Transport; then kWouldBlock
constexpr std::size_t kWritePiece = 4 * 1024;  // so that a slow peer is seen to take something
constexpr Duration kDrainTime = 10s;           // for what was written before close() (I4)

}  // namespace

void TransportStream::serve(net::StreamAcceptor& acceptor, std::unique_ptr<net::Transport> transport,
                            WaitGroup& group) {
  const auto self = std::make_shared<TransportStream>(std::move(transport));
  self->sink_ = acceptor.on_accept(*self);
  if (self->sink_ == nullptr) {
    self->transport_->close();
    return;
  }
  group.go([self] { self->reader(); });
  group.go([self] { self->writer(); });
  group.go([self] { self->home(); });
}

// ---- home ----

void TransportStream::home() {
  for (;;) {
    std::string data;
    Error end;
    switch (next_due(data, end)) {
      case Due::kData: sink_->on_data(std::as_bytes(std::span(data))); break;
      case Due::kEnd: sink_->on_end(end); break;
      case Due::kTimer: sink_->on_timer(); break;
      case Due::kClosed: {
        transport_->set_write_deadline(now() + kDrainTime);  // keeps I4
        static_cast<void>(transport_->close_read());         // the reader finds its end; an error: it has ended already
        lock_.lock();
        while (!reader_done_) wait_locked(home_line_, "http test stream");
        lock_.unlock();
        sink_->on_closed();  // the last call: the sink is gone
        return;
      }
    }
  }
}

// Parks until something is due. Keeps I1: all of in_ is one piece.
TransportStream::Due TransportStream::next_due(std::string& data, Error& end) {
  lock_.lock();
  for (;;) {
    if (closed_) {
      lock_.unlock();
      return Due::kClosed;
    }
    if (timer_ != kNever && timer_ <= nanotime()) {
      timer_ = kNever;
      lock_.unlock();
      return Due::kTimer;
    }
    if (!in_.empty() && !paused_) {
      data = std::exchange(in_, {});
      WakeList woken;
      wake_locked(reader_line_, woken);
      lock_.unlock();
      woken.wake();
      return Due::kData;
    }
    if (in_.empty() && end_) {
      end = *std::exchange(end_, std::nullopt);
      lock_.unlock();
      return Due::kEnd;
    }
    wait_locked(home_line_, "http test stream", timer_);
  }
}

// ---- reader ----

void TransportStream::reader() {
  std::array<std::byte, 4096> buf;
  for (;;) {
    lock_.lock();
    while (!closed_ && (paused_ || !in_.empty())) wait_locked(reader_line_, "http test stream");
    const bool over = closed_;
    lock_.unlock();
    Result<std::size_t> n = 0;
    if (!over) n = transport_->read(buf);
    WakeList woken;
    lock_.lock();
    const bool more = !over && n && *n != 0;
    if (more) {
      in_.assign(reinterpret_cast<const char*>(buf.data()), *n);
    } else {
      end_ = n ? Error{Code::kEof, 0, "read"} : n.error();
      if (!n) lost_ = n.error();  // a reset is one for both directions
      reader_done_ = true;
      wake_locked(writable_line_, woken);
      wake_locked(writer_line_, woken);
    }
    wake_locked(home_line_, woken);
    lock_.unlock();
    woken.wake();
    if (!more) return;
  }
}

// ---- writer ----

void TransportStream::writer() {
  bool fin_sent = false;
  lock_.lock();
  for (;;) {
    if (!out_.empty() && !lost_) {
      const std::string piece = out_.substr(0, kWritePiece);
      out_.erase(0, piece.size());
      flying_ = piece.size();
      lock_.unlock();
      const Result<void> written = transport_->write(std::as_bytes(std::span(piece)));
      WakeList woken;
      lock_.lock();
      flying_ = 0;
      if (!written) lost_ = written.error();
      wake_locked(writable_line_, woken);
      lock_.unlock();
      woken.wake();
      lock_.lock();
    } else if (shut_ && !fin_sent && !lost_) {
      fin_sent = true;
      lock_.unlock();
      static_cast<void>(transport_->close_write());  // an error: the peer has gone, and reading reports that
      lock_.lock();
    } else if (closed_ && reader_done_) {
      break;
    } else {
      wait_locked(writer_line_, "http test stream");
    }
  }
  lock_.unlock();
  transport_->close();
}

// ---- the sink's calls ----

Result<std::size_t> TransportStream::try_writev(std::span<const iovec> iov) {
  WakeList woken;
  std::size_t total = 0;
  {
    const LockGuard guard(lock_);
    if (closed_) return std::unexpected(Error{Code::kClosed, 0, "write"});
    if (lost_ || shut_) return std::unexpected(Error{Code::kReset, 0, "write"});
    std::size_t room = kOutMax - std::min(kOutMax, out_.size() + flying_);
    if (room == 0) return std::unexpected(Error{Code::kWouldBlock, 0, "write"});
    for (const iovec& v : iov) {
      const std::size_t n = std::min(room, v.iov_len);
      out_.append(static_cast<const char*>(v.iov_base), n);
      total += n;
      room -= n;
    }
    wake_locked(writer_line_, woken);
  }
  woken.wake();
  return total;
}

Result<void> TransportStream::wait_writable(TimePoint deadline, const Context& ctx) {
  Result<void> result;
  const std::int64_t until = to_nanos(deadline);
  lock_.lock();
  while (!woken_ && !closed_ && !lost_ && !shut_ && out_.size() + flying_ >= kOutMax) {
    if (const std::optional<Error> over = ctx.err()) {
      result = std::unexpected(Error{over->code, 0, "write"});
      break;
    }
    if (until != kNever && nanotime() >= until) {
      result = std::unexpected(Error{Code::kTimeout, 0, "write"});
      break;
    }
    wait_locked(writable_line_, "write", until, ctx.can_be_done() ? &ctx : nullptr);
  }
  woken_ = false;
  lock_.unlock();
  return result;
}

void TransportStream::wake_writer() {
  WakeList woken;
  {
    const LockGuard guard(lock_);
    woken_ = true;
    wake_locked(writable_line_, woken);
  }
  woken.wake();
}

void TransportStream::pause() {
  const LockGuard guard(lock_);
  paused_ = true;
}

void TransportStream::resume() {
  WakeList woken;
  {
    const LockGuard guard(lock_);
    paused_ = false;
    wake_locked(reader_line_, woken);
    wake_locked(home_line_, woken);
  }
  woken.wake();
}

void TransportStream::set_timer(std::int64_t when) {
  WakeList woken;
  {
    const LockGuard guard(lock_);
    timer_ = when;
    wake_locked(home_line_, woken);
  }
  woken.wake();
}

void TransportStream::shutdown_write() {
  WakeList woken;
  {
    const LockGuard guard(lock_);
    shut_ = true;
    wake_locked(writer_line_, woken);
    wake_locked(writable_line_, woken);
  }
  woken.wake();
}

void TransportStream::close() {
  const std::shared_ptr<TransportStream> self = shared_from_this();  // keeps I3
  WakeList woken;
  {
    const LockGuard guard(lock_);
    if (closed_) fatal("a stream in memory was closed twice");
    closed_ = true;
    wake_locked(home_line_, woken);
    wake_locked(reader_line_, woken);
    wake_locked(writer_line_, woken);
    wake_locked(writable_line_, woken);
  }
  woken.wake();
}

std::string TransportStream::peer_address() const {
  const Result<net::Address> address = transport_->remote_address();
  return address && address->family() != 0 ? address->to_string() : std::string();
}

// ---- waiting ----

bool TransportStream::wait_locked(WaitList& line, const char* op, std::int64_t deadline, const Context* ctx) {
  Waiter self(op);
  line.push_back(self);
  lock_.unlock();
  const bool taken = line.wait(lock_, self, WaitReason::kIoWait, deadline, ctx);
  lock_.lock();
  return taken;
}

void TransportStream::wake_locked(WaitList& line, WakeList& woken) noexcept {
  while (Waiter* w = line.front()) static_cast<void>(line.take(*w, woken));
}

}  // namespace heddle::http
