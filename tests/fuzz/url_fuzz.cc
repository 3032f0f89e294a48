// URLs: what was parsed and printed parses to the same, and so does what was resolved; nothing that a URL puts into a head can
// break out of it, and the server takes the target and the host that the client makes.
//
// Input: a line, a URL; a line, a reference.
#include <heddle/http/header.h>
#include <heddle/http/internal/target.h>
#include <heddle/http/url.h>

#include "fuzz.h"

namespace heddle::http {
namespace {

void check(const Url& url) {
  const std::string text = url.to_string();
  for (const char c : text) FUZZ_CHECK(c > ' ' && c < '\x7f');
  const Result<Url> again = Url::parse(text);
  FUZZ_CHECK(again.has_value());
  FUZZ_SAME(again->to_string(), text);
  FUZZ_CHECK(again->same_origin(url) && url.same_origin(*again));
  FUZZ_CHECK(again->scheme() == url.scheme() && again->port() == url.port());
  FUZZ_SAME(again->host(), url.host());
  FUZZ_SAME(again->unix_socket(), url.unix_socket());
  FUZZ_SAME(again->path(), url.path());
  FUZZ_CHECK(again->query() == url.query() && again->fragment() == url.fragment());

  FUZZ_CHECK(url.path().starts_with('/'));
  FUZZ_CHECK((url.port() == 0) == (url.scheme() == Url::Scheme::kUnix));
  FUZZ_CHECK((url.scheme() == Url::Scheme::kUnix) == !url.unix_socket().empty());
  FUZZ_CHECK(url.unix_socket().find('\0') == std::string::npos);
  FUZZ_CHECK(is_host(url.authority()) && is_field_value(url.authority()));
  const std::string text_of_target = url.target();
  Target target;
  FUZZ_CHECK(split_target(text_of_target, Method::kGet, target));
  FUZZ_SAME(target.path, url.path());
  FUZZ_SAME(target.query, url.query().value_or(""));
  if (url.scheme() == Url::Scheme::kHttp) {
    const std::string form = url.without_fragment();
    Target absolute;
    FUZZ_CHECK(split_target(form, Method::kGet, absolute));
    FUZZ_SAME(absolute.authority, url.authority());
  }
}

bool has_dot_segment(std::string_view path) {
  const std::string all = std::string(path) + "/";
  return all.find("/./") != std::string::npos || all.find("/../") != std::string::npos;
}

}  // namespace
}  // namespace heddle::http

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace heddle::http;
  heddle::fuzz::Input input(data, size);
  const std::string text = input.line();
  const std::string reference = input.line();
  const heddle::Result<Url> url = Url::parse(heddle::fuzz::Exact(text));
  if (!url) return 0;
  const std::string_view behind = std::string_view(text).substr(text.find("://") + 3);
  FUZZ_CHECK(behind.substr(0, behind.find_first_of("/?#")).find('@') == std::string_view::npos);  // I2 of url.h
  check(*url);

  const heddle::Result<Url> same = url->resolve("");
  FUZZ_CHECK(same.has_value());
  FUZZ_SAME(same->without_fragment(), url->without_fragment());
  FUZZ_CHECK(!same->fragment());

  const heddle::Result<Url> resolved = url->resolve(heddle::fuzz::Exact(reference));
  if (!resolved) return 0;
  check(*resolved);
  const bool own_path = !reference.empty() && reference[0] != '?' && reference[0] != '#';
  if (own_path) FUZZ_CHECK(!has_dot_segment(resolved->path()));
  // Absolute, it says the same everywhere.
  const heddle::Result<Url> elsewhere = Url().resolve(resolved->to_string());
  FUZZ_CHECK(elsewhere.has_value());
  FUZZ_CHECK(elsewhere->same_origin(*resolved));
  if (own_path) FUZZ_SAME(elsewhere->to_string(), resolved->to_string());
  return 0;
}
