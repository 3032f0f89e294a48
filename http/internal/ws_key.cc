#include <heddle/http/internal/ws_key.h>

#include <sys/random.h>

#include <optional>

#include <heddle/core/check.h>
#include <heddle/http/base64.h>
#include <heddle/http/internal/sha1.h>

namespace heddle::http::ws {
namespace {

constexpr std::size_t kKeyBytes = 16;

}  // namespace

std::string make_key() {
  std::string bytes(kKeyBytes, '\0');
  // So few bytes come whole and, once the machine has booted, without waiting: getrandom(2).
  HEDDLE_CHECK(::getrandom(bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
  return encode_base64(bytes);
}

bool is_key(std::string_view text) {
  const std::optional<std::string> bytes = decode_base64(text);
  return bytes && bytes->size() == kKeyBytes;
}

std::string accept_key(std::string_view key) {
  return encode_base64(sha1(std::string(key) + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
}

}  // namespace heddle::http::ws
