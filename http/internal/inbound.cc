#include <heddle/http/internal/inbound.h>

#include <algorithm>
#include <cstring>

namespace heddle::http {

Inbound::~Inbound() {
  while (InChunk* chunk = pop()) free(chunk);
}

void Inbound::push(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    if (tail_ == nullptr || tail_->end == InChunk::kCapacity) {
      auto* chunk = static_cast<InChunk*>(pool_get(PoolId::kBuffer));
      chunk->next = nullptr;
      chunk->begin = chunk->end = 0;
      (tail_ == nullptr ? head_ : tail_->next) = chunk;
      tail_ = chunk;
    }
    const std::size_t n = std::min(bytes.size(), InChunk::kCapacity - tail_->end);
    std::memcpy(tail_->data + tail_->end, bytes.data(), n);
    tail_->end += static_cast<std::uint32_t>(n);
    size_ += n;
    bytes = bytes.subspan(n);
  }
}

InChunk* Inbound::pop() noexcept {
  InChunk* chunk = head_;
  if (chunk == nullptr) return nullptr;
  head_ = chunk->next;
  if (head_ == nullptr) tail_ = nullptr;
  size_ -= chunk->end - chunk->begin;
  return chunk;
}

}  // namespace heddle::http
