// Preconditions: each alone, their order, and tags that compare strongly or weakly.
#include <heddle/http/conditional.h>

#include <gtest/gtest.h>

#include <heddle/http/date.h>

#include "fields.h"

namespace heddle::http::test {
namespace {

constexpr auto kProceed = Precondition::kProceed;
constexpr auto kNotModified = Precondition::kNotModified;
constexpr auto kFailed = Precondition::kFailed;

constexpr const char* kEarlier = "Sun, 06 Nov 1994 08:49:36 GMT";
constexpr const char* kThen = "Sun, 06 Nov 1994 08:49:37 GMT";
constexpr const char* kLater = "Sun, 06 Nov 1994 08:49:38 GMT";

Precondition check(const Fields& fields, Method method = Method::kGet, std::string_view etag = "\"a\"") {
  return check_preconditions(fields.list(), method, {.etag = etag, .modified = parse_date(kThen)});
}

TEST(Conditional, without_conditions_all_goes_on) {
  EXPECT_EQ(check({}), kProceed);
  EXPECT_EQ(check({{"If-Range", "\"b\""}, {"Range", "bytes=0-1"}}), kProceed);
}

TEST(Conditional, if_match_compares_strongly) {
  EXPECT_EQ(check({{"If-Match", "\"a\""}}), kProceed);
  EXPECT_EQ(check({{"if-match", "\"b\", \"a\""}}), kProceed);
  EXPECT_EQ(check({{"If-Match", "*"}}), kProceed);
  EXPECT_EQ(check({{"If-Match", "\"b\""}}), kFailed);
  EXPECT_EQ(check({{"If-Match", "W/\"a\""}}), kFailed);
  EXPECT_EQ(check({{"If-Match", "\"a\""}}, Method::kGet, "W/\"a\""), kFailed);
  EXPECT_EQ(check({{"If-Match", ""}}), kFailed);
  EXPECT_EQ(check({{"If-Match", "a"}}), kFailed);
  EXPECT_EQ(check({{"If-Match", "\"b\""}, {"If-Match", "\"a\""}}), kProceed);  // lines make one list
}

TEST(Conditional, if_none_match_compares_weakly_over_the_whole_list) {
  EXPECT_EQ(check({{"If-None-Match", "\"a\""}}), kNotModified);
  EXPECT_EQ(check({{"If-None-Match", "\"a\""}}, Method::kHead), kNotModified);
  EXPECT_EQ(check({{"If-None-Match", "\"a\""}}, Method::kPut), kFailed);
  EXPECT_EQ(check({{"If-None-Match", "W/\"a\""}}), kNotModified);
  EXPECT_EQ(check({{"If-None-Match", "\"a\""}}, Method::kGet, "W/\"a\""), kNotModified);
  EXPECT_EQ(check({{"If-None-Match", "\"b\",W/\"c\" , ,\"a\""}}), kNotModified);
  EXPECT_EQ(check({{"If-None-Match", "*"}}), kNotModified);
  EXPECT_EQ(check({{"If-None-Match", "\"b\""}}), kProceed);
  EXPECT_EQ(check({{"If-None-Match", "\"b\""}, {"If-None-Match", "\"a\""}}), kNotModified);
  EXPECT_EQ(check({{"If-None-Match", "w/\"a\""}}), kProceed);
  EXPECT_EQ(check({{"If-None-Match", "a"}}), kProceed);
}

TEST(Conditional, dates_count_to_the_second) {
  EXPECT_EQ(check({{"If-Modified-Since", kThen}}), kNotModified);
  EXPECT_EQ(check({{"If-Modified-Since", kLater}}), kNotModified);
  EXPECT_EQ(check({{"If-Modified-Since", kEarlier}}), kProceed);
  EXPECT_EQ(check({{"If-Modified-Since", "Sun Nov  6 08:49:37 1994"}}), kNotModified);
  EXPECT_EQ(check({{"If-Modified-Since", kThen}}, Method::kPost), kProceed);
  EXPECT_EQ(check({{"If-Unmodified-Since", kThen}}), kProceed);
  EXPECT_EQ(check({{"If-Unmodified-Since", kEarlier}}), kFailed);
  EXPECT_EQ(check({{"If-Unmodified-Since", kEarlier}}, Method::kPut), kFailed);
}

TEST(Conditional, what_is_no_date_is_ignored) {
  EXPECT_EQ(check({{"If-Modified-Since", "yesterday"}}), kProceed);
  EXPECT_EQ(check({{"If-Unmodified-Since", "0"}}), kProceed);
  EXPECT_EQ(check({{"If-Modified-Since", kThen}, {"If-Modified-Since", kThen}}), kProceed);
  EXPECT_EQ(check_preconditions(Fields{{"If-Modified-Since", kThen}, {"If-Unmodified-Since", kEarlier}}.list(),
                                Method::kGet, {.etag = "\"a\"", .modified = {}}),
            kProceed);
}

TEST(Conditional, tags_go_before_dates) {
  EXPECT_EQ(check({{"If-Match", "\"a\""}, {"If-Unmodified-Since", kEarlier}}), kProceed);
  EXPECT_EQ(check({{"If-Match", "\"b\""}, {"If-Unmodified-Since", kThen}}), kFailed);
  EXPECT_EQ(check({{"If-None-Match", "\"b\""}, {"If-Modified-Since", kThen}}), kProceed);
  EXPECT_EQ(check({{"If-None-Match", "\"a\""}, {"If-Modified-Since", kEarlier}}), kNotModified);
  EXPECT_EQ(check({{"If-Match", "\"b\""}, {"If-None-Match", "\"a\""}}), kFailed);
  EXPECT_EQ(check({{"If-Match", "\"a\""}, {"If-None-Match", "\"a\""}}), kNotModified);
  EXPECT_EQ(check({{"If-Unmodified-Since", kEarlier}, {"If-None-Match", "\"a\""}}), kFailed);
}

TEST(Conditional, nothing_matches_what_is_not_there) {
  const Validators nothing{.etag = {}, .modified = {}, .exists = false};
  EXPECT_EQ(check_preconditions(Fields{{"If-Match", "*"}}.list(), Method::kPut, nothing), kFailed);
  EXPECT_EQ(check_preconditions(Fields{{"If-None-Match", "*"}}.list(), Method::kPut, nothing), kProceed);
}

TEST(Conditional, a_list_of_tags_is_read_to_its_first_fault) {
  const auto has = [](std::string_view list) { return etag_list_has(list, "\"a\"", TagComparison::kWeak); };
  EXPECT_TRUE(has("\"a\""));
  EXPECT_TRUE(has(" ,, \"a\" "));
  EXPECT_TRUE(has("\"b,c\",\"a\""));
  EXPECT_TRUE(has("\"\",\"a\""));
  EXPECT_FALSE(has("\"x\"\"a\""));
  EXPECT_FALSE(has("x, \"a\""));
  EXPECT_FALSE(has("\"a"));
  EXPECT_FALSE(has("\"a\" b"));
  EXPECT_FALSE(has("\"b \", \"a\""));
  EXPECT_FALSE(etag_list_has("\"\"", "", TagComparison::kWeak));
  EXPECT_TRUE(is_etag("\"\"") && is_etag("W/\"x\"") && is_etag("\"\xc3\xa4\""));
  EXPECT_FALSE(is_etag("") || is_etag("x") || is_etag("\"") || is_etag("\"x\"y") || is_etag("W/x"));
}

}  // namespace
}  // namespace heddle::http::test
