// Signals as values: who gets them, who does not any more, and what is left when nobody wants them.
#include <heddle/core/notify.h>

#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include <heddle/core/go.h>
#include <heddle/core/run.h>
#include <heddle/core/wait_group.h>

namespace heddle {
namespace {

using namespace std::chrono_literals;

void raise_here(int sig) { ASSERT_EQ(::kill(::getpid(), sig), 0); }

void* handler_of(int sig) {
  struct sigaction now {};
  ::sigaction(sig, nullptr, &now);
  return reinterpret_cast<void*>(now.sa_handler);
}

TEST(Notify, a_signal_comes_to_all_that_want_it) {
  const auto before = handler_of(SIGUSR1);
  for (const int procs : {1, 3}) {
    heddle::run(
        [&] {
          auto one = make_chan<int>(4);
          auto two = make_chan<int>(4);
          ASSERT_TRUE(notify(one, {SIGUSR1}));
          ASSERT_TRUE(notify(two, {SIGUSR1, SIGUSR2}));
          ASSERT_TRUE(notify(two, {SIGUSR2, SIGHUP}));  // adds
          for (int i = 0; i < 20; ++i) {
            raise_here(SIGUSR1);
            EXPECT_EQ(one.recv(), SIGUSR1);
            EXPECT_EQ(two.recv(), SIGUSR1);
            raise_here(SIGHUP);
            EXPECT_EQ(two.recv(), SIGHUP);
          }
          EXPECT_EQ(one.len(), 0U);
          stop_notify(two);
          stop_notify(two);
          raise_here(SIGUSR1);
          EXPECT_EQ(one.recv(), SIGUSR1);
          EXPECT_EQ(two.len(), 0U);
          EXPECT_NE(handler_of(SIGUSR1), before);
          stop_notify(one);
          EXPECT_EQ(handler_of(SIGUSR1), before);
        },
        {.procs = procs});
  }
}

TEST(Notify, many_goroutines_wait_each_for_its_own) {
  heddle::run([] {
    const std::vector<int> signals{SIGUSR1, SIGUSR2, SIGHUP, SIGWINCH, SIGALRM, SIGRTMIN, SIGRTMAX};
    WaitGroup ready_to_get;
    WaitGroup all;
    for (const int sig : signals) {
      ready_to_get.add(1);
      all.go([sig, &ready_to_get] {
        auto ch = make_chan<int>(1);
        ASSERT_TRUE(notify(ch, {sig}));
        ready_to_get.done();
        EXPECT_EQ(ch.recv(), sig);
        stop_notify(ch);
      });
    }
    ready_to_get.wait();
    for (const int sig : signals) raise_here(sig);
    all.wait();
  });
}

TEST(Notify, who_has_no_room_misses_it_and_holds_nobody_up) {
  heddle::run([] {
    auto full = make_chan<int>(1);
    auto nobody = make_chan<int>();
    auto room = make_chan<int>(1);
    ASSERT_TRUE(notify(full, {SIGUSR1}));
    ASSERT_TRUE(notify(nobody, {SIGUSR1}));
    ASSERT_TRUE(notify(room, {SIGUSR1}));  // behind the others
    for (int i = 0; i < 5; ++i) {
      raise_here(SIGUSR1);
      EXPECT_EQ(room.recv(), SIGUSR1);
    }
    EXPECT_EQ(full.len(), 1U);
    EXPECT_EQ(nobody.len(), 0U);
    for (const auto& ch : {full, nobody, room}) stop_notify(ch);
  });
}

TEST(Notify, a_signal_that_all_threads_block_comes_too) {
  sigset_t usr;
  sigset_t before;
  sigemptyset(&usr);
  sigaddset(&usr, SIGUSR2);
  pthread_sigmask(SIG_BLOCK, &usr, &before);  // the workers inherit it
  heddle::run([] {
    auto ch = make_chan<int>(1);
    ASSERT_TRUE(notify(ch, {SIGUSR2}));
    raise_here(SIGUSR2);
    EXPECT_EQ(ch.recv(), SIGUSR2);
    stop_notify(ch);
  });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

std::atomic<int> handled{0};

TEST(Notify, the_former_handler_is_back_after_the_last_stop) {
  handled = 0;
  struct sigaction own {};
  struct sigaction before {};
  own.sa_handler = [](int) { handled.fetch_add(1); };
  ::sigaction(SIGUSR1, &own, &before);
  heddle::run([] {
    auto ch = make_chan<int>(1);
    for (int i = 0; i < 3; ++i) {
      ASSERT_TRUE(notify(ch, {SIGUSR1}));
      raise_here(SIGUSR1);
      EXPECT_EQ(ch.recv(), SIGUSR1);
      EXPECT_EQ(handled.load(), i);
      stop_notify(ch);
      ::raise(SIGUSR1);  // handled before it returns
      EXPECT_EQ(handled.load(), i + 1);
    }
    ASSERT_TRUE(notify(ch, {SIGUSR1}));  // and left to the run's end
  });
  ::raise(SIGUSR1);
  EXPECT_EQ(handled.load(), 4);
  ::sigaction(SIGUSR1, &before, nullptr);
}

TEST(Notify, what_cannot_be_had_is_refused_and_changes_nothing) {
  heddle::run([] {
    auto ch = make_chan<int>(1);
    const void* before = handler_of(SIGUSR1);
    for (const int sig : {0, -1, 65, SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGURG, 32}) {
      const Result<void> refused = notify(ch, {SIGUSR1, sig});
      ASSERT_FALSE(refused) << sig;
      EXPECT_EQ(refused.error().code, Code::kInvalid);
      EXPECT_EQ(handler_of(SIGUSR1), before);
      EXPECT_FALSE(notify_context({}, {sig}));
    }
    EXPECT_FALSE(notify(ch, {}));
    EXPECT_FALSE(notify(Chan<int>(), {SIGUSR1}));
    stop_notify(ch);
    stop_notify(Chan<int>());
  });
}

TEST(Notify, a_context_ends_with_the_signal_as_its_cause) {
  const void* before = handler_of(SIGTERM);
  heddle::run([&] {
    auto stop = notify_context({}, {SIGTERM, SIGINT});
    ASSERT_TRUE(stop);
    EXPECT_FALSE(stop->ctx().err());
    raise_here(SIGTERM);
    static_cast<void>(stop->ctx().done().recv());
    EXPECT_EQ(stop->ctx().err()->code, Code::kCanceled);
    EXPECT_EQ(stop->ctx().cause()->sys, SIGTERM);
    EXPECT_NE(handler_of(SIGTERM), before);
    stop->stop();
    EXPECT_EQ(handler_of(SIGTERM), before);
    stop->stop();

    Context outlives;
    {
      auto other = notify_context({}, {SIGINT});
      ASSERT_TRUE(other);
      SignalContext moved = std::move(*other);
      outlives = moved.ctx();
      EXPECT_FALSE(outlives.err());
    }
    EXPECT_EQ(outlives.err()->code, Code::kCanceled);
    EXPECT_EQ(outlives.cause()->sys, 0);
  });
}

TEST(Notify, nothing_comes_after_stop_has_returned) {
  // One of the storm may be on its way when the last stop comes: it is to meet something harmless.
  const auto before = ::signal(SIGUSR1, SIG_IGN);
  heddle::run(
      [] {
        std::atomic<bool> over{false};
        std::thread storm([&over] {
          while (!over.load()) {
            ::kill(::getpid(), SIGUSR1);
            ::usleep(20);  // or its handlers leave the others no time
          }
        });
        auto always = make_chan<int>(1);  // so that the signal has a handler all the time
        ASSERT_TRUE(notify(always, {SIGUSR1}));
        for (int i = 0; i < 50; ++i) {
          auto ch = make_chan<int>(1);
          ASSERT_TRUE(notify(ch, {SIGUSR1}));
          EXPECT_EQ(ch.recv(), SIGUSR1);
          stop_notify(ch);
          static_cast<void>(ch.try_recv());
          for (int k = 0; k < 20; ++k) gosched();
          EXPECT_EQ(ch.len(), 0U);
        }
        over.store(true);
        storm.join();
        stop_notify(always);
      },
      {.procs = 3});
  ::signal(SIGUSR1, before);
}

}  // namespace
}  // namespace heddle
