// ClientConn: a connection to a server, with the bytes that were read from it and not yet taken.
//
// I1. One goroutine reads, one writes (transport.h); bytes that were read belong to the reader. close() is for both.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>
#include <utility>

#include <heddle/core/clock.h>
#include <heddle/core/context.h>
#include <heddle/core/error.h>
#include <heddle/net/transport.h>

namespace heddle::http {

class ClientConn {
 public:
  static constexpr std::size_t kReadSize = 8 * 1024;

  explicit ClientConn(std::unique_ptr<net::Transport> t) noexcept : transport(std::move(t)) {}

  [[nodiscard]] std::span<const std::byte> unread() const noexcept { return {buffer_.get() + at_, filled_ - at_}; }
  [[nodiscard]] std::string_view text() const noexcept {
    return {reinterpret_cast<const char*>(buffer_.get()) + at_, filled_ - at_};
  }
  void take(std::size_t n) noexcept { at_ += n; }

  /// Reads more behind what is unread; parks. Returns 0 at the end of the stream. Throws std::bad_alloc.
  [[nodiscard]] Result<std::size_t> fill(const Context& ctx) {
    if (at_ == filled_) at_ = filled_ = 0;
    if (capacity_ - filled_ < kReadSize / 2) make_room();
    Result<std::size_t> n = transport->read(ctx, {buffer_.get() + filled_, capacity_ - filled_});
    if (n) filled_ += *n;
    return n;
  }

  /// What an idle connection does not need.
  void free_buffer() noexcept {
    buffer_.reset();
    at_ = filled_ = capacity_ = 0;
  }

  void close() noexcept {
    if (transport != nullptr) transport->close();
  }
  /// The connection goes on as something else; this one is over.
  [[nodiscard]] std::unique_ptr<net::Transport> release_transport() noexcept { return std::move(transport); }

  std::unique_ptr<net::Transport> transport;  // constant, until it is released
  // The lease's holder's.
  bool used = false;     // it has carried a request
  TimePoint idle_since;  // when the pool got it

 private:
  void make_room() {
    const std::size_t size = filled_ - at_;
    if (capacity_ - size < kReadSize / 2) {
      const std::size_t wanted = capacity_ == 0 ? kReadSize : capacity_ * 2;
      auto bigger = std::make_unique_for_overwrite<std::byte[]>(wanted);
      if (size != 0) std::memcpy(bigger.get(), buffer_.get() + at_, size);
      buffer_ = std::move(bigger);
      capacity_ = wanted;
    } else if (size != 0) {
      std::memmove(buffer_.get(), buffer_.get() + at_, size);
    }
    at_ = 0;
    filled_ = size;
  }

  std::unique_ptr<std::byte[]> buffer_;
  std::size_t at_ = 0;
  std::size_t filled_ = 0;
  std::size_t capacity_ = 0;
};

}  // namespace heddle::http
