// Registering the buffers.
#include <heddle/net/internal/uring_buffers.h>

#include <sys/mman.h>

#include <cerrno>

#include <heddle/core/check.h>

namespace heddle::net {

BufferRing::BufferRing(io_uring& ring, unsigned count)
    : ring_(ring), count_(count), mask_(io_uring_buf_ring_mask(count)) {
  int status = 0;
  buffers_ = io_uring_setup_buf_ring(&ring, count, kGroup, 0, &status);
  if (buffers_ == nullptr) fatal("io_uring: a ring of %u receive buffers: errno %d", count, -status);
  void* memory = ::mmap(nullptr, count * kStride, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) fatal("io_uring: %zu bytes of receive buffers: errno %d", count * kStride, errno);
  memory_ = static_cast<std::byte*>(memory);
  for (unsigned id = 0; id < count; ++id) give_back(id);
  publish();
}

BufferRing::~BufferRing() {
  io_uring_free_buf_ring(&ring_, buffers_, count_, static_cast<int>(kGroup));
  ::munmap(memory_, count_ * kStride);
}

}  // namespace heddle::net
