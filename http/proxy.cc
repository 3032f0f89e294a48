// Which proxy the environment names. The rules are those that curl and Go share.
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <arpa/inet.h>

#include <heddle/http/base64.h>
#include <heddle/http/client_options.h>
#include <heddle/http/header.h>
#include <heddle/http/internal/chars.h>
#include <heddle/http/internal/target.h>

namespace heddle::http {
namespace {

struct Environment {
  std::string http;
  std::string https;
  std::string none;
};

std::string variable(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

std::string first_of(const char* a, const char* b) {
  std::string value = variable(a);
  return value.empty() ? variable(b) : value;
}

Result<std::optional<Proxy>> parse_proxy(std::string_view text) {
  const std::unexpected<Error> bad(Error{Code::kInvalid, 0, "http: proxy of the environment"});
  std::string url(text);
  if (url.find("://") == std::string::npos) url.insert(0, "http://");
  Proxy proxy;
  // User information is cut out before anybody sees the URL (Url, I2).
  const std::size_t at = url.find("://") + 3;
  const std::size_t end = std::min(url.find_first_of("/?#", at), url.size());
  if (const std::size_t sign = url.rfind('@', end); sign != std::string::npos && sign >= at) {
    std::string credentials;
    if (!decode_segment(std::string_view(url).substr(at, sign - at), credentials)) return bad;
    if (credentials.find(':') == std::string::npos) credentials += ':';
    proxy.authorization = "Basic " + encode_base64(credentials);
    url.erase(at, sign + 1 - at);
  }
  const Result<Url> parsed = Url::parse(url);
  if (!parsed) return bad;
  proxy.url = *parsed;
  return proxy;
}

std::string_view without_brackets(std::string_view host) {
  return host.starts_with('[') && host.ends_with(']') ? host.substr(1, host.size() - 2) : host;
}

// An address; one of IPv4 as the one of IPv6 that stands for it (RFC 4291 s2.5.5.2), so that each has one form.
std::optional<in6_addr> parse_number(std::string_view text) {
  const std::string host(without_brackets(text));
  in6_addr v6{};
  if (::inet_pton(AF_INET6, host.c_str(), &v6) == 1) return v6;
  const std::string mapped = "::ffff:" + host;
  in_addr v4{};
  if (::inet_pton(AF_INET, host.c_str(), &v4) != 1 || ::inet_pton(AF_INET6, mapped.c_str(), &v6) != 1)
    return std::nullopt;
  return v6;
}

bool is_loopback(std::string_view host) {
  if (equal_fold(host, "localhost") || (host.size() > 10 && equal_fold(host.substr(host.size() - 10), ".localhost")))
    return true;
  const std::optional<in6_addr> number = parse_number(host);
  return number && (IN6_IS_ADDR_LOOPBACK(&*number) || (IN6_IS_ADDR_V4MAPPED(&*number) && number->s6_addr[12] == 127));
}

// "10.0.0.0/8": whether `host` lies in it.
bool block_has(std::string_view block, std::string_view length, std::string_view host) {
  const std::optional<in6_addr> first = parse_number(block);
  const std::optional<in6_addr> number = parse_number(host);
  unsigned bits = 0;
  const char* const end = length.data() + length.size();
  if (!first || !number || std::from_chars(length.data(), end, bits).ptr != end || length.empty()) return false;
  if (bits > (block.find(':') == std::string_view::npos ? 32U : 128U)) return false;
  if (block.find(':') == std::string_view::npos) bits += 96;
  // A block of IPv6 that is wider than all of IPv4 has nothing of it.
  if (bits < 96 && IN6_IS_ADDR_V4MAPPED(&*number)) return false;
  const std::size_t whole = bits / 8;
  if (std::memcmp(first->s6_addr, number->s6_addr, whole) != 0) return false;
  return bits % 8 == 0 || (first->s6_addr[whole] ^ number->s6_addr[whole]) >> (8 - bits % 8) == 0;
}

// One element of NO_PROXY.
bool excludes(std::string_view element, const Url& target) {
  if (element == "*") return true;
  const std::string_view host = without_brackets(target.host());
  if (const std::size_t slash = element.find('/'); slash != std::string_view::npos)
    return block_has(element.substr(0, slash), element.substr(slash + 1), host);
  // A port behind a name, an IPv4 address or brackets; a bare IPv6 address has colons of its own.
  const std::size_t colon = element.rfind(':');
  const bool bare_v6 = colon != std::string_view::npos && element.find(':') != colon && !element.starts_with('[');
  if (!bare_v6 && colon != std::string_view::npos && element.find(']', colon) == std::string_view::npos) {
    if (element.substr(colon + 1) != std::to_string(target.port())) return false;
    element = element.substr(0, colon);
  }
  if (const std::optional<in6_addr> number = parse_number(element)) {
    const std::optional<in6_addr> other = parse_number(host);
    return other && IN6_ARE_ADDR_EQUAL(&*number, &*other);
  }
  if (element.starts_with("*.")) element.remove_prefix(1);
  const bool below_only = element.starts_with('.');
  if (below_only) element.remove_prefix(1);
  if (element.empty()) return false;
  if (equal_fold(element, host)) return !below_only;
  return host.size() > element.size() + 1 && host[host.size() - element.size() - 1] == '.' &&
         equal_fold(host.substr(host.size() - element.size()), element);
}

}  // namespace

ProxyChooser proxy_from_environment() {
  Environment env{variable("http_proxy"), first_of("https_proxy", "HTTPS_PROXY"), first_of("no_proxy", "NO_PROXY")};
  if (env.http.empty() && variable("REQUEST_METHOD").empty()) env.http = variable("HTTP_PROXY");
  return [env = std::move(env)](const Url& target) -> Result<std::optional<Proxy>> {
    const std::string& proxy = target.scheme() == Url::Scheme::kHttps ? env.https : env.http;
    if (proxy.empty() || target.scheme() == Url::Scheme::kUnix || is_loopback(target.host())) return std::nullopt;
    for (std::string_view rest = env.none; !rest.empty();) {
      if (excludes(next_element(rest), target)) return std::nullopt;
    }
    return parse_proxy(proxy);
  };
}

}  // namespace heddle::http
