#include <heddle/core/sema.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include <heddle/core/context.h>
#include <heddle/core/internal/sched.h>
#include <heddle/core/internal/waits_for.h>
#include <heddle/core/lock.h>
#include <heddle/core/park.h>
#include <heddle/core/wait_list.h>

namespace heddle {
namespace {

// A local of the goroutine that waits.
struct Place {
  G* g = nullptr;
  const Sema* sema = nullptr;
  Place* next = nullptr;   // for the same sema
  Place* last = nullptr;   // in the first for a sema: the last for it
  Place* other = nullptr;  // in the first for a sema: the first for another one of this bucket
  bool queued = true;
  // Of one that its context may call off:
  heddle::Waiter* leaves = nullptr;
  bool granted = false;  // keeps I5
};

struct alignas(64) Bucket {
  RawMutex lock{LockRank::kSync};
  Place* first = nullptr;

  // Where the pointer to the first waiter for `sema` stands; it is null if there is none.
  [[nodiscard]] Place** find(const Sema* sema) noexcept {
    Place** at = &first;
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

void put_first(Place** at, Place& w) noexcept {
  Place* behind = *at;
  w.next = behind;
  w.last = behind == nullptr ? &w : behind->last;
  w.other = behind == nullptr ? nullptr : behind->other;
  *at = &w;
}

void put_last(Place** at, Place& w) noexcept {
  if (*at == nullptr) return put_first(at, w);
  (*at)->last->next = &w;
  (*at)->last = &w;
}

Place* take_first(Place** at) noexcept {
  Place* w = *at;
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

// For one that stands anywhere in the line.
void take_out(Place** at, Place& w) noexcept {
  if (*at == &w) return static_cast<void>(take_first(at));
  Place* before = *at;
  while (before->next != &w) before = before->next;
  before->next = w.next;
  if ((*at)->last == &w) (*at)->last = before;
  w.queued = false;
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
  Place self;
  const M* m = current_m();
  self.g = m != nullptr && m->curg != nullptr ? m->curg : must_current_g(to_string(reason));
  self.sema = this;
  Place** at = bucket.find(this);
  first ? put_first(at, self) : put_last(at, self);
  const WaitsFor what{.kind = WaitKind::kSync, .object = this, .queued = &self.queued};
  const WaitMark mark(self.g, what);
  park_unlock(bucket.lock, reason);
}

bool Sema::acquire_unless(const Context& ctx, WaitReason reason, Withdraw withdraw, void* arg, bool first) {
  Bucket& bucket = bucket_of(this);
  bucket.lock.lock();
  if (units_ > 0) {
    --units_;
    bucket.lock.unlock();
    return true;
  }
  heddle::Waiter leaves(to_string(reason));
  Place self;
  self.g = must_current_g(to_string(reason));
  self.sema = this;
  self.leaves = &leaves;
  Place** at = bucket.find(this);
  first ? put_first(at, self) : put_last(at, self);
  bucket.lock.unlock();
  if (leaves.wait(reason, kNever, &ctx)) return true;

  bucket.lock.lock();
  if (self.granted) {
    bucket.lock.unlock();
    return true;
  }
  if (withdraw(arg)) {
    take_out(bucket.find(this), self);
    bucket.lock.unlock();
    return false;
  }
  self.leaves = nullptr;  // from here on a waiter like others, in its old place
  park_unlock(bucket.lock, reason);
  return true;
}

void Sema::release() noexcept {
  Bucket& bucket = bucket_of(this);
  bucket.lock.lock();
  Place* w = take_first(bucket.find(this));
  G* g = nullptr;
  if (w == nullptr) {
    ++units_;
  } else {
    g = w->g;
    w->granted = true;
    // One that has not parked yet, or was called off, finds out by itself; then it may be gone with the next instruction,
    // or when the lock is free (wait_list.h I3).
    if (w->leaves != nullptr && w->leaves->end(heddle::Waiter::State::kTaken) != heddle::Waiter::State::kParked) g = nullptr;
  }
  bucket.lock.unlock();
  if (g != nullptr) ready(g);
}

void Sema::forget_waiters() noexcept {
  for (Bucket& bucket : table) bucket.first = nullptr;
}

std::span<const std::byte> sema_waiters() noexcept { return std::as_bytes(std::span(table)); }

}  // namespace heddle
