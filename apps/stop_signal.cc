#include "stop_signal.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <string_view>

#include <heddle/core/foreign.h>

namespace heddle::apps {
namespace {

sigset_t stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

}  // namespace

StopSignal::StopSignal() {
  const sigset_t set = stop_signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  thread_ = std::thread([this] { take_signals(); });
}

StopSignal::~StopSignal() {
  over_.store(true);
  pthread_kill(thread_.native_handle(), SIGTERM);
  thread_.join();
}

void StopSignal::take_signals() {
  const sigset_t set = stop_signals();
  for (;;) {
    int sig = 0;
    if (sigwait(&set, &sig) != 0) continue;
    if (over_.load()) return;
    const std::uintptr_t before = state_.exchange(kCame);
    if (before == kCame) {  // asked twice: no more patience
      constexpr std::string_view kSaid = "a second signal: ended at once\n";
      static_cast<void>(!::write(STDERR_FILENO, kSaid.data(), kSaid.size()));
      ::_exit(1);
    }
    if (before == kNone) continue;
    // By post(), which run() waits for at its end: by ready() this thread could still be waking a P as that goes. If no run()
    // takes it there is nobody to wake.
    static_cast<void>(heddle::post([g = reinterpret_cast<G*>(before)] { heddle::ready(g); }));
  }
}

void StopSignal::wait() {
  heddle::park(
      [](G* g, void* arg) {
        std::uintptr_t none = kNone;
        return static_cast<StopSignal*>(arg)->state_.compare_exchange_strong(none, reinterpret_cast<std::uintptr_t>(g));
      },
      this, WaitReason::kOther);
}

}  // namespace heddle::apps
