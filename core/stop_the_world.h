// Stopping the world: for a moment no goroutine runs, so that what they share can be looked at as of one instant.
//
//     if (const heddle::WorldStopped stopped; stopped) { … look … }      or the two functions by themselves
//
// What is stopped is every P, and who computes. A goroutine stands at its next call of the scheduler, or, if it computes, in a
// signal handler. Only one that sits in blocking() or in a system call is left alone; it may come back from there, and goes on
// until it needs a P: until then it may still use channels and locks, as a foreign thread may.
//
// The caller between stop and start holds up everybody, and some were interrupted in the middle of malloc or printf. So it
// neither allocates, nor prints, nor parks, nor takes a lock that a goroutine may hold: it reads, and leaves soon.
#pragma once

#include <heddle/core/clock.h>

namespace heddle {

/// What a stop cost the others.
struct WorldPause {
  Duration stopping{};  // from the request until the last P stood
  Duration total{};     // from the request until all might go on
};

/// Stops the world; returns when every P stands. One caller at a time: the next waits for its turn, and a goroutine lets those
/// that are runnable run first.
///
/// Takes some ten microseconds if all goroutines call the scheduler often or nobody runs, some hundred if one computes; a
/// thread that the kernel keeps from its CPU is waited for. Also counted, per P, in sched_stats().
///
/// Returns: false if run() is about to end, or none is under way: then nothing was stopped, and start_the_world() is not due.
/// Threads: goroutines, and any other thread while run() is sure to last.
[[nodiscard]] bool stop_the_world();

/// Lets all go on. By who stopped the world, on the same thread.
WorldPause start_the_world() noexcept;

/// The world, stopped for a scope.
class WorldStopped {
 public:
  WorldStopped() : stopped_(stop_the_world()) {}
  ~WorldStopped() {
    if (stopped_) static_cast<void>(start_the_world());
  }
  WorldStopped(const WorldStopped&) = delete;
  WorldStopped& operator=(const WorldStopped&) = delete;

  /// False: see stop_the_world().
  explicit operator bool() const noexcept { return stopped_; }

 private:
  bool stopped_;
};

}  // namespace heddle
