// UDP over loopback: datagrams, batches, segments, deadlines, what a missing peer does, closing.
#include <heddle/net/udp.h>

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>

#include <heddle/net/internal/sys.h>

#include "net_test_util.h"

namespace heddle::net {
namespace {

using namespace test;

class UdpOnProcs : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(procs, UdpOnProcs, testing::Values(1, 2, 4));

UdpSocket must_socket(Result<UdpSocket> socket) {
  if (!socket) {
    ADD_FAILURE() << socket.error().message();
    std::abort();
  }
  return std::move(*socket);
}

// A loopback address of this process's, and of one user in it. A closed port may be taken again at once, while a sender
// does not know yet: with the same address its datagrams would come to a stranger, as they may in real life.
Address own_port(int user = 0) {
  const int pid = ::getpid();
  const std::string host = "127." + std::to_string(1 + pid % 250) + "." + std::to_string(1 + pid / 250 % 250) + "." +
                           std::to_string(1 + user);
  return any_port(host.c_str());
}

UdpSocket bound(const Address& address = own_port()) {
  UdpSocket socket = must_socket(bind_udp(address));
  EXPECT_TRUE(socket.set_buffers(4 << 20, std::nullopt));
  return socket;
}

TEST_P(UdpOnProcs, datagrams_come_whole_and_say_from_where) {
  with_procs(GetParam(), [] {
    for (const Address& address : {own_port(), any_port("[::1]")}) {
      UdpSocket server = bound(address);
      UdpSocket client = bound(address);
      const Address to = *server.local_address();
      WaitGroup wg;
      wg.go([&] {
        std::byte buf[2000];
        for (int i = 0; i < 100; ++i) {
          const Result<Datagram> got = server.receive_from(buf);
          ASSERT_TRUE(got) << got.error().message();
          EXPECT_FALSE(got->truncated);
          EXPECT_EQ(got->segment, 0);
          EXPECT_EQ(got->from, *client.local_address());
          ASSERT_TRUE(server.send_to({buf, got->size}, got->from));
        }
      });
      std::byte buf[2000];
      for (std::uint64_t i = 0; i < 100; ++i) {
        const std::size_t size = i * 14;  // an empty one too
        ASSERT_TRUE(client.send_to(bytes_of(size, i), to));
        const Result<Datagram> got = client.receive_from(buf);
        ASSERT_TRUE(got);
        EXPECT_EQ(got->from, to);
        ASSERT_EQ(got->size, size);
        ASSERT_EQ(check_bytes({buf, size}, 0, i), size);
      }
      wg.wait();
    }
  });
}

TEST(Udp, a_datagram_that_is_too_long_is_cut_and_said) {
  with_procs(1, [] {
    UdpSocket server = bound();
    UdpSocket client = must_socket(dial_udp(*server.local_address()));
    ASSERT_TRUE(client.send(bytes_of(100)));
    ASSERT_TRUE(client.send(bytes_of(50)));
    std::byte buf[60];
    Result<Datagram> got = server.receive_from(buf);
    ASSERT_TRUE(got);
    EXPECT_EQ(got->size, 60U);
    EXPECT_TRUE(got->truncated);
    got = server.receive_from(buf);
    ASSERT_TRUE(got);
    EXPECT_EQ(got->size, 50U);
    EXPECT_FALSE(got->truncated);
    EXPECT_EQ(client.send(std::vector<std::byte>(70'000)).error().sys, EMSGSIZE);
    EXPECT_EQ(server.send(bytes_of(1)).error().sys, EDESTADDRREQ);
  });
}

TEST(Udp, a_connected_socket_hears_its_peer_alone) {
  with_procs(1, [] {
    UdpSocket server = bound();
    UdpSocket client = must_socket(dial_udp(*server.local_address(), {.local = own_port()}));
    UdpSocket stranger = bound();
    EXPECT_EQ(*client.remote_address(), *server.local_address());
    EXPECT_EQ(server.remote_address().error().sys, ENOTCONN);
    ASSERT_TRUE(stranger.send_to(bytes_of(9), *client.local_address()));
    ASSERT_TRUE(server.send_to(bytes_of(3), *client.local_address()));
    std::byte buf[10];
    EXPECT_EQ(client.receive_from(buf)->size, 3U);
  });
}

TEST(Udp, all_interfaces_take_both_families_unless_narrowed) {
  with_procs(1, [] {
    UdpSocket both = must_socket(bind_udp(*Address::parse(":0")));
    const std::string port = std::to_string(both.local_address()->port());
    std::byte buf[10];
    for (const char* host : {"127.0.0.1", "[::1]"}) {
      UdpSocket client = must_socket(dial_udp(*Address::parse(std::string(host) + ":" + port)));
      ASSERT_TRUE(client.send(bytes_of(4)));
      Result<Datagram> got = both.receive_from(buf);
      while (got && !(got->from == *client.local_address()))
        got = both.receive_from(buf);  // a stray one of a neighbour's
      ASSERT_TRUE(got);
      ASSERT_TRUE(both.send_to(bytes_of(5), got->from));
      EXPECT_EQ(client.receive_from(buf)->size, 5U);
    }
    EXPECT_EQ(must_socket(bind_udp(*Address::parse(":0"), {.family = IpFamily::kV4})).local_address()->family(),
              AF_INET);
    EXPECT_EQ(bind_udp(any_port(), {.family = IpFamily::kV6}).error().code, Code::kInvalid);
  });
}

TEST_P(UdpOnProcs, a_peer_that_is_not_there_is_refused_by_the_next_call_once) {
  with_procs(GetParam(), [] {
    for (int i = 0; i < 10; ++i) {
      Address nobody;
      {
        UdpSocket gone = bound();
        nobody = *gone.local_address();
      }
      UdpSocket client = must_socket(dial_udp(nobody));
      WaitGroup wg;
      wg.go([&] {  // also if it waits already
        std::byte buf[10];
        client.set_read_deadline(patience());
        const Result<Datagram> got = client.receive_from(buf);
        ASSERT_FALSE(got);
        EXPECT_EQ(got.error().code, Code::kRefused) << got.error().message();
      });
      if (i % 2 == 0) gosched();
      ASSERT_TRUE(client.send(bytes_of(1)));
      wg.wait();
      std::byte buf[10];
      client.set_read_deadline(now() + 1ms);
      EXPECT_EQ(client.receive_from(buf).error().code, Code::kTimeout);
      Result<void> sent;
      for (const TimePoint limit = patience(); (sent = client.send(bytes_of(1))) && now() < limit;) gosched();
      ASSERT_FALSE(sent);
      EXPECT_EQ(sent.error().code, Code::kRefused);
    }
  });
}

TEST_P(UdpOnProcs, batches_go_out_and_come_in_whole) {
  with_procs(GetParam(), [] {
    constexpr std::size_t kCount = 100;
    UdpSocket server = bound();
    UdpSocket client = must_socket(dial_udp(*server.local_address()));
    std::vector<std::vector<std::byte>> data;
    std::vector<BatchOut> out;
    for (std::size_t i = 0; i < kCount; ++i) data.push_back(bytes_of(10 + i * 7, i));
    for (std::size_t i = 0; i < kCount; ++i) {
      out.push_back({data[i], i % 2 == 0 ? Address() : *server.local_address()});
    }
    WaitGroup wg;
    wg.go([&] {
      const Result<std::size_t> sent = client.send_batch(out);
      ASSERT_TRUE(sent) << sent.error().message();
      EXPECT_EQ(*sent, kCount);
    });
    std::vector<std::array<std::byte, 1000>> buffers(40);
    std::vector<BatchIn> in(40);
    for (std::size_t i = 0; i < in.size(); ++i) in[i].buf = buffers[i];
    for (std::size_t done = 0; done < kCount;) {
      const Result<std::size_t> n = server.receive_batch(in);
      ASSERT_TRUE(n) << n.error().message();
      ASSERT_GT(*n, 0U);
      ASSERT_LE(*n, kMostInBatch);
      for (std::size_t i = 0; i < *n; ++i, ++done) {
        ASSERT_EQ(in[i].size, data[done].size());
        EXPECT_FALSE(in[i].truncated);
        EXPECT_EQ(in[i].from, *client.local_address());
        ASSERT_EQ(check_bytes(in[i].buf.first(in[i].size), 0, done), in[i].size);
      }
    }
    wg.wait();
    EXPECT_EQ(client.send_batch({}), std::size_t{0});
    EXPECT_EQ(server.receive_batch({}), std::size_t{0});
  });
}

TEST(Udp, a_batch_that_meets_an_error_says_how_far_it_came) {
  with_procs(1, [] {
    UdpSocket server = bound();
    UdpSocket client = must_socket(dial_udp(*server.local_address()));
    const std::vector<std::byte> good(10), bad(70'000);
    const BatchOut out[] = {{good, {}}, {good, {}}, {bad, {}}, {good, {}}};
    EXPECT_EQ(client.send_batch(out), std::size_t{2});
    EXPECT_EQ(client.send_batch(std::span(out).subspan(2)).error().sys, EMSGSIZE);
    std::array<std::array<std::byte, 5>, 4> buffers;
    std::array<BatchIn, 4> in;
    for (std::size_t i = 0; i < in.size(); ++i) in[i].buf = buffers[i];
    for (std::size_t came = 0; came < 2;) {
      const Result<std::size_t> n = server.receive_batch(in);
      ASSERT_TRUE(n);
      for (std::size_t i = 0; i < *n; ++i, ++came) {
        EXPECT_TRUE(in[i].truncated);
        EXPECT_EQ(in[i].size, 5U);
      }
    }
  });
}

// Sends `total` bytes in segments and checks that they come as datagrams of that size, cut by whomever.
void check_segments(std::size_t total, std::uint16_t segment, bool gro) {
  UdpSocket server = bound();
  UdpSocket client = must_socket(dial_udp(*server.local_address()));
  if (gro) {
    const Result<bool> has = server.set_gro(true);
    ASSERT_TRUE(has);
    if (!*has) GTEST_SKIP() << "no UDP_GRO in this kernel";
  }
  const auto data = bytes_of(total);
  const Result<std::size_t> sent = client.send_segments(data, segment);
  ASSERT_TRUE(sent) << sent.error().message();
  ASSERT_EQ(*sent, total);
  std::vector<std::byte> buf(70'000);
  std::uint64_t at = 0;
  while (at < total) {
    server.set_read_deadline(patience());
    const Result<Datagram> got = server.receive_from(buf);
    ASSERT_TRUE(got) << got.error().message() << " at " << at;
    if (got->segment != 0) {
      EXPECT_TRUE(gro);
      EXPECT_EQ(got->segment, segment);
      EXPECT_GT(got->size, segment);
    } else {
      EXPECT_EQ(got->size, std::min<std::size_t>(segment, total - at));
    }
    at = check_bytes({buf.data(), got->size}, at);
  }
  EXPECT_EQ(at, total);
}

TEST(Udp, segments_are_sent_within_a_context) {
  with_procs(1, [] {
    UdpSocket server = bound();
    UdpSocket client = must_socket(dial_udp(*server.local_address()));
    auto [ctx, cancel] = with_cancel(Context::background());
    EXPECT_EQ(client.send_segments(ctx, bytes_of(3000), 1000), std::size_t{3000});
    std::byte buf[1000];
    server.set_read_deadline(patience());
    for (int i = 0; i < 3; ++i) EXPECT_EQ(server.receive_from(buf)->size, 1000U);
    cancel();
    EXPECT_EQ(client.send_segments(ctx, bytes_of(3000), 1000).error().code, Code::kCanceled);
    EXPECT_EQ(client.send_segments(ctx, bytes_of(10), 1000).error().code, Code::kCanceled);
  });
}

TEST(Udp, segments_come_as_datagrams_whoever_cuts_them) {
  with_procs(1, [] {
    check_segments(10'000, 1200, false);
    check_segments(1200, 1200, false);
    check_segments(100'000, 1000, false);   // more than one call takes
    check_segments(500, 7, false);          // more segments than one call takes
    check_segments(90'000, 40'000, false);  // no two of which fit
    EXPECT_EQ(must_socket(dial_udp(any_port("127.0.0.1"))).send_segments({}, 0).error().code, Code::kInvalid);
  });
}

TEST(Udp, segments_may_arrive_joined) {
  with_procs(1, [] {
    check_segments(10'000, 1200, true);
    check_segments(100'000, 1000, true);
  });
}

TEST(Udp, without_segmentation_in_the_kernel_they_are_a_batch) {
  static std::atomic<int> refused{0};
  Sys sys = kRealSys;
  sys.sendmsg = [](int fd, const msghdr* msg, int flags) -> ssize_t {
    if (msg->msg_controllen == 0) return kRealSys.sendmsg(fd, msg, flags);
    refused.fetch_add(1);
    return refused.load() % 2 == 0 ? -EIO : -EINVAL;
  };
  sys.sendmmsg = [](int fd, mmsghdr* messages, unsigned count, int flags) {
    return kRealSys.sendmmsg(fd, messages, std::min(count, 3U), flags);  // and never all at once
  };
  const ScopedSys scoped(sys);
  refused = 0;
  with_procs(1, [] {
    check_segments(10'000, 1200, false);
    check_segments(100'000, 1000, false);
  });
  EXPECT_EQ(refused.load(), 2);
}

TEST(Udp, a_full_send_buffer_makes_senders_wait) {
  static std::atomic<int> busy{0};
  Sys sys = kRealSys;
  sys.sendmsg = [](int fd, const msghdr* msg, int flags) -> ssize_t {
    const int n = busy.fetch_add(1) % 4;
    if (n == 1) return -EINTR;
    if (n != 3) return -EAGAIN;  // writable all the same: the wait ends at once
    return kRealSys.sendmsg(fd, msg, flags);
  };
  sys.sendmmsg = [](int fd, mmsghdr* messages, unsigned count, int flags) {
    if (busy.fetch_add(1) % 4 == 0) return -EINTR;
    return kRealSys.sendmmsg(fd, messages, std::min(count, 3U), flags);
  };
  const ScopedSys scoped(sys);
  with_procs(1, [] {
    UdpSocket server = bound();
    UdpSocket client = must_socket(dial_udp(*server.local_address()));
    client.set_write_deadline(patience());
    const auto data = bytes_of(10);
    std::vector<BatchOut> out(40, {data, {}});
    EXPECT_EQ(client.send_batch(out), out.size());
    std::byte buf[10];
    for (std::size_t i = 0; i < out.size(); ++i) EXPECT_EQ(server.receive_from(buf)->size, 10U);
  });
}

TEST_P(UdpOnProcs, deadlines_contexts_and_close_end_a_receive_that_waits) {
  with_procs(GetParam(), [] {
    for (int i = 0; i < 30; ++i) {
      UdpSocket socket = bound();
      std::byte buf[5];
      ASSERT_TRUE(socket.send_to(bytes_of(5), *socket.local_address()));
      socket.set_deadline(now() - 1s);
      EXPECT_EQ(socket.receive_from(buf).error().code, Code::kTimeout);
      EXPECT_EQ(socket.send_to(buf, *socket.local_address()).error().code, Code::kTimeout);
      socket.set_deadline(kNoDeadline);
      EXPECT_EQ(socket.receive_from(buf)->size, 5U);
      socket.set_read_deadline(now() + 1ms);
      EXPECT_EQ(socket.receive_from(buf).error().code, Code::kTimeout);
      socket.set_read_deadline(kNoDeadline);
      auto [ctx, cancel] = with_cancel(Context::background());
      WaitGroup wg;
      wg.go([&, &ctx = ctx] {
        std::byte inner[5];
        EXPECT_EQ(socket.receive_from(ctx, inner).error().code, Code::kCanceled);
        BatchIn in;
        in.buf = inner;
        EXPECT_EQ(socket.receive_batch(ctx, std::span(&in, 1)).error().code, Code::kCanceled);
        EXPECT_EQ(socket.send_to(ctx, inner, any_port()).error().code, Code::kCanceled);
      });
      if (i % 2 == 0) gosched();
      cancel();
      wg.wait();
      wg.go([&] {
        std::byte inner[5];
        EXPECT_EQ(socket.receive_from(inner).error().code, Code::kClosed);
      });
      if (i % 2 == 0) gosched();
      socket.close();
      wg.wait();
      EXPECT_EQ(socket.send(buf).error().code, Code::kClosed);
      EXPECT_EQ(socket.local_address().error().code, Code::kClosed);
      EXPECT_EQ(socket.set_gro(true).error().code, Code::kClosed);
    }
  });
}

TEST_P(UdpOnProcs, a_port_can_be_bound_again_soon_after_it_was_closed) {
  with_procs(GetParam(), [] {
    UdpSocket socket = bound();
    const Address address = *socket.local_address();
    for (int i = 0; i < 30; ++i) {
      WaitGroup wg;
      wg.go([&] {
        std::byte buf[1];
        EXPECT_EQ(socket.receive_from(buf).error().code, Code::kClosed);
      });
      gosched();
      socket.close();
      wg.wait();
      socket = must_socket(bind_udp(address));
    }
  });
}

TEST(Udp, a_port_in_use_is_told_by_name_and_may_be_shared) {
  with_procs(1, [] {
    UdpSocket first = bound();
    EXPECT_EQ(bind_udp(*first.local_address()).error().code, Code::kAddressInUse);
    UdpSocket shared = must_socket(bind_udp(own_port(), {.reuse_port = true}));
    EXPECT_TRUE(bind_udp(*shared.local_address(), {.reuse_port = true}));
  });
}

TEST(Udp, sockets_are_handed_over_and_options_set_by_a_callback) {
  with_procs(2, [] {
    UdpSocket server = must_socket(bind_udp(own_port(), {.configure = [](int fd) -> Result<void> {
                                              const int size = 65536;
                                              EXPECT_EQ(::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size), 0);
                                              return {};
                                            }}));
    const Address address = *server.local_address();
    UdpSocket again = must_socket(UdpSocket::adopt(*server.release_fd()));
    EXPECT_EQ(*again.local_address(), address);
    ASSERT_TRUE(again.set_broadcast(true));
    ASSERT_TRUE(bound().send_to(bytes_of(4), address));
    std::byte buf[4];
    EXPECT_EQ(again.receive_from(buf)->size, 4U);
    const int before = open_fds();
    EXPECT_EQ(UdpSocket::adopt(::socket(AF_INET, SOCK_STREAM, 0)).error().code, Code::kInvalid);
    EXPECT_EQ(dial_udp(address, {.configure = [](int) -> Result<void> {
                         return std::unexpected(Error{Code::kLimit, 0, "test"});
                       }})
                  .error()
                  .code,
              Code::kLimit);
    EXPECT_EQ(open_fds(), before);
  });
}

TEST_P(UdpOnProcs, goroutines_that_close_at_random_leave_no_descriptor_behind) {
  with_procs(GetParam(), [] {
    const int before = open_fds();
    WaitGroup wg;
    for (int worker = 0; worker < 16; ++worker) {
      wg.go([worker] {
        std::mt19937_64 random(static_cast<std::uint64_t>(worker));
        for (int i = 0; i < (kSanitized ? 15 : 50); ++i) {
          UdpSocket server = must_socket(bind_udp(own_port(1 + worker)));
          UdpSocket client = must_socket(dial_udp(*server.local_address()));
          const std::uint64_t seed = random();
          WaitGroup users;
          users.go([&] {
            std::byte buf[200];
            BatchIn in[3];
            for (BatchIn& one : in) one.buf = buf;
            for (;;) {
              const Result<Datagram> got = server.receive_from(buf);
              if (!got) return;
              ASSERT_EQ(check_bytes({buf, got->size}, 0, seed), 100U);
              server.set_read_deadline(now() + 1ms);
              static_cast<void>(server.receive_batch(in));
              server.set_read_deadline(kNoDeadline);
            }
          });
          users.go([&] {
            for (int k = 0; k < 200; ++k) {
              const Result<void> sent = client.send(bytes_of(100, seed));
              if (!sent && sent.error().code != Code::kRefused) return;
            }
          });
          for (auto k = random() % 8; k > 0; --k) gosched();
          (i % 2 == 0 ? server : client).close();
          for (auto k = random() % 3; k > 0; --k) gosched();
          server.close();
          client.close();
          users.wait();
        }
      });
    }
    wg.wait();
    const TimePoint limit = patience();
    while (open_fds() > before && now() < limit) sleep(1ms);  // the last ones are on their way out
    EXPECT_LE(open_fds(), before);
  });
}

}  // namespace
}  // namespace heddle::net
