#include <heddle/core/internal/bubble.h>

#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include <heddle/core/check.h>
#include <heddle/core/clock.h>
#include <heddle/core/go.h>
#include <heddle/core/internal/report.h>
#include <heddle/core/internal/run_state.h>
#include <heddle/core/panic.h>
#include <heddle/core/park.h>

namespace heddle {
namespace {

// splitmix64 (Steele, Lea, Flood 2014).
std::uint64_t mix(std::uint64_t x) noexcept {
  x += 0x9E37'79B9'7F4A'7C15ULL;
  x = (x ^ (x >> 30)) * 0xBF58'476D'1CE4'E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D0'49BB'1331'11EBULL;
  return x ^ (x >> 31);
}

// Goroutines alive besides the driver.
bool anybody_left(const P* p) noexcept {
  // relaxed: asked when nothing runs elsewhere; who ended there was seen off by an acquire of sched.blocking.
  return p->started.get() + sched.started_elsewhere.load(std::memory_order_relaxed) !=
         p->ended.get() + sched.ended_elsewhere.load(std::memory_order_relaxed) + 1;
}

}  // namespace

void Bubble::begin(std::uint64_t seed, std::uint64_t most_steps) {
  {
    const Section section;
    P* p = held_p(section.m());
    p->rng = mix(seed) | 1;
    // Ids count from 1 again: the body is goroutine 1, as main is elsewhere.
    sched.next_id.store(1, std::memory_order_relaxed);  // relaxed: nobody else draws ids
    p->next_id = p->end_id = 0;
    yields_one_in_ = std::uint64_t{1} << (1 + next_random(p) % 5);  // some bugs need many switches, some few
    run_state.main_g->id.store(0, std::memory_order_relaxed);       // relaxed: for reports
  }
  // What is armed belongs to nobody who runs. Outside the section: the functions of after_func() go with it.
  sched.ps[0].timers.clear();
  set_now(kStart);
  body_ended_ = false;
  waiter_ = nullptr;
  pool_.clear();
  seed_ = seed;
  steps_ = 0;
  most_steps_ = most_steps;
  schedule_ = 0;
}

BubbleEnd Bubble::run_out() {
  park(
      [](G*, void* self) {
        static_cast<Bubble*>(self)->phase_ = Phase::kRunning;
        return true;
      },
      this, WaitReason::kOther);
  return end_;
}

void Bubble::wait_for_others() {
  if (waiter_ != nullptr) throw Panic("test::wait: another goroutine is in it");
  waiter_ = must_current_g("test::wait");
  park(nullptr, nullptr, WaitReason::kOther);  // readied by the scheduler's side alone, and that is this M's
}

std::uint64_t Bubble::draw(std::uint64_t below) noexcept {
  const Section section;
  P* p = held_p(section.m());
  if (p == nullptr || below == 0) return 0;  // in blocking(): a draw there would come at no certain place (I1)
  const std::uint64_t drawn = next_random(p) % below;
  note(drawn);
  return drawn;
}

void Bubble::point() noexcept {
  const detail::ThreadState* ts = detail::thread_state();
  // relaxed: our own. In a section nobody parks: the scheduler's side, or a lock is held.
  if (ts->sections.load(std::memory_order_relaxed) != 0 || ts->m == nullptr || ts->m->p == nullptr) return;
  const G* g = ts->m->curg;
  if (g == nullptr || g == run_state.main_g || g->on_park == &pinned_parks) return;
  if (draw(yields_one_in_) == 0) gosched();
}

void Bubble::point_soon() noexcept {
  if (draw(yields_one_in_) == 0)
    detail::thread_state()->want_yield.store(1, std::memory_order_relaxed);  // relaxed: a wish
}

// Its order is that of the queues, so a function of what the goroutines did (I1).
void Bubble::gather(P* p) noexcept {
  if (G* g = p->runq.take_next(); g != nullptr) pool_.push_back(g);
  while (G* g = p->runq.pop()) pool_.push_back(g);
  if (sched.globq.size() == 0) return;
  GQueue all;
  sched.globq.pop(UINT32_MAX, all);
  while (G* g = all.pop_front()) pool_.push_back(g);
}

void Bubble::note(std::uint64_t decision) noexcept { schedule_ = mix(schedule_ ^ decision); }

G* Bubble::choose(P* p) noexcept {
  gather(p);
  while (p->timers.next() <= now() && (pool_.empty() || next_random(p) % 2 == 0)) {
    p->timers.run(now());
    gather(p);
  }
  if (pool_.empty()) return nullptr;
  G*& chosen = pool_[next_random(p) % pool_.size()];
  std::swap(chosen, pool_.back());
  G* g = pool_.back();
  pool_.pop_back();
  g->keepsakes.flags |= Keepsakes::kTested;
  ++steps_;
  note(g->id.load(std::memory_order_relaxed));  // relaxed: its own
  return g;
}

// Nothing from outside can make a goroutine runnable.
bool Bubble::durable(const P* p) const noexcept {
  HEDDLE_CHECK(sched.nps.load(std::memory_order_relaxed) == 1);  // relaxed: set_procs() is not for tests
  // acquire: pairs with exit_blocking().
  return sched.blocking.load(std::memory_order_acquire) == 0 && !reports_under_way() && !p->poller->in_use() &&
         !p->poller->pending() && sched.globq.size() == 0;
}

G* Bubble::end(BubbleEnd how) noexcept {
  phase_ = Phase::kOver;
  end_ = how;
  return run_state.main_g;
}

G* Bubble::next(P* p) noexcept {
  if (phase_ == Phase::kOver) {
    gather(p);
    const auto at = std::ranges::find(pool_, run_state.main_g);
    if (at == pool_.end()) return nullptr;
    pool_.erase(at);
    return run_state.main_g;
  }
  for (;;) {
    if (steps_ >= most_steps_) {
      gather(p);  // keeps I3
      return end(BubbleEnd::kTooLong);
    }
    if (G* g = choose(p); g != nullptr) return g;
    if (body_ended_ && !anybody_left(p)) return end(BubbleEnd::kAllEnded);
    if (!durable(p)) return nullptr;
    if (waiter_ != nullptr) return std::exchange(waiter_, nullptr);
    if (body_ended_) return end(BubbleEnd::kLeft);
    const std::int64_t next_timer = p->timers.next();
    if (next_timer == kNever) return end(BubbleEnd::kDeadlock);
    set_now(next_timer);
    ++steps_;
  }
}

bool Bubble::rest(M* m) {
  // Who ends a report wakes nobody beside the goroutine it works for, if any.
  if (!reports_under_way()) return stop_m(m);
  const timespec pause{0, 50'000};
  ::nanosleep(&pause, nullptr);
  return true;
}

void tell_test_seed() noexcept {
  if (sched.bubble == nullptr) return;
  char text[96] = "heddle: in a test under seed ";
  char digits[20];
  std::size_t n = 0;
  std::uint64_t rest = sched.bubble->seed();
  do digits[n++] = static_cast<char>('0' + rest % 10);
  while ((rest /= 10) != 0);
  std::size_t length = std::strlen(text);
  while (n > 0) text[length++] = digits[--n];
  text[length++] = '\n';
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text, length);
}

}  // namespace heddle
