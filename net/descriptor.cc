// Closing and handing over (poll_desc.h says how a descriptor ends).
#include <heddle/net/descriptor.h>

#include <heddle/net/internal/fd_use.h>

namespace heddle::net {

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  if (this != &other) {
    close();
    handle_ = other.take();
  }
  return *this;
}

int Descriptor::native_handle() const noexcept {
  Inside inside(handle_, FdUse::kOther, "native_handle");
  return inside ? inside->fd : -1;
}

Result<int> Descriptor::release_fd() {
  static_cast<void>(must_current_g("net: release_fd"));
  FinishWaiter waiter(/*takes_fd=*/true);
  if (handle_.pd == nullptr || !handle_.pd->close(handle_.generation, &waiter)) return closed("release_fd");
  waiter.wait(WaitReason::kIoWait);
  return waiter.fd;
}

void Descriptor::close() noexcept {
  if (handle_.pd != nullptr) handle_.pd->close(handle_.generation);
}

}  // namespace heddle::net
