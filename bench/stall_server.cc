// stall_server: what bench/stall loads. Its handlers compute and block, on purpose, where a server should not.
//
//   stall_server [--listen HOST:PORT] [--procs N] [--poller auto|io_uring|epoll]
//
//   GET /plaintext        "Hello, World!": the request whose latency is measured
//   GET /spin/{ms}        computes as long as {ms} take on an undisturbed CPU, in a loop without a call
//   GET /block/{ms}       one usleep(3) of which the scheduler is not told; 500 if a signal cut it short
//   GET /blocking/{ms}    the same inside heddle::blocking
//
// {ms} is one of kMilliseconds: the mux knows exact paths. SIGTERM ends it at once, whatever runs. bench/go/stall is the
// same in Go.
#include <heddle/core/go.h>
#include <heddle/core/run.h>
#include <heddle/http/mux.h>
#include <heddle/http/server.h>
#include <unistd.h>

#if __has_include(<heddle/core/blocking.h>)
#include <heddle/core/blocking.h>
#define HEDDLE_BENCH_BLOCKING 1
#endif

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string>
#include <string_view>

#include "spin.h"

namespace {

using heddle::http::Mux;
using heddle::http::Request;
using heddle::http::ResponseWriter;

constexpr unsigned kMilliseconds[] = {5, 50, 1000, 4000};

struct Flags {
  std::string listen = "127.0.0.1:0";
  heddle::RunOptions run;
};

// How many steps of spin() make a millisecond: of several tries the fastest, which nobody disturbed.
std::uint64_t steps_per_millisecond() {
  constexpr std::uint64_t kSteps = 20'000'000;  // some 20 ms
  auto fastest = std::numeric_limits<std::int64_t>::max();
  for (int i = 0; i < 5; ++i) {
    const std::int64_t start = heddle::nanotime();
    volatile std::uint64_t result = heddle::bench::spin(1, kSteps);
    static_cast<void>(result);
    fastest = std::min(fastest, heddle::nanotime() - start);
  }
  return kSteps * 1'000'000 / static_cast<std::uint64_t>(std::max<std::int64_t>(fastest, 1));
}

void answer_sleep(ResponseWriter& w, int result) {
  if (result != 0) static_cast<void>(w.status(500));
  w.write(result == 0 ? "slept\n" : "a signal cut it short\n");
}

Mux routes(std::uint64_t steps_per_ms) {
  Mux mux;
  mux.handle("GET /plaintext", [](Request&, ResponseWriter& w) {
    w.set_header("Content-Type", "text/plain");
    w.write("Hello, World!");
  });
  for (const unsigned ms : kMilliseconds) {
    const std::string suffix = "/" + std::to_string(ms);
    mux.handle("GET /spin" + suffix, [=](Request&, ResponseWriter& w) {
      w.write(std::to_string(heddle::bench::spin(1, steps_per_ms * ms)) + "\n");
    });
    mux.handle("GET /block" + suffix, [=](Request&, ResponseWriter& w) { answer_sleep(w, ::usleep(ms * 1000)); });
#ifdef HEDDLE_BENCH_BLOCKING
    mux.handle("GET /blocking" + suffix, [=](Request&, ResponseWriter& w) {
      answer_sleep(w, heddle::blocking([=] { return ::usleep(ms * 1000); }));
    });
#endif
  }
  return mux;
}

[[noreturn]] void usage() {
  std::fprintf(stderr, "usage: stall_server [--listen HOST:PORT] [--procs N] [--poller auto|io_uring|epoll]\n");
  std::exit(64);
}

Flags parse(int argc, char** argv) {
  Flags flags;
  for (int i = 1; i < argc; i += 2) {
    const std::string_view flag = argv[i];
    if (i + 1 == argc) usage();
    const std::string_view value = argv[i + 1];
    if (flag == "--listen") {
      flags.listen = value;
    } else if (flag == "--procs") {
      flags.run.procs = std::atoi(argv[i + 1]);
      if (flags.run.procs < 1) usage();
    } else if (flag == "--poller") {
      if (value == "io_uring") {
        flags.run.poller = heddle::PollerKind::kIoUring;
      } else if (value == "epoll") {
        flags.run.poller = heddle::PollerKind::kEpoll;
      } else if (value != "auto") {
        usage();
      }
    } else {
      usage();
    }
  }
  return flags;
}

}  // namespace

int main(int argc, char** argv) {
  const Flags flags = parse(argc, argv);
  const std::uint64_t steps = steps_per_millisecond();
  return heddle::run(
      [&] {
        const auto address = heddle::net::Address::parse(flags.listen);
        if (!address) usage();
        heddle::http::Server server(routes(steps));
        const auto bound = server.listen(*address);
        if (!bound) {
          std::fprintf(stderr, "stall_server: %s: %s\n", flags.listen.c_str(), bound.error().message().c_str());
          std::exit(1);
        }
        std::printf("stall_server: listening on http://%s (%s, %d procs)\n", bound->to_string().c_str(),
                    heddle::poller_name(), heddle::procs());
        std::fflush(stdout);
        for (;;) heddle::sleep(std::chrono::hours(1));
      },
      flags.run);
}
