// Mux: sends a request to the handler of its path and method.
//
// Patterns follow Go's (1.22) as far as they go here: "GET /path" or "/path" for any method; paths are exact. GET
// serves HEAD too. A path that is known, but not with this method, is answered 405 with Allow; an unknown one 404.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <heddle/http/method.h>
#include <heddle/http/request.h>
#include <heddle/http/response_writer.h>
#include <heddle/http/server.h>

namespace heddle::http {

/// A Handler that chooses among others. Copyable; registering ends before serving begins. Threads: calls from any
/// number.
class Mux {
 public:
  /// Registers `handler` for `pattern`: an optional method and a blank, then a path that begins with '/'.
  ///
  /// Errors: throws std::invalid_argument for a pattern that is none or that is taken: it is the program that is wrong.
  void handle(std::string_view pattern, Handler handler);

  void operator()(Request& request, ResponseWriter& writer) const;

 private:
  struct Route {
    std::optional<Method> method;  // none: any
    Handler handler;
  };
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view path) const noexcept { return std::hash<std::string_view>()(path); }
  };

  // Routes of one path are few: a scan.
  std::unordered_map<std::string, std::vector<Route>, Hash, std::equal_to<>> paths_;
};

}  // namespace heddle::http
