#include <heddle/http/mux.h>

#include <algorithm>
#include <deque>
#include <ranges>
#include <stdexcept>
#include <utility>

#include <heddle/http/internal/chars.h>
#include <heddle/http/internal/route_tree.h>
#include <heddle/http/internal/server_conn.h>
#include <heddle/http/internal/target.h>
#include <heddle/http/status.h>

namespace heddle::http {

struct Route {
  Pattern pattern;
  Handler handler;
};

struct Mux::Routes {
  std::deque<Route> all;  // never move: the tree refers to them
  RouteTree tree;
};

namespace {

void answer_text(ResponseWriter& writer, int status, std::string_view text) {
  writer.status(status);
  writer.set_header("Content-Type", "text/plain; charset=utf-8");
  writer.write(text);
}

void redirect(Request& request, ResponseWriter& writer, std::string path) {
  if (!request.query().empty()) {
    path += '?';
    path += request.query();
  }
  writer.set_header("Location", path);
  const bool safe = request.method() == Method::kGet || request.method() == Method::kHead;
  writer.status(safe ? kStatusMovedPermanently : kStatusPermanentRedirect);
}

void refuse_method(ResponseWriter& writer, const std::vector<Method>& methods) {
  std::string allow;
  for (const Method method : methods) {
    if (!allow.empty()) allow += ", ";
    allow += to_string(method);
  }
  writer.set_header("Allow", allow);
  answer_text(writer, kStatusMethodNotAllowed, "405 method not allowed\n");
}

std::string host_key(std::string_view host) {
  std::string key(host_without_port(host));
  std::ranges::transform(key, key.begin(), chars::lower);
  return key;
}

}  // namespace

Mux::Mux() : routes_(std::make_shared<Routes>()) {}

void Mux::use(Middleware middleware) {
  if (!middleware) throw std::invalid_argument("Mux::use: no middleware");
  middleware_.push_back(std::move(middleware));
}

void Mux::handle(std::string_view pattern, Handler handler) {
  Pattern parsed = Pattern::parse(pattern);
  if (!handler) throw std::invalid_argument("route \"" + parsed.text + "\": no handler");
  for (const Middleware& around : middleware_ | std::views::reverse) {
    handler = around(std::move(handler));
    if (!handler) throw std::invalid_argument("route \"" + parsed.text + "\": its middleware returns no handler");
  }
  Route& route = routes_->all.emplace_back(std::move(parsed), std::move(handler));
  try {
    routes_->tree.add(route.pattern, route);
  } catch (...) {
    routes_->all.pop_back();
    throw;
  }
}

Mux::Group Mux::group(std::string_view prefix, std::vector<Middleware> middleware) {
  return Group(*this, {}).group(prefix, std::move(middleware));
}

void Mux::operator()(Request& request, ResponseWriter& writer) const {
  const std::string_view raw = request.raw_path();
  RouteMatch match;
  if (routes_->tree.find_plain(request.method(), raw, match)) return call(request, writer, match);
  if (raw == "*") return;  // OPTIONS of the server itself: 200 and nothing to tell (RFC 9110 s9.3.7)
  find_and_call(request, writer, raw, match);
}

void Mux::call(Request& request, ResponseWriter& writer, const RouteMatch& match) {
  const RouteMatch* const outer = std::exchange(request.match_, &match);
  struct Restore {
    Request& request;
    const RouteMatch* outer;
    ~Restore() { request.match_ = outer; }
  } const restore{request, outer};
  request.conn_.note_route(match.pattern->text);
  match.route->handler(request, writer);
}

// Apart, for what it has on the stack a handler that is found at once need not carry.
void Mux::find_and_call(Request& request, ResponseWriter& writer, std::string_view raw, RouteMatch& match) const {
  const RouteTree& tree = routes_->tree;
  const SplitPath path(raw);
  if (!path.is_clean()) [[unlikely]]
    return redirect(request, writer, path.cleaned());
  const std::string host = tree.has_hosts() ? host_key(request.host()) : std::string();
  const bool found = tree.find(host, request.method(), path, match);
  const bool inexact = !found || match.pattern->segments.back().kind == Segment::Kind::kRest;
  if (inexact && !path.slash() && tree.has_with_slash(host, request.method(), path)) {
    return redirect(request, writer, path.cleaned() + '/');
  }
  if (found) return call(request, writer, match);
  std::vector<Method> methods = tree.methods(host, path);
  std::erase(methods, Method::kConnect);  // "CONNECT /" is about no path, so not about this one
  if (!methods.empty()) return refuse_method(writer, methods);
  answer_text(writer, kStatusNotFound, "404 page not found\n");
}

void Mux::Group::handle(std::string_view pattern, Handler handler) {
  // The method, if there is one, stands in front of what the prefix is put before.
  std::size_t path = pattern.find_first_of(" \t");
  path = path == std::string_view::npos ? 0 : std::min(pattern.find_first_not_of(" \t", path), pattern.size());
  if (pattern.substr(path, 1) != "/") {
    throw std::invalid_argument("route \"" + std::string(pattern) + "\" of the group \"" + prefix_ +
                                "\": the path must begin with '/'");
  }
  mux_.handle(std::string(pattern.substr(0, path)) + prefix_ + std::string(pattern.substr(path)), std::move(handler));
}

Mux::Group Mux::Group::group(std::string_view prefix, std::vector<Middleware> middleware) const {
  const bool begins = prefix_.empty() ? prefix.find('/') != std::string_view::npos : prefix.starts_with('/');
  if (!begins || prefix.ends_with('/') || prefix.find_first_of(" \t") != std::string_view::npos) {
    throw std::invalid_argument("group \"" + std::string(prefix) +
                                "\": a prefix begins with '/', does not end with it, and has no method");
  }
  Group inner(mux_, prefix_ + std::string(prefix));
  for (Middleware& one : middleware) inner.use(std::move(one));
  return inner;
}

}  // namespace heddle::http
