#include <heddle/core/stack_stats.h>

#include <algorithm>
#include <bit>

#include <heddle/core/internal/stack.h>
#include <heddle/core/internal/stack_sys.h>
#include <heddle/core/park.h>

namespace heddle {
namespace {

constexpr std::size_t kSmallestPage = 4096;
constexpr std::size_t kMostPages = slot_bytes(StackSize::kLarge) / kSmallestPage;

struct Depth {
  std::size_t resident = 0;    // bytes
  std::size_t high_water = 0;  // bytes from the slot's top
};

// Zeros if the kernel does not tell (EAGAIN: it is out of memory itself).
Depth depth_of(const G* g) noexcept {
  const std::size_t page = page_bytes();
  std::byte* top = StackArena::top_of(g);
  const std::size_t pages = static_cast<std::size_t>(top - g->stack_lo) / page;
  unsigned char in_core[kMostPages];
  Depth depth;
  if (stack_sys().mincore(g->stack_lo, pages * page, in_core) != 0) return depth;
  std::size_t lowest = pages;
  for (std::size_t i = pages; i-- > 0;) {
    if ((in_core[i] & 1) == 0) continue;
    depth.resident += page;
    // The canary keeps the lowest page in memory: on its own it is no sign of use.
    if (i == 0 && !g->guarded && lowest != 1) continue;
    lowest = i;
  }
  depth.high_water = (pages - lowest) * page;
  return depth;
}

void add(StackUse& use, const Depth& depth) noexcept {
  ++use.stacks;
  use.resident_bytes += depth.resident;
  use.max_high_water = std::max(use.max_high_water, depth.high_water);
  const std::size_t pages = (depth.high_water + kSmallestPage - 1) / kSmallestPage;
  const std::size_t bucket = pages <= 1 ? 0 : static_cast<std::size_t>(std::bit_width(pages - 1));
  ++use.high_water[std::min<std::size_t>(bucket, StackUse::kBuckets - 1)];
}

void add_g(void* arg, G* g) {
  StackClassUse& c = static_cast<StackMeasure*>(arg)->classes[static_cast<std::size_t>(g->stack_class)];
  const GStatus status = g->status.load(std::memory_order_relaxed);  // relaxed: a statistic
  add(status == GStatus::kIdle || status == GStatus::kDead ? c.free : c.live, depth_of(g));
}

}  // namespace

StackMeasure StackArena::measure() noexcept {
  StackMeasure all;
  for (int i = 0; i < kStackClasses; ++i) all.classes[static_cast<std::size_t>(i)].size = static_cast<StackSize>(i);
  for_each(add_g, &all);
  return all;
}

StackStats stack_stats() noexcept { return stack_arena().stats(); }
StackMeasure measure_stacks() noexcept { return stack_arena().measure(); }

std::size_t stack_high_water() noexcept {
  const G* g = current_g();
  return g == nullptr ? 0 : depth_of(g).high_water;
}

}  // namespace heddle
