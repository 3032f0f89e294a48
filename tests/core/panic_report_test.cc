// What a panic that nobody recovers prints, and when: Go's lines, and the stack of the place that panicked, though
// deferred calls have run since.
#include <heddle/core/panic.h>

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include <heddle/core/chan.h>
#include <heddle/core/defer.h>
#include <heddle/core/go.h>
#include <heddle/core/run.h>

// Named, not in an anonymous namespace: the reports must tell these functions.
namespace panic_report_test {

using namespace heddle;
using namespace std::chrono_literals;

// volatile: no tail calls, each function keeps its frame.
[[gnu::noinline]] void throws_deep(int depth, void (*thrower)()) {
  volatile int left = depth;
  if (left == 0) thrower();
  if (left != 0) throws_deep(left - 1, thrower);
  left = 0;
}

[[gnu::noinline]] void unlucky() { throw std::runtime_error("out of luck"); }
[[gnu::noinline]] void panics_here() { panic("here"); }

[[gnu::noinline]] void in_the_middle(void (*thrower)()) {
  with_defers([&](Defers& defer) {
    defer([] { std::fputs("deferred in the middle\n", stderr); });
    throws_deep(3, thrower);
  });
}

[[gnu::noinline]] void outermost(void (*thrower)()) {
  HEDDLE_DEFER { std::fputs("deferred outermost\n", stderr); };
  with_defers([&](Defers& defer) {
    defer([] {
      // Overwrites what the unwound frames have left behind.
      volatile char stack[16 << 10] = {};
      static_cast<void>(stack[0]);
      with_defers([](Defers& inner) {
        inner([](Recover& recover) { recover(); });
        throws_deep(1, panics_here);
      });
    });
    in_the_middle(thrower);
  });
}

template <class Fn>
void run_and_die(Fn fn) {
  heddle::run([&] {
    go({.name = "unlucky"}, fn);
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

testing::AssertionResult holds_in_order(const std::string& text, std::initializer_list<std::string> pieces) {
  std::size_t at = 0;
  for (const std::string& piece : pieces) {
    at = text.find(piece, at);
    if (at == std::string::npos) return testing::AssertionFailure() << "lacks \"" << piece << "\" in\n" << text;
    at += piece.size();
  }
  return testing::AssertionSuccess();
}

class PanicReportDeathTest : public testing::Test {
 protected:
  PanicReportDeathTest() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST_F(PanicReportDeathTest, the_stack_is_that_of_the_throw_after_deferred_calls_have_run) {
  std::string text;
  EXPECT_EXIT(run_and_die([] { outermost(unlucky); }), ::testing::ExitedWithCode(2), KeepsIn{&text});
  EXPECT_TRUE(holds_in_order(
      text, {"deferred in the middle\ndeferred outermost\npanic: std::runtime_error: out of luck\n\ngoroutine ",
             " [running] \"unlucky\":\npanic_report_test::unlucky()\n\t", "panic_report_test.cc:",
             "panic_report_test::throws_deep(int, void (*)())\n", "panic_report_test::throws_deep(int, void (*)())\n",
             "panic_report_test::throws_deep(int, void (*)())\n", "panic_report_test::throws_deep(int, void (*)())\n",
             "panic_report_test::in_the_middle(", "panic_report_test::outermost(", "created by goroutine 1 at"}));
  EXPECT_EQ(text.find("with_defers"), std::string::npos) << text;
  EXPECT_EQ(text.find("__cxa"), std::string::npos) << text;
  EXPECT_EQ(text.find("heddle::detail"), std::string::npos) << text;
}

TEST_F(PanicReportDeathTest, so_it_is_for_panic_and_after_one_was_recovered_and_panicked_again) {
  std::string text;
  EXPECT_EXIT(run_and_die([] { outermost(panics_here); }), ::testing::ExitedWithCode(2), KeepsIn{&text});
  EXPECT_TRUE(holds_in_order(text, {"panic: here\n\ngoroutine ",
                                    " [running] \"unlucky\":\npanic_report_test::panics_here()\n\t", "throws_deep",
                                    "in_the_middle", "outermost", "created by goroutine 1 at"}));
  EXPECT_EXIT(run_and_die([] {
                with_defers([](Defers& defer) {
                  defer([](Recover& recover) { panic(*recover()); });
                  outermost(panics_here);
                });
              }),
              ::testing::ExitedWithCode(2), KeepsIn{&text});
  EXPECT_TRUE(holds_in_order(text, {"panic: here [recovered, repanicked]\n\ngoroutine ",
                                    "[running] \"unlucky\":\npanic_report_test::panics_here()\n\t", "throws_deep",
                                    "in_the_middle", "outermost", "created by goroutine 1 at"}));
}

TEST_F(PanicReportDeathTest, a_handler_of_the_users_that_throws_on_is_where_the_report_begins) {
  std::string text;
  EXPECT_EXIT(run_and_die([] {
                try {
                  outermost(unlucky);
                } catch (const std::exception&) {
                  throws_deep(0, [] { throw; });
                }
              }),
              ::testing::ExitedWithCode(2), KeepsIn{&text});
  // A deferring function on the way had noted where it was thrown first.
  EXPECT_TRUE(holds_in_order(text, {"panic: std::runtime_error: out of luck\n\n", "panic_report_test::unlucky()\n"}));
  EXPECT_EXIT(run_and_die([] {
                try {
                  throws_deep(2, unlucky);
                } catch (const std::exception&) {
                  throws_deep(0, [] { throw; });
                }
              }),
              ::testing::ExitedWithCode(2), KeepsIn{&text});
  EXPECT_TRUE(holds_in_order(text, {"panic: std::runtime_error: out of luck\n\n", "panic_report_test::throws_deep("}));
  EXPECT_EQ(text.find("unlucky()"), std::string::npos) << text;
}

struct Chain {
  const char* head;  // Go's, which says "[recovered, repanicked]" since 1.25
  void (*run)();
};

constexpr Chain kChains[] = {
    {"panic: 1\n\tpanic: 2\n\tpanic: 3",
     [] {
       with_defers([](Defers& defer) {
         defer([] {
           with_defers([](Defers& inner) {
             inner([] { panic(3); });
             panic(2);
           });
         });
         panic(1);
       });
     }},
    {"panic: 1\n\tpanic: 2 [recovered]\n\tpanic: 3",
     [] {
       with_defers([](Defers& defer) {
         defer([](Recover& recover) {
           recover();
           panic(3);
         });
         defer([] { panic(2); });
         panic(1);
       });
     }},
    {"panic: p",  // over a goexit
     [] {
       with_defers([](Defers& defer) {
         defer([] { panic("p"); });
         goexit();
       });
     }},
    {"panic: p\n\tpanic: q",  // a goexit between them
     [] {
       with_defers([](Defers& defer) {
         defer([] { panic("q"); });
         defer([] { goexit(); });
         panic("p");
       });
     }},
    {"panic: out",  // the inner one was recovered
     [] {
       with_defers([](Defers& defer) {
         defer([] {
           with_defers([](Defers& inner) {
             inner([](Recover& recover) { recover(); });
             panic("in");
           });
         });
         panic("out");
       });
     }},
    {"panic: e [recovered, repanicked]",
     [] {
       with_defers([](Defers& defer) {
         defer([](Recover& recover) { panic(*recover()); });
         panic(std::runtime_error("e"));
       });
     }},
    {"panic: e [recovered, repanicked]",
     [] {
       with_defers([](Defers& defer) {
         defer([](Recover& recover) {
           recover();
           throw;
         });
         panic("e");
       });
     }},
    {"panic: b",  // the first was over and done
     [] {
       with_defers([](Defers& defer) {
         defer([](Recover& recover) { recover(); });
         panic("a");
       });
       panic("b");
     }},
    {"panic: b",  // likewise, by a handler
     [] {
       try {
         with_defers([](Defers& defer) {
           defer([] {});
           panic("a");
         });
       } catch (const Panic&) {
       }
       panic("b");
     }},
    {"panic: two\n\tlines", [] { panic("two\nlines"); }},
    {"panic: panic called with nil argument", [] { panic(nullptr); }},
    {"panic: send on closed channel",
     [] {
       auto c = make_chan<int>(1);
       c.close();
       c.send(1);
     }},
    {"panic: int: 5", [] { throw 5; }},
    {"panic: std::logic_error: while unwinding",  // a destructor that throws then: C++ ends it there
     [] {
       const auto d = defer([] { throw std::logic_error("while unwinding"); });
       panic("first");
     }},
    {"panic: std::terminate called", [] { std::terminate(); }},
    {"panic: std::logic_error: let none through",
     [] { []() noexcept { throws_deep(1, [] { throw std::logic_error("let none through"); }); }(); }},
};

TEST_F(PanicReportDeathTest, begins_with_Gos_lines) {
  for (const Chain& chain : kChains) {
    std::string text;
    EXPECT_EXIT(run_and_die(chain.run), ::testing::ExitedWithCode(2), KeepsIn{&text}) << chain.head;
    EXPECT_EQ(text.substr(0, text.find("\n\ngoroutine ")), chain.head) << text;
  }
}

TEST_F(PanicReportDeathTest, of_the_main_goroutine_ends_the_process_as_well) {
  EXPECT_EXIT(heddle::run([] { outermost(unlucky); }), ::testing::ExitedWithCode(2),
              "panic: std::runtime_error: out of luck\n\ngoroutine 1 \\[running\\] \"main\":\n");
}

TEST_F(PanicReportDeathTest, comes_though_the_main_goroutine_returns_meanwhile) {
  EXPECT_EXIT(heddle::run(
                  [] {
                    auto c = make_chan<int>();
                    go([c]() mutable {
                      with_defers([&](Defers& defer) {
                        defer([] {
                          for (int i = 0; i < 10; ++i) gosched();
                        });
                        defer([&] { c.close(); });
                        panic("late");
                      });
                    });
                    static_cast<void>(c.recv());
                  },
                  {.procs = 1, .preempt = false}),
              ::testing::ExitedWithCode(2), "panic: late\n");
}

}  // namespace panic_report_test
