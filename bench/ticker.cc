// ticker: how late does a goroutine wake up beside one that never gives way?
//
//   ticker [SECONDS]      default 5
//
// One P. One goroutine computes for ever, in a loop without a call; the other sleeps 5 ms at a time and notes how much
// later than that it woke. A scheduler that preempts wakes it after a time slice (Go's: 10 ms) at the latest; one that does
// not, never: then the alarm says so, with status 1.
//
//   ticker: 331 wake-ups in 5 s; late by p50 10.01, p99 10.32, max 10.90 ms
#include <heddle/core/go.h>
#include <heddle/core/run.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string_view>
#include <vector>

#include "spin.h"

namespace {

constexpr auto kTick = std::chrono::milliseconds(5);
constexpr unsigned kPatience = 10;  // seconds past its time until the ticker is held to be stuck

void stuck(int) {
  constexpr std::string_view kText = "ticker: it never woke again: the spinning goroutine was not preempted\n";
  if (write(STDERR_FILENO, kText.data(), kText.size()) < 0) std::_Exit(2);
  std::_Exit(1);
}

// Never returns: the spinner never ends, so run() cannot.
[[noreturn]] void tick(int seconds) {
  std::vector<std::int64_t> late;  // nanoseconds
  const std::int64_t start = heddle::nanotime();
  const std::int64_t end = heddle::nanos_after(start, std::chrono::seconds(seconds));
  for (std::int64_t before = start; before < end;) {
    heddle::sleep(kTick);
    const std::int64_t after = heddle::nanotime();
    late.push_back(after - before - heddle::Duration(kTick).count());
    before = after;
  }
  std::sort(late.begin(), late.end());
  const auto at = [&](std::size_t percent) {
    return static_cast<double>(late[std::min(late.size() - 1, late.size() * percent / 100)]) / 1e6;
  };
  std::printf("ticker: %zu wake-ups in %d s; late by p50 %.2f, p99 %.2f, max %.2f ms\n", late.size(), seconds, at(50),
              at(99), at(100));
  std::fflush(stdout);
  std::_Exit(0);
}

}  // namespace

int main(int argc, char** argv) {
  const int seconds = argc > 1 ? std::atoi(argv[1]) : 5;
  if (argc > 2 || seconds < 1) {
    std::fprintf(stderr, "usage: ticker [SECONDS]\n");
    return 64;
  }
  std::signal(SIGALRM, stuck);
  alarm(static_cast<unsigned>(seconds) + kPatience);
  return heddle::run(
      [=] {
        heddle::go({.name = "ticker"}, [=] { tick(seconds); });
        for (std::uint64_t x = 1;;) x = heddle::bench::spin(x, std::numeric_limits<std::uint64_t>::max());
      },
      {.procs = 1});
}
