// Mux: sends a request to the handler of its method, host and path.
//
//   Mux mux;
//   mux.handle("GET /users/{id}", [](Request& r, ResponseWriter& w) { w.write(r.path_value("id")); });
//   mux.handle("/static/{file...}", files);
//   Mux::Group admin = mux.group("/admin", {require_login});
//   admin.handle("POST /reload", reload);                       // POST /admin/reload
//
// Patterns are those of Go 1.22's ServeMux: "[METHOD ][HOST]/PATH".
//
//   no method    any. GET serves HEAD, too
//   HOST         that host alone, without a port, in any case
//   {name}       one whole segment
//   {name...}    the rest of the path, slashes and all; last
//   /            at the end: everything below, and the path itself
//   {$}          after such a slash: the path itself alone
//
// The more specific of two patterns wins, whatever the order in which they came; two that overlap, neither more specific,
// are refused when the second one is registered. Segments are compared decoded, and an escaped slash is a part of one.
//
// What has no pattern is answered 404; what has one for other methods 405, with Allow, "/a" also where "/a/" has one. A path with
// empty or dot segments ("//", "/../") is redirected to what it means, and "/a" to "/a/" where only that has a handler: with 301
// for GET and HEAD, else with 308, which keeps method and body. OPTIONS * is answered 200. CONNECT names no path: it goes to
// what "/" means, so "CONNECT /" has every tunnel that is asked for, and "CONNECT example.com/" those to that host; for other
// methods such a route is none.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <heddle/http/request.h>
#include <heddle/http/response_writer.h>
#include <heddle/http/server.h>

namespace heddle::http {

/// What stands around a handler: takes it, and returns what is to be called instead.
using Middleware = std::function<Handler(Handler)>;

/// A Handler that chooses among others. Copies share their routes. Registering ends before serving begins.
/// Threads: calls from any number.
class Mux {
 public:
  class Group;

  Mux();

  /// Registers `handler` for `pattern`.
  ///
  /// Errors: throws std::invalid_argument for a pattern that is none, or that conflicts with another one, which it
  ///         names: it is the program that is wrong. Nothing is registered then.
  void handle(std::string_view pattern, Handler handler);

  /// Puts `middleware` around every handler that is registered from now on, here and in groups made from now on, inside of
  /// what was put before. What no route is found for it does not see: for that wrap the Mux, `Server(log(mux))`.
  void use(Middleware middleware);

  /// Routes below `prefix` ("/api", "host.example/api": no method, no slash at its end), in `middleware`, the first
  /// outermost. Errors: throws std::invalid_argument.
  [[nodiscard]] Group group(std::string_view prefix, std::vector<Middleware> middleware = {});

  void operator()(Request& request, ResponseWriter& writer) const;

 private:
  struct Routes;

  static void call(Request& request, ResponseWriter& writer, const RouteMatch& match);
  [[gnu::noinline]] void find_and_call(Request& request, ResponseWriter& writer, std::string_view raw,
                                       RouteMatch& match) const;

  std::shared_ptr<Routes> routes_;
  std::vector<Middleware> middleware_;
};

/// Routes of a Mux that share a prefix and what stands around them. Holds on to the Mux's routes.
class Mux::Group {
 public:
  /// As Mux::handle(); the pattern has no host.
  void handle(std::string_view pattern, Handler handler);
  /// As Mux::use().
  void use(Middleware middleware) { mux_.use(std::move(middleware)); }
  /// A group in this one, inside of its middleware.
  [[nodiscard]] Group group(std::string_view prefix, std::vector<Middleware> middleware = {}) const;

 private:
  friend class Mux;
  Group(Mux mux, std::string prefix) : mux_(std::move(mux)), prefix_(std::move(prefix)) {}

  Mux mux_;
  std::string prefix_;
};

}  // namespace heddle::http
