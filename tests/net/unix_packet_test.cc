// Unix sockets that keep messages apart.
#include <heddle/net/unix_packet.h>

#include <sys/socket.h>

#include "unix_test_util.h"

namespace heddle::net {
namespace {

using namespace test;

class UnixPacketOnProcs : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(procs, UnixPacketOnProcs, testing::Values(1, 2, 4));

// The `i`-th of a series of messages whose sizes differ.
std::vector<std::byte> message(std::uint64_t i) { return bytes_of(1 + i * 37 % 900, i); }

TEST_P(UnixPacketOnProcs, messages_come_one_by_one_though_the_receiver_is_slow) {
  with_procs(GetParam(), [] {
    constexpr std::uint64_t kCount = 3000;  // more than fits into a queue
    UnixSeqpacketListener listener = must_have(listen_seqpacket({}));
    UnixSeqpacket near = must_have(dial_seqpacket(*listener.local_unix_address()));
    UnixSeqpacket far = must_have(listener.accept());
    WaitGroup wg;
    wg.go([&] {
      for (std::uint64_t i = 0; i < kCount; ++i) ASSERT_TRUE(near.send(message(i)));
      ASSERT_TRUE(near.close_write());
    });
    std::byte buf[1000];
    for (std::uint64_t i = 0; i < kCount; ++i) {
      const Result<Message> got = far.receive(buf);
      ASSERT_TRUE(got) << got.error().message();
      ASSERT_EQ(got->size, message(i).size());
      ASSERT_EQ(check_bytes({buf, got->size}, 0, i), got->size);
    }
    EXPECT_EQ(far.receive(buf)->size, 0U);
    ASSERT_TRUE(far.send(bytes("still")));
    EXPECT_EQ(near.receive(buf)->size, 5U);
    wg.wait();
  });
}

TEST_P(UnixPacketOnProcs, datagrams_to_a_full_receiver_wait_connected_or_not) {
  with_procs(GetParam(), [] {
    constexpr std::uint64_t kCount = 300;
    UnixDatagram server = must_have(bind_unix_datagram());
    const UnixAddress address = *server.local_unix_address();
    UnixDatagram connected = must_have(dial_unix_datagram(address));
    UnixDatagram loose = must_have(bind_unix_datagram());
    WaitGroup wg;
    wg.go([&] {
      for (std::uint64_t i = 0; i < kCount; ++i) ASSERT_TRUE(connected.send(bytes_of(100, 1, i * 100)));
    });
    wg.go([&] {
      for (std::uint64_t i = 0; i < kCount; ++i) ASSERT_TRUE(loose.send_to(bytes_of(200, 2, i * 200), address));
    });
    sleep(1ms);  // so that its queue fills, most likely
    std::uint64_t at[2] = {0, 0};
    std::byte buf[300];
    for (std::uint64_t i = 0; i < 2 * kCount; ++i) {
      const Result<UnixDatagramMessage> got = server.receive_from(buf);
      ASSERT_TRUE(got) << got.error().message();
      const bool from_loose = got->size == 200;
      EXPECT_EQ(got->from.is_unnamed(), !from_loose);
      at[from_loose] = check_bytes({buf, got->size}, at[from_loose], from_loose ? 2 : 1);
    }
    EXPECT_EQ(at[0], kCount * 100);
    EXPECT_EQ(at[1], kCount * 200);
    wg.wait();
  });
}

TEST_P(UnixPacketOnProcs, a_sender_to_a_full_receiver_is_ended_by_deadline_context_and_close) {
  with_procs(GetParam(), [] {
    UnixDatagram server = must_have(bind_unix_datagram());
    const UnixAddress address = *server.local_unix_address();
    UnixDatagram loose = must_have(bind_unix_datagram());
    loose.set_write_deadline(now() + 20ms);
    Result<void> sent;
    while ((sent = loose.send_to(bytes("x"), address))) {
    }
    EXPECT_EQ(sent.error().code, Code::kTimeout) << sent.error().message();
    loose.set_write_deadline(kNoDeadline);
    UnixDatagram connected = must_have(dial_unix_datagram(address));
    auto [ctx, cancel] = with_cancel(Context::background());
    WaitGroup wg;
    WaitGroup canceled;
    canceled.add(2);
    wg.go([&, &ctx = ctx] {
      EXPECT_EQ(loose.send_to(ctx, bytes("x"), address).error().code, Code::kCanceled);
      canceled.done();
      EXPECT_EQ(loose.send_to(bytes("x"), address).error().code, Code::kClosed);
    });
    wg.go([&, &ctx = ctx] {
      EXPECT_EQ(connected.send(ctx, bytes("x")).error().code, Code::kCanceled);
      canceled.done();
      EXPECT_EQ(connected.send(bytes("x")).error().code, Code::kClosed);
    });
    gosched();
    cancel();
    canceled.wait();
    sleep(1ms);  // waiting again or not, it must end
    loose.close();
    connected.close();
    wg.wait();
  });
}

TEST(UnixPacket, a_message_that_is_too_long_is_cut_and_said) {
  with_procs(1, [] {
    auto [a, b] = must_have(seqpacket_pair());
    auto [c, d] = must_have(unix_datagram_pair());
    const auto check = [](UnixMessageSocket& from, UnixMessageSocket& to) {
      ASSERT_TRUE(from.send(bytes("hello")));
      ASSERT_TRUE(from.send(bytes("next")));
      std::byte buf[4];
      Result<Message> got = to.receive(buf);
      ASSERT_TRUE(got);
      EXPECT_EQ(text_of({buf, got->size}), "hell");
      EXPECT_TRUE(got->truncated);
      got = to.receive(buf);
      ASSERT_TRUE(got);
      EXPECT_EQ(text_of({buf, got->size}), "next");
      EXPECT_FALSE(got->truncated);
    };
    check(a, b);
    check(c, d);
    EXPECT_EQ(a.send(bytes_of(8 << 20)).error().sys, EMSGSIZE);
  });
}

TEST(UnixPacket, datagrams_are_answered_by_their_senders_names) {
  with_procs(1, [] {
    const Folder folder;
    UnixDatagram server = must_have(bind_unix_datagram(folder.address("server")));
    UnixDatagram client = must_have(dial_unix_datagram(folder.address("server"), {.local = folder.address("client")}));
    ASSERT_TRUE(client.send(bytes("ping")));
    std::byte buf[10];
    const Result<UnixDatagramMessage> got = server.receive_from(buf);
    ASSERT_TRUE(got);
    EXPECT_EQ(got->from.to_string(), folder.path("client"));
    ASSERT_TRUE(server.send_to({buf, got->size}, got->from));
    EXPECT_EQ(client.receive(buf)->size, 4U);

    server.close();
    EXPECT_FALSE(exists(folder.path("server")));
    EXPECT_EQ(client.send(bytes("x")).error().code, Code::kRefused);
    UnixDatagram other = must_have(bind_unix_datagram());
    EXPECT_EQ(other.send_to(bytes("x"), folder.address("server")).error().code, Code::kNotFound);
    EXPECT_EQ(other.send(bytes("x")).error().sys, ENOTCONN);
  });
}

TEST(UnixPacket, a_context_ends_the_passing_of_descriptors) {
  with_procs(2, [] {
    auto [a, b] = must_have(seqpacket_pair());
    const OwnedFd file = pipe_with("text");
    const int fds[] = {file.get()};
    std::byte buf[10];
    auto [ctx, cancel] = with_cancel(Context::background());
    ASSERT_TRUE(a.send_fds(ctx, bytes("one"), fds));
    const Result<ReceivedFds> got = b.receive_fds(ctx, buf, 1);
    ASSERT_TRUE(got);
    EXPECT_EQ(got->fds.size(), 1U);
    WaitGroup wg;
    wg.go([&, &b = b, &ctx = ctx] { EXPECT_EQ(b.receive_fds(ctx, buf, 1).error().code, Code::kCanceled); });
    gosched();
    cancel();
    wg.wait();
    EXPECT_EQ(a.send_fds(ctx, bytes("two"), fds).error().code, Code::kCanceled);
    EXPECT_EQ(b.receive_fds(ctx, buf, 1).error().code, Code::kCanceled);
  });
}

TEST(UnixPacket, descriptors_and_credentials_come_with_messages) {
  with_procs(1, [] {
    auto [a, b] = must_have(seqpacket_pair());
    auto [c, d] = must_have(unix_datagram_pair());
    const int before = open_fds();
    const auto check = [](UnixMessageSocket& from, UnixMessageSocket& to) {
      const OwnedFd file = pipe_with("text");
      const int fds[] = {file.get(), file.get(), file.get()};
      std::byte buf[10];
      ASSERT_TRUE(from.send_fds(bytes("three"), fds));
      ASSERT_TRUE(from.send_fds(bytes("none taken"), fds));
      ASSERT_TRUE(from.send_fds(bytes("dropped"), fds));
      Result<ReceivedFds> got = to.receive_fds(buf, 2);
      ASSERT_TRUE(got);
      EXPECT_EQ(text_of({buf, got->size}), "three");
      EXPECT_TRUE(got->fds_truncated);
      ASSERT_EQ(got->fds.size(), 2U);
      EXPECT_EQ(all_of(got->fds[1].get()), "text");
      got = to.receive_fds(buf, 0);
      ASSERT_TRUE(got);
      EXPECT_TRUE(got->fds.empty());
      EXPECT_TRUE(got->fds_truncated);
      EXPECT_EQ(to.receive(buf)->size, 7U);
    };
    check(a, b);
    check(c, d);
    EXPECT_EQ(open_fds(), before);
    EXPECT_EQ(a.peer_credentials()->pid, ::getpid());
    EXPECT_EQ(c.peer_credentials()->uid, ::getuid());
  });
}

TEST_P(UnixPacketOnProcs, close_wakes_those_who_wait_at_any_point) {
  with_procs(GetParam(), [] {
    const int before = open_fds();
    WaitGroup wg;
    for (int worker = 0; worker < 8; ++worker) {
      wg.go([worker] {
        for (int i = 0; i < 40; ++i) {
          auto [a, b] = must_have(seqpacket_pair());
          auto [c, d] = must_have(unix_datagram_pair());
          WaitGroup users;
          const auto receive = [](UnixMessageSocket& socket) {
            std::byte buf[100];
            for (;;) {
              const Result<Message> got = socket.receive(buf);
              if (!got || got->size == 0) return;
              ASSERT_EQ(check_bytes({buf, got->size}, 0), 50U);
            }
          };
          const auto send = [](UnixMessageSocket& socket) {
            while (socket.send(bytes_of(50))) {
            }
          };
          users.go([&, &a = a] { send(a); });
          users.go([&, &b = b] { receive(b); });
          users.go([&, &c = c] { send(c); });
          users.go([&, &d = d] { receive(d); });
          for (int k = (worker + i) % 5; k > 0; --k) gosched();
          if (i % 2 == 0) a.close();
          d.close();
          c.close();
          b.close();
          a.close();
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

TEST(UnixPacket, a_seqpacket_listener_closes_and_hands_over_as_others_do) {
  with_procs(2, [] {
    const Folder folder;
    UnixSeqpacketListener listener = must_have(listen_seqpacket(folder.address("s")));
    WaitGroup wg;
    wg.go([&] { EXPECT_EQ(listener.accept().error().code, Code::kClosed); });
    gosched();
    listener.close();
    wg.wait();
    EXPECT_FALSE(exists(folder.path("s")));
    auto [a, b] = must_have(seqpacket_pair());
    UnixSeqpacket again = must_have(UnixSeqpacket::adopt(*a.release_fd()));
    ASSERT_TRUE(again.send(bytes("x")));
    std::byte buf[1];
    EXPECT_EQ(b.receive(buf)->size, 1U);
    EXPECT_EQ(UnixSeqpacket::adopt(*again.release_fd())->send({}).has_value(), true);
    EXPECT_EQ(UnixDatagram::adopt(::socket(AF_UNIX, SOCK_STREAM, 0)).error().code, Code::kInvalid);
  });
}

}  // namespace
}  // namespace heddle::net
