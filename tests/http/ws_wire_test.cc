// What breaks a WebSocket, and what does not: tables of frames that come, what read() says, and what is sent. Each in both roles,
// whole, and split at every byte. The cases follow those of the Autobahn test suite, whose numbers stand beside them.
#include <random>

#include "ws_test_util.h"

namespace heddle::http::ws::test {
namespace {

struct Case {
  const char* name;
  std::vector<Raw> frames;
  std::string told;
};

Options small() {
  Options options;
  options.max_message = 1000;
  options.max_frame = 800;
  options.max_fragments = 5;
  options.ping_interval = 0s;
  options.idle_timeout = 0s;
  return options;
}

// Every split of the bytes into two; and one byte after the other.
void expect_told(const Case& c, const Options& options = small(), const std::optional<Agreed>& deflate = {}) {
  for (const Role role : {Role::kServer, Role::kClient}) {
    const std::string wire = frames_to(role, c.frames);
    const std::string_view all(wire);
    const std::string who = std::string(c.name) + (role == Role::kServer ? ", server" : ", client");
    EXPECT_EQ(talk(role, {all}, options, deflate), c.told) << who;
    const std::size_t step = all.size() > 300 ? 37 : 1;
    for (std::size_t at = 1; at < all.size(); at += step) {
      ASSERT_EQ(talk(role, {all.substr(0, at), all.substr(at)}, options, deflate), c.told)
          << who << ", split at " << at;
    }
    if (all.size() > 300) continue;
    std::vector<std::string_view> single;
    for (std::size_t at = 0; at < all.size(); ++at) single.push_back(all.substr(at, 1));
    EXPECT_EQ(talk(role, single, options, deflate), c.told) << who << ", byte by byte";
  }
}

void expect_all(const std::vector<Case>& cases, const Options& options = small(),
                const std::optional<Agreed>& deflate = {}) {
  heddle::test::run(
      [&] {
        for (const Case& c : cases) expect_told(c, options, deflate);
      },
      {.most_steps = 1'000'000'000});
}

const std::string kReset = "connection reset";
const std::string kBroken = "protocol error -> close(1002 ";

TEST(WsWire, messages_of_every_length_encoding) {  // 1.*
  expect_all({{"empty text", {{0x81}}, "text() " + kReset + " -> "},
              {"empty binary", {{0x82}}, "bin() " + kReset + " -> "},
              {"text", {{0x81, "Hello"}}, "text(Hello) " + kReset + " -> "},
              {"125", {{0x82, std::string(125, 'x')}}, "bin(size 125) " + kReset + " -> "},
              {"126", {{0x82, std::string(126, 'x')}}, "bin(size 126) " + kReset + " -> "},
              {"two", {{0x81, "a"}, {0x82, "b"}}, "text(a) bin(b) " + kReset + " -> "}});
}

TEST(WsWire, pings_are_answered_and_pongs_are_not) {  // 2.*
  expect_all(
      {{"empty", {{0x89}}, kReset + " -> pong()"},
       {"payload", {{0x89, "Hi\xff\xfe"}}, kReset + " -> pong(Hi\xff\xfe)"},
       {"longest", {{0x89, std::string(125, 'p')}}, kReset + " -> pong(size 125)"},
       {"too long", {{0x89, std::string(126, 'p')}}, kBroken + "control frame too long)"},
       {"pong", {{0x8a}, {0x8a, "x"}, {0x81, "a"}}, "text(a) " + kReset + " -> "},
       {"in order", {{0x89, "1"}, {0x89, "2"}, {0x8a, "x"}, {0x89, "3"}}, kReset + " -> pong(1) pong(2) pong(3)"}});
}

TEST(WsWire, reserved_bits_and_opcodes_fail) {  // 3.*, 4.*
  std::vector<Case> cases;
  for (const int bits : {0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70}) {
    for (const int first : {0x81, 0x82, 0x88, 0x89, 0x8a}) {
      cases.push_back({"reserved bit", {{0x81, "a"}, {first | bits}}, "text(a) " + kBroken + "reserved bit)"});
    }
  }
  for (const int opcode : {3, 4, 5, 6, 7, 11, 12, 13, 14, 15}) {
    cases.push_back({"opcode", {{0x89}, {0x80 | opcode, "x"}}, "protocol error -> pong() close(1002 unknown opcode)"});
  }
  expect_all(cases);
}

TEST(WsWire, fragments_make_a_message_and_control_frames_stand_between) {  // 5.*
  expect_all({{"fragmented ping", {{0x09, "a"}, {0x80, "b"}}, kBroken + "fragmented control frame)"},
              {"fragmented pong", {{0x0a, "a"}, {0x80, "b"}}, kBroken + "fragmented control frame)"},
              {"fragmented close", {{0x08}}, kBroken + "fragmented control frame)"},
              {"two", {{0x01, "ab"}, {0x80, "cd"}}, "text(abcd) " + kReset + " -> "},
              {"empty ones", {{0x01}, {0x00}, {0x80}}, "text() " + kReset + " -> "},
              {"ping between", {{0x02, "ab"}, {0x89, "p"}, {0x80, "cd"}}, "bin(abcd) " + kReset + " -> pong(p)"},
              {"many",
               {{0x01, "a"}, {0x89, "1"}, {0x00, "b"}, {0x89, "2"}, {0x80, "c"}},
               "text(abc) " + kReset + " -> pong(1) pong(2)"},
              {"nothing to go on with", {{0x80, "x"}}, kBroken + "continuation of nothing)"},
              {"nothing to go on with, not the last", {{0x00, "x"}}, kBroken + "continuation of nothing)"},
              {"after a whole one", {{0x81, "a"}, {0x80, "x"}}, "text(a) " + kBroken + "continuation of nothing)"},
              {"within another", {{0x01, "a"}, {0x81, "b"}}, kBroken + "a message within a message)"},
              {"within another, binary", {{0x01, "a"}, {0x02, "b"}}, kBroken + "a message within a message)"},
              {"close between", {{0x01, "a"}, {0x88, close_of(1000)}}, "end of stream 1000 -> close(1000)"}});
}

TEST(WsWire, text_is_utf8_or_fails_at_the_first_bad_byte) {  // 6.*
  const std::vector<std::string> good = {"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5",
                                         std::string(1, '\0'),
                                         "\xc2\x80",
                                         "\xdf\xbf",
                                         "\xe0\xa0\x80",
                                         "\xef\xbf\xbf",
                                         "\xed\x9f\xbf",
                                         "\xee\x80\x80",
                                         "\xf0\x90\x80\x80",
                                         "\xf4\x8f\xbf\xbf",
                                         "abcdefgh\xf0\x9f\x8e\x89 12345678"};
  const std::vector<std::string> bad = {"\x80",
                                        "\xbf",
                                        "\xc0\x80",
                                        "\xc1\xbf",
                                        "\xe0\x80\x80",
                                        "\xe0\x9f\xbf",
                                        "\xf0\x80\x80\x80",
                                        "\xf0\x8f\xbf\xbf",
                                        "\xed\xa0\x80",
                                        "\xed\xbf\xbf",
                                        "\xf4\x90\x80\x80",
                                        "\xf5\x80\x80\x80",
                                        "\xf8\x88\x80\x80\x80",
                                        "\xfe",
                                        "\xff",
                                        "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80zz",
                                        "\xc2 ",
                                        "\xe1\x80 ",
                                        "abcdefgh\x80"};
  std::vector<Case> cases;
  for (const std::string& text : good) {
    cases.push_back({"good", {{0x81, text}}, "text(" + text + ") " + kReset + " -> "});
    cases.push_back({"good, as binary", {{0x82, text}}, "bin(" + text + ") " + kReset + " -> "});
    const std::size_t half = text.size() / 2;
    cases.push_back({"good, fragmented, with a ping in the middle of a code point",
                     {{0x01, text.substr(0, half)}, {0x89}, {0x80, text.substr(half)}},
                     "text(" + text + ") " + kReset + " -> pong()"});
  }
  for (const std::string& text : bad) {
    cases.push_back({"bad", {{0x81, text}}, "protocol error -> close(1007 not UTF-8)"});
    cases.push_back({"bad as text alone", {{0x82, text}}, "bin(" + text + ") " + kReset + " -> "});
    cases.push_back({"bad, and more to come", {{0x01, text}, {0x89}}, "protocol error -> close(1007 not UTF-8)"});
  }
  for (const char* begun : {"\xce", "\xe1\xbd", "\xf0\x9f\x8e"}) {
    cases.push_back({"only begun", {{0x81, begun}}, "protocol error -> close(1007 not UTF-8)"});
    cases.push_back({"only begun, in fragments", {{0x01, begun}, {0x80}}, "protocol error -> close(1007 not UTF-8)"});
  }
  expect_all(cases);
}

// The frame has not come as a whole, and nothing more comes: the bad byte is enough.
TEST(WsWire, bad_text_fails_before_its_frame_has_ended) {  // 6.4.*
  heddle::test::run([] {
    for (const Role role : {Role::kServer, Role::kClient}) {
      const std::string wire = frames_to(role, {{0x81, "\xce\xba\xf4\x90\x80\x80 and so on"}});
      const std::size_t head = role == Role::kServer ? 6 : 2;
      auto [near, far] = net::memory_pair();
      const auto engine = engine_on(near, role, small());
      ASSERT_TRUE(far.write(bytes(wire).first(head + 4)));
      EXPECT_EQ(said(engine->read({})), "protocol error");
      static_cast<void>(near);
    }
  });
}

TEST(WsWire, a_close_is_answered_once_and_nothing_follows_it) {  // 7.1.*, 7.3.*, 7.5.*
  const std::string longest(123, 'r');
  expect_all({{"no code", {{0x88}}, "end of stream 1005 -> close()"},
              {"code", {{0x88, close_of(1000)}}, "end of stream 1000 -> close(1000)"},
              {"reason", {{0x88, close_of(1001, "bye")}}, "end of stream 1001 bye -> close(1001)"},
              {"longest reason", {{0x88, close_of(1000, longest)}}, "end of stream 1000 size 123 -> close(1000)"},
              {"too long", {{0x88, close_of(1000, longest + "r")}}, kBroken + "control frame too long)"},
              {"one byte", {{0x88, "x"}}, kBroken + "close frame)"},
              {"bad reason", {{0x88, close_of(1000, "\xed\xa0\x80")}}, "protocol error -> close(1007 close frame)"},
              {"begun reason", {{0x88, close_of(1000, "\xce")}}, "protocol error -> close(1007 close frame)"},
              {"twice", {{0x88, close_of(1000)}, {0x88, close_of(1002)}}, "end of stream 1000 -> close(1000)"},
              {"ping behind", {{0x88, close_of(1000)}, {0x89, "x"}}, "end of stream 1000 -> close(1000)"},
              {"text behind", {{0x88}, {0x81, "x"}}, "end of stream 1005 -> close()"},
              {"garbage behind", {{0x88}, {0xff, "x"}}, "end of stream 1005 -> close()"},
              {"text before", {{0x81, "x"}, {0x88}}, "text(x) end of stream 1005 -> close()"}});
}

TEST(WsWire, close_codes_that_must_not_be_sent_fail) {  // 7.7.*, 7.9.*, 7.13.*
  std::vector<Case> cases;
  for (const int code :
       {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999}) {
    const std::string text = std::to_string(code);
    cases.push_back({"good", {{0x88, close_of(code)}}, "end of stream " + text + " -> close(" + text + ")"});
  }
  for (const int code : {0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535}) {
    cases.push_back({"bad", {{0x88, close_of(code)}}, kBroken + "close frame)"});
  }
  expect_all(cases);
}

TEST(WsWire, limits_are_of_frames_messages_and_fragments) {
  const auto of = [](std::size_t n) { return std::string(n, 'x'); };
  const std::string large = "limit reached -> close(1009 ";
  expect_all({{"largest frame", {{0x82, of(800)}}, "bin(size 800) " + kReset + " -> "},
              {"frame", {{0x82, of(801)}}, large + "frame too large)"},
              {"largest message", {{0x02, of(600)}, {0x80, of(400)}}, "bin(size 1000) " + kReset + " -> "},
              {"message", {{0x02, of(600)}, {0x80, of(401)}}, large + "message too large)"},
              {"most fragments", {{0x02, "a"}, {0x00}, {0x00}, {0x00}, {0x80, "b"}}, "bin(ab) " + kReset + " -> "},
              {"fragments", {{0x02}, {0x00}, {0x00}, {0x00}, {0x00}, {0x00}}, large + "too many fragments)"}});
}

// By the head alone: no byte of what it promises has come.
TEST(WsWire, a_head_that_promises_too_much_fails_at_once) {
  heddle::test::run([] {
    struct {
      const char* head;
      std::size_t size;
      const char* told;
    } const cases[] = {
        {"\x82\xff\x00\x00\x00\x00\x40\x00\x00\x00\x00\x00\x00\x00", 14,
         "limit reached -> close(1009 frame too large)"},
        {"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00", 14,
         "limit reached -> close(1009 frame too large)"},
        {"\x82\xff\x80", 3, "protocol error -> close(1002 length beyond 63 bits)"},
        {"\x82\xff\x00\x00\x00\x00\x00\x00\xff\xff", 10, "protocol error -> close(1002 length not minimal)"},
        {"\x82\xfe\x00\x7d", 4, "protocol error -> close(1002 length not minimal)"},
        {"\x89\xfe", 2, "protocol error -> close(1002 control frame too long)"},
        {"\x89\xff", 2, "protocol error -> close(1002 control frame too long)"},
        {"\x82\x00", 2, "protocol error -> close(1002 frame without mask)"},
        {"\x09", 1, "protocol error -> close(1002 fragmented control frame)"},
        {"\x91", 1, "protocol error -> close(1002 reserved bit)"},
        {"\x83", 1, "protocol error -> close(1002 unknown opcode)"},
    };
    for (const auto& c : cases) {
      const std::string_view head(c.head, c.size);
      for (std::size_t at = 0; at < c.size; ++at) {
        EXPECT_EQ(talk(Role::kServer, {head.substr(0, at), head.substr(at)}, small()), c.told);
      }
    }
    EXPECT_EQ(talk(Role::kClient, {std::string_view("\x82\x81", 2)}, small()),
              "protocol error -> close(1002 frame with mask)");
  });
}

TEST(WsWire, a_stream_that_ends_without_a_close_is_a_reset) {
  heddle::test::run([] {
    const std::string wire = frames_to(Role::kServer, {{0x81, "whole"}, {0x82, "in the middle"}});
    for (std::size_t at = 11; at < wire.size(); ++at) {
      EXPECT_EQ(talk(Role::kServer, {std::string_view(wire).substr(0, at)}), "text(whole) connection reset -> ");
    }
  });
}

// RFC 7692 s7.2.3: the examples.
TEST(WsWire, compressed_messages_of_the_rfc) {  // 12.*, 13.*
  const auto raw = [](const char* text, std::size_t size) { return std::string(text, size); };
  const std::string hello = raw("\xf2\x48\xcd\xc9\xc9\x07\x00", 7);
  const std::string again = raw("\xf2\x00\x11\x00\x00", 5);
  const std::string told = "text(Hello) " + kReset + " -> ";
  const std::vector<Case> both = {
      {"one block", {{0xc1, hello}}, told},
      {"fragments",
       {{0x41, hello.substr(0, 3)}, {0x89}, {0x80, hello.substr(3)}},
       "text(Hello) " + kReset + " -> pong()"},
      {"stored", {{0xc1, raw("\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", 11)}}, told},
      {"a last block", {{0xc1, raw("\xf3\x48\xcd\xc9\xc9\x07\x00\x00", 8)}}, told},
      {"two blocks", {{0xc1, raw("\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", 13)}}, told},
      {"empty", {{0xc1, raw("\x00", 1)}}, "text() " + kReset + " -> "},
      {"as it is", {{0x81, "Hello"}}, told},
      {"the bit in a fragment", {{0x41, hello}, {0xc0}}, kBroken + "reserved bit)"},
      {"the bit in a ping", {{0xc9}}, kBroken + "reserved bit)"},
      {"other bits", {{0xa1, hello}}, kBroken + "reserved bit)"},
      {"garbage", {{0xc1, "\xff\xff\xff"}}, "protocol error -> close(1007 not DEFLATE)"}};
  Agreed agreed;
  expect_all(both, small(), agreed);
  expect_all({{"shared window", {{0xc1, hello}, {0xc1, again}}, "text(Hello) text(Hello) " + kReset + " -> "}}, small(),
             agreed);
  agreed.peer_takeover = false;
  expect_all(both, small(), agreed);
  expect_all(
      {{"nothing shared", {{0xc1, hello}, {0xc1, again}}, "text(Hello) protocol error -> close(1007 not DEFLATE)"}},
      small(), agreed);
}

TEST(WsWire, what_a_small_message_stands_for_is_limited_and_checked) {
  const auto squeezed = [](std::string_view text) {
    std::string out;
    EXPECT_TRUE(Deflater(15, 9, false).take(text, true, out));
    return out.substr(0, out.size() - 4);
  };
  Options options = small();
  const std::string large = "limit reached -> close(1009 message too large)";
  expect_all({{"most", {{0xc2, squeezed(std::string(1000, 'a'))}}, "bin(size 1000) " + kReset + " -> "},
              {"one more", {{0xc2, squeezed(std::string(1001, 'a'))}}, large},
              {"a bomb", {{0xc2, squeezed(std::string(500'000, 'a'))}}, large},
              {"bad text", {{0xc1, squeezed("caf\xe9 and so on")}}, "protocol error -> close(1007 not UTF-8)"},
              {"begun text", {{0xc1, squeezed("caf\xc3")}}, "protocol error -> close(1007 not UTF-8)"}},
             options, Agreed{});
}

// One piece of what a message stands for may have more than one thing wrong: which one is told must not hang on the reads.
TEST(WsWire, of_two_faults_in_a_compressed_message_the_first_is_told) {
  const auto squeezed = [](const std::string& text, std::string_view behind) {
    std::string out;
    EXPECT_TRUE(Deflater(15, 9, false).take(text, true, out));
    return out.replace(out.size() - 4, 4, behind);
  };
  const std::string most(1000, 'a');
  const std::string garbage = "\xff\xff\xff\xff";
  const std::string large = "limit reached -> close(1009 message too large)";
  const std::string bad_text = "protocol error -> close(1007 not UTF-8)";
  expect_all({{"too much, garbage", {{0xc1, squeezed(most + "a", garbage)}}, large},
              {"too much, bad text", {{0xc1, squeezed(most + "\xff", "")}}, large},
              {"bad text, too much", {{0xc1, squeezed("\xff" + most, "")}}, bad_text},
              {"bad text, garbage", {{0xc1, squeezed("a\xff", garbage)}}, bad_text},
              {"garbage", {{0xc1, squeezed(most, garbage)}}, "protocol error -> close(1007 not DEFLATE)"}},
             small(), Agreed{});
}

// Bytes of chance, with heads that are mostly right: an end always comes, and what is sent is well-formed, a Close at most once, as
// its last.
TEST(WsWire, garbage_is_answered_by_one_close_or_by_none) {
  std::mt19937 random(11);
  heddle::test::run(
      [&] {
        for (int round = 0; round < 2000; ++round) {
          const Role role = round % 2 == 0 ? Role::kServer : Role::kClient;
          std::string wire;
          for (auto n = random() % 6; n != 0; --n) {
            constexpr int kFirst[] = {0x81, 0x82, 0x01, 0x00, 0x80, 0x89, 0x8a, 0x88, 0xc1};
            std::string payload(random() % 30, 'a');
            if (random() % 3 == 0) payload += static_cast<char>(random());
            wire += frame(kFirst[random() % 9], payload, role == Role::kServer);
            if (random() % 3 == 0) wire[random() % wire.size()] = static_cast<char>(random());
          }
          const std::string told =
              talk(role, {wire}, small(), random() % 2 == 0 ? std::optional(Agreed{}) : std::nullopt);
          for (const char* wrong : {"WRONG", "LENGTH", "CUT", "?(", "RSV"})
            EXPECT_EQ(told.find(wrong), std::string::npos) << told;
          const std::size_t close = told.find(" close(", told.find(" -> "));
          EXPECT_TRUE(close == std::string::npos || told.find(')', close) + 1 == told.size()) << told;
        }
      },
      {.most_steps = 1'000'000'000});
}

}  // namespace
}  // namespace heddle::http::ws::test
