#include <heddle/core/lock.h>

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <heddle/core/check.h>
#include <heddle/core/internal/bubble.h>

namespace heddle {
namespace {

long futex(std::atomic<std::uint32_t>* word, int op, std::uint32_t value) noexcept {
  return ::syscall(SYS_futex, word, op, value, nullptr, nullptr, 0);
}

void cpu_relax() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

void RawMutex::lock_slow() noexcept {
  // relaxed: it says of which kind the lock is; the CAS decides.
  if (word_.load(std::memory_order_relaxed) == kTestedFree) {
    detail::leave_section();
    schedule_point();
    detail::enter_section();
    std::uint32_t free = kTestedFree;
    // acquire: as in lock(); the way from unlock()'s release to 4 is a read-modify-write.
    if (word_.compare_exchange_strong(free, kTestedHeld, std::memory_order_acquire, std::memory_order_relaxed)) return;
  }
  // A holder is a few dozen instructions from its unlock, unless the kernel took its CPU: spin for about as long as that
  // takes, then sleep. On one CPU the spin is wasted but short (40 pauses are some 1-2 us).
  for (int spin = 0; spin < 40; ++spin) {
    // relaxed: only a hint; the CAS below decides.
    if (word_.load(std::memory_order_relaxed) == 0) {
      std::uint32_t free = 0;
      // acquire: as in lock().
      if (word_.compare_exchange_weak(free, 1, std::memory_order_acquire, std::memory_order_relaxed)) return;
    }
    cpu_relax();
  }
  // acquire: as in lock(). Taken as 2, because others may sleep behind us: keeps I2.
  for (;;) {
    const std::uint32_t was = word_.exchange(2, std::memory_order_acquire);
    if (was == 0 || was == kTestedFree) return;
    futex(&word_, FUTEX_WAIT_PRIVATE, 2);
  }
}

void RawMutex::unlock_slow(std::uint32_t was) noexcept {
  if (was == 2) {
    futex(&word_, FUTEX_WAKE_PRIVATE, 1);
    return;
  }
  std::uint32_t free = 0;
  // relaxed: unlock() has released; whoever took the lock at 0 keeps it.
  static_cast<void>(word_.compare_exchange_strong(free, kTestedFree, std::memory_order_relaxed));
}

#ifdef HEDDLE_DCHECKS
namespace {
// Ranks held by this thread, in the order taken. A select may hold many channels, so the stack only notes the first
// kDeep and counts the rest.
constexpr int kDeep = 64;
struct Held {
  LockRank ranks[kDeep];
  int depth = 0;
};
thread_local Held held_locks;

// Out of line: the address must not be kept across a switch of stacks.
[[gnu::noinline]] Held& held() noexcept {
  asm volatile("");
  return held_locks;
}
}  // namespace

void RawMutex::check_rank() const noexcept {
  const Held& h = held();
  if (h.depth == 0 || h.depth > kDeep) return;
  const LockRank top = h.ranks[h.depth - 1];
  const bool nests = rank_ == LockRank::kChan && top == LockRank::kChan;  // select: in address order
  if (rank_ > top || nests) return;
  fatal("lock order: rank %d taken while rank %d is held (core/lock_rank.h)", static_cast<int>(rank_),
        static_cast<int>(top));
}

void RawMutex::note_locked() const noexcept {
  Held& h = held();
  if (h.depth < kDeep) h.ranks[h.depth] = rank_;
  ++h.depth;
}

void RawMutex::note_unlocked() const noexcept {
  Held& h = held();
  HEDDLE_CHECK(h.depth > 0);
  if (h.depth > kDeep) {
    --h.depth;
    return;
  }
  // Usually the last one taken; select unlocks in any order of equal ranks.
  int i = h.depth - 1;
  while (i > 0 && h.ranks[i] != rank_) --i;
  HEDDLE_CHECK(h.ranks[i] == rank_);
  for (; i + 1 < h.depth; ++i) h.ranks[i] = h.ranks[i + 1];
  --h.depth;
}
#endif

}  // namespace heddle
