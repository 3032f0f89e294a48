#include <heddle/http/internal/route_tree.h>

#include <stdexcept>
#include <utility>

namespace heddle::http {
namespace {

using Kind = Segment::Kind;

const char* how(Overlap overlap) noexcept {
  return overlap == Overlap::kEqual ? "matches the same requests as" : "conflicts with";
}

// Such a pattern's path; empty: it is another one, or its path can be written in several ways.
std::string plain_path(const Pattern& pattern) {
  if (!pattern.method || !pattern.host.empty()) return {};
  constexpr std::string_view kUnreserved = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";
  std::string path;
  for (const Segment& segment : pattern.segments) {
    const std::string& text = segment.text;
    if (segment.kind != Kind::kLiteral || text.empty() || text == "." || text == ".." ||
        text.find_first_not_of(kUnreserved) != std::string::npos)
      return {};
    path.append("/").append(text);
  }
  return path;
}

}  // namespace

void RouteTree::add(const Pattern& pattern, const Route& route) {
  std::unique_ptr<Host>& host = hosts_[pattern.host];
  if (host == nullptr) host = std::make_unique<Host>();
  if (pattern.host.empty()) any_host_ = host.get();
  for (const Pattern* other : host->patterns) {
    if (!conflict(pattern, *other)) continue;
    const Overlap overlap = compare(pattern, *other);
    throw std::invalid_argument(
        "route \"" + pattern.text + "\" " + how(overlap) + " \"" + other->text + "\"" +
        (overlap == Overlap::kEqual ? "" : ": some request would match both, and neither is more specific"));
  }
  host->patterns.push_back(&pattern);
  std::unique_ptr<Node>* at = &host->roots[pattern.method ? static_cast<std::size_t>(*pattern.method) : kMethods];
  const auto node = [&at]() -> Node& {
    if (*at == nullptr) *at = std::make_unique<Node>();
    return **at;
  };
  for (const Segment& segment : pattern.segments) {
    switch (segment.kind) {
      case Kind::kLiteral: at = &node().literals[segment.text]; break;
      case Kind::kOne: at = &node().one; break;
      case Kind::kRest: at = &node().rest; break;
      case Kind::kSlash: at = &node().slash; break;
    }
  }
  Node& last = node();
  if (std::string path = plain_path(pattern); !path.empty()) {
    plain_[static_cast<std::size_t>(*pattern.method)][std::move(path)] = {&route, &pattern};
  }
  last.route = &route;
  last.pattern = &pattern;
}

bool RouteTree::find_plain(Method method, std::string_view path, RouteMatch& match) const {
  const ByText<Plain>& routes = plain_[static_cast<std::size_t>(method)];
  if (routes.empty() || has_hosts()) return false;
  const auto found = routes.find(path);
  if (found == routes.end()) return false;
  match.route = found->second.route;
  match.pattern = found->second.pattern;
  return true;
}

// From node `at` with the path from segment `i` on. Null: no route.
const RouteTree::Node* RouteTree::Walk::find(const Node* at, std::size_t i) {
  if (at == nullptr) return nullptr;
  if (i == path.size()) {
    if (!slash) return at->route != nullptr ? at : nullptr;
    if (at->slash != nullptr) return at->slash.get();
  } else {
    if (const auto literal = at->literals.find(path[i]); literal != at->literals.end()) {
      if (const Node* found = find(literal->second.get(), i + 1)) return found;
    }
    if (at->one != nullptr) {
      values.set(count++, path[i]);
      if (const Node* found = find(at->one.get(), i + 1)) return found;
      --count;
    }
  }
  if (at->rest != nullptr && !at->rest->pattern->segments.back().text.empty()) values.set(count++, path.from(i));
  return at->rest.get();
}

const RouteTree::Node* RouteTree::find(const Host& host, Method method, Walk& walk) {
  const auto from = [&](const std::unique_ptr<Node>& root) {
    walk.count = 0;
    return walk.find(root.get(), 0);
  };
  if (const Node* found = from(host.roots[static_cast<std::size_t>(method)])) return found;
  if (method == Method::kHead) {
    if (const Node* found = from(host.roots[static_cast<std::size_t>(Method::kGet)])) return found;
  }
  return from(host.roots[kMethods]);
}

// The first that `visit` finds: on the host itself, then on any.
template <class Visit>
const RouteTree::Node* RouteTree::on_hosts(std::string_view host, Visit visit) const {
  if (!host.empty() && has_hosts()) {
    if (const auto own = hosts_.find(host); own != hosts_.end()) {
      if (const Node* found = visit(*own->second)) return found;
    }
  }
  return any_host_ != nullptr ? visit(*any_host_) : nullptr;
}

bool RouteTree::find(std::string_view host, Method method, const SplitPath& path, RouteMatch& match) const {
  Walk walk{path, path.slash(), match.values};
  const Node* found = on_hosts(host, [&](const Host& h) { return find(h, method, walk); });
  if (found == nullptr) return false;
  match.route = found->route;
  match.pattern = found->pattern;
  return true;
}

bool RouteTree::has_with_slash(std::string_view host, Method method, const SplitPath& path) const {
  Views<Pattern::kMaxNames> values;
  Walk walk{path, true, values};
  const Node* found = on_hosts(host, [&](const Host& h) { return find(h, method, walk); });
  // Its last segment is a slash, {$} or a rest, and stands for nothing but the slash.
  return found != nullptr && found->pattern->segments.size() == path.size() + 1;
}

std::vector<Method> RouteTree::methods(std::string_view host, const SplitPath& path) const {
  std::vector<Method> all;
  RouteMatch match;
  for (std::size_t i = 0; i < kMethods; ++i) {
    const auto method = static_cast<Method>(i);
    if (find(host, method, path, match) || (!path.slash() && has_with_slash(host, method, path))) all.push_back(method);
  }
  return all;
}

}  // namespace heddle::http
