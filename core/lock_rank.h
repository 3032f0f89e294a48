// The order in which heddle's own locks may be taken: a thread that holds a lock takes only locks of a higher rank.
//
// One table, so that an author of a new lock must say where it stands. Where HEDDLE_DCHECKS is defined every
// RawMutex::lock checks it and dies naming both ranks. Equal ranks may nest only where the table says so (select locks
// its channels in address order).
#pragma once

#include <cstdint>

namespace heddle {

enum class LockRank : std::uint8_t {
  kHttpServer = 8,  // http: one server's list of connections
  kHttpConn = 10,   // http: one connection's buffers and state
  kNetStream = 20,  // net: one stream's or listener's shared state
  kNetHome = 24,    // net: the inbox of one worker's poller
  kSync = 30,       // core: one Mutex, WaitGroup, … wait queue
  kTimerOps = 31,   // core: one Timer's or Ticker's slow operations
  kTimersFire = 32, // core: whoever runs a P's timers; their callbacks run under it and may use channels
  kContext = 33,    // core: one context's state and children; a child's is never taken under its parent's
  kChan = 34,       // core: one channel; several nest in address order (select)
  kTimers = 40,     // core: one P's timer heap; its callbacks run under it and may ready goroutines
  kSched = 50,      // core: the global run queue and start/stop state
  kStacks = 60,     // core: the stack arena and the global free list
  kLeaf = 100,      // takes nothing further
};

}  // namespace heddle
