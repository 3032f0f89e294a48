#include <heddle/http/internal/client_exchange.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

#include <heddle/core/select.h>
#include <heddle/http/internal/request_head.h>
#include <heddle/http/status.h>

namespace heddle::http {
namespace {

using namespace std::chrono_literals;

// Bodies up to this size are written with the head: no peer makes a writer of so little wait for its own answer to be read.
constexpr std::size_t kInlineBody = 16 * 1024;
// For an upload that has written all, or is about to, when the response has come to its end.
constexpr Duration kLastPieceTime = 1s;
// For what close() reads away.
constexpr Duration kDrainTime = 50ms;

ResponseLimits limits_of(const ClientOptions& o) { return {o.max_head_bytes, o.max_headers, o.max_framing}; }

// "HTTP/1.x 408" and more, of a head that did not come to its end.
bool begins_408(std::string_view text) noexcept {
  return text.starts_with("HTTP/1.") && text.size() > 12 && text.substr(8, 4) == " 408";
}

}  // namespace

ClientExchange::ClientExchange(ClientPool::Lease lease, Context ctx, const ClientOptions& options)
    : lease_(std::move(lease)),
      conn_(lease_.conn),
      ctx_(std::move(ctx)),
      options_(options),
      limits_(limits_of(options)),
      body_timeout_(options.body_timeout) {}

ClientExchange::~ClientExchange() {
  // What is there already may complete the body; nothing is waited for.
  std::array<std::byte, 512> waste;
  while (conn_ != nullptr && !conn_->unread().empty() && body_.plain() <= conn_->unread().size()) {
    const Result<BodyReader::Step> step = body_.take(conn_->unread(), waste);
    if (!step) break;
    conn_->take(step->consumed);
    if (body_.done()) break;
  }
  if (conn_ != nullptr && upload_ == nullptr && head_.status != 0 && head_.framing != ResponseFraming::kTunnel &&
      body_.done())
    settle();
  abandon();
}

// ---- the request ----

ClientExchange::Start ClientExchange::start(const ClientRequest& request, std::string head, bool wait_to_continue) {
  method_ = request.method;
  wants_close_ = request.close;
  wants_upgrade_ = asks_to_upgrade(request);
  trace_ = request.trace;
  const bool reused = std::exchange(conn_->used, true);
  Result<void> done = write_request(request, head, wait_to_continue);
  if (done && head_.status == 0) {
    const Result<Found> found = read_head(Wait::kHead);
    if (!found) done = std::unexpected(found.error());
  }
  const bool unheard = upload_ == nullptr && request.body.repeatable() && informational_ == 0;    // I4
  if (done && reused && unheard && head_.status == kStatusRequestTimeout && !head_.keep_alive) {  // keeps I4
    conn_->close();
    return Start::kUnheard;
  }
  if (done) {
    if (upload_ != nullptr) upload_->head_came();
    body_ = BodyReader(head_, limits_);
    if (body_.done() && head_.framing != ResponseFraming::kTunnel) settle();
    return Start::kAnswered;
  }
  error_ = done.error();
  // A source's own failure may have such a code, too.
  bool source = false;
  if (upload_ != nullptr) static_cast<void>(upload_->failure(&source));
  const bool gone = !source && (error_.code == Code::kEof || error_.code == Code::kReset);
  conn_->close();
  if (reused && !byte_came_ && gone) return Start::kStale;
  if (reused && unheard && gone && begins_408(conn_->text())) return Start::kUnheard;  // keeps I4: the reset cut it
  abandon();
  return Start::kFailed;
}

// Sends all, or begins to; with Expect it may find the final response on its way.
Result<void> ClientExchange::write_request(const ClientRequest& request, std::string& head, bool wait_to_continue) {
  const bool with_body = !request.body.empty() && request.body.length() != 0;
  const bool inline_body =
      with_body && !wait_to_continue && request.body.text() != nullptr && request.body.text()->size() <= kInlineBody;
  if (inline_body) head += *request.body.text();
  Result<void> written = write_within(*conn_, ctx_, std::as_bytes(std::span(head)), options_.write_timeout);
  if (!written) {
    const Code code = written.error().code;
    if (trace_ != nullptr && trace_->wrote_request) trace_->wrote_request(written.error());
    if (code != Code::kReset) return written;
    write_error_ = written.error();  // it may have answered, and gone: 408, 413, 503
  }
  if (written && trace_ != nullptr && trace_->wrote_head) trace_->wrote_head();
  if (!with_body || inline_body || !written) {
    if (written && trace_ != nullptr && trace_->wrote_request) trace_->wrote_request({});
    conn_->transport->set_read_deadline(deadline_after(options_.header_timeout));
    body_withheld_ = with_body && !inline_body;
    return {};
  }
  if (wait_to_continue) {
    conn_->transport->set_read_deadline(deadline_after(options_.continue_timeout));
    const Result<Found> found = read_head(Wait::kContinue);
    if (!found) return std::unexpected(found.error());
    if (*found == Found::kFinal) {
      body_withheld_ = true;
      return {};
    }
  }
  conn_->transport->set_read_deadline(kNoDeadline);  // the upload sets it when it has ended
  upload_ = std::make_shared<Upload>(conn_, ctx_, request.body, trace_, options_);
  upload_->start();
  return {};
}

// ---- the response's head ----

// Reads up to the final head; with kContinue up to a 100, or until the deadline (kLate).
Result<ClientExchange::Found> ClientExchange::read_head(Wait wait) {
  std::size_t seen = 0;
  for (;;) {
    if (!conn_->unread().empty()) {
      if (!std::exchange(byte_came_, true) && trace_ != nullptr && trace_->first_byte) trace_->first_byte();
      const Result<std::size_t> size = parse_response_head(conn_->text(), seen, method_, limits_, head_);
      if (!size) return std::unexpected(size.error());
      if (*size != 0) {
        seen = 0;
        text_.assign(conn_->text().substr(0, *size));
        conn_->take(*size);
        if (head_.status == 101 && !wants_upgrade_)
          return std::unexpected(Error{Code::kProtocol, 0, "http: 101 unasked"});
        if (head_.status >= 200 || head_.status == 101) return Found::kFinal;
        const int status = std::exchange(head_.status, 0);
        if (trace_ != nullptr && trace_->informational)
          trace_->informational(status, HeaderList(text_.data(), head_.refs.data(), head_.refs.size()));
        if (++informational_ > options_.max_informational)
          return std::unexpected(Error{Code::kProtocol, 0, "http: too many informational responses"});
        if (wait == Wait::kContinue && status == 100) return Found::kContinue;
        if (wait == Wait::kHead && (upload_ == nullptr || upload_->state() >= Upload::State::kSent))
          conn_->transport->set_read_deadline(deadline_after(options_.header_timeout));
        continue;
      }
    }
    const Result<std::size_t> n = conn_->fill(ctx_);
    if (n && *n != 0) continue;
    if (n) return std::unexpected(why({Code::kEof, 0, "http: read response"}));
    const bool ours = !ctx_.err() && n.error().code == Code::kTimeout;
    if (ours && wait == Wait::kContinue) return Found::kLate;
    return std::unexpected(why({n.error().code, n.error().sys, "http: read response"}));
  }
}

// The cause, where reading ended because something else did.
Error ClientExchange::why(Error reading) {
  if (const std::optional<Error> end = ctx_.err()) return {end->code, 0, reading.op};
  if (upload_ != nullptr) {
    bool source = false;
    const Error failure = upload_->failure(&source);
    if (source || (failure.code != Code::kOk && reading.code == Code::kClosed)) return failure;
  }
  if (reading.code == Code::kEof && write_error_.code != Code::kOk) return write_error_;
  return reading;
}

Result<void> ClientExchange::wait_for_source() {
  if (const std::optional<Error> end = ctx_.err()) return std::unexpected(Error{end->code, 0, "http: send"});
  if (upload_ == nullptr) return {};
  bool ended = false;
  const Duration most =
      options_.header_timeout > Duration::zero() ? Duration(options_.header_timeout) : Duration::max();
  select(on_recv(upload_->ended(), [&] { ended = true; }), on_done(ctx_, [] {}), on_timeout(most, [] {}));
  if (const std::optional<Error> end = ctx_.err()) return std::unexpected(Error{end->code, 0, "http: send"});
  if (!ended) return std::unexpected(Error{Code::kTimeout, 0, "http: request body"});
  return {};
}

ClientPool::Lease ClientExchange::take_lease() {
  conn_.reset();
  lease_.conn.reset();
  return std::move(lease_);
}

// ---- its body ----

Result<std::size_t> ClientExchange::read(std::span<std::byte> buf) {
  if (error_.code != Code::kOk) return std::unexpected(error_);
  if (buf.empty() || body_.done()) return std::size_t{0};
  for (;;) {
    // Also where bytes are there already: a call that was called off gives none.
    if (const std::optional<Error> end = ctx_.err()) return fail({end->code, 0, "http: read body"});
    if (!conn_->unread().empty()) {
      const Result<BodyReader::Step> step = body_.take(conn_->unread(), buf);
      if (!step) return fail(step.error());
      conn_->take(step->consumed);
      if (body_.done()) settle();
      if (step->produced != 0 || body_.done()) return step->produced;
      continue;
    }
    conn_->transport->set_read_deadline(deadline_after(body_timeout_));
    // Long bodies go into the caller's memory at once; what comes in small pieces is gathered first.
    const std::uint64_t plain = body_.plain();
    const bool direct = plain != 0 && buf.size() >= ClientConn::kReadSize / 2;
    const Result<std::size_t> n =
        direct ? conn_->transport->read(ctx_,
                                        buf.first(static_cast<std::size_t>(std::min<std::uint64_t>(plain, buf.size()))))
               : conn_->fill(ctx_);
    if (!n) return fail(why({n.error().code, n.error().sys, "http: read body"}));
    if (*n == 0) {
      if (const Result<void> end = body_.end(); !end) return fail(why(end.error()));
      settle();
      return std::size_t{0};
    }
    if (!direct) continue;
    body_.skip(*n);
    if (body_.done()) settle();
    return *n;
  }
}

void ClientExchange::close(std::size_t most) {
  if (conn_ == nullptr) return;
  // Also if the rest is read away here: it is not the reader's any more.
  error_ = {Code::kClosed, 0, "http: read body"};
  const bool sending = upload_ != nullptr && upload_->state() == Upload::State::kRunning;
  const bool worth_it = head_.keep_alive && !wants_close_ && !body_withheld_ && !sending && !ctx_.err() &&
                        (head_.framing == ResponseFraming::kChunked || body_.plain() <= most);
  if (!worth_it) return abandon();
  const TimePoint until = now() + kDrainTime;
  std::array<std::byte, 4096> waste;
  std::size_t drained = 0;
  while (!body_.done() && drained <= most) {
    if (conn_->unread().empty()) {
      conn_->transport->set_read_deadline(until);
      const Result<std::size_t> n = conn_->fill(ctx_);
      if (!n || *n == 0) break;
    }
    const Result<BodyReader::Step> step = body_.take(conn_->unread(), waste);
    if (!step) break;
    conn_->take(step->consumed);
    drained += step->consumed;
  }
  if (body_.done()) settle();
  abandon();  // nothing, if it was kept
}

Result<ClientExchange::Raw> ClientExchange::take_raw() {
  if (conn_ == nullptr || head_.framing != ResponseFraming::kTunnel || !sent_whole())
    return std::unexpected(Error{Code::kInvalid, 0, "http: no connection to take"});
  conn_->transport->set_deadline(kNoDeadline);
  Raw raw{conn_->release_transport(), std::string(conn_->text())};
  conn_.reset();
  lease_.give_up();
  return raw;
}

// ---- the end ----

// The response is whole. Keeps I1.
void ClientExchange::settle() {
  if (conn_ == nullptr) return;
  if (head_.keep_alive && !wants_close_ && !body_withheld_ && write_error_.code == Code::kOk &&
      conn_->unread().empty() && sent_whole() && !ctx_.err()) {
    conn_->transport->set_deadline(kNoDeadline);
    conn_->free_buffer();
    conn_.reset();
    lease_.keep();
    return;
  }
  abandon();
}

bool ClientExchange::sent_whole() {
  if (upload_ == nullptr) return true;
  if (upload_->state() == Upload::State::kRunning) return false;
  // All but sent: its last write may still be on its way back to us.
  bool ended = false;
  select(on_recv(upload_->ended(), [&] { ended = true; }), on_done(ctx_, [] {}), on_timeout(kLastPieceTime, [] {}));
  return ended && upload_->state() == Upload::State::kSent;
}

void ClientExchange::abandon() noexcept {
  if (conn_ != nullptr) conn_->close();
  conn_.reset();
  lease_.give_up();
}

Result<std::size_t> ClientExchange::fail(Error error) noexcept {
  error_ = error;
  abandon();
  return std::unexpected(error);
}

}  // namespace heddle::http
