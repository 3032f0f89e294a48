#include <heddle/http/client_response.h>

#include <array>
#include <utility>

#include <heddle/http/internal/client_response_state.h>
#include <heddle/http/internal/lead_transport.h>

namespace heddle::http {

ClientResponse::ClientResponse(std::unique_ptr<State> state) noexcept : state_(std::move(state)) {}
ClientResponse::ClientResponse(ClientResponse&&) noexcept = default;
ClientResponse& ClientResponse::operator=(ClientResponse&&) noexcept = default;
ClientResponse::~ClientResponse() = default;

int ClientResponse::status() const noexcept { return state_->exchange->head().status; }

std::string_view ClientResponse::reason() const noexcept {
  const ResponseHead& head = state_->exchange->head();
  return std::string_view(state_->exchange->text()).substr(head.reason_at, head.reason_size);
}

int ClientResponse::minor_version() const noexcept { return state_->exchange->head().minor; }

HeaderList ClientResponse::headers() const noexcept {
  const ResponseHead& head = state_->exchange->head();
  return {state_->exchange->text().data(), head.refs.data(), head.refs.size()};
}

std::optional<std::uint64_t> ClientResponse::content_length() const noexcept {
  const ResponseHead& head = state_->exchange->head();
  if (!head.has_length || decoded()) return std::nullopt;
  return head.announced;
}

bool ClientResponse::decoded() const noexcept { return state_->decoder != nullptr; }
const Url& ClientResponse::url() const noexcept { return state_->url; }
HeaderList ClientResponse::trailers() const noexcept { return state_->exchange->trailers(); }

Result<std::size_t> ClientResponse::read(std::span<std::byte> buf) {
  if (state_->decoder == nullptr) return state_->exchange->read(buf);
  if (state_->error.code != Code::kOk) return std::unexpected(state_->error);
  if (buf.empty() || state_->whole) return std::size_t{0};
  Result<std::size_t> n = state_->decoder->read(buf);
  if (n && *n != 0) return n;
  if (n) {
    // The coding has come to its end; so must the body, before we say so: it may yet be cut.
    std::array<std::byte, 512> behind;
    n = state_->exchange->read(behind);
    state_->whole = n && *n == 0;
    if (state_->whole) return n;
    if (n) n = std::unexpected(Error{Code::kProtocol, 0, "http: bytes behind an encoded body"});
  }
  state_->error = n.error();
  state_->exchange->close(0);
  return n;
}

Result<std::string> ClientResponse::read_all(std::size_t limit) {
  std::string out;
  std::size_t size = 0;
  for (;;) {
    if (out.size() - size < 1024) out.resize(out.size() * 2 + 4096);
    const Result<std::size_t> n = read(std::as_writable_bytes(std::span(out).subspan(size)));
    if (!n) return std::unexpected(n.error());
    size += *n;
    if (size > limit) return std::unexpected(Error{Code::kLimit, 0, "http: read body"});
    if (*n == 0) break;
  }
  out.resize(size);
  return out;
}

void ClientResponse::close() {
  state_->exchange->close(state_->max_drain);
  // A decoder may have bytes of its own, which nobody wants now either.
  if (state_->decoder != nullptr && !state_->whole && state_->error.code == Code::kOk)
    state_->error = {Code::kClosed, 0, "http: read body"};
}

Result<ClientResponse::Raw> ClientResponse::take_connection() {
  Result<ClientExchange::Raw> raw = state_->exchange->take_raw();
  if (!raw) return std::unexpected(raw.error());
  return Raw{std::move(raw->transport), std::move(raw->early)};
}

Result<std::unique_ptr<net::Transport>> ClientResponse::take_transport() {
  Result<ClientExchange::Raw> raw = state_->exchange->take_raw();
  if (!raw) return std::unexpected(raw.error());
  return with_lead(std::move(raw->early), std::move(raw->transport));
}

}  // namespace heddle::http
