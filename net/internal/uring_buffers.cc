// Registering the buffers.
#include <heddle/net/internal/uring_buffers.h>

#include <sys/mman.h>

#include <cerrno>

#include <heddle/net/internal/sys.h>

namespace heddle::net {

int BufferRing::set_up(io_uring& ring, unsigned count, Memory& memory) noexcept {
  int status = 0;
  io_uring_buf_ring* buffers = sys().ring_buffers(&ring, count, kGroup, &status);
  if (buffers == nullptr) return -status;
  void* bytes = ::mmap(nullptr, count * kStride, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (bytes == MAP_FAILED) {
    io_uring_free_buf_ring(&ring, buffers, count, static_cast<int>(kGroup));
    return ENOMEM;
  }
  memory = {count, buffers, static_cast<std::byte*>(bytes)};
  return 0;
}

BufferRing::BufferRing(io_uring& ring, const Memory& memory) noexcept
    : ring_(ring),
      count_(memory.count),
      mask_(io_uring_buf_ring_mask(memory.count)),
      buffers_(memory.ring),
      memory_(memory.bytes) {
  for (unsigned id = 0; id < count_; ++id) give_back(id);
  publish();
}

BufferRing::~BufferRing() {
  io_uring_free_buf_ring(&ring_, buffers_, count_, static_cast<int>(kGroup));
  ::munmap(memory_, count_ * kStride);
}

}  // namespace heddle::net
