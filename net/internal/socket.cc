// Making sockets.
#include <heddle/net/internal/socket.h>

#include <fcntl.h>
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

int set_flag(int fd, int level, int name, int value) noexcept {
  return sys().setsockopt(fd, level, name, &value, sizeof value);
}

int get_flag(int fd, int level, int name) noexcept {
  int value = 0;
  socklen_t length = sizeof value;
  const int status = sys().getsockopt(fd, level, name, &value, &length);
  return status < 0 ? status : value;
}

int make_ours(int fd) noexcept {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || ::fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) return -errno;
  return 0;
}

Result<void> check_socket(int fd, const SocketShape& shape, const char* op) {
  const auto invalid = [op](int status) { return std::unexpected(Error{Code::kInvalid, status < 0 ? -status : 0, op}); };
  const int type = get_flag(fd, SOL_SOCKET, SO_TYPE);
  if (type != shape.type) return invalid(type);
  const int family = get_flag(fd, SOL_SOCKET, SO_DOMAIN);
  if (shape.ip ? family != AF_INET && family != AF_INET6 : family != AF_UNIX) return invalid(family);
  if (shape.listening) {
    const int listening = get_flag(fd, SOL_SOCKET, SO_ACCEPTCONN);
    if (listening < 0 || (listening != 0) != *shape.listening) return invalid(listening);
  }
  if (const int status = make_ours(fd); status < 0) return invalid(status);
  return {};
}

Result<OwnedFd> tcp_listen(const Address& address, const ListenOptions& options) {
  if (is_any_v6(address) && options.family == IpFamily::kV4) {
    ListenOptions any = options;
    any.family = IpFamily::kAny;
    return tcp_listen(*Address::parse("0.0.0.0:" + std::to_string(address.port())), any);
  }
  const int wanted = options.family == IpFamily::kV4 ? AF_INET : options.family == IpFamily::kV6 ? AF_INET6 : 0;
  if (wanted != 0 && wanted != address.family()) return std::unexpected(Error{Code::kInvalid, 0, "listen"});
  const bool dual = is_any_v6(address) && options.family == IpFamily::kAny;
  const TimePoint give_up = now() + kBindPatience;
  for (;;) {
    Result<OwnedFd> socket = tcp_socket(address.family());
    if (!socket && socket.error().sys == EAFNOSUPPORT && dual) {
      return tcp_listen(*Address::parse("0.0.0.0:" + std::to_string(address.port())), options);
    }
    if (!socket) return socket;
    const int fd = socket->get();
    // REUSEADDR: connections of a predecessor in TIME_WAIT do not keep the port. NODELAY is inherited by what is accepted.
    int status = set_flag(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (status == 0 && options.reuse_port) status = set_flag(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (status == 0) status = set_flag(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (status == 0 && address.family() == AF_INET6) status = set_flag(fd, IPPROTO_IPV6, IPV6_V6ONLY, dual ? 0 : 1);
    if (status == 0 && options.configure) {
      if (const Result<void> configured = options.configure(fd); !configured) return std::unexpected(configured.error());
    }
    if (status == 0) status = bind_and_listen(fd, address, options.backlog);
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
