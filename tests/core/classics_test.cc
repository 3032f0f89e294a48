// Programs that every book on goroutines has: known answers, computed by thousands of goroutines that come and go, wait
// for each other in rings, trees and pipelines, and share what a lock guards. Each on one, two and four Ps.
#include <gtest/gtest.h>
#include <heddle/core/chan.h>
#include <heddle/core/context.h>
#include <heddle/core/go.h>
#include <heddle/core/mutex.h>
#include <heddle/core/select.h>
#include <heddle/core/semaphore.h>
#include <heddle/core/wait_group.h>
#include <heddle/core/work_pool.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "traffic.h"

namespace heddle {
namespace {

using test::kSlow;
using test::mix;
using test::on_procs;
using test::Random;

template <class Fn>
void on_one_two_and_four_procs(Fn fn) {
  for (const int procs : {1, 2, 4}) {
    SCOPED_TRACE("procs " + std::to_string(procs));
    on_procs(procs, fn);
  }
}

// --- the prime sieve: a filter for each prime, in a chain that grows at its end ---

TEST(Classics, sieve_yields_the_primes_in_order) {
  on_one_two_and_four_procs([] {
    constexpr std::size_t kPrimes = 100;
    const auto [ctx, cancel] = with_cancel(Context());
    WaitGroup wg;
    auto source = make_chan<int>();
    wg.go([ch = source, ctx = ctx] {
      for (int n = 2; send(ctx, ch, n); ++n) {
      }
    });
    std::vector<int> primes;
    while (primes.size() < kPrimes) {
      const int prime = source.recv().value();
      primes.push_back(prime);
      auto rest = make_chan<int>();
      wg.go([in = source, out = rest, prime, ctx = ctx] {
        for (;;) {
          const Result<std::optional<int>> n = recv(ctx, in);
          if (!n || (**n % prime != 0 && !send(ctx, out, **n))) return;
        }
      });
      source = rest;
    }
    cancel();
    wg.wait();
    EXPECT_EQ(primes[0], 2);
    EXPECT_EQ(primes[24], 97);
    EXPECT_EQ(primes[99], 541);
    EXPECT_TRUE(std::is_sorted(primes.begin(), primes.end()));
  });
}

// --- power series as streams of coefficients (McIlroy, "Squinting at power series", 1990) ---

using Coefficient = std::uint64_t;  // modulo 2^64: stages run ahead of the terms that are asked for
using Series = RecvChan<Coefficient>;

// Where the streams of one computation end: they are infinite, and end when somebody says so.
class PowerSeries {
 public:
  void finish() {
    made_.cancel();
    members_.wait();
  }

  // The coefficients next(0), next(1), …
  template <class Next>
  Series stream(Next next) {
    auto out = make_chan<Coefficient>();
    members_.go([out, next, ctx = made_.ctx]() mutable {
      for (std::int64_t i = 0;; ++i) {
        const std::optional<Coefficient> c = next(ctx, i);
        if (!c || !send(ctx, out, *c)) return;
      }
    });
    return out;
  }

  Series geometric(Coefficient ratio) {  // 1 / (1 - ratio x)
    return stream([power = Coefficient{1}, ratio](const Context&, std::int64_t) mutable {
      return std::optional(std::exchange(power, power * ratio));
    });
  }

  Series sum(Series f, Series g) {
    return stream([f, g](const Context& ctx, std::int64_t) -> std::optional<Coefficient> {
      const auto a = get(ctx, f);
      const auto b = get(ctx, g);
      if (!a || !b) return std::nullopt;
      return *a + *b;
    });
  }

  // F = f + x F', G = g + x G':  F G = f g + x (f G' + F' G). Each product so starts the next one; as it is the tails
  // that recur, every coefficient of F and G goes to two readers.
  Series product(Series f, Series g) {
    auto out = make_chan<Coefficient>();
    members_.go([this, f, g, out, ctx = made_.ctx] {
      const auto a = get(ctx, f);
      const auto b = get(ctx, g);
      if (!a || !b || !send(ctx, out, *a * *b)) return;
      const auto [f1, f2] = split(f);
      const auto [g1, g2] = split(g);
      const Series sides = sum(scaled(*a, g1), scaled(*b, f1));
      const auto first = get(ctx, sides);
      if (!first || !send(ctx, out, *first)) return;
      // x F' G' joins one place later.
      const Series rest = sum(sides, product(f2, g2));
      for (;;) {
        const auto c = get(ctx, rest);
        if (!c || !send(ctx, out, *c)) return;
      }
    });
    return out;
  }

  std::vector<Coefficient> first(std::size_t n, const Series& s) {
    std::vector<Coefficient> taken;
    while (taken.size() < n) taken.push_back(s.recv().value());
    return taken;
  }

 private:
  static std::optional<Coefficient> get(const Context& ctx, const Series& s) {
    const Result<std::optional<Coefficient>> c = recv(ctx, s);
    return c ? *c : std::nullopt;
  }

  Series scaled(Coefficient by, Series s) {
    return stream([by, s](const Context& ctx, std::int64_t) -> std::optional<Coefficient> {
      const auto c = get(ctx, s);
      if (!c) return std::nullopt;
      return by * *c;
    });
  }

  // Two readers of one stream, of which either may be ahead.
  std::pair<Series, Series> split(Series s) {
    struct Shared {
      Mutex mutex;
      std::vector<Coefficient> fetched;  // guarded by mutex
    };
    const auto shared = std::make_shared<Shared>();
    const auto reader = [s, shared](const Context& ctx, std::int64_t i) -> std::optional<Coefficient> {
      const std::scoped_lock lock(shared->mutex);
      const auto at = static_cast<std::size_t>(i);
      if (at == shared->fetched.size()) {  // ahead of the other: fetches for both
        const auto c = get(ctx, s);
        if (!c) return std::nullopt;
        shared->fetched.push_back(*c);
      }
      return shared->fetched[at];
    };
    Series one = stream(reader);
    return {std::move(one), stream(reader)};
  }

  ContextAndCancel made_ = with_cancel(Context());
  WaitGroup members_;
};

TEST(Classics, power_series_are_added_and_multiplied) {
  on_one_two_and_four_procs([] {
    constexpr std::size_t kTerms = 12;
    PowerSeries ps;
    const auto sums = ps.first(kTerms, ps.sum(ps.geometric(1), ps.geometric(2)));
    const auto products = ps.first(kTerms, ps.product(ps.geometric(1), ps.geometric(2)));
    const auto cubes = ps.first(kTerms, ps.product(ps.geometric(1), ps.product(ps.geometric(1), ps.geometric(1))));
    for (std::size_t i = 0; i < kTerms; ++i) {
      const auto n = static_cast<Coefficient>(i);
      EXPECT_EQ(sums[i], 1 + (Coefficient{1} << n));
      EXPECT_EQ(products[i], (Coefficient{2} << n) - 1);
      EXPECT_EQ(cubes[i], (n + 1) * (n + 2) / 2);
    }
    ps.finish();
  });
}

// --- tables, chairs ---

TEST(Classics, philosophers_all_dine_and_no_fork_is_held_twice) {
  on_one_two_and_four_procs([] {
    constexpr std::size_t kSeats = 5;
    constexpr int kMeals = 500 / kSlow;
    struct Fork {
      Mutex mutex;
      int holders = 0;  // guarded by mutex
    };
    std::array<Fork, kSeats> forks;
    std::array<int, kSeats> meals{};
    WaitGroup wg;
    for (std::size_t seat = 0; seat < kSeats; ++seat) {
      wg.go([&, seat] {
        // The lower fork first, for all: so no circle of waiting closes.
        Fork& low = forks[std::min(seat, (seat + 1) % kSeats)];
        Fork& high = forks[std::max(seat, (seat + 1) % kSeats)];
        for (int i = 0; i < kMeals; ++i) {
          const std::scoped_lock first(low.mutex);
          if (i % 3 == 0) gosched();
          const std::scoped_lock second(high.mutex);
          EXPECT_EQ(++low.holders + ++high.holders, 2);
          if (i % 5 == 0) gosched();
          --low.holders;
          --high.holders;
          ++meals[seat];
        }
      });
    }
    wg.wait();
    for (const int n : meals) EXPECT_EQ(n, kMeals);
  });
}

TEST(Classics, the_barber_serves_whoever_found_a_chair_and_sleeps_in_between) {
  on_one_two_and_four_procs([] {
    constexpr int kCustomers = 1000 / kSlow;
    constexpr int kChairs = 3;
    struct Customer {
      Chan<int> served = make_chan<int>();
    };
    auto chairs = make_chan<Customer>(kChairs);
    std::atomic<int> turned_away{0};
    int haircuts = 0;
    WaitGroup barber;
    barber.go([&] {
      for (Customer c : chairs) {  // sleeps while nobody sits there
        ++haircuts;
        c.served.send(haircuts);
      }
    });
    std::atomic<int> went_home_shorn{0};
    WaitGroup customers;
    for (int i = 0; i < kCustomers; ++i) {
      customers.go([&] {
        Customer me;
        if (!chairs.try_send(me)) {
          turned_away.fetch_add(1);
          return;
        }
        EXPECT_GT(me.served.recv().value(), 0);
        went_home_shorn.fetch_add(1);
      });
      if (i % 4 == 0) gosched();
    }
    customers.wait();
    chairs.close();
    barber.wait();
    EXPECT_EQ(haircuts, went_home_shorn.load());
    EXPECT_EQ(haircuts + turned_away.load(), kCustomers);
    EXPECT_GE(haircuts, kChairs);
  });
}

// --- rings and trees ---

TEST(Classics, a_token_goes_round_a_ring_of_ten_thousand) {
  on_one_two_and_four_procs([] {
    constexpr int kRing = 10'000 / kSlow;
    constexpr int kRounds = 3;
    auto first = make_chan<int>();
    auto last = first;
    WaitGroup wg;
    for (int i = 0; i < kRing; ++i) {
      auto next = make_chan<int>();
      wg.go([in = last, next] {
        for (const int token : in) next.send(token + 1);
        next.close();
      });
      last = next;
    }
    int token = 0;
    for (int i = 0; i < kRounds; ++i) {
      first.send(token);
      token = last.recv().value();
    }
    EXPECT_EQ(token, kRing * kRounds);
    first.close();
    EXPECT_FALSE(last.recv());
    wg.wait();
  });
}

void skynet(WaitGroup& wg, const Chan<std::int64_t>& up, std::int64_t first, std::int64_t leaves) {
  if (leaves == 1) return up.send(first);
  auto sums = make_chan<std::int64_t>();
  const std::int64_t each = leaves / 10;
  for (std::int64_t i = 0; i < 10; ++i) {
    wg.go([=, &wg] { skynet(wg, sums, first + i * each, each); });
  }
  std::int64_t sum = 0;
  for (int i = 0; i < 10; ++i) sum += sums.recv().value();
  up.send(sum);
}

TEST(Classics, skynet_adds_up_a_hundred_thousand_leaves) {
  on_one_two_and_four_procs([] {
    constexpr std::int64_t kLeaves = kSlow == 1 ? 100'000 : 10'000;
    auto result = make_chan<std::int64_t>(1);
    WaitGroup wg;
    skynet(wg, result, 0, kLeaves);
    EXPECT_EQ(result.recv(), kLeaves * (kLeaves - 1) / 2);
    wg.wait();
  });
}

void quicksort(std::span<std::uint32_t> v) {
  constexpr std::size_t kSmall = 64;
  if (v.size() <= kSmall) return std::sort(v.begin(), v.end());
  const std::uint32_t pivot = v[v.size() / 2];
  const auto middle = std::partition(v.begin(), v.end(), [pivot](std::uint32_t x) { return x < pivot; });
  const auto above = std::partition(middle, v.end(), [pivot](std::uint32_t x) { return x == pivot; });
  WaitGroup wg;
  wg.go([half = std::span(v.begin(), middle)] { quicksort(half); });
  quicksort(std::span(above, v.end()));
  wg.wait();
}

TEST(Classics, quicksort_with_a_goroutine_for_each_half_sorts) {
  on_one_two_and_four_procs([] {
    std::vector<std::uint32_t> v(200'000 / kSlow);
    Random random(7);
    for (auto& x : v) x = static_cast<std::uint32_t>(random.below(50'000));
    auto sorted = v;
    std::sort(sorted.begin(), sorted.end());
    quicksort(v);
    EXPECT_EQ(v, sorted);
  });
}

// --- pipelines, and a crawl ---

// What Go's blog teaches in "Pipelines and cancellation": whoever reads the end may leave, and no stage stays behind.
TEST(Classics, a_cancelled_pipeline_leaves_nobody_behind) {
  on_one_two_and_four_procs([] {
    constexpr int kStages = 20;
    const auto [ctx, cancel] = with_cancel(Context());
    WaitGroup wg;
    std::atomic<int> ended{0};
    auto source = make_chan<int>();
    wg.go([&ended, out = source, ctx = ctx] {
      for (int n = 0; send(ctx, out, n); ++n) {
      }
      ended.fetch_add(1);
    });
    auto last = source;
    for (int i = 0; i < kStages; ++i) {
      auto next = make_chan<int>(static_cast<std::size_t>(i % 3));
      wg.go([&ended, in = last, out = next, ctx = ctx] {
        for (;;) {
          const Result<std::optional<int>> n = recv(ctx, in);
          if (!n || !send(ctx, out, **n + 1)) break;
        }
        ended.fetch_add(1);
      });
      last = next;
    }
    for (int n = 0; n < 100; ++n) EXPECT_EQ(last.recv(), n + kStages);
    EXPECT_EQ(ended.load(), 0);
    cancel();
    wg.wait();
    EXPECT_EQ(ended.load(), kStages + 1);
  });
}

// Pages 0 to kPages - 1; each links to a few others, so that all can be reached from page 0.
constexpr std::size_t kPages = 3000 / kSlow;

std::array<std::size_t, 4> links(std::size_t page) {
  return {(2 * page + 1) % kPages, (2 * page + 2) % kPages, mix(page) % kPages, page};
}

TEST(Classics, a_bounded_crawler_sees_each_page_once) {
  on_one_two_and_four_procs([] {
    static constexpr int kAtATime = 8;
    Semaphore fetching(kAtATime);
    WaitGroup wg;
    Mutex mutex;
    std::vector<int> seen(kPages);  // guarded by mutex
    std::atomic<int> under_way{0};
    std::atomic<int> fetched{0};
    struct Crawl {
      Semaphore& fetching;
      WaitGroup& wg;
      Mutex& mutex;
      std::vector<int>& seen;
      std::atomic<int>& under_way;
      std::atomic<int>& fetched;

      void visit(std::size_t page) {
        {
          const std::scoped_lock lock(mutex);
          if (seen[page]++ != 0) return;
        }
        wg.go([this, page] {
          fetching.acquire();
          EXPECT_LE(under_way.fetch_add(1) + 1, kAtATime);
          gosched();
          fetched.fetch_add(1);
          under_way.fetch_sub(1);
          fetching.release();
          for (const std::size_t next : links(page)) visit(next);
        });
      }
    } crawl{fetching, wg, mutex, seen, under_way, fetched};
    crawl.visit(0);
    wg.wait();
    EXPECT_EQ(fetched.load(), static_cast<int>(kPages));
    EXPECT_TRUE(std::all_of(seen.begin(), seen.end(), [](int n) { return n > 0; }));
  });
}

TEST(Classics, a_crawler_on_a_work_pool_sees_each_page_once) {
  on_one_two_and_four_procs([] {
    auto found = make_chan<std::vector<std::size_t>>(16);
    WorkPool pool({.workers = 4, .queue = kPages});
    std::vector<bool> seen(kPages);
    std::atomic<int> fetched{0};
    std::size_t open = 0;
    const auto visit = [&](std::size_t page) {
      if (seen[page]) return;
      seen[page] = true;
      ++open;
      EXPECT_TRUE(pool.submit([&, page] {
        fetched.fetch_add(1);
        const auto next = links(page);
        found.send(std::vector(next.begin(), next.end()));
      }));
    };
    visit(0);
    for (; open > 0; --open) {
      const std::vector<std::size_t> next = found.recv().value();
      for (const std::size_t page : next) visit(page);
    }
    pool.wait();
    EXPECT_EQ(fetched.load(), static_cast<int>(kPages));
  });
}

}  // namespace
}  // namespace heddle
