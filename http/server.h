// Server: HTTP/1.1 on any number of addresses, one goroutine per request.
//
// A connection between requests is an object of some hundred bytes: no goroutine, no stack, no buffer. Requests of one
// connection run one after the other and are answered in order; those of different connections run as they come.
//
//   Mux mux;
//   mux.handle("GET /hello", [](Request&, ResponseWriter& w) { w.write("hello\n"); });
//   Server server(mux);
//   auto address = server.listen(*net::Address::parse("127.0.0.1:8080"));
//   …
//   server.shutdown(10s);
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <heddle/core/clock.h>
#include <heddle/core/error.h>
#include <heddle/http/options.h>
#include <heddle/http/request.h>
#include <heddle/http/response_writer.h>
#include <heddle/net/address.h>
#include <heddle/net/endpoint.h>
#include <heddle/net/stream_listener.h>

namespace heddle::http {

class ServerCore;

/// Answers a request, in blocking style, on a goroutine of its own; called from many at once. The response is finished
/// when it returns (200 and no body if it wrote nothing). If it throws, the client gets 500, or a visibly cut response
/// if some of it was sent already; the server goes on.
using Handler = std::function<void(Request&, ResponseWriter&)>;

struct ServerStats {
  std::uint64_t accepted = 0;        // connections
  std::uint64_t refused = 0;         // of them: closed at once, over max_connections
  std::size_t open = 0;              // connections now
  std::uint64_t handler_errors = 0;  // handlers that threw
  std::uint64_t refused_per_ip = 0;  // connections: closed at once, over max_connections_per_ip
};

class Server {
 public:
  explicit Server(Handler handler, const ServerOptions& options = {});
  /// Dies with a message if it still listens: call shutdown() first, for a destructor must not park. What handlers that
  /// shutdown() could not wait for refer to must outlive them.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// Serves connections to `address` from now on; returns it with the port in use. May be called several times, also for
  /// addresses of both kinds. If one fails the others go on.
  /// Errors: as net::StreamListener::listen(); kClosed after shutdown(). Threads: a goroutine.
  [[nodiscard]] Result<net::Address> listen(const net::Address& address, const net::StreamListenOptions& options = {});
  /// The same on a Unix socket: "/run/app.sock", or "@app" in the abstract. Its file is made with options.mode, in the place of
  /// one that a killed process left (net/unix.h), and taken away by shutdown(). Its clients count for no limit per address;
  /// Request::peer_credentials() tells who they are. Errors: as net::listen_unix(); kClosed after shutdown().
  [[nodiscard]] Result<net::UnixAddress> listen(const net::UnixAddress& address,
                                                const net::UnixListenOptions& options = {});
  /// The same where a flag says which of both it is, with the options of its kind.
  [[nodiscard]] Result<net::Endpoint> listen(const net::Endpoint& endpoint, const net::StreamListenOptions& ip = {},
                                             const net::UnixListenOptions& local = {});

  /// Ends service in good order; parks until it has ended or `grace` is over.
  ///
  /// First the ports and paths are freed, so that a successor can bind them at once. One that is shared (reuse_port) is left so that
  /// no client notices: new connections go to the successor, those that had begun to come here are served
  /// (net::StreamListener::divert()); that takes net::kHandshakePatience, at most a quarter of the grace. Requests that run, or whose head has begun
  /// to come, are answered as ever, the answers marked `Connection: close`. A connection between requests (or accepted
  /// and silent so far) gets a last chance of half a second, at most half the grace: a request that is on its way then
  /// is answered and marked; else the connection is closed in stages. A request that is sent into that close is lost,
  /// as HTTP/1.1 permits (RFC 9112 s9.5): clients repeat it. What is left when `grace` is over is cut.
  ///
  /// Returns: true if everything ended in time; false if connections were cut (a handler that does not return then runs
  ///          on, without a connection).
  /// Threads: a goroutine; once.
  bool shutdown(Duration grace);

  [[nodiscard]] ServerStats stats() const;

  /// What takes connections that do not come from listen(): other transports, streams in memory.
  [[nodiscard]] net::StreamAcceptor& acceptor() noexcept;

 private:
  template <class Where, class Options>
  Result<net::StreamListener*> add(const Where& where, const Options& options);

  ServerCore* core_;
  std::vector<std::unique_ptr<net::StreamListener>> listeners_;
  bool stopped_ = false;
};

}  // namespace heddle::http
