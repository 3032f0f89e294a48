// ReadyLoop: an epoll(7) instance and what to do about its events, edge by edge. All of the epoll back end, and what serves a
// ring's connections while the ring's own thread is busy or blocked (uring_poller.h).
//
// An edge means "try": goroutines do it themselves, for streams and listeners the home does, until the kernel's queue is
// known to be empty.
//
// I1. No edge is lost. `readable` of a stream or listener is set by an edge and cleared only by the home, before it can
//     see the next edge, when a call said EAGAIN or filled less than was asked. After the peer's hang-up was reported
//     there may be no further edge; and a read ends before an urgent byte (MSG_OOB, to which any peer is free), whatever
//     lies behind it. So from the report of either on only EAGAIN, the end or an error counts (PollDesc::uneven).
// I2. A visit reads kReadRounds buffers of one stream at most: the rest waits behind the others, in the inbox. (On a ring a
//     stream may be visited twice in a turn, for a completion and for what was posted.) And nobody reads on behind what went
//     into memory that the sink lent: who waited for it runs first and may lend the next, where more bytes now would have to
//     be copied, twice (bench/transfer, echo).
// I3. block() fetches events and runs none; the next turn() runs them first.
#pragma once

#include <sys/epoll.h>

#include <array>
#include <cstddef>
#include <cstdint>

namespace heddle::net {

class NetPoller;
struct AcceptDesc;
struct PollDesc;
struct StreamConn;

class ReadyLoop {
 public:
  /// For the descriptors of `home`; its doorbell ends block().
  ReadyLoop(NetPoller& home, int doorbell);
  ~ReadyLoop();
  ReadyLoop(const ReadyLoop&) = delete;
  ReadyLoop& operator=(const ReadyLoop&) = delete;

  /// epoll_ctl(2) for `pd`, edge-triggered, with the peer's hang-up. Returns 0 or an errno. Threads: any.
  int control(int op, PollDesc& pd, std::uint32_t events) noexcept;

  // --- the home, on the scheduler's side ---

  /// Fetches events, unless there are some left, and runs them. Returns how many.
  int turn() noexcept;
  /// Blocks until there are events or `timeout` ns have passed (negative: no limit).
  void block(std::int64_t timeout) noexcept;
  /// Drops what was fetched.
  void forget() noexcept { next_ = count_ = 0; }
  /// Fetched and not run.
  [[nodiscard]] bool left_over() const noexcept { return next_ != count_; }
  /// Reads or accepts what an edge has announced, if it is wanted now.
  void serve(PollDesc& pd) noexcept;

  /// The instance. Threads: any.
  [[nodiscard]] int fd() const noexcept { return epfd_; }
  /// True if the kernel has events of the instance `epfd`, which may be gone meanwhile. Threads: any.
  [[nodiscard]] static bool has_events(int epfd) noexcept;

 private:
  static constexpr std::size_t kScratch = 64 * 1024;  // bytes per recv(2): what a fast sender queues between two turns
  static constexpr int kReadRounds = 4;               // I2
  static constexpr int kAcceptBatch = 64;             // connections per turn

  void handle(const epoll_event& event) noexcept;
  void read_stream(StreamConn& stream) noexcept;
  void accept_stream(AcceptDesc& acceptor) noexcept;

  NetPoller& home_;
  const int epfd_;
  std::byte* const scratch_;  // from mmap: a stand-in is made where malloc may have to wait (runtime-facts D.3, rule 2)
  std::array<epoll_event, 64> events_;  // per turn: as many as uring_poller.h's kBatch, for the same reason
  int next_ = 0, count_ = 0;            // events_[next_, count_) are fetched and not run
  bool pwait2_ = true;                  // epoll_pwait2(2) works: timeouts in nanoseconds
};

}  // namespace heddle::net
