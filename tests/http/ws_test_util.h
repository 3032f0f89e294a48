// What the WebSocket's tests share: frames as a peer writes them, frames as words, and an engine over memory whose whole talk
// with a peer is told as one line.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <heddle/core/go.h>
#include <heddle/core/test.h>
#include <heddle/core/wait_group.h>
#include <heddle/http/internal/ws_engine.h>
#include <heddle/http/internal/ws_frame.h>
#include <heddle/http/websocket.h>
#include <heddle/net/memory.h>

namespace heddle::http::ws::test {

using namespace std::chrono_literals;

inline std::span<const std::byte> bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

/// A frame of any kind, right or wrong: `first` is its first byte. Built by hand, with the shortest length.
inline std::string frame(int first, std::string_view payload, bool masked) {
  constexpr std::array<unsigned char, 4> kMask = {0x37, 0xfa, 0x21, 0x3d};  // RFC 6455 s5.7
  const int m = masked ? 0x80 : 0;
  std::string out(1, static_cast<char>(first));
  if (payload.size() < 126) {
    out += static_cast<char>(static_cast<int>(payload.size()) | m);
  } else {
    const bool two = payload.size() < 65536;
    out += static_cast<char>((two ? 126 : 127) | m);
    for (int shift = two ? 8 : 56; shift >= 0; shift -= 8) out += static_cast<char>(payload.size() >> shift);
  }
  if (masked) {
    for (const unsigned char c : kMask) out += static_cast<char>(c);
  }
  for (std::size_t i = 0; i < payload.size(); ++i) {
    out += static_cast<char>(masked ? payload[i] ^ static_cast<char>(kMask[i % 4]) : payload[i]);
  }
  return out;
}

struct Raw {
  int first = 0;
  std::string payload = {};
};

/// Frames in a row, as they come to `role`.
inline std::string frames_to(Role role, const std::vector<Raw>& all) {
  std::string out;
  for (const Raw& one : all) out += frame(one.first, one.payload, role == Role::kServer);
  return out;
}

inline std::string close_of(int code, std::string_view reason = {}) {
  std::string out;
  out += static_cast<char>(code >> 8);
  out += static_cast<char>(code & 255);
  return out + std::string(reason);
}

/// Long payloads by their size.
inline std::string shown(std::string_view payload) {
  return payload.size() > 40 ? "size " + std::to_string(payload.size()) : std::string(payload);
}

/// What `role` has sent, a word for each frame: "text(hello) ~text(part) cont(rest) pong() close(1000 bye)"; a `~` for a
/// frame that is not its message's last, `z` for RSV1. Checks masks and lengths.
inline std::string words(std::string_view wire, Role role) {
  std::string out;
  while (!wire.empty()) {
    const auto at = [&](std::size_t i) { return i < wire.size() ? static_cast<unsigned char>(wire[i]) : 0u; };
    const unsigned first = at(0);
    const bool masked = (at(1) & 128) != 0;
    if (masked != (role == Role::kClient)) return out + " WRONG MASK";
    std::size_t size = at(1) & 127;
    std::size_t head = 2;
    if (size >= 126) {
      const std::size_t width = size == 126 ? 2 : 8;
      size = 0;
      for (std::size_t i = 0; i < width; ++i) size = size << 8 | at(2 + i);
      head += width;
      if (size < (width == 2 ? 126u : 65536u)) return out + " LENGTH";
    }
    std::array<unsigned char, 4> mask{};
    if (masked) {
      for (std::size_t i = 0; i < 4; ++i) mask[i] = static_cast<unsigned char>(at(head + i));
      head += 4;
    }
    if (wire.size() < head + size) return out + " CUT";
    std::string payload(wire.substr(head, size));
    for (std::size_t i = 0; i < payload.size(); ++i)
      payload[i] = static_cast<char>(payload[i] ^ static_cast<char>(mask[i % 4]));
    wire.remove_prefix(head + size);
    constexpr const char* kNames[16] = {"cont",  "text", "bin",  "?", "?", "?", "?", "?",
                                        "close", "ping", "pong", "?", "?", "?", "?", "?"};
    if (!out.empty()) out += ' ';
    if ((first & 128) == 0) out += '~';
    if ((first & 64) != 0) out += 'z';
    if ((first & 48) != 0) out += "RSV";
    out += kNames[first & 15];
    if ((first & 15) == 8 && payload.size() >= 2) {
      const int code = static_cast<unsigned char>(payload[0]) << 8 | static_cast<unsigned char>(payload[1]);
      out += '(' + std::to_string(code) + (payload.size() > 2 ? " " + payload.substr(2) : "") + ')';
    } else {
      out += '(' + shown(payload) + ')';
    }
  }
  return out;
}

inline std::string said(const Result<Message>& got) {
  if (!got) return to_string(got.error().code);
  return (got->kind == Kind::kText ? "text(" : "bin(") + shown(got->data) + ")";
}

inline std::unique_ptr<Engine> engine_on(net::Transport& at, Role role, const Options& options = {},
                                         const std::optional<Agreed>& deflate = {}, const Context& ctx = {}) {
  return std::make_unique<Engine>(
      at, nullptr, options,
      Engine::Setup{.role = role, .deflate = deflate, .subprotocol = "", .ctx = ctx, .drain = {}});
}

/// Without clocks.
inline Options calm() {
  Options options;
  options.ping_interval = 0s;
  options.idle_timeout = 0s;
  return options;
}

inline Connection connection_on(net::Transport& at, Role role, const Options& options = calm(),
                                const std::optional<Agreed>& deflate = {}, const Context& ctx = {}) {
  return Connection(engine_on(at, role, options, deflate, ctx));
}

template <class T>
std::string_view code_of(const Result<T>& result) {
  return result ? "ok" : to_string(result.error().code);
}

/// A text that no two numbers or places share.
inline std::string text_of(std::size_t size, std::size_t seed) {
  std::string out(size, '\0');
  for (std::size_t i = 0; i < size; ++i) out[i] = static_cast<char>('a' + (i * 31 + seed * 17 + i / 97) % 26);
  return out;
}

/// Reads a transport to its end.
inline std::string read_to_end(net::Transport& at) {
  std::string all;
  std::array<std::byte, 4096> buffer;
  for (;;) {
    const Result<std::size_t> n = at.read(buffer);
    if (!n || *n == 0) return all;
    all.append(reinterpret_cast<const char*>(buffer.data()), *n);
  }
}

/// What a peer that sends `pieces`, each when all is quiet, and then ends its half gets told by an engine that is read until
/// it fails: "what read() said -> what was sent". On a goroutine within test::run().
inline std::string talk(Role role, const std::vector<std::string_view>& pieces, const Options& options = {},
                        const std::optional<Agreed>& deflate = {}) {
  auto [near, far] = net::memory_pair({.capacity = std::size_t{1} << 20});
  std::string read;
  std::string wire;
  WaitGroup all;
  all.go([&] {
    const auto engine = engine_on(near, role, options, deflate);
    for (;;) {
      const Result<Message> got = engine->read({});
      read += (read.empty() ? "" : " ") + said(got);
      if (got) continue;
      if (const CloseStatus status = engine->peer_close(); status.code != 1006) {
        read += " " + std::to_string(status.code) + (status.reason.empty() ? "" : " " + shown(status.reason));
      }
      break;
    }
  });
  all.go([&] { wire = read_to_end(far); });
  for (const std::string_view piece : pieces) {
    heddle::test::wait();
    static_cast<void>(far.write(bytes(piece)));
  }
  heddle::test::wait();
  static_cast<void>(far.close_write());
  all.wait();
  return read + " -> " + words(wire, role);
}

}  // namespace heddle::http::ws::test
