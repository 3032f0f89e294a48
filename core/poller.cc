#include <heddle/core/poller.h>

#include <heddle/core/internal/sched.h>

namespace heddle {

constinit PollerFactory poller_factory = nullptr;
constinit PollerProbe poller_probe = nullptr;

void set_poller_factory(PollerFactory factory, PollerProbe probe) noexcept {
  poller_factory = factory;
  poller_probe = probe;
}

Poller* current_poller() noexcept {
  P* p = held_p();
  return p == nullptr ? nullptr : p->poller;
}

Poller* poller_of(int index) noexcept {
  return index >= 0 && index < sched.nps.load(std::memory_order_acquire) ? sched.ms[index].poller.get() : nullptr;
}

int worker_count() noexcept { return sched.nps.load(std::memory_order_acquire); }

}  // namespace heddle
