// Watch: sysmon's eye on goroutines that keep their M: past their slice, or blocked in the kernel.
#pragma once

#include <cstdint>

#include <heddle/core/internal/handover.h>

namespace heddle {

/// True if the thread sleeps in the kernel, as against computing or waiting for a CPU. Some 10 us.
[[nodiscard]] bool thread_sleeps(std::uint32_t tid) noexcept;

/// membarrier(2) for our threads; false: this kernel has none.
[[nodiscard]] bool membarrier_works() noexcept;
void membarrier() noexcept;

class Watch {
 public:
  void reset() noexcept { *this = Watch(); }
  /// Looks at every M, preempts and retakes. Returns true if sysmon should look again soon.
  bool look(std::int64_t now) noexcept;

  /// The scheduler has stopped: ends goroutines that compute on.
  void end_running() noexcept;

 private:
  struct Seen {
    std::uint64_t runs = 0;
    std::int64_t since = 0;    // when this run was first seen
    std::int64_t cpu = 0;      // the thread's CPU time then, or at the last look
    std::int64_t cpu_at = 0;
    int still = 0;             // looks in a row at which the thread had used little and slept
    bool asked = false;        // want_yield was set: the signal is next
  };

  bool look_at(M* m, Seen& seen, std::int64_t now) noexcept;
  void let_one_run(std::int64_t now) noexcept;

  Seen seen_[kMaxMs];
  std::uint64_t ticks_ = 0;       // of all Ps, when something last ran
  std::int64_t ticks_since_ = 0;
};

}  // namespace heddle
