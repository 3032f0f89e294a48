// ServeCore: the limits, the list of connections, the drain.
#include <heddle/net/serve.h>

#include <netinet/in.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <string_view>

namespace heddle::net::detail {
namespace {

constexpr Duration kFirstPause = std::chrono::milliseconds(5);
constexpr Duration kLongestPause = std::chrono::seconds(1);

// What stands for the peer of a connection: its host; none if it has no address.
std::optional<Address> peer_of(const Transport& conn) {
  const Result<Address> remote = conn.remote_address();
  if (!remote) return std::nullopt;
  if (remote->family() == AF_INET) return remote->with_port(0);
  if (remote->family() != AF_INET6) return std::nullopt;
  sockaddr_in6 v6;
  std::memcpy(&v6, remote->sa(), sizeof v6);
  sockaddr_in6 host{};
  host.sin6_family = AF_INET6;
  host.sin6_addr = v6.sin6_addr;
  // ::ffff:a.b.c.d is IPv4, seen through a listener for both: there the address is in the last bytes.
  if (!IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) std::memset(host.sin6_addr.s6_addr + 8, 0, 8);
  return Address::from(reinterpret_cast<const sockaddr*>(&host), sizeof host);
}

TimePoint after(TimePoint base, Duration d) noexcept { return d >= kNoDeadline - base ? kNoDeadline : base + d; }

}  // namespace

ServeCore::ServeCore(const Context& ctx, const ServeOptions& options)
    : ServeCore(ctx, options, with_cancel_cause(without_cancel(ctx))) {}

ServeCore::ServeCore(const Context& ctx, const ServeOptions& options, ContextAndCancel made)
    : ctx_(ctx), options_(options), handlers_(std::move(made.ctx)), drain_(std::move(made.cancel)) {
  if (options.max_connections > 0) room_.emplace(static_cast<std::int64_t>(options.max_connections));
}

std::size_t ServeCore::Hash::operator()(const Address& peer) const noexcept {
  return std::hash<std::string_view>{}({reinterpret_cast<const char*>(peer.sa()), peer.size()});
}

ServeCore::Running::Running(ServeCore& core, Transport& conn) : core_(core), conn_(conn) {
  Stage stage;
  {
    const std::lock_guard guard(core_.lock_);
    behind_ = core_.first_;
    if (behind_ != nullptr) behind_->before_ = this;
    core_.first_ = this;
    stage = core_.stage_;  // keeps I1
  }
  if (stage == Stage::kReadClosed) static_cast<void>(conn_.close_read());
  if (stage == Stage::kCut) conn_.close();
}

ServeCore::Running::~Running() {
  const std::lock_guard guard(core_.lock_);
  (before_ != nullptr ? before_->behind_ : core_.first_) = behind_;
  if (behind_ != nullptr) behind_->before_ = before_;
}

std::optional<ServeCore::Place> ServeCore::next_place() {
  if (room_ ? !room_->acquire(ctx_) : ctx_.err().has_value()) return std::nullopt;
  return Place(this);
}

bool ServeCore::take(Place& place, const Transport& conn) {
  std::optional<Address> peer = options_.max_per_peer > 0 ? peer_of(conn) : std::nullopt;
  if (peer) {
    const std::lock_guard guard(lock_);
    std::size_t& count = peers_[*peer];
    if (count >= options_.max_per_peer) {
      ++stats_.refused;
      return false;
    }
    ++count;
  }
  place.peer_ = std::move(peer);
  place.taken_ = true;
  return true;
}

void ServeCore::leave(const Place& place) noexcept {
  if (place.peer_) {
    const std::lock_guard guard(lock_);
    const auto at = peers_.find(*place.peer_);
    if (--at->second == 0) peers_.erase(at);
  }
  if (place.taken_) static_cast<void>(left_.try_send(Done{}));
  if (room_) room_->release();
}

void ServeCore::accepted() noexcept {
  ++stats_.accepted;
  pause_ = {};
}

bool ServeCore::failed(const Error& error, bool lost) noexcept {
  if (error.code == Code::kClosed) return false;
  if (lost) {
    ++stats_.refused;
    static_cast<void>(left_.try_recv());  // that was it
  } else {
    ++stats_.accept_errors;
  }
  if (options_.on_accept_error) options_.on_accept_error(error);
  pause_ = std::clamp(2 * pause_, kFirstPause, kLongestPause);
  select(on_timeout(pause_, [] {}), on_recv(left_, [] {}), on_done(ctx_, [] {}));
  return true;
}

void ServeCore::panicked(std::exception_ptr exception, Transport& conn) noexcept {
  // relaxed: read when the WaitGroup has told of our end.
  panics_.fetch_add(1, std::memory_order_relaxed);
  if (options_.on_panic) options_.on_panic(std::move(exception), conn);
}

ServeStats ServeCore::drain() {
  const TimePoint begun = now();
  const TimePoint cut_at = after(begun, std::max(options_.grace, Duration::zero()));
  drain_({Code::kCanceled, 0, "drain"});
  bool ended = false;
  if (options_.read_grace >= Duration::zero()) {
    if (options_.read_grace > Duration::zero())
      ended = wait_for_handlers(std::min(after(begun, options_.read_grace), cut_at));
    if (!ended) enter_stage(Stage::kReadClosed);
  }
  if (!ended) ended = wait_for_handlers(cut_at);
  if (!ended) stats_.cut = enter_stage(Stage::kCut);
  goroutines.wait();
  stats_.panics = panics_.load(std::memory_order_relaxed);  // relaxed: see panicked()
  return stats_;
}

bool ServeCore::wait_for_handlers(TimePoint until) {
  try {
    return goroutines.wait(with_deadline({}, until).ctx).has_value();
  } catch (const std::bad_alloc&) {
    return false;  // no memory to wait for so long: the next stage begins early. Keeps I3
  }
}

// Returns: how many connections there were to be told.
std::size_t ServeCore::enter_stage(Stage stage) {
  const std::lock_guard guard(lock_);
  stage_ = stage;
  std::size_t n = 0;
  for (Running* one = first_; one != nullptr; one = one->behind_, ++n) {
    if (stage == Stage::kReadClosed) static_cast<void>(one->conn_.close_read());
    if (stage == Stage::kCut) one->conn_.close();
  }
  return n;
}

}  // namespace heddle::net::detail
