// Preemption that keeps the thread (runtime-facts D).
//
//     sysmon: its slice is over -> want_yield, then SIGURG      yield_check() and go() see want_yield, and yield by
//                                     |                         themselves
//     handler: outside every section: |
//        G kPreempted, bound to this M; P to a successor (handover.h); G on `hogs`; the thread sleeps in the handler
//     a scheduler takes G from `hogs`: lends its P to this M; the handler returns, G goes on as if nothing had been
//
// Nothing of the thread changes hands: malloc's arenas and locks, errno, thread_locals, exceptions in flight stay where they
// are, as when the kernel takes a thread's CPU. So any C++ code can be preempted.
//
// I1. In a section the handler only leaves the wish behind.
// I2. It allocates nothing and starts no thread: without a successor for the P it leaves the wish, and sysmon asks for more
//     spares.
// I3. It sleeps on the signal stack, and nothing ever switches away from that.
// I4. In TSan's build it stops no thread inside TSan's runtime. That has locks of its own (of the allocators of its
//     clocks, of each atomic's record), and every section's instrumented code takes them: with one held by a thread
//     that sleeps here all Ps would end in sections that wait for it, for ever. sysmon asks again every half
//     millisecond, and a thread is in its own code now and then.
//
// When the scheduler stops, the same signal ends goroutines that compute on: abandon_here(). When the world is stopped, the
// goroutine stands in the handler with its P, and goes on with it: world.h.
//
// An M that lost its P to sysmon and computes on is stopped here as well: it goes on `hogs` without a P to give.
#include <heddle/core/internal/preempt.h>

#include <link.h>
#include <signal.h>

#include <string_view>

#include <heddle/core/internal/context.h>
#include <heddle/core/internal/sched.h>
#include <heddle/core/internal/unwind.h>
#include <heddle/core/internal/world.h>

namespace heddle {
namespace {

// Ms that sleep in the handler; each keeps a thread.
constinit int preempted_now = 0;

HEDDLE_UNINSTRUMENTED int most_preempted() noexcept { return sched.nprocs * 4 > 64 ? sched.nprocs * 4 : 64; }

// __atomic_store_n() of an enum is g++'s alone.
template <class Enum>
HEDDLE_UNINSTRUMENTED void store_relaxed(Enum* at, Enum value) noexcept {
  __atomic_store(at, &value, __ATOMIC_RELAXED);
}

HEDDLE_UNINSTRUMENTED void take_up(M* m, P* p) noexcept {
  m->p = p;
  m->settled = false;
  p->schedtick.add_from_handler();
  __atomic_store_n(raw(p->m), m, __ATOMIC_RELEASE);  // release: as in acquire_p()
  store_relaxed(raw(p->status), PStatus::kRunning);
  __atomic_store_n(raw(m->lease), p, __ATOMIC_RELEASE);
}

// Text of libraries in which a goroutine may hold a lock that the whole process needs: it is not ended there.
struct Range {
  std::uintptr_t lo, hi;
  bool tsan;  // of TSan's runtime, where it is not stopped either (I4)
};
constinit Range untouchable[16] = {};
constinit int untouchables = 0;

int note_untouchable(dl_phdr_info* info, std::size_t, void*) {
  const std::string_view name = info->dlpi_name == nullptr ? "" : info->dlpi_name;
  constexpr std::string_view kNames[] = {"libc.so",  "ld-linux", "libstdc++", "libgcc_s", "libasan", "libtsan",
                                         "libubsan", "jemalloc", "tcmalloc",  "mimalloc", "vdso"};
  bool ours = false;
  for (const std::string_view n : kNames) ours = ours || name.find(n) != std::string_view::npos;
  if (!ours) return 0;
  for (int i = 0; i < info->dlpi_phnum && untouchables < 16; ++i) {
    const auto& segment = info->dlpi_phdr[i];
    if (segment.p_type != PT_LOAD || (segment.p_flags & PF_X) == 0) continue;
    const std::uintptr_t lo = info->dlpi_addr + segment.p_vaddr;
    untouchable[untouchables++] = {lo, lo + segment.p_memsz, name.find("libtsan") != std::string_view::npos};
  }
  return 0;
}

HEDDLE_UNINSTRUMENTED const Range* untouchable_at(std::uintptr_t pc) noexcept {
  for (int i = 0; i < untouchables; ++i) {
    if (pc >= untouchable[i].lo && pc < untouchable[i].hi) return &untouchable[i];
  }
  return nullptr;
}

// The scheduler stops, and this goroutine will not: it is left where it is, for good, and the thread goes home.
HEDDLE_SWITCHES_STACKS void abandon_here(M* m, G* g) noexcept {
  __atomic_store_n(raw(m->ts->sections), 1U, __ATOMIC_RELAXED);
  __atomic_store_n(raw(g->bound), static_cast<M*>(nullptr), __ATOMIC_RELAXED);
  m->leave = Leave::kAbandon;
  sigset_t urgent;
  sigemptyset(&urgent);
  sigaddset(&urgent, SIGURG);
  ::pthread_sigmask(SIG_UNBLOCK, &urgent, nullptr);  // as the handler's return would have done
  sanitizer::start_switch(nullptr, m->g0_stack_lo, m->g0_stack_size, m->g0_fiber);
  void* nowhere = nullptr;
  heddle_switch(&nowhere, m->g0_sp, nullptr);
  __builtin_unreachable();
}

}  // namespace

void preempt_setup() {
  if (untouchables == 0) ::dl_iterate_phdr(note_untouchable, nullptr);
}

void preempt_here(M* m, const ucontext_t* context) noexcept {
  detail::ThreadState* ts = m->ts;
  G* g = m->curg;
  if (__atomic_load_n(raw(ts->sections), __ATOMIC_RELAXED) != 0 || g == nullptr) {  // keeps I1
    __atomic_store_n(raw(ts->want_yield), 1U, __ATOMIC_RELAXED);
    return;
  }
  const Range* where = untouchable_at(interrupted_pc(*context));
  if (__atomic_load_n(raw(sched.stopping), __ATOMIC_ACQUIRE)) {
    if (where == nullptr) abandon_here(m, g);
    return;
  }
  if (where != nullptr && where->tsan) {  // keeps I4
    __atomic_store_n(raw(ts->want_yield), 1U, __ATOMIC_RELAXED);
    return;
  }
  __atomic_store_n(raw(ts->sections), 1U, __ATOMIC_RELAXED);  // from here on we are the runtime
  __atomic_signal_fence(__ATOMIC_SEQ_CST);
  m->preempted_at = context;
  if ((__atomic_load_n(raw(sched.world), __ATOMIC_ACQUIRE) & 1) != 0) {  // acquire: as in stand_if_asked()
    __atomic_store_n(raw(m->stands_seen), true, __ATOMIC_RELEASE);  // release: preempted_at; pairs with who stopped the world
    stand_in_handler(m);
    __atomic_store_n(raw(m->stands_seen), false, __ATOMIC_RELAXED);  // relaxed: for reports
    __atomic_store_n(raw(ts->sections), 0U, __ATOMIC_RELEASE);  // release: as leave_section()
    return;
  }
  if (sched.keeps_p) {  // asked to stand, too late
    __atomic_store_n(raw(ts->sections), 0U, __ATOMIC_RELEASE);  // release: as leave_section()
    return;
  }
  bool go = __atomic_load_n(&preempted_now, __ATOMIC_RELAXED) < most_preempted();
  // By exchange: sysmon may have the lease in its hand. Then leave it alone: it sees the section, and gives it back.
  P* p = go ? __atomic_exchange_n(raw(m->lease), static_cast<P*>(nullptr), __ATOMIC_ACQ_REL) : nullptr;
  M* next = nullptr;
  if (p != nullptr) {
    next = take_successor(p);  // keeps I2
    if (next == nullptr) __atomic_store_n(raw(m->lease), p, __ATOMIC_RELEASE);
    go = next != nullptr;
  } else if (go) {
    // Either sysmon has it in its hand, or had and gave it back, or it was taken for good.
    go = !__atomic_load_n(raw(m->retaking), __ATOMIC_ACQUIRE) && __atomic_load_n(raw(m->lease), __ATOMIC_ACQUIRE) == nullptr;
  }
  if (!go) {
    __atomic_store_n(raw(ts->want_yield), 1U, __ATOMIC_RELAXED);
    __atomic_store_n(raw(ts->sections), 0U, __ATOMIC_RELEASE);
    return;
  }
  __atomic_fetch_add(&preempted_now, 1, __ATOMIC_RELAXED);
  M* const was_bound = __atomic_load_n(raw(g->bound), __ATOMIC_RELAXED);
  __atomic_store_n(raw(g->bound), m, __ATOMIC_RELAXED);
  store_relaxed(raw(g->status), GStatus::kPreempted);
  __atomic_store_n(raw(m->preempted_seen), true, __ATOMIC_RELEASE);
  m->p = nullptr;
  m->settled = false;
  sched.hogs.push(g);
  if (p != nullptr) {
    __atomic_fetch_add(raw(p->preempts), 1, __ATOMIC_RELAXED);
    hand_p(next, p);  // it looks at hogs before it sleeps
  }  // else sysmon finds it, and an idle P for it
  P* got = sleep_for_p(m);
  __atomic_store_n(raw(m->lent_g), static_cast<G*>(nullptr), __ATOMIC_RELAXED);
  __atomic_store_n(raw(g->bound), was_bound, __ATOMIC_RELAXED);
  __atomic_fetch_sub(&preempted_now, 1, __ATOMIC_RELAXED);
  __atomic_store_n(raw(m->preempted_seen), false, __ATOMIC_RELAXED);
  // Without a P: the scheduler stops, or sysmon saw that all others wait for what this one may hold (let_one_run).
  if (got != nullptr && got != kNoP) take_up(m, got);
  store_relaxed(raw(g->status), GStatus::kRunning);
  __atomic_store_n(raw(ts->want_yield), 0U, __ATOMIC_RELAXED);
  __atomic_store_n(raw(ts->sections), 0U, __ATOMIC_RELEASE);
}

}  // namespace heddle
