#include <heddle/http/internal/response_parser.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>

#include <heddle/http/internal/chars.h>
#include <heddle/http/internal/trailer_rules.h>
#include <heddle/http/status.h>

namespace heddle::http {
namespace {

constexpr Error kBadHead{Code::kProtocol, 0, "read response"};
constexpr Error kHeadTooLarge{Code::kLimit, 0, "read response"};
constexpr std::string_view kVersion = "HTTP/1.";
constexpr std::size_t kLineEnd = 2;       // CR LF
constexpr std::uint8_t kSizeDigits = 16;  // of a chunk's size: all that 64 bits can have

std::uint32_t narrow(std::size_t n) noexcept { return static_cast<std::uint32_t>(n); }

// RFC 9112 s4: HTTP-version SP status-code [SP reason-phrase]. A missing blank before an empty reason is common, and has one
// reading.
bool parse_status_line(std::string_view line, ResponseHead& head) noexcept {
  if (line.size() < 12 || !line.starts_with(kVersion) || !chars::is(line[7], chars::kDigit) || line[8] != ' ')
    return false;
  if (!chars::all(line.substr(9, 3), chars::kDigit) || line[9] == '0') return false;
  head.minor = line[7] - '0';
  head.status = (line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0');
  if (line.size() == 12) return true;
  if (line[12] != ' ' || !chars::all(line.substr(13), chars::kValue)) return false;
  head.reason_at = 13;
  head.reason_size = narrow(line.size() - 13);
  return true;
}

// One line of `text` that begins at `at` and has `size` bytes, as a field (RFC 9112 s5).
bool parse_field(std::string_view text, std::size_t at, std::size_t size, std::vector<HeaderList::Ref>& refs) {
  const std::string_view line = text.substr(at, size);
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos || !is_token(line.substr(0, colon))) return false;  // also a folded line
  const std::string_view rest = line.substr(colon + 1);
  if (!chars::all(rest, chars::kValue)) return false;
  const std::string_view value = trim_blanks(rest);
  const std::size_t value_at = value.empty() ? at + colon + 1 : static_cast<std::size_t>(value.data() - text.data());
  refs.push_back({narrow(at), narrow(value_at), narrow(value.size()), narrow(colon)});
  return true;
}

std::optional<std::uint64_t> parse_length(std::string_view text) noexcept {
  if (text.empty() || !chars::all(text, chars::kDigit)) return std::nullopt;
  std::uint64_t n = 0;
  for (const char c : text) {
    if (__builtin_mul_overflow(n, 10U, &n) || __builtin_add_overflow(n, static_cast<unsigned>(c - '0'), &n))
      return std::nullopt;
  }
  return n;
}

bool has_element(std::string_view list, std::string_view wanted) noexcept {
  while (!list.empty()) {
    if (equal_fold(next_element(list), wanted)) return true;
  }
  return false;
}

// RFC 9112 s6.3, with I1's refusals.
bool decide_framing(std::string_view text, Method method, ResponseHead& head) {
  bool chunked = false;
  bool close = false;
  bool keep = false;
  for (const HeaderField f : HeaderList(text.data(), head.refs.data(), head.refs.size())) {
    if (equal_fold(f.name, "Content-Length")) {
      const std::optional<std::uint64_t> n = parse_length(f.value);
      if (!n || head.has_length) return false;
      head.has_length = true;
      head.announced = *n;
    } else if (equal_fold(f.name, "Transfer-Encoding")) {
      if (chunked || !equal_fold(f.value, "chunked")) return false;
      chunked = true;
    } else if (equal_fold(f.name, "Connection")) {
      close = close || has_element(f.value, "close");
      keep = keep || has_element(f.value, "keep-alive");
    }
  }
  if (method == Method::kConnect && head.status / 100 == 2) {
    head.framing = ResponseFraming::kTunnel;  // RFC 9110 s9.3.6: whatever length is announced, there is none
    return true;
  }
  if (chunked && (head.has_length || head.minor == 0)) return false;
  head.keep_alive = !close && (head.minor >= 1 || keep);
  const bool informational = head.status < 200;
  if (head.status == 101) {
    if (chunked || (head.has_length && head.announced != 0)) return false;  // s6.1, RFC 9110 s8.6: there must be none
    head.framing = ResponseFraming::kTunnel;
    head.keep_alive = false;
  } else if (informational || head.status == kStatusNoContent) {
    if (chunked || (head.has_length && head.announced != 0)) return false;  // as above: who sends that means a body
    head.framing = ResponseFraming::kNone;
  } else if (method == Method::kHead || head.status == kStatusNotModified) {
    head.framing = ResponseFraming::kNone;
  } else if (chunked) {
    head.framing = ResponseFraming::kChunked;
  } else if (head.has_length) {
    head.framing = ResponseFraming::kFixed;
    head.length = head.announced;
  } else {
    head.framing = ResponseFraming::kUntilClose;
    head.keep_alive = false;
  }
  return true;
}

// `text` begins with no LF.
bool has_bare_lf(std::string_view text, std::size_t from) noexcept {
  for (std::size_t i = text.find('\n', from); i != std::string_view::npos; i = text.find('\n', i + 1)) {
    if (text[i - 1] != '\r') return true;
  }
  return false;
}

}  // namespace

Result<std::size_t> parse_response_head(std::string_view bytes, std::size_t& seen, Method method,
                                        const ResponseLimits& limits, ResponseHead& head) {
  // keeps I3
  if (bytes.substr(0, kVersion.size()) != kVersion.substr(0, bytes.size())) return std::unexpected(kBadHead);
  const std::string_view window = bytes.substr(0, limits.max_head);
  const std::size_t end = window.find("\r\n\r\n", seen < 3 ? 0 : seen - 3);
  if (end == std::string_view::npos) {
    // A peer that ends its lines otherwise would be waited for; and this comes before the limit, as it does below.
    if (has_bare_lf(window, seen)) return std::unexpected(kBadHead);
    seen = window.size();
    if (window.size() == limits.max_head) return std::unexpected(kHeadTooLarge);
    return std::size_t{0};
  }
  const std::string_view text = window.substr(0, end + 2 * kLineEnd);
  head = ResponseHead{};
  std::size_t at = 0;
  while (text[at] != '\r') {
    const std::size_t newline = text.find('\n', at);
    const std::size_t size = newline - at - 1;  // `text` ends in CR LF CR LF: there is one
    if (newline == at || text[newline - 1] != '\r') return std::unexpected(kBadHead);
    if (at == 0) {
      if (!parse_status_line(text.substr(0, size), head)) return std::unexpected(kBadHead);
    } else {
      // Keeps I3: in pieces, a line that ends wrongly may have been seen before the fields were counted.
      if (head.refs.size() == limits.max_headers)
        return std::unexpected(has_bare_lf(text, at) ? kBadHead : kHeadTooLarge);
      if (!parse_field(text, at, size, head.refs)) return std::unexpected(kBadHead);
    }
    at = newline + 1;
  }
  if (at + kLineEnd != text.size()) return std::unexpected(kBadHead);  // a CR that is no line's end
  if (!decide_framing(text, method, head)) return std::unexpected(kBadHead);
  return text.size();
}

BodyReader::BodyReader(const ResponseHead& head, const ResponseLimits& limits) : left_(head.length), limits_(limits) {
  switch (head.framing) {
    case ResponseFraming::kNone:
    case ResponseFraming::kTunnel: state_ = State::kDone; break;
    case ResponseFraming::kFixed: state_ = head.length == 0 ? State::kDone : State::kFixed; break;
    case ResponseFraming::kUntilClose: state_ = State::kUntilClose; break;
    case ResponseFraming::kChunked: state_ = State::kSize; break;
  }
}

std::uint64_t BodyReader::plain() const noexcept {
  switch (state_) {
    case State::kFixed:
    case State::kData: return left_;
    case State::kUntilClose: return std::numeric_limits<std::uint64_t>::max();
    default: return 0;
  }
}

void BodyReader::skip(std::uint64_t n) noexcept {
  if (state_ == State::kUntilClose) return;
  left_ -= n;
  if (left_ == 0) state_ = state_ == State::kFixed ? State::kDone : State::kDataCr;
}

Result<void> BodyReader::end() noexcept {
  if (state_ == State::kUntilClose) state_ = State::kDone;
  if (state_ == State::kDone) return {};
  return broken(Code::kEof);
}

std::unexpected<Error> BodyReader::broken(Code code) noexcept {
  if (state_ != State::kBroken) why_ = code;
  state_ = State::kBroken;
  return std::unexpected(Error{why_, 0, "read body"});
}

Result<BodyReader::Step> BodyReader::take(std::span<const std::byte> from, std::span<std::byte> to) {
  Step done{0, 0};
  while (state_ != State::kDone && done.consumed < from.size()) {
    if (state_ == State::kBroken) return broken(why_);
    if (const std::uint64_t n = plain(); n != 0) {
      const std::size_t most = std::min(from.size() - done.consumed, to.size() - done.produced);
      if (most == 0) break;
      const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(n, most));
      std::memcpy(to.data() + done.produced, from.data() + done.consumed, size);
      skip(size);
      done.consumed += size;
      done.produced += size;
    } else {
      if (!step_framing(static_cast<char>(from[done.consumed]))) return broken(why_);
      ++done.consumed;
    }
  }
  if (state_ == State::kBroken) return broken(why_);
  return done;
}

// One byte of what is not body (RFC 9112 s7.1). False: it may not stand here, or there is too much of it (why_).
bool BodyReader::step_framing(char c) {
  switch (state_) {
    case State::kSize:
      if (chars::is(c, chars::kHex)) {
        if (left_ >> 60 != 0) return false;  // the next digit would not fit
        // Leading zeros are digits too, and one could go on with them for ever; but sizes of one width are written so.
        if (left_ == 0 && digits_ == kSizeDigits && ++framing_ > limits_.max_framing) return false;
        left_ = left_ * 16 + static_cast<std::uint64_t>(chars::hex_value(c));
        if (digits_ < kSizeDigits) ++digits_;
        return true;
      }
      if (digits_ == 0) return false;
      [[fallthrough]];
    case State::kSizeBlank:
      if (c == ' ' || c == '\t') {
        state_ = State::kSizeBlank;
      } else if (c == ';') {
        state_ = State::kExtension;
      } else if (c == '\r' && state_ == State::kSize) {
        state_ = State::kSizeLf;
        return true;
      } else {
        return false;
      }
      break;
    case State::kExtension:
      if (c == '\r') {
        state_ = State::kSizeLf;
        return true;
      }
      if (!chars::is(c, chars::kValue)) return false;
      break;
    case State::kSizeLf:
      if (c != '\n') return false;
      state_ = left_ == 0 ? State::kTrailer : State::kData;
      digits_ = 0;
      return true;
    case State::kDataCr:
      if (c != '\r') return false;
      state_ = State::kDataLf;
      return true;
    case State::kDataLf:
      if (c != '\n') return false;
      state_ = State::kSize;
      return true;
    case State::kTrailer: return trailer_byte(c);
    default: return false;
  }
  if (++framing_ <= limits_.max_framing) return true;
  why_ = Code::kLimit;
  return false;
}

// Gathers trailer lines; each is looked at when its LF is there. The empty one ends the body.
bool BodyReader::trailer_byte(char c) {
  if (trailer_text_.size() >= limits_.max_head || ++framing_ > limits_.max_framing) {
    why_ = Code::kLimit;
    return false;
  }
  trailer_text_ += c;
  if (c != '\n') return trailer_text_.size() < trailer_line_ + 2 || trailer_text_[trailer_text_.size() - 2] != '\r';
  const std::size_t size = trailer_text_.size() - trailer_line_;
  if (size < 2 || trailer_text_[trailer_text_.size() - 2] != '\r') return false;
  if (size == 2) {
    state_ = State::kDone;
    return true;
  }
  if (trailers_.size() == limits_.max_headers) {
    why_ = Code::kLimit;
    return false;
  }
  const std::size_t at = trailer_line_;
  trailer_line_ = trailer_text_.size();
  if (!parse_field(trailer_text_, at, size - kLineEnd, trailers_)) return false;
  const HeaderList::Ref& last = trailers_.back();
  if (!may_be_trailer({trailer_text_.data() + last.name_at, last.name_size})) trailers_.pop_back();
  return true;
}

}  // namespace heddle::http
