#include <heddle/http/cookie.h>

#include <algorithm>
#include <charconv>

#include <heddle/http/date.h>
#include <heddle/http/header.h>
#include <heddle/http/internal/chars.h>
#include <heddle/http/request.h>
#include <heddle/http/response_writer.h>

namespace heddle::http {
namespace {

namespace chrono = std::chrono;

constexpr std::int64_t kMaxAgeSeconds = (std::int64_t{1} << 31) - 1;  // more is no more to anybody

std::unexpected<Error> refuse(Code code = Code::kInvalid) { return std::unexpected(Error{code, 0, "cookie"}); }

bool is_control(char c) noexcept { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }
bool is_digit(char c) noexcept { return chars::is(c, chars::kDigit); }
bool is_blank(char c) noexcept { return c == ' ' || c == '\t'; }

// Cuts `text` at the first `c`; `rest` is what follows it. False: there is none, and all is `head`.
bool cut(std::string_view text, char c, std::string_view& head, std::string_view& rest) noexcept {
  const std::size_t at = text.find(c);
  head = text.substr(0, at);
  rest = at == std::string_view::npos ? std::string_view() : text.substr(at + 1);
  return at != std::string_view::npos;
}

// A pair without '=' is a value.
RequestCookie split_pair(std::string_view pair) noexcept {
  std::string_view name;
  std::string_view value;
  if (!cut(pair, '=', name, value)) std::swap(name, value);
  return {trim_blanks(name), trim_blanks(value)};
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), chars::lower);
  return out;
}

// ---- what a server may say ----

// cookie-octet of RFC 6265bis s4.1.1, or such in quotes.
bool is_value(std::string_view value) noexcept {
  return std::ranges::all_of(unquote_cookie(value), [](char c) {
    return c > 0x20 && c < 0x7f && c != '"' && c != ',' && c != ';' && c != '\\';
  });
}

// A name of RFC 1123: labels of letters, digits and inner hyphens. One whose last label is a number is an address.
bool is_domain(std::string_view domain) noexcept {
  if (domain.size() > 253) return false;
  std::string_view label;
  bool more = true;
  while (more) {
    more = cut(domain, '.', label, domain);
    const bool right = !label.empty() && label.size() <= 63 && label.front() != '-' && label.back() != '-' &&
                       std::ranges::all_of(label, [](char c) {
                         return is_digit(c) || c == '-' || (chars::lower(c) >= 'a' && chars::lower(c) <= 'z');
                       });
    if (!right) return false;
  }
  return !chars::all(label, chars::kDigit);
}

bool is_path(std::string_view path) noexcept {
  return path.starts_with('/') && !is_blank(path.back()) &&
         std::ranges::all_of(path, [](char c) { return c >= 0x20 && c < 0x7f && c != ';'; });
}

bool prefix_is_right(const Cookie& c) noexcept {
  if (has_cookie_prefix(c.name, "__Secure-")) return c.secure;
  if (has_cookie_prefix(c.name, "__Host-")) return c.secure && c.domain.empty() && c.path == "/";
  return true;
}

bool is_writable(chrono::sys_seconds time) noexcept {
  using namespace std::chrono_literals;
  static constexpr chrono::sys_seconds kFirst = chrono::sys_days(1601y / 1 / 1);
  static constexpr chrono::sys_seconds kEnd = chrono::sys_days(chrono::year(10'000) / 1 / 1);
  return time >= kFirst && time < kEnd;
}

// ---- what a client understands ----

// RFC 6265bis s5.6.2.
std::optional<chrono::seconds> parse_max_age(std::string_view text) noexcept {
  const bool negative = text.starts_with('-');
  if (negative) text.remove_prefix(1);
  if (text.empty() || !chars::all(text, chars::kDigit)) return std::nullopt;
  if (negative) return chrono::seconds(-1);
  std::int64_t n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  return chrono::seconds(error == std::errc() ? std::min(n, kMaxAgeSeconds) : kMaxAgeSeconds);
}

void take_attribute(SetCookie& c, std::string_view name, std::string_view value) {
  if (value.size() > kMaxCookieAttribute) return;
  if (equal_fold(name, "Expires")) {
    if (const auto time = parse_cookie_date(value)) c.expires = time;
  } else if (equal_fold(name, "Max-Age")) {
    if (const auto age = parse_max_age(value)) c.max_age = age;
  } else if (equal_fold(name, "Domain")) {
    if (value.starts_with('.')) value.remove_prefix(1);
    c.domain.reset();  // an empty one as good as takes an earlier one back
    if (!value.empty()) c.domain = lower(value);
  } else if (equal_fold(name, "Path")) {
    c.path = value.starts_with('/') ? value : std::string_view();
  } else if (equal_fold(name, "Secure")) {
    c.secure = true;
  } else if (equal_fold(name, "HttpOnly")) {
    c.http_only = true;
  } else if (equal_fold(name, "SameSite")) {
    c.same_site = equal_fold(value, "None")     ? SameSite::kNone
                  : equal_fold(value, "Strict") ? SameSite::kStrict
                  : equal_fold(value, "Lax")    ? SameSite::kLax
                                                : SameSite::kDefault;
  } else if (equal_fold(name, "Partitioned")) {
    c.partitioned = true;
  }
}

// ---- dates ----

bool is_date_delimiter(char c) noexcept {
  return c == '\t' || (c >= 0x20 && c <= 0x2f) || (c >= 0x3b && c <= 0x40) || (c >= 0x5b && c <= 0x60) ||
         (c >= 0x7b && c <= 0x7e);
}

// Takes a number of `least` to `most` digits off `text`; what follows them is no digit.
bool take_number(std::string_view& text, std::size_t least, std::size_t most, unsigned& n) noexcept {
  std::size_t size = 0;
  while (size < text.size() && is_digit(text[size])) ++size;
  if (size < least || size > most) return false;
  std::from_chars(text.data(), text.data() + size, n);
  text.remove_prefix(size);
  return true;
}

struct DateParts {
  bool has_time = false;
  unsigned hour = 0;
  unsigned minute = 0;
  unsigned second = 0;
  bool has_day = false;
  unsigned day = 0;
  unsigned month = 0;  // 0: not found yet
  bool has_year = false;
  unsigned year = 0;
};

bool take_time(std::string_view token, DateParts& d) noexcept {
  unsigned h = 0;
  unsigned m = 0;
  unsigned s = 0;
  auto colon = [&token] {
    if (!token.starts_with(':')) return false;
    token.remove_prefix(1);
    return true;
  };
  if (!take_number(token, 1, 2, h) || !colon() || !take_number(token, 1, 2, m) || !colon() ||
      !take_number(token, 1, 2, s)) {
    return false;
  }
  d.has_time = true;
  d.hour = h;
  d.minute = m;
  d.second = s;
  return true;
}

unsigned month_of(std::string_view token) noexcept {
  static constexpr std::string_view kMonths = "janfebmaraprmayjunjulaugsepoctnovdec";
  for (unsigned i = 0; i < 12 && token.size() >= 3; ++i) {
    if (equal_fold(token.substr(0, 3), kMonths.substr(std::size_t{i} * 3, 3))) return i + 1;
  }
  return 0;
}

void take_date_token(std::string_view token, DateParts& d) noexcept {
  if (!d.has_time && take_time(token, d)) return;
  if (std::string_view rest = token; !d.has_day && take_number(rest, 1, 2, d.day)) {
    d.has_day = true;
    return;
  }
  if (d.month == 0 && (d.month = month_of(token)) != 0) return;
  if (!d.has_year) d.has_year = take_number(token, 2, 4, d.year);
}

}  // namespace

// ---- what a request carries ----

std::vector<RequestCookie> cookies(const Request& request) {
  std::vector<RequestCookie> all;
  for (const HeaderField field : request.headers()) {
    if (equal_fold(field.name, "Cookie")) parse_cookies(field.value, all);
  }
  return all;
}

std::optional<std::string_view> find_cookie(const Request& request, std::string_view name) {
  for (const RequestCookie& c : cookies(request)) {
    if (c.name == name) return c.value;
  }
  return std::nullopt;
}

void parse_cookies(std::string_view field, std::vector<RequestCookie>& to) {
  std::string_view pair;
  for (bool more = true; more;) {
    more = cut(field, ';', pair, field);
    const RequestCookie c = split_pair(pair);
    if (!c.name.empty() || !c.value.empty()) to.push_back(c);
  }
}

std::string_view unquote_cookie(std::string_view value) noexcept {
  if (value.size() < 2 || value.front() != '"' || value.back() != '"') return value;
  return value.substr(1, value.size() - 2);
}

// ---- what a server sets ----

bool has_cookie_prefix(std::string_view name, std::string_view prefix) noexcept {
  return equal_fold(name.substr(0, prefix.size()), prefix);
}

Result<std::string> format_set_cookie(const Cookie& c) {
  if (!is_token(c.name) || !is_value(c.value)) return refuse();
  if (!c.domain.empty() && !is_domain(c.domain)) return refuse();
  if (!c.path.empty() && !is_path(c.path)) return refuse();
  if (c.expires && !is_writable(*c.expires)) return refuse();
  if ((c.same_site == SameSite::kNone || c.partitioned) && !c.secure) return refuse();
  if (!prefix_is_right(c)) return refuse();
  if (c.name.size() + c.value.size() > kMaxCookieSize || c.path.size() > kMaxCookieAttribute)
    return refuse(Code::kLimit);

  std::string out = c.name + '=' + c.value;
  if (!c.domain.empty()) out += "; Domain=" + c.domain;
  if (!c.path.empty()) out += "; Path=" + c.path;
  if (c.expires) out += "; Expires=" + format_date(*c.expires);
  if (c.max_age) out += "; Max-Age=" + std::to_string(std::max<std::int64_t>(c.max_age->count(), 0));
  if (c.secure) out += "; Secure";
  if (c.http_only) out += "; HttpOnly";
  switch (c.same_site) {
    case SameSite::kDefault: break;
    case SameSite::kLax: out += "; SameSite=Lax"; break;
    case SameSite::kStrict: out += "; SameSite=Strict"; break;
    case SameSite::kNone: out += "; SameSite=None"; break;
  }
  if (c.partitioned) out += "; Partitioned";
  return out;
}

Result<void> set_cookie(ResponseWriter& writer, const Cookie& cookie) {
  const Result<std::string> value = format_set_cookie(cookie);
  if (!value) return std::unexpected(value.error());
  return writer.add_header("Set-Cookie", *value);
}

// ---- what a client is told ----

std::optional<SetCookie> parse_set_cookie(std::string_view field) {
  if (std::ranges::any_of(field, [](char c) { return is_control(c) && c != '\t'; })) return std::nullopt;
  std::string_view pair;
  std::string_view rest;
  bool more = cut(field, ';', pair, rest);
  const auto [name, value] = split_pair(pair);
  if (name.empty() && value.empty()) return std::nullopt;
  if (name.size() + value.size() > kMaxCookieSize) return std::nullopt;
  SetCookie c;
  c.name = name;
  c.value = value;
  while (more) {
    std::string_view attribute;
    more = cut(rest, ';', attribute, rest);
    std::string_view key;
    std::string_view argument;
    cut(attribute, '=', key, argument);
    take_attribute(c, trim_blanks(key), trim_blanks(argument));
  }
  return c;
}

std::optional<chrono::sys_seconds> parse_cookie_date(std::string_view text) {
  DateParts d;
  while (!text.empty()) {
    std::size_t size = 0;
    while (size < text.size() && !is_date_delimiter(text[size])) ++size;
    if (size != 0) take_date_token(text.substr(0, size), d);
    text.remove_prefix(std::min(size + 1, text.size()));
  }
  if (!d.has_time || !d.has_day || d.month == 0 || !d.has_year) return std::nullopt;
  if (d.year < 70) {
    d.year += 2000;
  } else if (d.year < 100) {
    d.year += 1900;
  }
  const chrono::year_month_day date(chrono::year(static_cast<int>(d.year)), chrono::month(d.month), chrono::day(d.day));
  if (d.year < 1601 || !date.ok() || d.hour > 23 || d.minute > 59 || d.second > 59) return std::nullopt;
  return chrono::sys_days(date) + chrono::hours(d.hour) + chrono::minutes(d.minute) + chrono::seconds(d.second);
}

}  // namespace heddle::http
