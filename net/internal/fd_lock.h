// FdLock: who is inside a descriptor, whether it is closing, and which tenant of the slot it is. One atomic word.
//
//      63          32 31          4    3        2        1        0
//     +--------------+-------------+--------+--------+---------+------+
//     |  generation  |    holds    | writer | reader | closing | open |
//     +--------------+-------------+--------+--------+---------+------+
//
//     free --open--> open --enter/leave, hold/drop--> open --close (adds a hold)--> closing --last leave--> quiescent
//     quiescent --retire (generation + 1)--> free
//
// A descriptor number is reused by the kernel as soon as it is closed. So close(2) may run only when nobody is between
// "I may use it" and "I am done", or a goroutine on another M would read from a stranger's connection.
//
// I1. enter() succeeds only for the generation the caller knows, and only while not closing: both stand in the word it
//     swaps. So after closing is set the number of users only falls, and a stale handle finds kClosed, never a stranger.
// I2. Exactly one leave() or drop() brings a closing word to "nobody inside"; it returns kFinish, and its caller owes the
//     descriptor's end (close(2), then retire). close() itself adds a hold, so that this cannot happen under its feet.
// I3. hold() is for whoever holds something already (inside, or a hold): it never resurrects.
//
// Not taken: a reference count beside a flag (two words, a window between them), and a lock (a read would take it twice).
#pragma once

#include <atomic>
#include <cstdint>

#include <heddle/core/check.h>

namespace heddle::net {

enum class FdUse : std::uint8_t { kRead, kWrite, kOther };

enum class FdEnter : std::uint8_t {
  kInside,  // the caller owes a leave()
  kClosed,  // closed, or another tenant: nothing owed
  kBusy,    // a second reader or writer: nothing owed
};

enum class FdLeave : std::uint8_t {
  kNothing,
  kFinish,  // the caller was the last one of a closing descriptor, and owes its end
};

template <template <class> class Atomic = std::atomic>
class BasicFdLock {
 public:
  /// Free to open. Returns the generation that handles must carry. Threads: the slot's owner, alone.
  std::uint32_t open() noexcept {
    const std::uint64_t word = word_.load(std::memory_order_relaxed);  // ours alone while free
    HEDDLE_DCHECK((word & kLow) == 0);
    // release: the slot's fields, to a stale handle that looks at the generation and is refused (and to TSan).
    word_.store(word | kOpen, std::memory_order_release);
    return generation_of(word);
  }

  /// Steps inside for one use. Threads: any.
  [[nodiscard]] FdEnter enter(std::uint32_t generation, FdUse use) noexcept {
    std::uint64_t word = word_.load(std::memory_order_relaxed);  // a guess; the RMW below decides
    for (;;) {
      if (generation_of(word) != generation || (word & (kOpen | kClosing)) != kOpen) return FdEnter::kClosed;
      if (use != FdUse::kOther && (word & bit_of(use)) != 0) return FdEnter::kBusy;
      // acquire: what the last reader (or writer) left in its fields; pairs with the release in leave().
      if (word_.compare_exchange_weak(word, word + bit_of(use), std::memory_order_acquire, std::memory_order_relaxed)) {
        return FdEnter::kInside;
      }
    }
  }

  /// Steps out again.
  [[nodiscard]] FdLeave leave(FdUse use) noexcept {
    // acq_rel: releases our fields to the next user and to the finisher; acquires theirs if that is us.
    const std::uint64_t word = word_.fetch_sub(bit_of(use), std::memory_order_acq_rel) - bit_of(use);
    return (word & kLow) == (kOpen | kClosing) ? FdLeave::kFinish : FdLeave::kNothing;
  }

  /// One more hold, by somebody who is inside or has one. Also while closing.
  void hold() noexcept {
    // relaxed: the caller's own hold keeps the slot alive; nothing is published.
    [[maybe_unused]] const std::uint64_t word = word_.fetch_add(kHold, std::memory_order_relaxed);
    HEDDLE_DCHECK((word & kOpen) != 0);
  }
  [[nodiscard]] FdLeave drop() noexcept { return leave(FdUse::kOther); }

  /// Starts the end: no enter() succeeds any more. True: the caller did it, and has a hold that it owes a drop().
  [[nodiscard]] bool close(std::uint32_t generation) noexcept {
    std::uint64_t word = word_.load(std::memory_order_relaxed);  // a guess; the RMW below decides
    for (;;) {
      if (generation_of(word) != generation || (word & (kOpen | kClosing)) != kOpen) return false;
      // seq_cst: the closer sets this and then looks at the home; a watcher sets the home and then looks at this
      // (poll_desc.h I2). It also releases the caller's earlier writes to who sees closing().
      if (word_.compare_exchange_weak(word, (word | kClosing) + kHold, std::memory_order_seq_cst,
                                      std::memory_order_relaxed)) {
        return true;
      }
    }
  }

  /// Quiescent (or, at a scheduler's end, any state with no thread inside) to free. Threads: the finisher, alone.
  void retire() noexcept {
    const std::uint64_t word = word_.load(std::memory_order_relaxed);  // ours alone by I2
    // release: pairs with the acquire of the slab's lock on reuse, and with enter() by a stale handle.
    word_.store((word & ~kLow) + kOneGeneration, std::memory_order_release);
  }

  [[nodiscard]] bool closing() const noexcept {
    return (word_.load(std::memory_order_seq_cst) & kClosing) != 0;  // see close()
  }
  [[nodiscard]] bool is_open() const noexcept {
    return (word_.load(std::memory_order_acquire) & kOpen) != 0;  // pairs with open(): the slot's fields
  }
  [[nodiscard]] std::uint32_t generation() const noexcept {
    return generation_of(word_.load(std::memory_order_relaxed));  // a tag to compare; a stale one is refused elsewhere
  }

 private:
  static constexpr std::uint64_t kOpen = 1, kClosing = 2, kReader = 4, kWriter = 8, kHold = 16;
  static constexpr std::uint64_t kOneGeneration = std::uint64_t{1} << 32;
  static constexpr std::uint64_t kLow = kOneGeneration - 1;
  static_assert(kHold > (kOpen | kClosing | kReader | kWriter), "holds must not carry into the flags");

  static constexpr std::uint64_t bit_of(FdUse use) noexcept {
    return use == FdUse::kRead ? kReader : use == FdUse::kWrite ? kWriter : kHold;
  }
  static constexpr std::uint32_t generation_of(std::uint64_t word) noexcept {
    return static_cast<std::uint32_t>(word >> 32);
  }

  Atomic<std::uint64_t> word_{kOneGeneration};  // generation 1, free: a zeroed handle fits no tenant
};

using FdLock = BasicFdLock<>;

}  // namespace heddle::net
