// The kernel behind the table of sys.h: each call turned from -1-and-errno to -errno, nothing else.
#include <heddle/net/internal/sys.h>

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
    .epoll_ctl = [](int epfd, int op, int fd,
                    epoll_event* event) { return value_or_errno(::epoll_ctl(epfd, op, fd, event)); },
};

namespace detail {
constinit const Sys* current_sys = &kRealSys;
}

}  // namespace heddle::net
