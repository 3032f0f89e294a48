// Requests as bytes to a handler over a stream in memory, and the responses as lines (http_test.h).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "http_test.h"

namespace heddle::http::test {

inline std::vector<std::string> ask(const Handler& handler, std::string_view bytes) {
  std::vector<std::string> answers;
  on_one_p([&] {
    Rig rig(handler);
    rig.stream.send(bytes);
    rig.stream.settle();
    answers = rig.responses();
  });
  return answers;
}

inline std::string get(std::string fields = {}, std::string method = "GET") {
  return method + " / HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n";
}

}  // namespace heddle::http::test
