// Sockets as listeners and dialers need them: made non-blocking and close-on-exec, with the options that heddle always sets.
#pragma once

#include <optional>

#include <heddle/core/error.h>
#include <heddle/net/address.h>
#include <heddle/net/listen_options.h>
#include <heddle/net/owned_fd.h>

namespace heddle::net {

/// A TCP socket of `family`.
[[nodiscard]] Result<OwnedFd> tcp_socket(int family);

/// A TCP socket bound to `address` and listening. Port 0: the kernel picks one. IPv6's "all interfaces" also takes IPv4
/// (and is IPv4's where the machine has no IPv6).
///
/// While the address is in use it tries again for up to a second: a predecessor that was killed keeps its port until the
/// kernel has taken its ring down in the background. Threads: a goroutine (it sleeps between tries).
[[nodiscard]] Result<OwnedFd> tcp_listen(const Address& address, const ListenOptions& options);

/// What a descriptor from elsewhere must be to serve.
struct SocketShape {
  int type;                               // SOCK_STREAM …
  bool ip = false;                        // AF_INET or AF_INET6; else AF_UNIX
  std::optional<bool> listening = {};     // of sockets that may
};

/// Looks whether `fd` is such a socket, and makes it non-blocking and close-on-exec. Errors: kInvalid.
[[nodiscard]] Result<void> check_socket(int fd, const SocketShape& shape, const char* op);

/// setsockopt(2) for an int. Returns 0 or -errno.
int set_flag(int fd, int level, int name, int value) noexcept;
/// getsockopt(2) for an int. Returns it, or -errno.
int get_flag(int fd, int level, int name) noexcept;

/// O_NONBLOCK and FD_CLOEXEC. Returns 0 or -errno.
int make_ours(int fd) noexcept;

/// Has the kernel drop every packet for the listening `fd` itself: no handshake completes any more, and those that had can be
/// accepted in peace. A client that knocks now gets no answer, tries again after a second (its SYN's retransmission) and
/// finds the successor, where close(2) alone would reset it if it came between the last accept and the close.
/// Connections already accepted have sockets of their own and notice nothing. Source: socket(7), SO_ATTACH_FILTER.
void stop_handshakes(int fd) noexcept;

/// For a connection accepted after stop_handshakes(): a handshake that was in its last step then has passed the filter on to
/// the new socket, which would hear nothing for ever. What it missed is sent again by the peer.
void let_packets_in(int fd) noexcept;

[[nodiscard]] Result<Address> local_address_of(int fd);
[[nodiscard]] Result<Address> peer_address_of(int fd);

}  // namespace heddle::net
