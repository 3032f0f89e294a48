// Tunnels through a proxy, for whoever wants one and for requests: what the proxy is asked, what it may answer, what comes
// through.
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <heddle/core/context.h>
#include <heddle/core/test.h>
#include <heddle/http/response_writer.h>
#include <heddle/http/test_upstream.h>

#include "client_test_util.h"

namespace heddle::http::test {
namespace {

const Proxy kProxy{*Url::parse("http://proxy.example:3128"), "Basic eDp5"};
const std::string kAsked =
    "CONNECT far.example:22 HTTP/1.1\r\nHost: far.example:22\r\nUser-Agent: heddle\r\n"
    "Proxy-Authorization: Basic eDp5\r\n\r\n";

/// A client that reaches scripts and nothing else, by a proxy or without one.
Client client_of(const TestUpstream& upstream, ProxyChooser proxy = {}, ClientOptions options = plain()) {
  options.dial = upstream.dialer();
  options.proxy = std::move(proxy);
  return Client(std::move(options));
}

ProxyChooser always(Proxy proxy) {
  return [proxy = std::move(proxy)](const Url&) -> Result<std::optional<Proxy>> { return proxy; };
}

std::string read_some(net::Transport& conn, std::size_t most = 100) {
  std::vector<std::byte> buf(most);
  const Result<std::size_t> n = conn.read_full(buf);
  return n ? std::string(reinterpret_cast<const char*>(buf.data()), *n) : to_string(n.error().code);
}

std::string why(const TunnelResult& tunnel) {
  if (tunnel) return "a tunnel";
  return std::string(to_string(tunnel.error().code)) +
         (tunnel.error().status != 0 ? " " + std::to_string(tunnel.error().status) : "");
}

TEST(ClientTunnel, gives_the_connection_with_the_bytes_behind_the_answer_wherever_it_is_split) {
  const std::string answer =
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 Go\r\nTransfer-Encoding: chunked\r\n\r\nSSH-2.0-far";
  heddle::test::run([&] {
    for (std::size_t cut = 0; cut < answer.size(); ++cut) {
      TestUpstream upstream(
          {Script().expect(kAsked).send_split(answer, {cut}).expect("SSH-2.0-near").send("-and-more").expect_end()});
      Client client = client_of(upstream, always(kProxy));
      TunnelResult tunnel = client.connect_tunnel({}, "Far.example:22");
      ASSERT_EQ(why(tunnel), "a tunnel") << cut;
      EXPECT_EQ(client.stats().open, 0U) << "it is not the client's";
      EXPECT_TRUE((*tunnel)->write(bytes("SSH-2.0-near")));
      EXPECT_EQ(read_some(**tunnel, 20), "SSH-2.0-far-and-more") << cut;
      (*tunnel)->close();
      EXPECT_EQ(upstream.problem(), "") << cut;
    }
  });
}

TEST(ClientTunnel, what_the_proxy_says_but_a_2xx_is_an_error_with_its_status) {
  const struct {
    std::string_view answer;
    std::string_view why;
  } rows[] = {
      {"HTTP/1.1 407 Who\r\nProxy-Authenticate: Basic realm=\"a\"\r\nContent-Length: 0\r\n\r\n",
       "permission denied 407"},
      {"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno", "connection refused 403"},
      {"HTTP/1.1 502 No\r\n\r\nwhy", "connection refused 502"},
      {"HTTP/1.1 302 There\r\nLocation: http://elsewhere/\r\n\r\n", "connection refused 302"},
      {"HTTP/1.1 299 Odd\r\n\r\n", "a tunnel"},
      {"HTTP/1.0 200 Go\r\n\r\n", "a tunnel"},
      {"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "protocol error"},
      {"SSH-2.0-proxy\r\n", "protocol error"},
      {"HTTP/1.1 200 Go\r\n", "end of stream"},
      {"", "end of stream"},
  };
  heddle::test::run([&] {
    for (const auto& row : rows) {
      TestUpstream upstream({Script().expect(kAsked).send(std::string(row.answer))});
      Client client = client_of(upstream);
      std::string seen;
      const TunnelOptions options{.proxy = kProxy, .on_answer = [&](int status, HeaderList headers) {
                                    seen = std::to_string(status) + " " +
                                           std::string(headers.find("Proxy-Authenticate").value_or(""));
                                  }};
      const TunnelResult tunnel = client.connect_tunnel({}, "far.example:22", options);
      EXPECT_EQ(why(tunnel), row.why) << row.answer;
      EXPECT_EQ(seen.empty(), !tunnel && tunnel.error().status == 0) << row.answer;
      if (row.why.ends_with("407")) {
        EXPECT_EQ(seen, "407 Basic realm=\"a\"");
      }
    }
  });
}

TEST(ClientTunnel, goes_by_the_proxy_that_is_given_or_the_one_for_https_and_never_without) {
  heddle::test::run([] {
    std::vector<std::string> asked;
    const ProxyChooser by_scheme = [&](const Url& url) -> Result<std::optional<Proxy>> {
      asked.push_back(url.to_string());
      if (url.host() == "direct.example") return std::nullopt;
      if (url.host() == "broken.example") return std::unexpected(Error{Code::kInvalid, 0, "chooser"});
      return Proxy{*Url::parse("http://configured:1"), ""};
    };
    std::vector<std::string> dialed;
    TestUpstream upstream(std::vector<Script>(2, Script().expect_until("\r\n\r\n").send("HTTP/1.1 200 Go\r\n\r\n")));
    ClientOptions options = plain();
    options.proxy = by_scheme;
    options.dial = [&, dial = upstream.dialer()](const Context& ctx, const DialTarget& target) {
      dialed.push_back(target.host + " " + std::to_string(target.port));
      return dial(ctx, target);
    };
    Client client(options);
    EXPECT_EQ(why(client.connect_tunnel({}, "[2001:DB8::1]:443", {.proxy = kProxy})), "a tunnel");
    EXPECT_TRUE(asked.empty());
    EXPECT_EQ(why(client.connect_tunnel({}, "far.example:22")), "a tunnel");
    EXPECT_EQ(why(client.connect_tunnel({}, "direct.example:443")), "not found");
    EXPECT_EQ(why(client.connect_tunnel({}, "broken.example:80")), "invalid argument");
    EXPECT_EQ(asked, (std::vector<std::string>{"https://far.example:22/", "https://direct.example/",
                                               "https://broken.example:80/"}));
    EXPECT_EQ(dialed, (std::vector<std::string>{"proxy.example 3128", "configured 1"}));
    EXPECT_EQ(why(client.connect_tunnel({}, "far.example:22", {.proxy = Proxy{*Url::parse("https://p/"), ""}})),
              "not supported");
    EXPECT_EQ(why(client.connect_tunnel({}, "far.example:22", {.proxy = Proxy{*Url::parse("http://p/"), "a\nb"}})),
              "invalid argument");
    for (const std::string_view authority : {"", "far.example", "far.example:", "far.example:0", "far.example:65536",
                                             "u@far.example:1", "far.example:1/x", ":1", "http://far.example:1"})
      EXPECT_EQ(why(client.connect_tunnel({}, authority)), "invalid argument") << authority;
    EXPECT_EQ(dialed.size(), 2U);
  });
}

TEST(ClientTunnel, fields_of_the_users_go_along_and_those_of_the_framing_do_not) {
  heddle::test::run([] {
    TestUpstream upstream({Script()
                               .expect("CONNECT far.example:22 HTTP/1.1\r\nHost: far.example:22\r\nX-Who: me\r\n"
                                       "User-Agent: mine\r\n\r\n")
                               .send("HTTP/1.1 204 Go\r\n\r\n")});
    Client client = client_of(upstream);
    TunnelOptions options{.proxy = Proxy{*Url::parse("http://p/"), ""}};
    ASSERT_TRUE(options.headers.set("X-Who", "me"));
    ASSERT_TRUE(options.headers.set("User-Agent", "mine"));
    EXPECT_EQ(why(client.connect_tunnel({}, "far.example:22", options)), "a tunnel");
    EXPECT_EQ(upstream.problem(), "");
    for (const std::string_view name : {"Content-Length", "Transfer-Encoding", "Proxy-Authorization"}) {
      TunnelOptions wrong = options;
      ASSERT_TRUE(wrong.headers.set(name, "1"));
      EXPECT_EQ(why(client.connect_tunnel({}, "far.example:22", wrong)), "invalid argument") << name;
    }
  });
}

TEST(ClientTunnel, a_silent_proxy_is_given_up_in_time_and_when_the_context_ends) {
  heddle::test::run([] {
    const Script silent = Script().expect(kAsked).send("HTTP/1.1 200 ").patience(1h).expect_end();
    TestUpstream upstream({silent, silent});
    ClientOptions options = plain();
    options.dial_timeout = 7s;
    Client client = client_of(upstream, always(kProxy), options);
    const TimePoint start = now();
    EXPECT_EQ(why(client.connect_tunnel({}, "far.example:22")), "timeout");
    EXPECT_EQ(now() - start, 7s);
    auto [ctx, cancel] = with_cancel({});
    WaitGroup group;
    group.go([&, ctx = ctx] { EXPECT_EQ(why(client.connect_tunnel(ctx, "far.example:22")), "canceled"); });
    heddle::test::wait();
    cancel();
    group.wait();
    EXPECT_EQ(why(client.connect_tunnel(ctx, "far.example:22")), "canceled") << "before it began";
  });
}

TEST(ClientTunnel, a_request_may_ask_for_one_and_shares_it_with_those_to_the_same_origin) {
  heddle::test::run([] {
    const auto by = [](std::string_view authority) {
      return Script()
          .expect("CONNECT " + std::string(authority) + " HTTP/1.1\r\n")
          .expect_until("Proxy-Authorization: Basic eDp5\r\n\r\n")
          .send("HTTP/1.1 200 Go\r\n\r\n");
    };
    const auto answer = [](Script script) {
      return script.expect("GET /a HTTP/1.1\r\n")
          .expect_until("User-Agent: heddle\r\n\r\n")
          .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nin");
    };
    TestUpstream upstream({
        answer(answer(by("one.example:80"))).expect_end(),
        answer(by("two.example:81")).expect_end(),
        Script()
            .expect("GET http://one.example/a HTTP/1.1\r\n")
            .expect_until("\r\n\r\n")
            .send("HTTP/1.1 204 N\r\n\r\n"),
        Script().expect_until("\r\n\r\n").send("HTTP/1.1 200 Go\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        Script().expect_until("\r\n\r\n").send("HTTP/1.1 407 Who\r\nContent-Length: 0\r\n\r\n"),
    });
    {
      Client client = client_of(upstream, always(kProxy));
      const auto ask = [&](std::string_view url, bool tunnel) {
        ClientRequest request = request_to(url);
        request.tunnel = tunnel;
        return told(client.send(request));
      };
      EXPECT_EQ(ask("http://one.example/a", true), "200 [in]");
      EXPECT_EQ(ask("http://one.example/a", true), "200 [in]");
      EXPECT_EQ(ask("http://two.example:81/a", true), "200 [in]");
      EXPECT_EQ(ask("http://one.example/a", false), "204 []") << "a connection that forwards is another";
      EXPECT_EQ(ask("http://early.example/a", true), "protocol error") << "an answer before there was a request";
      EXPECT_EQ(ask("http://other.example/", true), "permission denied");
    }
    EXPECT_EQ(upstream.problem(), "");
  });
}

TEST(ClientTunnel, goes_through_a_server_of_ours) {
  with_network([] {
    // An echo, in place of the connection that a proxy would make.
    const OwnServer proxy([](Request& request, ResponseWriter& w) {
      if (request.method() != Method::kConnect) return static_cast<void>(w.status(400));
      const Result<net::Transport*> tunnel = w.tunnel();
      if (!tunnel) return;
      std::vector<std::byte> buf(1000);
      for (;;) {
        const Result<std::size_t> n = (*tunnel)->read(buf);
        if (!n || *n == 0 || !(*tunnel)->write(std::span(buf).first(*n))) return;
      }
    });
    Client client(plain());
    TunnelResult tunnel =
        client.connect_tunnel({}, "far.example:22", {.proxy = Proxy{*Url::parse(proxy.url("/")), ""}});
    ASSERT_EQ(why(tunnel), "a tunnel");
    EXPECT_TRUE((*tunnel)->write(bytes("there and back")));
    EXPECT_EQ(read_some(**tunnel, 14), "there and back");
    EXPECT_TRUE((*tunnel)->close_write());
    EXPECT_EQ(read_some(**tunnel), "");
  });
}

}  // namespace
}  // namespace heddle::http::test
