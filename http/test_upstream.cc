#include <heddle/http/test_upstream.h>

#include <mutex>
#include <utility>

#include <heddle/core/mutex.h>
#include <heddle/core/wait_group.h>

namespace heddle::http::test {

// Shared with the dialers that were given out and the goroutines that play.
struct TestUpstream::State : std::enable_shared_from_this<TestUpstream::State> {
  explicit State(std::vector<Script> s) : scripts(std::move(s)), played(scripts.size()) {
    for (Played& each : played) each.problem = "nobody dialed";
  }

  Result<std::unique_ptr<net::Transport>> dial(const Decorator& end) {
    std::size_t n = 0;
    {
      const std::lock_guard guard(lock);
      if (closed || dialed == scripts.size()) return std::unexpected(Error{Code::kRefused, 0, "dial"});
      n = dialed++;
      played[n].problem = "it has not ended";
      plays.add(1);  // so that close() waits for what follows
    }
    auto [near, far] =
        conn_pair({.near = *net::Address::parse("192.0.2.1:49152"), .far = *net::Address::parse("192.0.2.80:80")});
    plays.go([self = shared_from_this(), n, conn = std::shared_ptr<TestConn>(std::move(far))] {
      Played how = play(self->scripts[n], *conn);
      const std::lock_guard guard(self->lock);
      self->played[n] = std::move(how);
    });
    plays.done();
    if (!end) return std::move(near);
    return end(std::move(near));
  }

  const std::vector<Script> scripts;
  WaitGroup plays;
  Mutex lock;
  // guarded by lock
  std::size_t dialed = 0;
  bool closed = false;
  std::vector<Played> played;
};

TestUpstream::TestUpstream(std::vector<Script> scripts) : state_(std::make_shared<State>(std::move(scripts))) {}

TestUpstream::~TestUpstream() { close(); }

Client TestUpstream::client(ClientOptions options, Decorator end) const {
  options.dial = dialer(std::move(end));
  options.proxy = nullptr;
  return Client(std::move(options));
}

Dialer TestUpstream::dialer(Decorator end) const {
  return [state = state_, end = std::move(end)](const Context& ctx,
                                                const DialTarget&) -> Result<std::unique_ptr<net::Transport>> {
    if (const std::optional<Error> over = ctx.err()) return std::unexpected(Error{over->code, 0, "dial"});
    return state->dial(end);
  };
}

std::string TestUpstream::url(std::string_view path) { return "http://server.test" + std::string(path); }

std::vector<Played> TestUpstream::close() {
  {
    const std::lock_guard guard(state_->lock);
    state_->closed = true;
  }
  state_->plays.wait();
  const std::lock_guard guard(state_->lock);
  return state_->played;
}

std::string TestUpstream::problem() {
  const std::vector<Played> all = close();
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (!all[i].ok()) return "connection " + std::to_string(i + 1) + ": " + all[i].problem;
  }
  return {};
}

}  // namespace heddle::http::test
