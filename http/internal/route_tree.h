// RouteTree: finds the route of a request: by host, method, and then segment by segment.
//
//                 root(host, method)
//            "a" /        | {}       \ {...}, "/"          slash: {$}
//             node       node         node
//
// At each node the literal is tried first, then the one-segment wildcard, then the rest. That order is the one of
// specificity, because patterns that conflict are refused (pattern.h); so the first route found is the right one. A step
// costs a look-up in a hash table, however many routes there are.
//
// Most requests are for a pattern of literals alone, with their method and no host: nothing is more specific, so these are
// looked up by their whole path first, as it stands in the target (find_plain()).
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <heddle/http/internal/path.h>
#include <heddle/http/internal/pattern.h>
#include <heddle/http/method.h>

namespace heddle::http {

struct Route;  // mux.cc

/// What a request matched, for Request::path_value(). A view: of the tree and of a SplitPath.
struct RouteMatch {
  const Route* route = nullptr;
  const Pattern* pattern = nullptr;
  Views<Pattern::kMaxNames> values;  // in the order of the pattern's names
};

class RouteTree {
 public:
  /// Adds `route` for `pattern`; both must outlive the tree. Throws std::invalid_argument if it conflicts with one that
  /// is there; then nothing is added.
  void add(const Pattern& pattern, const Route& route);

  /// The route of a pattern of literals with that very method and path, if there are no hosts to be looked at. `path` is as
  /// in the target: what is found is clean and without escapes. False: find() decides.
  [[nodiscard]] bool find_plain(Method method, std::string_view path, RouteMatch& match) const;

  /// The route for a request, in `match`. `host`: without port, in lower case.
  [[nodiscard]] bool find(std::string_view host, Method method, const SplitPath& path, RouteMatch& match) const;

  /// Like find(), for `path` with a slash at its end, which it has not; only a pattern that ends there, too, counts.
  [[nodiscard]] bool has_with_slash(std::string_view host, Method method, const SplitPath& path) const;

  /// The methods with which find() would find something, or has_with_slash() would, in the order of Method. Empty: with none.
  [[nodiscard]] std::vector<Method> methods(std::string_view host, const SplitPath& path) const;

  [[nodiscard]] bool has_hosts() const noexcept { return hosts_.size() > (any_host_ != nullptr ? 1U : 0U); }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const noexcept { return std::hash<std::string_view>()(text); }
  };
  template <class T>
  using ByText = std::unordered_map<std::string, T, Hash, std::equal_to<>>;

  struct Node {
    const Route* route = nullptr;
    const Pattern* pattern = nullptr;
    ByText<std::unique_ptr<Node>> literals;
    std::unique_ptr<Node> one;
    std::unique_ptr<Node> rest;
    std::unique_ptr<Node> slash;
  };

  static constexpr std::size_t kMethods = static_cast<std::size_t>(Method::kUnlink) + 1;
  struct Host {
    std::array<std::unique_ptr<Node>, kMethods + 1> roots;  // by method; the last: any
    std::vector<const Pattern*> patterns;
  };

  struct Plain {
    const Route* route = nullptr;
    const Pattern* pattern = nullptr;
  };

  // A way through the tree: how far it has come, and what it has met.
  struct Walk {
    const SplitPath& path;
    bool slash;  // the path's own, or the one that has_with_slash() adds
    Views<Pattern::kMaxNames>& values;
    std::size_t count = 0;
    const Node* find(const Node* at, std::size_t i);
  };

  template <class Visit>
  const Node* on_hosts(std::string_view host, Visit visit) const;
  static const Node* find(const Host& host, Method method, Walk& walk);

  ByText<std::unique_ptr<Host>> hosts_;  // "": any
  const Host* any_host_ = nullptr;
  std::array<ByText<Plain>, kMethods> plain_;  // by path
};

}  // namespace heddle::http
