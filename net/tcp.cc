// TCP: making, configuring and accepting connections. What goes through them is socket_transport.cc's.
#include <heddle/net/tcp.h>

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <chrono>

#include <heddle/net/internal/accept_desc.h>
#include <heddle/net/internal/fd_use.h>
#include <heddle/net/internal/port_group.h>

namespace heddle::net {
namespace {

// Makes the file of a stranger's, which may be anything, fit for us: of the wanted kind, non-blocking, close-on-exec.
Result<detail::Handle> adopt_tcp(int raw, bool listening, const char* op) {
  OwnedFd fd(raw);
  if (const Result<void> fits = check_socket(raw, {.type = SOCK_STREAM, .ip = true, .listening = listening}, op);
      !fits) {
    return std::unexpected(fits.error());
  }
  return adopt_fd(std::move(fd), op);
}

// Connections that accept(2) would give. Source: tcp(7), TCP_INFO; kernel tcp_get_info(): a listener's tcpi_unacked.
std::uint32_t waiting_connections(int fd) noexcept {
  tcp_info info{};
  socklen_t size = sizeof info;
  return sys().getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 ? info.tcpi_unacked : 0;
}

int set_keep_alive(int fd, const std::optional<KeepAlive>& value) noexcept {
  if (!value) return set_flag(fd, SOL_SOCKET, SO_KEEPALIVE, 0);
  const auto seconds = [](std::chrono::seconds s) {
    return static_cast<int>(std::clamp<std::int64_t>(s.count(), 1, 32767));
  };
  int status = set_flag(fd, IPPROTO_TCP, TCP_KEEPIDLE, seconds(value->idle));
  if (status == 0) status = set_flag(fd, IPPROTO_TCP, TCP_KEEPINTVL, seconds(value->interval));
  if (status == 0) status = set_flag(fd, IPPROTO_TCP, TCP_KEEPCNT, std::clamp(value->probes, 1, 127));
  if (status == 0) status = set_flag(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  return status;
}

}  // namespace

Result<Conn> Conn::adopt(int fd) {
  static_cast<void>(must_current_g("net: Conn::adopt"));
  const Result<detail::Handle> handle = adopt_tcp(fd, false, "adopt");
  if (!handle) return std::unexpected(handle.error());
  return Conn(*handle);
}

Result<void> Conn::set_nodelay(bool on) {
  return with_fd(handle_, "set_nodelay",
                 [on](PollDesc& pd) { return set_flag(pd.fd, IPPROTO_TCP, TCP_NODELAY, on ? 1 : 0); });
}

Result<void> Conn::set_linger(std::optional<int> seconds) {
  return with_fd(handle_, "set_linger", [seconds](PollDesc& pd) {
    const linger value{.l_onoff = seconds ? 1 : 0, .l_linger = seconds.value_or(0)};
    const int status = sys().setsockopt(pd.fd, SOL_SOCKET, SO_LINGER, &value, sizeof value);
    // relaxed: read by whoever closes, who has been told of this call if it matters.
    if (status == 0) pd.abort.store(seconds == 0, std::memory_order_relaxed);
    return status;
  });
}

Result<void> Conn::set_keep_alive(std::optional<KeepAlive> value) {
  return with_fd(handle_, "set_keep_alive", [&](PollDesc& pd) { return net::set_keep_alive(pd.fd, value); });
}

Result<Listener> Listener::adopt(int fd) {
  static_cast<void>(must_current_g("net: Listener::adopt"));
  const Result<detail::Handle> handle = adopt_tcp(fd, true, "adopt");
  if (!handle) return std::unexpected(handle.error());
  return Listener(*handle);
}

Result<Conn> Listener::accept() {
  const Result<detail::Handle> handle = accept_handle(handle_, nullptr);
  if (!handle) return std::unexpected(handle.error());
  return Conn(*handle);
}

Result<Conn> Listener::accept(const Context& ctx) {
  const Result<detail::Handle> handle = accept_handle(handle_, &ctx);
  if (!handle) return std::unexpected(handle.error());
  return Conn(*handle);
}

Result<std::unique_ptr<Transport>> Listener::accept_transport() {
  Result<Conn> conn = accept();
  if (!conn) return std::unexpected(conn.error());
  return std::make_unique<Conn>(std::move(*conn));
}

void Listener::set_deadline(TimePoint when) noexcept {
  if (Inside inside(handle_, FdUse::kOther, "set_deadline"); inside) inside->set_deadline(Mode::kRead, to_nanos(when));
}

Result<Address> Listener::local_address() const {
  Inside inside(handle_, FdUse::kOther, "local_address");
  if (!inside) return closed("local_address");
  return local_address_of(inside->fd);
}

void Listener::drain(Duration patience) {
  static_cast<void>(must_current_g("net: Listener::drain"));
  if (Inside inside(handle_, FdUse::kOther, "drain"); inside) {
    PollDesc& pd = *inside;
    pd.diverted.store(true, std::memory_order_relaxed);  // relaxed: for finish(), and a hint to who accepts
    if (shares_port(pd.fd)) {
      static_cast<void>(divert(pd.fd));
      wait_while(pd, patience, [] { return true; });
    }
    stop_handshakes(pd.fd);
    wait_while(pd, patience, [&] { return waiting_connections(pd.fd) > 0; });
  }
  close();
}

void Listener::close() {
  static_cast<void>(must_current_g("net: Listener::close"));
  close_and_wait(handle_);
}

Result<Listener> listen(const Address& address, const ListenOptions& options) {
  static_cast<void>(must_current_g("net::listen"));
  Result<OwnedFd> fd = tcp_listen(address, options);
  if (!fd) return std::unexpected(fd.error());
  Result<detail::Handle> handle = adopt_fd(std::move(*fd), "listen");
  if (!handle) return std::unexpected(handle.error());
  return Listener(*handle);
}

Result<Conn> dial(const Address& address, const DialOptions& options) {
  static_cast<void>(must_current_g("net::dial"));
  // A port of this machine that nobody listens on can be the one the kernel picks for our end: then TCP's simultaneous
  // open connects the socket to itself. Nobody wants that; try again with another one.
  for (int tries = 0; tries < 4; ++tries) {
    Result<OwnedFd> fd = tcp_socket(address.family());
    if (!fd) return std::unexpected(fd.error());
    static_cast<void>(set_flag(fd->get(), IPPROTO_TCP, TCP_NODELAY, 1));  // an optimisation: not worth failing for
    if (options.keep_alive) {
      if (const int status = set_keep_alive(fd->get(), options.keep_alive); status < 0) return failed(status, "dial");
    }
    if (options.local) {
      // Else bind(2) picks a port before it knows the peer, and one that is in use with another peer is not found free.
      static_cast<void>(set_flag(fd->get(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1));
      const int status = sys().bind(fd->get(), options.local->sa(), options.local->size());
      if (status < 0) return failed(status, "dial");
    }
    Result<detail::Handle> handle = adopt_fd(std::move(*fd), "dial");
    if (!handle) return std::unexpected(handle.error());
    Conn conn(*handle);
    if (const Result<void> connected = connect_handle(*handle, address, options.deadline, &options.ctx, "dial");
        !connected) {
      return std::unexpected(connected.error());
    }
    const Result<Address> local = conn.local_address();
    const Result<Address> remote = conn.remote_address();
    if (!local || !remote || !(*local == *remote)) return conn;
  }
  return failed(-ECONNREFUSED, "dial");
}

}  // namespace heddle::net
