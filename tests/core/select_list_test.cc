// SelectList: select's rules hold for a list of cases that is made when the program runs, however long.
#include <gtest/gtest.h>
#include <heddle/core/chan.h>
#include <heddle/core/context.h>
#include <heddle/core/go.h>
#include <heddle/core/panic.h>
#include <heddle/core/select.h>
#include <heddle/core/wait_group.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "traffic.h"

namespace heddle {
namespace {

using namespace std::chrono_literals;
using test::let_others_park;
using test::Ledger;
using test::on_all_schedules;
using test::on_one_p;
using test::on_procs;
using test::Parcel;

constexpr auto kIgnore = [] {};

template <class T>
std::vector<Chan<T>> channels(std::size_t n, std::size_t capacity = 0) {
  std::vector<Chan<T>> made;
  for (std::size_t i = 0; i < n; ++i) made.push_back(make_chan<T>(capacity));
  return made;
}

TEST(SelectList, chooses_the_case_that_is_ready_and_says_its_index) {
  on_one_p([] {
    auto c = channels<int>(300, 1);
    SelectList list;
    int got = -1;
    for (auto& ch : c) list.add(on_recv(ch, [&got](int v, bool ok) { got = ok ? v : -2; }));
    for (const int i : {0, 299, 17}) {
      c[static_cast<std::size_t>(i)].send(1000 + i);
      EXPECT_EQ(select(list), static_cast<std::size_t>(i));
      EXPECT_EQ(got, 1000 + i);
    }
    c[200].close();
    EXPECT_EQ(select(list), 200u);
    EXPECT_EQ(got, -2);
  });
}

TEST(SelectList, mixes_types_sends_a_context_and_a_time_out) {
  on_one_p([] {
    auto numbers = make_chan<int>();
    auto words = make_chan<std::string>(1);
    auto [ctx, cancel] = with_cancel(Context());
    SelectList list;
    std::string log;
    EXPECT_EQ(list.add(on_recv(numbers, [&](int v, bool) { log += std::to_string(v); })), 0u);
    EXPECT_EQ(list.add(on_send(words, "word", [&] { log += 's'; })), 1u);
    EXPECT_EQ(list.add(on_done(ctx, [&] { log += 'd'; })), 2u);
    EXPECT_EQ(list.add(on_timeout(1ms, [&] { log += 't'; })), 3u);
    EXPECT_EQ(list.size(), 4u);
    EXPECT_EQ(select(list), 1u);
    EXPECT_EQ(words.try_recv(), "word");
    list.disable(1);
    EXPECT_EQ(select(list), 3u);
    go([numbers] { numbers.send(7); });
    let_others_park();
    EXPECT_EQ(select(list), 0u);
    let_others_park();
    cancel();
    EXPECT_EQ(select(list), 2u);
    EXPECT_EQ(log, "st7d");
  });
}

TEST(SelectList, parks_and_is_woken_by_any_of_its_channels) {
  for (const int procs : {1, 2, 4}) {
    on_procs(procs, [] {
      constexpr std::size_t kChannels = 50;
      auto c = channels<std::size_t>(kChannels);
      SelectList list;
      std::size_t got = 0;
      for (auto& ch : c) list.add(on_recv(ch, [&got](std::size_t v, bool) { got = v; }));
      WaitGroup wg;
      for (std::size_t i = 0; i < kChannels; ++i) {
        wg.go([ch = c[i], i] { ch.send(i); });
        EXPECT_EQ(select(list), i);
        EXPECT_EQ(got, i);
      }
      wg.wait();
    });
  }
}

TEST(SelectList, otherwise_is_chosen_only_if_nothing_is_ready) {
  on_one_p([] {
    auto c = channels<int>(3, 1);
    SelectList list;
    for (auto& ch : c) list.add(on_recv(ch, kIgnore));
    list.add(otherwise(kIgnore));
    EXPECT_EQ(select(list), 3u);
    c[1].send(1);
    EXPECT_EQ(select(list), 1u);
    EXPECT_EQ(select(list), 3u);

    SelectList empty;
    empty.add(otherwise(kIgnore));
    EXPECT_EQ(select(empty), 0u);
  });
}

TEST(SelectList, a_send_is_renewed_by_set) {
  on_one_p([] {
    auto ch = make_chan<std::unique_ptr<int>>(1);
    SelectList list;
    list.add(on_send(ch, std::make_unique<int>(0), kIgnore));
    for (int i = 0; i < 5; ++i) {
      list.set(0, on_send(ch, std::make_unique<int>(i), kIgnore));
      EXPECT_EQ(select(list), 0u);
      EXPECT_EQ(*ch.recv().value(), i);
    }
  });
}

TEST(SelectList, a_send_on_a_closed_channel_panics) {
  on_one_p([] {
    auto ch = make_chan<int>();
    ch.close();
    SelectList list;
    list.add(on_send(ch, 1, kIgnore));
    EXPECT_THROW(select(list), Panic);
  });
}

TEST(SelectList, a_function_may_change_its_own_case_and_select_again) {
  on_one_p([] {
    auto ch = make_chan<int>(3);
    for (const int v : {1, 2, 3}) ch.send(v);
    SelectList list;
    std::vector<int> got;
    const auto last = [&](int v, bool) { got.push_back(-v); };
    list.add(on_recv(ch, [&, keep = std::make_shared<int>(5)](int v, bool) {
      got.push_back(v);
      if (v < 2) {
        select(list);
        return;
      }
      list.set(0, on_recv(ch, last));
      got.push_back(*keep);  // what the function owns outlives its place
      select(list);
    }));
    select(list);
    EXPECT_EQ(got, (std::vector{1, 2, 5, -3}));
  });
}

// Go's idiom for many inputs: a channel that is closed goes out of the select.
TEST(SelectList, merges_until_all_inputs_are_closed_and_loses_nothing) {
  on_all_schedules([](std::uint64_t, int effort) {
    constexpr std::size_t kInputs = 5;
    const std::size_t each = static_cast<std::size_t>(effort) + 3;
    auto c = channels<Parcel>(kInputs);
    Ledger ledger(kInputs * each);
    WaitGroup wg;
    for (std::size_t i = 0; i < kInputs; ++i) {
      wg.go([ch = c[i], i, each] {
        for (std::size_t k = 0; k < each; ++k) ch.send(Parcel(i * each + k));
        ch.close();
      });
    }
    SelectList list;
    std::size_t open = kInputs;
    for (std::size_t i = 0; i < kInputs; ++i) {
      list.add(on_recv(c[i], [&, i](std::optional<Parcel> p) {
        if (p) return ledger.note(*p);
        --open;
        list.disable(i);
      }));
    }
    while (open > 0) select(list);
    wg.wait();
    ledger.expect_each_once();
  });
}

TEST(SelectList, senders_and_receivers_by_lists_meet) {
  on_all_schedules([](std::uint64_t, int effort) {
    const std::size_t total = 4 * (static_cast<std::size_t>(effort) + 1);
    auto c = channels<Parcel>(3);
    Ledger ledger(total);
    WaitGroup wg;
    for (std::size_t s = 0; s < 4; ++s) {
      wg.go([&, s] {
        for (std::size_t k = s; k < total; k += 4) {
          SelectList list;
          for (auto& ch : c) list.add(on_send(ch, Parcel(k), kIgnore));
          select(list);
        }
      });
    }
    for (int r = 0; r < 2; ++r) {
      wg.go([&] {
        SelectList list;
        for (auto& ch : c) list.add(on_recv(ch, [&](std::optional<Parcel> p) { ledger.note(p.value()); }));
        for (std::size_t k = 0; k < total / 2; ++k) select(list);
      });
    }
    wg.wait();
    ledger.expect_each_once();
  });
}

// 99 degrees of freedom: a fair select exceeds the limit once in 10^9 runs. The seed makes the draws repeat.
TEST(SelectList, each_of_a_hundred_ready_cases_is_as_likely) {
  static constexpr double kLimit = 207.90;
  constexpr std::size_t kCases = 100;
  constexpr int kDraws = 50'000;
  for (const std::uint64_t seed : {1u, 2u}) {
    run(
        [] {
          auto c = channels<int>(kCases);
          SelectList list;
          std::vector<int> counts(kCases);
          for (auto& ch : c) {
            ch.close();
            list.add(on_recv(ch, kIgnore));
          }
          for (int i = 0; i < kDraws; ++i) ++counts[select(list)];
          constexpr double kExpected = double{kDraws} / kCases;
          double sum = 0;
          for (const int n : counts) sum += (n - kExpected) * (n - kExpected) / kExpected;
          EXPECT_LT(sum, kLimit);
        },
        {.procs = 1, .seed = seed});
  }
}

TEST(SelectListDeathTest, refuses_what_select_refuses_when_compiled) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  SelectList list;
  list.add(on_timeout(1s, kIgnore));
  list.set(0, on_timeout(2s, kIgnore));
  EXPECT_DEATH(list.add(otherwise(kIgnore)), "SelectList: a second on_timeout or otherwise");
  EXPECT_DEATH(list.set(1, otherwise(kIgnore)), "SelectList: set case 1 of 1");
  EXPECT_DEATH(list.disable(1), "SelectList: disable case 1 of 1");
}

}  // namespace
}  // namespace heddle
