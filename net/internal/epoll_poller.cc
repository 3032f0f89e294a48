// The epoll back end's mechanics: who is registered. The rest is ready_loop.cc's.
#include <heddle/net/internal/epoll_poller.h>

#include <heddle/net/internal/accept_desc.h>
#include <heddle/net/internal/stream_conn.h>

namespace heddle::net {

EpollPoller::EpollPoller() : loop_(*this, doorbell_.fd()) {}

EpollPoller::~EpollPoller() { close_all(); }

int EpollPoller::watch(PollDesc& pd, Mode mode) noexcept {
  const std::uint8_t op = mode == Mode::kRead ? kOpPollIn : kOpPollOut;
  // relaxed: a bit is set after epoll_ctl; who sees it need not know more, who does not takes the lock.
  if ((pd.watched.load(std::memory_order_relaxed) & op) != 0) return 0;
  LockGuard guard(registering_);
  const std::uint8_t before = pd.watched.load(std::memory_order_relaxed);
  const auto after = static_cast<std::uint8_t>(before | op);
  if (before == after) return 0;
  std::uint32_t events = 0;
  if ((after & kOpPollIn) != 0) events |= EPOLLIN;
  if ((after & kOpPollOut) != 0) events |= EPOLLOUT;
  const int error = loop_.control(before == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, pd, events);
  if (error == 0) pd.watched.store(after, std::memory_order_relaxed);
  return error;
}

int EpollPoller::poll_events() noexcept {
  if (!loop_.left_over() && !in_use()) return 0;
  return loop_.turn();
}

void EpollPoller::update(PollDesc& pd) noexcept {
  if (pd.lock.closing()) {
    if (pd.close_owed) ended(pd);
    return;
  }
  if (pd.kind == DescKind::kStream) {
    auto& stream = static_cast<StreamConn&>(pd);
    if (const int error = watch(stream, Mode::kRead); error != 0) {
      stream.deliver_end(Error::from_errno(error, "epoll_ctl"));
      return;
    }
  }
  loop_.serve(pd);
}

}  // namespace heddle::net
