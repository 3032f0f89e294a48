// Sockets as listeners and dialers need them: made non-blocking and close-on-exec, with the options that heddle always sets.
#pragma once

#include <heddle/core/error.h>
#include <heddle/net/address.h>

namespace heddle::net {

/// A descriptor that closes itself until it is released.
class OwnedFd {
 public:
  explicit OwnedFd(int fd) noexcept : fd_(fd) {}
  ~OwnedFd();
  OwnedFd(OwnedFd&& other) noexcept : fd_(other.release()) {}
  OwnedFd& operator=(OwnedFd&&) = delete;

  [[nodiscard]] int get() const noexcept { return fd_; }
  [[nodiscard]] int release() noexcept {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }

 private:
  int fd_;
};

/// A TCP socket of `family`.
[[nodiscard]] Result<OwnedFd> tcp_socket(int family);

/// A TCP socket bound to `address` and listening. Port 0: the kernel picks one. IPv6's "all interfaces" also takes IPv4
/// (and is IPv4's where the machine has no IPv6).
///
/// While the address is in use it tries again for up to a second: a predecessor that was killed keeps its port until the
/// kernel has taken its ring down in the background. Threads: a goroutine (it sleeps between tries).
[[nodiscard]] Result<OwnedFd> tcp_listen(const Address& address, int backlog, bool reuse_port);

[[nodiscard]] Result<Address> local_address_of(int fd);
[[nodiscard]] Result<Address> peer_address_of(int fd);

}  // namespace heddle::net
