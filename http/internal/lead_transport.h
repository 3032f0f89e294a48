// LeadTransport: a Transport in front of whose bytes others stand that were read from it already: those that came behind the
// head of a 101.
//
//     read:   lead_ [at_, end)   then   inner_                    all else: inner_
//
// I1. The lead belongs to the reader (transport.h I1), which alone moves at_; who asks is_alive() only reads it.
// I2. What ends a call on inner_ ends it on the lead, too: close(), close_read(), a deadline in the past, a context. The first
//     three are known here by flags that are set before inner_ is told, so that a reader that misses the flag reads bytes
//     that it could have read a moment before.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include <heddle/core/clock.h>
#include <heddle/net/transport.h>

namespace heddle::http {

class LeadTransport final : public net::Transport {
 public:
  LeadTransport(std::string lead, std::unique_ptr<net::Transport> inner) noexcept
      : lead_(std::move(lead)), inner_(std::move(inner)) {}

  [[nodiscard]] Result<std::size_t> read(std::span<std::byte> buf) override;
  [[nodiscard]] Result<std::size_t> read(const Context& ctx, std::span<std::byte> buf) override;
  [[nodiscard]] Result<std::size_t> try_read(std::span<std::byte> buf) override;
  [[nodiscard]] Result<void> wait_readable(const Context& ctx) override;

  [[nodiscard]] Result<void> write(std::span<const std::byte> buf) override { return inner_->write(buf); }
  [[nodiscard]] Result<void> write(const Context& ctx, std::span<const std::byte> buf) override {
    return inner_->write(ctx, buf);
  }
  [[nodiscard]] Result<void> writev(std::span<const iovec> buffers) override { return inner_->writev(buffers); }
  [[nodiscard]] Result<void> writev(const Context& ctx, std::span<const iovec> buffers) override {
    return inner_->writev(ctx, buffers);
  }

  [[nodiscard]] Result<void> close_read() override;
  [[nodiscard]] Result<void> close_write() override { return inner_->close_write(); }
  void set_read_deadline(TimePoint when) noexcept override;
  void set_write_deadline(TimePoint when) noexcept override { inner_->set_write_deadline(when); }
  [[nodiscard]] Result<net::Address> local_address() const override { return inner_->local_address(); }
  [[nodiscard]] Result<net::Address> remote_address() const override { return inner_->remote_address(); }
  [[nodiscard]] bool is_alive() const noexcept override;
  void close() noexcept override;

 private:
  [[nodiscard]] bool leads() const noexcept;
  [[nodiscard]] std::optional<Error> stop_of(const Context* ctx) const noexcept;
  [[nodiscard]] Result<std::size_t> take(const Context* ctx, std::span<std::byte> buf) noexcept;

  const std::string lead_;
  const std::unique_ptr<net::Transport> inner_;
  std::atomic<std::size_t> at_{0};              // the reader moves it
  std::atomic<std::int64_t> deadline_{kNever};  // of reading; anybody sets it
  std::atomic<bool> dropped_{false};            // close_read() came; anybody
  std::atomic<bool> closed_{false};             // close() came; anybody
};

/// `inner` with `lead` in front; itself if that is empty.
[[nodiscard]] std::unique_ptr<net::Transport> with_lead(std::string lead, std::unique_ptr<net::Transport> inner);

}  // namespace heddle::http
