// StreamListener over an AcceptDesc: the handle that users own, while the slot is the poller's.
#include <heddle/net/stream_listener.h>

#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include <heddle/core/park.h>
#include <heddle/core/section.h>
#include <heddle/net/internal/accept_desc.h>
#include <heddle/net/internal/net_poller.h>
#include <heddle/net/internal/port_group.h>
#include <heddle/net/internal/socket.h>

namespace heddle::net {
namespace {

class SocketStreamListener final : public StreamListener {
 public:
  SocketStreamListener(AcceptDesc& desc, std::uint32_t generation, const Address& local) noexcept
      : desc_(desc), generation_(generation), local_(local) {}

  // Not closed: as good as can be done without parking. The acceptor must live until the port is free all the same.
  ~SocketStreamListener() override { desc_.close(generation_); }

  [[nodiscard]] Address local_address() const override { return local_; }

  bool divert() override {
    static_cast<void>(must_current_g("net: StreamListener::divert"));
    if (desc_.lock.enter(generation_, FdUse::kOther) != FdEnter::kInside) return false;
    const bool shares = !desc_.shared && shares_port(desc_.fd);
    if (shares) {
      desc_.diverted.store(true, std::memory_order_relaxed);  // relaxed: for finish(), which comes after our leave
      static_cast<void>(net::divert(desc_.fd));
    }
    desc_.drop();
    return shares;
  }

  void close() override {
    static_cast<void>(must_current_g("net: StreamListener::close"));
    FinishWaiter waiter;
    if (desc_.close(generation_, &waiter)) waiter.wait(WaitReason::kIoWait);
  }

 private:
  AcceptDesc& desc_;  // a slot: never freed, and generation_ tells whether it is still ours
  const std::uint32_t generation_;
  const Address local_;
};

Result<std::unique_ptr<StreamListener>> feed(OwnedFd fd, StreamAcceptor& acceptor, bool shared) {
  Result<Address> local = local_address_of(fd.get());
  if (!local) return std::unexpected(local.error());
  AcceptDesc* desc = acceptor_slab().take();
  if (desc == nullptr) return std::unexpected(Error::from_errno(ENOMEM, "listen"));
  std::uint32_t generation = 0;
  int error = 0;
  {
    const Section section;
    NetPoller* home = NetPoller::here();
    if (home == nullptr) home = NetPoller::at(0);
    generation = desc->open_acceptor(fd.release(), acceptor, *home, shared);
    error = home->watch(*desc, Mode::kRead);
  }
  auto listener = std::make_unique<SocketStreamListener>(*desc, generation, *local);
  if (error != 0) {
    listener->close();
    return std::unexpected(Error::from_errno(error, "listen"));
  }
  return listener;
}

}  // namespace

Result<std::unique_ptr<StreamListener>> StreamListener::listen(const Address& address, StreamAcceptor& acceptor,
                                                                const StreamListenOptions& options) {
  static_cast<void>(must_current_g("net: StreamListener::listen"));
  Result<OwnedFd> fd = tcp_listen(address, options);
  if (!fd) return std::unexpected(fd.error());
  return feed(std::move(*fd), acceptor, false);
}

Result<std::unique_ptr<StreamListener>> StreamListener::adopt(int fd, StreamAcceptor& acceptor) {
  static_cast<void>(must_current_g("net: StreamListener::adopt"));
  OwnedFd owned(fd);
  const Result<void> fits = check_socket(fd, {.type = SOCK_STREAM, .ip = true, .listening = true}, "adopt");
  if (!fits) return std::unexpected(fits.error());
  return feed(std::move(owned), acceptor, true);
}

}  // namespace heddle::net
