// test: runs concurrent code under one schedule that is drawn from a seed, or under many, with a clock of its own.
//
//     TEST(Cache, is_filled_once) {                                    // any framework
//       heddle::test::explore(10'000, [] {                             // the body, under seeds 1 to 10,000
//         Cache cache;
//         heddle::WaitGroup wg;
//         for (int i = 0; i < 3; ++i) wg.go([&] { cache.get("key"); });
//         heddle::sleep(24h);                                          // takes no time
//         heddle::test::wait();                                        // all others wait for something
//         if (cache.fills() != 1) throw std::runtime_error("filled twice");
//         wg.wait();
//       });
//     }
//
//     heddle::test::Failure: goroutines are left when the test's body has returned
//     under seed 4711; HEDDLE_TEST_SEED=4711 runs this schedule again
//     goroutine 3 [chan receive]:
//     ...
//
// The schedule. All goroutines take turns on one thread: nothing is preempted, and who goes next is drawn among all
// that are runnable. Besides, a goroutine may yield, if the seed says so, before each operation on a channel, in each
// select, at the lock() and unlock() of a Mutex, after go(), and at yield_point(). What is not explored: orders of
// memory, and switches between two plain instructions; for these are TSan and run() with more Ps.
//
// The clock. now(), sleeps, timers, deadlines of contexts all go by a clock that stands still while any goroutine can
// run (but for spend()), and jumps to the next timer when all are *durably blocked*: each waits for another one, or for
// a timer. Not durably blocked are a goroutine in blocking() and one that waits for a report (dump()); and as long as
// net watches a descriptor nobody is, because what may come from there cannot be known: use in-memory transports, or
// let the clock stand.
//
// The same seed gives the same schedule, in every process, as long as the body does the same. So it should not ask
// addresses (an unordered_map of pointers), the real time, random numbers of others than random(), or what earlier
// bodies left in globals; and have no threads of its own, I/O, blocking() or lock_os_thread(), which work, but come
// when they come. Mutexes and channels are points of the schedule if they were made within the body, a reader's lock of
// an RWMutex only if it has to wait. A select of more than 16 cases with one channel in several of them may prefer
// these by address.
#pragma once

#include <cstddef>
#include <cstdint>
#include <source_location>
#include <stdexcept>
#include <string>
#include <type_traits>

#include <heddle/core/clock.h>

namespace heddle::test {

/// What a run under a seed found wrong. what() names it, the seed, how to run it again, and all goroutines with their
/// stacks.
class Failure : public std::runtime_error {
 public:
  Failure(const std::string& text, std::uint64_t seed) : std::runtime_error(text), seed_(seed) {}
  [[nodiscard]] std::uint64_t seed() const noexcept { return seed_; }

 private:
  std::uint64_t seed_;
};

struct Options {
  std::uint64_t seed = 1;  // the schedule's; explore(): the first. HEDDLE_TEST_SEED in the environment overrules it
  bool may_leave =
      false;  // goroutines that are left are no failure, but abandoned as by heddle::run(). Dear: see explore()
  std::uint64_t most_steps = 10'000'000;  // goroutines run and jumps of the clock; more are a Failure. Bounds livelocks
  bool (*failed)() = nullptr;  // asked after each seed: whether the test framework has noted a failure of this body
};

/// How it went under a seed.
struct Outcome {
  std::uint64_t seed = 0;
  std::uint64_t steps = 0;     // goroutines run, jumps of the clock
  std::uint64_t schedule = 0;  // a number for the schedule: the same for the same
};

/// What explore() has seen.
struct Explored {
  std::size_t seeds = 0;
  std::size_t schedules = 0;  // that differed
  std::uint64_t steps = 0;
};

namespace detail {
using Body = void (*)(void* fn, std::uint64_t seed);
Outcome run_one(Body body, void* fn, const Options& options, const std::source_location& site);
Explored run_many(std::uint64_t seeds, Body body, void* fn, const Options& options, const std::source_location& site);

template <class Fn>
struct Call {
  Fn& fn;
  static void run(void* call, std::uint64_t seed) {
    Fn& fn = static_cast<Call*>(call)->fn;
    if constexpr (std::is_invocable_v<Fn&, std::uint64_t>) {
      fn(seed);
    } else {
      fn();
    }
  }
};
}  // namespace detail

/// Runs `fn()`, or `fn(seed)`, as goroutine 1 under one schedule, on a clock that begins at the same moment each time.
/// When it has returned the others run on, as long as they need no passing of time, until they have ended.
///
/// Errors:  Failure, if goroutines are left then; if all wait, `fn` too, and nothing but each other could wake them
///          (where heddle::run() would end the process); if there were too many steps. The goroutines that are left are
///          abandoned: their stacks are taken back without unwinding. What left `fn` is thrown on, the seed told on
///          standard error. An exception that leaves another goroutine is a panic, which ends the process as always,
///          and tells the seed.
/// Threads: where heddle::run() may be called.
template <class Fn>
Outcome run(Fn&& fn, const Options& options = {}, const std::source_location& site = std::source_location::current()) {
  detail::Call<std::remove_reference_t<Fn>> call{fn};
  return detail::run_one(&call.run, &call, options, site);
}

/// run() under `seeds` seeds, one after the other, up to the first failure; under one alone if HEDDLE_TEST_SEED is set.
///
/// A seed costs little beside what `fn` does, because one scheduler serves them all; where goroutines are left each needs
/// its own, which costs some hundred times as much. What `fn` refers to is the same for all: build anew what it changes.
/// Errors:  as run(); Failure also if Options::failed says so.
template <class Fn>
Explored explore(std::uint64_t seeds, Fn&& fn, const Options& options = {},
                 const std::source_location& site = std::source_location::current()) {
  detail::Call<std::remove_reference_t<Fn>> call{fn};
  return detail::run_many(seeds, &call.run, &call, options, site);
}

/// Parks the caller until all other goroutines are durably blocked, at this moment of the clock. Go's synctest.Wait.
///
/// Errors:  a panic if another goroutine is in it. Threads: goroutines of a body.
void wait();

/// The clock goes on by `d`, as if the caller had computed for so long: timers that come due meanwhile fire late, and
/// those of the same instant together. Nobody else runs.
///
/// Threads: goroutines of a body.
void spend(Duration d);

/// Lets another goroutine run if the schedule says so: for code whose order matters between two operations that are
/// points of the schedule by themselves. Elsewhere it does nothing. Threads: any.
void yield_point();

/// A number below `below`, drawn from the seed. For bodies that are programs themselves. Threads: goroutines of a body.
[[nodiscard]] std::uint64_t random(std::uint64_t below);

/// The seed of the body that runs; 0 if none does. Threads: any.
[[nodiscard]] std::uint64_t seed() noexcept;

}  // namespace heddle::test
