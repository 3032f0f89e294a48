// Accepting, connecting and ending: the same for every family of sockets.
#include <heddle/net/internal/fd_use.h>

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>

#include <heddle/core/go.h>
#include <heddle/net/internal/accept_desc.h>

namespace heddle::net {
namespace {

using namespace std::chrono_literals;

constexpr Duration kFirstKnock = 1ms, kLastKnock = 50ms;  // between tries where the kernel offers no waiting

// Sleeps before the next try, not beyond `deadline`. Why there is none, or kOk.
Error pause_before_retry(Duration& pause, TimePoint deadline, const Context* ctx, const char* op) {
  Duration nap = pause;
  pause = std::min(pause * 2, kLastKnock);
  if (deadline != kNoDeadline) {
    const TimePoint moment = now();
    if (moment >= deadline) return {Code::kTimeout, 0, op};
    nap = std::min<Duration>(nap, deadline - moment);
  }
  if (ctx == nullptr) {
    sleep(nap);
  } else if (!sleep(*ctx, nap)) {
    return {ctx->err()->code, 0, op};
  }
  return {};
}

// Whether the kernel knows of a shutdown(2) of the receiving side.
bool receives_no_more(int fd) noexcept {
  pollfd one{.fd = fd, .events = POLLRDHUP, .revents = 0};
  return ::poll(&one, 1, 0) > 0 && (one.revents & POLLRDHUP) != 0;
}

}  // namespace

Result<detail::Handle> accept_handle(const detail::Handle& listener, const Context* ctx) {
  Inside inside(listener, FdUse::kRead, "accept");
  if (!inside) return closed("accept");
  PollDesc& pd = *inside;
  if (const Error early = early_end(pd, Mode::kRead, ctx, "accept"); early.code != Code::kOk) {
    return std::unexpected(early);
  }
  bool shut = false;
  for (;;) {
    const int fd = sys().accept4(pd.fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      if (pd.diverted.load(std::memory_order_relaxed)) let_packets_in(fd);  // relaxed: as in AcceptDesc::deal()
      return adopt_fd(OwnedFd(fd), "accept");
    }
    switch (accept_verdict(-fd)) {
      case AcceptVerdict::kGoOn: continue;
      case AcceptVerdict::kRest: return failed(pd, fd, "accept");
      case AcceptVerdict::kDrained: break;
    }
    if (shut) {
      pd.intake.store(Intake::kEmpty, std::memory_order_relaxed);  // relaxed: a hint to who drains
      return closed("accept");
    }
    // relaxed: shutdown(2) comes behind the store, and what it reports to who waits publishes it.
    shut = pd.intake.load(std::memory_order_relaxed) != Intake::kOpen && receives_no_more(pd.fd);
    if (shut) continue;
    if (const Error end = wait_for(pd, Mode::kRead, ctx, "accept", WaitReason::kAccept); end.code != Code::kOk) {
      return std::unexpected(end);
    }
  }
}

Result<void> connect_handle(const detail::Handle& handle, const sockaddr* to, socklen_t size, TimePoint deadline,
                            const Context* ctx, const char* op) {
  Inside inside(handle, FdUse::kWrite, op);
  if (!inside) return closed(op);
  PollDesc& pd = *inside;
  Duration pause = kFirstKnock;
  if (deadline != kNoDeadline && now() >= deadline) return std::unexpected(Error{Code::kTimeout, 0, op});
  for (;;) {
    if (ctx != nullptr) {
      if (const std::optional<Error> end = ctx->err()) return std::unexpected(Error{end->code, 0, op});
    }
    const int status = sys().connect(pd.fd, to, size);
    if (status == 0 || status == -EISCONN) return {};
    if (status ==
        -EAGAIN) {  // a Unix listener's queue is full: the kernel tells nobody when it is not. Source: connect(2)
      const Error end = pause_before_retry(pause, deadline, ctx, op);
      if (end.code != Code::kOk) return std::unexpected(end);
      if (pd.lock.closing()) return closed(op);
      continue;
    }
    // EALREADY, EINTR: under way since an earlier try.
    if (status != -EINPROGRESS && status != -EALREADY && status != -EINTR) return failed(status, op);
    const WaitResult result = pd.wait_until(Mode::kWrite, to_nanos(deadline), WaitReason::kConnect, ctx);
    if (result.status != WaitStatus::kReady) return std::unexpected(to_error(result, op, ctx));
  }
}

void close_and_wait(const detail::Handle& handle) {
  if (handle.pd == nullptr) return;
  FinishWaiter waiter;
  if (handle.pd->close(handle.generation, &waiter)) waiter.wait(WaitReason::kIoWait);
}

}  // namespace heddle::net
