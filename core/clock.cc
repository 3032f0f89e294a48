#include <heddle/core/clock.h>

#include <time.h>

#include <atomic>

namespace heddle {
namespace {
std::atomic<std::int64_t (*)() noexcept> test_clock{nullptr};
}  // namespace

std::int64_t nanotime() noexcept {
  // relaxed: set while no scheduler runs, so every reader was started after the store.
  if (auto* clock = test_clock.load(std::memory_order_relaxed); clock != nullptr) [[unlikely]] return clock();
  timespec ts;
  ::clock_gettime(CLOCK_MONOTONIC, &ts);
  return ts.tv_sec * std::int64_t{1'000'000'000} + ts.tv_nsec;
}

namespace detail {
void set_clock_for_test(std::int64_t (*clock)() noexcept) noexcept {
  test_clock.store(clock, std::memory_order_relaxed);  // relaxed: as in nanotime()
}
}  // namespace detail

}  // namespace heddle
