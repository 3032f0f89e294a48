#include <heddle/http/internal/ws_writer.h>

#include <sys/random.h>
#include <sys/uio.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <mutex>
#include <span>
#include <utility>

#include <heddle/core/check.h>
#include <heddle/core/task.h>
#include <heddle/http/internal/ws_time.h>

namespace heddle::http::ws {
namespace {

constexpr const char* kOp = "websocket: write";

constexpr std::size_t kTail = 4;  // of a compressed message, not sent (ws_deflate.h)

}  // namespace

MessageWriter::MessageWriter(net::Transport& transport, Role role, const Options& options,
                             const std::optional<Agreed>& deflate)
    : transport_(transport),
      role_(role),
      most_(std::max<std::size_t>(options.write_frame, 1)),
      threshold_(std::max<std::size_t>(options.compression.threshold, 1)),
      write_timeout_(options.write_timeout),
      close_timeout_(options.close_timeout) {
  if (deflate && deflate->own_bits >= 9) {
    deflater_ = std::make_unique<Deflater>(deflate->own_bits, std::clamp(options.compression.level, 1, 9),
                                           deflate->own_takeover);
  }
}

Result<void> MessageWriter::message(Opcode opcode, std::string_view bytes) {
  if (Result<void> begun = begin(opcode, {}); !begun) return begun;
  struct Leave {
    MessageWriter& writer;
    ~Leave() { writer.leave(); }
  } const at_the_end{*this};
  return piece(bytes, More::kNo);
}

Result<void> MessageWriter::begin(Opcode opcode, const Context& ctx) {
  if (Result<void> locked = message_lock_.lock(ctx); !locked) return locked;
  if (!unfinished_) {
    message_ = {.next = opcode};
    return {};
  }
  message_lock_.unlock();
  if (const std::optional<Error> before = failure()) return std::unexpected(*before);
  const std::lock_guard guard(frame_lock_);
  if (closed_) return std::unexpected(Error{Code::kClosed, 0, kOp});
  return std::unexpected(Error{Code::kCanceled, 0, "websocket: behind an unfinished message"});
}

void MessageWriter::leave() noexcept {
  unfinished_ = message_.begun && !message_.ended;  // keeps I4
  message_ = {};
  message_lock_.unlock();
}

Result<void> MessageWriter::piece(std::string_view bytes, More more) {
  std::exception_ptr thrown;
  try {
    return send(bytes, more);
  } catch (...) {
    if (!heddle::detail::keep_exception(thrown)) throw;
  }
  static_cast<void>(give_up({Code::kNoResources, 0, kOp}));  // keeps I5; parks: not in a handler
  std::rethrow_exception(thrown);
}

Result<void> MessageWriter::send(std::string_view bytes, More more) {
  if (!message_.begun) {
    if (bytes.empty() && more != More::kNo) return {};
    message_.begun = true;
    message_.compress = deflater_ != nullptr && bytes.size() >= threshold_;
  }
  Result<void> sent = message_.compress ? compressed(bytes, more) : plain(bytes, more == More::kNo);
  if (sent && more == More::kNo) message_.ended = true;
  return sent;
}

Result<void> MessageWriter::plain(std::string_view bytes, bool last) {
  while (!bytes.empty() || last) {
    const std::string_view piece = bytes.substr(0, most_);
    bytes.remove_prefix(piece.size());
    const bool fin = last && bytes.empty();
    if (Result<void> sent = fragment(piece, fin); !sent || fin) return sent;
  }
  return {};
}

Result<void> MessageWriter::compressed(std::string_view bytes, More more) {
  std::string& out = message_.out;
  for (;;) {
    const std::string_view piece = bytes.substr(0, most_);
    bytes.remove_prefix(piece.size());
    const bool all = bytes.empty();
    const bool last = all && more == More::kNo;
    const bool flush = all && more != More::kYes;
    if (!deflater_->take(piece, last, out) || (flush && !last && !deflater_->flush(out)))
      return give_up({Code::kNoResources, 0, kOp});
    if (last) out.resize(out.size() - kTail);
    while (last || out.size() >= (flush ? 1 : most_)) {
      const bool fin = last && out.size() <= most_;
      const std::size_t n = std::min(out.size(), most_);
      if (Result<void> sent = fragment(std::string_view(out).substr(0, n), fin); !sent || fin) return sent;
      out.erase(0, n);
    }
    if (all) return {};
  }
}

// The next frame of the message.
Result<void> MessageWriter::fragment(std::string_view payload, bool fin) {
  const Opcode opcode = std::exchange(message_.next, Opcode::kContinuation);
  const bool first = opcode != Opcode::kContinuation;
  return frame({.opcode = opcode, .fin = fin, .rsv1 = first && message_.compress}, payload);
}

Result<void> MessageWriter::control(Opcode opcode, std::string_view payload) {
  return frame({.opcode = opcode}, payload);
}

Result<void> MessageWriter::frame(FrameHead head, std::string_view payload) {
  const std::lock_guard guard(frame_lock_);
  if (closed_) return std::unexpected(Error{Code::kClosed, 0, kOp});
  return put(head, payload, write_timeout_);
}

Result<void> MessageWriter::close(std::string_view payload, const Context& ctx) {
  if (Result<void> locked = frame_lock_.lock(ctx); !locked) return locked;
  const std::lock_guard guard(frame_lock_, std::adopt_lock);
  if (closed_) return {};
  closed_ = true;  // keeps I1
  return put({.opcode = Opcode::kClose}, payload, close_timeout_);
}

std::optional<Error> MessageWriter::failure() const noexcept {
  // acquire: pairs with the release in put(); failure_ does not change any more.
  if (!failed_.load(std::memory_order_acquire)) return std::nullopt;
  return failure_;
}

// With frame_lock_ held.
Result<void> MessageWriter::put(FrameHead head, std::string_view payload, Duration timeout) {
  if (const std::optional<Error> before = failure()) return std::unexpected(*before);  // keeps I2
  head.length = payload.size();
  std::string copy;
  if (role_ == Role::kClient) {  // keeps I3; the caller's bytes stay as they are
    head.masked = true;
    head.mask = next_mask();
    copy = payload;
    apply_mask(copy, head.mask, 0);
    payload = copy;
  }
  std::array<char, kMaxFrameHead> bytes;
  const std::size_t size = put_head(head, bytes);
  const iovec parts[] = {{bytes.data(), size}, {const_cast<char*>(payload.data()), payload.size()}};

  transport_.set_write_deadline(deadline_after(timeout));
  const Result<void> written = transport_.writev(std::span(parts).first(payload.empty() ? 1 : 2));
  if (written) return {};
  fail(is_deadline(written.error()) ? Error{Code::kTimeout, 0, kOp} : written.error());
  return std::unexpected(failure_);
}

// In the middle of a message.
Result<void> MessageWriter::give_up(const Error& why) {
  const std::lock_guard guard(frame_lock_);
  if (!failure()) fail(why);
  return std::unexpected(why);
}

// With frame_lock_ held.
void MessageWriter::fail(const Error& why) noexcept {
  failure_ = why;
  // release: publishes failure_; pairs with the acquire in failure().
  failed_.store(true, std::memory_order_release);
  if (why.code == Code::kTimeout || why.code == Code::kNoResources) transport_.close();
}

Mask MessageWriter::next_mask() {
  Mask mask;
  if (random_left_ == 0) {
    // So few bytes come whole and, once the machine has booted, without waiting: getrandom(2).
    HEDDLE_CHECK(::getrandom(random_.data(), random_.size(), 0) == static_cast<ssize_t>(random_.size()));
    random_left_ = random_.size();
  }
  random_left_ -= mask.size();
  std::memcpy(mask.data(), random_.data() + random_left_, mask.size());
  return mask;
}

}  // namespace heddle::http::ws
