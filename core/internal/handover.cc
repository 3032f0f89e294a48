// A P changes hands. The rules are in handover.h.
#include <heddle/core/internal/handover.h>

#include <sched.h>

#include <heddle/core/check.h>
#include <heddle/core/internal/sched.h>
#include <heddle/core/internal/world.h>

namespace heddle {

void Hogs::push(G* g) noexcept {
  __atomic_fetch_add(&count_, 1, __ATOMIC_SEQ_CST);  // before the push: a count too high costs a second look
  G* head = __atomic_load_n(&in_, __ATOMIC_RELAXED);
  do {
    g->hog_link = head;
  } while (!__atomic_compare_exchange_n(&in_, &head, g, true, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
}

void Hogs::lock() noexcept {
  while (__atomic_exchange_n(&busy_, true, __ATOMIC_ACQUIRE)) ::sched_yield();
}

G* Hogs::take() noexcept {
  if (size() == 0) return nullptr;
  lock();
  if (first_ == nullptr) {
    G* g = __atomic_exchange_n(&in_, nullptr, __ATOMIC_SEQ_CST);
    while (g != nullptr) {  // turn them round
      G* next = g->hog_link;
      g->hog_link = first_;
      first_ = g;
      g = next;
    }
  }
  G* g = first_;
  if (g != nullptr) {
    first_ = g->hog_link;
    __atomic_fetch_sub(&count_, 1, __ATOMIC_SEQ_CST);
  }
  unlock();
  return g;
}

M* take_successor(P* p) noexcept {
  if (__atomic_exchange_n(raw(p->home_waits), false, __ATOMIC_SEQ_CST)) return p->home;
  const int spare = sched.spares.take_any();
  if (spare >= 0) return __atomic_load_n(raw(sched.all_ms[spare]), __ATOMIC_ACQUIRE);
  G* hog = sched.hogs.take();
  return hog == nullptr ? nullptr : __atomic_load_n(raw(hog->bound), __ATOMIC_RELAXED);
}

void untake_successor(P* p, M* m) noexcept {
  sanitizer::happens_after(m);  // enter_m(): found by way of a bit
  if (m->preempted_seen.load(std::memory_order_acquire)) {
    // At the end of the queue now, which is no loss. Not by `curg`, which is the thread's own.
    // relaxed: the thread sleeps.
    sched.hogs.push(m->curg_seen.load(std::memory_order_relaxed));
  } else if (m == p->home) {
    // It waits on; but its flag was down, and an M that went idle meanwhile did not see it: as in wait_for_p().
    p->home_waits.store(true, std::memory_order_seq_cst);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (take_idle(p)) start_m(p, false);
  } else {
    sched.spares.put(m->index);
  }
}

void hand_p(M* m, P* p) noexcept {
  __atomic_store_n(raw(m->nextp), p, __ATOMIC_RELEASE);  // release: the P and all that its holders wrote
  __atomic_store_n(raw(m->awake), 1U, __ATOMIC_SEQ_CST);
  ::syscall(SYS_futex, raw(m->awake), FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

void pass_p(M* m, P* p) noexcept {
  sanitizer::happens_after(m);  // enter_m(): found by way of a bit
  hand_p(m, p);
}

P* sleep_for_p(M* m) noexcept {
  for (;;) {
    __atomic_store_n(raw(m->awake), 0U, __ATOMIC_SEQ_CST);  // before the look: a later hand_p sets it again
    P* p = __atomic_exchange_n(raw(m->nextp), nullptr, __ATOMIC_ACQ_REL);  // acquire: pairs with hand_p()
    if (p != nullptr || __atomic_load_n(raw(sched.stopping), __ATOMIC_ACQUIRE)) return p;
    ::syscall(SYS_futex, raw(m->awake), FUTEX_WAIT_PRIVATE, 0, nullptr, nullptr, 0);
  }
}

P* held_p_slow(M* m) noexcept {
  if (m->p == nullptr) return nullptr;
  // sysmon has it in its hand: it saw us outside a section a moment ago, and gives it back if it looks again. Who stops the
  // world keeps it for longer; our caller may hold a lock, so we do not wait for that, but go on as if we had none.
  while (m->retaking.load(std::memory_order_acquire)) {  // acquire: pairs with retake() and let_go()
    if ((sched.world.load(std::memory_order_acquire) & 1) != 0) return nullptr;
    ::sched_yield();
  }
  P* p = m->lease.load(std::memory_order_acquire);  // acquire: as in held_p()
  if (p != nullptr) sanitizer::happens_after(p);
  return p;
}

P* held_p_back(M* m) noexcept {
  if (m->p == nullptr) return nullptr;
  while (m->retaking.load(std::memory_order_acquire)) {  // acquire: as in held_p_slow()
    pause_for_world();  // not until it goes on: the next stop may have begun, and this P be back
    ::sched_yield();
  }
  P* p = m->lease.load(std::memory_order_acquire);  // acquire: as in held_p()
  if (p != nullptr) sanitizer::happens_after(p);
  return p;
}

#if HEDDLE_TSAN
void detail::publish_section(ThreadState* t) noexcept {
  M* m = t->m;
  if (m == nullptr) return;
  P* p = m->lease.load(std::memory_order_acquire);  // acquire: as in held_p()
  if (p == nullptr) p = held_p_slow(m);
  if (p != nullptr) sanitizer::happens_before(p);
}
#endif

void acquire_p(M* m, P* p) noexcept {
  sanitizer::happens_after(p);
  m->p = p;
  m->settled = false;
  m->lease.store(p, std::memory_order_release);                   // release: for the holder's own later acquire under TSan
  p->m.store(m, std::memory_order_release);                       // release: the M; pairs with look_at() in world.cc
  p->status.store(PStatus::kRunning, std::memory_order_relaxed);  // relaxed: for reports
}

P* release_p(M* m) noexcept {
  P* p = m->p;
  m->p = nullptr;
  m->settled = false;
  P* held = p;
  // By exchange: sysmon may have the lease in its hand for a moment, and would give it back to us afterwards.
  while (!m->lease.compare_exchange_weak(held, nullptr, std::memory_order_acq_rel)) {
    held = p;
    ::sched_yield();
  }
  sanitizer::happens_before(p);
  p->m.store(nullptr, std::memory_order_relaxed);              // relaxed: for reports
  p->status.store(PStatus::kIdle, std::memory_order_relaxed);  // relaxed: for reports
  return p;
}

namespace {

// An M that gives its P away does not spin; whoever gets the P looks at everything.
void stop_spinning(M* m) noexcept {
  if (!m->spinning) return;
  m->spinning = false;
  m->spinning_seen.store(false, std::memory_order_relaxed);  // relaxed: for reports
  sched.spinning.fetch_sub(1, std::memory_order_seq_cst);     // seq_cst: as in stop_m()
}

}  // namespace

bool give_back(M* m) noexcept {
  P* p = m->p;
  // relaxed: a look at every scheduling point; the exchange decides.
  if (!p->home_waits.load(std::memory_order_relaxed) || !p->home_waits.exchange(false, std::memory_order_seq_cst)) return false;
  stop_spinning(m);
  release_p(m);
  pass_p(p->home, p);
  return true;
}

bool go_home(M* m) noexcept {
  if (m->home == nullptr) return false;
  M* next = take_successor(m->p);
  if (next == nullptr) return false;
  stop_spinning(m);
  pass_p(next, release_p(m));
  return true;
}

void lend_p(M* m, G* g) noexcept {
  stop_spinning(m);
  M* to = g->bound;
  sanitizer::happens_after(to);  // enter_m(): found by way of a bit
  to->lent_g.store(g, std::memory_order_relaxed);  // relaxed: published by hand_p()
  m->p->handoffs.add();
  pass_p(to, release_p(m));
}

bool wait_for_p(M* m) noexcept {
  m->parked_seen.store(true, std::memory_order_relaxed);  // relaxed: for reports
  if (P* home = m->home; home != nullptr) {
    home->home_waits.store(true, std::memory_order_seq_cst);
    std::atomic_thread_fence(std::memory_order_seq_cst);  // pairs with stop_m(): keeps I3
    if (take_idle(home)) start_m(home, false);
  } else if (m->locked_g == nullptr) {
    sched.spares.put(m->index);
  }
  return receive_p(m);
}

bool receive_p(M* m) noexcept {
  P* p = sleep_for_p(m);
  m->parked_seen.store(false, std::memory_order_relaxed);  // relaxed: for reports
  if (p == nullptr) return false;
  acquire_p(m, p);
  m->lent = m->lent_g.exchange(nullptr, std::memory_order_relaxed);  // relaxed: published by hand_p()
  return true;
}

}  // namespace heddle
