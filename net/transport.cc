// What Reader, Writer and Transport do by their own means.
#include <heddle/net/transport.h>

namespace heddle::net {

Result<std::size_t> Reader::read_full(std::span<std::byte> buf) {
  std::size_t done = 0;
  while (done < buf.size()) {
    const Result<std::size_t> n = read(buf.subspan(done));
    if (!n) return n;
    if (*n == 0) break;
    done += *n;
  }
  return done;
}

Result<std::size_t> Reader::try_read(std::span<std::byte> /*buf*/) {
  return std::unexpected(Error{Code::kUnsupported, 0, "try_read"});
}

Result<void> Reader::wait_readable(const Context& /*ctx*/) {
  return std::unexpected(Error{Code::kUnsupported, 0, "wait_readable"});
}

Result<void> Writer::writev(std::span<const iovec> buffers) {
  for (const iovec& one : buffers) {
    if (one.iov_len == 0) continue;
    const Result<void> written = write({static_cast<const std::byte*>(one.iov_base), one.iov_len});
    if (!written) return written;
  }
  return {};
}

Result<void> Transport::writev(const Context& ctx, std::span<const iovec> buffers) {
  for (const iovec& one : buffers) {
    if (one.iov_len == 0) continue;
    const Result<void> written = write(ctx, {static_cast<const std::byte*>(one.iov_base), one.iov_len});
    if (!written) return written;
  }
  return {};
}

}  // namespace heddle::net
