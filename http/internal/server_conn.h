// ServerConn: one connection of an HTTP server. No goroutine, stack or buffer while it is idle.
//
// Bytes are pushed to it by its stream, on the home worker's scheduler side ("home" below). It parses heads there, and
// starts a goroutine for each request as its head is whole.
//
//            first byte               head whole, or refused
//   kIdle --------------> kHead -----------------------------------> kRunning <---. next head is there already: the
//     ^                     ^                                          |  |  |     | same goroutine, or another
//     |                     '------ part of a head is there -----------'  |  '-----'
//     '------------------------- nothing is there ------------------------'
//     |                     |                                          |
//     | idle too long,      | client gone                              | not keep-alive, a fault, or client gone
//     | stopping            v                                          v
//     '----------------> kClosed <------- EOF, time over ---------- kLinger
//
//   state     owner                     what it has             clock
//   kIdle     home                      nothing                 idle_timeout; header_timeout before the first request
//   kHead     home                      exchange                header_timeout
//   kRunning  the request's goroutine   exchange, output        body_timeout while it waits for body bytes
//   kLinger   home                      nothing                 linger_timeout: input is read and thrown away
//   kClosed   nobody                    nothing                 on_closed() is to come and frees the object
//
// A handler that upgrades the connection, or opens a tunnel, has the bytes from then on (upgraded_conn.h): home gives them to
// upgraded_, and the connection ends with the handler, by kLinger as ever.
//
// A goroutine in kRunning reads what is left of a body after its handler returned ("draining"), within max_drain.
// Where nothing more can come, because the client is gone or has said its last word, it closes without kLinger.
//
// I1. The owner alone moves state_ on. The goroutine hands over under lock_, having looked under the same lock for
//     bytes that came meanwhile; home, finding kRunning, takes the lock and looks again. So no byte is left between the
//     two.
// I2. While a goroutine runs, home touches only what lock_ guards. While none runs there is no other user of those
//     fields.
// I3. reader_.g is set under lock_ by a goroutine about to park, and cleared under lock_ by the one that will ready it;
//     the reader looked for bytes, end and failure under the same lock before it parked. So a wake-up is neither lost
//     nor doubled. park_unlock() keeps the lock until the goroutine is off its stack.
// I4. stream_.close() is called once, by the owner, as the last thing it does with the stream; so on_closed() finds no
//     goroutine and frees the object. What wants a running request gone (the server's grace is over) shuts the stream's
//     writing half and wakes the reader: the goroutine then ends by itself.
// I5. on_closed() takes and releases lock_ before it frees: a goroutine that has just handed over may be in unlock()
//     still.
// I6. The timer only ever fires early or when asked; deadline_ says what is meant. So setting a later deadline is a
//     plain store, and a firing that finds deadline_ ahead arms it again.
// I7. A request's context is cancelled from a copy of its CancelFunc, taken under lock_ while the goroutine still had it
//     there, and called by a goroutine of its own: what hangs on a context may be freed with the last handle, and run
//     destructors of the user's, which have no place on the scheduler's side.
// I8. A request's goroutine answers everything, refusals of heads too: so responses have one writer, in the order of
//     the requests, with one way of waiting for a full socket.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include <heddle/core/clock.h>
#include <heddle/core/context.h>
#include <heddle/core/error.h>
#include <heddle/core/lock.h>
#include <heddle/core/park.h>
#include <heddle/http/internal/exchange.h>
#include <heddle/http/internal/inbound.h>
#include <heddle/http/internal/output.h>
#include <heddle/http/internal/peer.h>
#include <heddle/net/stream.h>

namespace heddle::http {

class ResponseWriter;
class ServerCore;
class UpgradedConn;
enum class HalfClose : std::uint8_t;

class ServerConn final : public net::StreamSink {
 public:
  /// Home, from on_accept().
  ServerConn(ServerCore& core, net::Stream& stream, const Peer& peer) noexcept;
  ~ServerConn();
  /// Home, once the connection is in the server's list: starts the first head's clock.
  void start();

  // ---- home ----
  void on_data(std::span<const std::byte> bytes) override;
  [[nodiscard]] std::span<std::byte> lend_room() override;
  void on_end(Error reason) override;
  void on_timer() override;
  void on_closed() override;

  // ---- the request's goroutine ----
  [[nodiscard]] const Exchange& exchange() const noexcept { return *x_; }
  [[nodiscard]] net::Stream& stream() noexcept { return stream_; }
  /// Who it is from. Known also when the client has reset the connection.
  [[nodiscard]] const Peer& peer() const noexcept { return peer_; }
  [[nodiscard]] Result<std::size_t> read_body(std::span<std::byte> to);
  /// True if this response must be the connection's last, as far as is known before it is sent.
  [[nodiscard]] bool must_close() const noexcept;
  void limit_body(std::uint64_t most) noexcept;
  void set_request_id(std::shared_ptr<const std::string> id) noexcept { x_->id = std::move(id); }
  void note_route(std::string_view pattern) noexcept { x_->route = pattern; }
  [[nodiscard]] const Context& base_context() const noexcept;
  /// Has `cancel` called, from home, when the client goes away or is cut off; at once if it is gone. Until stop_watch().
  void watch(const CancelFunc& cancel);
  void stop_watch() noexcept;
  /// Gives all bytes from here on to who speaks another protocol; until release_upgraded(). nullptr: no memory, and the
  /// connection is as good as dead.
  [[nodiscard]] UpgradedConn* take_over(HalfClose half) noexcept;
  /// Done when the server begins to shut down.
  [[nodiscard]] const Context& draining() const noexcept;
  /// From here on read_body() leaves the response alone: another goroutine writes it. False if a 100 that is due failed.
  [[nodiscard]] bool split_reading();
  /// Some of the response may be on the wire: too late for a 100.
  void note_committed() noexcept {
    if (!split_) continue_due_ = false;  // else it is the reader's, and false
  }

  // ---- Server::shutdown(), any goroutine, with the core's lock held ----
  /// Has on_timer() look at the server's phase soon.
  void poke();

  ServerConn* prev = nullptr;  // the server's list; guarded by the core's lock
  ServerConn* next = nullptr;

 private:
  enum class State : std::uint8_t { kIdle, kHead, kRunning, kLinger, kClosed };

  struct Reader {
    G* g = nullptr;        // parked, or null
    char* to = nullptr;    // where its next body bytes may be put
    std::size_t room = 0;  // 0: it wants to be woken and look itself (chunked)
    std::size_t got = 0;
    bool timed_out = false;
  };

  // home
  void begin_head();
  void feed(std::span<const std::byte> bytes);
  void data_while_running(std::span<const std::byte> bytes);
  void start_request(std::span<const std::byte> rest);
  void linger_at_home();
  void linger_on();
  void close_at_home();
  void time_out_head();

  // the goroutine
  void serve() noexcept;
  bool answer();
  void report(const ResponseWriter& writer, const OutputMeter& meter, bool whole) noexcept;
  bool run_handler(ResponseWriter& writer);
  void release_upgraded();
  void client_left() noexcept;
  bool answer_fault(ResponseWriter& writer);
  bool drain_body();
  bool next_request();
  bool pull_locked();
  bool hand_over_locked();
  void end_connection();
  bool send_continue();
  bool pull_body_locked();
  void let_more_come_locked();
  [[nodiscard]] std::int64_t body_deadline(std::int64_t now) const noexcept;
  std::size_t take_body(std::span<std::byte> to) noexcept;
  [[nodiscard]] Error body_ended(bool timed_out) noexcept;
  static void send_before_parking(void* conn) noexcept;

  // either
  void spawn();
  void arm_locked(std::int64_t when);
  void begin_linger_locked();
  [[nodiscard]] bool client_is_done_locked() const noexcept;
  [[nodiscard]] bool client_left_locked() const noexcept;
  void give_exchange() noexcept;
  [[nodiscard]] G* take_reader_locked() noexcept;
  [[nodiscard]] std::optional<CancelFunc> watcher_locked() const noexcept;
  static void cancel_aside(std::optional<CancelFunc> cancel, const Error& cause) noexcept;
  void free_self() noexcept;

  // constant
  ServerCore& core_;
  net::Stream& stream_;
  const Peer peer_;

  RawMutex lock_{LockRank::kHttpConn};
  std::atomic<State> state_{State::kIdle};  // I1

  // the owner's
  bool served_ = false;         // a request has begun on this connection
  bool continue_due_ = false;   // the client waits for 100
  bool stopping_seen_ = false;  // on_timer() has given an idle connection its last chance
  bool split_ = false;          // split_reading(): one goroutine reads, another one has out_
  bool switched_ = false;       // take_over(): what comes is no request, and there is no last word

  // guarded by lock_ while a goroutine runs, else home's
  bool paused_ = false;
  bool ended_ = false;     // on_end() came
  bool dead_ = false;      // the connection failed: nothing can be sent
  bool overflow_ = false;  // inbound_ or chunk_ holds bytes: new ones go behind them
  bool close_called_ = false;
  std::int64_t deadline_ = kNever;
  std::int64_t armed_ = kNever;  // what the stream's timer was last asked for and has not fired
  Inbound inbound_;
  Reader reader_;
  UpgradedConn* upgraded_ = nullptr;  // has the bytes; the goroutine's to free

  // the owner's
  InChunk* chunk_ = nullptr;  // taken off inbound_, being read
  Exchange* x_ = nullptr;
  std::int64_t waited_ = 0;  // ns that this request's reader has waited
  std::int64_t linger_until_ = 0;
  Output out_;
};

static_assert(sizeof(ServerConn) <= kConnSize, "an idle connection is small");

}  // namespace heddle::http
