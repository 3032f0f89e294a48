// UpgradedConn: a server's connection after a 101, or after a 2xx to CONNECT: bytes both ways, as a blocking Transport.
//
// It stands on a ServerConn that stays in kRunning until the handler returns. What home is given goes into a queue here,
// from which goroutines read; what goroutines write goes to the stream by their own system calls.
//
//      home                                          goroutines of the handler
//      push_locked, end_locked, cut_locked           one reads:  take()        one writes: send()        any: all else
//          |                                           ^                         |
//          '---> queue_ --(pop: whole buffers)--> chunk_                         '--try_writev--> stream_ --> the peer
//                  |  more than kMaxQueued: pause        EAGAIN: stream_.wait_writable(deadline, ctx) <-- wake_writer
//                  '- half of it or less: resume
//
// lock_ is the connection's. It guards all but chunk_, which is the reader's.
//
// Reading. That no wake-up is lost:
// I1. Who reads looks at all that may end its wait (bytes, the end, a cut, close, its deadline) and stands in its line
//     within one section of lock_. Whoever changes one of these does so in a section, and takes the reader from the line in
//     the same section. So either the reader saw the change, or whoever made it saw the reader.
// I2. Whoever was taken from the line, for whatever reason, looks again at everything. Nothing is handed over by the waking
//     itself: a wake-up without cause costs a turn, and none is owed to anybody who has left.
// I3. The stream is paused only while queue_ holds more than kMaxQueued bytes, and the reader, which waits only when queue_ is
//     empty, resumes it in the section in which it takes the queue below half of that. Pause and resume are called under
//     lock_: so they reach the stream in the order of the decisions, and a reader never waits for a paused stream.
//
// Writing. That no wake-up is lost:
// I4. Who writes looks at close, cut, deadline and context after its last try, then waits. Whoever changes one of them does
//     so under lock_ and calls wake_writer() afterwards, which the stream remembers if nobody waits (stream.h). So either
//     the look saw the change, or the wait ends. Whoever was woken looks and tries again. The context's end and the passing
//     of the deadline that was looked at end the wait by themselves.
// I5. That the socket has room again is the stream's promise: an attempt that found none is followed by a wait that ends
//     when there is some.
//
// The two directions share lock_, which nobody holds while waiting or in a call that moves bytes, and nothing else: a
// writer that waits cannot keep a reader from reading, nor the other way round.
//
// I6. Nobody is inside when the object dies: end_use() ends the calls that wait and waits for them. The handler's own part of
//     the bargain is that none begins after it has returned.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>

#include <heddle/core/clock.h>
#include <heddle/core/context.h>
#include <heddle/core/error.h>
#include <heddle/core/lock.h>
#include <heddle/core/wait_list.h>
#include <heddle/http/internal/inbound.h>
#include <heddle/net/stream.h>
#include <heddle/net/transport.h>

namespace heddle::http {

/// What the end of the client's half says: that it has gone, or that it has no more to send.
enum class HalfClose : std::uint8_t { kLeaves, kStays };

class UpgradedConn final : public net::Transport {
 public:
  /// `left` is called on a goroutine, without the lock, when a reader has met the end of a client that leaves by it.
  UpgradedConn(RawMutex& lock, net::Stream& stream, HalfClose half, std::function<void()> left)
      : lock_(lock), stream_(stream), half_(half), left_(std::move(left)) {}
  ~UpgradedConn() override;

  // ---- the connection's, with the lock held; `woken` is to be woken without it ----

  /// Takes what came. Throws std::bad_alloc: then bytes are lost.
  void push_locked(std::span<const std::byte> bytes, WakeList& woken);
  /// Nothing more comes: kEof, or why.
  void end_locked(const Error& reason, WakeList& woken) noexcept;
  /// The server's grace is over: every call, now and later, ends with kClosed.
  void cut_locked(WakeList& woken) noexcept;
  /// Takes over the debt of a stream that is paused already.
  void paused_locked() noexcept { paused_ = true; }
  /// True if the client is known to be gone, and whoever reads has had its chance to learn it by reading.
  [[nodiscard]] bool client_left_locked() const noexcept;
  /// True if the connection has failed: nothing can be sent any more.
  [[nodiscard]] bool failed_locked() const noexcept { return failed_; }

  // ---- the handler's goroutine, after the handler ----

  /// Ends it: keeps I6. The stream is not paused afterwards.
  void end_use();

  // ---- Transport ----

  [[nodiscard]] Result<std::size_t> read(std::span<std::byte> buf) override { return take(nullptr, buf, true); }
  [[nodiscard]] Result<std::size_t> read(const Context& ctx, std::span<std::byte> buf) override {
    return take(&ctx, buf, true);
  }
  [[nodiscard]] Result<std::size_t> try_read(std::span<std::byte> buf) override { return take(nullptr, buf, false); }
  [[nodiscard]] Result<void> wait_readable(const Context& ctx) override;

  [[nodiscard]] Result<void> write(std::span<const std::byte> buf) override { return send_one(nullptr, buf); }
  [[nodiscard]] Result<void> write(const Context& ctx, std::span<const std::byte> buf) override {
    return send_one(&ctx, buf);
  }
  [[nodiscard]] Result<void> writev(std::span<const iovec> buffers) override { return send(nullptr, buffers); }
  [[nodiscard]] Result<void> writev(const Context& ctx, std::span<const iovec> buffers) override {
    return send(&ctx, buffers);
  }

  [[nodiscard]] Result<void> close_read() override;
  [[nodiscard]] Result<void> close_write() override;
  void set_read_deadline(TimePoint when) noexcept override;
  void set_write_deadline(TimePoint when) noexcept override;
  [[nodiscard]] Result<net::Address> local_address() const override;
  [[nodiscard]] Result<net::Address> remote_address() const override;
  [[nodiscard]] bool is_alive() const noexcept override;
  void close() noexcept override;

 private:
  // One direction.
  struct End {
    std::int64_t deadline = kNever;
    bool busy = false;  // somebody is in a call
  };

  [[nodiscard]] Result<std::size_t> take(const Context* ctx, std::span<std::byte> buf, bool waits);
  [[nodiscard]] Result<void> send_one(const Context* ctx, std::span<const std::byte> buf);
  [[nodiscard]] Result<void> send(const Context* ctx, std::span<const iovec> buffers);
  [[nodiscard]] bool next_chunk_locked() noexcept;
  [[nodiscard]] std::size_t copy(std::span<std::byte> buf) noexcept;
  void let_more_come_locked() noexcept;
  void drop_locked() noexcept;
  void enter_locked(End& end, const char* op) const;
  void leave_and_unlock(End& end) noexcept;
  [[nodiscard]] std::optional<Error> stop_of(const End& end, const Context* ctx, const char* op) const noexcept;
  void wait_to_read(const Context* ctx);
  void wake_reader_locked(WakeList& woken) noexcept;

  RawMutex& lock_;
  net::Stream& stream_;
  const HalfClose half_;
  const std::function<void()> left_;

  // The reader's.
  InChunk* chunk_ = nullptr;  // taken off queue_, being read

  // Guarded by lock_.
  Inbound queue_;
  End in_;
  End out_;
  WaitList reader_;           // one at most
  WaitList leaver_;           // end_use(), while somebody is inside
  std::optional<Error> end_;  // end_locked() came, with this
  bool told_end_ = false;     // a reader has met the end
  bool dropping_ = false;     // close_read() came
  bool closed_ = false;       // close() came
  bool cut_ = false;          // cut_locked() came
  bool shut_ = false;         // close_write() came
  bool failed_ = false;       // reading or writing failed, and not by our own doing
  bool paused_ = false;       // the stream is
};

}  // namespace heddle::http
