// Deadlines: in the past, to come, moved and set by others while one waits, cleared.
#include <gtest/gtest.h>

#include <heddle/net/tcp.h>

#include "net_test_util.h"

namespace heddle::net {
namespace {

using namespace test;

class TcpDeadlineOnProcs : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(procs, TcpDeadlineOnProcs, testing::Values(1, 2, 4));

TEST(TcpDeadline, a_read_deadline_in_the_past_fails_at_once_even_if_data_is_there) {
  with_procs(1, [] {
    auto [near, far] = connected_pair();
    ASSERT_TRUE(far.write(bytes_of(5)));
    near.set_read_deadline(now() - 1s);
    std::byte buf[5];
    const Result<std::size_t> n = near.read(buf);
    ASSERT_FALSE(n);
    EXPECT_EQ(n.error().code, Code::kTimeout);
    near.set_read_deadline(kNoDeadline);  // cleared: the data is still there
    EXPECT_EQ(near.read_full(buf), std::size_t{5});
  });
}

TEST(TcpDeadline, a_read_deadline_ends_a_read_that_waits) {
  with_procs(2, [] {
    auto [near, far] = connected_pair();
    const TimePoint start = now();
    near.set_read_deadline(start + 30ms);
    std::byte buf[5];
    const Result<std::size_t> n = near.read(buf);
    ASSERT_FALSE(n);
    EXPECT_EQ(n.error().code, Code::kTimeout);
    EXPECT_GE(now(), start + 30ms);
    EXPECT_LT(now(), start + 10s);
    ASSERT_TRUE(near.write(bytes_of(5)));  // writing is not concerned
    near.set_read_deadline(patience());
    ASSERT_TRUE(far.write(bytes_of(5)));
    EXPECT_EQ(near.read_full(buf), std::size_t{5});
  });
}

TEST_P(TcpDeadlineOnProcs, a_deadline_set_by_another_goroutine_ends_a_read_that_waits) {
  with_procs(GetParam(), [] {
    for (int i = 0; i < 200; ++i) {
      auto [near, far] = connected_pair();
      WaitGroup wg;
      wg.go([&near] {
        std::byte buf[5];
        const Result<std::size_t> n = near.read(buf);
        ASSERT_FALSE(n);
        EXPECT_EQ(n.error().code, Code::kTimeout);
      });
      if (i % 2 == 0) gosched();
      near.set_deadline(now() - 1ns);
      wg.wait();
    }
  });
}

TEST(TcpDeadline, a_deadline_moved_while_one_waits_holds_as_moved) {
  with_procs(2, [] {
    auto [near, far] = connected_pair();
    near.set_read_deadline(now() + 20ms);
    WaitGroup wg;
    const TimePoint later = now() + 60ms;
    wg.go([&] {
      std::byte buf[5];
      const Result<std::size_t> n = near.read(buf);
      ASSERT_FALSE(n);
      EXPECT_EQ(n.error().code, Code::kTimeout);
      EXPECT_GE(now(), later);
    });
    gosched();
    near.set_read_deadline(later);
    wg.wait();
  });
}

TEST(TcpDeadline, a_write_deadline_ends_a_write_that_waits) {
  with_procs(2, [] {
    auto [near, far] = connected_pair();
    fill(near);
    const std::vector<std::byte> block = bytes_of(8 << 20);
    const TimePoint when = now() + 30ms;
    near.set_write_deadline(when);
    for (int i = 0; i < 2; ++i) {  // waiting, and then late from the start
      const Result<void> written = near.write(block);
      ASSERT_FALSE(written);
      EXPECT_EQ(written.error().code, Code::kTimeout);
      EXPECT_GE(now(), when);
    }
  });
}

TEST(TcpDeadline, an_accept_deadline_ends_an_accept_that_waits) {
  with_procs(1, [] {
    Listener listener = must_listen();
    listener.set_deadline(now() + 20ms);
    const Result<Conn> conn = listener.accept();
    ASSERT_FALSE(conn);
    EXPECT_EQ(conn.error().code, Code::kTimeout);
    listener.set_deadline(kNoDeadline);
    Conn client = must(dial(*listener.local_address()));
    EXPECT_TRUE(listener.accept());
  });
}

}  // namespace
}  // namespace heddle::net
