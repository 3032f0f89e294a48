// Which fields may stand behind a body. One list for both ends and both directions.
//
// A field whose meaning was needed before the body, or that a recipient might take for a part of the head, would do harm
// behind it: framing, routing, authentication, conditions and controls, caching, and how the content is to be read
// (RFC 9110 s6.5.1). Fields that nobody knows may be trailers.
#pragma once

#include <string_view>

namespace heddle::http {

/// False for a field that must not be a trailer, in any case of letters. Threads: any.
[[nodiscard]] bool may_be_trailer(std::string_view name) noexcept;

}  // namespace heddle::http
