#include <heddle/http/metrics.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <mutex>
#include <new>
#include <optional>
#include <utility>

#include <heddle/core/pin.h>
#include <heddle/http/method.h>

namespace heddle::http {
namespace {

using namespace std::chrono_literals;

struct Bound {
  Duration most;
  std::string_view text;  // in seconds
};
constexpr Bound kBounds[] = {{100us, "0.0001"},  {250us, "0.00025"}, {500us, "0.0005"}, {1ms, "0.001"},
                             {2500us, "0.0025"}, {5ms, "0.005"},     {10ms, "0.01"},    {25ms, "0.025"},
                             {50ms, "0.05"},     {100ms, "0.1"},     {250ms, "0.25"},   {500ms, "0.5"},
                             {1s, "1"},          {2500ms, "2.5"},    {5s, "5"},         {10s, "10"}};
constexpr std::size_t kBuckets = std::size(kBounds) + 1;  // the last is what took longer
constexpr std::size_t kClasses = 5;  // 1xx is none of a final response; it stands for what is no status
constexpr std::string_view kClassNames[kClasses] = {"other", "2xx", "3xx", "4xx", "5xx"};
constexpr std::string_view kOther = "other";

using Counter = std::atomic<std::uint64_t>;

void add_to(Counter& counter, std::uint64_t n) noexcept {
  counter.fetch_add(n, std::memory_order_relaxed);  // relaxed: each count is true of some moment
}

std::size_t class_of(int status) noexcept {
  return status >= 200 && status < 600 ? static_cast<std::size_t>(status / 100 - 1) : 0;
}

std::size_t bucket_of(Duration took) noexcept {
  return static_cast<std::size_t>(std::ranges::lower_bound(kBounds, took, {}, [](const Bound& b) { return b.most; }) -
                                  std::begin(kBounds));
}

std::size_t hash_of(std::string_view method, std::string_view route) noexcept {
  const std::hash<std::string_view> hash;
  return hash(route) * 31 + hash(method);
}

void put_escaped(std::string& to, std::string_view text) {
  for (const char c : text) {
    if (c == '\\' || c == '"') to += '\\';
    if (c == '\n') {
      to += "\\n";
    } else {
      to += c;
    }
  }
}

}  // namespace

struct HttpMetrics::Series {
  struct alignas(64) Cell {
    std::array<Counter, kClasses> classes{};
    std::array<Counter, kBuckets> buckets{};
    Counter nanos{0};
    Counter in{0};
    Counter out{0};
    Counter unfinished{0};
  };
  /// The sum over the shards of what `of` picks.
  template <class Of>
  [[nodiscard]] std::uint64_t sum(Of of) const {
    std::uint64_t n = 0;
    for (const Cell& cell : cells) n += of(cell).load(std::memory_order_relaxed);  // relaxed: as in add_to()
    return n;
  }

  Series(std::string_view m, std::string_view r) : method(m), route(r) {}
  const std::string method;
  const std::string route;
  std::array<Cell, kShards> cells;
};

HttpMetrics::HttpMetrics(std::size_t max_series)
    : max_series_(std::max<std::size_t>(max_series, 1)), table_(std::bit_ceil(2 * (max_series_ + 1))) {}
HttpMetrics::~HttpMetrics() = default;

std::size_t HttpMetrics::shard() noexcept { return static_cast<std::size_t>(Pin().p()) % kShards; }

void HttpMetrics::record(const RequestRecord& record) noexcept {
  const std::optional<Method> method = parse_method(record.method);
  Series* series = nullptr;
  try {
    series = find(method ? to_string(*method) : kOther, record.route);
  } catch (const std::bad_alloc&) {
    return;
  }
  Series::Cell& cell = series->cells[shard()];
  add_to(cell.classes[class_of(record.status)], 1);
  add_to(cell.buckets[bucket_of(record.took)], 1);
  add_to(cell.nanos, static_cast<std::uint64_t>(std::max(record.took, Duration::zero()).count()));
  add_to(cell.in, record.bytes_received);
  add_to(cell.out, record.bytes_sent);
  if (!record.whole || record.client_gone) add_to(cell.unfinished, 1);
}

HttpMetrics::Series* HttpMetrics::find(std::string_view method, std::string_view route) {
  const std::size_t hash = hash_of(method, route);
  for (std::size_t i = hash;; ++i) {
    // acquire: the series itself; pairs with the release in add().
    Series* const series = table_[i & (table_.size() - 1)].load(std::memory_order_acquire);
    if (series == nullptr) return add(method, route, hash);
    if (series->method == method && series->route == route) return series;
  }
}

HttpMetrics::Series* HttpMetrics::add(std::string_view method, std::string_view route, std::size_t hash) {
  const std::lock_guard guard(lock_);
  if (all_.size() >= max_series_) {  // keeps I2
    method = route = kOther;
    hash = hash_of(method, route);
  }
  std::size_t i = hash;
  for (;; ++i) {  // somebody may have been here before; relaxed: the lock orders it
    Series* const series = table_[i & (table_.size() - 1)].load(std::memory_order_relaxed);
    if (series == nullptr) break;
    if (series->method == method && series->route == route) return series;
  }
  all_.push_back(std::make_unique<Series>(method, route));
  // release: publishes the series to find().
  table_[i & (table_.size() - 1)].store(all_.back().get(), std::memory_order_release);
  return all_.back().get();
}

void HttpMetrics::in_flight(int change) noexcept {
  in_flight_[shard()].value.fetch_add(change, std::memory_order_relaxed);  // relaxed: as in add_to()
}

void HttpMetrics::watch(std::function<ServerStats()> stats) {
  const std::lock_guard guard(lock_);
  stats_ = std::move(stats);
}

std::string HttpMetrics::text() const {
  std::vector<const Series*> all;
  std::function<ServerStats()> stats;
  {
    const std::lock_guard guard(lock_);
    for (const auto& series : all_) all.push_back(series.get());  // keeps I3
    stats = stats_;
  }
  std::string to;
  const auto type = [&to](std::string_view name, std::string_view kind) {
    to.append("# TYPE ").append(name).append(" ").append(kind).append("\n");
  };
  const auto line = [&to](const Series* s, std::string_view name, std::string_view label, std::string_view value,
                          const std::string& number) {
    to.append(name);
    if (s != nullptr || !label.empty()) {
      to += '{';
      if (s != nullptr) {
        to.append("method=\"").append(s->method).append("\",route=\"");
        put_escaped(to, s->route);
        to += '"';
      }
      if (!label.empty()) to.append(s != nullptr ? "," : "").append(label).append("=\"").append(value).append("\"");
      to += '}';
    }
    to.append(" ").append(number).append("\n");
  };
  using Cell = Series::Cell;
  using std::to_string;

  type("http_requests_total", "counter");
  for (const Series* s : all) {
    for (std::size_t c = 0; c < kClasses; ++c) {
      const std::uint64_t n = s->sum([c](const Cell& cell) -> const Counter& { return cell.classes[c]; });
      if (n != 0) line(s, "http_requests_total", "code", kClassNames[c], to_string(n));
    }
  }
  type("http_request_duration_seconds", "histogram");
  for (const Series* s : all) {
    std::uint64_t n = 0;
    for (std::size_t b = 0; b < kBuckets; ++b) {
      n += s->sum([b](const Cell& cell) -> const Counter& { return cell.buckets[b]; });
      line(s, "http_request_duration_seconds_bucket", "le", b + 1 < kBuckets ? kBounds[b].text : "+Inf", to_string(n));
    }
    char seconds[48];
    const std::uint64_t nanos = s->sum([](const Cell& cell) -> const Counter& { return cell.nanos; });
    std::snprintf(seconds, sizeof seconds, "%llu.%09llu", static_cast<unsigned long long>(nanos / 1'000'000'000),
                  static_cast<unsigned long long>(nanos % 1'000'000'000));
    line(s, "http_request_duration_seconds_sum", "", "", seconds);
    line(s, "http_request_duration_seconds_count", "", "", to_string(n));
  }
  const auto counter_of_each = [&](std::string_view name, auto of) {
    type(name, "counter");
    for (const Series* s : all) line(s, name, "", "", to_string(s->sum(of)));
  };
  counter_of_each("http_request_bytes_total", [](const Cell& cell) -> const Counter& { return cell.in; });
  counter_of_each("http_response_bytes_total", [](const Cell& cell) -> const Counter& { return cell.out; });
  counter_of_each("http_requests_unfinished_total", [](const Cell& cell) -> const Counter& { return cell.unfinished; });

  std::int64_t running = 0;
  for (const Gauge& g : in_flight_) running += g.value.load(std::memory_order_relaxed);  // relaxed: as in add_to()
  running = std::max<std::int64_t>(running, 0);  // the sum is not of one instant
  type("http_requests_in_flight", "gauge");
  line(nullptr, "http_requests_in_flight", "", "", to_string(running));
  if (!stats) return to;
  const ServerStats now = stats();
  const auto active = std::min<std::uint64_t>(static_cast<std::uint64_t>(running), now.open);
  type("http_connections", "gauge");
  line(nullptr, "http_connections", "state", "active", to_string(active));
  line(nullptr, "http_connections", "state", "idle", to_string(now.open - active));
  type("http_connections_accepted_total", "counter");
  line(nullptr, "http_connections_accepted_total", "", "", to_string(now.accepted));
  type("http_connections_refused_total", "counter");
  line(nullptr, "http_connections_refused_total", "reason", "all", to_string(now.refused));
  line(nullptr, "http_connections_refused_total", "reason", "ip", to_string(now.refused_per_ip));
  type("http_handler_errors_total", "counter");
  line(nullptr, "http_handler_errors_total", "", "", to_string(now.handler_errors));
  return to;
}

std::function<void(const RequestRecord&)> record_metrics(std::shared_ptr<HttpMetrics> metrics) {
  return [metrics = std::move(metrics)](const RequestRecord& record) { metrics->record(record); };
}

Middleware count_in_flight(std::shared_ptr<HttpMetrics> metrics) {
  return [metrics = std::move(metrics)](Handler next) -> Handler {
    return [metrics, next = std::move(next)](Request& r, ResponseWriter& w) {
      struct Scope {
        HttpMetrics& metrics;
        explicit Scope(HttpMetrics& m) : metrics(m) { metrics.in_flight(1); }
        ~Scope() { metrics.in_flight(-1); }
      } const scope(*metrics);
      next(r, w);
    };
  };
}

Handler metrics_handler(std::shared_ptr<HttpMetrics> metrics) {
  return [metrics = std::move(metrics)](Request&, ResponseWriter& w) {
    static_cast<void>(w.set_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8"));
    static_cast<void>(w.set_header("Cache-Control", "no-store"));
    static_cast<void>(w.write(metrics->text()));
  };
}

}  // namespace heddle::http
