// One request to a handler over a stream in memory, and its answer taken apart.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "http_test.h"

namespace heddle::http::test {

struct Answer {
  int status = 0;
  std::map<std::string, std::string> fields;  // a name that comes twice: joined with ", "
  std::string body;                           // without its framing
  bool whole = false;                         // as long as it said; false: visibly cut

  [[nodiscard]] std::string field(const std::string& name) const {
    const auto at = fields.find(name);
    return at == fields.end() ? "" : at->second;
  }
  [[nodiscard]] bool has(const std::string& name) const { return fields.contains(name); }
};

inline std::string unchunk(std::string_view bytes, bool& whole) {
  std::string body;
  whole = false;
  for (;;) {
    const std::size_t eol = bytes.find("\r\n");
    if (eol == std::string_view::npos) return body;
    std::size_t size = 0;
    if (std::from_chars(bytes.data(), bytes.data() + eol, size, 16).ptr != bytes.data() + eol) return body;
    bytes.remove_prefix(eol + 2);
    if (bytes.size() < size + 2) return body.append(bytes);
    body.append(bytes.substr(0, size));
    bytes.remove_prefix(size + 2);
    if (size != 0) continue;
    whole = bytes.empty();
    return body;
  }
}

inline Answer take_apart(std::string_view bytes, bool head) {
  Answer answer;
  const std::size_t end = bytes.find("\r\n\r\n");
  if (end == std::string_view::npos || !bytes.starts_with("HTTP/1.1 ")) return answer;
  answer.status = std::stoi(std::string(bytes.substr(9, 3)));
  std::string_view lines = bytes.substr(0, end + 2);
  for (lines.remove_prefix(lines.find("\r\n") + 2); !lines.empty(); lines.remove_prefix(lines.find("\r\n") + 2)) {
    const std::string_view line = lines.substr(0, lines.find("\r\n"));
    const std::size_t colon = line.find(": ");
    std::string& value = answer.fields[std::string(line.substr(0, colon))];
    value += (value.empty() ? "" : ", ") + std::string(line.substr(colon + 2));
  }
  bytes.remove_prefix(end + 4);
  answer.body = bytes;
  if (head || answer.status == 204 || answer.status == 304) {
    answer.whole = bytes.empty();
  } else if (answer.has("Transfer-Encoding")) {
    answer.body = unchunk(bytes, answer.whole);
  } else if (answer.has("Content-Length")) {
    answer.whole = std::to_string(bytes.size()) == answer.field("Content-Length");
  } else {
    answer.whole = true;
  }
  return answer;
}

/// Sends "GET /x" (or another method) with some fields on a connection of its own, and waits for its end.
inline Answer ask(const Handler& handler, const std::string& line, const std::string& fields = {},
                  const std::string& version = "1.1") {
  Answer answer;
  on_one_p([&] {
    Rig rig(handler);
    rig.stream.send(line + " HTTP/" + version + "\r\nHost: a\r\nConnection: close\r\n" + fields + "\r\n");
    EXPECT_TRUE(rig.stream.pump_until([&] { return rig.stream.shut() || rig.stream.closed(); }));
    answer = take_apart(rig.stream.written(), line.starts_with("HEAD "));
  });
  return answer;
}

}  // namespace heddle::http::test
