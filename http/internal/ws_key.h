// The keys of a WebSocket's handshake: what a client asks with, and what proves that the server has read it.
//
// Source: RFC 6455 s4.1, s4.2.2, s1.3.
#pragma once

#include <string>
#include <string_view>

namespace heddle::http::ws {

/// 16 random bytes as base64: a Sec-WebSocket-Key.
[[nodiscard]] std::string make_key();

/// True for base64 of exactly 16 bytes.
[[nodiscard]] bool is_key(std::string_view text);

/// The Sec-WebSocket-Accept that answers `key`.
[[nodiscard]] std::string accept_key(std::string_view key);

}  // namespace heddle::http::ws
