// Slab: slots for descriptors, from mmap(2), recycled and never freed.
//
// I1. A slot is constructed once and stays a T for the life of the process; so a stale pointer finds a T with another
//     generation (fd_lock.h), never foreign memory.
// I2. Slots lie in the lower 48 bits of the address space and on 64-byte boundaries: pollers put a tag into the bits that
//     are left (poll_desc.h). take() checks it.
// I3. The last slot given back is the first taken: it is warm.
//
// One lock per slab, taken twice in a connection's life; a malloc would cost more, and may not be called where a goroutine
// that holds malloc's lock could be preempted. `T` supplies a pointer `next`, which the slab uses while a slot is free.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <new>

#include <heddle/core/check.h>
#include <heddle/core/lock.h>

namespace heddle::net {

template <class T>
class Slab {
 public:
  constexpr Slab() noexcept = default;
  Slab(const Slab&) = delete;
  Slab& operator=(const Slab&) = delete;

  /// A free slot, or nullptr if the kernel has no memory. Threads: any.
  [[nodiscard]] T* take() noexcept {
    LockGuard guard(lock_);
    if (free_ != nullptr) {
      T* slot = free_;
      free_ = static_cast<T*>(slot->next);
      ++in_use_;
      return slot;
    }
    if (chunks_ == nullptr || chunks_->used == kPerChunk) {
      if (!grow()) return nullptr;
    }
    ++in_use_;
    return ::new (static_cast<void*>(slot_at(*chunks_, chunks_->used++))) T;
  }

  /// Gives a slot back. Threads: any.
  void give(T* slot) noexcept {
    LockGuard guard(lock_);
    slot->next = free_;
    free_ = slot;
    --in_use_;
  }

  /// Slots taken and not given back. Threads: any; stale at once.
  [[nodiscard]] std::size_t in_use() noexcept {
    LockGuard guard(lock_);
    return in_use_;
  }

  /// Calls `f(slot)` for every slot made until now, in use or not. `f` may give it back.
  template <class F>
  void for_each(F f) {
    for (Chunk* chunk = first(); chunk != nullptr; chunk = chunk->next) {
      const std::size_t used = used_of(*chunk);
      for (std::size_t i = 0; i < used; ++i) f(*slot_at(*chunk, i));
    }
  }

 private:
  struct alignas(64) Chunk {
    Chunk* next;       // older; constant
    std::size_t used;  // slots constructed; guarded by lock_
  };
  static constexpr std::size_t kChunkBytes = 64 * 1024;  // untouched pages of it cost nothing
  static constexpr std::size_t kPerChunk = (kChunkBytes - sizeof(Chunk)) / sizeof(T);
  static_assert(alignof(T) == 64, "the low six bits of a slot's address carry a tag");

  static T* slot_at(Chunk& chunk, std::size_t i) noexcept {
    return reinterpret_cast<T*>(reinterpret_cast<std::byte*>(&chunk + 1) + i * sizeof(T));
  }

  Chunk* first() noexcept {
    LockGuard guard(lock_);
    return chunks_;
  }

  std::size_t used_of(const Chunk& chunk) noexcept {
    LockGuard guard(lock_);
    return chunk.used;
  }

  bool grow() noexcept {
    void* memory = ::mmap(nullptr, kChunkBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return false;
    HEDDLE_CHECK((reinterpret_cast<std::uintptr_t>(memory) + kChunkBytes) >> 48 == 0);
    chunks_ = ::new (memory) Chunk{chunks_, 0};
    return true;
  }

  RawMutex lock_{LockRank::kLeaf};
  T* free_ = nullptr;       // guarded by lock_
  Chunk* chunks_ = nullptr;  // guarded by lock_; the newest first
  std::size_t in_use_ = 0;   // guarded by lock_
};

}  // namespace heddle::net
