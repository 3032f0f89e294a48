// Codecs: the same messages however the stream is cut, limits, ends within a message, and what goes out.
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include <heddle/net/codec.h>

namespace heddle::net {
namespace {

using namespace std::string_literals;

std::span<const std::byte> bytes(std::string_view text) { return std::as_bytes(std::span(text)); }
std::string text_of(const std::string& text) { return text; }
std::string text_of(const Bytes& data) { return {reinterpret_cast<const char*>(data.data()), data.size()}; }

// What a stream gave: its messages, then how it ended.
struct Heard {
  std::vector<std::string> messages;
  Code end = Code::kOk;  // kOk: behind a message

  friend bool operator==(const Heard&, const Heard&) = default;
};

// Gives `stream` to a Decoder in parts that end at `cuts`, with a first buffer of `first` bytes.
template <class C>
Heard hear(C codec, std::string_view stream, const std::vector<std::size_t>& cuts, std::size_t first = 4096) {
  Decoder<C> decoder(std::move(codec), first);
  Heard heard;
  std::size_t at = 0;
  const auto feed = [&](std::string_view part) {
    while (!part.empty()) {
      const std::span<std::byte> room = decoder.room();
      EXPECT_FALSE(room.empty());
      const std::size_t n = std::min(room.size(), part.size());
      std::memcpy(room.data(), part.data(), n);
      decoder.filled(n);
      part.remove_prefix(n);
      for (;;) {
        auto next = decoder.next();
        if (!next) {
          heard.end = next.error().code;
          return false;
        }
        if (!*next) break;
        heard.messages.push_back(text_of(**next));
      }
    }
    return true;
  };
  for (std::size_t cut : cuts) {
    if (!feed(stream.substr(at, cut - at))) return heard;
    at = cut;
  }
  if (!feed(stream.substr(at))) return heard;
  if (const Result<void> end = decoder.end(); !end) heard.end = end.error().code;
  return heard;
}

// Cut in two at every byte, in three at every two, and byte by byte with the smallest buffer.
template <class C>
void check(const C& codec, std::string_view stream, const Heard& expected) {
  SCOPED_TRACE(testing::PrintToString(std::string(stream)));
  EXPECT_EQ(hear(codec, stream, {}).messages, expected.messages);
  EXPECT_EQ(hear(codec, stream, {}), expected);
  for (std::size_t i = 0; i <= stream.size(); ++i) {
    for (std::size_t j = i; j <= stream.size(); ++j) {
      ASSERT_EQ(hear(codec, stream, {i, j}, 1 + j - i), expected) << "cut at " << i << " and " << j;
    }
  }
  std::vector<std::size_t> all;
  for (std::size_t i = 0; i <= stream.size(); ++i) all.push_back(i);
  EXPECT_EQ(hear(codec, stream, all, 1), expected);
}

template <class C>
std::string sent(C codec, const std::vector<typename C::Out>& messages) {
  Outgoing to;
  for (const auto& one : messages) EXPECT_TRUE(codec.encode(one, to));
  std::string all;
  for (const iovec& part : to.buffers()) all.append(static_cast<const char*>(part.iov_base), part.iov_len);
  EXPECT_EQ(all.size(), to.size());
  return all;
}

template <class C>
Code refusal(C codec, const typename C::Out& message) {
  Outgoing to;
  const Result<void> encoded = codec.encode(message, to);
  EXPECT_EQ(to.size(), 0u);
  return encoded ? Code::kOk : encoded.error().code;
}

TEST(Codec, lines_are_the_same_however_they_are_cut) {
  check(LineCodec(), "", {});
  check(LineCodec(), "\n", {{""}});
  check(LineCodec(), "a\nbc\r\n\r\n\ndef\n", {{"a", "bc", "", "", "def"}});
  check(LineCodec(), "a\rb\n\r\r\n", {{"a\rb", "\r"}});
  check(LineCodec(), "\0\xff\n"s + "x\n", {{"\0\xff"s, "x"}});
}

TEST(Codec, a_line_may_be_as_long_as_the_limit_with_either_end) {
  check(LineCodec(4), "1234\n1234\r\n123\r\n", {{"1234", "1234", "123"}});
  check(LineCodec(4), "1234\r\r\n", {{}, Code::kLimit});  // the first CR belongs to the line
  check(LineCodec(4), "ok\n12345\nnever\n", {{"ok"}, Code::kLimit});
  check(LineCodec(4), "ok\n12345\r\nnever\n", {{"ok"}, Code::kLimit});
  check(LineCodec(4), "ok\n123456789", {{"ok"}, Code::kLimit});
  check(LineCodec(0), "\n\r\n", {{"", ""}});
  check(LineCodec(0), "a\n", {{}, Code::kLimit});
  check(LineCodec(std::numeric_limits<std::size_t>::max()), "abc\n", {{"abc"}});
}

TEST(Codec, an_end_within_a_line_is_told_from_one_behind_it) {
  check(LineCodec(), "a\nb", {{"a"}, Code::kProtocol});
  check(LineCodec(), "a\nb\r", {{"a"}, Code::kProtocol});
  check(LineCodec(4), "1234", {{}, Code::kProtocol});
  check(LineCodec(), "a\nb\n", {{"a", "b"}, Code::kOk});
}

TEST(Codec, a_line_goes_out_with_its_end) {
  EXPECT_EQ(sent(LineCodec(), {"a", "", "b\rc"}), "a\n\nb\rc\n");
  EXPECT_EQ(sent(LineCodec(64, LineCodec::End::kCrLf), {"a", ""}), "a\r\n\r\n");
}

TEST(Codec, a_line_that_would_be_read_as_another_is_not_sent) {
  EXPECT_EQ(refusal(LineCodec(), "a\nb"), Code::kInvalid);
  EXPECT_EQ(refusal(LineCodec(), "a\r"), Code::kInvalid);
  EXPECT_EQ(refusal(LineCodec(3), "abcd"), Code::kLimit);
}

TEST(Codec, delimited_text_is_the_same_however_it_is_cut) {
  check(DelimiterCodec("|"), "a|bc||", {{"a", "bc", ""}});
  check(DelimiterCodec("--"), "a--b-c----", {{"a", "b-c", ""}});
  check(DelimiterCodec("--"), "a---b--", {{"a", "-b"}});
  check(DelimiterCodec("aab"), "aaaabxaaab", {{"aa", "xa"}});
  check(DelimiterCodec("\r\n.\r\n"), "one\r\n..\r\n.\r\ntwo\r\n.\r\n", {{"one\r\n..", "two"}});
}

TEST(Codec, delimited_text_has_a_limit_and_an_end) {
  check(DelimiterCodec("--", 3), "abc--abcd--x--", {{"abc"}, Code::kLimit});
  check(DelimiterCodec("--", 3), "abc--abcdefg", {{"abc"}, Code::kLimit});
  check(DelimiterCodec("--", 3), "abc--ab-", {{"abc"}, Code::kProtocol});
  check(DelimiterCodec("--", 3), "abc-", {{}, Code::kProtocol});
  check(DelimiterCodec("--", 0), "--a--", {{""}, Code::kLimit});
}

TEST(Codec, text_that_would_be_read_as_another_is_not_sent) {
  EXPECT_EQ(sent(DelimiterCodec("--"), {"a", "", "b-c"}), "a----b-c--");
  EXPECT_EQ(refusal(DelimiterCodec("--"), "a--b"), Code::kInvalid);
  EXPECT_EQ(refusal(DelimiterCodec("--"), "a-"), Code::kInvalid);    // "a---" is "a", then "-"
  EXPECT_EQ(refusal(DelimiterCodec("aba"), "xab"), Code::kInvalid);  // "xababa": the first one ends early
  EXPECT_EQ(sent(DelimiterCodec("aab"), {"a"}), "aaab");             // read as "a" again
  EXPECT_EQ(refusal(DelimiterCodec("--", 2), "abc"), Code::kLimit);
}

TEST(Codec, prefixed_bytes_are_the_same_however_they_are_cut) {
  using Order = LengthPrefixCodec::Order;
  check(LengthPrefixCodec(1), "\1a\0\3bcd"s, {{"a", "", "bcd"}});
  check(LengthPrefixCodec(2), "\0\1a\0\0\0\3bcd"s, {{"a", "", "bcd"}});
  check(LengthPrefixCodec(2, 9, Order::kLittleEndian), "\1\0a\0\0\3\0bcd"s, {{"a", "", "bcd"}});
  check(LengthPrefixCodec(4), "\0\0\0\2ab"s, {{"ab"}});
  check(LengthPrefixCodec(4, 9, Order::kLittleEndian), "\2\0\0\0ab"s, {{"ab"}});
  check(LengthPrefixCodec(8), "\0\0\0\0\0\0\0\2ab"s, {{"ab"}});
  check(LengthPrefixCodec(8, 9, Order::kLittleEndian), "\2\0\0\0\0\0\0\0ab"s, {{"ab"}});
}

TEST(Codec, an_announced_length_over_the_limit_is_refused_before_a_byte_of_it) {
  check(LengthPrefixCodec(1, 3), "\1a\3bcd\4"s, {{"a", "bcd"}, Code::kLimit});
  check(LengthPrefixCodec(4, 3), "\xff\xff\xff\xff"s, {{}, Code::kLimit});
  check(LengthPrefixCodec(8, 3), "\xff\xff\xff\xff\xff\xff\xff\xff"s, {{}, Code::kLimit});
  // No limit, and all that a length can say: it is waited for, and nothing overflows.
  check(LengthPrefixCodec(8, std::numeric_limits<std::size_t>::max()),
        "\xff\xff\xff\xff\xff\xff\xff\xff"
        "abc"s,
        {{}, Code::kProtocol});
}

TEST(Codec, an_end_within_prefixed_bytes_is_told_from_one_behind_them) {
  check(LengthPrefixCodec(2), "\0\1a\0"s, {{"a"}, Code::kProtocol});
  check(LengthPrefixCodec(2), "\0\1a\0\1"s, {{"a"}, Code::kProtocol});
  check(LengthPrefixCodec(2), "\0\1a\0\2b"s, {{"a"}, Code::kProtocol});
}

TEST(Codec, a_prefix_goes_out_with_as_many_bytes_as_it_has) {
  using Order = LengthPrefixCodec::Order;
  const std::string long_text(258, 'x');
  const Bytes message(bytes(long_text).begin(), bytes(long_text).end());
  EXPECT_EQ(sent(LengthPrefixCodec(2), {message, {}}), "\1\2"s + long_text + "\0\0"s);
  EXPECT_EQ(sent(LengthPrefixCodec(2, 1000, Order::kLittleEndian), {message}), "\2\1"s + long_text);
  EXPECT_EQ(sent(LengthPrefixCodec(8), {message}), "\0\0\0\0\0\0\1\2"s + long_text);
  EXPECT_EQ(refusal(LengthPrefixCodec(1, 1000), message), Code::kLimit);
  EXPECT_EQ(refusal(LengthPrefixCodec(2, 257), message), Code::kLimit);
}

TEST(Codec, raw_bytes_lose_nothing_and_have_no_end_within) {
  const std::string stream = "some bytes\0and more"s;
  for (std::size_t max : {1, 3, 100}) {
    for (std::size_t i = 0; i <= stream.size(); ++i) {
      const Heard heard = hear(RawCodec(max), stream, {i});
      std::string all;
      for (const std::string& one : heard.messages) {
        EXPECT_LE(one.size(), max);
        all += one;
      }
      EXPECT_EQ(all, stream);
      EXPECT_EQ(heard.end, Code::kOk);
    }
  }
}

TEST(Codec, shared_messages_are_encoded_as_the_codec_has_it_and_none_is_nothing) {
  const auto line = std::make_shared<const std::string>("hello");
  EXPECT_EQ(sent(SharedCodec<LineCodec>(), {line, nullptr, line}), "hello\nhello\n");
  check(SharedCodec<LineCodec>(), "a\nb\n", {{"a", "b"}});
}

TEST(Codec, a_long_stream_of_long_messages_goes_through_a_small_buffer) {
  std::string stream;
  std::vector<std::string> lines;
  for (std::size_t i = 0; i < 300; ++i) {
    lines.push_back(std::string(i * 37 % 5000, static_cast<char>('a' + i % 26)));
    stream += lines.back() + "\n";
  }
  std::vector<std::size_t> cuts;
  for (std::size_t at = 0; at < stream.size(); at += 1 + at % 4099) cuts.push_back(at);
  EXPECT_EQ(hear(LineCodec(), stream, cuts, 16), (Heard{lines}));
}

TEST(Codec, large_parts_are_referred_to_and_small_ones_copied) {
  const std::string large(10'000, 'x');
  std::string small = "small";
  Outgoing to;
  to.refer(small);
  to.copy("|");
  to.refer(large);
  to.copy("|");
  small = "other";
  const std::span<const iovec> parts = to.buffers();
  ASSERT_EQ(parts.size(), 3u);
  EXPECT_EQ(std::string(static_cast<const char*>(parts[0].iov_base), parts[0].iov_len), "small|");
  EXPECT_EQ(parts[1].iov_base, large.data());
  EXPECT_EQ(parts[2].iov_len, 1u);
}

TEST(Codec, what_was_gathered_can_be_cut_back_to_where_it_was) {
  const std::string large(1000, 'x');
  Outgoing to;
  to.copy("one");
  const std::size_t before = to.size();
  to.copy("two");
  to.refer(large);
  to.copy("three");
  to.cut(before);
  to.copy("!");
  ASSERT_EQ(to.buffers().size(), 1u);
  EXPECT_EQ(std::string(static_cast<const char*>(to.buffers()[0].iov_base), to.size()), "one!");
  to.clear();
  EXPECT_TRUE(to.empty());
  EXPECT_TRUE(to.buffers().empty());
}

// A codec that breaks its contract says so instead of going round for ever.
struct Wrong {
  using In = std::string;
  using Out = std::string;
  std::size_t consumes;
  Result<Decoded<In>> decode(std::span<const std::byte>) { return Decoded<In>{"", consumes}; }
  Result<void> encode(const Out&, Outgoing&) { return {}; }
};

TEST(Codec, a_message_of_nothing_or_of_more_than_there_is_panics) {
  EXPECT_THROW(hear(Wrong{0}, "abc", {}), Panic);
  EXPECT_THROW(hear(Wrong{4}, "abc", {}), Panic);
}

}  // namespace
}  // namespace heddle::net
