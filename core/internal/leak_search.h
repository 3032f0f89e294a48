// The search for leaked goroutines: those that wait for what nobody else can reach any more.
//
// It is a garbage collector's marking, for waits instead of memory. *Suspects* are the goroutines that only another goroutine
// (or a thread) can wake, and that nobody has begun to wake: those with a WaitsFor. *Regions* are what could hide the way
// to what a suspect waits for:
//
//     a suspect's stack      from its saved sp up, its closure included
//     its boxed closure      if that was too large for the stack
//     a channel              that a suspect waits for, or has a handle to; found also in other such channels' buffers
//
// Everything else is outside: other goroutines' stacks, threads' stacks and registers, the heap, globals. A region is *reached*
// if the outside has a way in, or a region that is reached. A suspect can be woken if what it waits for is a reached
// channel, or a lock in a reached region or outside. Those that cannot are leaked.
//
//   1. A channel counts its handles (chan.h). If there are more than those found in regions, somebody outside has one:
//      reached. Nothing outside need be read for that: most innocent goroutines are cleared here.
//   2. If suspects are left: any word outside that is an address in a region makes it reached. This finds what was
//      captured by reference, an operation under way, or an iterator, which know the channel without a handle.
//   3. A reached region is itself read like the outside; that goes on until nothing new is reached.
//
// I1. Never too many: whoever could wake a suspect has the channel, or the lock, through a chain of addresses that begins
//     outside; each link is a handle (counted, or seen in a reached region) or a plain address (seen). All registers are
//     in memory (freeze.h). What an address is stored as must be the address: a pointer that is kept as a difference or
//     xored, other than in a handle, is not recognized. Nor does a wake that needs none, of a lock whose address
//     is a constant, matter: such a lock lies outside.
// I2. Handles are counted exactly: a word is one only if it names a channel from where it lies (ChanRef, ChanCore::name), and
//     a destroyed one is cleared.
// I3. The runtime's own ways to waiting goroutines are not ways to wake them, and are left out: a channel's queues, the heads of
//     Semas' queues, Ms and their own frames, timers that have fired. An M at rest runs none of the user's code; and the frames
//     of who called run() go on when all is over.
// I4. Some leaks are missed, always to the safe side: a handle or lock in the heap counts as reachable, whoever owns it;
//     an address left behind in dead memory (a freed block, a dead slot of a live frame) counts as an address; a lock
//     that lies in the heap or among globals could be unlocked by anybody, so it is never called lost.
//
// Nothing in the search allocates: its tables are mapped (own_memory.h), and it runs on a thread of its own.
#pragma once

#include <ucontext.h>

#include <cstddef>
#include <cstdint>

#include <heddle/core/internal/own_memory.h>
#include <heddle/core/internal/waits_for.h>

namespace heddle::detail {

struct ChanCore;

class LeakSearch {
 public:
  /// `most`: bytes outside that may be read.
  explicit LeakSearch(std::size_t most) noexcept : most_(most) {}

  /// Does it, while all other threads hold still. Null, or why it cannot be said.
  ///
  /// Threads: a report thread. `self`: its own stack, which is left out.
  [[nodiscard]] const char* run(Span self) noexcept;

  /// After run(): the suspects, and how many of them are leaked.
  [[nodiscard]] std::size_t suspects() const noexcept { return suspects_.size(); }

  /// After run(): the i-th suspect if it is leaked, else null. What it waits for is as it was.
  [[nodiscard]] G* leaked(std::size_t i) const noexcept { return suspects_[i].can_wake ? nullptr : suspects_[i].g; }
  [[nodiscard]] WaitKind wait_kind(std::size_t i) const noexcept { return suspects_[i].kind; }
  [[nodiscard]] const void* wait_object(std::size_t i) const noexcept { return suspects_[i].object; }

 private:
  static constexpr std::uint32_t kNone = 0xffff'ffff;

  struct Suspect {
    G* g = nullptr;
    WaitKind kind = WaitKind::kNothing;
    const void* object = nullptr;  // a ChanCore (of a select: null), a Sema
    bool can_wake = false;
    std::uint32_t stack = kNone;  // regions
    std::uint32_t box = kNone;
  };
  struct Region {
    Span at;
    const ChanCore* chan = nullptr;  // null: a stack or a box
    std::uint32_t handles = 0;       // to this channel, found in regions
    std::uint32_t waits = kNone;     // suspects who wait for this, or for a lock in it
    bool stack = false;
    bool reached = false;
  };
  struct Wait {  // one suspect's wait, in a list of a region's
    std::uint32_t suspect;
    std::uint32_t next;
  };
  struct Place {  // regions by address
    Span at;
    std::uint32_t region;
  };

  void add(G* g) noexcept;
  void add_stack(std::uint32_t suspect) noexcept;
  void add_wait(std::uint32_t region, std::uint32_t suspect) noexcept;
  [[nodiscard]] std::uint32_t chan_region(const ChanCore* c, bool add) noexcept;
  void find_waits() noexcept;
  void find_handles(std::uint32_t region) noexcept;
  [[nodiscard]] const ChanCore* chan_named_by(std::uintptr_t at) noexcept;
  [[nodiscard]] Span contents(const Region& r) const noexcept;
  void sort_places() noexcept;
  [[nodiscard]] std::uint32_t region_of(std::uintptr_t address) const noexcept;
  void reach(std::uint32_t region) noexcept;
  void can_wake(std::uint32_t suspect) noexcept;
  void read_reached() noexcept;
  void read_words(Span words) noexcept;
  [[nodiscard]] bool open_question() const noexcept { return open_ != 0; }
  [[nodiscard]] const char* read_outside(Span self) noexcept;
  void leave_out_runtime(Span self) noexcept;
  void read_goroutines() noexcept;
  void read_goroutine(G* g) noexcept;
  void read_threads() noexcept;
  void read_registers_at(const ucontext_t& context, bool of_goroutine) noexcept;

  static constexpr std::size_t kMostSuspects = std::size_t{1} << 18;
  static constexpr std::size_t kMostRegions = std::size_t{1} << 20;
  static constexpr std::size_t kHash = 2 * kMostRegions;

  std::size_t most_;
  bool full_ = false;     // a table is
  std::size_t open_ = 0;  // suspects whose channels and locks are not reached, and of which that could still change
  OwnMemory memory_;
  Table<Suspect> suspects_{kMostSuspects};
  Table<Region> regions_{kMostRegions};
  Table<Wait> waits_{2 * kMostRegions};
  Table<Place> places_{kMostRegions};
  Table<std::uint32_t> chans_{kHash};  // open addressing: a region's index + 1
  Table<std::uint32_t> reached_{kMostRegions};  // to be read
  Span all_{~std::uintptr_t{0}, 0};             // around all regions
};

}  // namespace heddle::detail
