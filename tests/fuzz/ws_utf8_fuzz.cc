// UTF-8 that comes in pieces: a simple reading of the whole agrees about what is text, and what is none is told with the very
// piece that has the first byte that cannot be.
//
// Input: 4 bytes for the splits, text.
#include <heddle/http/internal/ws_utf8.h>

#include "fuzz.h"
#include "utf8.h"

namespace heddle::http::ws {
namespace {

void check_pieces(std::string_view text, std::uint64_t seed, const fuzz::Utf8Reading& expected) {
  Utf8Check check;
  std::size_t fed = 0;
  for (const std::string_view piece : fuzz::cut(text, seed)) {
    const fuzz::Exact exact(piece);
    fed += piece.size();
    const bool good = check.take(exact);
    FUZZ_CHECK(good == (fed <= expected.good));
    if (!good) return;
    FUZZ_CHECK(check.take({}));  // an empty piece is none
    FUZZ_CHECK(check.whole() == fuzz::read_utf8(text.substr(0, fed)).whole);
  }
  FUZZ_CHECK(check.whole() == expected.whole);
}

}  // namespace
}  // namespace heddle::http::ws

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace heddle;
  fuzz::Input input(data, size);
  const std::uint64_t seed = input.word();
  const fuzz::Exact text(input.rest());
  const std::string_view front = text.view().substr(0, 256);  // what is looked at anew at each piece
  FUZZ_CHECK(http::ws::is_utf8(text) == fuzz::is_utf8(text));
  const fuzz::Utf8Reading expected = fuzz::read_utf8(front);
  for (const std::uint64_t s : {seed, std::uint64_t{0}, std::uint64_t{3}}) {
    http::ws::check_pieces(front, s, expected);
  }
  return 0;
}
