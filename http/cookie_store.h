// CookieStore: what a client asks for cookies, and tells of them.
#pragma once

#include <string>

#include <heddle/http/header.h>
#include <heddle/http/url.h>

namespace heddle::http {

/// Keeps a client's cookies: CookieJar (cookie_jar.h), or what a user makes. Threads: many goroutines at once.
class CookieStore {
 public:
  virtual ~CookieStore() = default;
  /// The value of the Cookie field for a request to `url`; empty: none is sent.
  [[nodiscard]] virtual std::string cookies_for(const Url& url) = 0;
  /// Takes a response's Set-Cookie fields.
  virtual void store(const Url& url, HeaderList headers) = 0;
};

}  // namespace heddle::http
