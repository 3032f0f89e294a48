// Messages of Unix sockets, with descriptors or without: sendmsg(2), recvmsg(2) and their control data.
//
// I1. No descriptor leaks: the list that will own them has its room before recvmsg(2) puts them into our table, and all
//     that came are taken over, also if the message, the list or our table was too small (MSG_CTRUNC).
// I2. The control buffer has room for what was asked for, to the byte (CMSG_LEN, not CMSG_SPACE, whose padding has room
//     for one more).
#pragma once

#include <span>

#include <heddle/net/fd_passing.h>
#include <heddle/net/internal/fd_use.h>
#include <heddle/net/unix_address.h>

namespace heddle::net {

/// One sendmsg(2) of `data` and `fds` to the peer, or to `to`. Returns the bytes sent or -errno.
[[nodiscard]] ssize_t send_message(int fd, std::span<const std::byte> data, std::span<const int> fds,
                                   const UnixAddress* to = nullptr) noexcept;

/// Receives one message, or what is there of a stream, and at most `most` descriptors with it. The caller is inside,
/// reading.
[[nodiscard]] Result<ReceivedFds> receive_message(PollDesc& pd, const Context* ctx, std::span<std::byte> buf,
                                                  std::size_t most, const char* op);

/// kInvalid if there are too many.
[[nodiscard]] Result<void> check_fds(std::span<const int> fds, const char* op);

[[nodiscard]] Result<PeerCredentials> credentials_of(const detail::Handle& handle);
[[nodiscard]] Result<UnixAddress> local_unix_address_of(const detail::Handle& handle);
[[nodiscard]] Result<UnixAddress> remote_unix_address_of(const detail::Handle& handle);

/// The error for a failed sendmsg(2) with descriptors.
[[nodiscard]] Error send_error(ssize_t status, const char* op) noexcept;

}  // namespace heddle::net
