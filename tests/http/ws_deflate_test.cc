// Where a compressed message may end, and messages that are taken out of frames piece by piece: neither hangs on where the reads of
// it end, nor on the room there is.
#include <gtest/gtest.h>
#include <zlib.h>

#include <array>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <heddle/http/internal/ws_deflate.h>
#include <heddle/http/internal/ws_reader.h>

#include "ws_test_util.h"

namespace heddle::http::ws::test {
namespace {

using Event = MessageReader::Event;

constexpr MessageReader::Limits kLimits{.max_message = 100'000, .max_frame = 200'000, .max_fragments = 1000};

std::string raw(const char* text, std::size_t size) { return {text, size}; }

/// What a reader makes of `wire`: messages in brackets, faults; it is fed up to `cut` first. With a `room` piece by piece.
std::string read(std::string_view wire, std::size_t cut = 0, std::size_t room = MessageReader::kWhole,
                 const MessageReader::Limits& limits = kLimits) {
  MessageReader reader(Role::kClient, limits, Agreed{});
  std::string out;
  std::string message;
  for (std::string_view piece : {wire.substr(0, cut), wire.substr(cut)}) {
    while (!piece.empty() || reader.pending()) {
      const Event event = reader.step(piece, room);
      if (event == Event::kFault) return out + std::to_string(reader.fault_code()) + " " + reader.fault();
      if (event == Event::kData || event == Event::kMessage) {
        const std::string some = reader.take_message();
        EXPECT_LE(some.size(), room);
        message += some;
      }
      if (event == Event::kMessage) out += "[" + std::exchange(message, {}) + "]";
      if (event == Event::kPing) out += "ping";
      EXPECT_NE(event, Event::kClose);
    }
  }
  return out;
}

std::string read_payload(const std::string& payload) { return read(frame(0xc2, payload, false)); }

// ---- where a message may end ----

const std::string kCut = "1007 not DEFLATE";

TEST(WsDeflate, a_message_ends_behind_the_head_of_an_empty_block_and_nowhere_else) {
  std::mt19937 random(3);
  std::string noise(300, '\0');  // becomes a stored block
  for (char& c : noise) c = static_cast<char>(random());
  std::string words;  // becomes one with codes of its own
  for (int i = 0; i < 200; ++i) words += std::string(1 + random() % 7, static_cast<char>('a' + random() % 9));
  const std::vector<std::string> parts = {"Hello", noise, "Hello, Hello, Hello", words, "x"};
  Deflater deflater(15, 6, true);
  std::string wire;
  std::string text;
  std::vector<std::pair<std::size_t, std::string>> ends = {{0, ""}};  // where it may end, and what it is then
  for (const std::string& part : parts) {
    const std::size_t before = wire.size();
    ASSERT_TRUE(deflater.take(part, true, wire));
    if (wire[before] == 0) ends.emplace_back(before + 1, text);  // the noise begins with such a head
    text += part;
    ends.emplace_back(wire.size() - 4, text);
  }
  std::size_t next = 0;
  for (std::size_t size = 0; size <= wire.size(); ++size) {
    const bool whole = next < ends.size() && ends[next].first == size;
    EXPECT_TRUE(read_payload(wire.substr(0, size)) == (whole ? "[" + ends[next].second + "]" : kCut)) << size;
    if (whole) ++next;
  }
  EXPECT_EQ(next, ends.size());
  EXPECT_EQ(next, parts.size() + 2);
}

TEST(WsDeflate, a_cut_is_seen_wherever_reads_and_frames_end) {
  std::string hello = raw("\xf2\x48\xcd\xc9\xc9\x07\x00", 7);
  for (std::size_t size = 1; size <= hello.size(); ++size) {
    const std::string payload = hello.substr(0, size);
    const std::string result = size == hello.size() ? "[Hello]" : kCut;
    for (std::size_t split = 0; split <= size; ++split) {
      const std::string wire = frame(0x42, payload.substr(0, split), false) + frame(0x89, "", false) +
                               frame(0x80, payload.substr(split), false);
      for (std::size_t cut = 0; cut <= wire.size(); ++cut) EXPECT_EQ(read(wire, cut), "ping" + result);
    }
  }
}

// RFC 7692 s7.2.3.4. Behind a block that says it is the last one another may begin; it needs not.
TEST(WsDeflate, a_block_that_says_it_is_the_last_one_is_none) {
  const std::string last = raw("\xf3\x48\xcd\xc9\xc9\x07\x00\x00", 8);
  for (std::size_t size = 0; size <= last.size(); ++size) {
    EXPECT_EQ(read_payload(last.substr(0, size)), size == 0 ? "[]" : size < 7 ? kCut : "[Hello]") << size;
  }
  const std::string block = last.substr(0, 7);
  const struct {
    std::string payload;
    std::string result;
  } rows[] = {
      {block + block, "[HelloHello]"},
      {block + last, "[HelloHello]"},
      {last + last, kCut},  // of a stored block, five bytes of which are its lengths and what they announce
      {block + raw("\x01", 1), "[Hello]"},
      {raw("\x01", 1), "[]"},
      {raw("\x00", 1), "[]"},
      {raw("\x01\x00\x00\xff\xff", 5), "[]"},  // whole by itself
      {raw("\x00\x00\x00\xff\xff", 5), kCut},  // its end was not cut off (s7.2.1)
      {raw("\x00\x00\x00\xff\xff\x00", 6), "[]"},
      {raw("\x00\x05\x00\xfa\xff\x48", 6), kCut},  // the four bytes would be the rest of its data
      {raw("\x01\x05\x00\xfa\xff\x48", 6), kCut},
      {raw("\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f", 10), kCut},
      {raw("\x01\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f", 10), "[Hello]"},
      {raw("\x04", 1), kCut},  // a block with codes of its own
      {raw("\x07", 1), kCut},  // a kind of block that there is not
  };
  for (const auto& row : rows) EXPECT_EQ(read_payload(row.payload), row.result) << shown(row.payload);
  // What was before is still referred to, in the same message and in the next.
  const std::string again = raw("\xf2\x00\x11\x00\x00", 5);
  for (const std::string& first : {last, block, block + raw("\x01", 1)})
    EXPECT_EQ(read(frame(0xc2, first, false) + frame(0xc2, again, false) + frame(0xc2, "", false)), "[Hello][Hello][]");
  EXPECT_EQ(read_payload(block + again), "[HelloHello]");
}

/// What raw DEFLATE blocks, all of them, stand for; nothing if they are not whole.
std::optional<std::string> plain_blocks(std::string_view bytes) {
  std::string blocks(bytes);
  blocks += raw("\x03\x00", 2);  // an empty last block
  z_stream z{};
  EXPECT_EQ(::inflateInit2(&z, -15), Z_OK);
  std::string out(2000, '\0');
  z.next_in = reinterpret_cast<Bytef*>(blocks.data());
  z.avail_in = static_cast<uInt>(blocks.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  const bool whole = ::inflate(&z, Z_FINISH) == Z_STREAM_END && z.avail_in == 0;
  out.resize(out.size() - z.avail_out);
  ::inflateEnd(&z);
  return whole ? std::optional(out) : std::nullopt;
}

// By definition: the bytes and the four are whole blocks, and the four are an empty block's lengths, for other lengths in their place
// are another block's.
TEST(WsDeflate, by_definition_for_messages_of_chance) {
  std::mt19937 random(5);
  const std::string seeds[] = {raw("\xf2\x48\xcd\xc9\xc9\x07\x00", 7),
                               raw("\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", 11),
                               raw("\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", 13), ""};
  int whole = 0;
  int faults = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string payload = seeds[random() % 4];
    for (auto n = random() % 12; n != 0; --n) {
      const std::size_t at = random() % (payload.size() + 1);
      if (random() % 3 == 0) payload.insert(at, 1, static_cast<char>(random() % 2 == 0 ? 0 : random()));
      if (at < payload.size() && random() % 3 == 0) payload[at] = static_cast<char>(random());
      if (at < payload.size() && random() % 3 == 0) payload.erase(at, 1);
    }
    const std::optional<std::string> ends = plain_blocks(payload + raw("\x00\x00\xff\xff", 4));
    const std::optional<std::string> other = plain_blocks(payload + raw("\x01\x00\xfe\xffX", 5));
    const bool right = ends && other && *other == *ends + "X";
    const std::string got = read_payload(payload);
    if (right) {
      EXPECT_TRUE(got == "[" + *ends + "]") << got;
      ++whole;
    } else if (got.starts_with("1007")) {
      ++faults;
    } else {
      // Nothing at all; or a block said that it is the last one, which the definition above does not know of.
      EXPECT_TRUE(got.starts_with("[")) << got;
      EXPECT_TRUE(payload.empty() || !plain_blocks(payload));
    }
  }
  EXPECT_GT(whole, 1000);
  EXPECT_GT(faults, 1000);
}

// ---- piece by piece ----

TEST(WsDeflate, a_message_is_the_same_in_pieces_of_any_size) {
  std::string text;
  for (int i = 0; i < 40; ++i) text += "caf\xc3\xa9 \xe2\x82\xac " + std::to_string(i * i);
  Deflater deflater(15, 6, true);
  std::string squeezed;
  ASSERT_TRUE(deflater.take(text, true, squeezed));
  squeezed.resize(squeezed.size() - 4);
  const std::string last = raw("\xf3\x48\xcd\xc9\xc9\x07\x00", 7);
  const std::string wires[] = {
      frame(0x81, text, false) + frame(0x82, "", false),
      frame(0x01, text.substr(0, 100), false) + frame(0x89, "", false) + frame(0x00, "", false) +
          frame(0x80, text.substr(100), false),
      frame(0xc1, squeezed, false) + frame(0xc1, last + last, false) + frame(0xc2, "", false),
      frame(0x41, squeezed.substr(0, 9), false) + frame(0x89, "", false) + frame(0x80, squeezed.substr(9), false),
      frame(0xc1, squeezed.substr(0, 100), false),
      frame(0x81, text + "\xff", false),
  };
  for (const std::string& wire : wires) {
    const std::string whole = read(wire);
    for (const std::size_t room : {1U, 2U, 7U, 64U, 4096U, 100'000U}) {
      for (std::size_t cut = 0; cut < wire.size(); cut += 1 + room / 3)
        EXPECT_TRUE(read(wire, cut, room) == whole) << room;
    }
  }
}

TEST(WsDeflate, a_few_bytes_that_stand_for_many_are_given_as_there_is_room) {
  Deflater deflater(15, 9, true);
  std::string squeezed;
  ASSERT_TRUE(deflater.take(std::string(5'000'000, 'a'), true, squeezed));
  squeezed.resize(squeezed.size() - 4);
  MessageReader::Limits limits{.max_message = 5'000'000, .max_frame = 1 << 20, .max_fragments = 1};
  for (const bool fits : {true, false}) {
    const std::string wire = frame(0xc2, squeezed, false);
    std::string_view in = wire;
    MessageReader reader(Role::kClient, limits, Agreed{});
    std::size_t size = 0;
    Event event = Event::kMore;
    while (event == Event::kMore || event == Event::kData) {
      event = reader.step(in, 1000);
      std::array<char, 1000> some;
      const std::size_t n = reader.take_some(some);
      EXPECT_TRUE(std::string_view(some.data(), n).find_first_not_of('a') == std::string_view::npos);
      size += n;
    }
    EXPECT_EQ(event, fits ? Event::kMessage : Event::kFault);
    EXPECT_LE(size, limits.max_message);
    if (fits) {
      EXPECT_EQ(size, 5'000'000U);
      EXPECT_TRUE(in.empty());
      limits.max_message -= 1;
    }
  }
}

TEST(WsDeflate, the_largest_limits_there_are_overflow_nowhere) {
  constexpr auto kMost = static_cast<std::size_t>(-1);
  const MessageReader::Limits none{.max_message = kMost, .max_frame = kMost, .max_fragments = kMost};
  const std::string hello = raw("\xf2\x48\xcd\xc9\xc9\x07\x00", 7);
  EXPECT_EQ(read(frame(0xc1, hello, false) + frame(0x81, "plain", false), 0, MessageReader::kWhole, none),
            "[Hello][plain]");
}

}  // namespace
}  // namespace heddle::http::ws::test
