// HEDDLE_DEBUG=schedtrace=1000[,scheddetail=1]: the scheduler's state every so many milliseconds, in the line format of Go's
// GODEBUG=schedtrace, so that people and scripts that read the one read the other.
//
// Source: golang/go src/runtime/proc.go, schedtrace. Fields for which heddle has nothing (gcwaiting, lockedm, …) keep the
// value that Go prints when nothing of the kind goes on. The numbers are of no single moment: nothing is stopped for them.
#include <unistd.h>

#include <cstdarg>
#include <cstdio>
#include <string>

#include <heddle/core/clock.h>
#include <heddle/core/internal/sched.h>

namespace heddle {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;  // relaxed, all: a report

[[gnu::format(printf, 2, 3)]] void add(std::string& text, const char* format, ...) {
  char line[256];
  va_list args;
  va_start(args, format);
  std::vsnprintf(line, sizeof line, format, args);
  va_end(args);
  text += line;
}

std::string id_of(const M* m) { return m == nullptr ? "nil" : std::to_string(m->index); }
std::string id_of(const G* g) { return g == nullptr ? "nil" : std::to_string(g->id.load(kRelaxed)); }

// Go's numbers: 0 idle, 1 runnable, 2 running, 4 waiting, 6 dead.
int go_status(GStatus s) noexcept {
  switch (s) {
    case GStatus::kIdle: return 0;
    case GStatus::kRunnable: return 1;
    case GStatus::kRunning: return 2;
    case GStatus::kPreempted: return 9;
    case GStatus::kWaiting: return 4;
    case GStatus::kDead: return 6;
  }
  return 0;
}

void add_g(void* arg, G* g) {
  const GStatus s = g->status.load(kRelaxed);
  if (s == GStatus::kIdle || s == GStatus::kDead) return;
  add(*static_cast<std::string*>(arg), "  G%llu: status=%d(%s) m=%s lockedm=nil\n",
      static_cast<unsigned long long>(g->id.load(kRelaxed)), go_status(s),
      s == GStatus::kWaiting ? to_string(g->wait_reason.load(kRelaxed)) : "",
      s == GStatus::kRunning ? id_of(g->m).c_str() : "nil");
}

void add_detail(std::string& text) {
  for (int i = 0; i < sched.nps.load(std::memory_order_acquire); ++i) {
    const P& p = sched.ps[i];
    std::uint32_t free = 0;
    for (const GQueue& q : p.free_gs) free += q.size();
    add(text, "  P%d: status=%d schedtick=%llu syscalltick=0 m=%s runqsize=%u gfreecnt=%u timerslen=%u\n", i,
        p.retired.load(std::memory_order_relaxed) ? 4 : sched.idle.holds(i) ? 0 : 1, static_cast<unsigned long long>(p.schedtick.get()), id_of(p.m.load(kRelaxed)).c_str(),
        p.runq.size(), free, p.timers.size());
  }
  for (int i = 0; i < sched.nms.load(std::memory_order_acquire); ++i) {
    const M* one = sched.all_ms[i].load(std::memory_order_acquire);
    if (one == nullptr) continue;
    const M& m = *one;
    const bool parked = m.parked_seen.load(kRelaxed) || m.preempted_seen.load(kRelaxed);
    const P* p = m.lease.load(kRelaxed);
    add(text,
        "  M%d: p=%s curg=%s mallocing=0 throwing=0 preemptoff= locks=0 dying=0 spinning=%s blocked=%s lockedg=nil\n", i,
        p == nullptr ? "nil" : std::to_string(p->index).c_str(), id_of(m.curg_seen.load(kRelaxed)).c_str(),
        m.spinning_seen.load(kRelaxed) ? "true" : "false", parked ? "true" : "false");
  }
  stack_arena().for_each(add_g, &text);
}

}  // namespace

void print_schedtrace(bool detail) noexcept {
  std::string text;
  int parked = 0;
  int threads = 2;  // sysmon, the maker of spares
  for (int i = 0; i < sched.nms.load(std::memory_order_acquire); ++i) {
    const M* m = sched.all_ms[i].load(std::memory_order_acquire);
    if (m == nullptr) continue;
    ++threads;
    parked += m->parked_seen.load(kRelaxed) ? 1 : 0;
  }
  add(text,
      "SCHED %lldms: gomaxprocs=%d idleprocs=%d threads=%d spinningthreads=%d needspinning=0 idlethreads=%d runqueue=%u",
      static_cast<long long>((nanotime() - sched.start_time) / 1'000'000), int{sched.nprocs}, sched.idle.count(),
      threads, sched.spinning.load(kRelaxed), parked, sched.globq.size());
  if (detail) {
    text += " gcwaiting=false nmidlelocked=0 stopwait=0 sysmonwait=false\n";
    add_detail(text);
  } else {
    for (int i = 0; i < sched.nps.load(std::memory_order_acquire); ++i) add(text, i == 0 ? " [%u" : " %u", sched.ps[i].runq.size());
    text += "]\n";
  }
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text.data(), text.size());
}

}  // namespace heddle
