// Runtime sections: the stretches of heddle's own code in which a thread must not lose its P.
//
// A goroutine past its slice is taken off by a signal (internal/preempt.h), and one that blocks in the kernel loses its P
// to sysmon (internal/watch.h). Both must never happen while the thread is in the middle of changing a run queue, a
// channel or a ring: what it holds would stay held. So all such code runs in a section, which is a count per thread:
//
//     handler (same thread):   sections != 0  ->  only notes the wish, and returns
//     sysmon (another thread): takes the P; full barrier on our thread (membarrier(2)); sections != 0  ->  gives it back
//
// I1. Whoever uses what belongs to a P, or holds a RawMutex, is in a section; the scheduler's side always is.
// I2. A section never calls user code that may block on what a preempted goroutine holds, save where a comment says so; and
//     it is short.
// I3. The count is the thread's: it is read and written through thread_state() each time, never through a pointer kept
//     across a park.
#pragma once

#include <atomic>
#include <cstdint>

#include <heddle/core/check.h>

namespace heddle {

struct M;

namespace detail {

/// What a thread must find fast, and its signal handler as well.
struct ThreadState {
  // Written by its own thread alone, with plain instructions; read by its handler and by sysmon.
  std::atomic<std::uint32_t> sections{0};
  // The runtime would like its goroutine to yield; set by anybody, cleared by the scheduler.
  std::atomic<std::uint32_t> want_yield{0};
  M* m = nullptr;
  // For choices that need no seed; its own thread's alone, which a preempted goroutine keeps. 0: not begun.
  std::uint64_t rng = 0;
};

#if defined(__SANITIZE_THREAD__)
/// For TSan: what the thread did in its outermost section, which ends, is done for whoever gets its P (handover.h).
void publish_section(ThreadState* t) noexcept;
#endif

}  // namespace detail
}  // namespace heddle

// initial-exec: a look at it must neither allocate nor call, also where heddle is a shared library.
extern "C" [[gnu::tls_model("initial-exec")]] constinit thread_local heddle::detail::ThreadState heddle_thread_state;

namespace heddle::detail {

/// The calling thread's. Not to be kept across a park: a compiler may keep a thread_local's address, so the address is
/// computed where a compiler cannot see what it depends on.
#if defined(__x86_64__)
[[nodiscard, gnu::always_inline]] inline ThreadState* thread_state() noexcept {
  ThreadState* state = nullptr;
  asm volatile("movq heddle_thread_state@gottpoff(%%rip), %0\n\taddq %%fs:0, %0" : "=r"(state) : : "cc");
  return state;
}
#else
[[nodiscard]] ThreadState* thread_state() noexcept;
#endif

[[gnu::always_inline]] inline ThreadState* enter_section() noexcept {
  ThreadState* t = thread_state();
  // relaxed: only this thread writes it.
  t->sections.store(t->sections.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  std::atomic_signal_fence(std::memory_order_seq_cst);  // the compiler's order; the processor's is sysmon's membarrier
  return t;
}

/// `t` is what enter_section() returned, if there was no park in between.
[[gnu::always_inline]] inline void leave_section(ThreadState* t) noexcept {
#if defined(__SANITIZE_THREAD__)
  if (t->sections.load(std::memory_order_relaxed) == 1) publish_section(t);  // relaxed: as above
#endif
  std::atomic_signal_fence(std::memory_order_seq_cst);  // as above
  // release: what was done in the section is done for whoever sees the count fall and takes the P.
  t->sections.store(t->sections.load(std::memory_order_relaxed) - 1, std::memory_order_release);
}
[[gnu::always_inline]] inline void leave_section() noexcept { leave_section(thread_state()); }

/// A goroutine comes from the scheduler's side, whose section is this thread's only one: leave_section() without the wait
/// for the count that was stored a few instructions ago.
[[gnu::always_inline]] inline void end_scheduler_section() noexcept {
  ThreadState* t = thread_state();
  HEDDLE_DCHECK(t->sections.load(std::memory_order_relaxed) == 1);  // relaxed: as in enter_section()
#if defined(__SANITIZE_THREAD__)
  publish_section(t);
#endif
  std::atomic_signal_fence(std::memory_order_seq_cst);  // as in enter_section()
  t->sections.store(0, std::memory_order_release);      // release: as in leave_section()
}

}  // namespace heddle::detail

namespace heddle {

/// A section for a scope. Not across a park; sections within it end within it.
class Section {
 public:
  Section() noexcept : state_(detail::thread_state()) {
    // relaxed, both: as in enter_section().
    before_ = state_->sections.load(std::memory_order_relaxed);
    state_->sections.store(before_ + 1, std::memory_order_relaxed);
    std::atomic_signal_fence(std::memory_order_seq_cst);  // as in enter_section()
  }
  // By what it was before, which is known: to read it back would wait for the store a few instructions ago.
  ~Section() {
    HEDDLE_DCHECK(state_->sections.load(std::memory_order_relaxed) == before_ + 1);  // relaxed: as above
#if defined(__SANITIZE_THREAD__)
    if (before_ == 0) detail::publish_section(state_);
#endif
    std::atomic_signal_fence(std::memory_order_seq_cst);         // as in enter_section()
    state_->sections.store(before_, std::memory_order_release);  // release: as in leave_section()
  }
  Section(const Section&) = delete;
  Section& operator=(const Section&) = delete;

  /// The thread's M; nullptr on a foreign thread.
  [[nodiscard]] M* m() const noexcept { return state_->m; }

 private:
  detail::ThreadState* state_;
  std::uint32_t before_;  // sections when it began
};

}  // namespace heddle
