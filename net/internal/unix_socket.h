// Unix sockets as listeners, dialers and those who exchange messages need them.
#pragma once

#include <memory>
#include <utility>

#include <heddle/net/internal/fd_use.h>
#include <heddle/net/internal/socket_file.h>
#include <heddle/net/unix_options.h>

namespace heddle::net {

/// A socket with a name, and its file if that is to be unlinked (else null).
struct BoundUnix {
  OwnedFd fd;
  std::unique_ptr<SocketFile> file;
};

/// Binds a new socket of `type`, and listens if `listens`. A name that is in use is tried again for up to a second: a
/// predecessor that was killed keeps it until the kernel has taken its ring down. Threads: a goroutine.
[[nodiscard]] Result<BoundUnix> bind_unix(int type, const UnixAddress& address, const UnixListenOptions& options,
                                          bool listens, const char* op);

/// Connects a new socket of `type`. Threads: a goroutine.
[[nodiscard]] Result<detail::Handle> connect_unix(int type, const UnixAddress& address, const UnixDialOptions& options,
                                                  const char* op);

/// Gives a Unix socket its slot.
[[nodiscard]] Result<detail::Handle> adopt_unix(OwnedFd fd, const char* op);

/// The same for a stranger's, which must be of `type` and, if said, listening or not. Errors: kInvalid.
[[nodiscard]] Result<detail::Handle> adopt_foreign_unix(int fd, int type, std::optional<bool> listening);

[[nodiscard]] Result<detail::Handle> accept_unix(const detail::Handle& listener, const Context* ctx);

[[nodiscard]] Result<std::pair<detail::Handle, detail::Handle>> pair_unix(int type);

/// Unlinks `file`, if any, while `handle` is open, so that it can be told from others'.
void remove_file(const detail::Handle& handle, const SocketFile* file) noexcept;

}  // namespace heddle::net
