// Preconditions: If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since, in the order of RFC 9110 s13.2.2.
//
//   If-Match             there: does it hold?   no -> 412
//   If-Unmodified-Since  there, without If-Match: does it hold?   no -> 412
//   If-None-Match        there: does it hold?   no -> 304 for GET and HEAD, else 412
//   If-Modified-Since    there, without If-None-Match, for GET and HEAD: does it hold?   no -> 304
//   (If-Range comes last; range.h)
//
// For a handler that would otherwise answer 2xx: a request that fails anyhow is not made a 304 or 412 (s13.2.1).
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>

#include <heddle/http/header.h>
#include <heddle/http/method.h>

namespace heddle::http {

/// What tells one state of a resource from another.
struct Validators {
  /// The entity tag as its field says it, `"x"` or `W/"x"`; empty: none.
  std::string_view etag;
  std::optional<std::chrono::sys_seconds> modified;
  /// False: there is nothing yet (a PUT that would make it). Then neither `*` nor any tag matches.
  bool exists = true;
};

enum class Precondition : std::uint8_t {
  kProceed,      // answer as if there were no condition
  kNotModified,  // 304, with the ETag, Vary, Cache-Control and Expires that 200 would have
  kFailed,       // 412
};

/// What the conditions of a request come to. Dates that are none are ignored, and so are all date conditions of a
/// resource without a date.
[[nodiscard]] Precondition check_preconditions(const HeaderList& headers, Method method,
                                               const Validators& validators) noexcept;

enum class TagComparison : std::uint8_t {
  kStrong,  // both strong, and the same: byte for byte the same content
  kWeak,    // the same, W/ or not
};

/// True for `"x"` or `W/"x"` (RFC 9110 s8.8.3).
[[nodiscard]] bool is_etag(std::string_view text) noexcept;

/// True if a list of tags (the value of one If-Match or If-None-Match line) has one that matches `etag`. What follows
/// a fault in the list does not count. `*` is no list.
[[nodiscard]] bool etag_list_has(std::string_view list, std::string_view etag, TagComparison how) noexcept;

}  // namespace heddle::http
