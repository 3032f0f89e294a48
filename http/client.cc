#include <heddle/http/client.h>

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include <heddle/http/internal/client_exchange.h>
#include <heddle/http/internal/client_pool.h>
#include <heddle/http/internal/client_response_state.h>
#include <heddle/http/internal/client_route.h>
#include <heddle/http/internal/lead_transport.h>
#include <heddle/http/internal/request_head.h>
#include <heddle/http/status.h>

namespace heddle::http {
namespace {

PoolLimits pool_limits(const ClientOptions& o) {
  const auto one = [](std::size_t n) { return std::max<std::size_t>(n, 1); };
  return {one(o.max_per_origin), one(o.max_connections), o.max_idle_per_origin, o.idle_timeout};
}

Context within(const Context& ctx, Duration d) { return d > Duration::zero() ? with_timeout(ctx, d).ctx : ctx; }

// They would break out of every head.
constexpr Error kBadOptions{Code::kInvalid, 0, "http: options"};

// RFC 9110 s9.2.2.
bool is_idempotent(const ClientRequest& request) noexcept {
  switch (request.method) {
    case Method::kGet:
    case Method::kHead:
    case Method::kOptions:
    case Method::kTrace:
    case Method::kPut:
    case Method::kDelete: return true;
    default: return request.headers.contains("Idempotency-Key");
  }
}

// ---- redirects ----

bool is_redirect(int status) noexcept {
  return status == kStatusMovedPermanently || status == kStatusFound || status == kStatusSeeOther ||
         status == kStatusTemporaryRedirect || status == kStatusPermanentRedirect;
}

// RFC 9110 s15.4: what is said of a body.
constexpr std::array<std::string_view, 11> kBodyFields = {
    "Content-Type",  "Content-Encoding", "Content-Language", "Content-Location", "Content-Disposition", "Content-Range",
    "Last-Modified", "Digest",           "Content-Digest",   "Repr-Digest",      "Content-MD5"};

enum class Hop : std::uint8_t { kGo, kStay };

// Makes `request` the one that `status` and `location` ask for. kStay: the response is the answer.
Result<Hop> redirect(ClientRequest& request, int status, std::string_view location, const ClientOptions& options) {
  Result<Url> next = request.url.resolve(location);
  if (!next) return std::unexpected(Error{Code::kProtocol, 0, "http: Location"});
  const bool keeps = status == kStatusTemporaryRedirect || status == kStatusPermanentRedirect;
  if (keeps && !request.body.repeatable()) return Hop::kStay;
  const Url::Scheme from = request.url.scheme();
  const Url::Scheme to = next->scheme();
  // A server must not send us to this machine's sockets; nor out of TLS unasked.
  if (to == Url::Scheme::kUnix && !next->same_origin(request.url))
    return std::unexpected(Error{Code::kDenied, 0, "http: redirect to a Unix socket"});
  if (from == Url::Scheme::kHttps && to != Url::Scheme::kHttps && !options.allow_downgrade)
    return std::unexpected(Error{Code::kDenied, 0, "http: redirect from https to http"});
  if (!keeps) {
    if (request.method != Method::kGet && request.method != Method::kHead) request.method = Method::kGet;
    request.body = RequestBody();
    request.expect_continue = false;
    for (const std::string_view name : kBodyFields) request.headers.remove(name);
  }
  if (!next->same_origin(request.url)) {
    for (const std::string_view name : {"Authorization", "Cookie", "Cookie2", "WWW-Authenticate", "Host"})
      request.headers.remove(name);
  }
  next->inherit_fragment(request.url);  // RFC 9110 s10.2.2
  request.url = std::move(*next);
  return Hop::kGo;
}

// ---- the body's coding ----

std::string_view offered_codings(const ClientRequest& request, const ClientOptions& options) {
  const bool users = request.headers.contains("Accept-Encoding") || request.headers.contains("Range");
  return options.decode && !users && request.method != Method::kHead ? std::string_view(options.accept_encoding)
                                                                     : std::string_view();
}

// Puts a decoder on the body, if it has the one coding that we know how to undo.
void decode_body(ClientResponse::State& state, const ClientOptions& options) {
  ResponseHead& head = state.exchange->head();
  if (head.framing == ResponseFraming::kNone || head.framing == ResponseFraming::kTunnel ||
      (head.framing == ResponseFraming::kFixed && head.length == 0))
    return;
  const char* const text = state.exchange->text().data();
  const auto is = [text](const HeaderList::Ref& r, std::string_view name) {
    return equal_fold({text + r.name_at, r.name_size}, name);
  };
  const auto is_coding = [&](const HeaderList::Ref& r) { return is(r, "Content-Encoding"); };
  if (std::ranges::count_if(head.refs, is_coding) != 1) return;
  const HeaderList::Ref& ref = *std::ranges::find_if(head.refs, is_coding);
  state.decoder = options.decode({text + ref.value_at, ref.value_size}, *state.exchange);
  if (state.decoder == nullptr) return;
  std::erase_if(head.refs, [&](const HeaderList::Ref& r) { return is_coding(r) || is(r, "Content-Length"); });
}

}  // namespace

Client::Client(ClientOptions options)
    : options_(std::move(options)), pool_(std::make_shared<ClientPool>(pool_limits(options_))) {}

Client::~Client() { pool_->shut(); }

Result<ClientResponse> Client::send(const ClientRequest& asked) {
  const Context ctx = within(asked.ctx, options_.total_timeout);
  ClientRequest request = asked;
  std::vector<Url> via;
  for (;;) {
    Result<ClientResponse> response = send_once(request, ctx);
    if (response && response->status() == kStatusExpectationFailed && request.expect_continue &&
        request.body.repeatable()) {
      request.expect_continue = false;  // RFC 9110 s10.1.1
      response->close();
      if (const Result<void> ended = response->state_->exchange->wait_for_source(); !ended)
        return std::unexpected(ended.error());
      continue;
    }
    if (!response || options_.max_redirects <= 0 || !is_redirect(response->status())) return response;
    const std::optional<std::string_view> location = response->header("Location");
    if (!location || location->empty()) return response;  // an empty one would lead to this URL again, and again
    ClientRequest next = request;
    const Result<Hop> hop = redirect(next, response->status(), *location, options_);
    if (!hop) return std::unexpected(hop.error());
    if (*hop == Hop::kStay) return response;
    via.push_back(request.url);
    if (options_.on_redirect) {
      const RedirectChoice choice = options_.on_redirect(next.url, via);
      if (choice == RedirectChoice::kReturn) return response;
      if (choice == RedirectChoice::kFail) return std::unexpected(Error{Code::kDenied, 0, "http: redirect"});
    }
    if (via.size() > static_cast<std::size_t>(options_.max_redirects))
      return std::unexpected(Error{Code::kLimit, 0, "http: redirects"});
    if (request.trace != nullptr && request.trace->redirect) request.trace->redirect(next.url, response->status());
    response->close();
    if (!next.body.empty()) {
      if (const Result<void> ended = response->state_->exchange->wait_for_source(); !ended)
        return std::unexpected(ended.error());
    }
    request = std::move(next);
  }
}

// One request, which may go out on a second connection if the first was stale.
Result<ClientResponse> Client::send_once(const ClientRequest& request, const Context& ctx) {
  if (const Result<void> right = check_request(request); !right) return std::unexpected(right.error());
  if (!is_field_value(options_.user_agent) || !is_field_value(options_.accept_encoding))
    return std::unexpected(kBadOptions);
  const Result<ClientRoute> route = find_client_route(request.url, request.tunnel, options_);
  if (!route) return std::unexpected(route.error());

  const std::string cookies = options_.cookies != nullptr ? options_.cookies->cookies_for(request.url) : std::string();
  if (!is_field_value(cookies)) return std::unexpected(Error{Code::kInvalid, 0, "http: cookies"});
  const std::string_view codings = offered_codings(request, options_);
  const bool with_body = !request.body.empty() && request.body.length() != 0;
  HeadExtras extras;
  extras.absolute_target = route->forwards();
  extras.expect_continue = request.expect_continue && with_body;
  extras.cookies = cookies;
  extras.accept_encoding = codings;
  extras.user_agent = options_.user_agent;
  if (route->forwards()) extras.proxy_authorization = route->proxy->authorization;
  const std::string head = write_request_head(request, extras);

  const ClientTrace* const trace = request.trace.get();
  if (trace != nullptr && trace->get_conn) trace->get_conn(route->origin);
  Result<ClientPool::Lease> lease = pool_->acquire(within(ctx, options_.pool_timeout), route->key);
  if (!lease) return std::unexpected(lease.error());
  while (lease->conn != nullptr && !lease->conn->transport->is_alive() && lease->next_idle()) {
  }
  if (lease->conn != nullptr && !lease->conn->transport->is_alive()) lease->conn.reset();
  for (;;) {
    if (lease->conn == nullptr) {
      Result<std::unique_ptr<net::Transport>> made = dial_client_route(ctx, *route, options_, trace);
      if (!made) return std::unexpected(made.error());
      lease->conn = std::make_shared<ClientConn>(std::move(*made));
    }
    const bool reused = lease->conn->used;
    if (trace != nullptr && trace->got_conn) {
      const Result<net::Address> remote = lease->conn->transport->remote_address();
      trace->got_conn(
          {reused, reused ? now() - lease->conn->idle_since : Duration{}, remote ? *remote : net::Address()});
    }
    auto exchange = std::make_unique<ClientExchange>(std::move(*lease), ctx, options_);
    switch (exchange->start(request, head, extras.expect_continue)) {
      case ClientExchange::Start::kFailed: return std::unexpected(exchange->error());
      case ClientExchange::Start::kStale:
        if (!is_idempotent(request) || !request.body.repeatable()) return std::unexpected(exchange->error());
        [[fallthrough]];
      case ClientExchange::Start::kUnheard:
        if (const Result<void> ended = exchange->wait_for_source(); !ended) return std::unexpected(ended.error());
        *lease = exchange->take_lease();  // and no connection: a fresh one is dialed, and is not stale
        continue;
      case ClientExchange::Start::kAnswered: break;
    }
    auto state = std::make_unique<ClientResponse::State>(std::move(exchange), request.url, options_.max_drain);
    if (!codings.empty()) decode_body(*state, options_);
    ClientResponse response(std::move(state));
    if (options_.cookies != nullptr) options_.cookies->store(request.url, response.headers());
    return response;
  }
}

Result<ClientResponse> Client::get(const Context& ctx, std::string_view url) {
  Result<Url> parsed = Url::parse(url);
  if (!parsed) return std::unexpected(parsed.error());
  ClientRequest request;
  request.url = std::move(*parsed);
  request.ctx = ctx;
  return send(request);
}

Result<ClientResponse> Client::head(const Context& ctx, std::string_view url) {
  Result<Url> parsed = Url::parse(url);
  if (!parsed) return std::unexpected(parsed.error());
  ClientRequest request;
  request.method = Method::kHead;
  request.url = std::move(*parsed);
  request.ctx = ctx;
  return send(request);
}

Result<ClientResponse> Client::post(const Context& ctx, std::string_view url, std::string_view content_type,
                                    RequestBody body) {
  Result<Url> parsed = Url::parse(url);
  if (!parsed) return std::unexpected(parsed.error());
  ClientRequest request;
  request.method = Method::kPost;
  request.url = std::move(*parsed);
  request.ctx = ctx;
  request.body = std::move(body);
  if (const Result<void> set = request.headers.set("Content-Type", content_type); !set)
    return std::unexpected(set.error());
  return send(request);
}

TunnelResult Client::connect_tunnel(const Context& ctx, std::string_view authority, const TunnelOptions& options) {
  const auto failed = [](const Error& error) { return std::unexpected(TunnelError{error, 0}); };
  if (!is_field_value(options_.user_agent)) return failed(kBadOptions);
  if (const Result<void> right = check_request_fields(options.headers); !right) return failed(right.error());
  const Result<ClientRoute> route = find_tunnel_route(authority, options.proxy, options_);
  if (!route) return failed(route.error());
  std::expected<Tunnel, TunnelError> tunnel =
      dial_tunnel(ctx, *route, {.headers = &options.headers, .on_answer = &options.on_answer},
                  deadline_after(options_.dial_timeout), options_, options.trace.get());
  if (!tunnel) return std::unexpected(tunnel.error());
  return with_lead(std::move(tunnel->early), std::move(tunnel->transport));
}

void Client::close_idle() { pool_->close_idle(); }

ClientStats Client::stats() {
  const PoolCounts counts = pool_->counts();
  return {counts.open, counts.idle, counts.waiting};
}

}  // namespace heddle::http
