#include <heddle/net/buf_reader.h>

#include <algorithm>
#include <cstring>

namespace heddle::net {

Result<std::size_t> BufReader::read(const Context& ctx, std::span<std::byte> buf) {
  if (buffered() == 0) {
    if (buf.empty() || buf.size() >= capacity_of(size_)) return from_.read(ctx, buf);
    const Result<bool> more = fill(ctx);
    if (!more) return std::unexpected(more.error());
  }
  return take_to(buf);
}

Result<std::size_t> BufReader::try_read(std::span<std::byte> buf) {
  if (buffered() == 0) return from_.try_read(buf);
  return take_to(buf);
}

Result<void> BufReader::wait_readable(const Context& ctx) {
  if (buffered() > 0) return {};
  return from_.wait_readable(ctx);
}

Result<std::size_t> BufReader::read_full(const Context& ctx, std::span<std::byte> buf) {
  std::size_t done = 0;
  while (done < buf.size()) {
    const Result<std::size_t> n = read(ctx, buf.subspan(done));
    if (!n) return n;
    if (*n == 0) break;
    done += *n;
  }
  return done;
}

Result<std::optional<std::byte>> BufReader::read_byte(const Context& ctx) {
  std::byte one;
  if (buffered() == 0) {
    const Result<bool> more = fill(ctx);
    if (!more) return std::unexpected(more.error());
  }
  if (take_to({&one, 1}) == 0) return std::nullopt;
  return one;
}

Result<std::span<const std::byte>> BufReader::peek(const Context& ctx, std::size_t n) {
  if (n > capacity_of(size_)) return std::unexpected(Error{Code::kLimit, 0, "peek"});
  while (buffered() < n) {
    const Result<bool> more = fill_more(ctx);
    if (!more) return std::unexpected(more.error());
    if (!*more) break;
  }
  if (buffered() == 0) return std::span<const std::byte>{};
  return content().first(std::min(n, buffered()));
}

Result<bool> BufReader::read_until(const Context& ctx, std::byte delimiter, std::string& text, std::size_t limit) {
  for (;;) {
    if (text.size() >= limit) return std::unexpected(Error{Code::kLimit, 0, "read_until"});
    if (buffered() == 0) {
      const Result<bool> more = fill(ctx);
      if (!more) return more;
      if (!*more) return false;
    }
    const std::size_t most = std::min(buffered(), limit - text.size());
    const std::byte* start = content().data();
    const void* found = std::memchr(start, std::to_integer<int>(delimiter), most);
    const std::size_t n =
        found == nullptr ? most : static_cast<std::size_t>(static_cast<const std::byte*>(found) - start) + 1;
    text.append(reinterpret_cast<const char*>(start), n);
    consume(n);
    if (found != nullptr) return true;
  }
}

Result<bool> BufReader::read_line(const Context& ctx, std::string& line, std::size_t limit) {
  line.clear();
  const Result<bool> ended = read_until(ctx, std::byte{'\n'}, line, limit);
  if (!ended) return ended;
  if (!*ended) return !line.empty();
  line.pop_back();
  if (!line.empty() && line.back() == '\r') line.pop_back();
  return true;
}

Result<std::uint64_t> BufReader::discard(const Context& ctx, std::uint64_t n) {
  std::uint64_t done = 0;
  while (done < n) {
    if (buffered() == 0) {
      const Result<bool> more = fill(ctx);
      if (!more) return std::unexpected(more.error());
      if (!*more) break;
    }
    const auto step = static_cast<std::size_t>(std::min<std::uint64_t>(n - done, buffered()));
    consume(step);
    done += step;
  }
  return done;
}

Copied BufReader::write_to(const Context& ctx, Writer& to, std::uint64_t most) {
  Copied result;
  while (buffered() > 0 && result.bytes < most) {
    const auto step = static_cast<std::size_t>(std::min<std::uint64_t>(most - result.bytes, buffered()));
    Sink sink(to);
    const Result<void> written = sink.write(ctx, content().first(step));
    consume(step);
    if (!written) {
      result.lost = step;
      result.error = written.error();
      result.failed = Copied::Side::kWriting;
      return result;
    }
    result.bytes += step;
  }
  if (result.bytes == most) return result;
  Copied rest = copy_n(ctx, to, from_.reader(), most == kAllBytes ? kAllBytes : most - result.bytes);
  rest.bytes += result.bytes;
  return rest;
}

void BufReader::consume(std::size_t n) noexcept {
  begin_ += n;
  if (begin_ < end_) return;
  begin_ = end_ = 0;
  buffer_.give_back();  // keeps I1
}

// Nothing is buffered: waits until something is. False: the stream has ended.
Result<bool> BufReader::fill(const Context& ctx) {
  const Result<std::size_t> n = from_.read_into(ctx, buffer_, size_, capacity_of(size_));
  if (!n) return std::unexpected(n.error());
  begin_ = 0;
  end_ = *n;
  return end_ > 0;
}

// Waits until more is buffered than is, and not all that a buffer has room for. False: the stream has ended.
Result<bool> BufReader::fill_more(const Context& ctx) {
  if (buffered() == 0) return fill(ctx);
  if (begin_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, buffered());
    end_ -= begin_;
    begin_ = 0;
  }
  const Result<std::size_t> n = from_.read(ctx, {buffer_.data() + end_, capacity_of(size_) - end_});
  if (!n) return std::unexpected(n.error());
  end_ += *n;
  return *n > 0;
}

std::size_t BufReader::take_to(std::span<std::byte> buf) noexcept {
  const std::size_t n = std::min(buffered(), buf.size());
  if (n == 0) return 0;
  std::memcpy(buf.data(), buffer_.data() + begin_, n);
  consume(n);
  return n;
}

}  // namespace heddle::net
