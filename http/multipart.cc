#include <heddle/http/multipart.h>

#include <string.h>

#include <algorithm>
#include <array>
#include <cstring>

#include <heddle/http/header.h>
#include <heddle/http/internal/chars.h>
#include <heddle/http/internal/media_type.h>
#include <heddle/http/request.h>

namespace heddle::http {
namespace {

constexpr std::size_t kWindow = 16 * 1024;

Error error_of(Code code) { return Error{code, 0, "read multipart"}; }
std::unexpected<Error> refuse(Code code = Code::kProtocol) { return std::unexpected(error_of(code)); }

// RFC 2046 s5.1.1: bchars.
bool is_boundary(std::string_view text) noexcept {
  return !text.empty() && text.size() <= 70 && text.back() != ' ' && std::ranges::all_of(text, [](char c) {
    const char l = chars::lower(c);
    return (l >= 'a' && l <= 'z') || chars::is(c, chars::kDigit) ||
           std::string_view("'()+_,-./:=? ").find(c) != std::string_view::npos;
  });
}

// Where `delimiter` begins in `window`; its size if nowhere, less what may be a delimiter's beginning. Linear.
std::size_t find_delimiter(std::string_view window, std::string_view delimiter, bool& found) noexcept {
  const void* const at = ::memmem(window.data(), window.size(), delimiter.data(), delimiter.size());
  found = at != nullptr;
  if (found) return static_cast<std::size_t>(static_cast<const char*>(at) - window.data());
  // A delimiter has one CR, at its front: so only what begins at the last one can still become it.
  const std::size_t cr = window.rfind('\r');
  const bool held = cr != std::string_view::npos && delimiter.starts_with(window.substr(cr));
  return held ? cr : window.size();
}

std::string base_name(std::string_view name) {
  name.remove_prefix(name.find_last_of("/\\") + 1);  // npos + 1 is 0
  return name == "." || name == ".." ? std::string() : std::string(name);
}

}  // namespace

Result<MultipartReader> MultipartReader::open(Request& request, const MultipartLimits& limits) {
  std::optional<std::string_view> type = http::content_type(request);
  if (!type || !equal_fold(cut_essence(*type), "multipart/form-data")) return refuse(Code::kUnsupported);
  std::optional<std::string> boundary;
  for (;;) {
    std::string_view name;
    std::string value;
    const ParameterStatus status = next_parameter(*type, name, value);
    if (status == ParameterStatus::kEnd) break;
    if (status == ParameterStatus::kBroken) return refuse();
    if (!equal_fold(name, "boundary")) continue;
    if (boundary) return refuse();
    boundary = std::move(value);
  }
  if (!boundary || !is_boundary(*boundary)) return refuse();
  return MultipartReader([&request](std::span<std::byte> buf) { return request.read(buf); }, *boundary, limits);
}

MultipartReader::MultipartReader(Source source, std::string_view boundary, const MultipartLimits& limits)
    : source_(std::move(source)),
      delimiter_("\r\n--" + std::string(boundary)),
      limits_(limits),
      // A line of fields lies in the window whole, with its end; so does a delimiter.
      capacity_(std::max(kWindow, limits.max_header_bytes + 2 + delimiter_.size())),
      buffer_(std::make_unique_for_overwrite<char[]>(capacity_)) {
  // The first delimiter stands at the very front, or behind a preamble's CRLF: as if there always were one.
  std::memcpy(buffer_.get(), "\r\n", 2);
  end_ = 2;
}

Result<bool> MultipartReader::next() {
  if (state_ == State::kFailed) return std::unexpected(error_);
  if (state_ == State::kEnded) return false;
  const Result<bool> more = advance();
  if (!more) return fail(more.error());
  state_ = *more ? State::kData : State::kEnded;
  return more;
}

Result<std::size_t> MultipartReader::read(std::span<std::byte> buf) {
  if (state_ == State::kFailed) return std::unexpected(error_);
  if (state_ != State::kData || buf.empty()) return 0;
  const Result<std::size_t> n = take(buf);
  if (!n) return fail(n.error());
  part_.size += *n;
  if (part_.size > limits_.max_part_bytes) return fail(error_of(Code::kLimit));
  return n;
}

std::optional<std::string_view> MultipartReader::header(std::string_view field) const noexcept {
  for (const auto& [name, value] : part_.fields) {
    if (equal_fold(name, field)) return value;
  }
  return std::nullopt;
}

// From wherever it stands to the next part's data; false at the form's end.
Result<bool> MultipartReader::advance() {
  if (const Result<void> skipped = skip_data(); !skipped) return std::unexpected(skipped.error());
  while (window().size() < 2) {
    const Result<bool> more = fill();
    if (!more) return more;
    if (!*more) return refuse();
  }
  part_ = {};
  if (window().starts_with("--")) {
    begin_ += 2;
    if (const Result<void> skipped = skip_epilogue(); !skipped) return std::unexpected(skipped.error());
    return false;
  }
  const Result<std::string_view> padding = line(limits_.max_header_bytes);
  if (!padding) return std::unexpected(padding.error());
  if (!trim_blanks(*padding).empty()) return refuse();  // keeps I1
  if (++parts_ > limits_.max_parts) return refuse(Code::kLimit);
  if (const Result<void> fields = read_fields(); !fields) return std::unexpected(fields.error());
  // A part without data may leave out the second CRLF: then that of the empty line is the delimiter's.
  begin_ -= 2;
  while (window().size() < delimiter_.size() && delimiter_.starts_with(window())) {
    const Result<bool> more = fill();
    if (!more) return more;
    if (!*more) return refuse();
  }
  if (!window().starts_with(delimiter_)) begin_ += 2;
  return true;
}

// To behind the next delimiter.
Result<void> MultipartReader::skip_data() {
  const bool preamble = state_ == State::kPreamble;
  const std::uint64_t limit = preamble ? limits_.max_outside_bytes : limits_.max_part_bytes;
  std::array<std::byte, 4096> scratch;
  while (state_ != State::kDelimiter) {
    const Result<std::size_t> n = take(scratch);
    if (!n) return std::unexpected(n.error());
    part_.size += *n;
    if (part_.size > limit) return refuse(Code::kLimit);
  }
  return {};
}

// Behind "--": blanks, then the end, or CRLF and anything.
Result<void> MultipartReader::skip_epilogue() {
  enum { kPadding, kBehindCr, kEpilogue } at = kPadding;
  std::size_t passed = 0;
  for (;;) {
    // What lies behind the limit is not judged: which of two things is wrong must not depend on the reads. Keeps I2.
    for (const char c : window().substr(0, limits_.max_outside_bytes - passed)) {
      if (at == kEpilogue) break;
      if (at == kBehindCr) {
        if (c != '\n') return refuse();
        at = kEpilogue;
      } else if (c == '\r') {
        at = kBehindCr;
      } else if (c != ' ' && c != '\t') {
        return refuse();
      }
    }
    passed += window().size();
    if (passed > limits_.max_outside_bytes) return refuse(Code::kLimit);
    begin_ = end_;
    const Result<bool> more = fill();
    if (!more) return std::unexpected(more.error());
    if (!*more) break;
  }
  if (at == kBehindCr) return refuse();
  return {};
}

// Data into `to`; 0 when the delimiter behind it was passed. Keeps I2.
Result<std::size_t> MultipartReader::take(std::span<std::byte> to) {
  while (clear_ == 0) {
    bool found = false;
    clear_ = find_delimiter(window(), delimiter_, found);
    if (found && clear_ == 0) {
      begin_ += delimiter_.size();
      state_ = State::kDelimiter;
      return 0;
    }
    if (clear_ != 0) break;
    const Result<bool> more = fill();
    if (!more) return std::unexpected(more.error());
    if (!*more) return refuse();  // keeps I3
  }
  const std::size_t n = std::min(clear_, to.size());
  std::memcpy(to.data(), buffer_.get() + begin_, n);
  begin_ += n;
  clear_ -= n;
  return n;
}

Result<void> MultipartReader::read_fields() {
  std::size_t left = limits_.max_header_bytes;
  for (;;) {
    const Result<std::string_view> text = line(left);
    if (!text) return std::unexpected(text.error());
    if (text->empty()) return check_fields();
    left -= std::min(left, text->size() + 2);
    const std::size_t colon = text->find(':');
    if (colon == std::string_view::npos) return refuse();
    const std::string_view name = text->substr(0, colon);
    const std::string_view value = trim_blanks(text->substr(colon + 1));
    // A folded line has no name that is a token.
    if (!is_token(name) || !is_field_value(value)) return refuse();
    part_.fields.emplace_back(name, value);
  }
}

Result<void> MultipartReader::check_fields() {
  std::optional<std::string_view> disposition;
  bool type = false;
  bool encoding = false;
  for (const auto& [name, value] : part_.fields) {
    if (equal_fold(name, "Content-Disposition")) {
      if (disposition) return refuse();
      disposition = value;
    } else if (equal_fold(name, "Content-Type")) {
      if (std::exchange(type, true)) return refuse();
    } else if (equal_fold(name, "Content-Transfer-Encoding")) {
      if (std::exchange(encoding, true)) return refuse();
      if (!equal_fold(value, "binary") && !equal_fold(value, "8bit") && !equal_fold(value, "7bit"))
        return refuse(Code::kUnsupported);
    }
  }
  if (!disposition) return refuse();
  return read_disposition(*disposition);
}

// RFC 7578 s4.2.
Result<void> MultipartReader::read_disposition(std::string_view value) {
  if (!equal_fold(cut_essence(value), "form-data")) return refuse();
  bool named = false;
  for (;;) {
    std::string_view parameter;
    std::string text;
    const ParameterStatus status = next_parameter(value, parameter, text);
    if (status == ParameterStatus::kEnd) break;
    if (status == ParameterStatus::kBroken) return refuse();
    if (equal_fold(parameter, "name")) {
      if (std::exchange(named, true)) return refuse();
      part_.name = std::move(text);
    } else if (equal_fold(parameter, "filename")) {
      if (part_.filename) return refuse();
      part_.filename = base_name(text);
    }
  }
  if (!named) return refuse();
  return {};
}

// The next line without its CRLF, of at most `limit` bytes; it is taken off the window, and holds until fill().
Result<std::string_view> MultipartReader::line(std::size_t limit) {
  std::size_t from = 0;
  for (;;) {
    const std::size_t end = window().find("\r\n", from);
    if (end != std::string_view::npos ? end > limit : window().size() > limit + 1) return refuse(Code::kLimit);
    if (end != std::string_view::npos) {
      const std::string_view text = window().substr(0, end);
      begin_ += end + 2;
      return text;
    }
    from = window().empty() ? 0 : window().size() - 1;
    const Result<bool> more = fill();
    if (!more) return std::unexpected(more.error());
    if (!*more) return refuse();
  }
}

// Reads more behind the window, which has room by what its callers hold back at most; false at the source's end.
Result<bool> MultipartReader::fill() {
  std::memmove(buffer_.get(), buffer_.get() + begin_, end_ - begin_);
  end_ -= begin_;
  begin_ = 0;
  const Result<std::size_t> n = source_(std::as_writable_bytes(std::span(buffer_.get() + end_, capacity_ - end_)));
  if (!n) return std::unexpected(n.error());
  end_ += *n;
  return *n != 0;
}

std::unexpected<Error> MultipartReader::fail(const Error& error) {
  state_ = State::kFailed;
  error_ = error;
  return std::unexpected(error);
}

}  // namespace heddle::http
