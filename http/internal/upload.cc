#include <heddle/http/internal/upload.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <mutex>

#include <heddle/core/go.h>

namespace heddle::http {
namespace {

constexpr std::size_t kPiece = 64 * 1024;
constexpr std::size_t kReadPiece = 16 * 1024;
constexpr std::size_t kChunkHead = 18;  // 16 hex digits, CR LF
// A source that says it gave more than there was room for: what lies behind the room is not its, and never sent.
constexpr Error kOverfull{Code::kInvalid, 0, "http: request body"};

std::span<const std::byte> bytes_of(std::string_view text) noexcept { return std::as_bytes(std::span(text)); }

}  // namespace

TimePoint deadline_after(Duration d) noexcept {
  if (d <= Duration::zero()) return kNoDeadline;
  const std::int64_t when = nanos_after(nanotime(), d);
  return when == kNever ? kNoDeadline : TimePoint(Duration(when));
}

Result<void> write_within(ClientConn& conn, const Context& ctx, std::span<const std::byte> bytes, Duration timeout) {
  while (!bytes.empty()) {
    const std::size_t n = std::min(bytes.size(), kPiece);
    conn.transport->set_write_deadline(deadline_after(timeout));
    if (Result<void> written = conn.transport->write(ctx, bytes.first(n)); !written) return written;
    bytes = bytes.subspan(n);
  }
  return {};
}

void Upload::start() {
  go({.name = "http client upload"}, [self = shared_from_this()] { self->finish(self->send()); });
}

Upload::State Upload::state() {
  std::lock_guard guard(lock_);
  return state_;
}

Error Upload::failure(bool* source) {
  std::lock_guard guard(lock_);
  *source = source_failed_;
  return error_;
}

void Upload::head_came() {
  std::lock_guard guard(lock_);
  head_awaited_ = false;
}

Result<void> Upload::send() {
  if (body_.text() != nullptr) return send_text(*body_.text());
  const Result<std::shared_ptr<net::Reader>> reader = body_.open();
  if (!reader) return source_failed(reader.error());
  if (*reader == nullptr) return source_failed({Code::kInvalid, 0, "http: request body"});
  return body_.length() ? send_fixed(**reader, *body_.length()) : send_chunked(**reader);
}

Result<void> Upload::send_text(std::string_view text) {
  while (text.size() > kPiece) {
    if (Result<void> written = write(bytes_of(text.substr(0, kPiece)), false); !written) return written;
    text.remove_prefix(kPiece);
  }
  return write(bytes_of(text), true);
}

Result<void> Upload::send_fixed(net::Reader& reader, std::uint64_t length) {
  const auto buffer = std::make_unique_for_overwrite<std::byte[]>(kReadPiece);
  while (length > 0) {
    const auto most = static_cast<std::size_t>(std::min<std::uint64_t>(length, kReadPiece));
    const Result<std::size_t> n = reader.read({buffer.get(), most});
    if (!n) return source_failed(n.error());
    if (*n > most) return source_failed(kOverfull);
    if (*n == 0) return source_failed({Code::kEof, 0, "http: request body"});  // keeps I1
    length -= *n;
    if (Result<void> written = write({buffer.get(), *n}, length == 0); !written) return written;
  }
  return {};
}

Result<void> Upload::send_chunked(net::Reader& reader) {
  const auto buffer = std::make_unique_for_overwrite<std::byte[]>(kChunkHead + kReadPiece + 2);
  std::byte* const data = buffer.get() + kChunkHead;
  for (;;) {
    const Result<std::size_t> n = reader.read({data, kReadPiece});
    if (!n) return source_failed(n.error());
    if (*n > kReadPiece) return source_failed(kOverfull);
    if (*n == 0) return send_last_chunk();
    // The size stands right before the data, so that a chunk is one write.
    std::array<char, 16> digits;
    const char* const end = std::to_chars(digits.data(), digits.data() + digits.size(), *n, 16).ptr;
    const auto size = static_cast<std::size_t>(end - digits.data());
    std::byte* const at = data - size - 2;
    std::memcpy(at, digits.data(), size);
    std::memcpy(data - 2, "\r\n", 2);
    std::memcpy(data + *n, "\r\n", 2);
    if (Result<void> written = write({at, size + 2 + *n + 2}, false); !written) return written;
  }
}

// RFC 9112 s7.1.2.
Result<void> Upload::send_last_chunk() {
  std::string last = "0\r\n";
  if (const RequestBody::Trailers* const trailers = body_.trailers()) {
    for (const Fields::Field& f : trailers->make()) {
      const auto same = [&f](const std::string& name) { return equal_fold(name, f.name); };
      if (std::ranges::none_of(trailers->names, same))
        return source_failed({Code::kInvalid, 0, "http: request trailers"});
      last.append(f.name).append(": ").append(f.value).append("\r\n");
    }
  }
  last.append("\r\n");
  return write(bytes_of(last), true);
}

Result<void> Upload::write(std::span<const std::byte> bytes, bool last) {
  if (last) {
    std::lock_guard guard(lock_);
    state_ = State::kLastPiece;
  }
  return write_within(*conn_, ctx_, bytes, write_timeout_);
}

std::unexpected<Error> Upload::source_failed(Error why) {
  {
    std::lock_guard guard(lock_);
    source_failed_ = true;
    error_ = why;
  }
  conn_->close();  // keeps I1
  return std::unexpected(why);
}

void Upload::finish(const Result<void>& sent) {
  {
    std::lock_guard guard(lock_);
    state_ = sent ? State::kSent : State::kFailed;
    if (!sent) error_ = sent.error();
    // Also after a failed write: the server may have answered, and gone.
    if (head_awaited_) conn_->transport->set_read_deadline(deadline_after(header_timeout_));
  }
  // A server that takes nothing gets no time to answer; one that has closed may have answered.
  if (!sent && sent.error().code == Code::kTimeout) conn_->close();
  if (trace_ != nullptr && trace_->wrote_request) trace_->wrote_request(sent ? Error{} : sent.error());
  ended_.close();
}

}  // namespace heddle::http
