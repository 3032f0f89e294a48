// What goroutines' stacks cost: how many there are, what guards them, how much memory they hold, how deep they went.
//
// Counting is cheap and always at hand (stack_stats). Memory is measured only when asked for, by mincore(2): one call per
// slot, nothing before (stack_high_water, measure_stacks). So all sizes come in pages, and:
//   - A page counts once it was touched, by this goroutine or by an earlier one on the same stack, until the slot's
//     memory is given back: cold stacks in the free list are cut to 8 KiB after 2 to 4 seconds (internal/stack.h).
//   - Pages that are swapped out do not count; where mincore is emulated (gVisor) all may.
//   - The goroutine's own bookkeeping and closure lie at the top of its stack and are counted: one page at least.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include <heddle/core/go.h>

namespace heddle {

inline constexpr int kStackClasses = 3;

/// Stacks of one class, counted. A slot that was made is kept for ever and serves one goroutine after the other.
struct StackClassStats {
  StackSize size = StackSize::kDefault;
  std::size_t slot_bytes = 0;  // of address space, guard included
  std::size_t slots = 0;       // made so far
  std::size_t free = 0;        // in the global free list; others are in use, or kept warm by a P (some 256 each)
  std::size_t cold = 0;        // of the free ones: memory given back, but for 8 KiB
  std::uint64_t released = 0;  // how often a stack's memory was given back
  // Slots by what is below the stack. They sum up to `slots`.
  std::size_t markers = 0;   // MADV_GUARD_INSTALL: an overflow dies at once; costs no mapping
  std::size_t mappings = 0;  // mprotect: likewise, for two of the process's mappings (vm.max_map_count)
  std::size_t canaries = 0;  // no guard page was to be had: an overflow dies when its goroutine next parks
};

struct StackStats {
  std::array<StackClassStats, kStackClasses> classes;  // by StackSize
};

/// How many stacks there are, by class. Some 100 ns. Threads: any.
[[nodiscard]] StackStats stack_stats() noexcept;

/// The memory of a group of stacks.
struct StackUse {
  static constexpr int kBuckets = 9;

  std::size_t stacks = 0;
  std::size_t resident_bytes = 0;
  std::size_t max_high_water = 0;
  // How many went how deep: up to 4 KiB, above that and up to 8 KiB, 16 KiB ... 1 MiB.
  std::array<std::size_t, kBuckets> high_water{};
};

struct StackClassUse {
  StackSize size = StackSize::kDefault;
  StackUse live;  // of goroutines
  StackUse free;  // wherever they are kept
};

struct StackMeasure {
  std::array<StackClassUse, kStackClasses> classes;  // by StackSize
};

/// Measures every stack, live and free. Goroutines go on running: each stack's part is true of its moment.
///
/// Costs a system call per slot ever made, 1 to 2 us: some seconds for a million. For a debug page, not for a loop; a
/// goroutine that calls holds its P meanwhile. Threads: any. Source: mincore(2).
[[nodiscard]] StackMeasure measure_stacks() noexcept;

/// The deepest that the calling goroutine's stack was used, in bytes from its top, rounded up to pages; 0 off goroutines.
/// For choosing a StackSize: run the worst input, ask before the goroutine ends.
///
/// What an earlier goroutine on the same stack touched counts too: it may say too much, too little only after swapping.
/// One system call. Threads: any. Source: mincore(2).
[[nodiscard]] std::size_t stack_high_water() noexcept;

}  // namespace heddle
