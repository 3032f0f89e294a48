// How net's calls use a descriptor: the system call first, then the wait, then the call again.
//
// I1. A caller is inside the descriptor (FdLock) from before its first system call until after its last: so the number
//     cannot become another file's under it.
// I2. errno travels by value (sys.h): after a park the goroutine may stand on another thread.
// I3. A context costs nothing until a call has to wait, and nothing at all if it can never be done.
#pragma once

#include <sys/types.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include <heddle/core/check.h>
#include <heddle/core/clock.h>
#include <heddle/core/context.h>
#include <heddle/core/go.h>
#include <heddle/net/descriptor.h>
#include <heddle/net/internal/poll_desc.h>
#include <heddle/net/internal/socket.h>
#include <heddle/net/internal/sys.h>

namespace heddle::net {

namespace detail {
struct HandleOf {
  static Handle get(const Descriptor& descriptor) noexcept { return descriptor.handle_; }
  static Handle take(Descriptor& descriptor) noexcept { return descriptor.take(); }  // which is closed then
};
}  // namespace detail

/// One use of a descriptor, from enter to leave (I1).
class Inside {
 public:
  Inside(const detail::Handle& handle, FdUse use, const char* op) noexcept : pd_(handle.pd), use_(use) {
    if (pd_ == nullptr) return;
    switch (pd_->lock.enter(handle.generation, use)) {
      case FdEnter::kInside: return;
      case FdEnter::kBusy: fatal("fd %d: a second goroutine calls %s", pd_->fd, op);
      case FdEnter::kClosed: pd_ = nullptr;
    }
  }
  ~Inside() {
    if (pd_ != nullptr) pd_->leave(use_);
  }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;

  explicit operator bool() const noexcept { return pd_ != nullptr; }
  PollDesc* operator->() const noexcept { return pd_; }
  PollDesc& operator*() const noexcept { return *pd_; }

 private:
  PollDesc* pd_;
  const FdUse use_;
};

inline std::unexpected<Error> closed(const char* op) { return std::unexpected(Error{Code::kClosed, 0, op}); }
inline std::unexpected<Error> failed(ssize_t status, const char* op) {
  return std::unexpected(Error::from_errno(static_cast<int>(-status), op));
}

/// The same for a call whose caller is inside. close() shuts a socket down, which a system call under way may meet as
/// an error of the connection's: that is our own end all the same.
inline std::unexpected<Error> failed(const PollDesc& pd, ssize_t status, const char* op) {
  return pd.lock.closing() ? closed(op) : failed(status, op);
}

/// A deadline that has passed fails a call even if it could succeed at once. The clock is read only if there is one.
inline bool is_late(const std::atomic<std::int64_t>& deadline) noexcept {
  const std::int64_t when = deadline.load(std::memory_order_relaxed);  // whoever sets it concurrently may be missed
  return when != kNever && nanotime() >= when;
}

/// Why a call in direction `mode` fails before it has tried: a late deadline, an ended context. kOk: it does not.
inline Error early_end(const PollDesc& pd, Mode mode, const Context* ctx, const char* op) {
  if (is_late(mode == Mode::kRead ? pd.in_deadline : pd.out_deadline)) return {Code::kTimeout, 0, op};
  if (ctx != nullptr) {
    if (const std::optional<Error> end = ctx->err()) return {end->code, 0, op};
  }
  return {};
}

/// Parks until `mode` may succeed. kOk: try again.
inline Error wait_for(PollDesc& pd, Mode mode, const Context* ctx, const char* op,
                      WaitReason reason = WaitReason::kIoWait) {
  const WaitResult result = pd.wait(mode, reason, ctx);
  return result.status == WaitStatus::kReady ? Error{} : to_error(result, op, ctx);
}

/// Calls `call()`, one system call that returns -errno, until it does not say EAGAIN or EINTR; parks in between.
/// Returns what it returned, or why there was no waiting.
template <class Call>
Result<ssize_t> until_ready(PollDesc& pd, Mode mode, const Context* ctx, const char* op, Call call) {
  if (const Error early = early_end(pd, mode, ctx, op); early.code != Code::kOk) return std::unexpected(early);
  for (;;) {
    const ssize_t n = call();
    if (n >= 0) return n;
    if (n == -EINTR) continue;
    if (n != -EAGAIN) return failed(pd, n, op);
    if (const Error end = wait_for(pd, mode, ctx, op); end.code != Code::kOk) return std::unexpected(end);
  }
}

/// Gives `fd`, which is non-blocking, a slot.
inline Result<detail::Handle> adopt_fd(OwnedFd fd, const char* op) {
  PollDesc* pd = socket_slab().take();
  if (pd == nullptr) return failed(-ENOMEM, op);
  const std::uint32_t generation = pd->open(fd.release());
  return detail::Handle{pd, generation};
}

/// One call on the descriptor beside reading and writing; `call(pd)` returns -errno, or 0 or more.
template <class Call>
Result<void> with_fd(const detail::Handle& handle, const char* op, Call call) {
  Inside inside(handle, FdUse::kOther, op);
  if (!inside) return closed(op);
  const ssize_t status = call(*inside);
  if (status < 0) return failed(status, op);
  return {};
}

/// Sets the deadline of one direction, if the descriptor is open.
inline void set_deadline(const detail::Handle& handle, Mode mode, TimePoint when) noexcept {
  if (Inside inside(handle, FdUse::kOther, "set_deadline"); inside) inside->set_deadline(mode, to_nanos(when));
}

/// Takes the next connection of a listening socket, of whatever family. Errors: as Listener::accept().
[[nodiscard]] Result<detail::Handle> accept_handle(const detail::Handle& listener, const Context* ctx);

/// Connects; parks until that is done, `deadline` has passed, or `ctx` (may be null) has ended.
[[nodiscard]] Result<void> connect_handle(const detail::Handle& handle, const sockaddr* to, socklen_t size,
                                          TimePoint deadline, const Context* ctx, const char* op);
[[nodiscard]] inline Result<void> connect_handle(const detail::Handle& handle, const Address& to, TimePoint deadline,
                                                 const Context* ctx, const char* op) {
  return connect_handle(handle, to.sa(), to.size(), deadline, ctx, op);
}

/// Sleeps, again and again, while `goes_on()`, nobody closes the descriptor, and `patience` is not over. In short steps, so
/// that a close() that comes meanwhile need not wait for us. Threads: a goroutine, inside.
template <class GoesOn>
void wait_while(const PollDesc& pd, Duration patience, GoesOn goes_on) {
  constexpr Duration kFirstPause = std::chrono::microseconds(500), kLongestPause = std::chrono::milliseconds(10);
  Duration pause = kFirstPause;
  for (const TimePoint until = now() + patience; now() < until && !pd.lock.closing() && goes_on();) {
    sleep(pause);
    pause = std::min(pause * 2, kLongestPause);
  }
}

/// Ends the descriptor and parks until the kernel holds it no more. Threads: a goroutine.
void close_and_wait(const detail::Handle& handle);

}  // namespace heddle::net
