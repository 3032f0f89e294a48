#include <heddle/http/internal/target.h>

#include <cstdint>

#include <heddle/http/header.h>
#include <heddle/http/internal/chars.h>

namespace heddle::http {
namespace {

// Two hex digits after the '%' at `at`, and not %00.
bool is_escape(const char* at, const char* end) noexcept {
  if (end - at < 3) return false;
  if (!chars::is(at[1], chars::kHex) || !chars::is(at[2], chars::kHex)) return false;
  return at[1] != '0' || at[2] != '0';
}

// `text` begins at the path and may hold a query.
bool split_path(std::string_view text, Target& target) noexcept {
  const char* const end = text.data() + text.size();
  return read_path(text.data(), end, target) == end;
}

bool is_ipv6_literal(std::string_view text) noexcept {
  // What is between the brackets; the address itself is nobody's business here, its alphabet is.
  if (text.size() < 2) return false;
  for (char c : text) {
    if (!chars::is(c, chars::kHex) && c != ':' && c != '.') return false;
  }
  return text.find(':') != std::string_view::npos;
}

bool is_ip_future(std::string_view text) noexcept {  // "v" hex "." …  (RFC 3986 s3.2.2)
  if (text.size() < 4 || chars::lower(text[0]) != 'v') return false;
  const std::size_t dot = text.find('.');
  if (dot == std::string_view::npos || dot < 2 || dot + 1 == text.size()) return false;
  if (!chars::all(text.substr(1, dot - 1), chars::kHex)) return false;
  for (char c : text.substr(dot + 1)) {
    if (!chars::is(c, chars::kHost) && c != ':') return false;
  }
  return true;
}

// The size of the literal in brackets that `text` begins with; 0 if it is none.
[[gnu::noinline]] std::size_t literal_size(std::string_view text) noexcept {
  const std::size_t close = text.find(']');
  if (close == std::string_view::npos) return 0;
  const std::string_view literal = text.substr(1, close - 1);
  return is_ipv6_literal(literal) || is_ip_future(literal) ? close + 1 : 0;
}

}  // namespace

const char* read_path(const char* at, const char* end, Target& target) noexcept {
  const char* const path = at;
  for (;; at += 3) {
    at = chars::skip(at, end, chars::kPath);
    if (at == end || *at != '%' || !is_escape(at, end)) break;
    target.escaped = true;
  }
  target.path = {path, at};
  if (at == end || *at != '?') return at;
  const char* const query = ++at;
  for (;; at += 3) {
    at = chars::skip(at, end, chars::kTarget);
    if (at == end || *at != '%' || !is_escape(at, end)) break;
  }
  target.query = {query, at};
  return at;
}

bool split_target(std::string_view text, Method method, Target& target) noexcept {
  if (text.empty()) return false;
  if (method == Method::kConnect) {
    target.authority = text;
    return is_authority_form(text);
  }
  if (text[0] == '/') [[likely]]
    return split_path(text, target);
  if (text == "*") {
    target.path = text;
    return method == Method::kOptions;
  }
  // absolute-form; https reaches us behind whatever ended its TLS
  std::size_t at = 0;
  if (equal_fold(text.substr(0, 7), "http://")) {
    at = 7;
  } else if (equal_fold(text.substr(0, 8), "https://")) {
    at = 8;
  } else {
    return false;
  }
  const std::size_t end = text.find_first_of("/?#", at);
  target.authority = text.substr(at, end == std::string_view::npos ? end : end - at);
  if (!is_host(target.authority)) return false;  // also refuses user information (RFC 9110 s4.2.4)
  return end == std::string_view::npos || split_path(text.substr(end), target);
}

bool is_host(std::string_view text) noexcept {
  const char* at = text.data();
  const char* const end = at + text.size();
  if (text.starts_with('[')) [[unlikely]] {
    at += literal_size(text);
    if (at == text.data()) return false;
  } else {
    for (;; at += 3) {
      at = chars::skip(at, end, chars::kHost);
      if (at == end || *at != '%' || !is_escape(at, end)) break;
    }
    if (at == text.data()) return false;
  }
  if (at == end) return true;
  return *at == ':' && end - at <= 6 && chars::skip(at + 1, end, chars::kDigit) == end;
}

bool is_authority_form(std::string_view text) noexcept {
  if (!is_host(text)) return false;
  const std::string_view host = host_without_port(text);
  if (host.size() == text.size()) return false;
  std::uint32_t port = 0;  // is_host() has seen to it that five digits are the most
  for (const char c : text.substr(host.size() + 1)) port = port * 10 + static_cast<std::uint32_t>(c - '0');
  return port >= 1 && port <= 65535;
}

std::string decode_path(std::string_view path) {
  std::string out;
  out.reserve(path.size());
  for (std::size_t i = 0; i < path.size(); ++i) {
    if (path[i] != '%') {
      out += path[i];
      continue;
    }
    const int value = chars::hex_value(path[i + 1]) * 16 + chars::hex_value(path[i + 2]);
    if (value == '/') {
      out.append(path.substr(i, 3));
    } else {
      out += static_cast<char>(value);
    }
    i += 2;
  }
  return out;
}

bool decode_segment(std::string_view text, std::string& out) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    if (i + 2 >= text.size() || !chars::is(text[i + 1], chars::kHex) || !chars::is(text[i + 2], chars::kHex))
      return false;
    out += static_cast<char>(chars::hex_value(text[i + 1]) * 16 + chars::hex_value(text[i + 2]));
    i += 2;
  }
  return true;
}

void encode_segment(std::string_view text, std::string& out) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  for (const char c : text) {
    if (chars::is(c, chars::kHost) || c == ':' || c == '@') {
      out += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    out += '%';
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
}

std::string_view host_without_port(std::string_view host) noexcept {
  const std::size_t behind = host.starts_with('[') ? host.find(']') : 0;
  return host.substr(0, host.find(':', behind == std::string_view::npos ? 0 : behind));
}

}  // namespace heddle::http
