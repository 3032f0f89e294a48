// TCP beyond reading and writing: contexts, options of listeners and dialers, hand-over of descriptors, pooled connections.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <optional>

#include <heddle/core/context.h>
#include <heddle/net/inherit.h>
#include <heddle/net/stream_listener.h>
#include <heddle/net/tcp.h>

#include "net_test_util.h"

namespace heddle::net {
namespace {

using namespace test;

class TcpOptionsOnProcs : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(procs, TcpOptionsOnProcs, testing::Values(1, 2, 4));

TEST_P(TcpOptionsOnProcs, a_cancelled_context_ends_a_read_and_a_write_that_wait) {
  with_procs(GetParam(), [] {
    for (int i = 0; i < 20; ++i) {
      auto [near, far] = connected_pair();
      fill(near);
      auto [ctx, cancel] = with_cancel(Context::background());
      WaitGroup wg;
      wg.go([&near = near, &ctx = ctx] {
        std::byte buf[5];
        const Result<std::size_t> n = near.read(ctx, buf);
        ASSERT_FALSE(n);
        EXPECT_EQ(n.error().code, Code::kCanceled) << n.error().message();
      });
      wg.go([&near = near, &ctx = ctx] {
        const Result<void> written = near.write(ctx, bytes_of(1 << 20));
        ASSERT_FALSE(written);
        EXPECT_EQ(written.error().code, Code::kCanceled) << written.error().message();
      });
      if (i % 2 == 0) {
        gosched();
        gosched();
      }
      cancel();
      wg.wait();
    }
  });
}

TEST(TcpOptions, a_connection_goes_on_after_a_call_that_its_context_ended) {
  with_procs(2, [] {
    auto [near, far] = connected_pair();
    for (int i = 0; i < 20; ++i) {
      auto [ctx, cancel] = with_timeout(Context::background(), 1ms);
      std::byte buf[5];
      const Result<std::size_t> n = near.read(ctx, buf);
      ASSERT_FALSE(n);
      EXPECT_EQ(n.error().code, Code::kTimeout) << n.error().message();
      EXPECT_EQ(near.read(ctx, buf).error().code, Code::kTimeout);  // ended before it begins
      ASSERT_TRUE(far.write(bytes_of(5)));
      EXPECT_EQ(near.read_full(buf), std::size_t{5});
    }
  });
}

TEST(TcpOptions, a_context_that_ended_fails_a_call_that_could_succeed) {
  with_procs(1, [] {
    auto [near, far] = connected_pair();
    auto [ctx, cancel] = with_cancel(Context::background());
    cancel();
    ASSERT_TRUE(far.write(bytes_of(5)));
    std::byte buf[5];
    EXPECT_EQ(near.read(ctx, buf).error().code, Code::kCanceled);
    EXPECT_EQ(near.write(ctx, buf).error().code, Code::kCanceled);
    EXPECT_EQ(near.read_full(buf), std::size_t{5});
  });
}

TEST(TcpOptions, the_earlier_of_deadline_and_context_ends_a_read) {
  with_procs(2, [] {
    auto [near, far] = connected_pair();
    std::byte buf[5];
    auto [ctx, cancel] = with_cancel(Context::background());
    near.set_read_deadline(now() + 5ms);
    EXPECT_EQ(near.read(ctx, buf).error().code, Code::kTimeout);
    near.set_read_deadline(now() + 1h);
    WaitGroup wg;
    wg.go([&near = near, &ctx = ctx] {
      std::byte inner[5];
      EXPECT_EQ(near.read(ctx, inner).error().code, Code::kCanceled);
    });
    gosched();
    cancel();
    wg.wait();
  });
}

TEST_P(TcpOptionsOnProcs, contexts_that_end_as_data_comes_lose_none) {
  // The end of a context and a readiness meet at every point; slots change their tenants meanwhile.
  with_procs(GetParam(), [] {
    WaitGroup wg;
    for (int worker = 0; worker < 4; ++worker) {
      wg.go([worker] {
        for (int i = 0; i < 40; ++i) {
          auto [near, far] = connected_pair();
          auto [ctx, cancel] = with_cancel(Context::background());
          WaitGroup users;
          users.go([&far = far, worker, i] {
            for (int k = 0; k < (worker + i) % 4; ++k) gosched();
            ASSERT_TRUE(far.write(bytes_of(50, 3)));
            far.close();
          });
          users.go([&cancel = cancel, i] {
            for (int k = 0; k < i % 4; ++k) gosched();
            cancel();
          });
          std::vector<std::byte> got(64);
          std::size_t at = 0;
          Result<std::size_t> n = near.read(ctx, {got.data(), got.size()});
          if (n) {
            at = *n;
          } else {
            EXPECT_EQ(n.error().code, Code::kCanceled) << n.error().message();
          }
          n = near.read_full({got.data() + at, got.size() - at});
          ASSERT_TRUE(n) << n.error().message();
          EXPECT_EQ(at + *n, 50U);
          EXPECT_EQ(check_bytes({got.data(), 50}, 0, 3), 50U);
          users.wait();
        }
      });
    }
    wg.wait();
  });
}

TEST_P(TcpOptionsOnProcs, a_cancelled_context_ends_an_accept_and_a_dial) {
  with_procs(GetParam(), [] {
    Listener listener = must_listen();
    auto [ctx, cancel] = with_cancel(Context::background());
    WaitGroup wg;
    wg.go([&, &ctx = ctx] { EXPECT_EQ(listener.accept(ctx).error().code, Code::kCanceled); });
    gosched();
    cancel();
    wg.wait();
    Conn client = must(dial(*listener.local_address()));
    EXPECT_TRUE(listener.accept());

    Result<Listener> full = listen(any_port(), {.backlog = 0});
    ASSERT_TRUE(full);
    std::vector<Conn> queued;
    for (int i = 0; i < 8; ++i) {
      auto [dialing, stop] = with_timeout(Context::background(), 30ms);
      Result<Conn> conn = dial(*full->local_address(), {.ctx = dialing});
      if (!conn) {
        EXPECT_EQ(conn.error().code, Code::kTimeout) << conn.error().message();
        return;
      }
      queued.push_back(std::move(*conn));
    }
    FAIL() << "the queue never filled";
  });
}

TEST(TcpOptions, a_pool_sees_which_idle_connections_are_fit) {
  with_procs(1, [] {
    auto [near, far] = connected_pair();
    EXPECT_TRUE(near.is_alive());
    ASSERT_TRUE(far.write(bytes_of(3)));
    std::byte buf[3];
    // What nobody asked for is there as soon as loopback has delivered it, which is within send(2).
    EXPECT_FALSE(near.is_alive());
    EXPECT_EQ(near.read_full(buf), std::size_t{3});  // and was not consumed
    EXPECT_EQ(check_bytes(buf, 0), 3U);
    EXPECT_TRUE(near.is_alive());
    far.close();
    EXPECT_EQ(near.read(buf), std::size_t{0});  // the end is here now
    EXPECT_FALSE(near.is_alive());
    near.close();
    EXPECT_FALSE(near.is_alive());
  });
}

TEST(TcpOptions, a_reset_connection_is_not_fit) {
  with_procs(1, [] {
    auto [near, far] = connected_pair();
    ASSERT_TRUE(far.set_linger(0));
    far.close();
    std::byte buf[1];
    EXPECT_FALSE(near.read(buf));
    EXPECT_FALSE(near.is_alive());
  });
}

int option_of(int fd, int level, int name) {
  int value = -1;
  socklen_t length = sizeof value;
  EXPECT_EQ(::getsockopt(fd, level, name, &value, &length), 0);
  return value;
}

TEST(TcpOptions, keep_alive_is_set_as_asked) {
  with_procs(1, [] {
    Listener listener = must_listen();
    Conn conn =
        must(dial(*listener.local_address(), {.keep_alive = KeepAlive{.idle = 7s, .interval = 3s, .probes = 4}}));
    const int fd = conn.native_handle();
    EXPECT_EQ(option_of(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
    EXPECT_EQ(option_of(fd, IPPROTO_TCP, TCP_KEEPIDLE), 7);
    EXPECT_EQ(option_of(fd, IPPROTO_TCP, TCP_KEEPINTVL), 3);
    EXPECT_EQ(option_of(fd, IPPROTO_TCP, TCP_KEEPCNT), 4);
    ASSERT_TRUE(conn.set_keep_alive(KeepAlive{.idle = 0s, .interval = 1h * 1000, .probes = 0}));  // into what can be
    EXPECT_EQ(option_of(fd, IPPROTO_TCP, TCP_KEEPIDLE), 1);
    ASSERT_TRUE(conn.set_keep_alive(std::nullopt));
    EXPECT_EQ(option_of(fd, SOL_SOCKET, SO_KEEPALIVE), 0);
  });
}

TEST(TcpOptions, a_dialer_may_choose_its_own_address) {
  with_procs(1, [] {
    Listener listener = must_listen();
    Conn conn = must(dial(*listener.local_address(), {.local = any_port("127.0.0.2")}));
    EXPECT_EQ(conn.local_address()->to_string().substr(0, 10), "127.0.0.2:");
    EXPECT_EQ(must(listener.accept()).remote_address()->to_string(), conn.local_address()->to_string());
    const Result<Conn> wrong = dial(*listener.local_address(), {.local = any_port("[::1]")});
    EXPECT_FALSE(wrong);
  });
}

TEST(TcpOptions, the_family_narrows_what_all_interfaces_means) {
  with_procs(1, [] {
    const Address any = *Address::parse(":0");
    Result<Listener> v4 = listen(any, {.family = IpFamily::kV4});
    ASSERT_TRUE(v4);
    EXPECT_EQ(v4->local_address()->family(), AF_INET);
    Result<Listener> v6 = listen(any, {.family = IpFamily::kV6});
    ASSERT_TRUE(v6);
    const std::string port = std::to_string(v6->local_address()->port());
    EXPECT_TRUE(dial(*Address::parse("[::1]:" + port)));
    EXPECT_EQ(dial(*Address::parse("127.0.0.1:" + port)).error().code, Code::kRefused);
    EXPECT_EQ(listen(any_port(), {.family = IpFamily::kV6}).error().code, Code::kInvalid);
  });
}

TEST(TcpOptions, a_callback_sets_options_before_the_bind_or_refuses) {
  with_procs(1, [] {
    Result<Listener> listener = listen(any_port(), {.configure = [](int fd) -> Result<void> {
                                         const int size = 65536;
                                         EXPECT_EQ(::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size), 0);
                                         return {};
                                       }});
    ASSERT_TRUE(listener);
    EXPECT_EQ(option_of(listener->native_handle(), SOL_SOCKET, SO_RCVBUF), 2 * 65536);  // socket(7): it is doubled
    const Result<Listener> none = listen(any_port(), {.configure = [](int) -> Result<void> {
                                           return std::unexpected(Error{Code::kLimit, 0, "test"});
                                         }});
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().code, Code::kLimit);
  });
}

TEST_P(TcpOptionsOnProcs, a_connection_handed_over_and_taken_back_loses_nothing) {
  with_procs(GetParam(), [] {
    for (int i = 0; i < 20; ++i) {
      auto [near, far] = connected_pair();
      WaitGroup wg;
      wg.go([&near = near] {  // also when it is watched, and somebody waits
        std::byte buf[1];
        EXPECT_EQ(near.read(buf).error().code, Code::kClosed);
      });
      gosched();
      const Result<int> fd = near.release_fd();
      ASSERT_TRUE(fd) << fd.error().message();
      wg.wait();
      EXPECT_EQ(near.native_handle(), -1);
      EXPECT_EQ(near.release_fd().error().code, Code::kClosed);
      ASSERT_EQ(::write(*fd, "ab", 2), 2);
      std::byte buf[2];
      EXPECT_EQ(far.read_full(buf), std::size_t{2});
      ASSERT_TRUE(far.write(bytes_of(2)));  // while nobody of us has it

      Conn again = must(Conn::adopt(*fd));
      again.set_read_deadline(patience());
      EXPECT_EQ(again.read_full(buf), std::size_t{2});
      EXPECT_EQ(check_bytes(buf, 0), 2U);
      wg.go([&again] {
        std::byte inner[2];
        EXPECT_EQ(again.read_full(inner), std::size_t{2});
      });
      gosched();
      ASSERT_TRUE(far.write(bytes_of(2)));
      wg.wait();
    }
  });
}

TEST(TcpOptions, what_does_not_fit_is_not_adopted_and_not_leaked) {
  with_procs(1, [] {
    Listener listener = must_listen();
    const int before = open_fds();
    EXPECT_EQ(Conn::adopt(::dup(listener.native_handle())).error().code, Code::kInvalid);
    EXPECT_EQ(Conn::adopt(::dup(STDERR_FILENO)).error().code, Code::kInvalid);
    EXPECT_EQ(Conn::adopt(::socket(AF_INET, SOCK_DGRAM, 0)).error().code, Code::kInvalid);
    EXPECT_EQ(Conn::adopt(-1).error().code, Code::kInvalid);
    EXPECT_EQ(Listener::adopt(::socket(AF_INET, SOCK_STREAM, 0)).error().code, Code::kInvalid);
    EXPECT_EQ(open_fds(), before);
  });
}

TEST(TcpOptions, a_listener_handed_over_keeps_the_connections_that_wait_in_it) {
  with_procs(2, [] {
    Listener listener = must_listen();
    const Address address = *listener.local_address();
    Conn client = must(dial(address));
    const Result<int> fd = listener.release_fd();
    ASSERT_TRUE(fd);
    Result<Listener> successor = Listener::adopt(*fd);
    ASSERT_TRUE(successor) << successor.error().message();
    EXPECT_EQ(*successor->local_address(), address);
    Conn server = must(successor->accept());
    ASSERT_TRUE(client.write(bytes_of(4)));
    std::byte buf[4];
    EXPECT_EQ(server.read_full(buf), std::size_t{4});
  });
}

TEST(TcpOptions, a_listener_serves_as_a_source_of_transports) {
  with_procs(1, [] {
    Listener tcp = must_listen();
    Conn near = must(dial(*tcp.local_address()));
    TransportListener& listener = tcp;
    Result<std::unique_ptr<Transport>> far = listener.accept_transport();
    ASSERT_TRUE(far);
    ASSERT_TRUE((*far)->write(bytes_of(9)));
    (*far)->close();
    std::byte buf[10];
    EXPECT_EQ(static_cast<Reader&>(near).read_full(buf), std::size_t{9});
  });
}

TEST(TcpOptions, systemds_variables_are_read_as_it_means_them) {
  const auto names = [](const char* pid, const char* count, const char* text) {
    std::string out;
    for (const InheritedFd& one : detail::parse_inherited(pid, count, text, 42, 3)) {
      out += std::to_string(one.fd) + "=" + one.name + " ";
    }
    return out;
  };
  EXPECT_EQ(names("42", "2", "http:admin"), "3=http 4=admin ");
  EXPECT_EQ(names("42", "3", "http"), "3=http 4=unknown 5=unknown ");
  EXPECT_EQ(names("42", "2", ":x"), "3=unknown 4=x ");
  EXPECT_EQ(names("42", "1", nullptr), "3=unknown ");
  EXPECT_EQ(names("41", "1", "http"), "");  // meant for another process
  EXPECT_EQ(names("42", "-1", ""), "");
  EXPECT_EQ(names("42", "1x", ""), "");
  EXPECT_EQ(names("42", "99999999999999999999", ""), "");
  EXPECT_EQ(names(nullptr, "1", ""), "");
  EXPECT_EQ(names("42", nullptr, ""), "");
}

}  // namespace
}  // namespace heddle::net
