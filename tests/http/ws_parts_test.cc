// The parts of a WebSocket that know no connection: digest and keys, text, masks, compression, negotiation.
#include <heddle/http/base64.h>
#include <heddle/http/internal/sha1.h>
#include <heddle/http/internal/ws_extension.h>
#include <heddle/http/internal/ws_key.h>
#include <heddle/http/internal/ws_utf8.h>

#include <random>
#include <set>

#include "ws_test_util.h"

namespace heddle::http::ws::test {
namespace {

std::string hex(std::string_view bytes_of) {
  std::string out;
  for (const char c : bytes_of) {
    constexpr const char* kDigits = "0123456789abcdef";
    out += kDigits[static_cast<unsigned char>(c) >> 4];
    out += kDigits[static_cast<unsigned char>(c) & 15];
  }
  return out;
}

TEST(WsParts, sha1_of_rfc_3174) {
  EXPECT_EQ(hex(sha1("abc")), "a9993e364706816aba3e25717850c26c9cd0d89d");
  EXPECT_EQ(hex(sha1("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")),
            "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
  EXPECT_EQ(hex(sha1(std::string(1'000'000, 'a'))), "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
  std::string ten;
  for (int i = 0; i < 80; ++i) ten += "01234567";
  EXPECT_EQ(hex(sha1(ten)), "dea356a2cddd90c7a7ecedc5ebb563934f460452");
  EXPECT_EQ(hex(sha1("")), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
  EXPECT_EQ(hex(sha1(std::string(55, 'x'))).size(), 40u);  // the padding fits just so, and just not
  EXPECT_NE(sha1(std::string(55, 'x')), sha1(std::string(56, 'x')));
}

TEST(WsParts, accept_key_of_rfc_6455) {
  EXPECT_EQ(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
  EXPECT_TRUE(is_key("dGhlIHNhbXBsZSBub25jZQ=="));
  for (const char* bad :
       {"", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25j", "dGhlIHNhbXBsZSBub25jZSE=", "****", "x"}) {
    EXPECT_FALSE(is_key(bad)) << bad;
  }
  std::set<std::string> keys;
  for (int i = 0; i < 20; ++i) {
    keys.insert(make_key());
    EXPECT_TRUE(is_key(*keys.rbegin()));
  }
  EXPECT_EQ(keys.size(), 20u);
}

// Against the plain definition: decode, and look at the number.
bool plainly_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto at = [&](std::size_t k) { return i + k < text.size() ? static_cast<unsigned char>(text[i + k]) : 0u; };
    const unsigned lead = at(0);
    const std::size_t n = lead < 0x80 ? 1 : lead >> 5 == 6 ? 2 : lead >> 4 == 14 ? 3 : lead >> 3 == 30 ? 4 : 0;
    if (n == 0 || i + n > text.size()) return false;
    std::uint32_t value = n == 1 ? lead : lead & (0x7fu >> n);
    for (std::size_t k = 1; k < n; ++k) {
      if (at(k) >> 6 != 2) return false;
      value = value << 6 | (at(k) & 63);
    }
    constexpr std::uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
    if (value < kLeast[n] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) return false;
    i += n;
  }
  return true;
}

TEST(WsParts, utf8_by_definition_for_all_of_two_and_many_of_four_bytes) {
  for (unsigned a = 0; a < 65536; ++a) {
    const char two[] = {static_cast<char>(a >> 8), static_cast<char>(a)};
    ASSERT_EQ(is_utf8({two, 2}), plainly_utf8({two, 2})) << a;
  }
  constexpr unsigned char kEdges[] = {0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf,
                                      0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff};
  for (const auto a : kEdges)
    for (const auto b : kEdges)
      for (const auto c : kEdges)
        for (const auto d : kEdges) {
          const char four[] = {static_cast<char>(a), static_cast<char>(b), static_cast<char>(c), static_cast<char>(d)};
          ASSERT_EQ(is_utf8({four, 4}), plainly_utf8({four, 4})) << hex({four, 4});
          Utf8Check split;
          ASSERT_EQ(split.take({four, 2}) && split.take({four + 2, 2}) && split.whole(), plainly_utf8({four, 4}));
        }
}

TEST(WsParts, a_mask_is_the_same_however_it_is_cut) {
  const Mask mask = {0x37, 0xfa, 0x21, 0x3d};
  std::string text(67, '\0');
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 7);
  std::string wanted = text;
  for (std::size_t i = 0; i < text.size(); ++i) wanted[i] = static_cast<char>(text[i] ^ static_cast<char>(mask[i % 4]));
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    std::string cut_up = text;
    apply_mask(std::span(cut_up).first(cut), mask, 0);
    apply_mask(std::span(cut_up).subspan(cut), mask, cut);
    EXPECT_EQ(cut_up, wanted);
  }
}

TEST(WsParts, heads_are_read_as_they_are_written) {
  for (const std::uint64_t length : {0ull, 1ull, 125ull, 126ull, 65535ull, 65536ull, (1ull << 63) - 1}) {
    for (const Role role : {Role::kServer, Role::kClient}) {
      std::array<char, kMaxFrameHead> to;
      const FrameHead head{.opcode = Opcode::kBinary,
                           .fin = false,
                           .rsv1 = true,
                           .masked = role == Role::kServer,
                           .mask = {1, 2, 3, 4},
                           .length = length};
      const std::size_t size = put_head(head, to);
      FrameHead read;
      for (std::size_t n = 0; n < size; ++n) {
        const HeadRead part = read_head({to.data(), n}, role, true, read);
        EXPECT_TRUE(part.size == 0 && part.broken == nullptr) << length << ' ' << n;
      }
      EXPECT_EQ(read_head({to.data(), size}, role, true, read).size, size);
      EXPECT_TRUE(read.length == length && !read.fin && read.rsv1 && read.opcode == Opcode::kBinary);
    }
  }
}

// Texts of all kinds, one message after the other, through both ends.
TEST(WsParts, what_is_deflated_is_inflated) {
  std::mt19937 random(7);
  for (const int bits : {9, 12, 15}) {
    for (const bool takeover : {false, true}) {
      Deflater deflater(bits, 6, takeover);
      Inflater inflater(bits, takeover);
      for (const std::size_t size : {1u, 5u, 300u, 4096u, 70'000u, 300u}) {
        std::string text(size, '\0');
        for (char& c : text) c = static_cast<char>(size == 4096u ? random() : 'a' + random() % 3);
        std::string wire;
        for (std::size_t at = 0; at < size; at += 30'000) {
          ASSERT_TRUE(deflater.take(std::string_view(text).substr(at, 30'000), at + 30'000 >= size, wire));
        }
        ASSERT_EQ(hex(wire.substr(wire.size() - 4)), "0000ffff");
        wire.resize(wire.size() - 4);
        std::string back;
        const auto any = [](void*, std::string_view) { return true; };
        for (std::size_t at = 0; at < wire.size(); at += 1000) {
          std::string_view piece = std::string_view(wire).substr(at, 1000);
          ASSERT_EQ(inflater.take(piece, size + 1, size - back.size(), back, any, nullptr), Inflater::Status::kOk);
          ASSERT_TRUE(piece.empty());
        }
        ASSERT_EQ(inflater.finish(), Inflater::Status::kOk);
        EXPECT_TRUE(back == text) << bits << ' ' << size;
        EXPECT_EQ(deflater.holds_memory(), takeover);
        EXPECT_EQ(inflater.holds_memory(), takeover);
      }
    }
  }
}

std::string agreed_text(const Agreed& a) {
  return std::string(a.own_takeover ? "own " : "") + (a.peer_takeover ? "peer " : "") + std::to_string(a.own_bits) +
         "/" + std::to_string(a.peer_bits);
}

std::string answered(std::string_view offers, const Compression& options) {
  const Result<std::optional<Answer>> answer = answer_offers(offers, options);
  if (!answer) return to_string(answer.error().code);
  if (!*answer) return "none";
  return (*answer)->field + " = " + agreed_text((*answer)->agreed);
}

TEST(WsParts, offers_are_answered) {
  Compression on;
  on.enabled = true;
  const std::pair<const char*, const char*> cases[] = {
      {"", "none"},
      {"permessage-deflate", "permessage-deflate = own peer 15/15"},
      {"Permessage-Deflate", "permessage-deflate = own peer 15/15"},
      {" , permessage-deflate ,", "permessage-deflate = own peer 15/15"},
      {"permessage-deflate; client_max_window_bits", "permessage-deflate = own peer 15/15"},
      {"permessage-deflate; client_max_window_bits=10",
       "permessage-deflate; client_max_window_bits=10 = own peer 15/10"},
      {"permessage-deflate; server_max_window_bits=9", "permessage-deflate; server_max_window_bits=9 = own peer 9/15"},
      {"permessage-deflate; server_max_window_bits=8", "permessage-deflate; server_max_window_bits=8 = own peer 8/15"},
      {"permessage-deflate; server_max_window_bits=\"12\"",
       "permessage-deflate; server_max_window_bits=12 = own peer 12/15"},
      {"permessage-deflate; server_no_context_takeover", "permessage-deflate; server_no_context_takeover = peer 15/15"},
      {"permessage-deflate; client_no_context_takeover", "permessage-deflate; client_no_context_takeover = own 15/15"},
      {"permessage-deflate; server_max_window_bits=7", "none"},
      {"permessage-deflate; server_max_window_bits=16", "none"},
      {"permessage-deflate; server_max_window_bits=010", "none"},
      {"permessage-deflate; server_max_window_bits=1x", "none"},
      {"permessage-deflate; server_max_window_bits", "none"},
      {"permessage-deflate; client_max_window_bits=99", "none"},
      {"permessage-deflate; server_no_context_takeover=1", "none"},
      {"permessage-deflate; unknown", "none"},
      {"permessage-deflate; server_no_context_takeover; server_no_context_takeover", "none"},
      {"permessage-deflate; client_max_window_bits; client_max_window_bits=9", "none"},
      {"permessage-deflate; unknown, permessage-deflate; client_no_context_takeover",
       "permessage-deflate; client_no_context_takeover = own 15/15"},
      {"x-webkit-deflate-frame, permessage-deflate", "permessage-deflate = own peer 15/15"},
      {"permessage-bzip2; a=\"b\"; c", "none"},
      {"permessage-deflate;", "protocol error"},
      {"permessage-deflate; a=", "protocol error"},
      {"permessage-deflate; a=\"b", "protocol error"},
      {"permessage-deflate; a=\"b c\"", "protocol error"},
      {"permessage deflate", "protocol error"},
      {"(", "protocol error"},
      {"=1", "protocol error"},
  };
  for (const auto& [offers, answer] : cases) EXPECT_EQ(answered(offers, on), answer) << offers;
  EXPECT_EQ(answered("permessage-deflate", {}), "none");
  Compression tight = on;
  tight.own_takeover = tight.peer_takeover = false;
  tight.own_window_bits = 10;
  tight.peer_window_bits = 11;
  EXPECT_EQ(answered("permessage-deflate; client_max_window_bits", tight),
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=10; "
            "client_max_window_bits=11 = 10/11");
  EXPECT_EQ(
      answered("permessage-deflate", tight),
      "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=10 = 10/15");
}

std::string understood(std::string_view answer, const Compression& options) {
  const Result<std::optional<Agreed>> agreed = read_answer(answer, options);
  if (!agreed) return to_string(agreed.error().code);
  return *agreed ? agreed_text(**agreed) : "none";
}

TEST(WsParts, answers_are_held_to_the_offer) {
  Compression on;
  on.enabled = true;
  EXPECT_EQ(make_offer(on), "permessage-deflate; client_max_window_bits");
  const std::pair<const char*, const char*> cases[] = {
      {"", "none"},
      {"permessage-deflate", "own peer 15/15"},
      {"permessage-deflate; server_no_context_takeover", "own 15/15"},
      {"permessage-deflate; client_no_context_takeover", "peer 15/15"},
      {"permessage-deflate; server_max_window_bits=10; client_max_window_bits=9", "own peer 9/10"},
      {"permessage-deflate; client_max_window_bits=8", "own peer 8/15"},
      {"permessage-deflate; client_max_window_bits", "protocol error"},
      {"permessage-deflate; unknown", "protocol error"},
      {"permessage-deflate; server_max_window_bits=10; server_max_window_bits=10", "protocol error"},
      {"permessage-deflate, permessage-deflate", "protocol error"},
      {"x-other", "protocol error"},
      {"permessage-deflate; =", "protocol error"},
  };
  for (const auto& [answer, said_so] : cases) EXPECT_EQ(understood(answer, on), said_so) << answer;
  EXPECT_EQ(understood("permessage-deflate", {}), "protocol error");
  Compression tight = on;
  tight.own_takeover = tight.peer_takeover = false;
  tight.own_window_bits = 10;
  tight.peer_window_bits = 11;
  EXPECT_EQ(make_offer(tight),
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=11; "
            "client_max_window_bits=10");
  EXPECT_EQ(understood("permessage-deflate; server_no_context_takeover; server_max_window_bits=11", tight), "10/11");
  EXPECT_EQ(understood("permessage-deflate; server_no_context_takeover", tight), "protocol error");
  EXPECT_EQ(understood("permessage-deflate; server_max_window_bits=11", tight), "protocol error");
  EXPECT_EQ(understood("permessage-deflate; server_no_context_takeover; server_max_window_bits=12", tight),
            "protocol error");
  EXPECT_EQ(
      understood("permessage-deflate; server_no_context_takeover; server_max_window_bits=11; client_max_window_bits=11",
                 tight),
      "protocol error");
}

// Whatever comes, in whatever pieces: no crash, no more memory than the limits say, and an end.
TEST(WsParts, garbage_ends_in_a_fault_or_in_messages_within_the_limits) {
  std::mt19937 random(42);
  constexpr MessageReader::Limits kLimits{.max_message = 2000, .max_frame = 1500, .max_fragments = 6};
  std::size_t messages = 0;
  std::size_t faults = 0;
  for (int round = 0; round < 20'000; ++round) {
    const Role role = random() % 2 == 0 ? Role::kServer : Role::kClient;
    const bool deflate = random() % 2 == 0;
    MessageReader reader(role, kLimits, deflate ? std::optional(Agreed{}) : std::nullopt);
    std::string wire;
    for (unsigned n = random() % 8; n != 0; --n) {  // mostly right, so that garbage gets deep
      constexpr int kFirst[] = {0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8a, 0xc1, 0x42};
      std::string payload(random() % 40, '\0');
      for (char& c : payload) c = static_cast<char>(random() % 4 == 0 ? random() : 'a');
      if (random() % 10 == 0) payload.resize(random() % 1800, 'y');
      std::string one = frame(kFirst[random() % 10], payload, role == Role::kServer);
      if (random() % 4 == 0) one[random() % one.size()] = static_cast<char>(random());
      wire += one;
    }
    for (std::size_t at = 0; at < wire.size();) {
      const std::size_t n = std::min<std::size_t>(1 + random() % 100, wire.size() - at);
      std::string_view piece = std::string_view(wire).substr(at, n);
      at += n;
      while (!piece.empty()) {
        const MessageReader::Event event = reader.step(piece);
        ASSERT_NE(event, MessageReader::Event::kData);
        if (event == MessageReader::Event::kMessage) {
          ++messages;
          const std::string text = reader.take_message();
          ASSERT_LE(text.size(), kLimits.max_message);
          ASSERT_TRUE(!reader.is_text() || plainly_utf8(text));
        } else if (event == MessageReader::Event::kPing || event == MessageReader::Event::kPong) {
          ASSERT_LE(reader.control().size(), kMaxControl);
        } else if (event == MessageReader::Event::kFault) {
          ++faults;
          ASSERT_TRUE(is_wire_code(reader.fault_code()));
        } else if (event == MessageReader::Event::kMore) {
          ASSERT_TRUE(piece.empty());
        }
      }
    }
  }
  EXPECT_GT(messages, 1000u);
  EXPECT_GT(faults, 1000u);
}

}  // namespace
}  // namespace heddle::http::ws::test
