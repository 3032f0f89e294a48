// What the stress tests of channels, select and the locks share: parcels that show damage, a ledger that shows loss and
// duplication, and the schedules under which every such test runs.
//
// A parcel carries its number and a mix of it, so a torn or half-moved one is seen. The ledger counts each number's
// arrivals; at the end every count must be what was sent: nothing lost, nothing twice.
#pragma once

#include <gtest/gtest.h>
#include <heddle/core/go.h>
#include <heddle/core/run.h>
#include <heddle/core/test.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace heddle::test {

#if defined(__SANITIZE_THREAD__)
inline constexpr int kSlow = 10;  // TSan's factor, about
#elif defined(__SANITIZE_ADDRESS__)
inline constexpr int kSlow = 2;
#else
inline constexpr int kSlow = 1;
#endif

/// splitmix64 (Steele, Lea, Flood 2014): the tests' generator and the parcels' check sum.
constexpr std::uint64_t mix(std::uint64_t x) noexcept {
  x += 0x9E37'79B9'7F4A'7C15ULL;
  x = (x ^ (x >> 30)) * 0xBF58'476D'1CE4'E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D0'49BB'1331'11EBULL;
  return x ^ (x >> 31);
}

class Random {
 public:
  explicit Random(std::uint64_t seed) noexcept : state_(mix(seed)) {}
  std::uint64_t below(std::uint64_t n) noexcept { return mix(state_++) % n; }

 private:
  std::uint64_t state_;
};

/// A value that is moved from goroutine to goroutine. What was moved from is void, and says so.
class Parcel {
 public:
  explicit Parcel(std::uint64_t number) noexcept : number_(number), check_(mix(number)) {}
  Parcel(const Parcel&) = default;
  Parcel& operator=(const Parcel&) = default;
  Parcel(Parcel&& other) noexcept : number_(other.number_), check_(std::exchange(other.check_, 0)) {}
  Parcel& operator=(Parcel&& other) noexcept {
    number_ = other.number_;
    check_ = std::exchange(other.check_, 0);
    return *this;
  }
  [[nodiscard]] std::uint64_t number() const noexcept { return number_; }
  [[nodiscard]] bool whole() const noexcept { return check_ == mix(number_); }

 private:
  std::uint64_t number_;
  std::uint64_t check_;
};

class Ledger {
 public:
  explicit Ledger(std::size_t numbers) : arrivals_(numbers) {}

  void note(const Parcel& p) noexcept {
    // relaxed, all: read when every goroutine has been waited for.
    if (!p.whole() || p.number() >= arrivals_.size()) {
      damaged_.fetch_add(1, std::memory_order_relaxed);
      return;
    }
    arrivals_[p.number()].fetch_add(1, std::memory_order_relaxed);
  }

  /// How often `number` arrived.
  [[nodiscard]] int arrivals(std::size_t number) const noexcept {
    return arrivals_[number].load(std::memory_order_relaxed);
  }

  /// All of them once, and whole.
  void expect_each_once() const {
    EXPECT_EQ(damaged_.load(), 0);
    std::size_t lost = 0;
    std::size_t twice = 0;
    for (const auto& n : arrivals_) {
      if (n.load() == 0) ++lost;
      if (n.load() > 1) ++twice;
    }
    EXPECT_EQ(lost, 0u) << "of " << arrivals_.size();
    EXPECT_EQ(twice, 0u) << "of " << arrivals_.size();
  }

 private:
  std::vector<std::atomic<int>> arrivals_;
  std::atomic<int> damaged_{0};
};

/// Lets every other goroutine run until it waits. For one P without a seed, where that takes a turn of the queue for each
/// link of a chain of wake-ups.
inline void let_others_park() {
  for (int i = 0; i < 20; ++i) gosched();
}

/// run() with one P, where only a park or a yield lets another goroutine run: what each line of `fn` finds is certain.
template <class Fn>
void on_one_p(Fn fn) {
  heddle::run(fn, {.procs = 1, .preempt = false});
}

template <class Fn>
void on_procs(int procs, Fn fn) {
  heddle::run(fn, {.procs = procs});
}

/// Runs `scenario(seed, effort)` under `seeds` seeds of the testing kit with little to do each, and on one, two and four Ps
/// with much to do. A failure names the schedule. The kit's clock stands still while the scenario yields.
template <class Scenario>
void on_all_schedules(Scenario scenario, int seeds = 400) {
  explore(
      static_cast<std::uint64_t>(seeds / kSlow), [&](std::uint64_t seed) { scenario(seed, 1); },
      {.failed = [] { return testing::Test::HasFailure(); }});
  for (const int procs : {1, 2, 4}) {
    SCOPED_TRACE("procs " + std::to_string(procs));
    heddle::run([&] { scenario(std::uint64_t{0}, 500 / kSlow); }, {.procs = procs});
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace heddle::test
