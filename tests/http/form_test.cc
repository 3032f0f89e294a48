#include <heddle/http/form.h>

#include <string>
#include <utility>
#include <vector>

#include "http_test.h"

namespace heddle::http::test {
namespace {

// "name=value|name=value", or why not.
std::string show(const Result<FormValues>& form) {
  if (!form) return to_string(form.error().code);
  std::string out;
  for (const auto& [name, value] : *form) {
    if (!out.empty()) out += '|';
    out += name + "=" + value;
  }
  return out;
}

TEST(Form, text_is_parsed_by_the_url_standard) {
  const std::pair<std::string_view, std::string_view> cases[] = {
      {"", ""},
      {"a=1", "a=1"},
      {"a=1&b=2&a=3", "a=1|b=2|a=3"},
      {"&&a=1&&&b=2&", "a=1|b=2"},
      {"a", "a="},
      {"=", "="},
      {"=1", "=1"},
      {"a=b=c", "a=b=c"},
      {"a+b=c+d%2B", "a b=c d+"},
      {"%41%3d=%26%2561", "A==&%61"},  // decoded once
      {"a=1;b=2", "a=1;b=2"},
      {"%E4=\xff", "\xe4=\xff"},
  };
  for (const auto& [text, out] : cases) EXPECT_EQ(show(parse_form(text)), out) << text;
  EXPECT_EQ(parse_form("a=%00")->find("a"), std::string_view("\0", 1));
}

TEST(Form, broken_escapes_are_errors) {
  for (const char* bad : {"%", "a=%", "a=%4", "a=%g0", "a=%0g", "%4=a", "a=50%&b=1", "a=%%30"}) {
    EXPECT_EQ(show(parse_form(bad)), "protocol error") << bad;
  }
}

TEST(Form, limits_hold) {
  EXPECT_EQ(show(parse_form("a=1&b=2", {.max_bytes = 7, .max_pairs = 2})), "a=1|b=2");
  EXPECT_EQ(show(parse_form("a=1&b=2", {.max_bytes = 6})), "limit reached");
  EXPECT_EQ(show(parse_form("a=1&b=2", {.max_pairs = 1})), "limit reached");
  EXPECT_EQ(show(parse_form("a=1&&&&", {.max_pairs = 1})), "a=1");
}

TEST(Form, values_are_found_by_name) {
  const FormValues form = parse_form("a=1&b=2&a=3&c").value();
  EXPECT_EQ(form.find("a"), "1");
  EXPECT_EQ(form.find("c"), "");
  EXPECT_EQ(form.find("A"), std::nullopt);
  EXPECT_EQ(form.all("a"), (std::vector<std::string_view>{"1", "3"}));
  EXPECT_TRUE(form.all("x").empty());
  EXPECT_EQ(form.size(), 4u);
}

TEST(Form, every_byte_survives_encoding_and_parsing) {
  FormValues form;
  std::string bytes;
  for (int c = 0; c < 256; ++c) bytes += static_cast<char>(c);
  form.add(bytes, bytes);
  form.add("", "");
  form.add("a*-._Z9~", "x y");
  const std::string text = encode_form(form);
  EXPECT_TRUE(text.ends_with("&=&a*-._Z9%7E=x+y"));
  EXPECT_EQ(show(parse_form(text)), show(form));
}

std::string ask(std::string_view target, std::string_view type_lines, std::string_view body) {
  std::string answer;
  on_one_p([&] {
    Rig rig([](Request& r, ResponseWriter& w) {
      const Result<FormValues> form =
          r.method() == Method::kGet ? query_values(r) : read_urlencoded(r, {.max_bytes = 20});
      if (!form) w.status(status_for(form.error()));
      w.write(show(form));
    });
    rig.stream.send(std::string(body.empty() ? "GET " : "POST ") + std::string(target) + " HTTP/1.1\r\nHost: a\r\n" +
                    std::string(type_lines) + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
                    std::string(body));
    rig.stream.settle();
    answer = rig.responses().at(0);
  });
  return answer;
}

TEST(Form, comes_from_a_query_or_a_body) {
  const std::string type = "Content-Type: application/x-www-form-urlencoded\r\n";
  EXPECT_EQ(ask("/?a=1+2&b=%20", "", ""), "200 cl=9 [a=1 2|b= ]");
  EXPECT_EQ(ask("/", "", ""), "200 cl=0 []");
  EXPECT_EQ(ask("/", type, "a=1&b=2"), "200 cl=7 [a=1|b=2]");
  EXPECT_EQ(ask("/", "content-type: Application/X-WWW-Form-Urlencoded ; charset=UTF-8\r\n", "a=1"), "200 cl=3 [a=1]");
  EXPECT_EQ(ask("/", type, "a=%"), "400 cl=14 [protocol error]");
  EXPECT_EQ(ask("/", type, "a=3456789012345678901"), "413 cl=13 [limit reached]");
  EXPECT_EQ(ask("/", "", "a=1"), "415 cl=13 [not supported]");
  EXPECT_EQ(ask("/", "Content-Type: text/plain\r\n", "a=1"), "415 cl=13 [not supported]");
  EXPECT_EQ(ask("/", type + type, "a=1"), "415 cl=13 [not supported]");  // no one reading
}

}  // namespace
}  // namespace heddle::http::test
