#include <heddle/net/buf_writer.h>

#include <algorithm>
#include <array>
#include <cstring>

#include <heddle/net/buf_reader.h>
#include <heddle/net/internal/kernel_copy.h>

namespace heddle::net {

Result<void> BufWriter::write(const Context& ctx, std::span<const std::byte> buf) {
  if (const Result<void> ready = ready_for(ctx); !ready) return ready;
  if (buf.size() > available()) {  // keeps I2
    if (used_ == 0) return settle(to_.write(ctx, buf));
    const std::array<iovec, 2> both{iovec{buffer_.data(), used_},
                                    iovec{const_cast<std::byte*>(buf.data()), buf.size()}};
    return settle(to_.writev(ctx, both));
  }
  if (buf.empty()) return {};
  if (!buffer_) buffer_ = Buffer::take(size_);
  std::memcpy(buffer_.data() + used_, buf.data(), buf.size());
  used_ += buf.size();
  return {};
}

Result<void> BufWriter::flush(const Context& ctx) {
  if (const Result<void> ready = ready_for(ctx); !ready || used_ == 0) return ready;
  return settle(to_.write(ctx, {buffer_.data(), used_}));
}

Copied BufWriter::read_from(const Context& ctx, Reader& from, std::uint64_t most) {
  Copied result;
  const auto ended = [&result](const Error& error, Copied::Side side) {
    result.error = error;
    result.failed = side;
    return result;
  };
  if (const Result<void> ready = ready_for(ctx); !ready) return ended(ready.error(), Copied::Side::kWriting);

  Reader* reader = &from;
  std::uint64_t unsent = 0;                             // of what was taken here, still buffered
  if (auto* ahead = dynamic_cast<BufReader*>(&from)) {  // what it has first, then what is under it
    const auto step = static_cast<std::size_t>(std::min<std::uint64_t>(most, ahead->buffered()));
    if (step > 0) {
      const Result<void> written = write(ctx, ahead->content().first(step));
      ahead->consume(step);
      if (!written) {
        result.lost = step;
        return ended(written.error(), Copied::Side::kWriting);
      }
      result.bytes = step;
      unsent = used_ > 0 ? step : 0;
    }
    if (result.bytes < most && ahead->buffered() == 0) reader = &ahead->from_.reader();
  }

  Source source(*reader);
  while (result.bytes < most) {
    const std::uint64_t left = most == kAllBytes ? kAllBytes : most - result.bytes;
    if (used_ == 0 && kernel_copies(to_.writer(), *reader)) {
      Copied rest = copy_n(ctx, to_.writer(), *reader, left);
      rest.bytes += result.bytes;
      // Between two pieces, with nothing lost, a deadline or a context has ended this copy and not the stream.
      if (rest.failed == Copied::Side::kWriting && (rest.lost != 0 || (rest.error.code != Code::kTimeout && rest.error.code != Code::kCanceled))) failed_ = rest.error;
      return rest;
    }
    if (available() == 0) {
      if (const Result<void> flushed = flush(ctx); !flushed) {
        if (failed_) {  // else it is still here, and goes with the next flush
          result.bytes -= unsent;
          result.lost = unsent;
        }
        return ended(flushed.error(), Copied::Side::kWriting);
      }
      unsent = 0;
      continue;
    }
    const auto room = static_cast<std::size_t>(std::min<std::uint64_t>(left, available()));
    const Result<std::size_t> n =
        used_ == 0 ? source.read_into(ctx, buffer_, size_, room) : source.read(ctx, {buffer_.data() + used_, room});
    if (!n) return ended(n.error(), Copied::Side::kReading);
    if (*n == 0) break;
    used_ += *n;
    unsent += *n;
    result.bytes += *n;
  }
  return result;
}

Result<void> BufWriter::ready_for(const Context& ctx) const {
  if (failed_) return std::unexpected(*failed_);
  if (const std::optional<Error> end = end_of(ctx, "write")) return std::unexpected(*end);
  return {};
}

// What is buffered has gone out, or is lost (I3).
Result<void> BufWriter::settle(Result<void> written) noexcept {
  used_ = 0;
  buffer_.give_back();
  if (!written) failed_ = written.error();
  return written;
}

}  // namespace heddle::net
