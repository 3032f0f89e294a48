// The resolver: cache, flights, and the call of getaddrinfo(3).
#include <heddle/net/resolve.h>

#include <netdb.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <exception>
#include <iterator>
#include <list>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <utility>
#include <variant>

#include <heddle/core/blocking.h>
#include <heddle/core/chan.h>
#include <heddle/core/go.h>
#include <heddle/core/lock.h>
#include <heddle/core/mutex.h>
#include <heddle/core/park.h>
#include <heddle/core/semaphore.h>
#include <heddle/net/internal/net_poller.h>

namespace heddle::net {
namespace {

using Addresses = std::vector<Address>;
using Answer = Result<Addresses>;

constexpr std::size_t kLongestName = 254;  // with a final dot. RFC 1035 s2.3.4 has 255 octets on the wire

Error resolve_error(Code code, const char* op, int sys = 0) { return {code, sys, op}; }

// A name for libc and the cache: lower case, nothing that is no letter of any name. Empty: it cannot be one.
std::string normal_name(std::string_view host) {
  if (host.empty() || host.size() > kLongestName) return {};
  std::string out(host);
  for (char& c : out) {
    if (static_cast<unsigned char>(c) <= ' ' || c == 0x7f || c == '/' || c == ':' || c == '[' || c == ']') return {};
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

bool is_localhost(std::string_view name) {
  if (name.ends_with('.')) name.remove_suffix(1);
  return name == "localhost" || name.ends_with(".localhost");
}

std::optional<Address> as_number(std::string_view host) {
  if (host.find(':') != std::string_view::npos && !host.starts_with('[')) {
    if (const Result<Address> v6 = Address::parse("[" + std::string(host) + "]:0")) return *v6;
    return std::nullopt;
  }
  if (host.empty() || host == "localhost") return std::nullopt;
  if (const Result<Address> address = Address::parse(std::string(host) + ":0")) return *address;
  return std::nullopt;
}

Error error_of_libc(int status, int error) {
  switch (status) {
    case EAI_NONAME:
    case EAI_NODATA:
    case EAI_ADDRFAMILY: return resolve_error(Code::kNotFound, "resolve: no such host");
    case EAI_AGAIN: return resolve_error(Code::kUnreachable, "resolve: the name service did not answer; try again later");
    case EAI_MEMORY: return resolve_error(Code::kNoResources, "resolve");
    case EAI_SYSTEM: return Error::from_errno(error, "resolve");
    default:  // EAI_FAIL; the others complain about hints, which are constant
      return resolve_error(Code::kProtocol, "resolve: the name service failed");
  }
}

// On a helper thread. One entry per address, as SOCK_STREAM asks for.
Answer ask_libc(const std::string& host) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  const int status = ::getaddrinfo(host.c_str(), nullptr, &hints, &list);
  if (status != 0) return std::unexpected(error_of_libc(status, errno));
  Addresses out;
  for (const addrinfo* one = list; one != nullptr; one = one->ai_next) {
    const Address address = Address::from(one->ai_addr, one->ai_addrlen);
    if (address.family() != AF_UNSPEC && std::ranges::find(out, address) == out.end()) out.push_back(address);
  }
  ::freeaddrinfo(list);
  return out;
}

Answer with_port(Addresses addresses, std::uint16_t port) {
  for (Address& address : addresses) address = address.with_port(port);
  return addresses;
}

// One lookup, and who waits for it. Shared by its goroutine and the waiters.
struct Flight {
  const Chan<Done> landed = make_chan<Done>();
  // Written before `landed` is closed, constant afterwards.
  Answer answer;
  std::exception_ptr thrown;  // instead of an answer
};

}  // namespace

// Shared by the Resolver, those who call it, and the flights (which may outlive both).
struct Resolver::State : std::enable_shared_from_this<State> {
  explicit State(ResolverOptions o) : options(std::move(o)), slots(std::max(options.max_lookups, 1)) {}

  // What is known of `host`; or else the flight to wait for. One step, so that nobody misses both.
  std::variant<Answer, std::shared_ptr<Flight>> find_or_join(const std::string& host) {
    const std::lock_guard guard(mutex);
    if (const auto it = by_host.find(host); it != by_host.end() && now() < it->second->until) {
      return Answer(it->second->addresses);
    }
    if (const auto it = flights.find(host); it != flights.end()) return it->second;
    if (flights.size() >= options.max_names) {
      return Answer(std::unexpected(resolve_error(Code::kLimit, "resolve: too many names at once")));
    }
    auto flight = std::make_shared<Flight>();
    const auto place = flights.emplace(host, flight).first;
    try {
      // On a goroutine of its own: it goes on when those who wait have left, and keeps all that it uses (I2). On a large stack:
      // name services are loaded as libraries, which reckon with the 8 MiB of a thread's.
      go({.name = "resolve", .stack = StackSize::kLarge},
         [state = shared_from_this(), host, flight] { state->fly(host, *flight); });
    } catch (...) {
      flights.erase(place);
      throw;
    }
    return flight;
  }

  // Always lands, by an exception too: also by goexit(), which is one.
  void fly(const std::string& host, Flight& flight) {
    try {
      flight.answer = look_up(host);
    } catch (...) {
      flight.thrown = std::current_exception();
    }
    {
      const std::lock_guard guard(mutex);
      if (flight.thrown == nullptr && flight.answer) keep_locked(host, *flight.answer);
      flights.erase(host);
    }
    flight.landed.close();
  }

  Answer look_up(const std::string& host) {
    struct Slot {
      explicit Slot(Semaphore& s) : slots(s) { slots.acquire(); }
      ~Slot() { slots.release(); }
      Semaphore& slots;
    } slot(slots);
    Answer answer = blocking([&] { return options.lookup ? options.lookup(host) : ask_libc(host); });
    if (answer && answer->empty()) return std::unexpected(resolve_error(Code::kNotFound, "resolve: it has no address"));
    return answer;
  }

  void keep_locked(const std::string& host, const Addresses& addresses) {
    if (options.keep <= Duration::zero() || options.max_kept == 0) return;
    if (const auto it = by_host.find(host); it != by_host.end()) {
      kept.erase(it->second);
      by_host.erase(it);
    }
    while (kept.size() >= options.max_kept) {
      by_host.erase(kept.front().host);
      kept.pop_front();
    }
    kept.push_back({host, addresses, now() + options.keep});
    by_host.emplace(host, std::prev(kept.end()));
  }

  struct Kept {
    std::string host;
    Addresses addresses;
    TimePoint until;
  };

  const ResolverOptions options;
  Semaphore slots;
  Mutex mutex;
  // Guarded by mutex.
  std::unordered_map<std::string, std::shared_ptr<Flight>> flights;
  std::list<Kept> kept;  // the oldest first
  std::unordered_map<std::string, std::list<Kept>::iterator> by_host;
};

Resolver::Resolver(ResolverOptions options) : state_(std::make_shared<State>(std::move(options))) {}
Resolver::Resolver(Resolver&&) noexcept = default;
Resolver& Resolver::operator=(Resolver&&) noexcept = default;
Resolver::~Resolver() = default;

Result<std::vector<Address>> Resolver::resolve(const Context& ctx, std::string_view host, std::uint16_t port,
                                               TimePoint deadline) {
  return resolve_by(state_, ctx, host, port, deadline);
}

Result<std::vector<Address>> Resolver::resolve_by(std::shared_ptr<State> state, const Context& ctx,
                                                  std::string_view host, std::uint16_t port, TimePoint deadline) {
  static_cast<void>(must_current_g("net::resolve"));
  if (const std::optional<Error> end = ctx.err()) return std::unexpected(resolve_error(end->code, "resolve"));
  if (const std::optional<Address> number = as_number(host)) return with_port({*number}, port);
  const std::string name = normal_name(host);
  if (name.empty()) return std::unexpected(resolve_error(Code::kInvalid, "resolve: this cannot be a name"));
  if (is_localhost(name)) return with_port({*Address::parse("[::1]:0"), *Address::parse("127.0.0.1:0")}, port);

  auto found = state->find_or_join(name);
  if (auto* known = std::get_if<Answer>(&found))
    return *known ? with_port(std::move(**known), port) : std::move(*known);
  const auto flight = std::get<std::shared_ptr<Flight>>(std::move(found));
  const auto wait = [&](const Context& limit) -> Answer {
    if (const auto landed = recv(limit, flight->landed); !landed) {
      return std::unexpected(resolve_error(landed.error().code, "resolve"));
    }
    if (flight->thrown != nullptr) std::rethrow_exception(flight->thrown);
    return flight->answer ? with_port(*flight->answer, port) : flight->answer;
  };
  if (deadline == kNoDeadline) return wait(ctx);
  auto [limited, cancel] = with_deadline(ctx, deadline);
  Answer answer = wait(limited);
  cancel();
  return answer;
}

// A flight that the end of a run() cut off would never land: so each run has a state of its own. The old one goes when no
// abandoned goroutine keeps it.
std::shared_ptr<Resolver::State> Resolver::standard() {
  static constinit RawMutex lock{LockRank::kLeaf};
  static std::shared_ptr<State>& current =
      *new std::shared_ptr<State>;  // never destroyed: goroutines may outlive main()
  static std::uint64_t run = 0;     // both guarded by lock
  {
    const LockGuard guard(lock);
    if (run == NetPoller::run_number() && current != nullptr) return current;
  }
  auto fresh = std::make_shared<State>(ResolverOptions{});  // no allocation under the lock
  std::shared_ptr<State> old;
  const LockGuard guard(lock);
  if (run == NetPoller::run_number() && current != nullptr) return current;
  run = NetPoller::run_number();
  old = std::exchange(current, std::move(fresh));
  return current;
}

Result<std::vector<Address>> resolve(const Context& ctx, std::string_view host, std::uint16_t port,
                                     TimePoint deadline) {
  return Resolver::resolve_by(Resolver::standard(), ctx, host, port, deadline);
}

Result<HostPort> split_host_port(std::string_view text) {
  const auto invalid = [] { return std::unexpected(resolve_error(Code::kInvalid, "split: not HOST:PORT")); };
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return invalid();
  std::string_view host = text.substr(0, colon);
  const std::string_view digits = text.substr(colon + 1);
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (digits.empty() || error != std::errc{} || end != digits.data() + digits.size()) return invalid();
  if (host.starts_with('[')) {
    if (!host.ends_with(']')) return invalid();
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return invalid();  // an IPv6 address without brackets: where would its port begin?
  }
  if (host.empty()) return invalid();
  return HostPort{std::string(host), port};
}

}  // namespace heddle::net
