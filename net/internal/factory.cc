// Registration before main(), in every program that uses net: all of net asks here() below, so the linker cannot leave
// this file out.
#include <heddle/net/internal/factory.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <memory>

#include <heddle/core/poller.h>
#include <heddle/core/run.h>
#include <heddle/net/internal/epoll_poller.h>
#include <heddle/net/internal/uring_poller.h>

namespace heddle::net {
namespace {

constinit std::atomic<bool> told{false};  // in this run

// A ring that cannot be had for want of memory (or of locked memory, of which each ring takes some) is no reason to die: it may
// be a worker that is added to a server at work, or the last of many. Pollers of both kinds serve side by side, as a
// descriptor belongs to its home. Told once, whoever asked for io_uring by name is told so, too.
std::unique_ptr<Poller> make_poller(int index, PollerKind kind) {
  if (kind == PollerKind::kEpoll) return std::make_unique<EpollPoller>();
  Result<std::unique_ptr<UringPoller>> made = UringPoller::make();
  if (made) return std::move(*made);
  if (!told.exchange(true, std::memory_order_relaxed)) {  // relaxed: only this line is at stake
    std::fprintf(stderr, "heddle: worker %d serves by epoll, as will others without a ring: %s%s\n", index,
                 made.error().message().c_str(), made.error().sys == ENOMEM ? " (is the limit on locked memory too low?)" : "");
  }
  return std::make_unique<EpollPoller>();
}

// What the kernel forbids or lacks it forbids to all workers: that is asked once, before they start.
// For kIoUring the answer kEpoll means "cannot be had", and core dies with the reason.
PollerKind probe(PollerKind wanted, const char** reason) {
  told.store(false, std::memory_order_relaxed);  // relaxed: a run's workers start after this
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
