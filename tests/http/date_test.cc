// Dates: the RFC's example in its three forms, the calendar's edges, and what is no date.
#include <heddle/http/date.h>

#include <gtest/gtest.h>

#include <string>

namespace heddle::http {
namespace {

using std::chrono::seconds;
using std::chrono::sys_seconds;

sys_seconds at(std::int64_t second) { return sys_seconds(seconds(second)); }
const sys_seconds kNow = at(1'795'290'458);  // 2026-11-21

TEST(Date, all_three_forms_say_the_same_moment) {
  for (const char* text :
       {"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"}) {
    EXPECT_EQ(parse_date(text, kNow), at(784'111'777)) << text;
    EXPECT_EQ(parse_date(text), at(784'111'777)) << text;
  }
  EXPECT_EQ(parse_date("Wed Nov 16 08:49:37 1994", kNow), at(784'975'777));
  EXPECT_EQ(parse_date("Mon, 06 Nov 1994 08:49:37 GMT", kNow), at(784'111'777));  // it was a Sunday: passed over
}

TEST(Date, what_is_written_is_read_again) {
  EXPECT_EQ(format_date(at(784'111'777)), "Sun, 06 Nov 1994 08:49:37 GMT");
  EXPECT_EQ(format_date(at(0)), "Thu, 01 Jan 1970 00:00:00 GMT");
  EXPECT_EQ(format_date(at(-1)), "Wed, 31 Dec 1969 23:59:59 GMT");
  EXPECT_EQ(format_date(at(951'782'400)), "Tue, 29 Feb 2000 00:00:00 GMT");
  for (std::int64_t second = -62'167'219'200; second < 253'402'300'799; second += 40'000'003) {
    EXPECT_EQ(parse_date(format_date(at(second)), kNow), at(second)) << second;
  }
}

TEST(Date, a_year_of_two_digits_is_at_most_fifty_years_ahead) {
  EXPECT_EQ(parse_date("Sunday, 06-Nov-76 08:49:37 GMT", kNow), parse_date("Sun, 06 Nov 2076 08:49:37 GMT", kNow));
  EXPECT_EQ(parse_date("Sunday, 06-Nov-77 08:49:37 GMT", kNow), parse_date("Sun, 06 Nov 1977 08:49:37 GMT", kNow));
  EXPECT_EQ(parse_date("Sunday, 06-Nov-26 08:49:37 GMT", kNow), parse_date("Sun, 06 Nov 2026 08:49:37 GMT", kNow));
  EXPECT_EQ(parse_date("Sunday, 06-Nov-00 08:49:37 GMT", kNow), parse_date("Sun, 06 Nov 2000 08:49:37 GMT", kNow));
}

TEST(Date, a_leap_second_is_the_next_minutes_first) {
  EXPECT_EQ(parse_date("Sat, 31 Dec 2016 23:59:60 GMT", kNow), parse_date("Sun, 01 Jan 2017 00:00:00 GMT", kNow));
}

TEST(Date, anything_else_is_no_date) {
  for (const char* text : {"",
                           "0",
                           "Sun",
                           "Sun, 06 Nov 1994 08:49:37",
                           "Sun, 06 Nov 1994 08:49:37 UTC",
                           "Sun, 06 Nov 1994 08:49:37 GMT ",
                           " Sun, 06 Nov 1994 08:49:37 GMT",
                           "sun, 06 Nov 1994 08:49:37 GMT",
                           "Sun, 06 nov 1994 08:49:37 GMT",
                           "Sun, 6 Nov 1994 08:49:37 GMT",
                           "Sun, 06 Nov 94 08:49:37 GMT",
                           "Sun, 06 Nov 1994 8:49:37 GMT",
                           "Sun, 06 Nov 1994 24:00:00 GMT",
                           "Sun, 06 Nov 1994 08:60:37 GMT",
                           "Sun, 06 Nov 1994 08:49:61 GMT",
                           "Sun, 30 Feb 1994 08:49:37 GMT",
                           "Sun, 29 Feb 1900 08:49:37 GMT",
                           "Sun, 00 Nov 1994 08:49:37 GMT",
                           "Sun, 31 Nov 1994 08:49:37 GMT",
                           "Sun, +6 Nov 1994 08:49:37 GMT",
                           "Sunday, 06 Nov 1994 08:49:37 GMT",
                           "Sun, 06-Nov-94 08:49:37 GMT",
                           "Sunday, 06-Nov-1994 08:49:37 GMT",
                           "Sun Nov 6 08:49:37 1994",
                           "Sun Nov 06 08:49:37 94",
                           "Sun Nov  6 08:49:37 1994 GMT",
                           "Sun, 06 Nov 1994 08:49:37 GMT, x",
                           "784111777",
                           "1994-11-06T08:49:37Z"}) {
    EXPECT_EQ(parse_date(text, kNow), std::nullopt) << text;
  }
  const std::string whole = "Sun, 06 Nov 1994 08:49:37 GMT";
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_EQ(parse_date(whole.substr(0, size), kNow), std::nullopt) << size;
  }
}

}  // namespace
}  // namespace heddle::http
