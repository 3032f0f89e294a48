// Every wait of core can be given up when a context is done: it says why, takes nothing along, and leaves nothing behind.
//
// Two kinds of tests. On one P, step by step: who waits, and what the others find when it has gone. And races of the
// context's end with what would have ended the wait, with a ledger of what is conserved: units, signals, jobs, the lock
// itself. A lost one shows as a goroutine that waits for ever (the test's time-out) or as a sum that is off.
#include <gtest/gtest.h>
#include <heddle/core/chan.h>
#include <heddle/core/cond.h>
#include <heddle/core/context.h>
#include <heddle/core/go.h>
#include <heddle/core/group.h>
#include <heddle/core/mutex.h>
#include <heddle/core/run.h>
#include <heddle/core/rw_mutex.h>
#include <heddle/core/semaphore.h>
#include <heddle/core/singleflight.h>
#include <heddle/core/task.h>
#include <heddle/core/timer.h>
#include <heddle/core/wait_group.h>
#include <heddle/core/work_pool.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string_view>
#include <thread>
#include <vector>

#include "traffic.h"

namespace heddle {
namespace {

using namespace std::chrono_literals;
using test::let_others_park;
using test::on_all_schedules;
using test::on_one_p;

const Error kWhy{Code::kLimit, 0, "the test's reason"};

// One way to wait, for something that does not come.
struct Wait {
  const char* name;
  const char* op;
  std::function<Result<void>(const Context&)> wait;
};

Result<void> without_value(const auto& result) {
  if (!result) return std::unexpected(result.error());
  return {};
}

void expect_error(const Wait& w, const Result<void>& r, Code code, const char* op) {
  ASSERT_FALSE(r.has_value()) << w.name;
  EXPECT_EQ(r.error().code, code) << w.name;
  EXPECT_STREQ(r.error().op, op) << w.name;
}

// Calls `check` with every wait of core there is.
void with_each_wait(const std::function<void(const Wait&)>& check) {
  auto never = make_chan<int>();
  Mutex mutex;
  mutex.lock();
  RWMutex written;
  written.lock();
  RWMutex read;
  read.lock_shared();
  WaitGroup group;
  group.add(1);
  Cond cond;
  Mutex outer;
  Semaphore semaphore(1);
  semaphore.acquire();
  Task<int> task = spawn([never] { return never.recv().value_or(0); });
  Group members;
  members.set_limit(1);
  members.go([never] { static_cast<void>(never.recv()); });
  singleflight::Group<int, int> flights;
  const auto landing = flights.do_chan(1, [never] { return never.recv().value_or(0); });
  WorkPool pool({.workers = 1, .queue = 1});
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(pool.submit([never] { static_cast<void>(never.recv()); }));
  WorkPool closed({.workers = 1});
  ASSERT_TRUE(closed.submit([never] { static_cast<void>(never.recv()); }));
  let_others_park();

  const std::vector<Wait> waits = {
      {"recv", "channel receive", [&](const Context& ctx) { return without_value(recv(ctx, never)); }},
      {"send", "channel send", [&](const Context& ctx) { return send(ctx, Chan<int>(), 1); }},
      {"Mutex", "sync.Mutex.Lock", [&](const Context& ctx) { return mutex.lock(ctx); }},
      {"RWMutex, to read", "sync.RWMutex.RLock", [&](const Context& ctx) { return written.lock_shared(ctx); }},
      {"RWMutex, behind a writer", "sync.Mutex.Lock", [&](const Context& ctx) { return written.lock(ctx); }},
      {"RWMutex, behind a reader", "sync.RWMutex.Lock",
       [&](const Context& ctx) {
         RWMutex other;  // one that has given up keeps later ones out until the reader has left
         other.lock_shared();
         Result<void> r = other.lock(ctx);
         other.unlock_shared();
         EXPECT_TRUE(other.try_lock());
         other.unlock();
         return r;
       }},
      {"WaitGroup", "sync.WaitGroup.Wait", [&](const Context& ctx) { return group.wait(ctx); }},
      {"Cond", "sync.Cond.Wait",
       [&](const Context& ctx) {
         std::unique_lock lock(outer);
         Result<void> r = cond.wait(ctx, lock);
         EXPECT_TRUE(lock.owns_lock());
         EXPECT_FALSE(outer.try_lock());
         return r;
       }},
      {"Cond, with a condition", "sync.Cond.Wait",
       [&](const Context& ctx) {
         std::unique_lock lock(outer);
         return cond.wait(ctx, lock, [] { return false; });
       }},
      {"Semaphore", "semacquire", [&](const Context& ctx) { return semaphore.acquire(ctx); }},
      {"Semaphore, more than there are", "semacquire", [&](const Context& ctx) { return semaphore.acquire(ctx, 2); }},
      {"Task::wait", "task join", [&](const Context& ctx) { return task.wait(ctx); }},
      {"Task::join", "task join", [&](const Context& ctx) { return without_value(task.join(ctx)); }},
      {"Group::wait", "sync.WaitGroup.Wait", [&](const Context& ctx) { return members.wait(ctx); }},
      {"Group::go", "semacquire", [&](const Context& ctx) { return members.go(ctx, [] { FAIL(); }); }},
      {"singleflight", "sync.WaitGroup.Wait",
       [&](const Context& ctx) { return without_value(flights.do_(ctx, 1, [] { return 0; })); }},
      {"WorkPool::submit", "work pool submit", [&](const Context& ctx) { return pool.submit(ctx, [] { FAIL(); }); }},
      {"WorkPool::drain", "work pool wait", [&](const Context& ctx) { return pool.drain(ctx); }},
      {"WorkPool::wait", "work pool wait", [&](const Context& ctx) { return closed.wait(ctx); }},
  };
  for (const Wait& w : waits) check(w);

  never.close();
  EXPECT_EQ(task.join(), 0);
  EXPECT_TRUE(members.wait().has_value());
  EXPECT_EQ(landing.recv()->value(), 0);
  pool.wait();
  closed.wait();
  // Nobody is counted that has gone.
  mutex.unlock();
  EXPECT_TRUE(mutex.try_lock());
  mutex.unlock();
  written.unlock();
  EXPECT_TRUE(written.try_lock());
  written.unlock();
  read.unlock_shared();
  group.done();
  group.wait();
  EXPECT_FALSE(semaphore.try_acquire());
  semaphore.release();
  EXPECT_TRUE(semaphore.try_acquire());
}

TEST(GiveUp, a_wait_ends_when_its_context_does_and_says_so) {
  on_one_p([] {
    with_each_wait([](const Wait& w) {
      auto [ctx, cancel] = with_cancel_cause(Context());
      Task<Result<void>> waiter = spawn([&, ctx = ctx] { return w.wait(ctx); });
      let_others_park();
      EXPECT_FALSE(waiter.done()) << w.name;
      cancel(kWhy);
      expect_error(w, waiter.join(), Code::kCanceled, w.op);
      EXPECT_EQ(ctx.cause(), kWhy);
    });
  });
}

TEST(GiveUp, a_context_that_is_done_already_ends_the_wait_at_once) {
  on_one_p([] {
    with_each_wait([](const Wait& w) {
      auto [ctx, cancel] = with_cancel(Context());
      cancel();
      // A writer asks first for the lock among writers.
      const bool writes = w.op == std::string_view("sync.RWMutex.Lock");
      expect_error(w, w.wait(ctx), Code::kCanceled, writes ? "sync.Mutex.Lock" : w.op);
    });
  });
}

TEST(GiveUp, a_deadline_gives_its_own_code) {
  run([] {
    with_each_wait([](const Wait& w) {
      const Context ctx = with_timeout(Context(), 1ms).ctx;
      expect_error(w, w.wait(ctx), Code::kTimeout, w.op);
    });
  });
}

TEST(GiveUp, a_foreign_thread_may_end_the_context) {
  run([] {
    with_each_wait([](const Wait& w) {
      auto [ctx, cancel] = with_cancel(Context());
      std::thread foreign([cancel = cancel] { cancel(); });
      const Result<void> r = w.wait(ctx);
      EXPECT_TRUE(!r && r.error().code == Code::kCanceled) << w.name;
      foreign.join();
    });
  });
}

TEST(GiveUp, one_cancel_ends_every_wait_below_it) {
  on_one_p([] {
    auto [root, cancel] = with_cancel(Context());
    Semaphore none(1);
    none.acquire();
    WaitGroup all;
    std::vector<int> order;
    for (int i = 0; i < 5; ++i) {
      all.go([&, i, ctx = i % 2 == 0 ? root : with_cancel(root).ctx] {
        EXPECT_FALSE(none.acquire(ctx).has_value());
        order.push_back(i);
      });
    }
    let_others_park();
    cancel();
    all.wait();
    EXPECT_EQ(order.size(), 5u);
  });
}

TEST(GiveUp, what_comes_in_time_is_a_success) {
  on_one_p([] {
    auto [ctx, cancel] = with_cancel(Context());
    Mutex mutex;
    RWMutex rw;
    WaitGroup group;
    Semaphore semaphore(1);
    mutex.lock();
    rw.lock();
    group.add(1);
    semaphore.acquire();
    WaitGroup all;
    int served = 0;
    all.go([&, ctx = ctx] { served += mutex.lock(ctx).has_value() ? 1 : 0; });
    all.go([&, ctx = ctx] { served += rw.lock_shared(ctx).has_value() ? 1 : 0; });
    all.go([&, ctx = ctx] { served += group.wait(ctx).has_value() ? 1 : 0; });
    all.go([&, ctx = ctx] { served += semaphore.acquire(ctx).has_value() ? 1 : 0; });
    let_others_park();
    mutex.unlock();
    rw.unlock();
    group.done();
    semaphore.release();
    all.wait();
    EXPECT_EQ(served, 4);
    mutex.unlock();
    rw.unlock_shared();
  });
}

TEST(GiveUp, a_writer_that_left_opens_the_door_when_those_inside_have_gone) {
  on_one_p([] {
    RWMutex rw;
    rw.lock_shared();
    auto [ctx, cancel] = with_cancel(Context());
    Task<Result<void>> writer = spawn([&, ctx = ctx] { return rw.lock(ctx); });
    let_others_park();
    Task<void> reader = spawn([&] { rw.lock_shared(); });
    let_others_park();
    EXPECT_FALSE(reader.done());
    cancel();
    EXPECT_FALSE(writer.join().has_value());
    rw.unlock_shared();
    reader.join();
    EXPECT_TRUE(rw.try_lock_shared());
    rw.unlock_shared();
    rw.unlock_shared();
    EXPECT_TRUE(rw.try_lock());
    rw.unlock();
  });
}

TEST(GiveUp, a_lock_left_to_a_starving_waiter_that_has_gone_goes_to_the_next) {
  on_one_p([] {
    Mutex mutex;
    mutex.lock();
    auto [ctx, cancel] = with_cancel(Context());
    Task<Result<void>> first = spawn([&, ctx = ctx] { return mutex.lock(ctx); });
    let_others_park();
    Task<void> second = spawn([&] { mutex.lock(); });
    let_others_park();
    // `first` has waited for more than 1 ms when it is woken, loses to us, and makes the lock a starving one.
    sleep(2ms);
    mutex.unlock();
    mutex.lock();
    let_others_park();
    cancel();
    EXPECT_FALSE(first.join().has_value());
    EXPECT_FALSE(second.done());
    mutex.unlock();
    second.join();
    mutex.unlock();
    EXPECT_TRUE(mutex.try_lock());
    mutex.unlock();
  });
}

TEST(GiveUp, the_last_starving_waiter_that_goes_leaves_an_ordinary_lock) {
  on_one_p([] {
    Mutex mutex;
    mutex.lock();
    auto [ctx, cancel] = with_cancel(Context());
    Task<Result<void>> starving = spawn([&, ctx = ctx] { return mutex.lock(ctx); });
    let_others_park();
    sleep(2ms);
    mutex.unlock();
    mutex.lock();
    let_others_park();
    cancel();
    EXPECT_FALSE(starving.join().has_value());
    mutex.unlock();  // left to a waiter, it would be nobody's
    ASSERT_TRUE(mutex.try_lock());
    mutex.unlock();
  });
}

// What the abandoned goroutines hold is never freed (abandoned.cc): the context, and what they wait for, which still points
// at their stacks.
ContextAndCancel with_abandoned_waiters() {
  ContextAndCancel made = with_cancel(Context());
  static_cast<void>(made.ctx.done());  // here: it stays, too
  auto* semaphore = new Semaphore(1);
  auto* mutex = new Mutex;
  on_one_p([&] {
    semaphore->acquire();
    mutex->lock();
    go([semaphore, ctx = made.ctx] { static_cast<void>(semaphore->acquire(ctx)); });
    go([mutex, ctx = made.ctx] { static_cast<void>(mutex->lock(ctx)); });
    let_others_park();
  });
  return made;
}

TEST(GiveUp, a_waiter_that_run_abandons_leaves_its_context_usable) {
  testing::internal::CaptureStderr();
  auto [ctx, cancel] = with_abandoned_waiters();
  static_cast<void>(testing::internal::GetCapturedStderr());
  // Other goroutines have those stacks now.
  on_one_p([ctx = ctx, cancel = cancel] {
    WaitGroup all;
    for (int i = 0; i < 4; ++i) all.go([&] { EXPECT_FALSE(sleep(ctx, 1h)); });
    let_others_park();
    cancel();
    all.wait();
  });
}

// --- races: every wait is ended by its context or by what it waits for, at any moment

// Contexts that end while others are at work. Not by deadlines: the goroutine that one starts would be left to run()'s end;
// those that cancel here are waited for.
class Enders {
 public:
  explicit Enders(std::uint64_t seed) : random_(seed) {}
  ~Enders() { cancellers_.wait(); }

  // A context that will end soon, or has, or will not.
  Context one() { return random_.below(4) == 0 ? Context() : soon(); }

  Context soon() {
    if (random_.below(4) == 0) return within(std::chrono::microseconds(random_.below(100)));
    return ended_by([turns = random_.below(8)] {
      for (std::uint64_t i = 0; i < turns; ++i) gosched();
    });
  }

  Context within(Duration d) {
    return ended_by([d] { sleep(d); });
  }

 private:
  template <class Fn>
  Context ended_by(Fn wait) {
    auto [ctx, cancel] = with_cancel(Context());
    cancellers_.go([cancel = cancel, wait] {
      wait();
      cancel();
    });
    return ctx;
  }

  test::Random random_;
  WaitGroup cancellers_;
};

constexpr int kWorkers = 6;

// `worker(i, enders, rounds)` on kWorkers goroutines, under all schedules.
void race(const std::function<void(int, Enders&, int)>& worker, const std::function<void()>& at_end) {
  on_all_schedules(
      [&](std::uint64_t seed, int effort) {
        WaitGroup all;
        for (int i = 0; i < kWorkers; ++i) {
          all.go([&, i] {
            Enders enders(seed * kWorkers + static_cast<std::uint64_t>(i));
            worker(i, enders, 3 + effort / 5);
          });
        }
        all.wait();
        at_end();
      },
      100);
}

TEST(GiveUpStress, a_mutex_is_held_by_one_and_free_at_the_end) {
  Mutex mutex;
  long inside = 0;
  long entered = 0;
  std::atomic<long> got{0};
  race(
      [&](int, Enders& enders, int rounds) {
        for (int i = 0; i < rounds; ++i) {
          const Context ctx = enders.one();
          if (!mutex.lock(ctx)) continue;
          EXPECT_EQ(++inside, 1);
          ++entered;
          got.fetch_add(1, std::memory_order_relaxed);  // relaxed: read at the end
          if (i % 3 == 0) gosched();
          --inside;
          mutex.unlock();
        }
      },
      [&] {
        ASSERT_TRUE(mutex.try_lock());
        EXPECT_EQ(entered, got.load());
        mutex.unlock();
      });
}

// Holders that keep the lock for more than 1 ms make waiters starve: then the lock is left to one, which may just be going.
TEST(GiveUpStress, a_starving_mutex_is_not_lost) {
  for (const int procs : {1, 2, 4}) {
    run(
        [&] {
          Mutex mutex;
          long entered = 0;
          std::atomic<long> got{0};
          WaitGroup all;
          for (int i = 0; i < kWorkers; ++i) {
            all.go([&, i] {
              test::Random random(static_cast<std::uint64_t>(i));
              Enders enders(0);
              for (int n = 0; n < 15; ++n) {
                const auto patience = std::chrono::microseconds(random.below(4000));
                if (!mutex.lock(i == 0 ? Context() : enders.within(patience))) continue;
                ++entered;
                got.fetch_add(1, std::memory_order_relaxed);  // relaxed: read at the end
                sleep(std::chrono::microseconds(random.below(1500)));
                mutex.unlock();
              }
            });
          }
          all.wait();
          EXPECT_EQ(entered, got.load());
          ASSERT_TRUE(mutex.try_lock());
          mutex.unlock();
        },
        {.procs = procs});
  }
}

TEST(GiveUpStress, an_rw_mutex_keeps_its_word_and_is_free_at_the_end) {
  RWMutex rw;
  long a = 0;
  long b = 0;
  std::atomic<int> readers{0};
  race(
      [&](int worker, Enders& enders, int rounds) {
        for (int i = 0; i < rounds; ++i) {
          const Context ctx = enders.one();
          if (worker % 3 == 0) {
            if (!rw.lock(ctx)) continue;
            EXPECT_EQ(readers.load(), 0);
            ++a;
            if (i % 3 == 0) gosched();
            ++b;
            rw.unlock();
          } else {
            if (!rw.lock_shared(ctx)) continue;
            readers.fetch_add(1);
            EXPECT_EQ(a, b);
            if (i % 3 == 0) gosched();
            readers.fetch_sub(1);
            rw.unlock_shared();
          }
        }
      },
      [&] {
        ASSERT_TRUE(rw.try_lock());
        rw.unlock();
        ASSERT_TRUE(rw.try_lock_shared());
        rw.unlock_shared();
      });
}

TEST(GiveUpStress, units_are_conserved) {
  constexpr std::int64_t kUnits = 4;
  Semaphore semaphore(kUnits);
  std::atomic<std::int64_t> held{0};
  race(
      [&](int worker, Enders& enders, int rounds) {
        for (int i = 0; i < rounds; ++i) {
          const Context ctx = enders.one();
          const std::int64_t n = 1 + (worker + i) % kUnits;
          if (!semaphore.acquire(ctx, n)) continue;
          EXPECT_LE(held.fetch_add(n) + n, kUnits);
          if (i % 3 == 0) gosched();
          held.fetch_sub(n);
          semaphore.release(n);
        }
      },
      [&] {
        ASSERT_TRUE(semaphore.try_acquire(kUnits));
        semaphore.release(kUnits);
      });
}

// Each token is signalled once. Takers that give up come back without; those that do not give up get the rest: a signal
// that went to one who left would leave one of them waiting beside a token.
TEST(GiveUpStress, a_signal_is_not_lost_to_one_who_gave_up) {
  on_all_schedules(
      [](std::uint64_t seed, int effort) {
        const int tokens = 4 + effort;
        Mutex mutex;
        Cond cond;
        int ready = 0;
        int waiting = 0;
        int taken = 0;
        WaitGroup all;
        for (int i = 0; i < 4; ++i) {  // they give up
          all.go([&, i] {
            Enders enders(seed * 4 + static_cast<std::uint64_t>(i));
            for (int n = 0; n < tokens; ++n) {
              std::unique_lock lock(mutex);
              if (taken + ready == tokens) return;
              ++waiting;
              const Context ctx = enders.soon();
              const Result<void> woken = cond.wait(ctx, lock);
              --waiting;
              if (woken && ready > 0) {
                --ready;
                ++taken;
              }
            }
          });
        }
        all.go([&] {  // does not
          std::unique_lock lock(mutex);
          while (taken < tokens) {
            cond.wait(lock, [&] { return ready > 0 || taken == tokens; });
            if (ready == 0) break;
            --ready;
            ++taken;
          }
        });
        for (int n = 0; n < tokens; ++n) {
          {
            const std::lock_guard lock(mutex);
            ++ready;
          }
          cond.signal();
          if (n % 3 == 0) gosched();
        }
        for (;;) {  // who took the last one need not have told the one that does not give up
          {
            const std::lock_guard lock(mutex);
            if (taken == tokens) break;
          }
          gosched();
        }
        cond.broadcast();
        all.wait();
        EXPECT_EQ(taken, tokens);
      },
      60);
}

TEST(GiveUpStress, a_wait_group_counts_who_has_left_out) {
  race(
      [](int, Enders& enders, int rounds) {
        for (int i = 0; i < rounds; ++i) {
          WaitGroup group;
          WaitGroup waiters;
          group.add(1);
          std::atomic<bool> done{false};
          for (int w = 0; w < 3; ++w) {
            waiters.go([&, ctx = enders.one()] {
              const bool through = group.wait(ctx).has_value();
              EXPECT_TRUE(!through || done.load());
            });
          }
          if (i % 2 == 0) gosched();
          done = true;
          group.done();
          waiters.wait();
          group.add(1);  // dies if a waiter is counted that is not there
          group.done();
          group.wait();
        }
      },
      [] {});
}

TEST(GiveUpStress, a_job_runs_if_it_was_accepted_and_dies_if_not) {
  on_all_schedules(
      [](std::uint64_t seed, int effort) {
        WorkPool pool({.workers = 2, .queue = static_cast<std::size_t>(seed % 3)});
        std::atomic<int> accepted{0};
        std::atomic<int> ran{0};
        auto token = std::make_shared<int>(0);
        WaitGroup all;
        for (int i = 0; i < kWorkers; ++i) {
          all.go([&, i] {
            Enders enders(seed * kWorkers + static_cast<std::uint64_t>(i));
            for (int n = 0; n < 3 + effort / 5; ++n) {
              const Context ctx = enders.one();
              const bool in = pool.submit(ctx,
                                          [&ran, token] {
                                            ran.fetch_add(1);
                                            gosched();
                                          })
                                  .has_value();
              if (in) accepted.fetch_add(1);
              if (n % 4 == 0) static_cast<void>(pool.drain(ctx));
            }
          });
        }
        all.wait();
        Enders enders(seed);
        while (!pool.wait(enders.within(10us))) continue;
        EXPECT_EQ(ran.load(), accepted.load());
        EXPECT_EQ(token.use_count(), 1);
      },
      60);
}

TEST(GiveUpStress, a_task_is_joined_by_who_waits_long_enough) {
  race(
      [](int worker, Enders& enders, int rounds) {
        for (int i = 0; i < rounds; ++i) {
          Task<int> task = spawn([=] {
            if (i % 2 == 0) gosched();
            return worker * 1000 + i;
          });
          for (;;) {
            if (const Result<int> r = task.join(enders.one())) {
              EXPECT_EQ(*r, worker * 1000 + i);
              break;
            }
            EXPECT_TRUE(task.valid());
          }
        }
      },
      [] {});
}

}  // namespace
}  // namespace heddle
