// Files and pipes: every promise, cancelled operations, closing meanwhile.
#include <heddle/net/file.h>

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <atomic>

#include <heddle/net/pipe.h>

#include "unix_test_util.h"

namespace heddle::net {
namespace {

using namespace test;

class FileOnProcs : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(procs, FileOnProcs, testing::Values(1, 2, 4));

TEST(File, what_is_written_is_read_again_in_sequence_and_at_offsets) {
  with_procs(2, [] {
    const Folder folder;
    File file = must_have(File::open(folder.path("f"), {.write = true, .create = true, .exclusive = true}));
    ASSERT_TRUE(file.write(bytes_of(200'000)));
    ASSERT_TRUE(file.write({}));
    EXPECT_EQ(file.seek(0, SeekFrom::kCurrent), std::uint64_t{200'000});
    ASSERT_TRUE(file.sync());
    ASSERT_TRUE(file.sync_data());
    std::vector<std::byte> buf(300'000);
    EXPECT_EQ(file.read(buf), std::size_t{0});  // at the end
    EXPECT_EQ(file.seek(0), std::uint64_t{0});
    EXPECT_EQ(file.read_full(buf), std::size_t{200'000});
    EXPECT_EQ(check_bytes({buf.data(), 200'000}, 0), 200'000U);

    ASSERT_TRUE(file.write_at(100, bytes_of(50, 7)));
    const std::span<std::byte> small(buf.data(), 60);
    EXPECT_EQ(file.read_at(100, small), std::size_t{60});
    EXPECT_EQ(check_bytes(small.first(50), 0, 7), 50U);
    EXPECT_EQ(check_bytes(small.subspan(50), 150), 160U);
    EXPECT_EQ(file.read_at(199'990, small), std::size_t{10});
    EXPECT_EQ(file.read_at(200'000, small), std::size_t{0});
    EXPECT_EQ(file.read_at(0, {}), std::size_t{0});
    EXPECT_EQ(file.read_at(50, {buf.data(), 250'000}), std::size_t{199'950});  // more than is read where the caller is
    EXPECT_EQ(file.seek(-10, SeekFrom::kEnd), std::uint64_t{199'990});
    EXPECT_EQ(file.seek(-1).error().code, Code::kInvalid);
    EXPECT_EQ(file.read_at(~std::uint64_t{0}, small).error().code, Code::kInvalid);

    auto a = bytes_of(30, 3);
    auto b = bytes_of(70, 3, 30);
    const iovec iov[] = {{a.data(), a.size()}, {nullptr, 0}, {b.data(), b.size()}};
    ASSERT_TRUE(file.seek(0));
    ASSERT_TRUE(file.writev(iov));
    EXPECT_EQ(file.read_at(0, {buf.data(), 100}), std::size_t{100});
    EXPECT_EQ(check_bytes({buf.data(), 100}, 0, 3), 100U);

    ASSERT_TRUE(file.truncate(5));
    EXPECT_EQ(file.stat()->size, 5U);
    ASSERT_TRUE(file.truncate(10));
    EXPECT_EQ(file.read_at(0, {buf.data(), 100}), std::size_t{10});
    EXPECT_EQ(buf[7], std::byte{0});
  });
}

TEST(File, it_is_opened_as_asked) {
  with_procs(1, [] {
    const Folder folder;
    const std::string path = folder.path("f");
    EXPECT_EQ(File::open(path).error().code, Code::kNotFound);
    EXPECT_EQ(File::open(std::string("a\0b", 3)).error().code, Code::kInvalid);
    EXPECT_EQ(File::open(path, {.read = false}).error().code, Code::kInvalid);
    {
      File file = must_have(File::open(path, {.read = false, .write = true, .create = true, .mode = 0640}));
      EXPECT_NE(::fcntl(file.native_handle(), F_GETFD) & FD_CLOEXEC, 0);
      ASSERT_TRUE(file.write(bytes("one")));
      std::byte buf[1];
      EXPECT_EQ(file.read(buf).error().code, Code::kClosed);  // EBADF: not open for that
    }
    EXPECT_EQ(File::open(path, {.write = true, .create = true, .exclusive = true}).error().code, Code::kExists);
    EXPECT_EQ(must_have(File::open(path)).stat()->mode & 07777, 0640U);
    File appended = must_have(File::open(path, {.write = true, .append = true}));
    ASSERT_TRUE(appended.write(bytes("two")));
    EXPECT_EQ(read_file(path), "onetwo");
    must_have(File::open(path, {.write = true, .truncate = true})).close();
    EXPECT_EQ(read_file(path), "");
    ASSERT_EQ(::symlink("f", folder.path("link").c_str()), 0);
    EXPECT_TRUE(File::open(folder.path("link")));
    EXPECT_EQ(File::open(folder.path("link"), {.no_follow = true}).error().sys, ELOOP);
  });
}

TEST(File, names_are_made_moved_and_taken_away) {
  with_procs(1, [] {
    const Folder folder;
    const std::string dir = folder.path("d");
    ASSERT_TRUE(make_directory(dir, 0700));
    EXPECT_EQ(make_directory(dir).error().code, Code::kExists);
    EXPECT_TRUE(stat_file(dir)->is_directory());
    ASSERT_TRUE(write_file(dir + "/a", bytes("text")));
    EXPECT_EQ(remove_directory(dir).error().sys, ENOTEMPTY);
    ASSERT_TRUE(rename_file(dir + "/a", dir + "/b"));
    EXPECT_EQ(stat_file(dir + "/a").error().code, Code::kNotFound);
    const Result<FileInfo> info = stat_file(dir + "/b");
    ASSERT_TRUE(info);
    EXPECT_TRUE(info->is_regular());
    EXPECT_EQ(info->size, 4U);
    EXPECT_EQ(info->links, 1U);
    EXPECT_EQ(info->uid, ::getuid());
    const auto age = std::chrono::system_clock::now() - info->modified;
    EXPECT_LT(age, 1h);
    EXPECT_GT(age, -1h);
    ASSERT_EQ(::symlink("b", (dir + "/link").c_str()), 0);
    EXPECT_TRUE(stat_file(dir + "/link")->is_regular());
    EXPECT_TRUE(stat_link(dir + "/link")->is_symlink());
    ASSERT_TRUE(unlink_file(dir + "/link"));
    ASSERT_TRUE(unlink_file(dir + "/b"));
    EXPECT_EQ(unlink_file(dir + "/b").error().code, Code::kNotFound);
    ASSERT_TRUE(remove_directory(dir));
    EXPECT_EQ(rename_file(std::string("a\0b", 3), "x").error().code, Code::kInvalid);
    EXPECT_EQ(rename_file("x", std::string("a\0b", 3)).error().code, Code::kInvalid);
  });
}

TEST(File, whole_files_are_read_and_written_by_one_call) {
  with_procs(2, [] {
    const Folder folder;
    const std::string path = folder.path("f");
    for (const std::size_t size : {0UL, 1UL, 16383UL, 16384UL, 16385UL, 3'000'000UL}) {
      const auto data = bytes_of(size, size);
      ASSERT_TRUE(write_file(path, data, 0600));
      Result<std::string> text = read_file(path);
      ASSERT_TRUE(text);
      EXPECT_EQ(text->size(), size);
      EXPECT_EQ(check_bytes(bytes(*text), 0, size), size);
      EXPECT_TRUE(read_file(path, size));
      if (size > 0) {
        EXPECT_EQ(read_file(path, size - 1).error().code, Code::kLimit);
      }
    }
    EXPECT_EQ(read_file(folder.path("none")).error().code, Code::kNotFound);
    EXPECT_EQ(read_file(folder.path("")).error().sys, EISDIR);
    EXPECT_FALSE(must_have(read_file("/proc/self/maps")).empty());  // says that it has no bytes
    EXPECT_EQ(write_file(folder.path("no/f"), {}).error().code, Code::kNotFound);
  });
}

TEST(File, replacing_a_file_leaves_the_old_one_or_the_new_one) {
  with_procs(2, [] {
    const Folder folder;
    const std::string path = folder.path("f");
    ASSERT_TRUE(replace_file(path, bytes_of(100'000, 0)));
    WaitGroup wg;
    std::atomic<bool> over{false};
    wg.go([&] {
      while (!over) {
        const Result<std::string> text = read_file(path);
        ASSERT_TRUE(text);
        ASSERT_EQ(text->size(), 100'000U);
        const bool is_old = bytes(*text)[0] == byte_at(0, 0);
        ASSERT_EQ(check_bytes(bytes(*text), 0, is_old ? 0 : 1), 100'000U);
      }
    });
    ASSERT_NE(byte_at(0, 0), byte_at(0, 1));
    for (std::uint64_t i = 0; i < 10; ++i) ASSERT_TRUE(replace_file(path, bytes_of(100'000, i % 2)));
    over = true;
    wg.wait();
    ASSERT_TRUE(make_directory(folder.path("d")));
    EXPECT_EQ(replace_file(folder.path("d"), bytes("x")).error().sys, EISDIR);
    int names = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder.path(""))) ++names;
    EXPECT_EQ(names, 2);  // no temporary one is left
  });
}

TEST(File, a_context_that_ended_ends_a_call_before_it_begins_or_between_its_pieces) {
  with_procs(2, [] {
    const Folder folder;
    const std::string path = folder.path("f");
    auto [ended, cancel] = with_cancel(Context::background());
    cancel();
    EXPECT_EQ(write_file(ended, path, bytes("x")).error().code, Code::kCanceled);
    EXPECT_FALSE(exists(path));
    ASSERT_TRUE(write_file(path, bytes_of(8 << 20)));
    EXPECT_EQ(read_file(ended, path).error().code, Code::kCanceled);
    File file = must_have(File::open(path, {.write = true}));
    std::byte one[1];
    EXPECT_EQ(file.read_at(ended, 0, one).error().code, Code::kCanceled);
    EXPECT_EQ(file.write_at(ended, 0, one).error().code, Code::kCanceled);
    EXPECT_EQ(file.read(ended, one).error().code, Code::kCanceled);
    EXPECT_EQ(file.write(ended, one).error().code, Code::kCanceled);
    const auto [open_end, unused] = with_cancel(Context::background());
    EXPECT_EQ(file.read(open_end, one), std::size_t{1});
    EXPECT_TRUE(file.write(open_end, bytes_of(1, 0, 1)));

    for (int i = 0; i < 20; ++i) {
      auto [ctx, stop] = with_cancel(Context::background());
      WaitGroup wg;
      wg.go([&, &ctx = ctx] {
        std::vector<std::byte> buf(8 << 20);
        const Result<std::size_t> n = file.read_at(ctx, 0, buf);
        // Nobody writes here any more: not touched after the call.
        std::fill(buf.begin(), buf.end(), std::byte{0x55});
        if (n) {
          EXPECT_EQ(*n, buf.size());
        } else {
          EXPECT_EQ(n.error().code, Code::kCanceled);
        }
        for (const std::byte b : buf) ASSERT_EQ(b, std::byte{0x55});
      });
      sleep(std::chrono::microseconds(i * 50));  // at any point
      stop();
      wg.wait();
    }
  });
}

TEST_P(FileOnProcs, closing_lets_operations_under_way_end_and_refuses_later_ones) {
  with_procs(GetParam(), [] {
    const Folder folder;
    const std::string path = folder.path("f");
    ASSERT_TRUE(write_file(path, bytes_of(300'000)));
    const int before = open_fds();
    WaitGroup wg;
    for (int worker = 0; worker < 8; ++worker) {
      wg.go([&, worker] {
        std::mt19937_64 random(static_cast<std::uint64_t>(worker));
        for (int i = 0; i < 20; ++i) {
          File file = must_have(File::open(path));
          WaitGroup users;
          for (int k = 0; k < 3; ++k) {
            users.go([&, k] {
              std::vector<std::byte> buf(k == 0 ? 100'000 : 1000);
              for (std::uint64_t at = 0;; at = (at + 5000) % 200'000) {
                const Result<std::size_t> n = file.read_at(at, buf);
                if (!n) {
                  ASSERT_EQ(n.error().code, Code::kClosed) << n.error().message();
                  return;
                }
                ASSERT_EQ(*n, buf.size());
                ASSERT_EQ(check_bytes(buf, at), at + buf.size());
              }
            });
          }
          for (auto k = random() % 8; k > 0; --k) gosched();
          file.close();
          users.wait();
          EXPECT_EQ(file.sync().error().code, Code::kClosed);
          EXPECT_EQ(file.stat().error().code, Code::kClosed);
          EXPECT_EQ(file.native_handle(), -1);
        }
      });
    }
    wg.wait();
    EXPECT_EQ(open_fds(), before);
  });
}

TEST(File, files_are_handed_over_and_others_are_not_adopted) {
  with_procs(1, [] {
    const Folder folder;
    ASSERT_TRUE(write_file(folder.path("f"), bytes("text")));
    File file = must_have(File::open(folder.path("f")));
    File again = must_have(File::adopt(*file.release_fd()));
    std::byte buf[10];
    EXPECT_EQ(again.read(buf), std::size_t{4});
    EXPECT_EQ(file.read(buf).error().code, Code::kClosed);
    const int before = open_fds();
    EXPECT_EQ(File::adopt(pipe_with("x").release()).error().code, Code::kInvalid);
    EXPECT_EQ(File::adopt(-1).error().code, Code::kInvalid);
    EXPECT_EQ(PipeReader::adopt(::dup(again.native_handle())).error().code, Code::kInvalid);
    EXPECT_EQ(open_fds(), before);
  });
}

class PipeOnProcs : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(procs, PipeOnProcs, testing::Values(1, 2, 4));

TEST_P(PipeOnProcs, bytes_come_whole_and_in_order_until_the_writer_closes) {
  with_procs(GetParam(), [] {
    auto [reader, writer] = must_have(open_pipe());
    constexpr std::size_t kSize = 3 << 20;
    WaitGroup wg;
    wg.go([&writer = writer] {
      std::mt19937_64 random(1);
      for (std::size_t at = 0; at < kSize;) {
        const std::size_t piece = std::min<std::size_t>(kSize - at, 1 + random() % 100'000);
        ASSERT_TRUE(writer.write(bytes_of(piece, 0, at)));
        at += piece;
      }
      writer.close();
    });
    std::vector<std::byte> buf(50'000);
    std::uint64_t at = 0;
    for (;;) {
      const Result<std::size_t> n = reader.read(buf);
      ASSERT_TRUE(n) << n.error().message();
      if (*n == 0) break;
      at = check_bytes({buf.data(), *n}, at);
    }
    EXPECT_EQ(at, kSize);
    EXPECT_EQ(reader.read(buf), std::size_t{0});
    wg.wait();
  });
}

TEST_P(PipeOnProcs, deadlines_contexts_and_close_end_calls_that_wait) {
  with_procs(GetParam(), [] {
    for (int i = 0; i < 20; ++i) {
      auto [reader, writer] = must_have(open_pipe());
      std::byte buf[5];
      reader.set_read_deadline(now() + 1ms);
      EXPECT_EQ(reader.read(buf).error().code, Code::kTimeout);
      reader.set_read_deadline(kNoDeadline);
      auto [ctx, cancel] = with_cancel(Context::background());
      WaitGroup wg;
      wg.go([&reader = reader, &ctx = ctx] {
        std::byte inner[5];
        EXPECT_EQ(reader.read(ctx, inner).error().code, Code::kCanceled);
      });
      if (i % 2 == 0) gosched();
      cancel();
      wg.wait();
      wg.go([&reader = reader] {
        std::byte inner[5];
        EXPECT_EQ(reader.read(inner).error().code, Code::kClosed);
      });
      if (i % 2 == 0) gosched();
      reader.close();
      wg.wait();

      auto [slow, fast] = must_have(open_pipe());
      fast.set_write_deadline(now() + 1ms);
      EXPECT_EQ(fast.write(bytes_of(1 << 20)).error().code, Code::kTimeout);
      fast.set_write_deadline(kNoDeadline);
      EXPECT_EQ(fast.write(ctx, buf).error().code, Code::kCanceled);
      wg.go([&fast = fast] { EXPECT_EQ(fast.write(bytes_of(1 << 20)).error().code, Code::kClosed); });
      if (i % 2 == 0) gosched();
      fast.close();
      wg.wait();
    }
  });
}

TEST_P(PipeOnProcs, a_writer_without_readers_is_told_so_and_lives) {
  with_procs(GetParam(), [] {
    auto [reader, writer] = must_have(open_pipe());
    WaitGroup wg;
    wg.go([&writer = writer] { EXPECT_EQ(writer.write(bytes_of(1 << 20)).error().code, Code::kReset); });
    gosched();
    reader.close();
    wg.wait();
    writer.set_write_deadline(patience());
    Result<void> written;
    while ((written = writer.write(bytes("x")))) {  // on a ring the reading end goes a moment later
    }
    EXPECT_EQ(written.error().code, Code::kReset);
    sigset_t pending;
    sigpending(&pending);
    EXPECT_EQ(sigismember(&pending, SIGPIPE), 0);
  });
}

TEST(Pipe, foreign_ends_are_adopted_by_what_they_can_do) {
  with_procs(1, [] {
    int fds[2];
    ASSERT_EQ(::pipe(fds), 0);
    const int before = open_fds();
    EXPECT_EQ(PipeReader::adopt(::dup(fds[1])).error().code, Code::kInvalid);
    EXPECT_EQ(PipeWriter::adopt(::dup(fds[0])).error().code, Code::kInvalid);
    EXPECT_EQ(open_fds(), before);
    PipeReader reader = must_have(PipeReader::adopt(fds[0]));
    PipeWriter writer = must_have(PipeWriter::adopt(fds[1]));
    ASSERT_TRUE(writer.write(bytes("ab")));
    std::byte buf[2];
    EXPECT_EQ(reader.read_full(buf), std::size_t{2});
  });
}

TEST_P(PipeOnProcs, goroutines_that_close_at_random_leave_no_descriptor_behind) {
  with_procs(GetParam(), [] {
    const int before = open_fds();
    WaitGroup wg;
    for (int worker = 0; worker < 16; ++worker) {
      wg.go([worker] {
        std::mt19937_64 random(static_cast<std::uint64_t>(worker));
        for (int i = 0; i < (kSanitized ? 20 : 60); ++i) {
          auto [reader, writer] = must_have(open_pipe());
          WaitGroup users;
          users.go([&reader = reader] {
            std::byte buf[3000];
            for (std::uint64_t at = 0;;) {
              const Result<std::size_t> n = reader.read(buf);
              if (!n || *n == 0) return;
              at = check_bytes({buf, *n}, at);
            }
          });
          users.go([&writer = writer] {
            for (std::uint64_t at = 0; writer.write(bytes_of(5000, 0, at)); at += 5000) {
            }
          });
          for (auto k = random() % 6; k > 0; --k) gosched();
          if (random() % 2 == 0) {
            writer.close();
          } else {
            reader.close();
          }
          users.wait();
        }
      });
    }
    wg.wait();
    const TimePoint limit = patience();
    while (open_fds() > before && now() < limit) sleep(1ms);  // the last ones are on their way out
    EXPECT_LE(open_fds(), before);
  });
}

}  // namespace
}  // namespace heddle::net
