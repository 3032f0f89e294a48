#include <heddle/http/mux.h>

#include "http_test.h"

namespace heddle::http::test {
namespace {

Mux example() {
  Mux mux;
  mux.handle("GET /get", [](Request&, ResponseWriter& w) { w.write("get"); });
  mux.handle("POST /both", [](Request&, ResponseWriter& w) { w.write("post"); });
  mux.handle("GET /both", [](Request&, ResponseWriter& w) { w.write("get"); });
  mux.handle("/any", [](Request& r, ResponseWriter& w) { w.write(to_string(r.method())); });
  mux.handle("DELETE /any", [](Request&, ResponseWriter& w) { w.write("gone"); });
  mux.handle("POST /only", [](Request&, ResponseWriter&) {});
  return mux;
}

std::vector<std::string> ask(std::string_view line, std::string_view heads = {}) {
  std::vector<std::string> responses;
  on_one_p([&] {
    Rig rig(example());
    rig.stream.send(std::string(line) + " HTTP/1.1\r\nHost: a\r\n\r\n");
    rig.stream.settle();
    responses = rig.responses(heads);
  });
  return responses;
}

TEST(Mux, chooses_by_path_and_method) {
  EXPECT_EQ(ask("GET /get"), std::vector<std::string>{"200 cl=3 [get]"});
  EXPECT_EQ(ask("HEAD /get", "h"), std::vector<std::string>{"200 cl=3"});
  EXPECT_EQ(ask("GET /get?x"), std::vector<std::string>{"200 cl=3 [get]"});
  EXPECT_EQ(ask("GET /%67et"), std::vector<std::string>{"200 cl=3 [get]"});
  EXPECT_EQ(ask("POST /both"), std::vector<std::string>{"200 cl=4 [post]"});
  EXPECT_EQ(ask("PUT /any"), std::vector<std::string>{"200 cl=3 [PUT]"});
  EXPECT_EQ(ask("DELETE /any"), std::vector<std::string>{"200 cl=4 [gone]"});
  EXPECT_EQ(ask("OPTIONS *"), std::vector<std::string>{"200 cl=0 []"});
}

TEST(Mux, answers_404_and_405_with_allow) {
  EXPECT_EQ(ask("GET /"), std::vector<std::string>{"404 cl=19 [404 page not found\n]"});
  EXPECT_EQ(ask("GET /get/"), std::vector<std::string>{"404 cl=19 [404 page not found\n]"});
  EXPECT_EQ(ask("GET /GET"), std::vector<std::string>{"404 cl=19 [404 page not found\n]"});
  EXPECT_EQ(ask("PUT /get"), std::vector<std::string>{"405 cl=23 Allow=GET, HEAD [405 method not allowed\n]"});
  EXPECT_EQ(ask("PUT /both"), std::vector<std::string>{"405 cl=23 Allow=POST, GET, HEAD [405 method not allowed\n]"});
  EXPECT_EQ(ask("HEAD /only", "h"), std::vector<std::string>{"405 cl=23 Allow=POST"});
}

TEST(Mux, refuses_wrong_patterns) {
  Mux mux = example();
  auto nothing = [](Request&, ResponseWriter&) {};
  for (const char* bad : {"", "x", "GET", "GET ", "GET x", "get /x", "BREW /x", "GET /get", "/any"}) {
    EXPECT_THROW(mux.handle(bad, nothing), std::invalid_argument) << bad;
  }
  EXPECT_THROW(mux.handle("/y", nullptr), std::invalid_argument);
}

}  // namespace
}  // namespace heddle::http::test
