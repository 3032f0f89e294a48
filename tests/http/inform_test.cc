// Informational responses: what a handler may send before its own, and what a client is told.
#include <string>
#include <vector>

#include "client_test_util.h"
#include "raw_ask.h"

namespace heddle::http::test {
namespace {

std::string without_date(std::string text) {
  for (std::size_t at = text.find("Date: "); at != std::string::npos; at = text.find("Date: ")) text.erase(at, 37);
  return text;
}

std::string raw(const Handler& handler, std::string_view bytes) {
  std::string text;
  on_one_p([&] {
    Rig rig(handler);
    rig.stream.send(bytes);
    rig.stream.settle();
    text = rig.stream.written();
  });
  return without_date(text);
}

const Handler kHints = [](Request&, ResponseWriter& w) {
  EXPECT_TRUE(w.inform(103, {{"Link", "</a.css>; rel=preload"}, {"Link", "</b.js>; rel=preload"}}));
  EXPECT_TRUE(w.inform(102));
  w.set_header("X", "1");
  w.write("hi");
};
constexpr std::string_view kHinted =
    "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nLink: </b.js>; rel=preload\r\n\r\n"
    "HTTP/1.1 102 Processing\r\n\r\n"
    "HTTP/1.1 200 OK\r\nX: 1\r\nContent-Length: 2\r\n\r\nhi";

TEST(Inform, comes_before_the_response_of_its_request) {
  EXPECT_EQ(raw(kHints, get()), kHinted);
  EXPECT_EQ(raw(kHints, get() + get()), std::string(kHinted) + std::string(kHinted));
  const Handler only_first = [](Request& r, ResponseWriter& w) {
    if (r.path() == "/hint") static_cast<void>(w.inform(103));
    w.write("-");
  };
  // Pipelined, behind a response that still waits to be sent.
  EXPECT_EQ(raw(only_first, get() + "GET /hint HTTP/1.1\r\nHost: a\r\n\r\n"),
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n-HTTP/1.1 103 Early Hints\r\n\r\n"
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n-");
}

TEST(Inform, is_sent_at_once) {
  on_one_p([] {
    Chan<Done> go_on = make_chan<Done>();
    Rig rig([go_on](Request&, ResponseWriter& w) {
      static_cast<void>(w.inform(103, {{"Link", "</a>"}}));
      static_cast<void>(go_on.recv());
    });
    rig.stream.send(get());
    rig.stream.settle();
    EXPECT_EQ(rig.stream.written(), "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
    go_on.close();
    rig.stream.settle();
    EXPECT_EQ(rig.responses(), (std::vector<std::string>{"103", "200 cl=0 []"}));
  });
}

TEST(Inform, refuses_what_would_break_a_client) {
  const Handler handler = [](Request&, ResponseWriter& w) {
    for (const int code : {-1, 0, 99, 101, 200, 304, 1000})
      EXPECT_EQ(w.inform(code).error().code, Code::kInvalid) << code;
    EXPECT_EQ(w.inform(103, {{"a b", "1"}}).error().code, Code::kInvalid);
    EXPECT_EQ(w.inform(103, {{"A", "1\r\nB: 2"}}).error().code, Code::kInvalid);
    for (const char* name : {"Content-Length", "transfer-encoding", "Connection", "Trailer", "Date", "Upgrade"})
      EXPECT_EQ(w.inform(103, {{name, "1"}}).error().code, Code::kUnsupported) << name;
    const std::string long_value(kMaxResponseFields, 'a');
    EXPECT_EQ(w.inform(103, {{"A", long_value}}).error().code, Code::kLimit);
    w.write("hi");
    EXPECT_EQ(w.inform(103).error().code, Code::kInvalid);
  };
  EXPECT_EQ(raw(handler, get()), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
}

TEST(Inform, is_not_for_http_1_0) {
  const Handler handler = [](Request&, ResponseWriter& w) {
    EXPECT_EQ(w.inform(103).error().code, Code::kUnsupported);
    w.write("hi");
  };
  EXPECT_EQ(raw(handler, "GET / HTTP/1.0\r\n\r\n"),
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi");
}

TEST(Inform, a_100_of_the_handlers_is_the_only_one) {
  const Handler handler = [](Request& r, ResponseWriter& w) {
    EXPECT_TRUE(w.inform(100));
    w.write(r.read_all(100).value_or("broken"));
  };
  on_one_p([&] {
    Rig rig(handler);
    rig.stream.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    rig.stream.settle();
    EXPECT_EQ(rig.stream.written(), "HTTP/1.1 100 Continue\r\n\r\n");
    rig.stream.send("hi" + get());
    rig.stream.settle();
    EXPECT_EQ(rig.responses(), (std::vector<std::string>{"100", "200 cl=2 [hi]", "100", "200 cl=0 []"}));
  });
}

TEST(Inform, a_hint_before_a_body_that_waits_for_100_leaves_the_100) {
  const Handler handler = [](Request& r, ResponseWriter& w) {
    EXPECT_TRUE(w.inform(103));
    w.write(r.read_all(100).value_or("broken"));
  };
  on_one_p([&] {
    Rig rig(handler);
    rig.stream.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    rig.stream.settle();
    EXPECT_EQ(rig.responses(), (std::vector<std::string>{"103", "100"}));
    rig.stream.send("hi");
    rig.stream.settle();
    EXPECT_EQ(rig.responses(), (std::vector<std::string>{"103", "100", "200 cl=2 [hi]"}));
  });
}

TEST(Inform, a_handler_that_throws_after_it_still_gets_a_500) {
  const Handler handler = [](Request&, ResponseWriter& w) {
    static_cast<void>(w.inform(103));
    throw 1;
  };
  EXPECT_EQ(ask(handler, get()), (std::vector<std::string>{"103", "500 cl=26 [500 Internal Server Error\n]"}));
}

TEST(Inform, reaches_a_client_that_listens) {
  with_network([] {
    const OwnServer server(kHints);
    Client client(plain());
    std::vector<std::string> seen;
    auto trace = std::make_shared<ClientTrace>();
    trace->informational = [&](int status, HeaderList fields) {
      seen.push_back(std::to_string(status));
      for (const HeaderField f : fields) seen.back() += " " + std::string(f.name) + "=" + std::string(f.value);
    };
    ClientRequest request;
    request.url = *Url::parse(server.url("/"));
    request.trace = trace;
    Result<ClientResponse> response = client.send(request);
    ASSERT_TRUE(response);
    EXPECT_EQ(response->read_all(10).value_or("broken"), "hi");
    EXPECT_EQ(seen, (std::vector<std::string>{"103 Link=</a.css>; rel=preload Link=</b.js>; rel=preload", "102"}));
  });
}

}  // namespace
}  // namespace heddle::http::test
