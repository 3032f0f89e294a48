// BufferRing: the buffers that one worker's ring receives into. An idle connection holds none.
//
//     in the ring (the kernel may fill it) --completion with its number--> ours, during on_data --give_back, publish--> in the ring
//
// I1. A buffer is given back in the turn in which its completion is handled; so what is missing from the ring is at most
//     what lies in the completion queue, and running dry (ENOBUFS) means "drain, then arm again".
// I2. The kernel looks at the ring only while we are in it (DEFER_TASKRUN); so one publish per batch is enough.
//
// Buffers are taken in turn, so each request touches another one. With a stride of a page their first lines, which is all
// that a small request fills, would share a few sets of the cache: kStride adds a line.
#pragma once

#include <liburing.h>

#include <cstddef>
#include <cstdint>
#include <span>

namespace heddle::net {

class BufferRing {
 public:
  static constexpr unsigned kGroup = 0;          // the one buffer group of a ring
  static constexpr std::size_t kSize = 4096;     // bytes: a request head fits; of a body, only the first pieces
  static constexpr std::size_t kStride = kSize + 64;

  /// What the kernel and we share.
  struct Memory {
    unsigned count = 0;
    io_uring_buf_ring* ring = nullptr;
    std::byte* bytes = nullptr;
  };

  /// Makes and registers `count` buffers, a power of two. Returns 0 or an errno: ENOMEM …
  [[nodiscard]] static int set_up(io_uring& ring, unsigned count, Memory& memory) noexcept;

  /// Takes over what set_up() has made for `ring`, which must outlive it.
  BufferRing(io_uring& ring, const Memory& memory) noexcept;
  ~BufferRing();
  BufferRing(const BufferRing&) = delete;
  BufferRing& operator=(const BufferRing&) = delete;

  /// The bytes of a completion that names buffer `id`.
  [[nodiscard]] std::span<const std::byte> bytes(unsigned id, std::size_t size) const noexcept {
    return {memory_ + id * kStride, size};
  }
  /// Puts a buffer back, for the kernel to see at the next publish().
  void give_back(unsigned id) noexcept {
    io_uring_buf_ring_add(buffers_, memory_ + id * kStride, kSize, static_cast<unsigned short>(id), mask_,
                          static_cast<int>(unpublished_++));
  }
  void publish() noexcept {
    if (unpublished_ == 0) return;
    io_uring_buf_ring_advance(buffers_, static_cast<int>(unpublished_));
    unpublished_ = 0;
  }

 private:
  io_uring& ring_;
  const unsigned count_;
  const int mask_;
  io_uring_buf_ring* const buffers_;
  std::byte* const memory_;
  unsigned unpublished_ = 0;
};

}  // namespace heddle::net
