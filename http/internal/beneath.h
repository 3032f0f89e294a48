// Opening a path that a stranger chose, beneath a folder and nowhere else.
//
// B1. The kernel walks the path (openat2(2), RESOLVE_BENEATH): no "..", no absolute path and no symbolic link leads out,
//     whatever is renamed or linked meanwhile. A check of ours before open(2) could be raced; this cannot.
// B2. Where the kernel has no openat2 (before 5.6, or hidden by a sandbox) we walk: one openat(2) per part, none of which
//     follows a symbolic link. Links are then refused even if they were allowed.
// B3. Opening waits for nobody but the disk: a FIFO without a writer, a terminal are opened without waiting. Whoever
//     opens must then look at what it is.
#pragma once

#include <sys/stat.h>

#include <heddle/net/owned_fd.h>

namespace heddle::http {

enum class Links : bool { kRefuse, kFollow };  // kFollow: those that stay beneath the folder
enum class Look : bool {
  kAnywhere,  // waits for the disk
  kInMemory,  // EAGAIN unless the kernel has all names of the path in memory
};

/// What was opened for reading, and what it is; or the errno.
struct Opened {
  int error = 0;
  net::OwnedFd fd{};
  struct stat status {};

  [[nodiscard]] bool is_file() const noexcept { return error == 0 && S_ISREG(status.st_mode); }
  [[nodiscard]] bool is_folder() const noexcept { return error == 0 && S_ISDIR(status.st_mode); }
};

/// Opens `path` ("a/b", no NUL; empty: the folder itself) beneath `folder`. Never parks; may wait for the disk.
[[nodiscard]] Opened open_beneath(int folder, const char* path, Links links, Look look) noexcept;

/// The same for a goroutine: where it is if the names are in memory, else on a helper thread. Parks.
[[nodiscard]] Opened open_beneath(int folder, const char* path, Links links);

namespace detail {
/// B2's walk, for its tests.
[[nodiscard]] Opened open_by_walk(int folder, const char* path) noexcept;
}  // namespace detail

}  // namespace heddle::http
