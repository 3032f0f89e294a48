#include <heddle/http/rate_limit.h>

#include <netinet/in.h>
#include <sys/random.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <mutex>
#include <stdexcept>
#include <utility>

#include <heddle/core/check.h>
#include <heddle/http/internal/siphash.h>
#include <heddle/http/status.h>
#include <heddle/net/address.h>

namespace heddle::http {
namespace {

// So far ahead may lie what is added to a moment, without overflow: some 70 years.
constexpr std::int64_t kMaxSpan = kNever / 4;
constexpr std::size_t kMaxKeys = std::size_t{1} << 30;

std::int64_t step_of(const RateLimitOptions& o) {
  if (o.requests == 0 || o.burst == 0 || o.per <= Duration::zero())
    throw std::invalid_argument("rate_limit: requests, per and burst must be more than nothing");
  return std::max<std::int64_t>(o.per.count() / o.requests, 1);
}

std::int64_t tolerance_of(const RateLimitOptions& o, std::int64_t step) {
  std::int64_t span = 0;
  if (__builtin_mul_overflow(step, std::int64_t{o.burst}, &span) || span > kMaxSpan)
    throw std::invalid_argument("rate_limit: burst takes longer to refill than time lasts");
  return span - step;
}

std::size_t sets_of(const RateLimitOptions& o, std::size_t ways) {
  if (o.max_keys > kMaxKeys) throw std::invalid_argument("rate_limit: too many keys");
  return std::bit_ceil(std::max<std::size_t>((o.max_keys + ways - 1) / ways, 1));
}

template <class T>
std::string_view bytes_of(const T& value, std::size_t size) {
  return {reinterpret_cast<const char*>(&value), size};
}

}  // namespace

RateLimiter::RateLimiter(const RateLimitOptions& options)
    : step_(step_of(options)),
      tolerance_(tolerance_of(options, step_)),
      sets_(sets_of(options, kWays)),
      slots_(std::make_unique<Slot[]>(sets_ * kWays)),
      locks_(std::make_unique<Mutex[]>(kLocks)) {
  HEDDLE_CHECK(::getrandom(secret_.data(), sizeof secret_, 0) == static_cast<ssize_t>(sizeof secret_));
}

std::optional<Duration> RateLimiter::take(std::string_view key) {
  const std::uint64_t hash = siphash(secret_[0], secret_[1], key);
  const std::size_t set = hash & (sets_ - 1);
  Slot* const first = slots_.get() + set * kWays;
  std::lock_guard guard(locks_[set % kLocks]);
  const std::int64_t now = nanotime();
  Slot* slot = std::find_if(first, first + kWays, [hash](const Slot& s) { return s.hash == hash; });
  if (slot == first + kWays) {
    slot =
        std::min_element(first, slot, [](const Slot& a, const Slot& b) { return a.full_at < b.full_at; });  // keeps I1
    *slot = {hash, now};
  }
  const std::int64_t full_at = std::max(slot->full_at, now);
  if (full_at - now > tolerance_) return Duration(full_at - now - tolerance_);
  slot->full_at = full_at + step_;
  return std::nullopt;
}

std::string client_network(const Request& request) { return client_network(request.peer_address()); }

std::string client_network(std::string_view peer_address) {
  if (peer_address.starts_with("unix:")) return {};
  const Result<net::Address> address = net::Address::parse(peer_address);
  if (!address) return std::string(peer_address);  // a transport with names of its own
  if (address->family() == AF_INET) {
    sockaddr_in v4;
    std::memcpy(&v4, address->sa(), sizeof(v4));
    return std::string(bytes_of(v4.sin_addr, 4));
  }
  HEDDLE_DCHECK(address->family() == AF_INET6);
  sockaddr_in6 v6;
  std::memcpy(&v6, address->sa(), sizeof(v6));
  const bool mapped = IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr);
  const std::string_view bytes = bytes_of(v6.sin6_addr, 16);
  return std::string(mapped ? bytes.substr(12) : bytes.substr(0, 8));
}

Middleware rate_limit(RateLimitOptions options) {
  if (!options.key) options.key = [](const Request& r) { return client_network(r); };
  auto limiter = std::make_shared<RateLimiter>(options);
  return [limiter, key = std::move(options.key)](Handler next) -> Handler {
    return [limiter, key, next = std::move(next)](Request& r, ResponseWriter& w) {
      const std::string who = key(r);
      const std::optional<Duration> wait = who.empty() ? std::nullopt : limiter->take(who);
      if (!wait) return next(r, w);
      const auto seconds = std::chrono::ceil<std::chrono::seconds>(*wait);
      static_cast<void>(w.status(kStatusTooManyRequests));
      static_cast<void>(w.set_header("Retry-After", std::to_string(seconds.count())));
      static_cast<void>(w.set_header("Content-Type", "text/plain; charset=utf-8"));
      static_cast<void>(w.write("429 Too Many Requests\n"));
    };
  };
}

}  // namespace heddle::http
