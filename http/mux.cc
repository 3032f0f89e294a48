#include <heddle/http/mux.h>

#include <stdexcept>
#include <utility>

#include <heddle/http/status.h>

namespace heddle::http {
namespace {

void answer_text(ResponseWriter& writer, int status, std::string_view text) {
  writer.status(status);
  writer.set_header("Content-Type", "text/plain; charset=utf-8");
  writer.write(text);
}

}  // namespace

void Mux::handle(std::string_view pattern, Handler handler) {
  auto wrong = [&](const char* why) {
    return std::invalid_argument("Mux pattern \"" + std::string(pattern) + "\": " + why);
  };
  Route route{std::nullopt, std::move(handler)};
  std::string_view path = pattern;
  if (const std::size_t blank = pattern.find(' '); blank != std::string_view::npos) {
    route.method = parse_method(pattern.substr(0, blank));
    if (!route.method) throw wrong("no method that heddle knows");
    path = pattern.substr(blank + 1);
  }
  if (path.empty() || path[0] != '/') throw wrong("the path must begin with '/'");
  if (!route.handler) throw wrong("no handler");
  std::vector<Route>& routes = paths_[std::string(path)];
  for (const Route& other : routes) {
    if (other.method == route.method) throw wrong("is taken");
  }
  routes.push_back(std::move(route));
}

void Mux::operator()(Request& request, ResponseWriter& writer) const {
  const Method method = request.method();
  const auto found = paths_.find(request.path());
  if (found == paths_.end()) {
    if (request.path() == "*") return;  // OPTIONS of the server itself: 200 and nothing to tell (RFC 9110 s9.3.7)
    answer_text(writer, kStatusNotFound, "404 page not found\n");
    return;
  }
  const Route* get = nullptr;
  const Route* any = nullptr;
  for (const Route& route : found->second) {
    if (route.method == method) return route.handler(request, writer);
    if (route.method == Method::kGet) get = &route;
    if (!route.method) any = &route;
  }
  if (method == Method::kHead && get != nullptr) return get->handler(request, writer);
  if (any != nullptr) return any->handler(request, writer);
  std::string allow;
  for (const Route& route : found->second) {
    if (!allow.empty()) allow += ", ";
    allow += to_string(*route.method);
    if (route.method == Method::kGet) allow += ", HEAD";
  }
  writer.set_header("Allow", allow);
  answer_text(writer, kStatusMethodNotAllowed, "405 method not allowed\n");
}

}  // namespace heddle::http
