// UringPoller: the back end over io_uring(7), one ring per worker M.
//
//   goroutines' sockets   a multishot poll for input, armed by the first wait; a one-shot poll for output per wait to write
//   streams               a multishot receive into the ring's own buffers, while they want data
//   stream listeners      a multishot accept
//   the doorbell          a multishot poll of its eventfd
//
// What is armed follows what is wanted. update() compares the two and arms or calls off; it runs whenever either side has
// changed: on a request, and on the terminal completion of any operation.
//
//             arm                    call off                 terminal completion (no F_MORE)
//     none ---------> armed ----------------------> canceling -----------------------------+
//      ^                '--- terminal completion: the peer's end, ENOBUFS, a full queue ---+
//      '-------------------------------------- update() again <-----------------------------'
//
// I1. `armed` has a bit per operation from its submission to its terminal completion. The closer's hold is dropped when it
//     is empty (poll_desc.h I1). The completion of a cancel says nothing about the operation and is ignored.
// I2. A want that could not be armed now (the queue is full) is posted again: it is not forgotten.
// I3. Nothing is submitted but by the owner: goroutines on other Ms post.
// I4. An event can come between a wait's try and its poll: arming looks at the socket's state, so it is reported.
#pragma once

#include <heddle/net/internal/net_poller.h>
#include <heddle/net/internal/uring_buffers.h>
#include <heddle/net/internal/uring_ring.h>

namespace heddle::net {

/// Sizes of a worker's ring. Tests make them tiny.
struct UringOptions {
  unsigned entries = 1024;
  unsigned completions = 16384;  // twice what armed multishots may post in one loop
  unsigned buffers = 512;        // of 4 KiB: 2 MiB of addresses; what is touched follows the load
};

class UringPoller final : public NetPoller {
 public:
  explicit UringPoller(const UringOptions& options = {});
  ~UringPoller() override;

  [[nodiscard]] const char* name() const noexcept override { return "io_uring"; }
  [[nodiscard]] int watch(PollDesc& pd, Mode mode) noexcept override;

 protected:
  int poll_events() noexcept override;
  void block(std::int64_t timeout) noexcept override { ring_.wait(timeout); }
  [[nodiscard]] bool events_pending() const noexcept override {
    return ring_.has_completions() || ring_.enter_would_pay() || !doorbell_armed_;
  }
  void update(PollDesc& pd) noexcept override;
  [[nodiscard]] bool holds_sockets() const noexcept override { return true; }

 private:
  // Completions per turn: what they make runnable runs before more is fetched, so that a burst of requests is served by
  // some 64 hot stacks and heads instead of touching one each (10,000 at once: 0.7 KB a connection less stays resident).
  static constexpr int kBatch = 64;
  static constexpr int kRounds = 4;  // entries per turn: one makes some 20 completions, the rest waits behind the flag

  [[nodiscard]] static std::uint8_t wanted(const PollDesc& pd) noexcept;
  bool arm(PollDesc& pd, Op op) noexcept;
  bool cancel(PollDesc& pd, Op op) noexcept;
  void arm_doorbell() noexcept;

  void complete(const io_uring_cqe& cqe) noexcept;
  void on_poll_in(PollDesc& pd, int result, bool more) noexcept;
  void on_poll_out(PollDesc& pd) noexcept;
  void on_received(StreamConn& stream, const io_uring_cqe& cqe) noexcept;
  void on_accepted(AcceptDesc& acceptor, int result) noexcept;

  Ring ring_;
  BufferRing buffers_;
  int armed_ = 0;             // operations of descriptors with a terminal completion to come
  bool doorbell_armed_ = false;
  bool dying_ = false;        // completions are only counted
};

}  // namespace heddle::net
