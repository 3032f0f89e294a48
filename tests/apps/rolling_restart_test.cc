// Rolling restarts: a successor shares the port (--reuse-port), then the predecessor is told to stop, under load without a
// pause. No request may fail, whether it opens a connection or reuses one.
//
// HEDDLE_RESTARTS says how many restarts (default 3); 20 take about half a minute per back end.
#include <gtest/gtest.h>

#include <atomic>
#include <charconv>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <heddle/core/go.h>
#include <heddle/core/run.h>
#include <heddle/core/wait_group.h>
#include <heddle/net/tcp.h>

#include "program.h"

namespace heddle::net {
namespace {

using namespace std::chrono_literals;
using test::part;
using test::Program;

constexpr int kClients = 6;  // of each kind

int restarts() {
  const char* text = std::getenv("HEDDLE_RESTARTS");
  return text == nullptr ? 3 : std::max(1, std::atoi(text));
}

struct Counts {
  std::atomic<bool> over{false};
  std::atomic<std::int64_t> served{0};
  std::atomic<std::int64_t> connections{0};
  std::atomic<std::int64_t> failed{0};
  std::atomic<std::int64_t> repeated{0};  // closed under a request on a used connection before any byte of a response
};

std::unique_ptr<Program> start(const char* path, const std::string& address, std::string_view scheme,
                               std::string* bound) {
  auto program = std::make_unique<Program>(
      path, std::vector<std::string>{"--listen", address, "--reuse-port", "--debug", "off", "--procs", "2"});
  const std::string line = program->ready_line();
  const std::string where = part(line, scheme);
  EXPECT_NE(where, "") << line;
  if (bound != nullptr) *bound = where;
  return program;
}

std::span<const std::byte> bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

enum class Outcome { kServed, kServedLast, kClosedBefore, kFailed };

// A connection that was silent for the server's last chance (half a second) may be closed while we are on our way. Who was
// kept from its CPU for so long is no client that lost a request.
bool was_silent_since(TimePoint dialed) { return now() - dialed > 250ms; }

// Sends one request and reads the whole response: its head, and as many bytes as Content-Length says.
Outcome exchange(Conn& conn, std::string_view request, std::string& why) {
  if (const Result<void> sent = conn.write(bytes(request)); !sent) {
    why = "write: " + sent.error().message();
    return sent.error().code == Code::kReset ? Outcome::kClosedBefore : Outcome::kFailed;
  }
  std::string response;
  std::size_t whole = std::string::npos;
  while (whole == std::string::npos || response.size() < whole) {
    std::byte buf[1024];
    const Result<std::size_t> n = conn.read(buf);
    if (!n || *n == 0) {
      why = (n ? "end of stream" : n.error().message()) + " after \"" + response + "\"";
      const bool closed = n || n.error().code == Code::kReset;
      return closed && response.empty() ? Outcome::kClosedBefore : Outcome::kFailed;
    }
    response.append(reinterpret_cast<const char*>(buf), *n);
    const std::size_t head = response.find("\r\n\r\n");
    if (whole != std::string::npos || head == std::string::npos) continue;
    const std::size_t length = response.find("Content-Length: ");
    if (!response.starts_with("HTTP/1.1 200 ") || length > head) break;
    std::size_t body = 0;
    std::from_chars(response.data() + length + 16, response.data() + head, body);
    whole = head + 4 + body;
  }
  if (response.size() != whole || !response.ends_with("\r\n\r\nHello, World!")) {
    why = "got \"" + response + "\"";
    return Outcome::kFailed;
  }
  return response.find("Connection: close\r\n") != std::string::npos ? Outcome::kServedLast : Outcome::kServed;
}

// Asks until told to stop, on one connection as long as the server keeps it, or on a new one for each request.
void ask(const Address& server, bool keeps, Counts& counts) {
  const std::string request =
      std::string("GET /plaintext HTTP/1.1\r\nHost: x\r\n") + (keeps ? "" : "Connection: close\r\n") + "\r\n";
  std::optional<Conn> conn;
  bool used = false;
  TimePoint idle_since;
  while (!counts.over.load()) {
    // As clients' pools do: one that has been closed meanwhile is not asked.
    if (conn && !conn->is_alive()) conn.reset();
    if (!conn) {
      idle_since = now();
      Result<Conn> dialed = dial(server, {.deadline = now() + 60s});
      if (!dialed) {
        ADD_FAILURE() << "dial: " << dialed.error().message();
        counts.failed.fetch_add(1);
        return;
      }
      conn = std::move(*dialed);
      used = false;
      counts.connections.fetch_add(1);
    }
    conn->set_deadline(now() + 60s);
    std::string why;
    const Outcome outcome = exchange(*conn, request, why);
    switch (outcome) {
      case Outcome::kServed:
      case Outcome::kServedLast: counts.served.fetch_add(1); break;
      case Outcome::kClosedBefore:
        if (used || was_silent_since(idle_since)) {
          counts.repeated.fetch_add(1);
          break;
        }
        [[fallthrough]];
      case Outcome::kFailed:
        ADD_FAILURE() << (keeps ? "keep-alive: " : "one request: ") << why;
        counts.failed.fetch_add(1);
        return;
    }
    used = true;
    if (!keeps || outcome != Outcome::kServed) conn.reset();
  }
}

// Connects, sends, and wants the same back.
void echo(const Address& server, Counts& counts) {
  const std::string text(3000, 'e');
  std::vector<std::byte> back(text.size());
  while (!counts.over.load()) {
    const TimePoint dialed = now();
    Result<Conn> conn = dial(server, {.deadline = now() + 60s});
    if (conn) {
      conn->set_deadline(now() + 60s);
      const Result<void> sent = conn->write(bytes(text));
      const Result<std::size_t> got = conn->read_full(back);
      if (sent && got && *got == back.size()) {
        counts.served.fetch_add(1);
        continue;
      }
      const bool nothing = !sent || (got ? *got == 0 : got.error().code == Code::kReset);
      if (nothing && was_silent_since(dialed)) {
        counts.repeated.fetch_add(1);
        continue;
      }
      ADD_FAILURE() << "echo: " << (sent ? "" : sent.error().message()) << (got ? "" : got.error().message());
    } else {
      ADD_FAILURE() << "dial: " << conn.error().message();
    }
    counts.failed.fetch_add(1);
    return;
  }
}

// Restarts the program under the load that `client` makes.
template <class Client>
void restart_under_load(const char* path, std::string_view scheme, int clients, Counts& counts, Client client) {
  run([&] {
    std::string bound;
    std::unique_ptr<Program> server = start(path, "127.0.0.1:0", scheme, &bound);
    const Result<Address> address = Address::parse(bound);
    ASSERT_TRUE(address) << bound;
    WaitGroup all;
    for (int i = 0; i < clients; ++i) all.go([&, i] { client(i, *address); });
    for (int i = 0; i < restarts() && counts.failed.load() == 0; ++i) {
      std::unique_ptr<Program> successor = start(path, bound, scheme, nullptr);
      EXPECT_EQ(server->stop(), 0);
      server = std::move(successor);
      // The successor alone serves now, and is seen to.
      const std::int64_t served = counts.served.load();
      while (counts.served.load() < served + clients && counts.failed.load() == 0) sleep(1ms);
    }
    counts.over.store(true);
    all.wait();
    EXPECT_EQ(server->stop(), 0);
  });
  EXPECT_EQ(counts.failed.load(), 0);
  EXPECT_GT(counts.served.load(), 0);
  std::printf("%d restarts: %lld served, %lld connections, %lld repeated\n", restarts(),
              static_cast<long long>(counts.served.load()), static_cast<long long>(counts.connections.load()),
              static_cast<long long>(counts.repeated.load()));
}

TEST(RollingRestart, no_http_request_fails) {
  Counts counts;
  restart_under_load(HEDDLE_HELLO, "http://", 2 * kClients, counts,
                     [&](int i, const Address& server) { ask(server, i % 2 == 0, counts); });
}

TEST(RollingRestart, no_echo_fails) {
  Counts counts;
  restart_under_load(HEDDLE_ECHO, "tcp://", kClients, counts,
                     [&](int, const Address& server) { echo(server, counts); });
}

}  // namespace
}  // namespace heddle::net
