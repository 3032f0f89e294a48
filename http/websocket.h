// WebSocket (RFC 6455) with permessage-deflate (RFC 7692), server and client, in blocking style.
//
//   mux.handle("GET /echo", ws::handler([](ws::Connection& socket) {
//     while (auto message = socket.read()) {
//       if (!socket.write(*message)) break;
//     }
//   }));
//
//   auto socket = ws::dial(client, "ws://127.0.0.1:8080/echo");
//   socket->write_text("hello");
//   auto echo = socket->read();
//   socket->close();
//
// What runs by itself, and when: whoever is in read() answers pings and the peer's Close, and pings a silent peer. There is no
// goroutine behind a Connection, and an idle one holds no buffer; so a program that never reads learns nothing of its peer, and
// its peer gets no pongs. Read on a goroutine of its own, or use ws::Channels (websocket_channels.h).
//
// How it ends, for read():
//     kEof          the peer closed with a Close frame, which was answered: peer_close() says with what
//     kClosed       this side did: close(), abort()
//     kProtocol     the peer broke the protocol (Close 1002) or sent text that is no UTF-8 (Close 1007)
//     kLimit        the peer exceeded a limit (Close 1009)
//     kReset        the peer's stream ended without a Close
//     kTimeout      idle_timeout, write_timeout
//     kCanceled     the server drains (Close 1001); or another code of its context's
//     kNoResources  there was no memory for a message (Close 1011)
// After each of them it is over: nothing is sent any more.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include <heddle/core/context.h>
#include <heddle/core/error.h>
#include <heddle/http/client.h>
#include <heddle/http/server.h>
#include <heddle/http/websocket_options.h>
#include <heddle/http/websocket_stream.h>
#include <heddle/net/transport.h>

namespace heddle::http::ws {

struct Message {
  Kind kind = Kind::kText;
  std::string data;  // kText: UTF-8, checked
};

/// How the peer closed. 1005: with no code. 1006: it did not, or not yet.
struct CloseStatus {
  int code = 1006;
  std::string reason;
};

// Codes of a Close (RFC 6455 s7.4.1).
inline constexpr int kNormalClosure = 1000;
inline constexpr int kGoingAway = 1001;
inline constexpr int kProtocolError = 1002;
inline constexpr int kUnsupportedData = 1003;
inline constexpr int kNoStatus = 1005;  // none on the wire
inline constexpr int kAbnormalClosure = 1006;
inline constexpr int kInvalidPayload = 1007;
inline constexpr int kPolicyViolation = 1008;
inline constexpr int kMessageTooBig = 1009;
inline constexpr int kInternalError = 1011;
inline constexpr int kTryAgainLater = 1013;

/// A WebSocket. Movable while nobody else uses it; of one that was moved from, close() alone may be called.
///
/// Threads:  read() one goroutine at a time (others wait for their turn, and get other messages); all else any number of them.
/// Memory:   about 1 KiB, and 16 KiB of a shared pool while something is being read; the message that comes, or of one that is
///           read in pieces 64 KiB at most; Compression's.
/// Lifetime: one of accept() until its handler returns. The destructor does not park: it drops a connection that was not closed.
class Connection {
 public:
  explicit Connection(std::unique_ptr<Engine> engine) noexcept;
  Connection(Connection&& other) noexcept;
  Connection& operator=(Connection&& other) noexcept;
  ~Connection();

  /// The next message, whole; parks. Control frames are dealt with meanwhile.
  ///
  /// Errors: as the file's opening says, then and ever after; the code of `ctx`: then nothing is lost, and it goes on.
  [[nodiscard]] Result<Message> read(const Context& ctx = {});

  /// The next message, to be read as it comes (websocket_stream.h); parks until it begins. What was not read of the message before
  /// is dropped, by read() too: so who reads in pieces is the one who reads. A message that read() has begun and left for its
  /// context is handed over from its beginning.
  ///
  /// Errors: as read().
  [[nodiscard]] Result<Reader> next_reader(const Context& ctx = {});

  /// A message to be sent in pieces (websocket_stream.h); parks while another one is being sent. Nothing is sent yet.
  ///
  /// Errors: as write(); the code of `ctx`, for the wait alone.
  [[nodiscard]] Result<Writer> next_writer(Kind kind, const Context& ctx = {});

  /// Sends a message; parks while the peer is slow. One that is longer than write_frame goes in several frames, between which
  /// others' pings and a Close find their place; other messages wait until it is sent.
  ///
  /// Errors: kInvalid for text that is no UTF-8; kClosed after a Close, either side's; kTimeout past write_timeout; kReset;
  ///         the context's code if the server drains; kCanceled behind a Writer's unfinished message. After any but kInvalid no
  ///         message can be sent. Throws std::bad_alloc.
  Result<void> write(Kind kind, std::string_view data);
  Result<void> write(const Message& message) { return write(message.kind, message.data); }
  Result<void> write_text(std::string_view text) { return write(Kind::kText, text); }
  Result<void> write_binary(std::string_view bytes) { return write(Kind::kBinary, bytes); }

  /// Sends a Ping, and does not wait for its Pong: that is told to Options::on_pong.
  /// Errors: kInvalid for more than 125 bytes; as write().
  Result<void> ping(std::string_view payload = {});

  /// Closes in good order: sends a Close, drops the messages that still come, and parks until the peer has answered; for
  /// close_timeout at most. Idempotent: a second call waits as well. A read() that is under way ends, too.
  ///
  /// Errors: kInvalid for a code that is not to be sent (RFC 6455 s7.4; kNoStatus sends none), a reason of more than 123 bytes
  ///         or one that is no UTF-8, and nothing happens; kTimeout, kReset … if the peer did not answer: it is over all
  ///         the same. None if the peer had closed already, or this was moved from: then it is for whoever has it.
  Result<void> close(int code = kNormalClosure, std::string_view reason = {});

  /// Drops the connection: no Close, no waiting. Who reads or writes gets kClosed. Never parks.
  void abort() noexcept;

  /// How the peer closed, as far as read() or close() has seen it.
  [[nodiscard]] CloseStatus peer_close() const;
  /// The one that both sides agreed on; empty: none.
  [[nodiscard]] const std::string& subprotocol() const noexcept;
  /// True if permessage-deflate was agreed on.
  [[nodiscard]] bool compressed() const noexcept;

 private:
  std::unique_ptr<Engine> engine_;  // null: moved from
};

/// Answers a handshake, and makes a WebSocket of the request's connection. The fields that were set on `writer` go along.
///
/// Errors: the handshake was refused, and answered: 426 without Upgrade: websocket, or for another version than 13; 403 if
///         check_origin says no (kDenied); 400 for what else RFC 6455 s4.2.1 asks, and for extensions or subprotocols that are
///         no list (kProtocol). Else as ResponseWriter::upgrade(). The handler has nothing to do but to return.
/// Threads: the handler's goroutine. Lifetime: until the handler returns; only then is the connection's end waited for.
///          Server::shutdown() and the end of request.context() make whoever reads or writes send Close 1001.
/// Source:  RFC 6455 s4.2.
[[nodiscard]] Result<Connection> accept(Request& request, ResponseWriter& writer, const Options& options = {});

/// A Handler that accepts and calls `serve`. Then it closes: with 1000; with 1011 if `serve` threw, which the server is told of;
/// unless `serve` has moved the Connection elsewhere, into Channels for one, which must end before it returns.
[[nodiscard]] Handler handler(std::function<void(Connection&)> serve, Options options = {});
[[nodiscard]] Handler handler(std::function<void(Connection&, Request&)> serve, Options options = {});

/// Opens a WebSocket to "ws://host/path"; also http:, http+unix:, and wss: or https: if the client has a `secure`.
///
/// It goes by the client's dialer, proxy and cookies, and follows its redirects; the connection is the WebSocket's then, and none
/// of the client's limits applies any more. `ctx` ends the handshake alone. A proxy, chosen as for the http: or https: URL, is
/// always asked for a tunnel (CONNECT): few pass Upgrade on.
/// Errors:  as Client::send(), also kDenied (407) and kRefused if the proxy refuses; kInvalid for a subprotocol that is no token;
///          kDenied if the answer is 401 or 403, kNotFound for 404, kProtocol for any other that is no 101 (Options::on_refusal
///          is shown all three), and for one that does not prove itself or agrees to what was not offered (RFC 6455 s4.1).
/// Threads: goroutines.
[[nodiscard]] Result<Connection> dial(const Context& ctx, Client& client, std::string_view url,
                                      const Options& options = {});
[[nodiscard]] inline Result<Connection> dial(Client& client, std::string_view url, const Options& options = {}) {
  return dial({}, client, url, options);
}

}  // namespace heddle::http::ws
