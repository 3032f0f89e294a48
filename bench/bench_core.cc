// bench_core: what core's verbs cost, one P, Google Benchmark. Names as in Go's own benchmarks of the same things.
//
//   spawn_join           wg.go of an empty function, wg.wait
//   task_join            spawn of a function with a result, join
//   go_1000, go_n_1000   a thousand goroutines by go() and by go_n(), and the wait for them; time per goroutine
//   skynet_100k          a tree of goroutines, ten below each, 100,000 leaves; each adds what those below it sent
//   skynet_100k_go_n     the same, ten at once
//   pin                  a Pin's begin and end
//   yield                gosched with one other goroutine that does the same; one switch each
//   chan_pingpong        round trip between two goroutines over two unbuffered channels
//   chan_buffered        send and receive of one value, producer and consumer with a buffer of 100 between them
//   chan_uncontended     send and receive of one value by one goroutine; nobody ever waits
//   select_two           select of two receives, one of them ready, and the send that makes it so
//   select_eight         the same of eight
//   mutex_uncontended    lock and unlock
//   mutex_contended      the same by four goroutines, of which each yields inside now and then; per lock
//   rwmutex_read         lock_shared and unlock_shared
//   semaphore            acquire and release of one unit
//   pool_get_put         an object out of a pool and back
//   once_hit             do_once of what has been done
//   defer                a scope with a deferred call, a destructor (heddle::defer)
//   defer_full           a function with deferred calls (with_defers), one of them, which is never asked to recover
//   panic_recover        such a function that panics with an int, and its deferred call, which recovers it
//   park_1m              a million goroutines parked on one channel, then released
//   sleep                sleep(1 ns): a timer, a park, and back
//   timer_reset          Timer::reset of an armed timer to a later time
//   timer_add_stop_1m    a Timer made and stopped while a million others are armed
//   after_func_1m        a million after_func(0), until each has run
//   context_cancel       with_cancel of the background, and its cancel
//   context_fanout_1000  with_cancel, a thousand children, and the cancel that ends them all
//   preempt_round_trip   a goroutine that computes is taken off its P by the runtime's signal, the P goes to a spare
//                        thread, whose scheduler finds that goroutine and lends it the P. Time: wall. CPU: of all threads.
//   stop_the_world_idle  stop and start, beside one other P, which is idle. Time and CPU likewise
//   stop_the_world_busy  the same, beside one whose goroutine computes
//
// Everything runs inside the main goroutine. Read them with `--benchmark_repetitions=5 --benchmark_report_aggregates_only`:
// on a shared machine single figures mean little.
#include <benchmark/benchmark.h>
#include <heddle/core/blocking.h>
#include <heddle/core/chan.h>
#include <heddle/core/context.h>
#include <heddle/core/defer.h>
#include <heddle/core/go.h>
#include <heddle/core/internal/sched.h>    // preempt_round_trip looks for a spare thread,
#include <heddle/core/internal/signals.h>  // and sends the signal that only sysmon sends elsewhere
#include <heddle/core/mutex.h>
#include <heddle/core/once.h>
#include <heddle/core/pool.h>
#include <heddle/core/pin.h>
#include <heddle/core/run.h>
#include <heddle/core/rw_mutex.h>
#include <heddle/core/sched_stats.h>
#include <heddle/core/select.h>
#include <heddle/core/semaphore.h>
#include <heddle/core/stop_the_world.h>
#include <heddle/core/timer.h>
#include <heddle/core/task.h>
#include <heddle/core/wait_group.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace {

using heddle::Chan;
using heddle::make_chan;
using heddle::WaitGroup;

void spawn_join(benchmark::State& state) {
  WaitGroup wg;
  for (auto _ : state) {
    wg.go([] {});
    wg.wait();
  }
}
BENCHMARK(spawn_join);

void task_join(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(heddle::spawn([] { return 1; }).join());
}
BENCHMARK(task_join);

constexpr std::int32_t kThousand = 1000;

void go_1000(benchmark::State& state) {
  WaitGroup wg;
  while (state.KeepRunningBatch(kThousand)) {
    wg.add(kThousand);
    for (std::int32_t i = 0; i < kThousand; ++i) heddle::go([&wg] { wg.done(); });
    wg.wait();
  }
}
BENCHMARK(go_1000);

void go_n_1000(benchmark::State& state) {
  WaitGroup wg;
  while (state.KeepRunningBatch(kThousand)) {
    wg.add(kThousand);
    heddle::go_n(kThousand, [&wg](std::size_t) { wg.done(); });
    wg.wait();
  }
}
BENCHMARK(go_n_1000);

template <bool kBatch>
void skynet(const Chan<std::int64_t>& up, std::int64_t first, std::int64_t leaves) {
  if (leaves == 1) return up.send(first);
  auto sums = make_chan<std::int64_t>(10);
  const std::int64_t each = leaves / 10;
  if constexpr (kBatch) {
    heddle::go_n(10, [sums, first, each](std::size_t i) {
      skynet<kBatch>(sums, first + static_cast<std::int64_t>(i) * each, each);
    });
  } else {
    for (std::int64_t i = 0; i < 10; ++i) {
      heddle::go([sums, first, each, i] { skynet<kBatch>(sums, first + i * each, each); });
    }
  }
  std::int64_t sum = 0;
  for (int i = 0; i < 10; ++i) sum += sums.recv().value();
  up.send(sum);
}

template <bool kBatch>
void run_skynet(benchmark::State& state) {
  constexpr std::int64_t kLeaves = 100'000;
  for (auto _ : state) {
    auto result = make_chan<std::int64_t>(1);
    skynet<kBatch>(result, 0, kLeaves);
    if (result.recv() != kLeaves * (kLeaves - 1) / 2) state.SkipWithError("the sum is wrong");
  }
}
BENCHMARK(run_skynet<false>)->Name("skynet_100k")->Unit(benchmark::kMillisecond);
BENCHMARK(run_skynet<true>)->Name("skynet_100k_go_n")->Unit(benchmark::kMillisecond);

void pin(benchmark::State& state) {
  for (auto _ : state) {
    const heddle::Pin pinned;
    benchmark::DoNotOptimize(pinned.p());
  }
}
BENCHMARK(pin);

void yield(benchmark::State& state) {
  bool over = false;
  WaitGroup wg;
  wg.go([&over] {
    while (!over) heddle::gosched();
  });
  // Two yields an iteration: ours, and the other's that brings us back.
  while (state.KeepRunningBatch(2)) heddle::gosched();
  over = true;
  wg.wait();
}
BENCHMARK(yield);

// To a helper thread and back: two wakes of a thread.
void blocking_hop(benchmark::State& state) {
  for (auto _ : state) heddle::blocking([] {});
}
BENCHMARK(blocking_hop)->UseRealTime();

// Around a call that turns out to be short.
void syscall_pair(benchmark::State& state) {
  for (auto _ : state) {
    heddle::enter_syscall();
    heddle::exit_syscall();
  }
}
BENCHMARK(syscall_pair);

void chan_pingpong(benchmark::State& state) {
  auto ping = make_chan<int>();
  auto pong = make_chan<int>();
  WaitGroup wg;
  wg.go([&] {
    for (int v : ping) pong.send(v);
  });
  for (auto _ : state) {
    ping.send(1);
    benchmark::DoNotOptimize(pong.recv());
  }
  ping.close();
  wg.wait();
}
BENCHMARK(chan_pingpong);

void chan_buffered(benchmark::State& state) {
  auto ch = make_chan<int>(100);
  WaitGroup wg;
  wg.go([&] {
    for (int v : ch) benchmark::DoNotOptimize(v);
  });
  for (auto _ : state) ch.send(1);
  ch.close();
  wg.wait();
}
BENCHMARK(chan_buffered);

void chan_uncontended(benchmark::State& state) {
  constexpr int kBatch = 100;
  auto ch = make_chan<int>(kBatch);
  while (state.KeepRunningBatch(kBatch)) {
    for (int i = 0; i < kBatch; ++i) ch.send(i);
    for (int i = 0; i < kBatch; ++i) benchmark::DoNotOptimize(ch.recv());
  }
}
BENCHMARK(chan_uncontended);

void select_two(benchmark::State& state) {
  auto a = make_chan<int>(1);
  auto b = make_chan<int>(1);
  a.send(0);
  for (auto _ : state) {
    heddle::select(heddle::on_recv(a, [&](int v, bool) { b.send(v); }),
                   heddle::on_recv(b, [&](int v, bool) { a.send(v); }));
  }
}
BENCHMARK(select_two);

void select_eight(benchmark::State& state) {
  std::vector<Chan<int>> c;
  for (int i = 0; i < 8; ++i) c.push_back(make_chan<int>(1));
  c[0].send(0);
  // Whoever has the value passes it on to the next.
  const auto pass = [&c](std::size_t to) { return [&c, to](int v, bool) { c[to].send(v); }; };
  for (auto _ : state) {
    heddle::select(heddle::on_recv(c[0], pass(1)), heddle::on_recv(c[1], pass(2)), heddle::on_recv(c[2], pass(3)),
                   heddle::on_recv(c[3], pass(4)), heddle::on_recv(c[4], pass(5)), heddle::on_recv(c[5], pass(6)),
                   heddle::on_recv(c[6], pass(7)), heddle::on_recv(c[7], pass(0)));
  }
}
BENCHMARK(select_eight);

void mutex_uncontended(benchmark::State& state) {
  heddle::Mutex mutex;
  for (auto _ : state) {
    mutex.lock();
    mutex.unlock();
  }
}
BENCHMARK(mutex_uncontended);

void mutex_contended(benchmark::State& state) {
  heddle::Mutex mutex;
  std::int64_t locks = 0;  // guarded by mutex
  bool over = false;       // likewise
  const auto take = [&] {
    mutex.lock();
    if (++locks % 16 == 0) heddle::gosched();  // the others find it held
    const bool ends = over;
    mutex.unlock();
    return !ends;
  };
  WaitGroup wg;
  for (int i = 0; i < 3; ++i) {
    wg.go([&] {
      while (take()) heddle::gosched();
    });
  }
  while (state.KeepRunning()) {
    take();
    heddle::gosched();
  }
  state.counters["locks_per_iteration"] =
      benchmark::Counter(static_cast<double>(locks), benchmark::Counter::kAvgIterations);
  mutex.lock();
  over = true;
  mutex.unlock();
  wg.wait();
}
BENCHMARK(mutex_contended);

void rwmutex_read(benchmark::State& state) {
  heddle::RWMutex mutex;
  for (auto _ : state) {
    mutex.lock_shared();
    mutex.unlock_shared();
  }
}
BENCHMARK(rwmutex_read);

void semaphore(benchmark::State& state) {
  heddle::Semaphore s(2);
  for (auto _ : state) {
    s.acquire();
    s.release();
  }
}
BENCHMARK(semaphore);

void pool_get_put(benchmark::State& state) {
  heddle::Pool<std::int64_t> pool;
  for (auto _ : state) benchmark::DoNotOptimize(pool.get().get());
}
BENCHMARK(pool_get_put);

void once_hit(benchmark::State& state) {
  heddle::Once once;
  for (auto _ : state) once.do_once([] { benchmark::ClobberMemory(); });
}
BENCHMARK(once_hit);
[[gnu::noinline]] void with_a_plain_defer(int& n) {
  const auto d = heddle::defer([&n] { n += 2; });
  n += 1;
  benchmark::DoNotOptimize(n);
}

void defer(benchmark::State& state) {
  int n = 0;
  for (auto _ : state) with_a_plain_defer(n);
}
BENCHMARK(defer);

[[gnu::noinline]] void with_a_full_defer(int& n) {
  heddle::with_defers([&n](heddle::Defers& later) {
    later([&n] { n += 2; });
    n += 1;
    benchmark::DoNotOptimize(n);
  });
}

void defer_full(benchmark::State& state) {
  int n = 0;
  for (auto _ : state) with_a_full_defer(n);
}
BENCHMARK(defer_full);

[[gnu::noinline]] int panics_and_recovers(int n) {
  int got = 0;
  heddle::with_defers([&](heddle::Defers& later) {
    later([&got](heddle::Recover& recover) {
      if (const auto p = recover()) got = *p->as<int>();
    });
    heddle::panic(n);
  });
  return got;
}

void panic_recover(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(panics_and_recovers(42));
}
BENCHMARK(panic_recover);

// Resident memory in bytes. Source: proc(5), /proc/pid/statm, the second field, in pages.
double resident_bytes() {
  std::FILE* f = std::fopen("/proc/self/statm", "r");
  long size = 0;
  long resident = 0;
  if (f == nullptr || std::fscanf(f, "%ld %ld", &size, &resident) != 2) std::abort();
  std::fclose(f);
  return static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE));
}

double milliseconds(const timeval& t) {
  return static_cast<double>(t.tv_sec) * 1e3 + static_cast<double>(t.tv_usec) / 1e3;
}

// Most of its time is the kernel's, which finds and clears a million pages: compare user_ms, and park_1m to what touching
// as many fresh pages costs on the same machine (0.3 to 30 us each; a virtual machine's host may have to find them first).
void park_1m(benchmark::State& state) {
  constexpr std::int64_t kGoroutines = 1'000'000;
  for (auto _ : state) {
    const double before = resident_bytes();
    rusage start{};
    getrusage(RUSAGE_SELF, &start);
    auto gate = make_chan<int>();
    WaitGroup wg;
    std::int64_t ran = 0;  // one P: no two of them run at once
    for (std::int64_t i = 0; i < kGoroutines; ++i) {
      wg.go([&] {
        if (!gate.recv()) ++ran;
      });
      // Lets it run and park, so that all really wait at once and none is a queue's length behind.
      if (i % 100 == 99) heddle::gosched();
    }
    state.counters["rss_gb"] = (resident_bytes() - before) / 1e9;
    gate.close();
    wg.wait();
    rusage end{};
    getrusage(RUSAGE_SELF, &end);
    state.counters["user_ms"] = milliseconds(end.ru_utime) - milliseconds(start.ru_utime);
    state.counters["kernel_ms"] = milliseconds(end.ru_stime) - milliseconds(start.ru_stime);
    state.counters["ran"] = static_cast<double>(ran);
    if (ran != kGoroutines) state.SkipWithError("not every goroutine ran exactly once");
  }
}
BENCHMARK(park_1m)->Iterations(1)->Unit(benchmark::kMillisecond)->UseRealTime();

void sleep(benchmark::State& state) {
  for (auto _ : state) heddle::sleep(heddle::Duration(1));
}
BENCHMARK(sleep);

void timer_reset(benchmark::State& state) {
  heddle::Timer timer{std::chrono::hours(1)};
  for (auto _ : state) timer.reset(std::chrono::hours(1));
}
BENCHMARK(timer_reset);

// Times spread over a quarter of an hour, so that a new one stands anywhere among the others.
heddle::Duration an_hour_or_so(std::int64_t i) { return std::chrono::hours(1) + std::chrono::seconds(i % 1000); }

void timer_add_stop_1m(benchmark::State& state) {
  std::vector<heddle::Timer> others;
  others.reserve(1'000'000);
  for (std::int64_t i = 0; i < 1'000'000; ++i) others.emplace_back(an_hour_or_so(i));
  std::int64_t i = 0;
  for (auto _ : state) {
    heddle::Timer timer{an_hour_or_so(i++)};
    benchmark::DoNotOptimize(timer.stop());
  }
}
BENCHMARK(timer_add_stop_1m);

void after_func_1m(benchmark::State& state) {
  for (auto _ : state) {
    constexpr std::int64_t kTimers = 1'000'000;
    auto done = make_chan<int>();
    std::int64_t ran = 0;  // one P: no two of them run at once
    for (std::int64_t i = 0; i < kTimers; ++i) {
      static_cast<void>(heddle::after_func(heddle::Duration::zero(), [&] {
        if (++ran == kTimers) done.close();
      }));
    }
    static_cast<void>(done.recv());
  }
}
BENCHMARK(after_func_1m)->Unit(benchmark::kMillisecond);

void context_cancel(benchmark::State& state) {
  const heddle::Context background;
  for (auto _ : state) {
    auto [ctx, cancel] = heddle::with_cancel(background);
    cancel();
    benchmark::DoNotOptimize(ctx.node());
  }
}
BENCHMARK(context_cancel);

void context_fanout_1000(benchmark::State& state) {
  std::vector<heddle::Context> children;
  children.reserve(1000);
  for (auto _ : state) {
    auto [parent, cancel] = heddle::with_cancel(heddle::Context());
    for (int i = 0; i < 1000; ++i) children.push_back(heddle::with_cancel(parent).ctx);
    cancel();
    children.clear();
  }
}
BENCHMARK(context_fanout_1000);

// To the calling thread: the handler runs before signal_preempt() returns. Without a spare to take the P it returns at
// once, which would not be what is measured: so the next signal waits for the spare of the last round.
void preempt_round_trip(benchmark::State& state) {
  heddle::SignalSlot* const slot = heddle::current_m()->slot;  // the thread's: a preempted goroutine keeps it
  const auto preempts = [] { return heddle::sched_stats().procs[0].preempts; };
  const std::uint64_t before = preempts();
  for (auto _ : state) {
    while (heddle::sched.spares.count() == 0) heddle::want_spares(1);
    heddle::signal_preempt(slot);
  }
  state.counters["preempts_per_iteration"] =
      benchmark::Counter(static_cast<double>(preempts() - before), benchmark::Counter::kAvgIterations);
}
BENCHMARK(preempt_round_trip)->MeasureProcessCPUTime()->UseRealTime();

void stop_and_start(benchmark::State& state) {
  for (auto _ : state) {
    const heddle::WorldStopped stopped;
    if (!stopped) state.SkipWithError("the world was not stopped");
  }
}

// From here on there is a second P, which is retired after each of these. They stand last for that.
void stop_the_world_idle(benchmark::State& state) {
  const int before = heddle::set_procs(2);
  stop_and_start(state);
  heddle::set_procs(before);
}
BENCHMARK(stop_the_world_idle)->MeasureProcessCPUTime()->UseRealTime();

void stop_the_world_busy(benchmark::State& state) {
  const int before = heddle::set_procs(2);
  std::atomic<bool> begun{false};
  std::atomic<bool> over{false};
  WaitGroup wg;
  wg.go([&] {
    begun.store(true);
    while (!over.load(std::memory_order_relaxed)) benchmark::DoNotOptimize(over);  // relaxed: seen sooner or later
  });
  while (!begun.load()) heddle::gosched();
  stop_and_start(state);
  over.store(true);
  wg.wait();
  heddle::set_procs(before);
}
BENCHMARK(stop_the_world_busy)->MeasureProcessCPUTime()->UseRealTime();

}  // namespace
