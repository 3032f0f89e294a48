// Slow and simple readings of HTTP/1.1's framing, to hold the parsers against: what these refuse must never be accepted.
#pragma once

#include <cctype>
#include <optional>
#include <string>
#include <string_view>

#include <heddle/http/header.h>

#include "fuzz.h"

namespace heddle::fuzz {

/// A head that was accepted: lines end with CR LF alone, and each behind the first one is the field that was read.
inline void check_lines(std::string_view head, const http::HeaderList& fields) {
  FUZZ_CHECK(head.ends_with("\r\n\r\n"));
  std::vector<std::string_view> lines;
  while (!head.empty()) {
    const std::size_t end = head.find("\r\n");
    FUZZ_CHECK(end != std::string_view::npos);
    lines.push_back(head.substr(0, end));
    FUZZ_CHECK(lines.back().find_first_of("\r\n") == std::string_view::npos);
    FUZZ_CHECK(lines.back().find('\0') == std::string_view::npos);
    head.remove_prefix(end + 2);
  }
  FUZZ_CHECK(lines.size() == fields.size() + 2);
  FUZZ_CHECK(lines.back().empty());
  for (std::size_t i = 0; i < fields.size(); ++i) {
    const std::string_view line = lines[i + 1];
    const std::size_t colon = line.find(':');
    FUZZ_CHECK(colon != std::string_view::npos);
    FUZZ_SAME(fields[i].name, line.substr(0, colon));
    FUZZ_SAME(fields[i].value, http::trim_blanks(line.substr(colon + 1)));
    FUZZ_CHECK(http::is_token(fields[i].name));
    FUZZ_CHECK(fields[i].value.empty() || http::is_field_value(fields[i].value));
  }
}

struct Unchunked {
  std::string body;
  std::size_t size = 0;  // of all of it, trailers and their empty line included
};

/// A whole chunked body at the front of `text` (RFC 9112 s7.1); nothing if it is none, or cut. Lenient about what stands in
/// extensions and trailers, but for line ends.
inline std::optional<Unchunked> unchunk(std::string_view text) {
  Unchunked out;
  const auto line = [&]() -> std::optional<std::string_view> {
    const std::size_t end = text.find("\r\n", out.size);
    if (end == std::string_view::npos) return std::nullopt;
    const std::string_view all = text.substr(out.size, end - out.size);
    out.size = end + 2;
    if (all.find_first_of("\r\n") != std::string_view::npos) return std::nullopt;
    return all;
  };
  for (;;) {
    const std::optional<std::string_view> head = line();
    if (!head) return std::nullopt;
    std::uint64_t size = 0;
    std::size_t digits = 0;
    for (; digits < head->size() && std::isxdigit(static_cast<unsigned char>((*head)[digits])) != 0; ++digits) {
      if (size >> 60 != 0) return std::nullopt;
      const char c = (*head)[digits];
      size = size * 16 + static_cast<std::uint64_t>(c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
    }
    if (digits == 0) return std::nullopt;
    const std::string_view behind = http::trim_blanks(head->substr(digits));
    if (!behind.empty() && behind[0] != ';') return std::nullopt;
    if (size == 0) break;
    if (text.size() - out.size < 2 || size > text.size() - out.size - 2) return std::nullopt;
    out.body += text.substr(out.size, static_cast<std::size_t>(size));
    out.size += static_cast<std::size_t>(size);
    if (text.substr(out.size, 2) != "\r\n") return std::nullopt;
    out.size += 2;
  }
  for (;;) {
    const std::optional<std::string_view> trailer = line();
    if (!trailer) return std::nullopt;
    if (trailer->empty()) return out;
  }
}

}  // namespace heddle::fuzz
