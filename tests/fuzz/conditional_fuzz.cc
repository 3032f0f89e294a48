// Conditions: a tag that a list is found to have stands in it; a list made by the rules has the tags that it was made of and no
// other; and what the conditions come to is what RFC 9110 s13.2.2 says, step by step.
//
// Input: a byte for the method, a byte for what there is; then lines, the values of If-Match, If-None-Match, If-Modified-Since
// and If-Unmodified-Since, where an empty line leaves the field out.
#include <heddle/http/conditional.h>
#include <heddle/http/date.h>

#include "../http/fields.h"
#include "fuzz.h"

namespace heddle::http {
namespace {

std::string opaque(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '!' || (c > '"' && c < '\x7f')) out += c;
  }
  return out;
}

void check_lists(const std::vector<std::string>& lines) {
  std::string list;
  std::vector<std::string> tags;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    tags.push_back((i % 2 == 0 ? "\"" : "W/\"") + opaque(lines[i]) + "\"");
    FUZZ_CHECK(is_etag(tags.back()));
    list += (i == 0 ? "" : i % 3 == 0 ? "," : " , \t") + tags.back();
  }
  for (const std::string& tag : tags) {
    FUZZ_CHECK(etag_list_has(list, tag, TagComparison::kWeak));
    FUZZ_CHECK(etag_list_has(list, tag, TagComparison::kStrong) == !tag.starts_with('W'));
  }
  FUZZ_CHECK(!etag_list_has(list, "\"no such tag\"", TagComparison::kWeak));
  for (const std::string& line : lines) {
    const fuzz::Exact exact(line);
    for (const char* tag : {"\"a\"", "W/\"a\"", "\"\""}) {
      const bool strong = etag_list_has(exact, tag, TagComparison::kStrong);
      const bool weak = etag_list_has(exact, tag, TagComparison::kWeak);
      FUZZ_CHECK(weak || !strong);
      FUZZ_CHECK(!weak || line.find(tag[0] == 'W' ? tag + 2 : tag) != std::string::npos);
      FUZZ_CHECK(!strong || tag[0] != 'W');
    }
    if (is_etag(exact)) FUZZ_CHECK(etag_list_has(exact, exact, TagComparison::kWeak));
  }
}

// RFC 9110 s13.2.2.
Precondition by_the_steps(const std::vector<std::string>& fields, Method method, const Validators& v) {
  const auto any = [&](const std::string& value, TagComparison how) {
    if (trim_blanks(value) == "*") return v.exists;
    return v.exists && !v.etag.empty() && etag_list_has(value, v.etag, how);
  };
  const bool safe = method == Method::kGet || method == Method::kHead;
  const auto date = [](const std::string& value) { return parse_date(value); };
  if (!fields[0].empty()) {
    if (!any(fields[0], TagComparison::kStrong)) return Precondition::kFailed;
  } else if (!fields[3].empty() && v.modified) {
    if (const auto limit = date(fields[3]); limit && *v.modified > *limit) return Precondition::kFailed;
  }
  if (!fields[1].empty()) {
    if (any(fields[1], TagComparison::kWeak)) return safe ? Precondition::kNotModified : Precondition::kFailed;
  } else if (!fields[2].empty() && safe && v.modified) {
    if (const auto since = date(fields[2]); since && *v.modified <= *since) return Precondition::kNotModified;
  }
  return Precondition::kProceed;
}

}  // namespace
}  // namespace heddle::http

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace heddle::http;
  static constexpr Method kMethods[] = {Method::kGet, Method::kHead, Method::kPut};
  static constexpr const char* kTags[] = {"\"a\"", "W/\"a\"", ""};
  heddle::fuzz::Input input(data, size);
  const Method method = kMethods[input.below(3)];
  const std::uint8_t what = input.byte();
  Validators v{.etag = kTags[what % 3], .modified = {}};
  if (what / 3 % 2 != 0) v.modified = parse_date("Sun, 06 Nov 1994 08:49:37 GMT");
  v.exists = what / 6 % 4 != 3;
  std::vector<std::string> lines;
  for (int i = 0; i < 4; ++i) {
    // As a head's parser gives it.
    std::string line = input.line();
    std::erase_if(line, [](char c) { return c == '\r' || c == '\0'; });
    lines.emplace_back(trim_blanks(line));
  }
  check_lists(lines);
  std::string text;
  std::vector<HeaderList::Ref> refs;
  static constexpr std::string_view kNames[] = {"If-Match", "If-None-Match", "If-Modified-Since",
                                                "If-Unmodified-Since"};
  for (std::size_t i = 0; i < 4; ++i) {
    if (lines[i].empty()) continue;
    const auto at = static_cast<std::uint32_t>(text.size());
    const auto name_size = static_cast<std::uint32_t>(kNames[i].size());
    refs.push_back({at, at + name_size, static_cast<std::uint32_t>(lines[i].size()), name_size});
    text.append(kNames[i]).append(lines[i]);
  }
  const Precondition got = check_preconditions({text.data(), refs.data(), refs.size()}, method, v);
  FUZZ_CHECK(got == by_the_steps(lines, method, v));
  return 0;
}
