// OS pipes for goroutines: the plumbing to child processes, and to libraries that want a descriptor.
//
//     auto [reader, writer] = *net::open_pipe();
//
// Within one program a channel is what you want. Errors are values as in tcp.h: kTimeout, kClosed, kReset if nobody
// reads.
#pragma once

#include <cstddef>
#include <span>
#include <utility>

#include <heddle/net/descriptor.h>
#include <heddle/net/transport.h>

namespace heddle::net {

/// The end of a pipe that is read. Movable; the destructor closes it. Threads: one goroutine reads (a second one dies
/// with a message); all else from any goroutine, also meanwhile. Moving and destroying are for who owns it alone.
class PipeReader final : public Reader, public Descriptor {
 public:
  PipeReader() noexcept = default;  // closed
  explicit PipeReader(detail::Handle handle) noexcept : Descriptor(handle) {}
  PipeReader(PipeReader&& other) noexcept : Descriptor(other.take()) {}
  PipeReader& operator=(PipeReader&& other) noexcept {
    Descriptor::operator=(std::move(other));
    return *this;
  }

  /// Makes one of a pipe's or FIFO's reading end, which it owns then, also if this fails. It becomes non-blocking for
  /// everybody who shares the open file, such as the process that it came from.
  ///
  /// Errors:  kInvalid if `fd` is no such end; kNoResources. Threads: a goroutine.
  [[nodiscard]] static Result<PipeReader> adopt(int fd);

  /// See Reader (transport.h). The end of the stream comes when the last writing end is closed, in whatever process.
  /// For a FIFO it is no last word: another writer may open it. Source: pipe(7).
  [[nodiscard]] Result<std::size_t> read(std::span<std::byte> buf) override;
  [[nodiscard]] Result<std::size_t> read(const Context& ctx, std::span<std::byte> buf);

  void set_read_deadline(TimePoint when) noexcept;
};

/// The end of a pipe that is written to. As PipeReader, with a writer.
class PipeWriter final : public Writer, public Descriptor {
 public:
  PipeWriter() noexcept = default;  // closed
  explicit PipeWriter(detail::Handle handle) noexcept : Descriptor(handle) {}
  PipeWriter(PipeWriter&& other) noexcept : Descriptor(other.take()) {}
  PipeWriter& operator=(PipeWriter&& other) noexcept {
    Descriptor::operator=(std::move(other));
    return *this;
  }

  /// As PipeReader::adopt(), of a writing end.
  [[nodiscard]] static Result<PipeWriter> adopt(int fd);

  /// Writes all of `buf`. Up to 4096 bytes (PIPE_BUF) are written in one piece, not mixed with those of other writers.
  ///
  /// Errors:  as Writer's; kReset if no reading end is left: SIGPIPE is not sent. Source: pipe(7).
  [[nodiscard]] Result<void> write(std::span<const std::byte> buf) override;
  [[nodiscard]] Result<void> write(const Context& ctx, std::span<const std::byte> buf);

  void set_write_deadline(TimePoint when) noexcept;
};

struct Pipe {
  PipeReader reader;
  PipeWriter writer;
};

/// A new pipe. Errors: kNoResources. Threads: a goroutine. Source: pipe2(2).
[[nodiscard]] Result<Pipe> open_pipe();

}  // namespace heddle::net
