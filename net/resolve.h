// Names into addresses, without blocking a worker: libc's getaddrinfo(3), on helper Ms.
//
//     resolve("db.example", …) --cache--> answer
//            '-- miss --> joins the flight for that name, or starts one:
//                         a slot (max_lookups) --> blocking(getaddrinfo) --> cache --> all who wait
//
// Why libc: it does what the administrator of the machine has set up, /etc/hosts, nsswitch.conf (LDAP, mDNS, containers'
// names), resolv.conf with its search list, options and edns, in the order of RFC 6724, as every other program there does;
// and it needs no further dependency. c-ares would tell TTLs and could call a query off, but knows hosts and resolv.conf alone.
//
// I1. A worker never waits for a name: lookups run under blocking(). At most max_lookups at once; further names queue up, at
//     most max_names in all. So a name service that hangs costs neither other blocking() calls' threads nor all memory.
// I2. Those who want the same name while it is looked up share one lookup: looking into the cache and joining is one step.
//     Who leaves early (context, deadline) leaves the lookup behind: libc cannot call it off, it ends on its own, and its
//     answer goes to the cache. It owns all that it uses, so neither the caller nor the Resolver need be there any more.
// I3. getaddrinfo() tells no TTL. So an answer is kept for `keep`, which is short, whatever its TTL is: a changed record is seen
//     at most that late. It is there for bursts of dials; longer caching is the name service's (nscd, systemd-resolved).
//     Failures are not kept. When the cache is full the oldest answer goes.
//     (RFC 8305 s3's answers by family, and its resolution delay, have no place here either: libc brings all at once.)
// I4. Numbers are never looked up; nor is localhost, which is this machine and nothing else (RFC 6761 s6.3).
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <heddle/core/clock.h>
#include <heddle/core/context.h>
#include <heddle/core/error.h>
#include <heddle/net/address.h>

namespace heddle::net {

struct ResolverOptions {
  /// Looks `host` up; may block. Null: getaddrinfo(3). The ports of the answer do not matter. Called on helper threads,
  /// several at once, for lower-case names.
  std::function<Result<std::vector<Address>>(const std::string& host)> lookup = {};

  Duration keep = std::chrono::seconds(5);  // I3; zero: no cache
  std::size_t max_kept = 256;               // answers in the cache
  int max_lookups = 64;                     // at once, and so many helper threads at most
  std::size_t max_names = 1024;             // under way or queued; further ones get kLimit
};

/// Looks names up. Movable; one that was moved from may only be assigned to.
///
/// Threads:  goroutines, any number at once, all of one run().
/// Lifetime: may go while lookups are under way: they end on their own. So `lookup` must own what it uses. The end of run()
///           waits for the calls that are under way then: for libc's, as long as resolv.conf(5)'s timeouts and attempts say.
class Resolver {
 public:
  explicit Resolver(ResolverOptions options = {});
  Resolver(Resolver&&) noexcept;
  Resolver& operator=(Resolver&&) noexcept;
  ~Resolver();

  /// The addresses of `host`, most preferred first, each with `port`; at least one.
  ///
  /// `host` is a name, "192.0.2.1", "2001:db8::1" or "[2001:db8::1]". Parks until the answer is there, `ctx` is done, or
  /// `deadline` has passed.
  ///
  /// Errors:  kNotFound: there is no such name, or it has no address; kUnreachable: no name server answered, or it failed for
  ///          now; kProtocol: it failed for good; kInvalid: it cannot be a name; kLimit: I1; kTimeout; the context's code; else
  ///          what the lookup said, or throws what it threw.
  [[nodiscard]] Result<std::vector<Address>> resolve(const Context& ctx, std::string_view host, std::uint16_t port,
                                                     TimePoint deadline = kNoDeadline);

 private:
  friend Result<std::vector<Address>> resolve(const Context& ctx, std::string_view host, std::uint16_t port,
                                              TimePoint deadline);
  struct State;
  static Result<std::vector<Address>> resolve_by(std::shared_ptr<State> state, const Context& ctx,
                                                 std::string_view host, std::uint16_t port, TimePoint deadline);
  static std::shared_ptr<State> standard();

  std::shared_ptr<State> state_;
};

/// The same by the process's own resolver, with the default options.
[[nodiscard]] Result<std::vector<Address>> resolve(const Context& ctx, std::string_view host, std::uint16_t port,
                                                   TimePoint deadline = kNoDeadline);

struct HostPort {
  std::string host;  // without brackets
  std::uint16_t port = 0;
};

/// Splits "example.org:80" or "[::1]:80". The port is a number. Errors: kInvalid.
[[nodiscard]] Result<HostPort> split_host_port(std::string_view text);

}  // namespace heddle::net
