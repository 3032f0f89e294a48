// SHA-1 (RFC 3174), for the one place that still asks for it: a WebSocket's handshake (RFC 6455 s4.2.2).
//
// There it proves that the server has read the request, and guards no secret. It is broken for all else: use nothing of it.
#pragma once

#include <string>
#include <string_view>

namespace heddle::http {

/// The 20 bytes of the digest.
[[nodiscard]] std::string sha1(std::string_view bytes);

}  // namespace heddle::http
