// Cookies: the pairs of a Cookie field, printed, are the same pairs; what a client reads of a Set-Cookie field is within its
// bounds; what the server's side agrees to write, the client's side reads as it was meant.
//
// Input: a Cookie or Set-Cookie field.
#include <heddle/http/cookie.h>
#include <heddle/http/header.h>

#include "fuzz.h"

namespace heddle::http {
namespace {

void check_pairs(std::string_view field) {
  const fuzz::Exact exact(field);
  std::vector<RequestCookie> pairs;
  parse_cookies(exact, pairs);
  std::string printed;
  for (const RequestCookie& c : pairs) {
    FUZZ_CHECK(!c.name.empty() || !c.value.empty());
    for (const std::string_view part : {c.name, c.value}) {
      FUZZ_CHECK(part.find(';') == std::string_view::npos);
      FUZZ_SAME(trim_blanks(part), part);
    }
    FUZZ_CHECK(c.name.find('=') == std::string_view::npos);
    const std::string_view plain = unquote_cookie(c.value);
    FUZZ_CHECK(plain.size() == c.value.size() || plain.size() + 2 == c.value.size());
    if (!printed.empty()) printed += "; ";
    printed.append(c.name).append("=").append(c.value);
  }
  std::vector<RequestCookie> again;
  parse_cookies(printed, again);
  FUZZ_CHECK(again.size() == pairs.size());
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    FUZZ_SAME(again[i].name, pairs[i].name);
    FUZZ_SAME(again[i].value, pairs[i].value);
  }
}

// What the client read, set again by a server.
Cookie as_set(const SetCookie& c) {
  Cookie out{.name = c.name, .value = c.value};
  out.domain = c.domain.value_or("");
  out.path = c.path.value_or("");
  out.expires = c.expires;
  out.max_age = c.max_age;
  out.secure = c.secure;
  out.http_only = c.http_only;
  out.same_site = c.same_site;
  out.partitioned = c.partitioned;
  return out;
}

}  // namespace
}  // namespace heddle::http

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace heddle::http;
  const std::string field(data, data + size);
  check_pairs(field);
  const std::optional<SetCookie> read = parse_set_cookie(heddle::fuzz::Exact(field));
  if (!read) return 0;
  FUZZ_CHECK(!read->name.empty() || !read->value.empty());
  FUZZ_CHECK(read->name.size() + read->value.size() <= kMaxCookieSize);
  FUZZ_CHECK(!read->domain || !read->domain->empty());
  FUZZ_CHECK(!read->max_age || read->max_age->count() >= -1);
  FUZZ_CHECK(read->value.find(';') == std::string::npos && read->name.find('=') == std::string::npos);
  for (const char c : read->name + read->value) FUZZ_CHECK(static_cast<unsigned char>(c) >= 0x20 || c == '\t');

  const heddle::Result<std::string> written = format_set_cookie(as_set(*read));
  if (!written) return 0;
  FUZZ_CHECK(is_field_value(*written));
  const std::optional<SetCookie> again = parse_set_cookie(*written);
  FUZZ_CHECK(again.has_value());
  FUZZ_SAME(again->name, read->name);
  FUZZ_SAME(again->value, read->value);
  FUZZ_SAME(again->domain.value_or(""), read->domain.value_or(""));
  FUZZ_SAME(again->path.value_or(""), read->path.value_or(""));
  FUZZ_CHECK(again->expires == read->expires);
  if (read->max_age && read->max_age->count() > 0) FUZZ_CHECK(again->max_age == read->max_age);
  FUZZ_CHECK(again->max_age.has_value() == read->max_age.has_value());
  FUZZ_CHECK(again->secure == read->secure && again->http_only == read->http_only);
  FUZZ_CHECK(again->same_site == read->same_site && again->partitioned == read->partitioned);
  return 0;
}
