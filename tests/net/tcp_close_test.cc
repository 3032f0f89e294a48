// Ends: half-closes, resets, closing under those who use a connection, and what is left when all is closed.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <atomic>
#include <optional>

#include <heddle/net/internal/sys.h>
#include <heddle/net/tcp.h>

#include "net_test_util.h"

namespace heddle::net {
namespace {

using namespace test;

class TcpCloseOnProcs : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(procs, TcpCloseOnProcs, testing::Values(1, 2, 4));

TEST(TcpClose, half_close_ends_one_direction_only) {
  with_procs(1, [] {
    auto [near, far] = connected_pair();
    ASSERT_TRUE(near.write(bytes_of(1000)));
    ASSERT_TRUE(near.close_write());
    std::vector<std::byte> buf(2000);
    const Result<std::size_t> n = far.read_full(buf);  // ends early: the stream ended
    ASSERT_TRUE(n);
    EXPECT_EQ(*n, 1000U);
    EXPECT_EQ(far.read(buf), std::size_t{0});  // and stays at its end
    ASSERT_TRUE(far.write(bytes_of(500)));     // the other direction lives
    far.close();
    const Result<std::size_t> back = near.read_full(buf);
    ASSERT_TRUE(back);
    EXPECT_EQ(*back, 500U);
    const Result<void> late = near.write(bytes_of(1));
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().code, Code::kReset) << late.error().message();
  });
}

// Waits until `count` connections can be accepted: the last packet of a handshake may come after dial() has returned.
void wait_for_queue(const Listener& listener, std::uint32_t count) {
  tcp_info info{};
  const TimePoint limit = patience();
  while (info.tcpi_unacked < count) {
    ASSERT_LT(now(), limit);
    sleep(100us);
    socklen_t size = sizeof info;
    ASSERT_EQ(::getsockopt(listener.native_handle(), IPPROTO_TCP, TCP_INFO, &info, &size), 0);
  }
}

TEST(TcpClose, a_drained_listener_gives_what_the_kernel_had_let_in) {
  for (const bool shares : {false, true}) {
    with_procs(2, [shares] {
      Listener listener = must(listen(any_port(), {.reuse_port = shares}));
      const Address address = *listener.local_address();
      std::vector<Conn> early;
      for (int i = 0; i < 20; ++i) {
        early.push_back(must(dial(address)));
        ASSERT_TRUE(early.back().write(bytes_of(10)));
      }
      wait_for_queue(listener, 20);
      WaitGroup wg;
      wg.go([&] { listener.drain(50ms); });
      int accepted = 0;
      for (;;) {
        Result<Conn> conn = listener.accept();
        if (!conn) {
          EXPECT_EQ(conn.error().code, Code::kClosed);
          break;
        }
        ++accepted;
        std::byte buf[10];
        conn->set_deadline(patience());
        EXPECT_EQ(conn->read_full(buf), std::size_t{10});  // no filter keeps packets out of it
        ASSERT_TRUE(conn->write(buf));
      }
      wg.wait();
      EXPECT_EQ(accepted, 20);
      for (Conn& conn : early) {
        std::byte buf[20];
        conn.set_deadline(patience());
        EXPECT_EQ(conn.read_full(buf), std::size_t{10});
      }
      const Result<Conn> late = dial(address);
      ASSERT_FALSE(late);
      EXPECT_EQ(late.error().code, Code::kRefused);
      listener.drain();  // closed: returns at once
    });
  }
}

TEST(TcpClose, a_listener_that_nobody_accepts_from_is_drained_for_a_while_only) {
  with_procs(2, [] {
    Listener listener = must_listen();
    Conn left = must(dial(*listener.local_address()));
    wait_for_queue(listener, 1);
    listener.drain(5ms);
    std::byte buf[1];
    left.set_deadline(patience());
    const Result<std::size_t> n = left.read(buf);
    ASSERT_FALSE(n);
    EXPECT_EQ(n.error().code, Code::kReset);
    // A close() ends it early.
    Listener other = must_listen();
    Conn waits = must(dial(*other.local_address()));
    WaitGroup wg;
    wg.go([&] { other.drain(1h); });
    gosched();
    other.close();
    wg.wait();
  });
}

TEST(TcpClose, close_read_ends_a_read_under_way) {
  with_procs(2, [] {
    auto [near, far] = connected_pair();
    WaitGroup wg;
    wg.go([&near] {
      std::byte buf[16];
      EXPECT_EQ(near.read(buf), std::size_t{0});
    });
    gosched();
    ASSERT_TRUE(near.close_read());
    wg.wait();
    ASSERT_TRUE(near.write(bytes_of(3)));
    std::byte buf[3];
    EXPECT_EQ(far.read_full(buf), std::size_t{3});
  });
}

TEST(TcpClose, an_end_that_came_with_the_last_bytes_is_seen) {
  // Data and FIN are there before the first read, so no event will follow the short read.
  with_procs(1, [] {
    for (int i = 0; i < 50; ++i) {
      auto [near, far] = connected_pair();
      std::byte buf[100];
      if (i % 2 == 1) {  // also when the descriptor is watched already
        WaitGroup wg;
        wg.go([&near] { ASSERT_TRUE(near.write(bytes_of(1))); });
        ASSERT_EQ(far.read(buf), std::size_t{1});
        wg.wait();
      }
      ASSERT_TRUE(near.write(bytes_of(10)));
      near.close();
      ASSERT_EQ(far.read(buf), std::size_t{10});
      far.set_read_deadline(patience());
      ASSERT_EQ(far.read(buf), std::size_t{0});
    }
  });
}

TEST_P(TcpCloseOnProcs, close_wakes_a_reader_and_a_writer_with_closed) {
  with_procs(GetParam(), [] {
    for (int i = 0; i < 10; ++i) {
      auto [near, far] = connected_pair();
      fill(near);
      WaitGroup wg;
      wg.go([&near] {
        std::byte buf[5];
        const Result<std::size_t> n = near.read(buf);
        ASSERT_FALSE(n);
        EXPECT_EQ(n.error().code, Code::kClosed);
      });
      wg.go([&near] {
        const Result<void> written = near.write(bytes_of(1 << 20));
        ASSERT_FALSE(written);
        EXPECT_EQ(written.error().code, Code::kClosed) << written.error().message();
      });
      if (i % 2 == 0) {
        gosched();
        gosched();
      }
      near.close();
      wg.wait();
      near.close();  // idempotent
      std::byte buf[1];
      EXPECT_EQ(near.read(buf).error().code, Code::kClosed);
      EXPECT_EQ(near.write(buf).error().code, Code::kClosed);
      EXPECT_EQ(near.local_address().error().code, Code::kClosed);
      EXPECT_EQ(near.native_handle(), -1);
    }
  });
}

TEST_P(TcpCloseOnProcs, close_wakes_an_acceptor_with_closed) {
  with_procs(GetParam(), [] {
    for (int i = 0; i < 50; ++i) {
      Listener listener = must_listen();
      WaitGroup wg;
      wg.go([&listener] { EXPECT_EQ(listener.accept().error().code, Code::kClosed); });
      if (i % 2 == 0) gosched();
      listener.close();
      wg.wait();
      listener.close();
      EXPECT_EQ(listener.accept().error().code, Code::kClosed);
    }
  });
}

TEST_P(TcpCloseOnProcs, closing_a_busy_connection_from_another_goroutine_harms_nobody) {
  // Closers meet readers and writers at every point, while new connections reuse slots and descriptor numbers at once.
  with_procs(GetParam(), [] {
    WaitGroup wg;
    for (int worker = 0; worker < 6; ++worker) {
      wg.go([worker] {
        for (int i = 0; i < 25; ++i) {
          auto [near, far] = connected_pair();
          const auto seed = static_cast<std::uint64_t>(worker * 1000 + i);
          WaitGroup users;
          users.go([&near = near, seed] {
            std::uint64_t at = 0;
            for (;;) {
              if (!near.write(bytes_of(700, seed, at))) return;
              at += 700;
            }
          });
          users.go([&far = far, seed] {
            std::byte buf[997];
            std::uint64_t at = 0;
            for (;;) {
              const Result<std::size_t> n = far.read(buf);
              if (!n || *n == 0) return;
              at = check_bytes({buf, *n}, at, seed);
            }
          });
          users.go([&near = near, &far = far, i] {
            for (int k = 0; k < i % 5; ++k) gosched();
            (i % 2 == 0 ? near : far).close();
          });
          users.wait();
        }
      });
    }
    wg.wait();
  });
}

TEST(TcpClose, a_stale_connection_object_does_not_reach_the_slots_next_tenant) {
  with_procs(1, [] {
    auto [a, b] = connected_pair();
    a.close();
    b.close();
    sleep(1ms);  // both are finished by now or soon: slots are taken again below in either case
    auto [c, d] = connected_pair();
    auto [e, f] = connected_pair();
    std::byte buf[4];
    EXPECT_EQ(a.read(buf).error().code, Code::kClosed);
    a.close();
    b.set_deadline(now() - 1s);
    ASSERT_TRUE(c.write(bytes_of(4)));
    ASSERT_TRUE(e.write(bytes_of(4)));
    EXPECT_EQ(d.read_full(buf), std::size_t{4});
    EXPECT_EQ(f.read_full(buf), std::size_t{4});
  });
}

TEST(TcpClose, a_reset_is_told_by_name) {
  with_procs(2, [] {
    auto [near, far] = connected_pair();
    WaitGroup wg;
    wg.go([&far = far] {
      std::byte buf[8];
      const Result<std::size_t> n = far.read(buf);
      ASSERT_FALSE(n);
      EXPECT_EQ(n.error().code, Code::kReset) << n.error().message();
    });
    gosched();
    ASSERT_TRUE(near.set_linger(0));
    near.close();
    wg.wait();
    far.set_deadline(patience());
    std::byte buf[8];
    EXPECT_FALSE(far.write(buf));
  });
}

TEST(TcpClose, a_second_reader_dies_with_a_message) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(with_procs(1,
                          [] {
                            auto [near, far] = connected_pair();
                            go([&near = near] {
                              std::byte buf[1];
                              static_cast<void>(near.read(buf));
                            });
                            gosched();
                            std::byte buf[1];
                            static_cast<void>(near.read(buf));
                          }),
               "second goroutine calls read");
}

TEST_P(TcpCloseOnProcs, a_closed_listeners_port_is_free_at_once) {
  static std::atomic<int> binds{0};
  Sys sys = kRealSys;
  sys.bind = [](int fd, const sockaddr* sa, socklen_t len) {
    binds.fetch_add(1);
    return kRealSys.bind(fd, sa, len);
  };
  const ScopedSys scoped(sys);
  binds = 0;
  with_procs(GetParam(), [] {
    Listener listener = must_listen();
    const Address address = *listener.local_address();
    for (int i = 0; i < 100; ++i) {
      WaitGroup wg;
      wg.go([&] { static_cast<void>(listener.accept()); });  // so that it is watched
      gosched();
      listener.close();
      wg.wait();
      listener = must_listen(address);
    }
  });
  EXPECT_EQ(binds.load(), 101) << "a bind had to be tried again";
}

TEST_P(TcpCloseOnProcs, thousands_of_connections_leave_no_descriptor_behind) {
  int before = 0;
  with_procs(GetParam(), [&before] {
    Listener listener = must_listen();
    const Address address = *listener.local_address();
    const int rounds = kSanitized ? 300 : 1500;
    const auto churn = [&] {
      Conn near = must(dial(address));
      Conn far = must(listener.accept());
      std::byte buf[100];
      ASSERT_TRUE(near.write(bytes_of(100)));
      ASSERT_EQ(far.read_full(buf), std::size_t{100});
      near.close();
      ASSERT_EQ(far.read(buf), std::size_t{0});
    };
    churn();
    before = open_fds();
    for (int i = 0; i < rounds; ++i) churn();
    // A connection that was closed may still be on its way out; a leak would show as hundreds.
    EXPECT_LE(open_fds(), before + 10);
  });
}

TEST(TcpClose, the_end_of_a_run_closes_what_was_left_open_and_frees_the_ports) {
  static std::atomic<int> binds{0};
  Sys sys = kRealSys;
  sys.bind = [](int fd, const sockaddr* sa, socklen_t len) {
    binds.fetch_add(1);
    return kRealSys.bind(fd, sa, len);
  };
  const ScopedSys scoped(sys);
  const int before = open_fds();
  Address address;
  Conn outlived;
  for (int i = 0; i < 3; ++i) {
    with_procs(2, [&] {
      Result<Listener> listener = listen(i == 0 ? any_port() : address);
      ASSERT_TRUE(listener) << listener.error().message();
      address = *listener->local_address();
      auto [near, far] = connected_pair();
      EXPECT_EQ(outlived.native_handle(), -1);
      outlived = std::move(near);
      static std::optional<Listener> kept;
      kept.reset();
      kept.emplace(std::move(*listener));
      static std::optional<Conn> kept_conn;
      kept_conn.emplace(std::move(far));
      go([] {  // parked in a read when the run ends
        std::byte buf[1];
        static_cast<void>(kept_conn->read(buf));
      });
      go([] { static_cast<void>(kept->accept()); });
      gosched();
    });
    EXPECT_EQ(open_fds(), before);
    EXPECT_EQ(outlived.native_handle(), -1);
  }
  EXPECT_EQ(binds.load(), 6) << "a bind had to be tried again";  // two listeners a run
}

}  // namespace
}  // namespace heddle::net
