// The seam between core and net: all that the scheduler needs from a poller, and all that it knows of one.
//
// Each P has one Poller, made by the factory on the thread of the P's home M. Whoever holds the P reaps; while the P is idle
// one M, its host, sleeps in it; wake is for everybody. Mostly both are the home M; drive() says when they are not. net registers its factory when it is linked in; without it, a poller that can only sleep and be woken
// serves (core/internal/sleep_poller.cc).
//
//     with the P:      reap()   never blocks; readies goroutines (ready_tail) and runs stackless callbacks
//     the host:        wait(t)  blocks until reap() would find something, wake() was called, or t has come
//
// I1. wake() is sticky: one that comes before wait() makes that wait() return at once; so the M may decide to sleep and
//     be woken in either order. A wait() may also return for no reason.
// I2. reap() runs with a P, so its callbacks may spawn and ready goroutines; wait() runs none.
// I3. wake() is async-signal-safe and takes no lock.
#pragma once

#include <cstdint>
#include <memory>

namespace heddle {

enum class PollerKind : std::uint8_t { kAuto, kIoUring, kEpoll };

/// One worker's sleep and its source of events. See the file's opening for who calls what.
class Poller {
 public:
  virtual ~Poller() = default;

  /// Handles what is ready, without blocking. Returns how many events it handled.
  virtual int reap() = 0;

  /// True if a reap() is worth its cost now. Cheap (no system call); may err to both sides, and a back end that cannot
  /// know without a system call says false.
  [[nodiscard]] virtual bool pending() const noexcept = 0;

  /// True if anything is registered, so that time spent in reap() can pay.
  [[nodiscard]] virtual bool in_use() const noexcept = 0;

  /// Sleeps until there is something to reap, wake() was called, or nanotime() reaches `deadline` (kNever: no limit).
  virtual void wait(std::int64_t deadline) = 0;

  /// The next calls come from the thread that made it, or from another one because that thread is busy or blocked. Events
  /// must go on coming. Called with the P, between two calls of the others.
  virtual void drive(bool at_home) noexcept = 0;

  /// True if a reap() now would likely find an event. May cost a system call. Threads: any.
  [[nodiscard]] virtual bool has_ready() const noexcept = 0;

  /// Ends the current or the next wait(). Threads: any; async-signal-safe.
  virtual void wake() noexcept = 0;

  /// "io_uring", "epoll", or "sleep".
  [[nodiscard]] virtual const char* name() const noexcept = 0;
};

/// Makes the poller of worker `index`, on that worker's thread. `kind` is already resolved (never kAuto).
using PollerFactory = std::unique_ptr<Poller> (*)(int index, PollerKind kind);

/// Chooses a kind for kAuto by probing this kernel, and says why in `*reason` (a string literal) if it fell back.
using PollerProbe = PollerKind (*)(PollerKind wanted, const char** reason);

/// Installs net's pollers. Call before run(); net does it when it is linked.
void set_poller_factory(PollerFactory factory, PollerProbe probe) noexcept;

/// The poller of the P that the caller holds; nullptr if it has none. In a section (section.h), or on the scheduler's side:
/// outside, the P may be lost at any moment.
[[nodiscard]] Poller* current_poller() noexcept;

/// The poller of worker `index` in [0, worker_count()).
[[nodiscard]] Poller* poller_of(int index) noexcept;
[[nodiscard]] int worker_count() noexcept;

}  // namespace heddle
