// Transports in memory, of goroutine locks alone: so the testing kit (core/test.h) can permute what happens on both
// sides, and its clock moves their deadlines.
#pragma once

#include <algorithm>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <heddle/core/cond.h>
#include <heddle/core/context.h>
#include <heddle/core/mutex.h>
#include <heddle/net/transport.h>

namespace heddle::net::test {

/// One end of a pair. Each direction holds `capacity` bytes at most.
class PipeTransport final : public Transport {
 public:
  static std::pair<std::unique_ptr<PipeTransport>, std::unique_ptr<PipeTransport>> pair(std::size_t capacity = 1
                                                                                                               << 16) {
    auto shared = std::make_shared<Shared>();
    shared->capacity = capacity;
    return {std::unique_ptr<PipeTransport>(new PipeTransport(shared, 0)),
            std::unique_ptr<PipeTransport>(new PipeTransport(shared, 1))};
  }
  ~PipeTransport() override { PipeTransport::close(); }

  [[nodiscard]] Result<std::size_t> read(std::span<std::byte> buf) override { return read({}, buf); }
  [[nodiscard]] Result<std::size_t> read(const Context& ctx, std::span<std::byte> buf) override {
    std::unique_lock guard(pair_->lock);
    Way& way = pair_->ways[1 - side_];
    for (;;) {
      if (const std::optional<Error> end = end_of(ctx, pair_->read_until[side_], "read")) return std::unexpected(*end);
      if (way.reset) return std::unexpected(Error{Code::kReset, 0, "read"});
      if (!way.bytes.empty()) {
        const std::size_t n = std::min(buf.size(), way.bytes.size());
        std::copy_n(way.bytes.begin(), n, buf.begin());
        way.bytes.erase(way.bytes.begin(), way.bytes.begin() + static_cast<std::ptrdiff_t>(n));
        pair_->changed.broadcast();
        return n;
      }
      if (way.ended || way.unread) return std::size_t{0};
      wait(guard, ctx, pair_->read_until[side_]);
    }
  }

  [[nodiscard]] Result<void> write(std::span<const std::byte> buf) override { return write({}, buf); }
  [[nodiscard]] Result<void> write(const Context& ctx, std::span<const std::byte> buf) override {
    std::unique_lock guard(pair_->lock);
    Way& way = pair_->ways[side_];
    for (;;) {
      if (const std::optional<Error> end = end_of(ctx, pair_->write_until[side_], "write"))
        return std::unexpected(*end);
      if (buf.empty()) return {};
      if (way.ended || pair_->closed[1 - side_]) return std::unexpected(Error{Code::kReset, 0, "write"});
      const std::size_t n = std::min(buf.size(), pair_->capacity - way.bytes.size());
      way.bytes.insert(way.bytes.end(), buf.begin(), buf.begin() + static_cast<std::ptrdiff_t>(n));
      buf = buf.subspan(n);
      if (n > 0) pair_->changed.broadcast();
      if (n == 0) wait(guard, ctx, pair_->write_until[side_]);
    }
  }
  [[nodiscard]] Result<void> write(std::string_view text) { return write(std::as_bytes(std::span(text))); }
  using Transport::writev;
  [[nodiscard]] Result<void> writev(std::span<const iovec> buffers) override {
    ++writevs;
    return Writer::writev(buffers);
  }

  [[nodiscard]] Result<void> close_read() override {
    const std::lock_guard guard(pair_->lock);
    pair_->ways[1 - side_].unread = true;
    pair_->changed.broadcast();
    return {};
  }
  [[nodiscard]] Result<void> close_write() override {
    const std::lock_guard guard(pair_->lock);
    if (pair_->closed[side_]) return std::unexpected(Error{Code::kClosed, 0, "close_write"});
    pair_->ways[side_].ended = true;
    pair_->changed.broadcast();
    return {};
  }
  void set_read_deadline(TimePoint when) noexcept override { set(pair_->read_until[side_], when); }
  void set_write_deadline(TimePoint when) noexcept override { set(pair_->write_until[side_], when); }
  [[nodiscard]] Result<Address> local_address() const override { return Address(); }
  [[nodiscard]] Result<Address> remote_address() const override { return Address(); }
  [[nodiscard]] bool is_alive() const noexcept override { return true; }

  /// As the kernel does it: what the peer had written and nobody has read makes the peer's end a reset.
  void close() noexcept override {
    const std::lock_guard guard(pair_->lock);
    if (pair_->closed[side_]) return;
    pair_->closed[side_] = true;
    pair_->ways[side_].ended = true;
    if (!pair_->ways[1 - side_].bytes.empty()) pair_->ways[side_].reset = true;
    pair_->changed.broadcast();
  }

  /// Reads up to the end of the stream.
  [[nodiscard]] Result<std::string> read_all() {
    std::string all;
    std::byte buf[100];
    for (;;) {
      const Result<std::size_t> n = read(buf);
      if (!n) return std::unexpected(n.error());
      if (*n == 0) return all;
      all.append(reinterpret_cast<const char*>(buf), *n);
    }
  }
  /// Reads `n` bytes, or fewer if the stream ends.
  [[nodiscard]] std::string read_some(std::size_t n) {
    std::string text(n, '\0');
    const Result<std::size_t> got = read_full(std::as_writable_bytes(std::span(text)));
    text.resize(got.value_or(0));
    return text;
  }

  std::size_t writevs = 0;  // the writer's

 private:
  struct Way {
    std::deque<std::byte> bytes;
    bool ended = false;   // by its writer
    bool unread = false;  // its reader wants no more
    bool reset = false;
  };
  struct Shared {
    std::size_t capacity;
    Mutex lock;
    Cond changed;
    Way ways[2];  // [i]: written by side i
    bool closed[2] = {};
    TimePoint read_until[2] = {kNoDeadline, kNoDeadline};
    TimePoint write_until[2] = {kNoDeadline, kNoDeadline};
  };

  PipeTransport(std::shared_ptr<Shared> shared, int side) : pair_(std::move(shared)), side_(side) {}

  std::optional<Error> end_of(const Context& ctx, TimePoint until, const char* op) const {
    if (pair_->closed[side_]) return Error{Code::kClosed, 0, op};
    if (const std::optional<Error> end = ctx.err()) return Error{end->code, 0, op};
    if (until != kNoDeadline && now() >= until) return Error{Code::kTimeout, 0, op};
    return std::nullopt;
  }
  void wait(std::unique_lock<Mutex>& guard, const Context& ctx, TimePoint until) {
    const Context limited = until == kNoDeadline ? ctx : with_deadline(ctx, until).ctx;
    static_cast<void>(pair_->changed.wait(limited, guard));  // whatever ended it, the caller looks again
  }
  void set(TimePoint& until, TimePoint when) noexcept {
    const std::lock_guard guard(pair_->lock);
    until = when;
    pair_->changed.broadcast();
  }

  const std::shared_ptr<Shared> pair_;
  const int side_;
};

}  // namespace heddle::net::test
