// UDP: multicast groups, and how what is sent to them travels.
//
// A socket of IPv6 that is not V6ONLY sends to groups of both families, and each has options of its own: so such a socket
// gets both.
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include <heddle/net/internal/fd_use.h>
#include <heddle/net/udp.h>

namespace heddle::net {
namespace {

// RFC 3678 s5.1: one call for both families, of which the group's says the level.
Result<void> change_group(const detail::Handle& handle, const Address& group, unsigned interface, int option,
                          const char* op) {
  group_req request{};
  if (group.size() == 0 || group.size() > sizeof request.gr_group) return std::unexpected(Error{Code::kInvalid, 0, op});
  request.gr_interface = interface;
  std::memcpy(&request.gr_group, group.sa(), group.size());
  const int level = group.family() == AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IP;
  const Result<void> changed = with_fd(
      handle, op, [&](PollDesc& pd) { return sys().setsockopt(pd.fd, level, option, &request, sizeof request); });
  // An IPv4 socket knows no IPv6.
  if (!changed && changed.error().sys == ENOPROTOOPT) return std::unexpected(Error{Code::kInvalid, ENOPROTOOPT, op});
  return changed;
}

// Sets an option of both families on a socket that may send both. `v6` and `v4` return -errno.
template <class V6, class V4>
Result<void> of_both_families(const detail::Handle& handle, const char* op, V6 v6, V4 v4) {
  return with_fd(handle, op, [&](PollDesc& pd) {
    if (get_flag(pd.fd, SOL_SOCKET, SO_DOMAIN) != AF_INET6) return v4(pd.fd);
    const int status = v6(pd.fd);
    return status == 0 && get_flag(pd.fd, IPPROTO_IPV6, IPV6_V6ONLY) == 0 ? v4(pd.fd) : status;
  });
}

}  // namespace

Result<void> UdpSocket::join_group(const Address& group, unsigned interface) {
  return change_group(handle_, group, interface, MCAST_JOIN_GROUP, "join_group");
}

Result<void> UdpSocket::leave_group(const Address& group, unsigned interface) {
  return change_group(handle_, group, interface, MCAST_LEAVE_GROUP, "leave_group");
}

Result<void> UdpSocket::set_multicast_interface(unsigned interface) {
  const int index = static_cast<int>(interface);
  return of_both_families(
      handle_, "set_multicast_interface", [&](int fd) { return set_flag(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, index); },
      [&](int fd) {
        ip_mreqn request{};
        request.imr_ifindex = index;
        return sys().setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &request, sizeof request);
      });
}

Result<void> UdpSocket::set_multicast_loop(bool on) {
  return of_both_families(
      handle_, "set_multicast_loop",
      [on](int fd) { return set_flag(fd, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, on ? 1 : 0); },
      [on](int fd) { return set_flag(fd, IPPROTO_IP, IP_MULTICAST_LOOP, on ? 1 : 0); });
}

Result<void> UdpSocket::set_multicast_ttl(int hops) {
  constexpr const char* kOp = "set_multicast_ttl";
  if (hops < 0 || hops > 255) return std::unexpected(Error{Code::kInvalid, 0, kOp});
  return of_both_families(
      handle_, kOp, [hops](int fd) { return set_flag(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, hops); },
      [hops](int fd) { return set_flag(fd, IPPROTO_IP, IP_MULTICAST_TTL, hops); });
}

Result<unsigned> interface_index(const std::string& name) {
  const unsigned index = ::if_nametoindex(name.c_str());
  if (index == 0) return std::unexpected(Error{Code::kNotFound, 0, "interface_index"});
  return index;
}

}  // namespace heddle::net
