// Redirects, cookies, decoding, proxies: what the client does between the user's request and the one on the wire.
#include <heddle/core/mutex.h>
#include <heddle/core/test.h>
#include <heddle/http/cookie_jar.h>
#include <heddle/http/status.h>
#include <heddle/http/test_upstream.h>

#include <cstdlib>
#include <map>
#include <mutex>
#include <vector>

#include "client_test_util.h"

namespace heddle::http::test {
namespace {

/// Answers "/301?/to" with that status and Location; all else with what it was asked.
void directions(Request& request, ResponseWriter& w) {
  const std::string path(request.path());
  const int status = path.size() == 4 ? std::atoi(path.c_str() + 1) : 0;
  if (status != 0) {
    w.status(status);
    w.set_header("Location", request.query());
    w.write("elsewhere");
    return;
  }
  const Result<std::string> body = request.read_all(1 << 20);
  std::string out = std::string(to_string(request.method())) + " " + std::string(request.target());
  if (body && !body->empty()) out += " body=" + *body;
  for (const std::string_view name : {"Authorization", "Cookie", "Content-Type", "X-Mine"}) {
    if (const auto value = request.header(name)) out += " " + std::string(name) + "=" + std::string(*value);
  }
  w.write(out);
}

ClientRequest loaded(const std::string& url, Method method) {
  ClientRequest request = request_to(url, method);
  EXPECT_TRUE(request.headers.set("Authorization", "secret"));
  EXPECT_TRUE(request.headers.set("Cookie", "c=1"));
  EXPECT_TRUE(request.headers.set("X-Mine", "m"));
  if (method == Method::kPost) {
    EXPECT_TRUE(request.headers.set("Content-Type", "a/b"));
    request.body = RequestBody::bytes("data");
  }
  return request;
}

TEST(ClientRedirect, methods_and_bodies_go_on_as_the_status_says) {
  with_network([] {
    OwnServer server(directions);
    Client client(plain());
    const std::string same = " Authorization=secret Cookie=c=1";
    for (const int status : {301, 302, 303}) {
      const std::string url = server.url("/" + std::to_string(status) + "?/to");
      EXPECT_EQ(told(client.send(loaded(url, Method::kPost))), "200 [GET /to" + same + " X-Mine=m]") << status;
      EXPECT_EQ(told(client.send(loaded(url, Method::kGet))), "200 [GET /to" + same + " X-Mine=m]") << status;
      EXPECT_EQ(told(client.send(loaded(url, Method::kHead))), "200 []") << status;
    }
    for (const int status : {307, 308}) {
      const std::string url = server.url("/" + std::to_string(status) + "?/to");
      EXPECT_EQ(told(client.send(loaded(url, Method::kPost))),
                "200 [POST /to body=data" + same + " Content-Type=a/b X-Mine=m]")
          << status;
      // A body that can be sent once stays where it went.
      ClientRequest once = loaded(url, Method::kPost);
      once.body = RequestBody::callback([n = 1](std::span<std::byte>) mutable -> Result<std::size_t> { return n--; });
      EXPECT_EQ(told(client.send(once)), std::to_string(status) + " [elsewhere]");
    }
    EXPECT_EQ(told(client.get(server.url("/300?/to"))), "300 [elsewhere]");
    EXPECT_EQ(told(client.get(server.url("/304?/to"))), "304 []");
    Result<ClientResponse> relative = client.get(server.url("/302?to/there%3Fx"));
    ASSERT_TRUE(relative);
    EXPECT_EQ(relative->url().to_string(), server.url("/to/there%3Fx"));
  });
}

TEST(ClientRedirect, another_origin_gets_no_credentials_not_even_on_the_way_back) {
  with_network([] {
    OwnServer home(directions);
    OwnServer away(directions);
    Client client(plain());
    EXPECT_EQ(told(client.send(loaded(home.url("/302?" + away.url("/to")), Method::kGet))), "200 [GET /to X-Mine=m]");
    EXPECT_EQ(told(client.send(loaded(home.url("/307?" + away.url("/307?") + home.url("/to")), Method::kGet))),
              "200 [GET /to X-Mine=m]");
  });
}

TEST(ClientRedirect, a_host_of_the_users_stays_with_its_origin) {
  heddle::test::run([] {
    const auto hop = [](std::string_view host, const std::string& to) {
      return Script()
          .expect_until("Host: " + std::string(host) + "\r\n")
          .expect_until("\r\n\r\n")
          .send("HTTP/1.1 302 Found\r\nConnection: close\r\nContent-Length: 0\r\nLocation: " + to + "\r\n\r\n");
    };
    TestUpstream upstream({hop("mine.test", "/b"), hop("mine.test", "http://other.test/c"),
                           hop("other.test", "http://server.test/d"), hop("server.test", "")});
    {
      Client client = upstream.client();
      ClientRequest request = request_to(upstream.url("/a"));
      ASSERT_TRUE(request.headers.set("Host", "mine.test"));
      EXPECT_EQ(told(client.send(request)), "302 []");
    }
    EXPECT_EQ(upstream.problem(), "");
  });
}

TEST(ClientRedirect, some_are_not_followed) {
  with_network([] {
    OwnServer server(directions);
    ClientOptions options = plain();
    options.secure = [](const Context&, std::unique_ptr<net::Transport> t, const DialTarget&) {
      return Result<std::unique_ptr<net::Transport>>(std::move(t));
    };
    {
      Client client(options);
      for (const auto& [location, result] : std::vector<std::pair<std::string, std::string>>{
               {"ftp://a/", "protocol error"},
               {"javascript:x", "protocol error"},
               {"http://u:p@a/", "protocol error"},
               {"http://a b/", "protocol error"},
               {"http+unix://%2Frun%2Fdocker.sock/", to_string(Code::kDenied)},
               {"/302?/302?/302?/x", "limit reached"}}) {
        ClientOptions few = options;
        few.max_redirects = 2;
        // The target's own alphabet: what a query may not hold is put there by a script.
        Scripted script([location](Peer& peer, int) {
          while (!peer.head().empty())
            peer.say("HTTP/1.1 302 F\r\nLocation: " + location + "\r\nContent-Length: 0\r\n\r\n");
        });
        Client picky(few);
        EXPECT_EQ(told(picky.get(script.url())), result) << location;
      }
      // https, by a TLS that is none
      const std::string port = std::to_string(server.address.port());
      EXPECT_EQ(told(client.get("https://127.0.0.1:" + port + "/302?" + server.url("/to"))), to_string(Code::kDenied));
      EXPECT_EQ(told(client.get("https://127.0.0.1:" + port + "/302?/to")), "200 [GET /to]");
    }
    options.allow_downgrade = true;
    {
      Client client(options);
      const std::string port = std::to_string(server.address.port());
      EXPECT_EQ(told(client.get("https://127.0.0.1:" + port + "/302?" + server.url("/to"))), "200 [GET /to]");
    }
    options.max_redirects = 0;
    {
      Client client(options);
      EXPECT_EQ(told(client.get(server.url("/302?/to"))), "302 [elsewhere]");
    }
    options.max_redirects = 10;
    std::vector<std::string> asked;
    RedirectChoice choice = RedirectChoice::kFollow;
    options.on_redirect = [&](const Url& next, std::span<const Url> via) {
      asked.push_back(next.target() + " " + std::to_string(via.size()));
      return choice;
    };
    Client client(options);
    EXPECT_EQ(told(client.get(server.url("/302?/302?/to"))), "200 [GET /to]");
    EXPECT_EQ(asked, (std::vector<std::string>{"/302?/to 1", "/to 2"}));
    choice = RedirectChoice::kReturn;
    EXPECT_EQ(told(client.get(server.url("/302?/to"))), "302 [elsewhere]");
    choice = RedirectChoice::kFail;
    EXPECT_EQ(told(client.get(server.url("/302?/to"))), to_string(Code::kDenied));
  });
}

TEST(ClientRedirect, a_location_that_says_nothing_leads_nowhere) {
  heddle::test::run([] {
    TestUpstream upstream({Script()
                               .expect_until("\r\n\r\n")
                               .send("HTTP/1.1 302 Found\r\nLocation: \r\nContent-Length: 4\r\n\r\nhere")
                               .expect_end()});
    {
      Client client = upstream.client();
      EXPECT_EQ(told(client.get(upstream.url("/a"))), "302 [here]");
    }
    EXPECT_EQ(upstream.problem(), "");
  });
}

// RFC 9110 s15.4: what tells of a body that is not sent any more.
TEST(ClientRedirect, a_body_that_stays_behind_leaves_no_fields) {
  heddle::test::run([] {
    const std::string host = "Host: server.test\r\n";
    TestUpstream upstream({Script()
                               .expect_until("\r\n\r\nbody")
                               .send("HTTP/1.1 303 See\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n")
                               .expect("GET /b HTTP/1.1\r\n" + host + "X-Mine: m\r\nUser-Agent: heddle\r\n\r\n")
                               .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                               .expect_end()});
    {
      Client client = upstream.client({.decode = nullptr});
      ClientRequest request = request_to(upstream.url("/a"), Method::kPut);
      request.body = RequestBody::bytes("body");
      for (const std::string_view name :
           {"Content-Type", "Content-Encoding", "Content-Language", "Content-Location", "Content-Disposition",
            "Content-Range", "Content-MD5", "Digest", "Content-Digest", "Repr-Digest", "Last-Modified", "X-Mine"})
        ASSERT_TRUE(request.headers.add(name, "m"));
      EXPECT_EQ(told(client.send(request)), "200 [ok]");
    }
    EXPECT_EQ(upstream.problem(), "");
  });
}

TEST(ClientRedirect, a_fragment_is_inherited_and_never_sent) {
  with_network([] {
    OwnServer server(directions);
    Client client(plain());
    Result<ClientResponse> response = client.get(server.url("/302?/to#here"));
    ASSERT_TRUE(response);
    EXPECT_EQ(response->url().fragment(), "here");
    EXPECT_EQ(response->read_all(100), "GET /to");
  });
}

TEST(ClientCookies, the_store_is_asked_and_told_at_each_hop) {
  class Store final : public CookieStore {
   public:
    [[nodiscard]] std::string cookies_for(const Url& url) override {
      std::lock_guard guard(lock);
      return kept[url.host()];
    }
    void store(const Url& url, HeaderList headers) override {
      std::lock_guard guard(lock);
      for (const HeaderField f : headers) {
        if (equal_fold(f.name, "Set-Cookie")) kept[url.host()] = f.value;
      }
    }
    Mutex lock;
    std::map<std::string, std::string> kept;
  };
  with_network([] {
    Scripted server([](Peer& peer, int) {
      peer.head();
      peer.say("HTTP/1.1 302 Found\r\nLocation: /b\r\nSet-Cookie: id=7\r\nContent-Length: 0\r\n\r\n");
      EXPECT_NE(peer.head().find("\r\nCookie: mine=1; id=7\r\n"), std::string::npos);
      peer.ok("in");
      EXPECT_NE(peer.head().find("\r\nCookie: id=7\r\n"), std::string::npos);
      peer.ok("again");
      peer.wait_for_end();
    });
    ClientOptions options = plain();
    options.cookies = std::make_shared<Store>();
    Client client(options);
    ClientRequest request = request_to(server.url());
    ASSERT_TRUE(request.headers.set("Cookie", "mine=1"));
    EXPECT_EQ(told(client.send(request)), "200 [in]");
    EXPECT_EQ(told(client.get(server.url())), "200 [again]");
  });
}

TEST(ClientCookies, a_jar_keeps_them_by_path_and_forgets_what_expires) {
  with_network([] {
    Scripted server([](Peer& peer, int) {
      EXPECT_EQ(peer.head().find("\r\nCookie:"), std::string::npos);
      peer.say(
          "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2; Path=/in\r\nSet-Cookie: c=3; Secure\r\n"
          "Content-Length: 0\r\n\r\n");
      EXPECT_NE(peer.head().find("\r\nCookie: b=2; a=1\r\n"), std::string::npos);
      peer.say("HTTP/1.1 200 OK\r\nset-cookie: b=; Path=/in; Max-Age=0\r\nContent-Length: 0\r\n\r\n");
      EXPECT_NE(peer.head().find("\r\nCookie: a=1\r\n"), std::string::npos);
      peer.ok("x");
      peer.wait_for_end();
    });
    ClientOptions options = plain();
    const auto jar = std::make_shared<CookieJar>();
    options.cookies = jar;
    Client client(options);
    EXPECT_EQ(told(client.get(server.url())), "200 []");
    EXPECT_EQ(jar->size(), 2u);
    EXPECT_EQ(told(client.get(server.url("/in/side"))), "200 []");
    EXPECT_EQ(told(client.get(server.url("/in/side"))), "200 [x]");
  });
}

// Two services behind sockets of one machine are two hosts, whatever Host says.
TEST(ClientCookies, a_unix_sockets_cookies_go_to_no_other_socket_and_not_to_localhost) {
  heddle::test::run([] {
    TestUpstream upstream({Script()
                               .expect_until("\r\n\r\n")
                               .send("HTTP/1.1 200 OK\r\nSet-Cookie: id=7\r\nContent-Length: 0\r\n\r\n")
                               .expect_end()});
    const auto jar = std::make_shared<CookieJar>();
    {
      Client client = upstream.client({.cookies = jar});
      EXPECT_EQ(told(client.get("http+unix://%2Frun%2Fa.sock/in")), "200 []");
    }
    EXPECT_EQ(upstream.problem(), "");
    const auto goes_to = [&](std::string_view url) { return jar->cookies_for(*Url::parse(url)); };
    EXPECT_EQ(goes_to("http+unix://%2Frun%2Fa.sock/"), "id=7");
    EXPECT_EQ(goes_to("http+unix://%2Frun%2Fb.sock/"), "");
    EXPECT_EQ(goes_to("http+unix://%2Frun%2FA.sock/"), "");
    EXPECT_EQ(goes_to("http+unix://%2Frun%2Fx.a.sock/"), "");
    EXPECT_EQ(goes_to("http://localhost/"), "");
    EXPECT_EQ(goes_to("http://sock/"), "");
  });
}

/// "Decodes" by turning each byte up, and ends at a '.'.
class Upper final : public net::Reader {
 public:
  explicit Upper(net::Reader& from) : from_(from) {}
  [[nodiscard]] Result<std::size_t> read(std::span<std::byte> buf) override {
    if (ended_) return std::size_t{0};
    const Result<std::size_t> n = from_.read(buf.first(1));
    if (!n) return n;
    if (*n == 0) return std::unexpected(Error{Code::kEof, 0, "upper"});
    ended_ = static_cast<char>(buf[0]) == '.';
    if (ended_) return std::size_t{0};
    buf[0] = buf[0] & std::byte{0xdf};
    return n;
  }

 private:
  net::Reader& from_;
  bool ended_ = false;
};

TEST(ClientDecoding, a_coding_that_was_asked_for_is_undone) {
  with_network([] {
    ClientOptions options = plain();
    options.accept_encoding = "upper";
    options.decode = [](std::string_view coding, net::Reader& encoded) -> std::unique_ptr<net::Reader> {
      if (coding != "upper") return nullptr;
      return std::make_unique<Upper>(encoded);
    };
    Scripted server([](Peer& peer, int) {
      for (std::string head = peer.head(); !head.empty(); head = peer.head()) {
        const bool asked = head.find("Accept-Encoding: upper\r\n") != std::string::npos;
        const auto answer = [&](std::string_view coding, std::string_view text) {
          peer.say("HTTP/1.1 200 OK\r\nContent-Encoding: " + std::string(coding) +
                   "\r\nContent-Length: " + std::to_string(text.size()) + "\r\n\r\n" + std::string(text));
        };
        if (!asked) {
          answer("upper", "abc.");
        } else if (head.find("/cut") != std::string::npos) {
          answer("upper", "abc");
        } else if (head.find("/more") != std::string::npos) {
          answer("upper", "abc.more");
        } else if (head.find("/other") != std::string::npos) {
          answer("other", "abc.");
        } else {
          answer("upper", "abc.");
        }
      }
    });
    Client client(options);
    Result<ClientResponse> response = client.get(server.url());
    ASSERT_TRUE(response);
    EXPECT_TRUE(response->decoded());
    EXPECT_FALSE(response->header("Content-Encoding"));
    EXPECT_FALSE(response->header("Content-Length"));
    EXPECT_FALSE(response->content_length());
    EXPECT_EQ(told(std::move(response)), "200 [ABC]");
    EXPECT_EQ(client.stats().idle, 1U);
    EXPECT_EQ(told(client.get(server.url("/other"))), "200 [abc.]");
    EXPECT_EQ(told(client.get(server.url("/cut"))), "200 [ABC] then end of stream");
    EXPECT_EQ(told(client.get(server.url("/more"))), "200 [ABC] then protocol error");
    ClientRequest own = request_to(server.url());
    ASSERT_TRUE(own.headers.set("Range", "bytes=0-"));
    EXPECT_EQ(told(client.send(own)), "200 [abc.]");
    Result<ClientResponse> head = client.head({}, server.url());
    ASSERT_TRUE(head);
    EXPECT_EQ(head->content_length(), 4U);
  });
}

/// Options with one proxy for all.
ClientOptions by(const Scripted& proxy, std::string authorization = "") {
  ClientOptions options = plain();
  options.proxy = [url = *Url::parse(proxy.url()), authorization](const Url&) -> Result<std::optional<Proxy>> {
    return Proxy{url, authorization};
  };
  return options;
}

TEST(ClientProxy, plain_requests_go_in_absolute_form_and_share_connections) {
  with_network([] {
    std::vector<std::string> heads;
    {
      Scripted proxy([&](Peer& peer, int) {
        for (std::string head = peer.head(); !head.empty(); head = peer.head()) {
          heads.push_back(head);
          peer.ok("by proxy");
        }
      });
      Client client(by(proxy, "Basic eDp5"));
      EXPECT_EQ(told(client.get("http://one.example/a?b#c")), "200 [by proxy]");
      EXPECT_EQ(told(client.get("http://two.example:81/")), "200 [by proxy]");
      EXPECT_EQ(proxy.connections, 1);
    }
    const std::string rest = "User-Agent: heddle\r\nProxy-Authorization: Basic eDp5\r\n\r\n";
    EXPECT_EQ(heads,
              (std::vector<std::string>{"GET http://one.example/a?b HTTP/1.1\r\nHost: one.example\r\n" + rest,
                                        "GET http://two.example:81/ HTTP/1.1\r\nHost: two.example:81\r\n" + rest}));
  });
}

TEST(ClientProxy, https_goes_through_a_tunnel) {
  with_network([] {
    const auto serve = [](std::string_view answer) {
      return [answer](Peer& peer, int) {
        const std::string head = peer.head();
        EXPECT_EQ(head,
                  "CONNECT one.example:443 HTTP/1.1\r\nHost: one.example:443\r\nUser-Agent: heddle\r\n"
                  "Proxy-Authorization: Basic eDp5\r\n\r\n");
        peer.say(answer);
        const std::string inner = peer.head();
        if (inner.empty()) return;
        EXPECT_EQ(inner, "GET /x HTTP/1.1\r\nHost: one.example\r\nUser-Agent: heddle\r\n\r\n");
        peer.ok("inside");
        peer.wait_for_end();
      };
    };
    const auto ask = [&](std::string_view answer) {
      Scripted proxy(serve(answer));
      ClientOptions options = by(proxy, "Basic eDp5");
      std::string name;
      options.secure = [&](const Context&, std::unique_ptr<net::Transport> t, const DialTarget& target) {
        name = target.host;
        return Result<std::unique_ptr<net::Transport>>(std::move(t));
      };
      Client client(options);
      std::string result = told(client.get("https://one.example/x"));
      EXPECT_EQ(name, result.starts_with("200") ? "one.example" : "");
      return result;
    };
    EXPECT_EQ(ask("HTTP/1.1 200 Connected\r\n\r\n"), "200 [inside]");
    EXPECT_EQ(ask("HTTP/1.1 103 Wait\r\n\r\nHTTP/1.0 200 Connected\r\n\r\n"), "200 [inside]");
    EXPECT_EQ(ask("HTTP/1.1 200 Connected\r\nTransfer-Encoding: chunked\r\n\r\n"), "200 [inside]");
    EXPECT_EQ(ask("HTTP/1.1 407 Who\r\nContent-Length: 0\r\n\r\n"), to_string(Code::kDenied));
    EXPECT_EQ(ask("HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n"), to_string(Code::kRefused));
    EXPECT_EQ(ask("HTTP/1.1 200 Connected\r\n\r\ninjected"), "protocol error");
    EXPECT_EQ(ask("what"), "protocol error");
  });
}

std::string chosen(const ProxyChooser& choose, std::string_view url) {
  const Result<std::optional<Proxy>> proxy = choose(*Url::parse(url));
  if (!proxy) return to_string(proxy.error().code);
  if (!*proxy) return "none";
  return (*proxy)->url.to_string() + ((*proxy)->authorization.empty() ? "" : " " + (*proxy)->authorization);
}

TEST(ClientProxy, the_environment_names_proxies) {
  {
    const Variables variables({{"http_proxy", "http://proxy:3128"}, {"HTTPS_PROXY", "secure.proxy:1"}});
    const ProxyChooser choose = proxy_from_environment();
    EXPECT_EQ(chosen(choose, "http://a/"), "http://proxy:3128/");
    EXPECT_EQ(chosen(choose, "https://a/"), "http://secure.proxy:1/");
    EXPECT_EQ(chosen(choose, "http+unix://%2Fa/"), "none");
    for (const std::string_view url :
         {"http://localhost/", "http://a.localhost/", "http://127.0.0.1/", "http://127.9.9.9:80/", "https://[::1]/"})
      EXPECT_EQ(chosen(choose, url), "none") << url;
  }
  {
    const Variables variables({{"HTTP_PROXY", "http://us%40er:p%3Aw@proxy"}, {"https_proxy", "http://user@proxy"}});
    const ProxyChooser choose = proxy_from_environment();
    EXPECT_EQ(chosen(choose, "http://a/"), "http://proxy/ Basic dXNAZXI6cDp3");
    EXPECT_EQ(chosen(choose, "https://a/"), "http://proxy/ Basic dXNlcjo=");
  }
  {
    const Variables variables({{"HTTP_PROXY", "http://evil"}, {"REQUEST_METHOD", "GET"}});
    EXPECT_EQ(chosen(proxy_from_environment(), "http://a/"), "none");
  }
  {
    const Variables variables({{"http_proxy", "ftp://proxy"}, {"https_proxy", "http://a b"}});
    EXPECT_EQ(chosen(proxy_from_environment(), "http://a/"), "invalid argument");
    EXPECT_EQ(chosen(proxy_from_environment(), "https://a/"), "invalid argument");
  }
  {
    const Variables variables(
        {{"http_proxy", "proxy"},
         {"NO_PROXY", "one.example, .two.example,three:81 ,192.0.2.1,[2001:db8::1],2001:db8::2"}});
    const ProxyChooser choose = proxy_from_environment();
    for (const std::string_view url :
         {"http://one.example/", "http://ONE.example:99/", "http://x.one.example/", "http://x.two.example/",
          "http://three:81/", "http://192.0.2.1/", "http://[2001:db8::1]/", "http://[2001:db8::2]:80/"})
      EXPECT_EQ(chosen(choose, url), "none") << url;
    for (const std::string_view url : {"http://two.example/", "http://xone.example/", "http://three/",
                                       "http://192.0.2.11/", "http://one.example.org/", "http://[2001:db8::3]/"})
      EXPECT_EQ(chosen(choose, url), "http://proxy/") << url;
  }
  {
    const Variables variables(
        {{"http_proxy", "proxy"},
         {"NO_PROXY",
          "*.one.example, *.two.example:81, 10.0.0.0/8, 192.0.2.130/25, 2001:db8::/33, 2001:DB8:ffff:0:0::1,"
          "198.51.100.7/32, ::ffff:203.0.113.0/120, 8.8.8.0/33, 9.9.9.0/-1, 9.9.9.0/, 9.9.9.0/8x, /8"}});
    const ProxyChooser choose = proxy_from_environment();
    for (const std::string_view url :
         {"http://x.one.example/", "http://x.two.example:81/", "http://10.255.1.2:8080/", "http://192.0.2.128/",
          "http://192.0.2.255/", "http://[2001:db8:7fff::1]/", "http://[2001:db8:ffff::1]/", "http://198.51.100.7/",
          "http://[::ffff:10.1.2.3]/", "http://203.0.113.9/", "http://[::ffff:127.0.0.1]/"})
      EXPECT_EQ(chosen(choose, url), "none") << url;
    for (const std::string_view url :
         {"http://one.example/", "http://x.two.example/", "http://11.0.0.1/", "http://192.0.2.127/",
          "http://[2001:db8:8000::1]/", "http://[2001:db8:ffff::2]/", "http://198.51.100.6/",
          "http://10.0.0.1.example/", "http://8.8.8.1/", "http://9.9.9.1/", "http://[::10.1.2.3]/",
          "http://203.0.114.9/"})
      EXPECT_EQ(chosen(choose, url), "http://proxy/") << url;
  }
  {
    // Of IPv6, and so nothing of IPv4, although its addresses can be written as some of IPv6.
    const Variables variables({{"http_proxy", "proxy"}, {"no_proxy", "::/0"}});
    EXPECT_EQ(chosen(proxy_from_environment(), "http://10.1.2.3/"), "http://proxy/");
    EXPECT_EQ(chosen(proxy_from_environment(), "http://[2001:db8::1]/"), "none");
  }
  {
    const Variables variables({{"http_proxy", "proxy"}, {"no_proxy", "*"}});
    EXPECT_EQ(chosen(proxy_from_environment(), "http://a/"), "none");
  }
}

}  // namespace
}  // namespace heddle::http::test
