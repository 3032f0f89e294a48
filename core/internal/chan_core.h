// ChanCore: one channel, and the two steps of which sends, receives and selects are made.
//
//     under the lock      send_step / recv_step: does what can be done now, or says kWouldWait
//     after the unlock    finish_send / finish_recv: the hand-over to the partner that the step claimed, if any
//
// The cut lies there because a hand-over moves a user's T and readies a G, and a select holds several locks: it releases
// them all in between.
//
// I1. While the channel is open: if receivers wait, the buffer is empty; if senders wait, it is full. (Waiters that are
//     selects served elsewhere may still be queued; they count as absent.) So a value never overtakes another.
// I2. closed is set once, and close() empties both queues in the same section: nobody waits on a closed channel.
// I3. count, closed and the queues' heads change under the lock only; they are atomic for len() and the peeks below.
// I4. What a step does under the lock with user code: it moves a T into or out of the buffer, nothing else (chan.h I4).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include <heddle/core/chan.h>
#include <heddle/core/internal/sudog.h>
#include <heddle/core/lock.h>

namespace heddle::detail {

struct ChanCore {
  /// `tested`: each operation is a point of a test's schedule.
  ChanCore(const ElemOps& elem, std::size_t cap, std::byte* buf, bool tested) noexcept
      : lock(LockRank::kChan, tested), ops(&elem), buffer(buf), capacity(cap) {}

  RawMutex lock;
  std::atomic<bool> closed{false};
  std::atomic<std::size_t> count{0};  // values in the buffer
  WaitQueue receivers;                // their `value` is an empty optional<T>
  WaitQueue senders;                  // their `value` is the T to take

  // Constant, but for what the slots hold.
  const ElemOps* const ops;
  std::byte* const buffer;
  const std::size_t capacity;
  // Guarded by lock: slots of the buffer, in [0, capacity).
  std::size_t head = 0;  // the next to take
  std::size_t tail = 0;  // the next to fill

  std::atomic<std::uint32_t> refs{1};

  // Constant from before the first handle is given out.
  bool looks_unbuffered = false;                 // a timer's: what it holds is not in len() or cap()
  void (*at_end)(ChanCore& core) noexcept = nullptr;  // called when the last handle has gone
  void* owner = nullptr;                         // for at_end
  // Constant: what this address holds only if a channel is there. For the search for leaked goroutines, which follows words
  // that look like handles.
  const std::uintptr_t name = name_of(reinterpret_cast<std::uintptr_t>(this));
  [[nodiscard]] static constexpr std::uintptr_t name_of(std::uintptr_t at) noexcept {
    return at ^ 0x6865'6464'6c65'4368U;  // "heddleCh"
  }
  // Where that ends to which an address can lead. Behind it the block has one word more, `name` if there is no buffer:
  // malloc's own pointers to the block behind this one point into the last word of this.
  [[nodiscard]] const void* end() const noexcept {
    return capacity == 0 ? static_cast<const void*>(&name) : buffer + capacity * ops->size;
  }

  [[nodiscard]] void* slot(std::size_t i) const noexcept { return buffer + i * ops->size; }
  [[nodiscard]] std::size_t after(std::size_t i) const noexcept { return i + 1 == capacity ? 0 : i + 1; }

  // relaxed: read under the lock, which orders all writers.
  [[nodiscard]] std::size_t count_locked() const noexcept { return count.load(std::memory_order_relaxed); }
  [[nodiscard]] bool closed_locked() const noexcept { return closed.load(std::memory_order_relaxed); }
  // release: whoever sees the buffer drained after a close also sees the close; pairs with the acquire in peek_recv().
  void set_count(std::size_t n) noexcept { count.store(n, std::memory_order_release); }
};

enum class Outcome : std::uint8_t { kDone, kClosed, kWouldWait };

/// What a step did, and the waiter it claimed (null: none), to whom the caller owes finish_x after its unlock.
struct [[nodiscard]] Step {
  Outcome outcome;
  Sudog* partner = nullptr;
};

/// Sends *value if nobody has to wait for that. Lock held.
inline Step send_step(ChanCore& c, void* value) noexcept {
  if (c.closed_locked()) return {Outcome::kClosed};
  if (Sudog* receiver = c.receivers.pop_claimed()) return {Outcome::kDone, receiver};
  const std::size_t count = c.count_locked();
  if (count == c.capacity) return {Outcome::kWouldWait};
  c.ops->put(c.slot(c.tail), value);
  c.tail = c.after(c.tail);
  c.set_count(count + 1);
  return {Outcome::kDone};
}

/// The hand-over of *value to the receiver that send_step claimed. No lock held.
inline void finish_send(const ChanCore& c, Sudog* receiver, void* value) noexcept {
  if (receiver == nullptr) return;
  c.ops->give(receiver->value, value);
  receiver->complete(true);
}

/// Receives into *out if nobody has to wait for that. Lock held.
inline Step recv_step(ChanCore& c, void* out) noexcept {
  const std::size_t count = c.count_locked();
  if (count == 0) {
    if (c.closed_locked()) return {Outcome::kClosed};
    // A waiting sender beside an empty buffer: the channel has none.
    if (Sudog* sender = c.senders.pop_claimed()) return {Outcome::kDone, sender};
    return {Outcome::kWouldWait};
  }
  c.ops->take(out, c.slot(c.head));
  c.head = c.after(c.head);
  if (Sudog* sender = c.senders.pop_claimed()) {
    // The buffer was full, so the slot just emptied is its end: the first waiting sender's value goes there (keeps I1).
    c.ops->put(c.slot(c.tail), sender->value);
    c.tail = c.after(c.tail);
    return {Outcome::kDone, sender};
  }
  c.set_count(count - 1);
  return {Outcome::kDone};
}

/// What recv_step owes the sender that it claimed. No lock held.
inline void finish_recv(const ChanCore& c, Sudog* sender, void* out) noexcept {
  if (sender == nullptr) return;
  if (c.capacity == 0) c.ops->give(out, sender->value);
  sender->complete(true);
}

/// What a look without the lock says about an operation. kWouldWait and kClosed were true at one moment of the call;
/// kDone says only: try it.
///
/// The first look is at values or waiters (acquire), the second at `closed`. Closing is final: not closed at the second
/// look means not closed at the first, so "nothing there, and open" was true at the first.
inline Outcome peek_recv(const ChanCore& c) noexcept {
  const auto nothing = [&c]() noexcept {
    // acquire: pairs with set_count(); the looks at `closed` must not come before.
    return c.capacity == 0 ? c.senders.empty() : c.count.load(std::memory_order_acquire) == 0;
  };
  if (!nothing()) return Outcome::kDone;
  // acquire: pairs with close(); a closed channel gets no more values, so drained after this look is drained for good.
  if (!c.closed.load(std::memory_order_acquire)) return Outcome::kWouldWait;
  return nothing() ? Outcome::kClosed : Outcome::kDone;
}

inline Outcome peek_send(const ChanCore& c) noexcept {
  // acquire: as in peek_recv().
  const bool full = c.capacity == 0 ? c.receivers.empty() : c.count.load(std::memory_order_acquire) == c.capacity;
  if (!full) return Outcome::kDone;
  // relaxed: who finds it closed looks again under the lock.
  return c.closed.load(std::memory_order_relaxed) ? Outcome::kClosed : Outcome::kWouldWait;
}

}  // namespace heddle::detail
