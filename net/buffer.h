// Buffers: memory for bytes on their way, kept per P and lent out (core/pool.h).
//
// A buffer belongs to bytes, not to a connection: it is taken when bytes come and given back when none are left. So what
// a process holds is what is under way, however many connections it has.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include <heddle/core/pool.h>

namespace heddle::net {

/// The sizes that there are.
enum class BufferSize : std::uint8_t { k4K, k16K, k64K };

[[nodiscard]] constexpr std::size_t capacity_of(BufferSize size) noexcept {
  return std::size_t{4096} << (2 * static_cast<unsigned>(size));
}

/// The smallest size that has room for `bytes`; the largest if none has.
[[nodiscard]] constexpr BufferSize buffer_size_for(std::size_t bytes) noexcept {
  return bytes <= capacity_of(BufferSize::k4K)    ? BufferSize::k4K
         : bytes <= capacity_of(BufferSize::k16K) ? BufferSize::k16K
                                                  : BufferSize::k64K;
}

/// A buffer, or none. Moves; goes back to its pool at the end of its scope.
class Buffer {
 public:
  Buffer() noexcept = default;

  /// One of `size` bytes, with what its last user left in it. Errors: std::bad_alloc. Threads: any.
  [[nodiscard]] static Buffer take(BufferSize size);

  explicit operator bool() const noexcept { return static_cast<bool>(memory_); }
  [[nodiscard]] std::byte* data() const noexcept { return memory_->get(); }
  void give_back() noexcept { memory_.reset(); }

 private:
  using Memory = std::unique_ptr<std::byte[]>;
  explicit Buffer(Pooled<Memory> memory) noexcept : memory_(std::move(memory)) {}

  Pooled<Memory> memory_;
};

}  // namespace heddle::net
