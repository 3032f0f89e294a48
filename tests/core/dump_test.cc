// The dump as of one instant: thousands of goroutines in known states, beside others that never rest.
#include <heddle/core/dump.h>

#include <gtest/gtest.h>

#include <map>
#include <string>

#include <heddle/core/blocking.h>
#include <heddle/core/chan.h>
#include <heddle/core/mutex.h>
#include <heddle/core/select.h>
#include <heddle/core/stop_the_world.h>
#include <heddle/core/wait_group.h>

#include "preemption.h"

namespace heddle {
namespace {

using namespace std::chrono_literals;
using test::TimeLimit;

// "goroutine 7 [chan receive]: …" -> states and how often.
std::map<std::string, int> states_in(const std::string& dump) {
  std::map<std::string, int> states;
  constexpr std::string_view kHead = "goroutine ";
  for (std::size_t at = 0; (at = dump.find(kHead, at)) != std::string::npos; ++at) {
    if (at != 0 && dump[at - 1] != '\n') continue;
    const std::size_t from = dump.find('[', at);
    const std::size_t to = dump.find(']', at);
    ++states[dump.substr(from + 1, to - from - 1)];
  }
  return states;
}

// So many goroutines in each of six states, all waiting when wait_until_all_wait() returns.
class Crowd {
 public:
  explicit Crowd(int each) : each_(each) {
    mutex_.lock();
    never_.add(1);
    for (int i = 0; i < each; ++i) {
      start([this] { static_cast<void>(gate_.recv()); });
      start([this] { full_.send(1); });
      start([this] { select(on_recv(gate_, [] {}), on_recv(other_, [] {})); });
      start([this] {
        mutex_.lock();
        mutex_.unlock();
      });
      start([this] { never_.wait(); });
      start([this] { select(on_recv(gate_, [] {}), on_timeout(1h, [] {})); });
    }
  }

  void let_go() {
    gate_.close();
    other_.close();
    for (int i = 0; i < each_; ++i) static_cast<void>(full_.recv());
    mutex_.unlock();
    never_.done();
    all_.wait();
  }

  // Each state as the dump spells it.
  void expect_in(const std::map<std::string, int>& states) const {
    const auto count = [&states](const char* state) {
      const auto it = states.find(state);
      return it == states.end() ? 0 : it->second;
    };
    EXPECT_EQ(count("chan receive"), each_);
    EXPECT_EQ(count("chan send"), each_);
    EXPECT_EQ(count("select"), 2 * each_);
    EXPECT_EQ(count("sync.Mutex.Lock"), each_);
    EXPECT_EQ(count("sync.WaitGroup.Wait"), each_);
  }

 private:
  template <class Fn>
  void start(Fn fn) {
    all_.go(fn);
  }

  int each_;
  Chan<int> gate_ = make_chan<int>();
  Chan<int> other_ = make_chan<int>();
  Chan<int> full_ = make_chan<int>();
  Mutex mutex_;
  WaitGroup never_;
  WaitGroup all_;
};

// Some compute, some yield, some pass a token: they are runnable, running, or in a channel operation of their own.
class Load {
 public:
  Load() {
    for (int i = 0; i < 4; ++i) {
      wg_.go([this] {
        while (!over_.load(std::memory_order_relaxed)) gosched();
      });
      wg_.go([this] {
        while (!over_.load(std::memory_order_relaxed)) sleep(50us);
      });
    }
    wg_.go([this] { test::spin_while_not(over_); });
  }
  void end() {
    over_.store(true);
    wg_.wait();
  }

 private:
  std::atomic<bool> over_{false};
  WaitGroup wg_;
};

class DumpOfMany : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(procs, DumpOfMany, testing::Values(1, 2, 4), testing::PrintToStringParamName());

TEST_P(DumpOfMany, shows_every_state_as_it_is) {
  const TimeLimit limit;
  heddle::run(
      [] {
        constexpr int kEach = kSanitized ? 100 : 1700;  // six of each: some 10,000
        Load load;
        Crowd crowd(kEach);
        // All of them wait when none is runnable any more but the load's.
        for (auto states = states_in(dump_goroutines({.stacks = false}));
             states["sync.WaitGroup.Wait"] != kEach || states["select"] != 2 * kEach || states["chan send"] != kEach ||
             states["sync.Mutex.Lock"] != kEach || states["chan receive"] != kEach;
             states = states_in(dump_goroutines({.stacks = false}))) {
          for (int k = 0; k < 50; ++k) gosched();
        }
        crowd.expect_in(states_in(dump_goroutines({.stacks = false})));
        const std::string dump = dump_goroutines({.stacks = true});
        crowd.expect_in(states_in(dump));
        EXPECT_NE(dump.find("heddle::Mutex::lock"), std::string::npos);
        load.end();
        crowd.let_go();
      },
      {.procs = GetParam()});
}

TEST(Dump, of_a_world_that_does_not_stop_comes_all_the_same) {
  const TimeLimit limit;
  const test::DebugSetting debug("asyncpreemptoff=1");
  heddle::run(
      [] {
        std::atomic<bool> running{false};
        std::atomic<bool> over{false};
        WaitGroup wg;
        wg.go([&] {
          running.store(true);
          test::spin_while_not(over);
        });
        while (!running.load()) gosched();
        const auto states = states_in(dump_goroutines({.stacks = true}));
        EXPECT_EQ(states.at("running"), 2);
        over.store(true);
        wg.wait();
      },
      {.procs = 2});
}

}  // namespace
}  // namespace heddle
