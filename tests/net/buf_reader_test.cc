// BufReader: what it promises of reads, lines and peeks, split at every byte; and that an idle one holds no buffer.
#include <heddle/net/buf_reader.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <string>

#include <heddle/core/go.h>
#include <heddle/core/test.h>
#include <heddle/net/memory.h>

#include "unix_test_util.h"

namespace heddle::net {
namespace {

using namespace test;

// A stream of pieces, one per read; it can tell nothing. An empty piece is an error, once.
class Pieces final : public Reader {
 public:
  explicit Pieces(std::deque<std::string> pieces) : pieces_(std::move(pieces)) {}
  // `text` in pieces of `size`.
  Pieces(std::string_view text, std::size_t size) {
    for (; !text.empty(); text.remove_prefix(std::min(size, text.size()))) pieces_.emplace_back(text.substr(0, size));
  }

  Result<std::size_t> read(std::span<std::byte> buf) override {
    ++reads;
    if (pieces_.empty()) return std::size_t{0};
    std::string& piece = pieces_.front();
    if (piece.empty()) {
      pieces_.pop_front();
      return std::unexpected(Error{Code::kTimeout, 0, "read"});
    }
    const std::size_t n = std::min(buf.size(), piece.size());
    std::memcpy(buf.data(), piece.data(), n);
    piece.erase(0, n);
    if (piece.empty()) pieces_.pop_front();
    return n;
  }

  int reads = 0;

 private:
  std::deque<std::string> pieces_;
};

std::string text_of_next(BufReader& in, std::size_t size) {
  std::vector<std::byte> buf(size);
  const Result<std::size_t> n = in.read_full(buf);
  return n ? text_of({buf.data(), *n}) : n.error().message();
}

TEST(BufReader, lines_come_whole_however_the_stream_is_split) {
  const std::string text = "first\n\r\n\nsecond\r\nlast without an end";
  for (std::size_t size = 1; size <= text.size(); ++size) {
    Pieces pieces(text, size);
    BufReader in(pieces);
    std::string line = "what was in it";
    for (const char* expected : {"first", "", "", "second", "last without an end"}) {
      ASSERT_EQ(in.read_line(line, 100), true) << size;
      EXPECT_EQ(line, expected) << size;
    }
    EXPECT_EQ(in.read_line(line, 100), false);
    EXPECT_EQ(in.read_line(line, 100), false) << "the stream stays at its end";
  }
}

TEST(BufReader, a_line_longer_than_its_limit_is_an_error_wherever_the_stream_is_split) {
  for (std::size_t size = 1; size <= 8; ++size) {
    Pieces pieces("123\n12345\n", size);
    BufReader in(pieces);
    std::string line;
    ASSERT_EQ(in.read_line(line, 4), true);
    EXPECT_EQ(line, "123");
    EXPECT_EQ(in.read_line(line, 5).error().code, Code::kLimit);
    EXPECT_EQ(line, "12345");
    EXPECT_EQ(text_of_next(in, 100), "\n") << "the rest is still there";
  }
}

TEST(BufReader, a_line_may_be_longer_than_a_buffer) {
  const std::string text = std::string(10'000, 'x') + "\nend";
  Pieces pieces(text, 7'000);
  BufReader in(pieces);
  std::string line;
  ASSERT_EQ(in.read_line(line, 20'000), true);
  EXPECT_EQ(line.size(), 10'000U);
  EXPECT_EQ(text_of_next(in, 100), "end");
}

TEST(BufReader, read_until_goes_on_after_an_error_where_it_stopped) {
  Pieces pieces({"ab", "", "cd", "", ";e"});
  BufReader in(pieces);
  std::string text = ">";
  EXPECT_EQ(in.read_until(std::byte{';'}, text, 100).error().code, Code::kTimeout);
  EXPECT_EQ(text, ">ab");
  EXPECT_EQ(in.read_until(std::byte{';'}, text, 100).error().code, Code::kTimeout);
  EXPECT_EQ(in.read_until(std::byte{';'}, text, 100), true);
  EXPECT_EQ(text, ">abcd;");
  EXPECT_EQ(in.read_until(std::byte{';'}, text, 7).error().code, Code::kLimit);
  EXPECT_EQ(text, ">abcd;e") << "what the text had counts";
  text.clear();
  EXPECT_EQ(in.read_until(std::byte{';'}, text, 7), false);
  EXPECT_EQ(text, "");
}

TEST(BufReader, a_peek_takes_nothing_and_is_bounded_by_the_buffer) {
  for (std::size_t size = 1; size <= 9; ++size) {
    Pieces pieces("123456789", size);
    BufReader in(pieces);
    EXPECT_EQ(text_of(*in.peek(0)), "");
    EXPECT_EQ(text_of(*in.peek(3)), "123");
    EXPECT_EQ(text_of(*in.peek(5)), "12345");
    EXPECT_EQ(in.read_byte(), std::byte{'1'});
    EXPECT_EQ(text_of(*in.peek(2)), "23");
    EXPECT_EQ(in.discard(3), 3U);
    EXPECT_EQ(text_of(*in.peek(4096)), "56789") << "fewer, because the stream ends";
    EXPECT_EQ(in.buffered(), 5U);
    EXPECT_EQ(in.peek(4097).error().code, Code::kLimit);
    EXPECT_EQ(in.discard(100), 5U);
    EXPECT_EQ(text_of(*in.peek(1)), "");
    EXPECT_EQ(*in.read_byte(), std::nullopt);
    EXPECT_FALSE(in.has_buffer());
  }
}

TEST(BufReader, a_peek_moves_what_is_buffered_to_make_room) {
  std::string text(8'192, '.');
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>('a' + i % 26);
  Pieces pieces(text, 1'000);
  BufReader in(pieces);
  ASSERT_EQ(in.discard(3'500), 3'500U);
  const auto ahead = in.peek(4'096);
  ASSERT_TRUE(ahead);
  EXPECT_EQ(text_of(*ahead), text.substr(3'500, 4'096));
}

TEST(BufReader, an_error_leaves_what_is_buffered) {
  Pieces pieces({"abc", "", "def"});
  BufReader in(pieces);
  EXPECT_EQ(in.peek(4).error().code, Code::kTimeout);
  EXPECT_EQ(in.buffered(), 3U);
  EXPECT_EQ(text_of(*in.peek(4)), "abcd");
  EXPECT_EQ(text_of_next(in, 10), "abcdef");
}

TEST(BufReader, small_reads_cost_one_read_of_the_stream_and_large_ones_go_past_the_buffer) {
  Pieces pieces(std::string(20'000, 'x'), 20'000);
  BufReader in(pieces);
  for (int i = 0; i < 4'096; ++i) ASSERT_EQ(in.read_byte(), std::byte{'x'});
  EXPECT_EQ(pieces.reads, 1);
  std::vector<std::byte> large(15'000);
  EXPECT_EQ(in.read(large), 15'000U);
  EXPECT_EQ(pieces.reads, 2);
  EXPECT_FALSE(in.has_buffer());
  EXPECT_EQ(in.read({large.data(), 10}), 10U);
  EXPECT_EQ(in.buffered(), 894U);
  EXPECT_EQ(in.read(large), 894U) << "what is buffered, without a wait for more";
  EXPECT_EQ(in.read({}), 0U);
}

// Looks, before each wait, whether who waits holds a buffer.
class Watched final : public Reader {
 public:
  explicit Watched(Transport& under) : under_(under) {}
  Result<std::size_t> read(std::span<std::byte> buf) override {
    ADD_FAILURE() << "a read that would park with a buffer";
    return under_.read(buf);
  }
  Result<std::size_t> try_read(std::span<std::byte> buf) override { return under_.try_read(buf); }
  Result<void> wait_readable(const Context& ctx) override {
    EXPECT_FALSE(in->has_buffer());
    ++waits;
    return under_.wait_readable(ctx);
  }

  const BufReader* in = nullptr;
  int waits = 0;

 private:
  Transport& under_;
};

TEST(BufReader, one_that_waits_for_a_socket_holds_no_buffer) {
  with_procs(2, [] {
    auto [near, far] = connected_pair();
    auto [unix_near, unix_far] = must_have(unix_pair());
    const auto talk = [](Transport& a, Transport& b) {
      Watched watched(a);
      BufReader in(watched);
      watched.in = &in;
      WaitGroup wg;
      std::atomic<int> lines{0};
      wg.go([&] {
        std::string line;
        for (Result<bool> more = in.read_line(line, 100); more && *more; more = in.read_line(line, 100)) {
          EXPECT_EQ(line, "hello");
          lines.fetch_add(1);
        }
      });
      for (int i = 0; i < 20; ++i) {
        while (lines.load() < i) gosched();
        EXPECT_TRUE(b.write(bytes("hel")));
        gosched();
        EXPECT_TRUE(b.write(bytes("lo\r\n")));
      }
      EXPECT_TRUE(b.close_write());
      wg.wait();
      EXPECT_EQ(lines.load(), 20);
      EXPECT_GE(watched.waits, 19) << "a line came only after the one before was read";
    };
    talk(near, far);
    talk(unix_near, unix_far);
  });
}

TEST(BufReader, one_that_waits_holds_no_buffer) {
  heddle::test::explore(200, [] {
    auto [near, far] = memory_pair();
    BufReader in(near);
    WaitGroup wg;
    wg.go([&] {
      std::string line;
      while (*in.read_line(line, 100)) EXPECT_EQ(line, "hello");
    });
    for (int i = 0; i < 3; ++i) {
      heddle::test::wait();
      EXPECT_FALSE(in.has_buffer());
      EXPECT_TRUE(far.write(bytes("hello\n")));
    }
    EXPECT_TRUE(far.write(bytes("hel")));
    heddle::test::wait();
    EXPECT_FALSE(in.has_buffer()) << "what came of the line is with the caller";
    EXPECT_TRUE(far.write(bytes("lo\n")));
    far.close();
    wg.wait();
  });
}

TEST(BufReader, one_that_waits_holds_no_buffer_when_its_socket_looked_full) {
  with_procs(2, [] {
    auto [near, far] = connected_pair();
    BufReader in(near);
    // A read that fills the buffer is followed by a try, which finds nothing; then it waits.
    ASSERT_TRUE(far.write(bytes_of(4096)));
    ASSERT_TRUE(in.peek(4096));
    ASSERT_EQ(in.discard(4096), 4096U);
    near.set_read_deadline(now() + 10ms);
    std::byte buf[10];
    EXPECT_EQ(in.read(buf).error().code, Code::kTimeout);
    EXPECT_FALSE(in.has_buffer());
    near.set_read_deadline(patience());
    ASSERT_TRUE(far.write(bytes_of(10)));
    EXPECT_EQ(in.read_full(buf), 10U);
    EXPECT_EQ(check_bytes(buf, 0), 10U);
  });
}

TEST(BufReader, a_context_or_close_ends_a_wait_and_nothing_is_lost) {
  with_procs(2, [] {
    for (int i = 0; i < 50; ++i) {
      auto [near, far] = connected_pair();
      BufReader in(near);
      ASSERT_TRUE(far.write(bytes("part")));
      ASSERT_TRUE(in.peek(4));
      auto [ctx, cancel] = with_cancel({});
      WaitGroup wg;
      std::string line;
      wg.go([&, ctx = ctx] { EXPECT_EQ(in.read_line(ctx, line, 100).error().code, Code::kCanceled); });
      if (i % 2 == 0) gosched();
      cancel();
      wg.wait();
      if (line.empty()) {
        EXPECT_EQ(in.buffered(), 4U) << "it had not begun";
      } else {
        EXPECT_EQ(line, "part");
      }
      wg.go([&] { EXPECT_EQ(in.read_until(std::byte{'\n'}, line, 100).error().code, Code::kClosed); });
      if (i % 2 == 0) gosched();
      near.close();
      wg.wait();
      EXPECT_EQ(line, "part");
      EXPECT_EQ(in.read_byte().error().code, Code::kClosed);
    }
  });
}

TEST(BufReader, megabytes_in_reads_of_all_sizes_arrive_once_and_in_order) {
  with_procs(2, [] {
    constexpr std::uint64_t kSize = 4 << 20;
    auto [near, far] = connected_pair();
    WaitGroup wg;
    wg.go([&far = far] {
      for (std::uint64_t at = 0; at < kSize; at += 1 << 16) ASSERT_TRUE(far.write(bytes_of(1 << 16, 5, at)));
      ASSERT_TRUE(far.close_write());
    });
    BufReader in(near, 16'384);
    std::vector<std::byte> buf(100'000);
    std::uint64_t at = 0;
    for (std::size_t step = 1;; step = step * 7 % 99'991) {
      const Result<std::size_t> n = in.read({buf.data(), step});
      ASSERT_TRUE(n);
      if (*n == 0) break;
      at = check_bytes({buf.data(), *n}, at, 5);
    }
    EXPECT_EQ(at, kSize);
    wg.wait();
  });
}

TEST(BufReader, what_is_buffered_is_written_before_the_rest) {
  with_procs(2, [] {
    auto [near, far] = connected_pair();
    auto [out, sink] = connected_pair();
    WaitGroup wg;
    wg.go([&far = far] {
      ASSERT_TRUE(far.write(bytes_of(300'000)));
      ASSERT_TRUE(far.close_write());
    });
    BufReader in(near);
    std::byte head[100];
    ASSERT_EQ(in.read_full(head), 100U);
    wg.go([&, &out = out] {
      const Copied some = in.write_to(out, 10'000);
      EXPECT_TRUE(some);
      EXPECT_EQ(some.bytes, 10'000U);
      const Copied rest = copy(out, in);
      EXPECT_TRUE(rest);
      EXPECT_EQ(rest.bytes, 289'900U);
      ASSERT_TRUE(out.close_write());
    });
    std::vector<std::byte> buf(300'000);
    EXPECT_EQ(sink.read_full(buf), 299'900U);
    EXPECT_EQ(check_bytes({buf.data(), 299'900}, 100), 300'000U);
    wg.wait();
  });
}

}  // namespace
}  // namespace heddle::net
