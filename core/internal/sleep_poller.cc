// The poller of programs without net: it has no events, it only sleeps and is woken, on a futex word.
//
//     0 nothing  --wake-->  1 woken  --wait takes it-->  0
//                2 asleep   --wake-->  1, and the sleeper is woken in the kernel
//
// I1. wake() leaves 1 behind whatever it finds, so it is sticky; only wait() takes it away.
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include <heddle/core/clock.h>
#include <heddle/core/internal/sched.h>

namespace heddle {
namespace {

class SleepPoller final : public Poller {
 public:
  int reap() override { return 0; }
  [[nodiscard]] bool pending() const noexcept override { return false; }
  [[nodiscard]] bool in_use() const noexcept override { return false; }
  void drive(bool) noexcept override {}
  [[nodiscard]] bool has_ready() const noexcept override { return false; }

  void wait(std::int64_t deadline) override {
    std::uint32_t nothing = 0;
    // acq_rel: what the waker wrote before wake() is seen after wait(); pairs with the exchange there.
    if (word_.compare_exchange_strong(nothing, 2, std::memory_order_acq_rel, std::memory_order_acquire)) {
      timespec ts{};
      timespec* limit = nullptr;
      if (deadline != kNever) {
        const std::int64_t left = deadline - nanotime();
        if (left > 0) {
          ts.tv_sec = left / 1'000'000'000;
          ts.tv_nsec = left % 1'000'000'000;
        }
        limit = &ts;
      }
      // EINTR, ETIMEDOUT, EAGAIN: all the same to a wait that may return for no reason.
      ::syscall(SYS_futex, &word_, FUTEX_WAIT_PRIVATE, 2, limit, nullptr, 0);
    }
    word_.exchange(0, std::memory_order_acq_rel);  // acq_rel: as above
  }

  void wake() noexcept override {
    // acq_rel: publishes what the waker did; pairs with wait().
    if (word_.exchange(1, std::memory_order_acq_rel) == 2) {
      ::syscall(SYS_futex, &word_, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
    }
  }

  [[nodiscard]] const char* name() const noexcept override { return "sleep"; }

 private:
  std::atomic<std::uint32_t> word_{0};
};

}  // namespace

std::unique_ptr<Poller> make_sleep_poller() { return std::make_unique<SleepPoller>(); }

}  // namespace heddle
