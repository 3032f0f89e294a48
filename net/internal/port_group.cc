// The programs and the probes.
#include <heddle/net/internal/port_group.h>

#include <linux/filter.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <chrono>
#include <cstdint>
#include <span>

#include <heddle/core/go.h>
#include <heddle/net/internal/socket.h>
#include <heddle/net/internal/sys.h>
#include <heddle/net/owned_fd.h>

namespace heddle::net {
namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t kMostSockets = 64;       // a worker for each of the CPUs of a big machine
constexpr std::uint32_t kByHash = 0xffff'ffffU;  // no index: the kernel chooses as it does without a program
constexpr std::uint32_t kKeep = 0xffff'ffffU;    // of a filter: the whole packet
constexpr std::uint32_t kFlagsAt = 13;           // in a TCP header: RFC 9293 s3.1
constexpr std::uint32_t kSynAck = 0x12, kSyn = 0x02;
constexpr auto kProbePatience = 250ms;  // a SYN over the loopback takes microseconds, unless the machine is loaded

enum class Probe { kOurs, kTheirs, kUnknown };

bool attach(int fd, int option, std::span<sock_filter> code) noexcept {
  const sock_fprog program{static_cast<unsigned short>(code.size()), code.data()};
  return sys().setsockopt(fd, SOL_SOCKET, option, &program, sizeof program) == 0;
}

// Connections from `port` to the socket `index`, the others as ever. What the program sees begins behind the TCP header; the
// port is the first field of that, behind an IP header without options, as our probes have it.
bool name_for_probe(int fd, int family, std::uint16_t port, std::uint32_t index) noexcept {
  const std::uint32_t ip_header = family == AF_INET6 ? 40 : 20;
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_H | BPF_ABS, static_cast<std::uint32_t>(SKF_NET_OFF) + ip_header),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, port, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, index),
      BPF_STMT(BPF_RET | BPF_K, kByHash),
  };
  return attach(fd, SO_ATTACH_REUSEPORT_CBPF, code);
}

// All connections to others than the socket `index`: to one of those before it, or, from the first, to the second.
bool name_others(int fd, std::uint32_t index) noexcept {
  if (index == 0) {
    sock_filter second = BPF_STMT(BPF_RET | BPF_K, 1);
    return attach(fd, SO_ATTACH_REUSEPORT_CBPF, {&second, 1});
  }
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(SKF_AD_OFF + SKF_AD_RANDOM)),
      BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, index),
      BPF_STMT(BPF_RET | BPF_A, 0),
  };
  return attach(fd, SO_ATTACH_REUSEPORT_CBPF, code);
}

bool drop_from(int fd, std::uint16_t port) noexcept {
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, port, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, 0),
      BPF_STMT(BPF_RET | BPF_K, kKeep),
  };
  return attach(fd, SO_ATTACH_FILTER, code);
}

bool drop_syns(int fd) noexcept {
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, kFlagsAt),
      BPF_STMT(BPF_ALU | BPF_AND | BPF_K, kSynAck),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kSyn, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, 0),
      BPF_STMT(BPF_RET | BPF_K, kKeep),
  };
  return attach(fd, SO_ATTACH_FILTER, code);
}

// Packets that the socket has dropped so far, or -1.
std::int64_t drops_of(int fd) noexcept {
  std::uint32_t values[SK_MEMINFO_VARS] = {};
  socklen_t size = sizeof values;
  if (sys().getsockopt(fd, SOL_SOCKET, SO_MEMINFO, values, &size) < 0 || size < sizeof values) return -1;
  return values[SK_MEMINFO_DROPS];
}

std::uint16_t& port_in(sockaddr_storage& address) noexcept {
  return address.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(address).sin6_port
                                       : reinterpret_cast<sockaddr_in&>(address).sin_port;
}

// Where a probe goes, and comes from: the socket's own address; of all addresses, the loopback's.
bool probe_address(int fd, sockaddr_storage& address, socklen_t& size) noexcept {
  size = sizeof address;
  if (sys().getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) < 0) return false;
  if (address.ss_family == AF_INET6) {
    in6_addr& ip = reinterpret_cast<sockaddr_in6&>(address).sin6_addr;
    if (IN6_IS_ADDR_UNSPECIFIED(&ip)) ip = in6addr_loopback;
    return IN6_IS_ADDR_V4MAPPED(&ip) == 0;  // its packets have the other header
  }
  in_addr& ip = reinterpret_cast<sockaddr_in&>(address).sin_addr;
  if (ip.s_addr == htonl(INADDR_ANY)) ip.s_addr = htonl(INADDR_LOOPBACK);
  return address.ss_family == AF_INET;
}

// Is `fd` the socket `index` of its group?
Probe probe(int fd, std::uint32_t index) {
  sockaddr_storage to{};
  socklen_t size = 0;
  if (!probe_address(fd, to, size)) return Probe::kUnknown;
  const Result<OwnedFd> socket = tcp_socket(to.ss_family);
  if (!socket) return Probe::kUnknown;
  sockaddr_storage from = to;
  port_in(from) = 0;
  socklen_t from_size = size;
  if (sys().bind(socket->get(), reinterpret_cast<sockaddr*>(&from), from_size) < 0 ||
      sys().getsockname(socket->get(), reinterpret_cast<sockaddr*>(&from), &from_size) < 0) {
    return Probe::kUnknown;
  }
  const std::uint16_t port = ntohs(port_in(from));
  if (!name_for_probe(fd, to.ss_family, port, index) || !drop_from(fd, port)) return Probe::kUnknown;
  const std::int64_t before = drops_of(fd);
  if (before < 0) return Probe::kUnknown;
  const int status = sys().connect(socket->get(), reinterpret_cast<sockaddr*>(&to), size);
  if (status < 0 && status != -EINPROGRESS) return Probe::kUnknown;
  Duration pause = 100us;
  for (const TimePoint give_up = now() + kProbePatience;;) {
    const bool dropped = drops_of(fd) != before;  // looked at first: a connection that stands was not dropped
    pollfd one{socket->get(), POLLOUT, 0};
    if (::poll(&one, 1, 0) == 1) return (one.revents & (POLLERR | POLLHUP)) == 0 ? Probe::kTheirs : Probe::kUnknown;
    if (dropped) return Probe::kOurs;
    if (now() >= give_up) return Probe::kUnknown;
    sleep(pause);
    pause *= 2;
  }
}

}  // namespace

bool shares_port(int fd) noexcept { return get_flag(fd, SOL_SOCKET, SO_REUSEPORT) > 0; }

bool divert(int fd) {
  for (std::uint32_t index = 0; index < kMostSockets; ++index) {
    const Probe found = probe(fd, index);
    if (found == Probe::kUnknown) break;
    if (found == Probe::kTheirs) continue;
    let_packets_in(fd);
    if (name_others(fd, index)) return true;
    break;
  }
  undo_divert(fd);
  drop_syns(fd);  // refused, too: then SYNs come until the end, as they do to any other server
  return false;
}

void undo_divert(int fd) noexcept {
  const int unused = 0;
  if (sys().setsockopt(fd, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, &unused, sizeof unused) != -ENOPROTOOPT) return;
  sock_filter by_hash = BPF_STMT(BPF_RET | BPF_K, kByHash);  // before Linux 5.3
  attach(fd, SO_ATTACH_REUSEPORT_CBPF, {&by_hash, 1});
}

}  // namespace heddle::net
