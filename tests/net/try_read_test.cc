// try_read() and wait_readable(): what is there is found, whoever looked before, and nothing that comes is missed.
#include <gtest/gtest.h>

#include <atomic>
#include <memory>

#include <heddle/net/internal/sys.h>
#include <heddle/net/memory.h>

#include "unix_test_util.h"

namespace heddle::net {
namespace {

using namespace test;

using Ends = std::pair<std::unique_ptr<Transport>, std::unique_ptr<Transport>>;

template <class Conn>
Ends boxed(std::pair<Conn, Conn> pair) {
  return {std::make_unique<Conn>(std::move(pair.first)), std::make_unique<Conn>(std::move(pair.second))};
}

Ends ends_of(int kind) {
  if (kind == 0) return boxed(connected_pair());
  if (kind == 1) return boxed(must_have(unix_pair()));
  return boxed(memory_pair());
}

// Waits while nothing is there, until something says why not. A wait may end without cause: then a try says so.
Error end_of_wait(Transport& conn, int* tries = nullptr) {
  for (;;) {
    const Result<void> ready = conn.wait_readable({});
    if (!ready) return ready.error();
    std::byte one;
    const Error end = conn.try_read({&one, 1}).error();  // a report that is old news has ended the wait
    if (end.code == Code::kTimeout) return end;           // and then the time was over
    EXPECT_EQ(end.code, Code::kWouldBlock);
    if (tries != nullptr) ++*tries;
  }
}

class TryRead : public testing::TestWithParam<std::tuple<int, int>> {};  // kind, Ps
INSTANTIATE_TEST_SUITE_P(kinds, TryRead, testing::Combine(testing::Values(0, 1, 2), testing::Values(1, 3)));

TEST_P(TryRead, takes_what_is_there_and_says_when_there_is_nothing) {
  const auto [kind, procs] = GetParam();
  with_procs(procs, [kind = kind] {
    auto [near, far] = ends_of(kind);
    std::byte buf[10];
    EXPECT_EQ(near->try_read(buf).error().code, Code::kWouldBlock);
    EXPECT_EQ(near->try_read({}), 0U);
    ASSERT_TRUE(far->write(bytes_of(10)));
    near->set_read_deadline(patience());
    EXPECT_EQ(near->read({buf, 4}), 4U);
    ASSERT_TRUE(near->wait_readable({})) << "the rest is there still";
    ASSERT_TRUE(near->wait_readable({})) << "and is asked for twice";
    EXPECT_EQ(near->try_read({buf + 4, 6}), 6U);
    EXPECT_EQ(check_bytes(buf, 0), 10U);
    EXPECT_EQ(near->try_read(buf).error().code, Code::kWouldBlock);
    near->set_read_deadline(now() - 1s);
    EXPECT_EQ(near->try_read(buf).error().code, Code::kTimeout);
    EXPECT_EQ(near->wait_readable({}).error().code, Code::kTimeout);
    near->set_read_deadline(now() + 5ms);
    EXPECT_EQ(end_of_wait(*near).code, Code::kTimeout);
    near->set_read_deadline(kNoDeadline);
    ASSERT_TRUE(far->close_write());
    for (int i = 0; i < 3; ++i) {
      ASSERT_TRUE(near->wait_readable({}));
      EXPECT_EQ(near->try_read(buf), 0U) << "the end stays";
    }
    near->close();
    EXPECT_EQ(near->try_read(buf).error().code, Code::kClosed);
    EXPECT_EQ(near->wait_readable({}).error().code, Code::kClosed);
  });
}

TEST_P(TryRead, tried_again_and_again_it_finds_what_comes_without_a_wait) {
  const auto [kind, procs] = GetParam();
  with_procs(procs, [kind = kind] {
    auto [near, far] = ends_of(kind);
    std::byte buf[10];
    for (int i = 0; i < 20; ++i) {
      EXPECT_EQ(near->try_read(buf).error().code, Code::kWouldBlock);
      ASSERT_TRUE(far->write(bytes_of(10)));
      std::size_t got = 0;
      while (got < 10) {
        const Result<std::size_t> n = near->try_read({buf + got, 10 - got});
        ASSERT_TRUE(n || n.error().code == Code::kWouldBlock);
        got += n.value_or(0);
      }
      EXPECT_EQ(check_bytes(buf, 0), 10U);
    }
  });
}

TEST_P(TryRead, reads_of_all_kinds_may_follow_each_other) {
  const auto [kind, procs] = GetParam();
  with_procs(procs, [kind = kind] {
    auto [near, far] = ends_of(kind);
    constexpr std::uint64_t kSize = 300'000;
    WaitGroup wg;
    wg.go([&far = far] {
      for (std::uint64_t at = 0; at < kSize; at += 100) {
        ASSERT_TRUE(far->write(bytes_of(100, 0, at)));
        if (at % 1'000 == 0) gosched();
      }
      ASSERT_TRUE(far->close_write());
    });
    std::byte buf[1'000];
    std::uint64_t at = 0;
    for (std::size_t i = 0;; ++i) {
      const std::span<std::byte> room(buf, 1 + i * 37 % 999);
      Result<std::size_t> n = i % 3 == 0 ? near->read(room) : near->try_read(room);
      if (!n && n.error().code == Code::kWouldBlock) {
        if (i % 2 == 0) {
          ASSERT_TRUE(near->wait_readable({}));
        }
        continue;
      }
      ASSERT_TRUE(n);
      if (*n == 0) break;
      at = check_bytes(room.first(*n), at);
    }
    EXPECT_EQ(at, kSize);
    wg.wait();
  });
}

TEST_P(TryRead, a_wait_is_ended_by_bytes_close_a_half_closed_a_deadline_and_a_context) {
  const auto [kind, procs] = GetParam();
  with_procs(procs, [kind = kind] {
    for (int i = 0; i < 100; ++i) {
      auto [near, far] = ends_of(kind);
      auto [ctx, cancel] = with_cancel({});
      WaitGroup wg;
      wg.go([&near = near, ctx = ctx, i] {
        const Result<void> ready = near->wait_readable(ctx);
        constexpr Code kExpected[] = {Code::kOk, Code::kClosed, Code::kOk, Code::kOk, Code::kTimeout, Code::kCanceled};
        EXPECT_EQ(ready ? Code::kOk : ready.error().code, kExpected[i % 6]);
      });
      if (i % 2 == 0) gosched();
      switch (i % 6) {
        case 0: ASSERT_TRUE(far->write(bytes_of(1))); break;
        case 1: near->close(); break;
        case 2: ASSERT_TRUE(near->close_read()); break;
        case 3: far->close(); break;
        case 4: near->set_read_deadline(now() - 1ns); break;
        case 5: cancel(); break;
      }
      wg.wait();
    }
  });
}

TEST(TryReadOnce, a_socket_that_was_read_empty_is_waited_for_without_a_system_call) {
  static std::atomic<int> calls{0};
  Sys sys = kRealSys;
  sys.recv = [](int fd, void* buf, std::size_t len, int flags) {
    calls.fetch_add(1);
    return kRealSys.recv(fd, buf, len, flags);
  };
  const ScopedSys scoped(sys);
  with_procs(1, [] {
    auto [near, far] = connected_pair();
    std::byte buf[10];
    EXPECT_EQ(near.try_read(buf).error().code, Code::kWouldBlock);
    for (int i = 0; i < 3; ++i) {
      calls = 0;
      int tries = 0;
      near.set_read_deadline(now() + 1ms);
      EXPECT_EQ(end_of_wait(near, &tries).code, Code::kTimeout);
      EXPECT_EQ(calls, tries);
      near.set_read_deadline(kNoDeadline);
      EXPECT_EQ(near.try_read(buf).error().code, Code::kWouldBlock);
      ++tries;
      ASSERT_TRUE(far.write(bytes_of(5)));
      Result<std::size_t> n = 0;
      do {
        ASSERT_TRUE(near.wait_readable({}));
        EXPECT_EQ(calls, tries);
        n = near.try_read(buf);
        ++tries;
      } while (!n && n.error().code == Code::kWouldBlock);
      EXPECT_EQ(n, 5U);
      EXPECT_EQ(calls, tries);
    }
  });
}

TEST(TryReadOnce, descriptors_received_in_between_hide_no_bytes) {
  with_procs(1, [] {
    auto [near, far] = must_have(unix_pair());
    std::byte buf[10];
    for (int i = 0; i < 10; ++i) {
      EXPECT_EQ(near.try_read(buf).error().code, Code::kWouldBlock);
      ASSERT_TRUE(far.write(bytes_of(10)));
      const Result<ReceivedFds> part = near.receive_fds({buf, 4}, 0);
      ASSERT_TRUE(part);
      ASSERT_EQ(part->size, 4U);
      near.set_read_deadline(patience());
      ASSERT_EQ(near.read({buf + 4, 6}), 6U);
      EXPECT_EQ(check_bytes(buf, 0), 10U);
    }
  });
}

TEST(TryReadOnce, a_stream_that_cannot_tell_says_so) {
  with_procs(1, [] {
    class Silent final : public Reader {
     public:
      Result<std::size_t> read(std::span<std::byte>) override { return 0; }
    } silent;
    std::byte buf[1];
    EXPECT_EQ(silent.try_read(buf).error().code, Code::kUnsupported);
    EXPECT_EQ(silent.wait_readable({}).error().code, Code::kUnsupported);
  });
}

}  // namespace
}  // namespace heddle::net
