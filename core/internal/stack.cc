#include <heddle/core/internal/stack.h>

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

#include <heddle/core/check.h>
#include <heddle/core/internal/sanitizer.h>
#include <heddle/core/internal/stack_sys.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102  // Linux 6.13, include/uapi/asm-generic/mman-common.h
#endif

namespace heddle {
namespace {

constexpr std::size_t kChunk = std::size_t{64} << 20;
constexpr std::uint64_t kCanaryWord = 0x6865'6464'6c65'2e43;  // "heddle.C"

// Slots' tops differ by up to 15 lines, or every hot G would sit in the same cache sets. Small enough that a parked
// goroutine still touches one page.
constexpr std::size_t kColours = 16;
constexpr std::size_t kColourStep = 7;
constexpr std::size_t kColourBytes = 64;
[[nodiscard]] HEDDLE_UNINSTRUMENTED std::size_t colour_pad(std::size_t slot) noexcept {
  return slot * kColourStep % kColours * kColourBytes;
}

// The same numbers for deploy/heddle-gdb.py, which walks the arena from outside.
struct Layout {
  std::size_t slot_bytes[kStackClasses];
  std::size_t colours;
  std::size_t colour_step;
  std::size_t colour_bytes;
};
[[gnu::used]] constexpr Layout stack_layout{
    {slot_bytes(StackSize::kSmall), slot_bytes(StackSize::kDefault), slot_bytes(StackSize::kLarge)},
    kColours, kColourStep, kColourBytes};

// The sanitizers reserve most of the address space for their shadow.
constexpr std::size_t kReserve = kSanitized ? std::size_t{64} << 30 : std::size_t{1} << 40;

// Each mapping guard splits a mapping in two; stay well below the usual vm.max_map_count of 65,530.
constexpr std::size_t kMappingGuardBudget = 12'000;

constinit StackArena arena;

[[nodiscard]] std::uint64_t* canary_of(const G* g) noexcept { return reinterpret_cast<std::uint64_t*>(g->stack_lo); }

[[nodiscard]] bool guard_allowed(GuardKind kind) noexcept {
  const char* forced = std::getenv("HEDDLE_STACK_GUARD");
  if (forced == nullptr || *forced == '\0') return true;
  switch (kind) {
    case GuardKind::kMarker: return std::strcmp(forced, "marker") == 0;
    case GuardKind::kMapping: return std::strcmp(forced, "mapping") == 0;
    case GuardKind::kCanary: return true;
  }
  return true;
}

}  // namespace

StackArena& stack_arena() noexcept { return arena; }

std::size_t page_bytes() noexcept {
  static const auto bytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  return bytes;
}

int StackArena::take(StackSize s, int want, GQueue& out) noexcept {
  LockGuard guard(lock_);
  Class& c = classes_[static_cast<int>(s)];
  int got = 0;
  while (got < want) {
    G* g = c.free.pop_front();
    if (g == nullptr) {
      // relaxed: written under lock_, which we hold.
      const std::size_t slot = c.used.load(std::memory_order_relaxed);
      if ((slot + 1) * slot_bytes(s) > c.committed && !commit_chunk(s)) break;
      g = make_g(s, slot);
      // release: publishes the constructed G to for_each() and find(), which load with acquire; keeps I1.
      c.used.store(slot + 1, std::memory_order_release);
    }
    out.push_front(g);
    ++got;
  }
  return got;
}

void StackArena::give(StackSize s, GQueue& gs) noexcept {
  LockGuard guard(lock_);
  // In front: what came back last is the warmest.
  gs.append(classes_[static_cast<int>(s)].free);
  classes_[static_cast<int>(s)].free = gs;
  gs = GQueue();
}

StackStats StackArena::stats() noexcept {
  StackStats all;
  LockGuard guard(lock_);
  for (int i = 0; i < kStackClasses; ++i) {
    const Class& c = classes_[i];
    const auto s = static_cast<StackSize>(i);
    all.classes[static_cast<std::size_t>(i)] = {
        .size = s,
        .slot_bytes = slot_bytes(s),
        .slots = c.used.load(std::memory_order_relaxed),  // relaxed: written under lock_, which we hold
        .free = c.free.size(),
        .markers = c.by_guard[static_cast<int>(GuardKind::kMarker)],
        .mappings = c.by_guard[static_cast<int>(GuardKind::kMapping)],
        .canaries = c.by_guard[static_cast<int>(GuardKind::kCanary)],
    };
  }
  return all;
}

void StackArena::for_each(void (*visit)(void*, G*), void* arg) noexcept {
  for (int i = 0; i < kStackClasses; ++i) {
    const auto s = static_cast<StackSize>(i);
    // acquire: pairs with the release in take().
    const std::size_t used = classes_[i].used.load(std::memory_order_acquire);
    for (std::size_t slot = 0; slot < used; ++slot) visit(arg, g_of_slot(s, slot));
  }
}

// Called in signal handlers: nothing on its way may be instrumented (signals.h I3).
G* StackArena::find(const void* address, bool* in_guard) noexcept {
  const auto* a = static_cast<const std::byte*>(address);
  for (int i = 0; i < kStackClasses; ++i) {
    const auto s = static_cast<StackSize>(i);
    Class& c = classes_[i];
    // acquire: pairs with the release in take(); `base` was set before it.
    const std::size_t used = c.used.load(std::memory_order_acquire);
    if (used == 0 || a < c.base || a >= c.base + used * slot_bytes(s)) continue;
    const auto offset = static_cast<std::size_t>(a - c.base);
    *in_guard = offset % slot_bytes(s) < kStackGuard;
    return g_of_slot(s, offset / slot_bytes(s));
  }
  return nullptr;
}

void StackArena::check_canary(const G* g) noexcept {
  if (*canary_of(g) == kCanaryWord) return;
  // relaxed: our own G's identity.
  fatal("stack overflow: goroutine %llu, created at %s:%u, ran over its %zu KiB stack",
        static_cast<unsigned long long>(g->id.load(std::memory_order_relaxed)),
        g->site_file.load(std::memory_order_relaxed), g->site_line.load(std::memory_order_relaxed),
        slot_bytes(g->stack_class) >> 10);
}

bool StackArena::reserve(StackSize s) noexcept {
  Class& c = classes_[static_cast<int>(s)];
  // Less where RLIMIT_AS or the kernel's layout will not give so much.
  for (std::size_t bytes = kReserve; bytes >= kChunk; bytes /= 2) {
    void* base = stack_sys().mmap(bytes + kChunk);
    if (base == MAP_FAILED) continue;
    // Chunk alignment keeps the page tables of neighbouring slots together.
    const auto address = reinterpret_cast<std::uintptr_t>(base);
    c.base = reinterpret_cast<std::byte*>((address + kChunk - 1) & ~(kChunk - 1));
    c.reserved = bytes;
    // Advice: a stack must not become resident whole. Failing (no THP in this kernel) is as good.
    stack_sys().madvise(c.base, bytes, MADV_NOHUGEPAGE);
    // Nor may a core dump hold the reservation: gdb's gcore would write all of it, zero by zero.
    stack_sys().madvise(base, bytes + kChunk, MADV_DONTDUMP);
    return true;
  }
  return false;
}

bool StackArena::commit_chunk(StackSize s) noexcept {
  Class& c = classes_[static_cast<int>(s)];
  if (c.base == nullptr && !reserve(s)) return false;
  if (c.committed + kChunk > c.reserved) return false;
  std::byte* chunk = c.base + c.committed;
  if (stack_sys().mprotect(chunk, kChunk, PROT_READ | PROT_WRITE) != 0) return false;
  stack_sys().madvise(chunk, kChunk, MADV_DODUMP);
  c.guard = install_guards(chunk, kChunk, slot_bytes(s));
  c.committed += kChunk;
  return true;
}

GuardKind StackArena::install_guards(std::byte* chunk, std::size_t bytes, std::size_t slot) noexcept {
  if (guard_allowed(GuardKind::kMarker)) {
    std::size_t at = 0;
    while (at < bytes && stack_sys().madvise(chunk + at, kStackGuard, MADV_GUARD_INSTALL) == 0) at += slot;
    if (at >= bytes) return GuardKind::kMarker;
  }
  // EINVAL: before Linux 6.13, or the process locks its memory (mlockall).
  const std::size_t slots = bytes / slot;
  if (guard_allowed(GuardKind::kMapping) && mapping_guards_ + slots <= kMappingGuardBudget) {
    std::size_t at = 0;
    while (at < bytes && stack_sys().mprotect(chunk + at, kStackGuard, PROT_NONE) == 0) at += slot;
    if (at >= bytes) {
      mapping_guards_ += slots;
      return GuardKind::kMapping;
    }
    static_cast<void>(stack_sys().mprotect(chunk, bytes, PROT_READ | PROT_WRITE));
  }
  return GuardKind::kCanary;
}

G* StackArena::g_of_slot(StackSize s, std::size_t slot) const noexcept {
  std::byte* top = classes_[static_cast<int>(s)].base + (slot + 1) * slot_bytes(s);
  return __builtin_launder(reinterpret_cast<G*>(top - colour_pad(slot) - sizeof(G)));  // std::launder may be a call; see find()
}

G* StackArena::make_g(StackSize s, std::size_t slot) noexcept {
  G* g = ::new (g_of_slot(s, slot)) G;
  Class& c = classes_[static_cast<int>(s)];
  g->stack_class = s;
  g->stack_lo = c.base + slot * slot_bytes(s) + kStackGuard;
  g->stack_hi = reinterpret_cast<std::byte*>(g);
  g->guarded = c.guard != GuardKind::kCanary;
  if (!g->guarded) *canary_of(g) = kCanaryWord;
  ++c.by_guard[static_cast<int>(c.guard)];
  return g;
}

}  // namespace heddle
