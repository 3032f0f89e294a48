// Files for goroutines. The kernel offers no waiting for a disk: a call that may have to is made on a helper thread
// (core/blocking.h; the hop costs some 7 us), while other goroutines run. A read first takes what the page cache has,
// where it is.
//
//     auto text = net::read_file("/etc/hostname");
//     auto file = net::File::open("log", {.write = true, .append = true, .create = true});
//     file->write(line);
//     file->sync();
//
// Why not the ring: it would have to keep an operation's buffer from its goroutine's end to the completion, on both
// back ends, for a gain of some microseconds where the disk takes hundreds.
//
// An operation that has begun cannot be called off. A context is looked at before it begins, and every MiB of a long
// one; a call whose context ends in between still waits for the piece under way: so a buffer is never touched after the
// call. close() lets operations under way end in peace; later ones get kClosed.
//
// Errors are values: kNotFound, kDenied, kExists, kNoResources, kSystem with the errno by name (ENOSPC …), kClosed (also,
// with EBADF's errno, for reading or writing what was not opened for that), kCanceled or kTimeout for a context's end.
// All of this is for goroutines; off them it works too, and blocks.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <utility>

#include <heddle/core/context.h>
#include <heddle/net/descriptor.h>
#include <heddle/net/transport.h>

namespace heddle::net {

/// How a file is opened. Source: open(2).
struct OpenOptions {
  bool read = true;
  bool write = false;
  bool append = false;     // every write goes to the end, wherever that is then
  bool create = false;     // if it is not there, with `mode`
  bool exclusive = false;  // with create: kExists if it is there, a symbolic link too
  bool truncate = false;   // to no bytes, if it is there
  bool no_follow = false;  // kSystem with ELOOP if the last part of the path is a symbolic link
  mode_t mode = 0666;      // less the umask
};

/// What is known about a file without reading it. Source: stat(2).
struct FileInfo {
  std::uint64_t size = 0;
  mode_t mode = 0;  // kind and permissions
  uid_t uid = 0;
  gid_t gid = 0;
  dev_t device = 0;
  ino_t inode = 0;
  std::uint64_t links = 0;
  std::chrono::sys_time<std::chrono::nanoseconds> modified{};

  [[nodiscard]] bool is_regular() const noexcept;
  [[nodiscard]] bool is_directory() const noexcept;
  [[nodiscard]] bool is_symlink() const noexcept;
};

enum class SeekFrom : std::uint8_t { kStart, kCurrent, kEnd };

/// An open file. Movable; the destructor closes it.
///
/// Threads: read(), write() and seek() share the file's position: one goroutine at a time (a second one dies with a
///          message). All
/// else from any goroutine, as many at once as like. Moving and destroying are for who owns it alone.
class File final : public Reader, public Writer, public Descriptor {
 public:
  File() noexcept = default;  // closed
  explicit File(detail::Handle handle) noexcept : Descriptor(handle) {}
  File(File&& other) noexcept : Descriptor(other.take()) {}
  File& operator=(File&& other) noexcept {
    Descriptor::operator=(std::move(other));
    return *this;
  }

  /// Opens a file, close-on-exec. What may have to wait for others (a FIFO, a terminal) is opened without waiting, and
  /// is not for here: pipe.h. Errors: also kInvalid for a path with a NUL in it, or neither read nor write.
  [[nodiscard]] static Result<File> open(const std::string& path, const OpenOptions& options = {});

  /// Makes a File of an open regular file or folder, which it owns then, also if this fails. Errors: kInvalid for other
  /// things.
  [[nodiscard]] static Result<File> adopt(int fd);

  /// Reads from the position on, which moves. Returns: bytes read; 0 at the file's end (which may grow).
  [[nodiscard]] Result<std::size_t> read(std::span<std::byte> buf) override;
  [[nodiscard]] Result<std::size_t> read(const Context& ctx, std::span<std::byte> buf);
  /// Writes all of `buf` at the position, which moves. If it fails, some may have been written.
  [[nodiscard]] Result<void> write(std::span<const std::byte> buf) override;
  [[nodiscard]] Result<void> write(const Context& ctx, std::span<const std::byte> buf);
  /// Moves the position. Returns it. Source: lseek(2).
  [[nodiscard]] Result<std::uint64_t> seek(std::int64_t offset, SeekFrom from = SeekFrom::kStart);

  /// Reads at `offset` until `buf` is full or the file ends; the position stays. Returns: bytes read. Source: pread(2).
  [[nodiscard]] Result<std::size_t> read_at(std::uint64_t offset, std::span<std::byte> buf);
  [[nodiscard]] Result<std::size_t> read_at(const Context& ctx, std::uint64_t offset, std::span<std::byte> buf);

  /// Writes all of `buf` at `offset`; the position stays. If it fails, some may have been written. With `append` the
  /// kernel writes at the end instead. Source: pwrite(2).
  [[nodiscard]] Result<void> write_at(std::uint64_t offset, std::span<const std::byte> buf);
  [[nodiscard]] Result<void> write_at(const Context& ctx, std::uint64_t offset, std::span<const std::byte> buf);

  /// Returns when all that was written is on the disk, with what is known about the file. An error may be about any
  /// earlier write, and is told once: what was written since the last success is to be taken as lost. Source: fsync(2).
  [[nodiscard]] Result<void> sync();
  /// The same without what reading does not need (times). Source: fdatasync(2).
  [[nodiscard]] Result<void> sync_data();

  /// Cuts the file, or lengthens it with zeros. Source: ftruncate(2).
  [[nodiscard]] Result<void> truncate(std::uint64_t size);
  [[nodiscard]] Result<FileInfo> stat();
};

/// What is at `path`; of a symbolic link: what it points to.
[[nodiscard]] Result<FileInfo> stat_file(const std::string& path);
/// The same, of a symbolic link itself.
[[nodiscard]] Result<FileInfo> stat_link(const std::string& path);

/// Gives a file or folder another name, in one step; what had it is gone. Source: rename(2).
[[nodiscard]] Result<void> rename_file(const std::string& from, const std::string& to);
/// Takes a file's name away. Source: unlink(2).
[[nodiscard]] Result<void> unlink_file(const std::string& path);
/// Source: mkdir(2), rmdir(2).
[[nodiscard]] Result<void> make_directory(const std::string& path, mode_t mode = 0777);
[[nodiscard]] Result<void> remove_directory(const std::string& path);

inline constexpr std::size_t kNoLimit = std::numeric_limits<std::size_t>::max();

/// All of a file. Errors: also kLimit if it has more than `most` bytes.
[[nodiscard]] Result<std::string> read_file(const std::string& path, std::size_t most = kNoLimit);
[[nodiscard]] Result<std::string> read_file(const Context& ctx, const std::string& path, std::size_t most = kNoLimit);

/// Makes `data` all of a file, which is made if it is not there. If it fails, or the context ends, some may have been
/// written.
[[nodiscard]] Result<void> write_file(const std::string& path, std::span<const std::byte> data, mode_t mode = 0666);
[[nodiscard]] Result<void> write_file(const Context& ctx, const std::string& path, std::span<const std::byte> data,
                                      mode_t mode = 0666);

/// The same in one step, for who reads it meanwhile and for a loss of power: the old content or the new one, on the
/// disk when this returns. A temporary file beside it, fsync, rename(2), fsync of the folder. A symbolic link is
/// replaced, not followed.
[[nodiscard]] Result<void> replace_file(const std::string& path, std::span<const std::byte> data, mode_t mode = 0666);

}  // namespace heddle::net
