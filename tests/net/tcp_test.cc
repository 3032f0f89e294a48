// TCP for goroutines over loopback: data, addresses, dialing and listening, errors by name.
#include <heddle/net/tcp.h>

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <atomic>
#include <cerrno>

#include <heddle/net/internal/sys.h>

#include "net_test_util.h"

namespace heddle::net {
namespace {

using namespace test;

// Echoes until the end of the stream, then ends its own.
void echo(Conn conn) {
  std::vector<std::byte> buf(8192);
  for (;;) {
    const Result<std::size_t> n = conn.read(buf);
    ASSERT_TRUE(n) << n.error().message();
    if (*n == 0) break;
    const Result<void> written = conn.write({buf.data(), *n});
    ASSERT_TRUE(written) << written.error().message();
  }
}

// Sends `size` bytes in pieces of random sizes and checks that they come back.
void check_echo(Conn conn, std::size_t size, std::uint64_t seed) {
  WaitGroup sender;
  sender.go([&] {
    std::mt19937_64 random(seed);
    for (std::size_t at = 0; at < size;) {
      const std::size_t piece = std::min<std::size_t>(size - at, 1 + random() % 20'000);
      const Result<void> written = conn.write(bytes_of(piece, seed, at));
      ASSERT_TRUE(written) << written.error().message();
      at += piece;
    }
    ASSERT_TRUE(conn.close_write());
  });
  std::vector<std::byte> buf(10'000);
  std::uint64_t at = 0;
  for (;;) {
    const Result<std::size_t> n = conn.read(buf);
    ASSERT_TRUE(n) << n.error().message();
    if (*n == 0) break;
    at = check_bytes({buf.data(), *n}, at, seed);
  }
  EXPECT_EQ(at, size);
  sender.wait();
}

class TcpOnProcs : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(procs, TcpOnProcs, testing::Values(1, 2, 4));

TEST_P(TcpOnProcs, what_is_sent_comes_back_whole_and_in_order) {
  with_procs(GetParam(), [] {
    auto [near, far] = connected_pair();
    WaitGroup wg;
    wg.go([c = std::move(far)]() mutable { echo(std::move(c)); });
    check_echo(std::move(near), 4 << 20, 1);
    wg.wait();
  });
}

TEST_P(TcpOnProcs, many_connections_at_once) {
  const int kConns = kSanitized ? 100 : 300;
  with_procs(GetParam(), [kConns] {
    Listener listener = must_listen();
    const Address address = *listener.local_address();
    WaitGroup wg;
    wg.go([&] {
      for (;;) {
        Result<Conn> conn = listener.accept();
        if (!conn) {
          EXPECT_EQ(conn.error().code, Code::kClosed) << conn.error().message();
          return;
        }
        wg.go([c = std::move(*conn)]() mutable { echo(std::move(c)); });
      }
    });
    WaitGroup clients;
    for (int i = 0; i < kConns; ++i) {
      clients.go([&, i] { check_echo(must(dial(address)), 30'000, static_cast<std::uint64_t>(i)); });
    }
    clients.wait();
    listener.close();
    wg.wait();
  });
}

TEST_P(TcpOnProcs, a_ping_pong_pair_on_each_of_many_connections) {
  with_procs(GetParam(), [] {
    WaitGroup wg;
    for (int i = 0; i < 20; ++i) {
      auto [near, far] = connected_pair();
      wg.go([c = std::move(far)]() mutable { echo(std::move(c)); });
      wg.go([c = std::move(near)]() mutable {
        std::byte buf[64];
        for (std::uint64_t round = 0; round < 300; ++round) {
          ASSERT_TRUE(c.write(bytes_of(64, round)));
          const Result<std::size_t> n = c.read_full(buf);
          ASSERT_TRUE(n);
          ASSERT_EQ(*n, 64U);
          ASSERT_EQ(check_bytes(buf, 0, round), 64U);
        }
      });
    }
    wg.wait();
  });
}

TEST(Tcp, an_empty_read_and_an_empty_write_do_nothing) {
  with_procs(1, [] {
    auto [near, far] = connected_pair();
    EXPECT_EQ(near.read({}), std::size_t{0});
    EXPECT_TRUE(near.write({}));
    EXPECT_TRUE(near.writev({}));
  });
}

TEST_P(TcpOnProcs, a_writer_that_waits_goes_on_when_the_peer_reads) {
  with_procs(GetParam(), [] {
    auto [near, far] = connected_pair();
    constexpr std::size_t kSize = 16 << 20;
    WaitGroup wg;
    wg.go([&near] {
      ASSERT_TRUE(near.write(bytes_of(kSize)));
      ASSERT_TRUE(near.close_write());
    });
    std::vector<std::byte> buf(64 << 10);
    std::uint64_t at = 0;
    for (;;) {
      const Result<std::size_t> n = far.read(buf);
      ASSERT_TRUE(n);
      if (*n == 0) break;
      at = check_bytes({buf.data(), *n}, at);
    }
    EXPECT_EQ(at, kSize);
    wg.wait();
  });
}

TEST(Tcp, dial_to_a_port_nobody_listens_on_is_refused) {
  with_procs(1, [] {
    for (const char* host : {"127.0.0.1", "[::1]"}) {
      Listener listener = must_listen(any_port(host));
      const Address address = *listener.local_address();
      listener.close();
      const Result<Conn> conn = dial(address);
      ASSERT_FALSE(conn);
      EXPECT_EQ(conn.error().code, Code::kRefused) << conn.error().message();
    }
  });
}

TEST(Tcp, dial_gives_up_at_its_deadline) {
  with_procs(1, [] {
    // A listener whose queue is full drops what asks to connect; the kernel would try for minutes.
    Result<Listener> listener = listen(any_port(), {.backlog = 0});
    ASSERT_TRUE(listener);
    const Address address = *listener->local_address();
    std::vector<Conn> queued;
    for (int i = 0; i < 8; ++i) {
      Result<Conn> conn = dial(address, {.deadline = now() + 50ms});
      if (!conn) {
        EXPECT_EQ(conn.error().code, Code::kTimeout) << conn.error().message();
        return;
      }
      queued.push_back(std::move(*conn));
    }
    FAIL() << "the queue never filled";
  });
}

TEST(Tcp, dial_with_a_deadline_in_the_past_times_out_or_is_refused) {
  with_procs(1, [] {
    Listener listener = must_listen();
    const Result<Conn> conn = dial(*listener.local_address(), {.deadline = now() - 1s});
    ASSERT_FALSE(conn);
    EXPECT_EQ(conn.error().code, Code::kTimeout);
  });
}

TEST(Tcp, ipv6_and_dual_stack) {
  with_procs(1, [] {
    auto [near, far] = connected_pair(any_port("[::1]"));
    WaitGroup wg;
    wg.go([c = std::move(far)]() mutable { echo(std::move(c)); });
    check_echo(std::move(near), 100'000, 6);
    wg.wait();

    Listener both = must_listen(*Address::parse(":0"));
    const std::string port = std::to_string(both.local_address()->port());
    for (const char* host : {"127.0.0.1:", "[::1]:"}) {
      Conn client = must(dial(*Address::parse(host + port)));
      Conn server = must(both.accept());
      EXPECT_EQ(client.remote_address()->to_string(), host + port);
      EXPECT_EQ(server.remote_address()->to_string(), client.local_address()->to_string());
    }
  });
}

TEST(Tcp, nodelay_is_set_at_both_ends) {
  with_procs(1, [] {
    auto [near, far] = connected_pair();
    for (Conn* conn : {&near, &far}) {
      int on = 0;
      socklen_t length = sizeof on;
      ASSERT_EQ(::getsockopt(conn->native_handle(), IPPROTO_TCP, TCP_NODELAY, &on, &length), 0);
      EXPECT_EQ(on, 1);
    }
    ASSERT_TRUE(near.set_nodelay(false));
  });
}

TEST(Tcp, writev_sends_all_of_many_buffers_in_order) {
  with_procs(1, [] {
    auto [near, far] = connected_pair();
    std::vector<std::vector<std::byte>> pieces;
    std::vector<iovec> iov;
    std::size_t total = 0;
    std::mt19937_64 random(5);
    for (int i = 0; i < 3000; ++i) {
      const std::size_t size = i % 10 == 0 ? 0 : random() % 4000;
      pieces.push_back(bytes_of(size, 9, total));
      total += size;
    }
    for (auto& piece : pieces) iov.push_back({piece.data(), piece.size()});
    WaitGroup wg;
    wg.go([&near = near, &iov] {
      ASSERT_TRUE(near.writev(iov));
      ASSERT_TRUE(near.close_write());
    });
    std::vector<std::byte> buf(50'000);
    std::uint64_t at = 0;
    for (;;) {
      const Result<std::size_t> n = far.read(buf);
      ASSERT_TRUE(n);
      if (*n == 0) break;
      at = check_bytes({buf.data(), *n}, at, 9);
    }
    EXPECT_EQ(at, total);
    wg.wait();
  });
}

// The kernel in a bad mood: short counts, EINTR, and EAGAIN where there is room.
std::atomic<unsigned> mood{0};
const Sys& moody_sys() {
  static const Sys table = [] {
    Sys sys = kRealSys;
    sys.send = [](int fd, const void* buf, std::size_t len, int flags) -> ssize_t {
      const unsigned m = mood.fetch_add(1);
      if (m % 7 == 3) return -EINTR;
      return kRealSys.send(fd, buf, std::min<std::size_t>(len, 1 + m % 100), flags);
    };
    sys.sendmsg = [](int fd, const msghdr* msg, int flags) -> ssize_t {
      const unsigned m = mood.fetch_add(1);
      if (m % 7 == 3) return -EINTR;
      iovec cut = msg->msg_iov[0];
      cut.iov_len = std::min<std::size_t>(cut.iov_len, m % 50);  // 0: nothing sent
      msghdr one = *msg;
      one.msg_iov = &cut;
      one.msg_iovlen = 1;
      if (m % 5 == 1) return kRealSys.sendmsg(fd, msg, flags);
      return cut.iov_len == 0 ? 0 : kRealSys.sendmsg(fd, &one, flags);
    };
    sys.recv = [](int fd, void* buf, std::size_t len, int flags) -> ssize_t {
      const unsigned m = mood.fetch_add(1);
      if (m % 7 == 3) return -EINTR;
      return kRealSys.recv(fd, buf, len, flags);
    };
    return sys;
  }();
  return table;
}

TEST(Tcp, short_writes_and_interrupted_calls_lose_nothing) {
  const ScopedSys moody(moody_sys());
  with_procs(2, [] {
    auto [near, far] = connected_pair();
    WaitGroup wg;
    wg.go([&near = near] {
      for (std::uint64_t at = 0; at < 100'000; at += 10'000) {
        if (at % 20'000 == 0) {
          ASSERT_TRUE(near.write(bytes_of(10'000, 2, at)));
        } else {
          auto a = bytes_of(3'000, 2, at);
          auto b = bytes_of(7'000, 2, at + 3'000);
          const iovec iov[] = {{a.data(), a.size()}, {nullptr, 0}, {b.data(), b.size()}};
          ASSERT_TRUE(near.writev(iov));
        }
      }
      ASSERT_TRUE(near.close_write());
    });
    std::vector<std::byte> buf(100'001);
    const Result<std::size_t> n = far.read_full(buf);
    ASSERT_TRUE(n);
    EXPECT_EQ(*n, 100'000U);
    EXPECT_EQ(check_bytes({buf.data(), *n}, 0, 2), 100'000U);
    wg.wait();
  });
}

TEST(Tcp, accept_says_so_when_descriptors_run_out_and_works_again_after) {
  static std::atomic<int> failures{0};
  Sys sys = kRealSys;
  sys.accept4 = [](int fd, sockaddr* sa, socklen_t* len, int flags) {
    if (failures.load() > 0) {
      failures.fetch_sub(1);
      return failures.load() % 2 == 0 ? -EMFILE : -ECONNABORTED;
    }
    return kRealSys.accept4(fd, sa, len, flags);
  };
  const ScopedSys scoped(sys);
  with_procs(1, [] {
    Listener listener = must_listen();
    Conn client = must(dial(*listener.local_address()));
    failures = 4;  // aborted, EMFILE, aborted, EMFILE
    for (int i = 0; i < 2; ++i) {
      const Result<Conn> conn = listener.accept();
      ASSERT_FALSE(conn);
      EXPECT_EQ(conn.error().code, Code::kNoResources) << conn.error().message();
    }
    EXPECT_TRUE(listener.accept());
  });
}

TEST(Tcp, listen_outlasts_a_predecessor_that_holds_the_port_a_little_longer) {
  with_procs(2, [] {
    Listener first = must_listen();
    const Address address = *first.local_address();
    WaitGroup wg;
    wg.go([&] {
      sleep(30ms);
      first.close();
    });
    EXPECT_TRUE(listen(address));
    wg.wait();
  });
}

TEST(Tcp, an_address_in_use_is_told_by_name) {
  with_procs(1, [] {
    Listener first = must_listen();
    const Result<Listener> second = listen(*first.local_address());
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, Code::kAddressInUse);
  });
}

}  // namespace
}  // namespace heddle::net
