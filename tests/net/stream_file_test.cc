// Streams that send out of files: what arrives, the file's end, kernels that cannot, peers that vanish, closing meanwhile.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <memory>

#include <heddle/net/file.h>
#include <heddle/net/internal/sys.h>
#include <heddle/net/stream.h>

#include "stream_test_util.h"
#include "unix_test_util.h"

namespace heddle::net {
namespace {

using namespace test;

constexpr std::uint64_t kSize = 3'000'000;  // more than a socket takes at once

struct AFile {
  explicit AFile(std::uint64_t size = kSize) {
    EXPECT_TRUE(write_file(folder.path("f"), bytes_of(size)));
    file = must_have(File::open(folder.path("f")));
  }
  [[nodiscard]] int fd() const { return file.native_handle(); }
  const Folder folder;
  File file;
};

// Sends until the file ends; returns how much, or why it could not go on.
Result<std::uint64_t> send_all(Stream& stream, int fd, std::uint64_t from) {
  std::uint64_t at = from;
  for (;;) {
    const Result<std::size_t> n = stream.send_of_file(fd, at, kSize);
    if (n) {
      if (*n == 0) return at - from;
      at += *n;
    } else if (n.error().code != Code::kWouldBlock) {
      return std::unexpected(n.error());
    } else if (const Result<void> ready = stream.wait_writable(patience()); !ready) {
      return std::unexpected(ready.error());
    }
  }
}

// Serves each connection by `use(stream)` on a goroutine, then closes it.
template <class Use>
TestAcceptor acceptor_for(Use use, std::atomic<int>& closed) {
  return TestAcceptor([use, &closed](Stream& stream) {
    auto* sink = new TestSink(stream);
    sink->closed = [&closed] { closed.fetch_add(1); };
    go([use, &stream] {
      use(stream);
      stream.close();
    });
    return sink;
  });
}

class StreamFileOnProcs : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(procs, StreamFileOnProcs, testing::Values(1, 2, 4));

TEST_P(StreamFileOnProcs, a_file_arrives_byte_for_byte_from_any_offset) {
  with_procs(GetParam(), [] {
    const AFile a;
    std::atomic<int> closed{0};
    constexpr std::uint64_t kFrom = 12'345;
    TestAcceptor acceptor = acceptor_for(
        [&a](Stream& stream) {
          const Result<std::uint64_t> sent = send_all(stream, a.fd(), kFrom);
          ASSERT_TRUE(sent) << sent.error().message();
          EXPECT_EQ(*sent, kSize - kFrom);
          EXPECT_EQ(stream.send_of_file(a.fd(), 0, 0), std::size_t{0});
          stream.shutdown_write();
        },
        closed);
    auto listener = must_listen_streams(acceptor);
    WaitGroup wg;
    for (int i = 0; i < 4; ++i) {
      wg.go([&] {
        Conn conn = must(dial(listener->local_address()));
        std::vector<std::byte> buf(70'000);
        std::uint64_t at = kFrom;
        for (;;) {
          const Result<std::size_t> n = conn.read(buf);
          ASSERT_TRUE(n) << n.error().message();
          if (*n == 0) break;
          at = check_bytes({buf.data(), *n}, at);
        }
        EXPECT_EQ(at, kSize);
      });
    }
    wg.wait();
    until([&] { return closed.load() == 4; });
    finish(*listener);
  });
}

TEST_P(StreamFileOnProcs, peers_that_vanish_end_it_and_raise_no_signal) {
  with_procs(GetParam(), [] {
    const AFile a;
    std::atomic<int> closed{0};
    TestAcceptor acceptor = acceptor_for(
        [&a](Stream& stream) {
          for (;;) {  // more than any socket holds, in the end
            if (const Result<std::uint64_t> sent = send_all(stream, a.fd(), 0); !sent) {
              EXPECT_EQ(sent.error().code, Code::kReset) << sent.error().message();
              return;
            }
          }
        },
        closed);
    auto listener = must_listen_streams(acceptor);
    constexpr int kConns = 20;
    WaitGroup wg;
    for (int i = 0; i < kConns; ++i) {
      wg.go([&, i] {
        Conn conn = must(dial(listener->local_address()));
        std::vector<std::byte> buf(50'000);
        for (int k = 0; k < i % 5; ++k) ASSERT_TRUE(conn.read(buf));
        conn.close();  // with unread data: a reset
      });
    }
    wg.wait();
    until([&] { return closed.load() == kConns; });
    finish(*listener);
  });
}

std::atomic<unsigned> calls{0};

TEST(StreamFile, a_kernel_that_cannot_says_so_and_an_interrupted_call_is_made_again) {
  Sys sys = kRealSys;
  sys.sendfile = [](int to, int from, off_t* offset, std::size_t len) -> ssize_t {
    switch (calls.fetch_add(1)) {
      case 0: return -EINTR;
      case 1: return kRealSys.sendfile(to, from, offset, std::min<std::size_t>(len, 1000));
      case 2: return -EINVAL;
      default: return -EIO;
    }
  };
  const ScopedSys scoped(sys);
  calls = 0;
  with_procs(2, [] {
    const AFile a;
    std::atomic<int> closed{0};
    TestAcceptor acceptor = acceptor_for(
        [&a](Stream& stream) {
          EXPECT_EQ(stream.send_of_file(a.fd(), 0, kSize), std::size_t{1000});
          const Result<std::size_t> cannot = stream.send_of_file(a.fd(), 1000, kSize);
          ASSERT_FALSE(cannot);
          EXPECT_EQ(cannot.error().code, Code::kUnsupported);
          const Result<std::size_t> broken = stream.send_of_file(a.fd(), 1000, kSize);
          ASSERT_FALSE(broken);
          EXPECT_EQ(broken.error().sys, EIO);
          const Result<std::size_t> beyond = stream.send_of_file(a.fd(), ~std::uint64_t{0}, 1);
          ASSERT_FALSE(beyond);
        },
        closed);
    auto listener = must_listen_streams(acceptor);
    Conn conn = must(dial(listener->local_address()));
    std::vector<std::byte> buf(2000);
    EXPECT_EQ(conn.read_full(buf), std::size_t{1000});
    until([&] { return closed.load() == 1; });
    finish(*listener);
  });
}

TEST(StreamFile, a_signal_that_comes_with_a_count_is_taken) {
  // As the kernel does for a peer that goes while the call is under way.
  Sys sys = kRealSys;
  sys.sendfile = [](int to, int from, off_t* offset, std::size_t len) -> ssize_t {
    const ssize_t n = kRealSys.sendfile(to, from, offset, std::min<std::size_t>(len, 1000));
    ::raise(SIGPIPE);
    return n;
  };
  const ScopedSys scoped(sys);
  with_procs(2, [] {
    const AFile a(100'000);
    std::atomic<int> closed{0};
    TestAcceptor acceptor = acceptor_for(
        [&a](Stream& stream) {
          EXPECT_EQ(stream.send_of_file(a.fd(), 0, 100'000), std::size_t{1000});
          sigset_t pending;
          sigpending(&pending);
          EXPECT_EQ(sigismember(&pending, SIGPIPE), 0);
        },
        closed);
    auto listener = must_listen_streams(acceptor);
    Conn conn = must(dial(listener->local_address()));
    until([&] { return closed.load() == 1; });
    finish(*listener);
  });
}

}  // namespace
}  // namespace heddle::net
