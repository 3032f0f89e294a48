#include <heddle/core/mutex.h>

#include <heddle/core/check.h>
#include <heddle/core/clock.h>
#include <heddle/core/context.h>
#include <heddle/core/go.h>
#include <heddle/core/internal/bubble.h>
#include <heddle/core/internal/sched.h>

namespace heddle {

constinit std::uint32_t detail::new_mutex_state = 0;
void detail::test_new_mutexes(bool on) noexcept { new_mutex_state = on ? Mutex::kTested : 0; }

namespace {

constexpr std::int64_t kStarvesAfter = 1'000'000;  // ns; Go's starvationThresholdNs
constexpr int kSpins = 4;                          // Go's active_spin, and its 30 pauses for each
constexpr int kPauses = 30;

// A spin pays if the holder is at work on another P and will be done soon, and nobody else needs this one.
bool spin_can_pay() noexcept {
  if (sched.nprocs <= 1) return false;
  const Section section;
  const P* p = held_p(section.m());
  if (p == nullptr || p->runq.size() != 0) return false;
  // relaxed: a guess.
  return sched.nprocs - sched.idle.count() - sched.spinning.load(std::memory_order_relaxed) > 1;
}

void pause_for_a_while() noexcept {
  for (int i = 0; i < kPauses; ++i) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }
}

}  // namespace

// Spins while the lock is held in normal mode. Refreshes *old; returns true if we have set `woken` (so that unlock() wakes
// nobody beside us), or had before.
bool Mutex::spin(std::uint32_t* old, bool awake) noexcept {
  for (int i = 0; i < kSpins && (*old & (kLocked | kStarving)) == kLocked && spin_can_pay(); ++i) {
    // relaxed, both: `woken` is a request to the next unlock(), it publishes nothing.
    if (!awake && (*old & kWoken) == 0 && *old >= kWaiter &&
        state_.compare_exchange_strong(*old, *old | kWoken, std::memory_order_relaxed, std::memory_order_relaxed)) {
      awake = true;
    }
    pause_for_a_while();
    *old = state_.load(std::memory_order_relaxed);  // relaxed: a hint for the next CAS
  }
  return awake;
}

#ifdef HEDDLE_DCHECKS
Mutex::~Mutex() {
  // relaxed: whoever destroys it has seen all others leave.
  if ((state_.load(std::memory_order_relaxed) & kLocked) != 0) fatal("Mutex: destroyed while locked");
}
#endif

Result<void> Mutex::lock(const Context& ctx) {
  if (!ctx.err()) {
    std::uint32_t free = 0;
    // acquire: as in lock().
    if (state_.compare_exchange_strong(free, kLocked, std::memory_order_acquire, std::memory_order_relaxed)) return {};
    if (lock_slow(ctx.can_be_done() ? &ctx : nullptr)) return {};
  }
  return std::unexpected(detail::done_error(ctx, to_string(WaitReason::kMutexLock)));
}

bool Mutex::lock_slow(const Context* ctx) {
  schedule_point();
  std::int64_t waiting_since = 0;
  bool starving = false;
  bool awake = false;                                          // `woken` is ours to clear
  std::uint32_t old = state_.load(std::memory_order_relaxed);  // relaxed: the CAS below decides
  for (;;) {
    awake = spin(&old, awake);
    std::uint32_t next = old;
    if ((old & kStarving) == 0) next |= kLocked;  // a starving lock is not ours to take
    if ((old & (kLocked | kStarving)) != 0) next += kWaiter;
    if (starving && (old & kLocked) != 0) next |= kStarving;  // of a lock that is free nobody need starve
    if (awake) {
      HEDDLE_CHECK((old & kWoken) != 0);
      next &= ~kWoken;
    }
    // acquire: if this takes the lock, as in lock(). relaxed on failure: we only try again.
    if (!state_.compare_exchange_strong(old, next, std::memory_order_acquire, std::memory_order_relaxed)) continue;
    if ((old & (kLocked | kStarving)) == 0) return true;

    const bool waited_before = waiting_since != 0;
    if (!waited_before) waiting_since = nanotime();
    // `waited_before` keeps I4.
    if (ctx == nullptr) {
      sema_.acquire(WaitReason::kMutexLock, waited_before);
    } else if (!sema_.acquire_unless(*ctx, WaitReason::kMutexLock, &Mutex::withdraw, this, waited_before)) {
      return false;
    }
    starving = starving || nanotime() - waiting_since > kStarvesAfter;
    old = state_.load(std::memory_order_relaxed);  // relaxed: as above
    if ((old & kStarving) != 0) break;
    awake = true;
  }

  // The lock was left to us: neither locked nor woken, and we still count as a waiter.
  for (;;) {
    HEDDLE_CHECK((old & (kLocked | kWoken)) == 0 && old >= kWaiter);
    std::uint32_t next = old + kLocked - kWaiter;
    if (!starving || next < kWaiter) next &= ~kStarving;
    // acquire: as in lock(). relaxed on failure: a waiter came or left.
    if (state_.compare_exchange_weak(old, next, std::memory_order_acquire, std::memory_order_relaxed)) return true;
  }
}

// Of a waiter that has no unit. Keeps I5.
bool Mutex::withdraw(void* mutex) noexcept {
  auto& state = static_cast<Mutex*>(mutex)->state_;
  std::uint32_t old = state.load(std::memory_order_relaxed);  // relaxed: the CAS decides
  for (;;) {
    const bool left_to_a_waiter = (old & (kLocked | kStarving)) == kStarving;
    if (old / kWaiter <= (left_to_a_waiter ? 1U : 0U)) return false;
    std::uint32_t next = old - kWaiter;
    if (next < kWaiter) next &= ~kStarving;
    // relaxed, both: publishes nothing.
    if (state.compare_exchange_weak(old, next, std::memory_order_relaxed, std::memory_order_relaxed)) return true;
  }
}

void Mutex::unlock_slow(std::uint32_t old) {
  bool wakes = false;
  bool starving = false;
  for (;;) {
    if ((old & kLocked) == 0) fatal("Mutex: unlock of unlocked mutex");
    std::uint32_t next = old - kLocked;
    starving = (old & kStarving) != 0;  // then the lock is left to the first waiter, which is still counted
    wakes = starving || (old >= kWaiter && (old & kWoken) == 0);
    if (wakes && !starving) next = (next - kWaiter) | kWoken;
    // release: as in unlock(). relaxed on failure: publishes nothing.
    if (state_.compare_exchange_weak(old, next, std::memory_order_release, std::memory_order_relaxed)) break;
  }
  // Keeps I6: if nobody is to be woken, the Mutex may be gone by now.
  if (wakes) sema_.release();
  if (starving) {
    // It should run at once. Our own slice would only be spent in front of it.
    if (current_g() != nullptr) gosched();
    return;
  }
  schedule_point();
}

}  // namespace heddle
