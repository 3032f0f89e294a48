// Unix streams: names and files, the Transport's promises, descriptors and credentials that come along, ends.
#include <heddle/net/unix.h>

#include <fcntl.h>
#include <heddle/net/unix_packet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstring>

#include "unix_test_util.h"

namespace heddle::net {
namespace {

using namespace test;

class UnixOnProcs : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(procs, UnixOnProcs, testing::Values(1, 2, 4));

std::pair<UnixConn, UnixConn> dialed_pair(const UnixAddress& address = {}) {
  UnixListener listener = must_have(listen_unix(address));
  UnixConn near = must_have(dial_unix(*listener.local_unix_address()));
  UnixConn far = must_have(listener.accept());
  listener.close();
  return {std::move(near), std::move(far)};
}

TEST(UnixAddress, names_are_parsed_and_printed_as_they_are_written) {
  EXPECT_TRUE(UnixAddress::parse("/run/x.sock")->is_path());
  EXPECT_TRUE(UnixAddress::parse("@x")->is_abstract());
  EXPECT_TRUE(UnixAddress::parse("./@x")->is_path());
  EXPECT_TRUE(UnixAddress::parse("")->is_unnamed());
  for (const char* text : {"/run/x.sock", "x", "@x", "@", ""}) EXPECT_EQ(UnixAddress::parse(text)->to_string(), text);
  EXPECT_EQ(UnixAddress::parse("/a")->size(), sizeof(sa_family_t) + 3);  // a path counts its NUL
  EXPECT_EQ(UnixAddress::parse("@a")->size(), sizeof(sa_family_t) + 2);  // an abstract name has none
  EXPECT_EQ(*UnixAddress::parse("/a"), *UnixAddress::parse("/a"));
  EXPECT_FALSE(*UnixAddress::parse("/a") == *UnixAddress::parse("@a"));
}

TEST(UnixAddress, what_does_not_fit_is_refused) {
  const std::string longest(107, 'x');
  EXPECT_EQ(UnixAddress::parse(longest)->to_string(), longest);
  EXPECT_EQ(UnixAddress::parse("@" + longest.substr(1))->to_string(), "@" + longest.substr(1));
  EXPECT_EQ(UnixAddress::parse(longest + "x").error().code, Code::kInvalid);
  EXPECT_EQ(UnixAddress::parse(std::string_view("a\0b", 3)).error().code, Code::kInvalid);
}

TEST(UnixAddress, a_path_without_its_nul_is_understood) {
  sockaddr_un sa{};
  sa.sun_family = AF_UNIX;
  sa.sun_path[0] = '/';
  sa.sun_path[1] = 'a';
  const auto* raw = reinterpret_cast<const sockaddr*>(&sa);
  EXPECT_EQ(UnixAddress::from(raw, sizeof(sa_family_t) + 2).to_string(), "/a");
  EXPECT_EQ(UnixAddress::from(raw, sizeof(sa_family_t) + 3).to_string(), "/a");
  EXPECT_EQ(UnixAddress::from(raw, sizeof sa).to_string(), "/a");
  EXPECT_TRUE(UnixAddress::from(raw, sizeof(sa_family_t)).is_unnamed());
  std::memset(sa.sun_path, 'x', sizeof sa.sun_path);
  EXPECT_EQ(UnixAddress::from(raw, sizeof sa + 1).to_string(), std::string(107, 'x'));
}

TEST_P(UnixOnProcs, what_is_sent_comes_whole_and_in_order_over_path_and_abstract_name) {
  with_procs(GetParam(), [] {
    const Folder folder;
    for (const UnixAddress& address : {folder.address("s"), UnixAddress()}) {
      auto [near, far] = dialed_pair(address);
      constexpr std::size_t kSize = 3 << 20;
      WaitGroup wg;
      wg.go([&near = near] {
        ASSERT_TRUE(near.write(bytes_of(kSize / 2)));
        auto a = bytes_of(1000, 0, kSize / 2);
        auto b = bytes_of(kSize / 2 - 1000, 0, kSize / 2 + 1000);
        const iovec iov[] = {{a.data(), a.size()}, {b.data(), b.size()}};
        ASSERT_TRUE(near.writev(iov));
        ASSERT_TRUE(near.close_write());
      });
      std::vector<std::byte> buf(50'000);
      std::uint64_t at = 0;
      for (;;) {
        const Result<std::size_t> n = far.read(buf);
        ASSERT_TRUE(n) << n.error().message();
        if (*n == 0) break;
        at = check_bytes({buf.data(), *n}, at);
      }
      EXPECT_EQ(at, kSize);
      wg.wait();
    }
  });
}

TEST(Unix, addresses_say_where_it_is_and_ip_addresses_are_empty) {
  with_procs(1, [] {
    const Folder folder;
    UnixListener listener = must_have(listen_unix(folder.address("s")));
    EXPECT_EQ(listener.local_unix_address()->to_string(), folder.path("s"));
    UnixConn near = must_have(dial_unix(folder.address("s"), {.local = folder.address("client")}));
    UnixConn far = must_have(listener.accept());
    EXPECT_EQ(near.remote_unix_address()->to_string(), folder.path("s"));
    EXPECT_EQ(far.remote_unix_address()->to_string(), folder.path("client"));
    EXPECT_EQ(far.local_unix_address()->to_string(), folder.path("s"));
    EXPECT_EQ(near.remote_address()->to_string(), "");
    EXPECT_EQ(listener.local_address()->to_string(), "");
    UnixListener picked = must_have(listen_unix({}));
    EXPECT_TRUE(picked.local_unix_address()->is_abstract());
    EXPECT_TRUE(must_have(dial_unix(*picked.local_unix_address())).remote_unix_address()->is_abstract());
  });
}

TEST_P(UnixOnProcs, a_drained_listener_gives_what_the_kernel_had_let_in) {
  with_procs(GetParam(), [] {
    const Folder folder;
    UnixListener listener = must_have(listen_unix(folder.address("s")));
    std::vector<UnixConn> early;
    for (int i = 0; i < 20; ++i) early.push_back(must_have(dial_unix(folder.address("s"))));
    WaitGroup wg;
    wg.go([&] { listener.drain(1h); });
    while (exists(folder.path("s"))) gosched();
    UnixListener successor = must_have(listen_unix(folder.address("s")));  // while its predecessor drains
    UnixConn late = must_have(dial_unix(folder.address("s")));
    int accepted = 0;
    for (;;) {
      Result<UnixConn> conn = listener.accept();
      if (!conn) {
        EXPECT_EQ(conn.error().code, Code::kClosed);
        break;
      }
      ++accepted;
      ASSERT_TRUE(conn->write(bytes_of(10)));
    }
    EXPECT_EQ(accepted, 20);
    wg.wait();
    for (UnixConn& conn : early) {
      std::byte buf[10];
      EXPECT_EQ(conn.read_full(buf), std::size_t{10});
    }
    EXPECT_TRUE(successor.accept());
    EXPECT_TRUE(exists(folder.path("s")));
    listener.drain();  // closed: returns at once
  });
}

TEST_P(UnixOnProcs, who_waits_in_accept_hears_of_the_drain) {
  with_procs(GetParam(), [] {
    UnixListener listener = must_have(listen_unix({}));
    const UnixAddress address = *listener.local_unix_address();
    WaitGroup wg;
    wg.go([&] { EXPECT_EQ(listener.accept().error().code, Code::kClosed); });
    gosched();
    listener.drain(1h);
    wg.wait();
    EXPECT_EQ(dial_unix(address).error().code, Code::kRefused);
  });
}

TEST(Unix, a_listener_that_nobody_accepts_from_is_drained_for_a_while_only) {
  with_procs(2, [] {
    UnixListener listener = must_have(listen_unix({}));
    const UnixAddress address = *listener.local_unix_address();
    UnixConn left = must_have(dial_unix(address));
    listener.drain(5ms);
    EXPECT_EQ(listener.accept().error().code, Code::kClosed);
    EXPECT_EQ(dial_unix(address).error().code, Code::kRefused);
    std::byte buf[1];
    EXPECT_FALSE(left.read(buf).value_or(0) > 0);
  });
}

TEST(Unix, closing_a_listener_takes_its_file_away_but_no_successors) {
  with_procs(2, [] {
    const Folder folder;
    const std::string path = folder.path("s");
    {
      UnixListener listener = must_have(listen_unix(folder.address("s")));
      EXPECT_TRUE(exists(path));
      UnixListener moved = std::move(listener);
      listener.close();
      EXPECT_TRUE(exists(path));
      moved.close();
      EXPECT_FALSE(exists(path));
      UnixListener again = must_have(listen_unix(folder.address("s")));
      moved.close();  // idempotent: the file is another's now
      EXPECT_TRUE(exists(path));
    }
    EXPECT_FALSE(exists(path));  // by the destructor

    UnixListener first = must_have(listen_unix(folder.address("s")));
    ASSERT_EQ(::unlink(path.c_str()), 0);
    UnixListener second = must_have(listen_unix(folder.address("s")));
    first.close();
    EXPECT_TRUE(exists(path));
    EXPECT_TRUE(dial_unix(folder.address("s")));
    second = UnixListener();
    EXPECT_FALSE(exists(path));

    UnixListener keeps = must_have(listen_unix(folder.address("s"), {.unlink_on_close = false}));
    keeps.close();
    EXPECT_TRUE(exists(path));
  });
}

TEST(Unix, a_file_that_its_owner_left_makes_room) {
  with_procs(1, [] {
    const Folder folder;
    for (int i = 0; i < 3; ++i) {
      UnixListener listener = must_have(listen_unix(folder.address("s"), {.unlink_on_close = false}));
      EXPECT_TRUE(dial_unix(folder.address("s")));
      listener.close();
      ASSERT_TRUE(exists(folder.path("s")));
    }
    EXPECT_TRUE(listen_seqpacket(folder.address("s"), {.unlink_on_close = false}));  // of another kind
    EXPECT_TRUE(bind_unix_datagram(folder.address("s"), {.unlink_on_close = false}));
    EXPECT_TRUE(listen_unix(folder.address("s")));
    EXPECT_FALSE(exists(folder.path("s")));
  });
}

TEST(Unix, what_is_in_use_or_no_socket_is_an_address_in_use_and_stays) {
  with_procs(1, [] {
    const Folder folder;
    UnixListener listening = must_have(listen_unix(folder.address("listening")));
    const auto datagrams = must_have(bind_unix_datagram(folder.address("datagrams")));
    const OwnedFd bound(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const UnixAddress bound_at = folder.address("bound");
    ASSERT_EQ(::bind(bound.get(), bound_at.sa(), bound_at.size()), 0);
    const OwnedFd file(::open(folder.path("file").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    ASSERT_EQ(::symlink("nowhere", folder.path("link").c_str()), 0);
    struct Case {
      const char* name;
      const char* why;
    };
    WaitGroup wg;  // each that is in use is tried for a second
    for (const Case c :
         {Case{"listening", "a process has this socket"}, Case{"datagrams", "a process has this socket"},
          Case{"bound", "a process has this socket"}, Case{"file", "no socket"}, Case{"link", "no socket"}}) {
      wg.go([&, c] {
        const Result<UnixListener> none = listen_unix(folder.address(c.name));
        ASSERT_FALSE(none) << c.name;
        EXPECT_EQ(none.error().code, Code::kAddressInUse) << c.name;
        EXPECT_NE(none.error().message().find(c.why), std::string::npos) << none.error().message();
        EXPECT_TRUE(exists(folder.path(c.name))) << c.name;
      });
    }
    wg.wait();
    listening.set_deadline(now());
    EXPECT_EQ(listening.accept().error().code, Code::kTimeout) << "asking is no connection";
    EXPECT_TRUE(dial_unix(folder.address("listening")));
  });
}

TEST(Unix, who_wants_no_file_replaced_finds_an_address_in_use) {
  with_procs(1, [] {
    const Folder folder;
    must_have(listen_unix(folder.address("stale"), {.unlink_on_close = false})).close();
    ASSERT_TRUE(exists(folder.path("stale")));
    const Result<UnixListener> none = listen_unix(folder.address("stale"), {.replace_stale = false});
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().code, Code::kAddressInUse);
    EXPECT_NE(none.error().message().find("the socket's path exists"), std::string::npos) << none.error().message();
    EXPECT_TRUE(exists(folder.path("stale")));
    EXPECT_EQ(dial_unix(folder.address("stale")).error().code, Code::kRefused);

    UnixListener named = must_have(listen_unix({}));
    EXPECT_EQ(listen_unix(*named.local_unix_address()).error().code, Code::kAddressInUse);
    EXPECT_EQ(dial_unix(folder.address("nothing")).error().code, Code::kNotFound);
    EXPECT_EQ(listen_unix(folder.address("no/folder")).error().code, Code::kNotFound);
  });
}

TEST_P(UnixOnProcs, an_abstract_name_is_free_when_its_listener_is_closed) {
  with_procs(GetParam(), [] {
    UnixListener listener = must_have(listen_unix({}));
    const UnixAddress address = *listener.local_unix_address();
    for (int i = 0; i < 50; ++i) {
      WaitGroup wg;
      wg.go([&] { EXPECT_EQ(listener.accept().error().code, Code::kClosed); });
      if (i % 2 == 0) gosched();
      const TimePoint start = now();
      listener.close();
      wg.wait();
      Result<UnixListener> next = listen_unix(address);
      ASSERT_TRUE(next) << next.error().message() << " after " << (now() - start).count();
      listener = std::move(*next);
    }
  });
}

TEST(Unix, the_files_mode_is_as_asked_from_the_start) {
  with_procs(1, [] {
    const Folder folder;
    UnixListener listener = must_have(listen_unix(folder.address("s"), {.mode = 0600}));
    struct stat status;
    ASSERT_EQ(::lstat(folder.path("s").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600U);
  });
}

TEST_P(UnixOnProcs, a_full_queue_makes_a_dialer_wait_until_there_is_room) {
  with_procs(GetParam(), [] {
    UnixListener listener = must_have(listen_unix({}, {.backlog = 0}));
    const UnixAddress address = *listener.local_unix_address();
    std::vector<UnixConn> queued;
    Result<UnixConn> conn = dial_unix(address, {.deadline = now() + 20ms});
    for (; conn && queued.size() < 10; conn = dial_unix(address, {.deadline = now() + 20ms})) {
      queued.push_back(std::move(*conn));
    }
    ASSERT_FALSE(conn) << "the queue never filled";
    EXPECT_EQ(conn.error().code, Code::kTimeout);
    auto [ctx, cancel] = with_cancel(Context::background());
    WaitGroup wg;
    wg.go([&, &ctx = ctx] { EXPECT_EQ(dial_unix(address, {.ctx = ctx}).error().code, Code::kCanceled); });
    gosched();
    cancel();
    wg.wait();
    wg.go([&] { EXPECT_TRUE(dial_unix(address, {.deadline = patience()})); });
    gosched();
    for (std::size_t i = 0; i <= queued.size(); ++i) EXPECT_TRUE(listener.accept());
    wg.wait();
  });
}

TEST_P(UnixOnProcs, deadlines_contexts_and_close_end_calls_that_wait) {
  with_procs(GetParam(), [] {
    for (int i = 0; i < 20; ++i) {
      auto [near, far] = must_have(unix_pair());
      std::byte buf[5];
      near.set_read_deadline(now() - 1s);
      EXPECT_EQ(near.read(buf).error().code, Code::kTimeout);
      near.set_read_deadline(now() + 1ms);
      EXPECT_EQ(near.read(buf).error().code, Code::kTimeout);
      near.set_read_deadline(kNoDeadline);
      auto [ctx, cancel] = with_cancel(Context::background());
      WaitGroup wg;
      wg.go([&near = near, &ctx = ctx] {
        std::byte inner[5];
        EXPECT_EQ(near.read(ctx, inner).error().code, Code::kCanceled);
        EXPECT_EQ(near.receive_fds(ctx, inner, 1).error().code, Code::kCanceled);
      });
      if (i % 2 == 0) gosched();
      cancel();
      wg.wait();
      wg.go([&near = near] {
        std::byte inner[5];
        EXPECT_EQ(near.receive_fds(inner, 1).error().code, Code::kClosed);
      });
      wg.go([&near = near] { EXPECT_EQ(near.write(bytes_of(4 << 20)).error().code, Code::kClosed); });
      for (int k = 0; k < i % 7; ++k) gosched();
      near.close();
      wg.wait();
      EXPECT_EQ(near.read(buf).error().code, Code::kClosed);
      EXPECT_EQ(near.peer_credentials().error().code, Code::kClosed);
    }
  });
}

TEST(Unix, a_peer_that_is_gone_is_told_by_name) {
  with_procs(1, [] {
    auto [near, far] = must_have(unix_pair());
    far.close();
    std::byte buf[1];
    EXPECT_EQ(near.read(buf), std::size_t{0});
    EXPECT_EQ(near.read(buf), std::size_t{0});
    EXPECT_EQ(near.write(bytes_of(1)).error().code, Code::kReset);

    auto [a, b] = must_have(unix_pair());
    ASSERT_TRUE(a.write(bytes_of(1)));
    b.close();  // with a byte unread
    EXPECT_EQ(a.read(buf).error().code, Code::kReset);
  });
}

TEST(Unix, the_peers_credentials_are_the_kernels) {
  with_procs(1, [] {
    auto [near, far] = dialed_pair();
    for (UnixConn* conn : {&near, &far}) {
      const Result<PeerCredentials> who = conn->peer_credentials();
      ASSERT_TRUE(who);
      EXPECT_EQ(who->pid, ::getpid());
      EXPECT_EQ(who->uid, ::getuid());
      EXPECT_EQ(who->gid, ::getgid());
    }
  });
}

TEST_P(UnixOnProcs, descriptors_come_with_their_bytes) {
  with_procs(GetParam(), [] {
    const int before = open_fds();
    {
      auto [near, far] = must_have(unix_pair());
      WaitGroup wg;
      wg.go([&far = far] {
        std::byte buf[100];
        Result<ReceivedFds> got = far.receive_fds(buf, 3);
        ASSERT_TRUE(got) << got.error().message();
        EXPECT_EQ(text_of({buf, got->size}), "two");
        EXPECT_FALSE(got->fds_truncated);
        ASSERT_EQ(got->fds.size(), 2U);
        EXPECT_EQ(all_of(got->fds[0].get()), "first");
        EXPECT_EQ(all_of(got->fds[1].get()), "second");
        EXPECT_NE(::fcntl(got->fds[0].get(), F_GETFD) & FD_CLOEXEC, 0);
      });
      gosched();
      const OwnedFd first = pipe_with("first");
      const OwnedFd second = pipe_with("second");
      const int fds[] = {first.get(), second.get()};
      ASSERT_TRUE(near.send_fds(bytes("two"), fds));
      wg.wait();
      EXPECT_EQ(near.send_fds({}, fds).error().code, Code::kInvalid);
      EXPECT_EQ(near.send_fds(bytes("x"), std::vector<int>(254, first.get())).error().code, Code::kInvalid);
      const int wrong[] = {-1};
      EXPECT_FALSE(near.send_fds(bytes("x"), wrong));
    }
    EXPECT_LE(open_fds(), before + 4);  // ends on their way out
  });
}

TEST(Unix, bytes_behind_descriptors_are_not_forgotten_by_a_reader) {
  // The kernel ends a read where descriptors were sent, though more is there and no event will follow.
  with_procs(1, [] {
    auto [near, far] = must_have(unix_pair());
    far.set_read_deadline(patience());
    for (int i = 0; i < 20; ++i) {
      WaitGroup wg;
      wg.go([&near = near] {
        const OwnedFd fd = pipe_with("x");
        const int fds[] = {fd.get()};
        ASSERT_TRUE(near.send_fds(bytes("ab"), fds));
        ASSERT_TRUE(near.write(bytes("cd")));
      });
      std::byte buf[100];
      std::string got;
      while (got.size() < 4) {
        const Result<std::size_t> n = far.read(buf);  // which closes the descriptors
        ASSERT_TRUE(n) << n.error().message();
        got += text_of({buf, *n});
      }
      EXPECT_EQ(got, "abcd");
      wg.wait();
    }
  });
}

TEST(Unix, descriptors_that_do_not_fit_are_closed_and_said) {
  with_procs(1, [] {
    auto [near, far] = must_have(unix_pair());
    const OwnedFd file = pipe_with("x");
    const std::vector<int> fds(5, file.get());
    std::byte buf[10];
    const int before = open_fds();
    for (std::size_t most = 0; most <= 6; ++most) {
      ASSERT_TRUE(near.send_fds(bytes("x"), fds));
      const Result<ReceivedFds> got = far.receive_fds(buf, most);
      ASSERT_TRUE(got) << got.error().message();
      EXPECT_EQ(got->fds.size(), std::min<std::size_t>(most, 5)) << most;
      EXPECT_EQ(got->fds_truncated, most < 5) << most;
      EXPECT_EQ(open_fds(), before + static_cast<int>(got->fds.size()));
    }
    EXPECT_EQ(open_fds(), before);
    ASSERT_TRUE(near.send_fds(bytes("x"), std::vector<int>(kMostFds, file.get())));
    EXPECT_EQ(far.receive_fds(buf, 100'000)->fds.size(), kMostFds);
    EXPECT_EQ(open_fds(), before);
  });
}

TEST(Unix, a_large_message_carries_its_descriptors_once) {
  with_procs(2, [] {
    auto [near, far] = must_have(unix_pair());
    constexpr std::size_t kSize = 2 << 20;
    WaitGroup wg;
    wg.go([&near = near] {
      const OwnedFd fd = pipe_with("x");
      const int fds[] = {fd.get()};
      ASSERT_TRUE(near.send_fds(bytes_of(kSize), fds));
      ASSERT_TRUE(near.close_write());
    });
    std::vector<std::byte> buf(30'000);
    std::uint64_t at = 0;
    std::size_t came = 0;
    for (;;) {
      const Result<ReceivedFds> got = far.receive_fds(buf, 4);
      ASSERT_TRUE(got);
      if (got->size == 0) break;
      came += got->fds.size();
      if (at == 0) {
        EXPECT_EQ(came, 1U);
      }
      at = check_bytes({buf.data(), got->size}, at);
    }
    EXPECT_EQ(at, kSize);
    EXPECT_EQ(came, 1U);
    wg.wait();
  });
}

TEST(Unix, connections_and_listeners_are_handed_over) {
  with_procs(2, [] {
    const Folder folder;
    UnixListener listener = must_have(listen_unix(folder.address("s")));
    UnixConn client = must_have(dial_unix(folder.address("s")));
    const Result<int> fd = listener.release_fd();
    ASSERT_TRUE(fd);
    listener.close();
    EXPECT_TRUE(exists(folder.path("s")));
    UnixListener next = must_have(UnixListener::adopt(*fd));
    UnixConn server = must_have(next.accept());
    ASSERT_TRUE(server.write(bytes("hi")));
    UnixConn again = must_have(UnixConn::adopt(*client.release_fd()));
    std::byte buf[2];
    EXPECT_EQ(again.read_full(buf), std::size_t{2});
    next.close();
    EXPECT_TRUE(exists(folder.path("s")));  // not its own

    const int before = open_fds();
    EXPECT_EQ(UnixConn::adopt(::socket(AF_INET, SOCK_STREAM, 0)).error().code, Code::kInvalid);
    EXPECT_EQ(UnixConn::adopt(::socket(AF_UNIX, SOCK_DGRAM, 0)).error().code, Code::kInvalid);
    EXPECT_EQ(UnixListener::adopt(::socket(AF_UNIX, SOCK_STREAM, 0)).error().code, Code::kInvalid);
    EXPECT_EQ(open_fds(), before);
  });
}

TEST(Unix, it_is_a_transport_and_its_listener_a_source_of_them) {
  with_procs(1, [] {
    UnixListener unix_listener = must_have(listen_unix({}));
    TransportListener& listener = unix_listener;
    UnixConn conn = must_have(dial_unix(*unix_listener.local_unix_address()));
    Transport& near = conn;
    const std::unique_ptr<Transport> far = must_have(listener.accept_transport());
    EXPECT_TRUE(near.is_alive());
    ASSERT_TRUE(far->write(bytes_of(9)));
    EXPECT_FALSE(near.is_alive());
    far->close();
    std::byte buf[10];
    EXPECT_EQ(near.read_full(buf), std::size_t{9});
    near.close();
    listener.close();
  });
}

TEST_P(UnixOnProcs, goroutines_that_close_at_random_leave_no_descriptor_behind) {
  with_procs(GetParam(), [] {
    const int before = open_fds();
    UnixListener listener = must_have(listen_unix({}));
    const UnixAddress address = *listener.local_unix_address();
    std::atomic<int> fds_came{0};
    WaitGroup servers;
    servers.go([&] {
      for (;;) {
        Result<UnixConn> conn = listener.accept();
        if (!conn) return;
        servers.go([&, c = std::move(*conn)]() mutable {
          std::byte buf[700];
          for (;;) {
            const Result<ReceivedFds> got = c.receive_fds(buf, 2);
            if (!got || got->size == 0) return;
            fds_came += static_cast<int>(got->fds.size());
            if (!c.write({buf, got->size})) return;
          }
        });
      }
    });
    WaitGroup clients;
    for (int worker = 0; worker < 12; ++worker) {
      clients.go([&, worker] {
        std::mt19937_64 random(static_cast<std::uint64_t>(worker));
        for (int i = 0; i < (kSanitized ? 15 : 40); ++i) {
          UnixConn conn = must_have(dial_unix(address));
          const auto seed = random();
          WaitGroup users;
          users.go([&] {
            const OwnedFd fd = pipe_with("x");
            const int fds[] = {fd.get()};
            for (std::uint64_t at = 0;; at += 500) {
              const auto piece = bytes_of(500, seed, at);
              if (!(at % 1500 == 0 ? conn.send_fds(piece, fds) : conn.write(piece))) return;
            }
          });
          users.go([&] {
            std::byte buf[333];
            for (std::uint64_t at = 0;;) {
              const Result<std::size_t> n = conn.read(buf);
              if (!n || *n == 0) return;
              at = check_bytes({buf, *n}, at, seed);
            }
          });
          for (auto k = random() % 6; k > 0; --k) gosched();
          conn.close();
          users.wait();
        }
      });
    }
    clients.wait();
    listener.close();
    servers.wait();
    EXPECT_GT(fds_came.load(), 0);
    const TimePoint limit = patience();
    while (open_fds() > before && now() < limit) sleep(1ms);  // the last ones are on their way out
    EXPECT_LE(open_fds(), before);
  });
}

}  // namespace
}  // namespace heddle::net
