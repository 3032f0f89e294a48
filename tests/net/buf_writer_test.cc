// BufWriter: what goes out when, in which calls; errors that stay; copying through it.
#include <heddle/net/buf_writer.h>

#include <gtest/gtest.h>

#include <string>

#include <heddle/core/test.h>
#include <heddle/net/buf_reader.h>
#include <heddle/net/memory.h>

#include "unix_test_util.h"

namespace heddle::net {
namespace {

using namespace test;

// Remembers what was written, and in which calls: "w5 v4096+10".
class Record final : public Writer {
 public:
  Result<void> write(std::span<const std::byte> buf) override {
    if (failing) return std::unexpected(Error{Code::kReset, 0, "write"});
    calls += (calls.empty() ? "w" : " w") + std::to_string(buf.size());
    text += text_of(buf);
    return {};
  }
  Result<void> writev(std::span<const iovec> buffers) override {
    if (failing) return std::unexpected(Error{Code::kReset, 0, "write"});
    calls += calls.empty() ? "v" : " v";
    for (std::size_t i = 0; i < buffers.size(); ++i) {
      calls += (i == 0 ? "" : "+") + std::to_string(buffers[i].iov_len);
      text.append(static_cast<const char*>(buffers[i].iov_base), buffers[i].iov_len);
    }
    return {};
  }

  std::string calls;
  std::string text;
  bool failing = false;
};

TEST(BufWriter, small_writes_go_out_together_at_the_flush) {
  Record record;
  BufWriter out(record);
  EXPECT_FALSE(out.has_buffer());
  ASSERT_TRUE(out.write(bytes("one ")));
  ASSERT_TRUE(out.write({}));
  ASSERT_TRUE(out.write_byte(std::byte{'2'}));
  EXPECT_EQ(out.buffered(), 5U);
  EXPECT_EQ(out.available(), 4091U);
  EXPECT_EQ(record.calls, "");
  ASSERT_TRUE(out.flush());
  EXPECT_EQ(record.calls, "w5");
  EXPECT_EQ(record.text, "one 2");
  EXPECT_FALSE(out.has_buffer());
  ASSERT_TRUE(out.flush());
  EXPECT_EQ(record.calls, "w5") << "nothing to flush, nothing written";
}

TEST(BufWriter, what_does_not_fit_goes_out_with_what_is_buffered_in_one_call) {
  Record record;
  BufWriter out(record);
  ASSERT_TRUE(out.write(bytes(std::string(4096, 'a'))));  // fits
  EXPECT_EQ(record.calls, "");
  ASSERT_TRUE(out.write(bytes("b")));
  EXPECT_EQ(record.calls, "v4096+1");
  EXPECT_FALSE(out.has_buffer());
  ASSERT_TRUE(out.write(bytes(std::string(4097, 'c'))));
  EXPECT_EQ(record.calls, "v4096+1 w4097");
  ASSERT_TRUE(out.write(bytes("dd")));
  ASSERT_TRUE(out.write(bytes(std::string(100'000, 'e'))));
  EXPECT_EQ(record.calls, "v4096+1 w4097 v2+100000");
  EXPECT_EQ(record.text, std::string(4096, 'a') + "b" + std::string(4097, 'c') + "dd" + std::string(100'000, 'e'));
}

TEST(BufWriter, after_an_error_every_call_fails_with_it_and_nothing_more_is_written) {
  Record record;
  BufWriter out(record);
  ASSERT_TRUE(out.write(bytes("lost")));
  record.failing = true;
  EXPECT_EQ(out.flush().error().code, Code::kReset);
  EXPECT_FALSE(out.has_buffer());
  record.failing = false;
  EXPECT_EQ(out.flush().error().code, Code::kReset);
  EXPECT_EQ(out.write(bytes("more")).error().code, Code::kReset);
  auto [reader, writer] = memory_pipe();
  const Copied copied = out.read_from(reader);
  EXPECT_EQ(copied.error.code, Code::kReset);
  EXPECT_EQ(copied.failed, Copied::Side::kWriting);
  EXPECT_EQ(record.text, "");
}

TEST(BufWriter, a_context_that_has_ended_fails_the_call_and_spoils_nothing) {
  with_procs(1, [] {
    auto [near, far] = connected_pair();
    BufWriter out(near);
    ASSERT_TRUE(out.write(bytes("a")));
    auto [ctx, cancel] = with_cancel({});
    cancel();
    EXPECT_EQ(out.write(ctx, bytes("b")).error().code, Code::kCanceled);
    EXPECT_EQ(out.flush(ctx).error().code, Code::kCanceled);
    ASSERT_TRUE(out.write(bytes("c")));
    ASSERT_TRUE(out.flush());
    std::byte buf[2];
    ASSERT_EQ(far.read_full(buf), 2U);
    EXPECT_EQ(text_of(buf), "ac");
  });
}

TEST(BufWriter, a_context_ends_a_write_that_waits_and_that_stays) {
  heddle::test::run([] {  // where a deadline comes only while all wait
    auto [near, far] = memory_pair({.capacity = 4});
    auto [ctx, cancel] = with_timeout({}, 1h);
    BufWriter out(near);
    EXPECT_TRUE(out.write(bytes("more than there is room for")));
    EXPECT_EQ(out.flush(ctx).error().code, Code::kTimeout);
    EXPECT_FALSE(out.has_buffer());
    EXPECT_EQ(out.flush().error().code, Code::kTimeout);
    EXPECT_EQ(out.write(bytes("x")).error().code, Code::kTimeout);
    cancel();
  });
}

TEST(BufWriter, a_deadline_ends_a_large_write_to_a_full_socket) {
  with_procs(2, [] {
    auto [near, far] = connected_pair();
    fill(near);
    BufWriter out(near);
    ASSERT_TRUE(out.write(bytes("x")));
    const std::vector<std::byte> large = bytes_of(8 << 20);  // more than the kernel may still find room for
    near.set_write_deadline(now() + 20ms);
    EXPECT_EQ(out.write(large).error().code, Code::kTimeout);
    near.set_write_deadline(kNoDeadline);
    EXPECT_EQ(out.flush().error().code, Code::kTimeout) << "it stays";
  });
}

TEST(BufWriter, what_it_takes_from_a_reader_is_gathered_with_the_rest) {
  Record record;
  BufWriter out(record);
  with_procs(1, [&] {
    auto [reader, writer] = memory_pipe();
    ASSERT_TRUE(out.write(bytes("head ")));
    ASSERT_TRUE(writer.write(bytes("body of the message")));
    writer.close();
    Copied copied = out.read_from(reader, 4);
    EXPECT_TRUE(copied);
    EXPECT_EQ(copied.bytes, 4U);
    copied = copy(out, reader);
    EXPECT_EQ(copied.bytes, 15U);
    EXPECT_EQ(record.calls, "");
    ASSERT_TRUE(out.flush());
    EXPECT_EQ(record.calls, "w24");
    EXPECT_EQ(record.text, "head body of the message");

    auto [long_reader, long_writer] = memory_pipe(20'000);
    ASSERT_TRUE(long_writer.write(bytes(std::string(10'000, 'x'))));
    long_writer.close();
    ASSERT_TRUE(out.write(bytes("1")));
    record.failing = true;
    copied = out.read_from(long_reader);
    EXPECT_EQ(copied.failed, Copied::Side::kWriting);
    EXPECT_EQ(copied.bytes, 0U);
    EXPECT_EQ(copied.lost, 4095U) << "what filled the buffer beside the byte that was there";
  });
}

TEST(BufWriter, a_large_body_from_a_buffered_reader_follows_its_head_byte_for_byte) {
  with_procs(2, [] {
    auto [source_far, source] = connected_pair();
    auto [out_conn, sink] = must_have(unix_pair());
    constexpr std::size_t kSize = 1 << 20;
    WaitGroup wg;
    wg.go([&far = source_far] {
      ASSERT_TRUE(far.write(bytes_of(kSize)));
      ASSERT_TRUE(far.close_write());
    });
    wg.go([&, &source = source, &out_conn = out_conn] {
      BufReader in(source);
      ASSERT_TRUE(in.peek(10));  // so that some is buffered
      BufWriter out(out_conn);
      ASSERT_TRUE(out.write(bytes("head")));
      const Copied copied = copy(out, in);
      EXPECT_TRUE(copied) << copied.error.message();
      EXPECT_EQ(copied.bytes, kSize);
      ASSERT_TRUE(out.flush());
      ASSERT_TRUE(out_conn.close_write());
    });
    std::vector<std::byte> buf(kSize + 5);
    EXPECT_EQ(sink.read_full(buf), kSize + 4);
    EXPECT_EQ(text_of({buf.data(), 4}), "head");
    EXPECT_EQ(check_bytes({buf.data() + 4, kSize}, 0), kSize);
    wg.wait();
  });
}

}  // namespace
}  // namespace heddle::net
