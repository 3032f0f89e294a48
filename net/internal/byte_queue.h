// ByteQueue: bytes on their way from one goroutine to another, in memory, at most so many. Under MemoryConn (one each way)
// and the memory pipe.
//
//     positions:   taken_ ........ given_ ........ taken_ + capacity          both only grow
//                    | to be read    | to be written |
//
// I1. At most one goroutine reads and one writes; another one dies with a message. So the bytes in [taken_, given_) are
//     the reader's while it reads, the rest the writer's: they are copied without the lock, whose sections publish them
//     by moving the positions.
// I2. Who cannot go on stands in its line before the lock is released; whoever changes what it waits for (positions, ends,
//     its deadline) takes it from there under the lock. So no wake-up is lost. A waiter that was taken looks again at all
//     of it, whatever it was taken for.
// I3. What has ended stays ended. What was written before end() is read first, and then its reason, again and again.
// I4. All waits are core's, so a test's clock (core/test.h) governs them; what others may do before a call is up to its
//     schedule.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include <heddle/core/clock.h>
#include <heddle/core/context.h>
#include <heddle/core/error.h>
#include <heddle/core/lock.h>
#include <heddle/core/wait_list.h>

namespace heddle::net {

/// Threads: read(), try_read(), wait_readable() one goroutine at a time, write() another; all else any. Lifetime: shared
/// by the two ends.
class ByteQueue {
 public:
  explicit ByteQueue(std::size_t capacity);
  ByteQueue(const ByteQueue&) = delete;
  ByteQueue& operator=(const ByteQueue&) = delete;

  // The reader's end. As Transport's functions.
  [[nodiscard]] Result<std::size_t> read(const Context& ctx, std::span<std::byte> buf) { return take(&ctx, buf); }
  [[nodiscard]] Result<std::size_t> try_read(std::span<std::byte> buf) { return take(nullptr, buf); }
  [[nodiscard]] Result<void> wait_readable(const Context& ctx);
  void set_read_deadline(std::int64_t when) noexcept;
  /// The reader finds the end of the stream, and what is written from now on is dropped.
  void drop() noexcept;
  /// The reader gets kClosed, the writer `reason`.
  void close_reader(const Error& reason) noexcept;
  /// Nothing to be read, and more may come.
  [[nodiscard]] bool is_quiet() const noexcept;
  [[nodiscard]] bool reader_closed() const noexcept;

  // The writer's end.
  [[nodiscard]] Result<void> write(const Context& ctx, std::span<const std::byte> buf);
  void set_write_deadline(std::int64_t when) noexcept;
  /// No more is written: who tries gets kReset. When all is read the reader gets `reason`; kOk: the end of the stream. The
  /// first one stands.
  void end(const Error& reason) noexcept;
  /// end(), and the writer gets kClosed.
  void close_writer(const Error& reason) noexcept;

 private:
  // One of the two ends.
  struct End {
    std::int64_t deadline = kNever;
    bool busy = false;    // somebody is in a call (I1)
    bool closed = false;  // by its owner
    WaitList line;
  };

  [[nodiscard]] Result<std::size_t> take(const Context* ctx, std::span<std::byte> buf);
  void enter(End& end, const char* op);
  [[nodiscard]] std::optional<Error> stop_of(const End& end, const Context* ctx, const char* op) const noexcept;
  void wait(End& end, const Context& ctx, const char* op);
  void wake(End& end, WakeList& woken) noexcept;
  void set_deadline(End& end, std::int64_t when) noexcept;
  [[nodiscard]] std::size_t filled() const noexcept {
    return dropping_ ? 0 : static_cast<std::size_t>(given_ - taken_);
  }

  const std::size_t capacity_;
  const std::unique_ptr<std::byte[]> memory_;

  mutable RawMutex lock_{LockRank::kSync};
  // Guarded by lock_.
  End reader_;
  End writer_;
  std::uint64_t taken_ = 0;   // bytes that were read
  std::uint64_t given_ = 0;   // bytes that were written
  std::optional<Error> end_;  // end() came, with this
  std::optional<Error> cut_;  // close_reader() came, with this
  bool dropping_ = false;     // drop() came
};

}  // namespace heddle::net
