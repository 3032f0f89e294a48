#include <heddle/http/cors.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>

#include <heddle/http/header.h>
#include <heddle/http/status.h>

namespace heddle::http {
namespace {

bool contains(const std::vector<std::string>& list, std::string_view item) {
  return std::ranges::find(list, item) != list.end();
}

std::string join(const std::vector<std::string>& list) {
  std::string out;
  for (const std::string& item : list) {
    if (!out.empty()) out += ", ";
    out += item;
  }
  return out;
}

// scheme "://" host [":" port], in lower case, or "null": what browsers send.
bool is_origin(std::string_view origin) noexcept {
  if (origin == "null") return true;
  const std::size_t scheme = origin.find("://");
  if (scheme == 0 || scheme == std::string_view::npos) return false;
  const std::string_view host = origin.substr(scheme + 3);
  return !host.empty() && is_field_value(origin) && host.find_first_of("/?#@\\*, \t") == std::string_view::npos &&
         std::ranges::none_of(origin, [](char c) { return c >= 'A' && c <= 'Z'; });
}

void check_tokens(const std::vector<std::string>& list, const char* what) {
  for (const std::string& item : list) {
    if (!is_token(item)) throw std::invalid_argument(std::string("cors: ") + what + " \"" + item + "\"");
  }
}

class Cors {
 public:
  explicit Cors(CorsOptions options)
      : options_(std::move(options)),
        any_origin_(contains(options_.origins, "*")),
        any_header_(contains(options_.headers, "*")),
        methods_(join(options_.methods)),
        expose_(join(options_.expose)) {
    if (any_origin_ && (options_.credentials || options_.origins.size() > 1 || options_.allow_origin))
      throw std::invalid_argument("cors: \"*\" stands alone, and without credentials");
    if (options_.credentials && contains(options_.origins, "null"))
      throw std::invalid_argument("cors: \"null\" is anybody, and gets no credentials");
    for (const std::string& origin : options_.origins) {
      if (!any_origin_ && !is_origin(origin)) throw std::invalid_argument("cors: origin \"" + origin + "\"");
    }
    check_tokens(options_.methods, "method");
    if (contains(options_.methods, "*")) throw std::invalid_argument("cors: methods are listed by name");
    check_tokens(options_.headers, "header");
    check_tokens(options_.expose, "exposed header");
  }

  void handle(Request& r, ResponseWriter& w, const Handler& next) const {
    // Keeps I1: "*" is the same for all.
    if (!any_origin_) static_cast<void>(w.add_header("Vary", "Origin"));
    const std::optional<std::string_view> origin = r.headers().find_only("Origin");
    const bool allowed = origin && allows(*origin);
    const std::optional<std::string_view> method = r.headers().find_only("Access-Control-Request-Method");
    if (r.method() == Method::kOptions && origin && method)
      return preflight(r, w, allowed ? origin : std::nullopt, *method);
    if (allowed) {
      allow(w, *origin);
      if (!expose_.empty()) static_cast<void>(w.set_header("Access-Control-Expose-Headers", expose_));
    }
    next(r, w);
  }

 private:
  [[nodiscard]] bool allows(std::string_view origin) const {
    if (options_.credentials && origin == "null") return false;  // keeps I2
    return any_origin_ || contains(options_.origins, origin) ||
           (options_.allow_origin && options_.allow_origin(origin));
  }

  void allow(ResponseWriter& w, std::string_view origin) const {
    static_cast<void>(w.set_header("Access-Control-Allow-Origin", any_origin_ ? "*" : origin));
    if (options_.credentials) static_cast<void>(w.set_header("Access-Control-Allow-Credentials", "true"));
  }

  // `origin`: nothing if it is not allowed.
  void preflight(const Request& r, ResponseWriter& w, std::optional<std::string_view> origin,
                 std::string_view method) const {
    static_cast<void>(w.add_header("Vary", "Access-Control-Request-Method, Access-Control-Request-Headers"));
    const std::optional<std::string> fields = allowed_fields(r);
    if (!origin || !fields || !allows_method(method)) {
      static_cast<void>(w.status(kStatusForbidden));
      return;
    }
    static_cast<void>(w.status(kStatusNoContent));
    allow(w, *origin);
    if (!methods_.empty()) static_cast<void>(w.set_header("Access-Control-Allow-Methods", methods_));
    // By name and never as "*": that means nothing where there are credentials, and never Authorization.
    if (!fields->empty()) static_cast<void>(w.set_header("Access-Control-Allow-Headers", *fields));
    static_cast<void>(
        w.set_header("Access-Control-Max-Age", std::to_string(std::max<std::int64_t>(options_.max_age.count(), 0))));
  }

  [[nodiscard]] bool allows_method(std::string_view method) const {
    return contains(options_.methods, method) || method == "GET" || method == "HEAD" || method == "POST";
  }

  // What the preflight asks for, as a list; nothing if one of it is not allowed.
  [[nodiscard]] std::optional<std::string> allowed_fields(const Request& r) const {
    std::string fields;
    for (const HeaderField field : r.headers()) {
      if (!equal_fold(field.name, "Access-Control-Request-Headers")) continue;
      for (std::string_view rest = field.value; !rest.empty();) {
        const std::string_view name = next_element(rest);
        if (name.empty()) continue;
        const bool listed = any_header_ || std::ranges::any_of(options_.headers, [name](std::string_view one) {
                              return equal_fold(one, name);
                            });
        if (!listed || !is_token(name)) return std::nullopt;
        if (!fields.empty()) fields += ", ";
        fields += name;
      }
    }
    return fields;
  }

  const CorsOptions options_;
  const bool any_origin_;
  const bool any_header_;
  const std::string methods_;
  const std::string expose_;
};

}  // namespace

Middleware cors(CorsOptions options) {
  return [rules = std::make_shared<const Cors>(std::move(options))](Handler next) -> Handler {
    return [rules, next = std::move(next)](Request& r, ResponseWriter& w) { rules->handle(r, w, next); };
  };
}

}  // namespace heddle::http
