// StopSignal: SIGTERM and SIGINT as something that a goroutine waits for.
//
// The signals are blocked in every thread (construct it before run(), threads inherit the mask) and taken by a thread of
// its own with sigwait(3): no handler runs, so nothing needs to be async-signal-safe.
//
//     kNone --wait: the G--> waiting --a signal--> kCame (the thread has the G readied)
//        '------------- a signal -----------------> kCame; a second signal: _exit(1)
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

#include <heddle/core/park.h>

namespace heddle::apps {

class StopSignal {
 public:
  StopSignal();
  /// Ends the thread. Not on a goroutine that others wait for: it joins.
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  /// Parks until a signal has come; at once if it has. One goroutine.
  void wait();

 private:
  void take_signals();

  static constexpr std::uintptr_t kNone = 0, kCame = 1;
  std::atomic<std::uintptr_t> state_{kNone};  // kNone, kCame, or the G that waits
  std::atomic<bool> over_{false};
  std::thread thread_;
};

}  // namespace heddle::apps
