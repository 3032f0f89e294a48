#include <heddle/http/internal/head_parser.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <utility>

#include <heddle/http/internal/chars.h>
#include <heddle/http/internal/head_rules.h>
#include <heddle/http/internal/plain_head.h>
#include <heddle/http/internal/trailer_rules.h>
#include <heddle/http/status.h>

namespace heddle::http {
namespace {

constexpr std::uint8_t kMaxBlankLines = 8;  // RFC 9112 s2.2 asks for one at least
constexpr std::uint64_t kFramingOfAChunk =
    32;  // bytes that a chunk's size line and end may take: 16 digits, 2 CR LF, slack

constexpr auto kPaused = static_cast<int>(HPE_PAUSED);
constexpr auto kStop = static_cast<int>(HPE_USER);

// ---- llhttp's callbacks ----

Exchange& exchange_of(llhttp_t* p) noexcept { return *static_cast<Exchange*>(p->data); }

std::uint32_t offset_of(const Exchange& x, const char* at) noexcept {
  return static_cast<std::uint32_t>(at - x.base());
}

int refuse(Exchange& x, int status) noexcept {
  x.head.fault = static_cast<std::uint16_t>(status);
  return kStop;
}

int on_url(llhttp_t* p, const char* at, std::size_t size) {
  Exchange& x = exchange_of(p);
  if (x.head.target_size == 0) x.head.target_at = offset_of(x, at);
  x.head.target_size += static_cast<std::uint32_t>(size);
  // Keeps I1: too long is for judge_bad_line() to say, which knows whether more is wrong with the line.
  return x.head.target_size > x.limits->max_target ? kStop : 0;
}

// ---- trailers: gathered apart from the head, whose bytes they must not move ----

int break_body(Exchange& x, int status, Code code) noexcept {
  x.body.fault = static_cast<std::uint16_t>(status);
  x.body.error = Error{code, 0, "read body"};
  return kStop;
}

// The last trailer has all its bytes: what may not be one goes (RFC 9110 s6.5.1).
void end_trailer(Trailers& t) noexcept {
  if (t.refs.empty()) return;
  HeaderList::Ref& ref = t.refs.back();
  const std::string_view value = trim_blanks({t.text.data() + ref.value_at, ref.value_size});
  if (!value.empty()) ref.value_at = static_cast<std::uint32_t>(value.data() - t.text.data());
  ref.value_size = static_cast<std::uint32_t>(value.size());
  if (may_be_trailer({t.text.data() + ref.name_at, ref.name_size})) return;
  t.text.resize(ref.name_at);
  t.refs.pop_back();
}

int on_trailer_field(Exchange& x, const char* at, std::size_t size) {
  try {  // nothing may be thrown through llhttp's C frames
    if (x.trailers == nullptr) x.trailers = std::make_unique<Trailers>();
    Trailers& t = *x.trailers;
    const auto offset = [&t] { return static_cast<std::uint32_t>(t.text.size()); };
    if (!t.in_name) {
      end_trailer(t);
      if (t.refs.size() == x.limits->max_headers) return break_body(x, kStatusHeaderFieldsTooLarge, Code::kLimit);
      t.refs.push_back({offset(), 0, 0, 0});
      t.in_name = true;
    }
    t.text.append(at, size);
    t.refs.back().name_size += static_cast<std::uint32_t>(size);
    t.refs.back().value_at = offset();
    return 0;
  } catch (const std::bad_alloc&) {
    return break_body(x, kStatusServiceUnavailable, Code::kNoResources);
  }
}

int on_trailer_value(Exchange& x, const char* at, std::size_t size) {
  try {
    Trailers& t = *x.trailers;
    t.in_name = false;
    t.text.append(at, size);
    t.refs.back().value_size = static_cast<std::uint32_t>(t.text.size()) - t.refs.back().value_at;
    return 0;
  } catch (const std::bad_alloc&) {
    return break_body(x, kStatusServiceUnavailable, Code::kNoResources);
  }
}

// ---- fields of the head ----

int on_field(llhttp_t* p, const char* at, std::size_t size) {
  Exchange& x = exchange_of(p);
  if (x.phase == Exchange::Phase::kBody) return on_trailer_field(x, at, size);
  if (x.header_count == 0 || x.in_value) {
    try {
      if (!x.add_header(x.limits->max_headers)) {
        // Keeps I1: a name that the bytes so far only begin is refused at its colon, for it may turn out to be none.
        const bool whole = at + size != x.data + std::min(x.visible, x.begin + x.limits->max_head);
        return whole ? refuse(x, kStatusHeaderFieldsTooLarge) : 0;
      }
    } catch (const std::bad_alloc&) {  // not through llhttp's C frames
      return refuse(x, kStatusServiceUnavailable);
    }
    x.refs[x.header_count - 1].name_at = offset_of(x, at);
    x.in_value = false;
  }
  x.refs[x.header_count - 1].name_size += static_cast<std::uint32_t>(size);
  return 0;
}

int on_value(llhttp_t* p, const char* at, std::size_t size) {
  Exchange& x = exchange_of(p);
  if (x.phase == Exchange::Phase::kBody) return on_trailer_value(x, at, size);
  HeaderList::Ref& ref = x.refs[x.header_count - 1];
  const std::uint32_t offset = offset_of(x, at);
  if (!x.in_value) ref.value_at = offset;
  x.in_value = true;
  ref.value_size = offset + static_cast<std::uint32_t>(size) - ref.value_at;
  return 0;
}

int on_headers_complete(llhttp_t*) { return kPaused; }

int on_chunk_header(llhttp_t* p) {
  exchange_of(p).body.chunk_begins = true;
  return 0;
}

int on_body(llhttp_t* p, const char* at, std::size_t size) {
  Body& body = exchange_of(p).body;
  // A chunk's allowance comes with its data: too late for the line in front of it, wherever the pieces end.
  if (body.framing + static_cast<std::uint64_t>(at - body.in) > body.allowance) return kStop;
  if (std::exchange(body.chunk_begins, false)) body.allowance += kFramingOfAChunk;
  body.in += size;
  std::memcpy(body.out, at, size);
  body.out += size;
  return 0;
}

int on_message_complete(llhttp_t* p) {
  Exchange& x = exchange_of(p);
  x.body.done = true;
  if (x.trailers != nullptr) end_trailer(*x.trailers);
  return kPaused;
}

const llhttp_settings_t& settings() {
  static const llhttp_settings_t s = [] {
    llhttp_settings_t t;
    llhttp_settings_init(&t);
    t.on_url = on_url;
    t.on_header_field = on_field;
    t.on_header_value = on_value;
    t.on_headers_complete = on_headers_complete;
    t.on_chunk_header = on_chunk_header;
    t.on_body = on_body;
    t.on_message_complete = on_message_complete;
    return t;
  }();
  return s;
}

void start_llhttp(Exchange& x) {
  llhttp_init(&x.parser, HTTP_REQUEST, &settings());
  x.parser.data = &x;
  x.phase = Exchange::Phase::kHead;
}

// ---- what llhttp calls a method, as ours ----

constexpr std::array<std::optional<Method>, 64> kMethods = [] {
  std::array<std::optional<Method>, 64> t{};
  t[HTTP_GET] = Method::kGet, t[HTTP_HEAD] = Method::kHead, t[HTTP_POST] = Method::kPost, t[HTTP_PUT] = Method::kPut;
  t[HTTP_DELETE] = Method::kDelete, t[HTTP_PATCH] = Method::kPatch, t[HTTP_OPTIONS] = Method::kOptions;
  t[HTTP_TRACE] = Method::kTrace, t[HTTP_CONNECT] = Method::kConnect, t[HTTP_QUERY] = Method::kQuery;
  t[HTTP_COPY] = Method::kCopy, t[HTTP_LOCK] = Method::kLock, t[HTTP_MKCOL] = Method::kMkcol;
  t[HTTP_MOVE] = Method::kMove, t[HTTP_PROPFIND] = Method::kPropfind, t[HTTP_PROPPATCH] = Method::kProppatch;
  t[HTTP_SEARCH] = Method::kSearch, t[HTTP_UNLOCK] = Method::kUnlock, t[HTTP_BIND] = Method::kBind;
  t[HTTP_REBIND] = Method::kRebind, t[HTTP_UNBIND] = Method::kUnbind, t[HTTP_ACL] = Method::kAcl;
  t[HTTP_REPORT] = Method::kReport, t[HTTP_MKACTIVITY] = Method::kMkactivity;
  t[HTTP_CHECKOUT] = Method::kCheckout, t[HTTP_MERGE] = Method::kMerge, t[HTTP_MSEARCH] = Method::kMsearch;
  t[HTTP_NOTIFY] = Method::kNotify, t[HTTP_SUBSCRIBE] = Method::kSubscribe;
  t[HTTP_UNSUBSCRIBE] = Method::kUnsubscribe, t[HTTP_PURGE] = Method::kPurge;
  t[HTTP_MKCALENDAR] = Method::kMkcalendar, t[HTTP_LINK] = Method::kLink, t[HTTP_UNLINK] = Method::kUnlink;
  return t;
}();

// ---- a request line that needs a second look ----

HeadStatus faulty(Exchange& x, int status) noexcept {
  x.head.fault = static_cast<std::uint16_t>(status);
  return HeadStatus::kFaulty;
}

// Judges the request line that llhttp, or we, did not like, as soon as its end is there.
HeadStatus judge_bad_line(Exchange& x) {
  // One more byte than the longest method, target and version together: a line that reaches it cannot be right.
  const std::size_t longest = x.limits->max_target + 32;
  const std::size_t have = x.visible - x.begin;
  const std::size_t window = std::min({have, longest, std::size_t{x.limits->max_head}});
  const std::string_view text(x.base(), window);
  const std::size_t newline = text.find('\n');
  if (newline == std::string_view::npos) {
    if (window != have) return faulty(x, kStatusUriTooLong);
    x.scanned = x.visible;  // what next_request() asks to know whether there is anything new
    return HeadStatus::kNeedMore;
  }
  if (newline == 0 || text[newline - 1] != '\r') return faulty(x, kStatusBadRequest);
  const LineVerdict verdict = judge_line(text.substr(0, newline - 1), *x.limits);
  if (verdict.status != 0) return faulty(x, verdict.status);
  if (verdict.minor_at == 0 || x.patched_minor != 0) return faulty(x, kStatusBadRequest);  // it was a field
  // A minor version that llhttp does not know is served as 1.1, the highest we do (RFC 9110 s2.5). The bytes are our
  // copy.
  x.patched_minor = static_cast<std::uint8_t>(x.data[x.begin + verdict.minor_at] - '0');
  x.data[x.begin + verdict.minor_at] = '1';
  x.scanned = x.begin;
  x.header_count = 0;
  x.in_value = false;
  x.head = Head{};
  start_llhttp(x);
  return HeadStatus::kComplete;  // to go on
}

HeadStatus finish_head(Exchange& x) {
  x.phase = Exchange::Phase::kBody;
  x.read = x.scanned;
  const std::optional<Method> method = x.parser.method < kMethods.size() ? kMethods[x.parser.method] : std::nullopt;
  if (!method || !is_exact_line(x, *method)) {
    x.phase = Exchange::Phase::kBadLine;
    return HeadStatus::kFaulty;
  }
  x.head.method = *method;
  x.head.minor = x.patched_minor != 0 ? x.patched_minor : x.parser.http_minor;
  if (const int status = check_head(x, *method); status != 0) return faulty(x, status);
  if (x.body.kind == BodyKind::kChunked) {
    x.parser.flags |= F_CHUNKED;  // check_head() has seen that it is; llhttp stumbles over a tab behind the word
    llhttp_resume(&x.parser);
    // The last chunk's line, the trailers' end: framing that every body has.
    x.body.allowance = x.limits->max_framing + kFramingOfAChunk;
  }
  return HeadStatus::kComplete;
}

// Skips CR LF pairs; false if something else of blank kind stands there.
bool skip_blank_lines(Exchange& x) noexcept {
  while (x.scanned < x.visible) {
    const char c = x.data[x.scanned];
    if (x.blank_cr) {
      if (c != '\n' || ++x.blank_lines > kMaxBlankLines) return false;
      x.blank_cr = false;
    } else if (c == '\r') {
      x.blank_cr = true;
    } else {
      break;
    }
    ++x.scanned;
  }
  return true;
}

HeadStatus run_llhttp(Exchange& x) {
  const std::uint32_t limit = x.begin + x.limits->max_head;
  const std::uint32_t end = std::min(x.visible, limit);
  const llhttp_errno_t result = llhttp_execute(&x.parser, x.data + x.scanned, end - x.scanned);
  if (result == HPE_OK) {
    x.scanned = end;
    if (end < limit) return HeadStatus::kNeedMore;
    const bool in_line = std::memchr(x.base(), '\n', end - x.begin) == nullptr;
    return faulty(x, in_line ? kStatusUriTooLong : kStatusHeaderFieldsTooLarge);
  }
  if (result == HPE_PAUSED) {
    x.scanned = static_cast<std::uint32_t>(llhttp_get_error_pos(&x.parser) - x.data);
    return finish_head(x);
  }
  if (x.head.fault != 0) return HeadStatus::kFaulty;  // a callback refused
  // The line or a field is at fault: the line's end, if it is there yet, tells which.
  x.phase = Exchange::Phase::kBadLine;
  return HeadStatus::kFaulty;
}

}  // namespace

HeadStatus parse_head(Exchange& x) {
  if (x.phase == Exchange::Phase::kBlank) {
    if (!skip_blank_lines(x)) return faulty(x, kStatusBadRequest);
    if (x.scanned == x.visible) return HeadStatus::kNeedMore;
    x.begin = x.scanned;
    if (read_plain_head(x)) return HeadStatus::kComplete;
    // Keeps I1: whatever follows, the line will be a 400. A TLS client that is at the wrong port sends no end of it.
    if (!chars::is(x.data[x.begin], chars::kToken)) return faulty(x, kStatusBadRequest);
    start_llhttp(x);
  }
  for (;;) {
    if (x.phase == Exchange::Phase::kHead) {
      const HeadStatus status = run_llhttp(x);
      if (x.phase != Exchange::Phase::kBadLine) return status;
    }
    const HeadStatus verdict = judge_bad_line(x);
    if (verdict != HeadStatus::kComplete) return verdict;
  }
}

Decoded decode_body(Exchange& x, const char* from, std::size_t size, char* to, std::size_t room) noexcept {
  Body& body = x.body;
  std::size_t n = std::min(size, room);
  if (body.done || body.fault != 0 || n == 0) return {0, 0};
  if (body.kind == BodyKind::kFixed) {
    n = static_cast<std::size_t>(std::min<std::uint64_t>(n, body.left));
    std::memcpy(to, from, n);
    body.left -= n;
    body.received += n;
    body.done = body.left == 0;
    return {n, n};
  }
  // Never more than `room` bytes go in, so never more than `room` come out: on_body needs no check.
  body.out = to;
  body.in = from;
  const llhttp_errno_t result = llhttp_execute(&x.parser, from, n);
  const auto produced = static_cast<std::size_t>(body.out - to);
  if (result == HPE_PAUSED && body.done) {
    n = static_cast<std::size_t>(llhttp_get_error_pos(&x.parser) - from);
  } else if (result != HPE_OK) {
    if (body.fault == 0) break_body(x, kStatusBadRequest, Code::kProtocol);  // else a callback refused
    return {n, 0};
  }
  body.received += produced;
  body.framing += n - produced;
  if (body.framing > body.allowance) {
    body.fault = kStatusBadRequest;
    body.error = Error{Code::kProtocol, 0, "read body"};
    body.done = false;
    return {n, 0};
  }
  if (body.received > std::min(x.limits->max_body, body.limit)) {
    body.fault = kStatusContentTooLarge;
    body.error = Error{Code::kLimit, 0, "read body"};
    body.done = false;
    return {n, 0};
  }
  return {n, produced};
}

}  // namespace heddle::http
