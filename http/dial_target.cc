// The client's own dialer.
#include <heddle/http/client_options.h>
#include <heddle/net/resolve.h>
#include <heddle/net/unix.h>

#include <utility>

namespace heddle::http {
namespace {

bool is_number(const std::string& host) {
  return net::Address::parse("[" + host + "]:0") || net::Address::parse(host + ":0");
}

}  // namespace

Result<std::unique_ptr<net::Transport>> dial_target(const Context& ctx, const DialTarget& target) {
  const ClientTrace* const trace = target.trace;
  const bool is_unix = !target.unix_socket.empty();
  const std::string shown = is_unix ? target.unix_socket
                            : target.host.find(':') != std::string::npos
                                ? "[" + target.host + "]:" + std::to_string(target.port)
                                : target.host + ":" + std::to_string(target.port);
  const auto tell_start = [&] {
    if (trace != nullptr && trace->connect_start) trace->connect_start(shown);
  };
  const auto tell_done = [&](std::span<const net::DialAttempt> attempts, const Error& error) {
    if (trace != nullptr && trace->connect_done) trace->connect_done(attempts, error);
  };

  if (is_unix) {
    const Result<net::UnixAddress> address = net::UnixAddress::parse(target.unix_socket);
    if (!address) return std::unexpected(address.error());
    tell_start();
    Result<net::UnixConn> conn = net::dial_unix(*address, {.deadline = target.deadline, .ctx = ctx});
    tell_done({}, conn ? Error{} : conn.error());
    if (!conn) return std::unexpected(conn.error());
    return std::make_unique<net::UnixConn>(std::move(*conn));
  }

  // Told of names by a look-up of our own: the dial's joins it in the resolver's cache.
  if (trace != nullptr && (trace->dns_start || trace->dns_done) && !is_number(target.host)) {
    if (trace->dns_start) trace->dns_start(target.host);
    const Result<std::vector<net::Address>> found = net::resolve(ctx, target.host, target.port, target.deadline);
    if (trace->dns_done) {
      if (found) {
        trace->dns_done(*found, Error{});
      } else {
        trace->dns_done({}, found.error());
      }
    }
    if (!found) return std::unexpected(found.error());
  }
  tell_start();
  std::vector<net::DialAttempt> attempts;
  Result<net::Conn> conn = net::dial(shown, {.deadline = target.deadline, .ctx = ctx, .attempts = &attempts});
  tell_done(attempts, conn ? Error{} : conn.error());
  if (!conn) return std::unexpected(conn.error());
  return std::make_unique<net::Conn>(std::move(*conn));
}

}  // namespace heddle::http
