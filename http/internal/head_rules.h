// The rules of RFC 9110 and 9112 that a head must keep beyond llhttp's grammar: framing, Host, target, expectations.
//
// Pure but for the exchange they fill: no bytes move, nothing is read from a connection.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include <heddle/http/internal/exchange.h>
#include <heddle/http/internal/target.h>
#include <heddle/http/method.h>

namespace heddle::http {

struct LineVerdict {
  int status = 0;            // 0: nothing wrong with the line itself
  std::size_t minor_at = 0;  // not 0: HTTP/1.2 or later; where the digit is
};

/// What to answer to a request line that llhttp refused. `line` is without its CR LF.
[[nodiscard]] LineVerdict judge_line(std::string_view line, const HeadLimits& limits) noexcept;

/// True if the line that llhttp accepted reads METHOD SP target SP HTTP/1.x CR LF and nothing looser.
[[nodiscard]] bool is_exact_line(const Exchange& x, Method method) noexcept;

/// Looks at a whole head and fills x.head and x.body from it. Returns the status that refuses it, or 0. Throws
/// std::bad_alloc (a path with escapes).
[[nodiscard]] int check_head(Exchange& x, Method method);

// ---- its steps, for who reads fields one by one ----

/// What the fields so far say of framing and persistence.
struct Special {
  int hosts = 0;
  int lengths = 0;
  bool has_coding = false;  // the field is there, empty or not
  bool chunked_last = false;
  int status = 0;  // the first thing wrong with a coding
  bool close = false;
  bool keep_alive = false;
  bool expect_other = false;
  std::uint64_t length = 0;
};

/// Takes a field, whose value has no blanks at its ends, into account. Returns the status that refuses the head, or 0.
[[nodiscard]] int take_field(Exchange& x, Special& s, const HeaderList::Ref& field) noexcept;

/// After the last field: fills x.head and x.body. x.head.minor is set, `target` what the request line had. Returns and throws as
/// check_head().
[[nodiscard]] int conclude_head(Exchange& x, Method method, const Special& s, const Target& target);

}  // namespace heddle::http
