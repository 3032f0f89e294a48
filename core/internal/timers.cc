#include <heddle/core/internal/timers.h>

#include <sys/mman.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <new>

#include <heddle/core/check.h>
#include <heddle/core/internal/sched.h>

namespace heddle {
namespace {

constexpr int kBatch = 32;                    // lazy timers fired between two holds of lock_
constexpr std::uint32_t kWorthASweep = 64;    // entries

}  // namespace

// Lazy timers taken from the heap and not fired yet.
struct Timers::Batch {
  LazyTimer* timers[kBatch];
  int size = 0;
  int lazy = 0;   // fired in all
  int plain = 0;  // plain nodes fired
};

Timers::~Timers() {
  if (heap_ != nullptr) ::munmap(heap_, capacity_ * sizeof(Entry));
}

void Timers::add(TimerNode& t, P* p, std::int64_t when) noexcept {
  LockGuard guard(lock_);
  HEDDLE_CHECK(t.index == TimerNode::kNotArmed);
  make_room();
  t.p.store(p, std::memory_order_relaxed);  // relaxed: who stops it, started it
  t.when = when;
  sift_up(size_++, Entry{when, &t});
  publish_next();
}

bool Timers::remove(TimerNode& t) noexcept {
  LockGuard guard(lock_);
  if (t.index == TimerNode::kNotArmed) return false;  // fired: having had the lock, its `fire` is over too
  HEDDLE_DCHECK(t.index < size_ && heap_[t.index].node == &t);
  remove_at(t.index);
  t.index = TimerNode::kNotArmed;
  publish_next();
  return true;
}

void Timers::add_lazy(LazyTimer& t, P* p, std::int64_t when) noexcept {
  LockGuard guard(lock_);
  HEDDLE_DCHECK(t.due.load(std::memory_order_relaxed) == LazyTimer::kOut);  // relaxed: ours
  make_room();
  t.p.store(p, std::memory_order_relaxed);     // relaxed: published by `due`
  t.key.store(when, std::memory_order_relaxed);  // relaxed: likewise
  sift_up(size_++, Entry{when, &t});
  // seq_cst: from here on anybody may move it (lazy_timer.h I2); releases p and key to who reads `due`.
  t.due.store(when, std::memory_order_seq_cst);
  publish_next();
}

bool Timers::hurry(LazyTimer& t) noexcept {
  LockGuard guard(lock_);
  // seq_cst: lazy_timer.h I2. Armed, and its p still our P: then the entry is ours and stays while we have the lock.
  const std::int64_t due = t.due.load(std::memory_order_seq_cst);
  const P* p = t.p.load(std::memory_order_relaxed);  // relaxed: published by `due`
  if (due < 0 || p == nullptr || &p->timers != this) return false;
  if (t.key.load(std::memory_order_relaxed) <= due) return false;  // relaxed: written under our lock
  t.key.store(due, std::memory_order_relaxed);  // relaxed: it falls; who lowers `due` at once comes here as well
  sift_up(t.index, Entry{due, &t});
  publish_next();
  return t.index == 0;
}

bool Timers::try_stop(LazyTimer& t, std::int64_t due) noexcept {
  if (!lock_.try_lock()) return false;
  // acquire: with p. If it is armed, and here, it stays here as long as we hold the lock.
  const bool armed = t.due.load(std::memory_order_acquire) == due;
  const P* p = t.p.load(std::memory_order_relaxed);  // relaxed: published by `due`
  const bool stopped = armed && &p->timers == this &&
                       // acq_rel: what the last `fire` did for the caller, what the caller did for the next one.
                       t.due.compare_exchange_strong(due, LazyTimer::kOut, std::memory_order_acq_rel);
  if (stopped) {
    const bool first = t.index == 0;
    remove_at(t.index);
    if (first) {
      publish_next();
    } else {
      size_stat_.store(size_, std::memory_order_relaxed);  // relaxed: a statistic
    }
  }
  lock_.unlock();
  return stopped;
}

LazyTimer* Timers::take_spent() noexcept {
  // relaxed: a hint.
  if (spent_.load(std::memory_order_relaxed) == nullptr) return nullptr;
  LockGuard guard(lock_);
  LazyTimer* t = spent_.load(std::memory_order_relaxed);  // relaxed: under the lock
  if (t != nullptr) spent_.store(t->next_spent, std::memory_order_relaxed);
  return t;
}

int Timers::run(std::int64_t now, int most) noexcept {
  if (!fire_lock_.try_lock()) return 0;
  Batch batch;
  lock_.lock();
  while (size_ > 0 && heap_[0].when <= now && batch.lazy < most) {
    TimerNode* t = heap_[0].node;
    if (t->lazy) {
      surface(*static_cast<LazyTimer*>(t), now, batch);
    } else if (batch.size == 0) {
      remove_at(0);
      t->index = TimerNode::kNotArmed;
      ++batch.plain;
      t->fire(t);  // under the lock: see TimerNode I1. The node may be gone when its lock is free again.
      continue;
    }
    // In the order of their times, so before a plain one that comes after them.
    if (batch.size == kBatch || (batch.size > 0 && !t->lazy)) fire_batch(batch);
  }
  publish_next();
  if (batch.size > 0) fire_batch(batch);
  lock_.unlock();
  fire_lock_.unlock();
  return batch.lazy + batch.plain;
}

// The first entry is due by its key: drops it, sinks it to where it belongs by now, or takes it to be fired.
void Timers::surface(LazyTimer& t, std::int64_t now, Batch& batch) noexcept {
  // acquire: sees what its owner did before it armed or stopped it.
  std::int64_t due = t.due.load(std::memory_order_acquire);
  if (due < 0) {
    if (drop_garbage(t, due)) remove_at(0);
    return;
  }
  if (due > now) {
    sift_down(0, Entry{raise_key(t, due), &t});
    return;
  }
  const std::int64_t next =
      t.period == 0 ? LazyTimer::kOut : nanos_after(due, Duration(t.period * (1 + (now - due) / t.period)));
  // acq_rel: acquire as above; release gives the timer back to who arms it next.
  if (!t.due.compare_exchange_strong(due, next, std::memory_order_acq_rel)) return;  // stopped or moved: look again
  if (next >= 0) {
    sift_down(0, Entry{raise_key(t, next), &t});
  } else {
    remove_at(0);
  }
  ++batch.lazy;
  batch.timers[batch.size++] = &t;
}

// Lets go of lock_ meanwhile.
void Timers::fire_batch(Batch& batch) noexcept {
  lock_.unlock();
  for (int i = 0; i < batch.size; ++i) batch.timers[i]->fire(batch.timers[i]);
  batch.size = 0;
  lock_.lock();
}

// Of an entry that is to go: sets its timer free. False: it was armed again.
bool Timers::drop_garbage(LazyTimer& t, std::int64_t state) noexcept {
  if (state == LazyTimer::kGarbage) {
    // acq_rel: release gives the timer back to who arms it next, whose acquire is in lazy_timer_arm().
    if (t.due.compare_exchange_strong(state, LazyTimer::kOut, std::memory_order_acq_rel)) {
      count_garbage(-1);
      return true;
    }
    if (state != LazyTimer::kOrphan) return false;
  }
  HEDDLE_DCHECK(state == LazyTimer::kOrphan);
  count_garbage(-1);
  t.next_spent = spent_.load(std::memory_order_relaxed);  // relaxed: under the lock, as the store
  spent_.store(&t, std::memory_order_relaxed);
  return true;
}

// Brings the key up to `due`, which the caller has just read, or less if it has fallen meanwhile. Returns the key.
std::int64_t Timers::raise_key(LazyTimer& t, std::int64_t due) noexcept {
  for (;;) {
    t.key.store(due, std::memory_order_seq_cst);  // seq_cst, with the load: lazy_timer.h I2
    const std::int64_t now_due = t.due.load(std::memory_order_seq_cst);
    if (now_due < 0 || now_due >= due) return due;
    due = now_due;
  }
}

// Throws the garbage out, brings all keys up to date, and makes a heap of what is left.
void Timers::sweep() noexcept {
  std::uint32_t kept = 0;
  for (std::uint32_t i = 0; i < size_; ++i) {
    Entry e = heap_[i];
    if (e.node->lazy) {
      auto& t = static_cast<LazyTimer&>(*e.node);
      const std::int64_t due = t.due.load(std::memory_order_acquire);  // acquire: as in surface()
      if (due < 0 && drop_garbage(t, due)) continue;
      if (due > e.when) e.when = raise_key(t, due);
    }
    place(kept++, e);
  }
  size_ = kept;
  for (std::uint32_t i = kept / 4 + 1; i-- > 0;) {
    if (i < kept) sift_down(i, heap_[i]);
  }
}

// For one more entry.
void Timers::make_room() noexcept {
  // relaxed: a hint.
  const int garbage = garbage_.load(std::memory_order_relaxed);
  if (size_ >= kWorthASweep && garbage > 0 && static_cast<std::uint32_t>(garbage) > size_ / 4) sweep();
  if (size_ == capacity_) grow();
}

void Timers::clear() noexcept {
  for (std::uint32_t i = 0; i < size_; ++i) {
    TimerNode* node = heap_[i].node;
    if (!node->lazy) continue;
    auto* t = static_cast<LazyTimer*>(node);
    t->p.store(nullptr, std::memory_order_relaxed);  // relaxed, as all here: the threads are joined
    const std::int64_t due = t->due.exchange(LazyTimer::kOut, std::memory_order_relaxed);
    if (due == LazyTimer::kOrphan) {
      delete t;
    } else if (due >= 0 && t->forget != nullptr) {
      t->forget(t);
    }
  }
  size_ = 0;
  while (LazyTimer* t = take_spent()) delete t;
  publish_next();
}

void Timers::remove_at(std::uint32_t i) noexcept {
  const Entry last = heap_[--size_];
  if (i == size_) return;
  if (i > 0 && last.when < heap_[(i - 1) / 4].when) {
    sift_up(i, last);
  } else {
    sift_down(i, last);
  }
}

void Timers::sift_up(std::uint32_t i, Entry e) noexcept {
  while (i > 0) {
    const std::uint32_t parent = (i - 1) / 4;
    if (heap_[parent].when <= e.when) break;
    place(i, heap_[parent]);
    i = parent;
  }
  place(i, e);
}

void Timers::sift_down(std::uint32_t i, Entry e) noexcept {
  for (;;) {
    const std::uint32_t first = 4 * i + 1;
    if (first >= size_) break;
    std::uint32_t least = first;
    for (std::uint32_t c = first + 1; c < std::min(first + 4, size_); ++c) {
      if (heap_[c].when < heap_[least].when) least = c;
    }
    if (heap_[least].when >= e.when) break;
    place(i, heap_[least]);
    i = least;
  }
  place(i, e);
}

void Timers::place(std::uint32_t i, Entry e) noexcept {
  heap_[i] = e;
  e.node->index = i;
}

void Timers::grow() noexcept {
  const std::uint32_t bigger = capacity_ == 0 ? 4096 : capacity_ * 2;
  void* mem = capacity_ == 0
                  ? ::mmap(nullptr, bigger * sizeof(Entry), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                  : ::mremap(heap_, capacity_ * sizeof(Entry), bigger * sizeof(Entry), MREMAP_MAYMOVE);
  if (mem == MAP_FAILED) fatal("out of memory for %u timers", bigger);
  heap_ = static_cast<Entry*>(mem);
  capacity_ = bigger;
}

void Timers::publish_next() noexcept {
  // release: pairs with the acquire in next(); see I3.
  next_.store(size_ == 0 ? kNever : heap_[0].when, std::memory_order_release);
  size_stat_.store(size_, std::memory_order_relaxed);  // relaxed: a statistic
}

namespace {

// Runs arm(p) for a P whose heap the caller may use: its own if it has one.
template <class Arm>
void on_some_heap(const char* op, Arm arm) noexcept {
  const Section section;
  if (P* p = held_p(section.m()); p != nullptr) [[likely]] return arm(p);
  if (!sched.running.load(std::memory_order_acquire)) {  // acquire: with the Ps
    fatal("%s needs the scheduler: call it inside heddle::run()", op);
  }
  // A foreign thread, or our P was taken while we were blocked. Any P's heap will do; its host may be asleep until a
  // later time.
  P* p = &sched.ps[0];
  arm(p);
  p->poller->wake();
}

}  // namespace

void timer_start(TimerNode& timer, std::int64_t when) noexcept {
  on_some_heap("timer_start", [&](P* p) { p->timers.add(timer, p, when); });
}

bool timer_stop(TimerNode& timer) noexcept {
  // The heap of a node does not change while it is armed, so its P is read without the lock. A node that has fired goes
  // through the lock as well: `fire` may still be running on another M (TimerNode I2).
  P* p = timer.p.load(std::memory_order_relaxed);  // relaxed: as in add()
  return p != nullptr && p->timers.remove(timer);
}

LazyTimer* lazy_timer_new(TimerNode::Fire fire, void* arg) {
  void* place = nullptr;
  {
    const Section section;
    if (P* p = held_p(section.m()); p != nullptr) place = p->timers.take_spent();
  }
  if (place == nullptr) return new LazyTimer(fire, arg);
  std::destroy_at(static_cast<LazyTimer*>(place));
  return ::new (place) LazyTimer(fire, arg);
}

bool lazy_timer_move(LazyTimer& timer, std::int64_t when) noexcept {
  std::int64_t due = timer.due.load(std::memory_order_relaxed);  // relaxed: the CAS decides
  do {
    if (due < 0) return false;
    // seq_cst, with the load of `key`: lazy_timer.h I2. Releases the caller's work to the `fire` to come.
  } while (!timer.due.compare_exchange_weak(due, when, std::memory_order_seq_cst, std::memory_order_relaxed));
  if (timer.key.load(std::memory_order_seq_cst) <= when) [[likely]] return true;
  const Section section;
  P* p = timer.p.load(std::memory_order_relaxed);  // relaxed: published by `due`
  if (p->timers.hurry(timer) && p != held_p(section.m())) p->poller->wake();
  return true;
}

bool lazy_timer_arm(LazyTimer& timer, std::int64_t when) noexcept {
  for (;;) {
    if (lazy_timer_move(timer, when)) return true;
    // acquire: pairs with the heap that let go of it last.
    std::int64_t due = timer.due.load(std::memory_order_acquire);
    if (due == LazyTimer::kOut) {
      on_some_heap("a timer", [&](P* p) { p->timers.add_lazy(timer, p, when); });
      return false;
    }
    // The entry of its last time is there still. For lazy_timer_move() to bring to its place.
    if (due != LazyTimer::kGarbage) continue;
    P* p = timer.p.load(std::memory_order_relaxed);  // relaxed: published by `due`
    // seq_cst: as in lazy_timer_move(). kNever is later than any key, so no key need be looked at.
    if (!timer.due.compare_exchange_strong(due, kNever, std::memory_order_seq_cst)) continue;
    p->timers.count_garbage(-1);
    static_cast<void>(lazy_timer_move(timer, when));
    return false;
  }
}

bool lazy_timer_stop(LazyTimer& timer) noexcept {
  std::int64_t due = timer.due.load(std::memory_order_acquire);  // acquire: with p
  while (due >= 0) {
    P* p = timer.p.load(std::memory_order_relaxed);  // relaxed: published by `due`
    {
      const Section section;
      if (p == held_p(section.m()) && p->timers.try_stop(timer, due)) return true;
    }
    // acq_rel: the caller's work to the heap that drops the entry; the last `fire`'s work to the caller.
    if (timer.due.compare_exchange_strong(due, LazyTimer::kGarbage, std::memory_order_acq_rel)) {
      p->timers.count_garbage(1);
      return true;
    }
  }
  return false;
}

void lazy_timer_settle(LazyTimer& timer) noexcept {
  static_cast<void>(timer.due.load(std::memory_order_acquire));  // acquire: with p, from the heap that let go of it
  P* p = timer.p.load(std::memory_order_relaxed);  // relaxed: published by `due`
  // A P of a run() that has ended is gone, and fires nothing. acquire: with its Ps, retired ones, too.
  const bool lives = p != nullptr && !std::less<>()(p, sched.ps) && std::less<>()(p, sched.ps + sched.nps.load(std::memory_order_acquire));
  if (lives) p->timers.wait_for_fire();
}

void lazy_timer_free(LazyTimer* timer) noexcept {
  std::int64_t due = timer->due.load(std::memory_order_acquire);  // acquire: the heap's last touch
  // acq_rel: our last touch to the heap; as above where it fails.
  while (due == LazyTimer::kGarbage) {
    if (timer->due.compare_exchange_strong(due, LazyTimer::kOrphan, std::memory_order_acq_rel)) return;
  }
  HEDDLE_CHECK(due == LazyTimer::kOut);
  delete timer;
}

}  // namespace heddle
