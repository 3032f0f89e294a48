// httpbin's plain answers: texts, status codes, redirects; and the ways to be late, or in the way.
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <random>
#include <vector>

#include <heddle/core/clock.h>
#include <heddle/core/context.h>
#include <heddle/core/panic.h>
#include <heddle/http/status.h>
#include <heddle/http/url.h>

#include "httpbin.h"

namespace heddle::apps::httpbin {
namespace {

constexpr std::uint64_t kMaxDelay = 600'000;  // ms; longer than clients wait
constexpr std::uint64_t kMaxBusy = 60'000;    // ms of /spin and /block
constexpr std::uint64_t kMaxRedirects = 100;

void plaintext(Request&, ResponseWriter& w) {
  w.set_header("Content-Type", "text/plain");
  w.write("Hello, World!");
}

void json(Request&, ResponseWriter& w) {
  w.set_header("Content-Type", "application/json");
  w.write(R"({"message":"Hello, World!"})");
}

// One of "200,503" or, by weight, "200:9,503:1"; nothing if it is no such list: then 400 is answered.
std::optional<int> chosen_status(std::string_view list, ResponseWriter& w) {
  constexpr const char* kWhy =
      "code is a number from 200 to 599, or a list: 200,503 or, with weights up to 1000, 200:9,503:1";
  struct Choice {
    int code;
    std::uint64_t up_to;  // the sum of the weights, this one's included
  };
  std::vector<Choice> choices;
  std::uint64_t sum = 0;
  for (bool more = true; more;) {
    const std::size_t comma = list.find(',');
    const std::string_view one = list.substr(0, comma);
    const std::size_t colon = one.find(':');
    int code = 0, weight = 1;
    const auto read = [](std::string_view text, int& to) {
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), to);
      return error == std::errc{} && end == text.data() + text.size();
    };
    if (!read(one.substr(0, colon), code) || code < 200 || code > 599 ||
        (colon != one.npos && (!read(one.substr(colon + 1), weight) || weight < 1 || weight > 1000)))
      return bad_request(w, kWhy);
    choices.push_back({code, sum += static_cast<std::uint64_t>(weight)});
    more = comma != list.npos;
    if (more) list.remove_prefix(comma + 1);
  }
  const std::uint64_t at = choices.size() == 1 ? 0 : std::random_device{}() % sum;
  return std::ranges::upper_bound(choices, at, {}, &Choice::up_to)->code;
}

// With the field that clients need to act on the code.
void status(Request& r, ResponseWriter& w) {
  const auto code = chosen_status(r.path_value("code"), w);
  if (!code) return;
  w.status(*code);
  switch (*code) {
    case 301:
    case 302:
    case 303:
    case 307:
    case 308: w.set_header("Location", "/redirect/1"); break;
    case 401: w.set_header("WWW-Authenticate", "Basic realm=\"httpbin\""); break;
    case 405: w.set_header("Allow", "GET"); break;
    case 407: w.set_header("Proxy-Authenticate", "Basic realm=\"httpbin\""); break;
    case 429:
    case 503: w.set_header("Retry-After", "1"); break;
    default: break;
  }
}

void delay(Request& r, ResponseWriter& w) {
  const auto ms = path_number(r, w, "ms", 0, kMaxDelay);
  if (!ms) return;
  if (!sleep(r.context(), std::chrono::milliseconds(*ms))) return called_off(w);
  http::write_json(w, {{"delay_ms", *ms}});
}

void spin(Request& r, ResponseWriter& w) {
  const auto ms = path_number(r, w, "ms", 0, kMaxBusy);
  if (!ms) return;
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(*ms);
  std::uint64_t rounds = 0;
  while (std::chrono::steady_clock::now() < until) ++rounds;
  http::write_json(w, {{"spin_ms", *ms}, {"rounds", rounds}});
}

// As code does that knows nothing of goroutines: it takes its thread along.
void block(Request& r, ResponseWriter& w) {
  const auto ms = path_number(r, w, "ms", 0, kMaxBusy);
  if (!ms) return;
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(*ms);
  for (;;) {  // a signal ends a usleep() early
    const auto left = std::chrono::ceil<std::chrono::microseconds>(until - std::chrono::steady_clock::now()).count();
    if (left <= 0) break;
    ::usleep(static_cast<useconds_t>(left));
  }
  http::write_json(w, {{"block_ms", *ms}});
}

// /redirect/3 -> /redirect/2 -> /redirect/1 -> /get
void redirect(Request& r, ResponseWriter& w, bool absolute) {
  const auto n = path_number(r, w, "n", 1, kMaxRedirects);
  if (!n) return;
  if (absolute && r.host().empty()) return static_cast<void>(bad_request(w, "an absolute redirect needs a Host"));
  const std::string front = absolute ? "http://" + std::string(r.host()) : "";
  const std::string path = absolute ? "/absolute-redirect/" : "/redirect/";
  w.status(http::kStatusFound);
  w.set_header("Location", front + (*n == 1 ? "/get" : path + std::to_string(*n - 1)));
}

void redirect_to(Request& r, ResponseWriter& w) {
  const auto query = query_of(r, w);
  if (!query) return;
  const auto code = query_number(*query, w, "status_code", http::kStatusFound, 300, 399);
  if (!code) return;
  const auto url = query->find("url");
  // By the rules of a client: so no field is split, and no script is called.
  if (!url || !http::Url().resolve(*url))
    return static_cast<void>(bad_request(w, "url is an http URL, absolute or not"));
  w.status(static_cast<int>(*code));
  w.set_header("Location", *url);
}

}  // namespace

void add_basics(Mux& mux) {
  mux.handle("GET /plaintext", plaintext);
  mux.handle("GET /json", json);
  mux.handle("/status/{code}", status);
  mux.handle("/delay/{ms}", delay);
  mux.handle("GET /spin/{ms}", spin);
  mux.handle("GET /block/{ms}", block);
  mux.handle("/panic", [](Request&, ResponseWriter&) { panic("asked for by /panic"); });
  for (const char* pattern : {"/redirect/{n}", "/relative-redirect/{n}"})
    mux.handle(pattern, [](Request& r, ResponseWriter& w) { redirect(r, w, false); });
  mux.handle("/absolute-redirect/{n}", [](Request& r, ResponseWriter& w) { redirect(r, w, true); });
  mux.handle("/redirect-to", redirect_to);
}

}  // namespace heddle::apps::httpbin
