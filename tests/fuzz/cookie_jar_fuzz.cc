// The cookie jar: a cookie goes to its own host, or with Domain to that domain and below; never without TLS if it is Secure;
// to its path and below; not after its end. There are never more than the limits say, and the order is that of the RFC.
//
// Input: lines. "host /path Set-Cookie field" stores over http, with a '!' in front over https. A line of digits lets that many
// seconds pass. After each line, every host that was named is asked for its cookies, on two paths, with and without TLS.
#include <heddle/http/cookie_jar.h>

#include <cctype>
#include <charconv>
#include <set>

#include "fuzz.h"

namespace heddle::http {
namespace {

struct Stored {
  SetCookie cookie;
  std::string host;
  std::string path;
  bool secure_from;
  CookieJar::Time at;
};

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  return out;
}

bool below(std::string_view host, std::string_view domain) {
  return host.size() > domain.size() && host.ends_with(domain) && host[host.size() - domain.size() - 1] == '.';
}

bool covers(std::string_view cookie_path, std::string_view path) {
  return path == cookie_path ||
         (path.starts_with(cookie_path) && (cookie_path.ends_with('/') || path[cookie_path.size()] == '/'));
}

std::string path_of(const Stored& s) {
  if (s.cookie.path && !s.cookie.path->empty()) return *s.cookie.path;
  const std::size_t slash = s.path.rfind('/');
  return !s.path.starts_with('/') || slash == 0 ? "/" : s.path.substr(0, slash);
}

class Checked {
 public:
  void store(bool secure, const std::string& host, const std::string& path, const std::string& field) {
    // The value says which line it came from.
    const std::size_t end = std::min(field.find(';'), field.size());
    std::string name = field.substr(0, std::min(field.find('='), end));
    const std::string marked = name + "=" + std::to_string(stored_.size()) + field.substr(end);
    const std::optional<SetCookie> cookie = parse_set_cookie(marked);
    const bool taken = jar_.store({.host = host, .path = path, .secure = secure}, marked, now_);
    FUZZ_CHECK(jar_.size() <= kLimits.max_cookies);
    FUZZ_CHECK(!taken || cookie);
    if (!taken) return;
    FUZZ_CHECK(!cookie->secure || secure);
    stored_.push_back({*cookie, lower(host), path, secure, now_});
  }

  void pass(std::chrono::seconds time) { now_ += time; }

  void look(const std::string& host, const std::string& path, bool secure) {
    const std::string value = jar_.cookies_for({.host = host, .path = path, .secure = secure}, now_);
    std::vector<RequestCookie> pairs;
    parse_cookies(value, pairs);
    FUZZ_CHECK(pairs.size() <= kLimits.max_cookies);
    std::set<std::size_t> seen;
    std::size_t last_path = SIZE_MAX;
    for (const RequestCookie& c : pairs) {
      std::size_t line = 0;
      FUZZ_CHECK(std::from_chars(c.value.data(), c.value.data() + c.value.size(), line).ptr == c.value.end());
      FUZZ_CHECK(line < stored_.size() && seen.insert(line).second);
      const Stored& s = stored_[line];
      FUZZ_SAME(c.name, s.cookie.name);
      FUZZ_CHECK(secure || !s.cookie.secure);
      const std::string here = lower(host);
      const bool wide = s.cookie.domain && s.cookie.domain->find('.') != std::string::npos;
      FUZZ_CHECK(here == s.host || wide);
      FUZZ_CHECK(here == s.host || here == *s.cookie.domain || below(here, *s.cookie.domain));
      FUZZ_CHECK(covers(path_of(s), path));
      if (s.cookie.max_age) {
        FUZZ_CHECK(now_ < s.at + *s.cookie.max_age);
      } else if (s.cookie.expires) {
        FUZZ_CHECK(now_ < *s.cookie.expires);
      }
      if (s.cookie.max_age || s.cookie.expires) FUZZ_CHECK(now_ < s.at + kLimits.max_life);
      FUZZ_CHECK(path_of(s).size() <= last_path);
      last_path = path_of(s).size();
    }
    // Asking changes nothing.
    FUZZ_SAME(jar_.cookies_for({.host = host, .path = path, .secure = secure}, now_), value);
  }

 private:
  static inline const CookieJarOptions kLimits{
      .max_cookies = 6, .max_per_domain = 4, .max_life = std::chrono::hours(1)};
  CookieJar jar_{kLimits};
  CookieJar::Time now_{std::chrono::sys_days(std::chrono::year(2026) / 11 / 22)};
  std::vector<Stored> stored_;
};

}  // namespace
}  // namespace heddle::http

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace heddle::http;
  heddle::fuzz::Input input(data, size);
  Checked jar;
  std::set<std::string> hosts{"a.example.org", "example.org", "127.0.0.1"};
  for (int i = 0; i < 20 && !input.empty(); ++i) {
    std::string line = input.line();
    std::uint32_t seconds = 0;
    const auto number = std::from_chars(line.data(), line.data() + line.size(), seconds);
    if (!line.empty() && number.ptr == line.data() + line.size()) {
      jar.pass(std::chrono::seconds(seconds % 10'000));
    } else {
      const bool secure = line.starts_with('!');
      if (secure) line.erase(0, 1);
      const std::size_t first = std::min(line.find(' '), line.size());
      const std::size_t second = std::min(line.find(' ', first + 1), line.size());
      const std::string host = line.substr(0, first);
      // What a Url can hold.
      const bool host_like = !host.empty() && host.size() < 40 && std::ranges::all_of(host, [](char c) {
        return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '-';
      });
      if (!host_like || second == line.size()) continue;
      if (hosts.size() < 8) hosts.insert(host);
      jar.store(secure, host, line.substr(first + 1, second - first - 1), line.substr(second + 1));
    }
    for (const std::string& host : hosts) {
      for (const char* path : {"/", "/a/b"}) {
        jar.look(host, path, false);
        jar.look(host, path, true);
      }
    }
  }
  return 0;
}
