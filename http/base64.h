// Base64: bytes as 64 printable characters. What Basic credentials, WebSocket keys and tokens in URLs are written in.
//
//   encode_base64("Aladdin:open sesame")                   // "QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
//   decode_base64("-_8", Base64::kRawUrl)                  // "\xfb\xff"
//
// Read strictly, as Go's encodings are with Strict(), and more: each string of bytes has one text, which encode_base64()
// makes, and every other text is refused. So texts can be compared instead of bytes, and nothing hides in one: no line
// ends, no blanks, no character of the other alphabet, no set bits behind the last byte (RFC 4648 s3.5, s12). Who must read
// what others have wrapped takes the line ends out first.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace heddle::http {

/// Which 62nd and 63rd character, and whether the text is padded with '=' to a multiple of four. The names are Go's.
enum class Base64 : std::uint8_t {
  kStd,     // '+' '/', padded: RFC 4648 s4
  kUrl,     // '-' '_', padded: RFC 4648 s5
  kRawStd,  // '+' '/', never padded
  kRawUrl,  // '-' '_', never padded: JSON Web Tokens (RFC 7515 s2)
};

/// `bytes` as base64. Throws std::bad_alloc. Threads: any.
[[nodiscard]] std::string encode_base64(std::string_view bytes, Base64 encoding = Base64::kStd);

/// The bytes that `text` stands for; nothing if encode_base64() would not have written it. Throws std::bad_alloc. Threads: any.
[[nodiscard]] std::optional<std::string> decode_base64(std::string_view text, Base64 encoding = Base64::kStd);

}  // namespace heddle::http
