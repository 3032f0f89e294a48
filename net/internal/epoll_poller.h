// EpollPoller: the back end over epoll(7), one instance per P (ready_loop.h).
//
// Every descriptor is registered once for input (and the peer's hang-up); for output too from the first wait to write on.
// epoll_ctl may be called from any thread, so goroutines register their sockets themselves; a lock per poller orders
// two first waiters (one to read, one to write) on one socket. Any thread may wait, so it is the same to it which M drives.
#pragma once

#include <heddle/core/lock.h>
#include <heddle/net/internal/net_poller.h>
#include <heddle/net/internal/ready_loop.h>

namespace heddle::net {

class EpollPoller final : public NetPoller {
 public:
  EpollPoller();
  ~EpollPoller() override;

  [[nodiscard]] const char* name() const noexcept override { return "epoll"; }
  void drive(bool) noexcept override {}
  [[nodiscard]] int watch(PollDesc& pd, Mode mode) noexcept override;
  void forget(PollDesc& pd) noexcept override { loop_.control(EPOLL_CTL_DEL, pd, 0); }

 protected:
  int poll_events() noexcept override;
  void block(std::int64_t timeout) noexcept override { loop_.block(timeout); }
  [[nodiscard]] bool events_pending() const noexcept override { return loop_.left_over(); }
  [[nodiscard]] bool events_ready() const noexcept override { return ReadyLoop::has_events(loop_.fd()); }
  void update(PollDesc& pd) noexcept override;
  [[nodiscard]] bool holds_sockets() const noexcept override { return false; }

 private:
  ReadyLoop loop_;
  RawMutex registering_{LockRank::kNetHome};  // guards epoll_ctl and PollDesc::watched of sockets homed here
};

}  // namespace heddle::net
