#include <heddle/http/cookie.h>

#include <string>
#include <utility>
#include <vector>

#include "http_test.h"

namespace heddle::http::test {
namespace {

namespace chrono = std::chrono;

// "name=value|name=value".
std::string pairs(std::string_view field) {
  std::vector<RequestCookie> all;
  parse_cookies(field, all);
  std::string out;
  for (const RequestCookie& c : all) {
    if (!out.empty()) out += '|';
    out.append(c.name).append("=").append(c.value);
  }
  return out;
}

TEST(Cookie, field_is_read_leniently) {
  const std::pair<const char*, const char*> cases[] = {
      {"a=1", "a=1"},
      {"a=1; b=2", "a=1|b=2"},
      {"a=1;b=2 ;\tc = 3 ", "a=1|b=2|c=3"},
      {"a=1; a=2", "a=1|a=2"},
      {"a=b=c", "a=b=c"},
      {"a=", "a="},
      {"=x", "=x"},
      {"lonely", "=lonely"},
      {"", ""},
      {" ; ;; = ;", ""},
      {"a=\"x y\"; b=2", "a=\"x y\"|b=2"},
      {"a=\"x;y\"", "a=\"x|=y\""},  // quotes hide no semicolon
      {"a b=c,d", "a b=c,d"},
      {"\xff=\x80", "\xff=\x80"},
  };
  for (const auto& [field, out] : cases) EXPECT_EQ(pairs(field), out) << field;
}

TEST(Cookie, quotes_come_off_in_pairs) {
  EXPECT_EQ(unquote_cookie("\"a\""), "a");
  EXPECT_EQ(unquote_cookie("\"\""), "");
  EXPECT_EQ(unquote_cookie("\""), "\"");
  EXPECT_EQ(unquote_cookie("\"a"), "\"a");
  EXPECT_EQ(unquote_cookie(""), "");
}

TEST(Cookie, request_gives_all_fields_in_order_and_response_sets_several) {
  on_one_p([] {
    Rig rig([](Request& r, ResponseWriter& w) {
      std::string text;
      for (const RequestCookie& c : cookies(r)) text.append(c.name).append("=").append(c.value).append(",");
      text += find_cookie(r, "b").value_or("none");
      text += find_cookie(r, "B").value_or("none");
      EXPECT_TRUE(set_cookie(w, {.name = "x", .value = "1"}));
      EXPECT_TRUE(set_cookie(w, {.name = "y", .value = "2", .max_age = 60s, .same_site = SameSite::kStrict}));
      EXPECT_FALSE(set_cookie(w, {.name = "bad name", .value = "2"}));
      w.write(text);
    });
    rig.stream.send("GET / HTTP/1.1\r\nHost: a\r\nCookie: a=1; b=2\r\nX: y\r\ncookie: b=3\r\n\r\n");
    rig.stream.settle();
    EXPECT_EQ(rig.responses(), std::vector<std::string>{"200 cl=17 Set-Cookie=x=1; Path=/; HttpOnly; SameSite=Lax "
                                                        "Set-Cookie=y=2; Path=/; Max-Age=60; HttpOnly; SameSite=Strict "
                                                        "[a=1,b=2,b=3,2none]"});
  });
}

TEST(Cookie, all_attributes_are_written) {
  Cookie c{.name = "n", .value = "\"v\"", .domain = "a.Example.com", .path = "/x y"};
  c.expires = chrono::sys_days(chrono::year(2026) / 11 / 21) + 2h + 47min + 38s;
  c.max_age = -5s;
  c.secure = true;
  c.same_site = SameSite::kNone;
  c.partitioned = true;
  EXPECT_EQ(
      format_set_cookie(c).value(),
      "n=\"v\"; Domain=a.Example.com; Path=/x y; Expires=Sat, 21 Nov 2026 02:47:38 GMT; Max-Age=0; Secure; HttpOnly; "
      "SameSite=None; Partitioned");
  c = {.name = "n", .value = "", .path = "", .http_only = false, .same_site = SameSite::kDefault};
  EXPECT_EQ(format_set_cookie(c).value(), "n=");
}

TEST(Cookie, what_clients_would_misread_is_refused) {
  auto code = [](const Cookie& c) {
    const Result<std::string> out = format_set_cookie(c);
    return out ? Code::kOk : out.error().code;
  };
  auto name = [&](std::string n) { return code({.name = std::move(n), .value = "v"}); };
  auto value = [&](std::string v) { return code({.name = "n", .value = std::move(v)}); };
  auto domain = [&](std::string d) { return code({.name = "n", .value = "v", .domain = std::move(d)}); };
  auto path = [&](std::string p) { return code({.name = "n", .value = "v", .path = std::move(p)}); };

  EXPECT_EQ(name("a-b_c.d!"), Code::kOk);
  for (const char* bad : {"", "a b", "a=b", "a;b", "a\r\nb", "a\"", "\xc3\xa4"})
    EXPECT_EQ(name(bad), Code::kInvalid) << bad;

  for (const char* good : {"", "abc", "a=b", "\"\"", "\"abc\"", "!#$%&'()*+-./:<=>?@[]^_`{|}~"})
    EXPECT_EQ(value(good), Code::kOk) << good;
  for (const char* bad :
       {"a b", "a;b", "a,b", "a\\b", "\"", "\"a", "a\"b", "\"a\"\"", "a\rb", "a\nb", "\t", "\x7f", "\x80"})
    EXPECT_EQ(value(bad), Code::kInvalid) << bad;
  EXPECT_EQ(value(std::string("a\0b", 3)), Code::kInvalid);

  for (const char* good : {"a", "example.com", "A-1.B", "xn--4ca.com", "1.a"})
    EXPECT_EQ(domain(good), Code::kOk) << good;
  for (const char* bad : {".example.com", "example.com.", "a..b", "-a.b", "a-.b", "a_b", "a b", "a;b", "127.0.0.1",
                          "[::1]", "a:80", "a/b", "\xc3\xa4.com"}) {
    EXPECT_EQ(domain(bad), Code::kInvalid) << bad;
  }
  EXPECT_EQ(domain(std::string(63, 'a') + ".b"), Code::kOk);
  EXPECT_EQ(domain(std::string(64, 'a') + ".b"), Code::kInvalid);

  for (const char* bad : {"a", "a/", "/a;b", "/a\rb", "/a\n", "/a ", "/\x7f", "/\xc3"})
    EXPECT_EQ(path(bad), Code::kInvalid) << bad;

  EXPECT_EQ(value(std::string(4095, 'v')), Code::kOk);
  EXPECT_EQ(value(std::string(4096, 'v')), Code::kLimit);
  EXPECT_EQ(path("/" + std::string(1023, 'p')), Code::kOk);
  EXPECT_EQ(path("/" + std::string(1024, 'p')), Code::kLimit);

  const chrono::sys_seconds first = chrono::sys_days(chrono::year(1601) / 1 / 1);
  const chrono::sys_seconds end = chrono::sys_days(chrono::year(10'000) / 1 / 1);
  EXPECT_EQ(code({.name = "n", .value = "v", .expires = first}), Code::kOk);
  EXPECT_EQ(code({.name = "n", .value = "v", .expires = first - 1s}), Code::kInvalid);
  EXPECT_EQ(code({.name = "n", .value = "v", .expires = end - 1s}), Code::kOk);
  EXPECT_EQ(code({.name = "n", .value = "v", .expires = end}), Code::kInvalid);

  EXPECT_EQ(code({.name = "n", .value = "v", .same_site = SameSite::kNone}), Code::kInvalid);
  EXPECT_EQ(code({.name = "n", .value = "v", .partitioned = true}), Code::kInvalid);
}

TEST(Cookie, prefixes_are_enforced_in_any_case) {
  for (const char* n : {"__Secure-a", "__secure-a"}) {
    EXPECT_FALSE(format_set_cookie({.name = n, .value = "v"})) << n;
    EXPECT_TRUE(format_set_cookie({.name = n, .value = "v", .domain = "a.b", .path = "/x", .secure = true})) << n;
  }
  for (const char* n : {"__Host-a", "__HOST-a"}) {
    EXPECT_FALSE(format_set_cookie({.name = n, .value = "v"})) << n;
    EXPECT_FALSE(format_set_cookie({.name = n, .value = "v", .domain = "a.b", .secure = true})) << n;
    EXPECT_FALSE(format_set_cookie({.name = n, .value = "v", .path = "/x", .secure = true})) << n;
    EXPECT_FALSE(format_set_cookie({.name = n, .value = "v", .path = "", .secure = true})) << n;
    EXPECT_TRUE(format_set_cookie({.name = n, .value = "v", .secure = true})) << n;
  }
}

// --- what a client reads ---

std::string show(std::string_view field) {
  const std::optional<SetCookie> c = parse_set_cookie(field);
  if (!c) return "ignored";
  std::string out = c->name + "=" + c->value;
  if (c->domain) out += " domain=" + *c->domain;
  if (c->path) out += " path=" + *c->path;
  if (c->max_age) out += " age=" + std::to_string(c->max_age->count());
  if (c->expires) out += " expires=" + std::to_string(c->expires->time_since_epoch().count());
  if (c->secure) out += " secure";
  if (c->http_only) out += " http";
  if (c->same_site == SameSite::kLax) out += " lax";
  if (c->same_site == SameSite::kStrict) out += " strict";
  if (c->same_site == SameSite::kNone) out += " none";
  if (c->partitioned) out += " part";
  return out;
}

TEST(Cookie, set_cookie_is_read_by_the_algorithm) {
  const std::pair<std::string, const char*> cases[] = {
      {"a=b", "a=b"},
      {" a\t=  b c ", "a=b c"},
      {"a=\"b\"", "a=\"b\""},
      {"a", "=a"},
      {"=a", "=a"},
      {"", "ignored"},
      {"=", "ignored"},
      {"; Secure", "ignored"},
      {"a=b\x01", "ignored"},
      {"a=b; Path=/\x7f", "ignored"},
      {"a=b;Domain=.Example.COM;path=/x;secure;HTTPONLY", "a=b domain=example.com path=/x secure http"},
      {"a=b; Domain=x.y; Domain=", "a=b"},
      {"a=b; Domain=x; Domain=..y", "a=b domain=.y"},
      {"a=b; Path=x", "a=b path="},
      {"a=b; Path=/x; Path", "a=b path="},
      {"a=b; Max-Age=0", "a=b age=0"},
      {"a=b; Max-Age=-99999999999999999999", "a=b age=-1"},
      {"a=b; Max-Age=99999999999999999999", "a=b age=2147483647"},
      {"a=b; Max-Age=5; Max-Age=x; Max-Age=; Max-Age=+1; Max-Age=1.5; Max-Age=-", "a=b age=5"},
      {"a=b; Expires=Thu, 01 Jan 1970 00:00:10 GMT; Expires=never", "a=b expires=10"},
      {"a=b; SameSite=lax", "a=b lax"},
      {"a=b; SameSite=Lax; SameSite=STRICT", "a=b strict"},
      {"a=b; SameSite=None; SameSite=odd", "a=b"},
      {"a=b; SameSite=None; Partitioned; Unknown=1; ;=;", "a=b none part"},
      {"a=b; Secure=no", "a=b secure"},
      {"a=b; Path=/" + std::string(1023, 'x') + "; Path=/" + std::string(1024, 'y'), nullptr},
  };
  for (const auto& [field, out] : cases) {
    if (out != nullptr) {
      EXPECT_EQ(show(field), out) << field;
    }
  }
  EXPECT_EQ(show(std::begin(cases)[std::size(cases) - 1].first), "a=b path=/" + std::string(1023, 'x'));
  EXPECT_EQ(show(std::string("a=b\0c", 5)), "ignored");
  EXPECT_NE(show("a=" + std::string(4095, 'x')), "ignored");
  EXPECT_EQ(show("a=" + std::string(4096, 'x')), "ignored");
}

TEST(Cookie, dates_in_all_forms) {
  const chrono::sys_seconds t = chrono::sys_days(chrono::year(1994) / 11 / 6) + 8h + 49min + 37s;
  for (const char* good :
       {"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994",
        "6 november 94 8:49:37", "08:49:37x 1994 Nov 6", "Nov/6/1994/08:49:37", "1994y 06 Nov 8:49:37"}) {
    EXPECT_EQ(parse_cookie_date(good), t) << good;
  }
  EXPECT_EQ(parse_cookie_date("1 Jan 69 0:0:0"), chrono::sys_days(chrono::year(2069) / 1 / 1));
  EXPECT_EQ(parse_cookie_date("1 Jan 70 0:0:0"), chrono::sys_days(chrono::year(1970) / 1 / 1));
  EXPECT_EQ(parse_cookie_date("29 Feb 2024 0:0:0"), chrono::sys_days(chrono::year(2024) / 2 / 29));
  for (const char* bad :
       {"", "x", "06 Nov 1994", "Nov 1994 08:49:37", "06 1994 08:49:37", "06 Nov 08:49:37", "32 Nov 1994 08:49:37",
        "00 Nov 1994 08:49:37", "31 Nov 1994 08:49:37", "29 Feb 2023 0:0:0", "06 Nov 1600 08:49:37",
        "06 Nov 1994 24:00:00", "06 Nov 1994 08:60:00", "06 Nov 1994 08:00:60", "06 Nov 19940 08:49:37",
        "06 Nov 1994 108:49:37", "06 Nov 1994 08:49:370", "06 Nov 1994 08:49"}) {
    EXPECT_EQ(parse_cookie_date(bad), std::nullopt) << bad;
  }
}

TEST(Cookie, what_is_written_is_read_back) {
  Cookie c{.name = "__Secure-n", .value = "v", .domain = "Example.com", .path = "/p"};
  c.expires = chrono::sys_days(chrono::year(2030) / 2 / 28) + 1s;
  c.max_age = 7s;
  c.secure = true;
  c.same_site = SameSite::kNone;
  c.partitioned = true;
  EXPECT_EQ(show(format_set_cookie(c).value()),
            "__Secure-n=v domain=example.com path=/p age=7 expires=1898467201 secure http none part");
}

}  // namespace
}  // namespace heddle::http::test
