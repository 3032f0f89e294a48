#include <heddle/http/internal/plain_head.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include <heddle/http/internal/chars.h>
#include <heddle/http/internal/head_rules.h>
#include <heddle/http/internal/target.h>

namespace heddle::http {
namespace {

bool stands_at(const char* at, const char* end, std::string_view text) noexcept {
  return static_cast<std::size_t>(end - at) >= text.size() && std::memcmp(at, text.data(), text.size()) == 0;
}

// The bytes that are left to read, and what they have said so far.
class Reader {
 public:
  explicit Reader(Exchange& x) noexcept
      : x_(x), at_(x.base()), end_(x.data + std::min(x.visible, x.begin + x.limits->max_head)) {}

  bool read() {
    return read_method() && read_target() && read_version() && read_fields() && special_.hosts == 1 &&
           conclude_head(x_, method_, special_, target_) == 0;
  }
  [[nodiscard]] Method method() const noexcept { return method_; }
  [[nodiscard]] const char* at() const noexcept { return at_; }

 private:
  [[nodiscard]] std::uint32_t offset(const char* at) const noexcept {
    return static_cast<std::uint32_t>(at - x_.base());
  }

  bool read_method() noexcept {
    if (stands_at(at_, end_, "GET ")) [[likely]] {
      at_ += 4;
      return true;
    }
    const char* const name = at_;
    at_ = chars::skip(at_, end_, chars::kToken);
    const std::optional<Method> method = parse_method({name, at_});
    // These two have rules of their own.
    if (!method || *method == Method::kConnect || *method == Method::kTrace || !stands_at(at_, end_, " ")) return false;
    method_ = *method;
    ++at_;
    return true;
  }

  bool read_target() noexcept {
    if (!stands_at(at_, end_, "/")) return false;
    const char* const target = at_;
    at_ = read_path(at_, end_, target_);
    x_.head.target_at = offset(target);
    x_.head.target_size = static_cast<std::uint32_t>(at_ - target);
    return x_.head.target_size <= x_.limits->max_target;
  }

  bool read_version() noexcept {
    if (stands_at(at_, end_, " HTTP/1.1\r\n")) [[likely]] {
      x_.head.minor = 1;
    } else if (stands_at(at_, end_, " HTTP/1.0\r\n")) {
      x_.head.minor = 0;
    } else {
      return false;
    }
    at_ += 11;
    return true;
  }

  bool read_fields() {
    while (!stands_at(at_, end_, "\r\n")) {
      if (!read_field()) return false;
    }
    at_ += 2;
    return true;
  }

  bool read_field() {
    const char* const name = at_;
    at_ = chars::skip(at_, end_, chars::kToken);
    if (at_ == end_ || *at_ != ':' || at_ == name) return false;
    const char* const colon = at_++;
    while (at_ != end_ && chars::is_blank(*at_)) ++at_;
    const char* const value = at_;
    at_ = chars::skip_value(at_, end_);
    if (!stands_at(at_, end_, "\r\n")) return false;
    const char* last = at_;
    while (last != value && chars::is_blank(last[-1])) --last;
    at_ += 2;
    if (!x_.add_header(x_.limits->max_headers)) return false;
    HeaderList::Ref& ref = x_.refs[x_.header_count - 1];
    ref = {.name_at = offset(name),
           .value_at = offset(value),
           .value_size = static_cast<std::uint32_t>(last - value),
           .name_size = static_cast<std::uint32_t>(colon - name)};
    // Left to llhttp: it wants to see the codings, and the digits with what stands around them.
    if (ref.name_size == 17 && chars::is_name({name, colon}, "transfer-encoding")) return false;
    if (ref.name_size == 14 && last != at_ - 2 && chars::is_name({name, colon}, "content-length")) return false;
    return take_field(x_, special_, ref) == 0;
  }

  Exchange& x_;
  const char* at_;
  const char* const end_;
  Method method_ = Method::kGet;
  Target target_;
  Special special_;
};

}  // namespace

bool read_plain_head(Exchange& x) {
  Reader reader(x);
  if (!reader.read()) {
    x.header_count = 0;
    x.head = Head{};
    x.body = Body{};
    return false;
  }
  x.head.method = reader.method();
  x.phase = Exchange::Phase::kBody;
  x.read = x.scanned = static_cast<std::uint32_t>(reader.at() - x.data);
  return true;
}

}  // namespace heddle::http
