// Storms: goroutines that do what programs do, each checking its own results, while the runtime takes their Ps away as
// often as it can. Anything that preemption breaks (a register, an allocator's state, an exception, a lock, a wake-up)
// shows as a wrong result at its place, a wrong sum at the end, or a goroutine that never ends.
//
//   forced   every goroutine is stopped after 500 us, wherever it is
//   naps     as in production, and some goroutines sleep in the kernel without a word: their Ps are taken
//
// HEDDLE_STORM_SECONDS says how long each storm lasts (3; 2 under a sanitizer). It goes on beyond that until the runtime has
// interfered often enough: a storm without preemptions shows nothing.
#include <gtest/gtest.h>
#include <dlfcn.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <memory>
#include <sstream>
#include <tuple>
#include <vector>

#include <heddle/core/chan.h>
#include <heddle/core/mutex.h>
#include <heddle/core/select.h>
#include <heddle/core/wait_group.h>

#include "preemption.h"
#include "traffic.h"

namespace heddle::test {
namespace {

using namespace std::chrono_literals;

enum class Kind : std::uint8_t { kForced, kNaps };

std::chrono::milliseconds duration() {
  if (const char* env = std::getenv("HEDDLE_STORM_SECONDS"); env != nullptr) {
    return std::chrono::milliseconds(static_cast<int>(std::atof(env) * 1'000));
  }
  return kSlow == 1 ? 3s : 2s;
}

// What all goroutines of a storm share. The sums are compared when all have ended.
struct Storm {
  std::atomic<bool> over{false};

  std::mutex std_mutex;
  std::uint64_t std_sum = 0;  // guarded by std_mutex
  std::uint64_t std_twice = 0;
  std::atomic<std::uint64_t> std_expected{0};

  Mutex mutex;
  std::uint64_t sum = 0;  // guarded by mutex
  std::uint64_t twice = 0;
  std::atomic<std::uint64_t> expected{0};

  Chan<std::uint64_t> values = make_chan<std::uint64_t>(4);
  std::atomic<std::uint64_t> sent{0}, sent_sum{0}, got{0}, got_sum{0};
  std::atomic<int> senders{0};

  std::atomic<std::uint64_t> born{0}, ended{0};
  std::atomic<std::uint64_t> rounds{0};  // of all workers

  [[nodiscard]] bool goes_on() noexcept {
    rounds.fetch_add(1, std::memory_order_relaxed);
    return !over.load(std::memory_order_relaxed);
  }
};

// --- the workers: each is one goroutine's life ---

void allocates(Storm& storm, std::uint64_t seed) {
  struct Block {
    std::unique_ptr<unsigned char[]> bytes;
    std::size_t size = 0;
    unsigned char mark = 0;
  };
  Random random(seed);
  std::array<Block, 32> blocks;
  while (storm.goes_on()) {
    Block& block = blocks[random.below(blocks.size())];
    for (std::size_t i = 0; i < block.size; ++i) ASSERT_EQ(block.bytes[i], block.mark) << "byte " << i << " of " << block.size;
    block.size = random.below(16) == 0 ? random.below(200'000) : random.below(1'000);
    block.mark = static_cast<unsigned char>(random.below(256));
    block.bytes.reset(new unsigned char[block.size]);
    std::memset(block.bytes.get(), block.mark, block.size);
  }
}

void formats(Storm& storm, std::uint64_t seed) {
  Random random(seed);
  while (storm.goes_on()) {
    const auto n = static_cast<unsigned>(random.below(1'000'000));
    const double x = static_cast<double>(random.below(1'000'000)) / 64;  // exact in binary and in six decimals
    std::array<char, 128> text{};
    const int length = std::snprintf(text.data(), text.size(), "%u|%s|%08x|%.6f", n, "storm", n, x);
    unsigned n2 = 0, n3 = 0;
    double x2 = 0;
    ASSERT_EQ(std::sscanf(text.data(), "%u|storm|%x|%lf", &n2, &n3, &x2), 3) << text.data();
    ASSERT_EQ(static_cast<std::size_t>(length), std::strlen(text.data()));
    ASSERT_EQ(n2, n);
    ASSERT_EQ(n3, n);
    ASSERT_EQ(x2, x);
  }
}

struct Thrown {
  std::uint64_t value;
  std::string text;
};

[[gnu::noinline]] void throws_through(int depth, std::uint64_t value, int& unwound) {
  struct Counts {
    int& n;
    ~Counts() { ++n; }
  } counts{unwound};
  if (depth == 0) throw Thrown{value, std::to_string(value)};
  throws_through(depth - 1, value, unwound);
}

void throws(Storm& storm, std::uint64_t seed) {
  Random random(seed);
  while (storm.goes_on()) {
    const std::uint64_t value = random.below(1'000'000);
    const int depth = static_cast<int>(random.below(8));
    int unwound = 0;
    try {
      try {
        throws_through(depth, value, unwound);
      } catch (const Thrown& thrown) {
        ASSERT_EQ(thrown.value, value);
        if (value % 4 == 0) gosched();
        if (value % 16 == 1) sleep(50us);
        ASSERT_EQ(std::uncaught_exceptions(), 0);
        throw;
      }
    } catch (const Thrown& thrown) {
      ASSERT_EQ(thrown.text, std::to_string(value));
      ASSERT_EQ(unwound, depth + 1);
    }
    ASSERT_EQ(std::current_exception(), nullptr);
  }
}

void adds_under_std_mutex(Storm& storm, std::uint64_t seed) {
  Random random(seed);
  std::uint64_t mine = 0;
  while (storm.goes_on()) {
    const std::uint64_t n = random.below(100);
    {
      const std::lock_guard lock(storm.std_mutex);
      ASSERT_EQ(storm.std_twice, 2 * storm.std_sum);
      storm.std_sum += n;
      for (int i = 0; i < 50; ++i) asm volatile("");
      storm.std_twice += 2 * n;
    }
    mine += n;
  }
  storm.std_expected += mine;
}

void adds_under_mutex(Storm& storm, std::uint64_t seed) {
  Random random(seed);
  std::uint64_t mine = 0;
  while (storm.goes_on()) {
    const std::uint64_t n = random.below(100);
    {
      const std::lock_guard lock(storm.mutex);
      ASSERT_EQ(storm.twice, 2 * storm.sum);
      storm.sum += n;
      if (n == 0) gosched();
      storm.twice += 2 * n;
    }
    mine += n;
  }
  storm.expected += mine;
}

void builds_strings(Storm& storm, std::uint64_t seed) {
  Random random(seed);
  while (storm.goes_on()) {
    const std::uint64_t from = random.below(1'000);
    std::string text;
    std::uint64_t sum = 0;
    for (std::uint64_t i = from; i < from + 60; ++i) {
      text += std::to_string(i) + ',';
      sum += i;
    }
    std::uint64_t back = 0;
    for (std::size_t at = 0; at < text.size(); at = text.find(',', at) + 1) back += std::stoull(text.substr(at, 8));
    ASSERT_EQ(back, sum);
  }
}

void streams(Storm& storm, std::uint64_t seed) {
  Random random(seed);
  while (storm.goes_on()) {
    const std::uint64_t n = random.below(1'000'000'000);
    std::ostringstream out;
    out << n << ' ' << std::hex << n << ' ' << std::dec << static_cast<double>(n % 64) / 4;
    std::istringstream in(out.str());
    std::uint64_t a = 0, b = 0;
    double x = 0;
    in >> a >> std::hex >> b >> x;
    ASSERT_TRUE(in) << out.str();
    ASSERT_EQ(a, n);
    ASSERT_EQ(b, n);
    ASSERT_EQ(x, static_cast<double>(n % 64) / 4);
  }
}

void loads_libraries(Storm& storm, std::uint64_t) {
  while (storm.goes_on()) {
    void* libm = ::dlopen("libm.so.6", RTLD_NOW | RTLD_LOCAL);
    ASSERT_NE(libm, nullptr) << ::dlerror();
    auto* const cosine = reinterpret_cast<double (*)(double)>(::dlsym(libm, "cos"));
    ASSERT_NE(cosine, nullptr);
    ASSERT_EQ(cosine(0.0), 1.0);
    ASSERT_EQ(::dlsym(libm, "heddle_has_no_such_function"), nullptr);
    ASSERT_NE(::dlerror(), nullptr);  // a thread's own
    ASSERT_EQ(::dlclose(libm), 0);
  }
}

void sends(Storm& storm, std::uint64_t seed) {
  Random random(seed);
  while (storm.goes_on()) {
    const std::uint64_t v = random.below(1'000'000);
    storm.values.send(v);
    ++storm.sent;
    storm.sent_sum += v;
  }
  if (--storm.senders == 0) storm.values.close();
}

void receives(Storm& storm, std::uint64_t) {
  for (const std::uint64_t v : storm.values) {
    ++storm.got;
    storm.got_sum += v;
    ++storm.rounds;
  }
}

// Two channels, both ways, with time-outs: what one side counts as sent the other counts as received.
void selects(Storm& storm, std::uint64_t seed) {
  auto there = make_chan<std::uint64_t>();
  auto back = make_chan<std::uint64_t>(2);
  std::uint64_t sent = 0, echoed = 0, returned = 0;
  WaitGroup wg;
  wg.go([&] {
    while (const std::optional<std::uint64_t> v = there.recv()) {
      back.send(*v + 1);
      ++echoed;
    }
    back.close();
  });
  Random random(seed);
  std::uint64_t out = 0, in = 0;
  bool open = true;
  while (storm.goes_on()) {
    const std::uint64_t v = random.below(1'000);
    select(on_send(there, v,
                   [&] {
                     ++sent;
                     out += v + 1;
                   }),
           on_recv(back,
                   [&](std::uint64_t w, bool ok) {
                     ASSERT_TRUE(ok);
                     ++returned;
                     in += w;
                   }),
           on_timeout(random.below(100) * 1us, [] {}));
    if (v % 8 == 0) select(on_recv(back, [&](std::uint64_t w, bool ok) { ok ? (++returned, in += w) : 0; }), otherwise([] {}));
  }
  // The partner may be in back.send(): take what comes until it closes.
  WaitGroup closing;
  closing.go([&] { there.close(); });
  while (open) {
    select(on_recv(back, [&](std::uint64_t w, bool ok) {
      open = ok;
      if (ok) ++returned, in += w;
    }));
  }
  closing.wait();
  wg.wait();
  ASSERT_EQ(sent, echoed);
  ASSERT_EQ(sent, returned);
  ASSERT_EQ(out, in);
}

void forks_and_joins(Storm& storm, std::uint64_t seed) {
  Random random(seed);
  while (storm.goes_on()) {
    const std::uint64_t n = 1 + random.below(12);
    std::vector<std::uint64_t> results(n);
    WaitGroup wg;
    for (std::uint64_t i = 0; i < n; ++i) {
      ++storm.born;
      wg.go([&storm, &r = results[i], i] {
        r = mix(i);
        if (i % 3 == 0) gosched();
        ++storm.ended;
      });
    }
    wg.wait();
    for (std::uint64_t i = 0; i < n; ++i) ASSERT_EQ(results[i], mix(i));
  }
}

void sleeps(Storm& storm, std::uint64_t seed) {
  Random random(seed);
  while (storm.goes_on()) {
    const auto d = static_cast<std::int64_t>(random.below(2'000)) * 1us;
    const TimePoint start = now();
    sleep(d);
    ASSERT_GE(now() - start, d);
  }
}

void computes(Storm& storm, std::uint64_t seed) {
  std::uint64_t n = seed;
  while (storm.goes_on()) {
    const std::uint64_t from = n;
    std::uint64_t x = from, y = from;
    for (int i = 0; i < 200'000; ++i) x = x * 6364136223846793005ULL + 1442695040888963407ULL;
    for (int i = 0; i < 200'000; ++i) {
      y = y * 6364136223846793005ULL + 1442695040888963407ULL;
      asm volatile("" : "+r"(y));
    }
    ASSERT_EQ(x, y);
    n = x;
  }
}

// In the kernel, without a word to the runtime. A preemption may cut the call short.
void naps(Storm& storm, std::uint64_t seed) {
  Random random(seed);
  while (storm.goes_on()) {
    const auto us = static_cast<unsigned>(2'000 + random.below(3'000));
    const TimePoint start = now();
    const int result = ::usleep(us);
    const Duration took = now() - start;
    if (result == 0) {
      ASSERT_GE(took, us * 1us);
    } else {
      ASSERT_EQ(errno, EINTR);
    }
    ++storm.born;
    go([&storm] { ++storm.ended; });  // from a thread that may have lost its P
    if (us % 4 == 0) {
      const std::lock_guard lock(storm.std_mutex);
      ASSERT_EQ(storm.std_twice, 2 * storm.std_sum);
    }
  }
}

// --- the storm ---

class StormTest : public testing::TestWithParam<std::tuple<int, Kind>> {};

TEST_P(StormTest, every_result_is_exact) {
  const auto [procs, kind] = GetParam();
  std::optional<DebugSetting> setting;
  if (kind == Kind::kForced) setting.emplace(kForced);
  const auto lasts = duration();
  const TimeLimit limit(std::chrono::duration_cast<std::chrono::seconds>(lasts) + 120s);
  Storm storm;
  heddle::run(
      [&, kind = kind] {
        using Worker = void (*)(Storm&, std::uint64_t);
        constexpr std::array<Worker, 14> kWorkers{allocates,      formats, throws,          adds_under_std_mutex, adds_under_mutex,
                                                  builds_strings, streams, loads_libraries, sends,                receives,
                                                  selects,        sleeps,  forks_and_joins, computes};
        constexpr int kEach = 2;
        storm.senders = kEach;
        WaitGroup wg;
        std::uint64_t seed = 1;
        for (int i = 0; i < kEach; ++i) {
          for (const Worker worker : kWorkers) wg.go([&storm, worker, s = seed++] { worker(storm, s); });
          if (kind == Kind::kNaps) wg.go([&storm, s = seed++] { naps(storm, s); });
        }
        sleep(lasts);
        while ((kind == Kind::kForced ? preempts() : retakes()) < 20) sleep(10ms);
        ::testing::Test::RecordProperty("preempts", std::to_string(preempts()));
        ::testing::Test::RecordProperty("retakes", std::to_string(retakes()));
        std::printf("%llu rounds, %llu preemptions, %llu retakes\n", static_cast<unsigned long long>(storm.rounds.load()),
                    static_cast<unsigned long long>(preempts()), static_cast<unsigned long long>(retakes()));
        storm.over = true;
        wg.wait();
        while (storm.ended.load() != storm.born.load()) gosched();
      },
      {.procs = procs});
  EXPECT_EQ(storm.std_sum, storm.std_expected.load());
  EXPECT_EQ(storm.std_twice, 2 * storm.std_sum);
  EXPECT_EQ(storm.sum, storm.expected.load());
  EXPECT_EQ(storm.twice, 2 * storm.sum);
  EXPECT_EQ(storm.got.load(), storm.sent.load());
  EXPECT_EQ(storm.got_sum.load(), storm.sent_sum.load());
}

INSTANTIATE_TEST_SUITE_P(Storm, StormTest,
                         testing::Combine(testing::Values(2, 4), testing::Values(Kind::kForced, Kind::kNaps)),
                         [](const testing::TestParamInfo<StormTest::ParamType>& param) {
                           return std::string(std::get<1>(param.param) == Kind::kForced ? "forced" : "naps") + "_on_" +
                                  std::to_string(std::get<0>(param.param));
                         });

}  // namespace
}  // namespace heddle::test
