// EpollPoller: the back end over epoll(7), one instance per worker M.
//
// Every descriptor is registered once, edge-triggered, for input (and the peer's hang-up); for output too from the first
// wait to write on. An edge means "try": goroutines do it themselves, for streams and listeners the home does, until the
// kernel's queue is known to be empty.
//
// I1. No edge is lost. `readable` of a stream or listener is set by an edge and cleared only by the home, before it can
//     see the next edge, when a call said EAGAIN or filled less than was asked. After the peer's hang-up was reported
//     there may be no further edge, so then only EAGAIN, the end or an error counts.
// I2. Nobody reads more than kReadRounds buffers of one stream in a turn: the rest waits behind the others, in the inbox.
// I3. wait() fetches events and runs none; the next poll_events() runs them first.
//
// epoll_ctl may be called from any thread, so goroutines register their sockets themselves; a lock per poller orders
// two first waiters (one to read, one to write) on one socket.
#pragma once

#include <sys/epoll.h>

#include <array>
#include <cstddef>
#include <memory>

#include <heddle/core/lock.h>
#include <heddle/net/internal/net_poller.h>

namespace heddle::net {

class EpollPoller final : public NetPoller {
 public:
  EpollPoller();
  ~EpollPoller() override;

  [[nodiscard]] const char* name() const noexcept override { return "epoll"; }
  [[nodiscard]] int watch(PollDesc& pd, Mode mode) noexcept override;

 protected:
  int poll_events() noexcept override;
  void block(std::int64_t timeout) noexcept override;
  [[nodiscard]] bool events_pending() const noexcept override { return next_ != count_; }
  void update(PollDesc& pd) noexcept override;
  [[nodiscard]] bool holds_sockets() const noexcept override { return false; }

 private:
  static constexpr std::size_t kScratch = 64 * 1024;  // bytes per recv(2): what a fast sender queues between two turns
  static constexpr int kReadRounds = 4;               // I2
  static constexpr int kAcceptBatch = 64;             // connections per turn

  int run_events() noexcept;
  void handle(const epoll_event& event) noexcept;
  void read_stream(StreamConn& stream) noexcept;
  void accept_stream(AcceptDesc& acceptor) noexcept;
  int register_for(PollDesc& pd, std::uint8_t ops) noexcept;

  const int epfd_;
  const std::unique_ptr<std::byte[]> scratch_;
  std::array<epoll_event, 64> events_;  // per turn: as many as uring_poller.h's kBatch, for the same reason
  int next_ = 0, count_ = 0;  // events_[next_, count_) are fetched and not run
  bool pwait2_ = true;        // epoll_pwait2(2) works: timeouts in nanoseconds
  RawMutex registering_{LockRank::kNetHome};  // guards epoll_ctl and PollDesc::watched of sockets homed here
};

}  // namespace heddle::net
