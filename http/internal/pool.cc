#include <heddle/http/internal/pool.h>

#include <cstdlib>
#include <new>

#include <heddle/core/lock.h>

#if defined(__SANITIZE_ADDRESS__)
#define HEDDLE_HTTP_NO_POOL 1
#else
#define HEDDLE_HTTP_NO_POOL 0
#endif

namespace heddle::http {
namespace {

struct Free {
  Free* next;
};

struct Limits {
  std::size_t size;
  std::uint32_t per_thread;  // blocks a thread keeps; half of them move at a time
  std::uint32_t shared;      // blocks the shared list keeps
  std::uint32_t slab;        // blocks per malloc; more than 1: they never go back to malloc
};
// 64 exchanges are one reap of 64 ready connections; 1,024 of them (8 MiB) a burst worth remembering.
constexpr Limits kLimits[kPoolCount] = {
    {kConnSize, 64, 0xffffffff, 64},
    {kExchangeSize, 64, 1024, 1},
    {kBufferSize, 32, 256, 1},
};

struct Shared {
  RawMutex lock{LockRank::kLeaf};
  Free* head = nullptr;     // guarded by lock
  std::uint32_t count = 0;  // guarded by lock
};
Shared shared[kPoolCount];

[[maybe_unused]] void give_to_shared(PoolId id, Free* first, Free* last, std::uint32_t count) noexcept {
  Shared& s = shared[static_cast<std::size_t>(id)];
  const Limits& limits = kLimits[static_cast<std::size_t>(id)];
  {
    LockGuard guard(s.lock);
    if (s.count + count <= limits.shared) {
      last->next = s.head;
      s.head = first;
      s.count += count;
      return;
    }
  }
  last->next = nullptr;
  while (first != nullptr) {
    Free* next = first->next;
    std::free(first);
    first = next;
  }
}

// What one thread keeps. Its destructor runs when the thread ends and gives the blocks to the others.
struct Cache {
  Free* head[kPoolCount] = {};
  std::uint32_t count[kPoolCount] = {};

  ~Cache() {
    for (std::size_t i = 0; i < kPoolCount; ++i) spill(static_cast<PoolId>(i), count[i]);
  }

  void push(PoolId id, void* block) noexcept {
    const auto i = static_cast<std::size_t>(id);
    auto* f = static_cast<Free*>(block);
    f->next = head[i];
    head[i] = f;
    ++count[i];
  }

  void* pop(PoolId id) noexcept {
    const auto i = static_cast<std::size_t>(id);
    Free* f = head[i];
    if (f == nullptr) return nullptr;
    head[i] = f->next;
    --count[i];
    return f;
  }

  // Gives the `n` blocks used last to the shared list: cutting there costs no walk over the rest.
  void spill(PoolId id, std::uint32_t n) noexcept {
    if (n == 0) return;
    const auto i = static_cast<std::size_t>(id);
    Free* first = head[i];
    Free* last = first;
    for (std::uint32_t k = 1; k < n; ++k) last = last->next;
    head[i] = last->next;
    count[i] -= n;
    give_to_shared(id, first, last, n);
  }

  void refill(PoolId id) {
    const auto i = static_cast<std::size_t>(id);
    const Limits& limits = kLimits[i];
    Shared& s = shared[i];
    {
      LockGuard guard(s.lock);
      for (std::uint32_t n = 0; s.head != nullptr && n < limits.per_thread / 2; ++n) {
        Free* f = s.head;
        s.head = f->next;
        --s.count;
        push(id, f);
      }
    }
    if (head[i] != nullptr) return;
    auto* slab = static_cast<std::byte*>(std::malloc(limits.size * limits.slab));
    if (slab == nullptr) throw std::bad_alloc();
    for (std::uint32_t n = limits.slab; n-- > 0;) push(id, slab + n * limits.size);
  }
};

[[maybe_unused]] thread_local Cache cache;

}  // namespace

[[gnu::noinline]] void* pool_get(PoolId id) {
#if HEDDLE_HTTP_NO_POOL
  void* block = std::malloc(kLimits[static_cast<std::size_t>(id)].size);
  if (block == nullptr) throw std::bad_alloc();
  return block;
#else
  if (void* block = cache.pop(id); block != nullptr) [[likely]]
    return block;
  cache.refill(id);
  return cache.pop(id);
#endif
}

[[gnu::noinline]] void pool_put(PoolId id, void* block) noexcept {
#if HEDDLE_HTTP_NO_POOL
  static_cast<void>(id);
  std::free(block);
#else
  cache.push(id, block);
  const Limits& limits = kLimits[static_cast<std::size_t>(id)];
  if (cache.count[static_cast<std::size_t>(id)] > limits.per_thread) cache.spill(id, limits.per_thread / 2);
#endif
}

}  // namespace heddle::http
