// Stream listeners: dealing, refusing, running out of descriptors, and closing.
#include <heddle/net/stream_listener.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <map>
#include <mutex>

#include <heddle/net/internal/accept_desc.h>
#include <heddle/net/internal/sys.h>

#include "stream_test_util.h"
#include "unix_test_util.h"

namespace heddle::net {
namespace {

using namespace test;

class ListenerOnProcs : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(procs, ListenerOnProcs, testing::Values(1, 2, 4));

// Sends and expects the same back.
void check_one_echo(Transport& conn) {
  std::byte buf[100];
  conn.set_deadline(patience());
  ASSERT_TRUE(conn.write(bytes_of(100)));
  ASSERT_EQ(conn.read_full(buf), std::size_t{100});
  ASSERT_EQ(check_bytes(buf, 0), 100U);
}

// Of clients that have connected and sent a byte each before the scheduler could accept any.
void expect_served_at_close(StreamListener& listener, EchoAcceptor& acceptor, const std::vector<int>& fds) {
  listener.close();
  EXPECT_EQ(acceptor.accepted.load(), static_cast<int>(fds.size()));
  for (const int fd : fds) {
    char c = 0;
    until([&] { return ::recv(fd, &c, 1, MSG_DONTWAIT) == 1; });
    EXPECT_EQ(c, 'x');
    ::close(fd);
  }
  until([&] { return acceptor.live.load() == 0; });
}

TEST(Listener, a_socket_that_listens_already_is_served) {
  with_procs(2, [] {
    EchoAcceptor echo;
    Listener inherited = must_listen();
    const Address address = *inherited.local_address();
    Conn early = must(dial(address));  // waits in the socket's queue
    const Result<int> fd = inherited.release_fd();
    ASSERT_TRUE(fd);
    Result<std::unique_ptr<StreamListener>> listener = StreamListener::adopt(*fd, echo);
    ASSERT_TRUE(listener) << listener.error().message();
    EXPECT_EQ((*listener)->local_address(), address);
    check_one_echo(early);
    Conn late = must(dial(address));
    check_one_echo(late);
    early.close();
    late.close();
    until([&] { return echo.accepted.load() == 2 && echo.live.load() == 0; });
    (*listener)->close();
    const Result<std::unique_ptr<StreamListener>> none = StreamListener::adopt(::socket(AF_UNIX, SOCK_STREAM, 0), echo);
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().code, Code::kInvalid);
  });
}

TEST_P(ListenerOnProcs, connections_are_dealt_out_evenly) {
  with_procs(GetParam(), [] {
    std::mutex mutex;
    std::map<Poller*, int> homes;
    EchoAcceptor echo;
    TestAcceptor acceptor([&](Stream& stream) {
      {
        const std::lock_guard guard(mutex);
        ++homes[current_poller()];
      }
      return echo.on_accept(stream);
    });
    auto listener = must_listen_streams(acceptor);
    std::vector<Conn> conns;
    for (int i = 0; i < 10 * procs(); ++i) {
      conns.push_back(must(dial(listener->local_address())));
      check_one_echo(conns.back());
    }
    {
      const std::lock_guard guard(mutex);
      EXPECT_EQ(homes.size(), static_cast<std::size_t>(procs()));
      for (const auto& [home, count] : homes) EXPECT_EQ(count, 10);
    }
    conns.clear();
    until([&] { return echo.live.load() == 0; });
    listener->close();
  });
}

TEST_P(ListenerOnProcs, a_closed_listeners_port_is_free_at_once) {
  static std::atomic<int> binds{0};
  Sys sys = kRealSys;
  sys.bind = [](int fd, const sockaddr* sa, socklen_t len) {
    binds.fetch_add(1);
    return kRealSys.bind(fd, sa, len);
  };
  const ScopedSys scoped(sys);
  binds = 0;
  with_procs(GetParam(), [] {
    EchoAcceptor acceptor;
    auto listener = must_listen_streams(acceptor);
    const Address address = listener->local_address();
    std::vector<Conn> conns;
    for (int i = 0; i < 100; ++i) {
      conns.push_back(must(dial(address)));
      check_one_echo(conns.back());
      listener->close();
      listener->close();  // idempotent
      listener = must_listen_streams(acceptor, address);
    }
    for (Conn& conn : conns) check_one_echo(conn);  // connections live on
    conns.clear();
    until([&] { return acceptor.live.load() == 0; });
    listener->close();
  });
  EXPECT_EQ(binds.load(), 101) << "a bind had to be tried again";
}

TEST_P(ListenerOnProcs, no_on_accept_runs_after_close_has_returned) {
  with_procs(GetParam(), [] {
    for (int i = 0; i < 30; ++i) {
      EchoAcceptor echo;
      std::atomic<bool> over{false};
      auto acceptor = std::make_unique<TestAcceptor>([&](Stream& stream) {
        EXPECT_FALSE(over.load());
        return echo.on_accept(stream);
      });
      auto listener = must_listen_streams(*acceptor);
      const Address address = listener->local_address();
      WaitGroup wg;
      for (int k = 0; k < 8; ++k) {
        wg.go([&] {
          for (int c = 0; c < 4; ++c) {
            const Result<Conn> conn = dial(address, {.deadline = now() + 100ms});  // refused or unanswered once it is closed
          }
        });
      }
      for (int k = 0; k < i % 5; ++k) gosched();
      listener->close();
      over = true;
      acceptor.reset();  // ASan sees who still uses it
      wg.wait();
      until([&] { return echo.live.load() == 0; });
    }
  });
}

TEST(StreamListener, connections_that_the_kernel_had_completed_are_served_at_close) {
  with_procs(1, [] {
    EchoAcceptor acceptor;
    auto listener = must_listen_streams(acceptor);
    std::vector<int> fds;
    // Plain blocking calls: the scheduler has no chance to accept in between.
    for (int i = 0; i < 20; ++i) {
      const Address address = listener->local_address();
      const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
      ASSERT_EQ(::connect(fd, address.sa(), address.size()), 0);
      ASSERT_EQ(::send(fd, "x", 1, 0), 1);
      fds.push_back(fd);
    }
    expect_served_at_close(*listener, acceptor, fds);
  });
}

// Which of the listeners new connections come to, `count` of them, one after the other.
int accepted_by(const std::vector<EchoAcceptor*>& acceptors, const Address& address, int count) {
  std::vector<int> before;
  for (const EchoAcceptor* one : acceptors) before.push_back(one->accepted.load());
  for (int i = 0; i < count; ++i) {
    Conn conn = must(dial(address));
    check_one_echo(conn);
  }
  int bits = 0;
  for (std::size_t i = 0; i < acceptors.size(); ++i) bits |= acceptors[i]->accepted.load() > before[i] ? 1 << i : 0;
  return bits;
}

TEST(StreamListener, who_shares_its_port_has_new_connections_go_to_the_others) {
  with_procs(2, [] {
    for (std::size_t leaver = 0; leaver < 3; ++leaver) {  // first, in the middle and last of the group
      EchoAcceptor echoes[3];
      const std::vector<EchoAcceptor*> all{&echoes[0], &echoes[1], &echoes[2]};
      std::vector<std::unique_ptr<StreamListener>> listeners;
      Address address = any_port();
      for (EchoAcceptor& echo : echoes) {
        listeners.push_back(must(StreamListener::listen(address, echo, {.reuse_port = true})));
        address = listeners.back()->local_address();
      }
      EXPECT_TRUE(listeners[leaver]->divert());
      EXPECT_EQ(accepted_by(all, address, 40) & (1 << leaver), 0) << leaver;
      listeners[leaver]->close();
      // The others are chosen among as before: 60 connections miss one of two with a chance of 2^-59.
      EXPECT_EQ(accepted_by(all, address, 60), 7 & ~(1 << leaver)) << leaver;
      for (const auto& one : listeners) one->close();
      for (EchoAcceptor& echo : echoes) until([&] { return echo.live.load() == 0; });
    }
  });
}

TEST(StreamListener, where_no_program_is_allowed_syns_are_dropped_and_come_again) {
  Sys table = kRealSys;
  table.setsockopt = [](int fd, int level, int name, const void* value, socklen_t size) {
    if (level == SOL_SOCKET && name == SO_ATTACH_REUSEPORT_CBPF) return -EPERM;
    return kRealSys.setsockopt(fd, level, name, value, size);
  };
  const ScopedSys scoped(table);
  with_procs(2, [] {
    EchoAcceptor leaver, successor;
    auto first = must(StreamListener::listen(any_port(), leaver, {.reuse_port = true}));
    auto second = must(StreamListener::listen(first->local_address(), successor, {.reuse_port = true}));
    Conn early = must(dial(first->local_address()));
    check_one_echo(early);
    EXPECT_TRUE(first->divert());
    check_one_echo(early);
    const int before = leaver.accepted.load();
    WaitGroup wg;
    for (int i = 0; i < 20; ++i) {
      wg.go([&] {
        Conn conn = must(dial(second->local_address()));
        check_one_echo(conn);
      });
    }
    sleep(5ms);  // for SYNs to fall to the leaver, most likely
    first->close();
    wg.wait();
    EXPECT_EQ(leaver.accepted.load(), before);
    early.close();
    second->close();
    until([&] { return leaver.live.load() == 0 && successor.live.load() == 0; });
  });
}

TEST(StreamListener, who_has_its_port_alone_is_diverted_to_itself) {
  with_procs(2, [] {
    EchoAcceptor echo;
    auto listener = must(StreamListener::listen(any_port(), echo, {.reuse_port = true}));
    EXPECT_TRUE(listener->divert());
    EXPECT_EQ(accepted_by({&echo}, listener->local_address(), 10), 1);
    listener->close();
    EXPECT_FALSE(listener->divert());
    until([&] { return echo.live.load() == 0; });

    auto unshared = must_listen_streams(echo);
    EXPECT_FALSE(unshared->divert());
    unshared->close();
  });
}

TEST(StreamListener, a_socket_that_a_supervisor_holds_serves_the_successor) {
  with_procs(2, [] {
    Listener listening = must_listen();
    const Address address = *listening.local_address();
    const int held = ::fcntl(listening.native_handle(), F_DUPFD_CLOEXEC, 0);
    const Result<int> passed_on = listening.release_fd();
    ASSERT_TRUE(passed_on);
    EchoAcceptor first, second;
    auto listener = must(StreamListener::adopt(*passed_on, first));
    EXPECT_EQ(accepted_by({&first}, address, 1), 1);
    listener->close();
    Conn between = must(dial(address));  // waits in the socket
    auto successor = must(StreamListener::adopt(held, second));
    check_one_echo(between);
    EXPECT_EQ(accepted_by({&second}, address, 1), 1);
    between.close();
    successor->close();
    until([&] { return first.live.load() == 0 && second.live.load() == 0; });
  });
}

TEST_P(ListenerOnProcs, a_unix_socket_is_served_and_its_path_is_free_when_it_is_closed) {
  with_procs(GetParam(), [] {
    const Folder folder;
    const UnixAddress address = folder.address("s");
    EchoAcceptor acceptor;
    std::vector<UnixConn> conns;
    for (int i = 0; i < 20; ++i) {
      auto listener = must(StreamListener::listen(address, acceptor, {.mode = 0600}));
      EXPECT_EQ(listener->local_unix_address(), address);
      EXPECT_EQ(listener->local_address(), Address());
      EXPECT_FALSE(listener->divert());
      conns.push_back(must(dial_unix(address)));
      check_one_echo(conns.back());
      listener->close();
      EXPECT_FALSE(exists(folder.path("s")));
      EXPECT_EQ(dial_unix(address).error().code, Code::kNotFound);
      listener->close();  // idempotent
    }
    for (UnixConn& conn : conns) check_one_echo(conn);  // connections live on
    conns.clear();
    until([&] { return acceptor.live.load() == 0; });
  });
}

TEST(StreamListener, who_had_connected_to_a_unix_socket_is_served_at_close) {
  with_procs(1, [] {
    EchoAcceptor acceptor;
    auto listener = must(StreamListener::listen(UnixAddress(), acceptor));
    const UnixAddress address = listener->local_unix_address();
    std::vector<int> fds;
    // Plain blocking calls: the scheduler has no chance to accept in between.
    for (int i = 0; i < 20; ++i) {
      const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
      ASSERT_EQ(::connect(fd, address.sa(), address.size()), 0);
      ASSERT_EQ(::send(fd, "x", 1, 0), 1);
      fds.push_back(fd);
    }
    expect_served_at_close(*listener, acceptor, fds);
  });
}

TEST(StreamListener, a_unix_stream_says_who_has_connected_and_drops_descriptors) {
  with_procs(2, [] {
    std::string who;
    TestAcceptor none([&](Stream& stream) {
      EXPECT_EQ(stream.peer(), Address());
      const Result<PeerCredentials> credentials = stream.peer_credentials();
      EXPECT_TRUE(credentials && credentials->uid == ::getuid() && credentials->pid == ::getpid());
      who = stream.peer_address();
      return nullptr;
    });
    {
      auto listener = must(StreamListener::listen(UnixAddress(), none));
      UnixConn conn = must(dial_unix(listener->local_unix_address()));
      std::byte buf[1];
      EXPECT_EQ(conn.read(buf), std::size_t{0});  // refused
      listener->close();
    }
    EXPECT_EQ(who, "unix:uid=" + std::to_string(::getuid()) + ",pid=" + std::to_string(::getpid()));
    EchoAcceptor echo;
    auto listener = must(StreamListener::listen(UnixAddress(), echo));
    UnixConn conn = must(dial_unix(listener->local_unix_address()));
    conn.set_deadline(patience());
    // A read ends in front of a descriptor and behind it, however much there is.
    ASSERT_TRUE(conn.write(bytes("a")));
    for (int i = 0; i < 20; ++i) {
      const OwnedFd pipe = pipe_with("");
      const int fds[] = {pipe.get()};
      ASSERT_TRUE(conn.send_fds(bytes("bc"), fds));
      ASSERT_TRUE(conn.write(bytes("d")));
    }
    std::byte buf[61];
    ASSERT_EQ(conn.read_full(buf), std::size_t{61});
    EXPECT_EQ(text_of(buf).substr(0, 7), "abcdbcd");
    conn.close();
    until([&] { return echo.live.load() == 0; });
    listener->close();
  });
}

TEST(StreamListener, a_unix_socket_that_a_supervisor_holds_serves_the_successor) {
  with_procs(2, [] {
    const Folder folder;
    UnixListener listening = must(listen_unix(folder.address("s"), {.unlink_on_close = false}));
    const int held = ::fcntl(listening.native_handle(), F_DUPFD_CLOEXEC, 0);
    const Result<int> passed_on = listening.release_fd();
    ASSERT_TRUE(passed_on);
    EchoAcceptor first, second;
    auto listener = must(StreamListener::adopt(*passed_on, first));
    listener->close();
    UnixConn between = must(dial_unix(folder.address("s")));  // waits in the socket
    auto successor = must(StreamListener::adopt(held, second));
    check_one_echo(between);
    between.close();
    successor->close();
    EXPECT_TRUE(exists(folder.path("s")));
    until([&] { return second.live.load() == 0; });
    EXPECT_EQ(first.accepted.load(), 0);
  });
}

TEST(StreamListener, a_refused_connection_is_closed_at_once) {
  with_procs(2, [] {
    std::atomic<int> asked{0};
    TestAcceptor acceptor([&](Stream&) {
      asked.fetch_add(1);
      return nullptr;
    });
    auto listener = must_listen_streams(acceptor);
    for (int i = 0; i < 50; ++i) {
      Conn conn = must(dial(listener->local_address()));
      std::byte buf[1];
      conn.set_deadline(patience());
      EXPECT_EQ(conn.read(buf), std::size_t{0});
    }
    EXPECT_EQ(asked.load(), 50);
    listener->close();
  });
}

TEST(StreamListener, out_of_descriptors_it_rests_and_goes_on) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "UBSan looks at an object's type by way of a pipe: without descriptors it finds every object invalid";
#endif
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  with_procs(1, [&before] {
    EchoAcceptor acceptor;
    std::vector<int> clients;
    for (int i = 0; i < 10; ++i) clients.push_back(::socket(AF_INET, SOCK_STREAM, 0));
    // Room for the listener and three more: the four lowest numbers that are free, whatever the process inherited. Before
    // it listens: a ring notes the limit when the accept is armed.
    std::vector<int> room;
    for (int i = 0; i < 4; ++i) room.push_back(::dup(clients.back()));
    const rlimit tight{static_cast<rlim_t>(room.back()) + 1, before.rlim_max};
    for (const int fd : room) ::close(fd);
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &tight), 0);
    auto listener = must_listen_streams(acceptor);
    const Address address = listener->local_address();
    for (const int fd : clients) ASSERT_EQ(::connect(fd, address.sa(), address.size()), 0);
    until([&] { return acceptor.accepted.load() == 3; });
    timespec cpu{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    const std::int64_t cpu_before = cpu.tv_sec * 1'000'000'000 + cpu.tv_nsec;
    sleep(300ms);
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    EXPECT_LT(cpu.tv_sec * 1'000'000'000 + cpu.tv_nsec - cpu_before, 100'000'000) << "it spins";
    EXPECT_EQ(acceptor.accepted.load(), 3);
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
    until([&] { return acceptor.accepted.load() == 10; });
    for (const int fd : clients) {
      ASSERT_EQ(::send(fd, "y", 1, 0), 1);
      char c = 0;
      until([&] { return ::recv(fd, &c, 1, MSG_DONTWAIT) == 1; });
      ::close(fd);
    }
    until([&] { return acceptor.live.load() == 0; });
    listener->close();
  });
}

TEST(StreamListener, what_an_errno_of_accept_asks_for) {
  EXPECT_EQ(accept_verdict(EAGAIN), AcceptVerdict::kDrained);
  for (const int error : {ECONNABORTED, EPROTO, ENETDOWN, EHOSTUNREACH, EINTR, EPERM}) {
    EXPECT_EQ(accept_verdict(error), AcceptVerdict::kGoOn) << error;
  }
  for (const int error : {EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOTSOCK}) {
    EXPECT_EQ(accept_verdict(error), AcceptVerdict::kRest) << error;
  }
}

TEST(StreamListener, an_address_in_use_is_told_by_name_and_shared_only_on_request) {
  with_procs(1, [] {
    EchoAcceptor acceptor;
    auto first = StreamListener::listen(any_port(), acceptor, {.reuse_port = true});
    ASSERT_TRUE(first);
    auto second = StreamListener::listen((*first)->local_address(), acceptor, {.reuse_port = true});
    EXPECT_TRUE(second);
    const auto third = StreamListener::listen((*first)->local_address(), acceptor);
    ASSERT_FALSE(third);
    EXPECT_EQ(third.error().code, Code::kAddressInUse);
    (*first)->close();
    (*second)->close();
  });
}

TEST_P(ListenerOnProcs, thousands_of_connections_leave_no_descriptor_behind) {
  with_procs(GetParam(), [] {
    EchoAcceptor acceptor;
    auto listener = must_listen_streams(acceptor);
    const int rounds = kSanitized ? 300 : 1500;
    int before = 0;
    for (int i = 0; i < rounds; ++i) {
      Conn conn = must(dial(listener->local_address()));
      check_one_echo(conn);
      if (i == 0) before = open_fds();
      if (i % 3 == 0) {
        ASSERT_TRUE(conn.set_linger(0));
      }
    }
    until([&] { return acceptor.live.load() == 0; });
    EXPECT_LE(open_fds(), before + 10);
    listener->close();
  });
}

TEST(StreamListener, the_end_of_a_run_closes_streams_and_listeners_that_were_left) {
  const int before = open_fds();
  Address address = any_port();
  EchoAcceptor acceptor;
  std::vector<std::unique_ptr<StreamListener>> forgotten;
  for (int i = 0; i < 3; ++i) {
    with_procs(2, [&] {
      auto listener = must_listen_streams(acceptor, address);
      address = listener->local_address();
      static Conn kept;
      kept = must(dial(address));
      check_one_echo(kept);
      forgotten.push_back(std::move(listener));  // not closed
    });
    EXPECT_EQ(open_fds(), before);
  }
}

}  // namespace
}  // namespace heddle::net
