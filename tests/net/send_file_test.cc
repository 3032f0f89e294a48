// send_file, and copy() from a File to a socket: ranges, ends, refusals, and that a file never loses what was not sent.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <string>

#include <heddle/net/copy.h>
#include <heddle/net/file.h>
#include <heddle/net/internal/sys.h>

#include "unix_test_util.h"

namespace heddle::net {
namespace {

using namespace test;
using Side = Copied::Side;

constexpr std::uint64_t kSize = 1'500'000;  // several calls, none of them whole

// A file with a stream in it, and a connection.
struct Sending {
  explicit Sending(std::uint64_t size = kSize) {
    EXPECT_TRUE(write_file(folder.path("f"), bytes_of(size)));
    file = must_have(File::open(folder.path("f")));
    std::tie(near, far) = connected_pair();
  }
  const Folder folder;
  File file;
  Conn near, far;
};

class SendFileOnProcs : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(procs, SendFileOnProcs, testing::Values(1, 2, 4));

TEST_P(SendFileOnProcs, a_range_arrives_whole_and_the_position_stays) {
  with_procs(GetParam(), [] {
    Sending s;
    ASSERT_TRUE(s.file.seek(77));
    WaitGroup wg;
    wg.go([&] {
      Copied sent = send_file(s.near, s.file, 10, 5);
      EXPECT_EQ(sent.bytes, 5U);
      sent = send_file(s.near, s.file, 15);
      EXPECT_TRUE(sent) << sent.error.message();
      EXPECT_EQ(sent.bytes, kSize - 15);
      EXPECT_EQ(send_file(s.near, s.file, kSize, 100).bytes, 0U) << "the file ends before";
      EXPECT_EQ(send_file(s.near, s.file, kSize + 100).bytes, 0U);
      EXPECT_EQ(send_file(s.near, s.file, 0, 0).bytes, 0U);
      EXPECT_EQ(s.file.seek(0, SeekFrom::kCurrent), 77U);
      ASSERT_TRUE(s.near.close_write());
    });
    EXPECT_EQ(read_stream(s.far, 10), kSize);
    wg.wait();
  });
}

TEST_P(SendFileOnProcs, a_copy_begins_at_the_position_and_moves_it) {
  with_procs(GetParam(), [] {
    Sending s;
    ASSERT_TRUE(s.file.seek(1'000));
    WaitGroup wg;
    wg.go([&] {
      EXPECT_EQ(copy_n(s.near, s.file, 300'000).bytes, 300'000U);
      EXPECT_EQ(s.file.seek(0, SeekFrom::kCurrent), 301'000U);
      EXPECT_EQ(copy(s.near, s.file).bytes, kSize - 301'000);
      EXPECT_EQ(copy(s.near, s.file).bytes, 0U);
      ASSERT_TRUE(s.near.close_write());
    });
    EXPECT_EQ(read_stream(s.far, 1'000), kSize);
    wg.wait();
  });
}

TEST_P(SendFileOnProcs, many_send_one_file_at_once) {
  with_procs(GetParam(), [] {
    Sending s(300'000);
    WaitGroup wg;
    for (int i = 0; i < 5; ++i) {
      wg.go([&] {
        auto [near, far] = must_have(unix_pair());
        WaitGroup one;
        one.go([&, &near = near] {
          EXPECT_EQ(send_file(near, s.file).bytes, 300'000U);
          near.close();
        });
        EXPECT_EQ(read_stream(far, 0), 300'000U);
        one.wait();
      });
    }
    wg.wait();
  });
}

TEST(SendFile, what_a_deadline_close_or_context_left_unsent_can_be_sent_again) {
  with_procs(2, [] {
    for (int i = 0; i < 4; ++i) {
      constexpr std::uint64_t kLarge = 8 << 20;
      Sending s(kLarge);
      const int size = 128 << 10;
      ASSERT_EQ(::setsockopt(s.far.native_handle(), SOL_SOCKET, SO_RCVBUF, &size, sizeof size), 0);
      ASSERT_EQ(::setsockopt(s.near.native_handle(), SOL_SOCKET, SO_SNDBUF, &size, sizeof size), 0);
      auto [ctx, cancel] = with_cancel({});
      WaitGroup wg;
      Copied first;
      wg.go([&, ctx = ctx] { first = i == 3 ? copy(ctx, s.near, s.file) : send_file(ctx, s.near, s.file); });
      std::byte buf[1'000];
      ASSERT_EQ(s.far.read_full(buf), 1'000U);
      ASSERT_EQ(check_bytes(buf, 0), 1'000U);
      if (i == 0) s.near.set_write_deadline(now() - 1ns);
      if (i == 1) s.near.set_write_deadline(now() + 5ms);
      if (i >= 2) cancel();
      wg.wait();
      EXPECT_EQ(first.error.code, i < 2 ? Code::kTimeout : Code::kCanceled);
      EXPECT_EQ(first.failed, Side::kWriting);
      EXPECT_EQ(first.lost, 0U);
      s.near.set_write_deadline(kNoDeadline);
      wg.go([&] {
        const Copied rest = i == 3 ? copy(s.near, s.file) : send_file(s.near, s.file, first.bytes);
        EXPECT_EQ(rest.bytes, kLarge - first.bytes);
        EXPECT_TRUE(s.near.close_write());
      });
      EXPECT_EQ(read_stream(s.far, 1'000), kLarge);
      wg.wait();
    }
  });
}

TEST(SendFile, errors_say_which_side_failed) {
  with_procs(2, [] {
    Sending s(100);
    EXPECT_EQ(send_file(s.near, s.file, ~std::uint64_t{0}).error.code, Code::kInvalid);
    EXPECT_EQ(send_file(s.near, s.file, ~std::uint64_t{0}).failed, Side::kReading);
    File write_only = must_have(File::open(s.folder.path("f"), {.read = false, .write = true}));
    Copied sent = send_file(s.near, write_only);
    EXPECT_EQ(sent.error.code, Code::kClosed);
    EXPECT_EQ(sent.failed, Side::kReading);
    File closed;
    sent = send_file(s.near, closed);
    EXPECT_EQ(sent.error.code, Code::kClosed);
    EXPECT_EQ(sent.failed, Side::kReading);
    s.near.close();
    sent = send_file(s.near, s.file);
    EXPECT_EQ(sent.error.code, Code::kClosed);
    EXPECT_EQ(sent.failed, Side::kWriting);

    auto [near, far] = must_have(unix_pair());
    far.close();
    sent = send_file(near, s.file);  // and no SIGPIPE
    EXPECT_EQ(sent.error.code, Code::kReset);
    EXPECT_EQ(sent.failed, Side::kWriting);
    EXPECT_EQ(sent.lost, 0U);
  });
}

TEST(SendFile, a_signal_that_comes_with_a_count_is_taken) {
  // As the kernel does when the peer goes while the call is under way.
  Sys sys = kRealSys;
  sys.sendfile = [](int to, int from, off_t* offset, std::size_t len) -> ssize_t {
    const ssize_t n = kRealSys.sendfile(to, from, offset, std::min<std::size_t>(len, 7'777));
    ::raise(SIGPIPE);
    return n;
  };
  const ScopedSys scoped(sys);
  with_procs(2, [] {
    Sending s(20'000);
    const Copied sent = send_file(s.near, s.file);
    EXPECT_TRUE(sent) << sent.error.message();
    EXPECT_EQ(sent.bytes, 20'000U);
  });
}

TEST(SendFile, close_by_another_goroutine_ends_one_that_waits) {
  with_procs(2, [] {
    for (int i = 0; i < 20; ++i) {
      Sending s(8 << 20);
      WaitGroup wg;
      wg.go([&] {
        const Copied sent = send_file(s.near, s.file);
        // The kernel may have taken it all before, on a machine with large buffers.
        if (!sent) {
          EXPECT_EQ(sent.error.code, Code::kClosed);
        }
      });
      std::byte buf[1'000];
      ASSERT_EQ(s.far.read_full(buf), 1'000U);
      s.near.close();
      wg.wait();
    }
  });
}

// The kernel cannot, from the n-th call on.
std::atomic<int> works_for{0};
std::atomic<unsigned> mood{0};

TEST(SendFile, where_the_kernel_cannot_it_goes_on_by_hand_from_the_same_byte) {
  Sys sys = kRealSys;
  sys.sendfile = [](int to, int from, off_t* offset, std::size_t len) -> ssize_t {
    if (mood.fetch_add(1) % 3 == 1) return -EINTR;
    if (works_for.fetch_sub(1) <= 0) return -EINVAL;
    return kRealSys.sendfile(to, from, offset, std::min<std::size_t>(len, 7'777));
  };
  const ScopedSys scoped(sys);
  with_procs(2, [] {
    for (int works = 0; works < 5; ++works) {
      for (const bool at_position : {false, true}) {
        works_for = works;
        Sending s(200'000);
        WaitGroup wg;
        wg.go([&] {
          if (at_position) {
            ASSERT_TRUE(s.file.seek(100));
          }
          const Copied sent = at_position ? copy_n(s.near, s.file, 150'000) : send_file(s.near, s.file, 100, 150'000);
          EXPECT_TRUE(sent) << sent.error.message();
          EXPECT_EQ(sent.bytes, 150'000U);
          ASSERT_TRUE(s.near.close_write());
        });
        EXPECT_EQ(read_stream(s.far, 100), 150'100U);
        wg.wait();
      }
    }
  });
}

TEST(SendFile, a_file_that_was_not_in_the_page_cache_arrives_too) {
  with_procs(2, [] {
    Sending s;
    ASSERT_TRUE(s.file.sync());
    // A wish: where the kernel does not follow it, the file comes from the cache.
    static_cast<void>(::posix_fadvise(s.file.native_handle(), 0, 0, POSIX_FADV_DONTNEED));
    WaitGroup wg;
    wg.go([&] {
      EXPECT_EQ(send_file(s.near, s.file).bytes, kSize);
      ASSERT_TRUE(s.near.close_write());
    });
    EXPECT_EQ(read_stream(s.far, 0), kSize);
    wg.wait();
  });
}

}  // namespace
}  // namespace heddle::net
