// The runtime's signal to one of its own threads: SIGURG, with a word that says why.
//
// Each M's thread registers a slot. Whoever wants something of that thread sets a bit in the slot's reasons and sends the
// signal by tgkill; the handler takes the bits and does what they say. SIGURG, as in Go: it is ignored by default, no debugger
// stops for it, and hardly a program uses it; a handler that was there before us gets what has no reason of ours.
//
// Where a freeze is on (freeze.h) the handler first waits for its end, on whatever thread it runs, registered or not.
//
// kReasonPreempt takes the goroutine off (preempt.h); the handler then returns only when it may go on. kReasonStack copies
// the registers and the stack in use into a buffer that the asker lends:
//
//     kNone --asker--> kAsked --handler--> kCopying --handler--> kDone --asker--> kNone
//                        '-------- asker gives up --------------------------------^
//
// I1. Slots live for ever, so neither the asker nor a late signal can meet a freed one. A thread that has gone is ESRCH, or,
//     if its number was given away, a thread of ours without a slot or with another's reasons: then nothing happens.
// I2. The handler writes to the buffer only between kCopying and kDone, and leaves kAsked only by compare-and-swap; an asker
//     that gives up moves kAsked to kNone the same way. So a buffer is never written after its asker took it back.
// I3. The handler runs on the thread's signal stack, calls nothing that is not async-signal-safe, keeps errno, and is not
//     instrumented: TSan would otherwise run it late, when the registers it was given are no longer true.
// I4. Whose stack it is, is decided by the stack pointer alone (StackArena::find): the switch of stacks and `curg` do not
//     change at one moment, and the signal may come between them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <heddle/core/internal/unwind.h>

namespace heddle {

struct G;

/// Why a thread is signalled; bits.
enum SignalReason : std::uint32_t { kReasonStack = 1, kReasonPreempt = 2 };

struct SignalSlot;

/// Installs the handler; once per process.
void install_runtime_signal();

/// Gives the calling thread a slot, takes it back. The thread must have a signal stack, and keep it as long.
SignalSlot* register_signalled_thread() noexcept;  // nullptr: all slots are taken
void unregister_signalled_thread() noexcept;

/// Sends kReasonPreempt to the slot's thread, unless one is on its way.
void signal_preempt(SignalSlot* slot) noexcept;

/// A goroutine caught in the act.
struct RunningStack {
  G* g = nullptr;
  std::uint64_t id = 0;  // the goroutine's, when it was caught
  StackImage image;
};

/// The goroutines that run at this moment on other threads than the caller's, as far as their threads answer within
/// `timeout_ns`. A thread in a system call is interrupted: what SA_RESTART does not restart returns EINTR, as after any signal.
/// Threads: any without a goroutine, one at a time (the report lock, report.cc).
[[nodiscard]] std::vector<RunningStack> capture_running(std::int64_t timeout_ns);

}  // namespace heddle
