#include <heddle/http/internal/ws_engine.h>

#include <algorithm>
#include <array>
#include <mutex>
#include <utility>

#include <heddle/http/internal/ws_time.h>
#include <heddle/http/internal/ws_utf8.h>

namespace heddle::http::ws {
namespace {

constexpr std::size_t kReadAhead = std::size_t{16}
                                   << 10;  // bytes of a buffer that is there while it has something in it

std::unexpected<Error> failed(Code code, const char* op) { return std::unexpected(Error{code, 0, op}); }

}  // namespace

EitherContext::EitherContext(const Context& a, const Context& b) {
  if (!a.can_be_done() || !b.can_be_done()) {
    ctx_ = a.can_be_done() ? a : b;
    return;
  }
  auto [ctx, cancel] = with_cancel(a);
  ctx_ = ctx;
  stop_.emplace(after_func(b, [cancel] { cancel(); }));
}

EitherContext::~EitherContext() {
  if (stop_) static_cast<void>((*stop_)());
}

Engine::Engine(net::Transport& transport, std::unique_ptr<net::Transport> owned, const Options& options, Setup setup)
    : owned_(std::move(owned)),
      transport_(transport),
      ping_interval_(options.ping_interval),
      idle_timeout_(options.idle_timeout),
      close_timeout_(options.close_timeout),
      on_pong_(options.on_pong),
      setup_(std::move(setup)),
      leave_(setup_.ctx, setup_.drain),
      in_(transport, kReadAhead),
      reader_(
          setup_.role,
          {.max_message = options.max_message, .max_frame = options.max_frame, .max_fragments = options.max_fragments},
          setup_.deflate),
      next_ping_(options.ping_interval),
      writer_(transport, setup_.role, options, setup_.deflate) {
  transport_.set_deadline(kNoDeadline);
}

Engine::~Engine() { transport_.close(); }

// ---- reading ----

Result<Message> Engine::read(const Context& ctx) {
  if (Result<void> locked = read_lock_.lock(ctx); !locked) return std::unexpected(locked.error());
  const std::lock_guard guard(read_lock_, std::adopt_lock);
  for (;;) {
    if (end_.code != Code::kOk) return std::unexpected(end_);
    Result<std::optional<Message>> got = turn(ctx);
    if (!got) return std::unexpected(got.error());
    if (*got) return *std::move(*got);
  }
}

// Up to the next event. Errors: those of `ctx`, and then nothing has happened.
Result<std::optional<Message>> Engine::turn(const Context& ctx) {
  const Result<bool> more = fill(ctx);
  if (!more) {
    if (const std::optional<Error> done = ctx.err()) return failed(done->code, "websocket: read");
    if (late()) {  // whoever closes may have closed the transport then, too
      over(closing_as(), {Code::kTimeout, 0, "websocket: no answer to Close"}, Farewell::kNone);
    } else if (!recovers(more.error())) {
      const Error how = writer_.failure().value_or(more.error());
      over(closing() ? closing_as() : how, how, Farewell::kNone);
    }
    return std::nullopt;
  }
  if (!*more) {
    const Error cut{Code::kReset, 0, "websocket: stream ended without a Close"};
    over(closing() ? closing_as() : cut, cut, Farewell::kNone);
    return std::nullopt;
  }
  switch (step()) {
    case MessageReader::Event::kMore:
    case MessageReader::Event::kData: break;
    case MessageReader::Event::kMessage: {
      Message message{reader_.is_text() ? Kind::kText : Kind::kBinary, reader_.take_message()};
      if (!closing()) return message;  // keeps I4
      break;
    }
    // A write that fails is the next read's to tell: what the peer sent before comes first.
    case MessageReader::Event::kPing: static_cast<void>(writer_.control(Opcode::kPong, reader_.control())); break;
    case MessageReader::Event::kPong:
      if (on_pong_) on_pong_(reader_.control());
      break;
    case MessageReader::Event::kClose: take_close(); break;
    case MessageReader::Event::kFault: {
      const int code = reader_.fault_code();
      fail(code, reader_.fault(),
           {code == kMessageTooBig   ? Code::kLimit
            : code == kInternalError ? Code::kNoResources
                                     : Code::kProtocol,
            0, reader_.fault()});
      break;
    }
  }
  return std::nullopt;
}

// Up to an event, or the end of what is there.
MessageReader::Event Engine::step() {
  const std::span<const std::byte> buffered = *in_.peek(in_.buffered());
  std::string_view bytes(reinterpret_cast<const char*>(buffered.data()), buffered.size());
  const MessageReader::Event event = reader_.step(bytes);
  static_cast<void>(in_.discard(buffered.size() - bytes.size()));
  return event;
}

// Waits until there are bytes; false: the stream has ended.
Result<bool> Engine::fill(const Context& ctx) {
  if (in_.buffered() != 0) return true;
  const EitherContext both(ctx, watch_ ? leave_.ctx() : Context());
  Duration wait{};
  if (ping_interval_ > Duration::zero()) wait = std::max(next_ping_ - quiet_, Duration(1));
  if (idle_timeout_ > Duration::zero()) {
    const Duration idle = std::max(idle_timeout_ - quiet_, Duration(1));
    wait = wait == Duration::zero() ? idle : std::min(wait, idle);
  }
  const TimePoint began = now();
  arm_read(wait);
  const Result<std::span<const std::byte>> got = in_.peek(both.ctx(), 1);
  if (got) {
    quiet_ = {};
    next_ping_ = ping_interval_;
    return !got->empty();
  }
  quiet_ += now() - began;
  return std::unexpected(got.error());
}

// After a wait that failed, and not because of the caller's context. True: it goes on, or it is over by now.
bool Engine::recovers(const Error& error) {
  if (watch_ && leave_.ctx().err()) {
    watch_ = false;
    // A client that has gone is met at the end of what it sent before.
    if (draining()) go_away();
    return true;
  }
  if (!is_deadline(error) || writer_.failure()) return false;
  if (!closing()) {
    if (idle_timeout_ > Duration::zero() && quiet_ >= idle_timeout_) {
      fail(kGoingAway, "idle", {Code::kTimeout, 0, "websocket: idle"});
    } else if (ping_interval_ > Duration::zero() && quiet_ >= next_ping_) {
      next_ping_ = quiet_ + ping_interval_;
      static_cast<void>(writer_.control(Opcode::kPing, {}));
    }
  }
  return true;
}

// True if the peer's answer to our Close is overdue.
bool Engine::late() {
  const std::lock_guard guard(deadline_lock_);
  return closing() && now() >= close_until_;
}

void Engine::take_close() {
  const ClosePayload& close = reader_.close();
  {
    const std::lock_guard guard(status_lock_);
    status_ = {close.code, std::string(close.reason)};
  }
  begin_closing({Code::kEof, 0, "websocket: closed by the peer"});
  static_cast<void>(writer_.close(close_payload(close.code, {}), closing_context()));
  over(closing_as(), {}, setup_.role == Role::kServer ? Farewell::kEndAndWait : Farewell::kWait);
}

void Engine::fail(int code, const char* why, const Error& end) {
  begin_closing(end);
  static_cast<void>(writer_.close(close_payload(code, why), closing_context()));
  over(closing_as(), end, code == kGoingAway ? Farewell::kNone : Farewell::kEndAndWait);
}

void Engine::over(const Error& end, const Error& how, Farewell farewell) {
  if (farewell != Farewell::kNone && setup_.lingers && !writer_.failure()) {  // keeps I5
    if (farewell == Farewell::kEndAndWait) static_cast<void>(transport_.close_write());
    arm_read({});
    std::array<std::byte, 4096> dropped;
    for (Result<std::size_t> n = 1; n && *n != 0;) n = transport_.read(dropped);
  }
  transport_.close();
  end_ = end;  // keeps I2
  how_ = how;
}

// ---- writing ----

Result<void> Engine::write(Kind kind, std::string_view bytes) {
  if (kind == Kind::kText && !is_utf8(bytes)) return failed(Code::kInvalid, "websocket: text that is no UTF-8");
  if (draining()) {
    go_away();
    return std::unexpected(closing_as());
  }
  return writer_.message(kind == Kind::kText ? Opcode::kText : Opcode::kBinary, bytes);
}

Result<void> Engine::ping(std::string_view payload) {
  if (payload.size() > kMaxControl) return failed(Code::kInvalid, "websocket: ping");
  return writer_.control(Opcode::kPing, payload);
}

// ---- the end ----

Result<void> Engine::close(int code, std::string_view reason) {
  const bool sendable = is_wire_code(code) || (code == kNoStatus && reason.empty());
  if (!sendable || reason.size() > kMaxReason || !is_utf8(reason)) return failed(Code::kInvalid, "websocket: close");
  begin_closing({Code::kClosed, 0, "websocket"});
  const Context ctx = closing_context();
  // If it cannot be sent the reader finds out why, or its time ends.
  static_cast<void>(writer_.close(close_payload(code, reason), ctx));
  if (!read_lock_.lock(ctx)) {
    transport_.close();  // keeps I3: whoever reads finds that at once
    read_lock_.lock();
  }
  const std::lock_guard guard(read_lock_, std::adopt_lock);
  while (end_.code == Code::kOk) static_cast<void>(turn({}));
  if (how_.code == Code::kOk) return {};
  return std::unexpected(how_);
}

void Engine::abort() noexcept { transport_.close(); }

CloseStatus Engine::peer_close() {
  const std::lock_guard guard(status_lock_);
  return status_;
}

// The first call decides. Keeps I3.
void Engine::begin_closing(const Error& as) {
  const std::lock_guard guard(deadline_lock_);
  if (closing()) return;
  closing_as_ = as;
  close_until_ = deadline_after(close_timeout_);
  // relaxed: see closing().
  closing_.store(true, std::memory_order_relaxed);
  transport_.set_read_deadline(close_until_);
}

// Why the server wants to leave, if it does.
std::optional<Error> Engine::draining() const noexcept {
  if (!leave_.ctx().err()) return std::nullopt;
  for (const Context* ctx : {&setup_.drain, &setup_.ctx}) {
    const std::optional<Error> cause = ctx->cause();
    if (cause && cause->code != Code::kEof && cause->code != Code::kReset) return ctx->err();
  }
  return std::nullopt;
}

void Engine::go_away() {
  begin_closing({draining().value_or(Error{Code::kCanceled, 0, ""}).code, 0, "websocket: going away"});
  static_cast<void>(writer_.close(close_payload(kGoingAway, {}), closing_context()));
}

Error Engine::closing_as() {
  const std::lock_guard guard(deadline_lock_);
  return closing_as_;
}

Context Engine::closing_context() {
  TimePoint until;
  {
    const std::lock_guard guard(deadline_lock_);
    until = close_until_;
  }
  return until == kNoDeadline ? Context() : with_deadline({}, until).ctx;
}

void Engine::arm_read(Duration normal) {
  const std::lock_guard guard(deadline_lock_);
  transport_.set_read_deadline(closing() ? close_until_ : deadline_after(normal));
}

}  // namespace heddle::http::ws
