// Targets and paths: what split_target() takes is made of the allowed bytes and gives back its parts; a cleaned path is the
// one that a simple reading of RFC 3986 s5.2.4 comes to, never leaves the root, is clean, and cannot be taken for a host;
// escaping a segment and decoding it is the identity.
//
// Input: a target.
#include <heddle/http/internal/path.h>
#include <heddle/http/internal/target.h>

#include "fuzz.h"

namespace heddle::http {
namespace {

std::string decoded(std::string_view segment) {
  std::string out;
  FUZZ_CHECK(decode_segment(segment, out));
  return out;
}

// The decoded segments of an escaped path, without empty and dot segments.
std::vector<std::string> simple_clean(std::string_view raw, bool& slash) {
  std::vector<std::string> kept;
  slash = true;
  while (!raw.empty()) {
    raw.remove_prefix(1);
    const std::string_view one = raw.substr(0, raw.find('/'));
    raw.remove_prefix(one.size());
    const std::string segment = decoded(one);
    slash = segment.empty() || segment == "." || segment == "..";
    if (segment == ".." && !kept.empty()) kept.pop_back();
    if (!slash) kept.push_back(segment);
  }
  return kept;
}

std::vector<std::string> segments(const SplitPath& path) {
  std::vector<std::string> all;
  for (std::size_t i = 0; i < path.size(); ++i) all.emplace_back(path[i]);
  return all;
}

void check_path(std::string_view raw) {
  const fuzz::Exact memory(raw);
  const SplitPath path(memory);
  for (std::size_t i = 0; i < path.size(); ++i) {
    FUZZ_CHECK(!path[i].empty());
    FUZZ_CHECK(path.from(i).starts_with(path[i]));
  }
  FUZZ_CHECK(path.from(path.size()).empty());
  FUZZ_CHECK(path.slash() == raw.ends_with('/'));

  const std::string clean = path.cleaned();
  bool slash = false;
  const std::vector<std::string> wanted = simple_clean(raw, slash);
  const SplitPath again(clean);
  FUZZ_CHECK(again.is_clean());
  FUZZ_CHECK(segments(again) == wanted);
  FUZZ_CHECK(again.slash() == (slash || wanted.empty()));
  FUZZ_SAME(again.cleaned(), clean);
  FUZZ_CHECK(clean.starts_with('/') && !clean.starts_with("//"));
  FUZZ_CHECK(clean.find('\\') == std::string::npos && clean.find('?') == std::string::npos);
  Target target;
  FUZZ_CHECK(split_target(clean, Method::kGet, target));
  if (path.is_clean()) FUZZ_CHECK(segments(path) == wanted);

  // %2F stays as it is: no slash more, none less.
  const std::string plain = decode_path(raw);
  FUZZ_CHECK(std::ranges::count(plain, '/') == std::ranges::count(raw, '/'));
}

}  // namespace
}  // namespace heddle::http

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace heddle::http;
  const std::string text(data, data + size);
  const heddle::fuzz::Exact exact(text);

  std::string escaped;
  encode_segment(exact, escaped);
  FUZZ_CHECK(escaped.find_first_of("/\\?# \"<>") == std::string::npos);
  FUZZ_SAME(decoded(escaped), text);
  std::string maybe;
  static_cast<void>(decode_segment(exact, maybe));

  if (is_host(exact)) {
    FUZZ_CHECK(text.find_first_of("/?#@ \\") == std::string::npos);
    const std::string_view host = host_without_port(exact);
    FUZZ_CHECK(!host.empty() && is_host(host));
    FUZZ_SAME(host_without_port(host), host);
    FUZZ_CHECK(text.substr(host.size()).find_first_not_of(":0123456789") == std::string::npos);
  }

  Target authority;
  FUZZ_CHECK(split_target(exact, Method::kConnect, authority) == is_authority_form(exact));
  if (is_authority_form(exact)) {
    FUZZ_CHECK(is_host(exact) && authority.path.empty() && authority.query.empty());
    FUZZ_SAME(authority.authority, std::string_view(exact));
    FUZZ_CHECK(text.size() > host_without_port(exact).size() + 1);
  }

  Target target;
  if (!split_target(exact, Method::kGet, target)) return 0;
  for (const char c : text) FUZZ_CHECK(c > ' ' && c < '\x7f' && c != '#');
  FUZZ_CHECK(text.find("%00") == std::string::npos);
  FUZZ_CHECK(target.authority.empty() || is_host(target.authority));
  std::string joined =
      text.substr(0, text.find("://") != std::string::npos && text[0] != '/' ? text.find("://") + 3 : 0);
  joined.append(target.authority).append(target.path);
  FUZZ_CHECK(text.starts_with(joined));
  if (joined.size() < text.size()) FUZZ_SAME(joined + '?' + std::string(target.query), text);
  FUZZ_CHECK(target.escaped == (target.path.find('%') != std::string_view::npos));
  if (target.path.empty()) return 0;  // absolute-form
  FUZZ_CHECK(target.path.starts_with('/'));
  check_path(target.path);
  return 0;
}
