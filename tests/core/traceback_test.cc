// Tracebacks: parked, running, many, under load, of a dying program, and of a program without debug information.
#include <heddle/core/traceback.h>

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <thread>

#include <heddle/core/chan.h>
#include <heddle/core/dump.h>
#include <heddle/core/run.h>
#include <heddle/core/wait_group.h>

namespace traceback_test {

using namespace heddle;
using namespace std::chrono_literals;

// volatile sums: no tail calls, each function keeps its frame.
[[gnu::noinline]] int innermost(Chan<int> c) {
  const int v = c.recv().value_or(0);
  volatile int sum = v;
  return sum + 1;
}
[[gnu::noinline]] int in_the_middle(const Chan<int>& c) {
  volatile int sum = innermost(c);
  return sum + 1;
}
constexpr int kCallLine = __LINE__ + 2;
[[gnu::noinline]] int outermost(const Chan<int>& c) {
  volatile int sum = in_the_middle(c);
  return sum + 1;
}

[[gnu::noinline]] void spin_until(const std::atomic<bool>& stop, std::atomic<bool>& spins) {
  volatile unsigned x = 3;
  while (!stop.load(std::memory_order_relaxed)) {
    x = x * 3 + 1;
    spins.store(true, std::memory_order_relaxed);
  }
}

[[gnu::noinline]] void throws_deep(int depth) {
  volatile int left = depth;
  if (left == 0) throw std::runtime_error("out of luck");
  throws_deep(left - 1);
  left = 0;
}

// The part of a dump about the goroutine of that name.
std::string part_of(const std::string& dump, const std::string& name) {
  const std::size_t at = dump.find("] \"" + name + "\":");
  if (at == std::string::npos) return {};
  const std::size_t from = dump.rfind("goroutine ", at);
  return dump.substr(from, dump.find("\n\n", at) - from);
}

testing::AssertionResult holds_in_order(const std::string& text, std::initializer_list<std::string> pieces) {
  std::size_t at = 0;
  for (const std::string& piece : pieces) {
    at = text.find(piece, at);
    if (at == std::string::npos) return testing::AssertionFailure() << "lacks \"" << piece << "\" in\n" << text;
    at += piece.size();
  }
  return testing::AssertionSuccess();
}

std::size_t count(const std::string& text, const std::string& piece) {
  std::size_t n = 0;
  for (std::size_t at = text.find(piece); at != std::string::npos; at = text.find(piece, at + piece.size())) ++n;
  return n;
}

TEST(Traceback, shows_the_frames_of_a_parked_goroutine_with_file_and_line) {
  heddle::run([] {
    auto c = make_chan<int>();
    WaitGroup wg;
    wg.add(1);
    go({.name = "parked"}, [&] {
      outermost(c);
      wg.done();
    });
    gosched();
    const std::string text = part_of(dump_goroutines({.stacks = true}), "parked");
    EXPECT_TRUE(holds_in_order(
        text, {"[chan receive] \"parked\":\n", "traceback_test::innermost(heddle::Chan<int>)\n\t", "traceback_test.cc:",
               "traceback_test::in_the_middle(", "traceback_test.cc:", "traceback_test::outermost(",
               "traceback_test.cc:" + std::to_string(kCallLine) + " +0x", "created by goroutine 1 at tests/core/"}));
    EXPECT_EQ(text.find("heddle_switch"), std::string::npos) << text;
    EXPECT_EQ(text.find("leave_g"), std::string::npos) << text;
    EXPECT_EQ(text.find("g_main"), std::string::npos) << text;
    EXPECT_EQ(text.find("heddle::detail"), std::string::npos) << text;
    c.send(1);
    wg.wait();
  });
}

TEST(Traceback, shows_the_runtime_on_demand_down_to_the_bottom) {
  heddle::run([] {
    auto c = make_chan<int>();
    go({.name = "parked"}, [c] { outermost(c); });
    gosched();
    const std::string text =
        part_of(dump_goroutines({.stacks = true, .runtime_frames = true}), "parked");
    EXPECT_TRUE(holds_in_order(text, {"heddle::detail::", "innermost", "outermost", "heddle::g_main(", "heddle_entry\n"}));
    c.send(1);
    gosched();
  });
}

TEST(Traceback, shows_the_caller_of_dump_as_running) {
  heddle::run([] {
    const std::string text = part_of(dump_goroutines({.stacks = true}), "main");
    EXPECT_TRUE(holds_in_order(text, {"goroutine 1 [running] \"main\":\n", "heddle::dump_goroutines(", "traceback_test.cc:"}));
    const std::string own = traceback();
    EXPECT_TRUE(holds_in_order(own, {"goroutine 1 [running] \"main\":\n", "traceback_test.cc:"}));
  });
  EXPECT_EQ(traceback(), "");
  EXPECT_EQ(dump_goroutines({.stacks = true}), "");
}

TEST(Traceback, shows_where_a_goroutine_on_another_thread_runs) {
  heddle::run(
      [] {
        std::atomic<bool> stop{false};
        std::atomic<bool> spins{false};
        WaitGroup wg;
        wg.add(1);
        go({.name = "spinner"}, [&] {
          spin_until(stop, spins);
          wg.done();
        });
        while (!spins.load()) gosched();
        // An answer in time is not promised on a loaded machine; a wrong one would be a bug each time.
        std::string text;
        for (int i = 0; i < 50; ++i) {
          text = part_of(dump_goroutines({.stacks = true}), "spinner");
          if (text.find("stack unavailable") == std::string::npos) break;
        }
        stop = true;
        EXPECT_TRUE(holds_in_order(text, {"[running] \"spinner\":\n", "traceback_test::spin_until(", "traceback_test.cc:",
                                          "created by goroutine 1"}));
        wg.wait();
      },
      {.procs = 2});
}

TEST(Traceback, shows_a_thousand) {
  heddle::run([] {
    auto c = make_chan<int>();
    WaitGroup wg;
    for (int i = 0; i < 1'000; ++i) wg.go([c] { outermost(c); });
    for (int i = 0; i < 3; ++i) gosched();
    std::string text;
    for (int i = 0; i < 1'000 && count(text, "traceback_test::innermost(") != 1'000; ++i) {
      text = dump_goroutines({.stacks = true});
    }
    EXPECT_EQ(count(text, "[chan receive]:\n"), 1'000U);
    EXPECT_EQ(count(text, "traceback_test::innermost("), 1'000U);
    EXPECT_EQ(count(text, "traceback_test::outermost("), 1'000U);
    c.close();
    wg.wait();
  });
}

TEST(Traceback, a_foreign_thread_may_ask_at_any_time) {
  std::atomic<bool> stop{false};
  std::thread asker([&] {
    while (!stop.load()) static_cast<void>(dump_goroutines({.stacks = true}));
  });
  for (int i = 0; i < 20; ++i) {
    heddle::run([] {
      WaitGroup wg;
      for (int k = 0; k < 20; ++k) wg.go([] { sleep(200us); });
      wg.wait();
    });
  }
  stop = true;
  asker.join();
}

TEST(Traceback, survives_goroutines_that_start_run_and_end_meanwhile) {
  heddle::run(
      [] {
        std::atomic<bool> stop{false};
        auto c = make_chan<int>(8);
        WaitGroup wg;
        for (int i = 0; i < 3; ++i) {
          wg.go([&] {
            while (!stop.load()) {
              WaitGroup brood;
              for (int k = 0; k < 20; ++k) {
                brood.go([&, k] {
                  c.send(k);
                  if (k % 3 == 0) sleep(10us);
                  static_cast<void>(c.recv());
                });
              }
              brood.wait();
            }
          });
        }
        for (int i = 0; i < 200; ++i) {
          const std::string text = dump_goroutines({.stacks = true});
          ASSERT_NE(text.find("\"main\""), std::string::npos);
        }
        stop = true;
        wg.wait();
      },
      {.procs = 3});
}

#if !defined(__SANITIZE_ADDRESS__)  // what an abandoned goroutine holds is lost, and LeakSanitizer would say so
TEST(Traceback, run_may_end_while_reports_are_made) {
  for (int i = 0; i < 30; ++i) {
    heddle::run(
        [] {
          for (int k = 0; k < 4; ++k) {
            go([] {
              for (;;) {
                static_cast<void>(dump_goroutines({.stacks = true}));
                gosched();  // once run() ends no report parks any more
              }
            });
          }
          sleep(1ms);
        },
        {.procs = 2});
  }
}
#endif

void panic_in(const char* level) {
  if (level != nullptr) setenv("HEDDLE_TRACEBACK", level, 1);
  heddle::run([] {
    auto c = make_chan<int>();
    go({.name = "waiter"}, [c] { outermost(c); });
    gosched();
    go({.name = "thrower"}, [] { throws_deep(3); });
    sleep(1h);
  });
}

// Matches everything, and keeps what the dying program printed.
struct KeepsIn {
  using is_gtest_matcher = void;
  std::string* text;
  bool MatchAndExplain(const std::string& printed, std::ostream*) const {
    *text = printed;
    return true;
  }
  void DescribeTo(std::ostream* os) const { *os << "anything"; }
  void DescribeNegationTo(std::ostream* os) const { *os << "nothing"; }
};

class TracebackDeathTest : public testing::Test {
 protected:
  TracebackDeathTest() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST_F(TracebackDeathTest, a_panic_names_the_function_that_threw) {
  std::string text;
  EXPECT_EXIT(panic_in(nullptr), ::testing::ExitedWithCode(2), KeepsIn{&text});
  EXPECT_TRUE(holds_in_order(text, {"panic: std::runtime_error: out of luck\n\ngoroutine ", " [running] \"thrower\":\n",
                                    "traceback_test::throws_deep(int)\n\t", "traceback_test.cc:",
                                    "traceback_test::throws_deep(int)", "created by goroutine 1 at"}));
  EXPECT_EQ(count(text, "throws_deep"), 4U) << text;
  EXPECT_EQ(text.find("\"waiter\""), std::string::npos) << text;
  EXPECT_EQ(text.find("__cxa_throw"), std::string::npos) << text;
  EXPECT_EQ(text.find("on_terminate"), std::string::npos) << text;
  EXPECT_TRUE(holds_in_order(text, {"\"thrower\":\ntraceback_test::throws_deep(int)\n"})) << "frames of the report itself";
}

TEST_F(TracebackDeathTest, the_environment_says_how_much) {
  std::string none;
  EXPECT_EXIT(panic_in("none"), ::testing::ExitedWithCode(2), KeepsIn{&none});
  EXPECT_TRUE(none.ends_with("panic: std::runtime_error: out of luck\n\n")) << none;

  std::string single;
  EXPECT_EXIT(panic_in("single"), ::testing::ExitedWithCode(2), KeepsIn{&single});
  EXPECT_EQ(count(single, "goroutine "), 2U) << single;  // itself, and its creator's id

  std::string all;
  EXPECT_EXIT(panic_in("all"), ::testing::ExitedWithCode(2), KeepsIn{&all});
  EXPECT_TRUE(holds_in_order(all, {"[running] \"thrower\"", "throws_deep", "created by", "goroutine 1 [sleep] \"main\"",
                                   "[chan receive] \"waiter\":\n", "traceback_test::innermost("}));
  EXPECT_EQ(count(all, "\"thrower\""), 1U) << all;
  EXPECT_EQ(all.find("heddle::g_main"), std::string::npos) << all;

  std::string system;
  EXPECT_EXIT(panic_in("system"), ::testing::ExitedWithCode(2), KeepsIn{&system});
  EXPECT_TRUE(
      holds_in_order(system, {"__cxa_throw", "throws_deep", "heddle::g_main(", "\"waiter\"", "heddle::g_main("}));
}

#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
[[gnu::noinline]] int dive(int depth) {
  volatile char page[512];
  page[0] = static_cast<char>(depth);
  return depth < 0 ? 0 : dive(depth + 1) + page[0];
}

void overflow() {
  heddle::run([] {
    go({.name = "diver", .stack = StackSize::kSmall}, [] { dive(0); });
    sleep(1h);
  });
}

TEST_F(TracebackDeathTest, a_stack_overflow_shows_both_ends_of_the_stack) {
  std::string text;
  EXPECT_EXIT(overflow(), ::testing::ExitedWithCode(2), KeepsIn{&text});
  EXPECT_TRUE(holds_in_order(text, {"\"diver\" overflowed its stack of 64 KiB\nfatal error: stack overflow\n\n",
                                    "traceback_test::dive(int)\n\t", "traceback_test.cc:", "frames elided...\n",
                                    "traceback_test::dive(int)", "created by goroutine 1 at"}));
  EXPECT_LE(count(text, "traceback_test::dive(int)\n"), 40U) << text;
}

TEST(Traceback, a_stripped_program_still_tells_names_or_addresses) {
  const char* self = std::getenv("HEDDLE_TRACEBACK_TEST_STRIPPED");
  if (self == nullptr) {
    if (std::system("command -v strip > /dev/null") != 0) GTEST_SKIP() << "no strip (binutils) here";
    const std::string dir = ::testing::TempDir() + "heddle-stripped-" + std::to_string(::getpid());
    std::array<char, 4096> exe{};
    ASSERT_GT(::readlink("/proc/self/exe", exe.data(), exe.size() - 1), 0);
    const std::string command =
        "strip -o '" + dir + "' '" + exe.data() + "' && HEDDLE_TRACEBACK_TEST_STRIPPED=1 '" + dir +
        "' --gtest_filter=Traceback.a_stripped_program_still_tells_names_or_addresses; s=$?; rm -f '" + dir + "'; exit $s";
    EXPECT_EQ(std::system(command.c_str()), 0);
    return;
  }
  heddle::run([] {
    auto c = make_chan<int>();
    go({.name = "parked"}, [c] { outermost(c); });
    gosched();
    const std::string text = part_of(dump_goroutines({.stacks = true}), "parked");
    // Three of ours, and what of the runtime can no longer be told from them.
    EXPECT_GE(count(text, " +0x"), 5U) << text;
    EXPECT_TRUE(holds_in_order(text, {"\t", "heddle-stripped-", " +0x", "created by goroutine 1"}));
    c.send(1);
    gosched();
  });
}
#endif

}  // namespace traceback_test
