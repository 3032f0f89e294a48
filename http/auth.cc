#include <heddle/http/auth.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

#include <heddle/http/base64.h>
#include <heddle/http/header.h>
#include <heddle/http/internal/chars.h>
#include <heddle/http/status.h>

namespace heddle::http {
namespace {

bool is_token_char(char c) noexcept {
  const char l = chars::lower(c);
  return (l >= 'a' && l <= 'z') || chars::is(c, chars::kDigit) ||
         std::string_view("-._~+/").find(c) != std::string_view::npos;
}

bool is_control(char c) noexcept { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

// What follows the scheme's name and its blanks; nothing if it is another scheme.
std::optional<std::string_view> after_scheme(std::string_view authorization, std::string_view scheme) noexcept {
  const std::size_t end = authorization.find(' ');
  if (!equal_fold(authorization.substr(0, end), scheme)) return std::nullopt;
  if (end == std::string_view::npos) return std::string_view();
  return trim_blanks(authorization.substr(end));
}

// `text` as a quoted-string; what cannot stand in one is the program's mistake.
std::string quoted(std::string_view text) {
  if (std::ranges::any_of(text, is_control)) throw std::invalid_argument("authentication: a control in realm");
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

// RFC 6750 s3: %x21 / %x23-5B / %x5D-7E, in words with single blanks between.
bool is_scope(std::string_view scope) noexcept {
  return !scope.starts_with(' ') && !scope.ends_with(' ') && scope.find("  ") == std::string_view::npos &&
         std::ranges::all_of(scope, [](char c) { return c >= 0x20 && c < 0x7f && c != '"' && c != '\\'; });
}

void refuse(ResponseWriter& w, int status, std::string_view challenge) {
  static_cast<void>(w.status(status));
  static_cast<void>(w.set_header("WWW-Authenticate", challenge));
  static_cast<void>(w.set_header("Content-Type", "text/plain; charset=utf-8"));
  static_cast<void>(w.write(std::to_string(status) + " " + std::string(reason_phrase(status)) + "\n"));
}

}  // namespace

bool equal_secret(std::string_view given, std::string_view secret) noexcept {
  const bool same_size = given.size() == secret.size();
  const std::string_view other = same_size ? secret : given;
  unsigned different = !same_size;
  for (std::size_t i = 0; i < given.size(); ++i) {
    different |= static_cast<unsigned char>(given[i] ^ other[i]);
    asm volatile("" : "+r"(different));  // no leaving early, whatever the compiler knows
  }
  return different == 0;
}

std::optional<BasicCredentials> parse_basic(std::string_view authorization) {
  const std::optional<std::string_view> text = after_scheme(authorization, "Basic");
  if (!text) return std::nullopt;
  const std::optional<std::string> pair = decode_base64(*text);
  if (!pair || std::ranges::any_of(*pair, is_control)) return std::nullopt;
  const std::size_t colon = pair->find(':');
  if (colon == std::string::npos) return std::nullopt;
  return BasicCredentials{pair->substr(0, colon), pair->substr(colon + 1)};
}

std::optional<std::string_view> parse_bearer(std::string_view authorization) noexcept {
  const std::optional<std::string_view> token = after_scheme(authorization, "Bearer");
  if (!token) return std::nullopt;
  // RFC 6750 s2.1, b64token: '=' at its end alone.
  const std::string_view body = token->substr(0, token->find_last_not_of('=') + 1);  // npos + 1 is 0
  const bool right = !body.empty() && std::ranges::all_of(body, is_token_char);
  return right ? token : std::nullopt;
}

Middleware basic_auth(BasicAuthOptions options) {
  if (!options.check) throw std::invalid_argument("basic_auth: no check");
  std::string challenge = "Basic realm=" + quoted(options.realm) + ", charset=\"UTF-8\"";
  return [challenge = std::move(challenge), check = std::move(options.check)](Handler next) -> Handler {
    return [challenge, check, next = std::move(next)](Request& r, ResponseWriter& w) {
      const std::optional<std::string_view> field = r.headers().find_only("Authorization");
      const std::optional<BasicCredentials> credentials = field ? parse_basic(*field) : std::nullopt;
      if (credentials && check(r, *credentials)) return next(r, w);
      refuse(w, kStatusUnauthorized, challenge);
    };
  };
}

Middleware bearer_auth(BearerAuthOptions options) {
  if (!options.check) throw std::invalid_argument("bearer_auth: no check");
  if (!is_scope(options.scope)) throw std::invalid_argument("bearer_auth: scope \"" + options.scope + "\"");
  const std::string challenge = "Bearer realm=" + quoted(options.realm);
  std::string forbidden = challenge + ", error=\"insufficient_scope\"";
  if (!options.scope.empty()) forbidden += ", scope=\"" + options.scope + "\"";
  return [challenge, forbidden, check = std::move(options.check)](Handler next) -> Handler {
    return [challenge, forbidden, check, next = std::move(next)](Request& r, ResponseWriter& w) {
      const std::optional<std::string_view> field = r.headers().find_only("Authorization");
      if (!field || !after_scheme(*field, "Bearer")) return refuse(w, kStatusUnauthorized, challenge);
      const std::optional<std::string_view> token = parse_bearer(*field);
      if (!token) return refuse(w, kStatusBadRequest, challenge + ", error=\"invalid_request\"");
      const TokenVerdict verdict = check(r, *token);
      if (verdict == TokenVerdict::kGood) return next(r, w);
      if (verdict == TokenVerdict::kInsufficientScope) return refuse(w, kStatusForbidden, forbidden);
      refuse(w, kStatusUnauthorized, challenge + ", error=\"invalid_token\"");  // whatever else it may be
    };
  };
}

}  // namespace heddle::http
