// What the tests of connections share: a server over streams in memory, a handler with many faces, and the two clocks.
#pragma once

#include <gtest/gtest.h>
#include <heddle/core/chan.h>
#include <heddle/core/clock.h>
#include <heddle/core/run.h>
#include <heddle/http/internal/wall_clock.h>
#include <heddle/http/server.h>
#include <heddle/http/status.h>

#include <array>
#include <charconv>
#include <memory>
#include <stdexcept>
#include <string>

#include "memory_stream.h"
#include "responses.h"

namespace heddle::http::test {

using namespace std::chrono_literals;

/// Answers by path; see the code.
inline void faces(Request& request, ResponseWriter& w) {
  const std::string_view path = request.path();
  auto number = [&] {
    std::size_t n = 0;
    std::from_chars(request.query().data(), request.query().data() + request.query().size(), n);
    return n;
  };
  if (path == "/hello") {
    w.set_header("Content-Type", "text/plain");
    w.write("Hello, World!");
  } else if (path == "/echo") {  // whole body back
    const Result<std::string> body = request.read_all(1 << 20);
    if (body) w.write(*body);
  } else if (path == "/stream") {  // as it comes
    std::array<std::byte, 64> buffer;
    for (;;) {
      const Result<std::size_t> n = request.read(buffer);
      if (!n) throw std::runtime_error("body");
      if (*n == 0) return;
      if (!w.write(std::span(buffer).first(*n)) || !w.flush()) return;
    }
  } else if (path == "/count") {  // reads in small steps
    std::array<std::byte, 7> buffer;
    std::size_t total = 0;
    for (;;) {
      const Result<std::size_t> n = request.read(buffer);
      if (!n) {
        w.write("error " + n.error().message());
        return;
      }
      if (*n == 0) break;
      total += *n;
    }
    w.write(std::to_string(total));
  } else if (path == "/ignore") {
    w.write("ignored");
  } else if (path == "/empty") {
  } else if (path == "/status") {
    w.status(static_cast<int>(number()));
    w.write("text");
  } else if (path == "/bare") {
    w.status(static_cast<int>(number()));
  } else if (path == "/big") {  // in one write
    w.write(std::string(number(), 'b'));
  } else if (path == "/parts") {  // many small writes
    for (std::size_t i = 0; i < number(); ++i) w.write("0123456789");
  } else if (path == "/flushed") {
    for (std::size_t i = 0; i < number(); ++i) {
      w.write("part");
      w.flush();
    }
  } else if (path == "/length") {  // announces 5
    w.set_header("Content-Length", "5");
    w.write(std::string(number(), 'x'));
  } else if (path == "/throw") {
    throw std::runtime_error("handler");
  } else if (path == "/throw-int") {
    throw 7;
  } else if (path == "/throw-written") {
    w.write("lost");
    throw std::runtime_error("handler");
  } else if (path == "/throw-flushed") {
    w.write("sent");
    w.flush();
    throw std::runtime_error("handler");
  } else if (path == "/throw-length") {
    w.set_header("Content-Length", "9");
    w.write("sent");
    w.flush();
    throw std::runtime_error("handler");
  } else if (path == "/goexit") {
    goexit();
  } else if (path == "/close") {
    w.close_connection();
    w.write("bye");
  } else if (path == "/yield") {
    for (std::size_t i = 0; i <= number(); ++i) gosched();
    w.write("yielded");
  } else if (path == "/sleep") {
    sleep(std::chrono::milliseconds(number()));
    w.write("slept");
  } else if (path == "/target") {
    w.write(std::string(request.target()) + " " + std::string(request.host()) + " " + std::string(request.query()));
  } else {
    w.status(kStatusNotFound);
    w.write("none");
  }
}

/// A server and one connection in memory. Lives on the test's goroutine.
class Rig {
 public:
  explicit Rig(Handler handler = faces, const ServerOptions& options = {}) : server(std::move(handler), options) {
    net::StreamSink* sink = server.acceptor().on_accept(stream);
    EXPECT_NE(sink, nullptr);
    stream.attach(sink);
  }
  /// Every connection must come to an end, and nothing be left.
  ~Rig() {
    if (!stream.gone()) {
      stream.take_in_all(MemoryStream::kNoLimit);
      stream.end(Code::kReset);
      EXPECT_TRUE(stream.pump_until([this] { return stream.gone(); }));
    }
    EXPECT_EQ(server.stats().open, 0u);
  }

  std::vector<std::string> responses(std::string_view heads = {}) {
    return read_responses(stream.written(), heads, stream.shut() || stream.closed());
  }

  MemoryStream stream;
  Server server;
};

/// Runs `fn` on one P, where settle() means that all is quiet. A seed permutes the goroutines, and has timers looked at
/// between any few of them: for tests with a FakeTime.
template <class F>
void on_one_p(F fn, std::uint64_t seed = 0) {
  RunOptions options;
  options.procs = 1;
  options.seed = seed;
  options.preempt = false;
  run(fn, options);
}

/// Time that stands still until a test moves it.
class FakeTime {
 public:
  FakeTime() {
    now_ = 1'000'000'000'000;
    heddle::detail::set_clock_for_test([]() noexcept { return now_.load(); });
    http::detail::use_exact_time_for_test(true);
  }
  ~FakeTime() {
    http::detail::use_exact_time_for_test(false);
    heddle::detail::set_clock_for_test(nullptr);
  }
  static void pass(Duration d) { now_ += d.count(); }

 private:
  inline static std::atomic<std::int64_t> now_{0};
};

}  // namespace heddle::http::test
