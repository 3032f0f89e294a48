// The stack arena: slots, classes, guards by every kind and what an overflow says, high-water marks, release of cold memory.
//
// Tests that force a fallback have arenas of their own, which share nothing with the process's but the system calls; what
// needs a scheduler runs in a death test's child.
#include <heddle/core/internal/stack.h>

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <set>
#include <thread>
#include <vector>

#include <heddle/core/chan.h>
#include <heddle/core/clock.h>
#include <heddle/core/internal/stack_sys.h>
#include <heddle/core/run.h>
#include <heddle/core/stack_stats.h>
#include <heddle/core/wait_group.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

namespace heddle {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kKiB = 1024;
constexpr int kDefaultClass = static_cast<int>(StackSize::kDefault);

[[gnu::noinline]] int dive(int depth) {
  volatile char page[2048];
  page[0] = static_cast<char>(depth);
  return depth == 0 ? page[0] : dive(depth - 1) + page[0];
}

TEST(StackArena, slots_are_distinct_and_of_their_class) {
  std::set<G*> seen;
  for (const StackSize s : {StackSize::kSmall, StackSize::kDefault, StackSize::kLarge}) {
    GQueue got;
    ASSERT_EQ(stack_arena().take(s, 300, got), 300);
    GQueue back;
    while (G* g = got.pop_front()) {
      EXPECT_TRUE(seen.insert(g).second);
      EXPECT_EQ(g->stack_class, s);
      EXPECT_LT(static_cast<std::size_t>(g->stack_hi - g->stack_lo), slot_bytes(s));
      EXPECT_GT(static_cast<std::size_t>(g->stack_hi - g->stack_lo), slot_bytes(s) - (std::size_t{24} << 10));
      bool in_guard = true;
      EXPECT_EQ(stack_arena().find(g->stack_lo, &in_guard), g);
      EXPECT_FALSE(in_guard);
      EXPECT_EQ(stack_arena().find(g->stack_lo - 1, &in_guard), g);
      EXPECT_TRUE(in_guard);
      back.push_back(g);
    }
    stack_arena().give(s, back);
  }
}

TEST(StackArena, deep_frames_fit_their_class) {
  heddle::run([] {
    WaitGroup wg;
    wg.add(2);
    go({.stack = StackSize::kDefault}, [&] {
      dive(80);  // 160 KiB and more
      wg.done();
    });
    go({.stack = StackSize::kLarge}, [&] {
      dive(400);
      wg.done();
    });
    wg.wait();
  });
}

class OwnArena : public StackArena {
 public:
  ~OwnArena() { unmap_for_test(); }
};

std::vector<G*> take_all(StackArena& arena, StackSize s, int n) {
  GQueue got;
  EXPECT_EQ(arena.take(s, n, got), n);
  std::vector<G*> gs;
  while (G* g = got.pop_front()) gs.push_back(g);
  return gs;
}

void give_all(StackArena& arena, const std::vector<G*>& gs) {
  for (G* g : gs) {
    GQueue one;
    one.push_back(g);
    arena.give(g->stack_class, one);
  }
}

// As a goroutine would that goes `bytes` deep.
void soil(const G* g, std::size_t bytes, int pattern = 0x5a) {
  std::memset(StackArena::top_of(g) - bytes, pattern, bytes - 4 * kKiB);
}

bool soiled(const G* g, std::size_t bytes, int pattern) {
  const std::byte* at = StackArena::top_of(g) - bytes;
  for (std::size_t i = 0; i < bytes - 4 * kKiB; ++i) {
    if (at[i] != static_cast<std::byte>(pattern)) return false;
  }
  return true;
}

// --- measuring ---

TEST(StackUse, measure_tells_resident_memory_and_depth_of_each_class) {
  OwnArena arena;
  const std::vector<G*> gs = take_all(arena, StackSize::kDefault, 10);
  for (int i = 0; i < 3; ++i) soil(gs[static_cast<std::size_t>(i)], 100 * kKiB);
  soil(gs[3], 12 * kKiB);
  gs[0]->status.store(GStatus::kWaiting);
  const StackMeasure m = arena.measure();
  const StackClassUse c = m.classes[kDefaultClass];
  EXPECT_EQ(c.size, StackSize::kDefault);
  EXPECT_EQ(c.live.stacks, 1U);
  EXPECT_EQ(c.live.max_high_water, 100 * kKiB);
  EXPECT_EQ(c.live.resident_bytes, 100 * kKiB);
  EXPECT_EQ(c.free.stacks, 9U);
  EXPECT_EQ(c.free.max_high_water, 100 * kKiB);
  EXPECT_EQ(c.free.resident_bytes, 2 * 100 * kKiB + 12 * kKiB + 6 * 4 * kKiB);
  EXPECT_EQ(c.free.high_water[0], 6U);  // the G's page
  EXPECT_EQ(c.free.high_water[1], 0U);
  EXPECT_EQ(c.free.high_water[2], 1U);  // 8 to 16 KiB
  EXPECT_EQ(c.free.high_water[5], 2U);  // 64 to 128 KiB
  EXPECT_EQ(std::accumulate(c.free.high_water.begin(), c.free.high_water.end(), std::size_t{0}), 9U);
  EXPECT_EQ(m.classes[0].free.stacks + m.classes[2].free.stacks, 0U);
  gs[0]->status.store(GStatus::kIdle);
}

TEST(StackUse, a_whole_stack_fits_the_histogram) {
  OwnArena arena;
  const std::vector<G*> gs = take_all(arena, StackSize::kLarge, 1);
  soil(gs[0], static_cast<std::size_t>(StackArena::top_of(gs[0]) - gs[0]->stack_lo));
  const StackUse use = arena.measure().classes[static_cast<int>(StackSize::kLarge)].free;
  EXPECT_EQ(use.max_high_water, 1024 * kKiB - kStackGuard);
  EXPECT_EQ(use.high_water[StackUse::kBuckets - 1], 1U);
}

TEST(StackUse, a_kernel_that_does_not_tell_counts_as_nothing_touched) {
  OwnArena arena;
  const std::vector<G*> gs = take_all(arena, StackSize::kDefault, 2);
  StackSys sys = kRealStackSys;
  sys.mincore = [](void*, std::size_t, unsigned char*) noexcept { return -EAGAIN; };
  ScopedStackSys scoped(sys);
  EXPECT_EQ(arena.measure().classes[kDefaultClass].free.resident_bytes, 0U);
  EXPECT_EQ(arena.measure().classes[kDefaultClass].free.stacks, 2U);
}

TEST(StackUse, high_water_follows_the_deepest_call) {
  EXPECT_EQ(stack_high_water(), 0U);
  heddle::run([] {
    const std::size_t before = stack_high_water();
    EXPECT_GE(before, kPage);
    dive(200);
    const std::size_t after = stack_high_water();
    EXPECT_GE(after, 200 * 2 * kKiB);
    EXPECT_LE(after, 1024 * kKiB);
    EXPECT_EQ(stack_high_water(), after) << "it stays when the calls have returned";
    EXPECT_GE(measure_stacks().classes[static_cast<int>(StackSize::kLarge)].live.max_high_water, after);
  });
}

TEST(StackUse, stats_count_slots_and_guards) {
  const StackStats before = stack_stats();
  heddle::run([] {
    WaitGroup wg;
    wg.add(200);
    auto release = make_chan<int>();
    for (int i = 0; i < 200; ++i) {
      go({.stack = StackSize::kSmall}, [&] {
        static_cast<void>(release.recv());
        wg.done();
      });
    }
    const StackClassStats now = stack_stats().classes[0];
    EXPECT_GE(now.slots - now.free, 200U);
    release.close();
    wg.wait();
  });
  const StackStats after = stack_stats();
  EXPECT_GE(after.classes[0].slots, before.classes[0].slots);
  for (const StackClassStats& c : after.classes) {
    EXPECT_EQ(c.free, c.slots) << "all came back";
    EXPECT_EQ(c.markers + c.mappings + c.canaries, c.slots);
    EXPECT_EQ(c.slot_bytes, slot_bytes(c.size));
  }
}

// --- release of cold memory ---

std::int64_t release_all(StackArena& arena, std::int64_t now) {
  std::int64_t next = now;
  while (next <= now) next = arena.release_cold(now);
  return next;
}

class ColdStacks : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override { setenv("HEDDLE_STACK_GUARD", GetParam(), 1); }
  void TearDown() override { unsetenv("HEDDLE_STACK_GUARD"); }
};

TEST_P(ColdStacks, are_cut_to_8_KiB_and_serve_again) {
  OwnArena arena;
  constexpr int kStacks = 300;  // more than a batch, more than a chunk
  const std::vector<G*> gs = take_all(arena, StackSize::kDefault, kStacks);
  const bool guarded = gs[0]->guarded;
  for (const G* g : gs) soil(g, 64 * kKiB);
  give_all(arena, gs);
  const std::int64_t t0 = 1'000'000'000;
  EXPECT_EQ(release_all(arena, t0), t0 + StackArena::kEpoch);
  EXPECT_EQ(release_all(arena, t0 + StackArena::kEpoch - 1), t0 + StackArena::kEpoch);
  EXPECT_EQ(arena.measure().classes[kDefaultClass].free.resident_bytes / kStacks, 64 * kKiB + (guarded ? 0 : kPage));

  EXPECT_EQ(release_all(arena, t0 + StackArena::kEpoch), kNever);
  const StackClassStats stats = arena.stats().classes[kDefaultClass];
  EXPECT_EQ(stats.free, static_cast<std::size_t>(kStacks));
  EXPECT_EQ(stats.cold, static_cast<std::size_t>(kStacks));
  EXPECT_EQ(stats.released, static_cast<std::uint64_t>(kStacks));
  const StackUse use = arena.measure().classes[kDefaultClass].free;
  EXPECT_EQ(use.max_high_water, 8 * kKiB);
  EXPECT_EQ(use.resident_bytes / kStacks, 8 * kKiB + (guarded ? 0 : kPage));

  const std::vector<G*> again = take_all(arena, StackSize::kDefault, kStacks);
  EXPECT_EQ(std::set<G*>(gs.begin(), gs.end()), std::set<G*>(again.begin(), again.end()));
  for (G* g : again) {
    EXPECT_EQ(g->stack_class, StackSize::kDefault);
    EXPECT_EQ(g->stack_hi, reinterpret_cast<std::byte*>(g));
    soil(g, 64 * kKiB, 0x11);
    EXPECT_TRUE(soiled(g, 64 * kKiB, 0x11));
    g->sp = g->stack_hi;
    if (!guarded) StackArena::check_canary(g);
  }
}

INSTANTIATE_TEST_SUITE_P(EachGuard, ColdStacks, ::testing::Values("", "mapping", "canary"),
                         [](const auto& param) { return *param.param == '\0' ? std::string("any") : param.param; });

TEST(StackRelease, touches_only_what_nobody_took_for_an_epoch) {
  OwnArena arena;
  std::vector<G*> gs = take_all(arena, StackSize::kDefault, 20);
  for (std::size_t i = 0; i < gs.size(); ++i) soil(gs[i], 64 * kKiB, static_cast<int>(i));
  const std::vector<G*> given(gs.begin() + 10, gs.end());
  give_all(arena, given);
  std::int64_t now = 1;
  static_cast<void>(arena.release_cold(now));
  // Half of them is taken again, and given back, in every epoch: those sit above the others and stay warm.
  for (int epoch = 0; epoch < 4; ++epoch) {
    const std::vector<G*> busy = take_all(arena, StackSize::kDefault, 5);
    now += StackArena::kEpoch;
    release_all(arena, now);
    for (const G* g : busy) {
      EXPECT_TRUE(soiled(g, 64 * kKiB, static_cast<int>(std::find(gs.begin(), gs.end(), g) - gs.begin())));
    }
    give_all(arena, busy);
  }
  EXPECT_EQ(arena.stats().classes[kDefaultClass].cold, 5U);
  EXPECT_EQ(arena.stats().classes[kDefaultClass].released, 5U);
  for (std::size_t i = 0; i < 10; ++i) EXPECT_TRUE(soiled(gs[i], 64 * kKiB, static_cast<int>(i))) << "in use all the time";
}

constinit std::atomic<int> advised{0};

TEST(StackRelease, is_cheap_when_idle_and_bounded_when_busy) {
  OwnArena arena;
  StackSys sys = kRealStackSys;
  sys.madvise = [](void* at, std::size_t n, int advice) noexcept {
    if (advice == MADV_DONTNEED) ++advised;
    return kRealStackSys.madvise(at, n, advice);
  };
  ScopedStackSys scoped(sys);
  advised = 0;
  EXPECT_EQ(arena.release_cold(0), kNever) << "nothing was ever given";
  const std::vector<G*> small = take_all(arena, StackSize::kSmall, 500);
  const std::vector<G*> large = take_all(arena, StackSize::kLarge, 100);
  EXPECT_EQ(arena.release_cold(5), kNever);
  give_all(arena, small);
  give_all(arena, large);
  EXPECT_EQ(arena.release_cold(10), 10 + StackArena::kEpoch);
  EXPECT_EQ(advised, 0);
  const std::int64_t now = 10 + StackArena::kEpoch;
  int calls = 0;
  for (std::int64_t next = now; next == now; ++calls) {
    const int before = advised;
    next = arena.release_cold(now);
    EXPECT_LE(advised - before, StackArena::kReleaseBatch);
  }
  EXPECT_EQ(advised, 600);
  EXPECT_EQ(calls, (600 + StackArena::kReleaseBatch - 1) / StackArena::kReleaseBatch);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(arena.release_cold(now + i * StackArena::kEpoch), kNever);
  EXPECT_EQ(advised, 600) << "cold ones are left alone";
}

TEST(StackRelease, a_kernel_that_refuses_costs_memory_only) {
  OwnArena arena;
  const std::vector<G*> gs = take_all(arena, StackSize::kDefault, 10);
  for (const G* g : gs) soil(g, 64 * kKiB);
  give_all(arena, gs);
  StackSys sys = kRealStackSys;
  sys.madvise = [](void*, std::size_t, int) noexcept { return -EINVAL; };
  ScopedStackSys scoped(sys);
  release_all(arena, 1);
  EXPECT_EQ(release_all(arena, 1 + StackArena::kEpoch), kNever);
  EXPECT_EQ(arena.stats().classes[kDefaultClass].released, 0U);
  EXPECT_EQ(arena.stats().classes[kDefaultClass].free, 10U);
}

// Takers write patterns all over their stacks and look whether they stay, while memory is released as fast as can be.
TEST(StackRelease, never_touches_a_stack_that_is_taken_meanwhile) {
  OwnArena arena;
  std::atomic<bool> stop{false};
  std::atomic<int> torn{0};
  std::thread sysmon([&] {
    for (std::int64_t now = 1; !stop.load(); now += StackArena::kEpoch) {
      release_all(arena, now);
      std::this_thread::yield();
    }
  });
  const auto user = [&](int seed) {
    for (int round = 0; round < 300; ++round) {
      const int n = 1 + (round * 7 + seed) % 40;
      GQueue got;
      if (arena.take(StackSize::kSmall, n, got) != n) torn += 1000;
      GQueue back;
      while (G* g = got.pop_front()) {
        soil(g, 40 * kKiB, seed);
        back.push_back(g);
      }
      GQueue done;
      while (G* g = back.pop_front()) {
        if (!soiled(g, 40 * kKiB, seed)) ++torn;
        done.push_back(g);
      }
      arena.give(StackSize::kSmall, done);
    }
  };
  std::thread a(user, 1);
  std::thread b(user, 2);
  a.join();
  b.join();
  stop = true;
  sysmon.join();
  EXPECT_EQ(torn, 0);
  const StackClassStats stats = arena.stats().classes[0];
  EXPECT_EQ(stats.free, stats.slots) << "none was lost";
}

TEST(StackRelease, goroutines_come_and_go_meanwhile) {
  constexpr int kAlive = 3000;
  constexpr int kProcs = 4;
  const auto main = [] {
    const auto burst = [] {
      WaitGroup gate;  // all of them are alive at once
      WaitGroup ended;
      gate.add(1);
      ended.add(kAlive);
      for (int i = 0; i < kAlive; ++i) {
        go([&gate, &ended, i] {
          gate.wait();
          dive(i % 64);
          gosched();
          ended.done();
        });
      }
      gate.done();
      ended.wait();
    };
    burst();
    static std::int64_t now = 0;  // ahead of what sysmon, or an earlier round of this test, has told the arena
    now = std::max(now, nanotime()) + 10 * StackArena::kEpoch;
    const std::uint64_t before = stack_stats().classes[kDefaultClass].released;
    for (int i = 0; i < 3; ++i) {
      release_all(stack_arena(), now += StackArena::kEpoch);
      burst();
    }
    release_all(stack_arena(), now += StackArena::kEpoch);
    release_all(stack_arena(), now += StackArena::kEpoch);
    const StackClassStats stats = stack_stats().classes[kDefaultClass];
    constexpr int kKeptByPs = kProcs * 300;  // spawn.cc keeps 256, and takes 16 at once
    EXPECT_GE(stats.released - before, static_cast<std::uint64_t>(kAlive - kKeptByPs));
    EXPECT_GE(stats.cold, static_cast<std::size_t>(kAlive - kKeptByPs));
    burst();
  };
  heddle::run(main, {.procs = kProcs});
}

// --- kernels without markers, and the map-count limit ---

constinit std::atomic<int> mprotect_none{0};   // calls
constinit std::atomic<int> none_allowed{0};    // of these, how many succeed

StackSys kernel_without_markers() {
  StackSys sys = kRealStackSys;
  sys.madvise = [](void* at, std::size_t n, int advice) noexcept {
    return advice == MADV_GUARD_INSTALL ? -EINVAL : kRealStackSys.madvise(at, n, advice);
  };
  return sys;
}

StackSys kernel_at_map_limit(int guards_left) {
  StackSys sys = kernel_without_markers();
  mprotect_none = 0;
  none_allowed = guards_left;
  sys.mprotect = [](void* at, std::size_t n, int prot) noexcept {
    if (prot == PROT_NONE && ++mprotect_none > none_allowed) return -ENOMEM;
    return kRealStackSys.mprotect(at, n, prot);
  };
  return sys;
}

TEST(StackGuards, without_markers_mappings_serve) {
  const StackSys sys = kernel_without_markers();
  ScopedStackSys scoped(sys);
  OwnArena arena;
  ::testing::internal::CaptureStderr();
  const std::vector<G*> gs = take_all(arena, StackSize::kDefault, 300);
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
  EXPECT_EQ(arena.stats().classes[kDefaultClass].mappings, 300U);
  for (const G* g : gs) EXPECT_TRUE(g->guarded);
}

TEST(StackGuards, mappings_keep_to_their_budget) {
  const StackSys sys = kernel_without_markers();
  ScopedStackSys scoped(sys);
  OwnArena arena;
  ::testing::internal::CaptureStderr();
  const std::vector<G*> gs = take_all(arena, StackSize::kSmall, 14'000);
  const std::string said = ::testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("mprotect: heddle's budget is used up"), said.npos) << said;
  const StackClassStats stats = arena.stats().classes[0];
  EXPECT_EQ(stats.mappings + stats.canaries, 14'000U);
  EXPECT_LE(stats.mappings, 12'000U);
  EXPECT_GE(stats.mappings, 10'000U);
}

// Whichever guard is the one that the limit refuses: the chunk gets canaries, and so do all after it, untried.
TEST(StackGuards, at_the_map_count_limit_canaries_serve_and_it_is_said_once) {
  for (const int left : {0, 1, 100, 256, 300}) {
    const StackSys sys = kernel_at_map_limit(left);
    ScopedStackSys scoped(sys);
    OwnArena arena;
    ::testing::internal::CaptureStderr();
    const std::vector<G*> gs = take_all(arena, StackSize::kDefault, 800);
    const std::vector<G*> more = take_all(arena, StackSize::kLarge, 10);
    const std::string said = ::testing::internal::GetCapturedStderr();
    EXPECT_EQ(said,
              "heddle: no guard pages for further stacks (MADV_GUARD_INSTALL: EINVAL; mprotect: ENOMEM; see "
              "vm.max_map_count): an overflow is found when its goroutine next parks\n");
    EXPECT_EQ(mprotect_none, left + 1) << "tried again after the limit was met";
    const std::size_t mappings = left >= 256 ? 256 : 0;  // whole chunks
    EXPECT_EQ(arena.stats().classes[kDefaultClass].mappings, mappings);
    EXPECT_EQ(arena.stats().classes[kDefaultClass].canaries, 800 - mappings);
    for (std::size_t i = 0; i < gs.size(); i += 50) {  // all of a stack works
      std::memset(gs[i]->stack_lo + 64, 1, static_cast<std::size_t>(gs[i]->stack_hi - gs[i]->stack_lo) - 64);
    }
  }
}

TEST(StackGuards, a_chunk_that_cannot_be_committed_is_an_answer_not_a_crash) {
  OwnArena arena;
  {
    StackSys sys = kRealStackSys;
    sys.mprotect = [](void*, std::size_t, int) noexcept { return -ENOMEM; };
    ScopedStackSys scoped(sys);
    GQueue got;
    EXPECT_EQ(arena.take(StackSize::kDefault, 10, got), 0);
  }
  EXPECT_EQ(take_all(arena, StackSize::kDefault, 10).size(), 10U) << "memory came back";
}

constinit std::atomic<int> refused{0};

TEST(StackGuards, a_small_address_space_gets_a_small_reservation) {
  StackSys sys = kRealStackSys;
  sys.mmap = [](std::size_t n) noexcept {
    if (n <= std::size_t{256} << 20) return kRealStackSys.mmap(n);
    ++refused;
    return MAP_FAILED;
  };
  ScopedStackSys scoped(sys);
  OwnArena arena;
  GQueue got;
  EXPECT_EQ(arena.take(StackSize::kLarge, 1000, got), 128);
  EXPECT_GT(refused, 0);
  sys.mmap = [](std::size_t) noexcept { return MAP_FAILED; };
  OwnArena none;
  EXPECT_EQ(none.take(StackSize::kLarge, 1, got), 0);
}

#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
// The real limit: the process takes every mapping that it may have, then starts goroutines. Chunks after the first need no
// further mapping (I4), guards of the mapping kind do.
void start_at_the_limit(const char* guard) {
  setenv("HEDDLE_STACK_GUARD", guard, 1);
  OwnArena arena;
  GQueue first;
  if (arena.take(StackSize::kDefault, 1, first) != 1) std::exit(3);
  constexpr std::size_t kMany = 200'000;
  auto* base = static_cast<std::byte*>(mmap(nullptr, kMany * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  if (base == MAP_FAILED) std::exit(4);
  std::size_t i = 0;
  while (i < kMany && mprotect(base + i * kPage, kPage, PROT_READ) == 0) i += 2;
  if (i >= kMany) std::exit(77);  // a larger limit than usual
  GQueue more;
  const int got = arena.take(StackSize::kDefault, 1000, more);
  munmap(base, kMany * kPage);
  const StackClassStats stats = arena.stats().classes[kDefaultClass];
  std::fprintf(stderr, "got %d, %zu guarded\n", got, stats.markers + stats.mappings);
  std::exit(0);
}

TEST(StackGuardsDeathTest, goroutines_can_be_started_at_the_real_map_count_limit) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  FILE* limit = std::fopen("/proc/sys/vm/max_map_count", "re");
  long count = 0;
  ASSERT_TRUE(limit != nullptr && std::fscanf(limit, "%ld", &count) == 1);
  std::fclose(limit);
  if (count > 90'000) GTEST_SKIP() << "vm.max_map_count is " << count << ": the test would take too long";
  EXPECT_EXIT(start_at_the_limit(""), ::testing::ExitedWithCode(0), "got 1000, ");
  EXPECT_EXIT(start_at_the_limit("mapping"), ::testing::ExitedWithCode(0),
              "no guard pages for further stacks .MADV_GUARD_INSTALL: not tried; mprotect: ENOMEM.*\ngot 1000, 256 guarded");
}

// --- what an overflow says ---

void overflow() {
  heddle::run([] {
    go({.name = "diver", .stack = StackSize::kSmall}, [] { dive(100'000); });
    for (;;) gosched();
  });
}

const char* const kOverflowReport =
    "goroutine [0-9]+ \"diver\" overflowed its stack of 64 KiB\nfatal error: stack overflow\n"
    ".*created by goroutine 1 at .*stack_test.cc:[0-9]+";

[[nodiscard]] bool kernel_has_markers() {
  void* page = mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const bool has = madvise(page, kPage, MADV_GUARD_INSTALL) == 0;
  munmap(page, kPage);
  return has;
}

TEST(StackOverflowDeathTest, markers_stop_it_at_once) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  if (!kernel_has_markers()) GTEST_SKIP() << "madvise(MADV_GUARD_INSTALL) fails: Linux before 6.13";
  EXPECT_EXIT(
      {
        setenv("HEDDLE_STACK_GUARD", "marker", 1);
        overflow();
      },
      ::testing::ExitedWithCode(2), kOverflowReport);
}

TEST(StackOverflowDeathTest, mapping_guards_serve_where_markers_are_missing) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        const StackSys sys = kernel_without_markers();
        ScopedStackSys scoped(sys);
        overflow();
      },
      ::testing::ExitedWithCode(2), kOverflowReport);
}

// 52 KiB of one frame: through the canary, and not yet through the 16 KiB where a guard would be.
[[gnu::noinline]] void run_over() {
  volatile char frame[52 * kKiB];
  for (std::size_t i = 0; i < sizeof frame; ++i) frame[i] = 1;
}

TEST(StackOverflowDeathTest, at_the_map_count_limit_the_canary_finds_it_at_the_next_park) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        const StackSys sys = kernel_at_map_limit(0);
        ScopedStackSys scoped(sys);
        heddle::run([] {
          go({.name = "diver", .stack = StackSize::kSmall}, [] {
            run_over();
            gosched();
          });
          for (;;) gosched();
        });
      },
      ::testing::ExitedWithCode(2), kOverflowReport);
}

TEST(StackOverflowDeathTest, the_canary_finds_a_park_below_it) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        setenv("HEDDLE_STACK_GUARD", "canary", 1);
        heddle::run([] {
          go({.name = "diver", .stack = StackSize::kSmall}, [] {
            volatile char hole[52 * kKiB];  // jumps over the canary and touches next to nothing
            hole[0] = 1;
            gosched();
            hole[1] = hole[0];
          });
          for (;;) gosched();
        });
      },
      ::testing::ExitedWithCode(2), kOverflowReport);
}
#endif

// Also under the sanitizers: this overflow is a single word.
void break_canary(bool park) {
  setenv("HEDDLE_STACK_GUARD", "canary", 1);
  heddle::run([park] {
    go({.name = "writer", .stack = StackSize::kSmall}, [park] {
      *reinterpret_cast<volatile std::uint64_t*>(current_g()->stack_lo + 56) = 1;
      if (park) sleep(std::chrono::hours(1));
    });
    for (;;) gosched();
  });
}

const char* const kCanaryReport =
    "goroutine [0-9]+ \"writer\" overflowed its stack of 64 KiB\nfatal error: stack overflow\n\n"
    "It has no guard page, .*\ncreated by goroutine 1 at .*stack_test.cc:[0-9]+\n";

TEST(StackOverflowDeathTest, a_canary_speaks_up_at_the_next_park) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(break_canary(true), ::testing::ExitedWithCode(2), kCanaryReport);
}

TEST(StackOverflowDeathTest, a_canary_speaks_up_at_the_end) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(break_canary(false), ::testing::ExitedWithCode(2), kCanaryReport);
}

}  // namespace
}  // namespace heddle
