// Negotiation: weights, wildcards, refusals, and what cannot be read.
#include <heddle/http/negotiate.h>

#include <gtest/gtest.h>

#include <array>
#include <string>

#include "fields.h"

namespace heddle::http::test {
namespace {

std::string coding(const Fields& fields) {
  static constexpr std::array<std::string_view, 3> kOffers = {"br", "zstd", "gzip"};
  const std::string_view chosen = choose_coding(fields.list(), kOffers);
  return chosen.empty() ? "identity" : std::string(chosen);
}
std::string coding(std::string_view value) { return coding(Fields{{"Accept-Encoding", value}}); }

TEST(Negotiate, the_heaviest_coding_wins_and_of_equals_the_first_offered) {
  EXPECT_EQ(coding("gzip"), "gzip");
  EXPECT_EQ(coding("gzip, deflate, br, zstd"), "br");
  EXPECT_EQ(coding("GZIP, x-gzip"), "gzip");
  EXPECT_EQ(coding("x-gzip"), "gzip");
  EXPECT_EQ(coding("gzip;q=1.0, br;q=0.9"), "gzip");
  EXPECT_EQ(coding("gzip; q=0.5 ,\tbr ; Q=0.501"), "br");
  EXPECT_EQ(coding("gzip;q=0.001"), "gzip");
  EXPECT_EQ(coding(Fields{{"Accept-Encoding", "deflate"}, {"accept-encoding", "gzip"}}), "gzip");
}

TEST(Negotiate, identity_is_for_clients_that_say_nothing_or_prefer_it) {
  EXPECT_EQ(coding(Fields{}), "identity");
  EXPECT_EQ(coding(""), "identity");
  EXPECT_EQ(coding("deflate, compress"), "identity");
  EXPECT_EQ(coding("identity"), "identity");
  EXPECT_EQ(coding("identity, gzip;q=0.9"), "identity");
  EXPECT_EQ(coding("identity, gzip"), "gzip");
  EXPECT_EQ(coding("identity;q=0.5, gzip;q=0.5"), "gzip");
  EXPECT_EQ(coding("identity;q=0"), "identity");  // there is nothing else
  EXPECT_EQ(coding("identity;q=0, gzip;q=0.1"), "gzip");
}

TEST(Negotiate, a_star_stands_for_what_is_not_named) {
  EXPECT_EQ(coding("*"), "br");
  EXPECT_EQ(coding("*, br;q=0"), "zstd");
  EXPECT_EQ(coding("br;q=0, *;q=0.5"), "zstd");
  EXPECT_EQ(coding("gzip;q=0.3, *;q=0"), "gzip");
  EXPECT_EQ(coding("*;q=0"), "identity");
  EXPECT_EQ(coding("gzip;q=0"), "identity");
  EXPECT_EQ(coding("gzip;q=0, gzip"), "identity");
}

TEST(Negotiate, what_cannot_be_read_is_passed_over) {
  EXPECT_EQ(coding("br;q=2, gzip"), "gzip");
  EXPECT_EQ(coding("br;q=1.001, gzip;q=0.1"), "gzip");
  EXPECT_EQ(coding("br;q=0.1234, gzip;q=0.1"), "gzip");
  EXPECT_EQ(coding("br;q=, gzip;q=0.1"), "gzip");
  EXPECT_EQ(coding("br;q=x, gzip;q=0.1"), "gzip");
  EXPECT_EQ(coding("br;q=-1, gzip;q=0.1"), "gzip");
  EXPECT_EQ(coding("br;q=1., gzip;q=0.1"), "br");  // the grammar has it so
  EXPECT_EQ(coding(",, ;q=1, gzip,"), "gzip");
  EXPECT_EQ(coding("gzipped, xgzip"), "identity");
  EXPECT_EQ(coding("\"gzip"), "identity");
}

std::string type(const Fields& fields) {
  static constexpr std::array<std::string_view, 4> kOffers = {"text/html; charset=utf-8", "application/json",
                                                              "text/plain;format=flowed", "image/png"};
  const auto i = choose_media_type(fields.list(), kOffers);
  return i ? std::string(kOffers.at(*i)) : "none";
}
std::string type(std::string_view value) { return type(Fields{{"Accept", value}}); }

TEST(Negotiate, the_most_specific_media_range_gives_the_weight) {
  EXPECT_EQ(type(Fields{}), "text/html; charset=utf-8");
  EXPECT_EQ(type("*/*"), "text/html; charset=utf-8");
  EXPECT_EQ(type("application/json"), "application/json");
  EXPECT_EQ(type("Application/JSON, text/*;q=0.9"), "application/json");
  EXPECT_EQ(type("text/*"), "text/html; charset=utf-8");
  EXPECT_EQ(type("text/*, text/html;q=0.1"), "text/plain;format=flowed");
  EXPECT_EQ(type("text/html;q=0.1, */*;q=0.5"), "application/json");
  EXPECT_EQ(type("*/*, text/*;q=0, application/*;q=0"), "image/png");
  EXPECT_EQ(type("text/plain;format=flowed, text/html;q=0.9"), "text/plain;format=flowed");
  EXPECT_EQ(type("text/plain;format=fixed, text/plain;q=0.1, image/png;q=0.5"), "image/png");
  EXPECT_EQ(type("text/html;CHARSET=utf-8;q=0.2, text/html, image/png;q=0.5"), "image/png");
  EXPECT_EQ(type("text/html;level=\"a,b;q=1\", application/json;q=0.1"), "application/json");
}

TEST(Negotiate, a_client_that_takes_nothing_offered_is_told_so) {
  EXPECT_EQ(type("audio/*"), "none");
  EXPECT_EQ(type("*/*;q=0"), "none");
  EXPECT_EQ(type(""), "none");
  EXPECT_EQ(type("text"), "none");
  EXPECT_EQ(type("tex/*"), "none");
  EXPECT_EQ(choose_media_type(Fields{}.list(), {}), std::nullopt);
}

}  // namespace
}  // namespace heddle::http::test
