#include <heddle/http/internal/ws_engine.h>

#include <algorithm>
#include <array>
#include <mutex>
#include <utility>

#include <heddle/http/internal/ws_time.h>
#include <heddle/http/internal/ws_utf8.h>

namespace heddle::http::ws {
namespace {

constexpr std::size_t kReadAhead = 16 * 1024;   // bytes of a buffer that is there while it has something in it
constexpr std::size_t kMostAtOnce = 64 * 1024;  // bytes of a message that is read piece by piece

constexpr const char* kNoText = "websocket: text that is no UTF-8";

Opcode opcode_of(Kind kind) noexcept { return kind == Kind::kText ? Opcode::kText : Opcode::kBinary; }

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
  if (const Result<void> left = leave_stream(ctx); !left) return std::unexpected(left.error());
  for (;;) {
    if (end_.code != Code::kOk) return std::unexpected(end_);
    const Result<MessageReader::Event> got = turn(ctx, MessageReader::kWhole);
    if (!got) return std::unexpected(got.error());
    if (*got == MessageReader::Event::kMessage)
      return Message{reader_.is_text() ? Kind::kText : Kind::kBinary, reader_.take_message()};
  }
}

Result<Engine::Begun> Engine::begin_read(const Context& ctx) {
  if (Result<void> locked = read_lock_.lock(ctx); !locked) return std::unexpected(locked.error());
  const std::lock_guard guard(read_lock_, std::adopt_lock);
  if (const Result<void> left = leave_stream(ctx); !left) return std::unexpected(left.error());
  while (stream_ == Stream::kNone) {
    if (end_.code != Code::kOk) return std::unexpected(end_);
    if (reader_.in_message() && !closing()) {
      stream_ = Stream::kOpen;
      break;
    }
    const Result<MessageReader::Event> got = turn(ctx, 0);
    if (!got) return std::unexpected(got.error());
    if (*got == MessageReader::Event::kMessage) stream_ = Stream::kEnded;  // an empty one
  }
  return Begun{reader_.is_text() ? Kind::kText : Kind::kBinary, stream_number_};
}

Result<std::size_t> Engine::read_some(const Context& ctx, std::uint64_t number, std::span<char> to) {
  if (Result<void> locked = read_lock_.lock(ctx); !locked) return std::unexpected(locked.error());
  const std::lock_guard guard(read_lock_, std::adopt_lock);
  for (;;) {
    if (number != stream_number_) return failed(Code::kCanceled, "websocket: another message is read");  // keeps I6
    if (const std::size_t n = reader_.take_some(to); n != 0) return n;
    if (end_.code != Code::kOk) return std::unexpected(end_);
    if (stream_ == Stream::kEnded) return std::size_t{0};
    const Result<MessageReader::Event> got = turn(ctx, std::min(to.size(), kMostAtOnce));
    if (!got) return std::unexpected(got.error());
  }
}

// Drops what is left of a message that was read piece by piece. Keeps I6.
Result<void> Engine::leave_stream(const Context& ctx) {
  if (stream_ == Stream::kNone) return {};
  ++stream_number_;
  while (stream_ == Stream::kOpen && end_.code == Code::kOk) {
    reader_.drop();
    const Result<MessageReader::Event> got = turn(ctx, kReadAhead);
    if (!got) return std::unexpected(got.error());
  }
  reader_.drop();
  stream_ = Stream::kNone;
  return {};
}

// Up to the next event, which is kData or kMessage or nothing to the caller: kMore. Errors: those of `ctx`, and then nothing has
// happened.
Result<MessageReader::Event> Engine::turn(const Context& ctx, std::size_t room) {
  const Result<bool> more = fill(ctx);
  if (!more) {
    if (const std::optional<Error> done = ctx.err()) return failed(done->code, "websocket: read");
    if (late()) {  // whoever closes may have closed the transport then, too
      over(closing_as(), {Code::kTimeout, 0, "websocket: no answer to Close"}, Farewell::kNone);
    } else if (!recovers(more.error())) {
      const Error how = writer_.failure().value_or(more.error());
      over(closing() ? closing_as() : how, how, Farewell::kNone);
    }
    return MessageReader::Event::kMore;
  }
  if (!*more) {
    const Error cut{Code::kReset, 0, "websocket: stream ended without a Close"};
    over(closing() ? closing_as() : cut, cut, Farewell::kNone);
    return MessageReader::Event::kMore;
  }
  const MessageReader::Event event = step(closing() ? kReadAhead : room);
  switch (event) {
    case MessageReader::Event::kMore:
    case MessageReader::Event::kData: break;
    case MessageReader::Event::kMessage:
      if (stream_ == Stream::kOpen) stream_ = Stream::kEnded;
      break;
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
  if (closing()) {  // keeps I4
    reader_.drop();
    return MessageReader::Event::kMore;
  }
  return event;
}

// Up to an event, or the end of what is there.
MessageReader::Event Engine::step(std::size_t room) {
  std::string_view bytes;
  if (in_.buffered() != 0) {
    const std::span<const std::byte> buffered = *in_.peek(in_.buffered());
    bytes = {reinterpret_cast<const char*>(buffered.data()), buffered.size()};
  }
  const std::size_t before = bytes.size();
  const MessageReader::Event event = reader_.step(bytes, room);
  static_cast<void>(in_.discard(before - bytes.size()));
  return event;
}

// Waits until there is something for step(); false: the stream has ended.
Result<bool> Engine::fill(const Context& ctx) {
  if (in_.buffered() != 0 || reader_.pending()) return true;
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
  if (kind == Kind::kText && !is_utf8(bytes)) return failed(Code::kInvalid, kNoText);
  if (Result<void> stays = stay(); !stays) return stays;
  return writer_.message(opcode_of(kind), bytes);
}

Result<void> Engine::begin_message(Kind kind, const Context& ctx) {
  if (Result<void> stays = stay(); !stays) return stays;
  if (Result<void> begun = writer_.begin(opcode_of(kind), ctx); !begun) return begun;
  out_kind_ = kind;
  out_text_ = {};
  return {};
}

Result<void> Engine::write_some(std::string_view bytes, More more) {
  if (out_kind_ == Kind::kText) {
    Utf8Check text = out_text_;
    if (!text.take(bytes) || (more == More::kNo && !text.whole())) return failed(Code::kInvalid, kNoText);
    out_text_ = text;
  }
  if (Result<void> stays = stay(); !stays) return stays;
  return writer_.piece(bytes, more);
}

// An error, and a Close, if the server wants to leave.
Result<void> Engine::stay() {
  if (!draining()) return {};
  go_away();
  return std::unexpected(closing_as());
}

Result<void> Engine::ping(std::string_view payload) {
  if (payload.size() > kMaxControl) return failed(Code::kInvalid, "websocket: ping");
  return writer_.control(Opcode::kPing, payload);
}

// ---- the end ----

Result<void> Engine::close(int code, std::string_view reason) {
  if (!is_sendable_close(code, reason)) return failed(Code::kInvalid, "websocket: close");
  begin_closing({Code::kClosed, 0, "websocket"});
  const Context ctx = closing_context();
  // If it cannot be sent the reader finds out why, or its time ends.
  static_cast<void>(writer_.close(close_payload(code, reason), ctx));
  if (!read_lock_.lock(ctx)) {
    transport_.close();  // keeps I3: whoever reads finds that at once
    read_lock_.lock();
  }
  const std::lock_guard guard(read_lock_, std::adopt_lock);
  while (end_.code == Code::kOk) static_cast<void>(turn({}, MessageReader::kWhole));
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
