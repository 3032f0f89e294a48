#include <heddle/http/internal/head_rules.h>

#include <cstring>
#include <optional>

#include <heddle/http/internal/chars.h>
#include <heddle/http/internal/target.h>
#include <heddle/http/status.h>

namespace heddle::http {
namespace {

std::uint32_t offset_of(const Exchange& x, const char* at) noexcept {
  return static_cast<std::uint32_t>(at - x.base());
}

// RFC 9112 s6.1: exactly "chunked", once and last. Other codings are unknown to us: 501.
void take_codings(Special& s, std::string_view value) noexcept {
  s.has_coding = true;
  std::string_view rest = value;
  do {
    const std::string_view coding = next_element(rest);
    if (s.status != 0) continue;
    if (s.chunked_last || !is_token(coding)) {
      s.status = kStatusBadRequest;
    } else if (equal_fold(coding, "chunked")) {
      s.chunked_last = true;
    } else {
      s.status = kStatusNotImplemented;
    }
  } while (!rest.empty());
  if (!value.empty() && value.back() == ',') s.status = kStatusBadRequest;
}

void take_connection(Special& s, std::string_view value) noexcept {
  std::string_view rest = value;
  do {
    const std::string_view option = next_element(rest);
    if (equal_fold(option, "close")) s.close = true;
    if (equal_fold(option, "keep-alive")) s.keep_alive = true;
  } while (!rest.empty());
}

// RFC 9112 s6.2: digits only. llhttp has seen to that, to overflow, and to there being one; a second look costs
// nothing.
bool take_length(Special& s, std::string_view value) noexcept {
  ++s.lengths;
  if (value.empty() || value.size() > 19 || !chars::all(value, chars::kDigit)) return false;
  s.length = 0;
  for (char c : value) s.length = s.length * 10 + static_cast<std::uint64_t>(c - '0');
  return s.lengths == 1;
}

int take_framing(Exchange& x, const Special& s) noexcept {
  if (s.has_coding) {
    if (s.lengths != 0) return kStatusBadRequest;     // RFC 9112 s6.3: two readings
    if (x.head.minor == 0) return kStatusBadRequest;  // RFC 9112 s6.1: faulty framing
    if (s.status != 0) return s.status;
    x.body.kind = BodyKind::kChunked;
    x.body.done = false;
    return 0;
  }
  if (s.length > x.limits->max_body) return kStatusContentTooLarge;
  if (s.length != 0) {
    x.body.kind = BodyKind::kFixed;
    x.body.left = s.length;
    x.body.done = false;
  }
  return 0;
}

}  // namespace

LineVerdict judge_line(std::string_view line, const HeadLimits& limits) noexcept {
  const std::size_t space = line.find(' ');
  if (space == std::string_view::npos || !is_token(line.substr(0, space))) return {kStatusBadRequest};
  const std::size_t last = line.rfind(' ');
  if (last == space) return {kStatusBadRequest};  // HTTP/0.9's two words, or no target
  const std::string_view target = line.substr(space + 1, last - space - 1);
  const std::string_view version = line.substr(last + 1);
  if (version.size() != 8 || version.substr(0, 5) != "HTTP/" || !chars::is(version[5], chars::kDigit) ||
      version[6] != '.' || !chars::is(version[7], chars::kDigit)) {
    return {kStatusBadRequest};
  }
  if (target.size() > limits.max_target) return {kStatusUriTooLong};
  if (version[5] != '1') return {kStatusVersionNotSupported};
  const std::optional<Method> method = parse_method(line.substr(0, space));
  if (!method) return {kStatusNotImplemented};
  Target parts;
  if (!split_target(target, *method, parts)) return {kStatusBadRequest};
  return {0, version[7] > '1' ? last + 8 : 0};
}

bool is_exact_line(const Exchange& x, Method known) noexcept {
  const std::string_view method = to_string(known);
  const char* base = x.base();
  const std::size_t after = x.head.target_at + x.head.target_size;
  if (after + 11 > x.scanned - x.begin) return false;
  return x.head.target_at == method.size() + 1 && std::memcmp(base, method.data(), method.size()) == 0 &&
         base[method.size()] == ' ' && std::memcmp(base + after, " HTTP/1.", 8) == 0 && base[after + 9] == '\r' &&
         base[after + 10] == '\n';
}

int take_field(Exchange& x, Special& s, const HeaderList::Ref& field) noexcept {
  const std::string_view name = x.text(field.name_at, field.name_size);
  const std::string_view value = x.text(field.value_at, field.value_size);
  switch (field.name_size) {
    case 4:
      if (!chars::is_name(name, "host")) break;
      ++s.hosts;
      if (!is_host(value)) return kStatusBadRequest;
      x.head.host_at = field.value_at;
      x.head.host_size = field.value_size;
      break;
    case 6:
      if (!chars::is_name(name, "expect")) break;
      if (equal_fold(value, "100-continue")) {
        x.head.expect_continue = true;
      } else {
        s.expect_other = true;
      }
      break;
    case 10:
      if (chars::is_name(name, "connection")) take_connection(s, value);
      break;
    case 14:
      if (chars::is_name(name, "content-length") && !take_length(s, value)) return kStatusBadRequest;
      break;
    case 17:
      if (chars::is_name(name, "transfer-encoding")) take_codings(s, value);
      break;
    default: break;
  }
  return 0;
}

int check_head(Exchange& x, Method method) {
  Special s;
  const char* base = x.base();
  for (std::uint32_t i = 0; i < x.header_count; ++i) {
    HeaderList::Ref& ref = x.refs[i];
    // OWS before the value llhttp has dropped, that behind it not.
    while (ref.value_size != 0 && chars::is_blank(base[ref.value_at + ref.value_size - 1])) --ref.value_size;
    if (const int status = take_field(x, s, ref); status != 0) return status;
  }
  // RFC 9112 s3.2. (Both come before what is wrong with the target.)
  if (s.hosts > 1 || (s.hosts == 0 && x.head.minor != 0)) return kStatusBadRequest;
  if (method == Method::kTrace) return kStatusNotImplemented;
  Target target;
  if (!split_target(x.text(x.head.target_at, x.head.target_size), method, target)) return kStatusBadRequest;
  return conclude_head(x, method, s, target);
}

int conclude_head(Exchange& x, Method method, const Special& s, const Target& target) {
  if (target.path.empty()) {
    x.head.path_is_root = true;
  } else {
    x.head.path_at = offset_of(x, target.path.data());
    x.head.path_size = static_cast<std::uint32_t>(target.path.size());
  }
  if (target.query.data() != nullptr) {
    x.head.query_at = offset_of(x, target.query.data());
    x.head.query_size = static_cast<std::uint32_t>(target.query.size());
  }
  if (!target.authority.empty()) {  // it beats Host (RFC 9112 s3.2.2)
    x.head.host_at = offset_of(x, target.authority.data());
    x.head.host_size = static_cast<std::uint32_t>(target.authority.size());
  }
  x.head.path_escaped = target.escaped;
  if (target.escaped) x.path = decode_path(target.path);

  if (const int status = take_framing(x, s); status != 0) return status;
  // RFC 9110 s9.3.6: content has no meaning there; what follows could be read as content, or as the tunnel's first bytes.
  if (method == Method::kConnect && x.body.kind != BodyKind::kNone) return kStatusBadRequest;

  // RFC 9112 s9.3. "close" wins over "keep-alive".
  x.head.keep_alive = !s.close && (x.head.minor != 0 || s.keep_alive);
  if (x.head.minor == 0) {
    x.head.expect_continue = false;  // RFC 9110 s10.1.1: ignored in 1.0
  } else if (s.expect_other) {
    return kStatusExpectationFailed;
  }
  if (x.body.done) x.head.expect_continue = false;
  return 0;
}

}  // namespace heddle::http
