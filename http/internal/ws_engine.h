// Engine: one WebSocket over a Transport, after its handshake. What ws::Connection is a handle of (websocket.h).
//
//                close(), drain, fault                    peer's Close, its end, close_timeout
//     kOpen ---------------------------> kClosing ---------------------------------------> kOver
//        |                                                                                   ^
//        '--- peer's Close (answered), its end, failure, idle_timeout ----------------------'
//
// Who does what. Nothing runs in the background: there is no goroutine and no timer per connection.
//     reads      whoever is in read(), or a Reader's; else whoever is in close(), that is behind it in line. It answers pings and
//                Closes, and pings a silent peer itself, when its wait has been long enough.
//     writes     any goroutine, frame by frame (ws_writer.h)
//
// I1. One goroutine at a time is the reader: it holds read_lock_, from one message to the next event. What it has read and not
//     handed out stays in in_ and reader_, so a read() whose context ends loses nothing.
// I2. end_ is set once, by the reader, in kOver: every later read() says the same.
// I3. close() never waits longer than close_timeout for anybody: it moves the reader's deadline (under deadline_lock_, under
//     which the reader sets it too, so that the last word is the closer's), and closes the transport if that is not enough.
// I4. Once a Close was sent, messages that come are dropped: nobody could answer them.
// I5. The stream ends behind the last frame: our end (close_write) first, then what the peer still sends is read away, up to
//     its end or close_timeout, and then the transport is closed. Else the kernel could answer with a reset that overtakes
//     our Close. A client waits for the server's end before it closes (RFC 6455 s7.1.1).
// I6. A message that is read as it comes belongs to the Reader that knows stream_number_: who reads another way moves that on,
//     and drops what is left of it. So no Reader gets bytes of a message that is not its own. Whole or not, a message goes by
//     turn(), which is told how much of it there may be at a time.
//
// Time in which a peer is silent counts only while somebody waits for it (quiet_): who does not read does not know.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <heddle/core/clock.h>
#include <heddle/core/context.h>
#include <heddle/core/error.h>
#include <heddle/core/mutex.h>
#include <heddle/http/internal/ws_extension.h>
#include <heddle/http/internal/ws_frame.h>
#include <heddle/http/internal/ws_reader.h>
#include <heddle/http/internal/ws_utf8.h>
#include <heddle/http/internal/ws_writer.h>
#include <heddle/http/websocket.h>
#include <heddle/http/websocket_options.h>
#include <heddle/net/buf_reader.h>
#include <heddle/net/transport.h>

namespace heddle::http::ws {

/// Done when either of two contexts is, for as long as this object lives.
class EitherContext {
 public:
  EitherContext(const Context& a, const Context& b);
  ~EitherContext();
  EitherContext(const EitherContext&) = delete;
  EitherContext& operator=(const EitherContext&) = delete;

  [[nodiscard]] const Context& ctx() const noexcept { return ctx_; }

 private:
  Context ctx_;
  std::optional<StopFunc> stop_;
};

class Engine {
 public:
  struct Setup {
    Role role = Role::kServer;
    std::optional<Agreed> deflate;
    std::string subprotocol;
    // The end of either is a drain: Close 1001. Unless its cause is the client's leaving, which the reader meets by itself.
    Context ctx;
    Context drain;
    bool lingers = true;  // I5 is ours to keep; else whose transport it is reads away what still comes
  };

  Engine(net::Transport& transport, std::unique_ptr<net::Transport> owned, const Options& options, Setup setup);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  [[nodiscard]] Result<Message> read(const Context& ctx);
  [[nodiscard]] Result<void> write(Kind kind, std::string_view bytes);

  /// For Reader. A message that has begun, and what read_some() knows it by.
  struct Begun {
    Kind kind;
    std::uint64_t number;
  };
  [[nodiscard]] Result<Begun> begin_read(const Context& ctx);
  /// Some of it, 0 at its end. `to` is not empty.
  [[nodiscard]] Result<std::size_t> read_some(const Context& ctx, std::uint64_t number, std::span<char> to);

  /// For Writer, which calls leave_message() once after begin_message(), at last. kInvalid: nothing has happened.
  [[nodiscard]] Result<void> begin_message(Kind kind, const Context& ctx);
  [[nodiscard]] Result<void> write_some(std::string_view bytes, More more);
  void leave_message() noexcept { writer_.leave(); }

  [[nodiscard]] Result<void> ping(std::string_view payload);
  [[nodiscard]] Result<void> close(int code, std::string_view reason);
  void abort() noexcept;

  [[nodiscard]] CloseStatus peer_close();
  [[nodiscard]] const std::string& subprotocol() const noexcept { return setup_.subprotocol; }
  [[nodiscard]] bool compressed() const noexcept { return setup_.deflate.has_value(); }

 private:
  enum class Farewell : std::uint8_t { kNone, kWait, kEndAndWait };

  // The reader's, with read_lock_ held.
  [[nodiscard]] Result<MessageReader::Event> turn(const Context& ctx, std::size_t room);
  [[nodiscard]] Result<void> leave_stream(const Context& ctx);
  [[nodiscard]] Result<bool> fill(const Context& ctx);
  [[nodiscard]] bool recovers(const Error& error);
  [[nodiscard]] bool late();
  [[nodiscard]] MessageReader::Event step(std::size_t room);
  void take_close();
  void fail(int code, const char* why, const Error& end);
  void over(const Error& end, const Error& how, Farewell farewell);

  // Anybody's.
  void begin_closing(const Error& as);
  void go_away();
  [[nodiscard]] std::optional<Error> draining() const noexcept;
  [[nodiscard]] Result<void> stay();
  // relaxed: who must not miss it looks under deadline_lock_ (I3).
  [[nodiscard]] bool closing() const noexcept { return closing_.load(std::memory_order_relaxed); }
  [[nodiscard]] Error closing_as();
  [[nodiscard]] Context closing_context();
  void arm_read(Duration normal);

  // Constant.
  const std::unique_ptr<net::Transport> owned_;  // null: the caller's
  net::Transport& transport_;
  const Duration ping_interval_;
  const Duration idle_timeout_;
  const Duration close_timeout_;
  const std::function<void(std::string_view)> on_pong_;
  const Setup setup_;
  const EitherContext leave_;  // setup_.ctx, setup_.drain

  Mutex read_lock_;
  // Guarded by read_lock_.
  net::BufReader in_;
  MessageReader reader_;
  Duration quiet_{};      // how long the peer was waited for since something came
  Duration next_ping_{};  // when quiet_ reaches it
  bool watch_ = true;     // for a drain
  Error end_;             // kOk: not over
  Error how_;             // over: what close() says; kOk if the peer has closed
  enum class Stream : std::uint8_t {
    kNone,
    kOpen,   // the message that comes is read piece by piece
    kEnded,  // its end has come
  };
  Stream stream_ = Stream::kNone;
  std::uint64_t stream_number_ = 0;  // I6

  MessageWriter writer_;
  // Of who is between begin_message() and leave_message().
  Kind out_kind_ = Kind::kBinary;
  Utf8Check out_text_;

  Mutex deadline_lock_;
  // Written under deadline_lock_, once.
  std::atomic<bool> closing_{false};
  TimePoint close_until_ = kNoDeadline;
  Error closing_as_;  // what end_ will be

  Mutex status_lock_;
  CloseStatus status_;  // guarded by status_lock_
};

}  // namespace heddle::http::ws
