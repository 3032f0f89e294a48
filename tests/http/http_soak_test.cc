// The soak of http: one server, and clients of all kinds at once: our own with its pool, pipelines, WebSockets, readers of
// events, uploads; those that half-close, that read slowly, and those that leave at any byte of anything, by a reset or in order.
//
//     epoch:  workers live clients' lives until its time is over --> all have ended --> what is left? connections,
//             descriptors, goroutines, handlers: as before the first; memory: not more than at the end of the warm-up
//
// What is conserved: each request whose client stays comes to a handler once, and is answered once, in order, with the right
// bytes; each message of a WebSocket comes back once, in order; each handler that began ends, whatever its client does.
// What is served and asked is in soak_traffic.h, the clients are in soak_life.h.
//
// HEDDLE_SOAK_SECONDS says how long it lasts (2; 1 under sanitizers); HEDDLE_SOAK_SEED, with which seed.
#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <limits>

#include "soak_life.h"

namespace heddle::http::test {
namespace {

using net::test::kSanitized;

std::chrono::milliseconds duration() {
  const char* env = std::getenv("HEDDLE_SOAK_SECONDS");
  if (env != nullptr) return std::chrono::milliseconds(static_cast<int>(std::atof(env) * 1'000));
  return kSanitized ? 1s : 2s;
}

std::uint64_t first_seed() {
  const char* env = std::getenv("HEDDLE_SOAK_SEED");
  return env != nullptr ? std::strtoull(env, nullptr, 10) : 1;
}

/// Bytes of this process that are in memory.
std::size_t resident() {
  ::malloc_trim(0);  // what the allocator keeps for later is no leak
  std::FILE* file = std::fopen("/proc/self/statm", "re");
  unsigned long all = 0, in_memory = 0;
  if (file != nullptr && std::fscanf(file, "%lu %lu", &all, &in_memory) != 2) in_memory = 0;
  if (file != nullptr) std::fclose(file);
  return in_memory * 4096;
}

// ASan keeps what was freed for a while: its quarantine alone is 256 MiB. TSan keeps a history of every address and thread,
// which grows as long as new ones come: there is no bound to hold it to.
#if defined(__SANITIZE_THREAD__)
constexpr std::size_t kMostGrowth = std::numeric_limits<std::size_t>::max() / 2;
#else
constexpr std::size_t kMostGrowth = kSanitized ? std::size_t{640} << 20 : std::size_t{32} << 20;
#endif

// --- the soak ---

struct Left {
  int fds = 0;
  int goroutines = 0;
};

Left look() { return {net::test::open_fds(), goroutines()}; }

std::string to_string(const Left& left) {
  return std::to_string(left.fds) + " fds, " + std::to_string(left.goroutines) + " goroutines";
}

// Waits until no connection, no handler and no more else is left than at first; what had not quite ended then is taken off
// `first`.
void expect_no_more_than(Left& first, Soak& soak) {
  Left last;
  std::size_t open = 0;
  std::uint64_t running = 0;
  for (const TimePoint limit = now() + kPatience; now() < limit; sleep(1ms)) {
    soak.client->close_idle();
    last = look();
    open = soak.server.stats().open + soak.client->stats().open;
    running = soak.served.begun.load() - soak.served.ended.load();
    if (open == 0 && running == 0 && last.fds <= first.fds && last.goroutines <= first.goroutines) {
      first = last;
      return;
    }
  }
  ADD_FAILURE() << to_string(last) << ", and at first " << to_string(first) << "; " << open << " connections, "
                << running << " handlers\n"
                << dump_goroutines();
}

void soak_for(std::chrono::milliseconds lasts, std::uint64_t seed) {
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  { const auto warm = net::test::connected_pair(); }  // what the poller opens when it is first used stays
  const Left before = look();
  Soak soak;
  soak.address = net::test::must(soak.server.listen(net::test::any_port()));
  soak.client = std::make_unique<Client>(soak_client_options(soak.address));
  Left first = look();

  std::atomic<std::uint64_t> lives{seed * 1'000'000};
  const auto epoch = [&](std::chrono::milliseconds time) {
    soak.over = false;
    WaitGroup wg;
    for (int i = 0; i < (kSanitized ? 12 : 30); ++i) {
      wg.go([&] {
        while (!soak.over.load()) Life(soak, lives.fetch_add(1)).live();
      });
    }
    sleep(time);
    soak.over = true;
    wg.wait();
    expect_no_more_than(first, soak);
    EXPECT_EQ(soak.served.kept.load(), soak.kept.load());
  };

  epoch(lasts / 4);  // the warm-up
  const std::size_t memory = resident();
  std::size_t most = memory;
  const auto epochs = std::max<std::int64_t>(3, lasts / std::chrono::milliseconds(10'000));
  for (std::int64_t i = 0; i < epochs && !testing::Test::HasFailure(); ++i) {
    epoch(lasts * 3 / 4 / epochs);
    most = std::max(most, resident());
  }
  EXPECT_LE(most, memory + kMostGrowth);

  const auto n = [](const std::atomic<std::uint64_t>& count) { return static_cast<unsigned long long>(count.load()); };
  const ServerStats stats = soak.server.stats();
  EXPECT_EQ(stats.refused, 0u);
  EXPECT_EQ(stats.handler_errors, 0u);
  std::printf(
      "%llu lives on %llu connections, %llu handlers; %llu answers with %llu bytes, %llu messages, %llu events; %llu "
      "left "
      "before the end; %s; resident %zu KiB after the warm-up, at most %zu KiB\n",
      n(soak.lives), static_cast<unsigned long long>(stats.accepted), n(soak.served.begun), n(soak.kept), n(soak.bytes),
      n(soak.messages), n(soak.events), n(soak.left), to_string(first).c_str(), memory >> 10, most >> 10);
  EXPECT_TRUE(soak.server.shutdown(kPatience));
  soak.client.reset();
  Left last;
  for (const TimePoint limit = now() + kPatience; now() < limit; sleep(1ms)) {
    last = look();
    if (last.fds <= before.fds && last.goroutines <= before.goroutines) return;
  }
  ADD_FAILURE() << to_string(last) << ", and before the server " << to_string(before) << '\n' << dump_goroutines();
}

TEST(HttpSoak, answers_all_who_stay_and_leaves_nothing_of_those_who_go) {
  net::test::with_procs(4, [] { soak_for(duration(), first_seed()); });
}

}  // namespace
}  // namespace heddle::http::test
