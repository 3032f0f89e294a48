// MessageConn: a connection as two channels, one of the messages that come and one of those to be sent.
//
//     net::MessageConn<net::LineCodec> lines(conn);                // conn: any Transport
//     for (std::string line : lines.in()) lines.out().send(line);  // an echo, until the peer has ended
//     auto ended = lines.finish();                                 // what was sent is on its way, the peer has ended
//
//             bytes               reader, a goroutine              at most in_capacity messages
//     peer  ========>  Transport  ------------------>  decode  ------------------------------->  in()
//     peer  <========  Transport  <------------------  encode  <-------------------------------  out()
//             writev              writer, a goroutine              at most out_capacity messages
//
// Back-pressure: who does not receive fills in(); then the reader waits and reads no more; then the peer's writes wait.
// A peer that does not read makes the writer wait; then out() fills; then who sends waits. What is held besides is the
// message the reader waits with, the bytes of the next ones that one read brought, and the messages that one writev
// sends.
//
// How it ends:
//
//     inbound ends      the peer's end of stream (kEof; kProtocol if within a message), or what the codec refuses. in()
//                       is closed behind the last message; what is sent still goes out: one may answer. After a refusal
//                       what comes is thrown away.
//     outbound ends     out() was closed: what is in it is written, then the peer is told the end (close_write).
//     both have ended   the connection ends, for the reason for which inbound did.
//     at once           close(), the destructor, options.ctx, a time-out, an error of the transport or of encode():
//                       what was not written is lost.
//
// I1. The context is done exactly when the connection has ended. Its cause says why, for the first reason there was.
// I2. in() is closed once, by the reader, when no message follows; its error is stored before. out() is never closed by
//     this side's goroutines: that is for who sends.
// I3. Reader and writer wait in nothing that the context's end does not end: for the writer's writev the reader sees to
//     that. It lives until the context is done, also when there is nothing more to read, and then closes the transport.
// I4. The writer takes from out() until that is closed or the MessageConn is gone: when the connection has ended it
//     throws away what it takes. So a send to out() does not wait for ever as long as the MessageConn lives, whatever
//     the peer does; unless the codec's encode() has ended the writer by goexit().
// I5. The destructor returns when both goroutines have: none is left, and nobody touches the transport any more.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <heddle/core/chan.h>
#include <heddle/core/clock.h>
#include <heddle/core/context.h>
#include <heddle/core/error.h>
#include <heddle/core/go.h>
#include <heddle/core/mutex.h>
#include <heddle/core/panic.h>
#include <heddle/core/select.h>
#include <heddle/core/task.h>
#include <heddle/core/wait_group.h>
#include <heddle/net/codec.h>
#include <heddle/net/transport.h>

namespace heddle::net {

/// Sizes and time-outs of a MessageConn. A duration of zero or less means "no limit".
struct MessageOptions {
  Context ctx = {};                ///< Its end ends the connection at once, with its cause.
  std::size_t in_capacity = 16;    ///< Messages in in(); 0: the reader hands each over before it reads on.
  std::size_t out_capacity = 16;   ///< Messages in out().
  std::size_t max_batch = 64;      ///< Messages written by one writev, at least one.
  std::size_t read_buffer = 4096;  ///< Bytes of the first buffer; it grows to hold one message.

  /// For a message of which some bytes have come, until all have. Starts when the reader has given all that was
  /// complete to in(). Bounds a peer that drips. Cause kTimeout, "read message". Also for the peer's end after the codec refused
  /// a message; starts then, and the cause is the refusal.
  Duration read_timeout = std::chrono::seconds(30);

  /// For messages that are written together, until the kernel has all their bytes. Starts with the writing. Bounds a
  /// peer that does not read. Cause kTimeout, "write message".
  Duration write_timeout = std::chrono::seconds(30);

  /// For a connection on which nothing happens. Starts when the reader waits for bytes (or has no more to wait for),
  /// anew with those that come and those that were written; while something is written, or the reader waits for room in
  /// in(), it stands still. Bounds what abandoned connections cost. Cause kTimeout, "idle". No limit by default: only
  /// the protocol knows.
  Duration idle_timeout = {};

  /// Of reader and writer: decode() and encode() run on their stacks.
  GoOptions goroutine = {.name = "net.MessageConn"};
};

namespace detail {

/// All of a MessageConn that knows no message.
class MessageCore {
 public:
  MessageCore(Transport& transport, std::unique_ptr<Transport> owned, const MessageOptions& options);
  MessageCore(const MessageCore&) = delete;
  MessageCore& operator=(const MessageCore&) = delete;

  [[nodiscard]] const Context& context() const noexcept { return ctx_; }
  [[nodiscard]] Transport& transport() noexcept { return transport_; }
  /// The first call decides (I1).
  void end(Error cause) const noexcept { cancel_(cause); }
  [[nodiscard]] Error cause() const noexcept;

  // ---- the reader's ----
  /// `begun`: bytes of a message are there. Errors: the context's; what the connection is to end for.
  [[nodiscard]] Result<std::size_t> read(std::span<std::byte> into, bool begun);
  /// Why in() is about to be closed.
  void inbound_ends(Error why) noexcept { in_end_ = why; }
  /// The rest of the reader's life (I3). `refused`: first throws away what comes.
  void linger(bool refused);
  /// A message is complete: the next one has its own time.
  void message_came() noexcept { message_until_ = kNoDeadline; }
  void close_transport() noexcept { transport_.close(); }

  // ---- the writer's ----
  /// False: it has failed, and the connection has ended.
  [[nodiscard]] bool write(Outgoing& bytes);
  void outbound_ends() noexcept;

  // ---- both ----
  /// In a handler of what the codec threw: keeps it for rethrow(), and ends the connection. False: it is goexit()'s,
  /// which must go on.
  [[nodiscard]] bool caught(const char* op);

  // ---- the user's, once in() is closed ----
  [[nodiscard]] Error in_end() const noexcept { return in_end_; }
  /// Throws what caught() kept, if anything.
  void rethrow();

 private:
  MessageCore(Transport& transport, std::unique_ptr<Transport> owned, const MessageOptions& options,
              ContextAndCancel made);
  [[nodiscard]] TimePoint idle_at() const noexcept;
  void half_ended() noexcept;
  void throw_away();

  // Constant.
  Transport& transport_;
  const std::unique_ptr<Transport> owned_;  // null: the caller's
  const Duration read_timeout_;
  const Duration write_timeout_;
  const Duration idle_timeout_;
  const Context ctx_;
  const CancelFunc cancel_;

  // The reader's. Others read in_end_ when in() is closed, or halves_ says that inbound has ended: both publish it.
  TimePoint began_waiting_;                // for bytes
  TimePoint message_until_ = kNoDeadline;  // of the message that has begun
  TimePoint read_until_ = kNoDeadline;     // what the transport was told
  Error in_end_;

  Mutex lock_;
  std::exception_ptr exception_;  // guarded by lock_: the first that decode() or encode() threw

  // kNever while something is written; else when that was last so. Written by the writer.
  std::atomic<std::int64_t> last_write_{0};
  std::atomic<int> halves_{2};  // directions that have not ended in good order; each side counts its own down
};

}  // namespace detail

/// A connection that is received from and sent to by messages. Movable while nobody else uses it.
///
/// Threads:  in(), out(), recv(), send(), context(), close() by any number of goroutines. finish() and the destructor:
///           the owner's. The codec is used by two goroutines at once: one in decode(), one in encode().
/// Lifetime: a Transport that was given by reference must outlive it, and is closed when the destructor has returned.
///           Channels may be kept longer: in() is closed; out() then has no receiver, so send with a context.
/// Memory:   two goroutines, and what the file's opening names.
template <Codec C>
class MessageConn {
 public:
  using In = typename C::In;
  using Out = typename C::Out;

  /// Reads and writes `transport` from now on; nobody else may. Its deadlines are this object's.
  ///
  /// Errors: std::bad_alloc; the transport may have been closed then.
  explicit MessageConn(Transport& transport, C codec = C(), const MessageOptions& options = {})
      : state_(std::make_unique<State>(transport, nullptr, std::move(codec), options)) {
    start();
  }
  /// The same with a transport of its own.
  explicit MessageConn(std::unique_ptr<Transport> transport, C codec = C(), const MessageOptions& options = {}) {
    Transport& at = *transport;
    state_ = std::make_unique<State>(at, std::move(transport), std::move(codec), options);
    start();
  }
  MessageConn(MessageConn&& other) noexcept = default;
  MessageConn& operator=(MessageConn&& other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }

  /// Ends the connection at once and parks until its goroutines have ended (I5), which they do without waiting for the
  /// peer. It is a destructor that parks because the transport may be gone the next moment.
  ~MessageConn() = default;

  /// The messages that come. Closed when none follows; in_end() says why.
  [[nodiscard]] const RecvChan<In>& in() const noexcept { return state_->in_view; }

  /// The messages to be sent. Close it when there are no more (or call finish()). After the connection has ended it
  /// takes messages that nobody gets: context() tells.
  [[nodiscard]] const SendChan<Out>& out() const noexcept { return state_->out_view; }

  /// Done when the connection has ended (I1). The cause: kEof if both sides ended in good order; kClosed if this side
  /// did so by close() or the destructor; kLimit, kProtocol and so on as the codec has it; kTimeout as the options
  /// say; what the transport said.
  [[nodiscard]] const Context& context() const noexcept { return state_->core.context(); }

  /// Why in() is closed, as recv() says it. To be called when it is.
  [[nodiscard]] Error in_end() const noexcept { return state_->core.in_end(); }

  /// Receives the next message. Those that had come when the connection ended are received before its error.
  ///
  /// Errors: kEof if the peer has ended its stream behind a message, kProtocol if within one; what the codec refused;
  ///         why the connection has ended; the code of `ctx`. What decode() or encode() threw is thrown.
  [[nodiscard]] Result<In> recv(const Context& ctx = {}) {
    Result<std::optional<In>> got = heddle::recv(ctx, state_->in);
    if (!got) return std::unexpected(got.error());
    if (*got) return *std::move(*got);
    state_->core.rethrow();
    return std::unexpected(state_->core.in_end());
  }

  /// Puts `message` into out(); parks until there is room.
  ///
  /// Errors: the cause, if the connection has ended, also meanwhile; the code of `ctx`. None means that it is in the
  ///         queue. Panic "send on closed channel" if out() was closed.
  [[nodiscard]] Result<void> send(Out message, const Context& ctx = {}) {
    const Context& ours = context();
    if (const std::optional<Error> done = ctx.err()) return std::unexpected(Error{done->code, 0, "send message"});
    if (ours.err()) return std::unexpected(state_->core.cause());
    if (state_->out.try_send(std::move(message))) return {};
    bool sent = false;
    select(on_send(state_->out, std::move(message), [&] { sent = true; }), on_done(ours, [] {}), on_done(ctx, [] {}));
    if (sent) return {};
    if (ours.err()) return std::unexpected(state_->core.cause());
    return std::unexpected(Error{ctx.err()->code, 0, "send message"});
  }

  /// Ends it in good order: closes out() if it is open, sends what is in it, and parks until the peer has ended, too.
  /// What comes meanwhile is dropped.
  ///
  /// A peer that does not end is waited for as long as `ctx` and the idle time-out have it.
  ///
  /// Errors: the connection's cause, unless that is kEof; the code of `ctx`: then it goes on, and the destructor ends
  ///         it. What decode() or encode() threw is thrown.
  [[nodiscard]] Result<void> finish(const Context& ctx = {}) {
    close_out();
    while (!context().err()) {
      Result<std::optional<In>> got = heddle::recv(ctx, state_->in);
      if (!got) return std::unexpected(got.error());
      if (*got) continue;
      select(on_done(context(), [] {}), on_done(ctx, [] {}));
      if (!context().err()) return std::unexpected(Error{ctx.err()->code, 0, "finish"});
    }
    while (state_->in.recv()) {  // closed by the reader, soon
    }
    state_->core.rethrow();
    const Error cause = state_->core.cause();
    if (cause.code == Code::kEof) return {};
    return std::unexpected(cause);
  }

  /// Ends the connection at once, for `cause`, unless it has ended. Never parks.
  void close(Error cause = {Code::kClosed, 0, "MessageConn"}) noexcept { state_->core.end(cause); }

 private:
  // What the goroutines refer to: it stays where it is when the handle moves.
  struct State {
    State(Transport& transport, std::unique_ptr<Transport> owned, C codec, const MessageOptions& options)
        : core(transport, std::move(owned), options),
          decoder(std::move(codec), options.read_buffer),
          max_batch(options.max_batch > 0 ? options.max_batch : 1),
          goroutine(options.goroutine),
          in(make_chan<In>(options.in_capacity)),
          out(make_chan<Out>(options.out_capacity)),
          gone(make_chan<Done>()),
          in_view(in),
          out_view(out) {}
    ~State() {
      core.end({Code::kClosed, 0, "MessageConn"});
      gone.close();
      goroutines.wait();  // keeps I5
    }

    void start(void (State::*body)());
    void read_all();
    void write_all();
    [[nodiscard]] bool read_messages();
    [[nodiscard]] bool write_batch(std::vector<Out>& batch, Outgoing& bytes);

    detail::MessageCore core;
    Decoder<C> decoder;  // its codec is the writer's, too
    const std::size_t max_batch;
    const GoOptions goroutine;
    const Chan<In> in;
    const Chan<Out> out;
    const Chan<Done> gone;  // closed by the destructor
    const RecvChan<In> in_view;
    const SendChan<Out> out_view;
    WaitGroup goroutines;
  };

  void start() {
    state_->start(&State::read_all);
    state_->start(&State::write_all);
  }

  void close_out() {
    try {
      state_->out.close();
    } catch (const Panic&) {  // closed already
    }
  }

  std::unique_ptr<State> state_;  // null: moved from
};

template <Codec C>
void MessageConn<C>::State::start(void (State::*body)()) {
  struct Counted {
    WaitGroup* group;  // null: moved from
    explicit Counted(WaitGroup* g) noexcept : group(g) { group->add(1); }
    Counted(Counted&& other) noexcept : group(std::exchange(other.group, nullptr)) {}
    ~Counted() {
      if (group != nullptr) group->done();
    }
  };
  go(goroutine, [this, body, counted = Counted(&goroutines)] { (this->*body)(); });
}

template <Codec C>
void MessageConn<C>::State::read_all() {
  bool refused = false;
  try {
    refused = read_messages();
  } catch (...) {
    const bool kept = core.caught("decode");
    core.inbound_ends(core.cause());
    if (!kept) {
      in.close();
      core.close_transport();
      throw;
    }
  }
  in.close();  // keeps I2
  core.linger(refused);
  core.close_transport();  // keeps I3
}

// Returns: true if the codec refused what came.
template <Codec C>
bool MessageConn<C>::State::read_messages() {
  for (;;) {
    for (;;) {
      Result<std::optional<In>> next = decoder.next();
      if (!next) {
        core.inbound_ends(next.error());
        return true;
      }
      if (!*next) break;
      core.message_came();
      if (in.try_send(*std::move(*next))) continue;
      if (!heddle::send(core.context(), in, *std::move(*next))) {
        core.inbound_ends(core.cause());
        return false;
      }
    }
    const Result<std::size_t> n = core.read(decoder.room(), decoder.in_message());
    if (!n) {
      core.end(n.error());
      core.inbound_ends(core.cause());
      return false;
    }
    if (*n == 0) {
      const Result<void> whole = decoder.end();
      core.inbound_ends(whole ? Error{Code::kEof, 0, "read message"} : whole.error());
      return false;
    }
    decoder.filled(*n);
  }
}

template <Codec C>
void MessageConn<C>::State::write_all() {
  try {
    std::vector<Out> batch;
    Outgoing bytes;
    while (write_batch(batch, bytes)) {
    }
  } catch (...) {
    if (!core.caught("encode")) throw;
  }
  // Keeps I4.
  for (bool more = true; more;) {
    select(on_recv(out, [&](std::optional<Out> message) { more = message.has_value(); }),
           on_recv(gone, [&] { more = false; }));
  }
}

// Writes what is queued, or waits for something to be. Returns: false if nothing will be written any more.
template <Codec C>
bool MessageConn<C>::State::write_batch(std::vector<Out>& batch, Outgoing& bytes) {
  batch.clear();
  bytes.clear();
  std::optional<Out> message = out.try_recv();
  if (!message) {
    Result<std::optional<Out>> got = heddle::recv(core.context(), out);
    if (!got) return false;  // the connection has ended
    if (!*got) {
      core.outbound_ends();
      return false;
    }
    message.emplace(*std::move(*got));
  }
  for (; message; message = batch.size() < max_batch ? out.try_recv() : std::nullopt) {
    batch.push_back(*std::move(message));
  }
  // Not before all are in place: what was encoded refers to the messages.
  for (const Out& one : batch) {
    const std::size_t before = bytes.size();
    if (const Result<void> encoded = decoder.codec().encode(one, bytes); !encoded) {
      bytes.cut(before);
      if (core.write(bytes)) core.end(encoded.error());
      return false;
    }
  }
  return core.write(bytes);
}

}  // namespace heddle::net
