// HttpMetrics: what a server does, in numbers, as Prometheus reads them.
//
//   auto metrics = std::make_shared<HttpMetrics>();
//   options.on_request_done = record_metrics(metrics);
//   mux.use(count_in_flight(metrics));
//   debug.handle("GET /metrics", metrics_handler(metrics));
//
//   http_requests_total{method,route,code}             counter; code is "2xx" …
//   http_request_duration_seconds{method,route}        histogram; from the whole head to the last byte
//   http_request_bytes_total, http_response_bytes_total{method,route}
//   http_requests_unfinished_total{method,route}       counter; cut, or the client was gone
//   http_requests_in_flight                            gauge, of handlers inside count_in_flight()
//   http_connections{state="active"|"idle"}, http_connections_accepted_total,
//   http_connections_refused_total{reason="all"|"ip"}, http_handler_errors_total     once watch() was called
//
// I1. A request writes to counters of the P that it is on, and to no line that requests on others write to. (Counters are
//     atomic all the same: a goroutine may be moved between the look at its P and the addition.)
// I2. What clients send never makes a series: methods are those that heddle knows, routes those that a Mux has. Series are
//     bounded all the same (max_series); what is more counts for the one with method and route "other".
// I3. A series is never freed or moved while the metrics live, so that it is found without a lock.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <heddle/core/mutex.h>
#include <heddle/http/mux.h>
#include <heddle/http/request_record.h>
#include <heddle/http/server.h>

namespace heddle::http {

class HttpMetrics {
 public:
  /// At most so many pairs of method and route, of some 4 KiB each once they are seen. Throws std::bad_alloc.
  explicit HttpMetrics(std::size_t max_series = 512);
  ~HttpMetrics();
  HttpMetrics(const HttpMetrics&) = delete;
  HttpMetrics& operator=(const HttpMetrics&) = delete;

  /// Counts a request. Drops it without memory for a new series. Threads: goroutines, any number at once.
  void record(const RequestRecord& record) noexcept;
  /// A handler begins (1) or has ended (-1). Threads: goroutines.
  void in_flight(int change) noexcept;
  /// Where the numbers of connections come from: `[&server] { return server.stats(); }`. Called by text(); so the server must
  /// live as long as anybody asks for it.
  void watch(std::function<ServerStats()> stats);

  /// All of it, in Prometheus' text format 0.0.4. Numbers of one text are not of one instant. Throws std::bad_alloc.
  [[nodiscard]] std::string text() const;

 private:
  struct Series;
  struct alignas(64) Gauge {
    std::atomic<std::int64_t> value{0};
  };
  static constexpr std::size_t kShards = 16;

  [[nodiscard]] static std::size_t shard() noexcept;
  [[nodiscard]] Series* find(std::string_view method, std::string_view route);
  [[nodiscard]] Series* add(std::string_view method, std::string_view route, std::size_t hash);

  const std::size_t max_series_;
  std::vector<std::atomic<Series*>> table_;  // by hash, open; a power of two, half full at most
  std::array<Gauge, kShards> in_flight_;
  mutable Mutex lock_;
  // guarded by lock_
  std::vector<std::unique_ptr<Series>> all_;  // in the order of their coming
  std::function<ServerStats()> stats_;
};

/// For ServerOptions::on_request_done.
[[nodiscard]] std::function<void(const RequestRecord&)> record_metrics(std::shared_ptr<HttpMetrics> metrics);
/// Middleware that counts the handlers that run.
[[nodiscard]] Middleware count_in_flight(std::shared_ptr<HttpMetrics> metrics);
/// Answers with HttpMetrics::text().
[[nodiscard]] Handler metrics_handler(std::shared_ptr<HttpMetrics> metrics);

}  // namespace heddle::http
