// A scheduler for fuzzers whose subject parks: one run() for the whole process, on a thread of its own, with one P and without
// preemption, so that the order of goroutines is their own. Each input is run as a goroutine that the fuzzer's thread waits for.
#pragma once

#include <heddle/core/foreign.h>
#include <heddle/core/run.h>
#include <heddle/core/timer.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <utility>

#include "fuzz.h"

namespace heddle::fuzz {

class Scheduler {
 public:
  /// Runs `fn` on a goroutine and waits for it. Threads: the fuzzer's.
  template <class Fn>
  static void run_input(Fn fn) {
    static Scheduler scheduler;
    FUZZ_CHECK(run_and_wait(std::move(fn)).has_value());
  }

 private:
  Scheduler() {
    thread_ =
        std::thread([this] { run([this] { idle(); }, {.procs = 1, .poller = PollerKind::kEpoll, .preempt = false}); });
    while (!started_.load()) std::this_thread::yield();
  }
  ~Scheduler() {
    stop_ = true;
    thread_.join();
  }

  // Looks now and then: who waited for a channel alone would be taken for a deadlock, and what its stack held for a leak
  // (LeakSanitizer does not know the stacks of goroutines that are parked).
  void idle() {
    started_ = true;
    while (!stop_.load()) sleep(std::chrono::milliseconds(10));
  }

  std::thread thread_;
  std::atomic<bool> started_{false};
  std::atomic<bool> stop_{false};
};

}  // namespace heddle::fuzz
