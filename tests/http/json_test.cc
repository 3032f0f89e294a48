#include <heddle/http/json.h>

#include <algorithm>
#include <limits>
#include <random>
#include <stdexcept>
#include <string>

#include "http_test.h"

namespace heddle::http::test {

// As a user's type becomes JSON.
struct Point {
  int x = 0;
  int y = 0;
};
void from_json(const nlohmann::json& j, Point& p) {
  j.at("x").get_to(p.x);
  j.at("y").get_to(p.y);
  if (p.y < 0) throw std::invalid_argument("y is negative");
}

namespace {

using nlohmann::json;

// The value on one line, or why not, and where.
std::string show(const JsonResult<json>& value) {
  if (value) return value->dump();
  return std::string(to_string(value.error().error.code)) + " at " + std::to_string(value.error().at);
}

TEST(Json, text_is_held_to_the_standard) {
  EXPECT_EQ(show(parse_json(R"( {"a":[1,-2.5e3,true,null,"xä\u00e4"]} )")), R"({"a":[1,-2500.0,true,null,"xää"]})");
  EXPECT_EQ(show(parse_json("3")), "3");
  EXPECT_EQ(show(parse_json("")), "protocol error at 0");
  EXPECT_EQ(show(parse_json("{\"a\":1,}")), "protocol error at 7");
  EXPECT_EQ(show(parse_json("[1] 2")), "protocol error at 4");
  EXPECT_EQ(show(parse_json("[1,")), "protocol error at 3");
  EXPECT_EQ(show(parse_json("[01]")), "protocol error at 2");
  EXPECT_EQ(show(parse_json("[NaN]")), "protocol error at 1");
  EXPECT_EQ(show(parse_json(R"({"a":1,"a":2})")), R"({"a":2})");
  EXPECT_EQ(show(parse_json("// x\n1")), "protocol error at 0");
  EXPECT_FALSE(parse_json("\"\xff\""));
  EXPECT_FALSE(parse_json("1e999"));
  EXPECT_TRUE(parse_json("\xef\xbb\xbf[1]"));  // a byte order mark
  // The library takes a NUL for the end.
  EXPECT_EQ(show(parse_json(std::string_view("1\0", 2))), "protocol error at 1");
  EXPECT_EQ(show(parse_json(std::string_view("[1]\0 2", 6))), "protocol error at 3");
  EXPECT_EQ(show(parse_json(std::string_view("\"\0\"", 3))), "protocol error at 1");
  EXPECT_EQ(show(parse_json(std::string_view("\0", 1))), "protocol error at 0");
}

TEST(Json, depth_and_length_are_limited) {
  EXPECT_EQ(show(parse_json("[[1],{\"a\":[]}]", {.max_depth = 3})), "[[1],{\"a\":[]}]");
  EXPECT_EQ(show(parse_json("[[1],{\"a\":[]}]", {.max_depth = 2})), "limit reached at 10");
  EXPECT_EQ(show(parse_json(R"(["[[[[\"[[","]]"])", {.max_depth = 1})), R"(["[[[[\"[[","]]"])");
  EXPECT_EQ(show(parse_json("1", {.max_depth = 0})), "1");
  EXPECT_EQ(show(parse_json("[]", {.max_depth = 0})), "limit reached at 0");
  EXPECT_EQ(show(parse_json("]]]][[", {.max_depth = 2})), "protocol error at 0");
  EXPECT_EQ(show(parse_json(std::string(1 << 20, '['))), "limit reached at 64");
  EXPECT_EQ(show(parse_json("[1]", {.max_bytes = 3})), "[1]");
  EXPECT_EQ(show(parse_json("[1]", {.max_bytes = 2})), "limit reached at 0");
  EXPECT_EQ(parse_json("[1]", {.max_bytes = 2}).error().status, 413);
  EXPECT_EQ(parse_json("[1]", {.max_depth = 0}).error().status, 400);
}

TEST(Json, messages_are_short_and_printable) {
  const JsonResult<json> plain = parse_json("[1 2]");
  EXPECT_TRUE(plain.error().message.starts_with("parse error at line 1, column 4: ")) << plain.error().message;
  for (const std::string& text :
       {"\"" + std::string(100'000, 'x'), std::string("[\x01\r\n\xff]"), std::string("\"\xc3\xa4\n\"")}) {
    const JsonResult<json> bad = parse_json(text);
    ASSERT_FALSE(bad);
    EXPECT_LE(bad.error().message.size(), 200u);
    EXPECT_TRUE(std::ranges::all_of(bad.error().message, [](char c) { return c >= 0x20 && c < 0x7f; }))
        << testing::PrintToString(bad.error().message);
  }
}

std::string ask(const Handler& handler, std::string_view fields, std::string_view body) {
  std::string answer;
  on_one_p([&] {
    Rig rig(handler);
    rig.stream.send("POST / HTTP/1.1\r\nHost: a\r\n" + std::string(fields) +
                    "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string(body));
    rig.stream.settle();
    answer = rig.stream.written();
    // Whatever came, it was no exception that reached the server.
    EXPECT_EQ(rig.server.stats().handler_errors, 0u);
  });
  return answer.substr(9, 3) + " " + answer.substr(answer.find("\r\n\r\n") + 4);
}

const std::string kType = "Content-Type: application/json\r\n";

TEST(Json, comes_in_requests_and_goes_in_responses) {
  const Handler echo = [](Request& r, ResponseWriter& w) {
    w.set_header("Content-Type", "text/html");
    const JsonResult<json> value = read_json(r, {.max_bytes = 20, .max_depth = 4});
    if (!value) return static_cast<void>(answer_json_error(w, value.error()));
    EXPECT_TRUE(write_json(w, *value, kStatusCreated));
  };
  EXPECT_EQ(ask(echo, kType, "{ \"a\": [1] }"), "201 {\"a\":[1]}");
  EXPECT_EQ(ask(echo, "content-type: Application/Problem+JSON; charset=utf-8\r\n", "1"), "201 1");
  const std::string other = "415 {\"error\":\"the Content-Type is not JSON's\"}";
  EXPECT_EQ(ask(echo, "", "1"), other);
  for (const char* type : {"text/json", "application/+json", "application/jsonx", "application/", "json", ""})
    EXPECT_EQ(ask(echo, "Content-Type: " + std::string(type) + "\r\n", "1"), other) << type;
  EXPECT_EQ(ask(echo, kType + kType, "1"), other);
  EXPECT_EQ(ask(echo, kType, "\"345678901234567890123\"").substr(0, 3), "413");
  EXPECT_EQ(ask(echo, kType, "[[[[[]]]]]"), "400 {\"at\":4,\"error\":\"nested too deeply\"}");
  const std::string bad = ask(echo, kType, "[1 2]");
  EXPECT_EQ(bad.substr(0, 3), "400");
  EXPECT_EQ(json::parse(bad.substr(4))["at"], 3);
  EXPECT_EQ(ask(echo, kType, "").substr(0, 3), "400");
  EXPECT_EQ(ask(echo, kType, "1e999").substr(0, 3), "400");
}

TEST(Json, a_body_that_breaks_off_is_no_json) {
  on_one_p([] {
    Rig rig([](Request& r, ResponseWriter& w) {
      const JsonResult<json> value = read_json(r);
      ASSERT_FALSE(value);
      EXPECT_EQ(value.error().error.code, Code::kEof);
      answer_json_error(w, value.error());
    });
    rig.stream.send("POST / HTTP/1.1\r\nHost: a\r\n" + kType + "Content-Length: 3\r\n\r\n12");
    rig.stream.end();
    rig.stream.settle();
    EXPECT_EQ(rig.responses().at(0).substr(0, 3), "400");
  });
}

TEST(Json, becomes_a_type_of_the_users) {
  const Handler sum = [](Request& r, ResponseWriter& w) {
    const JsonResult<Point> p = read_json<Point>(r);
    if (!p) return static_cast<void>(answer_json_error(w, p.error()));
    w.write(std::to_string(p->x + p->y));
  };
  EXPECT_EQ(ask(sum, kType, R"({"x":1,"y":2})"), "200 3");
  EXPECT_EQ(ask(sum, kType, R"({"x":1})"), "400 {\"error\":\"key 'y' not found\"}");
  EXPECT_EQ(ask(sum, kType, R"({"x":1,"y":"2"})"), "400 {\"error\":\"type must be number, but is string\"}");
  EXPECT_EQ(ask(sum, kType, R"({"x":1,"y":-1})"), "400 {\"error\":\"y is negative\"}");
  EXPECT_EQ(ask(sum, kType, R"([1])").substr(0, 3), "400");
  EXPECT_EQ(ask(sum, kType, R"({"x":1,"y":2)").substr(0, 3), "400");
}

TEST(Json, what_json_has_not_is_replaced_when_written) {
  const Handler odd = [](Request&, ResponseWriter& w) {
    EXPECT_TRUE(write_json(w, json{{"a", "x\xff"}, {"b", std::numeric_limits<double>::infinity()}}));
    EXPECT_FALSE(write_json(w, json{}));  // too late
  };
  EXPECT_EQ(ask(odd, "", ""), "200 {\"a\":\"x\xef\xbf\xbd\",\"b\":null}");
}

// Damaged text is refused or read, and never more than that.
TEST(Json, no_damage_gets_past_as_an_exception) {
  const std::string seed = R"({"a":[1,-2.5e3,true,null,"x\u00e4\ud83d\ude00"],"b":{"c":[[]],"d":1e9}})";
  const std::string_view alphabet("[]{}\",:\\u0e-.\x00\x80\xff n", 19);
  for (unsigned round = 0; round < 5000; ++round) {
    std::minstd_rand random(round + 1);
    std::string text = seed;
    for (unsigned i = 0; i <= round % 4; ++i) {
      const std::size_t at = random() % text.size();
      switch (random() % 3) {
        case 0: text[at] = alphabet[random() % alphabet.size()]; break;
        case 1: text.erase(at, random() % 5 + 1); break;
        default: text.insert(at, random() % 9, alphabet[random() % alphabet.size()]); break;
      }
      if (text.empty()) break;
    }
    const JsonResult<json> value = parse_json(text, {.max_depth = 6});
    if (value) {
      EXPECT_TRUE(parse_json(value->dump()) == *value) << text;
    } else {
      EXPECT_EQ(value.error().status, 400);
      EXPECT_LE(value.error().at, text.size()) << text;
      EXPECT_FALSE(value.error().message.empty());
    }
  }
}

}  // namespace
}  // namespace heddle::http::test
