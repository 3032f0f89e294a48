// Sudog: one G's place in one wait queue. WaitQueue: such a queue, first in, first out.
//
// A waiting goroutine keeps its Sudogs as locals: its stack stays put while it is parked, so waiting allocates nothing.
// A plain send or receive has one Sudog; a select has one per case, all of which share a SelectWait.
//
//        push_back, under the queue's lock            pop_front, under it
//   local ------------------------------------> queued ------------------> its partner's
//                                                  |                           |  claim() won: hand over, then complete()
//                                                  |  remove(), under it       |  claim() lost: dropped, untouched from then on
//                                                  '--------> local <----------'
//
// I1. Links and `queued` are guarded by the queue's lock. `g`, `value`, `select` are constant while queued.
// I2. Whoever pops a Sudog must claim() it, still under the lock, before anything else. A plain waiter is won always, a
//     select by the first partner only: so a G is readied exactly once (park.h I2).
// I3. After a lost claim the Sudog is not touched once the queue's lock is released; so a select that has taken every
//     such lock after it woke owns its frame again.
// I4. After a won claim the partner alone owns the waiter, without any lock, until complete(), which readies it and is
//     the last look at it: the frame may be gone at once.
#pragma once

#include <atomic>
#include <cstdint>

#include <heddle/core/park.h>

namespace heddle {

struct Sudog;

/// What the Sudogs (and the timer) of one waiting select share.
struct SelectWait {
  G* g = nullptr;
  Sudog* winner = nullptr;  // the case that was served; null: the timer. Written by whoever claimed, before ready()

  /// True for exactly one caller.
  [[nodiscard]] bool claim() noexcept {
    bool open = false;
    // relaxed: the claim publishes nothing. A winner has our frame from the queue's lock (or the timers'), and gives
    // back what it writes by ready(); a loser looks no further.
    return done_.compare_exchange_strong(open, true, std::memory_order_relaxed, std::memory_order_relaxed);
  }

 private:
  std::atomic<bool> done_{false};
};

struct Sudog {
  G* g = nullptr;
  void* value = nullptr;         // sender: the T to take; receiver: the empty optional<T> to fill
  SelectWait* select = nullptr;  // null: the G waits here and nowhere else
  Sudog* next = nullptr;
  Sudog* prev = nullptr;
  bool queued = false;
  bool ok = false;  // written by the partner: true if a value changed hands, false if the channel was closed

  [[nodiscard]] bool claim() noexcept { return select == nullptr || select->claim(); }

  /// Ends the wait that the caller has claimed: the G goes on, and `this` may be gone. Call it under no lock.
  void complete(bool changed_hands, void (*wake)(G*) = &ready) noexcept {
    ok = changed_hands;
    if (select != nullptr) select->winner = this;
    wake(g);  // keeps I4
  }
};

class WaitQueue {
 public:
  void push_back(Sudog* sg) noexcept {
    sg->next = nullptr;
    sg->prev = last_;
    sg->queued = true;
    if (last_ != nullptr) {
      last_->next = sg;
    } else {
      set_first(sg);
    }
    last_ = sg;
  }

  /// Takes the first waiter that is still to be had, claimed; null if there is none.
  [[nodiscard]] Sudog* pop_claimed() noexcept {
    while (Sudog* sg = first()) {
      remove(sg);
      if (sg->claim()) return sg;  // keeps I2
    }
    return nullptr;
  }

  void remove(Sudog* sg) noexcept {
    if (sg->prev != nullptr) {
      sg->prev->next = sg->next;
    } else {
      set_first(sg->next);
    }
    if (sg->next != nullptr) {
      sg->next->prev = sg->prev;
    } else {
      last_ = sg->prev;
    }
    sg->queued = false;
  }

  /// Empties it without a look at who stood there.
  void forget() noexcept {
    set_first(nullptr);
    last_ = nullptr;
  }

  /// Without the lock this is a hint, and the answer of one moment. It may count selects that others have served.
  [[nodiscard]] bool empty() const noexcept {
    // acquire: who sees that close() emptied the queue, also sees that the channel is closed; pairs with set_first().
    return first_.load(std::memory_order_acquire) == nullptr;
  }

 private:
  // relaxed: only lock holders walk the list; first_ is atomic for empty() alone.
  [[nodiscard]] Sudog* first() const noexcept { return first_.load(std::memory_order_relaxed); }
  // release: pairs with empty().
  void set_first(Sudog* sg) noexcept { first_.store(sg, std::memory_order_release); }

  std::atomic<Sudog*> first_{nullptr};
  Sudog* last_ = nullptr;
};

}  // namespace heddle
