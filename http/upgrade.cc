// How a response becomes another protocol's connection: what must have been asked, and the answer that says so.
#include <string>

#include <heddle/http/header.h>
#include <heddle/http/internal/output.h>
#include <heddle/http/internal/server_conn.h>
#include <heddle/http/internal/upgraded_conn.h>
#include <heddle/http/response_writer.h>
#include <heddle/http/status.h>

namespace heddle::http {
namespace {

constexpr const char* kUpgrade = "http upgrade";
constexpr const char* kTunnel = "http tunnel";

std::unexpected<Error> invalid(const char* op) { return std::unexpected(Error{Code::kInvalid, 0, op}); }

// name[/version], tokens both (RFC 9110 s7.8).
bool is_protocol(std::string_view text) noexcept {
  const std::size_t slash = text.find('/');
  return is_token(text.substr(0, slash)) && (slash == std::string_view::npos || is_token(text.substr(slash + 1)));
}

}  // namespace

Result<net::Transport*> ResponseWriter::upgrade(std::string_view protocol) {
  const Exchange& x = conn_.exchange();
  // RFC 9110 s7.8: ignored in HTTP/1.0; never what was not asked for; the option keeps it from what a proxy passed on.
  if (started() || http10_ || !x.body.done || !is_protocol(protocol) || !x.headers().lists("connection", "upgrade") ||
      !x.headers().lists("upgrade", protocol)) {
    return invalid(kUpgrade);
  }
  std::string tail("Connection: Upgrade\r\nUpgrade: ");
  tail.append(protocol).append("\r\n\r\n");
  status_ = kStatusSwitchingProtocols;
  return take_over(tail, HalfClose::kLeaves);
}

Result<net::Transport*> ResponseWriter::tunnel() {
  if (started() || status_ / 100 != 2 || conn_.exchange().head.method != Method::kConnect) return invalid(kTunnel);
  return take_over("\r\n", HalfClose::kStays);  // no framing, whatever was set: RFC 9110 s9.3.6
}

Result<net::Transport*> ResponseWriter::take_over(std::string_view tail, HalfClose half) {
  mode_ = Mode::kTaken;
  status_set_ = close_ = true;
  UpgradedConn* const conn = conn_.take_over(half);
  if (conn == nullptr) {
    commit();
    return std::unexpected(Error{Code::kNoResources, 0, kUpgrade});
  }
  std::string line("HTTP/1.1 ");
  line.append(std::to_string(status_)).append(" ").append(reason_phrase(status_)).append("\r\n");
  if (!out_.make_room(line.size() + fields().size() + tail.size())) {
    commit();
    return std::unexpected(failure(kUpgrade).error());
  }
  for (const std::string_view part : {std::string_view(line), fields(), tail}) out_.append(part.data(), part.size());
  commit();
  if (!out_.flush()) return std::unexpected(failure(kUpgrade).error());
  return conn;
}

void require_upgrade(ResponseWriter& writer, std::string_view protocol) {
  if (!is_protocol(protocol) || !writer.status(kStatusUpgradeRequired)) return;
  writer.remove_field("Upgrade");
  writer.remove_field("Connection");
  static_cast<void>(writer.append_field("Connection", "Upgrade"));
  static_cast<void>(writer.append_field("Upgrade", protocol));
  static_cast<void>(writer.set_header("Content-Type", "text/plain; charset=utf-8"));
  static_cast<void>(writer.write("426 upgrade required\n"));
}

}  // namespace heddle::http
