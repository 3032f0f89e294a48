// Inbound: bytes that came while a goroutine was busy and that its exchange has no room for.
//
// A list of pooled buffers, first in first out. The connection's lock guards it. The goroutine takes whole buffers off
// its head and reads them without the lock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include <heddle/http/internal/pool.h>

namespace heddle::http {

struct InChunk {
  InChunk* next;
  std::uint32_t begin;
  std::uint32_t end;
  static constexpr std::size_t kCapacity = kBufferSize - 16;
  char data[kCapacity];
};
static_assert(sizeof(InChunk) == kBufferSize);

class Inbound {
 public:
  Inbound() = default;
  ~Inbound();
  Inbound(const Inbound&) = delete;
  Inbound& operator=(const Inbound&) = delete;

  /// Copies `bytes` to the end. Throws std::bad_alloc, having taken none or some of them.
  void push(std::span<const std::byte> bytes);
  /// The oldest buffer, now the caller's to free; nullptr if there is none.
  [[nodiscard]] InChunk* pop() noexcept;
  [[nodiscard]] bool empty() const noexcept { return head_ == nullptr; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

  static void free(InChunk* chunk) noexcept { pool_put(PoolId::kBuffer, chunk); }

 private:
  InChunk* head_ = nullptr;
  InChunk* tail_ = nullptr;
  std::size_t size_ = 0;  // bytes
};

}  // namespace heddle::http
