#include <heddle/http/internal/upgraded_conn.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include <heddle/core/check.h>

namespace heddle::http {
namespace {

constexpr std::size_t kMaxQueued = 128 * 1024;  // bytes that wait to be read before the peer is held back
constexpr const char* kRead = "read";
constexpr const char* kWrite = "write";

// A window over a caller's buffers: copied, because a short write cuts into one of them.
class Window {
 public:
  explicit Window(std::span<const iovec> buffers) noexcept : buffers_(buffers) {}

  // What is left, at most some of it; empty if nothing is.
  [[nodiscard]] std::span<const iovec> left() noexcept {
    std::size_t count = 0;
    std::size_t skip = skip_;
    for (const iovec& one : buffers_) {
      if (count == entries_.size()) break;
      if (one.iov_len != skip) entries_[count++] = {static_cast<char*>(one.iov_base) + skip, one.iov_len - skip};
      skip = 0;
    }
    return {entries_.data(), count};
  }

  void advance(std::size_t n) noexcept {
    while (!buffers_.empty()) {
      const std::size_t step = std::min(n, buffers_.front().iov_len - skip_);
      n -= step;
      skip_ += step;
      if (skip_ != buffers_.front().iov_len) return;
      buffers_ = buffers_.subspan(1);
      skip_ = 0;
    }
  }

 private:
  std::span<const iovec> buffers_;
  std::size_t skip_ = 0;  // bytes of the first one that are sent
  std::array<iovec, 64> entries_;
};

}  // namespace

UpgradedConn::~UpgradedConn() {
  if (chunk_ != nullptr) Inbound::free(chunk_);
}

// ---- home ----

void UpgradedConn::push_locked(std::span<const std::byte> bytes, WakeList& woken) {
  if (bytes.empty() || dropping_ || closed_ || cut_) return;
  queue_.push(bytes);
  wake_reader_locked(woken);
  if (queue_.size() > kMaxQueued && !paused_) {  // I3
    paused_ = true;
    stream_.pause();
  }
}

void UpgradedConn::end_locked(const Error& reason, WakeList& woken) noexcept {
  if (!end_) end_ = reason;
  failed_ = failed_ || reason.code != Code::kEof;
  wake_reader_locked(woken);
  if (failed_) stream_.wake_writer();  // I4; it will find that out by itself, but perhaps not soon
}

void UpgradedConn::cut_locked(WakeList& woken) noexcept {
  cut_ = failed_ = true;
  wake_reader_locked(woken);
  stream_.wake_writer();  // I4
}

bool UpgradedConn::client_left_locked() const noexcept {
  if (failed_) return true;
  if (!end_ || half_ == HalfClose::kStays) return false;
  return told_end_ || (queue_.empty() && !in_.busy && chunk_ == nullptr);
}

// ---- reading ----

Result<std::size_t> UpgradedConn::take(const Context* ctx, std::span<std::byte> buf, bool waits) {
  lock_.lock();
  enter_locked(in_, kRead);
  const auto leave = [this](Result<std::size_t> result) {
    leave_and_unlock(in_);
    return result;
  };
  for (;;) {  // I1, I2
    if (const std::optional<Error> stop = stop_of(in_, ctx, kRead)) return leave(std::unexpected(*stop));
    if (buf.empty()) return leave(0);
    if (dropping_) return leave(0);
    if (next_chunk_locked()) break;
    if (end_ && end_->code == Code::kEof) {
      if (!std::exchange(told_end_, true) && half_ == HalfClose::kLeaves) {
        lock_.unlock();
        left_();
        lock_.lock();
      }
      return leave(0);
    }
    if (end_) return leave(std::unexpected(Error{end_->code, end_->sys, kRead}));
    if (!waits) return leave(std::unexpected(Error{Code::kWouldBlock, 0, kRead}));
    wait_to_read(ctx);
  }
  std::size_t got = 0;
  do {
    lock_.unlock();
    got += copy(buf.subspan(got));
    lock_.lock();
  } while (got < buf.size() && !dropping_ && next_chunk_locked());
  return leave(got);
}

Result<void> UpgradedConn::wait_readable(const Context& ctx) {
  lock_.lock();
  enter_locked(in_, kRead);
  std::optional<Error> stop;
  for (;;) {  // I1, I2
    stop = stop_of(in_, &ctx, kRead);
    if (stop || dropping_ || end_ || next_chunk_locked()) break;
    wait_to_read(&ctx);
  }
  leave_and_unlock(in_);
  if (stop) return std::unexpected(*stop);
  return {};
}

// With the lock held, which it gives up meanwhile.
void UpgradedConn::wait_to_read(const Context* ctx) {
  Waiter self(kRead);
  reader_.push_back(self);
  const std::int64_t deadline = in_.deadline;
  lock_.unlock();
  static_cast<void>(
      reader_.wait(lock_, self, WaitReason::kIoWait, deadline, ctx != nullptr && ctx->can_be_done() ? ctx : nullptr));
  lock_.lock();
}

// True if chunk_ holds bytes.
bool UpgradedConn::next_chunk_locked() noexcept {
  if (chunk_ == nullptr) {
    chunk_ = queue_.pop();
    let_more_come_locked();
  }
  return chunk_ != nullptr;
}

// Out of chunk_, without the lock.
std::size_t UpgradedConn::copy(std::span<std::byte> buf) noexcept {
  const std::size_t n = std::min<std::size_t>(buf.size(), chunk_->end - chunk_->begin);
  std::memcpy(buf.data(), chunk_->data + chunk_->begin, n);
  chunk_->begin += static_cast<std::uint32_t>(n);
  if (chunk_->begin == chunk_->end) {
    Inbound::free(chunk_);
    chunk_ = nullptr;
  }
  return n;
}

// Keeps I3.
void UpgradedConn::let_more_come_locked() noexcept {
  if (!paused_ || queue_.size() > kMaxQueued / 2) return;
  paused_ = false;
  stream_.resume();
}

void UpgradedConn::drop_locked() noexcept {
  while (InChunk* chunk = queue_.pop()) Inbound::free(chunk);
  let_more_come_locked();
}

Result<void> UpgradedConn::close_read() {
  WakeList woken;
  {
    const LockGuard guard(lock_);
    if (closed_ || cut_) return std::unexpected(Error{Code::kClosed, 0, "close_read"});
    dropping_ = true;
    drop_locked();
    wake_reader_locked(woken);
  }
  woken.wake();
  return {};
}

void UpgradedConn::wake_reader_locked(WakeList& woken) noexcept {
  while (Waiter* w = reader_.front()) static_cast<void>(reader_.take(*w, woken));
}

// ---- writing ----

Result<void> UpgradedConn::send_one(const Context* ctx, std::span<const std::byte> buf) {
  const iovec one{const_cast<std::byte*>(buf.data()), buf.size()};  // writing does not change it
  return send(ctx, {&one, 1});
}

Result<void> UpgradedConn::send(const Context* ctx, std::span<const iovec> buffers) {
  Window window(buffers);
  lock_.lock();
  enter_locked(out_, kWrite);
  const auto leave = [this](Result<void> result) {
    leave_and_unlock(out_);
    return result;
  };
  for (;;) {  // I4, I5
    if (const std::optional<Error> stop = stop_of(out_, ctx, kWrite)) return leave(std::unexpected(*stop));
    const TimePoint deadline = out_.deadline == kNever ? kNoDeadline : TimePoint(Duration(out_.deadline));
    lock_.unlock();
    std::span<const iovec> left = window.left();
    Result<std::size_t> sent = std::size_t{0};
    while (!left.empty() && (sent = stream_.try_writev(left))) {
      window.advance(*sent);
      left = window.left();
    }
    if (sent || sent.error().code != Code::kWouldBlock) {
      lock_.lock();
      if (sent) return leave({});
      if (closed_ || cut_) return leave(std::unexpected(Error{Code::kClosed, 0, kWrite}));
      failed_ = failed_ || !shut_;
      return leave(std::unexpected(sent.error()));
    }
    // What it says of time and context the next look finds out, too, and knows of a deadline that was moved.
    const Result<void> writable = stream_.wait_writable(deadline, ctx != nullptr ? *ctx : Context());
    lock_.lock();
    if (!writable && writable.error().code != Code::kTimeout && !(ctx != nullptr && ctx->err())) {
      const bool ours = closed_ || cut_ || writable.error().code == Code::kClosed;
      failed_ = failed_ || !ours;
      return leave(std::unexpected(ours ? Error{Code::kClosed, 0, kWrite} : writable.error()));
    }
  }
}

Result<void> UpgradedConn::close_write() {
  const LockGuard guard(lock_);
  if (closed_ || cut_) return std::unexpected(Error{Code::kClosed, 0, "close_write"});
  shut_ = true;
  stream_.shutdown_write();
  return {};
}

// ---- deadlines, the end ----

void UpgradedConn::set_read_deadline(TimePoint when) noexcept {
  WakeList woken;
  {
    const LockGuard guard(lock_);
    in_.deadline = to_nanos(when);
    wake_reader_locked(woken);  // I1
  }
  woken.wake();
}

void UpgradedConn::set_write_deadline(TimePoint when) noexcept {
  const LockGuard guard(lock_);
  out_.deadline = to_nanos(when);
  if (out_.busy) stream_.wake_writer();  // I4; who is not in a call yet will see it
}

void UpgradedConn::close() noexcept {
  WakeList woken;
  {
    const LockGuard guard(lock_);
    if (closed_) return;
    closed_ = true;
    drop_locked();
    wake_reader_locked(woken);
    stream_.shutdown_write();  // the peer is told now, though the stream itself ends with the handler
    stream_.wake_writer();     // I4
  }
  woken.wake();
}

void UpgradedConn::end_use() {
  close();
  lock_.lock();
  while (in_.busy || out_.busy) {
    Waiter self("http upgrade");
    leaver_.push_back(self);
    lock_.unlock();
    static_cast<void>(leaver_.wait(lock_, self, WaitReason::kIoWait, kNever));
    lock_.lock();
  }
  lock_.unlock();
}

void UpgradedConn::enter_locked(End& end, const char* op) const {
  if (end.busy) fatal("an upgraded connection: a second goroutine calls %s", op);
  end.busy = true;
}

void UpgradedConn::leave_and_unlock(End& end) noexcept {
  WakeList woken;
  end.busy = false;
  while (Waiter* w = leaver_.front()) static_cast<void>(leaver_.take(*w, woken));
  lock_.unlock();  // the last touch: keeps I6
  woken.wake();
}

// Why a call ends that has not done its work, whatever is there to be done.
std::optional<Error> UpgradedConn::stop_of(const End& end, const Context* ctx, const char* op) const noexcept {
  if (closed_ || cut_) return Error{Code::kClosed, 0, op};
  if (end.deadline != kNever && nanotime() >= end.deadline) return Error{Code::kTimeout, 0, op};
  if (ctx == nullptr) return std::nullopt;
  const std::optional<Error> over = ctx->err();
  return over ? std::optional(Error{over->code, 0, op}) : std::nullopt;
}

// ---- what else there is to know ----

Result<net::Address> UpgradedConn::local_address() const {
  const LockGuard guard(lock_);
  if (closed_) return std::unexpected(Error{Code::kClosed, 0, "local_address"});
  return stream_.local_address();
}

Result<net::Address> UpgradedConn::remote_address() const {
  const LockGuard guard(lock_);
  if (closed_) return std::unexpected(Error{Code::kClosed, 0, "remote_address"});
  return stream_.remote_address();
}

bool UpgradedConn::is_alive() const noexcept {
  const LockGuard guard(lock_);
  return !closed_ && !failed_ && !end_ && !dropping_ && queue_.empty();
}

}  // namespace heddle::http
