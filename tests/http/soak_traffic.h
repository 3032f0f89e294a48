// What the soak serves and asks: a handler for each kind of answer, and requests of which the client knows the answer to the
// byte. All of it comes from seeds: what a request has in it decides what its answer must be, so that an answer that is lost,
// doubled, torn, or given to the wrong request shows.
//
// A request with the field `Kept` is one whose client stays until it is answered; `kept` counts how often such requests came to
// a handler, which must be how often their clients were answered.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <charconv>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <heddle/core/context.h>
#include <heddle/core/go.h>
#include <heddle/http/mux.h>
#include <heddle/http/sse.h>
#include <heddle/http/websocket.h>

#include "client_test_util.h"

namespace heddle::http::test {

/// The seeded bytes from position `from` on.
inline std::string text_of(std::size_t size, std::uint64_t seed, std::uint64_t from = 0) {
  std::string out(size, '\0');
  for (std::size_t i = 0; i < size; ++i) out[i] = static_cast<char>(net::test::byte_at(from + i, seed));
  return out;
}

/// FNV-1a.
class Checksum {
 public:
  void add(std::string_view bytes) {
    for (const char c : bytes) hash_ = (hash_ ^ static_cast<unsigned char>(c)) * 0x100'0000'01b3ULL;
  }
  [[nodiscard]] std::string text() const { return std::to_string(hash_); }

 private:
  std::uint64_t hash_ = 0xcbf2'9ce4'8422'2325ULL;
};

inline std::string checksum_of(std::string_view bytes) {
  Checksum sum;
  sum.add(bytes);
  return sum.text();
}

/// The data of event `i` of the stream `seed`; of two lines at times.
inline std::string event_of(std::uint64_t i, std::uint64_t seed) {
  return "event " + std::to_string(i * 31 + seed) + (i % 3 == 0 ? "\nand more" : "");
}

// --- the server's side ---

/// Of the handlers. Atomic: all of them count at once.
struct Served {
  std::atomic<std::uint64_t> begun{0}, ended{0}, kept{0};
};

inline std::uint64_t path_number(const Request& request, std::string_view name) {
  const std::string_view text = request.path_value(name);
  std::uint64_t n = 0;
  std::from_chars(text.data(), text.data() + text.size(), n);
  return n;
}

/// Nothing that only time ends: a loaded machine is not a peer that does not answer.
inline ws::Options soak_socket_options(bool compressed) {
  ws::Options options;
  options.compression.enabled = compressed;
  options.compression.level = 1;
  options.ping_interval = 0s;
  options.idle_timeout = 0s;
  options.write_timeout = 120s;
  options.close_timeout = 120s;
  return options;
}

inline Handler echo_messages(bool compressed) {
  return ws::handler(
      [](ws::Connection& socket) {
        while (const Result<ws::Message> message = socket.read()) {
          if (!socket.write(*message)) break;
        }
      },
      soak_socket_options(compressed));
}

inline void echo_body(Request& request, ResponseWriter& w) {
  static_cast<void>(w.declare_trailer("Checksum"));
  Checksum sum;
  std::byte buf[3'000];
  for (;;) {
    const Result<std::size_t> n = request.read(buf);
    if (!n) return w.cut();
    if (*n == 0) break;
    const std::string_view piece(reinterpret_cast<const char*>(buf), *n);
    sum.add(piece);
    if (!w.write(piece) || !w.flush()) return;
  }
  static_cast<void>(w.set_trailer("Checksum", sum.text()));
}

inline void sum_up(Request& request, ResponseWriter& w) {
  Checksum sum;
  std::size_t size = 0;
  std::byte buf[5'000];
  for (;;) {
    const Result<std::size_t> n = request.read(buf);
    if (!n) return w.cut();
    if (*n == 0) break;
    size += *n;
    sum.add({reinterpret_cast<const char*>(buf), *n});
  }
  w.write(std::to_string(size) + " " + sum.text());
}

inline void send_down(Request& request, ResponseWriter& w) {
  const std::uint64_t size = path_number(request, "size");
  const std::uint64_t seed = path_number(request, "seed");
  std::mt19937_64 random(seed);
  for (std::uint64_t at = 0; at < size;) {
    const std::uint64_t piece = std::min<std::uint64_t>(1 + random() % 9'000, size - at);
    if (!w.write(text_of(piece, seed, at))) return;
    if (random() % 3 == 0 && !w.flush()) return;
    at += piece;
  }
}

inline void send_events(Request& request, ResponseWriter& w) {
  const std::uint64_t count = path_number(request, "count");
  auto events = SseWriter::start(request, w);
  for (std::uint64_t i = 0; events && i < count; ++i) {
    if (!events->send({.data = event_of(i, path_number(request, "seed")), .id = std::to_string(i)})) return;
  }
}

/// All that the soak's server has.
inline Handler soak_handler(Served& served) {
  Mux mux;
  mux.handle("GET /hello/{n}",
             [](Request& r, ResponseWriter& w) { w.write("hello " + std::string(r.path_value("n"))); });
  mux.handle("GET /large/{seed}",
             [](Request& r, ResponseWriter& w) { w.write(text_of(150'000, path_number(r, "seed"))); });
  mux.handle("GET /slow/{us}", [](Request& r, ResponseWriter& w) {  // a half-close ends the context as well
    static_cast<void>(sleep(r.context(), std::chrono::microseconds(path_number(r, "us"))));
    w.write("slept");
  });
  mux.handle("GET /last", [](Request&, ResponseWriter& w) {
    w.close_connection();
    w.write("bye");
  });
  mux.handle("POST /unread", [](Request&, ResponseWriter& w) { w.write("unread"); });
  mux.handle("POST /echo", echo_body);
  mux.handle("POST /sum", sum_up);
  mux.handle("GET /down/{size}/{seed}", send_down);
  mux.handle("GET /events/{count}/{seed}", send_events);
  mux.handle("GET /socket", echo_messages(false));
  mux.handle("GET /compressed", echo_messages(true));
  // For those that leave: only their end ends these.
  mux.handle("GET /endless", [](Request&, ResponseWriter& w) {
    const std::string piece = text_of(10'000, 1);
    while (w.write(piece) && w.flush()) {
    }
  });
  mux.handle("GET /wait", [](Request& r, ResponseWriter&) {
    EXPECT_FALSE(sleep(r.context(), 120s)) << "it was not told that its client is gone";
  });
  return [mux, &served](Request& r, ResponseWriter& w) {
    struct Run {
      explicit Run(Served& s) : served(s) { served.begun.fetch_add(1); }
      ~Run() { served.ended.fetch_add(1); }
      Served& served;
    } run(served);
    if (r.header("Kept")) served.kept.fetch_add(1);
    mux(r, w);
  };
}

// --- the client's side ---

/// A request, and its answer.
struct Ask {
  Method method = Method::kGet;
  std::string path;
  std::string body = {};
  int status = 200;
  std::string answer = {};
  bool trailer = false;  // `Checksum`, behind the answer
};

inline Ask random_ask(std::mt19937_64& random) {
  const auto below = [&](std::size_t n) { return random() % n; };
  const std::uint64_t id = random();
  const std::string number = std::to_string(id);
  const auto body = [&] { return text_of(below(4) == 0 ? below(60'000) : below(900), id); };
  switch (below(12)) {
    case 0: {
      std::string all = body();
      std::string answer = std::to_string(all.size()) + " " + checksum_of(all);
      return {.method = Method::kPost, .path = "/sum", .body = std::move(all), .answer = std::move(answer)};
    }
    case 1: {
      std::string all = body();
      return {.method = Method::kPost, .path = "/echo", .body = all, .answer = all, .trailer = true};
    }
    case 2: {
      const std::size_t size = below(60'000);
      return {.path = "/down/" + std::to_string(size) + "/" + number, .answer = text_of(size, id)};
    }
    case 3: return {.path = "/large/" + number, .answer = text_of(150'000, id)};
    case 4: return {.path = "/slow/" + std::to_string(below(2'000)), .answer = "slept"};
    case 5: return {.method = Method::kHead, .path = "/large/" + number};
    case 6: return {.method = Method::kPost, .path = "/unread", .body = body(), .answer = "unread"};
    default: return {.path = "/hello/" + number, .answer = "hello " + number};
  }
}

/// As bytes. A body is chunked, or has a length.
inline std::string wire_of(const Ask& ask, bool kept, std::mt19937_64& random) {
  std::string out = std::string(to_string(ask.method)) + " " + ask.path + " HTTP/1.1\r\nHost: soak\r\n";
  if (kept) out += "Kept: 1\r\n";
  if (ask.method != Method::kPost) return out + "\r\n";
  if (random() % 2 == 0) return out + "Content-Length: " + std::to_string(ask.body.size()) + "\r\n\r\n" + ask.body;
  out += "Transfer-Encoding: chunked\r\n\r\n";
  for (std::size_t at = 0; at < ask.body.size();) {
    const std::size_t piece = std::min<std::size_t>(1 + random() % 20'000, ask.body.size() - at);
    char hex[20];
    out.append(hex, std::to_chars(hex, hex + sizeof(hex), piece, 16).ptr);
    out += "\r\n" + ask.body.substr(at, piece) + "\r\n";
    at += piece;
  }
  return out + "0\r\n\r\n";
}

struct Answer {
  int status = 0;  // 0: there was none, or it was cut
  std::string body;
  std::string trailers;
};

/// The next answer that `peer`, a server, gives.
inline Answer read_answer(Peer& peer, bool to_head) {
  const std::string head = peer.head();
  if (!head.starts_with("HTTP/1.1 ")) return {};
  Answer answer{.status = std::atoi(head.c_str() + 9), .body = {}, .trailers = {}};
  if (to_head) return answer;
  constexpr std::string_view kLength = "\r\nContent-Length: ";
  if (const std::size_t at = head.find(kLength); at != std::string::npos) {
    const std::size_t size = std::strtoull(head.c_str() + at + kLength.size(), nullptr, 10);
    answer.body = peer.body(size);
    return answer.body.size() == size ? answer : Answer{};
  }
  for (;;) {
    const std::string line = peer.until("\r\n");
    if (line.empty()) return {};
    const std::size_t size = std::strtoull(line.c_str(), nullptr, 16);
    if (size == 0) break;
    const std::string piece = peer.body(size);
    if (piece.size() != size || peer.until("\r\n") != "\r\n") return {};
    answer.body += piece;
  }
  for (;;) {
    const std::string line = peer.until("\r\n");
    if (line.empty()) return {};
    if (line == "\r\n") return answer;
    answer.trailers += line;
  }
}

/// What is wrong with `got`; empty: nothing.
inline std::string wrong(const Ask& ask, const Answer& got) {
  const std::string what = std::string(to_string(ask.method)) + " " + ask.path + ": ";
  if (got.status != ask.status) return what + "status " + std::to_string(got.status);
  if (got.body.size() != ask.answer.size()) {
    return what + std::to_string(got.body.size()) + " bytes instead of " + std::to_string(ask.answer.size());
  }
  if (got.body != ask.answer) return what + "wrong bytes";
  if (ask.trailer && got.trailers != "Checksum: " + checksum_of(ask.answer) + "\r\n") {
    return what + "trailers " + got.trailers;
  }
  return {};
}

}  // namespace heddle::http::test
