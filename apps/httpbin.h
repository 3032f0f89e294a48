// heddle-httpbin's endpoints, a group to a file: each add_…() puts its own on the Mux. httpbin_page.cc lists them all.
//
// I1. What a client may ask for is bounded, in number and in time, and stands in a constant at the top of its file; what is
//     beyond is a 400 that names the bound. So no request costs more than these say, however it is worded.
// I2. Every wait ends when the client goes away, but for /spin and /block, which are there to be in the way.
// I3. No body is held whole but those that are shown as JSON, of kMaxShown bytes at most.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <heddle/core/error.h>
#include <heddle/http/form.h>
#include <heddle/http/json.h>
#include <heddle/http/mux.h>
#include <heddle/http/request.h>
#include <heddle/http/response_writer.h>

namespace heddle::apps::httpbin {

using http::Mux;
using http::Request;
using http::ResponseWriter;

// ---- the endpoints ----

void add_basics(Mux& mux);  // httpbin_basics.cc: /plaintext, /json, /status, /delay, redirects, /panic, /spin, /block …
void add_bodies(Mux& mux);   // httpbin_bodies.cc: /echo, /upload, /chunked, /stream, /bytes, /range, /drip, /sse …
void add_showing(Mux& mux);  // httpbin_showing.cc: /headers, /get, /post …, /anything, /ip, /uuid, cookies
void add_fields(Mux& mux);   // httpbin_fields.cc: /set-header, /response-headers, authentication, caching, codings
void add_formats(Mux& mux);  // httpbin_formats.cc: /html, /xml, /image, /encoding/utf8, /links, /base64 …
void add_ws(Mux& mux);       // httpbin_ws.cc: /ws
void add_page(Mux& mux);     // httpbin_page.cc: the page at / and what its demos need

/// The files beneath `root` at /static/. Errors: as http::static_files().
[[nodiscard]] Result<void> add_static(Mux& mux, const std::string& root);

// ---- what they share (httpbin.cc has main() alone; this is in httpbin_shared.cc) ----

/// Bytes of a body that is shown as JSON.
inline constexpr std::size_t kMaxShown = 1 << 20;

/// Answers 400 and {"error": why}. Returns nothing, of any kind: `return bad_request(…)` in what returns an optional.
std::nullopt_t bad_request(ResponseWriter& writer, const std::string& why);

/// Answers 503 where a wait ended before its time and nothing was sent: the client has gone, or has ended its half of the
/// connection alone, and then it is told.
void called_off(ResponseWriter& writer);

/// The number that {name} of the path is; nothing if it is none, or not from `least` to `most`: then 400 is answered.
[[nodiscard]] std::optional<std::uint64_t> path_number(Request& request, ResponseWriter& writer, std::string_view name,
                                                       std::uint64_t least, std::uint64_t most);

/// The pairs of the query; nothing if they are none: then 400 is answered.
[[nodiscard]] std::optional<http::FormValues> query_of(Request& request, ResponseWriter& writer);

/// The number that `name` is in the query, `otherwise` if it is not there; nothing as path_number().
[[nodiscard]] std::optional<std::uint64_t> query_number(const http::FormValues& query, ResponseWriter& writer,
                                                        std::string_view name, std::uint64_t otherwise,
                                                        std::uint64_t least, std::uint64_t most);

/// The same for seconds, "1.5".
[[nodiscard]] std::optional<std::chrono::milliseconds> query_seconds(const http::FormValues& query,
                                                                     ResponseWriter& writer, std::string_view name,
                                                                     double otherwise, double most);

/// "http://host/path?query" as the client asked for it; without a host if it named none (HTTP/1.0).
[[nodiscard]] std::string url_of(const Request& request);

/// {"args", "headers", "origin", "url"}: what /get answers.
[[nodiscard]] nlohmann::json shown(const Request& request, const http::FormValues& query);

/// Names and values as an object; several values of one name as an array.
[[nodiscard]] nlohmann::json as_json(const http::FormValues& values);

/// What a body made here consists of: fills `to` with the bytes from `offset` on.
using Content = std::function<void(std::uint64_t offset, std::span<char> to)>;

/// Writes `size` bytes of `content` from `offset` on. Errors: as ResponseWriter::write().
Result<void> write_content(ResponseWriter& writer, const Content& content, std::uint64_t offset, std::uint64_t size);

/// Answers with `size` bytes of `content`, or the part of it that Range asks for, if the conditions hold (RFC 9110 s13, s14).
void answer_ranged(Request& request, ResponseWriter& writer, std::string_view type, const std::string& etag,
                   std::uint64_t size, const Content& content);

}  // namespace heddle::apps::httpbin
