// TestServer: a Server in memory, and clients that reach it: whole exchanges without a socket. Go's httptest.Server.
//
//     http::test::TestServer server(handler, {.server = {.idle_timeout = 1h}});
//     auto client = server.client();                       // every URL leads to the server
//     auto response = client.get("http://example.test/a");
//
// What is tested is the real Server and the real Client, with their framing, limits and time-outs: only the kernel is missing.
// So it runs under heddle::test::explore() (core/test.h), where an hour of idle_timeout takes no time and the seed decides who
// goes first; and as well in any goroutine, by the real clock. listen_loopback() adds a port for what needs one.
//
//     Client ---- TestConn ~~~~ TestConn ---- (server_end) ---- a Stream over it ---- Server
//       '-- (client_end)
//
// client_end and server_end are for decorators: one that records (test_recording.h), one that harms (test_faults.h).
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <heddle/core/clock.h>
#include <heddle/core/error.h>
#include <heddle/http/client.h>
#include <heddle/http/server.h>
#include <heddle/http/test_conn.h>
#include <heddle/http/test_script.h>
#include <heddle/net/address.h>
#include <heddle/net/transport.h>

namespace heddle::http::test {

/// Puts something around an end of a connection: returns what is used in its place.
using Decorator = std::function<std::unique_ptr<net::Transport>(std::unique_ptr<net::Transport>)>;

struct TestServerOptions {
  ServerOptions server = {};
  std::size_t capacity = std::size_t{64} << 10;  // bytes each way that are "in the network" (net::MemoryOptions)
  Decorator client_end = {};                     // around each client's end; empty: nothing
  Decorator server_end = {};                     // around each of the server's
  net::Address client_address = {};              // what handlers see as peer; empty: 192.0.2.1:49152, and so on by port
};

/// A server to test a handler with, or a client. Threads: goroutines, any number at once; close() once.
class TestServer {
 public:
  explicit TestServer(Handler handler, TestServerOptions options = {});
  /// close(), with all the time that it takes: against the rule that destructors do not park, because a test that an
  /// assertion ends early must leave nothing behind.
  ~TestServer();
  TestServer(const TestServer&) = delete;
  TestServer& operator=(const TestServer&) = delete;

  /// A client all of whose connections lead here, whatever the URL's host. `options` are its own but for `dial` and `proxy`,
  /// which are set. Lifetime: requests after close() get kRefused; the client should be gone by then, or its idle
  /// connections are waited for half a second (Server::shutdown()).
  [[nodiscard]] Client client(ClientOptions options = {}) const;
  /// What that client dials with.
  [[nodiscard]] Dialer dialer() const;

  /// A connection of raw bytes. It has no `client_end` around it. Errors: kRefused after close().
  [[nodiscard]] Result<std::unique_ptr<TestConn>> dial() const;
  /// Plays a script as a client on a connection of its own, and closes it.
  Played play(const Script& script) const;

  /// Serves 127.0.0.1, too, on a port of the kernel's choice: for clients that are not of this process. Returns: its URL,
  /// "http://127.0.0.1:40312". Errors: as Server::listen(). Not in a test's bubble: its clock would stand.
  [[nodiscard]] Result<std::string> listen_loopback();

  /// The server's URL with `path`, "/a": on the loopback once it listens there, else of the host "server.test", which
  /// leads here as any other does with client().
  [[nodiscard]] std::string url(std::string_view path = "/") const;

  /// Ends it in good order: waits for requests that run, `grace` at most, then cuts them, and waits until their handlers have
  /// returned, too. Returns: true if nothing had to be cut.
  bool close(Duration grace = std::chrono::seconds(10));

  [[nodiscard]] ServerStats stats() const;

 private:
  struct State;
  const std::shared_ptr<State> state_;
};

}  // namespace heddle::http::test
