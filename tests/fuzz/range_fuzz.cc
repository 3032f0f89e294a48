// Ranges: what is served lies in the body, without overlap, in the end not more than the whole; of a set that a simple
// reading can read it is every byte that was asked for and no other.
//
// Input: a byte, the size of the body; then the value of a Range field.
#include <heddle/http/range.h>

#include <cctype>
#include <optional>

#include "fuzz.h"

namespace heddle::http {
namespace {

// The bytes that a set without blanks and empty elements asks for; nothing if it is not of that kind.
std::optional<std::vector<bool>> simple_set(std::string_view value, std::size_t size, std::size_t& count) {
  if (!value.starts_with("bytes=")) return std::nullopt;
  value.remove_prefix(6);
  std::vector<bool> asked(size);
  for (bool more = true; more; ++count) {
    const std::size_t comma = value.find(',');
    const std::string one(value.substr(0, comma));
    more = comma != std::string_view::npos;
    value.remove_prefix(more ? comma + 1 : value.size());
    const std::size_t dash = one.find('-');
    if (dash == std::string::npos || one.size() > 9) return std::nullopt;
    const std::string from = one.substr(0, dash);
    const std::string to = one.substr(dash + 1);
    if (from.empty() && to.empty()) return std::nullopt;
    for (const char c : from + to) {
      if (std::isdigit(static_cast<unsigned char>(c)) == 0) return std::nullopt;
    }
    std::size_t first = from.empty() ? size - std::min<std::size_t>(size, std::stoul(to)) : std::stoul(from);
    const std::size_t last = from.empty() || to.empty() ? SIZE_MAX : std::stoul(to);
    if (last < first) return std::nullopt;
    for (; first < size && first <= last; ++first) asked[first] = true;
  }
  return asked;
}

}  // namespace
}  // namespace heddle::http

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace heddle::http;
  heddle::fuzz::Input input(data, size);
  const std::size_t body = input.byte();
  const std::string text = input.rest();
  const RangeSet set = parse_range(heddle::fuzz::Exact(text), body);
  FUZZ_CHECK((set.kind == RangeSet::Kind::kPartial) == !set.ranges.empty());
  FUZZ_CHECK(set.ranges.size() <= kMaxRanges);
  std::vector<bool> served(body);
  for (const ByteRange& range : set.ranges) {
    FUZZ_CHECK(range.size != 0 && range.first < body && range.size <= body - range.first);
    for (std::uint64_t i = range.first; i < range.first + range.size; ++i) {
      FUZZ_CHECK(!served[i]);
      served[i] = true;
    }
    // None touches another one.
    for (const ByteRange& other : set.ranges) FUZZ_CHECK(other.first != range.first + range.size);
    const std::string shown = content_range(range, body);
    FUZZ_SAME(shown, "bytes " + std::to_string(range.first) + "-" + std::to_string(range.first + range.size - 1) + "/" +
                         std::to_string(body));
  }
  std::size_t count = 0;
  if (const auto asked = simple_set(text, body, count)) {
    if (count > kMaxRanges || body == 0) {
      FUZZ_CHECK(set.kind != RangeSet::Kind::kPartial);
    } else {
      const bool any = std::ranges::find(*asked, true) != asked->end();
      FUZZ_CHECK(set.kind == (any ? RangeSet::Kind::kPartial : RangeSet::Kind::kUnsatisfiable));
      FUZZ_CHECK(served == *asked);
    }
  }
  // A huge body: no sum goes round.
  const std::uint64_t huge = UINT64_MAX - body;
  std::uint64_t sum = 0;
  for (const ByteRange& range : parse_range(text, huge).ranges) {
    FUZZ_CHECK(range.size != 0 && range.first < huge && range.size <= huge - range.first);
    FUZZ_CHECK(!__builtin_add_overflow(sum, range.size, &sum) && sum <= huge);
  }
  FUZZ_CHECK(!if_range_holds(text, "W/\"a\"", std::nullopt, {}));
  FUZZ_CHECK(if_range_holds(text, "\"a\"", std::nullopt, {}) == (text == "\"a\""));
  return 0;
}
