#include <heddle/net/ends.h>

#include <algorithm>

namespace heddle::net {

Result<std::size_t> Source::read(const Context& ctx, std::span<std::byte> buf) {
  Result<std::size_t> n{0};
  if (transport_ != nullptr) {
    n = transport_->read(ctx, buf);
  } else {
    if (const std::optional<Error> end = end_of(ctx, "read")) return std::unexpected(*end);
    n = reader_.read(buf);
  }
  if (n) looks_empty_ = *n < buf.size();
  return n;
}

Result<std::size_t> Source::read_into(const Context& ctx, Buffer& buffer, BufferSize size, std::size_t most) {
  most = std::min(most, capacity_of(size));
  Result<std::size_t> n = read_when_ready(ctx, buffer, size, most);
  if (!n && n.error().code == Code::kUnsupported && !can_tell_) {
    buffer = Buffer::take(size);
    n = read(ctx, {buffer.data(), most});
  }
  if (!n || *n == 0) buffer.give_back();
  return n;
}

Result<std::size_t> Source::read_when_ready(const Context& ctx, Buffer& buffer, BufferSize size, std::size_t most) {
  const auto cannot_tell = [this](const Error& error) {
    if (error.code == Code::kUnsupported) can_tell_ = false;
  };
  if (!can_tell_) return std::unexpected(Error{Code::kUnsupported, 0, "read"});
  if (const std::optional<Error> end = end_of(ctx, "read")) return std::unexpected(*end);
  for (;;) {
    if (looks_empty_) {
      const Result<void> ready = reader_.wait_readable(ctx);  // keeps I1
      if (!ready) {
        cannot_tell(ready.error());
        return std::unexpected(ready.error());
      }
    }
    buffer = Buffer::take(size);
    const Result<std::size_t> n = reader_.try_read({buffer.data(), most});
    if (n) {
      looks_empty_ = *n < most;
      return n;
    }
    buffer.give_back();
    if (n.error().code != Code::kWouldBlock) {
      cannot_tell(n.error());
      return n;
    }
    looks_empty_ = true;
  }
}

Result<void> Sink::write(const Context& ctx, std::span<const std::byte> buf) {
  if (transport_ != nullptr) return transport_->write(ctx, buf);
  if (const std::optional<Error> end = end_of(ctx, "write")) return std::unexpected(*end);
  return writer_.write(buf);
}

Result<void> Sink::writev(const Context& ctx, std::span<const iovec> buffers) {
  if (transport_ != nullptr) return transport_->writev(ctx, buffers);
  if (const std::optional<Error> end = end_of(ctx, "write")) return std::unexpected(*end);
  return writer_.writev(buffers);
}

}  // namespace heddle::net
