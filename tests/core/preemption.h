// What the tests of preemption share: the runtime's debug settings for one run(), its counts of what it took from
// goroutines, a way to keep a thread busy, and a limit that turns a hang into a report.
//
// Nothing here waits for time to pass. A goroutine that must be preempted, or lose its P, computes until the runtime's own
// counts say that it has happened.
#pragma once

#include <heddle/core/dump.h>
#include <heddle/core/internal/sched.h>
#include <heddle/core/run.h>

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <thread>

namespace heddle::test {

/// HEDDLE_DEBUG for the run() calls in a scope. Make it before other threads exist: setenv(3) is not for two.
class DebugSetting {
 public:
  explicit DebugSetting(const std::string& text) { ::setenv("HEDDLE_DEBUG", text.c_str(), 1); }
  ~DebugSetting() { ::unsetenv("HEDDLE_DEBUG"); }
  DebugSetting(const DebugSetting&) = delete;
  DebugSetting& operator=(const DebugSetting&) = delete;
};

/// Forced preemption: of each goroutine that runs for 500 us.
inline constexpr const char* kForced = "preempt=500";

/// Ends the process with a dump of all goroutines if the scope lasts for more than `limit`: what would be a hang tells where
/// it hangs. A thread of its own: a scheduler that is stuck cannot be asked to see to it.
class TimeLimit {
 public:
  explicit TimeLimit(std::chrono::seconds limit = std::chrono::seconds(120))
      : thread_([this, limit] {
          std::unique_lock lock(mutex_);
          if (over_.wait_for(lock, limit, [this] { return done_; })) return;
          std::fprintf(stderr, "test: not done after %lld s\n", static_cast<long long>(limit.count()));
          dump();
          std::abort();
        }) {}
  ~TimeLimit() {
    {
      const std::lock_guard lock(mutex_);
      done_ = true;
    }
    over_.notify_one();
    thread_.join();
  }
  TimeLimit(const TimeLimit&) = delete;
  TimeLimit& operator=(const TimeLimit&) = delete;

 private:
  std::mutex mutex_;
  std::condition_variable over_;
  bool done_ = false;
  std::thread thread_;
};

/// The calling thread. noipa: a compiler may think that a thread's own things never change under a function.
[[gnu::noipa]] inline long tid() noexcept { return ::syscall(SYS_gettid); }

/// Goroutines stopped by signal since run() began. On a goroutine.
inline std::uint64_t preempts() noexcept {
  std::uint64_t sum = 0;
  for (int i = 0; i < sched.nps.load(); ++i) sum += sched.ps[i].preempts.load(std::memory_order_relaxed);
  return sum;
}

/// Goroutines that are stopped at the moment, in their threads' signal handlers. On a goroutine.
inline int stopped_now() noexcept {
  int sum = 0;
  for (int i = 0; i < sched.nms.load(); ++i) {
    const M* m = sched.all_ms[i].load();
    sum += m != nullptr && m->preempted_seen.load(std::memory_order_acquire) ? 1 : 0;  // acquire: all before it
  }
  return sum;
}

/// Ps taken from blocked threads since run() began. On a goroutine.
inline std::uint64_t retakes() noexcept {
  std::uint64_t sum = 0;
  for (int i = 0; i < sched.nps.load(); ++i) sum += sched.ps[i].retakes.load(std::memory_order_relaxed);
  return sum;
}

/// Computes, without a call into the runtime, until so many more goroutines have been stopped. With one P and nobody else
/// that computes the caller is among them each time.
[[gnu::noinline]] inline void spin_through_preempts(std::uint64_t n) noexcept {
  const std::uint64_t until = preempts() + n;
  while (preempts() < until) asm volatile("");
}

[[gnu::noinline]] inline void spin_while_not(const std::atomic<bool>& flag) noexcept {
  while (!flag.load(std::memory_order_relaxed)) asm volatile("");
}

/// A loop that nothing but a signal ends.
[[noreturn, gnu::noinline]] inline void spin_for_ever() noexcept {
  for (;;) asm volatile("");
}

}  // namespace heddle::test
