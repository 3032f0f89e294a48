// The epoll back end's mechanics.
#include <heddle/net/internal/epoll_poller.h>

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

#include <heddle/core/check.h>
#include <heddle/net/internal/accept_desc.h>
#include <heddle/net/internal/stream_conn.h>
#include <heddle/net/internal/sys.h>

namespace heddle::net {
namespace {

constexpr std::uint32_t kEnd = EPOLLRDHUP | EPOLLHUP | EPOLLERR;
constexpr std::int64_t kMillisecond = 1'000'000;

}  // namespace

EpollPoller::EpollPoller()
    : epfd_(::epoll_create1(EPOLL_CLOEXEC)), scratch_(std::make_unique_for_overwrite<std::byte[]>(kScratch)) {
  if (epfd_ < 0) fatal("epoll_create1 failed with errno %d (is the limit of open files too low?)", errno);
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  event.data.u64 = kOpDoorbell;
  if (::epoll_ctl(epfd_, EPOLL_CTL_ADD, doorbell_.fd(), &event) < 0) fatal("epoll_ctl: doorbell: errno %d", errno);
}

EpollPoller::~EpollPoller() {
  close_all();
  ::close(epfd_);
}

int EpollPoller::watch(PollDesc& pd, Mode mode) noexcept {
  const std::uint8_t op = mode == Mode::kRead ? kOpPollIn : kOpPollOut;
  // relaxed: a bit is set after epoll_ctl; who sees it need not know more, who does not takes the lock.
  if ((pd.watched.load(std::memory_order_relaxed) & op) != 0) return 0;
  LockGuard guard(registering_);
  return register_for(pd, op);
}

// Adds `ops` to what is registered. Returns 0 or an errno. With the lock held, or before anybody else knows `pd`.
int EpollPoller::register_for(PollDesc& pd, std::uint8_t ops) noexcept {
  const std::uint8_t before = pd.watched.load(std::memory_order_relaxed);
  const auto after = static_cast<std::uint8_t>(before | ops);
  if (before == after) return 0;
  epoll_event event{};
  event.events = EPOLLET | EPOLLRDHUP;
  if ((after & kOpPollIn) != 0) event.events |= EPOLLIN;
  if ((after & kOpPollOut) != 0) event.events |= EPOLLOUT;
  event.data.u64 = pd.tag(kOpNone);
  const int status = sys().epoll_ctl(epfd_, before == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, pd.fd, &event);
  if (status < 0) return -status;
  pd.watched.store(after, std::memory_order_relaxed);
  return 0;
}

int EpollPoller::poll_events() noexcept {
  if (next_ == count_) {
    next_ = 0;
    if (!in_use()) {
      count_ = 0;
      return 0;
    }
    count_ = std::max(::epoll_wait(epfd_, events_.data(), static_cast<int>(events_.size()), 0), 0);  // EINTR: next turn
  }
  return run_events();
}

int EpollPoller::run_events() noexcept {
  const int first = next_;
  while (next_ != count_) {
    const epoll_event event = events_[static_cast<std::size_t>(next_++)];
    handle(event);
  }
  return next_ - first;
}

void EpollPoller::block(std::int64_t timeout) noexcept {
  const int most = static_cast<int>(events_.size());
  int n = -1;
  if (pwait2_) {
    const timespec limit{timeout / 1'000'000'000, timeout % 1'000'000'000};
    n = ::epoll_pwait2(epfd_, events_.data(), most, timeout < 0 ? nullptr : &limit, nullptr);
    if (n < 0 && (errno == ENOSYS || errno == EPERM)) pwait2_ = false;  // before Linux 5.11, or a seccomp filter
  }
  if (!pwait2_) {  // rounded up: a sleep may be late, never early
    const std::int64_t ms = timeout < 0 ? -1 : std::min<std::int64_t>((timeout + kMillisecond - 1) / kMillisecond, INT_MAX);
    n = ::epoll_wait(epfd_, events_.data(), most, static_cast<int>(ms));
  }
  if (n < 0 && errno != EINTR) fatal("epoll_wait failed with errno %d", errno);
  next_ = 0;
  count_ = std::max(n, 0);
}

void EpollPoller::handle(const epoll_event& event) noexcept {
  if (event.data.u64 == kOpDoorbell) return;  // it has ended the sleep
  PollDesc& pd = *PollDesc::from_tag(event.data.u64);
  if (!pd.fits(event.data.u64)) return;  // poll_desc.h I3
  // relaxed: released by the notify below.
  if ((event.events & kEnd) != 0) pd.hung_up.store(true, std::memory_order_relaxed);
  const bool input = (event.events & (EPOLLIN | kEnd)) != 0;
  if ((event.events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0) pd.notify_out();
  switch (pd.kind) {
    case DescKind::kSocket:
      if (input) pd.notify_in();
      break;
    case DescKind::kStream: {
      auto& stream = static_cast<StreamConn&>(pd);
      stream.readable |= input;
      if (stream.readable && stream.reads()) read_stream(stream);
      break;
    }
    case DescKind::kAcceptor: {
      auto& acceptor = static_cast<AcceptDesc&>(pd);
      acceptor.readable |= input;
      accept_stream(acceptor);
      break;
    }
  }
}

void EpollPoller::read_stream(StreamConn& stream) noexcept {
  for (int round = 0; round < kReadRounds; ++round) {
    const ssize_t n = sys().recv(stream.fd, scratch_.get(), kScratch, MSG_DONTWAIT);
    if (n > 0) {
      const auto size = static_cast<std::size_t>(n);
      // Before on_data, which may be long: an edge from now on is a new event (I1).
      if (size < kScratch && !stream.hung_up.load(std::memory_order_relaxed)) stream.readable = false;
      stream.deliver({scratch_.get(), size});
      if (!stream.readable || !stream.reads()) return;
    } else if (n == 0) {
      stream.readable = false;
      stream.deliver_end({Code::kEof, 0, "read"});
      return;
    } else if (n == -EAGAIN) {
      stream.readable = false;
      return;
    } else if (n != -EINTR) {
      stream.readable = false;
      stream.deliver_end(Error::from_errno(static_cast<int>(-n), "read"));
      return;
    }
  }
  post(stream, kReqVisit);  // I2
}

void EpollPoller::accept_stream(AcceptDesc& acceptor) noexcept {
  if (!acceptor.readable || acceptor.resting || acceptor.lock.closing()) return;
  if (acceptor.accept_some(kAcceptBatch)) {
    acceptor.readable = acceptor.resting;  // resting: there may be more, but no edge will tell
  } else {
    post(acceptor, kReqVisit);
  }
}

void EpollPoller::update(PollDesc& pd) noexcept {
  if (pd.lock.closing()) {
    if (pd.close_owed) ended(pd);
    return;
  }
  switch (pd.kind) {
    case DescKind::kSocket:
      break;  // its waiters register it
    case DescKind::kStream: {
      auto& stream = static_cast<StreamConn&>(pd);
      if (const int error = watch(stream, Mode::kRead); error != 0) {
        stream.deliver_end(Error::from_errno(error, "epoll_ctl"));
      } else if (stream.readable && stream.reads()) {
        read_stream(stream);
      }
      break;
    }
    case DescKind::kAcceptor:
      accept_stream(static_cast<AcceptDesc&>(pd));
      break;
  }
}

}  // namespace heddle::net
