// OwnedFd: a raw descriptor number with an owner. What passes descriptors around before, or without, anybody waiting
// for them.
#pragma once

#include <utility>

namespace heddle::net {

/// Closes its descriptor unless that is released. Movable. Threads: one at a time, also off goroutines.
class OwnedFd {
 public:
  OwnedFd() noexcept = default;  // none
  explicit OwnedFd(int fd) noexcept : fd_(fd) {}
  ~OwnedFd();
  OwnedFd(OwnedFd&& other) noexcept : fd_(other.release()) {}
  OwnedFd& operator=(OwnedFd&& other) noexcept {
    OwnedFd before(std::exchange(fd_, other.release()));
    return *this;
  }

  explicit operator bool() const noexcept { return fd_ >= 0; }
  /// The number, or -1.
  [[nodiscard]] int get() const noexcept { return fd_; }
  /// The same, and it is the caller's from now on.
  [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }

 private:
  int fd_ = -1;
};

}  // namespace heddle::net
