// What a Close frame says: a code and a reason, and which codes may be on the wire.
//
//     0-999        never                       1004, 1005, 1006, 1015    never: they stand for what was not sent
//     1000-1014    registered, but for those   1016-2999                 nobody has registered them
//     3000-4999    libraries', programs' own   5000-                     never
//
// Source: RFC 6455 s5.5.1, s7.4; IANA's WebSocket Close Code Number Registry.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace heddle::http::ws {

/// True if a Close frame may carry `code`.
[[nodiscard]] constexpr bool is_wire_code(int code) noexcept {
  return (code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006) ||
         (code >= 3000 && code <= 4999);
}

inline constexpr std::size_t kMaxReason = 123;  // bytes: what a control frame has left beside the code

/// True if we may say so in a Close: 1005 stands for no code, and then there is no reason.
[[nodiscard]] bool is_sendable_close(int code, std::string_view reason) noexcept;

/// A Close frame's payload, as it was read.
struct ClosePayload {
  int code = 1005;  // 1005: there was none
  std::string_view reason = {};
  int fault = 0;  // not 0: the payload breaks the protocol, and this is the code to fail with
};

[[nodiscard]] ClosePayload read_close(std::string_view payload) noexcept;

/// The payload for a code and a reason; empty for 1005.
[[nodiscard]] std::string close_payload(int code, std::string_view reason);

}  // namespace heddle::http::ws
