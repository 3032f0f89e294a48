// An adaptive limit: as many requests at once as the service bears, found out from how long they take.
//
//   mux.use(adaptive_limit());      // outermost of what is dear; health checks had better stay outside of it
//
// A service that has more to do than it can does everything late. How much it bears changes with the machine, the database
// and the requests; so it is measured. While latency stays near the least that was seen the limit grows; once it is a
// multiple of that, requests wait somewhere for one another, and the limit shrinks. (TCP Vegas; Netflix's concurrency-limits
// calls it "gradient".)
//
//   after each window:   gradient = clamp(tolerance * least / smoothed latency, 1/2, 1)
//                        limit    = limit * gradient + sqrt(limit), smoothed, within [min_limit, max_limit]
//
//   request --room--> handler ---> latency --> window
//      '--full--> a short line, for max_wait at most --turn--> handler
//                     '-- the line is full, or the wait is over: 503, Retry-After; the connection stays
//
// I1. running_ <= limit, but for a limit that has just shrunk: then nobody is let in until it fits. A newcomer passes nobody
//     in the line.
// I2. Who gives up its place in the line, having been called, calls the next one: no turn is lost.
// I3. The limit grows only if it was needed: a window in which less than half of it ran says nothing about more.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>

#include <heddle/core/clock.h>
#include <heddle/core/cond.h>
#include <heddle/core/mutex.h>
#include <heddle/http/mux.h>

namespace heddle::http {

struct AdaptiveLimitOptions {
  std::size_t initial_limit = 32;  ///< Requests at once before anything was measured.
  std::size_t min_limit = 4;       ///< It never gets less; at least 1.
  std::size_t max_limit = 4096;    ///< Nor more.

  /// How many times the least latency the smoothed one may be before the limit shrinks; at least 1. Less is more careful;
  /// handlers whose latencies differ by nature need more, or limits of their own.
  double tolerance = 2.0;
  /// How much of a window's result counts at once, in (0, 1]; both for the latency and for the limit.
  double smoothing = 0.2;

  /// A window is so long at least, and has so many requests at least. Starts with the end of the one before.
  Duration window = std::chrono::milliseconds(100);
  std::size_t window_requests = 10;
  /// The least latency is forgotten after so long and measured anew: a service that became slower for good would otherwise
  /// be throttled for good. Starts with the window that it was measured in.
  Duration forget_after = std::chrono::seconds(60);

  std::size_t max_queue = 32;                                  ///< Requests that wait; more are refused at once.
  Duration max_wait = std::chrono::milliseconds(100);          ///< For a turn. Starts when the request finds no room.
  std::chrono::seconds retry_after = std::chrono::seconds(1);  ///< What a refused client is told.
};

struct AdaptiveLimitStats {
  std::size_t limit = 0;
  std::size_t running = 0;
  std::size_t waiting = 0;
  std::uint64_t refused = 0;
  Duration least{};  // latency; 0: not measured yet
  Duration smoothed{};
};

/// The limit by itself. Every request takes its lock twice, for some tens of nanoseconds. Threads: goroutines.
class AdaptiveLimiter {
 public:
  /// Errors: throws std::invalid_argument for limits out of order, a tolerance below 1, a smoothing out of (0, 1], or a window
  ///         without requests.
  explicit AdaptiveLimiter(const AdaptiveLimitOptions& options);

  /// Lets a request in; parks for max_wait at most. Returns: false if it is refused; else leave() must follow.
  [[nodiscard]] bool enter();
  /// A request that was let in is over, and took so long.
  void leave(Duration took);

  [[nodiscard]] AdaptiveLimitStats stats();
  [[nodiscard]] std::chrono::seconds retry_after() const noexcept { return options_.retry_after; }

 private:
  [[nodiscard]] std::size_t limit_locked() const noexcept { return static_cast<std::size_t>(limit_); }
  void end_window_locked(std::int64_t now) noexcept;

  const AdaptiveLimitOptions options_;
  Mutex lock_;
  Cond turn_;
  // guarded by lock_
  double limit_;
  std::size_t running_ = 0;
  std::size_t waiting_ = 0;
  std::uint64_t refused_ = 0;
  double least_ = 0;     // ns; 0: not measured
  double smoothed_ = 0;  // ns
  std::int64_t least_since_ = 0;
  // the window
  std::int64_t began_;
  double sum_ = 0;  // ns
  std::size_t requests_ = 0;
  std::size_t most_running_ = 0;
};

/// Middleware with a limiter of its own, shared by all the handlers that one call's result is put around. What it refuses is
/// answered 503 with Retry-After, and the connection stays. Errors: as AdaptiveLimiter's.
[[nodiscard]] Middleware adaptive_limit(const AdaptiveLimitOptions& options = {});
/// The same with a limiter that others see, too.
[[nodiscard]] Middleware adaptive_limit(std::shared_ptr<AdaptiveLimiter> limiter);

}  // namespace heddle::http
