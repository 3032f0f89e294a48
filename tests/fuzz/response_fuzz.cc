// Responses as the client reads them: a split makes no difference (response_parser.h, I3); what was accepted is lines that
// end with CR LF, each the field that it was read as, with one framing; and a body is what a simple reading makes of it.
//
// Input: a byte that chooses the method and the limits, 4 that choose the splits, the bytes of a connection that ends.
#include <heddle/http/internal/response_parser.h>

#include <cstring>

#include "wire.h"

namespace heddle::http {
namespace {

struct Outcome {
  std::string shown;  // all but the body
  std::string body;
  std::size_t head_size = 0;
  std::size_t size = 0;  // of all that is the response's; where it was refused: nothing
  bool whole = false;
  ResponseFraming framing = ResponseFraming::kNone;

  friend bool operator==(const Outcome&, const Outcome&) = default;
};

void refuse(Outcome& out, Code code) {
  out.shown += std::string(" refused: ") + to_string(code);
  out.body.clear();
  out.size = 0;
}

void check_head(std::string_view head_text, const ResponseHead& head, const ResponseLimits& limits) {
  const HeaderList fields(head_text.data(), head.refs.data(), head.refs.size());
  fuzz::check_lines(head_text, fields);
  FUZZ_CHECK(head_text.size() <= limits.max_head && fields.size() <= limits.max_headers);
  FUZZ_CHECK(head.status >= 100 && head.status <= 999);
  std::size_t lengths = 0;
  std::size_t codings = 0;
  for (const HeaderField f : fields) {
    lengths += equal_fold(f.name, "Content-Length") ? 1 : 0;
    codings += equal_fold(f.name, "Transfer-Encoding") ? 1 : 0;
  }
  FUZZ_CHECK(lengths + codings <= 1);
  FUZZ_CHECK(head.framing != ResponseFraming::kFixed || lengths == 1);
  FUZZ_CHECK((head.framing != ResponseFraming::kChunked || codings == 1) && head.has_length == (lengths == 1));
  FUZZ_CHECK(!head.keep_alive || head.framing != ResponseFraming::kUntilClose);
}

Outcome read(const std::vector<std::string_view>& pieces, Method method, std::size_t room,
             const ResponseLimits& limits) {
  Outcome out;
  std::string have;
  std::size_t seen = 0;
  std::size_t next = 0;
  ResponseHead head;
  while (out.head_size == 0) {
    const fuzz::Exact text(have);
    const Result<std::size_t> parsed = parse_response_head(text, seen, method, limits, head);
    if (!parsed) return refuse(out, parsed.error().code), out;
    out.head_size = *parsed;
    if (out.head_size != 0) {
      check_head(text.view().substr(0, out.head_size), head, limits);
    } else if (next == pieces.size()) {
      out.shown = "cut";
      return out;
    } else {
      have += pieces[next++];
    }
  }
  out.shown = std::to_string(head.status) + " 1." + std::to_string(head.minor) + (head.keep_alive ? " keep" : " close");
  for (const HeaderField f : HeaderList(have.data(), head.refs.data(), head.refs.size())) {
    out.shown.append(" {").append(f.name).append("=").append(f.value).append("}");
  }
  out.size = out.head_size;
  out.framing = head.framing;
  have.erase(0, out.head_size);
  if (head.framing == ResponseFraming::kTunnel) return out;
  BodyReader body(head, limits);
  while (!body.done()) {
    if (have.empty()) {
      if (next == pieces.size()) {
        if (const Result<void> end = body.end(); !end) return refuse(out, end.error().code), out;
        break;
      }
      have = pieces[next++];
    }
    std::size_t taken = 0;
    const std::uint64_t plain = body.plain();
    if (plain != 0 && room % 2 == 1) {  // as the client reads into its caller's memory
      taken = static_cast<std::size_t>(std::min<std::uint64_t>(plain, have.size()));
      body.skip(taken);
      out.body += std::string_view(have).substr(0, taken);
    } else {
      const fuzz::Exact from(have);
      const auto to = std::make_unique<std::byte[]>(room);
      const Result<BodyReader::Step> step = body.take(std::as_bytes(std::span(from.view())), std::span(to.get(), room));
      if (!step) return refuse(out, step.error().code), out;
      FUZZ_CHECK(step->consumed <= have.size() && step->produced <= room && step->produced <= step->consumed);
      FUZZ_CHECK(step->consumed != 0 || body.done());
      taken = step->consumed;
      out.body.append(reinterpret_cast<const char*>(to.get()), step->produced);
    }
    out.size += taken;
    have.erase(0, taken);
  }
  out.whole = true;
  FUZZ_CHECK(body.trailers().size() <= limits.max_headers);
  for (const HeaderField f : body.trailers()) {
    FUZZ_CHECK(is_token(f.name) && (f.value.empty() || is_field_value(f.value)));
    out.shown.append(" trailer {").append(f.name).append("=").append(f.value).append("}");
  }
  return out;
}

}  // namespace
}  // namespace heddle::http

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace heddle::http;
  static const ResponseLimits kAll[] = {{}, {.max_head = 120, .max_headers = 4, .max_framing = 60}};
  static const Method kMethods[] = {Method::kGet, Method::kHead, Method::kConnect, Method::kPost};
  heddle::fuzz::Input input(data, size);
  const std::uint8_t choice = input.byte();
  const ResponseLimits& limits = kAll[choice & 1];
  const Method method = kMethods[choice / 2 % 4];
  const std::uint64_t seed = input.word();
  const std::string bytes = input.rest();
  const Outcome whole = read({bytes}, method, 1 << 16, limits);
  FUZZ_CHECK(read(heddle::fuzz::cut(bytes, seed), method, 1 + seed % 50, limits) == whole);
  FUZZ_CHECK(read(heddle::fuzz::cut(bytes, 0), method, 1, limits) == whole);
  if (!whole.whole) return 0;
  const std::string_view behind = std::string_view(bytes).substr(whole.head_size);
  if (whole.framing == ResponseFraming::kChunked) {
    const auto simple = heddle::fuzz::unchunk(behind);
    FUZZ_CHECK(simple.has_value());
    FUZZ_SAME(whole.body, simple->body);
    FUZZ_CHECK(whole.size == whole.head_size + simple->size);
  } else {
    FUZZ_SAME(whole.body, behind.substr(0, whole.body.size()));
    FUZZ_CHECK(whole.framing != ResponseFraming::kUntilClose || whole.body.size() == behind.size());
    FUZZ_CHECK(whole.framing != ResponseFraming::kNone || whole.body.empty());
  }
  return 0;
}
