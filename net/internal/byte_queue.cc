#include <heddle/net/internal/byte_queue.h>

#include <algorithm>
#include <cstring>

#include <heddle/core/check.h>
#include <heddle/core/test.h>

namespace heddle::net {

ByteQueue::ByteQueue(std::size_t capacity)
    : capacity_(std::max<std::size_t>(capacity, 1)), memory_(std::make_unique_for_overwrite<std::byte[]>(capacity_)) {}

// `ctx` null: never waits.
Result<std::size_t> ByteQueue::take(const Context* ctx, std::span<std::byte> buf) {
  heddle::test::yield_point();  // I4
  lock_.lock();
  enter(reader_, "read");
  const auto leave = [this](Result<std::size_t> result) {
    reader_.busy = false;
    lock_.unlock();
    return result;
  };
  for (;;) {
    if (const std::optional<Error> stop = stop_of(reader_, ctx, "read")) return leave(std::unexpected(*stop));
    if (buf.empty()) return leave(0);
    if (filled() > 0) break;
    if (dropping_) return leave(0);
    if (end_) return end_->code == Code::kOk ? leave(0) : leave(std::unexpected(*end_));
    if (ctx == nullptr) return leave(std::unexpected(Error{Code::kWouldBlock, 0, "read"}));
    wait(reader_, *ctx, "read");
  }
  const std::size_t n = std::min(filled(), buf.size());
  const auto at = static_cast<std::size_t>(taken_ % capacity_);
  lock_.unlock();
  const std::size_t first = std::min(n, capacity_ - at);
  std::memcpy(buf.data(), memory_.get() + at, first);
  if (first < n) std::memcpy(buf.data() + first, memory_.get(), n - first);
  WakeList woken;
  lock_.lock();
  taken_ += n;
  wake(writer_, woken);
  reader_.busy = false;
  lock_.unlock();
  woken.wake();
  return n;
}

Result<void> ByteQueue::wait_readable(const Context& ctx) {
  heddle::test::yield_point();  // I4
  const LockGuard guard(lock_);
  enter(reader_, "read");
  std::optional<Error> stop;
  for (;;) {
    stop = stop_of(reader_, &ctx, "read");
    if (stop || filled() > 0 || dropping_ || end_) break;
    wait(reader_, ctx, "read");
  }
  reader_.busy = false;
  if (stop) return std::unexpected(*stop);
  return {};
}

Result<void> ByteQueue::write(const Context& ctx, std::span<const std::byte> buf) {
  heddle::test::yield_point();  // I4
  lock_.lock();
  enter(writer_, "write");
  const auto leave = [this](Result<void> result) {
    writer_.busy = false;
    lock_.unlock();
    return result;
  };
  if (const std::optional<Error> stop = stop_of(writer_, &ctx, "write")) return leave(std::unexpected(*stop));
  while (!buf.empty()) {
    if (writer_.closed) return leave(std::unexpected(Error{Code::kClosed, 0, "write"}));
    if (cut_) return leave(std::unexpected(*cut_));
    if (end_) return leave(std::unexpected(Error{Code::kReset, 0, "write"}));
    if (dropping_) break;
    const std::size_t room = capacity_ - filled();
    if (room == 0) {
      wait(writer_, ctx, "write");
      if (const std::optional<Error> stop = stop_of(writer_, &ctx, "write")) return leave(std::unexpected(*stop));
      continue;
    }
    const std::size_t n = std::min(room, buf.size());
    const auto at = static_cast<std::size_t>(given_ % capacity_);
    lock_.unlock();
    const std::size_t first = std::min(n, capacity_ - at);
    std::memcpy(memory_.get() + at, buf.data(), first);
    if (first < n) std::memcpy(memory_.get(), buf.data() + first, n - first);
    buf = buf.subspan(n);
    WakeList woken;
    lock_.lock();
    if (!end_) {  // else it came while the lock was free, and a reader may have been told of it: I3
      given_ += n;
      wake(reader_, woken);
    }
    lock_.unlock();
    woken.wake();
    lock_.lock();
  }
  return leave({});
}

void ByteQueue::set_read_deadline(std::int64_t when) noexcept { set_deadline(reader_, when); }
void ByteQueue::set_write_deadline(std::int64_t when) noexcept { set_deadline(writer_, when); }

void ByteQueue::set_deadline(End& end, std::int64_t when) noexcept {
  WakeList woken;
  {
    const LockGuard guard(lock_);
    end.deadline = when;
    wake(end, woken);
  }
  woken.wake();
}

void ByteQueue::drop() noexcept {
  WakeList woken;
  {
    const LockGuard guard(lock_);
    dropping_ = true;
    wake(reader_, woken);
    wake(writer_, woken);
  }
  woken.wake();
}

void ByteQueue::close_reader(const Error& reason) noexcept {
  WakeList woken;
  {
    const LockGuard guard(lock_);
    reader_.closed = true;
    if (!cut_) cut_ = reason;
    wake(reader_, woken);
    wake(writer_, woken);
  }
  woken.wake();
}

void ByteQueue::end(const Error& reason) noexcept {
  WakeList woken;
  {
    const LockGuard guard(lock_);
    if (!end_) end_ = reason;
    wake(reader_, woken);
    wake(writer_, woken);
  }
  woken.wake();
}

void ByteQueue::close_writer(const Error& reason) noexcept {
  {
    const LockGuard guard(lock_);
    writer_.closed = true;
  }
  end(reason);
}

bool ByteQueue::is_quiet() const noexcept {
  const LockGuard guard(lock_);
  return filled() == 0 && !dropping_ && !end_ && !reader_.closed;
}

bool ByteQueue::reader_closed() const noexcept {
  const LockGuard guard(lock_);
  return reader_.closed;
}

void ByteQueue::enter(End& end, const char* op) {
  if (end.busy) fatal("a connection in memory: a second goroutine calls %s", op);
  end.busy = true;
}

// Why a call ends that has not done its work, whatever is there to be done.
std::optional<Error> ByteQueue::stop_of(const End& end, const Context* ctx, const char* op) const noexcept {
  if (end.closed) return Error{Code::kClosed, 0, op};
  if (end.deadline != kNever && nanotime() >= end.deadline) return Error{Code::kTimeout, 0, op};
  if (ctx == nullptr) return std::nullopt;
  const std::optional<Error> over = ctx->err();
  return over ? std::optional(Error{over->code, 0, op}) : std::nullopt;
}

// With the lock held, which it gives up meanwhile. Returns for any reason or none: keeps I2.
void ByteQueue::wait(End& end, const Context& ctx, const char* op) {
  Waiter self(op);
  end.line.push_back(self);
  const std::int64_t deadline = end.deadline;
  lock_.unlock();
  static_cast<void>(end.line.wait(lock_, self, WaitReason::kIoWait, deadline, ctx.can_be_done() ? &ctx : nullptr));
  lock_.lock();
}

void ByteQueue::wake(End& end, WakeList& woken) noexcept {
  while (Waiter* w = end.line.front()) static_cast<void>(end.line.take(*w, woken));
}

}  // namespace heddle::net
