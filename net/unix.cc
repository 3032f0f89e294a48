// Unix streams: what they have beyond other streams (socket_transport.cc). The making is internal/unix_socket.cc's.
#include <heddle/net/unix.h>

#include <sys/socket.h>

#include <heddle/net/internal/fd_passing.h>
#include <heddle/net/internal/fd_use.h>
#include <heddle/net/internal/unix_socket.h>

namespace heddle::net {
namespace {

Result<void> send_with_fds(const detail::Handle& handle, const Context* ctx, std::span<const std::byte> buf,
                           std::span<const int> fds) {
  constexpr const char* kOp = "send_fds";
  if (buf.empty()) return std::unexpected(Error{Code::kInvalid, 0, kOp});  // the kernel would send neither
  if (const Result<void> fits = check_fds(fds, kOp); !fits) return fits;
  Inside inside(handle, FdUse::kWrite, kOp);
  if (!inside) return closed(kOp);
  PollDesc& pd = *inside;
  do {
    const Result<ssize_t> n = until_ready(pd, Mode::kWrite, ctx, kOp, [&] { return send_message(pd.fd, buf, fds); });
    if (!n) return std::unexpected(n.error().sys != 0 ? send_error(-n.error().sys, kOp) : n.error());
    buf = buf.subspan(static_cast<std::size_t>(*n));
    fds = {};
  } while (!buf.empty());
  return {};
}

Result<ReceivedFds> receive_with_fds(const detail::Handle& handle, const Context* ctx, std::span<std::byte> buf,
                                     std::size_t most) {
  Inside inside(handle, FdUse::kRead, "receive_fds");
  if (!inside) return closed("receive_fds");
  if (buf.empty()) return ReceivedFds{};
  return receive_message(*inside, ctx, buf, most, "receive_fds");
}

Result<UnixConn> conn_of(const Result<detail::Handle>& handle) {
  if (!handle) return std::unexpected(handle.error());
  return UnixConn(*handle);
}

}  // namespace

Result<UnixConn> UnixConn::adopt(int fd) {
  static_cast<void>(must_current_g("net: UnixConn::adopt"));
  return conn_of(adopt_foreign_unix(fd, SOCK_STREAM, false));
}

Result<void> UnixConn::send_fds(std::span<const std::byte> buf, std::span<const int> fds) {
  return send_with_fds(handle_, nullptr, buf, fds);
}
Result<void> UnixConn::send_fds(const Context& ctx, std::span<const std::byte> buf, std::span<const int> fds) {
  return send_with_fds(handle_, &ctx, buf, fds);
}

Result<ReceivedFds> UnixConn::receive_fds(std::span<std::byte> buf, std::size_t most) {
  return receive_with_fds(handle_, nullptr, buf, most);
}
Result<ReceivedFds> UnixConn::receive_fds(const Context& ctx, std::span<std::byte> buf, std::size_t most) {
  return receive_with_fds(handle_, &ctx, buf, most);
}

Result<PeerCredentials> UnixConn::peer_credentials() const { return credentials_of(handle_); }
Result<UnixAddress> UnixConn::local_unix_address() const { return local_unix_address_of(handle_); }
Result<UnixAddress> UnixConn::remote_unix_address() const { return remote_unix_address_of(handle_); }

UnixListener::UnixListener() noexcept = default;
UnixListener::UnixListener(detail::Handle handle, std::unique_ptr<SocketFile> file) noexcept
    : Descriptor(handle), file_(std::move(file)) {}
UnixListener::UnixListener(UnixListener&& other) noexcept = default;

UnixListener& UnixListener::operator=(UnixListener&& other) noexcept {
  if (this != &other) {
    remove_file(handle_, file_.get());
    Descriptor::operator=(std::move(other));
    file_ = std::move(other.file_);
  }
  return *this;
}

UnixListener::~UnixListener() { remove_file(handle_, file_.get()); }

Result<UnixListener> UnixListener::adopt(int fd) {
  static_cast<void>(must_current_g("net: UnixListener::adopt"));
  const Result<detail::Handle> handle = adopt_foreign_unix(fd, SOCK_STREAM, true);
  if (!handle) return std::unexpected(handle.error());
  return UnixListener(*handle, nullptr);
}

Result<UnixConn> UnixListener::accept() { return conn_of(accept_unix(handle_, nullptr)); }
Result<UnixConn> UnixListener::accept(const Context& ctx) { return conn_of(accept_unix(handle_, &ctx)); }

Result<std::unique_ptr<Transport>> UnixListener::accept_transport() {
  Result<UnixConn> conn = accept();
  if (!conn) return std::unexpected(conn.error());
  return std::make_unique<UnixConn>(std::move(*conn));
}

void UnixListener::set_deadline(TimePoint when) noexcept { net::set_deadline(handle_, Mode::kRead, when); }

Result<Address> UnixListener::local_address() const {
  const Inside inside(handle_, FdUse::kOther, "local_address");
  if (!inside) return closed("local_address");
  return Address();
}

Result<UnixAddress> UnixListener::local_unix_address() const { return local_unix_address_of(handle_); }

void UnixListener::drain(Duration patience) {
  static_cast<void>(must_current_g("net: UnixListener::drain"));
  remove_file(handle_, file_.get());
  if (Inside inside(handle_, FdUse::kOther, "drain"); inside) {
    PollDesc& pd = *inside;
    // The kernel refuses who connects to a listener that does not receive, lets accept(2) have what stands in its queue, and
    // wakes who waits for more. relaxed, both: see accept_handle().
    pd.intake.store(Intake::kShut, std::memory_order_relaxed);
    ::shutdown(pd.fd, SHUT_RD);
    wait_while(pd, patience, [&] { return pd.intake.load(std::memory_order_relaxed) != Intake::kEmpty; });
  }
  close();
}

void UnixListener::close() {
  static_cast<void>(must_current_g("net: UnixListener::close"));
  remove_file(handle_, file_.get());
  close_and_wait(handle_);
}

Result<UnixListener> listen_unix(const UnixAddress& address, const UnixListenOptions& options) {
  static_cast<void>(must_current_g("net::listen_unix"));
  Result<BoundUnix> bound = bind_unix(SOCK_STREAM, address, options, true, "listen");
  if (!bound) return std::unexpected(bound.error());
  const Result<detail::Handle> handle = adopt_unix(std::move(bound->fd), "listen");
  if (!handle) return std::unexpected(handle.error());
  return UnixListener(*handle, std::move(bound->file));
}

Result<UnixConn> dial_unix(const UnixAddress& address, const UnixDialOptions& options) {
  static_cast<void>(must_current_g("net::dial_unix"));
  return conn_of(connect_unix(SOCK_STREAM, address, options, "dial"));
}

Result<std::pair<UnixConn, UnixConn>> unix_pair() {
  static_cast<void>(must_current_g("net::unix_pair"));
  const auto handles = pair_unix(SOCK_STREAM);
  if (!handles) return std::unexpected(handles.error());
  return std::pair(UnixConn(handles->first), UnixConn(handles->second));
}

}  // namespace heddle::net
