// serve(): limits, pauses when there is no descriptor, handlers that panic, and the drain; over memory to the instant,
// and over real sockets.
#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <string>
#include <vector>

#include <heddle/core/test.h>
#include <heddle/net/serve.h>
#include <heddle/net/unix.h>

#include "net_test_util.h"
#include "pipe_transport.h"

namespace heddle::net {
namespace {

using namespace test;
namespace kit = heddle::test;

template <class Body>
void explore(std::uint64_t most, Body body) {
  kit::explore(kSanitized != 0 ? most / 10 + 1 : most, body, {.failed = [] { return testing::Test::HasFailure(); }});
}

// Hands out what it is given: connections in memory, and errors.
class FakeListener final : public TransportListener {
 public:
  using Accepted = Result<std::unique_ptr<Transport>>;

  // The client's end of a connection that is accepted next.
  std::unique_ptr<PipeTransport> connect() {
    auto [near, far] = PipeTransport::pair();
    queue_.send(std::make_unique<Accepted>(std::move(near)));
    return std::move(far);
  }
  void fail(Code code) { queue_.send(std::make_unique<Accepted>(std::unexpected(Error{code, 0, "accept"}))); }

  [[nodiscard]] Accepted accept_transport() override {
    ++accepts;
    Accepted got = std::unexpected(Error{Code::kClosed, 0, "accept"});
    if (closed) return got;
    select(on_recv(closing_, [] {}), on_recv(queue_, [&](std::optional<std::unique_ptr<Accepted>> next) {
             if (next) got = std::move(**next);
           }));
    return got;
  }
  [[nodiscard]] Result<Address> local_address() const override { return Address(); }
  void close() override {
    if (!closed) closing_.close();
    closed = true;
  }

  int accepts = 0;
  bool closed = false;

 private:
  const Chan<std::unique_ptr<Accepted>> queue_ = make_chan<std::unique_ptr<Accepted>>(100);
  const Chan<Done> closing_ = make_chan<Done>();
};

void echo(const Context&, Transport& conn) {
  std::byte buf[100];
  for (auto n = conn.read(buf); n && *n > 0; n = conn.read(buf)) {
    if (!conn.write(std::span(buf).first(*n))) return;
  }
}

TEST(Serve, every_connection_has_its_handler_and_the_end_waits_for_all) {
  explore(200, [] {
    FakeListener listener;
    const auto [ctx, stop] = with_cancel({});
    std::vector<std::unique_ptr<PipeTransport>> clients;
    for (int i = 0; i < 5; ++i) clients.push_back(listener.connect());
    WaitGroup wg;
    ServeStats stats;
    wg.go([&, ctx = ctx] { stats = serve(ctx, listener, echo); });
    for (auto& one : clients) ASSERT_TRUE(one->write("hello"));
    for (auto& one : clients) EXPECT_EQ(one->read_some(5), "hello");
    stop();
    wg.wait();
    EXPECT_TRUE(listener.closed);
    EXPECT_EQ(stats.accepted, 5u);
    EXPECT_EQ(stats.cut, 0u);
    for (auto& one : clients) EXPECT_EQ(one->read_all(), "");
  });
}

TEST(Serve, a_connection_is_closed_when_its_handler_returns) {
  explore(50, [] {
    FakeListener listener;
    const auto [ctx, stop] = with_cancel({});
    auto client = listener.connect();
    WaitGroup wg;
    wg.go([&, ctx = ctx] {
      static_cast<void>(serve(ctx, listener, [](const Context&, Transport& conn) {
        static_cast<void>(conn.write(std::as_bytes(std::span("bye", 3))));
      }));
    });
    EXPECT_EQ(client->read_all(), "bye");
    stop();
    wg.wait();
  });
}

TEST(Serve, no_more_are_accepted_than_may_be_open) {
  explore(200, [] {
    FakeListener listener;
    const auto [ctx, stop] = with_cancel({});
    std::vector<std::unique_ptr<PipeTransport>> clients;
    for (int i = 0; i < 6; ++i) clients.push_back(listener.connect());
    int open = 0, served = 0;
    const Chan<int> go_on = make_chan<int>();
    WaitGroup wg;
    ServeStats stats;
    wg.go([&, ctx = ctx] {
      stats = serve(ctx, listener,
                    [&](const Context&, Transport&) {
                      EXPECT_LE(++open, 2);
                      static_cast<void>(go_on.recv());
                      --open;
                      ++served;
                    },
                    {.max_connections = 2});
    });
    kit::wait();
    EXPECT_EQ(open, 2);
    EXPECT_EQ(listener.accepts, 2);
    go_on.send(1);
    kit::wait();
    EXPECT_EQ(open, 2);
    EXPECT_EQ(listener.accepts, 3);
    for (int i = 0; i < 5; ++i) go_on.send(1);
    kit::wait();
    EXPECT_EQ(served, 6);
    stop();
    wg.wait();
    EXPECT_EQ(stats.accepted, 6u);
    EXPECT_EQ(stats.refused, 0u);
  });
}

TEST(Serve, it_can_be_stopped_while_it_has_no_room) {
  explore(50, [] {
    FakeListener listener;
    const auto [ctx, stop] = with_cancel({});
    auto client = listener.connect();
    WaitGroup wg;
    wg.go([&, ctx = ctx] { EXPECT_EQ(serve(ctx, listener, echo, {.max_connections = 1}).accepted, 1u); });
    kit::wait();
    stop();
    wg.wait();
  });
}

TEST(Serve, without_descriptors_it_pauses_ever_longer_and_goes_on) {
  explore(20, [] {
    FakeListener listener;
    const auto [ctx, stop] = with_cancel({});
    std::vector<Duration> at;
    const TimePoint start = now();
    for (int i = 0; i < 12; ++i) listener.fail(Code::kNoResources);
    auto client = listener.connect();
    listener.fail(Code::kSystem);
    WaitGroup wg;
    ServeStats stats;
    wg.go([&, ctx = ctx] {
      stats = serve(ctx, listener, echo, {.on_accept_error = [&](const Error&) { at.push_back(now() - start); }});
    });
    ASSERT_TRUE(client->write("x"));
    EXPECT_EQ(client->read_some(1), "x");
    Duration when{}, pause = 5ms;
    for (int i = 0; i < 12; ++i, when += pause, pause = std::min<Duration>(2 * pause, 1s))
      EXPECT_EQ(at[i], i == 0 ? 0ms : when);
    sleep(1min);
    ASSERT_EQ(at.size(), 13u);
    stop();
    wg.wait();
    EXPECT_EQ(stats.accept_errors, 13u);
    EXPECT_EQ(stats.accepted, 1u);
  });
}

TEST(Serve, a_pause_ends_when_a_connection_does_and_when_it_is_stopped) {
  explore(50, [] {
    FakeListener listener;
    const auto [ctx, stop] = with_cancel({});
    auto client = listener.connect();
    WaitGroup wg;
    wg.go([&, ctx = ctx] { static_cast<void>(serve(ctx, listener, echo)); });
    kit::wait();
    const TimePoint start = now();
    listener.fail(Code::kNoResources);
    kit::wait();
    EXPECT_EQ(listener.accepts, 2);
    client->close();
    kit::wait();
    EXPECT_EQ(listener.accepts, 3);
    listener.fail(Code::kNoResources);
    kit::wait();
    EXPECT_EQ(listener.accepts, 3);
    stop();
    wg.wait();
    EXPECT_EQ(now(), start);
  });
}

TEST(Serve, what_a_handler_throws_harms_its_connection_alone) {
  explore(200, [] {
    FakeListener listener;
    const auto [ctx, stop] = with_cancel({});
    auto good = listener.connect();
    auto bad = listener.connect();
    auto gone = listener.connect();
    int told = 0;
    WaitGroup wg;
    ServeStats stats;
    wg.go([&, ctx = ctx] {
      stats = serve(ctx, listener,
                    [](const Context& c, Transport& conn) {
                      std::byte one;
                      if (!conn.read(std::span(&one, 1))) return;
                      if (one == std::byte{'!'}) throw std::runtime_error("bad");
                      if (one == std::byte{'.'}) goexit();
                      echo(c, conn);
                    },
                    {.on_panic = [&](std::exception_ptr thrown, Transport& conn) {
                      ++told;
                      EXPECT_THROW(std::rethrow_exception(thrown), std::runtime_error);
                      EXPECT_TRUE(conn.write(std::as_bytes(std::span("sorry", 5))));
                    }});
    });
    ASSERT_TRUE(bad->write("!"));
    EXPECT_EQ(bad->read_all(), "sorry");
    ASSERT_TRUE(gone->write("."));
    EXPECT_EQ(gone->read_all(), "");
    ASSERT_TRUE(good->write("?fine"));
    EXPECT_EQ(good->read_some(4), "fine");
    stop();
    wg.wait();
    EXPECT_EQ(told, 1);
    EXPECT_EQ(stats.panics, 1u);
    EXPECT_EQ(stats.accepted, 3u);
  });
}

TEST(Serve, the_drain_has_its_stages_at_their_times) {
  explore(50, [] {
    FakeListener listener;
    const auto [ctx, stop] = with_cancel({});
    auto client = listener.connect();
    auto stubborn = listener.connect();
    WaitGroup wg;
    TimePoint start;
    ServeStats stats;
    wg.go([&, ctx = ctx] {
      stats = serve(ctx, listener,
                    [&, n = std::make_shared<int>(0)](const Context& c, Transport& conn) {
                      const bool first = (*n)++ == 0;
                      select(on_done(c, [] {}));
                      EXPECT_EQ(c.cause()->message(), "drain: canceled");
                      EXPECT_EQ(now() - start, 0s);
                      EXPECT_TRUE(listener.closed);
                      std::byte buf[10];
                      EXPECT_EQ(conn.read(buf), std::size_t{1});  // may be read on
                      EXPECT_EQ(now() - start, 1s);
                      EXPECT_EQ(conn.read(buf), std::size_t{0});
                      EXPECT_EQ(now() - start, 2s);
                      if (first) return;
                      sleep(1h);  // its connection is cut meanwhile
                      EXPECT_EQ(conn.read(buf).error().code, Code::kClosed);
                    },
                    {.read_grace = 2s, .grace = 5s});
    });
    kit::wait();
    start = now();
    stop();
    sleep(1s);
    ASSERT_TRUE(client->write("x"));
    ASSERT_TRUE(stubborn->write("x"));
    static_cast<void>(client->read_all());
    static_cast<void>(stubborn->read_all());
    EXPECT_EQ(now() - start, 5s);
    wg.wait();
    EXPECT_EQ(now() - start, 2s + 1h);
    EXPECT_EQ(stats.cut, 1u);
  });
}

TEST(Serve, what_had_come_before_the_drain_is_read) {
  explore(100, [] {
    FakeListener listener;
    const auto [ctx, stop] = with_cancel({});
    auto client = listener.connect();
    ASSERT_TRUE(client->write("a request"));
    WaitGroup wg;
    wg.go([&, ctx = ctx] {
      EXPECT_EQ(serve(ctx, listener,
                      [&](const Context& c, Transport& conn) {
                        sleep(1s);
                        echo(c, conn);
                      })
                    .cut,
                0u);
    });
    kit::wait();
    stop();
    EXPECT_EQ(client->read_all(), "a request");
    wg.wait();
  });
}

TEST(Serve, a_listener_that_somebody_closes_is_drained) {
  explore(50, [] {
    FakeListener listener;
    auto client = listener.connect();
    WaitGroup wg;
    wg.go([&] { EXPECT_EQ(serve({}, listener, echo).accepted, 1u); });
    kit::wait();
    listener.close();
    EXPECT_EQ(client->read_all(), "");
    wg.wait();
  });
}

TEST(Serve, a_context_that_is_done_accepts_nothing) {
  kit::run([] {
    FakeListener listener;
    auto client = listener.connect();
    const auto [ctx, stop] = with_cancel({});
    stop();
    EXPECT_EQ(serve(ctx, listener, echo).accepted, 0u);
    EXPECT_TRUE(listener.closed);
  });
}

struct Name {
  using Value = std::string;
};

TEST(Serve, the_handlers_context_has_the_callers_values) {
  kit::run([] {
    FakeListener listener;
    auto client = listener.connect();
    const auto [ctx, stop] = with_cancel(with_value<Name>({}, "service"));
    WaitGroup wg;
    wg.go([&, ctx = ctx] {
      static_cast<void>(
          serve(ctx, listener, [](const Context& c, Transport&) { EXPECT_EQ(*c.value<Name>(), "service"); }));
    });
    EXPECT_EQ(client->read_all(), "");
    stop();
    wg.wait();
  });
}

// Whenever it is stopped: each connection that was accepted had one handler, and is closed.
TEST(Serve, a_stop_at_any_moment_leaves_nothing) {
  explore(1000, [] {
    FakeListener listener;
    const auto [ctx, stop] = with_cancel({});
    std::uint64_t handled = 0;
    WaitGroup wg;
    wg.go([&, ctx = ctx] {
      const ServeStats stats = serve(ctx, listener,
                                     [&](const Context& c, Transport& conn) {
                                       ++handled;
                                       switch (kit::random(4)) {
                                         case 0: return;
                                         case 1: throw std::runtime_error("bad");
                                         case 2: goexit();
                                         default: echo(c, conn);
                                       }
                                     },
                                     {.max_connections = kit::random(3), .grace = 1s});
      EXPECT_EQ(stats.accepted, handled);
      EXPECT_EQ(stats.cut, 0u);
    });
    std::vector<std::unique_ptr<PipeTransport>> clients;
    for (std::uint64_t n = kit::random(6); n > 0; --n) {
      clients.push_back(listener.connect());
      if (kit::random(3) == 0) listener.fail(Code::kNoResources);
    }
    if (kit::random(2) == 0) kit::wait();
    stop();
    wg.wait();
  });
}

class ServeOnProcs : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(procs, ServeOnProcs, testing::Values(1, 2, 4));

TEST_P(ServeOnProcs, many_clients_come_and_go_over_tcp) {
  with_procs(GetParam(), [] {
    Listener listener = must_listen();
    const Address address = *listener.local_address();
    const auto [ctx, stop] = with_cancel({});
    std::atomic<int> open{0}, most{0};
    constexpr int kClients = 8, kRounds = 30 / (1 + kSanitized);
    WaitGroup serving;
    ServeStats stats;
    serving.go([&, ctx = ctx] {
      stats = serve(ctx, listener,
                    [&](const Context& c, Conn& conn) {
                      const int now_open = ++open;
                      for (int seen = most; seen < now_open && !most.compare_exchange_weak(seen, now_open);) {
                      }
                      echo(c, conn);
                      --open;
                    },
                    {.max_connections = 5, .grace = 120s});
    });
    WaitGroup clients;
    for (int i = 0; i < kClients; ++i) {
      clients.go([&, i] {
        for (int k = 0; k < kRounds; ++k) {
          Conn conn = must(dial(address));
          const std::vector<std::byte> data = bytes_of(100, static_cast<std::uint64_t>(i));
          ASSERT_TRUE(conn.write(data));
          std::vector<std::byte> back(data.size());
          EXPECT_EQ(conn.read_full(back), data.size());
          EXPECT_EQ(back, data);
        }
      });
    }
    clients.wait();
    stop();
    serving.wait();
    EXPECT_EQ(stats.accepted, static_cast<std::uint64_t>(kClients * kRounds));
    EXPECT_EQ(stats.cut, 0u);
    EXPECT_LE(most, 5);
    EXPECT_EQ(open, 0);
  });
}

TEST(Serve, one_peer_has_no_more_connections_than_it_may) {
  with_procs(2, [] {
    for (const char* at : {"127.0.0.1:0", ":0"}) {  // the latter sees IPv4 as ::ffff:a.b.c.d, where there is IPv6
      Listener listener = must_listen(*Address::parse(at));
      const Address address = Address::parse("127.0.0.1:0")->with_port(listener.local_address()->port());
      const auto [ctx, stop] = with_cancel({});
      WaitGroup serving;
      ServeStats stats;
      serving.go([&, ctx = ctx] { stats = serve(ctx, listener, echo, {.max_per_peer = 2}); });
      const auto works = [](Conn& conn) {
        std::byte one{'x'};
        if (!conn.write(std::span(&one, 1))) return false;
        const Result<std::size_t> n = conn.read(std::span(&one, 1));
        return n.value_or(0) == 1;
      };
      Conn a = must(dial(address));
      Conn b = must(dial(address));
      EXPECT_TRUE(works(a));
      EXPECT_TRUE(works(b));
      Conn c = must(dial(address));
      EXPECT_FALSE(works(c));
      Conn other = must(dial(address, {.local = Address::parse("127.0.0.2:0").value()}));
      EXPECT_TRUE(works(other));
      a.close();
      std::uint64_t refused = 1;
      for (;; ++refused) {  // until its handler has seen that, and its place is free
        Conn d = must(dial(address));
        if (works(d)) break;
      }
      EXPECT_TRUE(works(b));
      stop();
      serving.wait();
      EXPECT_EQ(stats.refused, refused);
      EXPECT_EQ(stats.accepted, 4u);
    }
  });
}

TEST(Serve, a_handler_gets_what_the_listener_accepts) {
  with_procs(2, [] {
    UnixListener listener = must(listen_unix(UnixAddress()));
    const UnixAddress address = *listener.local_unix_address();
    const auto [ctx, stop] = with_cancel({});
    WaitGroup serving;
    serving.go([&, ctx = ctx] {
      static_cast<void>(serve(ctx, listener,
                              [](const Context& c, UnixConn& conn) {
                                EXPECT_EQ(conn.peer_credentials()->pid, ::getpid());
                                echo(c, conn);
                              },
                              {.max_per_peer = 1}));
    });
    UnixConn one = must(dial_unix(address));
    UnixConn two = must(dial_unix(address));  // over Unix sockets there are no peers to be told from each other
    for (UnixConn* conn : {&one, &two}) {
      ASSERT_TRUE(conn->write(bytes_of(10)));
      std::vector<std::byte> back(10);
      EXPECT_EQ(conn->read_full(back), std::size_t{10});
    }
    stop();
    serving.wait();
  });
}

TEST(Serve, a_listener_known_by_its_interface_alone_gives_transports) {
  with_procs(2, [] {
    Listener tcp = must_listen();
    TransportListener& listener = tcp;
    const auto [ctx, stop] = with_cancel({});
    WaitGroup serving;
    serving.go([&, ctx = ctx] { EXPECT_EQ(serve(ctx, listener, echo).accepted, 1u); });
    Conn conn = must(dial(*tcp.local_address()));
    ASSERT_TRUE(conn.write(bytes_of(10)));
    std::vector<std::byte> back(10);
    EXPECT_EQ(conn.read_full(back), std::size_t{10});
    stop();
    serving.wait();
    EXPECT_EQ(conn.read(back), std::size_t{0});
  });
}

}  // namespace
}  // namespace heddle::net
