// Connections and pipes in memory: for tests of what speaks over a Transport, and between parts of one program.
//
//     auto [near, far] = net::memory_pair();
//
//     net::MemoryListener listener;                     // wherever a TransportListener is wanted
//     go([&] { serve(listener); });
//     auto conn = listener.dial();
//
// They keep the promises of transport.h, know no descriptor and no kernel, and wait by core's own means: in a test under a
// clock of its own (core/test.h) deadlines cost no time, and the schedule decides who goes on.
//
//     MemoryConn ----,                             ,---- MemoryConn
//                    |--- shared: a byte queue ---|
//     (this side)    '--- each way, addresses  ---'      (the peer)
//
// The queues live as long as one of the two does.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include <heddle/core/clock.h>
#include <heddle/core/context.h>
#include <heddle/core/error.h>
#include <heddle/core/lock.h>
#include <heddle/core/wait_list.h>
#include <heddle/net/address.h>
#include <heddle/net/transport.h>

namespace heddle::net {

class ByteQueue;
struct MemoryLink;

struct MemoryOptions {
  std::size_t capacity = std::size_t{64} << 10;  // bytes each way that may be written and not read; then a writer parks
  Address near = {};                             // what the first end calls local, and the second one remote
  Address far = {};
};

/// One end of a connection in memory. Movable; the destructor closes it. Threads: as Conn (tcp.h).
///
/// What is written is there for the peer at once. close() delivers what was written; the peer reads it and then finds the end
/// of the stream, and its writes fail with kReset. After close_read() what the peer writes is dropped, without an error.
class MemoryConn final : public Transport {
 public:
  MemoryConn() noexcept;  // closed
  MemoryConn(std::shared_ptr<MemoryLink> link, int side) noexcept;
  MemoryConn(MemoryConn&& other) noexcept;
  MemoryConn& operator=(MemoryConn&& other) noexcept;
  ~MemoryConn() override;

  [[nodiscard]] Result<std::size_t> read(std::span<std::byte> buf) override { return read({}, buf); }
  [[nodiscard]] Result<std::size_t> read(const Context& ctx, std::span<std::byte> buf) override;
  [[nodiscard]] Result<std::size_t> try_read(std::span<std::byte> buf) override;
  [[nodiscard]] Result<void> wait_readable(const Context& ctx) override;
  [[nodiscard]] Result<void> write(std::span<const std::byte> buf) override { return write({}, buf); }
  [[nodiscard]] Result<void> write(const Context& ctx, std::span<const std::byte> buf) override;

  [[nodiscard]] Result<void> close_read() override;
  [[nodiscard]] Result<void> close_write() override;
  void set_read_deadline(TimePoint when) noexcept override;
  void set_write_deadline(TimePoint when) noexcept override;
  [[nodiscard]] Result<Address> local_address() const override;
  [[nodiscard]] Result<Address> remote_address() const override;
  [[nodiscard]] bool is_alive() const noexcept override;
  void close() noexcept override;

 private:
  [[nodiscard]] ByteQueue* in() const noexcept;
  [[nodiscard]] ByteQueue* out() const noexcept;
  [[nodiscard]] Result<Address> address(int side, const char* op) const;

  std::shared_ptr<MemoryLink> link_;  // null: closed
  int side_ = 0;
};

/// Two connected ends. Errors: std::bad_alloc. Threads: any.
[[nodiscard]] std::pair<MemoryConn, MemoryConn> memory_pair(const MemoryOptions& options = {});

struct MemoryListenOptions {
  Address address = {};                          // what it is said to listen on
  std::size_t backlog = 128;                     // connections that wait to be accepted; then who dials parks
  std::size_t capacity = std::size_t{64} << 10;  // of its connections (MemoryOptions)
};

struct MemoryDialOptions {
  TimePoint deadline = kNoDeadline;
  Context ctx = {};
  Address local = {};  // what our end is said to be
};

/// Listens in memory: who has it can dial it. The destructor closes it. Threads: accept() one goroutine at a time (a second
/// one dies with a message); all else from any goroutine.
class MemoryListener final : public TransportListener {
 public:
  explicit MemoryListener(const MemoryListenOptions& options = {});
  ~MemoryListener() override;
  MemoryListener(const MemoryListener&) = delete;
  MemoryListener& operator=(const MemoryListener&) = delete;

  /// Connects. Returns as soon as the connection waits to be accepted.
  ///
  /// Errors:  kRefused if the listener is closed, also while this waits for a place; kTimeout, the context's code.
  [[nodiscard]] Result<MemoryConn> dial(const MemoryDialOptions& options = {});

  /// Takes the next connection, in the order in which they were dialed; parks until there is one.
  ///
  /// Errors:  kClosed, kTimeout, the context's code.
  [[nodiscard]] Result<MemoryConn> accept() { return accept({}); }
  [[nodiscard]] Result<MemoryConn> accept(const Context& ctx);
  [[nodiscard]] Result<std::unique_ptr<Transport>> accept_transport() override;

  /// The deadline of accept().
  void set_deadline(TimePoint when) noexcept;

  [[nodiscard]] Result<Address> local_address() const override;

  /// Ends it: who accepts gets kClosed. Connections that wait to be accepted are closed: their other ends find the end of
  /// the stream.
  void close() override;

 private:
  void wake_all(WaitList& line, WakeList& woken) noexcept;

  const MemoryListenOptions options_;

  mutable RawMutex lock_{LockRank::kSync};
  // Guarded by lock_. A ring of options_.backlog places, made at first: nothing is allocated under the lock.
  std::vector<MemoryConn> waiting_;
  std::size_t first_ = 0;
  std::size_t count_ = 0;
  bool accepting_ = false;
  bool closed_ = false;
  std::int64_t deadline_ = kNever;
  WaitList accepters_;
  WaitList dialers_;
};

/// The end of a pipe in memory that is read. Movable; the destructor closes it. Threads: one goroutine reads (a second one
/// dies with a message); all else from any goroutine.
class MemoryReader final : public Reader {
 public:
  MemoryReader() noexcept;  // closed
  explicit MemoryReader(std::shared_ptr<ByteQueue> queue) noexcept;
  MemoryReader(MemoryReader&& other) noexcept;
  MemoryReader& operator=(MemoryReader&& other) noexcept;
  ~MemoryReader() override;

  [[nodiscard]] Result<std::size_t> read(std::span<std::byte> buf) override { return read({}, buf); }
  [[nodiscard]] Result<std::size_t> read(const Context& ctx, std::span<std::byte> buf);
  [[nodiscard]] Result<std::size_t> try_read(std::span<std::byte> buf) override;
  [[nodiscard]] Result<void> wait_readable(const Context& ctx) override;
  void set_read_deadline(TimePoint when) noexcept;

  /// Ends it: who reads gets kClosed, who writes kReset, or the error that is given.
  void close() noexcept { close_with({Code::kReset, 0, "write"}); }
  void close_with(const Error& reason) noexcept;

 private:
  std::shared_ptr<ByteQueue> queue_;  // null: closed
};

/// The end that is written to. As MemoryReader, with a writer.
class MemoryWriter final : public Writer {
 public:
  MemoryWriter() noexcept;  // closed
  explicit MemoryWriter(std::shared_ptr<ByteQueue> queue) noexcept;
  MemoryWriter(MemoryWriter&& other) noexcept;
  MemoryWriter& operator=(MemoryWriter&& other) noexcept;
  ~MemoryWriter() override;

  [[nodiscard]] Result<void> write(std::span<const std::byte> buf) override { return write({}, buf); }
  [[nodiscard]] Result<void> write(const Context& ctx, std::span<const std::byte> buf);
  void set_write_deadline(TimePoint when) noexcept;

  /// Ends it: who writes gets kClosed; who reads gets what was written, and then the end of the stream, or the error that is
  /// given.
  void close() noexcept { close_with({}); }
  void close_with(const Error& reason) noexcept;

 private:
  std::shared_ptr<ByteQueue> queue_;  // null: closed
};

struct MemoryPipe {
  MemoryReader reader;
  MemoryWriter writer;
};

/// A pipe in memory: what one goroutine writes another one reads. Unlike Go's io.Pipe it has room for `capacity` bytes: a write
/// parks only when that is full, so a writer of small pieces does not wait for the reader at each, and a reader that has
/// closed may leave up to so much unread. Errors: std::bad_alloc. Threads: any.
[[nodiscard]] MemoryPipe memory_pipe(std::size_t capacity = std::size_t{64} << 10);

}  // namespace heddle::net
