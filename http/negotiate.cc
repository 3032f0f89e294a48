#include <heddle/http/negotiate.h>

#include <algorithm>

#include <heddle/http/internal/chars.h>

namespace heddle::http {
namespace {

constexpr int kMost = 1000;  // q=1

// RFC 9110 s12.4.2: 0, 0.5, 0.125, 1, 1.000; in thousandths. Nothing else is a weight.
std::optional<int> weight_of(std::string_view text) noexcept {
  if (text.empty() || text.size() > 5 || (text[0] != '0' && text[0] != '1')) return std::nullopt;
  int value = (text[0] - '0') * kMost;
  if (text.size() > 1 && text[1] != '.') return std::nullopt;
  int unit = kMost / 10;
  for (std::size_t i = 2; i < text.size(); ++i, unit /= 10) {
    if (!chars::is(text[i], chars::kDigit)) return std::nullopt;
    value += (text[i] - '0') * unit;
  }
  return value <= kMost ? std::optional(value) : std::nullopt;
}

// Up to the next `separator` outside of a quoted string, trimmed; `rest` is what follows it.
std::string_view next_part(std::string_view& rest, char separator) noexcept {
  bool quoted = false;
  std::size_t end = 0;
  for (; end < rest.size(); ++end) {
    const char c = rest[end];
    if (quoted && c == '\\') {
      ++end;
    } else if (c == '"') {
      quoted = !quoted;
    } else if (c == separator && !quoted) {
      break;
    }
  }
  const std::string_view part = rest.substr(0, end);
  rest = end < rest.size() ? rest.substr(end + 1) : std::string_view();
  return trim_blanks(part);
}

// "name;a=b;q=0.5": its name with its parameters, and its weight. What follows the weight is passed over.
struct Element {
  std::string_view name;
  std::string_view parameters;  // "a=b", blanks and all
  int weight = kMost;
};

std::optional<Element> element_of(std::string_view text) noexcept {
  Element element;
  std::string_view rest = text;
  element.name = next_part(rest, ';');
  element.parameters = rest;
  while (!rest.empty()) {
    const std::size_t at = static_cast<std::size_t>(rest.data() - element.parameters.data());
    const std::string_view parameter = next_part(rest, ';');
    if (parameter.size() < 2 || chars::lower(parameter[0]) != 'q' || parameter[1] != '=') continue;
    const std::optional<int> weight = weight_of(parameter.substr(2));
    if (!weight) return std::nullopt;
    element.weight = *weight;
    element.parameters = element.parameters.substr(0, at);
    break;
  }
  if (element.name.empty()) return std::nullopt;
  return element;
}

// Calls fn(element) for each that can be read, over all lines of the field. Returns whether the field is there.
template <class F>
bool for_each_element(const HeaderList& headers, std::string_view field, F fn) noexcept {
  bool there = false;
  for (const HeaderField f : headers) {
    if (!equal_fold(f.name, field)) continue;
    there = true;
    for (std::string_view rest = f.value; !rest.empty();) {
      if (const std::optional<Element> element = element_of(next_part(rest, ','))) fn(*element);
    }
  }
  return there;
}

std::string_view coding_name(std::string_view name) noexcept { return equal_fold(name, "x-gzip") ? "gzip" : name; }

// What the client gives a coding: by name, else as `*`; nothing if it says neither.
std::optional<int> coding_weight(const HeaderList& headers, std::string_view coding) noexcept {
  std::optional<int> named;
  std::optional<int> any;
  for_each_element(headers, "Accept-Encoding", [&](const Element& element) noexcept {
    if (element.name == "*") {
      any = any.value_or(element.weight);
    } else if (equal_fold(coding_name(element.name), coding)) {
      named = named.value_or(element.weight);
    }
  });
  return named ? named : any;
}

// One parameter of a media range is among the type's.
bool has_parameter(std::string_view parameters, std::string_view wanted) noexcept {
  while (!parameters.empty()) {
    if (equal_fold(next_part(parameters, ';'), wanted)) return true;
  }
  return false;
}

// How closely a media range fits a type: 0 not at all, 1 `*/*`, 2 `type/*`, 3 the type, more with each parameter.
int closeness(const Element& range, std::string_view offer) noexcept {
  const std::string_view type = next_part(offer, ';');  // `offer` keeps its parameters
  int close = 0;
  if (range.name == "*/*") {
    close = 1;
  } else if (range.name.ends_with("/*")) {
    const std::size_t with_slash = range.name.size() - 1;
    close =
        type.size() > with_slash && equal_fold(type.substr(0, with_slash), range.name.substr(0, with_slash)) ? 2 : 0;
  } else {
    close = equal_fold(range.name, type) ? 3 : 0;
  }
  for (std::string_view rest = range.parameters; close != 0 && !rest.empty();) {
    const std::string_view wanted = next_part(rest, ';');
    if (wanted.empty()) continue;
    close = has_parameter(offer, wanted) ? close + 1 : 0;
  }
  return close;
}

}  // namespace

std::string_view choose_coding(const HeaderList& headers, std::span<const std::string_view> offers) noexcept {
  if (!headers.find("Accept-Encoding")) return {};
  // Identity is acceptable unless it is ruled out, and then the last resort (RFC 9110 s12.5.3).
  const std::optional<int> identity = coding_weight(headers, "identity");
  std::string_view best;
  int best_weight = 0;
  for (const std::string_view offer : offers) {
    const int weight = coding_weight(headers, offer).value_or(0);
    if (weight > best_weight) {
      best = offer;
      best_weight = weight;
    }
  }
  // A `*` speaks of identity too, but who says it wants what is smallest.
  return identity && *identity > best_weight ? std::string_view() : best;
}

std::optional<std::size_t> choose_media_type(const HeaderList& headers,
                                             std::span<const std::string_view> offers) noexcept {
  if (offers.empty()) return std::nullopt;
  if (!headers.find("Accept")) return 0;
  std::optional<std::size_t> best;
  int best_weight = 0;
  for (std::size_t i = 0; i < offers.size(); ++i) {
    int closest = 0;
    int weight = 0;
    for_each_element(headers, "Accept", [&](const Element& range) noexcept {
      const int close = closeness(range, offers[i]);
      if (close <= closest) return;
      closest = close;
      weight = range.weight;
    });
    if (weight > best_weight) {
      best = i;
      best_weight = weight;
    }
  }
  return best;
}

}  // namespace heddle::http
