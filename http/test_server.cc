#include <heddle/http/test_server.h>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <utility>

#include <heddle/core/mutex.h>
#include <heddle/core/wait_group.h>
#include <heddle/http/internal/transport_stream.h>
#include <heddle/http/internal/wall_clock.h>

namespace heddle::http::test {

// Shared with the dialers that were given out, which may outlive the TestServer.
struct TestServer::State {
  State(Handler handler, TestServerOptions o) : options(std::move(o)), server(std::move(handler), options.server) {}

  Result<std::unique_ptr<TestConn>> dial() {
    {
      const std::lock_guard guard(lock);
      if (closed) return std::unexpected(Error{Code::kRefused, 0, "dial"});
      streams.add(1);  // so that close() waits for what follows
    }
    const std::uint32_t n = dialed.fetch_add(1, std::memory_order_relaxed);  // relaxed: a number, nothing more
    net::Address from = options.client_address;
    if (from.family() == 0)
      from = net::Address::parse("192.0.2.1:0")->with_port(static_cast<std::uint16_t>(49152 + n % 16384));
    auto [near, far] =
        conn_pair({.capacity = options.capacity, .near = from, .far = *net::Address::parse("192.0.2.80:80")});
    std::unique_ptr<net::Transport> transport = std::move(far);
    if (options.server_end) transport = options.server_end(std::move(transport));
    TransportStream::serve(server.acceptor(), std::move(transport), streams);
    streams.done();
    return std::move(near);
  }

  const TestServerOptions options;
  Server server;
  std::atomic<std::uint32_t> dialed{0};
  WaitGroup streams;
  Mutex lock;
  // guarded by lock
  bool closed = false;
  std::string loopback;  // "http://127.0.0.1:40312"
};

TestServer::TestServer(Handler handler, TestServerOptions options)
    : state_(std::make_shared<State>(std::move(handler), std::move(options))) {
  // The server's deadlines by the same clock as the tests', which in a bubble is not the kernel's. It stays so: both clocks
  // say the same elsewhere.
  http::detail::use_exact_time_for_test(true);
}

TestServer::~TestServer() { close(); }

Client TestServer::client(ClientOptions options) const {
  options.dial = dialer();
  options.proxy = nullptr;
  return Client(std::move(options));
}

Dialer TestServer::dialer() const {
  return [state = state_](const Context& ctx, const DialTarget&) -> Result<std::unique_ptr<net::Transport>> {
    if (const std::optional<Error> over = ctx.err()) return std::unexpected(Error{over->code, 0, "dial"});
    Result<std::unique_ptr<TestConn>> conn = state->dial();
    if (!conn) return std::unexpected(conn.error());
    if (!state->options.client_end) return std::move(*conn);
    return state->options.client_end(std::move(*conn));
  };
}

Result<std::unique_ptr<TestConn>> TestServer::dial() const { return state_->dial(); }

Played TestServer::play(const Script& script) const {
  Result<std::unique_ptr<TestConn>> conn = dial();
  if (!conn) return {.problem = "no connection: " + conn.error().message(), .received = {}};
  return test::play(script, **conn);
}

Result<std::string> TestServer::listen_loopback() {
  const Result<net::Address> at = state_->server.listen(*net::Address::parse("127.0.0.1:0"));
  if (!at) return std::unexpected(at.error());
  std::string url = "http://" + at->to_string();
  const std::lock_guard guard(state_->lock);
  state_->loopback = url;
  return url;
}

std::string TestServer::url(std::string_view path) const {
  const std::lock_guard guard(state_->lock);
  return (state_->loopback.empty() ? "http://server.test" : state_->loopback) + std::string(path);
}

bool TestServer::close(Duration grace) {
  {
    const std::lock_guard guard(state_->lock);
    if (state_->closed) return true;
    state_->closed = true;
  }
  const bool whole = state_->server.shutdown(grace);
  state_->streams.wait();
  return whole;
}

ServerStats TestServer::stats() const { return state_->server.stats(); }

}  // namespace heddle::http::test
