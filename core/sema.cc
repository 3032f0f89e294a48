#include <heddle/core/sema.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include <heddle/core/internal/sched.h>
#include <heddle/core/internal/waits_for.h>
#include <heddle/core/lock.h>
#include <heddle/core/park.h>

namespace heddle {
namespace {

// A local of the goroutine that waits.
struct Waiter {
  G* g = nullptr;
  const Sema* sema = nullptr;
  Waiter* next = nullptr;   // for the same sema
  Waiter* last = nullptr;   // in the first for a sema: the last for it
  Waiter* other = nullptr;  // in the first for a sema: the first for another one of this bucket
  bool queued = true;
};

struct alignas(64) Bucket {
  RawMutex lock{LockRank::kSync};
  Waiter* first = nullptr;

  // Where the pointer to the first waiter for `sema` stands; it is null if there is none.
  [[nodiscard]] Waiter** find(const Sema* sema) noexcept {
    Waiter** at = &first;
    while (*at != nullptr && (*at)->sema != sema) at = &(*at)->other;
    return at;
  }
};

constexpr unsigned kBucketBits = 10;
constinit Bucket table[std::size_t{1} << kBucketBits];

Bucket& bucket_of(const Sema* sema) noexcept {
  // Fibonacci hashing: the top bits of the product mix all bits of the address.
  return table[(reinterpret_cast<std::uintptr_t>(sema) * 0x9E37'79B9'7F4A'7C15ULL) >> (64 - kBucketBits)];
}

void put_first(Waiter** at, Waiter& w) noexcept {
  Waiter* behind = *at;
  w.next = behind;
  w.last = behind == nullptr ? &w : behind->last;
  w.other = behind == nullptr ? nullptr : behind->other;
  *at = &w;
}

void put_last(Waiter** at, Waiter& w) noexcept {
  if (*at == nullptr) return put_first(at, w);
  (*at)->last->next = &w;
  (*at)->last = &w;
}

Waiter* take_first(Waiter** at) noexcept {
  Waiter* w = *at;
  if (w == nullptr) return nullptr;
  if (w->next != nullptr) {
    w->next->last = w->last;
    w->next->other = w->other;
    *at = w->next;
  } else {
    *at = w->other;
  }
  w->queued = false;
  return w;
}

}  // namespace

void Sema::acquire(WaitReason reason, bool first) {
  Bucket& bucket = bucket_of(this);
  bucket.lock.lock();
  if (units_ > 0) {
    --units_;
    bucket.lock.unlock();
    return;
  }
  Waiter self;
  const M* m = current_m();
  self.g = m != nullptr && m->curg != nullptr ? m->curg : must_current_g(to_string(reason));
  self.sema = this;
  Waiter** at = bucket.find(this);
  first ? put_first(at, self) : put_last(at, self);
  const WaitsFor what{.kind = WaitKind::kSync, .object = this, .queued = &self.queued};
  const WaitMark mark(self.g, what);
  park_unlock(bucket.lock, reason);
}

void Sema::release() noexcept {
  Bucket& bucket = bucket_of(this);
  bucket.lock.lock();
  Waiter* w = take_first(bucket.find(this));
  if (w == nullptr) ++units_;
  bucket.lock.unlock();
  if (w != nullptr) ready(w->g);
}

void Sema::forget_waiters() noexcept {
  for (Bucket& bucket : table) bucket.first = nullptr;
}

std::span<const std::byte> sema_waiters() noexcept { return std::as_bytes(std::span(table)); }

}  // namespace heddle
