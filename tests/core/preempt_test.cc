// Goroutines that compute without end, and goroutines whose thread sleeps in the kernel: the others go on, and those that
// were stopped notice nothing.
#include <gtest/gtest.h>
#include <errno.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <exception>
#include <mutex>
#include <stdexcept>

#include <heddle/core/blocking.h>
#include <heddle/core/chan.h>
#include <heddle/core/wait_group.h>

#include "preemption.h"

// Named, not in an anonymous namespace: the dumps must tell these functions.
namespace preempt_test {

using namespace heddle;
using namespace heddle::test;
using namespace std::chrono_literals;

constexpr int kTicks = 20;

void tick() {
  for (int i = 0; i < kTicks; ++i) sleep(1ms);
}

std::size_t count(const std::string& text, const std::string& piece) {
  std::size_t n = 0;
  for (std::size_t at = text.find(piece); at != std::string::npos; at = text.find(piece, at + piece.size())) ++n;
  return n;
}

// What run() prints.
template <class Fn>
std::string report_of(Fn&& fn, int procs) {
  ::testing::internal::CaptureStderr();
  heddle::run(fn, {.procs = procs});
  return ::testing::internal::GetCapturedStderr();
}

// The part of a dump about the goroutine of that name.
std::string part_of(const std::string& dump, const std::string& name) {
  const std::size_t at = dump.find("] \"" + name + "\":");
  if (at == std::string::npos) return {};
  const std::size_t from = dump.rfind("goroutine ", at);
  return dump.substr(from, dump.find("\n\n", at) - from);
}

// --- others go on ---

TEST(Preempt, a_loop_without_calls_does_not_stop_a_ticker) {
  const TimeLimit limit;
  heddle::run(
      [] {
        std::atomic<bool> stop{false};
        WaitGroup wg;
        wg.go([&] { spin_while_not(stop); });
        tick();
        EXPECT_GE(preempts(), 1U);
        stop = true;
        wg.wait();
      },
      {.procs = 1});
}

TEST(Preempt, more_loops_than_Ps_share_them_with_a_ticker) {
  const TimeLimit limit;
  for (const int procs : {1, 2}) {
    heddle::run(
        [procs] {
          std::array<std::atomic<std::uint64_t>, 5> turns{};
          std::atomic<bool> stop{false};
          WaitGroup wg;
          for (int i = 0; i < 2 * procs; ++i) {
            wg.go([&stop, &n = turns[static_cast<std::size_t>(i)]] {
              while (!stop.load(std::memory_order_relaxed)) n.fetch_add(1, std::memory_order_relaxed);
            });
          }
          tick();
          // Each has begun, and goes on: nobody keeps a P for good.
          for (int i = 0; i < 2 * procs; ++i) {
            auto& n = turns[static_cast<std::size_t>(i)];
            while (n.load() == 0) sleep(1ms);
            const std::uint64_t before = n.load();
            while (n.load() == before) sleep(1ms);
          }
          stop = true;
          wg.wait();
        },
        {.procs = procs});
  }
}

TEST(Preempt, goroutines_that_go_on_are_done_beside_endless_ones) {
  const TimeLimit limit;
  static_cast<void>(report_of(
      [] {
        for (int i = 0; i < 2; ++i) go([] { spin_for_ever(); });
        auto c = make_chan<int>();
        WaitGroup wg;
        wg.go([&] {
          for (int i = 0; i < 1'000; ++i) c.send(i);
          c.close();
        });
        int sum = 0;
        for (const int v : c) sum += v;
        EXPECT_EQ(sum, 499'500);
        wg.wait();
      },
      1));
}

// --- the end of run() ---

TEST(Preempt, run_returns_though_goroutines_on_this_thread_never_do) {
  const TimeLimit limit;
  for (int round = 0; round < 5; ++round) {
    const std::string text = report_of(
        [] {
          for (int i = 0; i < 2; ++i) go([] { spin_for_ever(); });
          tick();
        },
        1);
    EXPECT_EQ(count(text, "run() ended with 2 goroutines left behind"), 1U) << text;
    EXPECT_EQ(count(text, "[running], created at tests/core/preempt_test.cc:"), 2U) << text;
  }
}

TEST(Preempt, run_returns_though_a_goroutine_on_another_thread_never_does) {
  const TimeLimit limit;
  for (int round = 0; round < 10; ++round) {
    const std::string text = report_of(
        [round] {
          std::atomic<bool> spins{false};
          go([&spins] {
            spins = true;
            spin_for_ever();
          });
          while (!spins.load()) gosched();
          if (round % 2 != 0) tick();
        },
        2);
    EXPECT_EQ(count(text, "run() ended with 1 goroutine left behind"), 1U) << text;
    EXPECT_EQ(count(text, "[running], created at tests/core/preempt_test.cc:"), 1U) << text;
  }
}

TEST(Preempt, run_returns_though_many_more_compute_than_there_are_Ps) {
  const TimeLimit limit;
  const std::string text = report_of(
      [] {
        for (int i = 0; i < 12; ++i) go([] { spin_for_ever(); });
        tick();
      },
      2);
  EXPECT_EQ(count(text, "run() ended with 12 goroutines left behind"), 1U) << text;
  heddle::run([] { tick(); }, {.procs = 2});  // and what comes after is not disturbed
}

// --- what is preempted does not notice ---

thread_local int of_this_thread = 0;

// noipa: a compiler may think that a thread's own things never change under a function.
[[gnu::noipa]] pthread_t self() { return pthread_self(); }
[[gnu::noipa]] long tid() { return ::syscall(SYS_gettid); }
[[gnu::noipa]] int* address() { return &of_this_thread; }
[[gnu::noipa]] int get_errno() { return errno; }
[[gnu::noipa]] void set_errno(int e) { errno = e; }

TEST(Preempt, a_goroutine_goes_on_on_its_own_thread_with_its_errno) {
  const DebugSetting forced(kForced);
  const TimeLimit limit;
  for (const int procs : {1, 2}) {
    heddle::run(
        [] {
          WaitGroup wg;
          for (int i = 1; i <= 4; ++i) {
            wg.go([i] {
              for (int round = 0; round < 5; ++round) {
                // No call of the runtime from here on; the tid first, so that all is asked of one thread.
                const long thread = tid();
                const pthread_t handle = self();
                int* const mine = address();
                *mine = i * 100 + round;
                set_errno(i);
                spin_through_preempts(6);
                const int error = get_errno();
                ASSERT_EQ(error, i);
                ASSERT_EQ(tid(), thread);
                ASSERT_TRUE(pthread_equal(self(), handle));
                ASSERT_EQ(address(), mine);
                ASSERT_EQ(*mine, i * 100 + round) << "another goroutine ran on this thread meanwhile";
                gosched();
              }
            });
          }
          wg.wait();
        },
        {.procs = procs});
  }
}

TEST(Preempt, registers_survive_it) {
  const DebugSetting forced(kForced);
  const TimeLimit limit;
  heddle::run(
      [] {
        WaitGroup wg;
        for (int i = 0; i < 3; ++i) {
          wg.go([i] {
            const std::uint64_t until = preempts() + 20;
            std::uint64_t a = 1, b = static_cast<std::uint64_t>(i), steps = 0;
            double x = 0.5;
            while (steps % 1024 != 0 || preempts() < until) {
              a = a * 6364136223846793005ULL + 1442695040888963407ULL;
              b ^= a >> 13;
              x = x * (1.0 - x) * 3.75;
              ++steps;
            }
            std::uint64_t a2 = 1, b2 = static_cast<std::uint64_t>(i);
            double x2 = 0.5;
            for (std::uint64_t s = 0; s < steps; ++s) {
              a2 = a2 * 6364136223846793005ULL + 1442695040888963407ULL;
              b2 ^= a2 >> 13;
              x2 = x2 * (1.0 - x2) * 3.75;
            }
            EXPECT_EQ(a, a2);
            EXPECT_EQ(b, b2);
            EXPECT_EQ(x, x2);
          });
        }
        wg.wait();
      },
      {.procs = 2});
}

struct SpinsWhileUnwinding {
  int& seen;
  ~SpinsWhileUnwinding() {
    spin_through_preempts(2);
    seen = std::uncaught_exceptions();
  }
};

[[gnu::noinline]] void throw_through(int depth, int value, int& seen) {
  const SpinsWhileUnwinding s{seen};
  if (depth == 0) throw value;
  throw_through(depth - 1, value, seen);
}

TEST(Preempt, exceptions_in_flight_and_those_caught_stay_with_their_goroutine) {
  const DebugSetting forced(kForced);
  const TimeLimit limit;
  for (const int procs : {1, 2}) {
    heddle::run(
        [] {
          WaitGroup wg;
          for (int i = 0; i < 4; ++i) {
            wg.go([i] {
              for (int round = 0; round < 3; ++round) {
                const int value = i * 10 + round;
                int seen = 0;
                try {
                  throw_through(2, value, seen);
                  ADD_FAILURE() << "not thrown";
                } catch (const int& caught) {
                  const std::exception_ptr before = std::current_exception();
                  EXPECT_EQ(seen, 1) << "exceptions in flight while a destructor was stopped";
                  spin_through_preempts(4);
                  EXPECT_EQ(caught, value);
                  EXPECT_EQ(std::current_exception(), before);
                  EXPECT_EQ(std::uncaught_exceptions(), 0);
                  gosched();  // and a park on top of it, where it may go to another thread
                  spin_through_preempts(2);
                  EXPECT_EQ(std::current_exception(), before);
                  try {
                    throw;
                  } catch (const int& again) {
                    EXPECT_EQ(again, value);
                  }
                }
                EXPECT_EQ(std::current_exception(), nullptr);
              }
            });
          }
          wg.wait();
        },
        {.procs = procs});
  }
}

// --- locks of threads ---

TEST(Preempt, the_holder_of_a_std_mutex_goes_on_while_another_waits_for_it) {
  const TimeLimit limit;
  heddle::run(
      [] {
        std::mutex mutex;
        std::atomic<bool> held{false};
        bool released = false;  // guarded by mutex
        WaitGroup wg;
        wg.go([&] {
          const std::lock_guard lock(mutex);
          // Stopped at least once, or the other would not run; and not done before the other's thread sleeps for the lock.
          const std::uint64_t before = retakes();
          held = true;
          while (retakes() == before) asm volatile("");
          released = true;
        });
        wg.go([&] {
          while (!held.load()) gosched();
          const std::lock_guard lock(mutex);
          EXPECT_TRUE(released);
        });
        wg.wait();
        EXPECT_GE(preempts(), 1U);
      },
      {.procs = 1});
}

TEST(Preempt, many_wait_for_a_std_mutex_that_one_holds_and_all_get_it) {
  const TimeLimit limit;
  for (const int procs : {1, 2}) {
    heddle::run(
        [] {
          std::mutex mutex;
          std::atomic<bool> held{false};
          int got = 0;  // guarded by mutex
          WaitGroup wg;
          wg.go([&] {
            const std::lock_guard lock(mutex);
            const std::uint64_t before = retakes();
            held = true;
            while (retakes() < before + 6) asm volatile("");
          });
          for (int i = 0; i < 6; ++i) {
            wg.go([&] {
              while (!held.load()) gosched();
              const std::lock_guard lock(mutex);
              ++got;
            });
          }
          wg.wait();
          const std::lock_guard lock(mutex);
          EXPECT_EQ(got, 6);
        },
        {.procs = procs});
  }
}

// --- reports ---

[[gnu::noinline]] void goes_round(const std::atomic<bool>& stop, std::atomic<int>& started) {
  started.fetch_add(1);
  while (!stop.load(std::memory_order_relaxed)) asm volatile("");
}

TEST(Preempt, a_dump_shows_preempted_goroutines_running_where_they_were_stopped) {
  const TimeLimit limit;
  heddle::run(
      [] {
        std::atomic<bool> stop{false};
        std::atomic<int> started{0};
        WaitGroup wg;
        wg.add(2);
        for (const char* name : {"first", "second"}) {
          go({.name = name}, [&] {
            goes_round(stop, started);
            wg.done();
          });
        }
        // One P, and we have it: both are stopped, but for one that lost it to sysmon, in a lock of TSan's say, and goes on.
        while (started.load() != 2 || stopped_now() != 2) sleep(1ms);
        const std::string all = dump_goroutines({.stacks = true});
        const std::string plain = dump_goroutines();
        stop = true;
        for (const char* name : {"first", "second"}) {
          const std::string text = part_of(all, name);
          EXPECT_NE(text.find(std::string("[running] \"") + name + "\":\n"), std::string::npos) << all;
          EXPECT_NE(text.find("preempt_test::goes_round("), std::string::npos) << all;
          EXPECT_NE(text.find("preempt_test.cc:"), std::string::npos) << all;
          EXPECT_EQ(text.find("preempt_here"), std::string::npos) << all;
          EXPECT_NE(plain.find(std::string("[running] \"") + name + "\":"), std::string::npos) << plain;
        }
        wg.wait();
      },
      {.procs = 1});
}

// --- without signals ---

TEST(Preempt, without_signals_a_loop_without_calls_keeps_its_P) {
  const DebugSetting off("asyncpreemptoff=1");
  const TimeLimit limit;
  heddle::run(
      [] {
        std::atomic<bool> done{false};
        WaitGroup wg;
        wg.go([&] {
          const TimePoint until = now() + 60ms;  // several slices
          while (now() < until) asm volatile("");
          done = true;
        });
        sleep(1ms);
        EXPECT_TRUE(done.load()) << "something stopped it";
        wg.wait();
        EXPECT_EQ(preempts(), 0U);
      },
      {.procs = 1});
}

TEST(Preempt, without_signals_yield_check_lets_others_run) {
  const DebugSetting off("asyncpreemptoff=1");
  const TimeLimit limit;
  heddle::run(
      [] {
        std::atomic<bool> stop{false};
        WaitGroup wg;
        for (int i = 0; i < 2; ++i) {
          wg.go([&] {
            while (!stop.load(std::memory_order_relaxed)) yield_check();
          });
        }
        tick();
        EXPECT_EQ(preempts(), 0U);
        stop = true;
        wg.wait();
      },
      {.procs = 1});
}

TEST(Preempt, yield_check_means_nothing_off_goroutines) {
  yield_check();
  heddle::run([] { yield_check(); });
  yield_check();
}

// --- threads that sleep in the kernel ---

TEST(Retake, unmarked_sleeps_do_not_stop_a_ticker_and_are_not_cut_short) {
  const TimeLimit limit;
  heddle::run(
      [] {
        std::atomic<bool> stop{false};
        std::atomic<int> naps{0};
        WaitGroup wg;
        for (int i = 0; i < 8; ++i) {
          wg.go([&] {
            while (!stop.load()) {
              const TimePoint start = now();
              const int result = ::usleep(10'000);
              EXPECT_EQ(result, 0);
              EXPECT_GE(now() - start, 10ms);
              ++naps;
            }
          });
        }
        tick();
        while (retakes() == 0 || naps.load() < 16) sleep(1ms);
        stop = true;
        wg.wait();
      },
      {.procs = 1});
}

// A goroutine that gives way in go() may find its P gone, and all others asleep.
TEST(Retake, who_gives_way_as_its_P_is_taken_is_not_forgotten) {
  const TimeLimit limit;
  const DebugSetting debug(kForced);
  heddle::run(
      [] {
        std::atomic<int> ended{0};
        WaitGroup wg;
        for (int spawner = 0; spawner < 3; ++spawner) {
          wg.go([&] {
            for (int burst = 0; burst < 10; ++burst) {
              WaitGroup all;
              for (int i = 0; i < 600; ++i) {
                all.go([&ended, i] {
                  if (i % 200 == 0) ::usleep(2'000);
                  ++ended;
                });
              }
              all.wait();
            }
          });
        }
        wg.wait();
        EXPECT_EQ(ended.load(), 3 * 10 * 600);
      },
      {.procs = 2});
}

class Pipe {
 public:
  Pipe() { EXPECT_EQ(::pipe(ends_.data()), 0); }
  ~Pipe() {
    ::close(ends_[0]);
    ::close(ends_[1]);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  int get() const {
    int value = -1;
    EXPECT_EQ(::read(ends_[0], &value, sizeof value), static_cast<ssize_t>(sizeof value));
    return value;
  }
  void put(int value) const {
    EXPECT_EQ(::write(ends_[1], &value, sizeof value), static_cast<ssize_t>(sizeof value));
  }

 private:
  std::array<int, 2> ends_{};
};

// A ping-pong through two pipes on one P: each read blocks the thread until the other goroutine has run.
void ping_pong(int rounds, int (*get)(const Pipe&)) {
  heddle::run(
      [=] {
        const Pipe there;
        const Pipe back;
        WaitGroup wg;
        wg.go([&] {
          for (int i = 0; i < rounds; ++i) back.put(get(there) + 1);
        });
        gosched();  // it reads, and sleeps in the kernel
        for (int i = 0; i < rounds; ++i) {
          there.put(i);
          ASSERT_EQ(get(back), i + 1);
        }
        wg.wait();
        EXPECT_GE(retakes(), 1U);
      },
      {.procs = 1});
}

TEST(Retake, who_blocks_in_read_lets_run_who_will_write) {
  const TimeLimit limit;
  ping_pong(30, [](const Pipe& pipe) { return pipe.get(); });
}

TEST(Retake, who_says_enter_syscall_lets_run_who_will_write) {
  const TimeLimit limit;
  ping_pong(100, [](const Pipe& pipe) {
    const SyscallScope scope;
    return pipe.get();
  });
}

TEST(Retake, a_syscall_that_does_not_block_costs_no_P) {
  const TimeLimit limit;
  heddle::run(
      [] {
        const long thread = tid();
        for (int i = 0; i < 1'000; ++i) {
          enter_syscall();
          static_cast<void>(tid());
          exit_syscall();
        }
        EXPECT_EQ(tid(), thread) << "nobody else wanted it";
      },
      {.procs = 1});
  enter_syscall();  // off goroutines: nothing
  exit_syscall();
}

TEST(Retake, goroutines_may_start_others_after_their_P_is_gone) {
  const TimeLimit limit;
  heddle::run(
      [] {
        std::atomic<int> ran{0};
        auto c = make_chan<int>(100);
        WaitGroup wg;
        for (int i = 0; i < 4; ++i) {
          wg.go([&] {
            for (int k = 0; k < 5; ++k) {
              ::usleep(5'000);  // this thread may have no P now
              wg.go([&] { ++ran; });
              ASSERT_TRUE(c.try_send(k));
            }
          });
        }
        wg.wait();
        EXPECT_EQ(ran.load(), 20);
        EXPECT_EQ(c.len(), 20U);
      },
      {.procs = 2});
}

}  // namespace preempt_test
