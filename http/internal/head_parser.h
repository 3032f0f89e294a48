// From bytes to a request's head: llhttp, and the rules that it leaves to us.
//
// llhttp (no lenient flag) does the grammar. Ours on top, in the order in which they apply:
//   - a few empty lines before the request line are skipped, only as CR LF; what then begins as no method can is 400 at once;
//   - a request line that llhttp refuses is judged again at its end, so that the answer does not depend on how the
//     bytes were split: too long 414, HTTP/2.0 or 0.9 in words 505, an unknown method 501, HTTP/1.2 served as 1.1, else
//     400;
//   - one that llhttp accepts is looked at once more: exactly one space, HTTP/1.x, CR LF (llhttp takes more: HTTP/0.9's
//     two words, ICE and RTSP, runs of spaces);
//   - (where llhttp is stricter than the grammar we keep its word: a tab behind the digits of a Content-Length is a
//     400;)
//   - the target's grammar (target.h); Host; Content-Length, Transfer-Encoding, Expect, Connection.
//
// I1. What a head is answered depends on its bytes alone, not on the calls that brought them: the parser never sees
//     more than max_head bytes, and every refusal that llhttp's point of failure would make depend on the split is put
//     off until the line's end.
#pragma once

#include <cstddef>
#include <cstdint>

#include <heddle/http/internal/exchange.h>

namespace heddle::http {

enum class HeadStatus : std::uint8_t {
  kNeedMore,
  kComplete,  // x.head, x.headers() and x.body tell; x.read is the first byte behind
  kFaulty,    // x.head.fault is the status to answer before closing
};

/// Goes on over x's visible bytes. Throws std::bad_alloc (many fields). Threads: the exchange's owner.
[[nodiscard]] HeadStatus parse_head(Exchange& x);

struct Decoded {
  std::size_t consumed;
  std::size_t produced;
};

/// Takes body bytes from `from` into `to`: stops at the end of either or of the body (x.body.done), or at a fault
/// (x.body.fault). Consumes something whenever neither is empty and neither is the case.
[[nodiscard]] Decoded decode_body(Exchange& x, const char* from, std::size_t size, char* to, std::size_t room) noexcept;

}  // namespace heddle::http
