// The io_uring back end's mechanics.
#include <heddle/net/internal/uring_poller.h>

#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <utility>

#include <heddle/core/check.h>
#include <heddle/net/internal/accept_desc.h>
#include <heddle/net/internal/stream_conn.h>
#include <heddle/net/internal/sys.h>

namespace heddle::net {
namespace {

constexpr int kDyingTurns = 100;                     // I3 of net_poller.h: what is called off ends within a turn or two;
constexpr std::int64_t kDyingTurn = 10'000'000;      // one second in all, in ns per turn, is "the kernel is stuck"

}  // namespace

Result<std::unique_ptr<UringPoller>> UringPoller::make(const UringOptions& options) {
  io_uring ring{};
  if (const int error = Ring::set_up(options.entries, options.completions, ring); error != 0) {
    return std::unexpected(Error::from_errno(error, "io_uring_setup"));
  }
  BufferRing::Memory buffers;
  if (const int error = BufferRing::set_up(ring, options.buffers, buffers); error != 0) {
    io_uring_queue_exit(&ring);
    return std::unexpected(Error::from_errno(error, "io_uring_register"));
  }
  return std::unique_ptr<UringPoller>(new UringPoller(ring, buffers));
}

UringPoller::UringPoller(const io_uring& ring, const BufferRing::Memory& buffers)
    : ring_(ring), buffers_(*ring_.raw(), buffers), stand_in_(*this, doorbell_.fd()) {
  arm_doorbell();
}

UringPoller::~UringPoller() {
  dying_ = true;
  bool called_off = false;
  for (int turn = 0; armed_ > 0 && turn < kDyingTurns; ++turn) {
    if (io_uring_sqe* sqe = called_off ? nullptr : ring_.sqe(); sqe != nullptr) {  // none: the kernel takes none now
      io_uring_prep_cancel64(sqe, 0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
      io_uring_sqe_set_data64(sqe, kOpNone);
      called_off = true;
    }
    ring_.wait(kDyingTurn);
    ring_.drain(INT32_MAX, [this](const io_uring_cqe& cqe) { complete(cqe); });
  }
  close_all();
}

int UringPoller::watch(PollDesc& pd, Mode mode) noexcept {
  if (mode == Mode::kRead) {
    // relaxed: set once by the one reader, read by it and by the home after its post.
    if (pd.watched.load(std::memory_order_relaxed) != 0) return 0;
    pd.watched.store(kOpPollIn, std::memory_order_relaxed);
  }
  if (here() == this && !away_.load(std::memory_order_relaxed)) {  // relaxed: ours
    if (mode == Mode::kWrite) pd.want_out = true;
    arm_wanted(pd);  // not update(), which calls sinks: here is a goroutine
  } else {
    post(pd, mode == Mode::kWrite ? kReqOut : kReqVisit);
  }
  return 0;
}

int UringPoller::poll_events() noexcept {
  if (away_.load(std::memory_order_relaxed)) [[unlikely]] {  // relaxed: ours
    if (!standing_ && !stand_in()) return 0;
    return stand_in_.turn();
  }
  if (!doorbell_armed_) arm_doorbell();
  int n = 0;
  for (int round = 0; round < kRounds && n < kBatch; ++round) {
    if (ring_.enter_would_pay()) {
      ring_.enter();
    } else if (!ring_.has_completions()) {
      break;
    }
    n += ring_.drain(kBatch - n, [this](const io_uring_cqe& cqe) { complete(cqe); });
    buffers_.publish();
  }
  while (ring_.overflows()) {  // nothing is left with the kernel: only this thread could fetch it (stand_in)
    n += ring_.drain(INT_MAX, [this](const io_uring_cqe& cqe) { complete(cqe); });
    buffers_.publish();
    ring_.enter();
  }
  static_cast<void>(settle_doubts_if_due());  // what it posts is served in the next turn
  return n;
}

// What should be armed for `pd` now.
std::uint8_t UringPoller::wanted(const PollDesc& pd) noexcept {
  if (pd.lock.closing()) return kOpNone;
  const std::uint8_t out = pd.want_out ? kOpPollOut : kOpNone;
  switch (pd.kind) {
    case DescKind::kSocket:
      return static_cast<std::uint8_t>(pd.watched.load(std::memory_order_relaxed) | out);
    case DescKind::kStream:
      return static_cast<std::uint8_t>(wanted_of(static_cast<const StreamConn&>(pd)) | out);
    case DescKind::kAcceptor:
      return static_cast<const AcceptDesc&>(pd).resting ? kOpNone : kOpAccept;
  }
  return kOpNone;
}

void UringPoller::block(std::int64_t timeout) noexcept {
  if (away_.load(std::memory_order_relaxed)) [[unlikely]] {  // relaxed: ours
    if (standing_) stand_in_.block(timeout);  // else the next turn begins it
    return;
  }
  if (settle_doubts_if_due()) return;  // the inbox is to be served first
  ring_.wait(until_doubts(timeout));
}

bool UringPoller::events_pending() const noexcept {
  if (away_.load(std::memory_order_relaxed)) [[unlikely]] return !standing_ || stand_in_.left_over();  // relaxed: ours
  return ring_.has_completions() || ring_.enter_would_pay() || !doorbell_armed_;
}

bool UringPoller::events_ready() const noexcept {
  return away_.load(std::memory_order_relaxed) ? ReadyLoop::has_events(stand_in_.fd()) : ring_.looks_ready();  // relaxed: a hint
}

template <class F>
void NetPoller::for_each_open(F f) noexcept {
  const auto visit = [&](auto& slot) {
    // relaxed: looked at again inside. Who is inside keeps slot and descriptor number.
    if (!slot.lock.is_open() || slot.home.load(std::memory_order_relaxed) != this) return;
    if (slot.lock.enter(slot.lock.generation(), FdUse::kOther) != FdEnter::kInside) return;
    if (slot.home.load(std::memory_order_relaxed) == this) f(static_cast<PollDesc&>(slot));
    drop_at_home(slot);
  };
  socket_slab().for_each(visit);
  stream_slab().for_each(visit);
  acceptor_slab().for_each(visit);
}

void UringPoller::drive(bool at_home) noexcept {
  away_.store(!at_home, std::memory_order_relaxed);  // relaxed: a hint to all but the holder
  if (!at_home || !standing_) return;
  standing_ = false;
  stand_in_.forget();
  for_each_open([this](PollDesc& pd) {
    stand_in_.control(EPOLL_CTL_DEL, pd, 0);
    arm_wanted(pd);
    if (pd.kind != DescKind::kStream) return;
    auto& stream = static_cast<StreamConn&>(pd);
    if (stream.bulky && stream.readable) post(stream, kReqVisit);  // sinks are not called here
    doubt(stream);
  });
  for (PollDesc* pd = std::exchange(owed_, nullptr); pd != nullptr;) {
    PollDesc& one = *pd;
    pd = one.owed_next;
    one.owed_away = false;
    arm_wanted(one);
  }
}

// Begins to serve by readiness. False: not now.
bool UringPoller::stand_in() noexcept {
  if (ring_.overflows()) {
    // Bytes that came before those in the sockets lie with the kernel, and only the ring's thread can fetch them (I5). A
    // queue of 16384 does not overflow; tests' do.
    const timespec pause{0, 200'000};
    ::nanosleep(&pause, nullptr);
    return false;
  }
  // Keeps I5: until all are delivered the stand-in does not stand, and update_away() only posts.
  ring_.drain(INT32_MAX, [this](const io_uring_cqe& cqe) { complete(cqe); });
  buffers_.publish();
  standing_ = true;
  for_each_open([this](PollDesc& pd) { update_away(pd); });
  return true;
}

int UringPoller::register_away(PollDesc& pd) noexcept {
  const int error = stand_in_.control(EPOLL_CTL_ADD, pd, pd.kind == DescKind::kAcceptor ? EPOLLIN : EPOLLIN | EPOLLOUT);
  return error == EEXIST ? 0 : error;
}

void UringPoller::update_away(PollDesc& pd) noexcept {
  if (!standing_) {  // only poll_events() begins: it calls sinks, and here we may be on a goroutine's stack
    post(pd, kReqVisit);
    return;
  }
  if (pd.lock.closing()) {
    if (!pd.close_owed) return;
    if (pd.armed == 0) {
      ended(pd);
    } else if (!pd.owed_away) {
      pd.owed_away = true;
      pd.owed_next = std::exchange(owed_, &pd);
    }
    return;
  }
  if (pd.kind == DescKind::kStream && static_cast<StreamConn&>(pd).sink == nullptr) return;  // adopt() comes, and then this
  if (const int error = register_away(pd); error != 0) {
    if (pd.kind == DescKind::kStream) static_cast<StreamConn&>(pd).deliver_end(Error::from_errno(error, "epoll_ctl"));
    // A goroutine's socket: it tries, and meets the error, or waits for the ring.
    pd.notify_in();
    pd.notify_out();
    return;
  }
  stand_in_.serve(pd);
}

void UringPoller::update(PollDesc& pd) noexcept {
  if (away_.load(std::memory_order_relaxed)) [[unlikely]] {  // relaxed: ours
    update_away(pd);
    return;
  }
  if (pd.kind == DescKind::kStream) read_bulky(static_cast<StreamConn&>(pd));
  arm_wanted(pd);
}

// The half of update() that calls no sink.
void UringPoller::arm_wanted(PollDesc& pd) noexcept {
  const std::uint8_t want = wanted(pd);
  const auto missing = static_cast<std::uint8_t>(want & ~pd.armed);
  const auto surplus = static_cast<std::uint8_t>(pd.armed & ~want & ~pd.canceling);
  bool done = true;
  for (const Op op : {kOpPollIn, kOpPollOut, kOpRecv, kOpAccept}) {
    if ((missing & op) != 0) done = arm(pd, op) && done;
    if ((surplus & op) != 0) done = cancel(pd, op) && done;
  }
  if (!done) post(pd, kReqVisit);  // I2
  if (pd.close_owed && pd.armed == 0) ended(pd);
}

bool UringPoller::arm(PollDesc& pd, Op op) noexcept {
  io_uring_sqe* sqe = ring_.sqe();
  if (sqe == nullptr) return false;
  switch (op) {
    case kOpPollIn:
      io_uring_prep_poll_multishot(sqe, pd.fd, POLLIN | POLLRDHUP);
      break;
    case kOpPollOut:
      io_uring_prep_poll_add(sqe, pd.fd, POLLOUT);
      break;
    case kOpRecv:
      io_uring_prep_recv_multishot(sqe, pd.fd, nullptr, 0, 0);
      sqe->flags |= IOSQE_BUFFER_SELECT;
      sqe->buf_group = BufferRing::kGroup;
      break;
    case kOpAccept:
      io_uring_prep_multishot_accept(sqe, pd.fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      break;
    case kOpNone:
    case kOpDoorbell:
      fatal("io_uring: op %d is not armed here", op);
  }
  io_uring_sqe_set_data64(sqe, pd.tag(op));
  if (sys().arming != nullptr) [[unlikely]] sys().arming(sqe);
  pd.armed = static_cast<std::uint8_t>(pd.armed | op);
  ++armed_;
  return true;
}

bool UringPoller::cancel(PollDesc& pd, Op op) noexcept {
  io_uring_sqe* sqe = ring_.sqe();
  if (sqe == nullptr) return false;
  io_uring_prep_cancel64(sqe, pd.tag(op), 0);
  // I1: neither success nor ENOENT (it completed by itself) nor EALREADY matters; on success not even posted.
  io_uring_sqe_set_flags(sqe, IOSQE_CQE_SKIP_SUCCESS);
  io_uring_sqe_set_data64(sqe, kOpNone);
  pd.canceling = static_cast<std::uint8_t>(pd.canceling | op);
  return true;
}

void UringPoller::arm_doorbell() noexcept {
  io_uring_sqe* sqe = ring_.sqe();
  if (sqe == nullptr) return;  // the next poll_events() tries again; events_pending() keeps us awake until then
  io_uring_prep_poll_multishot(sqe, doorbell_.fd(), POLLIN);
  io_uring_sqe_set_data64(sqe, kOpDoorbell);
  if (sys().arming != nullptr) [[unlikely]] sys().arming(sqe);
  doorbell_armed_ = true;
}

void UringPoller::complete(const io_uring_cqe& cqe) noexcept {
  const bool more = (cqe.flags & IORING_CQE_F_MORE) != 0;
  const Op op = PollDesc::op_of(cqe.user_data);
  if (op == kOpNone) return;  // of a cancel: I1
  if (op == kOpDoorbell) {
    if (!more && !dying_) {
      // Ended by a full completion queue. Emptied before it is armed again, or old rings would end it at once.
      std::uint64_t rings = 0;
      static_cast<void>(::read(doorbell_.fd(), &rings, sizeof rings));
      doorbell_armed_ = false;
    }
    return;
  }
  PollDesc& pd = *PollDesc::from_tag(cqe.user_data);
  HEDDLE_CHECK(pd.fits(cqe.user_data) && (pd.armed & op) != 0);  // I1: no slot is recycled before its last completion
  if (!more) {
    pd.armed = static_cast<std::uint8_t>(pd.armed & ~op);
    pd.canceling = static_cast<std::uint8_t>(pd.canceling & ~op);
    --armed_;
  }
  switch (op) {
    case kOpPollIn:
      if (pd.kind == DescKind::kStream) {
        on_readable(static_cast<StreamConn&>(pd), cqe.res, more);
      } else {
        on_poll_in(pd, cqe.res, more);
      }
      break;
    case kOpPollOut:
      on_poll_out(pd);
      break;
    case kOpRecv:
      on_received(static_cast<StreamConn&>(pd), cqe);
      break;
    case kOpAccept:
      on_accepted(static_cast<AcceptDesc&>(pd), cqe.res);
      break;
    case kOpNone:
    case kOpDoorbell:
      break;
  }
  if (!more && !dying_) update(pd);
}

void UringPoller::on_poll_in(PollDesc& pd, int result, bool more) noexcept {
  // relaxed: both are released by the notify below. An error of the poll itself (ENOMEM) sends the reader to its call.
  if (result < 0 || (result & kUneven) != 0) pd.uneven.store(true, std::memory_order_relaxed);
  // Ended by a hang-up or a full queue: armed again by the next wait, not here. After a hang-up it would end at once, for
  // ever, and no reader waits any more.
  if (!more) pd.watched.store(kOpNone, std::memory_order_relaxed);
  if (!dying_) pd.notify_in();
}

void UringPoller::on_poll_out(PollDesc& pd) noexcept {
  pd.want_out = false;  // ready, failed or called off: the writer tries, and asks again
  if (!dying_) pd.notify_out();
}

void UringPoller::on_accepted(AcceptDesc& acceptor, int result) noexcept {
  if (result >= 0) {
    if (dying_) {
      sys().close(result);
    } else {
      acceptor.deal(result);
    }
    return;
  }
  if (result == -ECANCELED || dying_) return;  // called off
  if (accept_verdict(-result) == AcceptVerdict::kRest) acceptor.rest();
}

}  // namespace heddle::net
