#include <heddle/http/adaptive_limit.h>

#include <algorithm>
#include <cmath>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>

#include <heddle/http/status.h>

namespace heddle::http {
namespace {

constexpr double kLeastGradient = 0.5;  // so much the limit may shrink by one window, before smoothing

const AdaptiveLimitOptions& checked(const AdaptiveLimitOptions& o) {
  if (o.min_limit == 0 || o.min_limit > o.initial_limit || o.initial_limit > o.max_limit)
    throw std::invalid_argument("adaptive_limit: 1 <= min_limit <= initial_limit <= max_limit");
  if (!(o.tolerance >= 1)) throw std::invalid_argument("adaptive_limit: tolerance below 1");
  if (!(o.smoothing > 0 && o.smoothing <= 1)) throw std::invalid_argument("adaptive_limit: smoothing out of (0, 1]");
  if (o.window_requests == 0) throw std::invalid_argument("adaptive_limit: a window without requests");
  return o;
}

}  // namespace

AdaptiveLimiter::AdaptiveLimiter(const AdaptiveLimitOptions& options)
    : options_(checked(options)), limit_(static_cast<double>(options.initial_limit)), began_(nanotime()) {}

bool AdaptiveLimiter::enter() {
  std::unique_lock guard(lock_);
  const auto room = [this] { return running_ < limit_locked(); };
  if (!room() || waiting_ != 0) {  // keeps I1
    if (waiting_ >= options_.max_queue) {
      ++refused_;
      return false;
    }
    ++waiting_;
    const TimePoint until = TimePoint(Duration(nanos_after(nanotime(), options_.max_wait)));
    while (!room() && turn_.wait_until(guard, until) != std::cv_status::timeout) {
    }
    --waiting_;
    if (!room()) {
      ++refused_;
      return false;
    }
  }
  ++running_;
  most_running_ = std::max(most_running_, running_);
  if (waiting_ != 0 && room()) turn_.signal();  // keeps I2: several may have left at once
  return true;
}

void AdaptiveLimiter::leave(Duration took) {
  const std::lock_guard guard(lock_);
  --running_;
  sum_ += static_cast<double>(std::max<std::int64_t>(took.count(), 1));
  ++requests_;
  if (requests_ >= options_.window_requests) {
    const std::int64_t now = nanotime();
    if (now - began_ >= options_.window.count()) end_window_locked(now);
  }
  if (waiting_ != 0 && running_ < limit_locked()) turn_.signal();
}

void AdaptiveLimiter::end_window_locked(std::int64_t now) noexcept {
  const double latency = sum_ / static_cast<double>(requests_);
  const bool needed = 2 * most_running_ >= limit_locked();
  began_ = now;
  sum_ = 0;
  requests_ = 0;
  most_running_ = running_;
  if (least_ == 0 || latency <= least_ || now - least_since_ >= options_.forget_after.count()) {
    if (least_ != 0 && latency > least_) smoothed_ = latency;  // measured anew: nothing of the old times counts
    least_ = latency;
    least_since_ = now;
  }
  smoothed_ = smoothed_ == 0 ? latency : smoothed_ + options_.smoothing * (latency - smoothed_);
  const double gradient = std::clamp(options_.tolerance * least_ / smoothed_, kLeastGradient, 1.0);
  if (gradient >= 1 && !needed) return;  // keeps I3
  const double wanted = limit_ * gradient + (needed ? std::sqrt(limit_) : 0);
  limit_ = std::clamp(limit_ + options_.smoothing * (wanted - limit_), static_cast<double>(options_.min_limit),
                      static_cast<double>(options_.max_limit));
}

AdaptiveLimitStats AdaptiveLimiter::stats() {
  const std::lock_guard guard(lock_);
  return {limit_locked(),
          running_,
          waiting_,
          refused_,
          Duration(static_cast<std::int64_t>(least_)),
          Duration(static_cast<std::int64_t>(smoothed_))};
}

Middleware adaptive_limit(const AdaptiveLimitOptions& options) {
  return adaptive_limit(std::make_shared<AdaptiveLimiter>(options));
}

Middleware adaptive_limit(std::shared_ptr<AdaptiveLimiter> limiter) {
  const std::string retry = std::to_string(std::max<std::int64_t>(limiter->retry_after().count(), 0));
  return [limiter = std::move(limiter), retry](Handler next) -> Handler {
    return [limiter, retry, next = std::move(next)](Request& r, ResponseWriter& w) {
      if (!limiter->enter()) {
        static_cast<void>(w.status(kStatusServiceUnavailable));
        static_cast<void>(w.set_header("Retry-After", retry));
        static_cast<void>(w.set_header("Content-Type", "text/plain; charset=utf-8"));
        static_cast<void>(w.write("503 Service Unavailable\n"));
        return;
      }
      struct Scope {  // also if the handler throws
        AdaptiveLimiter& limiter;
        const std::int64_t since = nanotime();
        ~Scope() { limiter.leave(Duration(nanotime() - since)); }
      } const scope{*limiter};
      next(r, w);
    };
  };
}

}  // namespace heddle::http
