// httpbin's documents: one of each format that clients tell apart, text in many scripts, pages of links, base64.
#include <algorithm>
#include <array>
#include <string>

#include <heddle/http/base64.h>
#include <heddle/http/negotiate.h>
#include <heddle/http/status.h>

#include "httpbin.h"

namespace heddle::apps::httpbin {
namespace {

constexpr std::uint64_t kMaxLinks = 200;
constexpr int kNotAcceptable = 406;  // RFC 9110 s15.5.7

constexpr std::string_view kHtml = R"(<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>The weaver</title></head>
<body>
<h1>The weaver</h1>
<p>Each thread goes through the eye of its own heddle, and all of them through the reed. What lifts together was hung
together; the shuttle asks no thread how long it has waited.</p>
</body>
</html>
)";

constexpr std::string_view kXml = R"(<?xml version="1.0" encoding="utf-8"?>
<loom shafts="4">
  <shaft number="1"><thread colour="blue"/><thread colour="sand"/></shaft>
  <shaft number="2"><thread colour="sand"/><thread colour="blue"/></shaft>
</loom>
)";

constexpr std::string_view kUtf8 = R"(<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>UTF-8</title></head>
<body>
<h1>UTF-8</h1>
<pre>
Latin      naïve façade, Żółw, Þórður, ŷ ů ű
Greek      ὁ ἱστός, Πηνελόπη
Cyrillic   ткацкий станок
Hebrew     נוֹל          Arabic   نَوْل
Devanagari करघा          Thai     กี่ทอผ้า
Chinese    織機 织机      Japanese 織り機 はたおり  Korean 베틀
Maths      ∀x∈ℝ: ⌈x⌉ = −⌊−x⌋, ∮ E·da = Q, ½ ≠ ⅔, 𝒳 ⊆ 𝔸
Marks      e + ́ = é, a̐éö̲
Signs      € £ ¥ © ® ™ … – — „ “ ” ‚ ’
Beyond     🧶 🧵 👩🏽‍🌾 🇪🇺 𐍈 𝄞
</pre>
</body>
</html>
)";

constexpr std::string_view kForm = R"(<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>A form</title></head>
<body>
<form method="post" action="/post" enctype="multipart/form-data">
  <p><label>Name <input name="name"></label> <label>E-mail <input type="email" name="email"></label></p>
  <p><label><input type="radio" name="weave" value="plain" checked> plain</label>
     <label><input type="radio" name="weave" value="twill"> twill</label></p>
  <p><label><input type="checkbox" name="colour" value="blue"> blue</label>
     <label><input type="checkbox" name="colour" value="sand"> sand</label></p>
  <p><label>When <input type="time" name="when"></label> <label>Pattern <input type="file" name="pattern"></label></p>
  <p><label>Remarks <textarea name="remarks"></textarea></label></p>
  <p><button>Weave</button></p>
</form>
</body>
</html>
)";

constexpr std::string_view kSvg = R"(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 4 4" width="64" height="64">
  <path fill="#eda" d="M0 0h4v4H0z"/>
  <path fill="#358" d="M0 0h1v1H0zm2 0h1v1H2zM1 1h1v1H1zm2 0h1v1H3zM0 2h1v1H0zm2 0h1v1H2zM1 3h1v1H1zm2 0h1v1H3z"/>
</svg>
)";

// The same, 16 by 16, of two colours.
constexpr std::string_view kPng =
    "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQAQMAAAAlPW0iAAAABlBMVEUzVYju3apefh6tAAAAE0lEQVR42mP48IEBjvj5EQiHOADTHw/"
    "xfR4kbwAAAABJ"
    "RU5ErkJggg==";

http::Handler document(std::string type, std::string body) {
  return [type = std::move(type), body = std::move(body)](Request&, ResponseWriter& w) {
    w.set_header("Content-Type", type);
    w.write(body);
  };
}

// In the type that the client likes best, or none.
void image(Request& r, ResponseWriter& w) {
  constexpr std::array<std::string_view, 2> kOffers = {"image/png", "image/svg+xml"};
  w.set_header("Vary", "Accept");
  const auto at = http::choose_media_type(r.headers(), kOffers);
  if (!at) return static_cast<void>(http::write_json(w, {{"accept", kOffers}}, kNotAcceptable));
  w.set_header("Content-Type", kOffers[*at]);
  if (*at == 0) {
    w.write(*http::decode_base64(kPng));
  } else {
    w.write(kSvg);
  }
}

// ---- links ----

void links(Request& r, ResponseWriter& w) {
  const auto n = path_number(r, w, "n", 1, kMaxLinks);
  if (!n) return;
  const auto offset = path_number(r, w, "offset", 0, kMaxLinks - 1);
  if (!offset) return;
  std::string page = "<!doctype html><html lang=\"en\"><head><title>Links</title></head><body>";
  for (std::uint64_t i = 0; i < *n; ++i) {
    const std::string number = std::to_string(i);
    page += i == *offset ? number : "<a href=\"/links/" + std::to_string(*n) + "/" + number + "\">" + number + "</a>";
    page += ' ';
  }
  w.set_header("Content-Type", "text/html; charset=utf-8");
  w.write(page + "</body></html>\n");
}

void first_link(Request& r, ResponseWriter& w) {
  const auto n = path_number(r, w, "n", 1, kMaxLinks);
  if (!n) return;
  w.status(http::kStatusFound);
  w.set_header("Location", "/links/" + std::to_string(*n) + "/0");
}

// ---- base64 ----

// What a client made up is text, and no browser is to find a page in it.
void answer_text(ResponseWriter& w, const std::string& text) {
  w.set_header("Content-Type", "text/plain; charset=utf-8");
  w.set_header("X-Content-Type-Options", "nosniff");
  w.write(text);
}

void decode(Request& r, ResponseWriter& w) {
  const std::string_view text = r.path_value("value");
  const auto bytes = http::decode_base64(text, text.ends_with('=') ? http::Base64::kUrl : http::Base64::kRawUrl);
  if (!bytes)
    return static_cast<void>(bad_request(w, "no base64 of the URL-safe alphabet, with its padding or without any"));
  answer_text(w, *bytes);
}

void encode(Request& r, ResponseWriter& w) {
  answer_text(w, http::encode_base64(r.path_value("value"), http::Base64::kUrl));
}

}  // namespace

void add_formats(Mux& mux) {
  mux.handle("GET /html", document("text/html; charset=utf-8", std::string(kHtml)));
  mux.handle("GET /xml", document("application/xml", std::string(kXml)));
  mux.handle("GET /encoding/utf8", document("text/html; charset=utf-8", std::string(kUtf8)));
  mux.handle("GET /forms/post", document("text/html; charset=utf-8", std::string(kForm)));
  mux.handle("GET /robots.txt", document("text/plain", "User-agent: *\nDisallow: /deny\n"));
  mux.handle("GET /deny", document("text/plain", "robots.txt asks robots to stay away from here.\n"));
  mux.handle("GET /image", image);
  mux.handle("GET /image/png", document("image/png", *http::decode_base64(kPng)));
  mux.handle("GET /image/svg", document("image/svg+xml", std::string(kSvg)));
  mux.handle("GET /links/{n}", first_link);
  mux.handle("GET /links/{n}/{offset}", links);
  mux.handle("GET /base64/{value}", decode);
  mux.handle("GET /base64/decode/{value}", decode);
  mux.handle("GET /base64/encode/{value}", encode);
}

}  // namespace heddle::apps::httpbin
