// The soak's clients: one Life is one client, of one kind, from its seed: it comes, asks, checks what it gets to the byte, and
// goes, in order or not.
//
//   stays    our own client's requests and uploads, pipelines, WebSockets, readers of events; half-closers and slow readers.
//            Their requests say `Kept`, and each answer is counted (Soak::kept).
//   leaves   by its context's end, by abort(), by a reset or a close at any byte; it expects nothing, and is owed nothing.
//
// Lives run on goroutines, many at once; what they share is Soak, whose counters are atomic.
#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "soak_traffic.h"
#include "ws_test_util.h"

namespace heddle::http::test {

// For what must come, and has no limit of its own. Far more than a loaded machine needs.
inline constexpr Duration kPatience = 120s;

// Nothing that only time ends.
inline ServerOptions soak_server_options() {
  ServerOptions options;
  options.header_timeout = kPatience;
  options.idle_timeout = kPatience;
  options.body_timeout = kPatience;
  options.write_timeout = kPatience;
  options.min_body_rate = 0;
  return options;
}

/// Dials; while the ports of this machine are used up, tries again.
inline Result<net::Conn> dial_patiently(const net::Address& address, const Context& ctx = {}) {
  const TimePoint limit = now() + kPatience;
  for (;;) {
    Result<net::Conn> conn = net::dial(address, {.ctx = ctx});
    if (conn || conn.error().sys != EADDRNOTAVAIL || now() > limit) return conn;
    sleep(1ms);
  }
}

inline ClientOptions soak_client_options(const net::Address& address) {
  ClientOptions options = plain();
  options.dial_timeout = kPatience;
  options.write_timeout = kPatience;
  options.header_timeout = kPatience;
  options.body_timeout = kPatience;
  options.idle_timeout = kPatience;
  options.continue_timeout = kPatience;
  options.dial = [address](const Context& ctx, const DialTarget&) -> Result<std::unique_ptr<net::Transport>> {
    Result<net::Conn> conn = dial_patiently(address, ctx);
    if (!conn) return std::unexpected(conn.error());
    return std::make_unique<net::Conn>(std::move(*conn));
  };
  return options;
}

// --- the clients ---

struct Soak {
  Soak() : server(soak_handler(served), soak_server_options()) {}

  Served served;
  Server server;
  net::Address address;
  std::unique_ptr<Client> client;
  std::atomic<bool> over{false};
  std::atomic<std::uint64_t> lives{0}, kept{0}, left{0}, messages{0}, events{0}, bytes{0};
};

/// One client's life.
class Life {
 public:
  Life(Soak& soak, std::uint64_t seed) : soak_(soak), random_(seed), seed_(seed) {}

  void live() {
    soak_.lives.fetch_add(1);
    switch (below(12)) {
      case 0:
      case 1: asks_one_after_the_other(); break;
      case 2:
      case 3:
      case 4: pipelines(); break;
      case 5: talks(false); break;
      case 6: talks(true); break;
      case 7: reads_events(); break;
      case 8: uploads(); break;
      case 9:
      case 10: leaves_at_any_byte(); break;
      case 11: below(3) == 0 ? leaves_a_socket() : is_canceled(); break;
    }
  }

 private:
  std::size_t below(std::size_t n) { return random_() % n; }
  void nap() { sleep(std::chrono::microseconds(random_() % 300)); }

  [[nodiscard]] bool expect(bool right, const std::string& what) const {
    if (!right) ADD_FAILURE() << "life " << seed_ << ": " << what;
    return right;
  }
  void answered(const Answer& answer) {
    soak_.kept.fetch_add(1);
    soak_.bytes.fetch_add(answer.body.size());
  }
  [[nodiscard]] std::string url(const std::string& path) const { return "http://" + soak_.address.to_string() + path; }

  // --- our own client ---

  ClientRequest request(const Ask& ask) {
    ClientRequest out = request_to(url(ask.path), ask.method);
    if (ask.method != Method::kPost) return out;
    switch (below(3)) {
      case 0: out.body = RequestBody::bytes(ask.body); break;
      case 1: out.body = source(ask.body); break;
      case 2: out.body = source(ask.body, ask.body.size()); break;
    }
    return out;
  }
  // In pieces of any size.
  RequestBody source(const std::string& all, std::optional<std::uint64_t> length = {}) {
    return RequestBody::callback(
        [all, at = std::size_t{0}, random = std::mt19937_64(seed_)](std::span<std::byte> to) mutable {
          const std::size_t n = std::min({to.size(), all.size() - at, std::size_t{1 + random() % 9'000}});
          std::copy_n(reinterpret_cast<const std::byte*>(all.data()) + at, n, to.begin());
          at += n;
          return Result<std::size_t>(n);
        },
        length);
  }

  bool ask_and_check(const Ask& ask, ClientRequest&& out) {
    static_cast<void>(out.headers.set("Kept", "1"));
    Result<ClientResponse> response = soak_.client->send(out);
    if (!expect(response.has_value(), response ? "" : ask.path + ": " + response.error().message())) return false;
    Answer answer{.status = response->status(), .body = {}, .trailers = {}};
    const bool slowly = below(6) == 0;
    std::vector<std::byte> buf(slowly ? 1 + below(2'000) : 16'000);
    for (;;) {
      const Result<std::size_t> n = response->read(buf);
      if (!expect(n.has_value(), n ? "" : ask.path + ": " + n.error().message())) return false;
      if (*n == 0) break;
      answer.body.append(reinterpret_cast<const char*>(buf.data()), *n);
      if (slowly && below(4) == 0) nap();
    }
    for (const auto& field : response->trailers()) {
      answer.trailers += std::string(field.name) + ": " + std::string(field.value) + "\r\n";
    }
    answered(answer);
    const std::string problem = wrong(ask, answer);
    return expect(problem.empty(), problem);
  }

  void asks_one_after_the_other() {
    for (std::size_t n = 1 + below(10); n > 0; --n) {
      const Ask ask = below(12) == 0 ? Ask{.path = "/last", .answer = "bye"} : random_ask(random_);
      if (!ask_and_check(ask, request(ask))) return;
    }
  }

  void uploads() {
    const std::string all = text_of(below(150'000), seed_);
    const bool echo = below(2) == 0;
    const Ask ask{.method = Method::kPost,
                  .path = echo ? "/echo" : "/sum",
                  .body = all,
                  .answer = echo ? all : std::to_string(all.size()) + " " + checksum_of(all),
                  .trailer = echo};
    ClientRequest out = request(ask);
    out.expect_continue = below(3) == 0;
    static_cast<void>(ask_and_check(ask, std::move(out)));
  }

  void reads_events() {
    const std::size_t count = 1 + below(60);
    const bool stays = below(3) != 0;
    ClientRequest out = request_to(url("/events/" + std::to_string(count) + "/" + std::to_string(seed_)));
    if (stays) static_cast<void>(out.headers.set("Kept", "1"));
    Result<ClientResponse> response = soak_.client->send(out);
    if (!expect(response.has_value(), "no events")) return;
    std::byte buf[700];
    std::string text;
    for (std::size_t reads = 0; stays || reads < 2; ++reads) {
      const Result<std::size_t> n = response->read(buf);
      if (!expect(n.has_value(), n ? "" : "events: " + n.error().message())) return;
      if (*n == 0) break;
      text.append(reinterpret_cast<const char*>(buf), *n);
    }
    std::size_t i = 0;
    for (std::size_t at = 0, end = 0; (end = text.find("\n\n", at)) != std::string::npos; at = end + 2, ++i) {
      std::string data, id;
      for (std::size_t line = at; line < end;) {
        const std::size_t eol = text.find('\n', line);
        const std::string one = text.substr(line, eol - line);
        if (one.starts_with("data: ")) data += (data.empty() ? "" : "\n") + one.substr(6);
        if (one.starts_with("id: ")) id = one.substr(4);
        line = eol + 1;
      }
      if (!expect(id == std::to_string(i) && data == event_of(i, seed_), "event " + std::to_string(i) + ": " + data)) {
        return;
      }
    }
    soak_.events.fetch_add(i);
    if (stays) {
      static_cast<void>(expect(i == count, std::to_string(i) + " events"));
      answered({});
    } else if (below(2) == 0) {
      response->close();
    }
  }

  void is_canceled() {
    const std::size_t what = below(5);
    const Ask ask = what == 0   ? Ask{.path = "/wait"}
                    : what == 1 ? Ask{.path = "/endless"}
                    : what == 2 ? Ask{.path = "/events/1000/1"}
                                : random_ask(random_);
    ClientRequest out = request(ask);
    const auto [ctx, cancel] = with_timeout({}, std::chrono::microseconds(below(4'000)));
    out.ctx = ctx;
    Result<ClientResponse> response = soak_.client->send(out);
    std::byte buf[3'000];
    for (std::size_t n = below(20); response && n > 0; --n) {
      const Result<std::size_t> got = response->read(buf);
      if (!got || *got == 0) break;
    }
    if (response && below(2) == 0) response->close();
    cancel();
    soak_.left.fetch_add(1);
  }

  // --- pipelines ---

  // In pieces of any size.
  bool send(net::Conn& conn, std::string_view all, std::uint64_t seed) {
    std::mt19937_64 random(seed);
    while (!all.empty()) {
      const std::size_t n = std::min<std::size_t>(all.size(), 1 + random() % (random() % 4 == 0 ? 100 : 20'000));
      if (!conn.write(bytes(all.substr(0, n)))) return false;
      if (random() % 8 == 0) sleep(std::chrono::microseconds(random() % 200));
      all.remove_prefix(n);
    }
    return true;
  }

  void pipelines() {
    const bool half_closes = below(2) == 0;
    const bool slowly = below(4) == 0;
    std::vector<Ask> asks(1 + below(32));
    std::string wire;
    for (Ask& ask : asks) {
      ask = random_ask(random_);
      wire += wire_of(ask, true, random_);
    }
    Result<net::Conn> conn = dial_patiently(soak_.address);
    if (!expect(conn.has_value(), conn ? "" : conn.error().message())) return;
    conn->set_deadline(now() + kPatience);
    WaitGroup wg;
    wg.go([&, seed = random_()] {
      static_cast<void>(expect(send(*conn, wire, seed), "a pipeline cannot be sent"));
      if (half_closes) static_cast<void>(expect(conn->close_write().has_value(), "close_write()"));
    });
    Peer peer(*conn);
    for (std::size_t i = 0; i < asks.size(); ++i) {
      const Answer answer = read_answer(peer, asks[i].method == Method::kHead);
      const std::string problem = wrong(asks[i], answer);
      if (!expect(problem.empty(), std::to_string(i) + " of " + std::to_string(asks.size()) + ": " + problem)) break;
      answered(answer);
      if (slowly) nap();
    }
    wg.wait();
    if (half_closes) static_cast<void>(expect(peer.body(1).empty(), "more answers than requests"));
    if (below(4) == 0) static_cast<void>(conn->set_linger(0));
    conn->close();
  }

  // --- WebSockets ---

  Result<ws::Connection> open_socket(bool compressed, bool stays) {
    ws::Options options = soak_socket_options(compressed);
    if (stays) static_cast<void>(options.headers.set("Kept", "1"));
    return ws::dial(*soak_.client, "ws" + url(compressed ? "/compressed" : "/socket").substr(4), options);
  }
  // Compresses, if it is text.
  static ws::Message message(std::uint64_t seed, std::size_t i) {
    std::mt19937_64 random(seed * 1'000 + i);
    const std::size_t size = random() % (random() % 8 == 0 ? 50'000 : 2'000);
    if (random() % 2 == 0) return {.kind = ws::Kind::kBinary, .data = text_of(size, seed + i)};
    std::string text;
    while (text.size() < size) text += "word " + std::to_string(random() % 50) + ' ';
    return {.kind = ws::Kind::kText, .data = std::move(text)};
  }

  void talks(bool compressed) {
    Result<ws::Connection> socket = open_socket(compressed, true);
    if (!expect(socket.has_value(), socket ? "" : "a socket: " + socket.error().message())) return;
    answered({});
    static_cast<void>(expect(socket->compressed() == compressed, "compression"));
    const std::size_t count = below(30);
    WaitGroup wg;
    wg.go([&] {
      for (std::size_t i = 0; i < count; ++i) {
        if (!expect(socket->write(message(seed_, i)).has_value(), "a message cannot be sent")) return;
      }
    });
    for (std::size_t i = 0; i < count; ++i) {
      const Result<ws::Message> got = socket->read();
      if (!expect(got.has_value(), got ? "" : "message " + std::to_string(i) + ": " + got.error().message())) break;
      const ws::Message right = message(seed_, i);
      if (!expect(got->kind == right.kind && got->data == right.data, "message " + std::to_string(i) + " is wrong")) {
        break;
      }
      soak_.messages.fetch_add(1);
    }
    wg.wait();
    switch (below(3)) {
      case 0: socket->abort(); break;
      case 1: break;  // dropped
      case 2:
        static_cast<void>(expect(socket->close(1000, "bye").has_value(), "close()"));
        static_cast<void>(expect(socket->peer_close().code == 1000, "closed otherwise"));
        break;
    }
  }

  void leaves_a_socket() {
    Result<ws::Connection> socket = open_socket(below(2) == 0, false);
    if (!expect(socket.has_value(), socket ? "" : "a socket: " + socket.error().message())) return;
    WaitGroup wg;
    wg.go([&] {
      for (std::size_t i = 0; socket->write(message(seed_, i)); ++i) {
      }
    });
    for (std::size_t n = below(10); n > 0 && socket->read(); --n) {
    }
    socket->abort();
    wg.wait();
    soak_.left.fetch_add(1);
  }

  // --- those that leave ---

  // What never comes to an end, but by the client's.
  std::string last_of_all() {
    const auto get = [](const std::string& path, const std::string& more = {}) {
      return "GET " + path + " HTTP/1.1\r\nHost: soak\r\n" + more + "\r\n";
    };
    switch (below(6)) {
      case 0: return get("/wait");
      case 1: return get("/endless");
      case 2: return get("/events/1000/1");
      case 3: {
        std::string out = get(below(2) == 0 ? "/socket" : "/compressed",
                              "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                              "Sec-WebSocket-Extensions: permessage-deflate\r\n"
                              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n");
        for (std::size_t i = below(20); i > 0; --i) out += ws::test::frame(0x82, text_of(below(3'000), i), true);
        return out;
      }
      case 4:
        return std::string("POST ") + (below(2) == 0 ? "/echo" : "/sum") +
               " HTTP/1.1\r\nHost: soak\r\nContent-Length: 1000000\r\n\r\n" + text_of(below(40'000), seed_);
      default: return "\r\nthis is no request\r\n\r\n";
    }
  }

  void leaves_at_any_byte() {
    std::string wire;
    for (std::size_t n = below(5); n > 0; --n) wire += wire_of(random_ask(random_), false, random_);
    if (below(3) != 0) wire += last_of_all();
    if (below(2) == 0) wire.resize(below(wire.size() + 1));
    Result<net::Conn> conn = dial_patiently(soak_.address);
    if (!expect(conn.has_value(), conn ? "" : conn.error().message())) return;
    conn->set_deadline(now() + std::chrono::microseconds(below(20'000)));
    static_cast<void>(send(*conn, wire, random_()));
    const auto reads = [&] {
      std::byte buf[2'000];
      for (std::size_t n = below(10); n > 0; --n) {
        const Result<std::size_t> got = conn->read(buf);
        if (!got || *got == 0) break;
      }
    };
    reads();
    if (below(3) == 0) {
      static_cast<void>(conn->close_write());
      reads();
    }
    if (below(2) == 0) static_cast<void>(conn->set_linger(0));
    conn->close();
    soak_.left.fetch_add(1);
  }

  Soak& soak_;
  std::mt19937_64 random_;
  const std::uint64_t seed_;
};

}  // namespace heddle::http::test
