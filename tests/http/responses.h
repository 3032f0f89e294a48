// What a server wrote, read as a strict client would: a list of responses, each as one line of text.
//
//   "200 cl=5 [hello]"   "200 chunked close [abc]"   "100"   "200 cl=5 cut [hel]"   "garbage: …"
#pragma once

#include <charconv>
#include <string>
#include <string_view>
#include <vector>

#include <heddle/http/header.h>

namespace heddle::http::test {

/// True for "Sat, 21 Nov 2026 02:47:38 GMT".
inline bool is_http_date(std::string_view text) {
  constexpr std::string_view kShape = "Aaa, 00 Aaa 0000 00:00:00 GMT";
  if (text.size() != kShape.size()) return false;
  for (std::size_t i = 0; i < kShape.size(); ++i) {
    const char c = text[i];
    const bool right = kShape[i] == '0'   ? c >= '0' && c <= '9'
                       : kShape[i] == 'A' ? c >= 'A' && c <= 'Z'
                       : kShape[i] == 'a' ? c >= 'a' && c <= 'z'
                                          : c == kShape[i];
    if (!right) return false;
  }
  return true;
}

/// Reads `bytes`; `heads` says which of the final responses answer a HEAD ('h'; anything else, or past its end: no).
/// `ended`: the server closed; only then is a body without length whole.
inline std::vector<std::string> read_responses(std::string_view bytes, std::string_view heads = {}, bool ended = true) {
  std::vector<std::string> all;
  std::size_t finals = 0;
  while (!bytes.empty()) {
    const std::size_t end = bytes.find("\r\n\r\n");
    if (end == std::string_view::npos || bytes.substr(0, 9) != "HTTP/1.1 ") {
      all.push_back("garbage: " + std::string(bytes.substr(0, 60)));
      return all;
    }
    std::string_view head = bytes.substr(0, end + 2);
    bytes.remove_prefix(end + 4);
    const std::string status(head.substr(9, 3));
    std::string line = status;
    head.remove_prefix(head.find("\r\n") + 2);
    long long length = -1;
    bool chunked = false;
    bool close = false;
    bool keep = false;
    int dates = 0;
    std::string shown;
    while (!head.empty()) {
      const std::size_t eol = head.find("\r\n");
      const std::string_view field = head.substr(0, eol);
      head.remove_prefix(eol + 2);
      const std::size_t colon = field.find(": ");
      if (colon == std::string_view::npos || !is_token(field.substr(0, colon))) {
        all.push_back("garbage field: " + std::string(field));
        return all;
      }
      const std::string_view name = field.substr(0, colon);
      const std::string value(field.substr(colon + 2));
      if (name == "Date") {
        ++dates;
        if (!is_http_date(value)) line += " bad-date";
      } else if (name == "Content-Length") {
        if (length >= 0) line += " two-lengths";
        length = std::stoll(value);
      } else if (name == "Transfer-Encoding") {
        chunked = value == "chunked";
      } else if (name == "Connection") {
        close = value == "close";
        keep = value == "keep-alive";
      } else if (name != "Content-Type") {
        shown += " " + std::string(name) + "=" + value;
      }
    }
    if (status[0] == '1') {
      all.push_back(line);
      continue;
    }
    if (dates != 1) line += " dates=" + std::to_string(dates);
    if (length >= 0) line += " cl=" + std::to_string(length);
    if (chunked) line += " chunked";
    if (close) line += " close";
    if (keep) line += " keep";
    line += shown;
    const bool is_head = finals < heads.size() && heads[finals] == 'h';
    ++finals;
    if (is_head || status == "204" || status == "304") {
      all.push_back(line);
      continue;
    }
    std::string body;
    bool cut = false;
    if (chunked) {
      for (;;) {
        const std::size_t eol = bytes.find("\r\n");
        std::size_t size = 0;
        if (eol == std::string_view::npos ||
            std::from_chars(bytes.data(), bytes.data() + eol, size, 16).ptr != bytes.data() + eol) {
          cut = true;
          bytes = {};
          break;
        }
        bytes.remove_prefix(eol + 2);
        if (bytes.size() < size + 2) {
          body += bytes.substr(0, size);
          cut = true;
          bytes = {};
          break;
        }
        body += bytes.substr(0, size);
        if (bytes.substr(size, 2) != "\r\n") line += " bad-chunk";
        bytes.remove_prefix(size + 2);
        if (size == 0) break;
      }
    } else if (length >= 0) {
      const auto n = std::min(bytes.size(), static_cast<std::size_t>(length));
      body = bytes.substr(0, n);
      bytes.remove_prefix(n);
      cut = n < static_cast<std::size_t>(length);
    } else {
      body = bytes;
      bytes = {};
      cut = !ended;
    }
    if (cut) line += " cut";
    if (body.size() > 200) body = "size " + std::to_string(body.size());
    all.push_back(line + " [" + body + "]");
  }
  return all;
}

}  // namespace heddle::http::test
