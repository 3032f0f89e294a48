// Bodies of requests: a split makes no difference; what comes out is no more than there is room for, or than the limit;
// what was read to its end is what a simple reading makes of it, to the byte; and what is behind it was not touched.
//
// Input: a byte that chooses the kind and the limits, 4 that choose the splits, the bytes behind the head.
#include <heddle/http/internal/head_parser.h>

#include "wire.h"

namespace heddle::http {
namespace {

struct Outcome {
  std::string body;
  bool done = false;
  bool fault = false;  // which one may depend on the splits, where a body is at fault in two ways
  std::size_t size = 0;

  friend bool operator==(const Outcome&, const Outcome&) = default;
};

Outcome decode(std::string_view head, const std::vector<std::string_view>& pieces, std::size_t room,
               const HeadLimits& limits) {
  Exchange* x = Exchange::take();
  x->limits = &limits;
  x->append(std::as_bytes(std::span(head)));
  x->visible = x->filled;
  FUZZ_CHECK(parse_head(*x) == HeadStatus::kComplete);
  Outcome out;
  for (const std::string_view piece : pieces) {
    for (std::size_t at = 0; at < piece.size() && !x->body.done && x->body.fault == 0;) {
      const fuzz::Exact from(piece.substr(at));
      const auto to = std::make_unique<char[]>(room);
      const Decoded d = decode_body(*x, from.view().data(), from.view().size(), to.get(), room);
      FUZZ_CHECK(d.consumed != 0 && d.consumed <= from.view().size());
      FUZZ_CHECK(d.produced <= room && d.produced <= d.consumed);
      at += d.consumed;
      out.size += d.consumed;
      out.body.append(to.get(), d.produced);
    }
  }
  FUZZ_CHECK(out.body.size() <= limits.max_body);
  out.done = x->body.done;
  out.fault = x->body.fault != 0;
  FUZZ_CHECK(!(out.done && out.fault));
  if (out.fault) {  // nobody looks any more
    FUZZ_CHECK(x->body.fault == 400 || x->body.fault == 413);
    out.body.clear();
    out.size = 0;
  }
  x->give();
  return out;
}

}  // namespace
}  // namespace heddle::http

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace heddle::http;
  static const HeadLimits kAll[] = {{}, {.max_body = 40, .max_framing = 64}};
  heddle::fuzz::Input input(data, size);
  const std::size_t choice = input.below(8);
  const HeadLimits& limits = kAll[choice & 1];
  const std::uint64_t seed = input.word();
  const std::size_t fixed = choice < 6 ? 0 : 1 + static_cast<std::size_t>(seed % 40);
  const std::string head = "POST / HTTP/1.1\r\nHost: a\r\n" +
                           (fixed == 0 ? "Transfer-Encoding: chunked" : "Content-Length: " + std::to_string(fixed)) +
                           "\r\n\r\n";
  const std::string bytes = input.rest();
  const Outcome whole = decode(head, {bytes}, 1 << 16, limits);
  FUZZ_CHECK(decode(head, heddle::fuzz::cut(bytes, seed), 1 + seed % 50, limits) == whole);
  FUZZ_CHECK(decode(head, heddle::fuzz::cut(bytes, 0), 1, limits) == whole);
  if (fixed != 0) {
    FUZZ_CHECK(!whole.fault && whole.done == (bytes.size() >= fixed));
    FUZZ_SAME(whole.body, std::string_view(bytes).substr(0, fixed));
  } else if (whole.done) {
    const auto simple = heddle::fuzz::unchunk(bytes);
    FUZZ_CHECK(simple.has_value());
    FUZZ_SAME(whole.body, simple->body);
    FUZZ_CHECK(whole.size == simple->size);
  }
  return 0;
}
