// Copying in the kernel: splice(2) from socket to socket, sendfile(2) from file to socket. The ways that copy.h names.
//
// Both may find that the kernel cannot: then nothing is lost, and the caller goes on by reading and writing.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>

#include <heddle/core/context.h>
#include <heddle/net/copy.h>
#include <heddle/net/file.h>
#include <heddle/net/socket_transport.h>

namespace heddle::net {

enum class KernelCopy : std::uint8_t {
  kOver,    // the result says how it ended
  kCannot,  // nothing is under way; the result says how much is done
};

/// Whether one of the functions below is for these two.
[[nodiscard]] bool kernel_copies(const Writer& to, const Reader& from) noexcept;

/// Copies `n` bytes, or until `from` ends; adds them to `result`.
[[nodiscard]] KernelCopy splice_copy(const Context& ctx, SocketTransport& to, SocketTransport& from, std::uint64_t n,
                                     Copied& result);

/// The same of a file, from `*offset` on, which moves; without one from its position, which moves.
[[nodiscard]] KernelCopy sendfile_copy(const Context& ctx, SocketTransport& to, File& from,
                                       std::optional<std::uint64_t>& offset, std::uint64_t n, Copied& result);

/// Sends at most `size` bytes, and no more than one call should, of the file `from` into the socket `to`, from `at` on.
/// Returns what sendfile(2) says, or -errno. Parks while the disk is waited for. The caller holds both descriptors.
[[nodiscard]] ssize_t sendfile_piece(int to, int from, off_t at, std::size_t size);

/// How many pipes splice_copy() has, in use and kept for the next. Threads: any.
[[nodiscard]] int splice_pipes() noexcept;
/// Closes those that are kept. For tests.
void trim_splice_pipes() noexcept;

/// Ends a copy.
inline KernelCopy copy_failed(Copied& result, const Error& error, Copied::Side side) noexcept {
  result.error = error;
  result.failed = side;
  return KernelCopy::kOver;
}

/// A kernel, a file system or a filter of system calls that does not do this, for these two or at all.
[[nodiscard]] bool kernel_cannot(ssize_t status) noexcept;

}  // namespace heddle::net
