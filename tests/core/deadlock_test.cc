// "All goroutines are asleep": said when it is true, and only then.
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include <heddle/core/chan.h>
#include <heddle/core/run.h>
#include <heddle/core/wait_group.h>

namespace heddle {
namespace {

using namespace std::chrono_literals;

// TSan keeps a thread of its own, and a process with foreign threads is never said to be dead.
#if !defined(__SANITIZE_THREAD__)

TEST(DeadlockDeathTest, all_goroutines_asleep_is_reported_with_status_2) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  for (const int procs : {1, 3}) {
    EXPECT_EXIT(heddle::run(
                    [] {
                      auto c = make_chan<int>();
                      go({.name = "helper"}, [c]() mutable { c.send(1), c.send(2); });
                      static_cast<void>(c.recv());
                      WaitGroup never;
                      never.add(1);
                      never.wait();
                    },
                    {.procs = procs}),
                ::testing::ExitedWithCode(2),
                "fatal error: all goroutines are asleep - deadlock!\n\ngoroutine 1 \\[sync.WaitGroup.Wait\\] \"main\":\n"
                "(.|\n)*\\[chan send\\] \"helper\":");
  }
}

TEST(DeadlockDeathTest, goexit_of_main_with_others_blocked_is_one) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(heddle::run([] {
                auto c = make_chan<int>();
                go([c]() mutable { static_cast<void>(c.recv()); });
                goexit();
              }),
              ::testing::ExitedWithCode(2), "no goroutines \\(main called goexit\\) - deadlock!");
}

#endif

TEST(Deadlock, is_not_seen_while_a_timer_runs) {
  heddle::run([] { sleep(1200ms); }, {.procs = 2});
}

TEST(Deadlock, is_not_seen_while_a_foreign_thread_may_wake) {
  heddle::run([] {
    std::thread waker;
    struct Wait {
      std::atomic<G*> g{nullptr};
    } wait;
    waker = std::thread([&] {
      std::this_thread::sleep_for(200ms);  // longer than sysmon waits before it asks
      G* g = nullptr;
      while ((g = wait.g.load()) == nullptr) std::this_thread::yield();
      ready(g);
    });
    park(
        [](G* g, void* arg) {
          static_cast<Wait*>(arg)->g.store(g);
          return true;
        },
        &wait, WaitReason::kOther);
    waker.join();
  });
}

}  // namespace
}  // namespace heddle
