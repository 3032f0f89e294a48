// Freeze: all other threads of the process hold still, wherever they are, with their registers in memory.
//
// Every thread gets a SIGURG; its handler notes where the registers are, and sleeps until the thaw. So what is read meanwhile
// is of one moment, of scheduler and foreign threads alike: a goroutine's frames, locks, queues, the heap. It is what a
// conservative garbage collector does, and for its reasons: a pointer may be in a register alone, or be moved by a running
// thread from memory not read yet to memory already read.
//
//     kAsked --handler--> kAnswers --handler--> kFrozen --thaw, handler--> kGone
//       '--thaw--> kGivenUp (its signal is owed)
//
// I1. At rest means more than still: every thread is outside the runtime (its section count is 0), or is a thread of the
//     scheduler that sleeps for want of work. So no queue of a channel or lock is half changed, and no waiter taken out of
//     one is on its way to be readied by code that keeps nothing of it but a number. freeze_at_rest() thaws and tries again.
// I2. A thread that waits in the handler already, preempted (preempt.h), has SIGURG blocked: it stays kAsked, and if it is
//     given a P meanwhile it takes the signal, and freezes, before it runs a line of its goroutine. So does one that
//     stands there because the world is stopped. Whoever stopped it may be frozen, so that one is not waited for; but
//     then we are not at rest, and all are let go on until the world does.
// I3. While frozen nothing may be called that takes a lock some thread may hold: no malloc, no stdio streams. TSan's runtime
//     takes locks of its own everywhere: in its build there is no freeze.
// I4. No thread comes to be meanwhile: all that could make one are frozen, and the maker of spares waits at a lock. New ones
//     are looked for until a look finds none.
// I5. The runtime's own threads of no consequence are let alone by name: sysmon and the threads that make reports touch no
//     user's memory. A foreign thread that blocks SIGURG cannot be frozen: then there is no freeze, and it is said why.
// I6. A state carries the number of its freeze, and a handler answers only for the freeze that it found on when it came in. So
//     one that was held up over a thaw and the next freeze's start touches no entry of that, which may be another thread's;
//     its own thread is asked again. kAnswers claims the entry before anything is written there; thaw() waits for it.
#pragma once

#include <ucontext.h>

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>

namespace heddle {

struct M;

struct FrozenThread {
  std::uint32_t tid;
  std::uint32_t state;  // see freeze.cc
  // The handler's, before kFrozen.
  const ucontext_t* context;  // the registers; they lie on the thread's stack or signal stack
  std::uintptr_t sp;
  std::uint32_t sections;
  M* m;  // null: foreign

  [[nodiscard]] bool holds_still() const noexcept;  // false: preempted long before, or of no consequence
};

/// Freezes all threads but the caller's, at rest. Null if done; else why not, as a phrase, and nothing is frozen.
///
/// Threads: one that runs no goroutines and that nobody freezes: a report thread (report.h). One at a time.
[[nodiscard]] const char* freeze_at_rest() noexcept;

/// While frozen: the threads that were asked.
[[nodiscard]] std::span<const FrozenThread> frozen_threads() noexcept;

/// Lets them go on; has them out of the handler on return.
void thaw() noexcept;

/// SIGURG's handler. True if the signal was ours.
bool freeze_here(const ucontext_t* context) noexcept;

/// Held by the maker of spares while it makes a thread: keeps I4.
std::mutex& thread_making() noexcept;

}  // namespace heddle
