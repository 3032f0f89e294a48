// Registration before main(), in every program that uses net: all of net asks here() below, so the linker cannot leave
// this file out.
#include <heddle/net/internal/factory.h>

#include <algorithm>
#include <memory>

#include <heddle/core/poller.h>
#include <heddle/core/run.h>
#include <heddle/net/internal/epoll_poller.h>
#include <heddle/net/internal/uring_poller.h>

namespace heddle::net {
namespace {

std::unique_ptr<Poller> make_poller(int, PollerKind kind) {
  if (kind == PollerKind::kEpoll) return std::make_unique<EpollPoller>();
  return std::make_unique<UringPoller>();
}

// For kIoUring the answer kEpoll means "cannot be had", and core dies with the reason.
PollerKind probe(PollerKind wanted, const char** reason) {
  *reason = nullptr;
  if (wanted == PollerKind::kEpoll) return PollerKind::kEpoll;
  *reason = why_no_io_uring();
  return *reason == nullptr ? PollerKind::kIoUring : PollerKind::kEpoll;
}

[[maybe_unused]] const bool registered = (register_pollers(), true);

}  // namespace

void register_pollers() noexcept { set_poller_factory(make_poller, probe); }

NetPoller* NetPoller::here() noexcept { return static_cast<NetPoller*>(current_poller()); }

NetPoller* NetPoller::at(int index) noexcept { return static_cast<NetPoller*>(poller_of(index)); }

int NetPoller::homes() noexcept { return std::min(procs(), worker_count()); }

}  // namespace heddle::net
