// What a request target and a Host may look like, and the parts of a target.
//
// Pure functions over text, so that tests and fuzzers reach them alone. All answer for the strict grammar: no
// fragments, controls, blanks, broken escapes or %00; the four forms of RFC 9112 s3.2 and nothing else.
#pragma once

#include <string>
#include <string_view>

#include <heddle/http/method.h>

namespace heddle::http {

/// The parts of a valid target, as views into it. `path` and `query` are still escaped.
struct Target {
  std::string_view path;       // "/a/b"; "*" in asterisk-form; empty in absolute-form without a path, which means "/"
  std::string_view query;      // without its '?'
  std::string_view authority;  // of absolute-form and authority-form; empty otherwise
  bool escaped = false;        // the path holds a '%'
};

/// Splits a target that a request with `method` may carry; false if it is none (400). CONNECT has authority-form alone, and a
/// path that is empty, as in absolute-form without one.
[[nodiscard]] bool split_target(std::string_view text, Method method, Target& target) noexcept;

/// Reads a path and the query behind it, if there is one, from `at` on: fills those of `target`, and returns where the first
/// byte stands that is of neither; `end` if none does. What it read is valid, and may be empty.
[[nodiscard]] const char* read_path(const char* at, const char* end, Target& target) noexcept;

/// True for host[:port] (RFC 9112 s3.2): a name, an IPv4 or a bracketed IPv6 literal; the port may be empty. An empty
/// host is refused, as RFC 9110 s4.2.1 wants for http.
[[nodiscard]] bool is_host(std::string_view text) noexcept;

/// True for host:port as CONNECT wants it: with a port, of 1 to 65535 (RFC 9110 s9.3.6, RFC 9112 s3.2.3).
[[nodiscard]] bool is_authority_form(std::string_view text) noexcept;

/// `path` with its escapes decoded once, except %2F, which stays as it is: decoding it would make one path of two.
/// `path` is from split_target.
[[nodiscard]] std::string decode_path(std::string_view path);

/// Appends `text`, a segment of a path, to `out` with all its escapes decoded; false if one is broken.
[[nodiscard]] bool decode_segment(std::string_view text, std::string& out);

/// Appends `text` to `out` as a segment of a path: what is not plain in one (RFC 3986 s3.3, pchar) is escaped, with '/',
/// '\\' and '%' among it.
void encode_segment(std::string_view text, std::string& out);

/// `host` without its ":port", if it has one. `host` is from is_host.
[[nodiscard]] std::string_view host_without_port(std::string_view host) noexcept;

}  // namespace heddle::http
