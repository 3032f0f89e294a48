// Looking at, and unlinking, the files of Unix sockets.
#include <heddle/net/internal/socket_file.h>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include <heddle/net/internal/sys.h>
#include <heddle/net/owned_fd.h>

namespace heddle::net {
namespace {

// I3: what connect(2) says to a socket of `type`: 0 or -errno.
int ask(const UnixAddress& address, int type) noexcept {
  const OwnedFd fd(sys().socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  return fd.get() < 0 ? fd.get() : sys().connect(fd.get(), address.sa(), address.size());
}

}  // namespace

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

bool SocketFile::remove() const noexcept {
  struct stat status;
  if (path_.empty() || ::lstat(path_.c_str(), &status) < 0) return true;
  if (status.st_dev != device_ || status.st_ino != inode_) return true;
  return ::unlink(path_.c_str()) == 0;  // no right to: it stays, and the next one to bind there is told
}

SocketFile::Found SocketFile::clear_the_way(const UnixAddress& address, int type) noexcept {
  SocketFile file;
  file.path_ = address.to_string();
  const OwnedFd held(::open(file.path_.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));  // I4
  if (held.get() < 0) return errno == ENOENT ? Found::kGone : Found::kAlive;
  struct stat status;
  if (::fstat(held.get(), &status) < 0) return Found::kAlive;
  if (!S_ISSOCK(status.st_mode)) return Found::kOther;
  if (ask(address, SOCK_DGRAM) != -ECONNREFUSED || ask(address, type) != -ECONNREFUSED) return Found::kAlive;
  file.device_ = status.st_dev;
  file.inode_ = status.st_ino;
  return file.remove() ? Found::kGone : Found::kAlive;
}

}  // namespace heddle::net
