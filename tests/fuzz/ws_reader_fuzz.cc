// MessageReader: where the reads of a stream end makes no difference, nor how much room there is for a message at a time; without
// compression a simple reading of RFC 6455 s5 tells the same messages and the same fault, and at which byte it shows
// (ws_reader.h, I1); no message is beyond the limits; messages of any bytes survive being compressed, cut into frames, masked
// and read.
//
// Input: a byte for the role (bit 0) and the limits (1), a byte for compression, 4 for the splits, the stream.
#include <heddle/http/internal/ws_reader.h>

#include <utility>

#include "fuzz.h"
#include "utf8.h"

namespace heddle::http::ws {
namespace {

using Event = MessageReader::Event;
using Limits = MessageReader::Limits;

struct Reading {
  std::vector<std::string> events;
  int fault = 0;
  std::size_t fault_at = 0;  // bytes that had come when it was told
  bool complete = true;      // false: a compressed message came, and the simple reading knows no more
};

Reading read_pieces(const std::vector<std::string_view>& pieces, Role role, const Limits& limits,
                    const std::optional<Agreed>& deflate, std::size_t room = MessageReader::kWhole) {
  MessageReader reader(role, limits, deflate);
  Reading out;
  std::string begun;
  std::size_t fed = 0;
  for (const std::string_view piece : pieces) {
    const fuzz::Exact exact(piece);
    fed += piece.size();
    std::string_view in = exact;
    while (!in.empty() || reader.pending()) {
      const Event event = reader.step(in, room);
      FUZZ_CHECK(out.fault == 0 || event == Event::kMore);
      switch (event) {
        case Event::kMore: FUZZ_CHECK(in.empty()); break;
        case Event::kData: {
          FUZZ_CHECK(room != MessageReader::kWhole && reader.in_message());
          const std::string piece_of_it = reader.take_message();
          FUZZ_CHECK(!piece_of_it.empty() && piece_of_it.size() <= room);
          begun += piece_of_it;
          break;
        }
        case Event::kMessage: {
          const bool text = reader.is_text();
          out.events.push_back((text ? "text:" : "binary:") + std::exchange(begun, {}) + reader.take_message());
          const std::string_view message = std::string_view(out.events.back()).substr(text ? 5 : 7);
          FUZZ_CHECK(message.size() <= limits.max_message);
          FUZZ_CHECK(!text || fuzz::is_utf8(message));
          break;
        }
        case Event::kPing: out.events.push_back("ping:" + std::string(reader.control())); break;
        case Event::kPong: out.events.push_back("pong:" + std::string(reader.control())); break;
        case Event::kClose:
          out.events.push_back("close:" + std::to_string(reader.close().code) + ":" +
                               std::string(reader.close().reason));
          break;
        case Event::kFault:
          out.fault = reader.fault_code();
          out.fault_at = fed;
          FUZZ_CHECK(out.fault == 1002 || out.fault == 1007 || out.fault == 1009);
          break;
      }
    }
  }
  return out;
}

// The whole stream, read the slow way.
class Simple {
 public:
  Simple(std::string_view all, Role role, const Limits& limits, bool deflate)
      : all_(all), server_(role == Role::kServer), limits_(limits), deflate_(deflate) {}

  Reading read() {
    while (!over_ && at_ < all_.size()) frame();
    return std::move(out_);
  }

 private:
  [[nodiscard]] unsigned byte(std::size_t i) const { return static_cast<unsigned char>(all_[i]); }
  void fail(int code, std::size_t shown) {
    out_.fault = code;
    out_.fault_at = shown;
    over_ = true;
  }
  // The stream ends within a frame.
  bool cut(std::size_t wanted) {
    if (wanted <= all_.size()) return false;
    over_ = true;
    return true;
  }

  void frame() {
    const unsigned opcode = byte(at_) % 16;
    const bool fin = byte(at_) >= 128;
    const bool rsv1 = byte(at_) / 64 % 2 == 1;
    const bool control = opcode == 8 || opcode == 9 || opcode == 10;
    if (!control && opcode > 2) return fail(1002, at_ + 1);
    if (byte(at_) / 16 % 4 != 0) return fail(1002, at_ + 1);
    if (rsv1 && (!deflate_ || control || opcode == 0)) return fail(1002, at_ + 1);
    if (control && !fin) return fail(1002, at_ + 1);
    if (cut(at_ + 2)) return;
    if ((byte(at_ + 1) >= 128) != server_) return fail(1002, at_ + 2);
    std::uint64_t length = byte(at_ + 1) % 128;
    if (control && length > 125) return fail(1002, at_ + 2);
    std::size_t head = at_ + 2;
    if (length > 125) {
      const std::size_t width = length == 126 ? 2 : 8;
      if (width == 8 && head < all_.size() && byte(head) >= 128) return fail(1002, head + 1);
      if (cut(head + width)) return;
      length = 0;
      for (std::size_t i = 0; i < width; ++i) length = length * 256 + byte(head + i);
      head += width;
      if (length <= (width == 2 ? 125U : 65535U)) return fail(1002, head);
    }
    const std::size_t mask = head;
    if (server_) head += 4;
    if (cut(head)) return;

    if (!control) {
      if ((opcode == 0) != in_message_) return fail(1002, head);
      if (opcode != 0) begin(opcode == 1);
      if (rsv1) {
        out_.complete = false;
        over_ = true;
        return;
      }
      if (++fragments_ > limits_.max_fragments || length > limits_.max_frame) return fail(1009, head);
      if (message_.size() + length > limits_.max_message) return fail(1009, head);
    }
    std::string payload(all_.substr(head, static_cast<std::size_t>(std::min<std::uint64_t>(length, all_.size()))));
    for (std::size_t i = 0; server_ && i < payload.size(); ++i) {
      payload[i] = static_cast<char>(static_cast<unsigned char>(payload[i]) ^ byte(mask + i % 4));
    }
    const bool whole = payload.size() == length;
    at_ = head + payload.size();
    if (control) {
      if (whole) end_control(opcode, payload);
      over_ |= !whole;
      return;
    }
    const std::size_t before = message_.size();
    message_ += payload;
    if (text_) {
      const fuzz::Utf8Reading read = fuzz::read_utf8(message_);
      if (read.good < message_.size()) return fail(1007, head + read.good - before + 1);
      if (whole && fin && !read.whole) return fail(1007, at_);
    }
    over_ |= !whole;
    if (!whole || !fin) return;
    out_.events.push_back((text_ ? "text:" : "binary:") + message_);
    in_message_ = false;
  }

  void begin(bool text) {
    in_message_ = true;
    text_ = text;
    fragments_ = 0;
    message_.clear();
  }

  void end_control(unsigned opcode, const std::string& payload) {
    if (opcode != 8) {
      out_.events.push_back((opcode == 9 ? "ping:" : "pong:") + payload);
      return;
    }
    over_ = true;
    if (payload.empty()) {
      out_.events.push_back("close:1005:");
      return;
    }
    if (payload.size() == 1) return fail(1002, at_);
    const unsigned code = static_cast<unsigned char>(payload[0]) * 256U + static_cast<unsigned char>(payload[1]);
    constexpr unsigned kKnown[] = {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014};
    const bool may = std::ranges::find(kKnown, code) != std::end(kKnown) || code / 1000 == 3 || code / 1000 == 4;
    if (!may) return fail(1002, at_);
    if (!fuzz::is_utf8(payload.substr(2))) return fail(1007, at_);
    out_.events.push_back("close:" + std::to_string(code) + ":" + payload.substr(2));
  }

  const std::string_view all_;
  const bool server_;
  const Limits limits_;
  const bool deflate_;
  std::size_t at_ = 0;
  bool over_ = false;
  bool in_message_ = false;
  bool text_ = false;
  std::size_t fragments_ = 0;
  std::string message_;
  Reading out_;
};

std::string show(const Reading& reading) {
  std::string out;
  for (const std::string& event : reading.events) out += event + "\n";
  return out + "fault " + std::to_string(reading.fault);
}

void check_stream(std::string_view stream, std::uint64_t seed, Role role, const Limits& limits,
                  const std::optional<Agreed>& deflate) {
  const Reading whole = read_pieces({stream}, role, limits, deflate);
  const Reading bytes = read_pieces(fuzz::cut(stream, 0), role, limits, deflate);
  FUZZ_SAME(show(whole), show(bytes));
  FUZZ_SAME(show(whole), show(read_pieces(fuzz::cut(stream, seed), role, limits, deflate)));
  const std::size_t room = 1 + seed % 100;
  FUZZ_SAME(show(whole), show(read_pieces(fuzz::cut(stream, seed), role, limits, deflate, room)));
  const Reading simple = Simple(stream, role, limits, deflate.has_value()).read();
  if (simple.complete) {
    FUZZ_SAME(show(simple), show(bytes));
    FUZZ_CHECK(simple.fault_at == bytes.fault_at);
  } else {
    FUZZ_CHECK(simple.events.size() <= bytes.events.size());
    FUZZ_CHECK(std::equal(simple.events.begin(), simple.events.end(), bytes.events.begin()));
  }
}

// The lines of `text` as messages, each in frames of any size, some of them compressed.
void check_round_trip(std::string_view text, std::uint64_t seed, Role role, const std::optional<Agreed>& deflate) {
  std::optional<Deflater> deflater;
  if (deflate)
    deflater.emplace(std::max(deflate->peer_bits, 9), 1 + static_cast<int>(seed % 9), deflate->peer_takeover);
  fuzz::Random random(seed);
  std::string stream;
  Reading expected;
  fuzz::Input lines(reinterpret_cast<const std::uint8_t*>(text.data()), text.size());
  for (int n = 0; n < 20 && !lines.empty(); ++n) {
    const std::string message = lines.line();
    const bool is_text = fuzz::is_utf8(message);
    expected.events.push_back((is_text ? "text:" : "binary:") + message);
    FrameHead head{.opcode = is_text ? Opcode::kText : Opcode::kBinary, .masked = role == Role::kServer};
    std::string wire = message;
    if (deflater && !message.empty() && random.below(4) != 0) {  // an empty one is never compressed (ws_writer.cc)
      head.rsv1 = true;
      wire.clear();
      FUZZ_CHECK(deflater->take(message, true, wire));
      FUZZ_CHECK(wire.ends_with(std::string_view("\0\0\xff\xff", 4)));
      wire.resize(wire.size() - 4);
    }
    const std::size_t most = 1 + random.below(wire.size() + 1);
    do {
      const std::size_t size = std::min(wire.size(), random.below(most + 1));
      std::string payload = wire.substr(0, size);
      wire.erase(0, size);
      head.fin = wire.empty();
      head.length = size;
      for (std::uint8_t& byte : head.mask) byte = static_cast<std::uint8_t>(random.next());
      std::array<char, kMaxFrameHead> bytes;
      stream.append(bytes.data(), put_head(head, bytes));
      for (std::size_t i = 0; head.masked && i < size; ++i) {
        payload[i] = static_cast<char>(static_cast<std::uint8_t>(payload[i]) ^ head.mask[i % 4]);
      }
      stream += payload;
      head.opcode = Opcode::kContinuation;
      head.rsv1 = false;
    } while (!head.fin);
  }
  const Limits limits{.max_message = 1 << 16, .max_frame = 1 << 16, .max_fragments = 1 << 20};
  FUZZ_SAME(show(expected), show(read_pieces(fuzz::cut(stream, seed), role, limits, deflate)));
}

}  // namespace
}  // namespace heddle::http::ws

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace heddle::http::ws;
  static const MessageReader::Limits kAll[] = {
      {.max_message = 1 << 16, .max_frame = 1 << 16, .max_fragments = 4096},
      {.max_message = 40, .max_frame = 30, .max_fragments = 3},
  };
  heddle::fuzz::Input input(data, size);
  const std::uint8_t first = input.byte();
  const Role role = first % 2 == 0 ? Role::kServer : Role::kClient;
  const MessageReader::Limits& limits = kAll[first / 2 % 2];
  const std::uint8_t second = input.byte();
  std::optional<Agreed> deflate;
  if (second % 2 == 1) {
    deflate = Agreed{.peer_takeover = second / 2 % 2 == 0, .peer_bits = 15 - second / 4 % 8};
  }
  const std::uint64_t seed = input.word();
  const std::string stream = input.rest();
  check_stream(stream, seed, role, limits, deflate);
  check_round_trip(stream, seed, role, deflate);
  return 0;
}
