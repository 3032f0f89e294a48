// Control data, taken apart and put together.
#include <heddle/net/internal/fd_passing.h>

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace heddle::net {
namespace {

struct alignas(cmsghdr) Control {
  std::array<std::byte, CMSG_SPACE(kMostFds * sizeof(int))> bytes;
};

iovec vector_of(std::span<const std::byte> data) noexcept {
  return {const_cast<std::byte*>(data.data()), data.size()};  // sendmsg(2) only reads
}

void take_fds(msghdr& msg, std::vector<OwnedFd>& fds) noexcept {
  for (cmsghdr* c = CMSG_FIRSTHDR(&msg); c != nullptr; c = CMSG_NXTHDR(&msg, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
      fds.emplace_back(fd);  // within its capacity: I1
    }
  }
}

template <class Call>
Result<UnixAddress> unix_address_by(Call call, const detail::Handle& handle, const char* op) {
  Inside inside(handle, FdUse::kOther, op);
  if (!inside) return closed(op);
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  const int status = call(inside->fd, reinterpret_cast<sockaddr*>(&storage), &length);
  if (status < 0) return failed(status, op);
  return UnixAddress::from(reinterpret_cast<const sockaddr*>(&storage), length);
}

}  // namespace

ssize_t send_message(int fd, std::span<const std::byte> data, std::span<const int> fds,
                     const UnixAddress* to) noexcept {
  iovec iov = vector_of(data);
  msghdr msg{};
  msg.msg_iov = &iov;
  msg.msg_iovlen = 1;
  if (to != nullptr) {
    msg.msg_name = const_cast<sockaddr*>(to->sa());
    msg.msg_namelen = to->size();
  }
  Control control;
  if (!fds.empty()) {
    msg.msg_control = control.bytes.data();
    msg.msg_controllen = CMSG_LEN(fds.size_bytes());
    cmsghdr* c = CMSG_FIRSTHDR(&msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(c), fds.data(), fds.size_bytes());
  }
  return sys().sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

Result<ReceivedFds> receive_message(PollDesc& pd, const Context* ctx, std::span<std::byte> buf, std::size_t most,
                                    const char* op) {
  most = std::min(most, kMostFds);
  ReceivedFds got;
  got.fds.reserve(most);  // I1
  const Result<ssize_t> n = until_ready(pd, Mode::kRead, ctx, op, [&]() -> ssize_t {
    iovec iov = vector_of(buf);
    Control control;
    msghdr msg{};
    msg.msg_iov = &iov;
    msg.msg_iovlen = 1;
    if (most > 0) {
      msg.msg_control = control.bytes.data();
      msg.msg_controllen = CMSG_LEN(most * sizeof(int));  // I2
    }
    const ssize_t size = sys().recvmsg(pd.fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (size < 0) return size;
    pd.drained = false;  // there may be more, and what was reported of it is consumed
    take_fds(msg, got.fds);
    got.truncated = (msg.msg_flags & MSG_TRUNC) != 0;
    got.fds_truncated = (msg.msg_flags & MSG_CTRUNC) != 0;
    return size;
  });
  if (!n) return std::unexpected(n.error());
  if (*n == 0 && pd.lock.closing()) return closed(op);  // the end that close() made, not the peer's
  got.size = static_cast<std::size_t>(*n);
  return got;
}

Result<void> check_fds(std::span<const int> fds, const char* op) {
  if (fds.size() > kMostFds) return std::unexpected(Error{Code::kInvalid, 0, op});
  return {};
}

Error send_error(ssize_t status, const char* op) noexcept {
  Error error = Error::from_errno(static_cast<int>(-status), op);
  if (error.sys == ETOOMANYREFS) error.code = Code::kNoResources;  // too many on their way: unix(7)
  return error;
}

Result<PeerCredentials> credentials_of(const detail::Handle& handle) {
  Inside inside(handle, FdUse::kOther, "peer_credentials");
  if (!inside) return closed("peer_credentials");
  ucred value{};
  socklen_t length = sizeof value;
  const int status = sys().getsockopt(inside->fd, SOL_SOCKET, SO_PEERCRED, &value, &length);
  if (status < 0) return failed(status, "peer_credentials");
  return PeerCredentials{value.pid, value.uid, value.gid};
}

Result<UnixAddress> local_unix_address_of(const detail::Handle& handle) {
  return unix_address_by(sys().getsockname, handle, "getsockname");
}

Result<UnixAddress> remote_unix_address_of(const detail::Handle& handle) {
  return unix_address_by(sys().getpeername, handle, "getpeername");
}

}  // namespace heddle::net
