// The rules of RFC 9110 and 9112 that a head must keep beyond llhttp's grammar: framing, Host, target, expectations.
//
// Pure but for the exchange they fill: no bytes move, nothing is read from a connection.
#pragma once

#include <cstddef>
#include <string_view>

#include <heddle/http/internal/exchange.h>
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

}  // namespace heddle::http
