// Labels: what a set says, who inherits it, when it goes, and where a report shows it.
#include <gtest/gtest.h>
#include <heddle/core/chan.h>
#include <heddle/core/dump.h>
#include <heddle/core/go.h>
#include <heddle/core/labels.h>
#include <heddle/core/run.h>
#include <heddle/core/wait_group.h>

#include <atomic>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include "traffic.h"

namespace heddle {
namespace {

using test::let_others_park;
using test::on_one_p;
using test::on_procs;

TEST(Labels, are_sorted_and_the_last_value_counts) {
  const Labels set{{"b", "2"}, {"a", "1"}, {"b", "3"}};
  EXPECT_EQ(set.size(), 2U);
  EXPECT_EQ(set.text(), R"({"a": "1", "b": "3"})");
  EXPECT_EQ(set.find("b"), "3");
  EXPECT_EQ(set.find("c"), std::nullopt);
  EXPECT_EQ(Labels().text(), "{}");
  EXPECT_TRUE(Labels({}).empty());
}

TEST(Labels, quotes_what_would_break_a_line) {
  const Labels set{{"k\"", "a\\b\nc\x01"}};
  EXPECT_EQ(set.text(), R"({"k\"": "a\\b\nc\x01"})");
}

TEST(Labels, with_adds_and_replaces_and_leaves_both_as_they_were) {
  const Labels a{{"x", "1"}, {"y", "1"}};
  const Labels b{{"y", "2"}, {"z", "2"}};
  EXPECT_EQ(a.with(b).text(), R"({"x": "1", "y": "2", "z": "2"})");
  EXPECT_EQ(a.text(), R"({"x": "1", "y": "1"})");
  EXPECT_EQ(a.with(Labels()), a);
  EXPECT_EQ(Labels().with(b), b);
}

TEST(Labels, a_goroutine_starts_with_its_creators_and_keeps_them) {
  on_one_p([] {
    EXPECT_TRUE(labels().empty());
    set_labels({{"request", "17"}});
    WaitGroup wg;
    auto gate = make_chan<int>();
    wg.go([&] {
      EXPECT_EQ(labels().find("request"), "17");
      gate.recv().value();
      EXPECT_EQ(labels().find("request"), "17");
      set_labels({});
      EXPECT_TRUE(labels().empty());
      wg.go([] { EXPECT_TRUE(labels().empty()); });
    });
    let_others_park();
    set_labels({{"request", "18"}});
    gate.send(1);
    wg.wait();
    EXPECT_EQ(labels().find("request"), "18");
  });
}

TEST(Labels, the_next_goroutine_on_a_stack_starts_without_them) {
  on_one_p([] {
    for (int i = 0; i < 3; ++i) {
      WaitGroup wg;
      wg.go([] {
        EXPECT_TRUE(labels().empty());
        set_labels({{"a", "b"}});
      });
      wg.wait();
    }
  });
}

TEST(Labels, with_labels_adds_for_a_call_and_restores) {
  on_one_p([] {
    set_labels({{"a", "1"}});
    const int n = with_labels({{"b", "2"}}, [] {
      EXPECT_EQ(labels().text(), R"({"a": "1", "b": "2"})");
      with_labels({{"a", "3"}}, [] { EXPECT_EQ(labels().text(), R"({"a": "3", "b": "2"})"); });
      return 5;
    });
    EXPECT_EQ(n, 5);
    EXPECT_EQ(labels().text(), R"({"a": "1"})");
    EXPECT_THROW(with_labels({{"c", "4"}}, [] { throw std::runtime_error("x"); }), std::runtime_error);
    EXPECT_EQ(labels().text(), R"({"a": "1"})");
  });
}

TEST(Labels, a_report_shows_them) {
  on_one_p([] {
    auto gate = make_chan<int>();
    WaitGroup wg;
    with_labels({{"k", "v"}, {"n", "1"}}, [&] { wg.go([&] { gate.recv().value(); }); });
    let_others_park();
    const std::string text = dump_goroutines();
    EXPECT_NE(text.find("[chan receive] labels: {\"k\": \"v\", \"n\": \"1\"}:\n"), std::string::npos) << text;
    EXPECT_NE(text.find("[running] \"main\":\n"), std::string::npos) << text;
    gate.send(1);
    wg.wait();
  });
}

TEST(Labels, of_goroutines_left_behind_are_given_back) {
  testing::internal::CaptureStderr();
  on_one_p([] {
    set_labels({{"a", "1"}});
    go([] { sleep(std::chrono::hours(1)); });
    let_others_park();
  });
  EXPECT_NE(testing::internal::GetCapturedStderr().find("1 goroutine left behind"), std::string::npos);
}

// Readers of a set race with goroutines that replace theirs and end.
TEST(LabelsStress, reports_read_while_goroutines_change_them) {
  on_procs(4, [] {
    std::atomic<bool> over{false};
    std::thread reader([&over] {
      while (!over.load()) {
        const std::string text = dump_goroutines();
        EXPECT_EQ(text.find("labels: {}"), std::string::npos);
      }
    });
    for (int round = 0; round < 40 / test::kSlow + 1; ++round) {
      WaitGroup wg;
      for (int i = 0; i < 50; ++i) {
        wg.go([i, &wg] {
          for (int r = 0; r < 10; ++r) {
            set_labels({{"i", std::to_string(i)}, {"r", std::to_string(r)}});
            if (r == 5) wg.go([i] { EXPECT_EQ(labels().find("i"), std::to_string(i)); });
            gosched();
          }
          EXPECT_EQ(labels().find("i"), std::to_string(i));
        });
      }
      wg.wait();
    }
    over.store(true);
    reader.join();
  });
}

TEST(LabelsDeathTest, set_labels_outside_a_goroutine_is_fatal) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_TRUE(labels().empty());
  EXPECT_DEATH(set_labels({{"a", "b"}}), "set_labels outside a goroutine");
}

}  // namespace
}  // namespace heddle
