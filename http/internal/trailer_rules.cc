#include <heddle/http/internal/trailer_rules.h>

#include <algorithm>

#include <heddle/http/header.h>

namespace heddle::http {
namespace {

using namespace std::string_view_literals;

constexpr std::string_view kNever[] = {
    // framing, the connection and the way
    "Transfer-Encoding", "Content-Length", "Connection", "Keep-Alive", "Proxy-Connection", "Upgrade", "TE", "Trailer",
    "Host", "Via", "Forwarded",
    // controls and conditions
    "Cache-Control", "Expect", "Max-Forwards", "Pragma", "Range", "If-Match", "If-None-Match", "If-Modified-Since",
    "If-Unmodified-Since", "If-Range",
    // who somebody is
    "Authorization", "WWW-Authenticate", "Authentication-Info", "Proxy-Authorization", "Proxy-Authenticate",
    "Proxy-Authentication-Info", "Cookie", "Set-Cookie",
    // what the response means
    "Age", "Date", "Expires", "Location", "Retry-After", "Vary", "Warning",
    // how the content is to be read
    "Content-Encoding", "Content-Type", "Content-Range", "Content-Disposition"};

}  // namespace

bool may_be_trailer(std::string_view name) noexcept {
  // What proxies tell of the client decides as much as the address does.
  constexpr std::string_view kForwarded = "X-Forwarded-"sv;
  if (equal_fold(name.substr(0, kForwarded.size()), kForwarded)) return false;
  return std::ranges::none_of(kNever, [name](std::string_view never) { return equal_fold(name, never); });
}

}  // namespace heddle::http
