// The mechanics of serving by readiness.
#include <heddle/net/internal/ready_loop.h>

#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <span>

#include <heddle/core/check.h>
#include <heddle/net/internal/accept_desc.h>
#include <heddle/net/internal/net_poller.h>
#include <heddle/net/internal/stream_conn.h>
#include <heddle/net/internal/sys.h>

namespace heddle::net {
namespace {

constexpr std::uint32_t kEnd = EPOLLRDHUP | EPOLLHUP | EPOLLERR;
constexpr std::uint32_t kUneven = kEnd | EPOLLPRI;  // a short read does not mean that there is no more: I1
constexpr std::int64_t kMillisecond = 1'000'000;

}  // namespace

ReadyLoop::ReadyLoop(NetPoller& home, int doorbell)
    : home_(home),
      epfd_(::epoll_create1(EPOLL_CLOEXEC)),
      scratch_(static_cast<std::byte*>(
          ::mmap(nullptr, kScratch, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) {
  if (scratch_ == MAP_FAILED) fatal("a worker's poller: no memory");
  if (epfd_ < 0) fatal("epoll_create1 failed with errno %d (is the limit of open files too low?)", errno);
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  event.data.u64 = kOpDoorbell;
  if (::epoll_ctl(epfd_, EPOLL_CTL_ADD, doorbell, &event) < 0) fatal("epoll_ctl: doorbell: errno %d", errno);
}

ReadyLoop::~ReadyLoop() {
  ::close(epfd_);
  ::munmap(scratch_, kScratch);
}

int ReadyLoop::control(int op, PollDesc& pd, std::uint32_t events) noexcept {
  epoll_event event{};
  event.events = events | EPOLLET | EPOLLRDHUP | ((events & EPOLLIN) != 0 ? EPOLLPRI : 0U);
  event.data.u64 = pd.tag(kOpNone);
  const int status = sys().epoll_ctl(epfd_, op, pd.fd, &event);
  return status < 0 ? -status : 0;
}

bool ReadyLoop::has_events(int epfd) noexcept {
  pollfd one{epfd, POLLIN, 0};
  return ::poll(&one, 1, 0) == 1 && (one.revents & POLLIN) != 0;
}

int ReadyLoop::turn() noexcept {
  if (!left_over()) {
    next_ = 0;
    count_ = std::max(sys().epoll_wait(epfd_, events_.data(), static_cast<int>(events_.size()), 0), 0);  // EINTR: next turn
  }
  const int first = next_;
  while (next_ != count_) {
    const epoll_event event = events_[static_cast<std::size_t>(next_++)];
    handle(event);
  }
  return next_ - first;
}

void ReadyLoop::block(std::int64_t timeout) noexcept {
  const int most = static_cast<int>(events_.size());
  int n = -ENOSYS;
  if (pwait2_) {
    const timespec limit{timeout / 1'000'000'000, timeout % 1'000'000'000};
    n = sys().epoll_pwait2(epfd_, events_.data(), most, timeout < 0 ? nullptr : &limit);
    if (n == -ENOSYS || n == -EPERM) pwait2_ = false;  // before Linux 5.11, or a seccomp filter
  }
  if (!pwait2_) {  // rounded up: a sleep may be late, never early
    const std::int64_t ms = timeout < 0 ? -1 : std::min<std::int64_t>((timeout + kMillisecond - 1) / kMillisecond, INT_MAX);
    n = sys().epoll_wait(epfd_, events_.data(), most, static_cast<int>(ms));
  }
  if (n < 0 && n != -EINTR) fatal("epoll_wait failed with errno %d", -n);
  next_ = 0;
  count_ = std::max(n, 0);
}

void ReadyLoop::handle(const epoll_event& event) noexcept {
  if (event.data.u64 == kOpDoorbell) return;  // it has ended the sleep
  PollDesc& pd = *PollDesc::from_tag(event.data.u64);
  if (!pd.fits(event.data.u64)) return;  // poll_desc.h I3
  // relaxed: released by the notify below.
  if ((event.events & kUneven) != 0) pd.uneven.store(true, std::memory_order_relaxed);
  const bool input = (event.events & (EPOLLIN | kUneven)) != 0;
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

void ReadyLoop::read_stream(StreamConn& stream) noexcept {
  for (int round = 0; round < kReadRounds; ++round) {
    const std::span<std::byte> lent = stream.lend_room();
    const std::span<std::byte> to = lent.empty() ? std::span(scratch_, kScratch) : lent;
    const ssize_t n = sys().recv(stream.fd, to.data(), to.size(), MSG_DONTWAIT);
    if (n > 0) {
      const auto size = static_cast<std::size_t>(n);
      // Before on_data, which may be long: an edge from now on is a new event (I1). relaxed: who reads a stream is
      // who hears of its events.
      if (size < to.size() && !stream.uneven.load(std::memory_order_relaxed)) stream.readable = false;
      stream.deliver(to.first(size));
      if (!stream.readable || !stream.reads()) return;
      if (!lent.empty()) break;  // I2
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
  home_.post(stream, kReqVisit);  // I2
}

void ReadyLoop::accept_stream(AcceptDesc& acceptor) noexcept {
  if (!acceptor.readable || acceptor.resting || acceptor.lock.closing()) return;
  if (acceptor.accept_some(kAcceptBatch)) {
    acceptor.readable = acceptor.resting;  // resting: there may be more, but no edge will tell
  } else {
    home_.post(acceptor, kReqVisit);
  }
}

void ReadyLoop::serve(PollDesc& pd) noexcept {
  switch (pd.kind) {
    case DescKind::kSocket:
      break;  // its goroutines serve themselves
    case DescKind::kStream: {
      auto& stream = static_cast<StreamConn&>(pd);
      if (stream.readable && stream.reads()) read_stream(stream);
      break;
    }
    case DescKind::kAcceptor:
      accept_stream(static_cast<AcceptDesc&>(pd));
      break;
  }
}

}  // namespace heddle::net
