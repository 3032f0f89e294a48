// Heads of requests: what a head is answered does not depend on the calls that brought it (head_parser.h, I1), what was
// accepted is lines that end with CR LF, each the field that it was read as, with one framing and one host; a head is whole
// with its last byte and not before.
//
// Input: a byte that chooses the limits, 4 that choose the splits, the bytes of a connection.
#include <heddle/http/internal/head_parser.h>
#include <heddle/http/internal/target.h>

#include "wire.h"

namespace heddle::http {
namespace {

struct Verdict {
  HeadStatus status = HeadStatus::kNeedMore;
  int fault = 0;
  std::string shown;
  std::size_t size = 0;  // of the head, empty lines before it included

  friend bool operator==(const Verdict&, const Verdict&) = default;
};

std::size_t count(const HeaderList& headers, std::string_view name) {
  std::size_t n = 0;
  for (const HeaderField f : headers) n += equal_fold(f.name, name) ? 1 : 0;
  return n;
}

// All that the head says, once it is whole; and what must be true of it.
std::string show(const Exchange& x) {
  const Head& h = x.head;
  const std::string_view head(x.base(), x.read - x.begin);
  const HeaderList headers = x.headers();
  fuzz::check_lines(head, headers);
  const std::string_view line = head.substr(0, head.find("\r\n"));
  const std::string_view target = x.text(h.target_at, h.target_size);
  FUZZ_CHECK(line.starts_with(std::string(to_string(h.method)) + " " + std::string(target) + " HTTP/1."));
  FUZZ_CHECK(line.size() == to_string(h.method).size() + target.size() + 10);
  Target parts;
  FUZZ_CHECK(split_target(target, h.method, parts));
  FUZZ_CHECK(target.size() <= x.limits->max_target && head.size() <= x.limits->max_head);
  FUZZ_CHECK(headers.size() <= x.limits->max_headers);
  FUZZ_CHECK(count(headers, "Host") == 1 || (h.minor == 0 && count(headers, "Host") == 0));
  if (h.minor != 0) FUZZ_CHECK(is_host(x.text(h.host_at, h.host_size)));
  const bool chunked = count(headers, "Transfer-Encoding") != 0;
  const bool length = count(headers, "Content-Length") != 0;
  FUZZ_CHECK(!(chunked && length));
  FUZZ_CHECK(chunked == (x.body.kind == BodyKind::kChunked));
  if (x.body.kind == BodyKind::kFixed) {
    FUZZ_CHECK(length);
    const std::string_view value = *headers.find("Content-Length");
    FUZZ_SAME(value.substr(std::min(value.find_first_not_of('0'), value.size() - 1)), std::to_string(x.body.left));
  }
  std::string s(to_string(h.method));
  s.append(" ").append(target).append(" path=");
  s += h.path_is_root ? "/" : h.path_escaped ? x.path : std::string(x.text(h.path_at, h.path_size));
  s.append(" query=").append(x.text(h.query_at, h.query_size)).append(" host=").append(x.text(h.host_at, h.host_size));
  s += " 1." + std::to_string(h.minor) + (h.keep_alive ? " keep" : " close") + (h.expect_continue ? " expect" : "");
  s += " body=" + std::to_string(static_cast<int>(x.body.kind)) + "," + std::to_string(x.body.left);
  for (const HeaderField f : headers) s.append(" {").append(f.name).append("=").append(f.value).append("}");
  return s;
}

Verdict parse(const std::vector<std::string_view>& pieces, const HeadLimits& limits) {
  Exchange* x = Exchange::take();
  x->limits = &limits;
  Verdict v;
  std::size_t given = 0;
  for (const std::string_view text : pieces) {
    auto piece = std::as_bytes(std::span(text));
    while (v.status == HeadStatus::kNeedMore && !piece.empty()) {
      if (x->room() == 0) FUZZ_CHECK(x->grow(limits.max_head));
      const std::size_t n = x->append(piece);
      FUZZ_CHECK(n != 0);
      given += n;
      piece = piece.subspan(n);
      x->visible = x->filled;
      v.status = parse_head(*x);
    }
  }
  if (v.status == HeadStatus::kFaulty) {
    v.fault = x->head.fault;
    FUZZ_CHECK(v.fault >= 400 && v.fault < 600);
  }
  if (v.status == HeadStatus::kComplete) {
    v.shown = show(*x);
    v.size = given - (x->filled - x->read);
  }
  x->give();
  return v;
}

}  // namespace
}  // namespace heddle::http

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace heddle::http;
  static const HeadLimits kAll[] = {
      {}, {.max_target = 24, .max_head = 160, .max_headers = 4, .max_body = 1000, .max_framing = 100}};
  heddle::fuzz::Input input(data, size);
  const HeadLimits& limits = kAll[input.below(2)];
  const std::uint64_t seed = input.word();
  const std::string bytes = input.rest();
  const Verdict whole = parse({bytes}, limits);
  FUZZ_CHECK(parse(heddle::fuzz::cut(bytes, seed), limits) == whole);
  FUZZ_CHECK(parse(heddle::fuzz::cut(bytes, 0), limits) == whole);
  if (whole.status != HeadStatus::kComplete) return 0;
  const std::string_view head = std::string_view(bytes).substr(0, whole.size);
  FUZZ_CHECK(parse({head}, limits) == whole);
  FUZZ_CHECK(parse({head.substr(0, head.size() - 1)}, limits).status == HeadStatus::kNeedMore);
  return 0;
}
