#include <heddle/core/wait_group.h>
#include <heddle/http/cookie_jar.h>

#include <atomic>
#include <string>
#include <utility>
#include <vector>

#include "http_test.h"

namespace heddle::http::test {
namespace {

using Time = CookieJar::Time;

constexpr Time kStart{1'700'000'000s};

CookieUrl url(std::string_view text) {
  CookieUrl u{.host = {}, .secure = text.starts_with("https://")};
  text.remove_prefix(text.find("//") + 2);
  const std::size_t slash = text.find('/');
  u.host = text.substr(0, slash);
  if (slash != text.npos) u.path = text.substr(slash);
  return u;
}

struct Jar : CookieJar {
  using CookieJar::CookieJar;
  bool put(std::string_view from, std::string_view field, Time now = kStart) { return store(url(from), field, now); }
  std::string get(std::string_view to, Time now = kStart) { return cookies_for(url(to), now); }
};

TEST(CookieJar, host_only_unless_a_domain_is_given) {
  Jar jar;
  EXPECT_TRUE(jar.put("http://www.example.com/", "a=1"));
  EXPECT_TRUE(jar.put("http://www.example.com/", "b=2; Domain=example.com"));
  EXPECT_TRUE(jar.put("http://www.example.com/", "c=3; Domain=.WWW.example.com"));
  EXPECT_EQ(jar.get("http://www.example.com/"), "a=1; b=2; c=3");
  EXPECT_EQ(jar.get("http://WWW.Example.Com/"), "a=1; b=2; c=3");
  EXPECT_EQ(jar.get("http://x.www.example.com/"), "b=2; c=3");
  EXPECT_EQ(jar.get("http://example.com/"), "b=2");
  EXPECT_EQ(jar.get("http://badexample.com/"), "");
  EXPECT_EQ(jar.get("http://com/"), "");
}

TEST(CookieJar, foreign_and_public_domains_are_refused) {
  Jar jar;
  EXPECT_FALSE(jar.put("http://example.com/", "a=1; Domain=www.example.com"));
  EXPECT_FALSE(jar.put("http://example.com/", "a=1; Domain=ample.com"));
  EXPECT_FALSE(jar.put("http://example.com/", "a=1; Domain=com"));
  EXPECT_FALSE(jar.put("http://example.com/", "a=1; Domain=example.org"));
  EXPECT_FALSE(jar.put("http://example.com/", "a=1; Domain=\xc3\xa4.example.com"));
  EXPECT_TRUE(jar.put("http://localhost/", "a=1; Domain=localhost"));  // itself: host-only then
  EXPECT_EQ(jar.get("http://localhost/"), "a=1");
  EXPECT_EQ(jar.get("http://x.localhost/"), "");

  Jar listed({.is_public_suffix = [](std::string_view d) { return d == "co.uk"; }});
  EXPECT_FALSE(listed.put("http://a.co.uk/", "a=1; Domain=co.uk"));
  EXPECT_TRUE(listed.put("http://a.co.uk/", "a=1; Domain=a.co.uk"));
  EXPECT_EQ(listed.get("http://b.co.uk/"), "");
}

TEST(CookieJar, numbers_have_nothing_above_them) {
  Jar jar;
  EXPECT_FALSE(jar.put("http://127.0.0.1/", "a=1; Domain=0.0.1"));
  EXPECT_TRUE(jar.put("http://127.0.0.1/", "a=1; Domain=127.0.0.1"));
  EXPECT_EQ(jar.get("http://127.0.0.1/"), "a=1");
  EXPECT_EQ(jar.get("http://5.127.0.0.1/"), "");
  EXPECT_TRUE(jar.put("http://[::1]/", "b=1"));
  EXPECT_EQ(jar.get("http://::1/"), "b=1");
  EXPECT_TRUE(jar.put("http://1.1/", "c=1; Domain=1.1"));
  EXPECT_EQ(jar.get("http://1.1.1/"), "");
}

TEST(CookieJar, paths_match_by_whole_segments) {
  Jar jar;
  EXPECT_TRUE(jar.put("http://h/a/b/c", "def=1"));          // /a/b
  EXPECT_TRUE(jar.put("http://h/a/b/c", "odd=1; Path=x"));  // the default, too
  EXPECT_TRUE(jar.put("http://h/a/b/c", "top=1; Path=/"));
  EXPECT_TRUE(jar.put("http://h/a/b/c", "dir=1; Path=/a/"));
  EXPECT_TRUE(jar.put("http://h", "root=1"));
  EXPECT_EQ(jar.get("http://h/a/b"), "def=1; odd=1; dir=1; top=1; root=1");
  EXPECT_EQ(jar.get("http://h/a/b/"), "def=1; odd=1; dir=1; top=1; root=1");
  EXPECT_EQ(jar.get("http://h/a/bc"), "dir=1; top=1; root=1");
  EXPECT_EQ(jar.get("http://h/a"), "top=1; root=1");
  EXPECT_EQ(jar.get("http://h"), "top=1; root=1");
}

TEST(CookieJar, longer_paths_then_older_ones_come_first) {
  Jar jar;
  for (const char* c : {"a=1; Path=/", "b=2; Path=/x/y", "c=3; Path=/x", "d=4; Path=/x", "a=5; Path=/x"})
    EXPECT_TRUE(jar.put("http://h/", c));
  EXPECT_EQ(jar.get("http://h/x/y"), "b=2; c=3; d=4; a=5; a=1");
  EXPECT_TRUE(jar.put("http://h/", "c=9; Path=/x"));  // replaced, and as old as before
  EXPECT_EQ(jar.get("http://h/x/y"), "b=2; c=9; d=4; a=5; a=1");
  EXPECT_EQ(jar.size(), 5u);
}

TEST(CookieJar, nameless_cookies_are_sent_without_equals) {
  Jar jar;
  EXPECT_TRUE(jar.put("http://h/", "lonely"));
  EXPECT_TRUE(jar.put("http://h/", "empty="));
  EXPECT_EQ(jar.get("http://h/"), "lonely; empty=");
}

TEST(CookieJar, max_age_wins_over_expires_and_both_end_life) {
  Jar jar;
  EXPECT_TRUE(jar.put("http://h/", "a=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=10"));
  EXPECT_TRUE(jar.put("http://h/", "b=1; Expires=Tue, 14 Nov 2023 22:13:25 GMT"));  // kStart + 5 s
  EXPECT_TRUE(jar.put("http://h/", "c=1"));
  EXPECT_EQ(jar.get("http://h/", kStart + 4s), "a=1; b=1; c=1");
  EXPECT_EQ(jar.get("http://h/", kStart + 5s), "a=1; c=1");
  EXPECT_EQ(jar.get("http://h/", kStart + 10s), "c=1");
  EXPECT_EQ(jar.get("http://h/", kStart + std::chrono::years(100)), "c=1");
  EXPECT_TRUE(jar.put("http://h/", "c=1; Max-Age=0"));
  EXPECT_EQ(jar.get("http://h/"), "a=1; b=1");
  EXPECT_TRUE(jar.put("http://h/", "a=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT"));
  EXPECT_TRUE(jar.put("http://h/", "never-there=1; Max-Age=-1"));
  EXPECT_EQ(jar.size(), 1u);
}

TEST(CookieJar, no_life_is_longer_than_the_limit) {
  Jar jar({.max_life = 100s});
  EXPECT_TRUE(jar.put("http://h/", "a=1; Max-Age=999999999999"));
  EXPECT_TRUE(jar.put("http://h/", "b=1; Expires=Fri, 31 Dec 9999 23:59:59 GMT"));
  EXPECT_EQ(jar.get("http://h/", kStart + 99s), "a=1; b=1");
  EXPECT_EQ(jar.get("http://h/", kStart + 100s), "");
}

TEST(CookieJar, session_ends) {
  Jar jar;
  EXPECT_TRUE(jar.put("http://h/", "a=1"));
  EXPECT_TRUE(jar.put("http://h/", "b=1; Max-Age=9"));
  jar.end_session();
  EXPECT_EQ(jar.get("http://h/"), "b=1");
  jar.clear();
  EXPECT_EQ(jar.size(), 0u);
  EXPECT_EQ(jar.get("http://h/"), "");
}

TEST(CookieJar, secure_cookies_stay_on_secure_connections) {
  Jar jar;
  EXPECT_FALSE(jar.put("http://a.h.x/", "s=1; Secure"));
  EXPECT_TRUE(jar.put("https://a.h.x/", "s=1; Secure; Domain=h.x; Path=/p"));
  EXPECT_EQ(jar.get("http://a.h.x/p"), "");
  EXPECT_EQ(jar.get("https://a.h.x/p"), "s=1");
  // Nothing that came unencrypted replaces or shadows it, from above or from below.
  EXPECT_FALSE(jar.put("http://h.x/", "s=2; Path=/p"));
  EXPECT_FALSE(jar.put("http://h.x/", "s=2; Path=/p/q"));
  EXPECT_FALSE(jar.put("http://a.h.x/", "s=2; Path=/p/q"));
  EXPECT_TRUE(jar.put("http://a.h.x/", "s=2; Path=/"));
  EXPECT_TRUE(jar.put("http://a.h.x/", "t=2; Path=/p"));
  EXPECT_TRUE(jar.put("http://y.x/", "s=2; Path=/p"));
  EXPECT_TRUE(jar.put("https://a.h.x/", "s=3; Path=/p; Domain=h.x"));  // encrypted: may replace
  EXPECT_EQ(jar.get("http://a.h.x/p"), "s=3; t=2; s=2");
  // An expired one protects nothing.
  EXPECT_TRUE(jar.put("https://z.z/", "s=1; Secure; Max-Age=1"));
  EXPECT_FALSE(jar.put("http://z.z/", "s=2"));
  EXPECT_TRUE(jar.put("http://z.z/", "s=2", kStart + 1s));
}

TEST(CookieJar, attributes_and_prefixes_are_checked) {
  Jar jar;
  for (const char* bad :
       {"a=1; SameSite=None", "a=1; Partitioned", "__Secure-a=1", "__SECURE-a=1", "__Host-a=1; Secure",
        "__Host-a=1; Path=/", "__Host-a=1; Secure; Path=/; Domain=h.x", "__Host-a=1; Secure; Path=/x",
        "=__Host-a=1; Secure; Path=/", "__Host-a; Secure; Path=/", "=__secure-a=1; Secure", "a=1\n"}) {
    EXPECT_FALSE(jar.put("https://h.x/", bad)) << bad;
  }
  EXPECT_EQ(jar.size(), 0u);
  EXPECT_TRUE(jar.put("https://h.x/", "__Host-a=1; Secure; Path=/"));
  EXPECT_TRUE(jar.put("https://h.x/", "__Secure-a=1; Secure; Domain=h.x"));
  EXPECT_TRUE(jar.put("https://h.x/", "b=1; Secure; SameSite=None; Partitioned; HttpOnly"));
  EXPECT_EQ(jar.get("https://h.x/"), "__Host-a=1; __Secure-a=1; b=1");
}

TEST(CookieJar, one_domain_is_bounded_and_loses_the_insecure_and_unused_first) {
  Jar jar({.max_per_domain = 3});
  EXPECT_TRUE(jar.put("https://h/", "s=1; Secure"));
  EXPECT_TRUE(jar.put("https://h/", "a=1; Path=/a"));
  EXPECT_TRUE(jar.put("https://h/", "b=1; Path=/b"));
  EXPECT_EQ(jar.get("http://h/a"), "a=1");  // used
  EXPECT_TRUE(jar.put("https://h/", "c=1; Path=/"));
  EXPECT_EQ(jar.get("https://h/a"), "a=1; s=1; c=1");
  EXPECT_EQ(jar.get("https://h/b"), "s=1; c=1");
  EXPECT_TRUE(jar.put("https://h/", "t=1; Secure"));
  EXPECT_TRUE(jar.put("https://h/", "u=1; Secure"));
  EXPECT_TRUE(jar.put("https://h/", "v=1; Secure"));  // now only secure ones are left to lose
  EXPECT_EQ(jar.size(), 3u);
  EXPECT_EQ(jar.get("https://h/a"), "t=1; u=1; v=1");
  EXPECT_TRUE(jar.put("https://h/", "w=1; Secure"));  // of these, the one used least recently
  EXPECT_EQ(jar.get("https://h/a"), "u=1; v=1; w=1");
}

// Else who can change what an unencrypted connection says could push a session's cookie out.
TEST(CookieJar, what_is_not_secure_pushes_nothing_out_that_is) {
  Jar jar({.max_per_domain = 2});
  EXPECT_TRUE(jar.put("https://h/", "s=1; Secure"));
  EXPECT_TRUE(jar.put("https://h/", "t=1; Secure"));
  EXPECT_TRUE(jar.put("http://h/", "x=1"));
  EXPECT_TRUE(jar.put("http://h/", "y=1"));
  EXPECT_EQ(jar.get("https://h/"), "s=1; t=1");
  EXPECT_EQ(jar.size(), 2u);
}

TEST(CookieJar, all_domains_together_are_bounded) {
  Jar jar({.max_cookies = 10});
  EXPECT_TRUE(jar.put("http://first/", "a=1"));
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(jar.put("http://h" + std::to_string(i) + "/", "a=1; Max-Age=1"));
  for (int i = 5; i < 9; ++i) EXPECT_TRUE(jar.put("http://h" + std::to_string(i) + "/", "a=1"));
  EXPECT_EQ(jar.size(), 10u);
  EXPECT_TRUE(jar.put("http://new/", "a=1", kStart + 1s));  // the expired ones go, all of them
  EXPECT_EQ(jar.size(), 6u);
  for (int i = 10; i < 14; ++i) EXPECT_TRUE(jar.put("http://h" + std::to_string(i) + "/", "a=1"));
  EXPECT_EQ(jar.get("http://first/"), "a=1");
  EXPECT_TRUE(jar.put("http://one.more/", "a=1"));  // h5 is the one that was used least recently
  EXPECT_EQ(jar.get("http://h5/"), "");
  EXPECT_EQ(jar.get("http://first/"), "a=1");
  EXPECT_EQ(jar.size(), 10u);
}

TEST(CookieJar, serves_many_goroutines) {
  run([] {
    Jar jar({.max_cookies = 20, .max_per_domain = 4});
    std::atomic<int> sent = 0;
    WaitGroup all;
    for (int g = 0; g < 8; ++g) {
      all.go([&jar, &sent, g] {
        for (int i = 0; i < 200; ++i) {
          const std::string host = "http://h" + std::to_string((g + i) % 10) + "/";
          EXPECT_TRUE(jar.put(host, "c" + std::to_string(i % 7) + "=" + std::to_string(i)));
          sent += !jar.get(host).empty();
        }
      });
    }
    all.wait();
    EXPECT_GT(sent, 0);
    EXPECT_LE(jar.size(), 20u);
  });
}

}  // namespace
}  // namespace heddle::http::test
