#include <heddle/http/form.h>

#include <heddle/http/internal/chars.h>
#include <heddle/http/internal/media_type.h>
#include <heddle/http/request.h>

namespace heddle::http {
namespace {

constexpr std::string_view kPlain = "*-._";  // beside letters and digits

std::unexpected<Error> refuse(Code code) { return std::unexpected(Error{code, 0, "read form"}); }

// False for a broken escape.
bool decode(std::string_view text, std::string& out) {
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '+') {
      out += ' ';
    } else if (c != '%') {
      out += c;
    } else if (text.size() - i > 2 && chars::all(text.substr(i + 1, 2), chars::kHex)) {
      out += static_cast<char>(chars::hex_value(text[i + 1]) * 16 + chars::hex_value(text[i + 2]));
      i += 2;
    } else {
      return false;
    }
  }
  return true;
}

bool is_plain(char c) noexcept {
  const char l = chars::lower(c);
  return (l >= 'a' && l <= 'z') || chars::is(c, chars::kDigit) || kPlain.find(c) != std::string_view::npos;
}

void encode(std::string_view text, std::string& out) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  for (const char c : text) {
    if (is_plain(c)) {
      out += c;
    } else if (c == ' ') {
      out += '+';
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out += '%';
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    }
  }
}

}  // namespace

std::optional<std::string_view> FormValues::find(std::string_view name) const noexcept {
  for (const Pair& p : pairs_) {
    if (p.name == name) return p.value;
  }
  return std::nullopt;
}

std::vector<std::string_view> FormValues::all(std::string_view name) const {
  std::vector<std::string_view> values;
  for (const Pair& p : pairs_) {
    if (p.name == name) values.push_back(p.value);
  }
  return values;
}

Result<FormValues> parse_form(std::string_view text, const FormLimits& limits) {
  if (text.size() > limits.max_bytes) return refuse(Code::kLimit);
  FormValues values;
  while (!text.empty()) {
    const std::size_t end = text.find('&');
    const std::string_view pair = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    if (pair.empty()) continue;
    if (values.size() == limits.max_pairs) return refuse(Code::kLimit);
    const std::size_t equals = pair.find('=');
    std::string name;
    std::string value;
    if (!decode(pair.substr(0, equals), name)) return refuse(Code::kProtocol);
    if (equals != std::string_view::npos && !decode(pair.substr(equals + 1), value)) return refuse(Code::kProtocol);
    values.add(std::move(name), std::move(value));
  }
  return values;
}

std::string encode_form(const FormValues& values) {
  std::string out;
  for (const FormValues::Pair& p : values) {
    if (!out.empty()) out += '&';
    encode(p.name, out);
    out += '=';
    encode(p.value, out);
  }
  return out;
}

Result<FormValues> query_values(const Request& request, const FormLimits& limits) {
  return parse_form(request.query(), limits);
}

Result<FormValues> read_urlencoded(Request& request, const FormLimits& limits) {
  if (!has_content_type(request, "application/x-www-form-urlencoded")) return refuse(Code::kUnsupported);
  const Result<std::string> text = request.read_all(limits.max_bytes);
  if (!text) return std::unexpected(text.error());
  return parse_form(*text, limits);
}

}  // namespace heddle::http
