#include <heddle/http/internal/pattern.h>

#include <algorithm>
#include <stdexcept>

#include <heddle/http/internal/chars.h>
#include <heddle/http/internal/target.h>

namespace heddle::http {
namespace {

using Kind = Segment::Kind;

[[noreturn]] void wrong(std::string_view pattern, const std::string& why) {
  throw std::invalid_argument("route \"" + std::string(pattern) + "\": " + why);
}

bool is_name(std::string_view text) noexcept {
  if (text.empty() || chars::is(text[0], chars::kDigit)) return false;
  return std::ranges::all_of(text, [](char c) {
    return c == '_' || (c >= '0' && c <= '9') || (chars::lower(c) >= 'a' && chars::lower(c) <= 'z');
  });
}

Segment parse_segment(std::string_view text, bool last, std::string_view pattern) {
  const std::size_t open = text.find('{');
  if (open == std::string_view::npos) {
    if (text.find('}') != std::string_view::npos) wrong(pattern, "'}' without '{'");
    std::string literal;
    if (!decode_segment(text, literal)) wrong(pattern, "a broken escape in \"" + std::string(text) + "\"");
    return {Kind::kLiteral, std::move(literal)};
  }
  if (open != 0 || text.back() != '}' || text.find('{', 1) != std::string_view::npos) {
    wrong(pattern, "{…} must be a whole segment, not a part of \"" + std::string(text) + "\"");
  }
  std::string_view name = text.substr(1, text.size() - 2);
  if (name == "$") {
    if (!last) wrong(pattern, "{$} must come last");
    return {Kind::kSlash, {}};
  }
  Segment segment{Kind::kOne, {}};
  if (name.ends_with("...")) {
    if (!last) wrong(pattern, "{…...} must come last");
    segment.kind = Kind::kRest;
    name.remove_suffix(3);
  }
  if (!is_name(name)) wrong(pattern, "\"" + std::string(name) + "\" is no name (letters, digits, '_')");
  segment.text = name;
  return segment;
}

Overlap compare(const Segment& a, const Segment& b) noexcept {
  const bool rest_a = a.kind == Kind::kRest;
  const bool rest_b = b.kind == Kind::kRest;
  if (rest_a || rest_b)
    return rest_a && rest_b ? Overlap::kEqual : rest_a ? Overlap::kMoreGeneral : Overlap::kMoreSpecific;
  if (a.kind == Kind::kSlash || b.kind == Kind::kSlash) return a.kind == b.kind ? Overlap::kEqual : Overlap::kDisjoint;
  const bool one_a = a.kind == Kind::kOne;
  const bool one_b = b.kind == Kind::kOne;
  if (one_a || one_b) return one_a && one_b ? Overlap::kEqual : one_a ? Overlap::kMoreGeneral : Overlap::kMoreSpecific;
  return a.text == b.text ? Overlap::kEqual : Overlap::kDisjoint;
}

Overlap compare(std::optional<Method> a, std::optional<Method> b) noexcept {
  if (a == b) return Overlap::kEqual;
  if (!a || (a == Method::kGet && b == Method::kHead)) return Overlap::kMoreGeneral;  // GET serves HEAD
  if (!b || (b == Method::kGet && a == Method::kHead)) return Overlap::kMoreSpecific;
  return Overlap::kDisjoint;
}

// Of pairs, from what it is of their parts.
Overlap combine(Overlap a, Overlap b) noexcept {
  if (a == Overlap::kDisjoint || b == Overlap::kDisjoint) return Overlap::kDisjoint;
  if (a == Overlap::kEqual || a == b) return b;
  return b == Overlap::kEqual ? a : Overlap::kOverlap;
}

Overlap compare(const std::vector<Segment>& a, const std::vector<Segment>& b) noexcept {
  const std::size_t common = std::min(a.size(), b.size());
  Overlap all = Overlap::kEqual;
  for (std::size_t i = 0; i < common && all != Overlap::kDisjoint; ++i) all = combine(all, compare(a[i], b[i]));
  if (a.size() == b.size()) return all;
  // The longer one's further segments are a part of what the shorter one's rest stands for, if it ends in one.
  const auto& shorter = a.size() < b.size() ? a : b;
  if (shorter.back().kind != Kind::kRest) return Overlap::kDisjoint;
  return combine(all, &shorter == &a ? Overlap::kMoreGeneral : Overlap::kMoreSpecific);
}

}  // namespace

Pattern Pattern::parse(std::string_view text) {
  Pattern pattern;
  pattern.text = text;
  std::string_view rest = text;
  if (const std::size_t blank = text.find_first_of(" \t"); blank != std::string_view::npos) {
    pattern.method = parse_method(text.substr(0, blank));
    if (!pattern.method) wrong(text, "\"" + std::string(text.substr(0, blank)) + "\" is no method that heddle knows");
    rest = text.substr(blank);
    rest.remove_prefix(std::min(rest.find_first_not_of(" \t"), rest.size()));
  }
  const std::size_t slash = rest.find('/');
  if (slash == std::string_view::npos) wrong(text, "there is no path: it begins with '/'");
  for (const char c : rest.substr(0, slash)) pattern.host += chars::lower(c);
  if (!pattern.host.empty() && (!is_host(pattern.host) || host_without_port(pattern.host) != pattern.host)) {
    wrong(text, "\"" + pattern.host + "\" is no host (without a port, and without {…})");
  }
  std::vector<std::string_view> names;
  for (std::string_view path = rest.substr(slash); !path.empty();) {
    path.remove_prefix(1);
    const std::size_t end = std::min(path.find('/'), path.size());
    const std::string_view one = path.substr(0, end);
    path.remove_prefix(end);
    if (one.empty()) {
      if (!path.empty()) wrong(text, "an empty segment is never asked for: such paths are redirected");
      // A tunnel's path is "/" alone: so "CONNECT /" has nothing in common with "/a", and does not conflict with it.
      const bool alone = pattern.method == Method::kConnect && pattern.segments.empty();
      pattern.segments.push_back({alone ? Kind::kSlash : Kind::kRest, {}});
      break;
    }
    if (one == "." || one == "..") wrong(text, "a dot segment is never asked for: such paths are redirected");
    pattern.segments.push_back(parse_segment(one, path.empty(), text));
  }
  for (const Segment& segment : pattern.segments) {
    if ((segment.kind != Kind::kOne && segment.kind != Kind::kRest) || segment.text.empty()) continue;
    if (std::ranges::find(names, segment.text) != names.end()) wrong(text, "{" + segment.text + "} is there twice");
    names.push_back(segment.text);
  }
  if (names.size() > kMaxNames) wrong(text, "more than " + std::to_string(kMaxNames) + " names");
  return pattern;
}

Overlap compare(const Pattern& a, const Pattern& b) noexcept {
  return combine(compare(a.method, b.method), compare(a.segments, b.segments));
}

}  // namespace heddle::http
