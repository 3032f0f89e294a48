// Pattern: what a route matches, read from its text: an optional method and blanks, an optional host, a path.
//
//   "GET /a"         the path /a with GET or HEAD           "/a/{id}"        one whole segment, whatever it is
//   "host.example/"  everything on one host                 "/a/{rest...}"   what remains, slashes and all, maybe nothing
//   "/a/"            everything below /a/                   "/a/{$}"         the path /a/ alone
//   "CONNECT /"      tunnels, whose path is "/" alone: it is "CONNECT /{$}"
//
// The rules are those of Go 1.22's ServeMux (net/http, "Patterns", "Precedence", "Conflicts"): the more specific of two
// patterns wins; if two could match one request and neither is more specific, they conflict, and the second is refused
// when it is registered. So the order of registration means nothing.
//
// A pattern is text of the program: its literals are written as they are decoded, or escaped, which is the same.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <heddle/http/method.h>

namespace heddle::http {

struct Segment {
  enum class Kind : std::uint8_t {
    kLiteral,  // text
    kOne,      // {text}
    kRest,     // {text...}, or, with no text, a path's last slash; only the last
    kSlash,    // {$}: a path's last slash and nothing behind; only the last
  };
  Kind kind = Kind::kLiteral;
  std::string text;
};

struct Pattern {
  /// How many named segments a pattern may have.
  static constexpr std::size_t kMaxNames = 16;

  std::string text;
  std::optional<Method> method;  // none: any
  std::string host;              // in lower case; empty: any
  std::vector<Segment> segments;

  /// Throws std::invalid_argument, which says what is wrong with `text`.
  [[nodiscard]] static Pattern parse(std::string_view text);
};

/// How the sets of what two patterns match lie to each other.
enum class Overlap : std::uint8_t {
  kEqual,
  kMoreGeneral,   // the first holds the second
  kMoreSpecific,  // the second holds the first
  kOverlap,       // they share something, and each has something of its own
  kDisjoint,
};

/// By method and path; hosts are not looked at.
[[nodiscard]] Overlap compare(const Pattern& a, const Pattern& b) noexcept;

/// True if both could match one request and neither is more specific. A host is more specific than none.
[[nodiscard]] inline bool conflict(const Pattern& a, const Pattern& b) noexcept {
  if (a.host != b.host) return false;
  const Overlap o = compare(a, b);
  return o == Overlap::kEqual || o == Overlap::kOverlap;
}

}  // namespace heddle::http
