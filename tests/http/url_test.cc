// URLs as text: what is refused, what its parts are, and RFC 3986's own table of references.
#include <gtest/gtest.h>
#include <heddle/http/url.h>

#include <string>

namespace heddle::http::test {
namespace {

Url url(std::string_view text) {
  const Result<Url> parsed = Url::parse(text);
  EXPECT_TRUE(parsed) << text;
  return parsed ? *parsed : Url();
}

TEST(Url, parts_are_told_and_defaults_filled_in) {
  const Url all = url("HTTP://Example.ORG:8080/a%20b/?c=d?&/#e/f?");
  EXPECT_EQ(all.scheme(), Url::Scheme::kHttp);
  EXPECT_EQ(all.host(), "example.org");
  EXPECT_EQ(all.port(), 8080);
  EXPECT_EQ(all.path(), "/a%20b/");
  EXPECT_EQ(all.query(), "c=d?&/");
  EXPECT_EQ(all.fragment(), "e/f?");
  EXPECT_EQ(all.authority(), "example.org:8080");
  EXPECT_EQ(all.target(), "/a%20b/?c=d?&/");
  EXPECT_EQ(all.to_string(), "http://example.org:8080/a%20b/?c=d?&/#e/f?");

  EXPECT_EQ(url("https://a").port(), 443);
  EXPECT_EQ(url("https://a:443").to_string(), "https://a/");
  EXPECT_EQ(url("http://a:?").target(), "/?");
  EXPECT_EQ(url("http://a:443").authority(), "a:443");
  EXPECT_EQ(url("http://[2001:DB8::1]:81/").host(), "[2001:db8::1]");
  EXPECT_EQ(Url().to_string(), "http://localhost/");
}

TEST(Url, a_unix_socket_stands_in_the_hosts_place) {
  const Url path = url("http+unix://%2Frun%2Fmy%20app.sock/v1?x");
  EXPECT_EQ(path.unix_socket(), "/run/my app.sock");
  EXPECT_EQ(path.authority(), "localhost");
  EXPECT_EQ(path.port(), 0);
  EXPECT_EQ(path.target(), "/v1?x");
  EXPECT_EQ(path.to_string(), "http+unix://%2Frun%2Fmy%20app.sock/v1?x");
  EXPECT_EQ(url("http+unix://%40app").unix_socket(), "@app");
  EXPECT_EQ(url("http+unix://%40app%3A1").to_string(), "http+unix://%40app%3A1/");
}

TEST(Url, what_is_not_valid_is_refused) {
  for (const std::string_view text : {"",
                                      "/a",
                                      "a",
                                      "//a/b",
                                      "http:",
                                      "http:/a",
                                      "http://",
                                      "http:///a",
                                      "http://:80/",
                                      "http://a:0/",
                                      "http://a:65536/",
                                      "http://a:8x/",
                                      "http://a:-1",
                                      "http://u@a/",
                                      "http://u:p@a/",
                                      "http://a b/",
                                      "http://a/b c",
                                      "http://a/%",
                                      "http://a/%4",
                                      "http://a/%zz",
                                      "http://a/%00",
                                      "http://a/\r\nX: y",
                                      "http://a/\t",
                                      "http://a/\x7f",
                                      "http://\xc3\xa4/",
                                      "http://a/\xc3\xa4",
                                      "http://a/?\xff",
                                      "http://a/#\n",
                                      "http://a/#b#c",
                                      "http://a/\"",
                                      "http://a/<b>",
                                      "http://a/{b}",
                                      "http://a/[b]",
                                      "http://a\\b/",
                                      "http://a/b\\c",
                                      "http://[::1",
                                      "http://[::1]a/",
                                      "http://::1/",
                                      "http://a%41/",
                                      "http+unix:///a",
                                      "http+unix://a%00b/",
                                      "http+unix://a:80/",
                                      "http+unix://@a/",
                                      "ht%74p://a/",
                                      " http://a/",
                                      "http://a/ "}) {
    EXPECT_FALSE(Url::parse(text)) << text;
  }
  EXPECT_EQ(Url::parse("ftp://a/").error().code, Code::kUnsupported);
  EXPECT_EQ(Url::parse("javascript:x").error().code, Code::kUnsupported);
  EXPECT_EQ(Url::parse("http://u:secret@a/").error().code, Code::kInvalid);
  EXPECT_EQ(Url::parse("http://u:secret@a/").error().message().find("secret"), std::string::npos);
}

TEST(Url, references_resolve_as_rfc_3986_s5_4_has_it) {
  const Url base = url("http://a/b/c/d;p?q");
  const struct {
    std::string_view reference;
    std::string_view result;
  } kTable[] = {
      {"g", "http://a/b/c/g"},
      {"./g", "http://a/b/c/g"},
      {"g/", "http://a/b/c/g/"},
      {"/g", "http://a/g"},
      {"//g", "http://g/"},
      {"?y", "http://a/b/c/d;p?y"},
      {"g?y", "http://a/b/c/g?y"},
      {"#s", "http://a/b/c/d;p?q#s"},
      {"g#s", "http://a/b/c/g#s"},
      {"g?y#s", "http://a/b/c/g?y#s"},
      {";x", "http://a/b/c/;x"},
      {"g;x", "http://a/b/c/g;x"},
      {"", "http://a/b/c/d;p?q"},
      {".", "http://a/b/c/"},
      {"./", "http://a/b/c/"},
      {"..", "http://a/b/"},
      {"../", "http://a/b/"},
      {"../g", "http://a/b/g"},
      {"../..", "http://a/"},
      {"../../", "http://a/"},
      {"../../g", "http://a/g"},
      {"../../../g", "http://a/g"},
      {"../../../../g", "http://a/g"},
      {"/./g", "http://a/g"},
      {"/../g", "http://a/g"},
      {"g.", "http://a/b/c/g."},
      {".g", "http://a/b/c/.g"},
      {"g..", "http://a/b/c/g.."},
      {"..g", "http://a/b/c/..g"},
      {"./../g", "http://a/b/g"},
      {"./g/.", "http://a/b/c/g/"},
      {"g/./h", "http://a/b/c/g/h"},
      {"g/../h", "http://a/b/c/h"},
      {"g;x=1/./y", "http://a/b/c/g;x=1/y"},
      {"g;x=1/../y", "http://a/b/c/y"},
      {"g?y/./x", "http://a/b/c/g?y/./x"},
      {"g#s/../x", "http://a/b/c/g#s/../x"},
      {"https://b:8/../x", "https://b:8/x"},
      {"//b:8", "http://b:8/"},
  };
  for (const auto& row : kTable) {
    const Result<Url> result = base.resolve(row.reference);
    ASSERT_TRUE(result) << row.reference;
    EXPECT_EQ(result->to_string(), row.result) << row.reference;
  }
  EXPECT_EQ(base.resolve("http:g").error().code, Code::kInvalid);  // RFC 3986 s5.2.2, strict
  EXPECT_EQ(base.resolve("data:,x").error().code, Code::kUnsupported);
  EXPECT_FALSE(base.resolve("//u:p@b/"));
  EXPECT_FALSE(base.resolve("a b"));
  EXPECT_FALSE(base.resolve("g\r\nX: y"));
}

TEST(Url, an_origin_is_scheme_host_and_port) {
  EXPECT_TRUE(url("http://a/x").same_origin(url("HTTP://A:80/y?z")));
  EXPECT_FALSE(url("http://a/").same_origin(url("https://a/")));
  EXPECT_FALSE(url("http://a/").same_origin(url("http://a:81/")));
  EXPECT_FALSE(url("http://a/").same_origin(url("http://b.a/")));
  EXPECT_FALSE(url("http+unix://%2Fa/").same_origin(url("http+unix://%2Fb/")));
  EXPECT_FALSE(url("http+unix://%2Fa/").same_origin(url("http://localhost/")));
}

}  // namespace
}  // namespace heddle::http::test
