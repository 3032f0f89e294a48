// Which way a copy takes, and the one by reading and writing.
#include <heddle/net/copy.h>

#include <algorithm>
#include <optional>

#include <heddle/net/buf_reader.h>
#include <heddle/net/buf_writer.h>
#include <heddle/net/ends.h>
#include <heddle/net/internal/kernel_copy.h>

namespace heddle::net {
namespace {

constexpr BufferSize kPiece = BufferSize::k64K;

// `read(buffer, most)` takes a buffer and reads into it, as Source::read_into().
template <class Read>
void copy_by_hand(const Context& ctx, Writer& to, std::uint64_t n, Copied& result, Read read) {
  Sink sink(to);
  while (n > 0) {
    Buffer buffer;
    const Result<std::size_t> taken =
        read(buffer, static_cast<std::size_t>(std::min<std::uint64_t>(n, capacity_of(kPiece))));
    if (!taken) {
      static_cast<void>(copy_failed(result, taken.error(), Copied::Side::kReading));
      return;
    }
    if (*taken == 0) return;
    const Result<void> written = sink.write(ctx, {buffer.data(), *taken});
    if (!written) {
      result.lost = *taken;
      static_cast<void>(copy_failed(result, written.error(), Copied::Side::kWriting));
      return;
    }
    n -= *taken;
    result.bytes += *taken;
  }
}

// What is left of `n` after what `result` says.
std::uint64_t rest_of(std::uint64_t n, const Copied& result) noexcept {
  return n == kAllBytes ? kAllBytes : n - result.bytes;
}

}  // namespace

Copied copy(Writer& to, Reader& from) { return copy_n({}, to, from, kAllBytes); }
Copied copy(const Context& ctx, Writer& to, Reader& from) { return copy_n(ctx, to, from, kAllBytes); }
Copied copy_n(Writer& to, Reader& from, std::uint64_t n) { return copy_n({}, to, from, n); }

Copied copy_n(const Context& ctx, Writer& to, Reader& from, std::uint64_t n) {
  if (auto* gathers = dynamic_cast<BufWriter*>(&to)) return gathers->read_from(ctx, from, n);
  if (auto* ahead = dynamic_cast<BufReader*>(&from)) return ahead->write_to(ctx, to, n);
  Copied result;
  if (auto* target = dynamic_cast<SocketTransport*>(&to)) {
    KernelCopy way = KernelCopy::kCannot;
    if (auto* socket = dynamic_cast<SocketTransport*>(&from)) {
      way = splice_copy(ctx, *target, *socket, n, result);
    } else if (auto* file = dynamic_cast<File*>(&from)) {
      std::optional<std::uint64_t> at_position;
      way = sendfile_copy(ctx, *target, *file, at_position, n, result);
    }
    if (way == KernelCopy::kOver) return result;
  }
  Source source(from);
  copy_by_hand(ctx, to, rest_of(n, result), result,
               [&](Buffer& buffer, std::size_t most) { return source.read_into(ctx, buffer, kPiece, most); });
  return result;
}

Copied send_file(SocketTransport& to, File& file, std::uint64_t offset, std::uint64_t length) {
  return send_file({}, to, file, offset, length);
}

Copied send_file(const Context& ctx, SocketTransport& to, File& file, std::uint64_t offset, std::uint64_t length) {
  Copied result;
  std::optional<std::uint64_t> at = offset;
  if (sendfile_copy(ctx, to, file, at, length, result) == KernelCopy::kOver) return result;
  std::uint64_t next = *at;
  copy_by_hand(ctx, to, rest_of(length, result), result, [&](Buffer& buffer, std::size_t most) {
    buffer = Buffer::take(kPiece);
    const Result<std::size_t> n = file.read_at(ctx, next, {buffer.data(), most});
    if (n) next += *n;
    return n;
  });
  result.lost = 0;  // the file has it still
  return result;
}

}  // namespace heddle::net
