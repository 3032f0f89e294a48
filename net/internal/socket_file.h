// SocketFile: the file that bind(2) makes for a Unix socket with a path, and that its owner takes away again.
//
// I1. Only the file that we made is unlinked: it is known by device and inode, which are no other file's as long as the
//     socket is open, because the kernel keeps the inode for it. So: look, and unlink, before the socket is closed.
// I2. Between the look and the unlink another process may still put its own there. There is no call that does both; Go
//     and systemd live with that too.
#pragma once

#include <sys/types.h>

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

  /// Unlinks the file if it is still ours (I1). Threads: any; the socket must be open.
  void remove() const noexcept;

 private:
  std::string path_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

}  // namespace heddle::net
