// What could still wake a goroutine: another goroutine (one runs, or is queued), a timer, the poller (a descriptor is
// watched), or a thread that is not the scheduler's. If there is none of these, there never will be.
//
// I1. The conditions are looked at twice, the idle mask first and last, with every P's count of runs between: a P that is
//     idle at both looks and has run nothing in between was idle all the time, so what was seen of its queue and timers
//     was true at one moment for all Ps.
// I2. A thread of the program's own may call ready() any time, so a process that has one is never said to be dead. This is
//     counted, not registered: libraries start threads without asking. (Sanitizers that do so switch the check off.)
#include <heddle/core/internal/deadlock.h>

#include <dirent.h>
#include <unistd.h>

#include <string>

#include <heddle/core/clock.h>
#include <heddle/core/dump.h>
#include <heddle/core/internal/run_state.h>
#include <heddle/core/internal/sched.h>

namespace heddle {
namespace {

// Threads of this process; 0 if /proc cannot be read.
int count_threads() {
  DIR* dir = ::opendir("/proc/self/task");
  if (dir == nullptr) return 0;
  int n = 0;
  while (const dirent* entry = ::readdir(dir)) n += entry->d_name[0] != '.' ? 1 : 0;
  ::closedir(dir);
  return n;
}

bool nothing_can_wake() {
  const int nps = sched.nps.load(std::memory_order_acquire);  // acquire: with its Ps
  if (sched.idle.count() + sched.resting.count() != nps || sched.globq.size() != 0 || sched.hogs.size() != 0) return false;
  if (sched.blocking.load(std::memory_order_acquire) != 0) return false;  // acquire: with what it counts
  for (int i = 0; i < sched.nms.load(std::memory_order_acquire); ++i) {
    const M* m = sched.all_ms[i].load(std::memory_order_acquire);
    // One that runs without a P: blocked in the kernel, its P taken.
    if (m != nullptr && m->curg_seen.load(std::memory_order_acquire) != nullptr) return false;
  }
  for (int i = 0; i < nps; ++i) {
    const P& p = sched.ps[i];
    if (p.runq.size() != 0 || p.runq.has_next() || p.timers.next() != kNever) return false;
    if (p.poller->in_use()) return false;
  }
  return true;
}

std::uint64_t all_runs() noexcept {
  std::uint64_t sum = 0;
  for (int i = 0; i < sched.nps.load(std::memory_order_acquire); ++i) sum += sched.ps[i].schedtick.get();
  return sum;
}

}  // namespace

void check_deadlock() {
  const std::uint64_t before = all_runs();
  if (!nothing_can_wake()) return;
  int ours = 2;  // sysmon and the maker of spares; the caller of run() is one of the Ms
  for (int i = 0; i < sched.nms.load(std::memory_order_acquire); ++i) ours += sched.all_ms[i].load() != nullptr ? 1 : 0;
  if (count_threads() != ours) return;
  // acquire: stopping was stored before the last M went idle.
  if (!nothing_can_wake() || all_runs() != before || sched.stopping.load(std::memory_order_acquire)) return;
  std::string text = run_state.main_left.load(std::memory_order_acquire)
                         ? "fatal error: no goroutines (main called goexit) - deadlock!\n\n"
                         : "fatal error: all goroutines are asleep - deadlock!\n\n";
  text += dump_goroutines();
  for (std::size_t at = 0; at < text.size();) {
    const auto n = ::write(STDERR_FILENO, text.data() + at, text.size() - at);
    if (n <= 0) break;
    at += static_cast<std::size_t>(n);
  }
  ::_exit(2);
}

}  // namespace heddle
