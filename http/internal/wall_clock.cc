#include <heddle/http/internal/wall_clock.h>

#include <time.h>

#include <atomic>
#include <chrono>
#include <cstring>

#include <heddle/core/clock.h>
#include <heddle/http/date.h>

namespace heddle::http {
namespace {

std::atomic<bool> exact_time{false};

struct DateCache {
  time_t second = -1;
  char line[kDateLineSize];
};
thread_local DateCache date_cache;

void format(DateCache& cache, time_t second) noexcept {
  std::memcpy(cache.line, "Date: ", 6);
  char* const end = put_date(cache.line + 6, std::chrono::sys_seconds(std::chrono::seconds(second)));
  std::memcpy(end, "\r\n", 2);
  cache.second = second;
}

}  // namespace

[[gnu::noinline]] char* put_date_line(char* to) noexcept {
  timespec ts;
  ::clock_gettime(CLOCK_REALTIME_COARSE, &ts);
  DateCache& cache = date_cache;
  if (cache.second != ts.tv_sec) [[unlikely]]
    format(cache, ts.tv_sec);
  std::memcpy(to, cache.line, kDateLineSize);
  return to + kDateLineSize;
}

std::int64_t coarse_now() noexcept {
  // relaxed: where it matters the store was made on this thread, or before this one was started.
  if (exact_time.load(std::memory_order_relaxed)) [[unlikely]]
    return nanotime();
  timespec ts;
  ::clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
  return ts.tv_sec * std::int64_t{1'000'000'000} + ts.tv_nsec;
}

namespace detail {
void use_exact_time_for_test(bool exact) noexcept {
  exact_time.store(exact, std::memory_order_relaxed);  // relaxed: as in coarse_now()
}
}  // namespace detail

}  // namespace heddle::http
