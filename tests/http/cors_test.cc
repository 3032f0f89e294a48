#include <heddle/http/cors.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "raw_ask.h"

namespace heddle::http::test {
namespace {

const Handler kIn = [](Request&, ResponseWriter& w) { w.write("in"); };

std::string cross(const CorsOptions& options, std::string fields, std::string method = "GET") {
  return ask(cors(options)(kIn), get(fields, method)).at(0);
}

TEST(Cors, listed_origins_may_read) {
  const CorsOptions o{.origins = {"https://a.example", "http://localhost:3000"}, .expose = {"X-A", "X-B"}};
  EXPECT_EQ(
      cross(o, "Origin: https://a.example\r\n"),
      "200 cl=2 Vary=Origin Access-Control-Allow-Origin=https://a.example Access-Control-Expose-Headers=X-A, X-B [in]");
  for (const char* other : {"https://A.example", "https://a.example:443", "https://a.example.evil", "http://a.example",
                            "null", "https://a.example/", "https://a.example, http://localhost:3000"}) {
    EXPECT_EQ(cross(o, "Origin: " + std::string(other) + "\r\n"), "200 cl=2 Vary=Origin [in]") << other;
  }
  EXPECT_EQ(cross(o, ""), "200 cl=2 Vary=Origin [in]");
  EXPECT_EQ(cross(o, "Origin: https://a.example\r\nOrigin: https://a.example\r\n"), "200 cl=2 Vary=Origin [in]");
}

TEST(Cors, a_function_may_allow_more_and_credentials_name_the_origin) {
  CorsOptions o{
      .origins = {"https://c.org"},
      .allow_origin = [](std::string_view origin) { return origin.ends_with(".example") || origin == "null"; },
      .credentials = true};
  const std::string credentials = " Access-Control-Allow-Credentials=true [in]";
  EXPECT_EQ(cross(o, "Origin: https://b.example\r\n"),
            "200 cl=2 Vary=Origin Access-Control-Allow-Origin=https://b.example" + credentials);
  EXPECT_EQ(cross(o, "Origin: https://c.org\r\n"),
            "200 cl=2 Vary=Origin Access-Control-Allow-Origin=https://c.org" + credentials);
  EXPECT_EQ(cross(o, "Origin: null\r\n"), "200 cl=2 Vary=Origin [in]");
  EXPECT_EQ(cross(o, ""), "200 cl=2 Vary=Origin [in]");
  o.credentials = false;
  EXPECT_EQ(cross(o, "Origin: null\r\n"), "200 cl=2 Vary=Origin Access-Control-Allow-Origin=null [in]");
  o.origins = {"null"};
  o.allow_origin = {};
  EXPECT_EQ(cross(o, "Origin: null\r\n"), "200 cl=2 Vary=Origin Access-Control-Allow-Origin=null [in]");
  EXPECT_EQ(cross(o, "Origin: https://b.org\r\n"), "200 cl=2 Vary=Origin [in]");
}

TEST(Cors, any_origin_is_a_star_and_never_has_credentials) {
  EXPECT_EQ(cross({.origins = {"*"}}, "Origin: https://x\r\n"), "200 cl=2 Access-Control-Allow-Origin=* [in]");
  EXPECT_EQ(cross({.origins = {"*"}}, ""), "200 cl=2 [in]");
  EXPECT_EQ(cross({}, "Origin: https://x\r\n"), "200 cl=2 Vary=Origin [in]");
  EXPECT_THROW(static_cast<void>(cors({.origins = {"*"}, .credentials = true})), std::invalid_argument);
  EXPECT_THROW(static_cast<void>(cors({.origins = {"*", "https://a"}})), std::invalid_argument);
  EXPECT_THROW(static_cast<void>(cors({.origins = {"null"}, .credentials = true})), std::invalid_argument);
  EXPECT_THROW(static_cast<void>(cors({.methods = {"*"}})), std::invalid_argument);
  for (const char* bad :
       {"", "a.example", "https://", "https://a/", "https://A", "https://a b", "https://*.a", "://a", "https://u@a"})
    EXPECT_THROW(static_cast<void>(cors({.origins = {bad}})), std::invalid_argument) << bad;
  EXPECT_THROW(static_cast<void>(cors({.methods = {"A B"}})), std::invalid_argument);
  EXPECT_THROW(static_cast<void>(cors({.headers = {"A:"}})), std::invalid_argument);
  EXPECT_THROW(static_cast<void>(cors({.expose = {""}})), std::invalid_argument);
}

TEST(Cors, preflights_are_answered_and_go_no_further) {
  const CorsOptions o{.origins = {"https://a"},
                      .methods = {"PUT", "PATCH"},
                      .headers = {"X-Token", "Content-Type"},
                      .credentials = true,
                      .max_age = 60s};
  const std::string vary = " Vary=Origin Vary=Access-Control-Request-Method, Access-Control-Request-Headers";
  const std::string who = "Origin: https://a\r\n";
  auto preflight = [&](std::string fields) { return cross(o, fields, "OPTIONS"); };
  const std::string good = "204" + vary +
                           " Access-Control-Allow-Origin=https://a Access-Control-Allow-Credentials=true"
                           " Access-Control-Allow-Methods=PUT, PATCH";
  const std::string bad = "403 cl=0" + vary + " []";
  EXPECT_EQ(
      preflight(who +
                "Access-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: x-token,, content-type\r\n"),
      good + " Access-Control-Allow-Headers=x-token, content-type Access-Control-Max-Age=60");
  EXPECT_EQ(preflight(who + "Access-Control-Request-Method: POST\r\n"), good + " Access-Control-Max-Age=60");
  EXPECT_EQ(preflight("Origin: https://b\r\nAccess-Control-Request-Method: PUT\r\n"), bad);
  EXPECT_EQ(preflight(who + "Access-Control-Request-Method: DELETE\r\n"), bad);
  EXPECT_EQ(preflight(who + "Access-Control-Request-Method: put\r\n"), bad);
  EXPECT_EQ(
      preflight(who + "Access-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: x-token, x-other\r\n"),
      bad);
  // No preflights: without a method, without an origin, with another method.
  EXPECT_TRUE(preflight(who).ends_with("[in]"));
  EXPECT_TRUE(preflight("Access-Control-Request-Method: PUT\r\n").ends_with("[in]"));
  EXPECT_TRUE(cross(o, who + "Access-Control-Request-Method: PUT\r\n").ends_with("[in]"));
}

TEST(Cors, any_field_is_allowed_by_name) {
  const CorsOptions o{.origins = {"*"}, .headers = {"*"}};
  const std::string answer = cross(
      o,
      "Origin: https://a\r\nAccess-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: authorization, x\r\n",
      "OPTIONS");
  EXPECT_NE(answer.find(" Access-Control-Allow-Origin=* Access-Control-Allow-Headers=authorization, x "),
            std::string::npos)
      << answer;
  EXPECT_EQ(
      cross(o, "Origin: https://a\r\nAccess-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: a b\r\n",
            "OPTIONS")
          .substr(0, 3),
      "403");
}

TEST(Cors, handlers_may_vary_by_more) {
  const Handler more = [](Request&, ResponseWriter& w) { w.add_header("Vary", "Accept"); };
  EXPECT_EQ(ask(cors({.origins = {"https://a"}})(more), get()).at(0), "200 cl=0 Vary=Origin Vary=Accept []");
}

TEST(Cors, a_preflight_may_not_be_remembered) {
  const std::string answer = cross({.origins = {"*"}, .max_age = -1s},
                                   "Origin: https://a\r\nAccess-Control-Request-Method: GET\r\n", "OPTIONS");
  EXPECT_TRUE(answer.ends_with(" Access-Control-Allow-Origin=* Access-Control-Max-Age=0")) << answer;
}

TEST(Cors, around_a_mux_it_serves_preflights_of_its_routes) {
  Mux mux;
  mux.handle("PUT /", kIn);
  const std::string answer = ask(cors({.origins = {"https://a"}, .methods = {"PUT"}})(mux),
                                 get("Origin: https://a\r\nAccess-Control-Request-Method: PUT\r\n", "OPTIONS"))
                                 .at(0);
  EXPECT_EQ(answer.substr(0, 3), "204");
}

}  // namespace
}  // namespace heddle::http::test
