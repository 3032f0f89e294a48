// The net layer while the kernel is moody: each kind of fault (faults.h) alone and all together, on both back ends, under
// rings that are large or so small that every limit is met. What must hold: every byte arrives once and in order, every
// connection is accepted, every end is seen, and nothing is left over.
#include "faults.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include <heddle/net/internal/factory.h>
#include <heddle/net/internal/stream_conn.h>
#include <heddle/net/internal/uring_poller.h>
#include <heddle/net/udp.h>
#include <heddle/net/unix.h>

#include "stream_test_util.h"

namespace heddle::net {
namespace {

using namespace test;

constexpr std::size_t kBytes = kSanitized ? 10'000 : 30'000;

// --- what programs do; each returns when all has come and gone ---

// Sends and receives at the same time, over whatever two ends.
template <class C>
void exchange(C& near, C& far, std::size_t size, std::uint64_t seed) {
  WaitGroup wg;
  const auto send = [size](C& conn, std::uint64_t which) {
    for (std::size_t at = 0; at < size; at += 1000) {
      ASSERT_TRUE(conn.write(bytes_of(std::min<std::size_t>(1000, size - at), which, at)));
    }
    ASSERT_TRUE(conn.close_write());
  };
  const auto receive = [size](C& conn, std::uint64_t which) {
    std::byte buf[777];
    std::uint64_t at = 0;
    for (;;) {
      conn.set_read_deadline(patience());
      const Result<std::size_t> n = conn.read(buf);
      ASSERT_TRUE(n) << n.error().message() << " after " << at;
      if (*n == 0) break;
      at = check_bytes({buf, *n}, at, which);
    }
    EXPECT_EQ(at, size);
  };
  wg.go([&] { send(near, seed); });
  wg.go([&] { send(far, seed + 1); });
  wg.go([&] { receive(near, seed + 1); });
  wg.go([&] { receive(far, seed); });
  wg.wait();
}

void tcp() {
  Listener listener = must_listen();
  const Address address = *listener.local_address();
  constexpr int kConns = 6;
  WaitGroup wg;
  wg.go([&] {
    for (int i = 0; i < kConns;) {
      Result<Conn> far = listener.accept();
      if (!far) {
        ASSERT_EQ(far.error().code, Code::kNoResources) << far.error().message();
        sleep(100us);
        continue;
      }
      ++i;
      wg.go([far = std::move(*far)]() mutable {  // an echo
        std::byte buf[500];
        for (;;) {
          const Result<std::size_t> n = far.read(buf);
          ASSERT_TRUE(n) << n.error().message();
          if (*n == 0) break;
          const iovec two[] = {{buf, 1}, {buf + 1, *n - 1}};
          ASSERT_TRUE(far.writev(two));
        }
        ASSERT_TRUE(far.close_write());
      });
    }
  });
  for (int i = 0; i < kConns; ++i) {
    wg.go([&, i] {
      Conn near = must(dial(address));
      const auto seed = static_cast<std::uint64_t>(i);
      WaitGroup sender;
      sender.go([&] {
        ASSERT_TRUE(near.write(bytes_of(kBytes, seed)));
        ASSERT_TRUE(near.close_write());
      });
      std::vector<std::byte> buf(kBytes + 1);
      near.set_read_deadline(patience());
      const Result<std::size_t> n = near.read_full(buf);
      ASSERT_TRUE(n) << n.error().message();
      EXPECT_EQ(*n, kBytes);
      static_cast<void>(check_bytes({buf.data(), *n}, 0, seed));
      sender.wait();
    });
  }
  wg.wait();
  listener.close();
}

void unix_streams() {
  WaitGroup wg;
  for (std::uint64_t i = 0; i < 3; ++i) {
    wg.go([i] {
      auto [near, far] = must(unix_pair());
      exchange(near, far, kBytes, 100 + 2 * i);
    });
  }
  wg.wait();
}

// Stop and wait: loopback may drop a datagram.
void udp() {
  UdpSocket server = must(bind_udp(any_port()));
  UdpSocket client = must(dial_udp(*server.local_address()));
  WaitGroup wg;
  wg.go([&server] {
    std::byte buf[100];
    for (;;) {
      const Result<Datagram> got = server.receive_from(buf);
      if (!got) {
        EXPECT_EQ(got.error().code, Code::kClosed) << got.error().message();
        break;
      }
      static_cast<void>(server.send_to({buf, got->size}, got->from));
    }
  });
  for (std::uint64_t i = 0; i < 50; ++i) {
    const std::vector<std::byte> out = bytes_of(40, 0, i * 40);
    const TimePoint limit = patience();
    for (bool answered = false; !answered;) {
      ASSERT_LT(now(), limit);
      ASSERT_TRUE(client.send(out));
      client.set_read_deadline(now() + 50ms);
      std::byte buf[100];
      for (;;) {  // an answer to an earlier one may come late
        const Result<Datagram> got = client.receive_from(buf);
        if (!got) {
          ASSERT_EQ(got.error().code, Code::kTimeout) << got.error().message();
          break;
        }
        if (got->size == 40 && std::equal(out.begin(), out.end(), buf)) {
          answered = true;
          break;
        }
      }
    }
  }
  server.close();
  wg.wait();
}

void streams() {
  EchoAcceptor acceptor;
  auto listener = must_listen_streams(acceptor);
  WaitGroup wg;
  for (int i = 0; i < 12; ++i) {
    wg.go([&, i] {
      Conn conn = must(dial(listener->local_address()));
      const auto seed = static_cast<std::uint64_t>(i);
      WaitGroup sender;
      sender.go([&] {
        ASSERT_TRUE(conn.write(bytes_of(kBytes, seed)));
        ASSERT_TRUE(conn.close_write());
      });
      std::vector<std::byte> buf(kBytes + 1);
      conn.set_read_deadline(patience());
      const Result<std::size_t> n = conn.read_full(buf);
      ASSERT_TRUE(n) << n.error().message();
      EXPECT_EQ(*n, kBytes);
      static_cast<void>(check_bytes({buf.data(), *n}, 0, seed));
      sender.wait();
    });
  }
  wg.wait();
  until([&] { return acceptor.live.load() == 0; });
  EXPECT_EQ(acceptor.accepted.load(), 12);
  listener->close();
}

// Calls that wait end by deadline and by close, and touch their buffer no more.
void ends() {
  for (int i = 0; i < 10; ++i) {
    auto [near, far] = must(unix_pair());
    std::array<std::byte, 64> buf{};
    near.set_read_deadline(now() + 1ms);
    const Result<std::size_t> late = near.read(buf);
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().code, Code::kTimeout) << late.error().message();
    near.set_read_deadline(kNoDeadline);
    WaitGroup wg;
    wg.go([&near = near, &buf] {
      const Result<std::size_t> n = near.read(buf);
      ASSERT_FALSE(n);
      EXPECT_EQ(n.error().code, Code::kClosed) << n.error().message();
    });
    if (i % 2 == 0) sleep(100us);
    near.close();
    wg.wait();
    static_cast<void>(far.write(bytes_of(64)));  // comes too late for anybody
    far.close();
    EXPECT_EQ(buf, (std::array<std::byte, 64>{}));
  }
}

void everything() {
  WaitGroup wg;
  for (const auto work : {tcp, unix_streams, udp, streams, ends}) wg.go(work);
  wg.wait();
}

// Runs all of it and sees that no slot and no descriptor is left.
void run_everything(int procs, PollerKind poller = PollerKind::kAuto) {
  const int before = open_fds();
  RunOptions options;
  options.procs = procs;
  options.poller = poller;
  run(
      [] {
        everything();
        until([] { return socket_slab().in_use() == 0 && stream_slab().in_use() == 0; });
      },
      options);
  EXPECT_EQ(open_fds(), before);
}

// --- one fault, and all ---

struct Case {
  const char* name;
  std::vector<std::pair<Fault, unsigned>> one_in;
  bool of_rings = false;
};

const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      {"short_reads", {{Fault::kShortRead, 2}}},
      {"short_writes", {{Fault::kShortWrite, 2}}},
      {"reads_that_find_nothing", {{Fault::kReadAgain, 3}}},
      {"writes_that_find_no_room", {{Fault::kWriteAgain, 3}}},
      {"interrupted_calls", {{Fault::kInterrupted, 2}}},
      {"accepts_without_descriptors", {{Fault::kNoDescriptors, 3}}},
      {"connections_gone_before", {{Fault::kGoneBefore, 2}}},
      {"spurious_readiness", {{Fault::kSpurious, 2}}},
      {"waits_that_end_for_nothing", {{Fault::kWaitEnds, 2}}},
      {"multishots_that_end", {{Fault::kSingleShot, 1}}, true},
      {"operations_that_fail", {{Fault::kOpFails, 3}}, true},
      {"enters_that_fail", {{Fault::kEnterFails, 2}}, true},
      {"all_at_once",
       {{Fault::kShortRead, 6},
        {Fault::kShortWrite, 6},
        {Fault::kReadAgain, 7},
        {Fault::kWriteAgain, 7},
        {Fault::kInterrupted, 5},
        {Fault::kNoDescriptors, 8},
        {Fault::kGoneBefore, 5},
        {Fault::kSpurious, 4},
        {Fault::kWaitEnds, 5},
        {Fault::kSingleShot, 3},
        {Fault::kOpFails, 6},
        {Fault::kEnterFails, 5}}},
  };
  return all;
}

bool serves_by_epoll() {
  const char* wanted = std::getenv("HEDDLE_POLLER");
  return (wanted != nullptr && std::string_view(wanted) == "epoll") || why_no_io_uring() != nullptr;
}

class FaultsOnProcs : public testing::TestWithParam<std::tuple<std::size_t, int>> {};

TEST_P(FaultsOnProcs, nothing_is_lost_and_nothing_left) {
  const Case& one = cases()[std::get<0>(GetParam())];
  if (one.of_rings && serves_by_epoll()) GTEST_SKIP() << "epoll has no such operation";
  std::vector<std::pair<Fault, unsigned>> one_in = one.one_in;
  if (!serves_by_epoll() && !Faults::can_fail_operations()) {
    std::erase_if(one_in,
                  [](const auto& entry) { return entry.first == Fault::kOpFails || entry.first == Fault::kSpurious; });
    if (one_in.empty()) GTEST_SKIP() << "this kernel's no-ops know no injected result";
  }
  const Faults faults({.seed = 1 + std::get<0>(GetParam()), .one_in = one_in});
  const int procs = std::get<1>(GetParam());
  const TimePoint limit = patience();
  // Where the machine is busy everything may be there when it is looked for, and nobody ever waits: then it proves nothing yet.
  do {
    run_everything(procs);
  } while (one_in.size() == 1 && faults.count(one_in.front().first) == 0 && now() < limit && !HasFailure());
  if (one_in.size() == 1) {
    EXPECT_GT(faults.count(one_in.front().first), 0U);
  }
}

INSTANTIATE_TEST_SUITE_P(each, FaultsOnProcs,
                         testing::Combine(testing::Range<std::size_t>(0, cases().size()), testing::Values(1, 4)),
                         [](const testing::TestParamInfo<FaultsOnProcs::ParamType>& param) {
                           return std::string(cases()[std::get<0>(param.param)].name) + "_on_" +
                                  std::to_string(std::get<1>(param.param));
                         });

// --- rings that are too small: overflows and exhausted buffers are the kernel's own ---

class SmallRings : public testing::TestWithParam<UringOptions> {
 protected:
  void SetUp() override {
    if (serves_by_epoll()) GTEST_SKIP() << "epoll has no ring that could be small";
    sizes = GetParam();
    set_poller_factory([](int, PollerKind) -> std::unique_ptr<Poller> { return must(UringPoller::make(sizes)); },
                       [](PollerKind, const char** reason) {
                         *reason = nullptr;
                         return PollerKind::kIoUring;
                       });
  }
  void TearDown() override { register_pollers(); }

  static inline UringOptions sizes;
};

TEST_P(SmallRings, lose_nothing_without_faults) { run_everything(2); }

TEST_P(SmallRings, lose_nothing_when_multishots_end_and_enters_fail) {
  const Faults faults(
      {.seed = 3,
       .one_in = {{Fault::kSingleShot, 2}, {Fault::kEnterFails, 3}, {Fault::kWaitEnds, 4}, {Fault::kShortWrite, 8}}});
  run_everything(2);
  EXPECT_GT(faults.count(Fault::kSingleShot), 0U);
  EXPECT_GT(faults.count(Fault::kEnterFails), 0U);
}

INSTANTIATE_TEST_SUITE_P(sizes, SmallRings,
                         testing::Values(UringOptions{.entries = 2, .completions = 4, .buffers = 2},
                                         UringOptions{.entries = 1, .completions = 2, .buffers = 1},
                                         UringOptions{.entries = 4, .completions = 4, .buffers = 64},
                                         UringOptions{.entries = 64, .completions = 256, .buffers = 1}),
                         [](const testing::TestParamInfo<UringOptions>& param) {
                           return std::to_string(param.param.entries) + "_" + std::to_string(param.param.completions) +
                                  "_" + std::to_string(param.param.buffers);
                         });

// --- descriptors that cannot be watched ---

bool is_shortage(const Error& error) { return error.sys == ENOSPC || error.sys == ENOMEM; }

TEST(Faults, who_cannot_be_watched_is_told_so_by_name_and_may_try_again) {
  if (!serves_by_epoll()) GTEST_SKIP() << "a ring asks nothing of the kernel that could refuse to watch";
  const Faults faults({.seed = 5, .one_in = {{Fault::kCannotWatch, 2}}});
  with_procs(2, [&faults] {
    const TimePoint limit = patience();
    for (int i = 0; i < 20 || (faults.count(Fault::kCannotWatch) == 0 && now() < limit); ++i) {
      auto [near, far] = must(unix_pair());
      WaitGroup wg;
      wg.go([&far = far] {
        std::byte buf[10];
        std::size_t got = 0;
        while (got < 10) {
          const Result<std::size_t> n = far.read(std::span(buf).subspan(got));
          if (!n) {
            ASSERT_TRUE(is_shortage(n.error())) << n.error().message();
            gosched();
            continue;
          }
          ASSERT_GT(*n, 0U);
          got += *n;
        }
        EXPECT_EQ(check_bytes(buf, 0), 10U);
      });
      for (int k = 0; k < i % 3; ++k) gosched();
      ASSERT_TRUE(near.write(bytes_of(10)));
      wg.wait();
    }
  });
  EXPECT_GT(faults.count(Fault::kCannotWatch), 0U);
}

TEST(Faults, a_stream_that_cannot_be_watched_ends_with_the_reason) {
  if (!serves_by_epoll()) GTEST_SKIP() << "a ring asks nothing of the kernel that could refuse to watch";
  // The listener's own registration and the clients' come first or fail, too: only what a stream's sink is told counts here.
  const Faults faults({.seed = 6, .one_in = {{Fault::kCannotWatch, 2}}});
  with_procs(1, [] {
    std::atomic<int> failed{0}, served{0}, ended{0};
    TestAcceptor acceptor([&](Stream& stream) {
      auto* sink = new TestSink(stream);
      sink->data = [&](std::span<const std::byte>) { served.fetch_add(1); };
      sink->end = [&](Error reason) {
        if (is_shortage(reason)) failed.fetch_add(1);
        stream.close();
      };
      sink->closed = [&] { ended.fetch_add(1); };
      return sink;
    });
    Result<std::unique_ptr<StreamListener>> listener = StreamListener::listen(any_port(), acceptor);
    while (!listener) {
      ASSERT_TRUE(is_shortage(listener.error())) << listener.error().message();
      listener = StreamListener::listen(any_port(), acceptor);
    }
    for (int i = 0; i < 20; ++i) {
      int fd = kRealSys.socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);  // blocking: loopback's handshake needs nobody
      const Address address = (*listener)->local_address();
      ASSERT_EQ(kRealSys.connect(fd, address.sa(), address.size()), 0);
      ASSERT_EQ(::send(fd, "x", 1, MSG_NOSIGNAL), 1);
      ::shutdown(fd, SHUT_WR);
      until([&] { return ended.load() == i + 1; });
      ::close(fd);
    }
    EXPECT_GT(failed.load(), 0);
    EXPECT_GT(served.load(), 0);
    finish(**listener);
  });
}

// --- rings that cannot be had ---

class NoRing : public testing::Test {
 protected:
  void SetUp() override {
    if (serves_by_epoll()) GTEST_SKIP() << "epoll has no ring that could be small";
  }
};

// Counts the workers that poll by `name`.
int workers_that_serve_by(std::string_view name) {
  int n = 0;
  for (int i = 0; i < worker_count(); ++i) n += poller_of(i)->name() == name ? 1 : 0;
  return n;
}

TEST_F(NoRing, a_worker_without_a_ring_serves_by_epoll_beside_the_others) {
  for (const Fault fault : {Fault::kNoRing, Fault::kNoBuffers}) {
    for (const unsigned after : {1U, 2U, 3U}) {  // the first try is the probe's
      const Faults faults({.one_in = {{fault, 1}}, .after = {{fault, after}}});
      const int before = open_fds();
      testing::internal::CaptureStderr();
      run(
          [after] {
            everything();
            EXPECT_EQ(workers_that_serve_by("io_uring"), static_cast<int>(after) - 1);
            EXPECT_EQ(workers_that_serve_by("epoll"), 5 - static_cast<int>(after));
          },
          {.procs = 4, .poller = PollerKind::kIoUring});
      const std::string told = testing::internal::GetCapturedStderr();
      EXPECT_EQ(open_fds(), before);
      EXPECT_EQ(std::count(told.begin(), told.end(), '\n'), 1) << told;
      EXPECT_NE(told.find("serves by epoll"), std::string::npos) << told;
      EXPECT_NE(told.find("ENOMEM"), std::string::npos) << told;
    }
  }
}

TEST_F(NoRing, all_serve_by_epoll_if_the_kernel_forbids_it) {
  Sys sys = kRealSys;
  sys.ring_init = [](unsigned, io_uring*, io_uring_params*) { return -EPERM; };
  const ScopedSys scoped(sys);
  const char* wanted = std::getenv("HEDDLE_POLLER");
  const std::string before = wanted != nullptr ? wanted : "";
  ::unsetenv("HEDDLE_POLLER");
  run(
      [] {
        everything();
        EXPECT_EQ(workers_that_serve_by("epoll"), worker_count());
        EXPECT_EQ(poller_name(), std::string_view("epoll"));
      },
      {.procs = 2});
  if (wanted != nullptr) ::setenv("HEDDLE_POLLER", before.c_str(), 1);
}

}  // namespace
}  // namespace heddle::net
