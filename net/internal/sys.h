// Sys: the system calls of net, behind one table, so that a test can return a short write, EAGAIN or EMFILE.
//
// Each entry returns the call's value, or -errno. Two reasons: errno is thread-local, and a compiler may keep its address
// across a park, after which the goroutine stands on another thread; and a value cannot be overwritten before it is read.
//
// It has the calls into a ring, too, and a look at each request that a ring is given: a test can so end a multishot, or have
// a request fail, and the kernel itself reports it. The price is an indirect call per system call, and one comparison per
// request: nothing beside the system call (the tests so run on what is shipped).
//
// The table is the one mutable global of net besides the slabs: only tests write it, while no scheduler runs.
#pragma once

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <cstddef>

struct io_uring;
struct io_uring_buf_ring;
struct io_uring_params;
struct io_uring_sqe;
struct timespec;

namespace heddle::net {

struct Sys {
  ssize_t (*recv)(int fd, void* buf, std::size_t len, int flags);
  ssize_t (*send)(int fd, const void* buf, std::size_t len, int flags);
  ssize_t (*sendmsg)(int fd, const msghdr* msg, int flags);
  ssize_t (*recvmsg)(int fd, msghdr* msg, int flags);
  int (*sendmmsg)(int fd, mmsghdr* messages, unsigned count, int flags);
  int (*recvmmsg)(int fd, mmsghdr* messages, unsigned count, int flags);
  int (*socket)(int family, int type, int protocol);
  int (*socketpair)(int family, int type, int protocol, int fds[2]);
  int (*bind)(int fd, const sockaddr* sa, socklen_t len);
  int (*listen)(int fd, int backlog);
  int (*accept4)(int fd, sockaddr* sa, socklen_t* len, int flags);
  int (*connect)(int fd, const sockaddr* sa, socklen_t len);
  int (*shutdown)(int fd, int how);
  int (*close)(int fd);
  int (*setsockopt)(int fd, int level, int name, const void* value, socklen_t len);
  int (*getsockopt)(int fd, int level, int name, void* value, socklen_t* len);
  int (*getsockname)(int fd, sockaddr* sa, socklen_t* len);
  int (*getpeername)(int fd, sockaddr* sa, socklen_t* len);
  ssize_t (*splice)(int from, int to, std::size_t len, unsigned flags);
  ssize_t (*sendfile)(int to, int from, off_t* offset, std::size_t len);
  int (*epoll_ctl)(int epfd, int op, int fd, epoll_event* event);
  int (*epoll_wait)(int epfd, epoll_event* events, int most, int timeout_ms);
  int (*epoll_pwait2)(int epfd, epoll_event* events, int most, const timespec* timeout);

  // A ring's. `limit` may be null: no limit.
  int (*ring_init)(unsigned entries, io_uring* ring, io_uring_params* params);
  io_uring_buf_ring* (*ring_buffers)(io_uring* ring, unsigned count, int group, int* status);  // status: 0 or -errno
  int (*ring_submit)(io_uring* ring);
  int (*ring_enter)(io_uring* ring);  // submits, and lets the kernel make completions
  int (*ring_wait)(io_uring* ring, const timespec* limit);

  /// Called for each request that arms something, before it can be submitted; it may change the request. Null: not called.
  void (*arming)(io_uring_sqe* sqe);
};

/// The kernel's own calls.
extern const Sys kRealSys;

namespace detail {
extern const Sys* current_sys;
}

[[nodiscard]] inline const Sys& sys() noexcept { return *detail::current_sys; }

/// Puts `table` in the place of the kernel's calls for a scope. For tests, while no scheduler runs.
class ScopedSys {
 public:
  explicit ScopedSys(const Sys& table) noexcept : before_(detail::current_sys) { detail::current_sys = &table; }
  ~ScopedSys() { detail::current_sys = before_; }
  ScopedSys(const ScopedSys&) = delete;
  ScopedSys& operator=(const ScopedSys&) = delete;

 private:
  const Sys* before_;
};

}  // namespace heddle::net
