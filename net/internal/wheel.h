// Wheel: the timers of one worker's streams. Setting a later deadline is a store; nothing moves until a slot comes up.
//
// Deadlines of connections are set all the time and hardly ever come. So an entry lies in the slot of some moment at or
// before its deadline; when that slot comes up, the wheel looks at the deadline and either fires or moves the entry
// on. A busy connection costs one move per time-out period, not one per request.
//
//     level 0:  256 slots of 2^23 ns (8.4 ms):   the next 2.1 s, in ticks, each deadline rounded up to a tick
//     level 1:  256 slots of 2^31 ns (2.1 s):    up to 9.2 min; looked at when the slot begins, then moved to level 0.
//               Deadlines beyond lie in the last slot and are looked at there.
//
//     tick_                                       set()                     any thread: a store; says whether the home
//       |                                                                   must relook()
//     --+--|--|--|--…--|--------|--------|--…     relook, unlink, advance   the home alone
//       '-- all slots up to here are done
//
// I1. No slot is passed unseen: entries lie in slots after tick_, and tick_ moves only over empty ones.
// I2. No earlier deadline is missed. An entry's slot serves all deadlines from `covers` on. The setter exchanges the
//     deadline and then loads `covers`; the home stores `covers` and then loads (or swaps) the deadline. All four are
//     seq_cst: so the setter sees the later slot and asks for a relook(), or the home sees the earlier deadline.
// I3. An entry fires once per set: firing swaps the deadline to kNever.
// I4. An entry never fires early; it fires at most a tick and one turn of the loop late.
// I5. An empty wheel has no next moment: nobody turns the wheel of a poller without descriptors, and one that slept until a
//     moment that has passed would never sleep again.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include <heddle/core/clock.h>

namespace heddle::net {

/// A timer in a Wheel. Lives in a connection's slot.
struct WheelEntry {
  using Fire = void (*)(WheelEntry* entry);

  explicit WheelEntry(Fire f) noexcept : fire(f) {}
  WheelEntry(const WheelEntry&) = delete;
  WheelEntry& operator=(const WheelEntry&) = delete;

  /// Asks for `fire` at `when` (kNever: not at all). True: the home must be made to relook() this entry. Threads: any.
  [[nodiscard]] bool set(std::int64_t when) noexcept {
    deadline.exchange(when, std::memory_order_seq_cst);  // I2; an exchange, as seq_cst stores are one anyway
    return when < covers.load(std::memory_order_seq_cst);
  }

  const Fire fire;                                  // on the home, outside all lists; may link, unlink or set any entry
  std::atomic<std::int64_t> deadline{kNever};       // anybody writes
  std::atomic<std::int64_t> covers{kNever};         // the home writes: its slot serves deadlines from here; kNever: in none
  WheelEntry* after = nullptr;                      // the home's: the next in the list
  WheelEntry** link = nullptr;                      // the home's: what points to this entry; null: in no list
  std::uint16_t slot = 0;                           // the home's: its slot, for the bitmap
};

/// See the file's opening. Threads: its home alone, but for WheelEntry::set().
class Wheel {
 public:
  static constexpr int kTickBits = 23;
  static constexpr std::int64_t kTick = std::int64_t{1} << kTickBits;

  explicit Wheel(std::int64_t now) noexcept : tick_(now >> kTickBits) {}
  Wheel(const Wheel&) = delete;
  Wheel& operator=(const Wheel&) = delete;

  /// Brings an entry to where its deadline says. Its deadline may be in the past.
  void relook(WheelEntry& entry) noexcept;

  /// Takes an entry out; it does not fire until set and looked at again.
  void unlink(WheelEntry& entry) noexcept;

  /// When advance() has something to do next; kNever if the wheel is empty.
  [[nodiscard]] std::int64_t next() const noexcept { return due_ != nullptr ? 0 : next_; }

  /// Looks at what has come up to `now`, at most `budget` entries. Returns how many fired.
  int advance(std::int64_t now, int budget) noexcept;

 private:
  static constexpr int kSlotBits = 8;
  static constexpr std::int64_t kSlots = 1 << kSlotBits;
  static constexpr std::uint16_t kDue = 2 * kSlots;  // not a slot: the entry lies in due_

  bool look_at(WheelEntry& entry, std::int64_t now) noexcept;
  void place(WheelEntry& entry, std::int64_t when) noexcept;
  void insert(WheelEntry& entry, int slot, std::int64_t tick) noexcept;
  void make_due(int slot) noexcept;
  [[nodiscard]] std::int64_t first_tick() const noexcept;

  std::array<WheelEntry*, 2 * kSlots> slots_{};         // level 0, then level 1
  std::array<std::uint64_t, 2 * kSlots / 64> full_{};   // a bit per slot that has entries
  WheelEntry* due_ = nullptr;                           // came up, not yet looked at
  std::int64_t tick_;                                   // all slots up to here are done
  std::int64_t next_ = kNever;                          // not after the first slot with entries
};

}  // namespace heddle::net
