// The scheduler's side of stopping the world (stop_the_world.h).
//
// One word says it: sched.world, a number that is odd while the world is stopped or stopping. Each P is accounted for in one of
// these ways, and stays so until the number is even again:
//
//     the stopper's own     the stopper is in a section all the time, so it keeps it
//     idle                  the stopper took its bit from the mask: nobody can wake it
//     stands                its holder waits for the number to change: in find_runnable, or in the signal handler
//     in hand               its holder is in a system call: the stopper has the lease (as sysmon for a moment, watch.cc I1).
//                           When the goroutine comes back it goes on as if it had no P (held_p), for it may hold a lock; its M's
//                           scheduler waits (held_p_back)
//
//     stopper:  number += 1; wish all to yield; look; then signal who computes, take the lease of who sleeps; look again
//     holder:   at a scheduling point or in the handler: number is odd -> P::stood = number; futex wait until it changes
//
// I1. A P on its way from M to M (in nextp, in sysmon's hand) is in none of these states; its receiver stands at its next
//     scheduling point. So the stopper needs to look only for the four, again and again.
// I2. Stopper and sysmon's watch exclude each other (world_try_lock): both take leases.
// I3. P::stood, M::stood hold the number of the stop that it belongs to: what is left of an earlier one does not count.
// I4. The number of Ps, and which are retired, changes only while the world is stopped, or by adding one that nobody knew.
// I5. A goroutine that computes without a P, which it lost while its thread slept, stands in the handler like one that has a
//     P. One whose thread sleeps, as in blocking(), is left alone, and may come back while the world stands (stop_the_world.h).
#pragma once

#include <cstdint>

#include <heddle/core/internal/sanitizer.h>
#include <heddle/core/internal/sched.h>

namespace heddle {

/// On the scheduler's side, with a P: waits while the world is stopped.
void stand(M* m) noexcept;
inline bool stand_if_asked(M* m) noexcept {
  // acquire: what changed in the last stop (I4); pairs with start_the_world().
  if ((sched.world.load(std::memory_order_acquire) & 1) == 0) [[likely]] return false;
  stand(m);
  return true;
}

/// In the signal handler, outside every section and with sections raised by the caller: the same, with a P or without.
HEDDLE_UNINSTRUMENTED void stand_in_handler(M* m) noexcept;

/// stop_the_world(), for at most so many ns: then all goes on as before, and it returns false.
[[nodiscard]] bool stop_the_world_within(std::int64_t ns);

/// True if the calling goroutine has stopped the world.
[[nodiscard]] bool world_stopped_here() noexcept;

/// Without a P that could be used: waits until the world goes on, but some 100 us at most; returns at once if it does.
void pause_for_world() noexcept;

/// From run(): there are Ps now, whose homes are up; or they are about to go, and no goroutine runs any more.
void world_begins(bool begins) noexcept;

/// The right to take leases: sysmon's, for one look; false if the world is being stopped.
[[nodiscard]] bool world_try_lock() noexcept;
void world_unlock() noexcept;

}  // namespace heddle
