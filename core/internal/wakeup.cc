// How Ms go to sleep and are woken: the protocol against lost wake-ups, and the throttle against too many wakes.
//
// A G on a queue must be run soon if any P is idle. Waking an M costs as much as a whole HTTP request, so at most one is
// woken at a time: a *spinning* M (it has a P, seeks work, is counted in sched.spinning) stands for all Gs queued
// meanwhile, and when it finds one it wakes the next.
//
//   submitter: queue G; fence; if a P is idle and nobody spins: take the P, spinning = 1, hand it to its home M
//   seeker:    finds G:        spinning -= 1; if it was the last: wake_p()             (reset_spinning)
//              finds nothing:  P to the idle mask; spinning -= 1; fence; look at all queues again; sleep   (stop_m)
//
// I1. Nothing is lost between submitter and seeker: idle.h I1. A submitter that leaves because somebody spins is covered by
//     that seeker: it finds the G, or looks again after its own decrement, which comes after the submitter's read.
// I2. wake_p() that raised `spinning` and then finds no idle P lowers it and looks at the mask again: an M may have gone
//     idle, and a submitter may have left relying on us, in between.
// I3. A G in runnext alone wakes nobody: it runs when the current G parks. If that takes long, sysmon has it stolen.
// I4. From the idle mask to `nextp` to `p` a P has one owner; an idle P's host that finds it taken waits for it in `nextp`:
//     an idle P is always given to its host, which sleeps in its poller, whoever is meant to get it in the end.
// I5. A parked M sleeps until its idle P's next timer: nobody starts timers on an idle P, so the deadline is not late.
#include <heddle/core/check.h>
#include <heddle/core/clock.h>
#include <heddle/core/internal/sched.h>
#include <heddle/core/internal/world.h>

namespace heddle {

// A2 of idle.h.
bool work_anywhere() noexcept {
  if (sched.globq.size() != 0 || sched.hogs.size() != 0) return true;
  const int nps = sched.nps.load(std::memory_order_acquire);  // acquire: with its Ps; a retired one may still have some to steal
  for (int i = 0; i < nps; ++i) {
    if (sched.ps[i].runq.size() != 0) return true;
  }
  return false;
}

bool take_idle(P* p) noexcept { return sched.idle.try_take(p->index) || sched.resting.try_take(p->index); }

void become_spinning(M* m) noexcept {
  m->spinning = true;
  m->spinning_seen.store(true, std::memory_order_relaxed);  // relaxed: for reports
  sched.spinning.fetch_add(1, std::memory_order_seq_cst);   // seq_cst: one order with the mask (I1)
}

void reset_spinning(M* m) noexcept {
  m->spinning = false;
  m->spinning_seen.store(false, std::memory_order_relaxed);  // relaxed: for reports
  // seq_cst: one order with the mask (I1). There may be more where this one's work came from.
  if (sched.spinning.fetch_sub(1, std::memory_order_seq_cst) == 1) wake_p();
}

void wake_p() noexcept {
  // seq_cst fence: between the caller's store of a G to a queue (S1) and our read of the mask (S2); pairs with the fence in
  // stop_m(), between its store of the bit (A1) and its read of the queues (A2).
  std::atomic_thread_fence(std::memory_order_seq_cst);
  while (sched.idle.any()) {
    int nobody = 0;
    // seq_cst: one order with the mask (I1).
    if (sched.spinning.load(std::memory_order_seq_cst) != 0 ||
        !sched.spinning.compare_exchange_strong(nobody, 1, std::memory_order_seq_cst)) {
      return;
    }
    const int index = sched.idle.take_any();
    if (index >= 0) {
      start_m(&sched.ps[index], true);
      return;
    }
    sched.spinning.fetch_sub(1, std::memory_order_seq_cst);  // seq_cst: I2
  }
}

void start_m(P* p, bool spinning) noexcept {
  M* m = p->host.load(std::memory_order_relaxed);  // relaxed: stored before the bit that we took
  m->spinning = spinning;  // the M is parked and has no P: its `spinning` is ours until nextp is stored
  m->spinning_seen.store(spinning, std::memory_order_relaxed);  // relaxed: for reports
  // release: gives the P and all that its last holder wrote to the M; pairs with the acquire in stop_m().
  m->nextp.store(p, std::memory_order_release);
  p->poller->wake();
}

bool stop_m(M* m) {
  P* p = release_p(m);
  p->host.store(m, std::memory_order_relaxed);  // relaxed: published by put()
  const bool spun = m->spinning;
  m->spinning = false;  // before put: from there on a waker may set it for us (start_m)
  m->spinning_seen.store(false, std::memory_order_relaxed);  // relaxed: for reports
  const bool retired = p->retired.load(std::memory_order_relaxed);  // before put: from there on it may change
  (retired ? sched.resting : sched.idle).put(p->index);
  if (spun) sched.spinning.fetch_sub(1, std::memory_order_seq_cst);  // seq_cst: after put, before the second look (I1)
  std::atomic_thread_fence(std::memory_order_seq_cst);  // pairs with the fences in wake_p() and wait_for_p()
  // seq_cst: the second look, like the others: home may have come to wait for this P (handover.h I3).
  const bool wanted_home = p->home_waits.load(std::memory_order_seq_cst) && p->home != m;
  // If the P is gone a submitter took it for us, and it is on its way in nextp (I4).
  // A retired P is for its poller alone.
  const bool work = !retired && (sched.nps.load(std::memory_order_relaxed) > 1 ? work_anywhere()
                                                                            : sched.globq.size() != 0 || sched.hogs.size() != 0);
  if ((wanted_home || work) && take_idle(p)) {
    acquire_p(m, p);
    if (sched.nprocs > 1 && !wanted_home) become_spinning(m);
    return true;
  }
  return host_p(m, p);
}

bool host_p(M* m, P* p) {
  m->parked_seen.store(true, std::memory_order_relaxed);  // relaxed: for reports
  P* got = nullptr;
  for (;;) {
    // acquire: pairs with the release in start_m().
    got = m->nextp.exchange(nullptr, std::memory_order_acquire);
    // acquire: as in find_runnable().
    if (got != nullptr || sched.stopping.load(std::memory_order_acquire)) break;
    // Who stops the world may have the bit: then an event that is there would wake us again and again. Not until it goes on:
    // the P may also be on its way to us.
    pause_for_world();
    p->poller->wait(p->timers.next());
    if (m->nextp.load(std::memory_order_relaxed) != nullptr) continue;  // relaxed: the exchange above acquires
    if (take_idle(p)) {
      got = p;
      break;
    }
  }
  m->parked_seen.store(false, std::memory_order_relaxed);  // relaxed: for reports
  if (got == nullptr) return false;
  acquire_p(m, got);
  sysmon_kick();
  return true;
}

}  // namespace heddle
