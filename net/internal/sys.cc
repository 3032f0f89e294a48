// The kernel behind the table of sys.h: each call turned from -1-and-errno to -errno (liburing does so itself),
// nothing else.
#include <heddle/net/internal/sys.h>

#include <fcntl.h>
#include <liburing.h>
#include <sys/sendfile.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>

namespace heddle::net {
namespace {

template <class T>
T value_or_errno(T value) noexcept {
  return value >= 0 ? value : static_cast<T>(-errno);
}

}  // namespace

const Sys kRealSys = {
    .recv = [](int fd, void* buf, std::size_t len, int flags) { return value_or_errno(::recv(fd, buf, len, flags)); },
    .send = [](int fd, const void* buf, std::size_t len,
               int flags) { return value_or_errno(::send(fd, buf, len, flags)); },
    .sendmsg = [](int fd, const msghdr* msg, int flags) { return value_or_errno(::sendmsg(fd, msg, flags)); },
    .recvmsg = [](int fd, msghdr* msg, int flags) { return value_or_errno(::recvmsg(fd, msg, flags)); },
    .sendmmsg = [](int fd, mmsghdr* messages, unsigned count,
                   int flags) { return value_or_errno(::sendmmsg(fd, messages, count, flags)); },
    .recvmmsg = [](int fd, mmsghdr* messages, unsigned count,
                   int flags) { return value_or_errno(::recvmmsg(fd, messages, count, flags, nullptr)); },
    .socket = [](int family, int type, int protocol) { return value_or_errno(::socket(family, type, protocol)); },
    .socketpair = [](int family, int type, int protocol,
                     int fds[2]) { return value_or_errno(::socketpair(family, type, protocol, fds)); },
    .bind = [](int fd, const sockaddr* sa, socklen_t len) { return value_or_errno(::bind(fd, sa, len)); },
    .listen = [](int fd, int backlog) { return value_or_errno(::listen(fd, backlog)); },
    .accept4 = [](int fd, sockaddr* sa, socklen_t* len,
                  int flags) { return value_or_errno(::accept4(fd, sa, len, flags)); },
    .connect = [](int fd, const sockaddr* sa, socklen_t len) { return value_or_errno(::connect(fd, sa, len)); },
    .shutdown = [](int fd, int how) { return value_or_errno(::shutdown(fd, how)); },
    .close = [](int fd) { return value_or_errno(::close(fd)); },
    .setsockopt = [](int fd, int level, int name, const void* value,
                     socklen_t len) { return value_or_errno(::setsockopt(fd, level, name, value, len)); },
    .getsockopt = [](int fd, int level, int name, void* value,
                     socklen_t* len) { return value_or_errno(::getsockopt(fd, level, name, value, len)); },
    .getsockname = [](int fd, sockaddr* sa, socklen_t* len) { return value_or_errno(::getsockname(fd, sa, len)); },
    .getpeername = [](int fd, sockaddr* sa, socklen_t* len) { return value_or_errno(::getpeername(fd, sa, len)); },
    .splice = [](int from, int to, std::size_t len,
                 unsigned flags) { return value_or_errno(::splice(from, nullptr, to, nullptr, len, flags)); },
    .sendfile = [](int to, int from, off_t* offset,
                   std::size_t len) { return value_or_errno(::sendfile(to, from, offset, len)); },
    .epoll_ctl = [](int epfd, int op, int fd,
                    epoll_event* event) { return value_or_errno(::epoll_ctl(epfd, op, fd, event)); },
    .epoll_wait = [](int epfd, epoll_event* events, int most,
                     int timeout_ms) { return value_or_errno(::epoll_wait(epfd, events, most, timeout_ms)); },
    .epoll_pwait2 =
        [](int epfd, epoll_event* events, int most, const timespec* timeout) {
          return value_or_errno(::epoll_pwait2(epfd, events, most, timeout, nullptr));
        },
    .ring_init = [](unsigned entries, io_uring* ring,
                    io_uring_params* params) { return ::io_uring_queue_init_params(entries, ring, params); },
    .ring_buffers = [](io_uring* ring, unsigned count, int group,
                       int* status) { return ::io_uring_setup_buf_ring(ring, count, group, 0, status); },
    .ring_submit = [](io_uring* ring) { return ::io_uring_submit(ring); },
    .ring_enter = [](io_uring* ring) { return ::io_uring_submit_and_get_events(ring); },
    .ring_wait =
        [](io_uring* ring, const timespec* limit) {
          __kernel_timespec copy{};
          if (limit != nullptr) copy = {limit->tv_sec, limit->tv_nsec};
          io_uring_cqe* cqe = nullptr;
          return ::io_uring_submit_and_wait_timeout(ring, &cqe, 1, limit != nullptr ? &copy : nullptr, nullptr);
        },
    .arming = nullptr,
};

namespace detail {
constinit const Sys* current_sys = &kRealSys;
}

}  // namespace heddle::net
