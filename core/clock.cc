// nanotime_near(): between two readings of the kernel's clock (anchors) time goes by the processor's counter.
//
//     near = anchor.ns + (counter - anchor.ticks) * rate + kError,   for at most kWindow; then a new anchor
//
// I1. An anchor pairs a counter with a clock reading less than some 2,000 ticks apart; so a rate that is taken over 5
//     ms or more is off by 200 ppm at most, and the sum by 2 us at the end of its window. kError makes `near` never
//     early.
// I2. A rate that differs by more than 1 % from the last one means that the counter jumped (a virtual machine moved,
//     say): it is thrown away, and until the next is known the kernel's clock serves alone.
// I3. Anchors are read and written without waiting: a reader that meets a writer, and a second writer, ask the kernel.
//     A goroutine that is preempted while it writes holds nobody up.
#include <heddle/core/clock.h>

#include <time.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <fcntl.h>
#include <unistd.h>
#include <x86intrin.h>

#include <cstring>
#endif

#include <atomic>

namespace heddle {
namespace {
std::atomic<std::int64_t (*)() noexcept> test_clock{nullptr};

std::int64_t kernel_time() noexcept {
  timespec ts;
  ::clock_gettime(CLOCK_MONOTONIC, &ts);
  return ts.tv_sec * std::int64_t{1'000'000'000} + ts.tv_nsec;
}

#if defined(__x86_64__)
constexpr std::int64_t kWindow = 10'000'000;             // ns that an anchor serves
constexpr std::int64_t kShortestForRate = 5'000'000;     // ns between two anchors that give a rate
constexpr std::int64_t kLongestForRate = 1'000'000'000;  // the product below stays within 64 bits
constexpr std::int64_t kError = 4'000;                   // ns; I1
constexpr std::uint64_t kTogether = 2'000;               // ticks; I1

struct Anchors {
  std::atomic<std::uint32_t> version{0};  // odd: being written
  // Guarded by version.
  std::atomic<std::uint64_t> ticks{0};
  std::atomic<std::int64_t> ns{0};
  std::atomic<std::uint64_t> rate{0};  // ns per tick, times 2^32; 0: not known
};
constinit Anchors anchors;

__extension__ using Wide = unsigned __int128;

// The kernel uses the counter itself, and it counts evenly whatever the processor does.
bool counter_is_sound() noexcept {
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  if (__get_cpuid(0x8000'0007, &a, &b, &c, &d) == 0 || (d & (1U << 8)) == 0) return false;
  const int fd = ::open("/sys/devices/system/clocksource/clocksource0/current_clocksource", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  char name[32] = {};
  const auto n = ::read(fd, name, sizeof name - 1);
  ::close(fd);
  return n > 0 && (std::strncmp(name, "tsc", 3) == 0 || std::strncmp(name, "kvm-clock", 9) == 0);
}

std::uint64_t rate_between(std::uint64_t ticks, std::int64_t ns, std::uint64_t known) noexcept {
  if (ns < kShortestForRate || ns > kLongestForRate || ticks == 0) return known;
  const std::uint64_t rate = (static_cast<std::uint64_t>(ns) << 32) / ticks;
  const std::uint64_t off = rate > known ? rate - known : known - rate;
  return known == 0 || off < known / 100 ? rate : 0;  // keeps I2
}

// The kernel's time, and an anchor from it.
[[gnu::noinline]] std::int64_t drop_anchor() noexcept {
  static std::atomic<int> sound{-1};  // no guard that a preempted goroutine could hold; two may find out
  // relaxed, both: the answer is the same for all.
  if (sound.load(std::memory_order_relaxed) < 0) sound.store(counter_is_sound() ? 1 : 0, std::memory_order_relaxed);
  const std::uint64_t before = __rdtsc();
  const std::int64_t ns = kernel_time();
  const std::uint64_t ticks = __rdtsc();
  if (sound.load(std::memory_order_relaxed) == 0 || ticks - before > kTogether) return ns;  // relaxed: as above
  // relaxed, all in the section: `version` orders them.
  std::uint32_t version = anchors.version.load(std::memory_order_relaxed);
  // acquire: the section starts here; pairs with the last writer's release.
  if ((version & 1) != 0 || !anchors.version.compare_exchange_strong(version, version + 1, std::memory_order_acquire)) {
    return ns;  // keeps I3
  }
  // Release fence: who sees a field of ours sees the odd version; pairs with the acquire fence in nanotime_near().
  std::atomic_thread_fence(std::memory_order_release);
  const std::int64_t last = anchors.ns.load(std::memory_order_relaxed);
  const std::uint64_t known = anchors.rate.load(std::memory_order_relaxed);
  // While no rate is known the anchor stays until it is old enough to give one.
  if (known != 0 || last == 0 || ns - last >= kShortestForRate) {
    anchors.rate.store(rate_between(ticks - anchors.ticks.load(std::memory_order_relaxed), ns - last, known),
                       std::memory_order_relaxed);
    anchors.ticks.store(ticks, std::memory_order_relaxed);
    anchors.ns.store(ns, std::memory_order_relaxed);
  }
  anchors.version.store(version + 2, std::memory_order_release);  // release: publishes the fields to readers
  return ns;
}
#endif

}  // namespace

std::int64_t nanotime() noexcept {
  // relaxed: set while no scheduler runs, so every reader was started after the store.
  if (auto* clock = test_clock.load(std::memory_order_relaxed); clock != nullptr) [[unlikely]] return clock();
  return kernel_time();
}

#if defined(__x86_64__)
std::int64_t nanotime_near() noexcept {
  // relaxed: as in nanotime().
  if (auto* clock = test_clock.load(std::memory_order_relaxed); clock != nullptr) [[unlikely]] return clock();
  // acquire: the fields are read after it; pairs with the release that made the version even.
  const std::uint32_t version = anchors.version.load(std::memory_order_acquire);
  // relaxed, all three: the second look at `version` says whether they belong together.
  const std::uint64_t ticks = anchors.ticks.load(std::memory_order_relaxed);
  const std::int64_t ns = anchors.ns.load(std::memory_order_relaxed);
  const std::uint64_t rate = anchors.rate.load(std::memory_order_relaxed);
  // the fields before the second look; pairs with the release fence
  std::atomic_thread_fence(std::memory_order_acquire);
  // relaxed: fenced
  const bool whole = (version & 1) == 0 && anchors.version.load(std::memory_order_relaxed) == version;
  // A counter behind the anchor's gives a huge number, and so a new anchor.
  const auto since = (static_cast<Wide>(__rdtsc() - ticks) * rate) >> 32;
  if (!whole || rate == 0 || since > kWindow) [[unlikely]] return drop_anchor();
  return ns + static_cast<std::int64_t>(since) + kError;
}
#else
std::int64_t nanotime_near() noexcept { return nanotime(); }
#endif

namespace detail {
void set_clock_for_test(std::int64_t (*clock)() noexcept) noexcept {
  test_clock.store(clock, std::memory_order_relaxed);  // relaxed: as in nanotime()
}
}  // namespace detail

}  // namespace heddle
