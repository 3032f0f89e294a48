// SocketFile: the file that bind(2) makes for a Unix socket with a path, and that its owner takes away again.
//
// I1. Only the file that we made is unlinked: it is known by device and inode, which are no other file's as long as the
//     socket is open, because the kernel keeps the inode for it. So: look, and unlink, before the socket is closed.
// I2. Between the look and the unlink another process may still put its own there. There is no call that does both; Go
//     and systemd live with that too.
// I3. A file whose owner died is told from one in use by the kernel, which knows what is bound to an inode: it refuses
//     (ECONNREFUSED) who connects to one without a socket, and says EPROTOTYPE to a datagram socket that meets a stream.
//     So asking disturbs no owner, and one between bind(2) and listen(2) counts as alive. A kernel that is not Linux may
//     refuse datagrams from streams altogether (gVisor): therefore a socket of the owner's likely type asks last.
// I4. While it is asked about, the file is held open (O_PATH): its inode's number cannot become a successor's meanwhile.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <utility>

#include <heddle/net/unix_address.h>

namespace heddle::net {

class SocketFile {
 public:
  SocketFile() noexcept = default;  // of a socket without a path

  /// Of a socket that was just bound to `address`.
  [[nodiscard]] static SocketFile of(const UnixAddress& address);

  SocketFile(SocketFile&& other) noexcept { *this = std::move(other); }
  SocketFile& operator=(SocketFile&& other) noexcept {
    path_ = std::move(other.path_);
    other.path_.clear();
    device_ = other.device_;
    inode_ = other.inode_;
    return *this;
  }

  /// Unlinks the file if it is still ours (I1). False: it is still there. Threads: any; the socket must be open.
  bool remove() const noexcept;

  /// What stands in the way of bind(2).
  enum class Found : std::uint8_t {
    kGone,   // nothing any more: bind again
    kAlive,  // a socket that is in use, or that we may not ask or unlink
    kOther,  // a file that is no socket's
  };
  /// Unlinks the file at the path of `address` if it is a socket's that no process has any more (I3). `type`: SOCK_STREAM …,
  /// what is to be bound there.
  [[nodiscard]] static Found clear_the_way(const UnixAddress& address, int type) noexcept;

 private:
  std::string path_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

}  // namespace heddle::net
