// The pool: its limits, its line, what expires, what gives way. First by itself, then under a client.
#include <heddle/core/context.h>
#include <heddle/core/test.h>
#include <heddle/http/internal/client_pool.h>
#include <heddle/net/memory.h>
#include <heddle/net/unix.h>

#include <vector>

#include "client_test_util.h"

namespace heddle::http::test {
namespace {

std::shared_ptr<ClientConn> new_conn() {
  auto [near, far] = net::test::must(net::unix_pair());
  return std::make_shared<ClientConn>(std::make_unique<net::UnixConn>(std::move(near)));
}

ClientPool::Lease must_acquire(ClientPool& pool, const std::string& origin) {
  return net::test::must(pool.acquire({}, origin));
}

/// Waits until that many stand in line.
void until_waiting(ClientPool& pool, std::size_t n) {
  for (const TimePoint until = net::test::patience(); pool.counts().waiting != n && now() < until;) gosched();
  ASSERT_EQ(pool.counts().waiting, n);
}

TEST(ClientPool, the_one_used_last_is_given_out_first) {
  with_network([] {
    const auto pool = std::make_shared<ClientPool>(PoolLimits{});
    ClientPool::Lease a = must_acquire(*pool, "o");
    ClientPool::Lease b = must_acquire(*pool, "o");
    EXPECT_EQ(a.conn, nullptr);
    a.conn = new_conn();
    b.conn = new_conn();
    const ClientConn* const last = b.conn.get();
    a.keep();
    b.keep();
    EXPECT_EQ(pool->counts().idle, 2U);
    EXPECT_EQ(must_acquire(*pool, "other").conn, nullptr);
    ClientPool::Lease c = must_acquire(*pool, "o");
    EXPECT_EQ(c.conn.get(), last);
    ASSERT_TRUE(c.next_idle());
    EXPECT_NE(c.conn.get(), last);
    EXPECT_EQ(pool->counts().open, 1U);
    EXPECT_FALSE(c.next_idle());
    EXPECT_EQ(c.conn, nullptr);
    c.give_up();
    EXPECT_EQ(pool->counts().open, 0U);
  });
}

TEST(ClientPool, who_waits_is_served_in_line_by_connections_and_by_slots) {
  with_network([] {
    const auto pool = std::make_shared<ClientPool>(PoolLimits{.per_origin = 1});
    ClientPool::Lease lease = must_acquire(*pool, "o");
    lease.conn = new_conn();
    const ClientConn* const conn = lease.conn.get();
    std::vector<int> order;
    WaitGroup group;
    for (int i = 0; i < 4; ++i) {
      group.go([&, i] {
        ClientPool::Lease mine = must_acquire(*pool, "o");
        order.push_back(i);  // one lease at a time
        EXPECT_EQ(mine.conn.get(), i < 2 ? conn : nullptr);
        if (i == 0) mine.keep();
      });
      until_waiting(*pool, static_cast<std::size_t>(i + 1));
    }
    lease.keep();
    group.wait();
    EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3}));
    EXPECT_EQ(pool->counts().open, 0U);
  });
}

TEST(ClientPool, who_leaves_the_line_takes_nothing_along) {
  with_network([] {
    const auto pool = std::make_shared<ClientPool>(PoolLimits{.per_origin = 1});
    ClientPool::Lease lease = must_acquire(*pool, "o");
    auto [ctx, cancel] = with_cancel({});
    WaitGroup group;
    group.go([&, &c = ctx] { EXPECT_EQ(pool->acquire(c, "o").error().code, Code::kCanceled); });
    until_waiting(*pool, 1);
    int got = 0;
    group.go([&] {
      ClientPool::Lease mine = must_acquire(*pool, "o");
      ++got;
    });
    until_waiting(*pool, 2);
    cancel();
    until_waiting(*pool, 1);
    lease.give_up();
    group.wait();
    EXPECT_EQ(got, 1);
    EXPECT_EQ(pool->acquire(ctx, "o").error().code, Code::kCanceled);
    EXPECT_EQ(pool->counts().open, 0U);
  });
}

TEST(ClientPool, leaving_and_being_served_at_once_loses_nothing) {
  with_network([] {
    const auto pool = std::make_shared<ClientPool>(PoolLimits{.per_origin = 2, .in_all = 3});
    WaitGroup group;
    WaitGroup cancels;
    std::atomic<int> served{0};
    std::atomic<int> holders{0};
    std::atomic<int> most{0};
    for (int i = 0; i < 16; ++i) {
      group.go([&, i] {
        const std::string origin(1, static_cast<char>('a' + i % 4));
        for (int k = 0; k < 60; ++k) {
          auto [ctx, cancel] = with_cancel({});
          cancels.go([c = cancel] {
            gosched();
            c();
          });
          Result<ClientPool::Lease> lease = pool->acquire(k % 3 == 0 ? ctx : Context(), origin);
          if (!lease) continue;
          ++served;
          const int n = ++holders;
          for (int m = most; m < n && !most.compare_exchange_weak(m, n);) {
          }
          if (lease->conn == nullptr) lease->conn = new_conn();
          gosched();
          --holders;
          if (k % 5 != 0) lease->keep();
        }
      });
    }
    group.wait();
    cancels.wait();
    EXPECT_GE(served, 16 * 40);
    EXPECT_LE(most, 3);
    EXPECT_EQ(pool->counts().waiting, 0U);
    EXPECT_EQ(pool->counts().open, pool->counts().idle);
    pool->close_idle();
    EXPECT_EQ(pool->counts().open, 0U);
  });
}

TEST(ClientPool, an_idle_connection_gives_way_to_another_origin) {
  with_network([] {
    const auto pool = std::make_shared<ClientPool>(PoolLimits{.in_all = 2});
    ClientPool::Lease a = must_acquire(*pool, "a");
    ClientPool::Lease b = must_acquire(*pool, "b");
    a.conn = new_conn();
    b.conn = new_conn();
    a.keep();
    // a's gives way at once
    ClientPool::Lease c = must_acquire(*pool, "c");
    EXPECT_EQ(pool->counts().idle, 0U);
    EXPECT_EQ(pool->counts().open, 2U);
    // and b's, as soon as it is idle, to who waits
    WaitGroup group;
    group.go([&] {
      ClientPool::Lease d = must_acquire(*pool, "d");
      EXPECT_EQ(d.conn, nullptr);
      EXPECT_EQ(pool->counts().open, 2U);
    });
    until_waiting(*pool, 1);
    b.keep();
    group.wait();
    c.give_up();
    EXPECT_EQ(pool->counts().open, 0U);
  });
}

TEST(ClientPool, a_pool_that_is_shut_sends_everybody_home) {
  with_network([] {
    const auto pool = std::make_shared<ClientPool>(PoolLimits{.per_origin = 1, .idle_timeout = 10s});
    ClientPool::Lease lease = must_acquire(*pool, "o");
    lease.conn = new_conn();
    ClientPool::Lease other = must_acquire(*pool, "p");
    other.conn = new_conn();
    other.keep();
    WaitGroup group;
    group.go([&] { EXPECT_EQ(pool->acquire({}, "o").error().code, Code::kClosed); });
    until_waiting(*pool, 1);
    pool->shut();
    group.wait();
    EXPECT_EQ(pool->acquire({}, "o").error().code, Code::kClosed);
    EXPECT_EQ(pool->counts().idle, 0U);
    lease.keep();
    EXPECT_EQ(pool->counts().open, 0U);
  });
}

TEST(ClientPool, idle_connections_expire_and_newer_ones_stay) {
  with_network([] {
    const auto pool = std::make_shared<ClientPool>(PoolLimits{.idle_timeout = 30ms});
    ClientPool::Lease a = must_acquire(*pool, "a");
    a.conn = new_conn();
    a.keep();
    ClientPool::Lease busy = must_acquire(*pool, "b");
    busy.conn = new_conn();
    for (const TimePoint until = net::test::patience(); pool->counts().idle != 0 && now() < until;) sleep(1ms);
    EXPECT_EQ(pool->counts().idle, 0U);
    EXPECT_EQ(pool->counts().open, 1U);
    // The timer is armed anew for what comes later.
    busy.keep();
    for (const TimePoint until = net::test::patience(); pool->counts().open != 0 && now() < until;) sleep(1ms);
    EXPECT_EQ(pool->counts().open, 0U);
  });
}

TEST(ClientPool, each_idle_connection_has_its_whole_time_and_the_oldest_gives_way) {
  heddle::test::run([] {
    const auto pool = std::make_shared<ClientPool>(PoolLimits{.in_all = 3, .idle_timeout = 10s});
    std::vector<net::MemoryConn> far;
    for (const char* const origin : {"a", "b", "c"}) {
      auto [near, other] = net::memory_pair();
      far.push_back(std::move(other));
      ClientPool::Lease lease = must_acquire(*pool, origin);
      lease.conn = std::make_shared<ClientConn>(std::make_unique<net::MemoryConn>(std::move(near)));
      lease.keep();
      sleep(2s);
    }
    const auto alive = [&] {
      std::string out;
      for (const net::MemoryConn& end : far) out += end.is_alive() ? '1' : '0';
      return out;
    };
    must_acquire(*pool, "d").give_up();
    EXPECT_EQ(alive(), "011");
    sleep(5s);  // 11 s after a's began, 9 and 7 after the others'
    EXPECT_EQ(alive(), "011");
    sleep(2s);
    EXPECT_EQ(alive(), "001");
    sleep(2s);
    EXPECT_EQ(alive(), "000");
  });
}

TEST(ClientPool, more_idle_ones_than_wanted_are_closed) {
  with_network([] {
    const auto pool = std::make_shared<ClientPool>(PoolLimits{.idle_per_origin = 2});
    std::vector<ClientPool::Lease> leases;
    for (int i = 0; i < 5; ++i) {
      leases.push_back(must_acquire(*pool, "o"));
      leases.back().conn = new_conn();
    }
    for (ClientPool::Lease& lease : leases) lease.keep();
    EXPECT_EQ(pool->counts().idle, 2U);
    EXPECT_EQ(pool->counts().open, 2U);
    pool->close_idle();
  });
}

TEST(ClientPool, a_client_waits_for_its_turn_within_its_context_and_its_limit) {
  with_network([] {
    const Chan<int> release = make_chan<int>();
    Scripted server([&](Peer& peer, int) {
      peer.head();
      static_cast<void>(release.recv());
      peer.ok("late");
      while (!peer.head().empty()) peer.ok("next");
    });
    ClientOptions options = plain();
    options.max_per_origin = 1;
    Client client(options);
    WaitGroup group;
    group.go([&] { EXPECT_EQ(told(client.get(server.url())), "200 [late]"); });
    while (server.connections == 0) gosched();
    const auto soon = with_timeout({}, 10ms);
    EXPECT_EQ(told(client.get(soon.ctx, server.url())), "timeout");
    group.go([&] { EXPECT_EQ(told(client.get(server.url())), "200 [next]"); });
    while (client.stats().waiting == 0) gosched();
    EXPECT_EQ(client.stats().open, 1U);
    release.close();
    group.wait();
    EXPECT_EQ(server.connections, 1);
  });
}

TEST(ClientPool, a_place_in_the_pool_has_a_time_limit_of_its_own) {
  with_network([] {
    Scripted server([](Peer& peer, int) {
      peer.head();
      peer.wait_for_end();
    });
    ClientOptions options = plain();
    options.max_connections = 1;
    options.pool_timeout = 10ms;
    Client client(options);
    WaitGroup group;
    auto [ctx, cancel] = with_cancel({});
    group.go([&, &c = ctx] { EXPECT_EQ(told(client.get(c, server.url())), to_string(Code::kCanceled)); });
    while (server.connections == 0) gosched();
    EXPECT_EQ(told(client.get("http://127.0.0.1:1/")), "timeout");
    cancel();
    group.wait();
  });
}

}  // namespace
}  // namespace heddle::http::test
