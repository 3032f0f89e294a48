#include <heddle/http/request.h>

#include <algorithm>
#include <array>

#include <heddle/http/internal/route_tree.h>
#include <heddle/http/internal/server_conn.h>

namespace heddle::http {

const Exchange& Request::exchange() const noexcept { return conn_.exchange(); }

Method Request::method() const noexcept { return exchange().head.method; }

std::string_view Request::target() const noexcept {
  const Exchange& x = exchange();
  return x.text(x.head.target_at, x.head.target_size);
}

std::string_view Request::path() const noexcept {
  const Exchange& x = exchange();
  if (x.head.path_escaped) [[unlikely]]
    return x.path;
  return raw_path();
}

std::string_view Request::raw_path() const noexcept {
  const Exchange& x = exchange();
  if (x.head.path_is_root) [[unlikely]]
    return "/";
  return x.text(x.head.path_at, x.head.path_size);
}

std::string_view Request::path_value(std::string_view name) const noexcept {
  if (match_ == nullptr) return {};
  std::size_t i = 0;
  for (const Segment& segment : match_->pattern->segments) {
    if (segment.kind == Segment::Kind::kLiteral || segment.text.empty()) continue;
    if (segment.text == name) return match_->values[i];
    ++i;
  }
  return {};
}

std::string_view Request::pattern() const noexcept {
  return match_ == nullptr ? std::string_view() : match_->pattern->text;
}

std::string_view Request::query() const noexcept {
  const Exchange& x = exchange();
  return x.text(x.head.query_at, x.head.query_size);
}

std::string_view Request::host() const noexcept {
  const Exchange& x = exchange();
  return x.text(x.head.host_at, x.head.host_size);
}

int Request::minor_version() const noexcept { return exchange().head.minor; }

HeaderList Request::headers() const noexcept { return exchange().headers(); }

std::optional<std::string_view> Request::header(std::string_view name) const noexcept {
  return exchange().headers().find(name);
}

Context Request::context() {
  if (!context_) {
    auto [ctx, cancel] = with_cancel_cause(conn_.base_context());
    cancel_.emplace(std::move(cancel));
    context_.emplace(std::move(ctx));
    conn_.watch(*cancel_);
  }
  return *context_;
}

Context Request::draining() const { return conn_.draining(); }

Request::~Request() {
  if (!cancel_) return;
  conn_.stop_watch();
  (*cancel_)();
}

std::string Request::peer_address() const {
  std::string address = conn_.stream().peer_address();
  if (!address.empty()) return address;
  std::array<char, Peer::kMaxText> text;  // the kernel forgets who has reset the connection
  return std::string(conn_.peer().write(text));
}

Result<net::PeerCredentials> Request::peer_credentials() const { return conn_.stream().peer_credentials(); }

std::optional<std::uint64_t> Request::content_length() const noexcept {
  const Body& body = exchange().body;
  if (body.kind == BodyKind::kChunked) return std::nullopt;
  return body.left + body.received;
}

HeaderList Request::trailers() const noexcept { return exchange().trailers_seen(); }

std::string_view Request::id() const noexcept {
  const Exchange& x = exchange();
  return x.id == nullptr ? std::string_view() : std::string_view(*x.id);
}

void Request::set_id(std::shared_ptr<const std::string> id) noexcept { conn_.set_request_id(std::move(id)); }

Result<std::size_t> Request::read(std::span<std::byte> buf) { return conn_.read_body(buf); }

void Request::limit_body(std::uint64_t most) noexcept { conn_.limit_body(most); }

Result<std::string> Request::read_all(std::size_t limit) {
  constexpr std::size_t kStep = 16 * 1024;
  std::string all;
  for (;;) {
    const std::size_t size = all.size();
    // One byte more than the limit is asked for: only then is it known that there is more.
    const std::size_t left = limit - size;
    const std::size_t want = left < kStep ? left + 1 : kStep;
    all.resize(size + want);
    const Result<std::size_t> n = read(std::as_writable_bytes(std::span(all.data() + size, want)));
    if (!n) return std::unexpected(n.error());
    all.resize(size + *n);
    if (*n == 0) return all;
    if (all.size() > limit) return std::unexpected(Error{Code::kLimit, 0, "read body"});
  }
}

}  // namespace heddle::http
