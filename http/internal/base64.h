// Base64 (RFC 4648 s4), read strictly: the padding is there, its unused bits are zero, nothing else stands between.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace heddle::http {

/// `bytes` as base64, with its padding.
[[nodiscard]] std::string encode_base64(std::string_view bytes);

/// The bytes that `text` stands for; nothing if it is no base64.
[[nodiscard]] std::optional<std::string> decode_base64(std::string_view text);

}  // namespace heddle::http
