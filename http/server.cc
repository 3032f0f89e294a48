#include <heddle/http/server.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <new>
#include <utility>

#include <heddle/core/check.h>
#include <heddle/core/go.h>
#include <heddle/http/internal/server_conn.h>
#include <heddle/http/internal/server_core.h>

namespace heddle::http {
namespace {

using namespace std::chrono_literals;

constexpr Duration kLastChance = 500ms;
constexpr Duration kAfterGrace = 1s;  // for goroutines to notice that they were cut

bool was_reset(const net::Stream& stream) noexcept {
  const Result<net::Address> remote = stream.remote_address();
  return !remote && remote.error().sys == ENOTCONN;
}

std::uint32_t clamp32(std::size_t n) noexcept {
  return static_cast<std::uint32_t>(std::min<std::size_t>(n, std::size_t{1} << 30));
}

HeadLimits limits_of(const ServerOptions& o) noexcept {
  return {clamp32(o.max_target), clamp32(o.max_head_bytes), clamp32(o.max_headers), o.max_body, o.max_framing};
}

}  // namespace

// ---- ServerCore ----

ServerCore::ServerCore(Handler h, const ServerOptions& o)
    : handler(std::move(h)), options(o), limits(limits_of(o)), networks_(o.max_connections_per_ip) {}

net::StreamSink* ServerCore::on_accept(net::Stream& stream) {
  // relaxed, all three: counts.
  accepted.fetch_add(1, std::memory_order_relaxed);
  const Peer peer = Peer::of(stream.peer());
  // Reset already: nobody waits for an answer, and what it asks would count for nobody.
  if (peer.kind == Peer::Kind::kUnknown && was_reset(stream)) return nullptr;
  const bool counted = counts(peer);
  try {
    if (counted && !networks_.enter(peer.network())) {
      refused_per_ip.fetch_add(1, std::memory_order_relaxed);
      return nullptr;
    }
  } catch (const std::bad_alloc&) {
    refused.fetch_add(1, std::memory_order_relaxed);
    return nullptr;
  }
  ServerConn* conn = nullptr;
  {
    LockGuard guard(lock_);
    if (open_ < options.max_connections && phase() == ServerPhase::kServing && !released_) {
      try {
        conn = ::new (pool_get(PoolId::kConn)) ServerConn(*this, stream, peer);
      } catch (const std::bad_alloc&) {
        // refused, like one too many
      }
    }
    if (conn != nullptr) {
      conn->next = first_;
      if (first_ != nullptr) first_->prev = conn;
      first_ = conn;
      ++open_;
    }
  }
  if (conn == nullptr) {
    if (counted) networks_.leave(peer.network());
    refused.fetch_add(1, std::memory_order_relaxed);
    return nullptr;
  }
  conn->start();
  return conn;
}

void ServerCore::enter(ServerPhase phase) {
  phase_.store(phase, std::memory_order_relaxed);  // relaxed: I1's locks publish it
  LockGuard guard(lock_);
  for (ServerConn* conn = first_; conn != nullptr; conn = conn->next) conn->poke();
}

std::size_t ServerCore::open() {
  LockGuard guard(lock_);
  return open_;
}

void ServerCore::handler_failed(const Request& request, std::exception_ptr what) noexcept {
  handler_errors.fetch_add(1, std::memory_order_relaxed);
  if (options.on_handler_error) options.on_handler_error(request, std::move(what));
}

void ServerCore::forget(ServerConn& conn) noexcept {
  if (counts(conn.peer())) networks_.leave(conn.peer().network());
  bool last = false;
  {
    LockGuard guard(lock_);
    (conn.prev == nullptr ? first_ : conn.prev->next) = conn.next;
    if (conn.next != nullptr) conn.next->prev = conn.prev;
    --open_;
    last = open_ == 0 && released_;
  }
  if (last) free_aside();
}

// Keeps I2.
void ServerCore::free_aside() noexcept {
  static constexpr GoOptions kOptions{.name = "http server end"};
  try {
    go(kOptions, [this] { delete this; });
  } catch (const std::bad_alloc&) {
    delete this;  // no stack for it: better here than not at all
  }
}

void ServerCore::release() noexcept {
  bool last = false;
  {
    LockGuard guard(lock_);
    released_ = true;
    last = open_ == 0;
  }
  if (last) delete this;
}

// ---- Server ----

Server::Server(Handler handler, const ServerOptions& options) : core_(new ServerCore(std::move(handler), options)) {}

Server::~Server() {
  if (!listeners_.empty()) fatal("http::Server destroyed while it listens: call shutdown() first");
  core_->release();
}

template <class Where, class Options>
Result<net::StreamListener*> Server::add(const Where& where, const Options& options) {
  if (stopped_) return std::unexpected(Error{Code::kClosed, 0, "http listen"});
  Result<std::unique_ptr<net::StreamListener>> listener = net::StreamListener::listen(where, *core_, options);
  if (!listener) return std::unexpected(listener.error());
  listeners_.push_back(std::move(*listener));
  return listeners_.back().get();
}

Result<net::Address> Server::listen(const net::Address& address, const net::StreamListenOptions& options) {
  const Result<net::StreamListener*> added = add(address, options);
  if (!added) return std::unexpected(added.error());
  return (*added)->local_address();
}

Result<net::UnixAddress> Server::listen(const net::UnixAddress& address, const net::UnixListenOptions& options) {
  const Result<net::StreamListener*> added = add(address, options);
  if (!added) return std::unexpected(added.error());
  return (*added)->local_unix_address();
}

Result<net::Endpoint> Server::listen(const net::Endpoint& endpoint, const net::StreamListenOptions& ip,
                                     const net::UnixListenOptions& local) {
  if (const net::UnixAddress* const path = endpoint.local()) {
    const Result<net::UnixAddress> bound = listen(*path, local);
    if (!bound) return std::unexpected(bound.error());
    return *bound;
  }
  const Result<net::Address> bound = listen(*endpoint.ip(), ip);
  if (!bound) return std::unexpected(bound.error());
  return *bound;
}

bool Server::shutdown(Duration grace) {
  stopped_ = true;
  const std::int64_t over = nanos_after(nanotime(), std::max(grace, Duration::zero()));
  bool shares = false;
  for (const auto& listener : listeners_) shares = listener->divert() || shares;
  if (shares) sleep(std::min<Duration>(net::kHandshakePatience, std::max(grace, Duration::zero()) / 4));
  for (const auto& listener : listeners_) listener->close();
  listeners_.clear();
  // relaxed: the phase, stored after it, is published by the connections' locks.
  core_->last_chance.store(std::min<std::int64_t>(kLastChance.count(), grace.count() / 2), std::memory_order_relaxed);
  core_->enter(ServerPhase::kDraining);
  core_->draining.cancel(Error{Code::kClosed, 0, "http shutdown"});
  // The list is looked at every now and then: whoever closes last need not know who waits. Go's Shutdown does the same.
  auto wait_until = [this](std::int64_t deadline) {
    for (Duration pause = 1ms; core_->open() != 0; pause = std::min<Duration>(pause * 2, 20ms)) {
      const std::int64_t left = deadline - nanotime();
      if (left <= 0) return false;
      sleep(std::min<Duration>(pause, Duration(left)));
    }
    return true;
  };
  if (wait_until(over)) return true;
  core_->enter(ServerPhase::kForcing);
  wait_until(nanos_after(nanotime(), kAfterGrace));
  return false;
}

ServerStats Server::stats() const {
  constexpr auto kRelaxed = std::memory_order_relaxed;  // relaxed: each count is true of some moment
  return {core_->accepted.load(kRelaxed), core_->refused.load(kRelaxed), core_->open(),
          core_->handler_errors.load(kRelaxed), core_->refused_per_ip.load(kRelaxed)};
}

net::StreamAcceptor& Server::acceptor() noexcept { return *core_; }

}  // namespace heddle::http
