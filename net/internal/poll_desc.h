// PollDesc: net's side of one descriptor. Who uses it, who waits for it, where it is homed, and how it ends.
//
// Slots come from slabs and are recycled (slab.h). A descriptor gets a home, the poller of one worker, when it is first
// watched, and keeps it for life: the home alone arms, cancels and hears of it.
//
//                open            first watch()               close()                 the kernel holds nothing
//     free -----------> homeless -----------> homed ----------------> closing ------------------------------+
//      ^                    |                                          ^   (waiters woken, armed             |
//      |                    '------------------ close() ---------------'    operations called off)           |
//      '--- retire: generation + 1 --- finish: close(2), tell who waits for the end <--- last one left ------'
//
// I1. close(2) runs once, when nobody is inside (FdLock I2) and no kernel operation of ours is armed: the closer's hold
//     passes to the home, which drops it at the last terminal completion. So neither a late completion nor a late system
//     call reaches the slot's, or the descriptor number's, next owner.
// I2. Nothing is armed after the home has seen the closing. A waiter sets `home`, then looks at closing; a closer sets
//     closing, then looks at `home`: all seq_cst, so the waiter arms nothing or the closer goes to the home.
// I3. What a back end reports carries a tag with the generation (below); a tag that does not fit is dropped. For what may
//     still slip through (the check and the tenant's change are not one step), every effect on a wrong tenant is
//     harmless: a false readiness costs one system call.
//
// A descriptor serves goroutines (tcp.h: the caller's own system calls, and wait() on EAGAIN), or a stream, or a stream
// listener (stream_conn.h, accept_desc.h, which extend it). The tag of an event or completion:
//
//      63        48 47                       6 5       0
//     +------------+--------------------------+---------+
//     | generation |      slot's address      |   op    |
//     +------------+--------------------------+---------+
#pragma once

#include <atomic>
#include <cstdint>

#include <heddle/core/context.h>
#include <heddle/core/error.h>
#include <heddle/core/park.h>
#include <heddle/net/internal/fd_lock.h>
#include <heddle/net/internal/ready_word.h>
#include <heddle/net/internal/slab.h>

namespace heddle::net {

class NetPoller;
struct FinishWaiter;

enum class DescKind : std::uint8_t { kSocket, kStream, kAcceptor };

enum class Mode : std::uint8_t { kRead, kWrite };

/// Whether a Unix listener lets connections in: drain() shuts it, accept() finds it empty then.
enum class Intake : std::uint8_t { kOpen, kShut, kEmpty };

/// What a descriptor asks of its home (PollDesc::requests).
enum Request : std::uint32_t {
  kReqVisit = 1,   // see what has changed: pause, resume, the last user left
  kReqOut = 2,     // report when it becomes writable
  kReqClose = 4,   // take over the closer's hold and end it
  kReqAdopt = 8,   // a new stream: ask its acceptor for a sink
  kReqTimer = 16,  // the deadline became earlier: look at it again
};

/// Operations that a ring may have armed for a descriptor (PollDesc::armed), and the op of a tag.
enum Op : std::uint8_t { kOpNone = 0, kOpPollIn = 1, kOpPollOut = 2, kOpRecv = 4, kOpAccept = 8, kOpDoorbell = 16 };

struct WaitResult {
  WaitStatus status;
  int error;  // errno, if kFailed
};

struct alignas(64) PollDesc {
  explicit PollDesc(DescKind k = DescKind::kSocket) noexcept : kind(k) {}
  PollDesc(const PollDesc&) = delete;
  PollDesc& operator=(const PollDesc&) = delete;

  // --- any thread that is inside (FdLock), or as said ---

  /// Makes a free slot the tenant of `new_fd`. Returns the generation. Threads: the slot's owner.
  std::uint32_t open(int new_fd) noexcept;

  /// Parks until `mode` may succeed, its deadline passes, or the descriptor closes. The caller is inside, alone in `mode`.
  /// The end of `ctx` (may be null) counts as a deadline that has passed; to_error() tells them apart.
  /// Errors: std::bad_alloc, if `ctx` can be done.
  [[nodiscard]] WaitResult wait(Mode mode, WaitReason reason, const Context* ctx = nullptr);
  /// The same with a deadline of the caller's.
  [[nodiscard]] WaitResult wait_until(Mode mode, std::int64_t deadline, WaitReason reason, const Context* ctx = nullptr);

  /// Parks until `until`, the mode's deadline, or as above, and asks the back end for nothing: where the kernel tells
  /// nobody when it is worth trying again. kReady: `until` has come, or an event after all. Threads: as wait().
  [[nodiscard]] WaitResult pause(Mode mode, std::int64_t until, WaitReason reason, const Context* ctx = nullptr);

  /// Sets a deadline; whoever waits looks at it again. Threads: any that is inside.
  void set_deadline(Mode mode, std::int64_t when) noexcept;

  /// Makes whoever waits look at deadline and context again. Harmless on a wrong tenant (I3). Threads: any.
  void kick(Mode mode) noexcept;

  /// Ends the descriptor: wakes who waits, and closes it when all have left. False: it was closed already.
  /// `waiter`, if any, is told when that is done. Never parks. Threads: any.
  bool close(std::uint32_t generation, FinishWaiter* waiter = nullptr) noexcept;

  /// Steps out, and does what is owed if that was the last one out of a closing descriptor.
  void leave(FdUse use) noexcept;
  void drop() noexcept { leave(FdUse::kOther); }

  // --- the home (or, in epoll, its events' thread), on the scheduler's side ---

  void notify_in() noexcept;
  void notify_out() noexcept;

  [[nodiscard]] std::uint64_t tag(Op op) const noexcept {
    return reinterpret_cast<std::uintptr_t>(this) | op | (std::uint64_t{lock.generation() & 0xffff} << 48);
  }
  static PollDesc* from_tag(std::uint64_t tag) noexcept {
    return reinterpret_cast<PollDesc*>(tag & ((std::uint64_t{1} << 48) - 64));
  }
  static Op op_of(std::uint64_t tag) noexcept { return static_cast<Op>(tag & 63); }
  [[nodiscard]] bool fits(std::uint64_t tag) const noexcept { return (tag >> 48) == (lock.generation() & 0xffff); }

  // Constant while open.
  const DescKind kind;
  int fd = -1;

  // Atomic, each with a discipline of its own.
  FdLock lock;
  ReadyWord in, out;
  std::atomic<std::int64_t> in_deadline{kNever}, out_deadline{kNever};  // set_deadline writes; waits read (ready_word.h I3)
  std::atomic<NetPoller*> home{nullptr};      // once, by the first watcher (I2)
  std::atomic<std::uint32_t> requests{0};     // bits of Request (inbox.h)
  std::atomic<std::uint8_t> watched{0};       // Ops asked of the back end; who writes: the back end's watch()
  std::atomic<bool> uneven{false};            // the peer's end or an urgent byte was reported, after which a short read says
                                              // nothing (ready_loop.h I1): the home writes, the reader reads
  std::atomic<bool> abort{false};             // closing is to reset (linger of zero): no FIN before close(2)
  std::atomic<Intake> intake{Intake::kOpen};  // a Unix listener's
  std::atomic<bool> diverted{false};          // a listener's: new connections are sent elsewhere (port_group.h)

  // The reader's.
  bool drained = false;  // the last recv took all there was: wait before the next one (socket_transport.cc)
  bool short_read_drains = true;  // a recv that fills less than it could has taken all there was; constant while open

  // The home's.
  std::uint8_t armed = 0;       // Ops with a terminal completion to come (ring)
  std::uint8_t canceling = 0;   // of these, the ones called off
  bool want_out = false;        // somebody waits for a one-shot POLLOUT (ring)
  bool close_owed = false;      // the home has the closer's hold
  bool owed_away = false;       // in UringPoller::owed_

  FinishWaiter* waiter = nullptr;  // the closer's, until the finisher takes it (ordered by the closer's hold)
  PollDesc* owed_next = nullptr;   // in UringPoller::owed_
  PollDesc* next = nullptr;        // in the slab's free list or an inbox (I1 of inbox.h: never both)

 private:
  friend class NetPoller;

  int watch(Mode mode) noexcept;
  template <class Deadline>
  WaitResult wait_with(Mode mode, bool watches, WaitReason reason, Deadline deadline) noexcept;
  template <class Deadline>
  WaitResult wait_within(const Context* ctx, Mode mode, bool watches, WaitReason reason, Deadline deadline);
  void retire() noexcept;
};

/// One goroutine that waits for a descriptor's end (a listener's close(), a hand-over).
struct FinishWaiter {
  explicit FinishWaiter(bool takes = false) noexcept : takes_fd(takes) {}

  ReadyWord word;
  const bool takes_fd;  // instead of close(2), and nothing tells the peer
  int fd = -1;          // then: the finisher's, until it tells

  /// Parks until told. Then the finisher touches this object no more.
  void wait(WaitReason reason) noexcept;
};

/// The slots that serve goroutines.
[[nodiscard]] Slab<PollDesc>& socket_slab() noexcept;

/// The Error for a wait that did not end in readiness; `ctx` is what the wait was given.
[[nodiscard]] Error to_error(const WaitResult& result, const char* op, const Context* ctx = nullptr) noexcept;

}  // namespace heddle::net
