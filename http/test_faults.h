// FaultyTransport: a decorator that is a bad network: small pieces, delays, a cut in the middle, a reset.
//
//     TestServer server(handler, {.client_end = with_faults({.read_at_most = 1, .cut_read_after = 100})});
//
//     (nothing read) --inner read--> held, until it is `read_delay` old --> given out, `read_at_most` at a time
//     write --> pieces of `write_at_most` --> each waits `write_delay`, then inner write
//
// I1. It keeps a Transport's promises (net/transport.h): a call that it delays ends at its deadline, with its context, and
//     with close(), like any other that waits. Bytes that were held then are there for the next read.
// I2. What was cut stays cut: both directions, for every later call.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include <heddle/core/clock.h>
#include <heddle/core/context.h>
#include <heddle/core/error.h>
#include <heddle/core/lock.h>
#include <heddle/core/wait_list.h>
#include <heddle/http/test_server.h>
#include <heddle/net/transport.h>

namespace heddle::http::test {

/// How a connection breaks.
enum class CutBy : std::uint8_t {
  kReset,  // this end's calls fail with kReset, and so do the peer's if what is below is a TestConn; else it finds the end
  kEnd,  // this end's reader finds the end of the stream, its writer gets kReset; the peer finds the end
};

/// What goes wrong. Nothing does by default.
struct Faults {
  std::size_t read_at_most = 0;                      // bytes that a read gives; 0: as many as come
  std::size_t write_at_most = 0;                     // bytes of a write that are handed on at a time; 0: all
  Duration read_delay{};                             // how old what comes must be before a read gives it
  Duration write_delay{};                            // how long each piece that is written waits
  std::optional<std::uint64_t> cut_read_after = {};  // bytes that reads give; then the connection breaks
  std::optional<std::uint64_t> cut_write_after =
      {};  // bytes that writes hand on; then it breaks, in the middle of a write
  CutBy cut_by = CutBy::kReset;
};

/// A Transport over another. Threads: as that.
class FaultyTransport final : public net::Transport {
 public:
  FaultyTransport(std::unique_ptr<net::Transport> inner, const Faults& faults);
  ~FaultyTransport() override;

  [[nodiscard]] Result<std::size_t> read(std::span<std::byte> buf) override { return read({}, buf); }
  [[nodiscard]] Result<std::size_t> read(const Context& ctx, std::span<std::byte> buf) override;
  [[nodiscard]] Result<void> write(std::span<const std::byte> buf) override { return write({}, buf); }
  [[nodiscard]] Result<void> write(const Context& ctx, std::span<const std::byte> buf) override;
  [[nodiscard]] Result<void> close_read() override;
  [[nodiscard]] Result<void> close_write() override { return inner_->close_write(); }
  void set_read_deadline(TimePoint when) noexcept override;
  void set_write_deadline(TimePoint when) noexcept override;
  [[nodiscard]] Result<net::Address> local_address() const override { return inner_->local_address(); }
  [[nodiscard]] Result<net::Address> remote_address() const override { return inner_->remote_address(); }
  [[nodiscard]] bool is_alive() const noexcept override;
  void close() noexcept override;

  /// Breaks it now, as Faults::cut_by says. Threads: any; never parks.
  void cut() noexcept;

 private:
  // Where one direction's calls wait out their delay.
  struct Delay {
    RawMutex lock{LockRank::kSync};
    // guarded by lock
    WaitList line;
    std::int64_t deadline = kNever;
    bool over = false;  // closed, cut, or (reading) stopped: nobody waits any more

    Result<void> wait_until(std::int64_t when, const Context& ctx, const char* op);
    void set_deadline(std::int64_t when) noexcept;
    void end() noexcept;
    void wake_locked(WakeList& woken) noexcept;
  };

  [[nodiscard]] Error after_cut(Error error) const noexcept;

  const std::unique_ptr<net::Transport> inner_;
  const Faults faults_;
  Delay reading_;
  Delay writing_;
  std::atomic<bool> cut_{false};
  std::atomic<bool> stopped_{false};  // close_read()
  std::atomic<bool> holds_{false};    // held_ is not empty; the reader's, for is_alive()
  // the reader's
  std::string held_;
  std::int64_t due_ = 0;  // when held_ may be given out
  std::uint64_t given_ = 0;
  // the writer's
  std::uint64_t sent_ = 0;
};

/// A Decorator that puts these faults around each connection (TestServerOptions, TestUpstream::client()).
[[nodiscard]] Decorator with_faults(const Faults& faults);

}  // namespace heddle::http::test
