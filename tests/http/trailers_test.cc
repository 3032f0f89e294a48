// Trailers: those of requests, those of responses, and both ends of them on a socket.
#include <heddle/http/internal/trailer_rules.h>

#include <string>
#include <vector>

#include "client_test_util.h"
#include "raw_ask.h"

namespace heddle::http::test {
namespace {

std::string told_of(HeaderList list) {
  std::string out;
  for (const HeaderField f : list) out += "{" + std::string(f.name) + "=" + std::string(f.value) + "}";
  return out;
}

// Reads the body and tells its size and its trailers.
void tell(Request& r, ResponseWriter& w) {
  const std::string early = told_of(r.trailers());
  const Result<std::string> body = r.read_all(1 << 20);
  w.write(early + (body ? *body : "error " + body.error().message()) + told_of(r.trailers()));
  for (const HeaderField f : r.headers()) {
    if (f.name.starts_with("X-")) w.write(" in the head: " + std::string(f.name));
  }
}

/// What comes of `bytes` in one piece, and the same cut in two at each byte.
void expect_at_every_split(const Handler& handler, std::string_view bytes, const std::string& answer,
                           const ServerOptions& options = {}) {
  on_one_p([&] {
    for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
      Rig rig(handler, options);
      rig.stream.send(bytes.substr(0, cut));
      for (int i = 0; i < 4; ++i) gosched();
      rig.stream.send(bytes.substr(cut));
      const auto answered = [&] { return !rig.responses().empty() && !rig.stream.pump(); };
      ASSERT_TRUE(rig.stream.pump_until(answered));
      rig.stream.settle();
      ASSERT_EQ(rig.responses(), std::vector<std::string>{answer}) << "cut at " << cut;
    }
  });
}

constexpr std::string_view kChunkedPost = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

TEST(RequestTrailers, are_read_behind_the_body_at_every_split) {
  const struct {
    std::string_view body;
    std::string_view answer;
  } kTable[] = {
      {"2\r\nhi\r\n0\r\n\r\n", "hi"},
      {"2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n", "hi{X-Sum=7}"},
      {"0\r\nA:\r\nB: \t two words \t\r\nA: again\r\n\r\n", "{A=}{B=two words}{A=again}"},
      // What may not be a trailer is dropped, wherever it stands, and moves nothing.
      {"1\r\n!\r\n0\r\nHost: evil\r\nX-A: 1\r\nauthorization: evil\r\nCOOKIE: c\r\nX-B: 2\r\nX-Forwarded-For: "
       "e\r\n\r\n",
       "!{X-A=1}{X-B=2}"},
  };
  for (const auto& row : kTable) {
    expect_at_every_split(tell, std::string(kChunkedPost) + std::string(row.body),
                          "200 cl=" + std::to_string(row.answer.size()) + " [" + std::string(row.answer) + "]");
  }
}

TEST(RequestTrailers, have_limits) {
  ServerOptions options;
  options.max_headers = 3;
  const std::string four = "0\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\n\r\n";
  const Handler by_fault = [](Request& r, ResponseWriter&) { static_cast<void>(r.read_all(100)); };
  expect_at_every_split(by_fault, std::string(kChunkedPost) + four,
                        "431 cl=36 close [431 Request Header Fields Too Large\n]", options);
  options = {};
  options.max_framing = 50;
  const std::string flood = "0\r\nA: " + std::string(200, 'a') + "\r\n\r\n";
  EXPECT_EQ(ask(by_fault, std::string(kChunkedPost) + flood).at(0).substr(0, 3), "200");
  on_one_p([&] {
    Rig rig(by_fault, options);
    rig.stream.send(std::string(kChunkedPost) + flood);
    rig.stream.settle();
    EXPECT_EQ(rig.responses().at(0).substr(0, 3), "400");
  });
}

TEST(RequestTrailers, are_the_ones_of_their_request) {
  const std::string with = std::string(kChunkedPost) + "0\r\nX-One: 1\r\n\r\n";
  const std::string without = std::string(kChunkedPost) + "1\r\n-\r\n0\r\n\r\n";
  EXPECT_EQ(
      ask(tell, with + without + "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n!!" + with),
      (std::vector<std::string>{"200 cl=9 [{X-One=1}]", "200 cl=1 [-]", "200 cl=2 [!!]", "200 cl=9 [{X-One=1}]"}));
}

TEST(RequestTrailers, of_a_broken_body_are_not_shown) {
  const std::vector<std::string> answers = ask(tell, std::string(kChunkedPost) + "0\r\nX-A: 1\r\nbad line\r\n\r\n");
  EXPECT_EQ(answers.at(0).find("X-A"), std::string::npos) << answers.at(0);
}

const std::string kTakes = "TE: trailers\r\n";

/// All that one GET with `fields` is answered, with the Date taken out.
std::string raw(const Handler& handler, const std::string& fields, const std::string& line = "GET / HTTP/1.1") {
  std::string text;
  on_one_p([&] {
    Rig rig(handler);
    rig.stream.send(line + "\r\nHost: a\r\n" + fields + "\r\n");
    rig.stream.settle();
    text = rig.stream.written();
  });
  if (const std::size_t at = text.find("Date: "); at != std::string::npos) text.erase(at, 37);
  return text;
}

TEST(ResponseTrailers, follow_a_chunked_body_for_who_takes_them) {
  const Handler declared = [](Request&, ResponseWriter& w) {
    EXPECT_TRUE(w.declare_trailer("Sum"));
    EXPECT_TRUE(w.declare_trailer("sum"));
    EXPECT_TRUE(w.write("hi"));
    EXPECT_TRUE(w.set_trailer("Sum", "6"));
    EXPECT_TRUE(w.set_trailer("sum", "7"));
    EXPECT_TRUE(w.set_trailer("Late", "yes"));
  };
  EXPECT_EQ(raw(declared, "TE: deflate;q=0.5 , Trailers\r\n"),
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Sum\r\n\r\n2\r\nhi\r\n0\r\nsum: 7\r\nLate: "
            "yes\r\n\r\n");
  EXPECT_EQ(raw(declared, kTakes, "HEAD / HTTP/1.1"),
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Sum\r\n\r\n");
  const Handler set_first = [](Request&, ResponseWriter& w) {
    static_cast<void>(w.set_trailer("A", "1"));
    static_cast<void>(w.write("hi"));
    static_cast<void>(w.flush());
    static_cast<void>(w.set_trailer("B", "2"));
  };
  for (const std::string& te : {kTakes, std::string()}) {
    EXPECT_EQ(
        raw(set_first, te),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n2\r\nhi\r\n0\r\nA: 1\r\nB: 2\r\n\r\n");
  }
  EXPECT_EQ(raw(set_first, kTakes, "GET / HTTP/1.0"), "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhi");
  const Handler empty = [](Request&, ResponseWriter& w) { static_cast<void>(w.set_trailer("A", "1")); };
  EXPECT_EQ(raw(empty, kTakes), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n0\r\nA: 1\r\n\r\n");
}

TEST(ResponseTrailers, are_left_out_where_there_is_no_place_for_them) {
  const Handler measured = [](Request&, ResponseWriter& w) {
    w.set_header("Content-Length", "2");
    EXPECT_TRUE(w.set_trailer("A", "1"));
    w.write("hi");
    EXPECT_EQ(w.set_trailer("B", "1").error().code, Code::kUnsupported);
  };
  EXPECT_EQ(raw(measured, kTakes), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
  const Handler nothing = [](Request&, ResponseWriter& w) {
    w.status(204);
    EXPECT_TRUE(w.set_trailer("A", "1"));
  };
  EXPECT_EQ(raw(nothing, kTakes), "HTTP/1.1 204 No Content\r\n\r\n");
  const Handler fails = [](Request&, ResponseWriter& w) {
    static_cast<void>(w.set_trailer("A", "1"));
    throw 1;
  };
  EXPECT_EQ(ask(fails, get(kTakes)).at(0).substr(0, 10), "500 cl=26 ");
}

TEST(ResponseTrailers, that_may_not_be_are_refused) {
  const Handler handler = [](Request&, ResponseWriter& w) {
    EXPECT_TRUE(w.takes_trailers());
    for (const char* name : {"Transfer-Encoding", "content-length", "Host", "TRAILER", "Authorization", "Set-Cookie",
                             "Cache-Control", "Content-Encoding", "content-type", "Location", "X-Forwarded-For"}) {
      EXPECT_EQ(w.declare_trailer(name).error().code, Code::kUnsupported) << name;
      EXPECT_EQ(w.set_trailer(name, "1").error().code, Code::kUnsupported) << name;
    }
    for (const char* name : {"", "a b", "a:", "a\r\nb"})
      EXPECT_EQ(w.set_trailer(name, "1").error().code, Code::kInvalid);
    for (const char* value : {"a\r\nb: c", " a", "a\n", "\x01"})
      EXPECT_EQ(w.set_trailer("A", value).error().code, Code::kInvalid);
    EXPECT_EQ(w.declare_trailer(std::string(600, 'a')).error().code, Code::kLimit);
    EXPECT_EQ(w.set_trailer("A", std::string(5000, 'a')).error().code, Code::kLimit);
    w.write("hi");
    EXPECT_EQ(w.declare_trailer("B").error().code, Code::kInvalid);
  };
  EXPECT_EQ(raw(handler, kTakes),
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n2\r\nhi\r\n0\r\n\r\n");
  const Handler untold = [](Request&, ResponseWriter& w) {
    EXPECT_FALSE(w.takes_trailers());
    EXPECT_TRUE(w.declare_trailer("A"));
    w.write("hi");
    EXPECT_TRUE(w.set_trailer("A", "1"));
  };
  EXPECT_EQ(raw(untold, "TE: gzip\r\n"),
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n2\r\nhi\r\n0\r\nA: 1\r\n\r\n");
}

TEST(ResponseTrailers, a_long_body_and_long_names_fit_together) {
  for (std::size_t size = 15'000; size < 16'400; size += 13) {
    const Handler handler = [size](Request&, ResponseWriter& w) {
      EXPECT_TRUE(w.declare_trailer(std::string(kMaxTrailerNames - 2, 'n')));
      for (std::size_t i = 0; i < size; i += 100)
        EXPECT_TRUE(w.write(std::string(std::min<std::size_t>(100, size - i), 'z')));
      EXPECT_TRUE(w.set_trailer("Sum", std::string(4000, 's')));
    };
    std::vector<std::string> all;
    on_one_p([&] {
      Rig rig(handler);
      rig.stream.send(get(kTakes));
      rig.stream.settle();
      const std::string text = rig.stream.written();
      EXPECT_EQ(std::ranges::count(text, 'z'), static_cast<std::ptrdiff_t>(size));
      EXPECT_TRUE(text.ends_with("ss\r\n\r\n")) << size;
    });
  }
}

TEST(ResponseTrailers, are_rewound_with_the_rest) {
  const Handler handler = [](Request&, ResponseWriter& w) {
    static_cast<void>(w.set_trailer("Kept", "1"));
    const ResponseWriter::Mark mark = w.mark();
    static_cast<void>(w.set_trailer("Lost", "1"));
    w.write("gone");
    EXPECT_TRUE(w.rewind(mark));
    w.write("hi");
  };
  EXPECT_EQ(raw(handler, kTakes),
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Kept\r\n\r\n2\r\nhi\r\n0\r\nKept: 1\r\n\r\n");
}

TEST(Trailers, go_both_ways_between_our_ends) {
  with_network([] {
    const OwnServer server([](Request& r, ResponseWriter& w) {
      EXPECT_EQ(r.header("Trailer"), "Sum, Count");
      static_cast<void>(w.declare_trailer("Seen"));
      const Result<std::string> body = r.read_all(1 << 20);
      w.write(body.value_or("broken"));
      static_cast<void>(w.set_trailer("Seen", told_of(r.trailers())));
    });
    Client client(plain());
    ClientRequest request;
    request.method = Method::kPost;
    request.url = *Url::parse(server.url("/"));
    request.accept_trailers = true;
    for (int i = 0; i < 3; ++i) {
      int left = 5;
      request.body = RequestBody::callback([left](std::span<std::byte> to) mutable -> Result<std::size_t> {
                       if (left-- == 0) return 0;
                       to[0] = std::byte{'x'};
                       return 1;
                     }).with_trailers({{"Sum", "Count"}, [] {
                                         Fields f;
                                         static_cast<void>(f.set("Sum", "abc"));
                                         static_cast<void>(f.set("count", "5"));
                                         return f;
                                       }});
      Result<ClientResponse> response = client.send(request);
      ASSERT_TRUE(response) << response.error().message();
      EXPECT_TRUE(response->trailers().empty());
      EXPECT_EQ(response->read_all(100).value_or("broken"), "xxxxx");
      EXPECT_EQ(told_of(response->trailers()), "{Seen={Sum=abc}{count=5}}");
    }
    EXPECT_EQ(client.stats().open, 1U);  // one connection served all of them
  });
}

TEST(Trailers, of_a_client_are_checked) {
  with_network([] {
    std::atomic<int> whole = 0;
    const OwnServer server([&](Request& r, ResponseWriter&) { whole += r.read_all(100).has_value(); });
    Client client(plain());
    const auto send = [&](const RequestBody& body) {
      ClientRequest request;
      request.method = Method::kPost;
      request.url = *Url::parse(server.url("/"));
      request.body = body;
      const Result<ClientResponse> response = client.send(request);
      return response ? Code::kOk : response.error().code;
    };
    const auto stream = [] {
      return RequestBody::callback([](std::span<std::byte>) { return Result<std::size_t>(0); });
    };
    const auto one = [] {
      Fields f;
      static_cast<void>(f.set("A", "1"));
      return f;
    };
    EXPECT_EQ(send(RequestBody::bytes("hi").with_trailers({{"A"}, one})), Code::kInvalid);
    EXPECT_EQ(send(stream().with_trailers({{"Host"}, one})), Code::kInvalid);
    EXPECT_EQ(send(stream().with_trailers({{"a b"}, one})), Code::kInvalid);
    EXPECT_EQ(send(stream().with_trailers({{"A"}, nullptr})), Code::kInvalid);
    EXPECT_EQ(send(stream().with_trailers({{"B"}, one})), Code::kInvalid);  // not announced: cut
    EXPECT_EQ(whole, 0);
    EXPECT_EQ(send(stream().with_trailers({{"B", "a"}, one})), Code::kOk);
    EXPECT_EQ(whole, 1);
  });
}

}  // namespace
}  // namespace heddle::http::test
