// What ends before its time: bodies that are closed or dropped half read, contexts in the middle of a write, clients before
// their responses, sources and decoders that fail or lie.
#include <heddle/core/context.h>
#include <heddle/core/test.h>
#include <heddle/http/test_upstream.h>
#include <heddle/net/memory.h>

#include <cstring>
#include <vector>

#include "client_test_util.h"

namespace heddle::http::test {
namespace {

/// Connections in memory with a server's end that a test plays itself; a writer parks after `capacity` bytes.
class MemoryServer {
 public:
  explicit MemoryServer(std::size_t capacity) : capacity_(capacity) {}

  [[nodiscard]] ClientOptions options() {
    ClientOptions options = plain();
    options.dial = [this](const Context&, const DialTarget&) -> Result<std::unique_ptr<net::Transport>> {
      auto [near, far] = net::memory_pair({.capacity = capacity_});
      ends_.send(std::make_shared<net::MemoryConn>(std::move(far)));
      return std::make_unique<net::MemoryConn>(std::move(near));
    };
    return options;
  }
  /// The next connection that was dialed.
  [[nodiscard]] std::shared_ptr<net::MemoryConn> accept() { return *ends_.recv(); }

 private:
  const std::size_t capacity_;
  const Chan<std::shared_ptr<net::MemoryConn>> ends_ = make_chan<std::shared_ptr<net::MemoryConn>>(8);
};

/// Bytes that come until the end of the stream, or an error.
std::size_t drain(net::Transport& conn) {
  std::byte buf[4096];
  std::size_t size = 0;
  for (;;) {
    const Result<std::size_t> n = conn.read(buf);
    if (!n || *n == 0) return size;
    size += *n;
  }
}

/// Gives what it is sent on a channel, and ends with it.
RequestBody body_from(const Chan<std::string>& pieces) {
  return RequestBody::callback([pieces](std::span<std::byte> buf) -> Result<std::size_t> {
    const std::optional<std::string> piece = pieces.recv();
    if (!piece) return std::size_t{0};
    std::memcpy(buf.data(), piece->data(), piece->size());
    return piece->size();
  });
}

TEST(ClientLifetime, a_body_that_was_closed_is_read_no_more) {
  with_network([] {
    const std::string_view answers[] = {
        "Content-Length: 1000000\r\n\r\nhalf",                   // too much to be read away
        "Connection: close\r\nContent-Length: 10\r\n\r\nhalf",   // of no use
        "\r\nto the end",                                        // as well
        "Content-Length: 10\r\n\r\nhalf",                        // does not come in time
        "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",       //
        "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nwhat?",  // is broken
        "Content-Length: 10\r\n\r\nhalf whole",                  // kept
        "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n\r\n",
    };
    for (const std::string_view answer : answers) {
      Scripted server([answer](Peer& peer, int) {
        peer.head();
        peer.say("HTTP/1.1 200 OK\r\n" + std::string(answer));
        peer.wait_for_end();
      });
      Client client(plain());
      for (const std::size_t first : {0U, 2U}) {
        Result<ClientResponse> response = client.get(server.url());
        ASSERT_TRUE(response) << answer;
        std::byte buf[64];
        EXPECT_EQ(response->read_full(std::span(buf).first(first)), first) << answer;
        response->close();
        EXPECT_EQ(response->read(buf).error().code, Code::kClosed) << answer;
        EXPECT_EQ(response->read_all(1000).error().code, Code::kClosed) << answer;
        response->close();
        EXPECT_EQ(client.stats().open, client.stats().idle) << answer;
        client.close_idle();
      }
    }
    Scripted server([](Peer& peer, int) {
      peer.head();
      peer.ok("all");
      peer.wait_for_end();
    });
    Client client(plain());
    Result<ClientResponse> response = client.get(server.url());
    ASSERT_TRUE(response);
    EXPECT_EQ(response->read_all(10), "all");
    response->close();
    std::byte buf[1];
    EXPECT_EQ(response->read(buf), 0U) << "it was whole before";
  });
}

TEST(ClientLifetime, a_call_that_was_called_off_gives_no_byte_that_is_there_already) {
  heddle::test::run([] {
    TestUpstream upstream(
        {Script().expect_until("\r\n\r\n").send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhere").expect_end()});
    {
      Client client = upstream.client();
      const auto [ctx, cancel] = with_cancel({});
      Result<ClientResponse> response = client.get(ctx, upstream.url());
      ASSERT_TRUE(response);
      cancel();
      EXPECT_EQ(response->read_all(10).error().code, Code::kCanceled);
      EXPECT_EQ(client.stats().open, 0U);
    }
    EXPECT_EQ(upstream.problem(), "");
  });
}

TEST(ClientLifetime, a_response_that_is_dropped_unread_gives_its_connection_back_if_all_of_it_is_there) {
  heddle::test::run([] {
    const std::string whole = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhere";
    TestUpstream upstream({Script()
                               .expect_until("\r\n\r\n")
                               .send(whole)
                               .expect_until("\r\n\r\n")
                               .send(whole.substr(0, whole.size() - 1))
                               .expect_end()});
    {
      Client client = upstream.client();
      EXPECT_TRUE(client.get(upstream.url()));
      EXPECT_EQ(client.stats().idle, 1U);
      EXPECT_TRUE(client.get(upstream.url()));
      EXPECT_EQ(client.stats().open, 0U);
    }
    EXPECT_EQ(upstream.problem(), "");
  });
}

TEST(ClientLifetime, a_context_that_ends_in_the_middle_of_a_write_ends_the_exchange) {
  with_network([] {
    MemoryServer server(1000);
    Client client(server.options());
    const std::string big(1 << 20, 'x');
    const RequestBody bodies[] = {
        RequestBody::bytes(big.substr(0, 10'000)),  // goes with the head
        RequestBody::bytes(big),
        RequestBody::callback(
            [](std::span<std::byte> buf) -> Result<std::size_t> {
              std::memset(buf.data(), 'x', buf.size());
              return buf.size();
            },
            big.size()),
        RequestBody::callback([](std::span<std::byte> buf) -> Result<std::size_t> {
          std::memset(buf.data(), 'x', buf.size());
          return buf.size();
        }),
    };
    for (const RequestBody& body : bodies) {
      auto [ctx, cancel] = with_cancel({});
      ClientRequest request = request_to("http://memory/", Method::kPut);
      request.ctx = ctx;
      request.body = body;
      std::string result;
      WaitGroup group;
      group.go([&] { result = told(client.send(request)); });
      const std::shared_ptr<net::MemoryConn> far = server.accept();
      EXPECT_NE(Peer(*far).head(), "");
      cancel();  // more is to be written than there is room for, or was read with the head
      group.wait();
      EXPECT_EQ(result, to_string(Code::kCanceled));
      EXPECT_EQ(client.stats().open, 0U);
      EXPECT_LT(drain(*far), 10'000U) << "it must not look complete";
    }
  });
}

TEST(ClientLifetime, dropping_a_response_ends_an_upload_that_waits_for_room) {
  with_network([] {
    MemoryServer server(1000);
    Client client(server.options());
    const Chan<Code> wrote = make_chan<Code>(1);
    auto trace = std::make_shared<ClientTrace>();
    trace->wrote_request = [wrote](const Error& e) { wrote.send(e.code); };
    for (const bool read_some : {false, true}) {
      ClientRequest request = request_to("http://memory/", Method::kPost);
      request.body = RequestBody::bytes(std::string(1 << 20, 'x'));
      request.trace = trace;
      std::shared_ptr<net::MemoryConn> far;
      {
        WaitGroup group;
        group.go([&] {
          far = server.accept();
          Peer peer(*far);
          EXPECT_NE(peer.head(), "");
          peer.say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
        });
        Result<ClientResponse> response = client.send(request);
        group.wait();
        ASSERT_TRUE(response) << response.error().message();
        std::byte buf[10];
        if (read_some) {
          EXPECT_EQ(response->read(buf), 4U);
        }
      }
      EXPECT_EQ(wrote.recv(), Code::kClosed);
      EXPECT_EQ(client.stats().open, 0U);
      EXPECT_LT(drain(*far), std::size_t{1} << 20);
    }
  });
}

TEST(ClientLifetime, both_ways_go_on_when_the_client_is_gone) {
  with_network([] {
    OwnServer server([](Request& request, ResponseWriter& w) {
      std::byte buf[100];
      for (;;) {
        const Result<std::size_t> n = request.read(buf);
        if (!n || *n == 0) return;
        if (!w.write(std::span(buf).first(*n)) || !w.flush()) return;
      }
    });
    for (const bool to_the_end : {true, false}) {
      const Chan<std::string> pieces = make_chan<std::string>(4);
      std::optional<ClientResponse> response;
      {
        Client client(plain());
        ClientRequest request = request_to(server.url("/"), Method::kPost);
        request.body = body_from(pieces);
        pieces.send("one ");
        Result<ClientResponse> answered = client.send(request);
        ASSERT_TRUE(answered) << answered.error().message();
        response.emplace(std::move(*answered));
      }
      std::string got(8, ' ');
      pieces.send("two ");
      EXPECT_EQ(response->read_full(std::as_writable_bytes(std::span(got))), 8U);
      EXPECT_EQ(got, "one two ");
      if (to_the_end) {
        pieces.send("three");
        pieces.close();
        EXPECT_EQ(response->read_all(100), "three");
      }
      response.reset();
      if (!to_the_end) pieces.close();  // the upload waits for its source until then
    }
  });
}

TEST(ClientLifetime, a_source_is_opened_again_only_when_nobody_reads_it) {
  with_network([] {
    // Why it is opened again, and what the first connection says to its second request before it goes.
    for (const std::string_view why : {"", "HTTP/1.1 307 To\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n",
                                       "HTTP/1.1 417 What\r\nContent-Length: 0\r\n\r\n"}) {
      Scripted server([why](Peer& peer, int n) {
        if (n == 0) {
          peer.head();
          peer.ok();
          const std::string head = peer.head();
          if (head.find("Expect") != std::string::npos) peer.say("HTTP/1.1 100 Continue\r\n\r\n");
          peer.say(why);
          return;
        }
        EXPECT_NE(peer.head(), "");
        peer.ok(peer.body(3));
        peer.wait_for_end();
      });
      ClientOptions options = plain();
      std::vector<net::Transport*> dialed;
      options.dial = [&](const Context& ctx, const DialTarget& target) {
        auto made = dial_target(ctx, target);
        if (made) dialed.push_back(made->get());
        return made;
      };
      Client client(options);
      EXPECT_EQ(told(client.get(server.url())), "200 []");

      // What one reader and the next share needs no lock, for only one of them is read at a time.
      struct Shared {
        Chan<int> go_on = make_chan<int>();
        Chan<int> reading = make_chan<int>(1);
        std::vector<std::string> events;
      } shared;
      ClientRequest request = request_to(server.url(), Method::kPut);
      request.expect_continue = why.find("417") != std::string_view::npos;
      request.body = RequestBody::stream_from(
          [&shared]() -> Result<std::shared_ptr<net::Reader>> {
            class Abc final : public net::Reader {
             public:
              explicit Abc(Shared& s) : shared_(s) {}
              [[nodiscard]] Result<std::size_t> read(std::span<std::byte> buf) override {
                static_cast<void>(shared_.reading.try_send(1));
                static_cast<void>(shared_.go_on.recv());
                shared_.events.emplace_back("read");
                std::memcpy(buf.data(), "abc", 3);
                return 3;
              }

             private:
              Shared& shared_;
            };
            shared.events.emplace_back("open");
            return std::make_shared<Abc>(shared);
          },
          3);
      std::string result;
      WaitGroup group;
      group.go([&] { result = told(client.send(request)); });
      static_cast<void>(shared.reading.recv());
      // The client knows now or soon that it has to begin again. Time for what must not happen, not for what must.
      for (const TimePoint until = net::test::patience(); dialed[0]->is_alive() && now() < until;) sleep(1ms);
      sleep(5ms);
      shared.go_on.close();
      group.wait();
      EXPECT_EQ(result, "200 [abc]") << why;
      EXPECT_EQ(shared.events, (std::vector<std::string>{"open", "read", "open", "read"})) << why;
    }
  });
}

/// A body whose readers say that they are read, and give nothing until `never` is closed.
RequestBody silent_body(const Chan<int>& never, const Chan<int>& reading) {
  return RequestBody::stream_from([never, reading]() -> Result<std::shared_ptr<net::Reader>> {
    class Silent final : public net::Reader {
     public:
      Silent(Chan<int> never, Chan<int> reading) : never_(std::move(never)), reading_(std::move(reading)) {}
      [[nodiscard]] Result<std::size_t> read(std::span<std::byte>) override {
        static_cast<void>(reading_.try_send(1));
        static_cast<void>(never_.recv());
        return std::size_t{0};
      }

     private:
      const Chan<int> never_;
      const Chan<int> reading_;
    };
    return std::make_shared<Silent>(never, reading);
  });
}

TEST(ClientLifetime, a_source_that_waits_is_not_waited_for_beyond_the_context) {
  with_network([] {
    Scripted server([](Peer& peer, int) {
      peer.head();
      peer.ok();
      peer.head();  // and goes
    });
    Client client(plain());
    EXPECT_EQ(told(client.get(server.url())), "200 []");
    auto [ctx, cancel] = with_cancel({});
    const Chan<int> never = make_chan<int>();
    const Chan<int> reading = make_chan<int>(1);
    ClientRequest request = request_to(server.url(), Method::kPut);
    request.ctx = ctx;
    request.body = silent_body(never, reading);
    std::string result;
    WaitGroup group;
    group.go([&] { result = told(client.send(request)); });
    static_cast<void>(reading.recv());
    cancel();
    group.wait();
    EXPECT_EQ(result, to_string(Code::kCanceled));
    EXPECT_EQ(server.connections, 1);
    never.close();
  });
}

TEST(ClientLifetime, a_source_that_waits_is_not_waited_for_beyond_the_time_for_a_head) {
  with_network([] {
    Scripted server([](Peer& peer, int) {
      peer.head();
      peer.say("HTTP/1.1 307 To\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n");
      peer.wait_for_end();
    });
    ClientOptions options = plain();
    options.header_timeout = 10ms;  // of a head it begins when the body is sent, which it never is
    Client client(options);
    const Chan<int> never = make_chan<int>();
    ClientRequest request = request_to(server.url(), Method::kPut);
    request.body = silent_body(never, make_chan<int>(1));
    EXPECT_EQ(told(client.send(request)), "timeout");
    EXPECT_EQ(client.stats().open, 0U);
    EXPECT_EQ(server.connections, 1);
    never.close();
  });
}

TEST(ClientLifetime, a_source_that_lies_or_is_none_fails_the_request) {
  with_network([] {
    Scripted server([](Peer& peer, int) {
      const std::string head = peer.head();
      EXPECT_EQ(peer.body(1 << 20).find("beyond"), std::string::npos);
    });
    Client client(plain());
    for (const std::optional<std::uint64_t> length :
         {std::optional<std::uint64_t>(20), std::optional<std::uint64_t>()}) {
      ClientRequest request = request_to(server.url(), Method::kPut);
      request.body =
          RequestBody::callback([](std::span<std::byte> buf) -> Result<std::size_t> { return buf.size() + 1; }, length);
      EXPECT_EQ(told(client.send(request)), "invalid argument");
      request.body = RequestBody::callback(nullptr, length);
      EXPECT_EQ(told(client.send(request)), "invalid argument");
      request.body = RequestBody::stream_from(nullptr, length);
      EXPECT_FALSE(request.body.empty());
      EXPECT_EQ(told(client.send(request)), "invalid argument");
      request.body = RequestBody::stream(nullptr, length);
      EXPECT_EQ(told(client.send(request)), "invalid argument");
      request.body = RequestBody::stream_from([] { return Result<std::shared_ptr<net::Reader>>(nullptr); }, length);
      EXPECT_EQ(told(client.send(request)), "invalid argument");
    }
    EXPECT_EQ(client.stats().open, 0U);
  });
}

/// Gives what it gets; fails at a '!', ends at a '.'.
class Fragile final : public net::Reader {
 public:
  explicit Fragile(net::Reader& from) : from_(from) {}
  [[nodiscard]] Result<std::size_t> read(std::span<std::byte> buf) override {
    const Result<std::size_t> n = from_.read(buf.first(1));
    if (!n || *n == 0) return n;
    if (buf[0] == std::byte{'!'}) return std::unexpected(Error{Code::kInvalid, 0, "fragile"});
    if (buf[0] == std::byte{'.'}) return std::size_t{0};
    return n;
  }

 private:
  net::Reader& from_;
};

TEST(ClientLifetime, what_a_decoder_said_stays_said) {
  with_network([] {
    Scripted server([](Peer& peer, int) {
      for (std::string head = peer.head(); !head.empty(); head = peer.head()) {
        const std::string_view text = head.find("/broken") != std::string::npos   ? "ab!cdefghijk"
                                      : head.find("/behind") != std::string::npos ? "ab.cdefghijk"
                                                                                  : "ab.";
        peer.say("HTTP/1.1 200 OK\r\nContent-Encoding: f\r\nContent-Length: " + std::to_string(text.size()) +
                 "\r\n\r\n" + std::string(text));
      }
    });
    ClientOptions options = plain();
    options.accept_encoding = "f";
    options.decode = [](std::string_view, net::Reader& encoded) { return std::make_unique<Fragile>(encoded); };
    Client client(options);
    std::byte buf[10];
    for (const auto& [path, code] : {std::pair("/broken", Code::kInvalid), std::pair("/behind", Code::kProtocol)}) {
      Result<ClientResponse> response = client.get(server.url(path));
      ASSERT_TRUE(response);
      EXPECT_EQ(response->read_full(std::span(buf).first(2)), 2U);
      for (int i = 0; i < 3; ++i) EXPECT_EQ(response->read(buf).error().code, code) << path;
      EXPECT_EQ(client.stats().open, client.stats().idle) << "it holds no connection";
      response->close();
      EXPECT_EQ(response->read(buf).error().code, code) << path;
    }
    Result<ClientResponse> whole = client.get(server.url("/whole"));
    ASSERT_TRUE(whole);
    EXPECT_EQ(whole->read_all(10), "ab");
    EXPECT_EQ(whole->read(buf), 0U);
    whole->close();
    EXPECT_EQ(whole->read(buf), 0U);
    Result<ClientResponse> closed = client.get(server.url("/whole"));
    ASSERT_TRUE(closed);
    closed->close();
    EXPECT_EQ(closed->read(buf).error().code, Code::kClosed);
    EXPECT_EQ(client.stats().idle, 1U);
  });
}

TEST(ClientLifetime, options_that_would_break_a_head_fail_every_request) {
  with_network([] {
    for (const std::string_view bad : {"a\r\nX: y", "a\nX: y", "\x01", " a", "a "}) {
      ClientOptions options = plain();
      options.user_agent = bad;
      EXPECT_EQ(told(Client(options).get("http://127.0.0.1:1/")), "invalid argument");
      options = plain();
      options.accept_encoding = bad;
      EXPECT_EQ(told(Client(options).get("http://127.0.0.1:1/")), "invalid argument");
      options = plain();
      options.proxy = [bad](const Url&) -> Result<std::optional<Proxy>> {
        return Proxy{*Url::parse("http://127.0.0.1:1"), std::string(bad)};
      };
      EXPECT_EQ(told(Client(options).get("http://127.0.0.1:1/")), "invalid argument");
      class Store final : public CookieStore {
       public:
        explicit Store(std::string_view value) : value_(value) {}
        [[nodiscard]] std::string cookies_for(const Url&) override { return value_; }
        void store(const Url&, HeaderList) override {}

       private:
        std::string value_;
      };
      options = plain();
      options.cookies = std::make_shared<Store>(bad);
      EXPECT_EQ(told(Client(options).get("http://127.0.0.1:1/")), "invalid argument");
    }
  });
}

}  // namespace
}  // namespace heddle::http::test
