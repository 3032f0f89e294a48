// M: an OS thread that runs Gs for a P.
//
//   worker   made by run(), one per P, for which it is *home*; it made that P's poller and destroys it
//   spare    home of no P; waits until one is left over because its M is busy with a G that will not let go of its thread
//
//                 gets a P            find_runnable finds none
//     waiting -----------> searching ---------------------------> hosting (asleep in its idle P's poller: stop_m)
//        ^                 |   ^    ^                                 |
//        |                 v   |    '---- event, timer, hand-over ----+
//        |  gave it away   running a G
//        +----- lend ------'   |  |
//        |                     |  '-- blocks in the kernel, sysmon takes its P --> detached --> G leaves --> waiting
//        |                     '-- preempted: waits in the signal handler --------> preempted -- gets a P --> running
//
// I1. `curg`, `p` belong to the M's own thread. `p` is null exactly while the M has none and knows it.
// I2. `nextp` is written by whoever gives this M a P, and taken by the M when it wakes: between two Ms a P has always exactly
//     one owner.
// I3. `lease` is the P as others may take it away: equal to `p`, or null because sysmon took it (watch.cc) while the M's
//     goroutine was outside every section. Code in a section that wants the P asks held_p(); the scheduler's side brings
//     `p` up to date when a goroutine leaves.
#pragma once

#include <pthread.h>

#include <atomic>
#include <cstdint>
#include <memory>

#include <heddle/core/internal/g.h>
#include <heddle/core/poller.h>
#include <heddle/core/section.h>

namespace heddle {

struct P;
struct SignalSlot;

/// What a G asks of its M when it leaves its stack.
enum class Leave : std::uint8_t { kPark, kYield, kExit, kAbandon };

struct alignas(128) M {
  int index = 0;
  P* home = nullptr;  // the P for which this M is home; null: a spare

  // The thread's own.
  void* g0_sp = nullptr;  // the scheduler's context while a G runs
  G* curg = nullptr;
  P* p = nullptr;
  bool settled = false;   // nothing to see to before the next search: home holds its own P, and runs any G
  G* lent = nullptr;      // the G to run with the P that was taken last; it came with it
  std::atomic<G*> locked_g{nullptr};  // the G that called lock_os_thread() here: this M runs no other
  bool helper = false;    // runs blocking calls, and never asks for a P
  M* next_grave = nullptr;
  bool spinning = false;  // has a P, seeks a G, and is counted in Sched::spinning
  Leave leave = Leave::kPark;
  ParkCommit commit = nullptr;
  void* commit_arg = nullptr;
  EhGlobals* eh = nullptr;  // this thread's __cxa_eh_globals
  std::unique_ptr<Poller> poller;  // its home P's
  pthread_t thread{};
  detail::ThreadState* ts = nullptr;  // the thread's
  SignalSlot* slot = nullptr;         // for signals to the thread

  // Sanitizers' idea of the thread's own stack.
  void* g0_fake_stack = nullptr;
  void* g0_fiber = nullptr;
  const void* g0_stack_lo = nullptr;
  std::size_t g0_stack_size = 0;
  const void* g0_base = nullptr;  // above the first frame of the runtime's on that stack

  // Written by others.
  std::atomic<P*> lease{nullptr};
  std::atomic<bool> retaking{false};  // sysmon, or who stops the world, has the lease in hand and may give it back
  std::atomic<P*> nextp{nullptr};
  std::atomic<G*> lent_g{nullptr};  // comes with nextp, and is the lender's until that is taken: it says nothing before
  std::atomic<std::uint32_t> awake{0};  // futex word of an M that waits for a P outside a poller
  std::atomic<std::uint32_t> in_syscall{0};  // its goroutine said so (enter_syscall)
  std::atomic<std::uint32_t> tid{0};

  // For reports, and for sysmon to choose whom to look at; written by the M.
  std::atomic<G*> curg_seen{nullptr};
  std::atomic<bool> spinning_seen{false};
  std::atomic<bool> parked_seen{false};
  std::atomic<bool> preempted_seen{false};  // waits in the signal handler
  std::atomic<bool> stands_seen{false};     // the same, because the world is stopped: it keeps its P
  std::atomic<std::uint32_t> stood{0};      // without a P: the number of the stop for which it stands there (world.h I3, I5)
  const void* preempted_at = nullptr;       // then: its ucontext_t
};

}  // namespace heddle
