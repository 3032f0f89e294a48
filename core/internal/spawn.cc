// A goroutine's birth and end.
//
// Birth comes in two steps, because moving a closure is user code and may throw: new_g takes a G and says where on its own
// stack the closure shall be built, start_g makes it runnable. Neither calls malloc.
#include <utility>

#include <heddle/core/blocking.h>
#include <heddle/core/check.h>
#include <heddle/core/foreign.h>
#include <heddle/core/go.h>
#include <heddle/core/internal/context.h>
#include <heddle/core/internal/sanitizer.h>
#include <heddle/core/internal/latency.h>
#include <heddle/core/internal/leave.h>
#include <heddle/core/internal/panics.h>
#include <heddle/core/internal/sched.h>
#include <heddle/core/internal/run_state.h>

namespace heddle {
namespace {

constexpr int kTakeBatch = 16;    // from the arena at once
constexpr std::uint32_t kKeep = 256;  // free Gs of a class that a P keeps; half of what is above goes back

// Goroutine ids are dealt to Ps in batches, so that a spawn touches no shared line.
std::uint64_t new_id(P* p) noexcept {
  constexpr std::uint64_t kBatch = 16;
  if (p == nullptr) return sched.next_id.fetch_add(1, std::memory_order_relaxed);  // relaxed: as below
  if (p->next_id == p->end_id) {
    p->next_id = sched.next_id.fetch_add(kBatch, std::memory_order_relaxed);  // relaxed: only uniqueness matters
    p->end_id = p->next_id + kBatch;
  }
  return p->next_id++;
}

[[gnu::always_inline]] inline G* take_free(P* p, StackSize s) {
  if (p == nullptr) [[unlikely]] {
    GQueue one;
    if (stack_arena().take(s, 1, one) == 0) return nullptr;
    return one.pop_front();
  }
  GQueue& free = p->free_gs[static_cast<int>(s)];
  if (free.empty()) [[unlikely]] {
    if (stack_arena().take(s, kTakeBatch, free) == 0) return nullptr;
  }
  return free.pop_front();
}

// Half of what a P has too much. The hot ones stay: they are in front.
[[gnu::cold, gnu::noinline]] void shed_free(GQueue& free, StackSize s) noexcept {
  GQueue keep;
  for (std::uint32_t i = 0; i < kKeep / 2; ++i) keep.push_back(free.pop_front());
  GQueue cold = std::exchange(free, keep);
  stack_arena().give(s, cold);
}

[[gnu::always_inline]] inline void put_free(P* p, G* g) noexcept {
  if (p == nullptr) [[unlikely]] {
    GQueue one;
    one.push_front(g);
    stack_arena().give(g->stack_class, one);
    return;
  }
  GQueue& free = p->free_gs[static_cast<int>(g->stack_class)];
  free.push_front(g);
  if (free.size() > kKeep) [[unlikely]] shed_free(free, g->stack_class);
}

[[gnu::always_inline]] inline void set_identity(G* g, P* p, G* creator, const GoOptions& options,
                                                const std::source_location& site) noexcept {
  constexpr auto kRelaxed = std::memory_order_relaxed;  // relaxed, all: read by reports only (g.h I3)
  g->id.store(new_id(p), kRelaxed);
  g->creator.store(creator == nullptr ? 0 : creator->id.load(kRelaxed), kRelaxed);
  g->name.store(options.name, kRelaxed);
  g->site_file.store(site.file_name(), kRelaxed);
  g->site_function.store(site.function_name(), kRelaxed);
  g->site_line.store(site.line(), kRelaxed);
}

// Unwinding ends here, also that of a panic: what was deferred has run then. Leaving has noted where it was thrown.
// The scheduler's section ends here, and not in g_main, so that TSan sees it.
[[gnu::noinline]] void run_entry(G* g) {
  detail::end_scheduler_section();
  try {
    g->entry(g->closure);
  } catch (const detail::Leaving&) {  // matches nothing (panics.h)
  } catch (const GoExit&) {
    run_state.note_goexit(g);
  } catch (...) {
    die_of_panic(*detail::claim_note(g->panics));
  }
  if (g->panics.notes != nullptr) [[unlikely]] detail::drop_notes(g->panics);
  if (g->keepsakes.flags != 0) [[unlikely]] drop_keepsakes(*g);
  detail::enter_section();
}

}  // namespace

namespace {

// True: the ring was full, and whoever starts goroutines is one that can give way. The scheduler's side cannot: it moves half of
// the ring at once.
[[gnu::always_inline]] inline bool queue_new(G* g) noexcept {
  const Section section;
  if (P* p = held_p(section.m()); p != nullptr) [[likely]] {
    p->started.add();
    detail::stamp_ready(p, g);
    G* displaced = p->runq.set_next(g);
    if (displaced == nullptr) [[likely]] return false;
    bool full = !p->runq.push(displaced);
    if (full) [[unlikely]] {
      full = section.m()->curg != nullptr;
      full ? sched.globq.push(displaced) : runq_put(p, displaced);
    }
    if (sched.nprocs > 1) wake_p();
    return full;
  }
  sched.started_elsewhere.fetch_add(1, std::memory_order_relaxed);  // relaxed: see RunState::living()
  sched.globq.push(g);
  wake_p();
  return false;
}

// Whoever starts goroutines faster than they run lets those go first that wait already, here and on the global queue. So
// most of them end before the next begin, and their stacks, warm as they are, are used again; else 100,000 would come to
// life, each with pages and cache lines of its own. (What found no room goes first: it stands before us on the global queue.)
[[gnu::cold, gnu::noinline]] void give_way() {
  const detail::ThreadState* ts = detail::thread_state();
  if (ts->sections.load(std::memory_order_relaxed) != 0 || current_g() == nullptr) return;  // relaxed: our own
  park(
      [](G* g, void*) {
        g->status.store(GStatus::kRunnable, std::memory_order_relaxed);  // relaxed: published by the queue
        sched.globq.push(g);
        // As at a yield: with the P lost on the way here, all others may have gone to sleep before they could see `g`.
        if (current_m()->p == nullptr) wake_p();
        return true;
      },
      nullptr, WaitReason::kNone);
}

// A batch: the first runs next, as by go(), so that a tree of batches is walked in depth and its stacks are used again
// while they are warm; what fits on the ring goes there, the rest to the global queue. One M is woken, and when it has
// found something it wakes the next (wakeup.cc). True: not all fit on the ring.
bool queue_many(GQueue& all) noexcept {
  const Section section;
  const std::uint32_t n = all.size();
  P* p = held_p(section.m());
  if (p != nullptr) [[likely]] {
    p->started.add(n);
    G* first = all.pop_front();
    detail::stamp_ready(p, first);  // one for all of a batch
    runq_put_next(p, first);
    p->runq.push_many(n - 1, [&all]() noexcept { return all.pop_front(); });
  } else {
    sched.started_elsewhere.fetch_add(n, std::memory_order_relaxed);  // relaxed: see RunState::living()
  }
  const bool full = p != nullptr && !all.empty();
  if (!all.empty()) sched.globq.push_all(all);
  if (sched.nprocs > 1 || p == nullptr) wake_p();
  return full;
}

void make_startable(G* g, void (*entry)(void*), std::size_t boxed = 0) noexcept {
  g->entry = entry;
  g->ready_at = 0;
  g->boxed = boxed;
  g->sp = make_context(static_cast<std::byte*>(g->closure), &g_main, g);
#if HEDDLE_TSAN
  if (g->tsan_fiber == nullptr) g->tsan_fiber = sanitizer::create_fiber();
#endif
  g->status.store(GStatus::kRunnable, std::memory_order_relaxed);  // relaxed: published by the queue
}

void give_back(G* first) noexcept {
  while (first != nullptr) detail::abandon_g(std::exchange(first, first->link));
}

// Users' copies may throw, or park: the caller may be on another M afterwards.
[[gnu::noinline]] void inherit(const G& creator, G& child) {
  try {
    inherit_keepsakes(creator, child);
  } catch (...) {
    detail::abandon_g(&child);
    throw;
  }
}

// Without a creator: for the scheduler's side, or a foreign thread, whose goroutine goes to the global queue.
[[gnu::always_inline]] inline G* make_g(G* creator, const GoOptions& options, std::size_t size,
                                        const std::source_location& site, void** place) {
  G* g = nullptr;
  {
    const Section section;
    P* p = held_p(section.m());
    g = take_free(p, options.stack);
    if (g != nullptr) set_identity(g, p, creator, options, site);
  }
  if (g == nullptr) throw std::bad_alloc();
  if (creator != nullptr && creator->keepsakes.flags != 0) [[unlikely]] inherit(*creator, *g);
  // The closure lies right below the G, on a 16-byte boundary.
  *place = g->stack_hi - ((size + 15) & ~std::size_t{15});
  g->closure = *place;
  return g;
}

}  // namespace

namespace detail {

G* new_g(const GoOptions& options, std::size_t size, const std::source_location& site, void** place) {
  M* m = current_m();
  // acquire: with the Ps.
  if (m == nullptr && !sched.running.load(std::memory_order_acquire)) {
    fatal("go needs a goroutine: call it inside heddle::run(), or heddle::post() on a foreign thread");
  }
  return make_g(m == nullptr ? nullptr : m->curg, options, size, site, place);
}

G* new_posted_g(const GoOptions& options, std::size_t size, const std::source_location& site, void** place) {
  return make_g(current_g(), options, size, site, place);
}

void start_g(G* g, void (*entry)(void*), std::size_t boxed) noexcept {
  make_startable(g, entry, boxed);
  if (queue_new(g)) [[unlikely]] return give_way();
  yield_check();  // a goroutine that only starts others would never be asked else
}

NewGs::NewGs(const GoOptions& options, std::size_t n, std::size_t size, const std::source_location& site) {
  G* last = nullptr;
  try {
    for (; n > 0; --n) {
      void* place = nullptr;
      G* g = new_g(options, size, site, &place);
      (last == nullptr ? first_ : last->link) = g;
      last = g;
    }
  } catch (...) {
    give_back(first_);
    throw;
  }
}

NewGs::~NewGs() { give_back(first_); }

G* NewGs::next(const G* g) noexcept { return g->link; }

void* NewGs::place(const G* g) noexcept { return g->closure; }

void NewGs::start(void (*entry)(void*)) noexcept {
  GQueue all;
  while (first_ != nullptr) {
    G* g = std::exchange(first_, first_->link);
    make_startable(g, entry);
    all.push_back(g);
  }
  if (queue_many(all)) [[unlikely]] return give_way();
  yield_check();  // as in start_g()
}

void abandon_g(G* g) noexcept {
  if (g->keepsakes.flags != 0) [[unlikely]] drop_keepsakes(*g);
  const Section section;
  put_free(held_p(section.m()), g);
}

}  // namespace detail

HEDDLE_SWITCHES_STACKS void g_main(void* arg) {
  G* g = static_cast<G*>(arg);
  sanitizer::finish_switch(nullptr);
  run_entry(g);
  M* m = current_m();
  m->leave = Leave::kExit;
  leave_g(m, g);
  __builtin_unreachable();
}

void free_g(P* p, G* g) noexcept {
  g->status.store(GStatus::kDead, std::memory_order_relaxed);  // relaxed: for reports
  g->on_park = nullptr;
  sanitizer::unpoison_stack(g->stack_lo, static_cast<std::size_t>(g->stack_hi - g->stack_lo));
  g->bound.store(nullptr, std::memory_order_relaxed);  // relaxed: the G is ours; published with its next start
  g->locks = 0;
  put_free(p, g);
  if (p != nullptr) [[likely]] {
    p->ended.add();
  } else {
    sched.ended_elsewhere.fetch_add(1, std::memory_order_seq_cst);  // seq_cst: see RunState::living()
  }
  run_state.note_end(g);
}

bool goroutine_is_as_new() noexcept {
  const G* g = must_current_g("goroutine_is_as_new");
  // relaxed: ours.
  return g->keepsakes.flags == 0 && g->locks == 0 && g->bound.load(std::memory_order_relaxed) == nullptr &&
         g->panics.notes == nullptr && g->panics.call == nullptr;
}

void goexit() {
  static_cast<void>(must_current_g("goexit"));
  throw GoExit{};
}

}  // namespace heddle
