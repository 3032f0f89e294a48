// UringPoller: the back end over io_uring(7), one ring per worker M.
//
//   goroutines' sockets   a multishot poll for input, armed by the first wait; a one-shot poll for output per wait to write
//   streams               a multishot receive into the ring's own buffers, while they want data
//   bulky ones            a multishot poll, then recv(2) by the home, as on epoll (I7)
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
// A ring completes only on the thread that made it. While that thread is kept by a goroutine (core/internal/handover.h), the
// M that holds the P serves the ring's connections by readiness: an epoll instance stands in. What is armed stays armed, as
// the ring's thread does not enter the kernel for it; when that has the P again, the stand-in goes, and what the ring then
// completes is late (a poll: costs one try; a receive: finds what is there, after all that the stand-in has read).
//
//     at home ---another M polls---> away: completions in the queue first, then epoll ---drive(true)---> at home
//
// I5. Bytes of a stream keep their order: nothing is read directly before the completions in the queue are delivered, and the
//     ring completes nothing more until the stand-in has ended.
// I1. `armed` has a bit per operation from its submission to its terminal completion. The closer's hold is dropped when it
//     is empty (poll_desc.h I1). The completion of a cancel says nothing about the operation and is ignored.
// I2. A want that could not be armed now (the queue is full) is posted again: it is not forgotten.
// I3. Nothing is submitted but by the owner: goroutines on other Ms post.
// I4. An event can come between a wait's try and its poll: arming looks at the socket's state, so it is reported.
// I6. No end of a stream is missed. The kernel may forget it: bytes and, right behind them, a reset or the peer's end can come
//     as one event between a receive and its waiting; then the multishot reports the bytes and waits for ever
//     (axboe/liburing#1549; later kernels close the hole in part). So a stream that has delivered and is still armed is
//     in doubt, until poll(2) has said that it has not ended; if it has, the receive is called off, and armed again by
//     its last completion it finds the end. Asked in one call for many, kDoubtPause after the first of them came into doubt, or
//     when the list is full: so it costs the messages next to nothing, and a forgotten end is heard that much later.
//     What comes after the completion finds the receive waiting, and is not forgotten. Of a bulky stream, whose polls forget
//     nothing, the same call asks for bytes behind an urgent one, at which a read ends short (ready_loop.h I1): kUneven
//     does not tell of those here.
// I7. A multishot receive is for small messages: no buffer while there is nothing, no call of its own for what comes. Large
//     ones it cuts into buffers of 4 KiB, each with a receive in the kernel, a completion, an on_data and a copy into the
//     reader's memory; 64 KiB by one recv(2) into memory that the sink lends cost half of that (bench/transfer, echo). So the
//     home reads streams that are bulky (stream_conn.h I3) itself. It arms the poll only when no receive is armed, and reads
//     only then: bytes keep their order. The poll stays while the stream is paused: `readable` keeps what it has said,
//     and what it would say again and again (the peer's end, not yet read up to) it is not asked.
#pragma once

#include <poll.h>

#include <array>
#include <memory>

#include <heddle/core/error.h>
#include <heddle/net/internal/net_poller.h>
#include <heddle/net/internal/ready_loop.h>
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
  /// On the thread that is its home. Errors: the errno of io_uring_setup(2) or io_uring_register(2), by name.
  [[nodiscard]] static Result<std::unique_ptr<UringPoller>> make(const UringOptions& options = {});
  ~UringPoller() override;

  [[nodiscard]] const char* name() const noexcept override { return "io_uring"; }
  void drive(bool at_home) noexcept override;
  [[nodiscard]] int watch(PollDesc& pd, Mode mode) noexcept override;
  void forget(PollDesc& pd) noexcept override { stand_in_.control(EPOLL_CTL_DEL, pd, 0); }  // ENOENT: the ring served it

 protected:
  int poll_events() noexcept override;
  void block(std::int64_t timeout) noexcept override;
  [[nodiscard]] bool events_pending() const noexcept override;
  [[nodiscard]] bool events_ready() const noexcept override;
  void update(PollDesc& pd) noexcept override;
  [[nodiscard]] bool holds_sockets() const noexcept override { return true; }

 private:
  UringPoller(const io_uring& ring, const BufferRing::Memory& buffers);

  // Completions per turn: what they make runnable runs before more is fetched, so that a burst of requests is served by
  // some 64 hot stacks and heads instead of touching one each (10,000 at once: 0.7 KB a connection less stays resident).
  static constexpr int kBatch = 64;
  static constexpr int kRounds = 4;  // entries per turn: one makes some 20 completions, the rest waits behind the flag

  // What says that a short read need not have taken all. As in ready_loop.cc, but for POLLPRI: a ring reports the mask with which
  // the socket woke it, and TCP wakes with POLLPRI for any bytes. So a goroutine's reader hears of what lies behind an urgent
  // byte (MSG_OOB) only when the next bytes come, as with nginx; epoll, which asks the socket, tells it at once. To try again
  // after every short read would cost each message a system call, for a peer that delays nobody but itself.
  static constexpr int kUneven = POLLRDHUP | POLLHUP | POLLERR;

  [[nodiscard]] static std::uint8_t wanted(const PollDesc& pd) noexcept;
  [[nodiscard]] static std::uint8_t wanted_of(const StreamConn& stream) noexcept;
  bool stand_in() noexcept;
  void update_away(PollDesc& pd) noexcept;
  int register_away(PollDesc& pd) noexcept;
  void read_bulky(StreamConn& stream) noexcept;
  void arm_wanted(PollDesc& pd) noexcept;
  bool arm(PollDesc& pd, Op op) noexcept;
  bool cancel(PollDesc& pd, Op op) noexcept;
  void arm_doorbell() noexcept;

  void complete(const io_uring_cqe& cqe) noexcept;
  void on_poll_in(PollDesc& pd, int result, bool more) noexcept;
  void on_readable(StreamConn& stream, int result, bool more) noexcept;
  void on_poll_out(PollDesc& pd) noexcept;
  void on_received(StreamConn& stream, const io_uring_cqe& cqe) noexcept;
  void on_accepted(AcceptDesc& acceptor, int result) noexcept;

  void doubt(StreamConn& stream) noexcept;
  [[nodiscard]] bool settle_doubts() noexcept;
  [[nodiscard]] bool settle_doubts_if_due() noexcept;
  [[nodiscard]] std::int64_t until_doubts(std::int64_t timeout) const noexcept;

  Ring ring_;
  BufferRing buffers_;
  int armed_ = 0;             // operations of descriptors with a terminal completion to come
  bool doorbell_armed_ = false;
  bool dying_ = false;        // completions are only counted
  std::atomic<bool> away_{false};     // the holder of the P is not the ring's thread; the holder writes
  ReadyLoop stand_in_;                // made with the ring: later there may be no descriptor to be had; reads bulky streams
  bool standing_ = false;             // the descriptors are registered with it; the holder's
  PollDesc* owed_ = nullptr;  // closed while away: to be called off at home
  std::array<std::uint64_t, 4096> doubts_;  // I6: tags of streams, each at most once (StreamConn::doubted); the home's
  std::size_t doubt_count_ = 0;
  std::int64_t doubts_due_ = 0;  // by now_coarse(), if there are any
};

}  // namespace heddle::net
