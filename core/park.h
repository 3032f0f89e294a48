// park and ready: the two verbs under every blocking call of heddle.
//
// A primitive that must wait records the current G where its partner will find it (a Sudog on the G's own stack, in a
// queue under a lock), and parks. The partner takes it from there and readies it. The danger is the moment between
// "recorded" and "off its stack": a partner on another M may ready the G while it still runs. Hence the commit:
//
//   park(commit, arg, reason)   the G leaves its stack first; then, on the scheduler's side of the same M,
//                               commit(g, arg) publishes it (or unlocks what the partner needs). Returns false: the
//                               event has come already, the G goes on at once.
//
// I1. Before commit returns true nobody may ready the G, and from the moment it publishes the G anybody may; so commit
//     touches neither the G nor its stack after the publishing step.
// I2. A parked G is readied exactly once. The caller's queue must see to that (whoever unlinks the G readies it).
// I3. After park returns the G may stand on another M: nothing thread-local is kept across it.
#pragma once

#include <heddle/core/lock.h>
#include <heddle/core/wait_reason.h>

namespace heddle {

struct G;

/// Runs on the scheduler's side once the G is off its stack; see above. Must not park, block or throw.
using ParkCommit = bool (*)(G* g, void* arg);

/// Takes the current G off its M until somebody readies it. `commit` may be null: then the G must have been published
/// in a way that no partner can act on before it is off its stack (it hardly ever is: prefer a commit or park_unlock).
///
/// Threads: only on a goroutine; elsewhere it dies with a message.
void park(ParkCommit commit, void* arg, WaitReason reason);

/// Parks and unlocks `mutex` once the G is off its stack: the usual way to wait in a queue that a RawMutex guards.
void park_unlock(RawMutex& mutex, WaitReason reason);

/// Makes a parked G runnable, next in line on the current P (Go's runnext): it runs when the current G parks or ends.
///
/// Threads: goroutines, the scheduler's side, timer callbacks, and foreign threads (there it goes to the global queue; the
/// thread must be done before the main goroutine ends).
void ready(G* g);

/// The same at the tail of the current P's queue. For batches (a poller's reap), where none is more urgent.
void ready_tail(G* g);

/// The goroutine that calls, or nullptr on the scheduler's side and on foreign threads.
[[nodiscard]] G* current_g() noexcept;

/// The goroutine that calls; dies with "`op` outside a goroutine" if there is none.
[[nodiscard]] G* must_current_g(const char* op) noexcept;

/// Runs `hook(arg)` on the current G's stack each time the G is about to park or yield; null takes it away. One per G.
/// For work that may be put off while the G computes but not while it waits (http: send what is buffered).
/// The hook must not park, and may run while the primitive that parks holds its lock: so it does little (http's starts a
/// goroutine that sends). It is taken away when the G ends.
void set_on_park(void (*hook)(void*), void* arg) noexcept;

}  // namespace heddle
