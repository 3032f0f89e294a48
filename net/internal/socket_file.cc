// Looking at, and unlinking, the files of Unix sockets.
#include <heddle/net/internal/socket_file.h>

#include <sys/stat.h>
#include <unistd.h>

namespace heddle::net {

SocketFile SocketFile::of(const UnixAddress& address) {
  SocketFile file;
  if (!address.is_path()) return file;
  struct stat status;
  const std::string path = address.to_string();
  if (::lstat(path.c_str(), &status) < 0) return file;  // taken away already: nothing of ours is left to unlink
  file.path_ = path;
  file.device_ = status.st_dev;
  file.inode_ = status.st_ino;
  return file;
}

void SocketFile::remove() const noexcept {
  struct stat status;
  if (path_.empty() || ::lstat(path_.c_str(), &status) < 0) return;
  if (status.st_dev != device_ || status.st_ino != inode_) return;
  static_cast<void>(::unlink(path_.c_str()));  // no right to: it stays, and the next one to bind there is told
}

}  // namespace heddle::net
