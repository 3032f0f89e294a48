#include <heddle/http/auth.h>

#include <stdexcept>
#include <string>
#include <utility>

#include "http_test.h"

namespace heddle::http::test {
namespace {

TEST(Auth, secrets_are_compared_whole) {
  EXPECT_TRUE(equal_secret("", ""));
  EXPECT_TRUE(equal_secret("secret", "secret"));
  for (const char* bad : {"", "s", "secre", "secrets", "Secret", "secreT", "xxxxxx"})
    EXPECT_FALSE(equal_secret(bad, "secret")) << bad;
  EXPECT_FALSE(equal_secret(std::string_view("a\0", 2), "a"));
  EXPECT_FALSE(equal_secret("a", std::string_view("a\0", 2)));
}

std::string basic(std::string_view field) {
  const std::optional<BasicCredentials> c = parse_basic(field);
  return c ? c->user + "|" + c->password : "none";
}

TEST(Auth, basic_credentials_are_parsed) {
  EXPECT_EQ(basic("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), "Aladdin|open sesame");
  EXPECT_EQ(basic("bAsIc   dTpw"), "u|p");
  EXPECT_EQ(basic("Basic dTpwOnE="), "u|p:q");
  EXPECT_EQ(basic("Basic Og=="), "|");
  EXPECT_EQ(basic("Basic w6Q6w6Q="), "ä|ä");
  for (const char* bad : {"", "Basic", "Basic ", "Basic dQ==", "Basic dTpw=", "Basic dTpw x", "Basicd dTpw",
                          "Bearer dTpw", "Basic\tdTpw", "Basic dToK", "Basic dToA", "dTpw"}) {
    EXPECT_EQ(basic(bad), "none") << bad;
  }
}

TEST(Auth, bearer_tokens_are_parsed) {
  EXPECT_EQ(parse_bearer("Bearer abc.DEF-_~+/09=="), "abc.DEF-_~+/09==");
  EXPECT_EQ(parse_bearer("bearer  x"), "x");
  for (const char* bad : {"", "Bearer", "Bearer ", "Bearer =", "Bearer a=b", "Bearer a b", "Bearer a,b", "Bearer \"a\"",
                          "Bearer a!", "Basic a", "Bearer \x80", "Bearer a%"}) {
    EXPECT_EQ(parse_bearer(bad), std::nullopt) << bad;
  }
}

std::string ask(const Middleware& around, std::string_view fields) {
  std::string answer;
  on_one_p([&] {
    Rig rig(around([](Request&, ResponseWriter& w) { w.write("in"); }));
    rig.stream.send("GET / HTTP/1.1\r\nHost: a\r\n" + std::string(fields) + "\r\n");
    rig.stream.settle();
    answer = rig.responses().at(0);
  });
  return answer;
}

TEST(Auth, basic_lets_in_who_knows_the_password) {
  const Middleware around = basic_auth({.realm = "a \"b\"", .check = [](Request&, const BasicCredentials& c) {
                                          return c.user == "u" && equal_secret(c.password, "p");
                                        }});
  const std::string refused = R"(401 cl=17 WWW-Authenticate=Basic realm="a \"b\"", charset="UTF-8" [401 Unauthorized)"
                              "\n]";
  EXPECT_EQ(ask(around, "Authorization: Basic dTpw\r\n"), "200 cl=2 [in]");
  EXPECT_EQ(ask(around, ""), refused);
  EXPECT_EQ(ask(around, "Authorization: Basic dTpx\r\n"), refused);
  EXPECT_EQ(ask(around, "Authorization: Basic !\r\n"), refused);
  EXPECT_EQ(ask(around, "Authorization: Bearer dTpw\r\n"), refused);
  EXPECT_EQ(ask(around, "Authorization: Basic dTpw\r\nAuthorization: Basic dTpw\r\n"), refused);
}

TEST(Auth, bearer_answers_as_rfc_6750_says) {
  const Middleware around =
      bearer_auth({.realm = "r", .scope = "read write", .check = [](Request&, std::string_view token) {
                     return token == "good"   ? TokenVerdict::kGood
                            : token == "poor" ? TokenVerdict::kInsufficientScope
                                              : TokenVerdict::kInvalid;
                   }});
  auto refused = [](std::string status, std::string challenge, std::string reason) {
    return status + " cl=" + std::to_string(reason.size() + 5) + " WWW-Authenticate=Bearer realm=\"r\"" + challenge +
           " [" + status + " " + reason + "\n]";
  };
  EXPECT_EQ(ask(around, "Authorization: Bearer good\r\n"), "200 cl=2 [in]");
  EXPECT_EQ(ask(around, ""), refused("401", "", "Unauthorized"));
  EXPECT_EQ(ask(around, "Authorization: Basic dTpw\r\n"), refused("401", "", "Unauthorized"));
  EXPECT_EQ(ask(around, "Authorization: Bearer bad\r\n"), refused("401", ", error=\"invalid_token\"", "Unauthorized"));
  EXPECT_EQ(ask(around, "Authorization: Bearer a b\r\n"), refused("400", ", error=\"invalid_request\"", "Bad Request"));
  EXPECT_EQ(ask(around, "Authorization: Bearer poor\r\n"),
            refused("403", ", error=\"insufficient_scope\", scope=\"read write\"", "Forbidden"));
}

TEST(Auth, wrong_options_are_refused_at_once) {
  const auto yes = [](Request&, const BasicCredentials&) { return true; };
  const auto good = [](Request&, std::string_view) { return TokenVerdict::kGood; };
  EXPECT_THROW(static_cast<void>(basic_auth({.realm = "r", .check = nullptr})), std::invalid_argument);
  EXPECT_THROW(static_cast<void>(basic_auth({.realm = "r\n", .check = yes})), std::invalid_argument);
  EXPECT_THROW(static_cast<void>(bearer_auth({.realm = "r", .check = nullptr})), std::invalid_argument);
  for (const char* bad : {" a", "a ", "a  b", "a\"b", "a\\b", "\xc3\xa4"})
    EXPECT_THROW(static_cast<void>(bearer_auth({.realm = "r", .scope = bad, .check = good})), std::invalid_argument)
        << bad;
}

}  // namespace
}  // namespace heddle::http::test
