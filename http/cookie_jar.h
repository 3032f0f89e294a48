// CookieJar: what an HTTP client remembers between requests, by the storage model of RFC 6265bis s5.7 and s5.8.
//
// It is the jar of a program, not of a browser: there is no page that a request comes from, so every request counts as
// of the same site, SameSite and Partitioned decide nothing but whether a cookie is well-formed, and HttpOnly hides
// nothing.
//
// I1. Of one name, domain and path there is one cookie; of a domain at most max_per_domain; in all max_cookies. Each is
//     at most kMaxCookieSize + 2 * kMaxCookieAttribute bytes: so what servers say cannot fill the memory.
// I2. What an unencrypted connection says neither replaces nor shadows a cookie that was marked Secure, nor drives one of its
//     domain out.
// I3. A cookie reaches its own host alone, or with Domain that domain and what is below; never a public suffix, as far
//     as the jar knows them. Numbers (127.0.0.1, [::1]) are hosts without anything above them, and so is each Unix socket:
//     it shares nothing with another one, nor with localhost, whose name it bears in its Host field.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <heddle/core/mutex.h>
#include <heddle/http/cookie.h>
#include <heddle/http/cookie_store.h>

namespace heddle::http {

/// Where a cookie came from, or where it may go to.
struct CookieUrl {
  std::string_view host;    // without a port, in any case, IPv6 with or without brackets
  std::string_view path{};  // without the query; empty as "/"
  bool secure = false;      // https
};

struct CookieJarOptions {
  std::size_t max_cookies = 3000;   ///< In all; what was used least recently goes first.
  std::size_t max_per_domain = 50;  ///< Of one domain; those without Secure go first, be it the one that has just come.

  /// Longest life of a cookie, whatever it says (RFC 6265bis s5.6.1).
  std::chrono::seconds max_life = std::chrono::days(400);

  /// True for domains below which anybody may register a name ("com", "co.uk"), in lower case: for these no Domain
  /// attribute is taken. Default: names without a dot. That leaves "co.uk" open to cookies from one owner to another;
  /// who talks to hosts that do not trust each other gives a function over the public suffix list (libpsl).
  std::function<bool(std::string_view domain)> is_public_suffix{};
};

/// Keeps cookies, for ClientOptions::cookies or by itself. Threads: any goroutines at once; is_public_suffix is called from
/// many, and must not call back.
class CookieJar : public CookieStore {
 public:
  using Time = std::chrono::sys_seconds;

  explicit CookieJar(CookieJarOptions options = {});

  /// The time by which cookies live and die, unless a caller says another one.
  [[nodiscard]] static Time wall_now();

  /// Takes a Set-Cookie field of a response. Returns: false if it is to be ignored: malformed, for a domain that is not
  /// the host's or is a public suffix, Secure over an unencrypted connection, against I2, SameSite=None or Partitioned
  /// without Secure, or against the rule of its prefix. One that has expired deletes, and is true.
  bool store(const CookieUrl& from, std::string_view set_cookie, Time now = wall_now());

  /// The value of the Cookie field of a request, longer paths first, then older cookies; empty: send no field.
  [[nodiscard]] std::string cookies_for(const CookieUrl& to, Time now = wall_now());

  // CookieStore.
  [[nodiscard]] std::string cookies_for(const Url& url) override;
  void store(const Url& url, HeaderList headers) override;

  /// Cookies that are kept, those that expired unnoticed among them.
  [[nodiscard]] std::size_t size() const;

  void clear();
  /// Drops what ends with the client's session: cookies with neither Max-Age nor Expires.
  void end_session();

 private:
  struct Entry {
    std::string name;
    std::string value;
    std::string path;
    Time expires{};
    std::uint64_t created = 0;  // in the order of `ticks_`
    std::uint64_t used = 0;
    bool persistent = false;
    bool host_only = false;
    bool secure = false;
  };
  using Domains = std::map<std::string, std::vector<Entry>, std::less<>>;

  [[nodiscard]] bool is_public(std::string_view domain) const;
  [[nodiscard]] bool overlays_secure_locked(const Entry& fresh, std::string_view domain, Time now) const;
  void insert_locked(std::string domain, Entry fresh, Time now);
  void make_room_locked(Time now);
  template <class Keep>
  void keep_locked(Keep keep);

  const CookieJarOptions options_;
  mutable Mutex mutex_;
  // guarded by mutex_
  Domains domains_;  // no list in it is empty
  std::size_t size_ = 0;
  std::uint64_t ticks_ = 0;
};

}  // namespace heddle::http
