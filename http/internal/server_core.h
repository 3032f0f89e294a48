// ServerCore: what all connections of one server share: the handler, the limits, and the list of connections.
//
// Kept apart from Server, because a handler that does not return outlives the grace of shutdown(), and then its
// connection must still find all this. Whoever leaves last (the Server, or a connection) frees it.
//
//   phase    kServing --shutdown()--> kDraining --grace over--> kForcing
//
// I1. The phase is stored before any connection is poked, and a connection that goes idle reads it under its own lock,
//     which poke() takes too: so each idle connection either sees the phase or is poked afterwards.
// I2. It is freed by a goroutine: what the handler and the hooks hold goes with it, and those destructors are the user's,
//     who may park or block there. A connection leaves on the scheduler's side, so it has one started.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include <heddle/core/context.h>
#include <heddle/core/lock.h>
#include <heddle/http/internal/exchange.h>
#include <heddle/http/internal/network_counts.h>
#include <heddle/http/internal/peer.h>
#include <heddle/http/options.h>
#include <heddle/http/request.h>
#include <heddle/http/response_writer.h>
#include <heddle/http/server.h>
#include <heddle/net/stream_listener.h>

namespace heddle::http {

class ServerConn;

enum class ServerPhase : std::uint8_t { kServing, kDraining, kForcing };

class ServerCore final : public net::StreamAcceptor {
 public:
  ServerCore(Handler handler, const ServerOptions& options);

  net::StreamSink* on_accept(net::Stream& stream) override;

  [[nodiscard]] ServerPhase phase() const noexcept {
    // relaxed: see I1; a response that just misses it is closed like an idle connection.
    return phase_.load(std::memory_order_relaxed);
  }
  /// Moves the phase on and pokes every connection.
  void enter(ServerPhase phase);
  [[nodiscard]] std::size_t open();
  /// ns that a connection between requests gets once the server drains.
  std::atomic<std::int64_t> last_chance{0};

  void handler_failed(const Request& request, std::exception_ptr what) noexcept;
  /// A connection leaves the list; the core may be gone afterwards.
  void forget(ServerConn& conn) noexcept;
  /// The Server leaves.
  void release() noexcept;

  const Handler handler;
  const ServerOptions options;
  const HeadLimits limits;
  const ContextAndCancel draining = with_cancel_cause(Context());  // done when the server drains

  std::atomic<std::uint64_t> accepted{0};  // statistics, all of them relaxed
  std::atomic<std::uint64_t> refused{0};
  std::atomic<std::uint64_t> handler_errors{0};
  std::atomic<std::uint64_t> refused_per_ip{0};

 private:
  ~ServerCore() = default;
  void free_aside() noexcept;
  [[nodiscard]] bool counts(const Peer& peer) const noexcept {
    return options.max_connections_per_ip != 0 && peer.kind != Peer::Kind::kUnknown &&
           (options.limit_loopback || !peer.is_loopback());
  }

  NetworkCounts networks_;

  std::atomic<ServerPhase> phase_{ServerPhase::kServing};
  RawMutex lock_{LockRank::kHttpServer};
  // guarded by lock_
  ServerConn* first_ = nullptr;
  std::size_t open_ = 0;
  bool released_ = false;
};

}  // namespace heddle::http
