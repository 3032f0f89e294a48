// StreamConn: a Stream (stream.h) over a socket. A slot with a sink, no stack, and no buffer.
//
// The home reads and calls the sink; any goroutine writes, by its own system calls (a send from another M costs the same,
// and the answer needs no trip). What goroutines ask of the reading side are flags and a post to the home.
//
//     dealt --adopt: on_accept--> open --close(), any thread--> closing --ended, last one left--> finished: on_closed
//               '-- no sink: refused ------------------------------^
//
//     reading: wants_data (anybody, atomic) is the wish; what is armed follows it at the home's next visit.
//     ended:   on_end was called; nothing is read any more. The stream stays open until close().
//
// I1. All calls of the sink are made by the home on the scheduler's side, each after a look at closing: so after close()
//     none begins (a look and a close() that meet count as "one may be running").
// I2. on_closed comes from finish(), which needs the closer's hold dropped by the home: so not before close() has posted
//     it, its last act.
// I3. What kind of traffic comes decides how a ring reads (uring_poller.h I7), and is judged by what came: a stream becomes
//     bulky when large pieces outnumber small ones by kBulkyFrom, and is no more when the small ones have made up for the large
//     ones, of which kMaxWeight count. So a connection that carries both does not change its mind with each, and one that
//     has carried a large body is soon again as it was.
#pragma once

#include <algorithm>

#include <heddle/net/internal/poll_desc.h>
#include <heddle/net/internal/wheel.h>
#include <heddle/net/stream.h>

namespace heddle::net {

struct AcceptDesc;

struct StreamConn final : PollDesc, WheelEntry, Stream {
  StreamConn() noexcept;

  // Stream.
  Result<std::size_t> try_writev(std::span<const iovec> iov) override;
  Result<std::size_t> send_of_file(int file, std::uint64_t offset, std::size_t size) override;
  using Stream::wait_writable;
  Result<void> wait_writable(TimePoint deadline, const Context& ctx) override;
  void wake_writer() override;
  void pause() override;
  void resume() override;
  void set_timer(std::int64_t when) override;
  void shutdown_write() override;
  void close() override;
  Address peer() const override;
  bool all_arrived() const noexcept override;
  std::string peer_address() const override;
  Result<PeerCredentials> peer_credentials() const override;
  Result<Address> local_address() const override;
  Result<Address> remote_address() const override;

  // --- the home, on the scheduler's side ---

  /// Makes a fresh slot a stream of `new_fd`, to be adopted by `owner`.
  void open_stream(int new_fd, AcceptDesc& from_listener, NetPoller& owner) noexcept;

  /// True if the back end should read: adopted, wanted, not ended, not closing.
  [[nodiscard]] bool reads() const noexcept {
    return sink != nullptr && !ended && wants_data.load(std::memory_order_relaxed) &&
           !lock.closing();  // relaxed: a post follows a change
  }
  void deliver(std::span<const std::byte> bytes) noexcept {
    weigh(bytes.size());
    if (!lock.closing()) sink->on_data(bytes);
  }
  void deliver_end(Error reason) noexcept;
  [[nodiscard]] std::span<std::byte> lend_room() const noexcept {
    return lock.closing() ? std::span<std::byte>() : sink->lend_room();
  }

  static constexpr std::size_t kLargePiece = 4096;  // bytes: what fills a ring's buffer
  static constexpr std::uint8_t kBulkyFrom = 4;     // 16 KiB in a row: more than a request's head
  static constexpr std::uint8_t kMaxWeight = 8;     // and so many small ones make up for any number of them

  /// Counts a piece that was read: I3.
  void weigh(std::size_t size) noexcept {
    if (size >= kLargePiece) {
      weight = std::min<std::uint8_t>(weight + 1, kMaxWeight);
      bulky = bulky || weight == kBulkyFrom;
    } else if (weight != 0) {
      --weight;
      bulky = bulky && weight != 0;
    }
  }
  void forget_weight() noexcept {
    weight = 0;
    bulky = false;
  }

  StreamSink* sink = nullptr;          // by adopt(), then constant
  AcceptDesc* listener = nullptr;      // until adopted; holds it
  std::atomic<bool> wants_data{true};  // pause() and resume(), anybody
  bool of_unix = false;                // constant while open: the listener's family
  bool ended = false;                  // the home's
  bool doubted = false;                // the home's: in UringPoller::doubts_
  bool readable = false;    // the home's: an edge has come and the socket is not known to be empty (ready_loop.h)
  bool bulky = false;       // the home's: I3
  std::uint8_t weight = 0;  // the home's: large pieces less small ones, of late
};

static_assert(sizeof(StreamConn) <= 256, "an idle connection is to cost net less than 300 bytes");

[[nodiscard]] Slab<StreamConn>& stream_slab() noexcept;

}  // namespace heddle::net
