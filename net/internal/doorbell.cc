// The eventfd under the doorbell's word.
#include <heddle/net/internal/doorbell.h>

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>

#include <heddle/core/check.h>

namespace heddle::net {

Doorbell::Doorbell() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (fd_ < 0) fatal("a worker's doorbell: eventfd failed with errno %d (is the limit of open files too low?)", errno);
}

Doorbell::~Doorbell() { ::close(fd_); }

void Doorbell::ring() noexcept {
  if (!word_.ring()) return;
  const int saved = errno;  // a signal handler must not change it
  const std::uint64_t one = 1;
  while (::write(fd_, &one, sizeof one) < 0) {
    // EAGAIN would mean a full counter (I3). Anything else but EINTR means that the descriptor is not ours any more.
    if (errno != EINTR) fatal("a worker's doorbell: write failed with errno %d", errno);
  }
  errno = saved;
}

}  // namespace heddle::net
