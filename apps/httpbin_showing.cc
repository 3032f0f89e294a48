// httpbin's mirrors: what a request was, as JSON; and cookies, which show what a client keeps.
#include <sys/random.h>

#include <array>
#include <cstdint>

#include <heddle/core/check.h>
#include <heddle/http/cookie.h>
#include <heddle/http/header.h>
#include <heddle/http/read_form.h>
#include <heddle/http/status.h>

#include "httpbin.h"

namespace heddle::apps::httpbin {
namespace {

// All in memory, for it is all shown.
http::FormOptions form_options() {
  http::FormOptions options;
  options.parts.max_part_bytes = kMaxShown;
  options.fields.max_bytes = kMaxShown;
  options.memory_per_file = kMaxShown;
  options.memory = 2 * kMaxShown;
  return options;
}

void failed(ResponseWriter& w, const Error& error) {
  http::write_json(w, {{"error", error.message()}}, http::status_for(error));
}

bool is_form(const Request& r) {
  const std::string_view value = r.header("Content-Type").value_or("");
  const std::string_view type = http::trim_blanks(value.substr(0, value.find(';')));
  return http::equal_fold(type, "multipart/form-data") || http::equal_fold(type, "application/x-www-form-urlencoded");
}

// Adds what the body says, by its type: {"data", "files", "form", "json"}. False: answered already.
bool show_body(Request& r, ResponseWriter& w, nlohmann::json& out) {
  out["data"] = "";
  out["files"] = out["form"] = nlohmann::json::object();
  out["json"] = nullptr;
  r.limit_body(kMaxShown);
  if (is_form(r)) {
    Result<http::Form> form = http::read_form(r, form_options());
    if (!form) return failed(w, form.error()), false;
    out["form"] = as_json(form->values);
    http::FormValues files;
    for (const http::FormFile& file : form->files) {
      Result<std::string> text = file.read_all(kMaxShown);
      if (!text) return failed(w, text.error()), false;
      files.add(file.name, std::move(*text));
    }
    out["files"] = as_json(files);
    return true;
  }
  const Result<std::string> body = r.read_all(kMaxShown);
  if (!body) return failed(w, body.error()), false;
  out["data"] = *body;
  if (auto value = http::parse_json(*body)) out["json"] = std::move(*value);
  return true;
}

void show(Request& r, ResponseWriter& w) {
  const auto query = query_of(r, w);
  if (query) http::write_json(w, shown(r, *query));
}

void show_with_body(Request& r, ResponseWriter& w, bool method) {
  const auto query = query_of(r, w);
  if (!query) return;
  nlohmann::json out = shown(r, *query);
  if (method) out["method"] = http::to_string(r.method());
  if (show_body(r, w, out)) http::write_json(w, out);
}

// One part of what /get says.
http::Handler only(const char* key) {
  return [key](Request& r, ResponseWriter& w) {
    const nlohmann::json all = shown(r, {});
    http::write_json(w, {{key, all[key]}});
  };
}

// RFC 9562 s5.4.
void uuid(Request&, ResponseWriter& w) {
  std::array<std::uint8_t, 16> id;
  HEDDLE_CHECK(::getrandom(id.data(), id.size(), 0) == static_cast<ssize_t>(id.size()));
  id[6] = static_cast<std::uint8_t>((id[6] & 0x0f) | 0x40);
  id[8] = static_cast<std::uint8_t>((id[8] & 0x3f) | 0x80);
  std::string text;
  for (std::size_t i = 0; i < id.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += "0123456789abcdef"[id[i] >> 4];
    text += "0123456789abcdef"[id[i] & 0xf];
  }
  http::write_json(w, {{"uuid", text}});
}

// ---- cookies ----

void cookies(Request& r, ResponseWriter& w) {
  nlohmann::json out = nlohmann::json::object();
  for (const http::RequestCookie& cookie : http::cookies(r))
    out.emplace(cookie.name, cookie.value);  // the first counts
  http::write_json(w, {{"cookies", out}});
}

void to_cookies(ResponseWriter& w) {
  w.status(http::kStatusFound);
  w.set_header("Location", "/cookies");
}

bool put_cookie(ResponseWriter& w, const http::Cookie& cookie) {
  if (http::set_cookie(w, cookie)) return true;
  w.remove_header("Set-Cookie");  // none of several is set
  bad_request(w, "a cookie that a client would not keep, or read otherwise");
  return false;
}

void set_cookies(Request& r, ResponseWriter& w) {
  const auto query = query_of(r, w);
  if (!query) return;
  for (const auto& [name, value] : *query) {
    if (!put_cookie(w, {.name = name, .value = value})) return;
  }
  to_cookies(w);
}

void set_one_cookie(Request& r, ResponseWriter& w) {
  if (put_cookie(w, {.name = std::string(r.path_value("name")), .value = std::string(r.path_value("value"))})) {
    to_cookies(w);
  }
}

void delete_cookies(Request& r, ResponseWriter& w) {
  const auto query = query_of(r, w);
  if (!query) return;
  for (const auto& [name, value] : *query) {
    if (!put_cookie(w, {.name = name, .value = "", .max_age = std::chrono::seconds(0)})) return;
  }
  to_cookies(w);
}

}  // namespace

void add_showing(Mux& mux) {
  mux.handle("GET /headers", only("headers"));
  mux.handle("GET /ip", only("origin"));
  mux.handle("GET /user-agent", [](Request& r, ResponseWriter& w) {
    const auto agent = r.header("User-Agent");
    http::write_json(w, {{"user-agent", agent ? nlohmann::json(*agent) : nlohmann::json()}});
  });
  mux.handle("GET /uuid", uuid);
  mux.handle("GET /get", show);
  for (const char* pattern : {"POST /post", "PUT /put", "PATCH /patch", "DELETE /delete"}) {
    mux.handle(pattern, [](Request& r, ResponseWriter& w) { show_with_body(r, w, false); });
  }
  for (const char* pattern : {"/anything", "/anything/{path...}"}) {
    mux.handle(pattern, [](Request& r, ResponseWriter& w) { show_with_body(r, w, true); });
  }
  mux.handle("GET /cookies", cookies);
  mux.handle("GET /cookies/set", set_cookies);
  mux.handle("GET /cookies/set/{name}/{value}", set_one_cookie);
  mux.handle("GET /cookies/delete", delete_cookies);
}

}  // namespace heddle::apps::httpbin
