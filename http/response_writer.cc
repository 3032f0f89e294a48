#include <heddle/http/response_writer.h>

#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <functional>
#include <utility>

#include <heddle/http/body_filter.h>
#include <heddle/http/header.h>
#include <heddle/http/internal/chars.h>
#include <heddle/http/internal/output.h>
#include <heddle/http/internal/response_rules.h>
#include <heddle/http/internal/server_conn.h>
#include <heddle/http/internal/wall_clock.h>
#include <heddle/http/status.h>

namespace heddle::http {
namespace {

using namespace std::string_view_literals;

constexpr std::size_t kStatusLineMax = 64;
constexpr std::size_t kTailMax = 96;                  // Connection, framing, empty line
constexpr std::size_t kChunkMax = 16 + 4;             // size in hex, CR LF, and CR LF behind the data
constexpr std::size_t kSlack = kTailMax + kChunkMax;  // what a measured response may grow by when it becomes a stream
constexpr std::size_t kTrailerLine = kMaxTrailerNames + 11;  // "Trailer: …"
constexpr std::size_t kThrough = 4096;  // a write of this size is not copied into the buffer of a stream

char* put(char* to, std::string_view text) noexcept {
  if (!text.empty()) std::memcpy(to, text.data(), text.size());
  return to + text.size();
}

char* put_status_line(char* to, int status) noexcept {
  if (status == kStatusOk) [[likely]]
    return put(to, "HTTP/1.1 200 OK\r\n");
  to = put(to, "HTTP/1.1 ");
  to = std::to_chars(to, to + 3, status).ptr;
  *to++ = ' ';
  to = put(to, reason_phrase(status));
  return put(to, "\r\n");
}

// RFC 9110 s15.3.5, s15.3.6, s15.4.5: these carry no content, whatever the method.
bool allows_body(int status) noexcept { return status != 204 && status != 205 && status != 304; }

// std::less: a total order, also of pointers that have nothing to do with one another.
bool overlaps(std::string_view a, std::string_view b) noexcept {
  constexpr std::less<const char*> kBefore;
  return kBefore(a.data(), b.data() + b.size()) && kBefore(b.data(), a.data() + a.size());
}

}  // namespace

// ---- status and fields ----

Result<void> ResponseWriter::status(int code) {
  // A final status is never 1xx (RFC 9110 s15.2).
  if (started() || code < 200 || code > 599) return std::unexpected(refusal(Code::kInvalid));
  status_ = code;
  status_set_ = true;
  return {};
}

Result<void> ResponseWriter::set_header(std::string_view name, std::string_view value) {
  return put_field(name, value, true);
}

Result<void> ResponseWriter::add_header(std::string_view name, std::string_view value) {
  return put_field(name, value, false);
}

Result<void> ResponseWriter::remove_header(std::string_view name) {
  if (started()) return std::unexpected(refusal(Code::kInvalid));
  if (equal_fold(name, "content-length")) length_set_ = false;
  remove_field(name);
  return {};
}

std::optional<std::string_view> ResponseWriter::header(std::string_view name, std::size_t which) const noexcept {
  const std::string_view all = fields();
  for (std::size_t at = 0; at < all.size();) {
    const std::string_view line = all.substr(at, all.find("\r\n"sv, at) - at);
    at += line.size() + 2;
    if (line.size() <= name.size() || line[name.size()] != ':' || !equal_fold(line.substr(0, name.size()), name))
      continue;
    if (which-- == 0) return line.substr(name.size() + 2);
  }
  return std::nullopt;
}

std::optional<std::uint64_t> ResponseWriter::content_length() const noexcept {
  return length_set_ ? std::optional(length_) : std::nullopt;
}

Result<void> ResponseWriter::put_field(std::string_view name, std::string_view value, bool replace_old) {
  // Keeps I2.
  if (started() || !is_token(name) || !is_field_value(value)) return std::unexpected(refusal(Code::kInvalid));
  if (const std::string_view own = fields(); overlaps(own, name) || overlaps(own, value)) {
    return put_field(std::string(name), std::string(value), replace_old);  // what header() gave moves under our hands
  }
  if (belongs_to_server(name)) return std::unexpected(refusal(Code::kUnsupported));
  if (name.size() == 14 && equal_fold(name, "content-length")) return put_length(value);
  if (replace_old && !fields().empty()) remove_field(name);
  return append_field(name, value);
}

Result<void> ResponseWriter::put_length(std::string_view value) {
  std::uint64_t length = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), length);
  if (error != std::errc() || end != value.data() + value.size()) return std::unexpected(refusal(Code::kInvalid));
  length_ = length;
  length_set_ = true;
  return {};
}

std::string_view ResponseWriter::fields() const noexcept {
  return more_fields_.empty() ? std::string_view(inline_fields_, fields_size_) : std::string_view(more_fields_);
}

Result<void> ResponseWriter::append_field(std::string_view name, std::string_view value) {
  const std::size_t size = name.size() + value.size() + 4;
  if (fields().size() + size > kMaxResponseFields) return std::unexpected(refusal(Code::kLimit));
  if (more_fields_.empty() && fields_size_ + size <= kInlineFields) [[likely]] {
    char* to = inline_fields_ + fields_size_;
    to = put(to, name);
    to = put(to, ": ");
    to = put(to, value);
    put(to, "\r\n");
    fields_size_ += static_cast<std::uint32_t>(size);
    return {};
  }
  if (more_fields_.empty()) more_fields_.assign(inline_fields_, fields_size_);
  more_fields_.append(name).append(": ").append(value).append("\r\n");
  return {};
}

void ResponseWriter::remove_field(std::string_view name) {
  std::string_view all = fields();
  for (std::size_t at = 0; at < all.size();) {
    const std::size_t end = all.find("\r\n"sv, at) + 2;
    if (all.size() - at <= name.size() || all[at + name.size()] != ':' ||
        !equal_fold(all.substr(at, name.size()), name)) {
      at = end;
      continue;
    }
    if (more_fields_.empty()) {
      std::memmove(inline_fields_ + at, inline_fields_ + end, fields_size_ - end);
      fields_size_ -= static_cast<std::uint32_t>(end - at);
    } else {
      more_fields_.erase(at, end - at);
      if (more_fields_.empty()) fields_size_ = 0;
    }
    all = fields();
  }
}

void ResponseWriter::put_fields(std::string_view all) {
  more_fields_.clear();
  fields_size_ = 0;
  if (all.size() > kInlineFields) {
    more_fields_ = all;
  } else {
    put(inline_fields_, all);
    fields_size_ = static_cast<std::uint32_t>(all.size());
  }
}

// Room that a response must keep until its framing is settled.
std::size_t ResponseWriter::slack() const noexcept { return trailers_ == nullptr ? kSlack : kSlack + kTrailerLine; }

// ---- starting over ----

ResponseWriter::Mark ResponseWriter::mark() const {
  Mark mark;
  mark.fields_ = fields();
  if (trailers_ != nullptr) mark.trailers_ = *trailers_;
  mark.length_ = length_;
  mark.status_ = status_;
  mark.status_set_ = status_set_;
  mark.length_set_ = length_set_;
  mark.started_ = started();
  return mark;
}

bool ResponseWriter::rewind(const Mark& mark) {
  if (committed_ || mark.started_) return false;
  auto trailers = mark.trailers_ ? std::make_unique<Trailers>(*mark.trailers_) : nullptr;
  put_fields(mark.fields_);  // this line and the one above may throw
  trailers_ = std::move(trailers);
  for (BodyFilter* filter = filter_; filter != nullptr; filter = filter->outer_) {
    if (filter->began_) filter->forget();
    filter->began_ = filter->passes_ = false;
  }
  if (mode_ != Mode::kNothing) out_.drop_current();
  mode_ = Mode::kNothing;
  cut_ = false;
  written_ = 0;
  length_ = mark.length_;
  status_ = mark.status_;
  status_set_ = mark.status_set_;
  length_set_ = mark.length_set_;
  return true;
}

// ---- the body ----

bool ResponseWriter::started() const noexcept {
  return mode_ != Mode::kNothing || (filter_ != nullptr && filter_->began_);
}

// To the filter, for which the writer is then what is outside of it (F1 of body_filter.h).
template <class Call>
Result<void> ResponseWriter::through_filter(Call call) {
  struct Restore {
    ResponseWriter& writer;
    BodyFilter* filter;
    ~Restore() { writer.filter_ = filter; }
  } const restore{*this, std::exchange(filter_, filter_->outer_)};
  restore.filter->began_ = true;
  return call(*restore.filter);
}

Result<void> ResponseWriter::write(std::string_view bytes) {
  if (filter_ != nullptr) [[unlikely]]
    return through_filter([&](BodyFilter& filter) { return filter.write(*this, bytes); });
  if (mode_ == Mode::kNothing && !begin(bytes.size())) return failure("http write");
  switch (mode_) {
    case Mode::kNothing: break;
    case Mode::kTaken: return std::unexpected(refusal(Code::kInvalid));
    case Mode::kNoBody:
      if (bytes.empty()) return {};
      return std::unexpected(refusal(Code::kInvalid));
    case Mode::kMeasured:
      if (out_.failed()) return failure("http write");
      if (!head_only_ && bytes.size() + slack() > out_.room() && !out_.make_room(bytes.size() + slack())) {
        if (!to_stream() || !stream(bytes)) return failure("http write");
        return {};
      }
      written_ += bytes.size();
      if (!head_only_) out_.append(bytes.data(), bytes.size());
      return {};
    case Mode::kFixed:
      if (bytes.size() > length_ - written_) return std::unexpected(refusal(Code::kInvalid));
      if (!write_fixed(bytes)) return failure("http write");
      return {};
    case Mode::kChunked:
    case Mode::kUntilClose:
      if (!stream(bytes)) return failure("http write");
      return {};
  }
  return failure("http write");
}

Result<void> ResponseWriter::flush() {
  if (filter_ != nullptr) [[unlikely]]
    return through_filter([&](BodyFilter& filter) { return filter.flush(*this); });
  if (mode_ == Mode::kTaken) return std::unexpected(refusal(Code::kInvalid));
  if (mode_ == Mode::kNothing && !begin(0)) return failure("http flush");
  if (mode_ == Mode::kMeasured && !to_stream()) return failure("http flush");
  commit();
  if (!out_.flush()) return failure("http flush");
  return {};
}

Result<void> ResponseWriter::enable_full_duplex() {
  if (mode_ == Mode::kTaken) return std::unexpected(refusal(Code::kInvalid));
  if (!conn_.split_reading()) return failure("http full duplex");
  return flush();
}

// Writes the head, with `guess` as the length of a body that the handler has not announced.
bool ResponseWriter::begin(std::uint64_t guess) {
  const std::string_view own = fields();
  if (status_ / 100 == 2 && conn_.exchange().head.method == Method::kConnect) [[unlikely]]
    status_ = kStatusNotImplemented;  // whoever answers does not know what was asked: see tunnel()
  if (!out_.make_room(kStatusLineMax + kDateLineSize + own.size() + slack())) return false;
  if (!allows_body(status_)) {
    mode_ = Mode::kNoBody;
  } else if (length_set_) {
    mode_ = Mode::kFixed;
  } else {
    mode_ = Mode::kMeasured;
    length_ = guess;
  }
  close_ = said_close_ = close_ || conn_.must_close();
  char* const start = out_.tail();
  char* to = put_status_line(start, status_);
  to = put_date_line(to);
  to = put(to, own);
  tail_at_ = static_cast<std::uint32_t>(to - start);
  to = put_tail(to, mode_, length_);
  body_at_ = static_cast<std::uint32_t>(to - start);
  out_.advance(body_at_);
  return true;
}

// The fields that are the server's, and the empty line.
char* ResponseWriter::put_tail(char* to, Mode mode, std::uint64_t length) const noexcept {
  if (close_ || mode == Mode::kUntilClose) {
    to = put(to, "Connection: close\r\n");
  } else if (http10_) {
    to = put(to, "Connection: keep-alive\r\n");
  }
  switch (mode) {
    case Mode::kNothing:
    case Mode::kTaken:
    case Mode::kUntilClose: break;
    case Mode::kNoBody:
      // No length with 204 (RFC 9110 s8.6); 205 says that there is nothing (s15.3.6); 304 only what the handler knows
      // of the representation that it does not send.
      if (status_ == 205) to = put(to, "Content-Length: 0\r\n");
      if (status_ != 304 || !length_set_) break;
      [[fallthrough]];
    case Mode::kMeasured:
    case Mode::kFixed:
      to = put(to, "Content-Length: ");
      to = std::to_chars(to, to + 20, length).ptr;
      to = put(to, "\r\n");
      break;
    case Mode::kChunked:
      to = put(to, "Transfer-Encoding: chunked\r\n");
      if (trailers_ != nullptr && !trailers_->names.empty())
        to = put(put(put(to, "Trailer: "), trailers_->names), "\r\n");  // RFC 9110 s6.6.2
      break;
  }
  return put(to, "\r\n");
}

// Replaces the tail of a head that is not committed, `behind` put between it and the body.
bool ResponseWriter::rewrite_tail(Mode mode, std::uint64_t length, std::string_view behind) {
  std::array<char, kSlack + kTrailerLine> tail;
  char* end = put_tail(tail.data(), mode, length);
  end = put(end, behind);
  const auto size = static_cast<std::size_t>(end - tail.data());
  const std::size_t old = body_at_ - tail_at_;
  if (size > old && !out_.make_room(size - old)) return false;
  char* const at = out_.current() + tail_at_;
  const std::size_t body = out_.current_size() - body_at_;
  if (size != old) std::memmove(at + size, at + old, body);
  std::memcpy(at, tail.data(), size);
  out_.advance(size - old);  // may be negative: unsigned arithmetic wraps to the same
  body_at_ = tail_at_ + static_cast<std::uint32_t>(size);
  return true;
}

// A measured response becomes a stream: what is in the buffer is its first chunk.
bool ResponseWriter::to_stream() {
  if (out_.failed()) return false;
  const Mode mode = http10_ ? Mode::kUntilClose : Mode::kChunked;
  if (mode == Mode::kUntilClose) close_ = true;
  const std::size_t body = out_.current_size() - body_at_;
  std::array<char, kChunkMax> size_line;
  char* end = size_line.data();
  const bool chunk = mode == Mode::kChunked && body != 0;
  if (chunk) end = put(std::to_chars(end, end + 16, body, 16).ptr, "\r\n");
  if (!rewrite_tail(mode, 0, {size_line.data(), static_cast<std::size_t>(end - size_line.data())})) return false;
  if (chunk) {
    if (!out_.make_room(2)) return false;
    out_.append("\r\n", 2);
  }
  mode_ = mode;
  commit();
  return true;
}

bool ResponseWriter::stream(std::string_view bytes) {
  if (out_.failed()) return false;
  written_ += bytes.size();
  if (head_only_ || bytes.empty()) return true;
  const bool chunked = mode_ == Mode::kChunked;
  std::array<char, kChunkMax> size_line;
  char* end = size_line.data();
  if (chunked) end = put(std::to_chars(end, end + 16, bytes.size(), 16).ptr, "\r\n");
  const auto size = static_cast<std::size_t>(end - size_line.data());
  if (bytes.size() < kThrough && out_.make_room(bytes.size() + kChunkMax)) {
    out_.append(size_line.data(), size);
    out_.append(bytes.data(), bytes.size());
    if (chunked) out_.append("\r\n", 2);
    commit();
    return true;
  }
  static constexpr char kCrLf[] = {'\r', '\n'};
  const iovec parts[] = {{size_line.data(), size},
                         {const_cast<char*>(bytes.data()), bytes.size()},
                         {const_cast<char*>(kCrLf), chunked ? sizeof(kCrLf) : 0}};
  return out_.flush_with(parts);
}

bool ResponseWriter::write_fixed(std::string_view bytes) {
  if (out_.failed()) return false;
  written_ += bytes.size();
  if (head_only_ || bytes.empty()) return true;
  const bool small = bytes.size() < kThrough || (!committed_ && bytes.size() <= out_.room());
  if (small && out_.make_room(bytes.size())) {
    out_.append(bytes.data(), bytes.size());
    if (committed_) commit();
    return true;
  }
  commit();
  const iovec part{const_cast<char*>(bytes.data()), bytes.size()};
  return out_.flush_with({&part, 1});
}

std::uint64_t ResponseWriter::send_file(int file, std::uint64_t offset, std::uint64_t size) {
  for (const BodyFilter* filter = filter_; filter != nullptr; filter = filter->outer_) {
    if (!filter->passes_) return 0;
  }
  if (mode_ != Mode::kFixed || head_only_ || size > length_ - written_ || out_.failed()) return 0;
  commit();
  const std::uint64_t sent = out_.flush_with_file(file, offset, size);
  written_ += sent;
  return sent;
}

void ResponseWriter::commit() noexcept {
  // What close_connection() has decided since the head was made. Other heads are made anew when they are committed.
  const bool made_once = mode_ == Mode::kFixed || mode_ == Mode::kNoBody;
  if (close_ && !said_close_ && !committed_ && made_once) [[unlikely]]
    said_close_ = rewrite_tail(mode_, length_, {});  // without room for it, it goes unsaid
  committed_ = true;
  conn_.note_committed();
  out_.commit();
}

bool ResponseWriter::finish() {
  if (cut_) [[unlikely]] {
    if (!committed_) out_.drop_current();
    return false;
  }
  if (mode_ == Mode::kTaken) return false;  // the connection ends here
  if (mode_ == Mode::kNothing && !begin(0)) return false;
  if (out_.failed()) return false;
  if (mode_ == Mode::kMeasured && trailers_ != nullptr && !to_stream()) return false;
  switch (mode_) {
    case Mode::kMeasured:
      if ((written_ != length_ || close_ != said_close_) && !rewrite_tail(Mode::kMeasured, written_, {})) return false;
      break;
    case Mode::kFixed: commit(); return written_ == length_ || head_only_;
    case Mode::kChunked:
      if (!head_only_) {
        const std::string_view lines = trailers_ == nullptr ? std::string_view() : trailers_->lines;
        if (!out_.make_room(5 + lines.size())) return false;
        out_.append("0\r\n", 3);
        out_.append(lines.data(), lines.size());
        out_.append("\r\n", 2);
      }
      break;
    case Mode::kNothing:
    case Mode::kTaken:
    case Mode::kUntilClose:
    case Mode::kNoBody: break;
  }
  commit();
  return true;
}

bool ResponseWriter::replace(int code) {
  if (committed_) return false;
  filter_ = nullptr;
  if (started()) out_.drop_current();
  mode_ = Mode::kNothing;
  status_ = code;
  length_set_ = false;
  written_ = 0;
  fields_size_ = 0;
  more_fields_.clear();
  trailers_.reset();
  static_cast<void>(set_header("Content-Type", "text/plain; charset=utf-8"));
  std::array<char, kStatusLineMax> text;
  char* end = put(std::to_chars(text.data(), text.data() + 3, code).ptr, " ");
  end = put(put(end, reason_phrase(code)), "\n");
  static_cast<void>(write({text.data(), static_cast<std::size_t>(end - text.data())}));
  return true;
}

Result<void> ResponseWriter::failure(const char* op) const {
  if (out_.failed()) return std::unexpected(out_.error());
  return std::unexpected(Error{Code::kLimit, 0, op});
}

}  // namespace heddle::http
