// Output: what a connection has to send and has not sent yet.
//
// One pooled buffer, there only while it holds something. Whole responses are committed; what the running handler has
// produced of its own response may still change (its Content-Length is not known), so it lies behind them, uncommitted:
//
//   data   begin              committed            end              capacity
//    gone  | whole responses  | current response   | room            |
//
// Responses of earlier requests of a pipelined batch lie there while the next handler computes. If that handler parks,
// they must go out; but its park may come with a lock held (a channel's), where nothing may be written. So its on-park
// hook starts a goroutine that sends them aside:
//
//   flight   kNone --send_aside()--> kFlying --sent, or failed--> kLanded --join()--> kNone
//                                       '--join() parks--> its G --sent, or failed: readies it--> kLanded
//
// I1. Only [begin, committed) is ever handed to the stream.
// I2. The goroutine that runs the request owns it; nobody else looks, so there is no lock. Between requests it is
//     empty, or passes to the next request's goroutine with everything else. The one aside reads the bytes that were
//     committed when it started, and writes the two fields of its result before it lands.
// I3. While it flies the owner may append and commit, but whatever sends, moves or frees the buffer joins first. So
//     there is one writer, and the aside touches nothing after it has landed.
// I4. After a failure everything is thrown away and every call says no: the connection is to be closed.
#pragma once

#include <sys/uio.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include <heddle/core/clock.h>
#include <heddle/core/error.h>
#include <heddle/http/internal/pool.h>
#include <heddle/net/stream.h>

namespace heddle::http {

/// What went out while it was attached.
struct OutputMeter {
  std::chrono::system_clock::time_point began;
  std::int64_t began_at = 0;  // the same in nanotime()'s terms
  std::int64_t first_at = 0;  // when the first byte went; 0: none did
  std::uint64_t bytes = 0;
};

class Output {
 public:
  Output(net::Stream& stream, Duration stall) noexcept : stream_(&stream), stall_(stall) {}
  ~Output();
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  [[nodiscard]] bool failed() const noexcept { return error_.code != Code::kOk; }
  [[nodiscard]] const Error& error() const noexcept { return error_; }
  [[nodiscard]] bool pending() const noexcept { return block_ != nullptr && block_->begin != block_->committed; }

  /// Counts what is sent from now on; null: not. It starts with nothing pending.
  void attach(OutputMeter* meter) noexcept { meter_ = meter; }

  // ---- the current response ----

  /// Makes at least `n` bytes of room behind the current response, sending what is committed if it must: parks then.
  /// False if it failed, or the current response and `n` exceed the buffer.
  [[nodiscard]] bool make_room(std::size_t n);
  [[nodiscard]] std::size_t room() const noexcept { return block_ == nullptr ? kCapacity : kCapacity - block_->end; }
  /// Where to write next; make_room() first.
  [[nodiscard]] char* tail() noexcept { return block_->data + block_->end; }
  void advance(std::size_t n) noexcept { block_->end += static_cast<std::uint32_t>(n); }
  void append(const void* bytes, std::size_t n) noexcept;

  [[nodiscard]] char* current() noexcept { return block_->data + block_->committed; }
  [[nodiscard]] std::size_t current_size() const noexcept {
    return block_ == nullptr ? 0 : block_->end - block_->committed;
  }
  void commit() noexcept {
    if (block_ != nullptr) block_->committed = block_->end;
  }
  void drop_current() noexcept {
    if (block_ != nullptr) block_->end = block_->committed;
  }
  /// Puts `text` between what is committed and the current response, as committed. Parks if there is no room.
  bool insert_before_current(std::string_view text);

  // ---- sending ----

  /// Sends all that is committed; parks while the peer takes nothing, for the stall time at most. False if it failed.
  bool flush() { return flush_with({}); }
  /// The same, and `more` behind it. The current response must be committed or empty.
  bool flush_with(std::span<const iovec> more);
  /// The same, and behind it `size` bytes of an open file, from `offset` on, by the kernel (Stream::send_of_file).
  /// Returns how many of them went: fewer if it failed, the file has ended, or there is no such way.
  std::uint64_t flush_with_file(int file, std::uint64_t offset, std::uint64_t size);
  /// Sends what the peer takes now. Never parks.
  void send_some() noexcept;
  /// Before the owner waits for what the peer may send only when it has all of this: sends what the peer takes now, and has
  /// the rest sent aside. Parks only if some is aside already and this is behind it.
  void send_meanwhile();
  /// Has what is committed sent by a goroutine of its own. Never parks, writes nothing itself: may be called with locks
  /// held, and is, as the on-park hook.
  void send_aside() noexcept;

  static constexpr std::size_t kCapacity = kBufferSize - 3 * sizeof(std::uint32_t);

 private:
  struct Block {
    std::uint32_t begin;
    std::uint32_t committed;
    std::uint32_t end;
    char data[kCapacity];
  };
  static_assert(sizeof(Block) == kBufferSize);

  // What flight_ holds, or the G that waits for the landing.
  static constexpr std::uintptr_t kNone = 0;
  static constexpr std::uintptr_t kFlying = 1;
  static constexpr std::uintptr_t kLanded = 2;

  bool fail(const Error& error) noexcept;
  [[nodiscard]] Result<void> wait();
  void fly(const char* bytes, std::size_t size) noexcept;
  void join();
  bool take() noexcept;
  void drop() noexcept;
  void settle() noexcept;
  void note_sent(std::size_t n) noexcept;

  net::Stream* stream_;
  Duration stall_;
  Block* block_ = nullptr;
  Error error_{};
  std::atomic<std::uintptr_t> flight_{kNone};  // by the owner and the one aside
  std::uint32_t aloft_ = 0;                    // bytes the one aside was given
  std::uint32_t flown_ = 0;                    // bytes the one aside has sent; read after it has landed
  Error flight_error_{};                       // and why it sent no more
  OutputMeter* meter_ = nullptr;               // of the running request, if anybody wants to know
};

}  // namespace heddle::http
