#include <heddle/core/pool.h>

#include <unistd.h>

#include <algorithm>

#include <heddle/core/internal/pool_clock.h>
#include <heddle/core/internal/sched.h>

namespace heddle {
namespace {

alignas(64) constinit std::atomic<std::uint32_t> generation{0};

}  // namespace

void tell_pools(std::int64_t now) noexcept {
  const auto number = static_cast<std::uint32_t>(now / kPoolGeneration);
  // relaxed, both: one writer, and to see it late is to clean up late.
  if (generation.load(std::memory_order_relaxed) != number) generation.store(number, std::memory_order_relaxed);
}

namespace detail {
namespace {

// A list that is looked into without the lock: null means that it is not worth taking.
class PoolList {
 public:
  // relaxed, all: changed under the shard's lock, which orders them; the look without it is a hint.
  [[nodiscard]] bool empty() const noexcept { return first_.load(std::memory_order_relaxed) == nullptr; }
  void push(PoolNode* node) noexcept {
    node->next = first_.load(std::memory_order_relaxed);
    first_.store(node, std::memory_order_relaxed);
  }
  [[nodiscard]] PoolNode* pop() noexcept {
    PoolNode* node = first_.load(std::memory_order_relaxed);
    if (node != nullptr) first_.store(node->next, std::memory_order_relaxed);
    return node;
  }
  [[nodiscard]] PoolNode* exchange(PoolNode* list) noexcept {
    PoolNode* before = first_.load(std::memory_order_relaxed);
    first_.store(list, std::memory_order_relaxed);
    return before;
  }

 private:
  std::atomic<PoolNode*> first_{nullptr};
};

}  // namespace

struct alignas(128) PoolCore::Shard {
  std::atomic<PoolNode*> hot{nullptr};
  RawMutex lock{LockRank::kSync};
  PoolList fresh;  // put in this generation
  PoolList old;    // and in the one before

  [[nodiscard]] PoolNode* take_hot() noexcept {
    if (hot.load(std::memory_order_relaxed) == nullptr) return nullptr;  // relaxed: the exchange decides
    // acquire: the object as its last user left it; pairs with the release in put().
    return hot.exchange(nullptr, std::memory_order_acquire);
  }
  [[nodiscard]] PoolNode* take_from(PoolList& list) noexcept {
    if (list.empty()) return nullptr;
    const LockGuard guard(lock);
    return list.pop();
  }
  void put(PoolNode* node) noexcept {
    // release: publishes the object; pairs with the acquire here and in take_hot(), whoever gets it.
    PoolNode* before = hot.exchange(node, std::memory_order_acq_rel);
    if (before == nullptr) return;
    const LockGuard guard(lock);
    fresh.push(before);
  }
};

PoolCore::PoolCore(void (*destroy)(PoolNode*) noexcept)
    : destroy_(destroy),
      // More Ps than CPUs share shards: what counts is who runs at the same time.
      count_(static_cast<std::size_t>(std::clamp(::sysconf(_SC_NPROCESSORS_ONLN), 1L, long{kMaxProcs}))),
      shards_(new Shard[count_]),
      aged_at_(generation.load(std::memory_order_relaxed)) {}  // relaxed: as in tell_pools()

PoolCore::~PoolCore() { age(true); }

PoolCore::Shard& PoolCore::mine() noexcept {
  std::size_t i = 0;
  {
    const Section section;
    if (const P* p = held_p(section.m()); p != nullptr) i = static_cast<std::size_t>(p->index);
  }
  return shards_[i < count_ ? i : i % count_];
}

PoolNode* PoolCore::get() noexcept {
  look_at_time();
  Shard& shard = mine();
  PoolNode* node = shard.take_hot();
  return node != nullptr ? node : get_slow(shard);
}

void PoolCore::put(PoolNode* node) noexcept {
  look_at_time();
  mine().put(node);
}

void PoolCore::trim() noexcept { age(false); }

PoolNode* PoolCore::get_slow(Shard& first) noexcept {
  if (PoolNode* node = first.take_from(first.fresh)) return node;
  const auto start = static_cast<std::size_t>(&first - shards_.get());
  for (std::size_t i = 1; i < count_; ++i) {
    Shard& shard = shards_[(start + i) % count_];
    if (PoolNode* node = shard.take_from(shard.fresh)) return node;
    if (PoolNode* node = shard.take_hot()) return node;
  }
  for (std::size_t i = 0; i < count_; ++i) {
    Shard& shard = shards_[(start + i) % count_];
    if (PoolNode* node = shard.take_from(shard.old)) return node;
  }
  return nullptr;
}

void PoolCore::look_at_time() noexcept {
  const std::uint32_t now = generation.load(std::memory_order_relaxed);  // relaxed: as in tell_pools()
  std::uint32_t then = aged_at_.load(std::memory_order_relaxed);         // relaxed: the CAS decides
  if (now == then) [[likely]] return;
  // relaxed: it only chooses who does the work; the shards' locks order that.
  if (!aged_at_.compare_exchange_strong(then, now, std::memory_order_relaxed)) return;
  age(now - then > 1);
}

// One generation on, or two: `all`.
void PoolCore::age(bool all) noexcept {
  for (std::size_t i = 0; i < count_; ++i) {
    Shard& shard = shards_[i];
    PoolNode* lists[2] = {};
    {
      const LockGuard guard(shard.lock);
      if (PoolNode* node = shard.take_hot()) shard.fresh.push(node);
      lists[0] = shard.old.exchange(nullptr);
      PoolNode* fresh = shard.fresh.exchange(nullptr);
      if (all) {
        lists[1] = fresh;
      } else {
        static_cast<void>(shard.old.exchange(fresh));
      }
    }
    for (PoolNode* list : lists) {
      while (list != nullptr) destroy_(std::exchange(list, list->next));
    }
  }
}

}  // namespace detail
}  // namespace heddle
