#include <heddle/core/internal/timers.h>

#include <sys/mman.h>

#include <algorithm>

#include <heddle/core/check.h>
#include <heddle/core/internal/sched.h>

namespace heddle {

Timers::~Timers() {
  if (heap_ != nullptr) ::munmap(heap_, capacity_ * sizeof(Entry));
}

void Timers::add(TimerNode& t, P* p, std::int64_t when) noexcept {
  LockGuard guard(lock_);
  HEDDLE_CHECK(t.index == TimerNode::kNotArmed);
  if (size_ == capacity_) grow();
  t.p = p;
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

int Timers::run(std::int64_t now) noexcept {
  LockGuard guard(lock_);
  int fired = 0;
  while (size_ > 0 && heap_[0].when <= now) {
    TimerNode* t = heap_[0].node;
    remove_at(0);
    t->index = TimerNode::kNotArmed;
    ++fired;
    t->fire(t);  // under the lock: see TimerNode I1. The node may be gone when its lock is free again.
  }
  publish_next();
  return fired;
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

void timer_start(TimerNode& timer, std::int64_t when) noexcept {
  const Section section;
  if (P* p = held_p(section.m()); p != nullptr) [[likely]] {
    p->timers.add(timer, p, when);
    return;
  }
  if (current_m() == nullptr) fatal("timer_start needs a goroutine: call it inside heddle::run()");
  // Our P was taken while we were blocked. Any P's heap will do; its host may be asleep until a later time.
  P* p = &sched.ps[0];
  p->timers.add(timer, p, when);
  p->poller->wake();
}

bool timer_stop(TimerNode& timer) noexcept {
  // The heap of a node does not change while it is armed, so its P is read without the lock. A node that has fired goes
  // through the lock as well: `fire` may still be running on another M (TimerNode I2).
  return timer.p != nullptr && timer.p->timers.remove(timer);
}

}  // namespace heddle
