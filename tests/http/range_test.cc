// Range sets: what is heeded, cut, merged, ignored and refused; If-Range.
#include <heddle/http/range.h>

#include <gtest/gtest.h>

#include <string>

#include <heddle/http/date.h>

namespace heddle::http {
namespace {

// "whole", "none", or "first+size first+size".
std::string read(std::string_view value, std::uint64_t size) {
  const RangeSet set = parse_range(value, size);
  if (set.kind == RangeSet::Kind::kWhole) return "whole";
  if (set.kind == RangeSet::Kind::kUnsatisfiable) return "none";
  std::string text;
  for (const ByteRange& range : set.ranges) {
    text += (text.empty() ? "" : " ") + std::to_string(range.first) + "+" + std::to_string(range.size);
  }
  return text;
}

TEST(Range, a_range_is_cut_to_the_body) {
  EXPECT_EQ(read("bytes=0-4", 10), "0+5");
  EXPECT_EQ(read("bytes=9-9", 10), "9+1");
  EXPECT_EQ(read("bytes=5-", 10), "5+5");
  EXPECT_EQ(read("bytes=5-100", 10), "5+5");
  EXPECT_EQ(read("bytes=-3", 10), "7+3");
  EXPECT_EQ(read("bytes=-30", 10), "0+10");
  EXPECT_EQ(read("Bytes=0-0", 10), "0+1");
  EXPECT_EQ(read("bytes= 0-0 ,\t2-2 ,,", 10), "0+1 2+1");
  EXPECT_EQ(read("bytes=00000000000000000000000000001-2", 10), "1+2");
  EXPECT_EQ(read("bytes=1-99999999999999999999999999", 10), "1+9");
  EXPECT_EQ(read("bytes=-99999999999999999999999999", 10), "0+10");
  const std::uint64_t most = ~std::uint64_t{0};
  EXPECT_EQ(read("bytes=0-", most), "0+" + std::to_string(most));
}

TEST(Range, what_lies_outside_is_unsatisfiable) {
  EXPECT_EQ(read("bytes=10-", 10), "none");
  EXPECT_EQ(read("bytes=10-20", 10), "none");
  EXPECT_EQ(read("bytes=-0", 10), "none");
  EXPECT_EQ(read("bytes=99999999999999999999999999-", 10), "none");
  EXPECT_EQ(read("bytes=10-,20-30", 10), "none");
  EXPECT_EQ(read("bytes=10-,0-0", 10), "0+1");
  EXPECT_EQ(read("bytes=0-", 0), "none");
  EXPECT_EQ(read("bytes=0-0", 0), "none");
  EXPECT_EQ(read("bytes=-0", 0), "none");
  EXPECT_EQ(read("bytes=-5", 0), "whole");  // of nothing
}

TEST(Range, a_set_with_anything_wrong_is_ignored) {
  for (const char* value : {"",
                            "bytes",
                            "bytes=",
                            "bytes=,",
                            "bytes 0-4",
                            "bytes =0-4",
                            "items=0-4",
                            "bytes=4-0",
                            "bytes=a-4",
                            "bytes=0-a",
                            "bytes=-",
                            "bytes=--1",
                            "bytes=0",
                            "bytes=0-4-5",
                            "bytes=+0-4",
                            "bytes=0-4;5-6",
                            "bytes=0-4,x",
                            "bytes=0 - 4",
                            "bytes=0-4, bytes=6-7",
                            "bytes=1-0,2-3",
                            "byte=0-4",
                            "bytesx=0-4"}) {
    EXPECT_EQ(read(value, 10), "whole") << value;
  }
}

TEST(Range, ranges_that_overlap_or_touch_are_merged) {
  EXPECT_EQ(read("bytes=0-1,4-5", 10), "0+2 4+2");
  EXPECT_EQ(read("bytes=4-5,0-1", 10), "4+2 0+2");  // the order is the client's
  EXPECT_EQ(read("bytes=0-4,2-8", 10), "0+9");
  EXPECT_EQ(read("bytes=0-4,5-8", 10), "0+9");
  EXPECT_EQ(read("bytes=0-,0-,-1", 10), "0+10");
  EXPECT_EQ(read("bytes=8-9,0-1,7-7,3-3", 10), "7+3 0+2 3+1");
  EXPECT_EQ(read("bytes=2-3,0-9,5-6", 10), "0+10");
}

TEST(Range, a_flood_of_ranges_is_ignored) {
  std::string value = "bytes=0-0";
  for (std::size_t i = 1; i < kMaxRanges; ++i) value += "," + std::to_string(2 * i) + "-" + std::to_string(2 * i);
  EXPECT_EQ(parse_range(value, 1000).ranges.size(), kMaxRanges);
  EXPECT_EQ(read(value + ",900-900", 1000), "whole");
  EXPECT_EQ(read(value + ",0-", 1000), "whole");
}

TEST(Range, what_is_sent_is_never_longer_than_the_body) {
  for (unsigned seed = 1; seed <= 2000; ++seed) {
    unsigned state = seed;
    const auto next = [&state](unsigned below) {
      state = state * 1'103'515'245 + 12'345;
      return (state >> 16) % below;
    };
    std::string value = "bytes=";
    for (unsigned i = 0; i < 2 + seed % 10; ++i) {
      const unsigned first = next(50);
      if (i != 0) value += ',';
      value +=
          next(5) == 0 ? "-" + std::to_string(first) : std::to_string(first) + "-" + std::to_string(first + next(20));
    }
    std::vector<int> times(40);
    for (const ByteRange& range : parse_range(value, times.size()).ranges) {
      for (std::uint64_t at = range.first; at < range.first + range.size; ++at) ++times.at(at);
    }
    for (const int n : times) ASSERT_LE(n, 1) << value;
  }
}

TEST(Range, if_range_wants_the_strong_tag_or_the_very_date) {
  const auto then = *parse_date("Sun, 06 Nov 1994 08:49:37 GMT");
  const auto now = then + std::chrono::seconds(1);
  EXPECT_TRUE(if_range_holds("\"a\"", "\"a\"", then, now));
  EXPECT_FALSE(if_range_holds("\"b\"", "\"a\"", then, now));
  EXPECT_FALSE(if_range_holds("W/\"a\"", "\"a\"", then, now));
  EXPECT_FALSE(if_range_holds("\"a\"", "W/\"a\"", then, now));
  EXPECT_FALSE(if_range_holds("W/\"a\"", "W/\"a\"", then, now));
  EXPECT_FALSE(if_range_holds("\"a\", \"b\"", "\"a\"", then, now));
  EXPECT_FALSE(if_range_holds("*", "\"a\"", then, now));
  EXPECT_FALSE(if_range_holds("", "", then, now));
  EXPECT_TRUE(if_range_holds("Sun, 06 Nov 1994 08:49:37 GMT", "\"a\"", then, now));
  EXPECT_TRUE(if_range_holds("Sunday, 06-Nov-94 08:49:37 GMT", "\"a\"", then, now));
  EXPECT_FALSE(if_range_holds("Sun, 06 Nov 1994 08:49:38 GMT", "\"a\"", then, now));
  EXPECT_FALSE(if_range_holds("Sun, 06 Nov 1994 08:49:37 GMT", "\"a\"", then, then));  // may change again in its second
  EXPECT_FALSE(if_range_holds("Sun, 06 Nov 1994 08:49:37 GMT", "\"a\"", std::nullopt, now));
  EXPECT_FALSE(if_range_holds("nonsense", "\"a\"", std::nullopt, now));
}

TEST(Range, content_range_names_first_last_and_all) {
  EXPECT_EQ(content_range({0, 5}, 10), "bytes 0-4/10");
  EXPECT_EQ(content_range_of_none(10), "bytes */10");
}

}  // namespace
}  // namespace heddle::http
