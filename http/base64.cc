#include <heddle/http/base64.h>

#include <cstddef>

namespace heddle::http {
namespace {

constexpr bool is_url(Base64 encoding) noexcept { return encoding == Base64::kUrl || encoding == Base64::kRawUrl; }
constexpr bool is_padded(Base64 encoding) noexcept { return encoding == Base64::kStd || encoding == Base64::kUrl; }

// -1: none of the alphabet.
int value_of(char c, bool url) noexcept {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == (url ? '-' : '+') ? 62 : c == (url ? '_' : '/') ? 63 : -1;
}

}  // namespace

std::string encode_base64(std::string_view bytes, Base64 encoding) {
  const std::string_view alphabet = is_url(encoding)
                                        ? "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
                                        : "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::string_view group = bytes.substr(i, 3);
    std::uint32_t bits = 0;
    for (std::size_t k = 0; k < 3; ++k)
      bits = bits << 8 | (k < group.size() ? static_cast<unsigned char>(group[k]) : 0U);
    for (std::size_t k = 0; k <= group.size(); ++k) out += alphabet[bits >> (18 - 6 * k) & 63];
    if (is_padded(encoding)) out.append(3 - group.size(), '=');
  }
  return out;
}

std::optional<std::string> decode_base64(std::string_view text, Base64 encoding) {
  if (is_padded(encoding)) {
    if (text.size() % 4 != 0) return std::nullopt;
    for (int i = 0; i < 2 && text.ends_with('='); ++i) text.remove_suffix(1);
  }
  if (text.size() % 4 == 1) return std::nullopt;  // six bits are no byte
  const bool url = is_url(encoding);
  std::string out;
  out.reserve(text.size() / 4 * 3 + 2);
  std::uint32_t bits = 0;
  int have = 0;
  for (const char c : text) {
    const int v = value_of(c, url);
    if (v < 0) return std::nullopt;
    bits = bits << 6 | static_cast<std::uint32_t>(v);
    have += 6;
    if (have >= 8) {
      have -= 8;
      out += static_cast<char>(bits >> have & 0xff);
    }
  }
  if ((bits & ((1u << have) - 1)) != 0) return std::nullopt;  // two texts for the same bytes
  return out;
}

}  // namespace heddle::http
