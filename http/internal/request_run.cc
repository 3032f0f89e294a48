// A connection while a request runs: its goroutine, from the whole head to the next one, or to the end.
#include <algorithm>
#include <array>
#include <chrono>
#include <exception>
#include <new>
#include <string>

#include <heddle/core/blocking.h>
#include <heddle/core/go.h>
#include <heddle/http/internal/head_parser.h>
#include <heddle/http/internal/server_conn.h>
#include <heddle/http/internal/server_core.h>
#include <heddle/http/internal/upgraded_conn.h>
#include <heddle/http/internal/wall_clock.h>
#include <heddle/http/request.h>
#include <heddle/http/request_record.h>
#include <heddle/http/response_writer.h>
#include <heddle/http/status.h>

namespace heddle::http {
namespace {

constexpr std::size_t kMaxMethod = 20;  // longer than any that is known

}  // namespace

// A goroutine that a handler left as it found it goes on with the next request if that is there already: no handler can
// tell, and it saves a tenth of a pipelined request (bench/http --pipeline 16). It gives way as if it had started another.
void ServerConn::serve() noexcept {
  for (bool first = true;; first = false) {
    // Responses of earlier requests of a batch wait in out_; they must not wait for a handler that waits.
    if (out_.pending()) set_on_park(&send_before_parking, this);
    if (!first) yield_check();
    const bool goes_on = answer();
    // From here on out_ may pass to another goroutine, or die with the connection, before this one is at its end: spawn()
    // may give way, and what runs as a goroutine gives way would look at it. Keeps Output's I2.
    set_on_park(nullptr, nullptr);
    if (!goes_on) return end_connection();
    if (!next_request()) return;
  }
}

// True if the response is whole and the connection may carry another request.
bool ServerConn::answer() {
  served_ = true;
  continue_due_ = x_->head.expect_continue;
  split_ = false;
  waited_ = 0;
  const bool refused = x_->head.fault != 0;
  const bool head_only =
      refused ? x_->visible - x_->begin >= 5 && x_->text(0, 5) == "HEAD " : x_->head.method == Method::kHead;
  ResponseWriter writer(*this, out_, head_only, x_->head.minor == 0);
  OutputMeter meter;
  const bool told = static_cast<bool>(core_.options.on_request_done);
  if (told) [[unlikely]] {
    meter.began = std::chrono::system_clock::now();
    meter.began_at = nanotime();
    out_.attach(&meter);
  }
  const bool whole = refused ? answer_fault(writer) : run_handler(writer);
  split_ = false;
  if (told) [[unlikely]]
    report(writer, meter, whole);
  return whole && !writer.must_close() && drain_body();
}

bool ServerConn::run_handler(ResponseWriter& writer) {
  Request request(*this);
  std::exception_ptr thrown;
  try {
    core_.handler(request, writer);
  } catch (...) {
    thrown = std::current_exception();
  }
  if (switched_) [[unlikely]]
    release_upgraded();
  if (thrown) [[unlikely]] {
    core_.handler_failed(request, std::move(thrown));
    if (!writer.replace(kStatusInternalServerError)) return false;  // cut: what was sent must not look whole
  }
  if (x_->body.fault != 0 && writer.untouched()) [[unlikely]]
    writer.replace(x_->body.fault);
  return writer.finish();
}

bool ServerConn::answer_fault(ResponseWriter& writer) { return writer.replace(x_->head.fault) && writer.finish(); }

// Sends the response, and tells of it. What a hook throws ends the process: serve() is noexcept.
void ServerConn::report(const ResponseWriter& writer, const OutputMeter& meter, bool whole) noexcept {
  const bool sent = out_.flush();
  out_.attach(nullptr);
  const std::int64_t now = nanotime();
  const Exchange& x = *x_;
  std::array<char, Peer::kMaxText> peer;
  std::string name;
  RequestRecord record;
  record.began = meter.began;
  record.took = Duration(now - meter.began_at);
  if (meter.first_at != 0) record.first_byte = Duration(meter.first_at - meter.began_at);
  record.peer = peer_.write(peer);
  if (record.peer.empty()) record.peer = name = stream_.peer_address();
  record.refused = x.head.fault != 0;
  if (record.refused) {
    const std::string_view text = x.text(0, x.visible - x.begin);
    const std::string_view method = text.substr(0, std::min(text.find(' '), text.size()));
    if (method.size() < text.size() && method.size() <= kMaxMethod && is_token(method)) record.method = method;
    record.bytes_received = text.size();
  } else {
    record.method = to_string(x.head.method);
    record.headers = x.headers();
    record.bytes_received = x.scanned - x.begin + x.body.received + x.body.framing;
  }
  record.target = x.text(x.head.target_at, x.head.target_size);
  record.route = x.route;
  record.id = x.id == nullptr ? std::string_view() : std::string_view(*x.id);
  record.minor_version = x.head.minor;
  record.status = writer.status();
  record.bytes_sent = meter.bytes;
  record.whole = whole && sent;
  {
    LockGuard guard(lock_);
    record.client_gone = ended_ || dead_ || out_.failed();
  }
  core_.options.on_request_done(record);
}

bool ServerConn::must_close() const noexcept {
  if (!x_->head.keep_alive || x_->head.fault != 0 || core_.phase() != ServerPhase::kServing) return true;
  // What a client sends behind CONNECT, not waiting for the answer, is not meant for us: never a request.
  if (x_->head.method == Method::kConnect) return true;
  const Body& body = x_->body;
  if (body.done) [[likely]]
    return false;
  // A client that was never told to go on may send the body or not: the next bytes could be read in two ways.
  if (continue_due_ || body.fault != 0) return true;
  return !split_ && body.kind == BodyKind::kFixed && body.left > core_.options.max_drain;
}

// ---- another protocol ----

UpgradedConn* ServerConn::take_over(HalfClose half) noexcept {
  // The hook would send what waits in out_, which belongs to the responses before: that is done in a moment.
  set_on_park(nullptr, nullptr);
  switched_ = true;
  LockGuard guard(lock_);
  WakeList nobody;
  try {
    upgraded_ = new UpgradedConn(lock_, stream_, half, [this] { client_left(); });
    if (std::exchange(paused_, false)) upgraded_->paused_locked();
    // What came behind the head, in its order.
    Exchange& x = *x_;
    upgraded_->push_locked(std::as_bytes(std::span(x.data + x.read, x.filled - x.read)), nobody);
    x.read = x.visible = x.filled;
    if (chunk_ == nullptr) chunk_ = inbound_.pop();
    for (; chunk_ != nullptr; chunk_ = inbound_.pop()) {
      upgraded_->push_locked(std::as_bytes(std::span(chunk_->data + chunk_->begin, chunk_->end - chunk_->begin)),
                             nobody);
      Inbound::free(chunk_);
    }
    if (ended_) {
      upgraded_->end_locked(Error{dead_ ? Code::kReset : Code::kEof, 0, "http request"}, nobody);
    } else if (dead_) {
      upgraded_->cut_locked(nobody);  // the grace was over before
    }
    overflow_ = false;
  } catch (const std::bad_alloc&) {
    dead_ = true;
    return nullptr;
  }
  return upgraded_;
}

// After the handler, which may have left without a word.
void ServerConn::release_upgraded() {
  if (upgraded_ == nullptr) return;
  upgraded_->end_use();
  UpgradedConn* gone = nullptr;
  {
    LockGuard guard(lock_);
    dead_ = dead_ || upgraded_->failed_locked();
    gone = std::exchange(upgraded_, nullptr);
  }
  delete gone;
}

// A reader has met the end of the client's half, and the client leaves by that.
void ServerConn::client_left() noexcept {
  std::optional<CancelFunc> cancel;
  {
    LockGuard guard(lock_);
    cancel = watcher_locked();
  }
  if (cancel) (*cancel)(Error{Code::kEof, 0, "http request"});
}

// ---- after the response ----

// True if this goroutine is to answer the next request; false if the connection is no longer its own.
bool ServerConn::next_request() {
  Exchange& x = *x_;
  x.next_head();
  // Nothing came behind this request when its head was whole: most likely nothing has since, so send before looking.
  if (!x.more_came && chunk_ == nullptr) out_.flush();
  try {
    for (;;) {
      bool news = x.scanned < x.visible;  // of a batch: not worth the lock
      if (!news) {
        LockGuard guard(lock_);
        news = pull_locked();
        if (!news && !out_.pending()) {
          if (hand_over_locked()) return false;
          break;
        }
      }
      if (!news) {
        out_.flush();  // then look once more: it may have parked
        continue;
      }
      if (parse_head(x) == HeadStatus::kNeedMore) continue;
      x.more_came = x.read < x.visible || chunk_ != nullptr;
      if (goroutine_is_as_new()) return true;
      spawn();  // out_ and all else passes to it; it may have run by now
      return false;
    }
  } catch (const std::bad_alloc&) {
    // No memory or no stack: the connection ends here.
  }
  end_connection();
  return false;
}

// Gathers what came into the exchange; true if there are bytes that parse_head() has not seen. Throws std::bad_alloc.
bool ServerConn::pull_locked() {
  Exchange& x = *x_;
  if (x.begin == x.filled) {
    x.begin = x.scanned = x.read = x.visible = x.filled = 0;
  } else if (overflow_) {
    x.compact();
    if (x.room() == 0) x.grow(core_.limits.max_head);
  }
  while (overflow_) {
    if (chunk_ == nullptr) chunk_ = inbound_.pop();
    if (chunk_ == nullptr) {
      overflow_ = false;
      break;
    }
    const std::span<const char> bytes(chunk_->data + chunk_->begin, chunk_->end - chunk_->begin);
    chunk_->begin += static_cast<std::uint32_t>(x.append(std::as_bytes(bytes)));
    if (chunk_->begin != chunk_->end) break;
    Inbound::free(chunk_);
    chunk_ = nullptr;
  }
  let_more_come_locked();
  x.visible = x.filled;
  return x.scanned < x.visible;
}

// Nothing to do until more bytes come: back to home. False if the connection is to end instead. Keeps I1.
bool ServerConn::hand_over_locked() {
  if (ended_ || dead_ || out_.failed()) return false;
  const std::int64_t now = coarse_now();
  if (x_->begin != x_->filled) {
    arm_locked(deadline_after(now, core_.options.header_timeout));
    // release: gives home the exchange and all else; pairs with the acquire in on_data() and on_end().
    state_.store(State::kHead, std::memory_order_release);
    return true;
  }
  give_exchange();
  std::int64_t deadline = deadline_after(now, core_.options.idle_timeout);
  if (core_.phase() != ServerPhase::kServing) [[unlikely]] {
    stopping_seen_ = true;
    // relaxed: stored before the phase.
    deadline = std::min(deadline, now + core_.last_chance.load(std::memory_order_relaxed));
  }
  arm_locked(deadline);
  state_.store(State::kIdle, std::memory_order_release);  // release: as above
  return true;
}

// Its last request has come whole, it said that no other follows (RFC 9112 s9.6: it must not send more), and none has.
bool ServerConn::client_is_done_locked() const noexcept {
  const Exchange& x = *x_;
  return !switched_ && !x.head.keep_alive && x.head.fault == 0 && x.body.done && x.body.fault == 0 &&
         x.read == x.filled && chunk_ == nullptr && inbound_.empty();
}

void ServerConn::end_connection() {
  out_.flush();
  bool direct = false;
  {
    LockGuard guard(lock_);
    // Nothing more comes, so nothing unread can turn the close into a reset; or nothing can be saved.
    // (A client that breaks its word has its bytes answered by an RST, with which the kernel throws away what of the response it
    // has not got rid of. So all of that must have arrived.)
    direct = ended_ || dead_ || out_.failed() || (client_is_done_locked() && stream_.all_arrived());
    give_exchange();
    if (chunk_ != nullptr) Inbound::free(chunk_);
    while ((chunk_ = inbound_.pop()) != nullptr) Inbound::free(chunk_);
    overflow_ = false;
    if (direct) {
      close_called_ = true;
      state_.store(State::kClosed, std::memory_order_relaxed);  // relaxed: the lock orders it
    } else {
      begin_linger_locked();
    }
  }
  if (direct) stream_.close();  // the last touch: keeps I4
}

void ServerConn::send_before_parking(void* conn) noexcept { static_cast<ServerConn*>(conn)->out_.send_aside(); }

}  // namespace heddle::http
