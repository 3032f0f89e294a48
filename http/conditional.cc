#include <heddle/http/conditional.h>

#include <algorithm>

#include <heddle/http/date.h>

namespace heddle::http {
namespace {

constexpr std::string_view kBlanks = " \t";

bool is_weak(std::string_view etag) noexcept { return etag.starts_with("W/"); }

std::string_view opaque(std::string_view etag) noexcept { return is_weak(etag) ? etag.substr(2) : etag; }

// RFC 9110 s8.8.3, etagc: visible but the quote, and 80-ff. A comma is one, too.
bool is_tag_char(char c) noexcept {
  const auto byte = static_cast<unsigned char>(c);
  return byte == 0x21 || (byte >= 0x23 && byte != 0x7f);
}

// The tag that `text` begins with; empty: with none.
std::string_view first_tag(std::string_view text) noexcept {
  const std::size_t open = is_weak(text) ? 2 : 0;
  if (text.size() <= open || text[open] != '"') return {};
  for (std::size_t i = open + 1; i < text.size(); ++i) {
    if (text[i] == '"') return text.substr(0, i + 1);
    if (!is_tag_char(text[i])) break;
  }
  return {};
}

bool match(std::string_view a, std::string_view b, TagComparison how) noexcept {
  if (how == TagComparison::kStrong && (is_weak(a) || is_weak(b))) return false;
  return opaque(a) == opaque(b);
}

// A list condition over all its lines: is it there, and does one of its tags match?
struct ListCondition {
  bool there = false;
  bool matches = false;
};

ListCondition look(const HeaderList& headers, std::string_view name, const Validators& validators,
                   TagComparison how) noexcept {
  ListCondition found;
  for (const HeaderField field : headers) {
    if (!equal_fold(field.name, name)) continue;
    found.there = true;
    if (!validators.exists) continue;
    found.matches = found.matches || field.value == "*" || etag_list_has(field.value, validators.etag, how);
  }
  return found;
}

// A date condition, if it is there once and is a date.
std::optional<std::chrono::sys_seconds> date_of(const HeaderList& headers, std::string_view name) noexcept {
  std::optional<std::string_view> value;
  for (const HeaderField field : headers) {
    if (!equal_fold(field.name, name)) continue;
    if (value) return std::nullopt;  // a list is no date
    value = field.value;
  }
  return value ? parse_date(*value) : std::nullopt;
}

}  // namespace

Precondition check_preconditions(const HeaderList& headers, Method method, const Validators& validators) noexcept {
  const bool safe = method == Method::kGet || method == Method::kHead;
  const ListCondition if_match = look(headers, "If-Match", validators, TagComparison::kStrong);
  if (if_match.there) {
    if (!if_match.matches) return Precondition::kFailed;
  } else if (validators.modified) {
    const auto since = date_of(headers, "If-Unmodified-Since");
    if (since && *validators.modified > *since) return Precondition::kFailed;
  }
  const ListCondition if_none_match = look(headers, "If-None-Match", validators, TagComparison::kWeak);
  if (if_none_match.there) {
    if (if_none_match.matches) return safe ? Precondition::kNotModified : Precondition::kFailed;
  } else if (safe && validators.modified) {
    const auto since = date_of(headers, "If-Modified-Since");
    if (since && *validators.modified <= *since) return Precondition::kNotModified;
  }
  return Precondition::kProceed;
}

bool is_etag(std::string_view text) noexcept { return !text.empty() && first_tag(text).size() == text.size(); }

bool etag_list_has(std::string_view list, std::string_view etag, TagComparison how) noexcept {
  if (etag.empty()) return false;
  for (;;) {
    list.remove_prefix(std::min(list.find_first_not_of(" \t,"), list.size()));
    const std::string_view tag = first_tag(list);
    if (tag.empty()) return false;  // the end, or no tag
    list.remove_prefix(tag.size());
    list.remove_prefix(std::min(list.find_first_not_of(kBlanks), list.size()));
    if (!list.empty() && list.front() != ',') return false;
    if (match(tag, etag, how)) return true;
  }
}

}  // namespace heddle::http
