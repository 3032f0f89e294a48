// Dialing by name: RFC 8305, "Happy Eyeballs Version 2".
//
//     race():   start the first      a result: connected? done. failed? start the next at once
//               wait for ----------> attempt_delay over: start the next as well
//                                    the context or deadline ended: all attempts end with it
//
// I1. Every attempt is a goroutine that ends before race() returns: it is called off by the race's context, and waited for.
//     So each attempt's error is known, and no socket outlives the call but the winner's.
// I2. Two may connect before the race hears of the first: the first result wins, later ones are closed where they arrive.
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <optional>
#include <utility>
#include <vector>

#include <heddle/core/chan.h>
#include <heddle/core/clock.h>
#include <heddle/core/context.h>
#include <heddle/core/go.h>
#include <heddle/core/park.h>
#include <heddle/core/select.h>
#include <heddle/net/resolve.h>
#include <heddle/net/tcp.h>

namespace heddle::net {
namespace {

// RFC 8305 s5: a client MUST NOT try faster, for the sake of the network and of who is at the other end.
constinit std::atomic<Duration> least_attempt_delay{std::chrono::milliseconds(10)};

struct Outcome {
  std::size_t index;
  Result<Conn> conn;
};

// Families in turns, each family in its order, beginning with the first address's. RFC 8305 s4.
std::vector<Address> interleaved(const std::vector<Address>& in) {
  std::vector<Address> preferred, others, out;
  for (const Address& address : in) (address.family() == in.front().family() ? preferred : others).push_back(address);
  for (std::size_t i = 0; i < std::max(preferred.size(), others.size()); ++i) {
    if (i < preferred.size()) out.push_back(preferred[i]);
    if (i < others.size()) out.push_back(others[i]);
  }
  return out;
}

// How far an attempt came: an answer tells more than silence, and silence more than what never left this machine.
int telling(Code code) {
  switch (code) {
    case Code::kRefused:
    case Code::kReset: return 2;
    case Code::kTimeout: return 1;
    default: return 0;
  }
}

// Why it came to nothing: the call's own end, if that was it; else the attempt's that came furthest, the first of several.
Error most_telling(const std::vector<DialAttempt>& attempts, const DialOptions& options) {
  if (const std::optional<Error> end = options.ctx.err()) return {end->code, 0, "dial"};
  if (options.deadline != kNoDeadline && now() >= options.deadline) return {Code::kTimeout, 0, "dial"};
  return std::ranges::max_element(attempts, {}, [](const DialAttempt& one) { return telling(one.error.code); })->error;
}

// Calls the attempts off, also when an exception ends the race.
struct AtEnd {
  const CancelFunc& call_off;
  ~AtEnd() { call_off(); }
};

Result<Conn> race(const std::vector<Address>& addresses, const DialOptions& options) {
  const auto [ctx, call_off] = with_deadline(options.ctx, options.deadline);
  const Duration delay = std::max(options.attempt_delay, least_attempt_delay.load(std::memory_order_relaxed));  // relaxed: for tests
  const AtEnd at_end{call_off};
  const auto results = make_chan<Outcome>(addresses.size());  // room for all: no attempt waits for us
  std::vector<DialAttempt> attempts;
  std::size_t under_way = 0;
  const auto start_next = [&, &ctx = ctx] {
    const std::size_t index = attempts.size();
    attempts.push_back({addresses[index], {Code::kCanceled, 0, "dial"}});
    ++under_way;
    DialOptions one = options;
    one.ctx = ctx;
    go([address = addresses[index], one = std::move(one), results, index] {
      results.send(Outcome{index, dial(address, one)});
    });
  };

  Result<Conn> winner = std::unexpected(Error{Code::kCanceled, 0, "dial"});
  start_next();
  while (under_way > 0) {
    std::optional<Outcome> outcome;
    const auto take = [&](std::optional<Outcome> got) { outcome = std::move(got); };
    if (!winner && attempts.size() < addresses.size() && !ctx.err()) {
      bool late = false;
      select(on_recv(results, take), on_timeout(delay, [&] { late = true; }));
      if (late) {
        start_next();
        continue;
      }
    } else {
      outcome = results.recv();
    }
    --under_way;
    attempts[outcome->index].error = outcome->conn ? Error{} : outcome->conn.error();
    if (outcome->conn && !winner) {
      winner = std::move(outcome->conn);
      call_off();
    } else if (outcome->conn) {
      attempts[outcome->index].error = {Code::kCanceled, 0, "dial"};  // I2
    } else if (!winner && attempts.size() < addresses.size() && !ctx.err()) {
      start_next();
    }
  }
  if (!winner) winner = std::unexpected(most_telling(attempts, options));
  if (options.attempts != nullptr) *options.attempts = std::move(attempts);
  return winner;
}

// Nothing to race against: no goroutine, no context.
Result<Conn> dial_one(const Address& address, const DialOptions& options) {
  Result<Conn> conn = dial(address, options);
  if (options.attempts != nullptr) options.attempts->push_back({address, conn ? Error{} : conn.error()});
  return conn;
}

}  // namespace

Duration detail::set_least_attempt_delay_for_test(Duration least) noexcept {
  return least_attempt_delay.exchange(least, std::memory_order_relaxed);  // relaxed: nobody dials
}

Result<Conn> dial(std::string_view text, const DialOptions& options) {
  static_cast<void>(must_current_g("net::dial"));
  if (options.attempts != nullptr) options.attempts->clear();
  const Result<HostPort> where = split_host_port(text);
  if (!where) return std::unexpected(Error{where.error().code, 0, "dial: not HOST:PORT"});
  Result<std::vector<Address>> found =
      options.resolver != nullptr ? options.resolver->resolve(options.ctx, where->host, where->port, options.deadline)
                                  : resolve(options.ctx, where->host, where->port, options.deadline);
  if (!found) return std::unexpected(found.error());
  if (options.local) std::erase_if(*found, [&](const Address& a) { return a.family() != options.local->family(); });
  if (found->empty()) return std::unexpected(Error{Code::kInvalid, EAFNOSUPPORT, "dial"});
  if (found->size() == 1) return dial_one(found->front(), options);
  return race(interleaved(*found), options);
}

}  // namespace heddle::net
