// copy: every way gives the same bytes; how it ends on each side, and that what is taken, written and lost adds up.
#include <heddle/net/copy.h>

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <memory>
#include <string>

#include <heddle/net/buf_reader.h>
#include <heddle/net/file.h>
#include <heddle/net/internal/kernel_copy.h>
#include <heddle/net/internal/sys.h>
#include <heddle/net/memory.h>
#include <heddle/net/pipe.h>

#include "unix_test_util.h"

namespace heddle::net {
namespace {

using namespace test;
using Side = Copied::Side;

bool is_pipe(int fd) {
  struct stat status {};
  return ::fstat(fd, &status) == 0 && S_ISFIFO(status.st_mode);
}

// What the table's splice does in a test. `to_target`: out of the pipe.
std::atomic<ssize_t (*)(bool to_target, int from, int to, std::size_t len, unsigned flags)> on_splice{nullptr};
std::atomic<int> splices{0};

ssize_t real_splice(bool, int from, int to, std::size_t len, unsigned flags) {
  return kRealSys.splice(from, to, len, flags);
}

const Sys& watched_sys() {
  static const Sys table = [] {
    Sys sys = kRealSys;
    sys.splice = [](int from, int to, std::size_t len, unsigned flags) {
      splices.fetch_add(1);
      return on_splice.load()(is_pipe(from), from, to, len, flags);
    };
    return sys;
  }();
  return table;
}

// Runs `body` while splice is `hook`.
template <class Body>
void with_splice(ssize_t (*hook)(bool, int, int, std::size_t, unsigned), int procs, Body body) {
  on_splice = hook;
  splices = 0;
  const ScopedSys scoped(watched_sys());
  with_procs(procs, body);
}

enum class Kind { kTcp, kUnix, kMemory };

using Ends = std::pair<std::unique_ptr<Transport>, std::unique_ptr<Transport>>;

template <class Conn>
Ends boxed(std::pair<Conn, Conn> pair) {
  return {std::make_unique<Conn>(std::move(pair.first)), std::make_unique<Conn>(std::move(pair.second))};
}

Ends ends_of(Kind kind) {
  switch (kind) {
    case Kind::kTcp: return boxed(connected_pair());
    case Kind::kUnix: return boxed(must_have(unix_pair()));
    case Kind::kMemory: break;
  }
  return boxed(memory_pair());
}

void shrink(Transport& socket, int which) {
  const int size = which == SO_SNDBUF ? 4096 : 256 << 10;  // a small window would make TCP wait for delayed answers
  const int fd = dynamic_cast<SocketTransport&>(socket).native_handle();
  ASSERT_EQ(::setsockopt(fd, SOL_SOCKET, which, &size, sizeof size), 0);
}

void write_stream(Transport& to, std::uint64_t size, std::uint64_t seed = 0) {
  for (std::uint64_t at = 0; at < size; at += 50'000) {
    ASSERT_TRUE(to.write(bytes_of(static_cast<std::size_t>(std::min<std::uint64_t>(50'000, size - at)), seed, at)));
  }
  ASSERT_TRUE(to.close_write());
}

// source_far ==> source --copy--> target ==> target_far
struct Route {
  explicit Route(Kind from = Kind::kTcp, Kind to = Kind::kTcp) {
    std::tie(source_far, source) = ends_of(from);
    std::tie(target, target_far) = ends_of(to);
  }
  std::unique_ptr<Transport> source_far, source, target, target_far;
};

class CopyBetween : public testing::TestWithParam<std::tuple<Kind, Kind, int>> {};
INSTANTIATE_TEST_SUITE_P(kinds, CopyBetween,
                         testing::Combine(testing::Values(Kind::kTcp, Kind::kUnix, Kind::kMemory),
                                          testing::Values(Kind::kTcp, Kind::kUnix, Kind::kMemory),
                                          testing::Values(1, 3)));

TEST_P(CopyBetween, megabytes_arrive_whole_and_the_end_is_passed_on) {
  const auto [from, to, procs] = GetParam();
  static constexpr std::uint64_t kSize = 3'000'001;
  with_procs(procs, [from = from, to = to] {
    Route route(from, to);
    WaitGroup wg;
    wg.go([&] { write_stream(*route.source_far, kSize); });
    wg.go([&] {
      const Copied copied = copy(*route.target, *route.source);
      EXPECT_TRUE(copied) << copied.error.message();
      EXPECT_EQ(copied.bytes, kSize);
      EXPECT_EQ(copied.lost, 0U);
      EXPECT_EQ(copied.failed, Side::kNone);
      EXPECT_TRUE(route.target->close_write());
    });
    EXPECT_EQ(read_stream(*route.target_far), kSize);
    wg.wait();
  });
}

TEST_P(CopyBetween, a_small_send_buffer_and_a_slow_reader_lose_nothing) {
  const auto [from, to, procs] = GetParam();
  static constexpr std::uint64_t kSize = 200'000;
  with_procs(procs, [from = from, to = to] {
    Route route(from, to);
    if (to != Kind::kMemory) shrink(*route.target, SO_SNDBUF);
    WaitGroup wg;
    wg.go([&] { write_stream(*route.source_far, kSize); });
    wg.go([&] {
      EXPECT_EQ(copy(*route.target, *route.source).bytes, kSize);
      EXPECT_TRUE(route.target->close_write());
    });
    std::uint64_t at = 0;
    std::byte buf[999];
    for (Result<std::size_t> n{1}; n && *n > 0; gosched()) {
      n = route.target_far->read(buf);
      if (n) at = check_bytes({buf, *n}, at);
    }
    EXPECT_EQ(at, kSize);
    wg.wait();
  });
}

TEST_P(CopyBetween, copy_n_takes_no_more_than_it_was_asked_for) {
  const auto [from, to, procs] = GetParam();
  with_procs(procs, [from = from, to = to] {
    Route route(from, to);
    ASSERT_TRUE(route.source_far->write(bytes_of(1'000)));
    EXPECT_EQ(copy_n(*route.target, *route.source, 0).bytes, 0U);
    EXPECT_EQ(copy_n(*route.target, *route.source, 400).bytes, 400U);
    std::vector<std::byte> buf(1'000);
    ASSERT_EQ(route.source->read({buf.data(), 100}), 100U);
    EXPECT_EQ(check_bytes({buf.data(), 100}, 400), 500U);
    ASSERT_TRUE(route.source_far->close_write());
    const Copied rest = copy_n(*route.target, *route.source, 10'000);
    EXPECT_TRUE(rest);
    EXPECT_EQ(rest.bytes, 500U) << "fewer: the source has ended";
    ASSERT_TRUE(route.target->close_write());
    EXPECT_EQ(route.target_far->read_full(buf), 900U);
    EXPECT_EQ(check_bytes({buf.data() + 400, 500}, 500), 1'000U);
  });
}

TEST_P(CopyBetween, a_read_deadline_close_or_context_ends_one_that_waits_and_it_can_go_on) {
  const auto [from, to, procs] = GetParam();
  with_procs(procs, [from = from, to = to] {
    for (int i = 0; i < 8; ++i) {
      Route route(from, to);
      ASSERT_TRUE(route.source_far->write(bytes_of(1'000)));
      auto [ctx, cancel] = with_cancel({});
      Copied first;
      WaitGroup wg;
      wg.go([&, ctx = ctx] { first = copy(ctx, *route.target, *route.source); });
      std::vector<std::byte> buf(2'000);
      ASSERT_EQ(route.target_far->read_full({buf.data(), 1'000}), 1'000U);
      Code expected = Code::kTimeout;
      if (i % 4 == 0) {
        route.source->set_read_deadline(now() - 1ns);
      } else if (i % 4 == 1) {
        route.source->set_read_deadline(now() + 2ms);
      } else if (i % 4 == 2) {
        cancel();
        expected = Code::kCanceled;
      } else {
        route.source->close();
        expected = Code::kClosed;
      }
      wg.wait();
      EXPECT_EQ(first.error.code, expected);
      EXPECT_EQ(first.failed, Side::kReading);
      EXPECT_EQ(first.bytes, 1'000U);
      EXPECT_EQ(first.lost, 0U);
      if (expected == Code::kClosed) continue;
      route.source->set_read_deadline(kNoDeadline);
      ASSERT_TRUE(route.source_far->write(bytes_of(1'000, 0, 1'000)));
      ASSERT_TRUE(route.source_far->close_write());
      EXPECT_EQ(copy(*route.target, *route.source).bytes, 1'000U);
      ASSERT_EQ(route.target_far->read_full({buf.data() + 1'000, 1'000}), 1'000U);
      EXPECT_EQ(check_bytes(buf, 0), 2'000U);
    }
  });
}

TEST_P(CopyBetween, an_end_of_writing_leaves_what_was_written_lost_and_still_there_adding_up) {
  const auto [from, to, procs] = GetParam();
  static constexpr std::uint64_t kSize = 2 << 20;
  with_procs(procs, [from = from, to = to] {
    for (int i = 0; i < 3; ++i) {
      Route route(from, to);
      if (to != Kind::kMemory) {  // so that it is full soon
        shrink(*route.target_far, SO_RCVBUF);
        shrink(*route.target, SO_SNDBUF);
      }
      auto [ctx, cancel] = with_cancel({});
      Copied copied;
      std::atomic<bool> over{false};
      WaitGroup wg;
      wg.go([&] { write_stream(*route.source_far, kSize); });
      wg.go([&, ctx = ctx] {
        copied = copy(ctx, *route.target, *route.source);
        over = true;
      });
      // The far end reads a little, and then no more: so the copy comes to wait, or will.
      std::vector<std::byte> buf(100'000);
      ASSERT_EQ(route.target_far->read_full(buf), 100'000U);
      std::uint64_t arrived = check_bytes(buf, 0);
      if (i == 0) route.target->set_write_deadline(now() + 5ms);
      if (i == 1) cancel();
      if (i == 2) {
        ASSERT_TRUE(route.target->close_write());
      }
      while (!over) {
        if (i == 2) {  // whoever waits for room is not told by all kinds of stream; it notices when there is some
          route.target_far->set_read_deadline(now() + 1ms);
          const Result<std::size_t> n = route.target_far->read(buf);
          if (n) arrived = check_bytes({buf.data(), *n}, arrived);
          if (n == 0U) sleep(1ms);
        } else {
          sleep(1ms);
        }
      }
      EXPECT_EQ(copied.error.code, i == 0 ? Code::kTimeout : i == 1 ? Code::kCanceled : Code::kReset);
      route.target_far->set_read_deadline(kNoDeadline);
      if (i < 2) {
        ASSERT_TRUE(route.target->close_write());
      }
      arrived = read_stream(*route.target_far, arrived);
      if (from != Kind::kMemory && to != Kind::kMemory) {
        EXPECT_EQ(arrived, copied.bytes) << "exact between sockets";
      } else {
        EXPECT_GE(arrived, copied.bytes);
        EXPECT_LE(arrived, copied.bytes + copied.lost);
      }
      EXPECT_EQ(read_stream(*route.source, copied.bytes + copied.lost), kSize);
      wg.wait();
    }
  });
}

TEST(Copy, a_connection_may_be_copied_to_itself) {
  with_procs(2, [] {
    auto [near, far] = connected_pair();
    WaitGroup wg;
    wg.go([&near = near] {
      EXPECT_EQ(copy(near, near).bytes, 1'000'000U);
      near.close();
    });
    wg.go([&far = far] { write_stream(far, 1'000'000); });
    EXPECT_EQ(read_stream(far), 1'000'000U);
    wg.wait();
  });
}

TEST(Copy, between_sockets_the_bytes_stay_in_the_kernel) {
  with_splice(real_splice, 2, [] {
    Route route(Kind::kTcp, Kind::kUnix);
    WaitGroup wg;
    wg.go([&] { write_stream(*route.source_far, 100'000); });
    wg.go([&] {
      EXPECT_EQ(copy(*route.target, *route.source).bytes, 100'000U);
      EXPECT_TRUE(route.target->close_write());
    });
    EXPECT_EQ(read_stream(*route.target_far), 100'000U);
    wg.wait();
  });
  EXPECT_GE(splices.load(), 3);
}

// The kernel cannot, from the n-th call on.
std::atomic<int> works_for{0};
ssize_t splice_for_a_while(bool to_target, int from, int to, std::size_t len, unsigned flags) {
  if (works_for.fetch_sub(1) <= 0) return -EINVAL;
  return real_splice(to_target, from, to, std::min<std::size_t>(len, to_target ? 1'000 : 5'000), flags);
}

TEST(Copy, where_the_kernel_cannot_splice_it_goes_on_by_hand_and_no_byte_is_lost) {
  for (int works = 0; works < 12; ++works) {  // at every step: before a piece, and with some of one in the pipe
    works_for = works;
    with_splice(splice_for_a_while, 2, [] {
      Route route;
      WaitGroup wg;
      wg.go([&] { write_stream(*route.source_far, 100'000); });
      wg.go([&] {
        const Copied copied = copy_n(*route.target, *route.source, 90'000);
        EXPECT_TRUE(copied) << copied.error.message();
        EXPECT_EQ(copied.bytes, 90'000U);
        EXPECT_TRUE(route.target->close_write());
      });
      EXPECT_EQ(read_stream(*route.target_far), 90'000U);
      EXPECT_EQ(read_stream(*route.source, 90'000), 100'000U);
      wg.wait();
    });
  }
}

std::atomic<unsigned> mood{0};
ssize_t moody_splice(bool to_target, int from, int to, std::size_t len, unsigned flags) {
  const unsigned m = mood.fetch_add(1);
  if (m % 5 == 1) return -EINTR;
  return real_splice(to_target, from, to, m % 3 == 0 ? 1 + len / 7 : len, flags);
}

TEST(Copy, short_and_interrupted_splices_lose_nothing) {
  with_splice(moody_splice, 2, [] {
    Route route;
    shrink(*route.target, SO_SNDBUF);
    WaitGroup wg;
    wg.go([&] { write_stream(*route.source_far, 300'000); });
    wg.go([&] {
      EXPECT_EQ(copy(*route.target, *route.source).bytes, 300'000U);
      EXPECT_TRUE(route.target->close_write());
    });
    EXPECT_EQ(read_stream(*route.target_far), 300'000U);
    wg.wait();
  });
}

// A target that takes a thousand bytes and is full from then on.
std::atomic<int> room{0};
ssize_t splice_into_little_room(bool to_target, int from, int to, std::size_t len, unsigned flags) {
  if (!to_target) return real_splice(to_target, from, to, len, flags);
  const int most = room.exchange(0);
  return most == 0 ? -EAGAIN : real_splice(to_target, from, to, static_cast<std::size_t>(most), flags);
}

TEST(Copy, what_is_in_the_pipe_when_a_deadline_or_close_ends_the_writing_is_reported) {
  with_splice(splice_into_little_room, 2, [] {
    for (int i = 0; i < 4; ++i) {
      Route route;
      room = 1'000;
      ASSERT_TRUE(route.source_far->write(bytes_of(5'000)));
      std::vector<std::byte> buf(5'000);
      auto [ctx, cancel] = with_cancel({});
      WaitGroup wg;
      wg.go([&, ctx = ctx] {
        // Whatever part of the 5,000 has come, it is taken in one piece.
        const Copied copied = copy_n(ctx, *route.target, *route.source, 5'000);
        EXPECT_EQ(copied.error.code, i < 2 ? Code::kTimeout : i == 2 ? Code::kClosed : Code::kCanceled);
        EXPECT_EQ(copied.failed, Side::kWriting);
        EXPECT_EQ(copied.bytes, 1'000U);
        EXPECT_GT(copied.lost, 0U);
        EXPECT_TRUE(route.source_far->close_write());
        EXPECT_EQ(read_stream(*route.source, 1'000 + copied.lost), 5'000U);
      });
      EXPECT_EQ(route.target_far->read_full({buf.data(), 1'000}), 1'000U);
      if (i == 0) route.target->set_write_deadline(now() - 1ns);
      if (i == 1) route.target->set_write_deadline(now() + 5ms);
      if (i == 2) route.target->close();
      if (i == 3) cancel();
      wg.wait();
    }
  });
}

TEST(Copy, nothing_is_taken_for_a_target_that_cannot_be_written_to) {
  with_procs(1, [] {
    auto [ctx, cancel] = with_cancel({});
    cancel();
    for (int i = 0; i < 3; ++i) {
      Route route;
      ASSERT_TRUE(route.source_far->write(bytes_of(1'000)));
      if (i == 0) route.target->set_write_deadline(now() - 1s);
      if (i == 1) route.target->close();
      const Copied copied = copy(i == 2 ? ctx : Context(), *route.target, *route.source);
      EXPECT_EQ(copied.error.code, i == 0 ? Code::kTimeout : i == 1 ? Code::kClosed : Code::kCanceled);
      EXPECT_EQ(copied.bytes + copied.lost, 0U);
      ASSERT_TRUE(route.source_far->close_write());
      EXPECT_EQ(read_stream(*route.source), 1'000U);
    }
  });
}

TEST(Copy, who_closes_the_side_that_is_not_waited_for_ends_it_there_and_then) {
  with_splice(splice_into_little_room, 2, [] {
    {
      Route route;  // waits for its source; the target is closed
      WaitGroup wg;
      room = 1'000;
      std::byte buf[500];
      wg.go([&] {
        const Copied copied = copy(*route.target, *route.source);
        EXPECT_EQ(copied.error.code, Code::kClosed);
        EXPECT_EQ(copied.failed, Side::kWriting);
        EXPECT_EQ(copied.bytes, 500U);
        EXPECT_EQ(copied.lost, 0U);
      });
      ASSERT_TRUE(route.source_far->write(bytes_of(500)));
      ASSERT_EQ(route.target_far->read_full(buf), 500U);
      route.target->close();
      route.target_far->set_read_deadline(patience());
      EXPECT_EQ(route.target_far->read(buf), 0U);
      ASSERT_TRUE(route.source_far->write(bytes_of(500)));
      wg.wait();
    }
    {
      Route route;  // waits for its target; the source is closed
      WaitGroup wg;
      room = 1'000;
      std::vector<std::byte> buf(1'000);
      wg.go([&] { EXPECT_EQ(copy(*route.target, *route.source).failed, Side::kWriting); });
      ASSERT_TRUE(route.source_far->write(bytes_of(5'000)));
      ASSERT_EQ(route.target_far->read_full(buf), 1'000U);
      route.source->close();
      route.source_far->set_read_deadline(patience());
      const Result<std::size_t> end = route.source_far->read(buf);
      EXPECT_TRUE(end == 0U || end.error().code == Code::kReset);
      route.target->close();
      wg.wait();
    }
  });
}

TEST(Copy, a_peer_that_is_gone_is_an_error_and_no_signal) {
  with_procs(2, [] {
    for (const Kind kind : {Kind::kUnix, Kind::kTcp}) {
      Route route(Kind::kTcp, kind);
      route.target_far->close();
      Copied copied;
      std::atomic<bool> over{false};
      WaitGroup wg;
      wg.go([&] {
        copied = copy(*route.target, *route.source);
        over = true;
      });
      while (!over) {  // over TCP the first bytes are sent, and answered by a reset
        ASSERT_TRUE(route.source_far->write(bytes_of(1'000)));
        sleep(1ms);
      }
      wg.wait();
      EXPECT_EQ(copied.error.code, Code::kReset);
      EXPECT_EQ(copied.failed, Side::kWriting);
      EXPECT_GT(copied.lost, 0U);
    }
  });
}

TEST(Copy, copies_that_wait_hold_no_pipe_and_those_that_failed_leave_none) {
  trim_splice_pipes();
  const int before = splice_pipes();
  with_procs(1, [before] {
    constexpr int kCopies = 20;
    std::vector<std::unique_ptr<Route>> routes;
    WaitGroup wg;
    for (int i = 0; i < kCopies; ++i) {
      routes.push_back(std::make_unique<Route>(Kind::kUnix, Kind::kUnix));
      wg.go([&route = *routes.back()] {
        const Copied copied = copy(*route.target, *route.source);
        EXPECT_EQ(copied.bytes, 10U);
      });
    }
    std::byte buf[10];
    for (auto& route : routes) {
      ASSERT_TRUE(route->source_far->write(bytes_of(10)));
      ASSERT_EQ(route->target_far->read_full(buf), 10U);
    }
    EXPECT_LT(splice_pipes() - before, kCopies / 2) << "those that wait would have one each";
    for (auto& route : routes) route->source_far->close();
    wg.wait();
  });
  trim_splice_pipes();
  EXPECT_EQ(splice_pipes(), before);
}

TEST(Copy, a_pipe_with_bytes_in_it_is_not_used_again) {
  with_splice(splice_into_little_room, 1, [] {
    trim_splice_pipes();
    const int before = splice_pipes();
    Route route;
    room = 100;
    ASSERT_TRUE(route.source_far->write(bytes_of(1'000)));
    route.target->set_write_deadline(now() + 20ms);
    const Copied copied = copy(*route.target, *route.source);
    EXPECT_EQ(copied.error.code, Code::kTimeout);
    if (copied.lost > 0) {
      EXPECT_EQ(splice_pipes(), before);
    }
  });
}

TEST(Copy, what_can_tell_nothing_is_copied_through_a_buffer) {
  with_procs(2, [] {
    const Folder folder;
    File file = must_have(File::open(folder.path("f"), {.write = true, .create = true}));
    Pipe pipe = must_have(open_pipe());
    auto [near, far] = connected_pair();
    WaitGroup wg;
    wg.go([&far = far] { write_stream(far, 500'000); });
    EXPECT_EQ(copy(file, near).bytes, 500'000U);
    wg.wait();
    ASSERT_TRUE(file.seek(0));
    wg.go([&] {
      EXPECT_EQ(copy(pipe.writer, file).bytes, 500'000U);
      pipe.writer.close();
    });
    auto [out, in] = memory_pair();
    wg.go([&, &out = out] {
      EXPECT_EQ(copy(out, pipe.reader).bytes, 500'000U);
      out.close();
    });
    EXPECT_EQ(read_stream(in), 500'000U);
    wg.wait();
  });
}

TEST(Copy, both_directions_of_a_proxy_at_once_and_ends_from_all_sides) {
  with_procs(3, [] {
    for (int i = 0; i < 30; ++i) {
      Route route;
      Transport& left = *route.source;
      Transport& right = *route.target;
      WaitGroup copies;
      copies.go([&] {
        static_cast<void>(copy(right, left));
        static_cast<void>(right.close_write());
      });
      copies.go([&] {
        static_cast<void>(copy(left, right));
        static_cast<void>(left.close_write());
      });
      WaitGroup wg;
      wg.go([&] {
        copies.wait();
        left.close();
        right.close();
      });
      const auto chat = [](Transport& conn) {
        std::vector<std::byte> buf(10'000);
        while (conn.read(buf).value_or(0) > 0) {
        }
      };
      const auto speak = [](Transport& conn) {
        for (int n = 0; n < 20; ++n) {
          if (!conn.write(bytes_of(10'000))) return;
        }
        static_cast<void>(conn.close_write());
      };
      wg.go([&] { chat(*route.source_far); });
      wg.go([&] { chat(*route.target_far); });
      wg.go([&] { speak(*route.source_far); });
      wg.go([&] { speak(*route.target_far); });
      for (int n = 0; n < i; ++n) gosched();
      if (i % 5 == 1) left.close();
      if (i % 5 == 2) right.close();
      if (i % 5 == 3) route.source_far->close();
      if (i % 5 == 4) {
        left.set_deadline(now());
        right.set_deadline(now());
        gosched();
        route.source_far->close();
        route.target_far->close();
      }
      wg.wait();
    }
  });
}

}  // namespace
}  // namespace heddle::net
