#include <heddle/http/internal/beneath.h>

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <cstring>
#include <utility>

#include <heddle/core/blocking.h>

namespace heddle::http {
namespace {

constexpr int kFlags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;  // B3
constexpr int kTries = 16;  // of a walk that a rename disturbed: openat2(2) says EAGAIN then

// The value of a system call, or -errno: read before anything can park.
[[gnu::noinline]] int open_by_kernel(int folder, const char* path, std::uint64_t resolve) noexcept {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(kFlags);
  how.resolve = resolve;
  for (;;) {
    const long fd = ::syscall(SYS_openat2, folder, path, &how, sizeof(how));
    if (fd >= 0) return static_cast<int>(fd);
    if (errno != EINTR) return -errno;
  }
}

[[gnu::noinline]] int open_part(int folder, const char* name, int flags) noexcept {
  for (;;) {
    const int fd = ::openat(folder, name, flags | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0) return fd;
    if (errno != EINTR) return -errno;
  }
}

[[gnu::noinline]] Opened opened(int fd) noexcept {
  Opened result;
  if (fd < 0) {
    result.error = -fd;
    return result;
  }
  result.fd = net::OwnedFd(fd);
  if (::fstat(fd, &result.status) != 0) result.error = errno;
  return result;
}

}  // namespace

Opened open_beneath(int folder, const char* path, Links links, Look look) noexcept {
  if (*path == '\0') path = ".";
  // B1
  std::uint64_t resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  if (links == Links::kRefuse) resolve |= RESOLVE_NO_SYMLINKS;
  if (look == Look::kInMemory) resolve |= RESOLVE_CACHED;
  int fd = open_by_kernel(folder, path, resolve);
  if (look == Look::kInMemory) {
    // Older kernels do not know the flag, or not the call.
    if (fd == -EINVAL || fd == -ENOSYS || fd == -EPERM) fd = -EAGAIN;
    return opened(fd);
  }
  for (int tries = 1; fd == -EAGAIN && tries < kTries; ++tries) fd = open_by_kernel(folder, path, resolve);
  if (fd == -ENOSYS || fd == -EPERM) return detail::open_by_walk(folder, path);
  return opened(fd);
}

Opened open_beneath(int folder, const char* path, Links links) {
  Opened at_once = open_beneath(folder, path, links, Look::kInMemory);
  if (at_once.error != EAGAIN) return at_once;
  return blocking([&] { return open_beneath(folder, path, links, Look::kAnywhere); });
}

// Keeps B2.
Opened detail::open_by_walk(int folder, const char* path) noexcept {
  net::OwnedFd above;
  int at = folder;
  for (;;) {
    const char* const slash = std::strchr(path, '/');
    const std::size_t size = slash == nullptr ? std::strlen(path) : static_cast<std::size_t>(slash - path);
    std::array<char, NAME_MAX + 1> name;
    if (size > NAME_MAX) return opened(-ENAMETOOLONG);
    if (size == 0 || (size == 2 && path[0] == '.' && path[1] == '.')) return opened(-EXDEV);
    std::memcpy(name.data(), path, size);
    name[size] = '\0';
    if (slash == nullptr) return opened(open_part(at, name.data(), kFlags));
    const int next = open_part(at, name.data(), O_PATH | O_DIRECTORY);
    if (next < 0) return opened(next);
    above = net::OwnedFd(next);
    at = next;
    path = slash + 1;
  }
}

}  // namespace heddle::http
