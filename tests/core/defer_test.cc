// Deferred calls, panics, recovery and goexit: what programs do by Go's rules, and what becomes of the exceptions.
//
// The table's expectations are what the same programs print in Go. Its programs write words into a log of their own, so
// the whole table also runs on many goroutines at once, under forced preemption, with a park at each word.
#include <heddle/core/defer.h>

#include <gtest/gtest.h>

#include <atomic>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <heddle/core/blocking.h>
#include <heddle/core/chan.h>
#include <heddle/core/error.h>
#include <heddle/core/go.h>
#include <heddle/core/run.h>
#include <heddle/core/wait_group.h>

#include "preemption.h"

namespace {

using namespace heddle;
using namespace heddle::test;

std::string text_of(const std::optional<PanicValue>& p) { return p ? p->text() : "nil"; }

// What a program says. With `parks`, each word lets others run first, and we may come back on another M.
struct Log {
  std::string words;
  bool parks = false;
  void operator()(const std::string& word) {
    if (parks) gosched();
    words += word + " ";
  }
  void operator()(const std::optional<PanicValue>& p) { (*this)(text_of(p)); }
};

struct Program {
  const char* name;
  const char* expected;
  void (*run)(Log& say);
};

// Shortens the table: a deferred call that says what it recovers, and one that panics.
auto recovers(Log& say) {
  return [&say](Recover& recover) { say(recover()); };
}
auto panics(const char* text) {
  return [text] { panic(text); };
}

void deep(Log& say, int n) {
  with_defers([&](Defers& defer) {
    defer([&say, n] { say(std::to_string(n)); });
    if (n == 0) panic("deep");
    deep(say, n - 1);
  });
}

constexpr Program kPrograms[] = {
    {"lifo", "body 2 1 returned over ",
     [](Log& say) {
       with_defers([&](Defers& defer) {
         defer([&] { say("1"); });
         defer([&] { say("2"); });
         say("body");
       });
     }},
    {"in a loop, more than fit", "body 11 10 9 8 7 6 5 4 3 2 1 0 returned over ",
     [](Log& say) {
       with_defers([&](Defers& defer) {
         for (int i = 0; i < 12; ++i) defer([&say, i] { say(std::to_string(i)); });
         say("body");
       });
     }},
    {"a panic runs all", "2 1 left:x ",
     [](Log& say) {
       with_defers([&](Defers& defer) {
         defer([&] { say("1"); });
         defer([&] { say("2"); });
         panic("x");
       });
     }},
    {"recovered", "2 x 1 returned over ",
     [](Log& say) {
       with_defers([&](Defers& defer) {
         defer([&] { say("1"); });
         defer(recovers(say));
         defer([&] { say("2"); });
         panic("x");
       });
     }},
    {"recover without a panic", "nil returned over ",
     [](Log& say) { with_defers([&](Defers& defer) { defer(recovers(say)); }); }},
    {"recover twice", "x nil returned over ",
     [](Log& say) {
       with_defers([&](Defers& defer) {
         defer([&](Recover& recover) {
           say(recover());
           say(recover());
         });
         panic("x");
       });
     }},
    {"recover after a recovery", "x nil returned over ",
     [](Log& say) {
       with_defers([&](Defers& defer) {
         defer(recovers(say));
         defer(recovers(say));
         panic("x");
       });
     }},
    {"recover in what a deferred call defers", "inner:nil left:x ",
     [](Log& say) {
       with_defers([&](Defers& defer) {
         defer([&] {
           with_defers([&](Defers& inner) { inner([&](Recover& recover) { say("inner:" + text_of(recover())); }); });
         });
         panic("x");
       });
     }},
    {"the outer call's recover inside an inner one", "inner:nil left:x ",
     [](Log& say) {
       with_defers([&](Defers& defer) {
         defer([&](Recover& recover) {
           with_defers([&](Defers& inner) { inner([&] { say("inner:" + text_of(recover())); }); });
         });
         panic("x");
       });
     }},
    {"recover in a deferred call that defers", "x k returned over ",
     [](Log& say) {
       with_defers([&](Defers& defer) {
         defer([&](Recover& recover) {
           with_defers([&](Defers& inner) {
             inner([&] { say("k"); });
             say(recover());
           });
         });
         panic("x");
       });
     }},
    {"recover after a call of a function that recovers nothing", "inner:nil outer:x returned over ",
     [](Log& say) {
       with_defers([&](Defers& defer) {
         defer([&](Recover& recover) {
           with_defers([&](Defers& inner) { inner([&](Recover& r) { say("inner:" + text_of(r())); }); });
           say("outer:" + text_of(recover()));
         });
         panic("x");
       });
     }},
    {"a panic takes another's place", "second returned over ",
     [](Log& say) {
       with_defers([&](Defers& defer) {
         defer(recovers(say));
         defer(panics("second"));
         panic("first");
       });
     }},
    {"and a third the second's", "third returned over ",
     [](Log& say) {
       with_defers([&](Defers& defer) {
         defer(recovers(say));
         defer(panics("third"));
         defer(panics("second"));
         panic("first");
       });
     }},
    {"the one that took the place leaves", "1 left:second ",
     [](Log& say) {
       with_defers([&](Defers& defer) {
         defer([&] { say("1"); });
         defer(panics("second"));
         panic("first");
       });
     }},
    {"recovered, then another", "a b returned over ",
     [](Log& say) {
       with_defers([&](Defers& defer) {
         defer(recovers(say));
         defer([&](Recover& recover) {
           say(recover());
           panic("b");
         });
         panic("a");
       });
     }},
    {"recovered, then the same", "a left:a ",
     [](Log& say) {
       with_defers([&](Defers& defer) {
         defer([&](Recover& recover) {
           const auto p = recover();
           say(p);
           panic(*p);
         });
         panic("a");
       });
     }},
    {"recovered, then thrown on as an exception", "a left:a ",
     [](Log& say) {
       with_defers([&](Defers& defer) {
         defer([&](Recover& recover) {
           say(recover());
           throw;
         });
         panic("a");
       });
     }},
    {"one inside a deferred call is recovered there", "in on out returned over ",
     [](Log& say) {
       with_defers([&](Defers& defer) {
         defer(recovers(say));
         defer([&] {
           with_defers([&](Defers& inner) {
             inner(recovers(say));
             panic("in");
           });
           say("on");
         });
         panic("out");
       });
     }},
    {"one inside a deferred call leaves it", "3 returned over ",
     [](Log& say) {
       with_defers([&](Defers& defer) {
         defer(recovers(say));
         defer([&] {
           with_defers([&](Defers& inner) {
             inner(panics("3"));
             panic("2");
           });
         });
         panic("1");
       });
     }},
    {"in a deferred call on return", "late 7 returned over ",
     [](Log& say) {
       const int n = with_defers([&](Defers& defer) {
         defer(recovers(say));
         defer(panics("late"));
         return 7;
       });
       say(std::to_string(n));
     }},
    {"zero result", "0 returned over ",
     [](Log& say) {
       const int n = with_defers([&](Defers& defer) -> int {
         defer([&](Recover& recover) { recover(); });
         panic("x");
       });
       say(std::to_string(n));
     }},
    {"a result that a deferred call sets", "-1 returned over ",
     [](Log& say) {
       int n = 0;
       with_defers([&](Defers& defer) {
         defer([&](Recover& recover) {
           if (recover()) n = -1;
         });
         panic("x");
       });
       say(std::to_string(n));
     }},
    {"what is captured by value is of now", "2 1 returned over ",
     [](Log& say) {
       with_defers([&](Defers& defer) {
         int i = 1;
         defer([&say, i] { say(std::to_string(i)); });
         i = 2;
         say(std::to_string(i));
       });
     }},
    {"a deferred call defers for the same function", "1 2 3 returned over ",
     [](Log& say) {
       with_defers([&](Defers& defer) {
         defer([&] {
           say("2");
           defer([&] { say("3"); });
         });
         say("1");
       });
     }},
    {"through frames", "0 1 2 3 deep returned over ",
     [](Log& say) {
       with_defers([&](Defers& defer) {
         defer(recovers(say));
         deep(say, 3);
       });
     }},
    {"recovered in the middle, then one more", "g x done g left:x ",
     [](Log& say) {
       const auto g = [&] {
         with_defers([&](Defers& defer) {
           defer([&] { say("g"); });
           panic("x");
         });
       };
       with_defers([&](Defers& defer) {
         defer(recovers(say));
         g();
         say("no");
       });
       say("done");
       g();
     }},
    {"nil", "panic called with nil argument returned over ",
     [](Log& say) {
       with_defers([&](Defers& defer) {
         defer(recovers(say));
         panic(nullptr);
       });
     }},
    {"a rule of the language", "close of closed channel returned over ",
     [](Log& say) {
       with_defers([&](Defers& defer) {
         defer(recovers(say));
         auto c = make_chan<int>();
         c.close();
         c.close();
       });
     }},
    {"destructors before deferred calls of the same body", "local deferred x returned over ",
     [](Log& say) {
       with_defers([&](Defers& defer) {
         defer(recovers(say));
         defer([&] { say("deferred"); });
         HEDDLE_DEFER { say("local"); };
         panic("x");
       });
     }},
    {"both forms in order, from the inside out", "a b c x returned over ",
     [](Log& say) {
       with_defers([&](Defers& defer) {
         defer(recovers(say));
         const auto c = heddle::defer([&] { say("c"); });
         with_defers([&](Defers& inner) {
           inner([&] { say("b"); });
           const auto a = heddle::defer([&] { say("a"); });
           panic("x");
         });
       });
     }},
    {"goexit", "nil 1 over ",
     [](Log& say) {
       with_defers([&](Defers& defer) {
         defer([&] { say("1"); });
         defer(recovers(say));
         goexit();
       });
     }},
    {"goexit through frames", "2 1 over ",
     [](Log& say) {
       with_defers([&](Defers& defer) {
         defer([&] { say("1"); });
         with_defers([&](Defers& inner) {
           inner([&] { say("2"); });
           goexit();
         });
         say("no");
       });
     }},
    {"goexit, a panic recovered in the same function", "p outer over ",
     [](Log& say) {
       with_defers([&](Defers& defer) {
         defer([&] { say("outer"); });
         with_defers([&](Defers& inner) {
           inner(recovers(say));
           inner(panics("p"));
           goexit();
         });
         say("no");
       });
     }},
    {"goexit, a panic recovered further out", "p mid outer over ",
     [](Log& say) {
       with_defers([&](Defers& defer) {
         defer([&] { say("outer"); });
         with_defers([&](Defers& mid) {
           mid([&] { say("mid"); });
           mid(recovers(say));
           with_defers([&](Defers& inner) {
             inner(panics("p"));
             goexit();
           });
           say("no");
         });
         say("no");
       });
     }},
    {"goexit in a deferred call of a panic", "nil over ",
     [](Log& say) {
       with_defers([&](Defers& defer) {
         defer(recovers(say));
         defer([] { goexit(); });
         panic("p");
       });
     }},
    {"goexit after recovery", "p nil over ",
     [](Log& say) {
       with_defers([&](Defers& defer) {
         defer(recovers(say));
         defer([&](Recover& recover) {
           say(recover());
           goexit();
         });
         panic("p");
       });
     }},
    {"goexit, panic, goexit", "1 over ",
     [](Log& say) {
       with_defers([&](Defers& defer) {
         defer([&] { say("1"); });
         defer([] { goexit(); });
         defer(panics("p"));
         goexit();
       });
     }},
    {"goexit, panic recovered, panic", "p q over ",
     [](Log& say) {
       with_defers([&](Defers& defer) {
         defer(recovers(say));
         defer(panics("q"));
         defer(recovers(say));
         defer(panics("p"));
         goexit();
       });
     }},
};

// The goroutine around each: what leaves the program, and whether it returned.
void run_program(const Program& program, Log& log) {
  with_defers([&](Defers& defer) {
    defer([&](Recover& recover) {
      const auto p = recover();
      log(p ? "left:" + p->text() : "over");
    });
    program.run(log);
    log("returned");
  });
}

TEST(Defer, programs_do_what_they_do_in_Go) {
  heddle::run([] {
    for (const Program& program : kPrograms) {
      Log log;
      WaitGroup wg;
      wg.go([&] { run_program(program, log); });
      wg.wait();
      EXPECT_EQ(log.words, program.expected) << program.name;
    }
  });
}

TEST(Defer, programs_do_so_with_parks_on_other_Ms_under_preemption) {
#if !defined(__SANITIZE_THREAD__)
  const DebugSetting forced(kForced);
#endif
  const TimeLimit limit;
  for (const int procs : {1, 2, 4}) {
    heddle::run(
        [] {
          constexpr int kEach = 4;
          std::vector<Log> logs(std::size(kPrograms) * kEach);
          WaitGroup wg;
          for (std::size_t i = 0; i < logs.size(); ++i) {
            logs[i].parks = true;
            wg.go([&, i] { run_program(kPrograms[i / kEach], logs[i]); });
          }
          wg.wait();
          for (std::size_t i = 0; i < logs.size(); ++i) {
            EXPECT_EQ(logs[i].words, kPrograms[i / kEach].expected) << kPrograms[i / kEach].name;
          }
        },
        {.procs = procs});
  }
}

TEST(Defer, works_on_a_thread_without_goroutines_save_goexit) {
  std::thread([] {
    for (const Program& program : kPrograms) {
      if (std::string(program.name).starts_with("goexit")) continue;
      Log log;
      run_program(program, log);
      EXPECT_EQ(log.words, program.expected) << program.name;
    }
  }).join();
}

TEST(Defer, results_may_be_of_types_that_only_move) {
  EXPECT_EQ(*with_defers([](Defers&) { return std::make_unique<int>(5); }), 5);
  EXPECT_EQ(with_defers([](Defers& defer) -> std::unique_ptr<int> {
              defer([](Recover& recover) { recover(); });
              panic("x");
            }),
            nullptr);
}

TEST(Defer, closures_are_destroyed_once_whatever_happens) {
  const auto alive = std::make_shared<int>(0);
  heddle::run([&] {
    for (const int way : {0, 1, 2, 3}) {
      WaitGroup wg;
      wg.go([&, way] {
        with_defers([&](Defers& outer) {
          outer([&, alive](Recover& recover) { recover(); });
          with_defers([&](Defers& defer) {
            for (int i = 0; i < 20; ++i) {
              defer([alive, way, i] {
                if (way == 2 && i == 10) panic("x");
              });
            }
            std::byte big[4096] = {};
            defer([alive, big] { static_cast<void>(big); });
            if (way == 1) panic(1);
            if (way == 3) goexit();
          });
        });
      });
      wg.wait();
      EXPECT_EQ(alive.use_count(), 1) << way;
    }
  });
}

TEST(Defer, the_plain_form_runs_at_the_end_of_its_scope_and_may_panic_there) {
  std::string order;
  const auto f = [&] {
    const auto a = defer([&] { order += 'a'; });
    HEDDLE_DEFER { order += 'b'; };
    {
      HEDDLE_DEFER { order += 'c'; };
    }
    order += '-';
  };
  f();
  EXPECT_EQ(order, "c-ba");
  EXPECT_THROW({ const auto p = defer([] { panic("x"); }); }, Panic);
}

// --- values ---

enum class Colour { kRed, kBlue = 2 };
struct Point {
  int x, y;
};
class MyError : public std::runtime_error {
 public:
  using runtime_error::runtime_error;
};

template <class Fn>
std::optional<PanicValue> recovered_from(Fn&& fn) {
  std::optional<PanicValue> got;
  with_defers([&](Defers& defer) {
    defer([&](Recover& recover) { got = recover(); });
    fn();
  });
  return got;
}

TEST(Panic, values_print_as_in_Go) {
  const auto text = [](auto value) { return recovered_from([&] { panic(value); })->text(); };
  EXPECT_EQ(text("text"), "text");
  EXPECT_EQ(text(std::string("text")), "text");
  EXPECT_EQ(text(std::string_view("text")), "text");
  EXPECT_EQ(text(42), "42");
  EXPECT_EQ(text(-1L), "-1");
  EXPECT_EQ(text(std::uint8_t{3}), "3");
  EXPECT_EQ(text('x'), "120");
  EXPECT_EQ(text(true), "true");
  EXPECT_EQ(text(1.5), "+1.500000e+000");
  EXPECT_EQ(text(-1e-10F), "-1.000000e-010");
  EXPECT_EQ(text(1e300), "+1.000000e+300");
  EXPECT_EQ(text(Colour::kBlue), "(anonymous namespace)::Colour(2)");
  EXPECT_EQ(text(MyError("broken")), "broken");
  EXPECT_EQ(text(Error::from_errno(ECONNREFUSED, "dial")), Error::from_errno(ECONNREFUSED, "dial").message());
  EXPECT_EQ(text(Point{1, 2}).rfind("((anonymous namespace)::Point) 0x", 0), 0U);
  EXPECT_EQ(text(nullptr), "panic called with nil argument");
  EXPECT_EQ(text(static_cast<const char*>(nullptr)), "panic called with nil argument");
  EXPECT_EQ(text(std::exception_ptr()), "panic called with nil argument");
}

TEST(Panic, values_come_back_with_their_type) {
  EXPECT_EQ(*recovered_from([] { panic(42); })->as<int>(), 42);
  EXPECT_EQ(recovered_from([] { panic(42); })->as<long>(), nullptr);
  EXPECT_EQ(*recovered_from([] { panic("text"); })->as<std::string>(), "text");
  EXPECT_EQ(recovered_from([] { panic(Point{1, 2}); })->as<Point>()->y, 2);
  const auto error = recovered_from([] { panic(MyError("broken")); });
  EXPECT_STREQ(error->as<MyError>()->what(), "broken");
  EXPECT_STREQ(error->as<std::exception>()->what(), "broken");
  EXPECT_NE(recovered_from([] { panic(nullptr); })->as<PanicNilError>(), nullptr);
  EXPECT_NE(recovered_from([] { panic(1); })->as<Panic>(), nullptr);
  EXPECT_STREQ(recovered_from([] { throw Panic("rule"); })->as<Panic>()->what(), "rule");
}

TEST(Panic, is_an_exception_that_a_handler_may_catch) {
  try {
    panic(Colour::kBlue);
  } catch (const Panic& p) {
    EXPECT_EQ(*p.as<Colour>(), Colour::kBlue);
    EXPECT_STREQ(p.what(), "(anonymous namespace)::Colour(2)");
    const Panic copy = p;
    EXPECT_EQ(copy.as<Colour>(), p.as<Colour>());
  }
}

TEST(Panic, an_exception_is_one) {
  const auto p = recovered_from([] { throw MyError("boom"); });
  EXPECT_EQ(p->text(), "(anonymous namespace)::MyError: boom");
  EXPECT_STREQ(p->as<MyError>()->what(), "boom");
  EXPECT_STREQ(p->as<std::runtime_error>()->what(), "boom");
  EXPECT_STREQ(p->as<std::exception>()->what(), "boom");
  EXPECT_EQ(p->as<Panic>(), nullptr);
  EXPECT_THROW(std::rethrow_exception(p->exception()), MyError);
  EXPECT_THROW(panic(*p), MyError);
  const auto number = recovered_from([] { throw 5; });
  EXPECT_EQ(number->text(), "int: 5");
  EXPECT_EQ(*number->as<int>(), 5);
  const auto literal = recovered_from([] { throw "words"; });
  EXPECT_EQ(literal->text(), "char const*: words");
  EXPECT_STREQ(*literal->as<const char*>(), "words");
}

TEST(Panic, the_same_one_is_equal_to_itself_alone) {
  const auto a = recovered_from([] { panic("x"); });
  const auto b = recovered_from([] { panic("x"); });
  const auto again = recovered_from([&] { panic(*a); });
  EXPECT_EQ(*a, *again);
  EXPECT_FALSE(*a == *b);
}

// --- exceptions' lives and state ---

struct Counted {
  static inline std::atomic<int> alive{0};
  Counted() { ++alive; }
  Counted(const Counted&) { ++alive; }
  ~Counted() { --alive; }
};

TEST(Panic, a_recovered_exception_dies_with_its_value) {
  heddle::run([] {
    for (int i = 0; i < 3; ++i) {
      int after = -1;
      with_defers([&](Defers& defer) {
        defer([&] { after = Counted::alive.load(); });  // on an ordinary return, out of the handler
        defer([](Recover& recover) { recover(); });
        throw Counted();
      });
      EXPECT_EQ(after, 0);
      {
        const auto p = recovered_from([] { panic(Counted()); });
        EXPECT_EQ(Counted::alive.load(), 1);
      }
      EXPECT_EQ(Counted::alive.load(), 0);
      // Replaced; and caught by a handler after the deferred calls.
      EXPECT_TRUE(recovered_from([] {
        with_defers([](Defers& defer) {
          defer([] { throw Counted(); });
          throw Counted();
        });
      }));
      EXPECT_EQ(Counted::alive.load(), 0);
      try {
        with_defers([](Defers& defer) {
          defer([] {});
          throw Counted();
        });
      } catch (const Counted&) {
        EXPECT_EQ(Counted::alive.load(), 1);
      }
      EXPECT_EQ(Counted::alive.load(), 0);
    }
  });
}

TEST(Panic, exception_state_is_right_in_and_after_deferred_calls) {
  heddle::run(
      [] {
        WaitGroup wg;
        for (int i = 0; i < 50; ++i) {
          wg.go([i] {
            for (int round = 0; round < 5; ++round) {
              try {
                throw std::string("outer");
              } catch (const std::string&) {
                const std::exception_ptr outer = std::current_exception();
                with_defers([&](Defers& defer) {
                  defer([&] {
                    EXPECT_EQ(std::current_exception(), outer) << "recovered by now";
                    gosched();
                    EXPECT_EQ(std::uncaught_exceptions(), 0);
                  });
                  defer([&](Recover& recover) {
                    EXPECT_EQ(std::uncaught_exceptions(), 0);
                    const std::exception_ptr panic_now = std::current_exception();
                    EXPECT_NE(panic_now, outer);
                    gosched();
                    try {
                      throw i;
                    } catch (int n) {
                      gosched();
                      EXPECT_EQ(n, i);
                    }
                    EXPECT_EQ(std::current_exception(), panic_now);
                    const auto p = recover();
                    EXPECT_EQ(p->exception(), panic_now);
                    EXPECT_EQ(*p->as<int>(), i + 1'000);
                  });
                  gosched();
                  panic(i + 1'000);
                });
                EXPECT_EQ(std::current_exception(), outer);
                EXPECT_EQ(std::uncaught_exceptions(), 0);
              }
              EXPECT_EQ(std::current_exception(), nullptr);
            }
          });
        }
        wg.wait();
      },
      {.procs = 4});
}

TEST(Panic, deferred_calls_may_run_inside_a_destructor_while_another_panic_unwinds) {
  heddle::run([] {
    std::string inner;
    struct Recovers {
      std::string& text;
      ~Recovers() {
        EXPECT_EQ(std::uncaught_exceptions(), 1);
        text = text_of(recovered_from([] { panic("inner"); }));
        EXPECT_EQ(std::uncaught_exceptions(), 1);
      }
    };
    const auto outer = recovered_from([&] {
      const Recovers r{inner};
      with_defers([](Defers& defer) {
        defer([] {});
        panic("outer");
      });
    });
    EXPECT_EQ(inner, "inner");
    EXPECT_EQ(text_of(outer), "outer");
  });
}

TEST(Panic, handlers_between_deferring_functions_may_catch_replace_and_throw_on) {
  heddle::run([] {
    for (int round = 0; round < 3; ++round) {
      const auto thrown_on = [](const char* text) {
        with_defers([&](Defers& defer) {
          defer([] {});
          throw std::runtime_error(text);
        });
      };
      // Caught for good, then another one.
      EXPECT_EQ(text_of(recovered_from([&] {
                  try {
                    thrown_on("a");
                  } catch (const std::exception&) {
                  }
                  panic("b");
                })),
                "b");
      // Caught and thrown on.
      EXPECT_EQ(text_of(recovered_from([&] {
                  try {
                    thrown_on("a");
                  } catch (...) {
                    throw;
                  }
                })),
                "std::runtime_error: a");
      // Another in its place.
      EXPECT_EQ(text_of(recovered_from([&] {
                  try {
                    thrown_on("a");
                  } catch (...) {
                    panic("b");
                  }
                })),
                "b");
      // Within a deferred call of another.
      EXPECT_EQ(text_of(recovered_from([&] {
                  with_defers([&](Defers& defer) {
                    defer([&] {
                      try {
                        thrown_on("in");
                      } catch (const std::exception&) {
                      }
                    });
                    panic("out");
                  });
                })),
                "out");
    }
  });
}

TEST(Panic, crosses_blocking_and_is_recovered_outside) {
  heddle::run([] {
    EXPECT_EQ(text_of(recovered_from([] { blocking([] { panic("helper"); }); })), "helper");
    EXPECT_EQ(blocking([] { return text_of(recovered_from([] { panic("inside"); })); }), "inside");
  });
}

TEST(Panic, a_value_may_be_carried_to_another_goroutine) {
  heddle::run(
      [] {
        auto c = make_chan<PanicValue>();
        WaitGroup wg;
        wg.go([&] { c.send(*recovered_from([] { panic("there"); })); });
        const PanicValue p = *c.recv();
        wg.wait();
        EXPECT_EQ(text_of(recovered_from([&] { panic(p); })), "there");
      },
      {.procs = 2});
}

TEST(Panic, stays_with_its_goroutine_under_preemption) {
#if !defined(__SANITIZE_THREAD__)
  const DebugSetting forced(kForced);
#endif
  const TimeLimit limit;
  heddle::run(
      [] {
        WaitGroup wg;
        for (int i = 0; i < 4; ++i) {
          wg.go([i] {
            for (int round = 0; round < 200; ++round) {
              const auto p = recovered_from([&] {
                with_defers([&](Defers& defer) {
                  defer([&] { panic(i * 1'000 + round); });
                  HEDDLE_DEFER { yield_check(); };
                  panic("first");
                });
              });
              ASSERT_TRUE(p);
              ASSERT_EQ(*p->as<int>(), i * 1'000 + round);
            }
          });
        }
        wg.wait();
      },
      {.procs = 2});
}

}  // namespace
