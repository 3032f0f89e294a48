// The stopper. Invariants in world.h.
#include <heddle/core/internal/world.h>

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>

#include <heddle/core/blocking.h>
#include <heddle/core/check.h>
#include <heddle/core/go.h>
#include <heddle/core/internal/sched.h>
#include <heddle/core/internal/signals.h>
#include <heddle/core/internal/watch.h>
#include <heddle/core/stop_the_world.h>

namespace heddle {
namespace {

constexpr std::int64_t kFirstLook = 20'000;    // ns for those who come to a scheduling point by themselves
constexpr std::int64_t kBetweenLooks = 50'000;  // ns

enum class How : std::uint8_t { kNotYet, kOwn, kIdle, kStands, kInHand };

// The one stop under way; its stopper's, who has `busy`.
struct Stop {
  How how[kMaxProcs];
  M* holder[kMaxProcs];           // kInHand: whose lease it is
  std::int64_t since[kMaxProcs];  // when we saw that it stands
  bool seen[kMaxMs];              // no goroutine computes there without a P (I5)
  int n;                          // Ps
  std::atomic<M*> by;             // null: a foreign thread. Others only ask whether it is they
  std::int64_t asked;
  std::int64_t all_stood;
};
constinit Stop stop{};

// 0 free, 1 taken, 2 taken and somebody may wait. Not a RawMutex: who waits here must be able to stand.
constinit std::atomic<std::uint32_t> busy{0};
// There are Ps, with pollers. Guarded by `busy`.
constinit bool exists = false;
// Counts who came to stand: what the stopper waits on.
constinit std::atomic<std::uint32_t> arrivals{0};

void futex_wait(std::atomic<std::uint32_t>* word, std::uint32_t value, std::int64_t ns) noexcept {
  const timespec limit{0, ns};
  ::syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, ns == 0 ? nullptr : &limit, nullptr, 0);
}

// Takes `busy`, in a section that stays: a goroutine that has it is neither preempted nor abandoned. False: not until `limit`.
bool take_turn(std::int64_t limit) noexcept {
  std::uint32_t taken = 1;
  for (;;) {
    detail::enter_section();
    std::uint32_t free = 0;
    // acquire: `stop` is ours; pairs with world_unlock().
    if (busy.compare_exchange_strong(free, taken, std::memory_order_acquire, std::memory_order_relaxed)) return true;
    if (free == 1) busy.compare_exchange_strong(free, 2, std::memory_order_relaxed);  // relaxed: only so that we are woken
    detail::leave_section();
    if (nanotime() >= limit) return false;
    enter_syscall();  // whose turn it is may want our P
    futex_wait(&busy, 2, 1'000'000);
    exit_syscall();
    taken = 2;  // others may wait as well
  }
}

// The holder of `p` is in a system call: keeps it from using P until start_the_world().
bool take_in_hand(P* p, M* m) noexcept {
  // seq_cst, both: Dekker's pattern with the M's sections, as in retake() (watch.cc I1): we take the lease, then read the count;
  // the M raises the count, then reads the lease.
  m->retaking.store(true, std::memory_order_seq_cst);
  P* held = p;
  // acquire: a first look; pairs with leave_section().
  bool taken = m->ts->sections.load(std::memory_order_acquire) == 0 &&
               m->lease.compare_exchange_strong(held, nullptr, std::memory_order_seq_cst);
  if (taken) {
    membarrier();
    // acquire: with 0, all that the M did in its last section.
    taken = m->ts->sections.load(std::memory_order_acquire) == 0;
    if (!taken) m->lease.store(p, std::memory_order_release);  // release: back to its holder's held_p()
  }
  if (!taken) m->retaking.store(false, std::memory_order_release);  // release: after the lease; pairs with held_p_slow()
  return taken;
}

// One look at a P that does not stand yet. `press`: do something about it.
How look_at(int i, std::uint32_t number, bool press) noexcept {
  P* p = &sched.ps[i];
  if (sched.idle.try_take(i) || sched.resting.try_take(i)) return How::kIdle;
  // acquire: all that its holder did; pairs with the release in announce().
  if (p->stood.load(std::memory_order_acquire) == number) return How::kStands;
  M* m = p->m.load(std::memory_order_acquire);  // acquire: the M; pairs with acquire_p(), take_up(). Ms live until run()'s end
  // acquire: its thread's state; pairs with attach_thread(). Keeps I1.
  if (m == nullptr || m->tid.load(std::memory_order_acquire) == 0) return How::kNotYet;
  m->ts->want_yield.store(1, std::memory_order_relaxed);  // relaxed: a wish
  // acquire: as in held_p(). A P on its way from M to M has another holder soon.
  if (!press || m->lease.load(std::memory_order_acquire) != p) return How::kNotYet;
  // acquire: pairs with enter_syscall(). relaxed: read above. Without membarrier(2) a call is cut short rather than waited for.
  const bool away = m->in_syscall.load(std::memory_order_acquire) != 0 ||
                    thread_sleeps(m->tid.load(std::memory_order_relaxed));
  if (away && membarrier_works()) {
    if (!take_in_hand(p, m)) return How::kNotYet;
    stop.holder[i] = m;
    return How::kInHand;
  }
  if (sched.async_preempt && m->slot != nullptr) signal_preempt(m->slot);
  return How::kNotYet;
}

// One look at an M for a goroutine that computes without a P. True: there is none, or it stands. Keeps I5.
bool look_without_p(M* m, std::uint32_t number) noexcept {
  // acquire: as in look_at().
  if (m->helper || m == stop.by.load(std::memory_order_relaxed)) return true;  // relaxed: our own store
  const std::uint32_t tid = m->tid.load(std::memory_order_acquire);            // acquire: as in look_at()
  // relaxed, both: hints; who takes a P or a goroutine from now on stands at its next scheduling point (I1).
  if (tid == 0 || m->curg_seen.load(std::memory_order_relaxed) == nullptr) return true;
  if (m->preempted_seen.load(std::memory_order_relaxed)) return true;
  // acquire, both: as in look_at(). With a P, or in the stopper's hand: look_at() sees to it.
  if (m->lease.load(std::memory_order_acquire) != nullptr || m->retaking.load(std::memory_order_acquire)) return true;
  if (m->stood.load(std::memory_order_acquire) == number) return true;  // acquire: as in look_at()
  if (!sched.async_preempt || m->slot == nullptr || thread_sleeps(tid)) return true;
  m->ts->want_yield.store(1, std::memory_order_relaxed);  // relaxed: a wish
  signal_preempt(m->slot);
  return false;
}

// True when all stand who are to.
bool look(std::uint32_t number, bool press) noexcept {
  bool all = true;
  for (int i = 0; i < stop.n; ++i) {
    if (stop.how[i] != How::kNotYet) continue;
    stop.how[i] = look_at(i, number, press);
    if (stop.how[i] == How::kNotYet) {
      all = false;
    } else {
      stop.since[i] = nanotime();
    }
  }
  if (!all) return false;
  const int n = sched.nms.load(std::memory_order_acquire);  // acquire: the Ms themselves
  for (int i = 0; i < n; ++i) {
    if (stop.seen[i]) continue;
    M* m = sched.all_ms[i].load(std::memory_order_acquire);  // acquire: as above
    stop.seen[i] = m == nullptr || look_without_p(m, number);
    all = all && stop.seen[i];
  }
  return all;
}

// False: the scheduler stops, so some will never stand; or `limit` has come.
bool wait_until_all_stand(std::uint32_t number, std::int64_t limit) noexcept {
  bool press = false;
  for (;;) {
    const std::uint32_t seen = arrivals.load(std::memory_order_acquire);  // acquire: before the look; pairs with announce()
    if (look(number, press)) return true;
    // acquire: as in find_runnable().
    if (sched.stopping.load(std::memory_order_acquire) || nanotime() >= limit) return false;
    futex_wait(&arrivals, seen, press ? kBetweenLooks : kFirstLook);
    press = press || nanotime() - stop.asked >= kFirstLook;
  }
}

// A P that was idle becomes so again, as in stop_m().
void put_back(P* p) noexcept {
  (p->retired.load(std::memory_order_relaxed) ? sched.resting : sched.idle).put(p->index);
  std::atomic_thread_fence(std::memory_order_seq_cst);  // pairs with wait_for_p(): the mask, then home_waits
  if (p->home_waits.load(std::memory_order_seq_cst) && take_idle(p)) start_m(p, false);
}

void let_go(int i, std::int64_t now, bool stood) noexcept {
  P* p = &sched.ps[i];
  if (stop.how[i] == How::kInHand) {
    M* m = stop.holder[i];
    m->lease.store(p, std::memory_order_release);         // release: pairs with held_p()
    m->retaking.store(false, std::memory_order_release);  // release: after the lease; pairs with held_p_slow()
  } else if (stop.how[i] == How::kIdle) {
    put_back(p);
  }
  if (!stood) return;
  const auto ns = static_cast<std::uint64_t>(now - stop.since[i]);
  // relaxed, these: statistics, with one writer at a time.
  p->pauses.fetch_add(1, std::memory_order_relaxed);
  p->paused_ns.fetch_add(ns, std::memory_order_relaxed);
  p->longest_pause_ns.store(std::max(ns, p->longest_pause_ns.load(std::memory_order_relaxed)), std::memory_order_relaxed);
}

// Somebody came to stand; `stood` is its P's, or its own.
HEDDLE_UNINSTRUMENTED void announce(std::atomic<std::uint32_t>& stood, std::uint32_t number) noexcept {
  __atomic_store_n(raw(stood), number, __ATOMIC_RELEASE);  // release: all that we did before; pairs with look_at()
  __atomic_fetch_add(raw(arrivals), 1U, __ATOMIC_RELEASE);    // release: pairs with wait_until_all_stand()
  ::syscall(SYS_futex, raw(arrivals), FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

}  // namespace

void stand(M* m) noexcept {
  // relaxed: our own store, or not ours.
  if (stop.by.load(std::memory_order_relaxed) == m) fatal("a goroutine parks or yields while it has stopped the world");
  m->parked_seen.store(true, std::memory_order_relaxed);  // relaxed: for reports
  sanitizer::happens_before(m->p);
  // acquire: what changed while we stood (I4); pairs with start_the_world().
  for (std::uint32_t number; ((number = sched.world.load(std::memory_order_acquire)) & 1) != 0;) {
    announce(m->p->stood, number);
    futex_wait(&sched.world, number, 0);
  }
  m->parked_seen.store(false, std::memory_order_relaxed);  // relaxed: for reports
}

void stand_in_handler(M* m) noexcept {
  for (;;) {
    const std::uint32_t number = __atomic_load_n(raw(sched.world), __ATOMIC_ACQUIRE);  // acquire: as in stand()
    if ((number & 1) == 0) return;
    // Null: it has none; or the stopper has the lease in hand, and gives it back when it sees our section: so look again.
    P* p = __atomic_load_n(raw(m->lease), __ATOMIC_ACQUIRE);  // acquire: pairs with take_in_hand()
    announce(p != nullptr ? p->stood : m->stood, number);
    constexpr timespec kLook{0, 2 * kBetweenLooks};
    ::syscall(SYS_futex, raw(sched.world), FUTEX_WAIT_PRIVATE, number, p != nullptr ? nullptr : &kLook, nullptr, 0);
  }
}

bool world_stopped_here() noexcept {
  const M* m = current_m();
  return m != nullptr && stop.by.load(std::memory_order_relaxed) == m;  // relaxed: our own store, or not ours
}

void pause_for_world() noexcept {
  const std::uint32_t number = sched.world.load(std::memory_order_acquire);  // acquire: as in stand_if_asked()
  if ((number & 1) != 0) futex_wait(&sched.world, number, 2 * kBetweenLooks);
}

bool world_try_lock() noexcept {
  std::uint32_t free = 0;
  // acquire: the leases are as the last stopper left them; pairs with world_unlock().
  return busy.compare_exchange_strong(free, 1, std::memory_order_acquire, std::memory_order_relaxed);
}

void world_unlock() noexcept {
  // release: gives leases and `stop` to the next; pairs with the acquires above.
  if (busy.exchange(0, std::memory_order_release) == 2) {
    ::syscall(SYS_futex, &busy, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
  }
}

void world_begins(bool begins) noexcept {
  while (!world_try_lock()) {  // a stopper, who finds that the scheduler stops, and gives up
    constexpr timespec kPause{0, kBetweenLooks};
    ::nanosleep(&kPause, nullptr);
  }
  exists = begins;
  world_unlock();
}

bool stop_the_world() {
  // One that stops it again and again must not keep all others from their turn.
  if (current_g() != nullptr) gosched();
  if (stop_the_world_within(kNever)) return true;
  if (current_g() != nullptr) gosched();  // the scheduler stops: a goroutine ends here, its M goes home
  return false;
}

bool stop_the_world_within(std::int64_t ns) {
  const std::int64_t limit = nanos_after(nanotime(), Duration(ns));
  if (!take_turn(limit)) return false;
  // acquire: as in find_runnable().
  if (!exists || sched.stopping.load(std::memory_order_acquire)) {
    world_unlock();
    detail::leave_section();
    return false;
  }
  // The section lasts until start_the_world(): the stopper keeps its P and is not preempted.
  M* m = current_m();
  P* own = held_p(m);
  stop.by.store(m, std::memory_order_relaxed);  // relaxed: nobody else acts on it
  stop.n = sched.nps.load(std::memory_order_acquire);  // acquire: the Ps themselves
  std::fill_n(stop.how, stop.n, How::kNotYet);
  std::fill_n(stop.seen, kMaxMs, false);
  if (own != nullptr) stop.how[own->index] = How::kOwn;
  stop.asked = nanotime();
  if (own != nullptr) stop.since[own->index] = stop.asked;
  // release: `stop`, for who stands; acquire: the last stop's end. Who reads it too late comes by again (I1).
  const std::uint32_t number = sched.world.fetch_add(1, std::memory_order_acq_rel) + 1;
  if (wait_until_all_stand(number, limit)) {
    stop.all_stood = nanotime();
    return true;
  }
  stop.all_stood = 0;
  static_cast<void>(start_the_world());
  return false;
}

WorldPause start_the_world() noexcept {
  HEDDLE_CHECK((sched.world.load(std::memory_order_relaxed) & 1) != 0);  // relaxed: ours
  const std::int64_t now = nanotime();
  const bool stood = stop.all_stood != 0;  // else the stopper gave up
  const WorldPause pause{Duration(stood ? stop.all_stood - stop.asked : 0), Duration(now - stop.asked)};
  stop.by.store(nullptr, std::memory_order_relaxed);  // relaxed: as above
  sched.world.fetch_add(1, std::memory_order_release);  // release: what the stopper changed; pairs with stand()
  for (int i = 0; i < stop.n; ++i) let_go(i, now, stood);
  ::syscall(SYS_futex, &sched.world, FUTEX_WAKE_PRIVATE, INT32_MAX, nullptr, nullptr, 0);
  // relaxed, these: statistics, with one writer at a time.
  sched.stops.fetch_add(stood ? 1 : 0, std::memory_order_relaxed);
  sched.stopping_ns.fetch_add(static_cast<std::uint64_t>(pause.stopping.count()), std::memory_order_relaxed);
  if (work_anywhere()) wake_p();  // for goroutines that were queued while no P could be woken
  world_unlock();
  detail::leave_section();
  return pause;
}

}  // namespace heddle
