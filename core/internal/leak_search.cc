#include <heddle/core/internal/leak_search.h>

#include <algorithm>

#include <heddle/core/internal/chan_core.h>
#include <heddle/core/internal/freeze.h>
#include <heddle/core/internal/sched.h>
#include <heddle/core/internal/unwind.h>
#include <heddle/core/select.h>

namespace heddle::detail {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;  // relaxed, all: every thread holds still

std::uintptr_t address(const volatile void* p) noexcept { return reinterpret_cast<std::uintptr_t>(p); }

// A word of memory that is somebody else's frame or object.
HEDDLE_UNINSTRUMENTED std::uintptr_t word_at(std::uintptr_t at) noexcept {
  return *reinterpret_cast<const volatile std::uintptr_t*>(at);
}

HEDDLE_UNINSTRUMENTED bool flag_at(const bool* at) noexcept { return *static_cast<const volatile bool*>(at); }

bool lives(GStatus s) noexcept { return s != GStatus::kIdle && s != GStatus::kDead; }

// True until somebody has begun to wake the goroutine.
HEDDLE_UNINSTRUMENTED bool still_waits(const WaitsFor& what) noexcept {
  if (what.queued != nullptr && !flag_at(what.queued)) return false;
  if (what.kind != WaitKind::kSelect) return true;
  const auto* cases = static_cast<const SelectCase*>(what.object);
  for (std::size_t i = 0; i < what.n; ++i) {
    if (cases[i].chan != nullptr && !flag_at(&reinterpret_cast<const Sudog*>(cases[i].waiter)->queued)) return false;
  }
  return true;
}

}  // namespace

const char* LeakSearch::run(Span self) noexcept {
  constexpr const char* kTooMany = "too many goroutines and channels";
  if (!chans_.fill()) return "no memory";
  stack_arena().for_each([](void* arg, G* g) { static_cast<LeakSearch*>(arg)->add(g); }, this);
  if (suspects_.size() == 0) return nullptr;
  if (!memory_.look()) return "/proc/self/mem or maps cannot be read";
  find_waits();
  for (std::uint32_t r = 0; r < regions_.size(); ++r) find_handles(r);  // which may add channels
  if (full_) return kTooMany;
  sort_places();

  for (std::uint32_t i = 0; i < suspects_.size(); ++i) {
    const Suspect& s = suspects_[i];
    if (s.kind != WaitKind::kSync) continue;
    const std::uint32_t r = region_of(address(s.object));
    r == kNone ? can_wake(i) : add_wait(r, i);
  }
  for (std::uint32_t r = 0; r < regions_.size(); ++r) {
    const Region& region = regions_[r];
    if (region.chan != nullptr && region.chan->refs.load(kRelaxed) > region.handles) reach(r);
  }
  read_reached();
  const char* wrong = open_question() ? read_outside(self) : nullptr;
  return wrong == nullptr && full_ ? kTooMany : wrong;
}

HEDDLE_UNINSTRUMENTED void LeakSearch::add(G* g) noexcept {
  const WaitsFor* what = g->waits_for.load(kRelaxed);
  if (g->status.load(kRelaxed) != GStatus::kWaiting || what == nullptr || what->timed || !still_waits(*what)) return;
  Suspect s;
  s.g = g;
  s.kind = what->kind;
  s.object = what->kind == WaitKind::kSelect ? nullptr : what->object;
  full_ = !suspects_.push(s) || full_;
}

// The regions that are a suspect's own, and the channels that it waits for.
HEDDLE_UNINSTRUMENTED void LeakSearch::find_waits() noexcept {
  for (std::uint32_t i = 0; i < suspects_.size() && !full_; ++i) {
    Suspect& s = suspects_[i];
    add_stack(i);
    switch (s.kind) {
      case WaitKind::kNothing: continue;
      case WaitKind::kChan: add_wait(chan_region(static_cast<const ChanCore*>(s.object), true), i); break;
      case WaitKind::kSelect: {
        const WaitsFor& what = *s.g->waits_for.load(kRelaxed);
        const auto* cases = static_cast<const SelectCase*>(what.object);
        bool any = false;
        for (std::size_t c = 0; c < what.n; ++c) {
          if (cases[c].chan == nullptr) continue;
          add_wait(chan_region(cases[c].chan, true), i);
          any = true;
        }
        if (!any) s.kind = WaitKind::kNothing;
        break;
      }
      case WaitKind::kSync: break;  // when all regions are known
      case WaitKind::kContext: break;  // never a suspect
    }
    if (s.kind != WaitKind::kNothing) ++open_;
  }
}

HEDDLE_UNINSTRUMENTED void LeakSearch::add_stack(std::uint32_t suspect) noexcept {
  Suspect& s = suspects_[suspect];
  Region r;
  r.at = {address(s.g->sp), address(s.g->stack_hi)};
  r.stack = true;
  s.stack = static_cast<std::uint32_t>(regions_.size());
  full_ = !regions_.push(r) || full_;
  if (s.g->boxed == 0) return;
  r.stack = false;
  r.at.lo = word_at(address(s.g->closure));
  r.at.hi = r.at.lo + s.g->boxed;
  s.box = static_cast<std::uint32_t>(regions_.size());
  full_ = !regions_.push(r) || full_;
}

void LeakSearch::add_wait(std::uint32_t region, std::uint32_t suspect) noexcept {
  if (region == kNone) return;
  full_ = !waits_.push({suspect, regions_[region].waits}) || full_;
  regions_[region].waits = static_cast<std::uint32_t>(waits_.size() - 1);
}

// kNone: it is not known, and not to be added; or there is no room.
std::uint32_t LeakSearch::chan_region(const ChanCore* c, bool add) noexcept {
  std::size_t at = (address(c) * 0x9E37'79B9'7F4A'7C15ULL) >> 20;
  for (at %= kHash; chans_[at] != 0; at = (at + 1) % kHash) {
    if (regions_[chans_[at] - 1].chan == c) return chans_[at] - 1;
  }
  if (!add) return kNone;
  Region r;
  r.at = {address(c), address(c->end())};
  r.chan = c;
  if (!regions_.push(r)) {
    full_ = true;
    return kNone;
  }
  chans_[at] = static_cast<std::uint32_t>(regions_.size());
  return chans_[at] - 1;
}

// What can hold a way on. Of a channel its buffer alone: its queues lead to those who wait, not to who could wake them
// (keeps I3). Of a stack also the G on top of it: its fields are the goroutine's, too.
Span LeakSearch::contents(const Region& r) const noexcept {
  const std::uintptr_t lo = r.chan == nullptr ? r.at.lo : address(r.chan->buffer);
  return {(lo + 7) & ~std::uintptr_t{7}, (r.stack ? r.at.hi + sizeof(G) : r.at.hi) & ~std::uintptr_t{7}};
}

// Counts the handles in a region, and adds the channels that they name.
HEDDLE_UNINSTRUMENTED void LeakSearch::find_handles(std::uint32_t region) noexcept {
  const Span in = contents(regions_[region]);
  for (std::uintptr_t at = in.lo; at < in.hi && !full_; at += 8) {
    const std::uintptr_t word = word_at(at);
    if (word == 0) continue;
    const ChanCore* c = chan_named_by(word ^ at);
    if (c == nullptr) continue;
    if (const std::uint32_t r = chan_region(c, true); r != kNone) ++regions_[r].handles;
  }
}

// The channel at `at`, if there is one: most words of a stack are no handles, and lead anywhere (I2).
const ChanCore* LeakSearch::chan_named_by(std::uintptr_t at) noexcept {
  constexpr std::uintptr_t kLowest = std::uintptr_t{1} << 16;  // two addresses of one stack differ in no more than its size
  constexpr std::uintptr_t kHighest = std::uintptr_t{1} << 47;
  if (at % alignof(ChanCore) != 0 || at < kLowest || at >= kHighest) return nullptr;
  const auto* c = reinterpret_cast<const ChanCore*>(at);
  if (chan_region(c, false) != kNone) return c;
  std::uintptr_t name = 0;
  return memory_.word(address(&c->name), name) && name == ChanCore::name_of(at) ? c : nullptr;
}

void LeakSearch::sort_places() noexcept {
  for (std::uint32_t r = 0; r < regions_.size(); ++r) {
    const Span at = regions_[r].at;
    all_ = {std::min(all_.lo, at.lo), std::max(all_.hi, at.hi)};
    full_ = !places_.push({at, r}) || full_;
  }
  std::sort(places_.begin(), places_.end(), [](const Place& a, const Place& b) { return a.at.lo < b.at.lo; });
}

std::uint32_t LeakSearch::region_of(std::uintptr_t a) const noexcept {
  if (a < all_.lo || a >= all_.hi) return kNone;
  std::size_t lo = 0;  // the first place above `a`
  for (std::size_t n = places_.size(); n > 0;) {
    const std::size_t half = n / 2;
    if (places_[lo + half].at.lo <= a) {
      lo += half + 1;
      n -= half + 1;
    } else {
      n = half;
    }
  }
  return lo == 0 || a >= places_[lo - 1].at.hi ? kNone : places_[lo - 1].region;
}

void LeakSearch::reach(std::uint32_t region) noexcept {
  if (regions_[region].reached) return;
  regions_[region].reached = true;
  full_ = !reached_.push(region) || full_;
}

void LeakSearch::can_wake(std::uint32_t suspect) noexcept {
  Suspect& s = suspects_[suspect];
  if (s.can_wake) return;
  s.can_wake = true;
  --open_;
  reach(s.stack);
  if (s.box != kNone) reach(s.box);
}

void LeakSearch::read_reached() noexcept {
  while (reached_.size() != 0) {
    const Region& r = regions_[reached_.pop()];
    for (std::uint32_t w = r.waits; w != kNone; w = waits_[w].next) can_wake(waits_[w].suspect);
    read_words(contents(r));
  }
}

// As a part of the outside: both kinds of links are followed.
HEDDLE_UNINSTRUMENTED void LeakSearch::read_words(Span words) noexcept {
  for (std::uintptr_t at = words.lo; at + 8 <= words.hi; at += 8) {
    const std::uintptr_t word = word_at(at);
    if (const std::uint32_t r = region_of(word); r != kNone) reach(r);
    if (const std::uintptr_t named = word ^ at; word != 0 && named >= all_.lo && named < all_.hi) {
      if (const std::uint32_t r = chan_region(reinterpret_cast<const ChanCore*>(named), false); r != kNone) reach(r);
    }
  }
}

const char* LeakSearch::read_outside(Span self) noexcept {
  read_goroutines();
  read_reached();
  if (!open_question()) return nullptr;
  leave_out_runtime(self);
  read_threads();
  read_reached();
  if (!open_question()) return nullptr;
  const auto read = [](void* arg, std::span<const std::uintptr_t> words) {
    auto* search = static_cast<LeakSearch*>(arg);
    for (const std::uintptr_t word : words) {
      if (word - search->all_.lo >= search->all_.hi - search->all_.lo) [[likely]] continue;
      if (const std::uint32_t r = search->region_of(word); r != kNone) search->reach(r);
    }
    search->read_reached();
    return search->open_question();
  };
  switch (memory_.visit_all(most_, {read, this})) {
    case OwnMemory::Visited::kAll:
    case OwnMemory::Visited::kStopped: return nullptr;
    case OwnMemory::Visited::kTooMuch: return "the process has more memory than may be searched";
    case OwnMemory::Visited::kUnreadable: return "memory cannot be read";
  }
  return "memory cannot be read";
}

// Goroutines that are no suspects.
void LeakSearch::read_goroutines() noexcept {
  stack_arena().for_each([](void* arg, G* g) { static_cast<LeakSearch*>(arg)->read_goroutine(g); }, this);
}

HEDDLE_UNINSTRUMENTED void LeakSearch::read_goroutine(G* g) noexcept {
  const GStatus status = g->status.load(kRelaxed);
  if (!lives(status)) return;
  std::uintptr_t lo = address(g->stack_lo);
  const Span slot{lo, address(g->stack_hi)};
  if (status == GStatus::kWaiting || status == GStatus::kRunnable) {
    // A suspect: read when it is reached.
    if (const std::uint32_t r = region_of(address(g->sp)); r != kNone && regions_[r].at.hi == slot.hi) return;
    lo = address(g->sp);
  } else if (const M* m = g->bound.load(kRelaxed); m != nullptr && m->preempted_seen.load(kRelaxed)) {
    Registers at;
    read_registers(*static_cast<const ucontext_t*>(m->preempted_at), at);
    lo = StackImage::low_end(at.sp(), *g);
  } else {
    for (const FrozenThread& t : frozen_threads()) {
      if (t.holds_still() && t.sp >= slot.lo && t.sp < slot.hi) lo = StackImage::low_end(t.sp, *g);
    }
  }
  // With the G at its top: its fields are the goroutine's, too.
  read_words({lo, slot.hi + sizeof(G)});
}

// What is the search's, or the runtime's (I3), or is read otherwise.
void LeakSearch::leave_out_runtime(Span self) noexcept {
  const auto out = [this](Span s) { full_ = !memory_.leave_out(s) || full_; };
  const auto bytes = [&out](std::span<const std::byte> s) { out({address(s.data()), address(s.data()) + s.size()}); };
  const auto object = [&out](const void* at, std::size_t size) { out({address(at), address(at) + size}); };
  out(self);
  for (const Span s : {suspects_.place(), regions_.place(), waits_.place(), places_.place(), chans_.place(), reached_.place()}) {
    out(s);
  }
  for (const auto place : stack_arena().places()) bytes(place);
  for (const Region& r : regions_) out(r.at);
  bytes(sema_waiters());
  bytes(std::as_bytes(frozen_threads()));
  for (int i = 0; i < sched.nms.load(kRelaxed); ++i) object(sched.all_ms[i].load(kRelaxed), sizeof(M));
  for (int i = 0; i < sched.nps.load(std::memory_order_acquire); ++i) bytes(sched.ps[i].timers.stale());
}

// The threads of Ms: what they have in use below their first frame is the runtime's own. Registers, where a goroutine is
// theirs. All of a foreign thread's stack is part of the memory outside, its handler's frame with its registers included.
HEDDLE_UNINSTRUMENTED void LeakSearch::read_threads() noexcept {
  for (int i = 0; i < sched.nms.load(kRelaxed); ++i) {
    const M* m = sched.all_ms[i].load(kRelaxed);
    // At the end of run() only the thread that called it is left, and is its M's no more.
    if (m == nullptr || (m->tid.load(kRelaxed) == 0 && i != 0)) continue;
    Span frames{address(m->g0_stack_lo), address(m->g0_base)};
    // The first thread's stack may grow to that; below what is mapped for it nothing is its own.
    if (const Span first = memory_.first_stack(); first.lo > frames.lo && first.lo < frames.hi) frames.lo = first.lo;
    full_ = !memory_.leave_out(frames) || full_;
    if (m->preempted_seen.load(kRelaxed)) read_registers_at(*static_cast<const ucontext_t*>(m->preempted_at), true);
  }
  for (const FrozenThread& t : frozen_threads()) {
    if (t.holds_still() && t.m != nullptr) read_registers_at(*t.context, t.m->curg_seen.load(kRelaxed) != nullptr);
  }
}

// The frame of a handler on a signal stack, up to the stack's top: there the kernel has saved all registers. What is below is
// dead.
HEDDLE_UNINSTRUMENTED void LeakSearch::read_registers_at(const ucontext_t& context, bool of_goroutine) noexcept {
  const Span stack{address(context.uc_stack.ss_sp), address(context.uc_stack.ss_sp) + context.uc_stack.ss_size};
  if (address(&context) < stack.lo || address(&context) >= stack.hi) return;
  if (of_goroutine) read_words({address(&context) & ~std::uintptr_t{7}, stack.hi & ~std::uintptr_t{7}});
  full_ = !memory_.leave_out(stack) || full_;
}

}  // namespace heddle::detail
