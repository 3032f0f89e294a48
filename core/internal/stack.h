// StackArena: where the stacks of goroutines, and the Gs at their tops, come from.
//
// Per class one reservation of address space (PROT_NONE, no swap accounting), committed in chunks of 64 MiB by mprotect;
// adjacent chunks merge into one mapping, so the map-count limit does not bound the number of goroutines. Slots are handed
// out in address order, and recycled through free lists: one per P and class (LIFO, no lock), and the global one here.
//
// The guard below each stack, by what the kernel has, decided per chunk when it is committed:
//     kMarker    MADV_GUARD_INSTALL (Linux 6.13): page-table level, no mapping of its own; all of a chunk's at once, which
//                costs 0.7 us each instead of 9 when alternated with first touches (runtime-facts G)
//     kMapping   mprotect(PROT_NONE): two mappings each, so only up to a budget below vm.max_map_count. Once the budget or
//                the kernel's limit is met, never again: trying would eat the last mappings that the program itself needs
//     kCanary    neither: a line at the stack's low end, checked whenever the goroutine parks or ends. Said once on
//                standard error, and in stack_stats()
// HEDDLE_STACK_GUARD=marker|mapping|canary forces one (tests, and kernels with a bug).
//
// The global free list, per class. An epoch is 2 s; what was not taken during a whole one is cold, and its memory below the
// top 8 KiB goes back to the system:
//
//     give --> warm --epoch--> cooling --epoch--> stale --release_cold--> cold          take: from the left; new slots last
//
// No slot needs a time stamp for that: takers and givers work at the warm end, so what they do not need sinks.
//
// I1. A slot once handed out has a constructed G at its top for ever; [0, used) of a class can be walked at any time
//     (the dump does), because `used` is published after the G is built.
// I2. Only committed memory is handed out; a slot is never unmapped.
// I3. Memory is released only of a slot that release_cold() has taken off the lists, so nobody can be handed it meanwhile;
//     and of it neither the top 8 KiB (the G, and what the next goroutine touches first) nor the canary's page.
// I4. Committing a chunk needs no mapping beyond the class's first two: the tail of the reservation is one mapping of its
//     own, and takes on the flags of the chunk before it as a whole, so that their border just moves. So goroutines can be
//     started at the map-count limit.
//
// Not done: huge pages (a stack would become resident whole: MADV_NOHUGEPAGE), growing stacks (C++ has interior pointers),
// MADV_FREE (cheaper, but the process looks as large as before until the system is short of memory).
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include <heddle/core/clock.h>
#include <heddle/core/internal/g.h>
#include <heddle/core/internal/sanitizer.h>
#include <heddle/core/lock.h>
#include <heddle/core/stack_stats.h>

namespace heddle {

// Four pages: code without stack probes (-fstack-clash-protection) may jump over one. They are free.
inline constexpr std::size_t kStackGuard = std::size_t{16} << 10;

[[nodiscard]] HEDDLE_UNINSTRUMENTED constexpr std::size_t slot_bytes(StackSize s) noexcept {
  switch (s) {
    case StackSize::kSmall: return std::size_t{64} << 10;
    case StackSize::kDefault: return std::size_t{256} << 10;
    case StackSize::kLarge: return std::size_t{1} << 20;
  }
  return std::size_t{256} << 10;
}

/// The system's page size.
[[nodiscard]] std::size_t page_bytes() noexcept;

enum class GuardKind : std::uint8_t { kMarker, kMapping, kCanary };

class StackArena {
 public:
  constexpr StackArena() = default;
  StackArena(const StackArena&) = delete;
  StackArena& operator=(const StackArena&) = delete;

  /// Moves up to `want` free Gs of class `s` to the front of `out`: recycled ones first, then new slots. Returns how many
  /// (0: out of memory or address space).
  int take(StackSize s, int want, GQueue& out) noexcept;

  /// Takes Gs back.
  void give(StackSize s, GQueue& gs) noexcept;

  /// Calls `visit(arg, g)` for every G ever made, oldest slots first. Any thread.
  void for_each(void (*visit)(void* arg, G* g), void* arg) noexcept;

  /// The G whose guard or slot holds `address`, or nullptr. Async-signal-safe. `in_guard`: whether it hit the guard.
  [[nodiscard]] HEDDLE_UNINSTRUMENTED G* find(const void* address, bool* in_guard) noexcept;

  /// The end of the slot of `g`; its stack, closure and the G itself lie below.
  [[nodiscard]] static std::byte* top_of(const G* g) noexcept {
    return g->stack_lo - kStackGuard + slot_bytes(g->stack_class);
  }

  /// Where the slots of each class lie, all of the reservation.
  [[nodiscard]] std::array<std::span<const std::byte>, kStackClasses> places() const noexcept;

  /// Ends the process with a report and status 2 if `g`, unguarded and off its stack, has run over it.
  static void check_canary(const G* g) noexcept {
    if (g->sp < static_cast<const void*>(g->stack_lo) || !canary_whole(g)) [[unlikely]] report_overrun(g);
  }

  static constexpr std::int64_t kEpoch = 2'000'000'000;  // ns
  static constexpr int kReleaseBatch = 64;                // stacks per call of release_cold
  static constexpr std::size_t kKeepBytes = std::size_t{8} << 10;

  /// Gives back the memory of free stacks that nobody took for an epoch, kReleaseBatch of them at most: 1 us for one
  /// that was hardly used, 12 us for 200 KiB. One load if it is not due. sysmon calls it each round.
  ///
  /// Returns when to call again: `now` if more is to do, kNever if all is cold (until something is given back).
  /// Threads: any.
  std::int64_t release_cold(std::int64_t now) noexcept;

  [[nodiscard]] StackStats stats() noexcept;

  /// See measure_stacks(). In core/stack_stats.cc.
  [[nodiscard]] StackMeasure measure() noexcept;

  /// Ends an arena of a test's own, with all its Gs. The process's lives for ever.
  void unmap_for_test() noexcept;

 private:
  struct Class {
    std::byte* base = nullptr;       // constant after reserve()
    std::size_t reserved = 0;        // bytes; constant after reserve()
    std::size_t committed = 0;       // bytes; guarded by lock_
    GuardKind guard = GuardKind::kCanary;  // of the newest chunk; guarded by lock_
    std::atomic<std::size_t> used{0};      // slots with a G; written under lock_
    // The rest is guarded by lock_.
    GQueue warm;
    GQueue cooling;
    GQueue stale;
    GQueue cold;
    std::size_t releasing = 0;       // off the lists, in the hands of release_cold (I3)
    std::uint64_t released = 0;
    std::size_t by_guard[3] = {};    // slots, by GuardKind
  };

  // What a chunk's guards came to, and why no better.
  struct Guards {
    GuardKind kind = GuardKind::kCanary;
    int marker_errno = 0;   // 0: not tried, or done
    int mapping_errno = 0;
  };

  [[nodiscard]] static bool canary_whole(const G* g) noexcept;
  [[noreturn]] static void report_overrun(const G* g) noexcept;

  bool reserve(StackSize s) noexcept;
  bool commit_chunk(StackSize s) noexcept;
  Guards install_guards(std::byte* chunk, std::size_t bytes, std::size_t slot) noexcept;
  void warn_of_canaries(const Guards& guards) noexcept;
  G* make_g(StackSize s, std::size_t slot) noexcept;
  [[nodiscard]] HEDDLE_UNINSTRUMENTED G* g_of_slot(StackSize s, std::size_t slot) const noexcept;
  [[nodiscard]] static G* pop_free(Class& c) noexcept;
  static bool release(const G* g) noexcept;

  RawMutex lock_{LockRank::kStacks};
  Class classes_[kStackClasses];
  std::size_t mapping_guards_ = 0;         // guarded by lock_
  bool mappings_met_limit_ = false;        // likewise
  bool warned_of_canaries_ = false;        // likewise
  std::int64_t next_epoch_ = 0;            // likewise; ns
  std::atomic<std::int64_t> due_{kNever};  // when release_cold has something to do; written under lock_
};

/// The process's arena. Lives for ever: slots of one run() serve the next.
HEDDLE_UNINSTRUMENTED StackArena& stack_arena() noexcept;

}  // namespace heddle
