// Descriptors, credentials and messages that come over Unix sockets: what stream, seqpacket and datagram sockets have
// in common.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <vector>

#include <heddle/net/owned_fd.h>

namespace heddle::net {

/// How many descriptors one call can send. Source: unix(7), SCM_RIGHTS.
inline constexpr std::size_t kMostFds = 253;

/// What receive_fds() got.
struct ReceivedFds {
  std::size_t size = 0;        // bytes in the caller's buffer
  bool truncated = false;      // sockets of messages: this one was longer than the buffer, its rest is gone
  std::vector<OwnedFd> fds;    // close-on-exec, and as blocking as the sender's: they are the same open files
  bool fds_truncated = false;  // more were sent than asked for, or than this process may open: the rest is closed
};

/// Who is at the other end, as the kernel knows it: the process that called listen(2), connect(2) or socketpair(2),
/// then. It may have passed its end on since. Source: unix(7), SO_PEERCRED.
struct PeerCredentials {
  pid_t pid;
  uid_t uid;
  gid_t gid;
};

}  // namespace heddle::net
