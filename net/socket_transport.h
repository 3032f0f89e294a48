// SocketTransport: a Transport over a connected stream socket. All that TCP and Unix stream connections have in common.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <span>
#include <utility>

#include <heddle/net/descriptor.h>
#include <heddle/net/transport.h>

namespace heddle::net {

/// One end of a connection over a stream socket. Movable; the destructor closes it. A second reader, or a second writer, dies
/// with a message.
class SocketTransport : public Transport, public Descriptor {
 public:
  [[nodiscard]] Result<std::size_t> read(std::span<std::byte> buf) final;
  [[nodiscard]] Result<std::size_t> read(const Context& ctx, std::span<std::byte> buf) final;
  [[nodiscard]] Result<void> write(std::span<const std::byte> buf) final;
  [[nodiscard]] Result<void> write(const Context& ctx, std::span<const std::byte> buf) final;
  [[nodiscard]] Result<void> writev(std::span<const iovec> buffers) final;
  [[nodiscard]] Result<void> writev(const Context& ctx, std::span<const iovec> buffers) final;

  [[nodiscard]] Result<std::size_t> try_read(std::span<std::byte> buf) final;
  [[nodiscard]] Result<void> wait_readable(const Context& ctx) final;

  [[nodiscard]] Result<void> close_read() final;
  [[nodiscard]] Result<void> close_write() final;

  void set_read_deadline(TimePoint when) noexcept final;
  void set_write_deadline(TimePoint when) noexcept final;

  [[nodiscard]] Result<Address> local_address() const final;
  [[nodiscard]] Result<Address> remote_address() const final;

  [[nodiscard]] bool is_alive() const noexcept final;

  /// Ends the connection: who reads or writes gets kClosed. What was written is still sent, unless input was left unread
  /// (then the kernel resets the connection). Idempotent; never parks.
  void close() noexcept final { Descriptor::close(); }

 protected:
  SocketTransport() noexcept = default;
  explicit SocketTransport(detail::Handle handle) noexcept : Descriptor(handle) {}
  SocketTransport(SocketTransport&& other) noexcept : Descriptor(other.take()) {}
  SocketTransport& operator=(SocketTransport&& other) noexcept {
    Descriptor::operator=(std::move(other));
    return *this;
  }
};

}  // namespace heddle::net
