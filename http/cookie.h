// Cookies: what a server reads from Cookie fields and says in Set-Cookie, and what a client understands of it.
//
//   for (const RequestCookie& c : cookies(request)) …                  // server
//   set_cookie(writer, {.name = "__Host-sid", .value = id, .secure = true});
//
//   std::optional<SetCookie> c = parse_set_cookie(field);              // client; cookie_jar.h keeps them
//
// Reading is lenient and writing is strict, as RFC 6265bis (draft-ietf-httpbis-rfc6265bis) wants of both ends: whatever
// clients send comes out as pairs; what a server would say and a client drop, or take for something else, is an error
// here.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <heddle/core/error.h>

namespace heddle::http {

class Request;
class ResponseWriter;

/// Bytes that name and value of a cookie may have together; clients drop what has more (RFC 6265bis s5.6).
inline constexpr std::size_t kMaxCookieSize = 4096;
/// Bytes that the value of one attribute may have; clients drop longer ones.
inline constexpr std::size_t kMaxCookieAttribute = 1024;

// ---- what a request carries ----

/// One pair of a Cookie field. A pair without '=' is a value without a name.
struct RequestCookie {
  std::string_view name;
  std::string_view value;  // as it came: quotes are a part of it (RFC 6265bis s4.1.1), see unquote_cookie()
};

/// The cookies of a request, of all its Cookie fields, in the order they came. Names may occur several times: a client
/// sends those with longer paths first. Lifetime: as the request.
[[nodiscard]] std::vector<RequestCookie> cookies(const Request& request);

/// The value of the first cookie of that name, in that case. Lifetime: as the request.
[[nodiscard]] std::optional<std::string_view> find_cookie(const Request& request, std::string_view name);

/// Appends the pairs of one Cookie field to `to`: cut at each ';', also between quotes, and at their first '='; blanks
/// around names and values and pairs with neither are dropped. Nothing else is refused.
void parse_cookies(std::string_view field, std::vector<RequestCookie>& to);

/// `value` without the quotes around it, if there are two.
[[nodiscard]] std::string_view unquote_cookie(std::string_view value) noexcept;

// ---- what a server sets ----

enum class SameSite : std::uint8_t {
  kDefault,  // the attribute is not there: mostly as kLax
  kLax,      // sent along with links that lead here from elsewhere, and with all that stays here
  kStrict,   // only if the request comes from this site
  kNone,     // always
};

/// A cookie that a server sets. The defaults are those of a session: for the whole host, as long as the client runs,
/// out of reach of scripts, and not sent along with other sites' requests. `secure` is to be set wherever there is TLS.
struct Cookie {
  std::string name;
  std::string value;
  std::string domain{};    // empty: this host alone; else this and all below, which must cover the host
  std::string path = "/";  // this and all below; empty: the folder of the request's path
  std::optional<std::chrono::sys_seconds> expires{};  // neither: until the client ends its session
  std::optional<std::chrono::seconds> max_age{};      // wins over `expires`; zero or less deletes the cookie
  bool secure = false;                                // over TLS only
  bool http_only = true;
  SameSite same_site = SameSite::kLax;
  bool partitioned = false;  // a jar of its own under each site that embeds this one
};

/// The value of a Set-Cookie field.
///
/// Errors: kInvalid for what a client would drop or read otherwise: a name that is no token; a value with anything but
///         printable ASCII less blank, '"', ',', ';' and '\' (quotes around it are allowed); a domain that is no name;
///         a path that does not begin with '/' or has a ';' or a control in it; a year not of 1601 to 9999;
///         SameSite=None or Partitioned without Secure; a name with the prefix __Secure- without Secure, or __Host-
///         without Secure, with a domain, or with another path than "/" (prefixes count in any case). kLimit past
///         kMaxCookieSize or kMaxCookieAttribute.
/// Source: RFC 6265bis s4.1; draft-cutler-httpbis-partitioned-cookies (Partitioned).
[[nodiscard]] Result<std::string> format_set_cookie(const Cookie& cookie);

/// Adds the Set-Cookie field to a response. Errors: those of format_set_cookie() and of ResponseWriter::add_header().
Result<void> set_cookie(ResponseWriter& writer, const Cookie& cookie);

// ---- what a client is told ----

/// A Set-Cookie field as a client reads it.
struct SetCookie {
  std::string name;
  std::string value;
  std::optional<std::string> domain;  // in lower case, without a dot in front; never empty
  std::optional<std::string> path;    // empty: the attribute was there, and stands for the default path
  std::optional<std::chrono::sys_seconds> expires;
  std::optional<std::chrono::seconds> max_age;  // wins over `expires`; at most some 68 years, at least -1 s
  bool secure = false;
  bool http_only = false;
  SameSite same_site = SameSite::kDefault;
  bool partitioned = false;
};

/// Reads a Set-Cookie field by the algorithm of RFC 6265bis s5.6, which takes almost anything: unknown attributes and
/// broken values of known ones are dropped; of several of one name the last counts.
///
/// Returns: nothing for a field that is to be ignored: a control in it, neither name nor value, or longer than
///          kMaxCookieSize. Whether the cookie fits where it came from is for CookieJar to say.
[[nodiscard]] std::optional<SetCookie> parse_set_cookie(std::string_view field);

/// A date as cookies have it, in all the forms that servers ever used; nothing if it is none (RFC 6265bis s5.1.1).
[[nodiscard]] std::optional<std::chrono::sys_seconds> parse_cookie_date(std::string_view text);

/// True if `name` begins with `prefix` ("__Host-", "__Secure-") in any case (RFC 6265bis s5.4).
[[nodiscard]] bool has_cookie_prefix(std::string_view name, std::string_view prefix) noexcept;

}  // namespace heddle::http
