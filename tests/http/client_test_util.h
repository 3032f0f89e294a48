// What the client's tests share: a scheduler that leaves nothing behind, our own server, and servers that follow a script.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <heddle/core/chan.h>
#include <heddle/core/dump.h>
#include <heddle/core/go.h>
#include <heddle/core/run.h>
#include <heddle/core/wait_group.h>
#include <heddle/http/client.h>
#include <heddle/http/server.h>
#include <heddle/net/tcp.h>

#include "../net/net_test_util.h"

namespace heddle::http::test {

using namespace std::chrono_literals;

/// Goroutines that there are. Counted one by one: the counters of Ps know nothing of those that ended on a thread without one.
inline int goroutines() {
  const std::string all = "\n" + dump_goroutines({.stacks = false});
  int n = 0;
  for (std::size_t at = all.find("\ngoroutine "); at != std::string::npos; at = all.find("\ngoroutine ", at + 1)) ++n;
  return n;
}

/// Runs `body` with a scheduler of two Ps; no descriptor may be left open then, and no goroutine.
template <class Body>
void with_network(Body body) {
  net::test::with_procs(2, [&] {
    // What the poller opens when it is first used stays.
    { const auto warm = net::test::connected_pair(); }
    const int fds = net::test::open_fds();
    const int gs = goroutines();
    body();
    // A descriptor's last close may wait for its home worker, an idle connection's end for the client's, and an upload's
    // goroutine for its turn.
    int fds_left = 0;
    int gs_left = 0;
    for (const TimePoint until = net::test::patience();;) {
      fds_left = net::test::open_fds() - fds;
      gs_left = goroutines() - gs;
      if ((fds_left <= 0 && gs_left <= 0) || now() > until) break;
      sleep(1ms);
    }
    EXPECT_LE(fds_left, 0);
    EXPECT_LE(gs_left, 0);
  });
}

/// Options that nothing of the environment changes.
inline ClientOptions plain() {
  ClientOptions options;
  options.proxy = nullptr;
  options.decode = nullptr;
  return options;
}

inline std::span<const std::byte> bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

/// Our own server, with a handler.
class OwnServer {
 public:
  explicit OwnServer(Handler handler, const ServerOptions& options = {}) : server(std::move(handler), options) {
    address = net::test::must(server.listen(net::test::any_port()));
  }
  ~OwnServer() { EXPECT_TRUE(server.shutdown(20s)); }
  [[nodiscard]] std::string url(std::string_view path) const {
    return "http://" + address.to_string() + std::string(path);
  }

  Server server;
  net::Address address;
};

/// One connection of a scripted server.
class Peer {
 public:
  explicit Peer(net::Transport& conn) : conn_(conn) {}

  /// The next request's head, with its empty line; empty if the client ended first.
  std::string head() { return until("\r\n\r\n"); }
  /// What comes up to and with `end`; empty if the client ended first.
  std::string until(std::string_view end) {
    for (;;) {
      if (const std::size_t at = pending_.find(end); at != std::string::npos) {
        std::string out = pending_.substr(0, at + end.size());
        pending_.erase(0, out.size());
        return out;
      }
      if (!more()) return {};
    }
  }
  /// The next `size` bytes, or what there was.
  std::string body(std::size_t size) {
    while (pending_.size() < size && more()) {
    }
    std::string out = pending_.substr(0, size);
    pending_.erase(0, out.size());
    return out;
  }
  /// Waits for the client to end the connection.
  void wait_for_end() {
    while (more()) pending_.clear();
  }
  bool say(std::string_view text) { return conn_.write(bytes(text)).has_value(); }
  /// 200 with that body and its length.
  bool ok(std::string_view text = "") {
    return say("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(text.size()) + "\r\n\r\n" + std::string(text));
  }

 private:
  bool more() {
    std::byte buf[4096];
    const Result<std::size_t> n = conn_.read(buf);
    if (!n || *n == 0) return false;
    pending_.append(reinterpret_cast<const char*>(buf), *n);
    return true;
  }

  net::Transport& conn_;
  std::string pending_;
};

/// Serves each connection by `script(peer, n)`, n = 0, 1 …, on a goroutine; the connection closes when it returns. Ends when
/// all scripts have.
class Scripted {
 public:
  explicit Scripted(std::function<void(Peer&, int)> script)
      : listener_(net::test::must_listen()), address(*listener_.local_address()) {
    group_.go([this, script = std::move(script)] {
      for (;;) {
        Result<net::Conn> conn = listener_.accept();
        if (!conn) return;
        const int n = connections++;
        group_.go([script, n, c = std::make_shared<net::Conn>(std::move(*conn))] {
          c->set_deadline(net::test::patience());
          Peer peer(*c);
          script(peer, n);
        });
      }
    });
  }
  ~Scripted() {
    listener_.close();
    group_.wait();
  }
  [[nodiscard]] std::string url(std::string_view path = "/") const {
    return "http://" + address.to_string() + std::string(path);
  }

 private:
  net::Listener listener_;
  WaitGroup group_;

 public:
  const net::Address address;
  std::atomic<int> connections{0};
};

/// "200 [body]", or why not; "200 [body] then reset" if the body breaks off.
inline std::string told(Result<ClientResponse> response) {
  if (!response) return to_string(response.error().code);
  std::string out = std::to_string(response->status()) + " [";
  std::byte buf[1000];
  for (;;) {
    const Result<std::size_t> n = response->read(buf);
    if (!n) return out + "] then " + to_string(n.error().code);
    if (*n == 0) return out + "]";
    out.append(reinterpret_cast<const char*>(buf), *n);
  }
}

/// Sets those of the environment's variables that name proxies, and clears the others, for a while.
class Variables {
 public:
  explicit Variables(std::vector<std::pair<const char*, const char*>> values) {
    for (const char* name :
         {"http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "REQUEST_METHOD"}) {
      if (const char* const old = std::getenv(name)) old_[name] = old;
      ::unsetenv(name);
    }
    for (const auto& [name, value] : values) ::setenv(name, value, 1);
  }
  ~Variables() {
    for (const char* name :
         {"http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "REQUEST_METHOD"})
      ::unsetenv(name);
    for (const auto& [name, value] : old_) ::setenv(name.c_str(), value.c_str(), 1);
  }

 private:
  std::map<std::string, std::string> old_;
};

inline ClientRequest request_to(std::string_view url, Method method = Method::kGet) {
  ClientRequest request;
  request.method = method;
  request.url = *Url::parse(url);
  return request;
}

}  // namespace heddle::http::test
