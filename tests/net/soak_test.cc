// Soaks: connections of all kinds, opened, used, and ended in every way that programs and peers know: in order, by a reset, by
// a half-close and away, slowly, at a deadline, at a context's end, and under the hands of who reads and writes.
//
//     epoch:  workers run connections until its time is over --> all have ended --> what is left? descriptors, slots,
//             goroutines: exactly as at the first epoch's end; memory: no more than at the end of the warm-up
//
// What ends in order is checked byte by byte in both directions. With faults the kernel is moody on top (faults.h).
//
// HEDDLE_SOAK_SECONDS says how long each soak lasts (2). HEDDLE_CYCLES says how often the last test opens and closes (6000;
// a million is the number to ask for).
#include <gtest/gtest.h>
#include <malloc.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include <heddle/core/context.h>
#include <heddle/core/dump.h>
#include <heddle/net/internal/accept_desc.h>
#include <heddle/net/internal/stream_conn.h>
#include <heddle/net/udp.h>

#include "faults.h"
#include "stream_test_util.h"
#include "unix_test_util.h"

namespace heddle::net {
namespace {

using namespace test;

std::chrono::milliseconds duration() {
  if (const char* env = std::getenv("HEDDLE_SOAK_SECONDS"); env != nullptr) {
    return std::chrono::milliseconds(static_cast<int>(std::atof(env) * 1'000));
  }
  return 2s;
}

// --- what is left ---

struct Left {
  int fds = 0;
  std::size_t sockets = 0, streams = 0, acceptors = 0;
  std::size_t goroutines = 0;
  friend bool operator==(const Left&, const Left&) = default;
};

std::size_t goroutines() {
  const std::string dump = dump_goroutines();
  std::size_t n = 0;
  for (std::size_t at = 0; (at = dump.find("goroutine ", at)) != std::string::npos; ++at) {
    if (at == 0 || dump[at - 1] == '\n') ++n;
  }
  return n;
}

Left look() {
  return {open_fds(), socket_slab().in_use(), stream_slab().in_use(), acceptor_slab().in_use(), goroutines()};
}

std::string to_string(const Left& left) {
  return std::to_string(left.fds) + " fds, " + std::to_string(left.sockets) + "+" + std::to_string(left.streams) + "+" +
         std::to_string(left.acceptors) + " slots, " + std::to_string(left.goroutines) + " goroutines";
}

// Waits until no more is left than at first. What had not quite ended then is taken off `first`.
testing::AssertionResult no_more_than(Left& first) {
  Left last;
  until([&] {
    last = look();
    const bool fits = last.fds <= first.fds && last.sockets <= first.sockets && last.streams <= first.streams &&
                      last.acceptors <= first.acceptors && last.goroutines <= first.goroutines;
    if (fits) first = last;
    return fits;
  });
  if (last == first) return testing::AssertionSuccess();
  return testing::AssertionFailure() << to_string(last) << ", and at first " << to_string(first);
}

/// Bytes of this process that are in memory.
std::size_t resident() {
  ::malloc_trim(0);  // what the allocator keeps for later is no leak
  std::FILE* file = std::fopen("/proc/self/statm", "re");
  unsigned long all = 0, in_memory = 0;
  if (file != nullptr && std::fscanf(file, "%lu %lu", &all, &in_memory) != 2) in_memory = 0;
  if (file != nullptr) std::fclose(file);
  return in_memory * 4096;
}

constexpr std::size_t kMostGrowth = 32 << 20;

// --- the connections ---

// The first byte of a connection tells its server how to behave; all that follows is an echo's.
enum class Server : std::uint8_t { kEchoes, kResets, kLeaves, kCount };

struct Soak {
  std::atomic<bool> over{false};
  std::atomic<std::uint64_t> begun{0}, in_order{0}, bytes{0};
  std::atomic<int> servers{0};
};

template <class C>
void serve(Soak& soak, C conn) {
  std::byte buf[2000];
  std::byte mode{};
  conn.set_deadline(now() + 60s);
  if (const Result<std::size_t> n = conn.read({&mode, 1}); n && *n == 1) {
    std::size_t echoed = 0;
    for (;;) {
      const Result<std::size_t> got = conn.read(buf);
      if (!got || *got == 0 || !conn.write({buf, *got})) break;
      echoed += *got;
      if (mode == static_cast<std::byte>(Server::kEchoes) || echoed < 1000) continue;
      if constexpr (std::is_same_v<C, Conn>) {
        if (mode == static_cast<std::byte>(Server::kResets)) static_cast<void>(conn.set_linger(0));
      }
      break;
    }
  }
  conn.close();
  soak.servers.fetch_sub(1);
}

template <class L>
void accept_all(Soak& soak, L& listener) {
  for (;;) {
    auto conn = listener.accept();
    if (conn) {
      soak.servers.fetch_add(1);
      go([&soak, c = std::move(*conn)]() mutable { serve(soak, std::move(c)); });
    } else if (conn.error().code == Code::kClosed) {
      return;
    } else {
      ASSERT_EQ(conn.error().code, Code::kNoResources) << conn.error().message();
      sleep(1ms);
    }
  }
}

// Errors that a peer's or our own rude end may give, and nothing else.
bool is_an_end(const Error& error) {
  return error.code == Code::kReset || error.code == Code::kClosed || error.code == Code::kTimeout ||
         error.code == Code::kCanceled;
}

/// One client's life on one connection. `modal`: the server looks at the first byte.
template <class C>
class Client {
 public:
  Client(Soak& soak, C conn, std::uint64_t seed, bool modal)
      : soak_(soak), conn_(std::move(conn)), random_(seed), seed_(seed), modal_(modal) {}

  void live() {
    soak_.begun.fetch_add(1);
    conn_.set_deadline(now() + 60s);
    switch (random_() % 8) {
      case 0:
      case 1: in_order(below(40'000), 4'000, false); break;
      case 2: in_order(below(1'500), 100, true); break;
      case 3: resets(); break;
      case 4: half_closes_and_leaves(); break;
      case 5: meets_its_deadline(); break;
      case 6: is_canceled(); break;
      case 7: below(2) == 0 ? is_closed_by_another() : has_a_rude_server(); break;
    }
    conn_.close();
  }

 private:
  std::size_t below(std::size_t n) { return random_() % n; }

  bool hello(Server how) {
    if (!modal_) return true;
    const auto mode = static_cast<std::byte>(how);
    return conn_.write({&mode, 1}).has_value();
  }

  void in_order(std::size_t size, std::size_t piece, bool slow) {
    ASSERT_TRUE(hello(Server::kEchoes));
    WaitGroup wg;
    wg.go([&, piece, slow] {
      for (std::size_t at = 0; at < size; at += piece) {
        ASSERT_TRUE(conn_.write(bytes_of(std::min(piece, size - at), seed_, at)));
        if (slow) sleep(300us);
      }
      ASSERT_TRUE(conn_.close_write());
    });
    std::vector<std::byte> buf(slow ? 50 : 3'000);
    std::uint64_t at = 0;
    for (;;) {
      const Result<std::size_t> n = conn_.read(buf);
      ASSERT_TRUE(n) << n.error().message() << " after " << at << " of " << size;
      if (*n == 0) break;
      at = check_bytes({buf.data(), *n}, at, seed_);
      if (slow) sleep(100us);
    }
    wg.wait();
    EXPECT_EQ(at, size);
    soak_.in_order.fetch_add(1);
    soak_.bytes.fetch_add(size);
  }

  void resets() {
    ASSERT_TRUE(hello(Server::kEchoes));
    ASSERT_TRUE(conn_.write(bytes_of(1 + below(5'000), seed_)));
    if (below(2) == 0) read_some();
    if constexpr (std::is_same_v<C, Conn>) {
      ASSERT_TRUE(conn_.set_linger(0));
    }
  }

  void half_closes_and_leaves() {
    ASSERT_TRUE(hello(Server::kEchoes));
    ASSERT_TRUE(conn_.write(bytes_of(1 + below(20'000), seed_)));
    ASSERT_TRUE(conn_.close_write());
    if (below(2) == 0) read_some();
  }

  void meets_its_deadline() {
    ASSERT_TRUE(hello(Server::kEchoes));
    std::byte buf[10];
    conn_.set_read_deadline(now() + std::chrono::microseconds(below(2'000)));
    const Result<std::size_t> n = conn_.read(buf);
    ASSERT_FALSE(n);
    ASSERT_EQ(n.error().code, Code::kTimeout) << n.error().message();
    conn_.set_read_deadline(now() + 60s);
    goes_on();
  }

  void is_canceled() {
    ASSERT_TRUE(hello(Server::kEchoes));
    auto [ctx, cancel] = with_cancel({});
    WaitGroup wg;
    wg.go([&, naps = below(3)] {
      for (std::size_t i = 0; i < naps; ++i) sleep(100us);
      cancel();
    });
    std::byte buf[10];
    const Result<std::size_t> n = conn_.read(ctx, buf);
    wg.wait();
    ASSERT_FALSE(n);
    ASSERT_EQ(n.error().code, Code::kCanceled) << n.error().message();
    goes_on();
  }

  // After a call that ended early the connection is as good as before.
  void goes_on() {
    std::byte buf[100];
    ASSERT_TRUE(conn_.write(bytes_of(100, seed_)));
    const Result<std::size_t> n = conn_.read_full(buf);
    ASSERT_TRUE(n) << n.error().message();
    ASSERT_EQ(check_bytes(buf, 0, seed_), 100U);
    soak_.in_order.fetch_add(1);
  }

  void is_closed_by_another() {
    ASSERT_TRUE(hello(Server::kEchoes));
    WaitGroup wg;
    wg.go([&] {
      for (std::uint64_t at = 0;; at += 5'000) {
        const Result<void> written = conn_.write(bytes_of(5'000, seed_, at));
        if (written) continue;
        ASSERT_TRUE(is_an_end(written.error())) << written.error().message();
        return;
      }
    });
    wg.go([&] {
      std::byte buf[700];
      for (std::uint64_t at = 0;;) {
        const Result<std::size_t> n = conn_.read(buf);
        if (!n) {
          ASSERT_EQ(n.error().code, Code::kClosed) << n.error().message();
          return;
        }
        ASSERT_GT(*n, 0U);
        at = check_bytes({buf, *n}, at, seed_);
      }
    });
    wg.go([&, naps = below(5)] {
      for (std::size_t i = 0; i < naps; ++i) sleep(200us);
      conn_.close();
    });
    wg.wait();
  }

  void has_a_rude_server() {
    if (!modal_) return;
    ASSERT_TRUE(hello(below(2) == 0 ? Server::kResets : Server::kLeaves));
    WaitGroup wg;
    wg.go([&] {
      for (std::uint64_t at = 0;; at += 500) {
        const Result<void> written = conn_.write(bytes_of(500, seed_, at));
        if (written) continue;
        ASSERT_TRUE(is_an_end(written.error())) << written.error().message();
        return;
      }
    });
    std::byte buf[300];
    for (std::uint64_t at = 0;;) {
      const Result<std::size_t> n = conn_.read(buf);
      if (!n) {
        ASSERT_TRUE(is_an_end(n.error())) << n.error().message();
      }
      if (!n || *n == 0) break;
      at = check_bytes({buf, *n}, at, seed_);
    }
    wg.wait();
  }

  void read_some() {
    std::byte buf[500];
    const Result<std::size_t> n = conn_.read(buf);
    if (n) static_cast<void>(check_bytes({buf, *n}, 0, seed_));
  }

  Soak& soak_;
  C conn_;
  std::mt19937_64 random_;
  const std::uint64_t seed_;
  const bool modal_;
};

/// Dials; while the ports of this machine are in use up, tries again. nullopt: the soak is over.
std::optional<Conn> dial_patiently(const Address& address) {
  const TimePoint limit = patience();
  for (;;) {
    Result<Conn> conn = dial(address);
    if (conn) return std::move(*conn);
    if (conn.error().sys != EADDRNOTAVAIL || now() > limit) {
      ADD_FAILURE() << conn.error().message();
      return std::nullopt;
    }
    sleep(1ms);
  }
}

// --- the soak ---

class SoakTest : public testing::TestWithParam<bool> {};

void soak_for(std::chrono::milliseconds lasts) {
  const Folder folder;
  Soak soak;
  EchoAcceptor echo;
  Listener tcp = must_listen();
  UnixListener unix_listener = must_have(listen_unix(folder.address("soak")));
  auto streams = must_listen_streams(echo);
  WaitGroup accepting;
  accepting.go([&] { accept_all(soak, tcp); });
  accepting.go([&] { accept_all(soak, unix_listener); });
  const Address tcp_address = *tcp.local_address();
  const UnixAddress unix_address = folder.address("soak");

  std::uint64_t seed = 1;
  const auto worker = [&](std::uint64_t from) {
    for (std::uint64_t i = from; !soak.over.load(); i += 1'000) {
      switch (i % 3) {
        case 0:
          if (auto conn = dial_patiently(tcp_address)) Client(soak, std::move(*conn), i, true).live();
          break;
        case 1:
          if (auto conn = dial_patiently(streams->local_address())) Client(soak, std::move(*conn), i, false).live();
          break;
        case 2:
          if (auto conn = dial_unix(unix_address); conn) {
            Client(soak, std::move(*conn), i, true).live();
          } else {
            ADD_FAILURE() << conn.error().message();
          }
          break;
      }
    }
  };
  const auto epoch = [&](std::chrono::milliseconds time) {
    soak.over = false;
    WaitGroup wg;
    for (int i = 0; i < (kSanitized ? 12 : 30); ++i) wg.go([&worker, s = seed++] { worker(s); });
    sleep(time);
    soak.over = true;
    wg.wait();
    until([&] { return soak.servers.load() == 0 && echo.live.load() == 0; });
  };

  const int epochs = static_cast<int>(std::clamp<std::int64_t>(lasts / 3s, 6, 60));
  const int warm = std::max(1, epochs / 4);
  Left first;
  std::size_t memory = 0, most = 0;
  for (int i = 0; i < epochs; ++i) {
    epoch(lasts / epochs);
    if (i == 0) {
      // Three listeners, and two goroutines that accept.
      until([&] { return socket_slab().in_use() == 2 && stream_slab().in_use() == 0; });
      first = look();
    }
    ASSERT_TRUE(no_more_than(first));
    const std::size_t now_resident = resident();
    if (i < warm) memory = std::max(memory, now_resident);
    most = std::max(most, now_resident);
  }
  if (kSanitized == 0) {
    EXPECT_LE(most, memory + kMostGrowth);
  }
  std::printf(
      "%llu connections, %llu in order with %llu bytes; %s; resident %zu KiB after the warm-up, at most %zu KiB\n",
      static_cast<unsigned long long>(soak.begun.load()), static_cast<unsigned long long>(soak.in_order.load()),
      static_cast<unsigned long long>(soak.bytes.load()), to_string(first).c_str(), memory >> 10, most >> 10);
  tcp.close();
  unix_listener.close();
  streams->close();
  accepting.wait();
}

TEST_P(SoakTest, leaves_nothing_and_loses_nothing) {
  std::optional<Faults> faults;
  if (GetParam()) {
    std::vector<std::pair<Fault, unsigned>> one_in = {
        {Fault::kShortRead, 20},   {Fault::kShortWrite, 20}, {Fault::kReadAgain, 20},      {Fault::kWriteAgain, 20},
        {Fault::kInterrupted, 20}, {Fault::kGoneBefore, 20}, {Fault::kNoDescriptors, 200}, {Fault::kWaitEnds, 20},
        {Fault::kSingleShot, 10},  {Fault::kEnterFails, 20}};
    if (Faults::can_fail_operations()) {
      one_in.emplace_back(Fault::kOpFails, 50);
      one_in.emplace_back(Fault::kSpurious, 20);
    }
    faults.emplace(FaultPlan{.seed = 11, .one_in = one_in});
  }
  with_procs(4, [] { soak_for(duration()); });
}

INSTANTIATE_TEST_SUITE_P(Soak, SoakTest, testing::Values(false, true), [](const testing::TestParamInfo<bool>& param) {
  return param.param ? std::string("with_faults") : std::string("plain");
});

// --- opening and closing ---

int cycles() {
  const char* env = std::getenv("HEDDLE_CYCLES");
  return env != nullptr ? std::atoi(env) : kSanitized ? 2'000 : 6'000;
}

void open_and_close_all_kinds(int times) {
  EchoAcceptor echo;
  Listener listener = must_listen();
  auto streams = must_listen_streams(echo);
  const Address address = *listener.local_address();
  WaitGroup accepting;
  accepting.go([&] {
    while (Result<Conn> conn = listener.accept()) {
      std::byte buf[1];
      static_cast<void>(conn->read(buf));  // so that it is watched
    }
  });
  const auto run_some = [&](int n) {
    constexpr int kWorkers = 4;
    WaitGroup wg;
    for (int worker = 0; worker < kWorkers; ++worker) {
      wg.go([&, worker] {
        std::byte buf[1]{};
        for (int i = worker; i < n; i += kWorkers) {
          switch (i / kWorkers % 4) {
            case 0:
              if (auto conn = dial_patiently(address)) static_cast<void>(conn->close_write());
              break;
            case 1:
              if (auto conn = dial_patiently(streams->local_address())) {
                ASSERT_TRUE(conn->write(buf));
                ASSERT_EQ(conn->read(buf), std::size_t{1});
              }
              break;
            case 2: {
              auto [near, far] = must(unix_pair());
              WaitGroup reader;
              reader.go([&near = near] {
                std::byte one[1];
                EXPECT_FALSE(near.read(one));
              });
              gosched();
              near.close();  // under the reader
              reader.wait();
              break;
            }
            case 3: {
              UdpSocket socket = must(bind_udp(any_port()));
              socket.set_read_deadline(now());
              EXPECT_FALSE(socket.receive_from(buf));
              break;
            }
          }
        }
      });
    }
    wg.wait();
    until([&] { return echo.live.load() == 0 && socket_slab().in_use() <= 2; });
  };
  run_some(times / 10);
  until([&] { return socket_slab().in_use() == 1; });
  Left first = look();
  const std::size_t memory = resident();
  const TimePoint start = now();
  run_some(times - times / 10);
  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(now() - start);
  EXPECT_TRUE(no_more_than(first));
  const std::size_t after = resident();
  if (kSanitized == 0) {
    EXPECT_LE(after, memory + kMostGrowth);
  }
  std::printf("%d cycles, the last nine tenths in %lld ms; %s; resident %zu KiB, before %zu KiB\n", times,
              static_cast<long long>(took.count()), to_string(look()).c_str(), after >> 10, memory >> 10);
  listener.close();
  streams->close();
  accepting.wait();
}

TEST(Cycles, opening_and_closing_leaves_no_descriptor_no_slot_and_no_memory) {
  with_procs(2, [] { open_and_close_all_kinds(cycles()); });
}

}  // namespace
}  // namespace heddle::net
