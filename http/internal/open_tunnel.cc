#include <heddle/http/internal/open_tunnel.h>

#include <span>
#include <utility>

#include <heddle/http/client_request.h>
#include <heddle/http/internal/client_conn.h>
#include <heddle/http/internal/request_head.h>
#include <heddle/http/internal/response_parser.h>
#include <heddle/http/status.h>

namespace heddle::http {
namespace {

std::unexpected<TunnelError> failed(Code code, int sys = 0, int status = 0) {
  return std::unexpected(TunnelError{{code, sys, "http: proxy CONNECT"}, status});
}

std::string connect_head(const TunnelAsk& ask, const ClientOptions& options) {
  ClientRequest request;
  request.method = Method::kConnect;
  if (ask.headers != nullptr) request.headers = *ask.headers;
  HeadExtras extras;
  extras.authority = ask.authority;
  extras.user_agent = options.user_agent;
  extras.proxy_authorization = ask.proxy_authorization;
  return write_request_head(request, extras);
}

}  // namespace

std::expected<Tunnel, TunnelError> open_tunnel(const Context& ctx, std::unique_ptr<net::Transport> transport,
                                               const TunnelAsk& ask, TimePoint deadline, const ClientOptions& options) {
  const std::string head = connect_head(ask, options);
  ClientConn conn(std::move(transport));
  conn.transport->set_deadline(deadline);
  if (const Result<void> written = conn.transport->write(ctx, std::as_bytes(std::span(head))); !written)
    return failed(written.error().code, written.error().sys);
  const ResponseLimits limits{options.max_head_bytes, options.max_headers, options.max_framing};
  ResponseHead answer;
  std::size_t seen = 0;
  int informational = 0;
  for (;;) {
    const Result<std::size_t> size = parse_response_head(conn.text(), seen, Method::kConnect, limits, answer);
    if (!size) return failed(size.error().code);
    if (*size != 0) {
      const std::string_view text = conn.text();
      conn.take(*size);
      seen = 0;
      if (answer.status >= 200) {
        if (ask.on_answer != nullptr && *ask.on_answer)
          (*ask.on_answer)(answer.status, HeaderList(text.data(), answer.refs.data(), answer.refs.size()));
        break;
      }
      if (answer.status == kStatusSwitchingProtocols || ++informational > options.max_informational)
        return failed(Code::kProtocol);
      continue;
    }
    const Result<std::size_t> n = conn.fill(ctx);
    if (!n) return failed(n.error().code, n.error().sys);
    if (*n == 0) return failed(Code::kEof);
  }
  if (answer.status / 100 != 2) {
    return failed(answer.status == 407 ? Code::kDenied : Code::kRefused, 0, answer.status);  // keeps I1
  }
  conn.transport->set_deadline(kNoDeadline);
  Tunnel tunnel{nullptr, std::string(conn.text())};  // keeps I2
  tunnel.transport = conn.release_transport();
  return tunnel;
}

}  // namespace heddle::http
