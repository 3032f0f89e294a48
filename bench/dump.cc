// dump: what a dump of many goroutines costs those that work meanwhile.
//
//   dump [GOROUTINES [ROUNDS]]      default 10000 20
//
// So many goroutines wait, in channels, selects, a mutex, a WaitGroup and sleeps; on two Ps some compute, some yield and some
// sleep shortly. Then all are dumped with their stacks, ROUNDS times. Told are the stop of the world (from the request until
// all may go on, and how much of that until the last P stood) and the dump as a whole, which formats some megabytes of text.
//
//   dump: 10000 goroutines, 20 rounds; the world stood for p50 3.1, max 4.5 ms (stopping it 0.1); a dump took 180 ms
#include <heddle/core/chan.h>
#include <heddle/core/dump.h>
#include <heddle/core/go.h>
#include <heddle/core/mutex.h>
#include <heddle/core/run.h>
#include <heddle/core/sched_stats.h>
#include <heddle/core/select.h>
#include <heddle/core/wait_group.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace {

using namespace std::chrono_literals;

struct Places {
  heddle::Chan<int> gate = heddle::make_chan<int>();
  heddle::Chan<int> full = heddle::make_chan<int>();
  heddle::Mutex mutex;
  heddle::WaitGroup never;
};

void wait_somewhere(Places& at, int i) {
  switch (i % 6) {
    case 0: static_cast<void>(at.gate.recv()); return;
    case 1: at.full.send(i); return;
    case 2: at.mutex.lock(); return;
    case 3: at.never.wait(); return;
    case 4: heddle::sleep(24h); return;
    default: heddle::select(heddle::on_recv(at.gate, [] {}), heddle::on_timeout(24h, [] {}));
  }
}

void load(const std::atomic<bool>& over) {
  for (int i = 0; i < 4; ++i) {
    heddle::go([&over] {
      while (!over.load(std::memory_order_relaxed)) heddle::gosched();
    });
    heddle::go([&over] {
      while (!over.load(std::memory_order_relaxed)) heddle::sleep(100us);
    });
  }
  heddle::go([&over] {
    while (!over.load(std::memory_order_relaxed)) asm volatile("");
  });
}

double ms(heddle::Duration d) { return static_cast<double>(d.count()) / 1e6; }

// All that it costs comes from here, and from the counters of the scheduler, which add up.
struct Round {
  heddle::Duration stood;
  heddle::Duration stopping;
  heddle::Duration whole;
};

Round one_round() {
  const heddle::SchedStats before = heddle::sched_stats();
  const std::int64_t start = heddle::nanotime();
  const std::string text = heddle::dump_goroutines({.stacks = true});
  const heddle::Duration whole(heddle::nanotime() - start);
  const heddle::SchedStats after = heddle::sched_stats();
  heddle::Duration longest{};
  for (std::size_t i = 0; i < after.procs.size(); ++i) {
    longest = std::max(longest, after.procs[i].paused - before.procs[i].paused);
  }
  return {longest, after.world_stopping - before.world_stopping, whole};
}

int at_work(int goroutines, int rounds) {
  static Places places;
  static std::atomic<bool> over{false};
  places.mutex.lock();
  places.never.add(1);
  for (int i = 0; i < goroutines; ++i) heddle::go([i] { wait_somewhere(places, i); });
  load(over);
  heddle::sleep(200ms);  // until most of them wait; a few more or less change nothing
  std::vector<heddle::Duration> stood;
  std::vector<heddle::Duration> stopping;
  std::vector<heddle::Duration> whole;
  for (int i = 0; i < rounds; ++i) {
    const Round r = one_round();
    stood.push_back(r.stood + r.stopping);
    stopping.push_back(r.stopping);
    whole.push_back(r.whole);
  }
  for (auto* v : {&stood, &stopping, &whole}) std::sort(v->begin(), v->end());
  const std::size_t half = stood.size() / 2;
  std::printf("dump: %d goroutines, %d rounds; the world stood for p50 %.1f, max %.1f ms (stopping it %.1f, max %.1f); "
              "a dump took %.0f ms\n",
              goroutines, rounds, ms(stood[half]), ms(stood.back()), ms(stopping[half]), ms(stopping.back()),
              ms(whole[half]));
  std::fflush(stdout);
  std::_Exit(0);  // those that wait never end
}

}  // namespace

int main(int argc, char** argv) {
  const int goroutines = argc > 1 ? std::atoi(argv[1]) : 10'000;
  const int rounds = argc > 2 ? std::atoi(argv[2]) : 20;
  if (argc > 3 || goroutines < 1 || rounds < 1) {
    std::fprintf(stderr, "usage: dump [GOROUTINES [ROUNDS]]\n");
    return 2;
  }
  return heddle::run([&] { return at_work(goroutines, rounds); }, {.procs = 2});
}
