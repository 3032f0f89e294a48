#include <heddle/http/internal/client_pool.h>

#include <algorithm>
#include <mutex>
#include <utility>

namespace heddle::http {

// ---- Lease ----

ClientPool::Lease& ClientPool::Lease::operator=(Lease&& other) noexcept {
  if (this != &other) {
    give_up();
    conn = std::move(other.conn);
    pool_ = std::move(other.pool_);
    origin_ = other.origin_;
  }
  return *this;
}

void ClientPool::Lease::give_up() noexcept {
  if (pool_ == nullptr) return;
  const std::shared_ptr<ClientPool> pool = std::move(pool_);
  pool_ = nullptr;
  if (conn != nullptr) conn->close();
  conn.reset();
  Dead dead;
  std::lock_guard guard(pool->lock_);
  pool->drop_locked(*origin_);
  pool->serve_others_locked(*origin_, dead);
}

bool ClientPool::Lease::next_idle() {
  std::shared_ptr<ClientConn> old = std::move(conn);
  conn = nullptr;
  if (old != nullptr) old->close();
  Dead dead;
  std::lock_guard guard(pool_->lock_);
  if (origin_->idle.empty()) return false;
  conn = std::move(origin_->idle.back());
  origin_->idle.pop_back();
  --pool_->idle_;
  pool_->drop_locked(*origin_);  // two slots were ours now; one goes
  pool_->serve_others_locked(*origin_, dead);
  return true;
}

void ClientPool::Lease::keep() {
  const std::shared_ptr<ClientPool> pool = std::move(pool_);
  pool_ = nullptr;
  const std::shared_ptr<ClientConn> ours = std::move(conn);
  conn = nullptr;
  Dead dead;
  std::lock_guard guard(pool->lock_);
  if (pool->shut_ || (origin_->waiting == 0 && origin_->idle.size() >= pool->limits_.idle_per_origin)) {
    pool->drop_locked(*origin_);
    dead.push_back(ours);
  } else {
    pool->put_idle_locked(*origin_, ours);
  }
  pool->serve_others_locked(*origin_, dead);
}

// ---- taking ----

Result<ClientPool::Lease> ClientPool::acquire(const Context& ctx, const std::string& name) {
  if (const std::optional<Error> end = ctx.err()) return std::unexpected(Error{end->code, 0, "http: connection pool"});
  Dead dead;
  std::unique_lock lock(lock_);
  if (shut_) return std::unexpected(Error{Code::kClosed, 0, "http: connection pool"});
  Origin& origin = origin_locked(name);
  if (std::optional<Grant> grant = take_locked(origin, dead)) {
    lock.unlock();
    return Lease(shared_from_this(), &origin, std::move(grant->conn));
  }
  Waiter waiter{&origin, make_chan<Grant>(1)};
  queue_.push_back(&waiter);
  ++origin.waiting;
  lock.unlock();

  Result<std::optional<Grant>> granted = recv(ctx, waiter.granted);
  if (!granted) {
    lock.lock();
    if (waiter.queued) {
      std::erase(queue_, &waiter);
      --origin.waiting;
      forget_locked(origin);
      return std::unexpected(Error{granted.error().code, 0, "http: connection pool"});
    }
    lock.unlock();
    std::optional<Grant> late = waiter.granted.recv();  // keeps I3: it is there, or about to be
    if (!late->refused) {
      Lease unwanted(shared_from_this(), &origin, std::move(late->conn));
      if (unwanted.conn != nullptr) unwanted.keep();
    }
    return std::unexpected(Error{granted.error().code, 0, "http: connection pool"});
  }
  Grant& grant = **granted;
  if (grant.refused) return std::unexpected(Error{Code::kClosed, 0, "http: connection pool"});
  return Lease(shared_from_this(), &origin, std::move(grant.conn));
}

std::optional<ClientPool::Grant> ClientPool::take_locked(Origin& origin, Dead& dead) {
  if (!origin.idle.empty()) {
    Grant grant{std::move(origin.idle.back())};
    origin.idle.pop_back();
    --idle_;
    return grant;
  }
  if (origin.open >= limits_.per_origin) return std::nullopt;
  if (open_ >= limits_.in_all) {
    if (idle_ == 0) return std::nullopt;
    evict_locked(dead);
  }
  ++origin.open;
  ++open_;
  return Grant{};
}

ClientPool::Origin& ClientPool::origin_locked(const std::string& name) {
  std::unique_ptr<Origin>& slot = origins_[name];
  if (slot == nullptr) {
    slot = std::make_unique<Origin>();
    slot->name = name;
  }
  return *slot;
}

// An origin without connections and waiters is no longer in the map; `origin` may be gone.
void ClientPool::forget_locked(Origin& origin) {
  if (origin.open == 0 && origin.waiting == 0 && !origin.pinned) origins_.erase(origins_.find(origin.name));
}

// ---- giving back ----

void ClientPool::drop_locked(Origin& origin) noexcept {
  --origin.open;
  --open_;
}

// Closes the connection that has been idle longest.
void ClientPool::evict_locked(Dead& dead) {
  Origin* oldest = nullptr;
  for (const auto& [name, origin] : origins_) {
    if (origin->idle.empty()) continue;
    if (oldest == nullptr || origin->idle.front()->idle_since < oldest->idle.front()->idle_since) oldest = origin.get();
  }
  dead.push_back(std::move(oldest->idle.front()));
  oldest->idle.pop_front();
  --idle_;
  drop_locked(*oldest);
  forget_locked(*oldest);
}

// Serves the first waiter that can be served, if there is one (I2).
void ClientPool::serve_locked(Dead& dead) {
  for (auto it = queue_.begin(); it != queue_.end(); ++it) {
    Waiter& waiter = **it;
    std::optional<Grant> grant = take_locked(*waiter.origin, dead);
    if (!grant) continue;
    queue_.erase(it);
    --waiter.origin->waiting;
    give(waiter, std::move(*grant));
    return;
  }
}

// The same on behalf of `origin`, which may have nothing left then, but is ours to forget.
void ClientPool::serve_others_locked(Origin& origin, Dead& dead) {
  origin.pinned = true;
  serve_locked(dead);
  origin.pinned = false;
  forget_locked(origin);
}

// The waiter is off the queue.
void ClientPool::give(Waiter& waiter, Grant grant) {
  waiter.queued = false;
  // A handle of ours: the waiter may return, and its own be gone, while we are still at it. There is room: never parks.
  const Chan<Grant> channel = waiter.granted;
  static_cast<void>(channel.try_send(std::move(grant)));
}

void ClientPool::put_idle_locked(Origin& origin, std::shared_ptr<ClientConn> conn) {
  conn->idle_since = now();
  origin.idle.push_back(std::move(conn));
  ++idle_;
  if (!armed_ && limits_.idle_timeout > Duration::zero()) arm_locked(limits_.idle_timeout);
}

// ---- the end of idle connections ----

void ClientPool::arm_locked(Duration d) {
  armed_ = true;
  timer_.emplace(after_func(d, [weak = weak_from_this()] {
    if (const std::shared_ptr<ClientPool> pool = weak.lock()) pool->expire();
  }));
}

void ClientPool::expire() {
  Dead dead;
  std::unique_lock lock(lock_);
  armed_ = false;
  const TimePoint latest = now() - limits_.idle_timeout;
  TimePoint oldest = kNoDeadline;
  for (auto it = origins_.begin(); it != origins_.end();) {
    Origin& origin = *it->second;
    while (!origin.idle.empty() && origin.idle.front()->idle_since <= latest) {
      dead.push_back(std::move(origin.idle.front()));
      origin.idle.pop_front();
      --idle_;
      drop_locked(origin);
    }
    if (!origin.idle.empty()) oldest = std::min(oldest, origin.idle.front()->idle_since);
    it = origin.open == 0 && origin.waiting == 0 && !origin.pinned ? origins_.erase(it) : std::next(it);
  }
  // More than one slot may have come free here, and each serves one of those who wait (I2).
  for (std::size_t n = dead.size(); n > 0; --n) serve_locked(dead);
  if (idle_ > 0 && !shut_ && oldest != kNoDeadline) arm_locked(oldest - latest);
}

void ClientPool::close_idle() {
  Dead dead;
  std::unique_lock lock(lock_);
  while (idle_ > 0) evict_locked(dead);
  for (std::size_t n = dead.size(); n > 0; --n) serve_locked(dead);
}

void ClientPool::shut() {
  std::unique_lock lock(lock_);
  shut_ = true;
  for (Waiter* waiter : queue_) {
    Origin& origin = *waiter->origin;
    --origin.waiting;
    forget_locked(origin);
    give(*waiter, Grant{nullptr, true});
  }
  queue_.clear();
  if (timer_) timer_->stop();
  timer_.reset();
  armed_ = false;
  lock.unlock();
  close_idle();
}

PoolCounts ClientPool::counts() {
  std::lock_guard guard(lock_);
  return {open_, idle_, queue_.size()};
}

}  // namespace heddle::http
