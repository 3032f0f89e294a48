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
#include <heddle/net/internal/unix_socket.h>

namespace heddle::net {
namespace {

struct Named {
  bool of_unix = false;
  Address ip = {};
  UnixAddress path = {};
};

Result<Named> name_of(int fd) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  auto* const sa = reinterpret_cast<sockaddr*>(&storage);
  if (const int status = sys().getsockname(fd, sa, &size); status < 0) return failed(status, "getsockname");
  return Named{storage.ss_family == AF_UNIX, Address::from(sa, size), UnixAddress::from(sa, size)};
}

class SocketStreamListener final : public StreamListener {
 public:
  SocketStreamListener(AcceptDesc& desc, std::uint32_t generation, const Named& named,
                       std::unique_ptr<SocketFile> file) noexcept
      : desc_(desc), generation_(generation), named_(named), file_(std::move(file)) {}

  // Not closed: as good as can be done without parking. The acceptor must live until the port is free all the same.
  ~SocketStreamListener() override {
    remove_socket_file();
    desc_.close(generation_);
  }

  [[nodiscard]] Address local_address() const override { return named_.ip; }
  [[nodiscard]] UnixAddress local_unix_address() const override { return named_.path; }

  bool divert() override {
    static_cast<void>(must_current_g("net: StreamListener::divert"));
    if (desc_.lock.enter(generation_, FdUse::kOther) != FdEnter::kInside) return false;
    const bool shares = !desc_.shared && !desc_.of_unix && shares_port(desc_.fd);
    if (shares) {
      desc_.diverted.store(true, std::memory_order_relaxed);  // relaxed: for finish(), which comes after our leave
      static_cast<void>(net::divert(desc_.fd));
    }
    desc_.drop();
    return shares;
  }

  void close() override {
    static_cast<void>(must_current_g("net: StreamListener::close"));
    remove_socket_file();
    FinishWaiter waiter;
    if (desc_.close(generation_, &waiter)) waiter.wait(WaitReason::kIoWait);
  }

 private:
  // Before the socket is closed: so nobody who finds the path is refused, and it is known by its inode (socket_file.h I1).
  void remove_socket_file() noexcept { remove_file({&desc_, generation_}, file_.get()); }

  AcceptDesc& desc_;  // a slot: never freed, and generation_ tells whether it is still ours
  const std::uint32_t generation_;
  const Named named_;
  const std::unique_ptr<SocketFile> file_;  // null: none that is ours to unlink
};

Result<std::unique_ptr<StreamListener>> feed(OwnedFd fd, StreamAcceptor& acceptor, bool shared,
                                             std::unique_ptr<SocketFile> file = {}) {
  const Result<Named> named = name_of(fd.get());
  if (!named) return std::unexpected(named.error());
  AcceptDesc* desc = acceptor_slab().take();
  if (desc == nullptr) {
    if (file != nullptr) static_cast<void>(file->remove());
    return std::unexpected(Error::from_errno(ENOMEM, "listen"));
  }
  std::uint32_t generation = 0;
  int error = 0;
  {
    const Section section;
    NetPoller* home = NetPoller::here();
    if (home == nullptr) home = NetPoller::at(0);
    generation = desc->open_acceptor(fd.release(), acceptor, *home, shared, named->of_unix);
    error = home->watch(*desc, Mode::kRead);
  }
  auto listener = std::make_unique<SocketStreamListener>(*desc, generation, *named, std::move(file));
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

Result<std::unique_ptr<StreamListener>> StreamListener::listen(const UnixAddress& address, StreamAcceptor& acceptor,
                                                               const UnixListenOptions& options) {
  static_cast<void>(must_current_g("net: StreamListener::listen"));
  Result<BoundUnix> bound = bind_unix(SOCK_STREAM, address, options, true, "listen");
  if (!bound) return std::unexpected(bound.error());
  return feed(std::move(bound->fd), acceptor, false, std::move(bound->file));
}

Result<std::unique_ptr<StreamListener>> StreamListener::adopt(int fd, StreamAcceptor& acceptor) {
  static_cast<void>(must_current_g("net: StreamListener::adopt"));
  OwnedFd owned(fd);
  const bool ip = get_flag(fd, SOL_SOCKET, SO_DOMAIN) != AF_UNIX;
  const Result<void> fits = check_socket(fd, {.type = SOCK_STREAM, .ip = ip, .listening = true}, "adopt");
  if (!fits) return std::unexpected(fits.error());
  return feed(std::move(owned), acceptor, true);
}

}  // namespace heddle::net
