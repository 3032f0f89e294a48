// The metrics: that each request counts once, where it belongs, and how Prometheus is told.
#include <heddle/core/wait_group.h>
#include <heddle/http/metrics.h>

#include <memory>
#include <string>

#include "ask.h"
#include "sockets.h"

namespace heddle::http::test {
namespace {

RequestRecord example(std::string_view route, int status, Duration took) {
  RequestRecord r;
  r.method = "GET";
  r.route = route;
  r.status = status;
  r.took = took;
  r.bytes_received = 10;
  r.bytes_sent = 100;
  r.whole = true;
  return r;
}

/// The number behind `name`, as the text has it; "" if it has none.
std::string number(const std::string& text, const std::string& name) {
  const std::size_t at = ("\n" + text).find("\n" + name + " ");
  if (at == std::string::npos) return "";
  const std::size_t from = at + name.size() + 1;
  return text.substr(from, text.find('\n', from) - from);
}

TEST(Metrics, count_by_method_route_and_class) {
  on_one_p([] {
    HttpMetrics metrics;
    metrics.record(example("GET /a/{x}", 200, 1ms));
    metrics.record(example("GET /a/{x}", 204, 1001us));
    metrics.record(example("GET /a/{x}", 404, 20s));
    metrics.record(example("", 301, 0s));
    RequestRecord odd = example("/\"b\\\n", 0, -1s);
    odd.method = "BREW";
    odd.whole = false;
    metrics.record(odd);
    const std::string text = metrics.text();
    const std::string a = R"({method="GET",route="GET /a/{x}")";
    EXPECT_EQ(number(text, "http_requests_total" + a + R"(,code="2xx"})"), "2");
    EXPECT_EQ(number(text, "http_requests_total" + a + R"(,code="4xx"})"), "1");
    EXPECT_EQ(number(text, "http_requests_total" + a + R"(,code="5xx"})"), "");
    EXPECT_EQ(number(text, R"(http_requests_total{method="GET",route="",code="3xx"})"), "1");
    EXPECT_EQ(number(text, R"(http_requests_total{method="other",route="/\"b\\\n",code="other"})"), "1");
    EXPECT_EQ(number(text, R"(http_requests_unfinished_total{method="other",route="/\"b\\\n"})"), "1");
    EXPECT_EQ(number(text, "http_request_duration_seconds_bucket" + a + R"(,le="0.0005"})"), "0");
    EXPECT_EQ(number(text, "http_request_duration_seconds_bucket" + a + R"(,le="0.001"})"), "1");
    EXPECT_EQ(number(text, "http_request_duration_seconds_bucket" + a + R"(,le="10"})"), "2");
    EXPECT_EQ(number(text, "http_request_duration_seconds_bucket" + a + R"(,le="+Inf"})"), "3");
    EXPECT_EQ(number(text, "http_request_duration_seconds_count" + a + "}"), "3");
    EXPECT_EQ(number(text, "http_request_duration_seconds_sum" + a + "}"), "20.002001000");
    EXPECT_EQ(number(text, "http_request_bytes_total" + a + "}"), "30");
    EXPECT_EQ(number(text, "http_response_bytes_total" + a + "}"), "300");
    EXPECT_EQ(number(text, "http_requests_in_flight"), "0");
    EXPECT_EQ(text.find("http_connections"), std::string::npos);  // nobody told where they are
  });
}

TEST(Metrics, have_a_bounded_number_of_series) {
  on_one_p([] {
    HttpMetrics metrics(3);
    for (int i = 0; i < 10; ++i) metrics.record(example("/" + std::to_string(i), 200, 1ms));
    metrics.record(example("/1", 200, 1ms));
    const std::string text = metrics.text();
    EXPECT_EQ(number(text, R"(http_requests_total{method="GET",route="/1",code="2xx"})"), "2");
    EXPECT_EQ(number(text, R"(http_requests_total{method="GET",route="/3",code="2xx"})"), "");
    EXPECT_EQ(number(text, R"(http_requests_total{method="other",route="other",code="2xx"})"), "7");
  });
}

TEST(Metrics, lose_nothing_of_many_goroutines) {
  constexpr int kEach = 2000;
  run([] {
    HttpMetrics metrics;
    WaitGroup all;
    for (int g = 0; g < 8; ++g) {
      all.go([&] {
        for (int i = 0; i < kEach; ++i) metrics.record(example("/" + std::to_string(i % 20), 200, 1ms));
      });
    }
    all.wait();
    const std::string text = metrics.text();
    for (int route = 0; route < 20; ++route) {
      EXPECT_EQ(
          number(text, R"(http_requests_total{method="GET",route="/)" + std::to_string(route) + R"(",code="2xx"})"),
          std::to_string(8 * kEach / 20));
    }
  });
}

TEST(Metrics, see_handlers_in_flight_also_those_that_throw) {
  auto metrics = std::make_shared<HttpMetrics>();
  const Handler handler = count_in_flight(metrics)([&](Request&, ResponseWriter& w) {
    w.write(number(metrics->text(), "http_requests_in_flight"));
    w.flush();
    throw 1;
  });
  const Answer answer = ask(handler, "GET /");
  EXPECT_EQ(answer.body, "1");
  EXPECT_EQ(ask(metrics_handler(metrics), "GET /").field("Content-Type"), "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_EQ(number(metrics->text(), "http_requests_in_flight"), "0");
}

TEST(Metrics, of_a_server_on_sockets) {
  auto metrics = std::make_shared<HttpMetrics>();
  Mux mux;
  mux.use(count_in_flight(metrics));
  mux.handle("GET /a/{x}", [](Request&, ResponseWriter& w) { w.write("a"); });
  mux.handle("GET /metrics", metrics_handler(metrics));
  ServerOptions options;
  options.on_request_done = record_metrics(metrics);
  run([&] {
    Server server(mux, options);
    metrics->watch([&server] { return server.stats(); });
    const Result<net::Address> at = server.listen(kAnyPort);
    ASSERT_TRUE(at);
    std::string text;
    on_a_thread([&] {
      Socket socket(at->port());
      for (int i = 0; i < 5; ++i) {
        ASSERT_TRUE(socket.send("GET /a/" + std::to_string(i) + " HTTP/1.1\r\nHost: a\r\n\r\n"));
        EXPECT_FALSE(socket.read_response().empty());
      }
      ASSERT_TRUE(socket.send("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"));
      text = socket.read_response();
    });
    EXPECT_EQ(number(text, R"(http_requests_total{method="GET",route="GET /a/{x}",code="2xx"})"), "5");
    EXPECT_EQ(number(text, "http_requests_in_flight"), "1");
    EXPECT_EQ(number(text, R"(http_connections{state="active"})"), "1");
    EXPECT_EQ(number(text, R"(http_connections{state="idle"})"), "0");
    EXPECT_EQ(number(text, "http_connections_accepted_total"), "1");
    EXPECT_TRUE(server.shutdown(20s));
    metrics->watch(nullptr);
  });
}

}  // namespace
}  // namespace heddle::http::test
