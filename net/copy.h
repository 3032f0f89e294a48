// copy: from a Reader to a Writer until the stream ends, by the shortest way that the two allow.
//
//     socket -> socket     splice(2) through a pipe: the bytes stay in the kernel
//     File   -> socket     sendfile(2)
//     all else             read and write, through a pooled buffer
//
// A socket is a Conn (tcp.h) or a UnixConn (unix.h). What a BufReader has buffered is written first, then what is under it
// takes its way. Where the kernel says that it cannot do a thing, the copy goes on by reading and writing, and no byte is
// lost or doubled. While a copy waits for bytes it holds neither a pipe nor a buffer, if the source can tell (Reader).
//
// How it ends, on every way:
// I1. A copy takes from the source only what it is about to write, and writes all of it before it takes more. So while it
//     waits for the source nothing is under way: the end of the stream, a deadline, a context, close() lose no byte there.
// I2. If writing fails, what was taken and not written is gone, and the result says how much that is (`lost`). The
//     connection that it came from has a gap then.
// I3. A deadline that has passed, a context that has ended, or a target that this side has closed, before a piece is
//     taken, loses none of it between sockets and from files: the target is looked at first.
// I4. A copy that waits for the source does not look at the target: that its peer has gone shows when there is something
//     to write.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include <heddle/core/context.h>
#include <heddle/core/error.h>
#include <heddle/net/transport.h>

namespace heddle::net {

class File;
class SocketTransport;

/// How a copy ended. True: as it should, at the end of the stream or after what was asked for.
struct [[nodiscard]] Copied {
  enum class Side : std::uint8_t { kNone, kReading, kWriting };

  std::uint64_t bytes = 0;  // that were written
  // That were taken from the source and not written, because the writing failed. Exact for splice(2). A Writer's write()
  // does not say how far it came: there the piece that failed counts as not written, all of it.
  std::uint64_t lost = 0;
  Error error = {};  // kOk: none
  Side failed = Side::kNone;

  explicit operator bool() const noexcept { return error.code == Code::kOk; }
};

inline constexpr std::uint64_t kAllBytes = std::numeric_limits<std::uint64_t>::max();

/// Copies until `from` ends.
///
/// Errors:  what reading or writing said: see Reader, Writer (transport.h), and Copied::failed for which it was.
/// Threads: a goroutine, which is a reader of `from` and a writer of `to` all along. They may be the same connection.
/// Source:  splice(2), sendfile(2); pkg.go.dev/io#Copy.
Copied copy(Writer& to, Reader& from);
/// The same within `ctx`: its end ends every wait for a Transport, and is looked at between two pieces of others.
Copied copy(const Context& ctx, Writer& to, Reader& from);

/// Copies `n` bytes, or fewer if `from` ends first; takes no more than that.
Copied copy_n(Writer& to, Reader& from, std::uint64_t n);
Copied copy_n(const Context& ctx, Writer& to, Reader& from, std::uint64_t n);

/// Sends `length` bytes of `file`, from `offset` on; fewer if the file ends first. Its position stays where it is, and
/// others may read it meanwhile.
///
/// What is not in the page cache is fetched by a helper thread (blocking.h). Nothing is ever lost: what was not written can
/// be sent again.
/// Errors:  as copy(); kInvalid (reading) for an offset that no file has. Threads: a goroutine, a writer of `to`.
Copied send_file(SocketTransport& to, File& file, std::uint64_t offset = 0, std::uint64_t length = kAllBytes);
Copied send_file(const Context& ctx, SocketTransport& to, File& file, std::uint64_t offset = 0,
                 std::uint64_t length = kAllBytes);

}  // namespace heddle::net
