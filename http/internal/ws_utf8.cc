#include <heddle/http/internal/ws_utf8.h>

#include <cstring>

namespace heddle::http::ws {
namespace {

// How many bytes at the front are ASCII, as far as that is told eight at a time.
std::size_t ascii_words(std::string_view bytes) noexcept {
  std::size_t n = 0;
  for (; bytes.size() - n >= 8; n += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data() + n, 8);
    if ((word & 0x8080'8080'8080'8080) != 0) break;
  }
  return n;
}

}  // namespace

bool Utf8Check::take(std::string_view bytes) noexcept {
  while (!bytes.empty()) {
    if (need_ == 0) {
      bytes.remove_prefix(ascii_words(bytes));
      if (bytes.empty()) break;
    }
    const auto c = static_cast<std::uint8_t>(bytes.front());
    bytes.remove_prefix(1);
    if (need_ != 0) {
      if (c < low_ || c > high_) return false;
      --need_;
      low_ = 0x80;
      high_ = 0xbf;
    } else if (c >= 0x80) {
      if (c < 0xc2 || c > 0xf4) return false;
      need_ = c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
      if (c == 0xe0) low_ = 0xa0;
      if (c == 0xed) high_ = 0x9f;
      if (c == 0xf0) low_ = 0x90;
      if (c == 0xf4) high_ = 0x8f;
    }
  }
  return true;
}

bool is_utf8(std::string_view text) noexcept {
  Utf8Check check;
  return check.take(text) && check.whole();
}

}  // namespace heddle::http::ws
