// httpbin's bodies: what comes back, what is made up, at what pace, and whether its length is told beforehand.
//
// Bytes are made by a function of seed and offset (splitmix64), so that any part of them can be made alone, and checked.
#include <zlib.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <random>
#include <span>
#include <utility>

#include <heddle/core/context.h>
#include <heddle/http/multipart.h>
#include <heddle/http/sse.h>
#include <heddle/http/status.h>
#include <heddle/net/buffer.h>

#include "httpbin.h"

namespace heddle::apps::httpbin {
namespace {

constexpr std::uint64_t kMaxChunks = 100'000;
constexpr std::uint64_t kMaxLines = 10'000;
constexpr std::uint64_t kMaxBytes = std::uint64_t{1} << 30;
constexpr std::uint64_t kMaxChunkSize = 1 << 20;
constexpr std::uint64_t kMaxDrip = 10 << 20;
constexpr double kMaxDripSeconds = 600;
constexpr std::uint64_t kMaxEvents = 100'000;
constexpr std::uint64_t kMaxInterval = 60'000;  // ms between two events
constexpr http::MultipartLimits kUploadLimits{.max_part_bytes = kMaxBytes};

std::uint64_t splitmix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

Content random_bytes(std::uint64_t seed) {
  return [first = splitmix(seed)](std::uint64_t offset, std::span<char> to) {
    std::uint64_t word = 0;
    for (std::size_t i = 0; i < to.size(); ++i, ++offset) {
      if (i == 0 || offset % 8 == 0) word = splitmix(first + offset / 8) >> (offset % 8 * 8);
      to[i] = static_cast<char>(word & 0xff);
      word >>= 8;
    }
  };
}

void alphabet(std::uint64_t offset, std::span<char> to) {
  for (char& c : to) c = static_cast<char>('a' + offset++ % 26);
}

// ---- what comes back ----

// Sends on what it reads as soon as it has it, for a client may wait for that before it sends more. What it holds is one
// buffer: a client that does not read is not read from.
void echo(Request& r, ResponseWriter& w) {
  const net::Buffer buffer = net::Buffer::take(net::BufferSize::k64K);
  const std::span<std::byte> room(buffer.data(), capacity_of(net::BufferSize::k64K));
  const auto length = r.content_length();
  std::uint64_t done = 0;
  for (;;) {
    const Result<std::size_t> n = r.read(room);
    if (!n) {
      if (done != 0) w.cut();  // else the server answers for it
      return;
    }
    if (done == 0) {
      if (const auto type = r.header("Content-Type")) w.set_header("Content-Type", *type);
      if (length) w.set_header("Content-Length", std::to_string(*length));
    }
    if (*n == 0) return;
    done += *n;
    if (!w.write(room.first(*n))) return;
    if (done != length && !w.flush()) return;
  }
}

// Reads a form of any size and tells what was in it.
void upload(Request& r, ResponseWriter& w) {
  const auto failed = [&](const Error& error) {
    http::write_json(w, {{"error", error.message()}}, http::status_for(error));
  };
  Result<http::MultipartReader> parts = http::MultipartReader::open(r, kUploadLimits);
  if (!parts) return failed(parts.error());
  const net::Buffer buffer = net::Buffer::take(net::BufferSize::k16K);
  nlohmann::json list = nlohmann::json::array();
  for (;;) {
    const Result<bool> next = parts->next();
    if (!next) return failed(next.error());
    if (!*next) break;
    std::uint64_t size = 0;
    uLong crc = ::crc32(0, nullptr, 0);
    for (;;) {
      const Result<std::size_t> n = parts->read({buffer.data(), capacity_of(net::BufferSize::k16K)});
      if (!n) return failed(n.error());
      if (*n == 0) break;
      crc = ::crc32(crc, reinterpret_cast<const Bytef*>(buffer.data()), static_cast<uInt>(*n));
      size += *n;
    }
    nlohmann::json part{{"name", parts->name()}, {"size", size}, {"crc32", crc}};
    if (parts->filename()) part["filename"] = *parts->filename();
    if (!parts->content_type().empty()) part["content_type"] = parts->content_type();
    list.push_back(std::move(part));
  }
  http::write_json(w, {{"parts", std::move(list)}});
}

// ---- what is made up ----

void chunked(Request& r, ResponseWriter& w) {
  const auto n = path_number(r, w, "n", 0, kMaxChunks);
  if (!n) return;
  w.set_header("Content-Type", "text/plain");
  if (!w.flush()) return;  // before a byte of it: also a body of no chunk is chunked
  for (std::uint64_t i = 0; i < *n; ++i) {
    if (!w.write("chunk " + std::to_string(i) + "\n") || !w.flush()) return;
  }
}

void stream(Request& r, ResponseWriter& w) {
  const auto n = path_number(r, w, "n", 0, kMaxLines);
  if (!n) return;
  const auto query = query_of(r, w);
  if (!query) return;
  nlohmann::json line = shown(r, *query);
  w.set_header("Content-Type", "application/json");
  if (!w.flush()) return;
  for (std::uint64_t i = 0; i < *n; ++i) {
    line["id"] = i;
    const std::string text = line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
    if (!w.write(text) || !w.flush()) return;
  }
}

std::optional<Content> seeded(const http::FormValues& query, ResponseWriter& w) {
  const auto seed = query_number(query, w, "seed", std::random_device{}(), 0, ~std::uint64_t{0});
  if (!seed) return std::nullopt;
  return random_bytes(*seed);
}

void bytes(Request& r, ResponseWriter& w) {
  const auto n = path_number(r, w, "n", 0, kMaxBytes);
  if (!n) return;
  const auto query = query_of(r, w);
  if (!query) return;
  const auto content = seeded(*query, w);
  if (!content) return;
  w.set_header("Content-Type", "application/octet-stream");
  w.set_header("Content-Length", std::to_string(*n));
  if (r.method() == http::Method::kHead) return;
  static_cast<void>(write_content(w, *content, 0, *n));
}

void stream_bytes(Request& r, ResponseWriter& w) {
  const auto n = path_number(r, w, "n", 0, kMaxBytes);
  if (!n) return;
  const auto query = query_of(r, w);
  if (!query) return;
  const auto chunk = query_number(*query, w, "chunk_size", 10 * 1024, 1, kMaxChunkSize);
  if (!chunk) return;
  const auto content = seeded(*query, w);
  if (!content) return;
  w.set_header("Content-Type", "application/octet-stream");
  if (!w.flush() || r.method() == http::Method::kHead) return;
  for (std::uint64_t at = 0; at < *n; at += *chunk) {
    if (!write_content(w, *content, at, std::min(*chunk, *n - at)) || !w.flush()) return;
  }
}

void range(Request& r, ResponseWriter& w) {
  const auto n = path_number(r, w, "n", 0, kMaxBytes);
  if (!n) return;
  answer_ranged(r, w, "text/plain", "\"range" + std::to_string(*n) + "\"", *n, alphabet);
}

// ---- at a pace ----

void drip(Request& r, ResponseWriter& w) {
  const auto query = query_of(r, w);
  if (!query) return;
  const auto duration = query_seconds(*query, w, "duration", 2, kMaxDripSeconds);
  if (!duration) return;
  const auto before = query_seconds(*query, w, "delay", 0, kMaxDripSeconds);
  if (!before) return;
  const auto count = query_number(*query, w, "numbytes", 10, 1, kMaxDrip);
  if (!count) return;
  const auto code = query_number(*query, w, "code", http::kStatusOk, 200, 599);
  if (!code) return;
  if (*code == 204 || *code == 205 || *code == 304) {
    return static_cast<void>(bad_request(w, "code is of a response that has no body"));
  }
  const Context ctx = r.context();
  if (before->count() != 0 && !sleep(ctx, *before)) return called_off(w);
  w.status(static_cast<int>(*code));
  w.set_header("Content-Type", "application/octet-stream");
  w.set_header("Content-Length", std::to_string(*count));
  if (r.method() == http::Method::kHead) return;
  // A flush costs a system call each: no more of them than a thousand a second.
  const std::uint64_t steps = std::clamp<std::uint64_t>(static_cast<std::uint64_t>(duration->count()), 1, *count);
  const TimePoint begin = now();
  std::uint64_t sent = 0;
  for (std::uint64_t i = 1; i <= steps; ++i) {
    const std::uint64_t until = *count * i / steps;
    if (!w.write(std::string(until - sent, '*')) || !w.flush()) return;
    sent = until;
    const Duration due =
        std::chrono::duration_cast<Duration>(*duration) * static_cast<int>(i) / static_cast<int>(steps);
    if (i < steps && !sleep(ctx, begin + due - now())) return w.cut();
  }
}

// Numbers, from 1 or behind the last that a client has seen. Who has seen them all is told to come no more (204).
void sse(Request& r, ResponseWriter& w) {
  const auto query = query_of(r, w);
  if (!query) return;
  const auto count = query_number(*query, w, "count", 10, 0, kMaxEvents);
  if (!count) return;
  const auto interval = query_number(*query, w, "interval", 1000, 0, kMaxInterval);
  if (!interval) return;
  const auto retry = query_number(*query, w, "retry", 3000, 0, kMaxInterval);  // as browsers do by themselves
  if (!retry) return;
  std::uint64_t seen = 0;
  if (const auto last = r.header("Last-Event-ID")) {
    const auto [end, error] = std::from_chars(last->data(), last->data() + last->size(), seen);
    if (error != std::errc{} || end != last->data() + last->size()) seen = 0;  // no id of ours: from the beginning
    if (seen >= *count) return static_cast<void>(w.status(http::kStatusNoContent));
  }
  Result<http::SseWriter> events = http::SseWriter::start(r, w);
  if (r.method() == http::Method::kHead) return;
  const Context ctx = r.context();
  std::optional<std::chrono::milliseconds> pause;  // told once, if it was asked for
  if (query->find("retry")) pause = std::chrono::milliseconds(*retry);
  while (events && seen < *count) {
    const std::string id = std::to_string(++seen);
    if (!events->send({.data = R"({"count":)" + id + "}", .id = id, .retry = std::exchange(pause, std::nullopt)}))
      return;
    if (seen < *count && !sleep(ctx, std::chrono::milliseconds(*interval))) return;
  }
}

}  // namespace

void add_bodies(Mux& mux) {
  mux.handle("POST /echo", echo);
  mux.handle("PUT /echo", echo);
  mux.handle("POST /upload", upload);
  mux.handle("PUT /upload", upload);
  mux.handle("GET /chunked/{n}", chunked);
  mux.handle("GET /stream/{n}", stream);
  mux.handle("GET /bytes/{n}", bytes);
  mux.handle("GET /stream-bytes/{n}", stream_bytes);
  mux.handle("GET /range/{n}", range);
  mux.handle("GET /drip", drip);
  mux.handle("GET /sse", sse);
}

}  // namespace heddle::apps::httpbin
