// TestUpstream: a server that follows scripts, byte by byte, in memory: for tests of clients and proxies.
//
//     TestUpstream upstream({
//         Script().expect_until("\r\n\r\n").send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").expect_end(),
//         Script().expect_until("\r\n\r\n").reset(),
//     });
//     auto client = upstream.client();
//
// The n-th connection that is dialed plays the n-th script, on a goroutine of its own; one more than there are scripts is
// refused. When a script has ended its connection is closed; one that shall stay open ends with expect_end().
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <heddle/http/client.h>
#include <heddle/http/test_script.h>
#include <heddle/http/test_server.h>

namespace heddle::http::test {

/// A scripted server. Threads: goroutines, any number at once.
class TestUpstream {
 public:
  explicit TestUpstream(std::vector<Script> scripts);
  /// close(); parks, for the reason that TestServer's does.
  ~TestUpstream();
  TestUpstream(const TestUpstream&) = delete;
  TestUpstream& operator=(const TestUpstream&) = delete;

  /// As TestServer's. `end`: put around each connection's client end.
  [[nodiscard]] Client client(ClientOptions options = {}, Decorator end = {}) const;
  [[nodiscard]] Dialer dialer(Decorator end = {}) const;
  [[nodiscard]] static std::string url(std::string_view path = "/");

  /// Waits until all scripts that were begun have ended, by their patience at most, and refuses connections from now on.
  /// Returns: how each script went, in their order; one that nobody dialed has that as its problem.
  std::vector<Played> close();
  /// close(), as one text: empty if all scripts came out, else the first problem with its connection's number, from 1.
  std::string problem();

 private:
  struct State;
  const std::shared_ptr<State> state_;
};

}  // namespace heddle::http::test
