// Runq: the run queue of one P: a ring of Gs and one fast lane, `runnext`.
//
//      head (thieves, owner)                 tail (owner)              runnext
//        |                                     |                        [G] readied by the running G; runs next
//        v                                     v
//   ... [G][G][G][G][G][G][G][G][G][G][G][G] ...
//
// One producer (the M that holds the P), many consumers (that M and thieves). Slots head..tail-1 hold Gs.
//
// I1. Only the owner writes `tail` and the slots; a slot is written before the tail that publishes it (release), and a
//     consumer reads tail with acquire before it reads slots.
// I2. Whoever moves `head` by CAS owns the Gs it passed. A consumer reads the slots before its CAS; if the CAS fails what
//     it read is void. The CAS is a release, so that the owner, which reads head with acquire before it reuses slots, does
//     not overwrite one that a thief has yet to read.
// I3. head and tail count for ever (32 bits, wrapping); tail - head <= capacity always, so wrapping is harmless.
// I4. runnext: only the owner makes it non-null; owner and thieves take it by CAS to null.
// I5. A thief takes half, rounded up, so that one G among idle Ps is found, and never more than half of the ring, so that
//     it fits behind the thief's own empty ring.
//
// The ring is Chase-Lev's shape with a FIFO owner, as in Go and tokio: FIFO for fairness, runnext for locality.
#pragma once

#include <cstdint>

#include <heddle/core/internal/atomics.h>

namespace heddle {

template <class Item, std::uint32_t kCap = 256, template <class> class Atomic = RealAtomic>
class Runq {
  static_assert(kCap >= 2 && (kCap & (kCap - 1)) == 0, "the ring's index is a mask, and I3 needs a power of two");

 public:
  static constexpr std::uint32_t kCapacity = kCap;

  // --- the owner's side ---

  /// Appends. False if the ring is full: then the owner moves half away (take_half) first, or puts it elsewhere.
  [[nodiscard]] bool push(Item* item) noexcept {
    // acquire: thieves are done with the slots below this head; pairs with the release of their CAS (I2).
    const std::uint32_t head = head_.load(std::memory_order_acquire);
    const std::uint32_t tail = tail_.load(std::memory_order_relaxed);  // relaxed: ours
    if (tail - head >= kCap) return false;
    slots_[tail & (kCap - 1)].store(item, std::memory_order_relaxed);  // relaxed: published by tail
    // release: publishes the slot (and the G) to consumers' acquire of tail (I1).
    tail_.store(tail + 1, std::memory_order_release);
    return true;
  }

  /// Appends up to `n` items, each from take(), and publishes them together. Returns how many there was room for.
  template <class Take>
  std::uint32_t push_many(std::uint32_t n, Take take) noexcept {
    const std::uint32_t head = head_.load(std::memory_order_acquire);  // acquire: as in push()
    const std::uint32_t tail = tail_.load(std::memory_order_relaxed);  // relaxed: ours
    const std::uint32_t room = kCap - (tail - head);
    if (n > room) n = room;
    for (std::uint32_t i = 0; i < n; ++i) {
      slots_[(tail + i) & (kCap - 1)].store(take(), std::memory_order_relaxed);  // relaxed: published by tail
    }
    tail_.store(tail + n, std::memory_order_release);  // release: as in push()
    return n;
  }

  /// Removes the oldest; nullptr if empty.
  [[nodiscard]] Item* pop() noexcept {
    // acquire: as in push(); after a failed CAS likewise.
    std::uint32_t head = head_.load(std::memory_order_acquire);
    const std::uint32_t tail = tail_.load(std::memory_order_relaxed);  // relaxed: ours
    while (head != tail) {
      Item* item = slots_[head & (kCap - 1)].load(std::memory_order_relaxed);  // relaxed: we wrote it
      // acq_rel: release gives the slot back to ourselves in order with thieves' CASes (I2).
      if (head_.compare_exchange_weak(head, head + 1, std::memory_order_acq_rel, std::memory_order_acquire)) return item;
    }
    return nullptr;
  }

  /// Moves half of a full ring into `out[0..kCap/2)`; false if thieves have made room meanwhile.
  [[nodiscard]] bool take_half(Item** out) noexcept {
    std::uint32_t head = head_.load(std::memory_order_acquire);        // acquire: as in push()
    const std::uint32_t tail = tail_.load(std::memory_order_relaxed);  // relaxed: ours
    if (tail - head < kCap) return false;
    for (std::uint32_t i = 0; i < kCap / 2; ++i) {
      out[i] = slots_[(head + i) & (kCap - 1)].load(std::memory_order_relaxed);  // relaxed: we wrote it
    }
    // acq_rel: as in pop().
    return head_.compare_exchange_strong(head, head + kCap / 2, std::memory_order_acq_rel, std::memory_order_acquire);
  }

  /// Puts `item` into runnext; returns the one it displaced, which the owner must push, or nullptr.
  [[nodiscard]] Item* set_next(Item* item) noexcept {
    // acq_rel: release publishes the G to a thief's acquire; acquire because we go on with what was there.
    return next_.exchange(item, std::memory_order_acq_rel);
  }

  [[nodiscard]] Item* take_next() noexcept {
    // relaxed: only we make it non-null, so a null is final; a non-null is claimed by the exchange.
    if (next_.load(std::memory_order_relaxed) == nullptr) return nullptr;
    return next_.exchange(nullptr, std::memory_order_acq_rel);  // acq_rel: as in set_next()
  }

  // --- a thief's side ---

  /// Takes half of this ring (and, if `with_next` and it is empty, runnext) for the owner of `into`, whose ring is empty.
  /// Returns one to run at once; the others are in `into`. nullptr: nothing to steal.
  [[nodiscard]] Item* steal_into(Runq& into, bool with_next) noexcept {
    const std::uint32_t to = into.tail_.load(std::memory_order_relaxed);  // relaxed: the thief owns `into`
    for (;;) {
      std::uint32_t head = head_.load(std::memory_order_acquire);  // acquire: pairs with the CASes (I2)
      const std::uint32_t tail = tail_.load(std::memory_order_acquire);  // acquire: sees the slots (I1)
      std::uint32_t n = tail - head;
      n -= n / 2;
      if (n == 0) {
        if (!with_next) return nullptr;
        // relaxed: a hint; the CAS decides.
        Item* item = next_.load(std::memory_order_relaxed);
        if (item == nullptr) return nullptr;
        // acq_rel: acquire sees the G that set_next() published (I4).
        if (next_.compare_exchange_strong(item, nullptr, std::memory_order_acq_rel, std::memory_order_relaxed)) return item;
        continue;
      }
      if (n > kCap / 2) continue;  // head and tail were not of one moment
      for (std::uint32_t i = 0; i < n; ++i) {
        // relaxed: sees what the acquire of tail published; void unless the CAS succeeds (I2).
        Item* item = slots_[(head + i) & (kCap - 1)].load(std::memory_order_relaxed);
        into.slots_[(to + i) & (kCap - 1)].store(item, std::memory_order_relaxed);  // relaxed: published by tail below
      }
      // acq_rel: release after our reads of the slots (I2).
      if (!head_.compare_exchange_strong(head, head + n, std::memory_order_acq_rel, std::memory_order_relaxed)) continue;
      --n;
      Item* first = into.slots_[(to + n) & (kCap - 1)].load(std::memory_order_relaxed);  // relaxed: ours
      // release: publishes the stolen ones to the next thief (I1).
      if (n > 0) into.tail_.store(to + n, std::memory_order_release);
      return first;
    }
  }

  // --- anybody ---

  /// Gs in the ring, without runnext; exact only for the owner.
  [[nodiscard]] std::uint32_t size() const noexcept {
    for (;;) {
      // acquire, twice: both counts of one moment, or the difference may be huge.
      const std::uint32_t head = head_.load(std::memory_order_acquire);
      const std::uint32_t tail = tail_.load(std::memory_order_acquire);
      if (head == head_.load(std::memory_order_acquire)) return tail - head;
    }
  }

  [[nodiscard]] bool has_next() const noexcept {
    return next_.load(std::memory_order_relaxed) != nullptr;  // relaxed: a hint
  }

 private:
  alignas(64) Atomic<std::uint32_t> head_{0};  // thieves and owner
  alignas(64) Atomic<std::uint32_t> tail_{0};  // owner
  Atomic<Item*> next_{nullptr};
  alignas(64) Atomic<Item*> slots_[kCap]{};
};

}  // namespace heddle
