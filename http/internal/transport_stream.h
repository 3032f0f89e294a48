// TransportStream: a Stream (net/stream.h) over any Transport, so that a server of Streams serves what has no descriptor:
// memory, decorators that tap or harm. For tests: it costs three goroutines and a copy each way.
//
//      Transport --reader--> in_ (one piece) --home--> sink->on_data
//                                              home--> sink->on_timer, on_end, on_closed
//      Transport <--writer-- out_ (kOutMax) <--------- try_writev, any goroutine
//
// `home` plays the home worker: it alone calls the sink, one call after the other, and as an ordinary goroutine it may be
// put off between two calls, never within what the sink does under its locks.
//
//     open --close(), any goroutine--> closed_ --home: reader has ended--> on_closed() --writer: out_ is sent--> ended
//
// I1. A piece that the Transport gave by one read reaches the sink by one on_data: how a test splits its bytes is how the
//     sink sees them.
// I2. The Transport's calls that may park are the reader's and the writer's alone, and are made without the lock. close_read()
//     comes from home, close_write() and close() from the writer when all is sent.
// I3. Whoever runs on this object holds a share of it: the goroutines do, and close() takes one, because home may be done
//     with everything before close() has left its section.
// I4. What is written before close() is still sent, as a kernel would: within kDrainTime, then it is lost.
// I5. set_timer(), pause(), resume(), shutdown_write() and wake_writer() are called under the sink's lock: they take ours (its rank is
//     higher), ready goroutines, and do nothing else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include <heddle/core/error.h>
#include <heddle/core/lock.h>
#include <heddle/core/wait_group.h>
#include <heddle/core/wait_list.h>
#include <heddle/net/stream.h>
#include <heddle/net/stream_listener.h>
#include <heddle/net/transport.h>

namespace heddle::http {

class TransportStream final : public net::Stream, public std::enable_shared_from_this<TransportStream> {
 public:
  /// Gives `transport` to `acceptor`, and serves it on goroutines of `group` until it is closed. Refused: closed at once.
  /// Threads: goroutines. Lifetime: the acceptor must outlive the group's goroutines.
  static void serve(net::StreamAcceptor& acceptor, std::unique_ptr<net::Transport> transport, WaitGroup& group);

  explicit TransportStream(std::unique_ptr<net::Transport> transport) noexcept : transport_(std::move(transport)) {}

  Result<std::size_t> try_writev(std::span<const iovec> iov) override;
  using net::Stream::wait_writable;
  Result<void> wait_writable(TimePoint deadline, const Context& ctx) override;
  void wake_writer() override;
  void pause() override;
  void resume() override;
  void set_timer(std::int64_t when) override;
  void shutdown_write() override;
  void close() override;
  [[nodiscard]] std::string peer_address() const override;
  [[nodiscard]] Result<net::Address> local_address() const override { return transport_->local_address(); }
  [[nodiscard]] Result<net::Address> remote_address() const override { return transport_->remote_address(); }

 private:
  enum class Due : std::uint8_t { kData, kEnd, kTimer, kClosed };

  void home();
  void reader();
  void writer();

  // Parks until woken or `deadline`. `lock_` is held before and after.
  bool wait_locked(WaitList& line, const char* op, std::int64_t deadline = kNever, const Context* ctx = nullptr);
  static void wake_locked(WaitList& line, WakeList& woken) noexcept;
  [[nodiscard]] Due next_due(std::string& data, Error& end);

  const std::unique_ptr<net::Transport> transport_;
  net::StreamSink* sink_ = nullptr;  // before home() begins, then constant

  RawMutex lock_{LockRank::kSync};
  // guarded by lock_
  std::string in_;             // what the reader brought and home has not taken; empty: the reader may read
  std::optional<Error> end_;   // why nothing more comes; home takes it after in_
  std::string out_;            // what was written and the writer has not taken
  std::size_t flying_ = 0;     // bytes that the writer is at
  std::optional<Error> lost_;  // why nothing can be written
  bool paused_ = false;
  bool shut_ = false;  // our half ends after out_
  bool woken_ = false;  // wake_writer(), for the wait that is or comes next
  bool closed_ = false;
  bool reader_done_ = false;
  std::int64_t timer_ = kNever;
  WaitList home_line_;
  WaitList reader_line_;
  WaitList writer_line_;
  WaitList writable_line_;
};

}  // namespace heddle::http
