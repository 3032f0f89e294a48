// The client against our own server: methods, bodies both ways, contexts, hooks, what it does and does not send.
#include <heddle/core/context.h>
#include <heddle/core/semaphore.h>
#include <heddle/http/method.h>
#include <heddle/http/status.h>

#include <mutex>
#include <vector>

#include "client_test_util.h"

namespace heddle::http::test {
namespace {

/// Answers by path.
void faces(Request& request, ResponseWriter& w) {
  if (request.path() == "/hello") {
    w.set_header("Content-Type", "text/plain");
    w.write("Hello, World!");
  } else if (request.path() == "/method") {
    w.write(std::string(to_string(request.method())) + " " + std::string(request.target()));
  } else if (request.path() == "/fields") {
    std::string out;
    for (const HeaderField f : request.headers()) out += std::string(f.name) + ": " + std::string(f.value) + "\n";
    w.write(out);
  } else if (request.path() == "/echo") {
    std::byte buf[3000];
    for (;;) {
      const Result<std::size_t> n = request.read(buf);
      if (!n || *n == 0) return;
      if (!w.write(std::span(buf).first(*n)) || !w.flush()) return;
    }
  } else if (request.path() == "/length") {
    const std::optional<std::uint64_t> n = request.content_length();
    const Result<std::string> body = request.read_all(8 << 20);
    w.write((n ? std::to_string(*n) : std::string("chunked")) + " " + (body ? std::to_string(body->size()) : "broken"));
  } else if (request.path() == "/flood") {
    const std::string block(8192, 'f');
    while (w.write(block)) {
    }
  } else if (request.path() == "/refuse") {
    w.status(kStatusContentTooLarge);
    w.write("no");
  } else {
    w.status(kStatusNotFound);
  }
}

/// A body of `size` bytes that a checksum would tell from any other.
std::string pattern(std::size_t size) {
  const std::vector<std::byte> data = net::test::bytes_of(size);
  return {reinterpret_cast<const char*>(data.data()), data.size()};
}

/// A reader of a text, in pieces.
std::shared_ptr<net::Reader> reader_of(std::string text, std::size_t piece) {
  class Pieces final : public net::Reader {
   public:
    Pieces(std::string t, std::size_t p) : text_(std::move(t)), piece_(p) {}
    [[nodiscard]] Result<std::size_t> read(std::span<std::byte> buf) override {
      const std::size_t n = std::min({buf.size(), piece_, text_.size() - at_});
      std::memcpy(buf.data(), text_.data() + at_, n);
      at_ += n;
      return n;
    }

   private:
    std::string text_;
    std::size_t piece_;
    std::size_t at_ = 0;
  };
  return std::make_shared<Pieces>(std::move(text), piece);
}

TEST(Client, gets_what_the_server_has) {
  with_network([] {
    OwnServer server(faces);
    Client client(plain());
    Result<ClientResponse> response = client.get(server.url("/hello"));
    ASSERT_TRUE(response) << response.error().message();
    EXPECT_EQ(response->status(), 200);
    EXPECT_EQ(response->reason(), "OK");
    EXPECT_EQ(response->minor_version(), 1);
    EXPECT_EQ(response->header("content-TYPE"), "text/plain");
    EXPECT_EQ(response->content_length(), 13U);
    EXPECT_EQ(response->url().path(), "/hello");
    EXPECT_EQ(response->read_all(100), "Hello, World!");
    EXPECT_EQ(told(client.get(server.url("/none"))), "404 []");
    EXPECT_EQ(told(client.get(server.url("/method?a=%20b"))), "200 [GET /method?a=%20b]");
    EXPECT_EQ(told(client.send(request_to(server.url("/method"), Method::kDelete))), "200 [DELETE /method]");
    Result<ClientResponse> head = client.head({}, server.url("/hello"));
    ASSERT_TRUE(head);
    EXPECT_EQ(head->content_length(), 13U);
    EXPECT_EQ(told(std::move(head)), "200 []");
    EXPECT_EQ(server.server.stats().accepted, 1U);
    EXPECT_EQ(client.stats().open, 1U);
    EXPECT_EQ(client.stats().idle, 1U);
  });
}

TEST(Client, a_limit_on_what_is_read_is_kept) {
  with_network([] {
    OwnServer server(faces);
    Client client(plain());
    Result<ClientResponse> response = client.get(server.url("/hello"));
    ASSERT_TRUE(response);
    EXPECT_EQ(response->read_all(12).error().code, Code::kLimit);
    Result<ClientResponse> again = client.get(server.url("/hello"));
    ASSERT_TRUE(again);
    EXPECT_EQ(again->read_all(13), "Hello, World!");
  });
}

TEST(Client, bodies_go_out_whole_by_length_and_by_chunks) {
  with_network([] {
    OwnServer server(faces);
    Client client(plain());
    const std::string big = pattern(300'000);
    for (const std::size_t size :
         {std::size_t{0}, std::size_t{1}, std::size_t{16'384}, std::size_t{16'385}, big.size()}) {
      const std::string text = big.substr(0, size);
      const std::string n = std::to_string(size);
      const std::string url = server.url("/length");
      EXPECT_EQ(told(client.post({}, url, "a/b", RequestBody::bytes(text))), "200 [" + n + " " + n + "]");
      EXPECT_EQ(told(client.post({}, url, "a/b", RequestBody::stream(reader_of(text, 1000), size))),
                "200 [" + n + " " + n + "]");
      EXPECT_EQ(told(client.post({}, url, "a/b", RequestBody::stream(reader_of(text, 1000)))),
                "200 [chunked " + n + "]");
      EXPECT_EQ(told(client.post({}, server.url("/echo"), "a/b", RequestBody::stream(reader_of(text, 777)))),
                "200 [" + text + "]");
    }
    EXPECT_EQ(told(client.send(request_to(server.url("/length"), Method::kPost))), "200 [0 0]");
  });
}

TEST(Client, bodies_flow_both_ways_at_once) {
  with_network([] {
    OwnServer server(faces);
    Client client(plain());
    // The next piece of the request is sent only when the one before has come back.
    const Chan<std::string> pieces = make_chan<std::string>();
    ClientRequest request = request_to(server.url("/echo"), Method::kPost);
    request.body = RequestBody::callback([pieces](std::span<std::byte> buf) -> Result<std::size_t> {
      const std::optional<std::string> piece = pieces.recv();
      if (!piece) return std::size_t{0};
      std::memcpy(buf.data(), piece->data(), piece->size());
      return piece->size();
    });
    WaitGroup first;
    first.go([&] { pieces.send("piece 0"); });
    Result<ClientResponse> response = client.send(request);
    ASSERT_TRUE(response) << response.error().message();
    for (int i = 0; i < 20; ++i) {
      const std::string expected = "piece " + std::to_string(i);
      std::string got(expected.size(), ' ');
      EXPECT_EQ(response->read_full(std::as_writable_bytes(std::span(got))), expected.size());
      EXPECT_EQ(got, expected);
      if (i < 19) pieces.send("piece " + std::to_string(i + 1));
    }
    pieces.close();
    EXPECT_EQ(told(std::move(response)), "200 []");
    first.wait();
  });
}

TEST(Client, a_large_echo_does_not_lock_up) {
  with_network([] {
    OwnServer server(faces);
    Client client(plain());
    const std::string big = pattern(6 << 20);
    Result<ClientResponse> response = client.post({}, server.url("/echo"), "a/b", RequestBody::bytes(big));
    ASSERT_TRUE(response);
    const Result<std::string> back = response->read_all(big.size());
    ASSERT_TRUE(back);
    EXPECT_TRUE(*back == big);
  });
}

TEST(Client, the_fields_are_the_users_and_the_framing_is_ours) {
  with_network([] {
    OwnServer server(faces);
    Client client(plain());
    ClientRequest request = request_to(server.url("/fields"));
    ASSERT_TRUE(request.headers.add("X-A", "1"));
    ASSERT_TRUE(request.headers.add("x-a", "2"));
    ASSERT_TRUE(request.headers.set("Host", "other.example:81"));
    EXPECT_EQ(told(client.send(request)), "200 [Host: other.example:81\nX-A: 1\nx-a: 2\nUser-Agent: heddle\n]");
    ASSERT_TRUE(request.headers.set("X-A", "3"));
    request.headers.remove("Host");
    ASSERT_TRUE(request.headers.set("User-Agent", "mine"));
    EXPECT_EQ(told(client.send(request)), "200 [Host: " + server.address.to_string() + "\nX-A: 3\nUser-Agent: mine\n]");

    EXPECT_FALSE(request.headers.set("X", "a\r\nY: b"));
    EXPECT_FALSE(request.headers.set("X", std::string_view("a\0b", 3)));
    EXPECT_FALSE(request.headers.add("X Y", "a"));
    EXPECT_FALSE(request.headers.add("", "a"));
    for (const std::string_view name : {"Content-Length", "transfer-encoding", "Connection", "Keep-Alive", "TE",
                                        "Trailer", "Expect", "Proxy-Connection", "Proxy-Authorization"}) {
      ClientRequest bad = request_to(server.url("/fields"));
      ASSERT_TRUE(bad.headers.set(name, "1"));
      EXPECT_EQ(told(client.send(bad)), "invalid argument") << name;
    }
    ClientRequest bad = request_to(server.url("/fields"));
    ASSERT_TRUE(bad.headers.set("Host", "a b"));
    EXPECT_EQ(told(client.send(bad)), "invalid argument");
    EXPECT_EQ(told(client.send(request_to(server.url("/fields"), Method::kConnect))), "invalid argument");
    EXPECT_EQ(told(client.get("https://localhost/")), to_string(Code::kUnsupported));
    EXPECT_EQ(told(client.get("nonsense")), "invalid argument");
  });
}

TEST(Client, a_body_that_fails_at_its_source_is_never_shown_as_whole) {
  with_network([] {
    std::atomic<int> broken{0};
    {
      OwnServer server([&](Request& request, ResponseWriter& w) {
        if (!request.read_all(1 << 20)) ++broken;
        w.write("done");
      });
      Client client(plain());
      for (const std::optional<std::uint64_t> length :
           {std::optional<std::uint64_t>(100), std::optional<std::uint64_t>()}) {
        int calls = 0;
        ClientRequest request = request_to(server.url("/"), Method::kPost);
        request.body = RequestBody::callback(
            [calls](std::span<std::byte> buf) mutable -> Result<std::size_t> {
              if (++calls > 3) return std::unexpected(Error{Code::kDenied, 0, "source"});
              std::memset(buf.data(), 'x', 10);
              return 10;
            },
            length);
        EXPECT_EQ(told(client.send(request)), to_string(Code::kDenied));
      }
      ClientRequest request = request_to(server.url("/"), Method::kPut);
      request.body = RequestBody::stream(reader_of("short", 10), 6);
      EXPECT_EQ(told(client.send(request)), "end of stream");
      EXPECT_EQ(client.stats().open, 0U);
    }
    EXPECT_EQ(broken, 3);
  });
}

TEST(Client, a_context_ends_the_exchange_at_any_phase) {
  with_network([] {
    OwnServer server(faces);
    Scripted silent([](Peer& peer, int) {
      if (peer.head().find("/body") != std::string::npos) peer.say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
      peer.wait_for_end();
    });
    Client client(plain());
    // before it begins
    auto [done, cancel] = with_cancel({});
    cancel();
    EXPECT_EQ(told(client.get(done, server.url("/hello"))), to_string(Code::kCanceled));
    // while the head is awaited
    {
      auto [ctx, stop] = with_cancel({});
      WaitGroup group;
      group.go([&, &s = stop] {
        while (silent.connections == 0) sleep(1ms);
        s();
      });
      EXPECT_EQ(told(client.get(ctx, silent.url("/head"))), to_string(Code::kCanceled));
      group.wait();
    }
    // in the body
    {
      auto [ctx, stop] = with_cancel({});
      Result<ClientResponse> response = client.get(ctx, silent.url("/body"));
      ASSERT_TRUE(response);
      std::byte buf[4];
      EXPECT_EQ(response->read_full(buf), 4U);
      WaitGroup group;
      group.go([&, &s = stop] { s(); });
      EXPECT_EQ(response->read(buf).error().code, Code::kCanceled);
      EXPECT_EQ(response->read(buf).error().code, Code::kCanceled);
      group.wait();
    }
    // while the body is sent, and its source has nothing to give
    {
      auto [ctx, stop] = with_cancel({});
      const Chan<int> never = make_chan<int>();
      ClientRequest request = request_to(silent.url("/head"), Method::kPost);
      request.ctx = ctx;
      request.body = RequestBody::callback([never, stop = stop](std::span<std::byte>) -> Result<std::size_t> {
        stop();
        static_cast<void>(never.recv());
        return 0;
      });
      EXPECT_EQ(told(client.send(request)), to_string(Code::kCanceled));
      never.close();
    }
    // past a deadline
    const auto late = with_timeout({}, 20ms);
    EXPECT_EQ(told(client.get(late.ctx, silent.url("/head"))), to_string(Code::kTimeout));
    EXPECT_EQ(client.stats().open, 0U);
    // and a context that ends afterwards does nothing
    {
      auto [ctx, stop] = with_cancel({});
      EXPECT_EQ(told(client.get(ctx, server.url("/hello"))), "200 [Hello, World!]");
      stop();
      EXPECT_EQ(told(client.get({}, server.url("/hello"))), "200 [Hello, World!]");
      EXPECT_EQ(server.server.stats().accepted, 1U);
    }
  });
}

TEST(Client, a_response_that_is_dropped_frees_its_connection) {
  with_network([] {
    OwnServer server(faces);
    Client client(plain());
    {
      Result<ClientResponse> flood = client.get(server.url("/flood"));
      ASSERT_TRUE(flood);
      EXPECT_EQ(client.stats().open, 1U);
    }
    EXPECT_EQ(client.stats().open, 0U);
    Result<ClientResponse> flood = client.get(server.url("/flood"));
    ASSERT_TRUE(flood);
    flood->close();
    EXPECT_EQ(client.stats().open, 0U);
    std::byte buf[10];
    EXPECT_EQ(flood->read(buf).error().code, Code::kClosed);
    flood->close();
    // A little that is there is read away.
    Result<ClientResponse> hello = client.get(server.url("/hello"));
    ASSERT_TRUE(hello);
    hello->close();
    EXPECT_EQ(client.stats().idle, 1U);
  });
}

TEST(Client, a_response_may_outlive_its_client) {
  with_network([] {
    OwnServer server(faces);
    std::optional<ClientResponse> response;
    {
      Client client(plain());
      response.emplace(*client.post({}, server.url("/echo"), "a/b", RequestBody::bytes(pattern(100'000))));
    }
    EXPECT_EQ(response->read_all(100'000)->size(), 100'000U);
  });
}

TEST(Client, the_trace_tells_each_step_in_order) {
  with_network([] {
    OwnServer server(faces);
    Client client(plain());
    std::vector<std::string> steps;
    auto trace = std::make_shared<ClientTrace>();
    trace->get_conn = [&](std::string_view origin) { steps.emplace_back("get " + std::string(origin)); };
    trace->got_conn = [&](const ClientTrace::GotConn& c) {
      steps.emplace_back(std::string(c.reused ? "reused " : "new ") + c.remote.to_string());
    };
    trace->connect_start = [&](std::string_view at) { steps.emplace_back("connect " + std::string(at)); };
    trace->connect_done = [&](std::span<const net::DialAttempt> attempts, const Error& e) {
      steps.emplace_back("connected " + std::to_string(attempts.size()) + (e.code == Code::kOk ? "" : " failed"));
    };
    trace->wrote_head = [&] { steps.emplace_back("head"); };
    trace->wrote_request = [&](const Error& e) {
      steps.emplace_back(e.code == Code::kOk ? "request" : "request failed");
    };
    trace->first_byte = [&] { steps.emplace_back("byte"); };
    ClientRequest request = request_to(server.url("/hello"));
    request.trace = trace;
    const std::string at = server.address.to_string();
    EXPECT_EQ(told(client.send(request)), "200 [Hello, World!]");
    EXPECT_EQ(steps, (std::vector<std::string>{"get http://" + at, "connect " + at, "connected 1", "new " + at, "head",
                                               "request", "byte"}));
    steps.clear();
    EXPECT_EQ(told(client.send(request)), "200 [Hello, World!]");
    EXPECT_EQ(steps, (std::vector<std::string>{"get http://" + at, "reused " + at, "head", "request", "byte"}));
  });
}

TEST(Client, the_trace_tells_of_names_and_of_the_race_for_their_addresses) {
  with_network([] {
    OwnServer server(faces);
    Client client(plain());
    std::string names;
    std::size_t addresses = 0;
    std::vector<net::DialAttempt> attempts;
    auto trace = std::make_shared<ClientTrace>();
    trace->dns_start = [&](std::string_view host) { names += std::string(host) + " "; };
    trace->dns_done = [&](std::span<const net::Address> found, const Error& e) {
      EXPECT_EQ(e.code, Code::kOk);
      addresses = found.size();
    };
    trace->connect_done = [&](std::span<const net::DialAttempt> all, const Error& e) {
      EXPECT_EQ(e.code, Code::kOk);
      attempts.assign(all.begin(), all.end());
    };
    // A name of this machine's (RFC 6761 s6.3), which has an address in each family; the server has one of them.
    ClientRequest request = request_to("http://some.localhost:" + std::to_string(server.address.port()) + "/hello");
    request.trace = trace;
    EXPECT_EQ(told(client.send(request)), "200 [Hello, World!]");
    EXPECT_EQ(names, "some.localhost ");
    EXPECT_EQ(addresses, 2U);
    ASSERT_EQ(attempts.size(), 2U);
    EXPECT_NE(attempts[0].error.code, Code::kOk);
    EXPECT_EQ(attempts[1].error.code, Code::kOk);
  });
}

TEST(Client, many_goroutines_share_one_client) {
  with_network([] {
    OwnServer server(faces);
    ClientOptions options = plain();
    options.max_per_origin = 4;
    Client client(options);
    std::atomic<int> right{0};
    WaitGroup group;
    for (int i = 0; i < 40; ++i) {
      group.go([&, i] {
        for (int k = 0; k < 5; ++k) {
          const std::string text = "body " + std::to_string(i * 100 + k);
          if (told(client.post({}, server.url("/echo"), "a/b", RequestBody::bytes(text))) == "200 [" + text + "]")
            ++right;
        }
      });
    }
    group.wait();
    EXPECT_EQ(right, 200);
    EXPECT_LE(client.stats().open, 4U);
    EXPECT_LE(server.server.stats().accepted, 10U);
  });
}

TEST(Client, nobody_listens_there) {
  with_network([] {
    net::Listener gone = net::test::must_listen();
    const std::string url = "http://" + gone.local_address()->to_string() + "/";
    gone.close();
    Client client(plain());
    EXPECT_EQ(told(client.get(url)), to_string(Code::kRefused));
    EXPECT_EQ(client.stats().open, 0U);
  });
}

}  // namespace
}  // namespace heddle::http::test
