// Making, naming and connecting Unix sockets.
#include <heddle/net/internal/unix_socket.h>

#include <sys/socket.h>
#include <sys/stat.h>

#include <chrono>

#include <heddle/core/go.h>

namespace heddle::net {
namespace {

using namespace std::chrono_literals;

constexpr auto kBindPatience = 1s;  // as for TCP (socket.cc)
constexpr auto kBindPause = 5ms;

Result<OwnedFd> unix_socket(int type, const char* op) {
  const int fd = sys().socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return failed(fd, op);
  return OwnedFd(fd);
}

// Returns 0 or -errno. bind(2) gives the file the permissions of the socket's own inode, less the umask.
[[gnu::noinline]] int set_mode(int fd, mode_t mode) noexcept { return ::fchmod(fd, mode) < 0 ? -errno : 0; }

// Accepted, paired, dialed: a short read of a Unix stream proves nothing, since it also ends where descriptors were
// sent.
void read_to_the_end(const detail::Handle& handle) noexcept { handle.pd->short_read_drains = false; }

}  // namespace

Result<BoundUnix> bind_unix(int type, const UnixAddress& address, const UnixListenOptions& options, bool listens,
                            const char* op) {
  const TimePoint give_up = now() + kBindPatience;
  for (;;) {
    Result<OwnedFd> fd = unix_socket(type, op);
    if (!fd) return std::unexpected(fd.error());
    int status = options.mode ? set_mode(fd->get(), *options.mode) : 0;
    if (status == 0) status = sys().bind(fd->get(), address.sa(), address.size());
    if (status == 0) {
      std::unique_ptr<SocketFile> file;
      if (address.is_path()) file = std::make_unique<SocketFile>(SocketFile::of(address));
      if (listens) status = sys().listen(fd->get(), options.backlog);
      if (status == 0) {
        if (!options.unlink_on_close) file.reset();
        return BoundUnix{std::move(*fd), std::move(file)};
      }
      if (file != nullptr) file->remove();
      return failed(status, op);
    }
    if (status != -EADDRINUSE) return failed(status, op);
    if (address.is_path()) {
      const auto taken = [](const char* by) { return std::unexpected(Error{Code::kAddressInUse, EADDRINUSE, by}); };
      if (!options.replace_stale) return taken("bind: the socket's path exists");
      const SocketFile::Found found = SocketFile::clear_the_way(address, type);
      if (found == SocketFile::Found::kOther) return taken("bind: a file that is no socket has this path");
      if (found == SocketFile::Found::kAlive && now() >= give_up) return taken("bind: a process has this socket");
      if (found == SocketFile::Found::kGone && now() < give_up) continue;
    }
    if (now() >= give_up) return failed(status, op);
    sleep(kBindPause);
  }
}

Result<detail::Handle> connect_unix(int type, const UnixAddress& address, const UnixDialOptions& options,
                                    const char* op) {
  Result<OwnedFd> fd = unix_socket(type, op);
  if (!fd) return std::unexpected(fd.error());
  if (options.local) {
    const int status = sys().bind(fd->get(), options.local->sa(), options.local->size());
    if (status < 0) return failed(status, op);
  }
  Result<detail::Handle> handle = adopt_unix(std::move(*fd), op);
  if (!handle) return handle;
  Descriptor owner(*handle);
  const Result<void> connected =
      connect_handle(*handle, address.sa(), address.size(), options.deadline, &options.ctx, op);
  if (!connected) return std::unexpected(connected.error());
  return detail::HandleOf::take(owner);
}

Result<detail::Handle> adopt_unix(OwnedFd fd, const char* op) {
  Result<detail::Handle> handle = adopt_fd(std::move(fd), op);
  if (handle) read_to_the_end(*handle);
  return handle;
}

Result<detail::Handle> adopt_foreign_unix(int fd, int type, std::optional<bool> listening) {
  OwnedFd owned(fd);
  const Result<void> fits = check_socket(fd, {.type = type, .listening = listening}, "adopt");
  if (!fits) return std::unexpected(fits.error());
  return adopt_unix(std::move(owned), "adopt");
}

Result<detail::Handle> accept_unix(const detail::Handle& listener, const Context* ctx) {
  Result<detail::Handle> handle = accept_handle(listener, ctx);
  if (handle) read_to_the_end(*handle);
  return handle;
}

Result<std::pair<detail::Handle, detail::Handle>> pair_unix(int type) {
  int fds[2];
  const int status = sys().socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds);
  if (status < 0) return failed(status, "socketpair");
  OwnedFd second(fds[1]);
  const Result<detail::Handle> a = adopt_unix(OwnedFd(fds[0]), "socketpair");
  if (!a) return std::unexpected(a.error());
  Descriptor owner(*a);
  const Result<detail::Handle> b = adopt_unix(std::move(second), "socketpair");
  if (!b) return std::unexpected(b.error());
  return std::pair(detail::HandleOf::take(owner), *b);
}

void remove_file(const detail::Handle& handle, const SocketFile* file) noexcept {
  if (file == nullptr) return;
  if (Inside inside(handle, FdUse::kOther, "close"); inside) static_cast<void>(file->remove());  // socket_file.h I1
}

}  // namespace heddle::net
