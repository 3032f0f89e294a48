// Urgent data (TCP's MSG_OOB), which any peer may send: a read ends before it, with more behind. Nobody may take such a short
// read for the end of what is there, or they wait for an event that has come already.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <heddle/core/chan.h>
#include <heddle/core/defer.h>
#include <heddle/core/run.h>

#include <string_view>

#include <heddle/net/copy.h>

#include "stream_test_util.h"

namespace heddle::net {
namespace {

using namespace test;

constexpr std::size_t kHalf = 10;

// Sends bytes [from, from + 2 * kHalf) with an urgent byte in the middle, by plain calls: nothing is read in between.
void send_with_urgent_byte(int fd, std::uint64_t from) {
  const std::vector<std::byte> first = bytes_of(kHalf, 0, from), second = bytes_of(kHalf, 0, from + kHalf);
  ASSERT_EQ(::send(fd, first.data(), kHalf, MSG_NOSIGNAL), static_cast<ssize_t>(kHalf));
  ASSERT_EQ(::send(fd, "!", 1, MSG_OOB | MSG_NOSIGNAL), 1);
  ASSERT_EQ(::send(fd, second.data(), kHalf, MSG_NOSIGNAL), static_cast<ssize_t>(kHalf));
}

TEST(Urgent, bytes_behind_an_urgent_one_are_read_at_once) {
  with_procs(1, [] {
    if (std::string_view(poller_name()) == "io_uring") {
      GTEST_SKIP() << "a ring's poll cannot tell urgent bytes from others (uring_poller.cc, kUneven)";
    }
    auto [near, far] = connected_pair();
    auto progress = make_chan<std::uint64_t>(100);
    constexpr std::uint64_t kTotal = 5 * 2 * kHalf;
    WaitGroup wg;
    wg.go([&far = far, progress]() mutable {
      std::byte buf[100];
      const auto end = defer([&] { progress.close(); });
      far.set_read_deadline(patience());
      for (std::uint64_t at = 0; at < kTotal;) {
        const Result<std::size_t> n = far.read(buf);
        ASSERT_TRUE(n) << n.error().message() << " after " << at;
        at = check_bytes({buf, *n}, at);
        progress.send(at);
      }
    });
    for (std::uint64_t at = 0; at < kTotal;) {
      sleep(2ms);  // the reader waits
      send_with_urgent_byte(near.native_handle(), at);
      at += 2 * kHalf;
      while (const std::optional<std::uint64_t> seen = progress.recv()) {
        if (*seen == at) break;
      }
    }
    wg.wait();
  });
}

TEST(Urgent, streams_deliver_what_is_behind_an_urgent_byte) {
  with_procs(1, [] {
    std::atomic<std::uint64_t> got{0};
    TestAcceptor acceptor([&](Stream& stream) {
      auto* sink = new TestSink(stream);
      sink->data = [&](std::span<const std::byte> bytes) { got = check_bytes(bytes, got); };
      sink->end = [&stream](Error) { stream.close(); };
      return sink;
    });
    auto listener = must_listen_streams(acceptor);
    Conn conn = must(dial(listener->local_address()));
    for (std::uint64_t at = 0; at < 5 * 2 * kHalf;) {
      send_with_urgent_byte(conn.native_handle(), at);
      at += 2 * kHalf;
      until([&] { return got.load() == at; });
    }
    conn.close();
    finish(*listener);
  });
}

// splice(2) stops before an urgent byte for good: the rest is copied by hand, and none of it is lost.
TEST(Urgent, a_copy_gets_over_an_urgent_byte) {
  for (const bool ended : {false, true}) {
    with_procs(1, [ended] {
      auto [source, from] = connected_pair();
      auto [to, target] = connected_pair();
      send_with_urgent_byte(source.native_handle(), 0);
      if (ended) source.close();
      Copied copied;
      WaitGroup wg;
      wg.go([&, &from = from, &to = to] {
        copied = copy(to, from);
        to.close();
      });
      target.set_read_deadline(patience());
      std::vector<std::byte> got(2 * kHalf);
      ASSERT_EQ(target.read_full(got), got.size());
      EXPECT_EQ(check_bytes(got, 0), got.size());
      source.close();
      wg.wait();
      EXPECT_TRUE(copied);
      EXPECT_EQ(copied.bytes, 2 * kHalf);
      EXPECT_EQ(copied.lost, 0U);
    });
  }
}

}  // namespace
}  // namespace heddle::net
