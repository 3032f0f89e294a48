#include <heddle/http/range.h>

#include <algorithm>
#include <limits>

#include <heddle/http/date.h>
#include <heddle/http/header.h>
#include <heddle/http/internal/chars.h>

namespace heddle::http {
namespace {

// Digits only; what is too large for the type is its largest, for no body is as long.
std::optional<std::uint64_t> number(std::string_view text) noexcept {
  if (text.empty() || !chars::all(text, chars::kDigit)) return std::nullopt;
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t value = 0;
  for (const char c : text) {
    const auto digit = static_cast<std::uint64_t>(c - '0');
    value = value > (kMost - digit) / 10 ? kMost : value * 10 + digit;
  }
  return value;
}

// "first-last", "first-" or "-suffix", cut to the body; size 0: nothing of it lies there. Nothing: no range at all.
std::optional<ByteRange> range_of(std::string_view text, std::uint64_t size) noexcept {
  const std::size_t dash = text.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const std::string_view from = text.substr(0, dash);
  const std::string_view to = text.substr(dash + 1);
  if (from.empty()) {
    const std::optional<std::uint64_t> suffix = number(to);
    if (!suffix) return std::nullopt;
    const std::uint64_t some = std::min(*suffix, size);
    return ByteRange{size - some, some};
  }
  const std::optional<std::uint64_t> first = number(from);
  const std::optional<std::uint64_t> last = to.empty() ? std::numeric_limits<std::uint64_t>::max() : number(to);
  if (!first || !last || *last < *first) return std::nullopt;
  if (*first >= size) return ByteRange{size, 0};
  return ByteRange{*first, std::min(*last, size - 1) - *first + 1};
}

// Merges what overlaps or touches; all else keeps the order in which it was asked for.
void merge(std::vector<ByteRange>& ranges) {
  struct Asked {
    ByteRange range;
    std::size_t place;
  };
  std::vector<Asked> all;
  all.reserve(ranges.size());
  for (std::size_t i = 0; i < ranges.size(); ++i) all.push_back({ranges[i], i});
  std::ranges::sort(all, {}, [](const Asked& a) { return a.range.first; });
  std::size_t kept = 0;
  for (std::size_t i = 1; i < all.size(); ++i) {
    Asked& before = all[kept];
    const std::uint64_t end = before.range.first + before.range.size;
    if (all[i].range.first > end) {
      all[++kept] = all[i];
      continue;
    }
    before.range.size = std::max(end, all[i].range.first + all[i].range.size) - before.range.first;
    before.place = std::min(before.place, all[i].place);
  }
  all.resize(kept + 1);
  std::ranges::sort(all, {}, &Asked::place);
  ranges.clear();
  for (const Asked& a : all) ranges.push_back(a.range);
}

}  // namespace

RangeSet parse_range(std::string_view value, std::uint64_t size, std::size_t max_ranges) {
  constexpr std::string_view kUnit = "bytes";
  RangeSet set;
  // RFC 9110 s14.1: the names of units are case-insensitive.
  if (value.size() <= kUnit.size() || value[kUnit.size()] != '=' || !equal_fold(value.substr(0, kUnit.size()), kUnit)) {
    return set;
  }
  std::size_t count = 0;
  bool nothing_to_cut = false;
  for (std::string_view rest = value.substr(kUnit.size() + 1); !rest.empty();) {
    const std::string_view one = next_element(rest);
    if (one.empty()) continue;  // RFC 9110 s5.6.1.2
    const std::optional<ByteRange> range = range_of(one, size);
    if (!range || ++count > max_ranges) return RangeSet();
    if (range->size != 0) {
      set.ranges.push_back(*range);
    } else if (size == 0 && one.front() == '-') {
      // s14.1.2: satisfiable unless it asks for no bytes, but no Content-Range can say so.
      nothing_to_cut = nothing_to_cut || one.find_first_not_of("-0") != std::string_view::npos;
    }
  }
  if (count == 0 || nothing_to_cut) return RangeSet();
  set.kind = set.ranges.empty() ? RangeSet::Kind::kUnsatisfiable : RangeSet::Kind::kPartial;
  if (set.ranges.size() > 1) merge(set.ranges);
  return set;
}

bool if_range_holds(std::string_view value, std::string_view etag, std::optional<std::chrono::sys_seconds> modified,
                    std::chrono::sys_seconds now) noexcept {
  if (value.starts_with('"')) return value == etag;  // a weak tag begins with W/, on either side
  if (!modified || *modified >= now) return false;
  return parse_date(value, now) == modified;
}

std::string content_range(const ByteRange& range, std::uint64_t size) {
  return "bytes " + std::to_string(range.first) + "-" + std::to_string(range.first + range.size - 1) + "/" +
         std::to_string(size);
}

std::string content_range_of_none(std::uint64_t size) { return "bytes */" + std::to_string(size); }

}  // namespace heddle::http
