// Leaked goroutines: those that wait for a channel or lock that nobody can reach any more, and so would wait for ever.
//
//     auto result = make_chan<int>();                       // unbuffered: the mistake
//     go([result] { result.send(slow()); });
//     select(on_recv(result, use), on_timeout(50ms, [] {}));
//     return;                                               // the last handle but the goroutine's own is gone: it leaks
//
// What is reported is a fact, not a guess from how long something has waited: at one moment, with all threads of the process
// held still, there was no way from anything that could run to what the goroutine waits for. How that is found, and why it
// never reports too much, is in core/internal/leak_search.h.
//
// Reported are waits that only somebody who has the channel or lock could end:
//     channels      send, receive, select without a timeout; nil channels and a select of none are leaks at once
//     locks         Mutex, WaitGroup and what else waits on a Sema, where they lie on the stack (or in the closure) of a
//                   goroutine that is itself waiting beyond reach: two that wait for each other's locks, a lock whose holder
//                   has ended, a WaitGroup whose goroutines are leaked
// together with those that wait for them in turn, as long as the whole group is beyond reach.
//
// Never reported: a goroutine in a sleep, in I/O, in a blocking call, or in a wait with a timeout; and one that waits
// for a Cond, a Semaphore or a WorkPool's jobs, which do not say what could wake it. A Task's lock lies in the heap: see
// below.
//
// Missed, always in the safe direction: a handle or a lock in the heap or in a global counts as within reach, though perhaps
// only the leaked goroutine knows it. So does what a stale address in dead memory still points at. A lock that others
// could reach is never called lost, not even in a deadlock of two: Go lets anybody unlock a Mutex, and nobody knows its
// owner. Only the lock() that finds it free could write that down, which is the fast path; who comes later, and waits,
// cannot tell.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <heddle/core/wait_reason.h>

namespace heddle {

/// What a leaked goroutine waits for.
enum class LeakObject : std::uint8_t {
  kNothing,  // a nil channel, a select without channels: nothing could wake it, ever
  kChannel,
  kSelect,  // all of several channels
  kLock,    // a Sema: a Mutex's, a WaitGroup's
};

/// One leaked goroutine.
struct Leak {
  std::uint64_t id = 0;
  std::string name;  // "" if it has none
  WaitReason reason = WaitReason::kNone;
  LeakObject object = LeakObject::kNothing;
  std::uint64_t object_id = 0;  // the same for those who wait for the same; 0: for several or none. No address: a report
                                // would then itself be a way to what nobody can reach
  std::uint64_t creator = 0;
  const char* file = "";  // where it was created
  std::uint32_t line = 0;
  const char* function = "";
};

/// How far a search may go.
struct LeakOptions {
  /// Bytes of memory, outside goroutines' stacks, that may be read while all threads stand still: some 0.3 s per GiB. Reading is
  /// needed only if there are suspects that the count of their channels' handles does not clear.
  std::size_t most_bytes = std::size_t{1} << 30;
};

struct LeakReport {
  std::vector<Leak> leaks;     // by id
  std::size_t suspects = 0;    // goroutines in a wait that could be a leak
  const char* gave_up = nullptr;  // why it could not be said, and `leaks` is empty; null: it was
};

/// Searches for leaked goroutines. All threads of the process stand still meanwhile, foreign ones, too: some 100 us, plus what
/// LeakOptions says.
///
/// Returns: those leaked at one moment. It gives up where it could not be sure: a foreign thread blocks SIGURG; there is more
///          memory than allowed; the scheduler did not come to rest within half a second; TSan's build.
/// Errors:  std::bad_alloc.
/// Threads: any; a goroutine parks meanwhile. A system call in a foreign thread, or a raw one in a goroutine, may end with EINTR, as
///          after any signal. Outside run() there is nothing to be found.
/// Not promised: addresses kept as anything but addresses (xored, as differences) are not seen, nor those in memory shared with
///          other processes. A channel handle can be kept anywhere.
[[nodiscard]] LeakReport find_leaks(const LeakOptions& options = {});

/// The same, for those who want the leaks alone.
[[nodiscard]] std::vector<Leak> leaks();

/// In a dump's form, one paragraph per goroutine; a line that says so if there are none, or why it could not be said.
[[nodiscard]] std::string to_string(const LeakReport& report);

}  // namespace heddle
