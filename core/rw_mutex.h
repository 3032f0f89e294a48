// RWMutex: many readers or one writer. Go's algorithm (src/sync/rwmutex.go): a writer that waits closes the door.
//
//   readers_:  number of readers inside or at the door;  minus kWriter while a writer waits or is inside
//   leaving_:  of the readers that the writer found inside, how many have still to leave
//
//              readers come and go               the last of those found inside leaves
//     open --------------------> open    closed ---------------------------------------> writer inside
//       |                                  ^                                                  |
//       '---- lock(): readers_ -= kWriter -'           unlock(): readers_ += kWriter          |
//     open, with all readers who stood at the door inside  <----------------------------------'
//
// I1. `readers_` below 0: a writer holds writer_, and a reader that counts itself in has to wait at the door
//     (read_sema_). Both sides learn their places from one atomic operation on readers_: they agree on who came first.
// I2. A writer that found r > 0 readers inside adds r to leaving_; each reader that leaves meanwhile subtracts one.
//     Whoever brings it to 0 lets the writer in, if that is not the writer itself. Readers who were let in by an
//     unlock() count as found inside for the next writer.
// I3. unlock() lets in exactly the readers that it finds at the door, before it lets the next writer try (writer_). So
//     writers do not starve readers, nor, by I1, readers a writer: each waits for at most one phase of the other kind.
// I4. There are never more than kWriter - 1 readers: each would need a stack of its own, and 2^30 of them do not fit.
//
// I5. A waiter whose context ended leaves in the section in which it leaves its line (sema.h I5):
//       a reader      counts itself out of readers_, if the door is still closed. If it is open, unlock() has counted
//                     it as one to let in. The door cannot have closed again meanwhile: by I3 unlock() has then given
//                     every reader that it found a unit, and this one has none.
//       a writer      adds kGone to leaving_, unless that is 0: then it has been let in. Whoever brings leaving_ to kGone
//                     opens the door in its stead. So new readers wait until those it found inside have left, as if it
//                     had got in and left at once.
//
// All readers count themselves on one shared line, as in Go: with short sections and many cores a Mutex is no worse.
#pragma once

#include <atomic>
#include <cstdint>

#include <heddle/core/error.h>
#include <heddle/core/mutex.h>
#include <heddle/core/sema.h>

namespace heddle {

class Context;

/// A lock that readers share and a writer has alone. Works with std::shared_lock, std::unique_lock and std::lock_guard.
///
/// Fairness: while a writer waits, new readers wait behind it; those that waited go before the next writer. So a
///           goroutine must not lock it for reading twice: with a writer in between, it waits for itself. A reader's
///           lock cannot be made a writer's, nor the other way round.
/// Threads:  goroutines. A foreign thread may use it as long as it need not wait; else it dies with a message. It has
///           no owner: one goroutine may lock it and another unlock it, and holders may park.
/// Lifetime: may be destroyed when nobody holds it or waits for it and all calls on it have returned.
/// Source:   pkg.go.dev/sync#RWMutex.
class RWMutex {
 public:
  constexpr RWMutex() noexcept = default;
#ifdef HEDDLE_DCHECKS
  ~RWMutex();  // dies with a message if it is locked
#endif
  RWMutex(const RWMutex&) = delete;
  RWMutex& operator=(const RWMutex&) = delete;

  /// Locks for writing; parks until all readers and writers before it are out.
  void lock();

  /// As lock(), unless `ctx` is done first. Readers that came later may then still wait for those that were inside before.
  ///
  /// Errors:  ctx.err()'s code, "sync.RWMutex.Lock" (or "sync.Mutex.Lock", behind another writer); if it is done already
  ///          nothing is tried.
  [[nodiscard]] Result<void> lock(const Context& ctx);

  /// Locks for writing if that is possible at once. Never parks.
  [[nodiscard]] bool try_lock() noexcept;

  /// Ends writing: lets the readers in that wait, then one writer. Dies with a message if it is not locked for writing.
  void unlock();

  /// Locks for reading; parks while a writer is inside or waits.
  void lock_shared() {
    // acquire: sees what the last writer wrote; pairs with the release in unlock().
    if (readers_.fetch_add(1, std::memory_order_acquire) < 0) wait_at_door();
  }

  /// As lock_shared(), unless `ctx` is done first.
  ///
  /// Errors:  ctx.err()'s code, "sync.RWMutex.RLock"; if it is done already nothing is tried.
  [[nodiscard]] Result<void> lock_shared(const Context& ctx);

  /// Locks for reading if no writer is inside or waits. Never parks.
  [[nodiscard]] bool try_lock_shared() noexcept;

  /// Ends reading. Dies with a message if it is not locked for reading.
  void unlock_shared() {
    // release: our reads are done before the next writer writes; pairs with the acquire in lock().
    const std::int32_t before = readers_.fetch_sub(1, std::memory_order_release);
    if (before <= 0) leave_before_writer(before);
  }

 private:
  static constexpr std::int32_t kWriter = std::int32_t{1} << 30;
  static constexpr std::int32_t kGone = kWriter;  // in leaving_, which is below it otherwise

  void wait_at_door();
  void leave_before_writer(std::int32_t before);
  static bool reader_withdraws(void* rw) noexcept;
  static bool writer_withdraws(void* rw) noexcept;

  std::atomic<std::int32_t> readers_{0};
  std::atomic<std::int32_t> leaving_{0};
  Mutex writer_;  // held from lock() to unlock(): writers wait here for each other
  Sema read_sema_;
  Sema write_sema_;
};

}  // namespace heddle
