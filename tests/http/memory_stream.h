// MemoryStream: a connection without a network, driven step by step by a test.
//
// The test's goroutine plays the home worker: bytes, end, timer and the final on_closed() reach the sink from its calls
// alone, one at a time, as net/stream.h promises. What the server writes collects in `written`; how much the "peer"
// takes per call, and in all, is the test's to say. Rules of the contract that a sink could break are checked here: two
// writers, a call after close(), a second close().
#pragma once

#include <gtest/gtest.h>
#include <heddle/core/context.h>
#include <heddle/core/go.h>
#include <heddle/core/lock.h>
#include <heddle/core/park.h>
#include <heddle/net/stream.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace heddle::http::test {

class MemoryStream final : public net::Stream {
 public:
  static constexpr std::size_t kNoLimit = std::numeric_limits<std::size_t>::max();

  // ---- the test's side, from its own goroutine ----

  void attach(net::StreamSink* sink) { sink_ = sink; }

  /// The peer sends. Held back while the server has paused the stream.
  void send(std::string_view bytes) {
    held_ += bytes;
    pump();
  }
  /// The peer's half ends, or the connection breaks; after what was sent before.
  void end(Code code = Code::kEof) {
    end_ = Error{code, 0, "peer"};
    end_due_ = true;
    pump();
  }
  /// The peer takes at most `n` bytes per write from now on.
  void take_per_write(std::size_t n) { per_write_ = n; }
  /// The peer takes `n` bytes and then nothing more; wakes a writer that waits.
  void take_in_all(std::size_t n) {
    G* g = nullptr;
    {
      LockGuard guard(lock_);
      budget_ = n;
      if (n != 0) g = take_waiter_locked();
    }
    if (g != nullptr) ready(g);
  }

  /// Delivers what is due. Returns true if something was.
  bool pump() {
    bool did = false;
    while (step()) did = true;
    return did;
  }

  /// Lets every goroutine run until nothing happens any more. Needs one P.
  void settle() {
    std::size_t writes = 0;
    for (int quiet = 0; quiet < 50;) {
      gosched();
      const bool pumped = pump();
      const std::size_t now = this->writes().size();
      const bool moved = pumped || std::exchange(writes, now) != now;
      quiet = moved ? 0 : quiet + 1;
    }
  }
  /// Pumps until `done`, for any number of Ps. False after very many rounds.
  template <class F>
  bool pump_until(F done) {
    for (int i = 0; i < 20'000'000; ++i) {
      if (done()) return true;
      if (!pump()) gosched();
    }
    return false;
  }

  /// The peer has that IP address; before the server sees the stream.
  void come_from(std::string_view address) { peer_ = *net::Address::parse(address); }

  /// The stream can send out of files; how many bytes it did.
  void allow_files() { files_ = true; }
  [[nodiscard]] std::size_t out_of_files() {
    LockGuard guard(lock_);
    return out_of_files_;
  }

  [[nodiscard]] std::string written() {
    LockGuard guard(lock_);
    return written_;
  }
  [[nodiscard]] std::vector<std::size_t> writes() {
    LockGuard guard(lock_);
    return writes_;
  }
  void forget_writes() {
    LockGuard guard(lock_);
    writes_.clear();
    written_.clear();
  }
  [[nodiscard]] bool shut() {
    LockGuard guard(lock_);
    return shut_;
  }
  /// close() was called; gone() once on_closed() ran too.
  [[nodiscard]] bool closed() {
    LockGuard guard(lock_);
    return closed_;
  }
  [[nodiscard]] bool gone() const { return gone_; }
  [[nodiscard]] bool paused() {
    LockGuard guard(lock_);
    return paused_;
  }
  [[nodiscard]] std::int64_t timer() {
    LockGuard guard(lock_);
    return timer_;
  }
  [[nodiscard]] std::size_t held() const { return held_.size(); }
  /// What is written from now on does not arrive for good.
  void keep_under_way() { under_way_ = true; }
  /// Bytes that went straight into the sink's memory.
  [[nodiscard]] std::size_t lent() const { return lent_; }

  // ---- the server's side ----

  Result<std::size_t> try_writev(std::span<const iovec> iov) override {
    EXPECT_FALSE(writing_.exchange(true)) << "two writers";
    struct Done {
      std::atomic<bool>& w;
      ~Done() { w = false; }
    } done{writing_};
    LockGuard guard(lock_);
    EXPECT_FALSE(closed_) << "a write after close()";
    if (broken_) return std::unexpected(Error{Code::kReset, 0, "write"});
    if (shut_) return std::unexpected(Error{Code::kReset, 0, "write"});
    std::size_t left = std::min(budget_, per_write_);
    if (left == 0) return std::unexpected(Error{Code::kWouldBlock, 0, "write"});
    std::size_t total = 0;
    for (const iovec& v : iov) {
      const std::size_t n = std::min(left, v.iov_len);
      written_.append(static_cast<const char*>(v.iov_base), n);
      total += n;
      left -= n;
    }
    if (budget_ != kNoLimit) budget_ -= total;
    writes_.push_back(total);
    return total;
  }

  Result<std::size_t> send_of_file(int file, std::uint64_t offset, std::size_t size) override {
    if (!files_) return net::Stream::send_of_file(file, offset, size);
    std::vector<char> piece(std::min(size, std::size_t{30'000}));
    const ssize_t n = ::pread(file, piece.data(), piece.size(), static_cast<off_t>(offset));
    if (n < 0) return std::unexpected(Error{Code::kSystem, EIO, "sendfile"});
    if (n == 0) return std::size_t{0};
    const iovec v{piece.data(), static_cast<std::size_t>(n)};
    const Result<std::size_t> sent = try_writev({&v, 1});
    LockGuard guard(lock_);
    if (sent) out_of_files_ += *sent;
    return sent;
  }

  using net::Stream::wait_writable;
  Result<void> wait_writable(TimePoint deadline, const Context& ctx) override {
    lock_.lock();
    EXPECT_FALSE(closed_) << "a wait after close()";
    EXPECT_EQ(waiter_, nullptr) << "two writers wait";
    if (budget_ != 0 || broken_ || shut_ || std::exchange(woken_, false)) {
      lock_.unlock();
      return {};
    }
    waiter_ = current_g();
    wait_deadline_ = to_nanos(deadline);
    wait_ctx_ = &ctx;
    timed_out_ = false;
    park_unlock(lock_, WaitReason::kHttpWrite);
    if (const auto over = ctx.err()) return std::unexpected(Error{over->code, 0, "write"});
    if (timed_out_) return std::unexpected(Error{Code::kTimeout, 0, "write"});
    return {};
  }
  void wake_writer() override {
    G* g = nullptr;
    {
      LockGuard guard(lock_);
      EXPECT_FALSE(closed_);
      g = take_waiter_locked();
      woken_ = g == nullptr;
    }
    if (g != nullptr) ready(g);
  }

  void pause() override {
    LockGuard guard(lock_);
    EXPECT_FALSE(closed_);
    paused_ = true;
  }
  void resume() override {
    LockGuard guard(lock_);
    EXPECT_FALSE(closed_);
    paused_ = false;
  }
  void set_timer(std::int64_t when) override {
    LockGuard guard(lock_);
    EXPECT_FALSE(closed_);
    timer_ = when;
  }
  void shutdown_write() override {
    G* g = nullptr;
    {
      LockGuard guard(lock_);
      EXPECT_FALSE(closed_);
      shut_ = true;
      g = take_waiter_locked();
    }
    if (g != nullptr) ready(g);
  }
  void close() override {
    LockGuard guard(lock_);
    EXPECT_FALSE(closed_) << "a second close()";
    closed_ = true;
  }
  net::Address peer() const override { return peer_; }
  bool all_arrived() const noexcept override { return !under_way_; }
  std::string peer_address() const override { return "memory:1"; }

 private:
  G* take_waiter_locked() {
    G* g = waiter_;
    waiter_ = nullptr;
    return g;
  }

  bool step() {
    enum { kNothing, kData, kEnd, kTimer, kClosed } what = kNothing;
    G* late = nullptr;
    {
      LockGuard guard(lock_);
      const std::int64_t now = nanotime();
      if (closed_) {
        if (!gone_) what = kClosed;
      } else if (waiter_ != nullptr && (wait_deadline_ <= now || wait_ctx_->err())) {
        timed_out_ = true;
        late = take_waiter_locked();
      } else if (timer_ <= now) {
        timer_ = kNever;
        what = kTimer;
      } else if (!held_.empty() && !paused_) {
        what = kData;
      } else if (held_.empty() && end_due_) {
        end_due_ = false;
        if (end_.code != Code::kEof) {
          broken_ = true;
          late = take_waiter_locked();
        }
        what = kEnd;
      }
    }
    if (late != nullptr) ready(late);
    switch (what) {
      case kNothing: return late != nullptr;
      case kData: {
        if (const std::span<std::byte> lent = sink_->lend_room(); !lent.empty()) {  // like net's own reads
          const std::size_t n = std::min(lent.size(), held_.size());
          std::memcpy(lent.data(), held_.data(), n);
          held_.erase(0, n);
          lent_ += n;
          sink_->on_data(lent.first(n));
          return true;
        }
        // Like a ring's provided buffers: pieces of 4 KiB.
        std::string piece = held_.substr(0, 4096);
        held_.erase(0, piece.size());
        sink_->on_data(std::as_bytes(std::span(piece)));
        std::fill(piece.begin(), piece.end(), '\xee');  // the bytes were the poller's
        return true;
      }
      case kEnd: sink_->on_end(end_); return true;
      case kTimer: sink_->on_timer(); return true;
      case kClosed:
        gone_ = true;
        sink_->on_closed();
        return true;
    }
    return false;
  }

  net::StreamSink* sink_ = nullptr;
  std::atomic<bool> files_{false};
  net::Address peer_;
  std::string held_;
  std::size_t lent_ = 0;
  bool end_due_ = false;
  Error end_{};
  bool gone_ = false;

  RawMutex lock_{LockRank::kNetStream};
  std::atomic<bool> writing_{false};
  // guarded by lock_
  std::string written_;
  std::vector<std::size_t> writes_;
  std::size_t out_of_files_ = 0;
  std::size_t per_write_ = kNoLimit;
  std::size_t budget_ = kNoLimit;
  bool paused_ = false;
  bool shut_ = false;
  bool closed_ = false;
  std::atomic<bool> under_way_{false};
  bool broken_ = false;
  bool timed_out_ = false;
  std::int64_t timer_ = kNever;
  G* waiter_ = nullptr;
  std::int64_t wait_deadline_ = kNever;
  const Context* wait_ctx_ = nullptr;
  bool woken_ = false;
};

}  // namespace heddle::http::test
