// A connection at home: bytes, end and timer as the stream brings them. The requests' side is in request_run.cc, their bodies in
// request_body.cc.
#include <heddle/http/internal/server_conn.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include <heddle/core/check.h>
#include <heddle/core/go.h>
#include <heddle/http/internal/head_parser.h>
#include <heddle/http/internal/server_core.h>
#include <heddle/http/internal/upgraded_conn.h>
#include <heddle/http/internal/wall_clock.h>
#include <heddle/http/status.h>

namespace heddle::http {
namespace {

constexpr std::size_t kMaxQueued = 64 * 1024;  // bytes that wait for a busy goroutine before the peer is held back
// Bytes of a reader's room from which it is read into directly. Less is read with what follows, by one call, and copied.
constexpr std::size_t kLendFrom = 16 * 1024;
constexpr const char* kClientOp = "http request";
constexpr int kLingerTimes = 10;  // how often input may renew the linger clock

}  // namespace

ServerConn::ServerConn(ServerCore& core, net::Stream& stream, const Peer& peer) noexcept
    : core_(core), stream_(stream), peer_(peer), out_(stream, core.options.write_timeout) {}

ServerConn::~ServerConn() {
  give_exchange();
  if (chunk_ != nullptr) Inbound::free(chunk_);
}

void ServerConn::start() {
  LockGuard guard(lock_);
  arm_locked(deadline_after(coarse_now(), core_.options.header_timeout));
}

// ---- bytes ----

void ServerConn::on_data(std::span<const std::byte> bytes) {
  // acquire: what the goroutine left behind when it handed over; pairs with the release in hand_over_locked() and
  // begin_linger_locked().
  switch (state_.load(std::memory_order_acquire)) {
    case State::kIdle:
    case State::kHead: try { feed(bytes);
      } catch (const std::bad_alloc&) {  // no memory or no stack for this one: nothing can be promised to it
        close_at_home();
      }
      return;
    case State::kRunning: data_while_running(bytes); return;
    case State::kLinger: linger_on(); return;
    case State::kClosed: return;
  }
}

// The memory of the goroutine that waits for body bytes. It stays parked, and the memory there, until one of our own calls
// readies it (I3).
std::span<std::byte> ServerConn::lend_room() {
  // relaxed: spares the lock where nobody waits; under it the state says whether the other fields do.
  if (state_.load(std::memory_order_relaxed) != State::kRunning) return {};
  LockGuard guard(lock_);
  // relaxed: the lock orders it.
  if (state_.load(std::memory_order_relaxed) != State::kRunning || reader_.g == nullptr || upgraded_ != nullptr)
    return {};
  const auto room = static_cast<std::size_t>(std::min<std::uint64_t>(reader_.room, x_->body.left));
  if (room < kLendFrom) return {};
  return {reinterpret_cast<std::byte*>(reader_.to), room};
}

// Throws std::bad_alloc.
void ServerConn::feed(std::span<const std::byte> bytes) {
  const bool was_idle = x_ == nullptr;
  if (was_idle) {
    x_ = Exchange::take();
    x_->limits = &core_.limits;
  }
  Exchange& x = *x_;
  for (;;) {
    bytes = bytes.subspan(x.append(bytes));
    x.visible = x.filled;
    if (parse_head(x) != HeadStatus::kNeedMore) {
      start_request(bytes);
      return;
    }
    if (bytes.empty()) break;
    // The block is full of a head that is not whole. parse_head() refuses it before it outgrows what grow() allows.
    x.compact();
    if (x.room() == 0) HEDDLE_CHECK(x.grow(core_.limits.max_head));
  }
  if (!was_idle) return;
  LockGuard guard(lock_);
  // relaxed: nobody else moves it while it is ours.
  state_.store(State::kHead, std::memory_order_relaxed);
  if (served_)
    arm_locked(
        deadline_after(coarse_now(), core_.options.header_timeout));  // the first head's clock runs since start()
}

// The head in x_ is whole, or refused. Throws std::bad_alloc.
void ServerConn::start_request(std::span<const std::byte> rest) {
  x_->more_came = x_->read < x_->filled || !rest.empty();
  if (!rest.empty()) {
    overflow_ = true;
    inbound_.push(rest);
  }
  deadline_ = kNever;
  // relaxed: start_g() publishes all of this to the goroutine, and nobody else owns anything.
  state_.store(State::kRunning, std::memory_order_relaxed);
  try {
    spawn();
  } catch (const std::bad_alloc&) {
    state_.store(State::kHead, std::memory_order_relaxed);  // relaxed: still ours
    throw;
  }
}

void ServerConn::spawn() {
  static constexpr GoOptions kOptions{.name = "http request"};
  go(kOptions, [this] { serve(); });
}

void ServerConn::data_while_running(std::span<const std::byte> bytes) {
  G* reader = nullptr;
  WakeList woken;
  std::optional<CancelFunc> cancel;
  {
    LockGuard guard(lock_);
    if (upgraded_ != nullptr) {
      try {
        upgraded_->push_locked(bytes, woken);
      } catch (const std::bad_alloc&) {  // as below
        dead_ = ended_ = true;
        upgraded_->end_locked(Error{Code::kNoResources, 0, kClientOp}, woken);
        cancel = watcher_locked();
      }
      bytes = {};
      // relaxed: the lock orders it. Keeps I1: it may be ours by now.
    } else if (state_.load(std::memory_order_relaxed) == State::kRunning) {
      if (reader_.g != nullptr) {
        if (reader_.room != 0) {
          // A fixed-length body: straight into the reader's memory, if it is not there already (lend_room). It is parked,
          // so its body's count is ours to move.
          Body& body = x_->body;
          const auto n = static_cast<std::size_t>(std::min<std::uint64_t>({bytes.size(), reader_.room, body.left}));
          if (reinterpret_cast<const char*>(bytes.data()) != reader_.to) std::memcpy(reader_.to, bytes.data(), n);
          reader_.got = n;
          body.left -= n;
          body.received += n;
          body.done = body.left == 0;
          bytes = bytes.subspan(n);
        }
        reader = take_reader_locked();
      }
      if (!overflow_) bytes = bytes.subspan(x_->append(bytes));
      if (!bytes.empty()) {
        overflow_ = true;
        try {
          inbound_.push(bytes);
        } catch (const std::bad_alloc&) {
          dead_ = ended_ = true;  // bytes are lost: nothing on this connection can be trusted
          cancel = watcher_locked();
        }
        if (inbound_.size() > kMaxQueued && !paused_) {
          paused_ = true;
          stream_.pause();
        }
      }
      bytes = {};
    }
  }
  if (reader != nullptr) ready(reader);
  woken.wake();
  cancel_aside(std::move(cancel), Error{Code::kNoResources, 0, kClientOp});
  if (!bytes.empty()) on_data(bytes);
}

// ---- end and time ----

void ServerConn::on_end(Error reason) {
  G* reader = nullptr;
  WakeList woken;
  std::optional<CancelFunc> cancel;
  {
    LockGuard guard(lock_);
    ended_ = true;
    dead_ = dead_ || reason.code != Code::kEof;
    reader = take_reader_locked();
    if (upgraded_ != nullptr) upgraded_->end_locked(reason, woken);
    if (client_left_locked()) cancel = watcher_locked();
  }
  if (reader != nullptr) ready(reader);
  woken.wake();
  cancel_aside(std::move(cancel), Error{reason.code, reason.sys, kClientOp});
  // acquire: as in on_data(). A goroutine that runs answers the requests that came whole, then sees ended_ and closes;
  // one that handed over before the section left the closing to us.
  switch (state_.load(std::memory_order_acquire)) {
    case State::kIdle:
    case State::kHead:
    case State::kLinger: close_at_home(); return;
    case State::kRunning:
    case State::kClosed: return;
  }
}

void ServerConn::on_timer() {
  enum class Due : std::uint8_t { kNothing, kIdleOver, kHeadOver, kLingerOver, kCut } due = Due::kNothing;
  G* reader = nullptr;
  WakeList woken;
  std::optional<CancelFunc> cancel;
  {
    LockGuard guard(lock_);
    armed_ = kNever;
    const State state = state_.load(std::memory_order_relaxed);  // relaxed: the lock orders it
    if (state == State::kClosed) return;
    const ServerPhase phase = core_.phase();
    const std::int64_t now = nanotime();
    if (phase == ServerPhase::kForcing) {
      due = Due::kCut;
      dead_ = true;
      if (state == State::kRunning) {
        reader = take_reader_locked();
        cancel = watcher_locked();
        stream_.shutdown_write();  // a writer that waits fails; see I4
        if (upgraded_ != nullptr) upgraded_->cut_locked(woken);
        due = Due::kNothing;
      }
    } else {
      if (phase == ServerPhase::kDraining && state == State::kIdle && !stopping_seen_) {
        stopping_seen_ = true;
        // relaxed: stored before the phase, which poke()'s lock has published.
        deadline_ = std::min(deadline_, now + core_.last_chance.load(std::memory_order_relaxed));
      }
      if (deadline_ > now) {
        if (deadline_ != kNever) arm_locked(deadline_);  // keeps I6
      } else if (state == State::kRunning) {
        deadline_ = kNever;
        if (reader_.g != nullptr) reader_.timed_out = true;
        reader = take_reader_locked();
      } else {
        due = state == State::kIdle ? Due::kIdleOver : state == State::kHead ? Due::kHeadOver : Due::kLingerOver;
      }
    }
  }
  if (reader != nullptr) ready(reader);
  woken.wake();
  cancel_aside(std::move(cancel), Error{Code::kClosed, 0, kClientOp});
  switch (due) {
    case Due::kNothing: return;
    case Due::kIdleOver: return linger_at_home();
    case Due::kHeadOver: return time_out_head();
    case Due::kLingerOver:
    case Due::kCut: return close_at_home();
  }
}

void ServerConn::time_out_head() {
  x_->head.fault = kStatusRequestTimeout;
  try {
    start_request({});
  } catch (const std::bad_alloc&) {
    close_at_home();
  }
}

void ServerConn::poke() {
  LockGuard guard(lock_);
  if (close_called_) return;
  armed_ = nanotime();
  stream_.set_timer(armed_);
}

void ServerConn::arm_locked(std::int64_t when) {
  deadline_ = when;
  // An order to leave at once is not put off: poke() may have come before this.
  if (core_.phase() == ServerPhase::kForcing) when = 0;
  if (when >= armed_) return;  // it fires early, and on_timer() arms it again: keeps I6
  armed_ = when;
  stream_.set_timer(when);
}

// ---- the end ----

// RFC 9112 s9.6: our end of stream first, then the peer's bytes are read away until its own, then the close.
void ServerConn::begin_linger_locked() {
  const std::int64_t now = coarse_now();
  const Duration limit = core_.options.linger_timeout;
  const bool ends = limit > Duration::zero() && limit <= Duration::max() / kLingerTimes;
  linger_until_ = ends ? nanos_after(now, limit * kLingerTimes) : kNever;
  stream_.shutdown_write();
  let_more_come_locked();
  arm_locked(deadline_after(now, limit));
  // release: gives home all that the goroutine had; pairs with the acquire in on_data() and on_end(). The last step:
  // from here on home may close.
  state_.store(State::kLinger, std::memory_order_release);
}

void ServerConn::linger_at_home() {
  LockGuard guard(lock_);
  give_exchange();
  begin_linger_locked();
}

void ServerConn::linger_on() {
  LockGuard guard(lock_);
  const std::int64_t now = coarse_now();
  deadline_ = std::min(deadline_after(now, core_.options.linger_timeout), linger_until_);
}

void ServerConn::close_at_home() {
  {
    LockGuard guard(lock_);
    close_called_ = true;
    state_.store(State::kClosed, std::memory_order_relaxed);  // relaxed: home's own, and the lock orders it
  }
  give_exchange();
  stream_.close();
}

void ServerConn::on_closed() {
  { LockGuard guard(lock_); }  // keeps I5
  free_self();
}

void ServerConn::free_self() noexcept {
  ServerCore& core = core_;
  core.forget(*this);  // the core may be gone now
  this->~ServerConn();
  pool_put(PoolId::kConn, this);
}

void ServerConn::give_exchange() noexcept {
  if (x_ != nullptr) x_->give();
  x_ = nullptr;
}

void ServerConn::let_more_come_locked() {
  if (!paused_ || inbound_.size() > kMaxQueued / 2) return;
  paused_ = false;
  stream_.resume();
}

const Context& ServerConn::base_context() const noexcept { return core_.options.base_context; }

const Context& ServerConn::draining() const noexcept { return core_.draining.ctx; }

void ServerConn::watch(const CancelFunc& cancel) {
  Code gone = Code::kOk;
  {
    LockGuard guard(lock_);
    x_->cancel = &cancel;
    if (client_left_locked()) gone = Code::kEof;
    if (dead_) gone = core_.phase() == ServerPhase::kForcing ? Code::kClosed : Code::kReset;
  }
  if (gone != Code::kOk) cancel(Error{gone, 0, kClientOp});
}

void ServerConn::stop_watch() noexcept {
  LockGuard guard(lock_);
  x_->cancel = nullptr;
}

// Keeps I7.
void ServerConn::cancel_aside(std::optional<CancelFunc> cancel, const Error& cause) noexcept {
  if (!cancel) return;
  static constexpr GoOptions kOptions{.name = "http cancel"};
  try {
    go(kOptions, [cancel = *cancel, cause] { cancel(cause); });
  } catch (const std::bad_alloc&) {
    (*cancel)(cause);  // no stack for it: better here than not at all
  }
}

// True if the end that came says that the client has gone. In an upgraded connection it may be a part of the protocol, and in
// a tunnel it is, also if it comes before the tunnel is open.
bool ServerConn::client_left_locked() const noexcept {
  if (!ended_ || dead_) return ended_;
  if (upgraded_ != nullptr) return upgraded_->client_left_locked();
  // The head is the goroutine's; while somebody watches it does not change.
  return x_ == nullptr || x_->cancel == nullptr || x_->head.method != Method::kConnect;
}

std::optional<CancelFunc> ServerConn::watcher_locked() const noexcept {
  if (x_ == nullptr || x_->cancel == nullptr) return std::nullopt;
  return *x_->cancel;
}

G* ServerConn::take_reader_locked() noexcept {
  G* g = reader_.g;
  reader_.g = nullptr;
  return g;
}

}  // namespace heddle::http
