// Ranges of bytes: what a client asks for (Range, If-Range) and how the answer names it (Content-Range). RFC 9110 s14.
//
// Text in, integers out, no request and no file: for any handler that has a body of known length.
//
// A set is served as it was asked for, with one change: ranges that overlap or touch are merged, at the place of the
// first of them. So what is sent is never longer than the whole, however the set was made; and a set of too many is
// ignored, for each costs a part's head (s14.2 permits both).
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace heddle::http {

struct ByteRange {
  std::uint64_t first = 0;
  std::uint64_t size = 0;  // never 0 in a set

  friend bool operator==(const ByteRange&, const ByteRange&) = default;
};

struct RangeSet {
  enum class Kind : std::uint8_t {
    kWhole,          // there is no range to heed: 200 and everything
    kPartial,        // 206 and `ranges`; more than one: multipart/byteranges
    kUnsatisfiable,  // 416 and content_range_of_none()
  };

  Kind kind = Kind::kWhole;
  std::vector<ByteRange> ranges;
};

/// Ranges of one set that are heeded at most.
inline constexpr std::size_t kMaxRanges = 16;

/// Reads the value of a Range field for a body of `size` bytes. Ranges are cut to it.
///
/// kWhole: an unknown unit; a set with anything wrong in it; more than `max_ranges`; a body without bytes that was asked
/// for its last ones. kUnsatisfiable: a set without error of which nothing lies in the body.
/// Errors: throws std::bad_alloc.
[[nodiscard]] RangeSet parse_range(std::string_view value, std::uint64_t size, std::size_t max_ranges = kMaxRanges);

/// True if an If-Range field permits to send ranges of the body that has `etag` (quotes and all; empty: none) and was
/// last modified at `modified`: a strong tag, equal, or that date exactly (RFC 9110 s13.1.5). The date must be strong:
/// a second older than `now`, or the body could have changed again in it (s8.8.2.2).
[[nodiscard]] bool if_range_holds(std::string_view value, std::string_view etag,
                                  std::optional<std::chrono::sys_seconds> modified,
                                  std::chrono::sys_seconds now) noexcept;

/// "bytes 0-4/10".
[[nodiscard]] std::string content_range(const ByteRange& range, std::uint64_t size);
/// "bytes */10": what goes with 416.
[[nodiscard]] std::string content_range_of_none(std::uint64_t size);

}  // namespace heddle::http
