// httpbin's header fields: set by the client's wish, for authentication, for caches, for codings of the body.
#include <zlib.h>

#include <ctime>
#include <new>

#include <heddle/http/auth.h>
#include <heddle/http/compress.h>
#include <heddle/http/conditional.h>
#include <heddle/http/date.h>
#include <heddle/http/negotiate.h>
#include <heddle/http/status.h>

#include "httpbin.h"

namespace heddle::apps::httpbin {
namespace {

constexpr std::uint64_t kMaxAge = 366 * 24 * 3600;  // s

// ---- by wish ----

// A field that the writer refuses is none that a response could have: an answer split in two is one of those. So is a length
// that is not the body's.
bool put_field(ResponseWriter& w, std::string_view name, std::string_view value) {
  if (!http::equal_fold(name, "Content-Length") && w.add_header(name, value)) return true;
  return false;
}

void set_header(Request& r, ResponseWriter& w) {
  const auto query = query_of(r, w);
  if (!query) return;
  const auto name = query->find("name"), value = query->find("value");
  if (!name || !value) return static_cast<void>(bad_request(w, "name and value are wanted in the query"));
  const std::string text =
      nlohmann::json{{"name", *name}, {"value", *value}}.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  if (!http::equal_fold(*name, "Content-Type")) w.set_header("Content-Type", "application/json");
  if (!put_field(w, *name, *value)) {
    return static_cast<void>(bad_request(w, "no field that a handler can set, or no value of one"));
  }
  w.write(text);
}

void response_headers(Request& r, ResponseWriter& w) {
  const auto query = query_of(r, w);
  if (!query) return;
  const ResponseWriter::Mark nothing = w.mark();
  bool typed = false;
  for (const auto& [name, value] : *query) {
    typed = typed || http::equal_fold(name, "Content-Type");
    if (put_field(w, name, value)) continue;
    w.rewind(nothing);
    return static_cast<void>(bad_request(w, "no field that a handler can set, or no value of one"));
  }
  if (!typed) w.set_header("Content-Type", "application/json");
  w.write(as_json(*query).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

// ---- authentication ----

// Hidden: who is not let in is not told that there is something.
void basic(Request& r, ResponseWriter& w, bool hidden) {
  const auto field = r.headers().find_only("Authorization");
  const auto given = field ? http::parse_basic(*field) : std::nullopt;
  const bool known = given && http::equal_secret(given->user, r.path_value("user")) &&
                     http::equal_secret(given->password, r.path_value("password"));
  if (!known && hidden) return static_cast<void>(http::write_json(w, {{"error", "not found"}}, http::kStatusNotFound));
  if (!known) {
    w.set_header("WWW-Authenticate", "Basic realm=\"httpbin\", charset=\"UTF-8\"");
    return static_cast<void>(http::write_json(w, {{"authenticated", false}}, http::kStatusUnauthorized));
  }
  http::write_json(w, {{"authenticated", true}, {"user", given->user}});
}

void bearer(Request& r, ResponseWriter& w) {
  const auto field = r.headers().find_only("Authorization");
  const auto token = field ? http::parse_bearer(*field) : std::nullopt;
  if (!token) {
    w.set_header("WWW-Authenticate", "Bearer realm=\"httpbin\"");
    return static_cast<void>(http::write_json(w, {{"authenticated", false}}, http::kStatusUnauthorized));
  }
  http::write_json(w, {{"authenticated", true}, {"token", *token}});
}

// ---- caches ----

// Has not changed for whoever has seen it.
void cache(Request& r, ResponseWriter& w) {
  if (r.header("If-Modified-Since") || r.header("If-None-Match")) {
    return static_cast<void>(w.status(http::kStatusNotModified));
  }
  const auto query = query_of(r, w);
  if (!query) return;
  w.set_header("Last-Modified", http::format_date(std::chrono::sys_seconds(std::chrono::seconds(std::time(nullptr)))));
  w.set_header("ETag", "\"cache\"");
  http::write_json(w, shown(r, *query));
}

void cache_for(Request& r, ResponseWriter& w) {
  const auto n = path_number(r, w, "n", 0, kMaxAge);
  if (!n) return;
  const auto query = query_of(r, w);
  if (!query) return;
  w.set_header("Cache-Control", "public, max-age=" + std::to_string(*n));
  http::write_json(w, shown(r, *query));
}

void etag(Request& r, ResponseWriter& w) {
  const std::string tag = "\"" + std::string(r.path_value("etag")) + "\"";
  if (!http::is_etag(tag)) return static_cast<void>(bad_request(w, "not what an entity tag may consist of"));
  const auto query = query_of(r, w);
  if (!query) return;
  w.set_header("ETag", tag);
  switch (http::check_preconditions(r.headers(), r.method(), {.etag = tag, .modified = {}})) {
    case http::Precondition::kProceed: return static_cast<void>(http::write_json(w, shown(r, *query)));
    case http::Precondition::kNotModified: return static_cast<void>(w.status(http::kStatusNotModified));
    case http::Precondition::kFailed: return static_cast<void>(w.status(http::kStatusPreconditionFailed));
  }
}

// ---- codings ----

// A client that does not accept the coding gets the body without it, and `key` says which it was.
void coded(Request& r, ResponseWriter& w, const char* key, std::string_view coding) {
  nlohmann::json out = shown(r, {});
  out[key] = http::choose_coding(r.headers(), {&coding, 1}) == coding;
  http::write_json(w, out);
}

http::Middleware always(const std::string& coding) {
  http::CompressOptions options;
  options.codings = {coding};
  options.min_size = 0;
  return http::compress(options);
}

// "deflate" is zlib's format (RFC 9110 s8.4.1.2). heddle neither offers it nor asks for it, for clients disagree on what it
// is: so it is made here.
void deflate(Request& r, ResponseWriter& w) {
  constexpr std::string_view kCoding = "deflate";
  nlohmann::json out = shown(r, {});
  const bool accepted = http::choose_coding(r.headers(), {&kCoding, 1}) == kCoding;
  out["deflated"] = accepted;
  w.set_header("Vary", "Accept-Encoding");
  if (!accepted) return static_cast<void>(http::write_json(w, out));
  const std::string text = out.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  std::string packed(::compressBound(text.size()), '\0');
  uLongf size = packed.size();
  if (::compress(reinterpret_cast<Bytef*>(packed.data()), &size, reinterpret_cast<const Bytef*>(text.data()),
                 text.size()) != Z_OK) {
    throw std::bad_alloc();
  }
  packed.resize(size);
  w.set_header("Content-Type", "application/json");
  w.set_header("Content-Encoding", kCoding);
  w.write(packed);
}

}  // namespace

void add_fields(Mux& mux) {
  mux.handle("GET /set-header", set_header);
  mux.handle("GET /response-headers", response_headers);
  mux.handle("POST /response-headers", response_headers);
  mux.handle("GET /basic-auth/{user}/{password}", [](Request& r, ResponseWriter& w) { basic(r, w, false); });
  mux.handle("GET /hidden-basic-auth/{user}/{password}", [](Request& r, ResponseWriter& w) { basic(r, w, true); });
  mux.handle("GET /bearer", bearer);
  mux.handle("GET /cache", cache);
  mux.handle("GET /cache/{n}", cache_for);
  mux.handle("GET /etag/{etag}", etag);
  mux.handle("GET /deflate", deflate);
  struct Coding {
    const char *path, *name, *key;
  };
  for (const Coding c : {Coding{"/gzip", "gzip", "gzipped"}, {"/brotli", "br", "brotli"}, {"/zstd", "zstd", "zstd"}}) {
    mux.handle(std::string("GET ") + c.path,
               always(c.name)([c](Request& r, ResponseWriter& w) { coded(r, w, c.key, c.name); }));
  }
}

}  // namespace heddle::apps::httpbin
