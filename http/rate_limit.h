// Rate limits: how often somebody may ask. A bucket of tokens for each key, in a table of fixed size.
//
//   mux.use(rate_limit({.requests = 100, .per = 1min, .burst = 20}));        // per client address
//
// A bucket is one number, the moment when it will be full again (GCRA): a request moves it `per / requests` onwards,
// and is refused if it would lie more than `burst` such steps ahead. A bucket that is full is as good as none.
//
//   set   | slot | slot | … 8 |        a key's hash chooses the set; a slot is 16 bytes: hash, moment
//
// I1. Memory is fixed when the limiter is made, whatever keys come. A key without a slot takes one that is full again;
//     or, if its set has none, the one that will be full first, whose key so gets a full bucket. A flood of new keys
//     therefore displaces other newcomers, and not those that are at their limit.
// I2. Keys are hashed with a secret, so nobody can choose one that shares another's slot. By chance two of 2^64 hashes
//     are equal: those keys share a bucket.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <heddle/core/clock.h>
#include <heddle/core/mutex.h>
#include <heddle/http/mux.h>

namespace heddle::http {

struct RateLimitOptions {
  std::uint32_t requests = 10;  ///< So many in `per`, in the long run.
  Duration per = std::chrono::seconds(1);
  std::uint32_t burst = 20;       ///< And so many at once after a silence; at least 1.
  std::size_t max_keys = 65'536;  ///< Keys that are remembered at once, 16 bytes each; rounded up. At most 2^30.

  /// Whose limit a request counts for; an empty key has none. What a client can choose (a field that no proxy of yours
  /// sets) is no key: it would choose a new one. Default: client_network().
  std::function<std::string(const Request&)> key{};
};

/// Counts. Threads: any goroutines at once.
class RateLimiter {
 public:
  /// Errors: throws std::invalid_argument for a rate or burst of nothing, one that takes longer to refill than some 70
  ///         years, or too many keys; std::bad_alloc.
  explicit RateLimiter(const RateLimitOptions& options);

  /// Takes one from the key's bucket. Returns: nothing if there was one; else how long until there is, and asking took
  /// nothing.
  [[nodiscard]] std::optional<Duration> take(std::string_view key);

 private:
  struct Slot {
    std::uint64_t hash = 0;
    std::int64_t full_at = 0;  // ns; in the past: full
  };
  static constexpr std::size_t kWays = 8;
  static constexpr std::size_t kLocks = 64;

  const std::int64_t step_;       // ns that one request costs
  const std::int64_t tolerance_;  // ns that full_at may lie ahead before a request
  const std::size_t sets_;        // a power of two
  std::array<std::uint64_t, 2> secret_;
  const std::unique_ptr<Slot[]> slots_;  // those of a set are guarded by the lock of its number, modulo kLocks
  const std::unique_ptr<Mutex[]> locks_;
};

/// Who the client is, for limits: its IPv4 address, or the first 64 bits of its IPv6 address, which is what one
/// customer usually has; without the port. As the transport says: behind a proxy that is the proxy. Not for people: raw
/// bytes; or what a transport without IP addresses calls its peer, which may be nothing (no limit). Nothing for all who come
/// over a Unix socket: they are this machine's, most often a proxy with the requests of many.
[[nodiscard]] std::string client_network(const Request& request);
/// The same of an address like "192.0.2.1:40312".
[[nodiscard]] std::string client_network(std::string_view peer_address);

/// Middleware that answers 429 with Retry-After to what comes too often. Errors: as RateLimiter's.
[[nodiscard]] Middleware rate_limit(RateLimitOptions options = {});

}  // namespace heddle::http
