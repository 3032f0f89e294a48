// Faults: the system calls of net, failing now and then as the kernel would. By a seed, so that a run can be repeated.
//
//     const Faults faults({.seed = 7, .one_in = {{Fault::kShortRead, 2}, {Fault::kSingleShot, 3}}});
//     run(…);
//     EXPECT_GT(faults.count(Fault::kShortRead), 0U);
//
// F1. What the kernel promises is kept. A call that says EAGAIN, or takes less than there is, is followed by an edge: a fault
//     that breaks this shows nothing about net. So the edges are made: SO_RCVLOWAT and SO_SNDBUF, set to what they are,
//     have the kernel wake who waits.
// F2. What a ring reports is the kernel's own doing. A multishot that ends is a single shot; an operation that fails is
//     a no-op with an injected result, in its place and with its tag.
// F3. Faults are injected from any thread, also on the scheduler's side: counters are atomics, the list of registered
//     descriptors has a lock that takes nothing further.
#pragma once

#include <liburing.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <utility>
#include <vector>

#include <heddle/core/lock.h>
#include <heddle/net/internal/sys.h>

namespace heddle::net::test {

enum class Fault : std::uint8_t {
  kShortRead,      // recv takes one byte (TCP)
  kShortWrite,     // send takes one byte (TCP, Unix)
  kReadAgain,      // recv says EAGAIN, and then there is something (TCP)
  kWriteAgain,     // send says EAGAIN, and then there is room (TCP)
  kInterrupted,    // EINTR, of any call that may say so; connect goes on behind it
  kNoDescriptors,  // accept says EMFILE, ENFILE, ENOBUFS or ENOMEM
  kGoneBefore,     // accept says ECONNABORTED, EPROTO …
  kCannotWatch,    // epoll_ctl says ENOSPC or ENOMEM
  kSpurious,       // a descriptor is reported ready that is not
  kSingleShot,     // a multishot ends with its first completion
  kOpFails,        // an operation of the ring ends with ECANCELED, EAGAIN, ENOBUFS, EMFILE … before it has begun
  kEnterFails,     // io_uring_enter says EBUSY, EAGAIN or EINTR, and has taken nothing
  kWaitEnds,       // a wait returns at once, for nothing
  kNoRing,         // io_uring_setup says ENOMEM
  kNoBuffers,      // io_uring_register of the buffers says ENOMEM
  kCount,
};

struct FaultPlan {
  std::uint64_t seed = 1;
  std::vector<std::pair<Fault, unsigned>> one_in = {};  // a fault in so many calls, on average
  std::vector<std::pair<Fault, unsigned>> after = {};   // so many calls first succeed
};

namespace detail {

struct FaultState {
  unsigned one_in = 0, after = 0;  // constant while a scheduler runs
  std::atomic<std::uint64_t> calls{0}, count{0};
};

struct Registered {
  int epfd = -1;
  epoll_event event{};
};

}  // namespace detail

/// Installs the failing table for its lifetime, one at a time. While no scheduler runs.
class Faults {
 public:
  explicit Faults(const FaultPlan& plan) : scoped_(table()) {
    for (auto& state : states) {
      state.one_in = 0;
      state.after = 0;
      state.calls = 0;
      state.count = 0;
    }
    for (const auto& [fault, n] : plan.one_in) state_of(fault).one_in = n;
    for (const auto& [fault, n] : plan.after) state_of(fault).after = n;
    seed = plan.seed;
    registered = {};
  }

  /// How often it happened.
  [[nodiscard]] std::uint64_t count(Fault fault) const { return state_of(fault).count.load(); }

  /// True if this kernel can have an operation fail (kOpFails): since Linux 6.11 or so.
  [[nodiscard]] static bool can_fail_operations() {
    io_uring ring{};
    if (io_uring_queue_init(2, &ring, 0) < 0) return false;
    io_uring_sqe* sqe = io_uring_get_sqe(&ring);
    make_fail(*sqe, -EIO);
    io_uring_cqe* cqe = nullptr;
    const bool can = io_uring_submit_and_wait(&ring, 1) == 1 && io_uring_peek_cqe(&ring, &cqe) == 0 && cqe->res == -EIO;
    io_uring_queue_exit(&ring);
    return can;
  }

 private:
  using State = detail::FaultState;
  using Registered = detail::Registered;

  static State& state_of(Fault fault) { return states[static_cast<std::size_t>(fault)]; }

  static std::uint64_t mix(std::uint64_t x) noexcept {
    x = (x ^ (x >> 31)) * 0x9E37'79B9'7F4A'7C15ULL;
    return (x ^ (x >> 29)) * 0xBF58'476D'1CE4'E5B9ULL;
  }

  // 0: it does not happen now; else a number by which to choose how.
  static std::uint64_t happens(Fault fault) noexcept {
    State& state = state_of(fault);
    if (state.one_in == 0) return 0;
    // relaxed, both: counts.
    const std::uint64_t call = state.calls.fetch_add(1, std::memory_order_relaxed);
    if (call < state.after) return 0;
    const std::uint64_t x = mix(mix(seed * 64 + static_cast<std::uint64_t>(fault)) + call);
    if ((x >> 20) % state.one_in != 0) return 0;
    state.count.fetch_add(1, std::memory_order_relaxed);
    return x | 1;
  }
  static int one_of(std::uint64_t x, std::initializer_list<int> all) noexcept {
    return *(all.begin() + (x >> 40) % all.size());
  }

  // F1. Both are done on the descriptor of the call, which holds it.
  static bool is_tcp(int fd) noexcept {
    int protocol = 0;
    socklen_t size = sizeof protocol;
    return ::getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) == 0 && protocol == IPPROTO_TCP;
  }
  static bool has_bytes(int fd) noexcept {  // else RCVLOWAT tells nobody: a reset, say, has been told already
    int n = 0;
    return is_tcp(fd) && ::ioctl(fd, FIONREAD, &n) == 0 && n > 0;
  }
  static void edge_to_read(int fd) noexcept {
    const int one = 1;
    ::setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &one, sizeof one);
  }
  static void edge_to_write(int fd) noexcept {
    int room = 0;
    socklen_t size = sizeof room;
    ::getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, &size);
    room /= 2;  // the kernel doubles what it is told
    ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
  }

  static void make_fail(io_uring_sqe& sqe, int result) noexcept {
    const std::uint64_t tag = sqe.user_data;
    sqe = {};
    sqe.opcode = IORING_OP_NOP;
    sqe.fd = -1;
    sqe.user_data = tag;
    sqe.nop_flags = IORING_NOP_INJECT_RESULT;
    sqe.len = static_cast<std::uint32_t>(result);
  }

  static void arming(io_uring_sqe* sqe) {
    if (const std::uint64_t x = happens(Fault::kOpFails); x != 0) {
      switch (sqe->opcode) {
        case IORING_OP_RECV: make_fail(*sqe, one_of(x, {-ENOBUFS, -ECANCELED, -EAGAIN, -EINTR})); return;
        case IORING_OP_ACCEPT:
          make_fail(*sqe, one_of(x, {-EMFILE, -ENFILE, -ECONNABORTED, -ECANCELED, -EAGAIN, -EINTR}));
          return;
        default: make_fail(*sqe, one_of(x, {-ECANCELED, -ENOMEM})); return;
      }
    }
    const bool poll = sqe->opcode == IORING_OP_POLL_ADD;
    if (poll && happens(Fault::kSpurious) != 0) {
      make_fail(*sqe, (sqe->poll32_events & POLLOUT) != 0 ? POLLOUT : POLLIN);
      return;
    }
    if (happens(Fault::kSingleShot) == 0) return;
    if (poll) sqe->len &= ~IORING_POLL_ADD_MULTI;
    if (sqe->opcode == IORING_OP_RECV) sqe->ioprio = static_cast<std::uint16_t>(sqe->ioprio & ~IORING_RECV_MULTISHOT);
    if (sqe->opcode == IORING_OP_ACCEPT)
      sqe->ioprio = static_cast<std::uint16_t>(sqe->ioprio & ~IORING_ACCEPT_MULTISHOT);
  }

  static int enter_fault() noexcept {
    const std::uint64_t x = happens(Fault::kEnterFails);
    return x == 0 ? 0 : one_of(x, {-EBUSY, -EAGAIN, -EINTR});
  }

  // Adds reports of descriptors that are registered with `epfd`, or were: a tag that no longer fits must do no harm.
  static int add_spurious(int epfd, epoll_event* events, int n, int most) noexcept {
    if (n < 0 || n == most) return n;
    const std::uint64_t x = happens(Fault::kSpurious);
    if (x == 0) return n;
    const LockGuard guard(lock);
    for (std::size_t i = 0; i < registered.size() && n < most; ++i) {
      const Registered& one = registered[(x + i) % registered.size()];
      if (one.epfd != epfd || i % 4 != 0) continue;
      events[n] = one.event;
      events[n++].events &= EPOLLIN | EPOLLOUT;
    }
    return n;
  }

  static Sys table() {
    Sys sys = kRealSys;
    sys.recv = [](int fd, void* buf, std::size_t len, int flags) -> ssize_t {
      if (happens(Fault::kInterrupted) != 0) return -EINTR;
      if ((flags & MSG_PEEK) == 0 && happens(Fault::kReadAgain) != 0 && has_bytes(fd)) {
        edge_to_read(fd);
        return -EAGAIN;
      }
      const bool is_short = len > 1 && (flags & MSG_PEEK) == 0 && happens(Fault::kShortRead) != 0 && has_bytes(fd);
      const ssize_t n = kRealSys.recv(fd, buf, is_short ? 1 : len, flags);
      if (is_short) edge_to_read(fd);
      return n;
    };
    sys.send = [](int fd, const void* buf, std::size_t len, int flags) -> ssize_t {
      if (happens(Fault::kInterrupted) != 0) return -EINTR;
      if (happens(Fault::kWriteAgain) != 0 && is_tcp(fd)) {
        edge_to_write(fd);
        return -EAGAIN;
      }
      const bool is_short = len > 1 && happens(Fault::kShortWrite) != 0;
      const ssize_t n = kRealSys.send(fd, buf, is_short ? 1 : len, flags);
      if (is_short && is_tcp(fd)) edge_to_write(fd);
      return n;
    };
    sys.sendmsg = [](int fd, const msghdr* msg, int flags) -> ssize_t {
      if (happens(Fault::kInterrupted) != 0) return -EINTR;
      if (msg->msg_iovlen > 1 && happens(Fault::kShortWrite) != 0 && is_tcp(fd)) {
        msghdr first = *msg;
        first.msg_iovlen = 1;
        const ssize_t n = kRealSys.sendmsg(fd, &first, flags);
        edge_to_write(fd);
        return n;
      }
      return kRealSys.sendmsg(fd, msg, flags);
    };
    sys.recvmsg = [](int fd, msghdr* msg, int flags) -> ssize_t {
      return happens(Fault::kInterrupted) != 0 ? -EINTR : kRealSys.recvmsg(fd, msg, flags);
    };
    sys.sendmmsg = [](int fd, mmsghdr* messages, unsigned count, int flags) {
      if (happens(Fault::kInterrupted) != 0) return -EINTR;
      return kRealSys.sendmmsg(fd, messages, happens(Fault::kShortWrite) != 0 ? 1 : count, flags);
    };
    sys.recvmmsg = [](int fd, mmsghdr* messages, unsigned count, int flags) {
      if (happens(Fault::kInterrupted) != 0) return -EINTR;
      return kRealSys.recvmmsg(fd, messages, count, flags);
    };
    sys.accept4 = [](int fd, sockaddr* sa, socklen_t* len, int flags) {
      if (happens(Fault::kInterrupted) != 0) return -EINTR;
      if (const std::uint64_t x = happens(Fault::kNoDescriptors); x != 0)
        return one_of(x, {-EMFILE, -ENFILE, -ENOBUFS, -ENOMEM});
      if (const std::uint64_t x = happens(Fault::kGoneBefore); x != 0)
        return one_of(x, {-ECONNABORTED, -EPROTO, -ENETDOWN});
      return kRealSys.accept4(fd, sa, len, flags);
    };
    sys.connect = [](int fd, const sockaddr* sa, socklen_t len) {
      const int status = kRealSys.connect(fd, sa, len);
      return status == -EINPROGRESS && happens(Fault::kInterrupted) != 0 ? -EINTR : status;
    };
    sys.close = [](int fd) {
      const int status = kRealSys.close(fd);
      return happens(Fault::kInterrupted) != 0 ? -EINTR : status;  // closed all the same: close(2)
    };
    sys.epoll_ctl = [](int epfd, int op, int fd, epoll_event* event) {
      if (op != EPOLL_CTL_DEL) {
        if (const std::uint64_t x = happens(Fault::kCannotWatch); x != 0) return one_of(x, {-ENOSPC, -ENOMEM});
      }
      const int status = kRealSys.epoll_ctl(epfd, op, fd, event);
      if (status == 0 && op != EPOLL_CTL_DEL && state_of(Fault::kSpurious).one_in != 0) {
        const LockGuard guard(lock);
        registered[static_cast<std::size_t>(fd) % registered.size()] = {epfd, *event};
      }
      return status;
    };
    sys.epoll_wait = [](int epfd, epoll_event* events, int most, int timeout_ms) {
      if (timeout_ms != 0 && happens(Fault::kWaitEnds) != 0) return -EINTR;
      return add_spurious(epfd, events, kRealSys.epoll_wait(epfd, events, most, timeout_ms), most);
    };
    sys.epoll_pwait2 = [](int epfd, epoll_event* events, int most, const timespec* timeout) {
      if (happens(Fault::kWaitEnds) != 0) return -EINTR;
      return add_spurious(epfd, events, kRealSys.epoll_pwait2(epfd, events, most, timeout), most);
    };
    sys.ring_init = [](unsigned entries, io_uring* ring, io_uring_params* params) {
      return happens(Fault::kNoRing) != 0 ? -ENOMEM : kRealSys.ring_init(entries, ring, params);
    };
    sys.ring_buffers = [](io_uring* ring, unsigned count, int group, int* status) -> io_uring_buf_ring* {
      if (happens(Fault::kNoBuffers) == 0) return kRealSys.ring_buffers(ring, count, group, status);
      *status = -ENOMEM;
      return nullptr;
    };
    sys.ring_submit = [](io_uring* ring) {
      const int error = enter_fault();
      return error != 0 ? error : kRealSys.ring_submit(ring);
    };
    sys.ring_enter = [](io_uring* ring) {
      const int error = enter_fault();
      return error != 0 ? error : kRealSys.ring_enter(ring);
    };
    sys.ring_wait = [](io_uring* ring, const timespec* limit) {
      if (happens(Fault::kWaitEnds) != 0) return -EINTR;
      const int error = enter_fault();
      return error != 0 ? error : kRealSys.ring_wait(ring, limit);
    };
    sys.arming = arming;
    return sys;
  }

  static inline std::array<State, static_cast<std::size_t>(Fault::kCount)> states;
  static inline std::uint64_t seed = 1;
  static inline RawMutex lock{LockRank::kLeaf};
  static inline std::array<Registered, 64> registered;  // guarded by lock

  struct Installed {
    explicit Installed(const Sys& sys) : table(sys), scoped(table) {}
    const Sys table;
    const ScopedSys scoped;
  } scoped_;
};

}  // namespace heddle::net::test
