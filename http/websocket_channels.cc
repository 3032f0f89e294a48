#include <heddle/http/websocket_channels.h>

#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include <heddle/core/mutex.h>
#include <heddle/core/panic.h>
#include <heddle/core/select.h>
#include <heddle/core/wait_group.h>
#include <heddle/http/internal/ws_close.h>

namespace heddle::http::ws {

// What the goroutines refer to: it stays where it is when the handle moves.
struct Channels::State {
  State(Connection s, const ChannelOptions& options) : State(std::move(s), options, with_cancel_cause(options.ctx)) {}

  ~State() {
    cancel({Code::kClosed, 0, "websocket"});
    socket.abort();
    gone.close();
    goroutines.wait();  // keeps I4
  }

  void start(const GoOptions& options, void (State::*body)());
  void read_all();
  void write_all();
  void write_messages();
  [[nodiscard]] Error cause() const noexcept { return ctx.cause().value_or(Error{}); }

  Connection socket;
  const Context ctx;
  const CancelFunc cancel;
  const Chan<Message> in;
  const Chan<Message> out;
  const Chan<Done> gone;  // closed by the destructor
  const RecvChan<Message> in_view;
  const SendChan<Message> out_view;
  Error in_end;  // the reader's; published by the closing of `in`

  Mutex lock;
  // Guarded by lock.
  int code = kNormalClosure;
  std::string reason;

  WaitGroup goroutines;

 private:
  State(Connection s, const ChannelOptions& options, ContextAndCancel made)
      : socket(std::move(s)),
        ctx(std::move(made.ctx)),
        cancel(std::move(made.cancel)),
        in(make_chan<Message>(options.in_capacity)),
        out(make_chan<Message>(options.out_capacity)),
        gone(make_chan<Done>()),
        in_view(in),
        out_view(out) {}
};

void Channels::State::start(const GoOptions& options, void (State::*body)()) {
  struct Counted {
    WaitGroup* group;  // null: moved from
    explicit Counted(WaitGroup* g) noexcept : group(g) { group->add(1); }
    Counted(Counted&& other) noexcept : group(std::exchange(other.group, nullptr)) {}
    ~Counted() {
      if (group != nullptr) group->done();
    }
  };
  go(options, [this, body, counted = Counted(&goroutines)] { (this->*body)(); });
}

void Channels::State::read_all() {
  for (;;) {
    Result<Message> got = socket.read(ctx);
    if (!got) {
      in_end = ctx.err() ? cause() : got.error();
      break;
    }
    if (!heddle::send(ctx, in, *std::move(got))) {
      in_end = cause();
      break;
    }
  }
  in.close();  // keeps I2
  cancel(in_end);
  socket.abort();
}

void Channels::State::write_all() {
  write_messages();
  // Keeps I3.
  for (bool more = true; more;) {
    select(on_recv(out, [&](std::optional<Message> message) { more = message.has_value(); }),
           on_recv(gone, [&] { more = false; }));
  }
}

void Channels::State::write_messages() {
  for (;;) {
    const Result<std::optional<Message>> got = heddle::recv(ctx, out);
    if (!got) return;  // the connection is over
    if (!*got) break;
    // A write that fails ends nothing by itself: what the peer said before it went is still to be read. One that can never
    // be repaired ends the reader, too (ws_writer.h, I2). Text that is no text is the sender's mistake, and ends it.
    const Result<void> written = socket.write(**got);
    if (!written && written.error().code == Code::kInvalid) return cancel(written.error());
  }
  std::unique_lock guard(lock);
  const int last = code;
  const std::string why = reason;
  guard.unlock();
  const Result<void> closed = socket.close(last, why);
  cancel(closed ? Error{Code::kClosed, 0, "websocket"} : closed.error());
}

Channels::Channels(Connection socket, const ChannelOptions& options)
    : state_(std::make_unique<State>(std::move(socket), options)) {
  state_->start(options.goroutine, &State::read_all);
  state_->start(options.goroutine, &State::write_all);
}
Channels::Channels(Channels&& other) noexcept = default;
Channels& Channels::operator=(Channels&& other) noexcept {
  std::swap(state_, other.state_);
  return *this;
}
Channels::~Channels() = default;

const RecvChan<Message>& Channels::in() const noexcept { return state_->in_view; }
const SendChan<Message>& Channels::out() const noexcept { return state_->out_view; }
const Context& Channels::context() const noexcept { return state_->ctx; }
Error Channels::in_end() const noexcept { return state_->in_end; }
CloseStatus Channels::peer_close() const { return state_->socket.peer_close(); }

Result<Message> Channels::recv(const Context& ctx) {
  Result<std::optional<Message>> got = heddle::recv(ctx, state_->in);
  if (!got) return std::unexpected(got.error());
  if (*got) return *std::move(*got);
  return std::unexpected(state_->in_end);
}

Result<void> Channels::send(Message message, const Context& ctx) {
  const Context& ours = context();
  if (const std::optional<Error> done = ctx.err()) return std::unexpected(Error{done->code, 0, "send message"});
  if (ours.err()) return std::unexpected(state_->cause());
  if (state_->out.try_send(std::move(message))) return {};
  bool sent = false;
  select(on_send(state_->out, std::move(message), [&] { sent = true; }), on_done(ours, [] {}), on_done(ctx, [] {}));
  if (sent) return {};
  if (ours.err()) return std::unexpected(state_->cause());
  return std::unexpected(Error{ctx.err()->code, 0, "send message"});
}

Result<void> Channels::finish(int code, std::string_view reason, const Context& ctx) {
  if (!is_sendable_close(code, reason)) return std::unexpected(Error{Code::kInvalid, 0, "websocket: finish"});
  {
    const std::lock_guard guard(state_->lock);
    state_->code = code;
    state_->reason = reason;
  }
  try {
    state_->out.close();
  } catch (const Panic&) {  // closed already
  }
  select(on_done(context(), [] {}), on_done(ctx, [] {}));
  if (!context().err()) return std::unexpected(Error{ctx.err()->code, 0, "websocket: finish"});
  return state_->socket.close();  // says how it went
}

}  // namespace heddle::http::ws
