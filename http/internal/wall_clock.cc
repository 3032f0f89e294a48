#include <heddle/http/internal/wall_clock.h>

#include <time.h>

#include <atomic>
#include <chrono>
#include <cstring>

#include <heddle/core/clock.h>

namespace heddle::http {
namespace {

std::atomic<bool> exact_time{false};

struct DateCache {
  time_t second = -1;
  char line[kDateLineSize];
};
thread_local DateCache date_cache;

void put_two(char* to, unsigned value) noexcept {
  to[0] = static_cast<char>('0' + value / 10);
  to[1] = static_cast<char>('0' + value % 10);
}

// Not gmtime_r(3): glibc's takes the lock of the time zone database.
void format(DateCache& cache, time_t second) noexcept {
  namespace chrono = std::chrono;
  static constexpr char kDays[] = "SunMonTueWedThuFriSat";
  static constexpr char kMonths[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
  const chrono::sys_seconds now{chrono::seconds(second)};
  const auto day = chrono::floor<chrono::days>(now);
  const chrono::year_month_day date(day);
  const auto of_day = static_cast<unsigned>((now - day).count());
  const auto year = static_cast<unsigned>(static_cast<int>(date.year()));
  char* line = cache.line;
  std::memcpy(line, "Date: ddd, dd mmm yyyy hh:mm:ss GMT\r\n", kDateLineSize);
  std::memcpy(line + 6, kDays + std::size_t{3} * chrono::weekday(day).c_encoding(), 3);
  put_two(line + 11, static_cast<unsigned>(date.day()));
  std::memcpy(line + 14, kMonths + std::size_t{3} * (static_cast<unsigned>(date.month()) - 1), 3);
  put_two(line + 18, year / 100);
  put_two(line + 20, year % 100);
  put_two(line + 23, of_day / 3600);
  put_two(line + 26, of_day / 60 % 60);
  put_two(line + 29, of_day % 60);
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
  // relaxed: set while no scheduler runs, so every reader was started after the store.
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
