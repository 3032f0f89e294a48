// NetPoller: the turns of a worker's poller, and the lives of streams and descriptors around it.
#include <heddle/net/internal/net_poller.h>

#include <sys/socket.h>

#include <algorithm>

#include <heddle/core/check.h>
#include <heddle/core/section.h>
#include <heddle/net/internal/accept_desc.h>
#include <heddle/net/internal/port_group.h>
#include <heddle/net/internal/stream_conn.h>
#include <heddle/net/internal/sys.h>
#include <heddle/net/stream_listener.h>

namespace heddle::net {
namespace {

constinit std::atomic<int> live_pollers{0};  // the last one to go closes descriptors without a home
constinit std::atomic<std::uint64_t> runs{0};  // the first poller of a run counts it

constexpr int kMaxQueue = 65536;  // what a closing listener accepts at most: a client that keeps connecting cannot hold it

}  // namespace

NetPoller::NetPoller() : wheel_(nanotime()) {
  // relaxed: counted only; runs do not overlap, and their goroutines start after their pollers were made.
  if (live_pollers.fetch_add(1, std::memory_order_relaxed) == 0) runs.fetch_add(1, std::memory_order_relaxed);
}

std::uint64_t NetPoller::run_number() noexcept { return runs.load(std::memory_order_relaxed); }  // relaxed: as above

NetPoller::~NetPoller() = default;

int NetPoller::reap() {
  int n = serve_inbox();
  n += poll_events();
  if (fetched_.load(std::memory_order_relaxed)) fetched_.store(false, std::memory_order_relaxed);  // relaxed: a hint
  // The clock costs more than a turn that finds nothing in the wheel: while there are events look now and then.
  if (wheel_.next() != kNever && (n == 0 || ++turns_ % kClockEvery == 0)) n += turn_wheel();
  return n;
}

int NetPoller::turn_wheel() noexcept {
  const std::int64_t now = nanotime();
  return now >= wheel_.next() ? wheel_.advance(now, kTimerBudget) : 0;
}

void NetPoller::wait(std::int64_t deadline) {
  if (!doorbell_.try_sleep()) return;
  std::int64_t timeout = -1;
  const std::int64_t until = std::min(deadline, wheel_.next());
  if (until != kNever) timeout = std::max<std::int64_t>(until - nanotime(), 0);
  if (timeout != 0 && inbox_.empty() && !events_pending()) {
    block(timeout);  // I1
    // relaxed: a hint. Before they are handled the P may be lent, and the kernel does not tell of them again.
    if (events_pending()) fetched_.store(true, std::memory_order_relaxed);
  }
  doorbell_.awaken();
}

void NetPoller::post(PollDesc& pd, std::uint32_t requests) noexcept {
  const Section section;
  // acq_rel: releases what the caller changed to the home's exchange in serve_inbox().
  if (pd.requests.fetch_or(requests, std::memory_order_acq_rel) != 0) return;  // whoever found zero pushes it
  pd.lock.hold();
  inbox_.push(pd);
  if (here() != this) wake();
}

int NetPoller::serve_inbox() noexcept {
  if (inbox_.empty()) return 0;
  int n = 0;
  for (PollDesc* pd = inbox_.take_all(); pd != nullptr; ++n) {
    PollDesc& one = *pd;
    pd = pd->next;  // before the exchange: then it may be pushed again (inbox.h I2)
    // acq_rel: acquires what the posters changed.
    const std::uint32_t requests = one.requests.exchange(0, std::memory_order_acq_rel);
    serve(one, requests);
    drop_at_home(one);
  }
  return n;
}

void NetPoller::serve(PollDesc& pd, std::uint32_t requests) noexcept {
  if ((requests & kReqAdopt) != 0) adopt(static_cast<StreamConn&>(pd));
  if ((requests & kReqTimer) != 0 && !pd.lock.closing()) wheel_.relook(static_cast<StreamConn&>(pd));
  if ((requests & kReqOut) != 0) pd.want_out = true;
  if ((requests & kReqClose) != 0) {
    if (pd.kind == DescKind::kStream) wheel_.unlink(static_cast<StreamConn&>(pd));
    if (pd.kind == DescKind::kAcceptor) wheel_.unlink(static_cast<AcceptDesc&>(pd));
    pd.close_owed = true;
  }
  update(pd);
}

void NetPoller::adopt(StreamConn& stream) noexcept {
  AcceptDesc& from = *stream.listener;
  stream.sink = from.acceptor->on_accept(stream);
  stream.listener = nullptr;
  drop_at_home(from);
  if (stream.sink == nullptr && stream.lock.close(stream.lock.generation())) {
    stream.close_owed = true;  // refused: we are the closer
    wheel_.unlink(stream);
  }
  update(stream);  // starts reading, or ends it; the slot may be free now
}

void NetPoller::end(PollDesc& pd) noexcept {
  if (pd.kind == DescKind::kSocket && !holds_sockets()) {
    pd.drop();
    return;
  }
  const Section section;
  const bool home = here() == this;
  if (pd.kind == DescKind::kAcceptor) static_cast<AcceptDesc&>(pd).let_no_more_in();
  // What is armed keeps the socket alive, and a home may be busy: tell the peer now. At home with nothing armed it will be
  // closed within this turn, which does the same. A listener must not be shut down: that would drop its queue.
  const bool handed_over = pd.waiter != nullptr && pd.waiter->takes_fd;
  if (pd.kind != DescKind::kAcceptor && !(home && pd.armed == 0) && !pd.abort.load(std::memory_order_relaxed) &&
      !handed_over) {
    static_cast<void>(sys().shutdown(pd.fd, SHUT_RDWR));  // ENOTCONN: the peer was first
  }
  if (home && pd.kind == DescKind::kSocket) {
    pd.close_owed = true;
    update(pd);
  } else {
    post(pd, kReqClose);
  }
}

void NetPoller::ended(PollDesc& pd) noexcept {
  if (pd.kind == DescKind::kAcceptor) {
    static_cast<AcceptDesc&>(pd).accept_some(kMaxQueue);  // accept_desc.h I3
  }
  pd.close_owed = false;
  drop_at_home(pd);
}

void NetPoller::drop_at_home(PollDesc& pd) noexcept {
  if (pd.lock.drop() == FdLeave::kFinish) finish(pd, true);
}

void NetPoller::finish(PollDesc& pd, bool at_home) noexcept {
  // relaxed: set once (I2), by somebody whose hold was dropped before the last one, which was the caller's.
  NetPoller* home = pd.home.load(std::memory_order_relaxed);
  if (pd.kind == DescKind::kStream && !at_home) {
    home->post(pd, kReqVisit);  // its sink is called at home only; the home drops this post's hold, and is the last one
    return;
  }
  // relaxed, here and above: ordered by the last leave.
  if (pd.diverted.load(std::memory_order_relaxed)) undo_divert(pd.fd);  // port_group.h I2
  FinishWaiter* waiter = pd.waiter;
  if (waiter != nullptr && waiter->takes_fd) {
    if (home != nullptr) home->forget(pd);
    waiter->fd = pd.fd;
  } else {
    sys().close(pd.fd);  // the descriptor is gone whatever it says: close(2), "Dealing with error returns"
  }
  if (home != nullptr) home->count_open(-1);
  switch (pd.kind) {
    case DescKind::kSocket:
      pd.retire();
      socket_slab().give(&pd);
      break;
    case DescKind::kStream: {
      auto& stream = static_cast<StreamConn&>(pd);
      home->count_streams(-1);
      if (stream.sink != nullptr) stream.sink->on_closed();
      stream.retire();
      stream_slab().give(&stream);
      break;
    }
    case DescKind::kAcceptor:
      pd.retire();
      acceptor_slab().give(static_cast<AcceptDesc*>(&pd));
      break;
  }
  if (waiter != nullptr) {
    if (G* g = waiter->word.notify()) ready(g);
  }
}

void NetPoller::close_all() noexcept {
  const auto close_of = [](auto& slab, const NetPoller* home) {
    slab.for_each([&](auto& slot) {
      // relaxed: no thread uses a slot of this home any more, and slots without one are left to the last poller.
      if (!slot.lock.is_open() || slot.home.load(std::memory_order_relaxed) != home) return;
      sys().close(slot.fd);
      slot.retire();
      slab.give(&slot);
    });
  };
  close_of(socket_slab(), this);
  close_of(stream_slab(), this);
  close_of(acceptor_slab(), this);
  // acq_rel: the last one comes after all that the others did.
  if (live_pollers.fetch_sub(1, std::memory_order_acq_rel) == 1) close_of(socket_slab(), nullptr);
}

}  // namespace heddle::net
