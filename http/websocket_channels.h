// Channels: a WebSocket as two channels, one of the messages that come and one of those to be sent.
//
//     ws::Channels chat(std::move(socket));
//     for (ws::Message m : chat.in()) chat.out().send(std::move(m));  // an echo, until the peer has closed
//
//     peer ===> Connection --(a goroutine reads)---> in()
//     peer <=== Connection <--(a goroutine writes)-- out()
//
// Back-pressure: who does not receive fills in(), then nothing is read, then the peer's writes wait (and its pings are not
// answered). A peer that does not read fills out(), then who sends waits.
//
// How it ends:
//     the peer closes, breaks the protocol, is gone    in() is closed behind the last message; in_end() says why, as
//                                                      Connection::read() does. What is in out() is thrown away.
//     out() is closed, or finish()                     what is in it is sent, then a Close; messages that still come are dropped.
//     the destructor, the options' context             at once: no Close.
//
// I1. context() is done exactly when the connection is over; its cause says why, for the first reason there was.
// I2. in() is closed once, by the reader, behind the last message. out() is never closed by this side's goroutines.
// I3. Somebody takes from out() until that is closed or the Channels are gone: so a send to it never waits for ever.
// I4. The destructor returns when both goroutines have ended, and nobody touches the connection any more.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>

#include <heddle/core/chan.h>
#include <heddle/core/context.h>
#include <heddle/core/error.h>
#include <heddle/core/go.h>
#include <heddle/http/websocket.h>

namespace heddle::http::ws {

struct ChannelOptions {
  Context ctx = {};               ///< Its end ends the connection at once, with its cause.
  std::size_t in_capacity = 16;   ///< Messages in in(); 0: each is handed over before the next is read.
  std::size_t out_capacity = 16;  ///< Messages in out().
  GoOptions goroutine = {.name = "ws.Channels"};
};

/// See the file's opening. Movable while nobody else uses it.
///
/// Threads:  in(), out(), recv(), send(), context() by any number of goroutines; finish() and the destructor: the owner's.
/// Memory:   two goroutines, and the messages in the channels: at most max_message each.
class Channels {
 public:
  /// Reads and writes `socket` from now on. Errors: std::bad_alloc.
  explicit Channels(Connection socket, const ChannelOptions& options = {});
  Channels(Channels&& other) noexcept;
  Channels& operator=(Channels&& other) noexcept;
  /// Parks until I4 holds, for no peer.
  ~Channels();

  [[nodiscard]] const RecvChan<Message>& in() const noexcept;
  [[nodiscard]] const SendChan<Message>& out() const noexcept;
  /// I1. The cause: what Connection::read() says at the end.
  [[nodiscard]] const Context& context() const noexcept;
  /// Why in() is closed. To be called when it is.
  [[nodiscard]] Error in_end() const noexcept;

  /// The next message. Errors: in_end(), behind the last one; the code of `ctx`.
  [[nodiscard]] Result<Message> recv(const Context& ctx = {});
  /// Puts `message` into out(); parks until there is room. Errors: the cause, if the connection is over, also meanwhile; the code
  /// of `ctx`. None: it is in the queue. Panic "send on closed channel" if out() was closed.
  [[nodiscard]] Result<void> send(Message message, const Context& ctx = {});

  /// Ends it in good order: closes out() if it is open, sends what is in it and then a Close, and parks until it is answered.
  /// Errors: as Connection::close(); the code of `ctx`: then it goes on, and the destructor ends it.
  Result<void> finish(int code = kNormalClosure, std::string_view reason = {}, const Context& ctx = {});

  /// How the peer closed.
  [[nodiscard]] CloseStatus peer_close() const;

 private:
  struct State;
  std::unique_ptr<State> state_;  // null: moved from
};

}  // namespace heddle::http::ws
