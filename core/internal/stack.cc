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
constexpr std::size_t kCanaryWords = 8;  // one cache line: frames leave holes

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

void say(const char* text, int size, std::size_t most) noexcept {
  if (size <= 0) return;
  [[maybe_unused]] const auto w = ::write(STDERR_FILENO, text, std::min(static_cast<std::size_t>(size), most - 1));
}

[[nodiscard]] const char* errno_text(int err) noexcept {
  switch (err) {
    case 0: return "not tried";
    case EINVAL: return "EINVAL";  // before Linux 6.13, or memory is locked (mlockall)
    case ENOMEM: return "ENOMEM";  // the map-count limit, or no memory for page tables
    case EPERM: return "EPERM";    // seccomp
    case EACCES: return "EACCES";  // SELinux
    case ENOSYS: return "ENOSYS";
    case EDQUOT: return "heddle's budget is used up";
  }
  return "failed";
}

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
    G* g = pop_free(c);
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
  Class& c = classes_[static_cast<int>(s)];
  gs.append(c.warm);
  c.warm = gs;
  gs = GQueue();
  // relaxed, all of due_: a hint. The lists themselves are read under lock_, and sysmon comes again.
  if (due_.load(std::memory_order_relaxed) == kNever) due_.store(0, std::memory_order_relaxed);
}

G* StackArena::pop_free(Class& c) noexcept {
  for (GQueue* q : {&c.warm, &c.cooling, &c.stale, &c.cold}) {
    if (G* g = q->pop_front(); g != nullptr) return g;
  }
  return nullptr;
}

std::int64_t StackArena::release_cold(std::int64_t now) noexcept {
  const std::int64_t due = due_.load(std::memory_order_relaxed);
  if (now < due) return due;
  GQueue batch[kStackClasses];
  {
    LockGuard guard(lock_);
    const bool epoch = now >= next_epoch_;
    if (epoch) next_epoch_ = now + kEpoch;
    int room = kReleaseBatch;
    for (int i = 0; i < kStackClasses; ++i) {
      Class& c = classes_[i];
      if (epoch) {
        c.stale.append(c.cooling);
        c.cooling = c.warm;
        c.warm = GQueue();
      }
      for (; room > 0 && !c.stale.empty(); --room) batch[i].push_back(c.stale.pop_front());
      c.releasing += batch[i].size();
    }
  }
  // Without the lock: the kernel may take its time, and these are on no list (I3).
  std::uint64_t released[kStackClasses] = {};
  for (int i = 0; i < kStackClasses; ++i) {
    GQueue done;
    while (G* g = batch[i].pop_front()) {
      if (release(g)) ++released[i];
      done.push_back(g);
    }
    batch[i] = done;
  }
  LockGuard guard(lock_);
  std::int64_t next = kNever;
  for (int i = 0; i < kStackClasses; ++i) {
    Class& c = classes_[i];
    c.releasing -= batch[i].size();
    c.released += released[i];
    c.cold.append(batch[i]);
    if (!c.warm.empty() || !c.cooling.empty()) next = std::min(next, next_epoch_);
    if (!c.stale.empty()) next = now;
  }
  due_.store(next, std::memory_order_relaxed);
  return next;
}

// False if the kernel keeps the memory: EINVAL where it is locked (mlockall).
bool StackArena::release(const G* g) noexcept {
  const std::size_t page = page_bytes();
  std::byte* lo = g->stack_lo + (g->guarded ? 0 : page);
  std::byte* hi = top_of(g) - std::max(kKeepBytes, page);
  return lo < hi && stack_sys().madvise(lo, static_cast<std::size_t>(hi - lo), MADV_DONTNEED) == 0;
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
        .free = c.warm.size() + c.cooling.size() + c.stale.size() + c.cold.size() + c.releasing,
        .cold = c.cold.size(),
        .released = c.released,
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

std::array<std::span<const std::byte>, kStackClasses> StackArena::places() const noexcept {
  std::array<std::span<const std::byte>, kStackClasses> all;
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = {classes_[i].base, classes_[i].reserved};
  return all;
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

void StackArena::unmap_for_test() noexcept {
  for (Class& c : classes_) {
    if (c.base != nullptr) ::munmap(c.base, c.reserved);
    c.base = nullptr;
    c.used.store(0, std::memory_order_relaxed);  // relaxed: nobody else knows this arena
  }
}

bool StackArena::canary_whole(const G* g) noexcept {
  const std::uint64_t* words = canary_of(g);
  for (std::size_t i = 0; i < kCanaryWords; ++i) {
    if (words[i] != kCanaryWord) return false;
  }
  return true;
}

// Like the report of a guard that was hit (fault.cc), without the stack: it may have run into its neighbour, so nothing is
// touched that we need not touch.
void StackArena::report_overrun(const G* g) noexcept {
  constexpr auto kRelaxed = std::memory_order_relaxed;  // relaxed, all: its identity changes only while it is idle
  const char* name = g->name.load(kRelaxed);
  const char* file = g->site_file.load(kRelaxed);
  char text[1024];
  const int n = std::snprintf(
      text, sizeof text,
      "heddle: goroutine %llu%s%s%s overflowed its stack of %zu KiB\nfatal error: stack overflow\n\n"
      "It has no guard page, and was found out when it parked or ended: memory below its stack is overwritten.\n"
      "created by goroutine %llu at %s:%u\n",
      static_cast<unsigned long long>(g->id.load(kRelaxed)), name == nullptr ? "" : " \"", name == nullptr ? "" : name,
      name == nullptr ? "" : "\"", slot_bytes(g->stack_class) >> 10,
      static_cast<unsigned long long>(g->creator.load(kRelaxed)), file == nullptr ? "?" : file,
      g->site_line.load(kRelaxed));
  say(text, n, sizeof text);
  ::_exit(2);
}

bool StackArena::reserve(StackSize s) noexcept {
  Class& c = classes_[static_cast<int>(s)];
  // Less where RLIMIT_AS or the kernel's layout will not give so much.
  for (std::size_t bytes = kReserve; bytes >= kChunk; bytes /= 2) {
    void* got = stack_sys().mmap(bytes + kChunk);
    if (got == MAP_FAILED) continue;
    // Chunk alignment keeps the page tables of neighbouring slots together. What sticks out at either end goes, so that
    // the tail is one mapping (I4).
    auto* raw = static_cast<std::byte*>(got);
    const auto address = reinterpret_cast<std::uintptr_t>(got);
    const std::size_t head = (kChunk - address % kChunk) % kChunk;
    if (head != 0) ::munmap(raw, head);
    if (head != kChunk) ::munmap(raw + head + bytes, kChunk - head);
    c.base = raw + head;
    c.reserved = bytes;
    // Advice: a stack must not become resident whole. Failing (no THP in this kernel) is as good.
    stack_sys().madvise(c.base, bytes, MADV_NOHUGEPAGE);
    // Nor may a core dump hold the reservation: gdb's gcore would write all of it, zero by zero.
    stack_sys().madvise(c.base, bytes, MADV_DONTDUMP);
    return true;
  }
  return false;
}

bool StackArena::commit_chunk(StackSize s) noexcept {
  Class& c = classes_[static_cast<int>(s)];
  if (c.base == nullptr && !reserve(s)) return false;
  if (c.committed + kChunk > c.reserved) return false;
  std::byte* chunk = c.base + c.committed;
  const std::size_t tail = c.reserved - c.committed;
  // In this order no mapping is split (I4): the chunk alone would be, if it were first made to differ from the tail.
  stack_sys().madvise(chunk, tail, MADV_DODUMP);
  const bool ok = stack_sys().mprotect(chunk, kChunk, PROT_READ | PROT_WRITE) == 0;
  if (ok) c.committed += kChunk;
  if (c.committed < c.reserved) stack_sys().madvise(c.base + c.committed, c.reserved - c.committed, MADV_DONTDUMP);
  if (!ok) return false;  // ENOMEM: overcommit is off and there is no more, or the map-count limit at the first chunk
  const Guards guards = install_guards(chunk, kChunk, slot_bytes(s));
  c.guard = guards.kind;
  if (guards.kind == GuardKind::kCanary) warn_of_canaries(guards);
  return true;
}

StackArena::Guards StackArena::install_guards(std::byte* chunk, std::size_t bytes, std::size_t slot) noexcept {
  Guards guards;
  if (guard_allowed(GuardKind::kMarker)) {
    for (std::size_t at = 0; at < bytes && guards.marker_errno == 0; at += slot) {
      guards.marker_errno = -stack_sys().madvise(chunk + at, kStackGuard, MADV_GUARD_INSTALL);
    }
    if (guards.marker_errno == 0) return {GuardKind::kMarker, 0, 0};
  }
  if (!guard_allowed(GuardKind::kMapping) || mappings_met_limit_) return guards;
  const std::size_t slots = bytes / slot;
  if (mapping_guards_ + slots > kMappingGuardBudget) {
    guards.mapping_errno = EDQUOT;
  } else {
    for (std::size_t at = 0; at < bytes && guards.mapping_errno == 0; at += slot) {
      guards.mapping_errno = -stack_sys().mprotect(chunk + at, kStackGuard, PROT_NONE);
    }
    if (guards.mapping_errno == 0) {
      mapping_guards_ += slots;
      return {GuardKind::kMapping, 0, 0};
    }
    // Gives the mappings back. Where that fails some slots keep a guard: no harm, the canary lies above it.
    static_cast<void>(stack_sys().mprotect(chunk, bytes, PROT_READ | PROT_WRITE));
  }
  mappings_met_limit_ = true;
  return guards;
}

void StackArena::warn_of_canaries(const Guards& guards) noexcept {
  const char* forced = std::getenv("HEDDLE_STACK_GUARD");
  if (warned_of_canaries_ || (forced != nullptr && std::strcmp(forced, "canary") == 0)) return;
  warned_of_canaries_ = true;
  char text[512];
  const int n = std::snprintf(text, sizeof text,
                              "heddle: no guard pages for further stacks (MADV_GUARD_INSTALL: %s; mprotect: %s; see "
                              "vm.max_map_count): an overflow is found when its goroutine next parks\n",
                              errno_text(guards.marker_errno), errno_text(guards.mapping_errno));
  say(text, n, sizeof text);
}

G* StackArena::g_of_slot(StackSize s, std::size_t slot) const noexcept {
  std::byte* top = classes_[static_cast<int>(s)].base + (slot + 1) * slot_bytes(s);
  // Not std::launder: that may be a call; see find().
  return __builtin_launder(reinterpret_cast<G*>(top - colour_pad(slot) - sizeof(G)));
}

G* StackArena::make_g(StackSize s, std::size_t slot) noexcept {
  G* g = ::new (g_of_slot(s, slot)) G;
  Class& c = classes_[static_cast<int>(s)];
  g->stack_class = s;
  g->stack_lo = c.base + slot * slot_bytes(s) + kStackGuard;
  g->stack_hi = reinterpret_cast<std::byte*>(g);
  g->guarded = c.guard != GuardKind::kCanary;
  if (!g->guarded) std::fill_n(canary_of(g), kCanaryWords, kCanaryWord);
  ++c.by_guard[static_cast<int>(c.guard)];
  return g;
}

}  // namespace heddle
