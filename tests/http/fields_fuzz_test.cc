// What reads fields of a request is given texts at random, of the bytes that mean something to it: nothing is read beyond
// the text (the sanitizers look), and every answer is one that there is.
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>

#include <heddle/http/conditional.h>
#include <heddle/http/date.h>
#include <heddle/http/mime.h>
#include <heddle/http/negotiate.h>
#include <heddle/http/range.h>

#include "fields.h"

namespace heddle::http::test {
namespace {

constexpr int kRounds = 20'000;

class Texts {
 public:
  explicit Texts(std::string_view pieces) : pieces_(pieces) {}

  // In memory of its very size.
  std::string_view next() {
    const std::size_t size = random() % 40;
    text_ = std::make_unique<char[]>(size);
    for (std::size_t i = 0; i < size; ++i) {
      const std::uint64_t pick = random();
      text_[i] = pick % 16 == 0 ? static_cast<char>(pick >> 8) : pieces_[(pick >> 8) % pieces_.size()];
    }
    return {text_.get(), size};
  }
  std::uint64_t random() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_;
  }

 private:
  const std::string_view pieces_;
  std::uint64_t state_ = 88'172'645'463'325'252U;
  std::unique_ptr<char[]> text_;
};

TEST(FieldsFuzz, a_range_set_lies_in_the_body_without_overlap) {
  Texts texts("0123456789-,,- =\t");
  int partial = 0;
  for (int i = 0; i < kRounds; ++i) {
    const std::uint64_t size = texts.random() % 100;
    const RangeSet set = parse_range("bytes=" + std::string(texts.next()), size);
    ASSERT_EQ(set.kind == RangeSet::Kind::kPartial, !set.ranges.empty());
    std::uint64_t sum = 0;
    for (const ByteRange& range : set.ranges) {
      ASSERT_GT(range.size, 0U);
      ASSERT_LE(range.first + range.size, size);
      sum += range.size;
    }
    ASSERT_LE(sum, size);
    partial += set.ranges.empty() ? 0 : 1;
    static_cast<void>(parse_range(texts.next(), size));
    static_cast<void>(if_range_holds(texts.next(), "\"a\"", std::nullopt, {}));
  }
  EXPECT_GT(partial, 10);
}

TEST(FieldsFuzz, a_date_that_was_read_is_the_one_that_is_written) {
  const std::string valid = "Sun, 06 Nov 1994 08:49:37 GMT";
  Texts texts("0123456789 :,-GMT");
  const auto now = *parse_date(valid);
  int read = 0;
  for (int i = 0; i < kRounds; ++i) {
    static_cast<void>(parse_date(texts.next(), now));
    std::string text = valid;
    text[texts.random() % text.size()] = static_cast<char>('0' + texts.random() % 10);
    const auto date = parse_date(text, now);
    if (!date) continue;
    ++read;
    ASSERT_EQ(format_date(*date).substr(5, 20), text.substr(5, 20));
  }
  EXPECT_GT(read, 10);
}

TEST(FieldsFuzz, what_is_chosen_was_offered) {
  static constexpr std::array<std::string_view, 2> kCodings = {"br", "gzip"};
  static constexpr std::array<std::string_view, 2> kTypes = {"a/b;q", "a/c"};
  Texts texts("brgzip*;q=0.51,, \"\\a/*bc");
  for (int i = 0; i < kRounds; ++i) {
    const std::string value(texts.next());
    const Fields fields{{"Accept-Encoding", value}, {"Accept", value}};
    const std::string_view coding = choose_coding(fields.list(), kCodings);
    ASSERT_TRUE(coding.empty() || coding == "br" || coding == "gzip") << value;
    ASSERT_LT(choose_media_type(fields.list(), kTypes).value_or(0), kTypes.size());
  }
}

TEST(FieldsFuzz, a_tag_that_a_list_has_stands_in_it) {
  Texts texts("\"W/a,, \"");
  int found = 0;
  for (int i = 0; i < kRounds; ++i) {
    const std::string_view list = texts.next();
    const bool strong = etag_list_has(list, "\"a\"", TagComparison::kStrong);
    const bool weak = etag_list_has(list, "\"a\"", TagComparison::kWeak);
    ASSERT_TRUE(weak || !strong);
    ASSERT_TRUE(!weak || list.find("\"a\"") != std::string_view::npos);
    found += weak ? 1 : 0;
    const Fields fields{{"If-Match", list}, {"If-None-Match", list}};
    static_cast<void>(check_preconditions(fields.list(), Method::kGet, {.etag = "\"a\"", .modified = {}}));
    static_cast<void>(is_etag(list));
    static_cast<void>(is_compressible(list));
    static_cast<void>(media_type_of(list));
  }
  EXPECT_GT(found, 10);
}

}  // namespace
}  // namespace heddle::http::test
