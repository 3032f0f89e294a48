// How a P goes from one M to another, outside the idle protocol (wakeup.cc).
//
//     lend_p       a scheduler has picked a bound G: its M gets the P, the scheduler's M waits
//     give_back    home waits for its P: the holder lets it have it at the next scheduling point
//     preempt      in the signal handler: the P goes on with home or a spare, the thread waits for another P (preempt.cc)
//     retake       sysmon takes the P of an M whose goroutine is blocked in the kernel (watch.cc)
//
// I1. A P is handed over by exactly one store to the receiver's nextp, by its owner; before that the owner has cleared its
//     own `p` and `lease`.
// I2. An M becomes a receiver only by saying that it waits: home_waits, the set of spares, or a bound G on a queue. Whoever
//     takes that away (exchange, fetch_and, pop) owes it a P, and nobody else will give it one.
// I3. An M that waits for home has a way to it: the holder looks at home_waits at every scheduling point, an idle P's
//     host is woken by the M itself (wait_for_p: flag, fence, look at the idle mask; stop_m: mask, fence, look at the flag).
//
// What a signal handler uses is uninstrumented and touches atomics by the compiler's own builtins: TSan's runtime may be
// what was interrupted. So TSan is not told of hand-overs but of uses, which are never in a handler, and the P is what
// carries the edge: whoever used it releases to it before another can get it (release_p; the end of each section,
// publish_section), and whoever uses it acquires from it first (acquire_p; held_p; a goroutine's return to the
// scheduler). Through how many handlers the P went in between does not matter: they do not touch what belongs to it.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>

#include <heddle/core/internal/sanitizer.h>
#include <heddle/core/lock.h>

namespace heddle {

struct G;
struct M;
struct P;

/// Threads of all kinds at most. Each M has an index below it.
inline constexpr int kMaxMs = 1024;

/// The plain object in an atomic, for __atomic builtins.
template <class T>
HEDDLE_UNINSTRUMENTED inline T* raw(std::atomic<T>& a) noexcept {
  static_assert(sizeof(std::atomic<T>) == sizeof(T));
  return reinterpret_cast<T*>(&a);
}

/// Ms without a P and without a home, as bits.
class SpareSet {
 public:
  HEDDLE_UNINSTRUMENTED void put(int m) noexcept {
    __atomic_fetch_add(&count_, 1, __ATOMIC_SEQ_CST);
    __atomic_fetch_or(&words_[m / 64], bit(m), __ATOMIC_SEQ_CST);
  }
  HEDDLE_UNINSTRUMENTED bool try_take(int m) noexcept {
    if ((__atomic_fetch_and(&words_[m / 64], ~bit(m), __ATOMIC_SEQ_CST) & bit(m)) == 0) return false;
    __atomic_fetch_sub(&count_, 1, __ATOMIC_SEQ_CST);
    return true;
  }
  /// -1: there is none.
  HEDDLE_UNINSTRUMENTED int take_any() noexcept {
    for (int w = 0; w < kMaxMs / 64; ++w) {
      for (std::uint64_t word = __atomic_load_n(&words_[w], __ATOMIC_SEQ_CST); word != 0;
           word = __atomic_load_n(&words_[w], __ATOMIC_SEQ_CST)) {
        const int m = w * 64 + __builtin_ctzll(word);
        if (try_take(m)) return m;
      }
    }
    return -1;
  }
  [[nodiscard]] HEDDLE_UNINSTRUMENTED int count() const noexcept { return __atomic_load_n(&count_, __ATOMIC_RELAXED); }

 private:
  [[nodiscard]] HEDDLE_UNINSTRUMENTED static constexpr std::uint64_t bit(int m) noexcept {
    return std::uint64_t{1} << (m % 64);
  }
  alignas(64) std::uint64_t words_[kMaxMs / 64] = {};
  int count_ = 0;
};

/// Preempted Gs, oldest first. Pushed by signal handlers, taken by schedulers.
class Hogs {
 public:
  HEDDLE_UNINSTRUMENTED void push(G* g) noexcept;
  /// nullptr: there is none. In a section.
  HEDDLE_UNINSTRUMENTED G* take() noexcept;
  // seq_cst: the last look before sleep (wakeup.cc), like the sizes of the queues.
  [[nodiscard]] HEDDLE_UNINSTRUMENTED int size() const noexcept { return __atomic_load_n(&count_, __ATOMIC_SEQ_CST); }

 private:
  HEDDLE_UNINSTRUMENTED void lock() noexcept;
  HEDDLE_UNINSTRUMENTED void unlock() noexcept { __atomic_store_n(&busy_, false, __ATOMIC_RELEASE); }

  bool busy_ = false;   // a lock that a signal handler may take: its holders are in sections, so never preempted
  G* in_ = nullptr;     // newest first; only pushed to, or taken whole
  G* first_ = nullptr;  // oldest first; guarded by busy_
  int count_ = 0;
};

/// A successor for `p`: its home if that waits, else a spare, else the M of the oldest preempted G, so that hogs go on in turn
/// where no thread can be made (the maker may wait for what one of them holds). nullptr: none. The caller owes it the P, or
/// gives it back by untake_successor().
HEDDLE_UNINSTRUMENTED M* take_successor(P* p) noexcept;
void untake_successor(P* p, M* m) noexcept;

/// Gives `p`, which the caller owns and has released, to `m`, which waits.
HEDDLE_UNINSTRUMENTED void hand_p(M* m, P* p) noexcept;

/// The same from the scheduler's side or sysmon, where TSan may be told.
void pass_p(M* m, P* p) noexcept;

/// In nextp: go on, without a P (watch.cc I3).
inline P* const kNoP = reinterpret_cast<P*>(std::uintptr_t{64});

/// Sleeps until nextp holds something; takes it. nullptr when the scheduler stops (or, for a spare, sends it home).
HEDDLE_UNINSTRUMENTED P* sleep_for_p(M* m) noexcept;

}  // namespace heddle
