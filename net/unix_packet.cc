// Messages over Unix sockets.
#include <heddle/net/unix_packet.h>

#include <sys/socket.h>

#include <algorithm>
#include <chrono>

#include <heddle/net/internal/fd_passing.h>
#include <heddle/net/internal/unix_socket.h>

namespace heddle::net {
namespace {

using namespace std::chrono_literals;

constexpr std::int64_t kFirstPause = 100'000, kLastPause = 20'000'000;  // ns between tries where nobody tells of room

Error as_send_error(Error error, const char* op) noexcept {
  return error.sys != 0 ? send_error(-error.sys, op) : error;
}

Result<void> send_one(const detail::Handle& handle, const Context* ctx, std::span<const std::byte> message,
                      std::span<const int> fds, const char* op) {
  if (const Result<void> fits = check_fds(fds, op); !fits) return fits;
  Inside inside(handle, FdUse::kWrite, op);
  if (!inside) return closed(op);
  PollDesc& pd = *inside;
  const Result<ssize_t> n = until_ready(pd, Mode::kWrite, ctx, op, [&] { return send_message(pd.fd, message, fds); });
  if (!n) return std::unexpected(as_send_error(n.error(), op));
  return {};
}

Result<void> send_one_to(const detail::Handle& handle, const Context* ctx, std::span<const std::byte> message,
                         const UnixAddress& to) {
  constexpr const char* kOp = "send_to";
  Inside inside(handle, FdUse::kWrite, kOp);
  if (!inside) return closed(kOp);
  PollDesc& pd = *inside;
  if (const Error early = early_end(pd, Mode::kWrite, ctx, kOp); early.code != Code::kOk) return std::unexpected(early);
  std::int64_t pause = kFirstPause;
  for (;;) {
    const ssize_t n = send_message(pd.fd, message, {}, &to);
    if (n >= 0) return {};
    if (n == -EINTR) continue;
    if (n != -EAGAIN) return failed(pd, n, kOp);
    const WaitResult result = pd.pause(Mode::kWrite, nanotime() + pause, WaitReason::kIoWait, ctx);
    if (result.status != WaitStatus::kReady) return std::unexpected(to_error(result, kOp, ctx));
    pause = std::min(pause * 2, kLastPause);
  }
}

Result<Message> receive_one(const detail::Handle& handle, const Context* ctx, std::span<std::byte> buf) {
  Inside inside(handle, FdUse::kRead, "receive");
  if (!inside) return closed("receive");
  const Result<ReceivedFds> got = receive_message(*inside, ctx, buf, 0, "receive");
  if (!got) return std::unexpected(got.error());
  return Message{got->size, got->truncated};
}

Result<ReceivedFds> receive_with_fds(const detail::Handle& handle, const Context* ctx, std::span<std::byte> buf,
                                     std::size_t most) {
  Inside inside(handle, FdUse::kRead, "receive_fds");
  if (!inside) return closed("receive_fds");
  return receive_message(*inside, ctx, buf, most, "receive_fds");
}

Result<UnixDatagramMessage> receive_one_from(const detail::Handle& handle, const Context* ctx,
                                             std::span<std::byte> buf) {
  Inside inside(handle, FdUse::kRead, "receive_from");
  if (!inside) return closed("receive_from");
  PollDesc& pd = *inside;
  UnixDatagramMessage got;
  const Result<ssize_t> n = until_ready(pd, Mode::kRead, ctx, "receive_from", [&]() -> ssize_t {
    sockaddr_storage from{};
    iovec iov{buf.data(), buf.size()};
    msghdr msg{};
    msg.msg_name = &from;
    msg.msg_namelen = sizeof from;
    msg.msg_iov = &iov;
    msg.msg_iovlen = 1;
    const ssize_t size = sys().recvmsg(pd.fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (size < 0) return size;
    got.truncated = (msg.msg_flags & MSG_TRUNC) != 0;
    got.from = UnixAddress::from(reinterpret_cast<const sockaddr*>(&from), msg.msg_namelen);
    return size;
  });
  if (!n) return std::unexpected(n.error());
  got.size = static_cast<std::size_t>(*n);
  return got;
}

template <class Socket, class... Rest>
Result<Socket> socket_of(const Result<detail::Handle>& handle, Rest... rest) {
  if (!handle) return std::unexpected(handle.error());
  return Socket(*handle, std::move(rest)...);
}

}  // namespace

Result<Message> UnixMessageSocket::receive(std::span<std::byte> buf) { return receive_one(handle_, nullptr, buf); }
Result<Message> UnixMessageSocket::receive(const Context& ctx, std::span<std::byte> buf) {
  return receive_one(handle_, &ctx, buf);
}

Result<void> UnixMessageSocket::send(std::span<const std::byte> message) {
  return send_one(handle_, nullptr, message, {}, "send");
}
Result<void> UnixMessageSocket::send(const Context& ctx, std::span<const std::byte> message) {
  return send_one(handle_, &ctx, message, {}, "send");
}

Result<void> UnixMessageSocket::send_fds(std::span<const std::byte> message, std::span<const int> fds) {
  return send_one(handle_, nullptr, message, fds, "send_fds");
}
Result<void> UnixMessageSocket::send_fds(const Context& ctx, std::span<const std::byte> message,
                                         std::span<const int> fds) {
  return send_one(handle_, &ctx, message, fds, "send_fds");
}

Result<ReceivedFds> UnixMessageSocket::receive_fds(std::span<std::byte> buf, std::size_t most) {
  return receive_with_fds(handle_, nullptr, buf, most);
}
Result<ReceivedFds> UnixMessageSocket::receive_fds(const Context& ctx, std::span<std::byte> buf, std::size_t most) {
  return receive_with_fds(handle_, &ctx, buf, most);
}

void UnixMessageSocket::set_read_deadline(TimePoint when) noexcept { net::set_deadline(handle_, Mode::kRead, when); }
void UnixMessageSocket::set_write_deadline(TimePoint when) noexcept { net::set_deadline(handle_, Mode::kWrite, when); }

Result<PeerCredentials> UnixMessageSocket::peer_credentials() const { return credentials_of(handle_); }
Result<UnixAddress> UnixMessageSocket::local_unix_address() const { return local_unix_address_of(handle_); }
Result<UnixAddress> UnixMessageSocket::remote_unix_address() const { return remote_unix_address_of(handle_); }

Result<UnixSeqpacket> UnixSeqpacket::adopt(int fd) {
  static_cast<void>(must_current_g("net: UnixSeqpacket::adopt"));
  return socket_of<UnixSeqpacket>(adopt_foreign_unix(fd, SOCK_SEQPACKET, false));
}

Result<void> UnixSeqpacket::close_write() {
  return with_fd(handle_, "close_write", [](PollDesc& pd) { return sys().shutdown(pd.fd, SHUT_WR); });
}

UnixSeqpacketListener::UnixSeqpacketListener() noexcept = default;
UnixSeqpacketListener::UnixSeqpacketListener(detail::Handle handle, std::unique_ptr<SocketFile> file) noexcept
    : Descriptor(handle), file_(std::move(file)) {}
UnixSeqpacketListener::UnixSeqpacketListener(UnixSeqpacketListener&& other) noexcept = default;

UnixSeqpacketListener& UnixSeqpacketListener::operator=(UnixSeqpacketListener&& other) noexcept {
  if (this != &other) {
    remove_file(handle_, file_.get());
    Descriptor::operator=(std::move(other));
    file_ = std::move(other.file_);
  }
  return *this;
}

UnixSeqpacketListener::~UnixSeqpacketListener() { remove_file(handle_, file_.get()); }

Result<UnixSeqpacket> UnixSeqpacketListener::accept() {
  return socket_of<UnixSeqpacket>(accept_unix(handle_, nullptr));
}
Result<UnixSeqpacket> UnixSeqpacketListener::accept(const Context& ctx) {
  return socket_of<UnixSeqpacket>(accept_unix(handle_, &ctx));
}

void UnixSeqpacketListener::set_deadline(TimePoint when) noexcept { net::set_deadline(handle_, Mode::kRead, when); }

Result<UnixAddress> UnixSeqpacketListener::local_unix_address() const { return local_unix_address_of(handle_); }

void UnixSeqpacketListener::close() {
  static_cast<void>(must_current_g("net: UnixSeqpacketListener::close"));
  remove_file(handle_, file_.get());
  close_and_wait(handle_);
}

UnixDatagram::UnixDatagram() noexcept = default;
UnixDatagram::UnixDatagram(detail::Handle handle, std::unique_ptr<SocketFile> file) noexcept
    : UnixMessageSocket(handle), file_(std::move(file)) {}
UnixDatagram::UnixDatagram(UnixDatagram&& other) noexcept = default;

UnixDatagram& UnixDatagram::operator=(UnixDatagram&& other) noexcept {
  if (this != &other) {
    close();
    UnixMessageSocket::operator=(std::move(other));
    file_ = std::move(other.file_);
  }
  return *this;
}

UnixDatagram::~UnixDatagram() { remove_file(handle_, file_.get()); }

Result<UnixDatagram> UnixDatagram::adopt(int fd) {
  static_cast<void>(must_current_g("net: UnixDatagram::adopt"));
  return socket_of<UnixDatagram>(adopt_foreign_unix(fd, SOCK_DGRAM, std::nullopt), nullptr);
}

Result<UnixDatagramMessage> UnixDatagram::receive_from(std::span<std::byte> buf) {
  return receive_one_from(handle_, nullptr, buf);
}
Result<UnixDatagramMessage> UnixDatagram::receive_from(const Context& ctx, std::span<std::byte> buf) {
  return receive_one_from(handle_, &ctx, buf);
}

Result<void> UnixDatagram::send_to(std::span<const std::byte> message, const UnixAddress& to) {
  return send_one_to(handle_, nullptr, message, to);
}
Result<void> UnixDatagram::send_to(const Context& ctx, std::span<const std::byte> message, const UnixAddress& to) {
  return send_one_to(handle_, &ctx, message, to);
}

void UnixDatagram::close() noexcept {
  remove_file(handle_, file_.get());
  Descriptor::close();
}

Result<UnixSeqpacketListener> listen_seqpacket(const UnixAddress& address, const UnixListenOptions& options) {
  static_cast<void>(must_current_g("net::listen_seqpacket"));
  Result<BoundUnix> bound = bind_unix(SOCK_SEQPACKET, address, options, true, "listen");
  if (!bound) return std::unexpected(bound.error());
  return socket_of<UnixSeqpacketListener>(adopt_unix(std::move(bound->fd), "listen"), std::move(bound->file));
}

Result<UnixSeqpacket> dial_seqpacket(const UnixAddress& address, const UnixDialOptions& options) {
  static_cast<void>(must_current_g("net::dial_seqpacket"));
  return socket_of<UnixSeqpacket>(connect_unix(SOCK_SEQPACKET, address, options, "dial"));
}

Result<std::pair<UnixSeqpacket, UnixSeqpacket>> seqpacket_pair() {
  static_cast<void>(must_current_g("net::seqpacket_pair"));
  const auto handles = pair_unix(SOCK_SEQPACKET);
  if (!handles) return std::unexpected(handles.error());
  return std::pair(UnixSeqpacket(handles->first), UnixSeqpacket(handles->second));
}

Result<UnixDatagram> bind_unix_datagram(const UnixAddress& address, const UnixListenOptions& options) {
  static_cast<void>(must_current_g("net::bind_unix_datagram"));
  Result<BoundUnix> bound = bind_unix(SOCK_DGRAM, address, options, false, "bind");
  if (!bound) return std::unexpected(bound.error());
  return socket_of<UnixDatagram>(adopt_unix(std::move(bound->fd), "bind"), std::move(bound->file));
}

Result<UnixDatagram> dial_unix_datagram(const UnixAddress& address, const UnixDialOptions& options) {
  static_cast<void>(must_current_g("net::dial_unix_datagram"));
  return socket_of<UnixDatagram>(connect_unix(SOCK_DGRAM, address, options, "dial"), nullptr);
}

Result<std::pair<UnixDatagram, UnixDatagram>> unix_datagram_pair() {
  static_cast<void>(must_current_g("net::unix_datagram_pair"));
  const auto handles = pair_unix(SOCK_DGRAM);
  if (!handles) return std::unexpected(handles.error());
  return std::pair(UnixDatagram(handles->first, nullptr), UnixDatagram(handles->second, nullptr));
}

}  // namespace heddle::net
