// Dialing by name: which addresses are tried, in which order, when, and what is left of those that lost. The resolver is a
// fake one, its addresses are listeners of this process: some accept, some refuse, some never answer.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <atomic>
#include <string>

#include <heddle/net/resolve.h>
#include <heddle/net/tcp.h>

#include "net_test_util.h"

namespace heddle::net {
namespace {

using namespace test;

class DialOnProcs : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(procs, DialOnProcs, testing::Values(1, 2, 4));

// Names whose addresses the test chooses, port and all.
Resolver fake(std::vector<Address> addresses) {
  return Resolver({.lookup = [addresses = std::move(addresses)](const std::string&) { return addresses; }});
}

// A port on which every address of the machine is free for a listener of the test's.
struct Hosts {
  explicit Hosts(const char* first) : listener(must_listen(any_port(first))), port(listener.local_address()->port()) {}
  Address at(const char* host) const { return Address::parse(std::string(host) + ":0")->with_port(port); }
  std::string name() const { return "fake.example:" + std::to_string(port); }
  Listener listener;
  std::uint16_t port;
};

// A listener on `address` whose queue is full: what knocks there is never answered.
struct BlackHole {
  explicit BlackHole(const Address& address) : listener(must(listen(address, {.backlog = 0}))) {
    while (!is_full()) queued.push_back(must(dial(address, {.deadline = patience()})));
  }
  // What connected may not be in the queue yet; then one more is, at most. Source: tcp_get_info(): of a listener these two are
  // the queue's length and limit, and it takes one more than that.
  bool is_full() const {
    tcp_info info{};
    socklen_t size = sizeof info;
    EXPECT_EQ(::getsockopt(listener.native_handle(), IPPROTO_TCP, TCP_INFO, &info, &size), 0);
    return info.tcpi_unacked > info.tcpi_sacked;
  }
  Listener listener;
  std::vector<Conn> queued;
};

TEST_P(DialOnProcs, a_refused_address_makes_room_for_the_next_at_once) {
  with_procs(GetParam(), [] {
    Hosts hosts("127.0.0.1");
    Resolver resolver = fake({hosts.at("127.0.0.2"), hosts.at("127.0.0.3"), hosts.at("127.0.0.1")});
    std::vector<DialAttempt> attempts;
    DialOptions options;
    options.resolver = &resolver;
    options.attempts = &attempts;
    options.attempt_delay = 1h;  // nothing here may wait for it
    const Result<Conn> conn = dial(hosts.name(), options);
    ASSERT_TRUE(conn) << conn.error().message();
    EXPECT_EQ(*conn->remote_address(), hosts.at("127.0.0.1"));
    ASSERT_EQ(attempts.size(), 3U);
    EXPECT_EQ(attempts[0].error.code, Code::kRefused);
    EXPECT_EQ(attempts[1].error.code, Code::kRefused);
    EXPECT_EQ(attempts[2].error.code, Code::kOk);
    EXPECT_EQ(attempts[2].address, hosts.at("127.0.0.1"));
  });
}

TEST_P(DialOnProcs, a_silent_address_delays_the_next_by_no_more_than_the_attempt_delay) {
  with_procs(GetParam(), [] {
    Hosts hosts("127.0.0.1");
    BlackHole silent(hosts.at("127.0.0.2"));
    Resolver resolver = fake({hosts.at("127.0.0.2"), hosts.at("127.0.0.1")});
    std::vector<DialAttempt> attempts;
    DialOptions options;
    options.resolver = &resolver;
    options.attempts = &attempts;
    options.attempt_delay = 10ms;
    const int before = open_fds();
    const TimePoint start = now();
    {
      const Result<Conn> conn = dial(hosts.name(), options);
      ASSERT_TRUE(conn) << conn.error().message();
      EXPECT_GE(now() - start, 10ms);
      EXPECT_EQ(*conn->remote_address(), hosts.at("127.0.0.1"));
    }
    ASSERT_EQ(attempts.size(), 2U);
    EXPECT_EQ(attempts[0].error.code, Code::kCanceled);
    EXPECT_LE(open_fds(), before + 2);  // two may be on their way out
  });
}

TEST(Dial, families_are_tried_in_turns) {
  with_procs(1, [] {
    Hosts hosts("127.0.0.9");
    Resolver resolver = fake({hosts.at("127.0.0.2"), hosts.at("127.0.0.3"), hosts.at("127.0.0.4"), hosts.at("[::1]")});
    std::vector<DialAttempt> attempts;
    DialOptions options;
    options.resolver = &resolver;
    options.attempts = &attempts;
    options.attempt_delay = 1h;
    const Result<Conn> conn = dial(hosts.name(), options);
    ASSERT_FALSE(conn);
    EXPECT_EQ(conn.error(), attempts.front().error);
    ASSERT_EQ(attempts.size(), 4U);
    EXPECT_EQ(attempts[0].address, hosts.at("127.0.0.2"));
    EXPECT_EQ(attempts[1].address, hosts.at("[::1]"));
    EXPECT_EQ(attempts[2].address, hosts.at("127.0.0.3"));
    EXPECT_EQ(attempts[3].address, hosts.at("127.0.0.4"));
    for (const DialAttempt& one : attempts) EXPECT_NE(one.error.code, Code::kOk);
    EXPECT_EQ(attempts[0].error.code, Code::kRefused);
  });
}

TEST(Dial, of_all_failures_the_one_that_came_furthest_is_told) {
  with_procs(1, [] {
    Hosts hosts("127.0.0.1");
    // Nothing is sent to an IPv6 documentation address: there is no route, or it is silent. Then 127.0.0.2 refuses.
    Resolver resolver = fake({hosts.at("[2001:db8::1]"), hosts.at("127.0.0.2")});
    std::vector<DialAttempt> attempts;
    DialOptions options;
    options.resolver = &resolver;
    options.attempts = &attempts;
    options.local = any_port("127.0.0.1");  // so IPv6 is left out
    Result<Conn> conn = dial(hosts.name(), options);
    ASSERT_FALSE(conn);
    EXPECT_EQ(conn.error().code, Code::kRefused) << conn.error().message();
    ASSERT_EQ(attempts.size(), 1U);
    EXPECT_EQ(attempts[0].address, hosts.at("127.0.0.2"));

    // 255.255.255.255 is no peer of TCP's: connect(2) says so without asking the network.
    options.local.reset();
    Resolver other = fake({hosts.at("255.255.255.255"), hosts.at("127.0.0.2")});
    options.resolver = &other;
    conn = dial(hosts.name(), options);
    ASSERT_FALSE(conn);
    ASSERT_EQ(attempts.size(), 2U);
    EXPECT_EQ(attempts[0].error.code, Code::kUnreachable) << attempts[0].error.message();
    EXPECT_EQ(conn.error().code, Code::kRefused) << conn.error().message();
  });
}

TEST_P(DialOnProcs, deadline_and_context_end_all_attempts) {
  with_procs(GetParam(), [] {
    Hosts hosts("127.0.0.1");
    BlackHole a(hosts.at("127.0.0.2")), b(hosts.at("127.0.0.3"));
    Resolver resolver = fake({hosts.at("127.0.0.2"), hosts.at("127.0.0.3")});
    std::vector<DialAttempt> attempts;
    DialOptions options;
    options.resolver = &resolver;
    options.attempts = &attempts;
    options.attempt_delay = 1ms;
    options.deadline = now() + 40ms;
    Result<Conn> conn = dial(hosts.name(), options);
    ASSERT_FALSE(conn);
    EXPECT_EQ(conn.error().code, Code::kTimeout) << conn.error().message();
    for (const DialAttempt& one : attempts) EXPECT_EQ(one.error.code, Code::kTimeout);

    auto [ctx, cancel] = with_cancel(Context::background());
    options.deadline = kNoDeadline;
    options.ctx = ctx;
    WaitGroup wg;
    wg.go([&cancel = cancel] {
      sleep(10ms);
      cancel();
    });
    conn = dial(hosts.name(), options);
    ASSERT_FALSE(conn);
    EXPECT_EQ(conn.error().code, Code::kCanceled) << conn.error().message();
    wg.wait();
    EXPECT_EQ(dial(hosts.name(), options).error().code, Code::kCanceled);  // from the start
  });
}

// The RFC's lower bound out of the way.
struct WithoutDelay {
  const Duration before = detail::set_least_attempt_delay_for_test(0ns);
  ~WithoutDelay() { detail::set_least_attempt_delay_for_test(before); }
};

TEST_P(DialOnProcs, attempts_are_ten_milliseconds_apart_at_least) {
  with_procs(GetParam(), [] {
    Hosts hosts("127.0.0.1");
    BlackHole a(hosts.at("127.0.0.2"));
    Resolver resolver = fake({hosts.at("127.0.0.2"), hosts.at("127.0.0.1")});
    DialOptions options;
    options.resolver = &resolver;
    options.attempt_delay = 0ns;
    const TimePoint since = now();
    Conn conn = must(dial(hosts.name(), options));
    EXPECT_GE(now() - since, 10ms);
  });
}

TEST_P(DialOnProcs, of_two_that_connect_one_is_kept) {
  const WithoutDelay all_at_once;
  with_procs(GetParam(), [] {
    for (int i = 0; i < 30; ++i) {
      Hosts hosts("127.0.0.1");
      Result<Listener> other = listen(hosts.at("[::1]"));
      if (!other) continue;  // the port is somebody's there
      Resolver resolver = fake({hosts.at("[::1]"), hosts.at("127.0.0.1")});
      DialOptions options;
      options.resolver = &resolver;
      options.attempt_delay = 0ns;  // all at once
      Conn conn = must(dial(hosts.name(), options));
      WaitGroup wg;
      std::atomic<int> kept{0};
      const auto serve = [&](Listener& listener) {
        for (;;) {
          Result<Conn> got = listener.accept();
          if (!got) return;
          std::byte buf[1];
          got->set_deadline(patience());
          const Result<std::size_t> n = got->read(buf);
          if (n && *n == 1) kept.fetch_add(1);
        }
      };
      wg.go([&] { serve(hosts.listener); });
      wg.go([&] { serve(*other); });
      ASSERT_TRUE(conn.write(bytes_of(1)));
      while (kept.load() == 0) gosched();
      conn.close();
      hosts.listener.close();
      other->close();
      wg.wait();
      EXPECT_EQ(kept.load(), 1);
    }
  });
}

TEST(Dial, numbers_names_and_nonsense) {
  with_procs(2, [] {
    Listener listener = must_listen();
    const std::string port = std::to_string(listener.local_address()->port());
    EXPECT_TRUE(dial("127.0.0.1:" + port));
    EXPECT_TRUE(dial("localhost:" + port));  // [::1] refuses
    for (const char* text : {"", "localhost", "localhost:", "localhost:http", "::1:80", "a b:80"}) {
      const Result<Conn> conn = dial(text);
      ASSERT_FALSE(conn) << text;
      EXPECT_EQ(conn.error().code, Code::kInvalid) << text;
    }
    const Result<Conn> wrong = dial("127.0.0.1:" + port, {.local = any_port("[::1]")});
    ASSERT_FALSE(wrong);
    EXPECT_EQ(wrong.error().code, Code::kInvalid);
  });
}

TEST(Dial, what_the_resolver_says_is_told) {
  with_procs(1, [] {
    Resolver resolver({.lookup = [](const std::string&) -> Result<std::vector<Address>> {
      return std::unexpected(Error{Code::kNotFound, 0, "resolve: no such host"});
    }});
    DialOptions options;
    options.resolver = &resolver;
    const Result<Conn> conn = dial("nobody.example:80", options);
    ASSERT_FALSE(conn);
    EXPECT_EQ(conn.error().code, Code::kNotFound);
  });
}

}  // namespace
}  // namespace heddle::net
