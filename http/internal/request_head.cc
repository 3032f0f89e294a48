#include <heddle/http/internal/request_head.h>

#include <algorithm>
#include <array>

#include <heddle/http/internal/target.h>
#include <heddle/http/internal/trailer_rules.h>

namespace heddle::http {
namespace {

constexpr std::array<std::string_view, 9> kOurs = {
    "Content-Length", "Transfer-Encoding",  "Connection", "Keep-Alive", "Proxy-Connection", "Trailer", "TE",
    "Expect",         "Proxy-Authorization"};

// Methods whose requests usually have a body: without one they say so (RFC 9110 s8.6).
bool means_a_body(Method method) noexcept {
  return method == Method::kPost || method == Method::kPut || method == Method::kPatch;
}

std::unexpected<Error> invalid(const char* what) { return std::unexpected(Error{Code::kInvalid, 0, what}); }

}  // namespace

bool asks_to_upgrade(const ClientRequest& request) noexcept { return request.headers.contains("Upgrade"); }

Result<void> check_request_fields(const Fields& headers) {
  bool host = false;
  for (const Fields::Field& f : headers) {
    if (std::ranges::any_of(kOurs, [&](std::string_view name) { return equal_fold(name, f.name); }))
      return invalid("http: a header field that is the client's");
    if (equal_fold(f.name, "Host")) {
      if (host || !is_host(f.value)) return invalid("http: Host");
      host = true;
    }
  }
  return {};
}

Result<void> check_request(const ClientRequest& request) {
  if (request.method == Method::kConnect) return invalid("http: CONNECT is for proxies");
  if (request.method == Method::kTrace && !request.body.empty()) return invalid("http: TRACE with a body");
  if (Result<void> right = check_request_fields(request.headers); !right) return right;
  if (const RequestBody::Trailers* const trailers = request.body.trailers()) {
    if (request.body.length() || !trailers->make) return invalid("http: trailers without a chunked body");
    for (const std::string& name : trailers->names) {
      if (!is_token(name) || !may_be_trailer(name)) return invalid("http: a field that is no trailer");
    }
  }
  return {};
}

std::string write_request_head(const ClientRequest& request, const HeadExtras& extras) {
  std::string out;
  out.reserve(512);
  const auto put = [&out](std::string_view name, std::string_view value) {
    out.append(name).append(": ").append(value).append("\r\n");
  };
  out.append(to_string(request.method)).append(" ");
  const bool tunnel = !extras.authority.empty();
  out.append(tunnel                   ? std::string(extras.authority)
             : extras.absolute_target ? request.url.without_fragment()
                                      : request.url.target());
  out.append(" HTTP/1.1\r\n");
  const std::optional<std::string_view> host = request.headers.find("Host");
  put("Host", host ? std::string(*host) : tunnel ? std::string(extras.authority) : request.url.authority());
  bool cookies_done = extras.cookies.empty();
  for (const Fields::Field& f : request.headers) {
    if (equal_fold(f.name, "Host")) continue;
    if (!cookies_done && equal_fold(f.name, "Cookie")) {  // one field (RFC 6265 s5.4)
      put(f.name, f.value.empty() ? std::string(extras.cookies) : f.value + "; " + std::string(extras.cookies));
      cookies_done = true;
      continue;
    }
    put(f.name, f.value);
  }
  if (!cookies_done) put("Cookie", extras.cookies);
  if (!extras.user_agent.empty() && !request.headers.contains("User-Agent")) put("User-Agent", extras.user_agent);
  if (!extras.accept_encoding.empty()) put("Accept-Encoding", extras.accept_encoding);
  if (!extras.proxy_authorization.empty()) put("Proxy-Authorization", extras.proxy_authorization);
  const std::optional<std::uint64_t> length = request.body.length();
  if (!length) {
    put("Transfer-Encoding", "chunked");
    std::string names;
    if (request.body.trailers() != nullptr) {
      for (const std::string& name : request.body.trailers()->names)
        names.append(names.empty() ? "" : ", ").append(name);
    }
    if (!names.empty()) put("Trailer", names);
  } else if (!request.body.empty() || means_a_body(request.method)) {
    put("Content-Length", std::to_string(*length));
  }
  if (extras.expect_continue) put("Expect", "100-continue");
  if (request.accept_trailers) put("TE", "trailers");
  std::string options;
  const auto option = [&options](std::string_view name) { options.append(options.empty() ? "" : ", ").append(name); };
  if (request.close) option("close");
  if (asks_to_upgrade(request)) option("Upgrade");
  if (request.accept_trailers) option("TE");  // it is for the next hop alone (RFC 9110 s10.1.4)
  if (!options.empty()) put("Connection", options);
  out.append("\r\n");
  return out;
}

}  // namespace heddle::http
