#include <heddle/http/mux.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <heddle/http/status.h>

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
  EXPECT_EQ(ask("PUT /both"), std::vector<std::string>{"405 cl=23 Allow=GET, HEAD, POST [405 method not allowed\n]"});
  EXPECT_EQ(ask("HEAD /only", "h"), std::vector<std::string>{"405 cl=23 Allow=POST"});
}

// Whoever may GET "/a/" by way of "/a" is told so, and not that there is nothing.
TEST(Mux, allows_what_the_slash_would_lead_to) {
  Mux mux;
  for (const char* p : {"GET /below/", "PUT /end/{$}", "GET /end", "POST /rest/{x...}", "GET /one/{x}/", "DELETE /"}) {
    mux.handle(p, [](Request&, ResponseWriter&) {});
  }
  const auto allow = [&](std::string_view line) {
    std::string said;
    on_one_p([&] {
      Rig rig(mux);
      rig.stream.send(std::string(line) + " HTTP/1.1\r\nHost: a\r\n\r\n");
      rig.stream.settle();
      said = rig.stream.written();
    });
    const std::size_t at = said.find("\r\nAllow: ");
    return said.substr(9, 3) + (at == said.npos ? "" : said.substr(at + 8, said.find("\r\n", at + 2) - at - 8));
  };
  EXPECT_EQ(allow("POST /below"), "405 GET, HEAD, DELETE");
  EXPECT_EQ(allow("POST /below/"), "405 GET, HEAD, DELETE");
  EXPECT_EQ(allow("POST /end"), "405 GET, HEAD, PUT, DELETE");
  EXPECT_EQ(allow("POST /end/"), "405 PUT, DELETE");
  EXPECT_EQ(allow("PUT /end"), "308");
  EXPECT_EQ(allow("GET /rest"), "405 POST, DELETE");
  EXPECT_EQ(allow("POST /one/1"), "405 GET, HEAD, DELETE");
  EXPECT_EQ(allow("POST /one"), "405 DELETE");
  EXPECT_EQ(allow("POST /below/x/"), "405 GET, HEAD, DELETE");
}

// A route for tunnels made every path known, for CONNECT, and conflicted with every route of any method ("/any").
TEST(Mux, a_route_for_tunnels_is_none_for_paths) {
  on_one_p([] {
    Mux mux = example();
    mux.handle("CONNECT /", [](Request& r, ResponseWriter& w) {
      w.status(kStatusForbidden);
      w.write(r.host());
    });
    Rig rig(mux);
    rig.stream.send(
        "GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n"
        "PUT /get HTTP/1.1\r\nHost: a\r\n\r\n"
        "CONNECT b:1 HTTP/1.1\r\nHost: b\r\n\r\n");
    rig.stream.settle();
    EXPECT_EQ(rig.responses(), (std::vector<std::string>{"404 cl=19 [404 page not found\n]",
                                                         "405 cl=23 Allow=GET, HEAD [405 method not allowed\n]",
                                                         "403 cl=3 close [b:1]"}));
  });
}

TEST(Mux, refuses_wrong_patterns) {
  Mux mux = example();
  auto nothing = [](Request&, ResponseWriter&) {};
  for (const char* bad :
       {"",          "x",      "GET",      "GET ", "GET x", "get /x",   "BREW /x", "GET /get", "/any",
        "/a//b",     "//",     "/a/../b",  "/.",   "/a{b}", "/{b}c",    "/{}",     "/{1a}",    "/{a-b}",
        "/{a...}/b", "/{$}/b", "/{a}/{a}", "/a}",  "/%zz",  "host:80/", "ho st/",  "{host}/"}) {
    EXPECT_THROW(mux.handle(bad, nothing), std::invalid_argument) << bad;
  }
  EXPECT_THROW(mux.handle("/y", nullptr), std::invalid_argument);
}

// --- patterns ---

Handler named(const char* name) {
  return [name](Request& r, ResponseWriter& w) {
    std::string text = name;
    for (const char* value : {"a", "b", "rest"}) {
      if (!r.path_value(value).empty()) text += std::string(" ") + value + "=" + std::string(r.path_value(value));
    }
    w.write(text);
  };
}

// Who answers, with what: "name a=…", "404", "301 /to".
std::string route(const Mux& mux, std::string_view line, std::string_view host = "h") {
  std::string said;
  on_one_p([&] {
    Rig rig(mux);
    rig.stream.send(std::string(line) + " HTTP/1.1\r\nHost: " + std::string(host) + "\r\n\r\n");
    rig.stream.settle();
    said = rig.stream.written();
  });
  const std::string status = said.substr(9, 3);
  if (const std::size_t at = said.find("\r\nLocation: "); at != said.npos) {
    return status + said.substr(at + 11, said.find("\r\n", at + 2) - at - 11);
  }
  return status == "200" ? said.substr(said.find("\r\n\r\n") + 4) : status;
}

TEST(Mux, names_stand_for_segments_and_rests) {
  Mux mux;
  mux.handle("GET /u/{a}", named("one"));
  mux.handle("GET /u/{a}/x/{b}", named("two"));
  mux.handle("GET /f/{rest...}", named("rest"));
  mux.handle("GET /d/", named("below"));
  mux.handle("GET /e/{$}", named("end"));
  EXPECT_EQ(route(mux, "GET /u/1"), "one a=1");
  EXPECT_EQ(route(mux, "GET /u/a%20b"), "one a=a b");
  EXPECT_EQ(route(mux, "GET /u/a%2Fb"), "one a=a/b");  // an escaped slash is no boundary
  EXPECT_EQ(route(mux, "GET /u/%252F"), "one a=%2F");  // decoded once
  EXPECT_EQ(route(mux, "GET /%75/1?x=/y"), "one a=1");
  EXPECT_EQ(route(mux, "GET /u/1/x/2"), "two a=1 b=2");
  EXPECT_EQ(route(mux, "GET /u/1/y/2"), "404");
  EXPECT_EQ(route(mux, "GET /u/"), "404");
  EXPECT_EQ(route(mux, "GET /u/1/"), "404");
  EXPECT_EQ(route(mux, "GET /f/"), "rest");
  EXPECT_EQ(route(mux, "GET /f/a/b%2fc/"), "rest rest=a/b/c/");
  EXPECT_EQ(route(mux, "GET /f"), "301 /f/");
  EXPECT_EQ(route(mux, "GET /d/"), "below");
  EXPECT_EQ(route(mux, "GET /d/x/y"), "below");
  EXPECT_EQ(route(mux, "GET /d?q=1"), "301 /d/?q=1");
  EXPECT_EQ(route(mux, "GET /e/"), "end");
  EXPECT_EQ(route(mux, "GET /e"), "301 /e/");
  EXPECT_EQ(route(mux, "GET /e/x"), "404");
}

TEST(Mux, the_more_specific_pattern_wins_in_any_order) {
  std::vector<std::string> patterns = {"/",          "/{a}",     "/a/",        "/a/{b}",
                                       "GET /a/{b}", "GET /a/b", "GET /a/b/",  "GET /a/b/{$}",
                                       "HEAD /a/b",  "h/",       "POST h/a/b", "/x/{b}/c/{rest...}"};
  for (int rotation = 0; rotation < 12; ++rotation) {
    Mux mux;
    std::rotate(patterns.begin(), patterns.begin() + 5, patterns.end());
    for (const std::string& p : patterns) {
      mux.handle(p, [p](Request& r, ResponseWriter& w) {
        EXPECT_EQ(r.pattern(), p);
        w.set_header("Location", p);  // HEAD's answer, too, tells
      });
    }
    const auto who = [&](std::string_view line, std::string_view host = "other") {
      return route(mux, line, host).substr(4);
    };
    EXPECT_EQ(who("GET /"), "/");
    EXPECT_EQ(who("GET /x/y/z"), "/");
    EXPECT_EQ(who("PUT /x"), "/{a}");
    EXPECT_EQ(who("PUT /a/"), "/a/");
    EXPECT_EQ(who("PUT /a/b/x"), "/a/");
    EXPECT_EQ(who("PUT /a/b"), "/a/{b}");
    EXPECT_EQ(who("GET /a/c"), "GET /a/{b}");
    EXPECT_EQ(who("HEAD /a/c"), "GET /a/{b}");
    EXPECT_EQ(who("GET /a/b"), "GET /a/b");
    EXPECT_EQ(who("HEAD /a/b"), "HEAD /a/b");
    EXPECT_EQ(who("GET /a/b/"), "GET /a/b/{$}");
    EXPECT_EQ(who("GET /a/b/x"), "GET /a/b/");
    EXPECT_EQ(who("PUT /x/y/c/d/e"), "/x/{b}/c/{rest...}");
    EXPECT_EQ(who("GET /a/b", "H:8080"), "h/");  // a host is more specific than none
    EXPECT_EQ(who("POST /a/b", "h"), "POST h/a/b");
  }
}

TEST(Mux, patterns_that_overlap_are_refused_with_both_names) {
  const std::vector<std::pair<const char*, const char*>> pairs = {
      {"/a/{x}", "/{y}/b"},      {"GET /a/{x}", "/a/b"},        {"/{x}", "/{y}"},   {"/a/", "/a/{rest...}"},
      {"GET /{x...}", "/a/{y}"}, {"HEAD /a/{x}", "GET /{y}/b"}, {"h/{x}", "H/{y}"}, {"/{a}/{b}/", "/x/{rest...}"},
  };
  int count = 0;
  for (const auto& [first, second] : pairs) {
    for (const bool swapped : {false, true}) {
      Mux mux;
      const std::string one = swapped ? second : first;
      const std::string two = swapped ? first : second;
      try {
        mux.handle(one, named("one"));
        mux.handle(two, named("two"));
        ADD_FAILURE() << one << " and " << two;
      } catch (const std::invalid_argument& e) {
        ++count;
        EXPECT_NE(std::string(e.what()).find(two), std::string::npos) << e.what();
      }
    }
  }
  EXPECT_EQ(count, 16);
  Mux mux;  // these do not
  for (const char* p : {"GET /a/{x}", "POST /a/b", "/a/{x}/{y...}", "/{a}/{b}", "h/{x}", "i/{y}", "HEAD /a/b"}) {
    EXPECT_NO_THROW(mux.handle(p, named(p))) << p;
  }
}

TEST(Mux, tries_the_next_best_where_a_literal_leads_nowhere) {
  Mux mux;
  mux.handle("/a/b/c", named("literal"));
  mux.handle("/a/{a}/d", named("one"));
  mux.handle("/{rest...}", named("rest"));
  EXPECT_EQ(route(mux, "GET /a/b/c"), "literal");
  EXPECT_EQ(route(mux, "GET /a/b/d"), "one a=b");
  EXPECT_EQ(route(mux, "GET /a/b/e"), "rest rest=a/b/e");
  EXPECT_EQ(route(mux, "GET /"), "rest");
}

TEST(Mux, paths_are_cleaned_by_a_redirect_that_stays_here) {
  Mux mux;
  mux.handle("/", named("root"));
  EXPECT_EQ(route(mux, "GET //a"), "301 /a");
  EXPECT_EQ(route(mux, "GET /a/../b?q"), "301 /b?q");
  EXPECT_EQ(route(mux, "GET /a/%2e%2E/b"), "301 /b");
  EXPECT_EQ(route(mux, "GET /../../etc"), "301 /etc");
  EXPECT_EQ(route(mux, "GET /a/."), "301 /a/");
  EXPECT_EQ(route(mux, "GET /a/b/.."), "301 /a/");
  EXPECT_EQ(route(mux, "POST /a//b"), "308 /a/b");
  EXPECT_EQ(route(mux, "GET //evil.example/"), "301 /evil.example/");
  EXPECT_EQ(route(mux, "GET /x/..//\\evil.example"), "301 /%5Cevil.example");  // a browser takes '\' for '/'
  EXPECT_EQ(route(mux, "GET /./%0d%0aSet-Cookie:%20a"), "301 /%0D%0ASet-Cookie:%20a");
}

TEST(Mux, the_longest_of_paths_find_their_way) {
  Mux mux;
  std::string deep, path;
  for (int i = 0; i < 40; ++i) deep += "/s" + std::to_string(i);
  mux.handle(deep + "/{a}", named("deep"));
  EXPECT_EQ(route(mux, "GET " + deep + "/x"), "deep a=x");
  EXPECT_EQ(route(mux, "GET " + deep), "404");
}

// --- middleware and groups ---

Middleware tag(const char* name) {
  return [name](Handler inner) -> Handler {
    return [name, inner = std::move(inner)](Request& r, ResponseWriter& w) {
      w.add_header("Tag", name);
      inner(r, w);
    };
  };
}

TEST(Mux, middleware_stands_around_what_is_registered_after_it) {
  Mux mux;
  mux.handle("/bare", named("bare"));
  mux.use(tag("1"));
  mux.handle("/one", named("one"));
  Mux::Group group = mux.group("/g", {tag("2"), tag("3")});
  group.handle("GET /x", named("x"));
  Mux::Group inner = group.group("/h", {tag("4")});
  inner.handle("/{a}", named("y"));
  inner.handle("/", named("z"));
  mux.handle("/after", named("after"));
  const auto tags = [&](std::string_view line) {
    std::string said;
    on_one_p([&] {
      Rig rig(mux);
      rig.stream.send(std::string(line) + " HTTP/1.1\r\nHost: h\r\n\r\n");
      rig.stream.settle();
      said = rig.stream.written();
    });
    std::string all;
    for (std::size_t at = said.find("Tag: "); at != said.npos; at = said.find("Tag: ", at + 1)) all += said[at + 5];
    return all + said.substr(said.find("\r\n\r\n") + 4);
  };
  EXPECT_EQ(tags("GET /bare"), "bare");
  EXPECT_EQ(tags("GET /one"), "1one");
  EXPECT_EQ(tags("GET /g/x"), "123x");
  EXPECT_EQ(tags("GET /g/h/v"), "1234y a=v");
  EXPECT_EQ(tags("GET /g/h/"), "1234z");
  EXPECT_EQ(tags("GET /after"), "1after");
  for (const char* bad : {"", "g", "/", "/g/", "GET /g"})
    EXPECT_THROW((void)mux.group(bad), std::invalid_argument) << bad;
  EXPECT_THROW(group.handle("x", named("x")), std::invalid_argument);
  EXPECT_THROW(group.handle("GET", named("x")), std::invalid_argument);
  EXPECT_THROW(mux.use(nullptr), std::invalid_argument);
}

TEST(Mux, copies_share_their_routes) {
  Mux mux;
  const Mux copy = mux;
  mux.handle("/a", named("a"));
  EXPECT_EQ(route(copy, "GET /a"), "a");
}

}  // namespace
}  // namespace heddle::http::test
