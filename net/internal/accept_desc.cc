// Accepting and dealing.
#include <heddle/net/internal/accept_desc.h>

#include <sys/socket.h>

#include <cerrno>

#include <heddle/net/internal/net_poller.h>
#include <heddle/net/internal/socket.h>
#include <heddle/net/internal/stream_conn.h>
#include <heddle/net/internal/sys.h>

namespace heddle::net {
namespace {

constexpr std::int64_t kRest = 50'000'000;  // ns: long enough not to spin, short enough not to be felt as an outage

}  // namespace

AcceptVerdict accept_verdict(int error) noexcept {
  switch (error) {
    case EAGAIN:
      return AcceptVerdict::kDrained;
    // The connection ended, or an error of its network came up, before we took it. Source: accept(2), "Error handling".
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
    case EPERM:  // a firewall's rule
      return AcceptVerdict::kGoOn;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
    default:  // unknown: whatever it is, neither spin nor give the listener up
      return AcceptVerdict::kRest;
  }
}

AcceptDesc::AcceptDesc() noexcept
    : PollDesc(DescKind::kAcceptor), WheelEntry([](WheelEntry* entry) {
        auto* self = static_cast<AcceptDesc*>(entry);
        self->resting = false;
        self->readable = true;  // the edge may have come before the rest
        self->home.load(std::memory_order_relaxed)->post(*self, kReqVisit);  // constant while open
      }) {}

std::uint32_t AcceptDesc::open_acceptor(int new_fd, StreamAcceptor& stream_acceptor, NetPoller& owner, bool is_shared,
                                        bool is_of_unix) noexcept {
  deadline.store(kNever, std::memory_order_relaxed);  // the slot is ours alone
  acceptor = &stream_acceptor;
  shared = is_shared;
  of_unix = is_of_unix;
  resting = readable = false;
  const std::uint32_t generation = open(new_fd);
  home.store(&owner, std::memory_order_seq_cst);
  owner.count_open(+1);
  return generation;
}

void AcceptDesc::let_no_more_in() noexcept {
  if (shared) return;
  if (of_unix) {
    static_cast<void>(sys().shutdown(fd, SHUT_RD));  // what stands in its queue can still be accepted
  } else {
    stop_handshakes(fd);
  }
}

bool AcceptDesc::accept_some(int most) noexcept {
  for (int i = 0; i < most; ++i) {
    const int accepted = sys().accept4(fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (accepted >= 0) {
      deal(accepted);
      continue;
    }
    switch (accept_verdict(-accepted)) {
      case AcceptVerdict::kGoOn:
        continue;
      case AcceptVerdict::kDrained:
        return true;
      case AcceptVerdict::kRest:
        rest();
        return true;
    }
  }
  return false;
}

void AcceptDesc::deal(int new_fd) noexcept {
  // Each was set before its filter: I3. relaxed: the kernel's lock on the listening socket, which both the filter's setting and
  // the accept take, orders the rest.
  if (lock.closing() || diverted.load(std::memory_order_relaxed)) let_packets_in(new_fd);
  StreamConn* stream = stream_slab().take();
  if (stream == nullptr) {  // no memory for a slot: this client is refused, the next ones wait
    sys().close(new_fd);
    rest();
    return;
  }
  NetPoller* mine = home.load(std::memory_order_relaxed);  // constant while open
  NetPoller* target = mine;
  const int homes = NetPoller::homes();
  if (homes > 1) {
    turn = (turn + 1) % homes;
    target = NetPoller::at(turn);
    for (int i = 1; i < homes; ++i) {
      NetPoller* other = NetPoller::at((turn + i) % homes);
      if (other->streams() < target->streams()) target = other;
    }
  }
  stream->open_stream(new_fd, *this, *target);
  target->count_open(+1);
  target->count_streams(+1);
  lock.hold();  // I1; dropped by adopt()
  if (target == mine) {
    target->adopt(*stream);
  } else {
    target->post(*stream, kReqAdopt);
  }
}

void AcceptDesc::rest() noexcept {
  if (lock.closing()) return;
  resting = true;
  if (WheelEntry::set(nanotime() + kRest)) home.load(std::memory_order_relaxed)->wheel().relook(*this);
}

Slab<AcceptDesc>& acceptor_slab() noexcept {
  static constinit Slab<AcceptDesc> slab;
  return slab;
}

}  // namespace heddle::net
