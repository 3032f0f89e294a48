// bench_net: what net's verbs cost inside one process, one P, Google Benchmark.
//
//   deadline_reset           Conn::set_read_deadline to a later time; nobody reads
//   deadline_reset_reading   the same on 1,000 connections in turn, on each of which a goroutine is parked in read()
//   tcp_pingpong_64          64 bytes there and back between two goroutines over loopback TCP
//
// HEDDLE_POLLER picks the back end. A million resets a second cost the deadline_reset figure in ns, over 10, in percent of a
// CPU.
#include <benchmark/benchmark.h>
#include <heddle/core/go.h>
#include <heddle/core/wait_group.h>
#include <heddle/net/tcp.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>

namespace {

using heddle::WaitGroup;
using heddle::net::Conn;

template <class T>
T must(heddle::Result<T> result, const char* what) {
  if (result) return std::move(*result);
  std::fprintf(stderr, "bench_net: %s: %s\n", what, result.error().message().c_str());
  std::exit(1);
}

struct Pair {
  Conn near, far;
};

std::vector<Pair> tcp_pairs(std::size_t n) {
  auto listener = must(heddle::net::listen(must(heddle::net::Address::parse("127.0.0.1:0"), "parse")), "listen");
  const auto address = must(listener.local_address(), "local_address");
  std::vector<Pair> pairs;
  for (std::size_t i = 0; i < n; ++i) {
    Conn near = must(heddle::net::dial(address), "dial");
    pairs.push_back({std::move(near), must(listener.accept(), "accept")});
  }
  listener.close();
  return pairs;
}

// Later each time, as on a connection that is in use.
heddle::TimePoint later() { return heddle::now() + std::chrono::hours(1); }

void deadline_reset(benchmark::State& state) {
  auto pairs = tcp_pairs(1);
  Conn& conn = pairs[0].near;
  heddle::TimePoint when = later();
  for (auto _ : state) conn.set_read_deadline(when += std::chrono::microseconds(1));
}
BENCHMARK(deadline_reset);

void deadline_reset_reading(benchmark::State& state) {
  constexpr std::size_t kConns = 1000;
  auto pairs = tcp_pairs(kConns);
  WaitGroup readers;
  for (Pair& pair : pairs) {
    pair.near.set_read_deadline(later());
    readers.go([&conn = pair.near] {
      std::array<std::byte, 64> buffer;
      static_cast<void>(conn.read(buffer));
    });
  }
  heddle::gosched();
  heddle::TimePoint when = later();
  std::size_t i = 0;
  for (auto _ : state) {
    pairs[i].near.set_read_deadline(when += std::chrono::microseconds(1));
    i = i + 1 == kConns ? 0 : i + 1;
  }
  for (Pair& pair : pairs) pair.near.close();
  readers.wait();
}
BENCHMARK(deadline_reset_reading);

void tcp_pingpong_64(benchmark::State& state) {
  auto pairs = tcp_pairs(1);
  auto& [near, far] = pairs[0];
  std::array<std::byte, 64> message{};
  WaitGroup echo;
  echo.go([&conn = far] {
    std::array<std::byte, 64> buffer;
    for (auto n = conn.read(buffer); n && *n != 0; n = conn.read(buffer)) {
      if (!conn.write(std::span(buffer).first(*n))) break;
    }
  });
  for (auto _ : state) {
    if (!near.write(message) || near.read(message).value_or(0) != message.size()) {
      state.SkipWithError("the connection failed");
      break;
    }
  }
  near.close();
  echo.wait();
}
BENCHMARK(tcp_pingpong_64);

}  // namespace
