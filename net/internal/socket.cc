// Making sockets.
#include <heddle/net/internal/socket.h>

#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <cerrno>
#include <chrono>
#include <string>

#include <heddle/core/go.h>
#include <heddle/net/internal/sys.h>

namespace heddle::net {
namespace {

using namespace std::chrono_literals;

constexpr auto kBindPatience = 1s;  // a ring's teardown was seen to take milliseconds; a real owner keeps the port longer
constexpr auto kBindPause = 5ms;

int set_flag(int fd, int level, int name, int value) noexcept {
  return sys().setsockopt(fd, level, name, &value, sizeof value);
}

bool is_any_v6(const Address& address) noexcept {
  return address.family() == AF_INET6 &&
         IN6_IS_ADDR_UNSPECIFIED(&reinterpret_cast<const sockaddr_in6*>(address.sa())->sin6_addr);
}

template <class Call>
Result<Address> address_by(Call call, int fd, const char* op) {
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  const int status = call(fd, reinterpret_cast<sockaddr*>(&storage), &length);
  if (status < 0) return std::unexpected(Error::from_errno(-status, op));
  return Address::from(reinterpret_cast<const sockaddr*>(&storage), length);
}

// bind(2) and listen(2) may both say EADDRINUSE: with SO_REUSEADDR two sockets bind and the second one to listen fails.
int bind_and_listen(int fd, const Address& address, int backlog) {
  int status = sys().bind(fd, address.sa(), address.size());
  if (status == 0) status = sys().listen(fd, backlog);
  return status;
}

}  // namespace

OwnedFd::~OwnedFd() {
  if (fd_ >= 0) sys().close(fd_);
}

Result<OwnedFd> tcp_socket(int family) {
  const int fd = sys().socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return std::unexpected(Error::from_errno(-fd, "socket"));
  return OwnedFd(fd);
}

Result<OwnedFd> tcp_listen(const Address& address, int backlog, bool reuse_port) {
  const TimePoint give_up = now() + kBindPatience;
  for (;;) {
    Result<OwnedFd> socket = tcp_socket(address.family());
    if (!socket && socket.error().sys == EAFNOSUPPORT && is_any_v6(address)) {
      return tcp_listen(*Address::parse("0.0.0.0:" + std::to_string(address.port())), backlog, reuse_port);
    }
    if (!socket) return socket;
    const int fd = socket->get();
    // REUSEADDR: connections of a predecessor in TIME_WAIT do not keep the port. NODELAY is inherited by what is accepted.
    int status = set_flag(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (status == 0 && reuse_port) status = set_flag(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (status == 0) status = set_flag(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (status == 0 && address.family() == AF_INET6) {
      status = set_flag(fd, IPPROTO_IPV6, IPV6_V6ONLY, is_any_v6(address) ? 0 : 1);
    }
    if (status == 0) status = bind_and_listen(fd, address, backlog);
    if (status == 0) return socket;
    if (status != -EADDRINUSE || now() >= give_up) return std::unexpected(Error::from_errno(-status, "listen"));
    sleep(kBindPause);
  }
}

void stop_handshakes(int fd) noexcept {
  sock_filter drop_all = BPF_STMT(BPF_RET | BPF_K, 0);  // "keep 0 bytes of the packet"
  const sock_fprog program{1, &drop_all};
  // Refused (SO_LOCK_FILTER, a seccomp filter): then the small window stays open, as it is for any other server.
  static_cast<void>(sys().setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program));
}

void let_packets_in(int fd) noexcept {
  const int unused = 0;
  static_cast<void>(sys().setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof unused));  // ENOENT: it has none
}

Result<Address> local_address_of(int fd) { return address_by(sys().getsockname, fd, "getsockname"); }

Result<Address> peer_address_of(int fd) { return address_by(sys().getpeername, fd, "getpeername"); }

}  // namespace heddle::net
