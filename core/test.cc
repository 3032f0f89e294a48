// The driver's side of the testing kit: sessions, and what their ends mean. The scheduler's side is internal/bubble.h.
#include <heddle/core/test.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <optional>
#include <vector>

#include <heddle/core/check.h>
#include <heddle/core/go.h>
#include <heddle/core/internal/bubble.h>
#include <heddle/core/internal/report.h>
#include <heddle/core/internal/run_state.h>
#include <heddle/core/mutex.h>
#include <heddle/core/run.h>
#include <heddle/core/task.h>

namespace heddle::test {
namespace {

using detail::Body;

struct Test {
  Body body;
  void* fn;
  const Options& options;
  const std::source_location& site;
};

// While it lives every heddle::run() is a session.
class Session {
 public:
  Session() {
    if (sched.running.load(std::memory_order_acquire) || sched.bubble != nullptr) {  // acquire: another thread's run()
      fatal("heddle::test::run() while a run() is under way");
    }
    sched.bubble = &bubble;
    heddle::detail::set_clock_for_test([]() noexcept { return sched.bubble->now(); });
    heddle::detail::test_new_mutexes(true);
  }
  ~Session() {
    heddle::detail::test_new_mutexes(false);
    heddle::detail::set_clock_for_test(nullptr);
    sched.bubble = nullptr;
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  Bubble bubble;
};

struct Result {
  Outcome outcome;
  BubbleEnd end = BubbleEnd::kAllEnded;
  std::exception_ptr error;  // what left the body
  std::string report;        // of the goroutines, if there is something wrong with them
};

// All goroutines but the driver, which calls.
std::string report_others() {
  std::string text;
  const auto write = [](void* arg) {
    *static_cast<std::string*>(arg) = report_all({.stacks = true}, nullptr, run_state.main_g);
  };
  if (!run_aside(write, &text)) text = report_all({}, nullptr, run_state.main_g);  // no thread to be had
  return text;
}

// On the driver.
Result run_under(Bubble& bubble, const Test& test, std::uint64_t seed) {
  Result result;
  bubble.begin(seed, test.options.most_steps);
  go(
      {.name = "test", .stack = StackSize::kLarge},
      [&] {
        struct End {
          Bubble& bubble;
          ~End() { bubble.body_ended(); }
        } const end{bubble};
        try {
          test.body(test.fn, seed);
        } catch (...) {
          if (!heddle::detail::keep_exception(result.error)) throw;
        }
      },
      test.site);
  result.end = bubble.run_out();
  result.outcome = {seed, bubble.steps(), bubble.schedule()};
  const bool wrong = result.end != BubbleEnd::kAllEnded && !(result.end == BubbleEnd::kLeft && test.options.may_leave);
  if (wrong && result.error == nullptr) result.report = report_others();
  return result;
}

std::string to_be_run_again(std::uint64_t seed) {
  const std::string number = std::to_string(seed);
  return "under seed " + number + "; HEDDLE_TEST_SEED=" + number + " runs this schedule again\n";
}

std::string words_for(BubbleEnd end, const Options& options) {
  switch (end) {
    case BubbleEnd::kAllEnded: return "";
    case BubbleEnd::kLeft: return "goroutines are left when the test's body has returned";
    case BubbleEnd::kDeadlock: return "all goroutines are asleep - deadlock!";
    case BubbleEnd::kTooLong: return "not done after " + std::to_string(options.most_steps) + " steps";
  }
  return "";
}

// When the run() that made it has ended.
void judge(const Result& result, const Options& options) {
  const std::uint64_t seed = result.outcome.seed;
  if (result.error != nullptr) {
    std::fprintf(stderr, "heddle::test: an exception left the body %s", to_be_run_again(seed).c_str());
    std::rethrow_exception(result.error);
  }
  const bool left = result.end == BubbleEnd::kLeft && options.may_leave;
  if (result.end != BubbleEnd::kAllEnded && !left) {
    throw Failure(words_for(result.end, options) + '\n' + to_be_run_again(seed) + '\n' + result.report, seed);
  }
  if (options.failed != nullptr && options.failed()) throw Failure("the body failed\n" + to_be_run_again(seed), seed);
}

std::optional<std::uint64_t> seed_of_environment() {
  const char* text = std::getenv("HEDDLE_TEST_SEED");
  if (text == nullptr || *text == '\0') return std::nullopt;
  char* end = nullptr;
  const std::uint64_t seed = std::strtoull(text, &end, 10);
  if (*end != '\0') {
    std::fprintf(stderr, "heddle: HEDDLE_TEST_SEED=%s is not a number\n", text);
    std::exit(2);
  }
  return seed;
}

Explored run_seeds(std::uint64_t first, std::uint64_t n, const Test& test, Outcome& last) {
  Explored explored;
  std::vector<std::uint64_t> schedules;
  for (std::uint64_t i = 0; i < n;) {
    std::optional<Result> result;
    {
      Session session;
      heddle::run(
          [&] {
            do {
              result.emplace(run_under(session.bubble, test, first + i));
              ++i;
              last = result->outcome;
              ++explored.seeds;
              explored.steps += last.steps;
              schedules.push_back(last.schedule);
              // What was left, or is to be told, ends the session.
            } while (i < n && result->end == BubbleEnd::kAllEnded && result->error == nullptr &&
                     (test.options.failed == nullptr || !test.options.failed()));
          },
          {.procs = 1, .seed = 1, .preempt = false});
    }
    judge(*result, test.options);
  }
  std::ranges::sort(schedules);
  const auto same = std::ranges::unique(schedules);
  explored.schedules = schedules.size() - same.size();
  return explored;
}

Bubble& must_have_bubble(const char* op) {
  if (sched.bubble == nullptr) fatal("%s outside heddle::test::run()", op);
  return *sched.bubble;
}

}  // namespace

namespace detail {

Outcome run_one(Body body, void* fn, const Options& options, const std::source_location& site) {
  Outcome outcome;
  run_seeds(seed_of_environment().value_or(options.seed), 1, {body, fn, options, site}, outcome);
  return outcome;
}

Explored run_many(std::uint64_t seeds, Body body, void* fn, const Options& options, const std::source_location& site) {
  Outcome outcome;
  if (const auto seed = seed_of_environment()) return run_seeds(*seed, 1, {body, fn, options, site}, outcome);
  return run_seeds(options.seed, seeds, {body, fn, options, site}, outcome);
}

}  // namespace detail

void wait() { must_have_bubble("test::wait").wait_for_others(); }

void spend(Duration d) {
  Bubble& bubble = must_have_bubble("test::spend");
  if (d > Duration::zero()) bubble.set_now(nanos_after(bubble.now(), d));
}

void yield_point() { schedule_point(); }

std::uint64_t random(std::uint64_t below) { return must_have_bubble("test::random").draw(below); }

std::uint64_t seed() noexcept { return sched.bubble == nullptr ? 0 : sched.bubble->seed(); }

}  // namespace heddle::test
