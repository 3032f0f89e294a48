// Bubble: the scheduler's side of the testing kit (core/test.h): one test's goroutines, its clock and its schedule.
//
//     driver (run()'s main goroutine)                       the scheduler: next()
//     begin(seed)
//     go(body); run_out() ---- parks ---->  kRunning   all runnable Gs in pool_, one drawn, run; again
//                                              |           |
//                                              |           nothing runnable: time goes on to the next timer, or
//       report, next seed, or end  <---- kOver '---------- it is the end (BubbleEnd), for which there is no way out
//
// It works on one P without preemption. A session, one run() of the scheduler, serves seed after seed as long as each
// leaves nothing behind; so a seed does not cost the start of a scheduler.
//
// I1. Each decision is drawn from P's generator, which begin() sets from the seed: who is next, whether a schedule
//     point yields, whether a timer that is due fires before or after the next goroutine, and what select draws.
//     Nothing that a decision depends on comes from an address, the real time, sysmon or an earlier seed: begin() sets
//     P's generator and the ids anew, and the heap of timers is empty.
// I2. The clock moves when nothing is runnable and nothing is up to the outside (durable()), in next(), or because the
//     goroutine that runs says so (test::spend()); so it stands still while goroutines run.
// I3. In kOver no goroutine runs but the driver: others that are runnable wait in pool_ for run()'s end.
// I4. Costs nobody else anything: M::settled never holds in a session, and what is not settled was the slow branch of
//     find_runnable() before; a Mutex, and a channel's lock, made in a session have a state that leads to their slow
//     paths; go() is led by a flag of the goroutine's keepsakes.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include <heddle/core/internal/sched.h>

namespace heddle {

/// How a test's goroutines came to rest.
enum class BubbleEnd : std::uint8_t {
  kAllEnded,
  kLeft,      // the body has ended, others wait
  kDeadlock,  // the body waits, too, and there is no timer
  kTooLong,   // `most_steps`
};

class Bubble {
 public:
  static constexpr std::int64_t kStart =
      100'000'000'000'000'000;  // ns; what the clock shows at first: a bit over three years

  // --- the driver, a goroutine ---
  /// Forgets the last test. Then the driver starts the body, and calls run_out().
  void begin(std::uint64_t seed, std::uint64_t most_steps);
  /// Lets the goroutines run until they have come to rest.
  BubbleEnd run_out();

  // --- the test's goroutines ---
  void body_ended() noexcept { body_ended_ = true; }
  /// test::wait().
  void wait_for_others();
  /// A schedule point: yields if the seed says so. Anywhere: where the caller may not park it does nothing.
  void point() noexcept;
  /// Whether to yield at the next yield_check().
  void point_soon() noexcept;
  std::uint64_t draw(std::uint64_t below) noexcept;

  // --- the scheduler's side ---
  /// Whom to run; nullptr: nobody, until something comes from outside. Then rest() is due.
  G* next(P* p) noexcept;
  /// Waits for the outside. False: the scheduler stops.
  bool rest(M* m);

  // --- anybody ---
  // relaxed, both: sysmon looks at the clock, too, and need not see it at once.
  [[nodiscard]] std::int64_t now() const noexcept { return now_.load(std::memory_order_relaxed); }
  void set_now(std::int64_t ns) noexcept { now_.store(ns, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t seed() const noexcept { return seed_; }
  [[nodiscard]] std::uint64_t steps() const noexcept { return steps_; }
  /// A number for the decisions so far: the same for the same.
  [[nodiscard]] std::uint64_t schedule() const noexcept { return schedule_; }

 private:
  enum class Phase : std::uint8_t { kOver, kRunning };

  G* choose(P* p) noexcept;
  void gather(P* p) noexcept;
  [[nodiscard]] bool durable(const P* p) const noexcept;
  G* end(BubbleEnd how) noexcept;
  void note(std::uint64_t decision) noexcept;

  std::atomic<std::int64_t> now_{kStart};
  // Owned by the holder of the P.
  Phase phase_ = Phase::kOver;
  BubbleEnd end_ = BubbleEnd::kAllEnded;
  bool body_ended_ = false;
  G* waiter_ = nullptr;   // in test::wait()
  std::vector<G*> pool_;  // runnable, in no queue
  std::uint64_t seed_ = 0;
  std::uint64_t steps_ = 0;
  std::uint64_t most_steps_ = 0;
  std::uint64_t schedule_ = 0;
  std::uint64_t yields_one_in_ = 1;
};

/// If a test runs: its seed, to standard error. Async-signal-safe. For reports of the process's end.
void tell_test_seed() noexcept;

/// Before an operation by which goroutines tell on each other's order.
inline void schedule_point() noexcept {
  if (sched.bubble != nullptr) [[unlikely]]
    sched.bubble->point();
}

}  // namespace heddle
