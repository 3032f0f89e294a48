// Routes: which of two patterns is more specific, which conflict, and which one a request gets, held against the definitions
// of Go 1.22's ServeMux ("Patterns", "Precedence", "Conflicts") tried out on every request that could tell two patterns apart.
//
// Input: lines. Patterns up to an empty line, then requests: "METHOD host /path".
#include <heddle/http/internal/path.h>
#include <heddle/http/internal/pattern.h>
#include <heddle/http/internal/route_tree.h>
#include <heddle/http/internal/target.h>

#include <deque>
#include <map>
#include <set>
#include <stdexcept>
#include <utility>

#include "fuzz.h"

namespace heddle::http {
namespace {

using Kind = Segment::Kind;

struct Ask {
  Method method;
  std::string host;
  std::vector<std::string> segments;  // decoded
  bool slash;
};

// Whether `pattern` matches, by its definition.
bool matches(const Pattern& pattern, const Ask& ask) {
  if (!pattern.host.empty() && pattern.host != ask.host) return false;
  if (pattern.method && *pattern.method != ask.method &&
      !(*pattern.method == Method::kGet && ask.method == Method::kHead)) {
    return false;
  }
  std::size_t at = 0;
  for (const Segment& segment : pattern.segments) {
    const bool more = at < ask.segments.size();
    switch (segment.kind) {
      case Kind::kLiteral:
        if (!more || ask.segments[at++] != segment.text) return false;
        break;
      case Kind::kOne:
        if (!more) return false;
        ++at;
        break;
      case Kind::kSlash: return !more && ask.slash;
      case Kind::kRest: return more || ask.slash;
    }
  }
  return at == ask.segments.size() && !ask.slash;
}

// Calls fn(ask) for every request that could tell `a` and `b` apart: their literals, one that is neither's, all lengths up
// to one more than theirs, all methods of theirs and one that is neither's.
template <class F>
void for_each_ask(const Pattern& a, const Pattern& b, F fn) {
  std::set<std::string> words{"\x01 other"};
  std::set<Method> methods{Method::kGet, Method::kHead, Method::kUnlink, Method::kLink, Method::kPurge};
  for (const Pattern* p : {&a, &b}) {
    if (p->method) methods.insert(*p->method);
    for (const Segment& s : p->segments) {
      if (s.kind == Kind::kLiteral) words.insert(s.text);
    }
  }
  const std::vector<std::string> alphabet(words.begin(), words.end());
  const std::size_t longest = std::max(a.segments.size(), b.segments.size()) + 1;
  std::vector<std::size_t> digits;
  for (;;) {
    Ask ask{Method::kGet, a.host, {}, false};
    for (const std::size_t d : digits) ask.segments.push_back(alphabet[d]);
    for (const Method method : methods) {
      ask.method = method;
      ask.slash = true;
      fn(ask);
      ask.slash = false;
      if (!digits.empty()) fn(ask);  // there is no path without segments and without a slash
    }
    std::size_t i = 0;
    while (i < digits.size() && ++digits[i] == alphabet.size()) digits[i++] = 0;
    if (i < digits.size()) continue;
    if (digits.size() == longest) return;
    digits.assign(digits.size() + 1, 0);
  }
}

// How what they match lies to each other; hosts are not looked at.
Overlap tried(Pattern a, Pattern b) {
  a.host.clear();
  b.host.clear();
  bool both = false;
  bool a_alone = false;
  bool b_alone = false;
  for_each_ask(a, b, [&](const Ask& ask) {
    const bool in_a = matches(a, ask);
    const bool in_b = matches(b, ask);
    both = both || (in_a && in_b);
    a_alone = a_alone || (in_a && !in_b);
    b_alone = b_alone || (in_b && !in_a);
  });
  if (!both) return Overlap::kDisjoint;
  if (a_alone) return b_alone ? Overlap::kOverlap : Overlap::kMoreGeneral;
  return b_alone ? Overlap::kMoreSpecific : Overlap::kEqual;
}

Overlap mirrored(Overlap o) {
  return o == Overlap::kMoreGeneral ? Overlap::kMoreSpecific : o == Overlap::kMoreSpecific ? Overlap::kMoreGeneral : o;
}

bool is_small(const Pattern& p) {
  return p.segments.size() <= 4 && std::ranges::count(p.segments, Kind::kLiteral, &Segment::kind) <= 2;
}

// What a request's wildcards stand for.
std::vector<std::string> values_of(const Pattern& pattern, const Ask& ask) {
  std::vector<std::string> values;
  for (std::size_t i = 0; i < pattern.segments.size(); ++i) {
    const Segment& s = pattern.segments[i];
    if (s.text.empty()) continue;
    if (s.kind == Kind::kOne) values.push_back(ask.segments[i]);
    if (s.kind != Kind::kRest) continue;
    std::string rest;
    for (std::size_t at = i; at < ask.segments.size(); ++at) rest += (at > i ? "/" : "") + ask.segments[at];
    if (ask.slash && i < ask.segments.size()) rest += '/';
    values.push_back(rest);
  }
  return values;
}

class Routes {
 public:
  void add(const std::string& text) {
    Pattern parsed;
    try {
      parsed = Pattern::parse(fuzz::Exact(text));
    } catch (const std::invalid_argument&) {
      return;
    }
    if (!is_small(parsed)) return;
    FUZZ_CHECK(!parsed.segments.empty());
    FUZZ_CHECK(compare(parsed, parsed) == Overlap::kEqual);
    bool refused_by_trial = false;
    for (const Pattern& other : patterns_) {
      const Overlap overlap = tried(parsed, other);
      FUZZ_CHECK(compare(parsed, other) == overlap);
      FUZZ_CHECK(compare(other, parsed) == mirrored(overlap));
      FUZZ_CHECK(conflict(parsed, other) == conflict(other, parsed));
      const bool conflicts = parsed.host == other.host && (overlap == Overlap::kEqual || overlap == Overlap::kOverlap);
      FUZZ_CHECK(conflict(parsed, other) == conflicts);
      refused_by_trial = refused_by_trial || conflicts;
    }
    Pattern& pattern = patterns_.emplace_back(std::move(parsed));
    bool refused = false;
    try {
      // The tree only hands the reference back.
      tree_.add(pattern, reinterpret_cast<const Route&>(pattern));
    } catch (const std::invalid_argument&) {
      refused = true;
      patterns_.pop_back();
    }
    FUZZ_CHECK(refused == refused_by_trial);
  }

  [[nodiscard]] std::size_t size() const { return patterns_.size(); }

  void ask(Method method, const std::string& host, const std::string& raw) const {
    const SplitPath path(raw);
    if (!path.is_clean()) return;  // the Mux redirects it
    Ask ask{method, host, {}, path.slash()};
    for (std::size_t i = 0; i < path.size(); ++i) ask.segments.emplace_back(path[i]);
    const Pattern* const wanted = best(ask);
    RouteMatch match;
    const bool found = tree_.find(host, method, path, match);
    FUZZ_CHECK(found == (wanted != nullptr));
    if (found) {
      FUZZ_CHECK(match.pattern == wanted);
      FUZZ_CHECK(static_cast<const void*>(match.route) == wanted);
      const std::vector<std::string> values = values_of(*wanted, ask);
      for (std::size_t i = 0; i < values.size(); ++i) FUZZ_SAME(match.values[i], values[i]);
    }
    RouteMatch plain;
    if (tree_.find_plain(method, raw, plain)) FUZZ_CHECK(plain.pattern == wanted);
    std::vector<Method> methods;
    for (std::size_t i = 0; i <= static_cast<std::size_t>(Method::kUnlink); ++i) {
      ask.method = static_cast<Method>(i);
      if (best(ask) != nullptr || is_there_with_slash(ask)) methods.push_back(ask.method);
    }
    FUZZ_CHECK(tree_.methods(host, path) == methods);
    ask.method = method;
    if (!ask.slash) FUZZ_CHECK(tree_.has_with_slash(host, method, path) == is_there_with_slash(ask));
  }

 private:
  // With a slash more, which it has not: a pattern that ends there, too.
  [[nodiscard]] bool is_there_with_slash(Ask ask) const {
    if (std::exchange(ask.slash, true)) return false;
    const Pattern* const with_slash = best(ask);
    return with_slash != nullptr && with_slash->segments.size() == ask.segments.size() + 1;
  }

  // The most specific of all that match: with a host before those without, then the one that no other one is a part of.
  [[nodiscard]] const Pattern* best(const Ask& ask) const {
    const Pattern* best = nullptr;
    for (const Pattern& p : patterns_) {
      if (!matches(p, ask)) continue;
      if (best == nullptr || (best->host.empty() && !p.host.empty())) {
        best = &p;
      } else if (best->host == p.host) {
        const Overlap overlap = relation(p, *best);
        FUZZ_CHECK(overlap == Overlap::kMoreSpecific || overlap == Overlap::kMoreGeneral);
        if (overlap == Overlap::kMoreSpecific) best = &p;
      }
    }
    return best;
  }

  // By trial, once for each pair.
  Overlap relation(const Pattern& a, const Pattern& b) const {
    const auto [at, fresh] = relations_.try_emplace({&a, &b}, Overlap::kEqual);
    if (fresh) at->second = tried(a, b);
    return at->second;
  }

  std::deque<Pattern> patterns_;
  mutable std::map<std::pair<const Pattern*, const Pattern*>, Overlap> relations_;
  RouteTree tree_;
};

}  // namespace
}  // namespace heddle::http

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace heddle::http;
  heddle::fuzz::Input input(data, size);
  Routes routes;
  for (std::string line = input.line(); !line.empty(); line = input.line()) {
    if (routes.size() < 8) routes.add(line);
  }
  for (int i = 0; i < 16 && !input.empty(); ++i) {
    const std::string line = input.line();
    const std::size_t first = std::min(line.find(' '), line.size());
    const std::size_t second = std::min(line.find(' ', first + 1), line.size());
    const std::optional<Method> method = parse_method(std::string_view(line).substr(0, first));
    if (!method || second == line.size()) continue;
    const std::string host = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    Target target;
    if (!path.starts_with('/') || !split_target(path, *method, target) || target.path.size() > 300) continue;
    routes.ask(*method, host, std::string(target.path));
  }
  return 0;
}
