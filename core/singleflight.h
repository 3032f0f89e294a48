// singleflight: many who want the same thing at the same time have it fetched once. golang.org/x/sync/singleflight.
//
//     do_("user:7")  leader ----> fn() ----------------.
//     do_("user:7")  joins, waits ----------------------+--> the same result for all three
//     do_chan("user:7")  joins, gets a channel ---------'
//     do_("user:7")  later: a new flight
//
// It is no cache: a result is shared with those who came while it was under way, then forgotten. Under a cache it keeps
// a miss on a popular key from becoming a thousand requests to what stands behind.
//
// I1. `flights_`, and in a flight `joined` and `channels`, are guarded by mutex_. A flight is joined through flights_
//     only; so once it is out, these are constant and the leader's alone.
// I2. The leader writes the result before it counts `under_way` down, and nobody after; so who has waited for it, or
//     received from its channel, reads it without a lock.
// I3. A flight always lands: by a value, by an exception, or by goexit(), which is an exception of a private type
//     (go.h). The last two are thrown to all who shared the flight: so goexit() in the function ends all of them, as in
//     Go.
//
// The function runs outside mutex_, so flights of different keys do not wait for each other.
#pragma once

#include <exception>
#include <expected>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include <heddle/core/chan.h>
#include <heddle/core/context.h>
#include <heddle/core/error.h>
#include <heddle/core/go.h>
#include <heddle/core/mutex.h>
#include <heddle/core/wait_group.h>

namespace heddle::singleflight {

/// What do_() returns.
template <class V>
struct Landed {
  V value;
  bool shared;  // others have it, too
};

template <class K, class V, class Hash, class Equal>
class Group;

namespace detail {
template <class V>
struct Flight;
}

/// What comes through the channel of do_chan(). A copy is another reference to the same result.
template <class V>
class Arrival {
 public:
  /// The value; it lives as long as an Arrival of this flight. Errors: throws what the function threw.
  [[nodiscard]] const V& value() const {
    if (flight_->error != nullptr) std::rethrow_exception(flight_->error);
    return *flight_->value;
  }

  /// True if others have it, too.
  [[nodiscard]] bool shared() const noexcept { return flight_->joined; }

 private:
  template <class, class, class, class>
  friend class Group;
  explicit Arrival(std::shared_ptr<const detail::Flight<V>> flight) noexcept : flight_(std::move(flight)) {}

  std::shared_ptr<const detail::Flight<V>> flight_;
};

namespace detail {
// Shared by the leader, all who joined, and the Arrivals.
template <class V>
struct Flight {
  WaitGroup under_way;  // 1 until it has landed
  bool joined = false;
  std::vector<Chan<Arrival<V>>> channels;
  std::optional<V> value;
  std::exception_ptr error;
};
}  // namespace detail

/// Flights by key.
///
/// Errors:   std::bad_alloc.
/// Threads:  goroutines. A function that asks for its own key waits for itself.
/// Lifetime: must outlive its flights, those of do_chan() included.
/// Source:   pkg.go.dev/golang.org/x/sync/singleflight.
template <class K, class V, class Hash = std::hash<K>, class Equal = std::equal_to<K>>
class Group {
 public:
  Group() = default;
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;

  /// Calls `fn()` and returns what it returned; or, if a flight for `key` is under way, waits for that one and returns
  /// a copy of what it brought (put what is dear to copy into a std::shared_ptr).
  ///
  /// Errors:  throws what `fn` threw, to all who share the flight.
  template <class Fn>
    requires std::is_invocable_r_v<V, Fn&>
  Landed<V> do_(const K& key, Fn&& fn) {
    static_assert(std::is_copy_constructible_v<V>, "a result is copied to all: use a std::shared_ptr");
    const auto [flight, leads] = board(key, nullptr);
    if (leads) {
      fly(key, flight, fn);
    } else {
      flight->under_way.wait();
    }
    if (flight->error != nullptr) std::rethrow_exception(flight->error);
    return {*flight->value, flight->joined};
  }

  /// do_(), but who joins a flight waits no longer than until `ctx` is done; the flight goes on. Who leads it runs `fn`,
  /// which has to look at the context itself.
  ///
  /// Errors:  as do_(); and ctx.err()'s code, "sync.WaitGroup.Wait"; if it is done already nothing is tried.
  template <class Fn>
    requires std::is_invocable_r_v<V, Fn&>
  [[nodiscard]] Result<Landed<V>> do_(const Context& ctx, const K& key, Fn&& fn) {
    static_assert(std::is_copy_constructible_v<V>, "a result is copied to all: use a std::shared_ptr");
    if (ctx.err()) return std::unexpected(heddle::detail::done_error(ctx, "sync.WaitGroup.Wait"));
    const auto [flight, leads] = board(key, nullptr);
    if (leads) {
      fly(key, flight, fn);
    } else if (Result<void> landed = flight->under_way.wait(ctx); !landed) {
      return std::unexpected(landed.error());
    }
    if (flight->error != nullptr) std::rethrow_exception(flight->error);
    return Landed<V>{*flight->value, flight->joined};
  }

  /// do_() without waiting: the result comes through the channel, and `fn` runs on a goroutine of its own.
  ///
  /// Returns: a channel that gets one Arrival, and is not closed. Nobody need receive from it.
  template <class Fn>
    requires std::is_invocable_r_v<V, std::decay_t<Fn>&>
  RecvChan<Arrival<V>> do_chan(const K& key, Fn&& fn) {
    auto channel = make_chan<Arrival<V>>(1);
    const auto [flight, leads] = board(key, &channel);
    if (leads) {
      try {
        go([this, key, flight = flight, fn = std::forward<Fn>(fn)]() mutable { fly(key, flight, fn); });
      } catch (...) {
        flight->error = std::current_exception();
        land(key, flight);
      }
    }
    return channel;
  }

  /// Lets the next call for `key` start a new flight, though one is under way. Those aboard still get its result.
  void forget(const K& key) {
    const std::lock_guard lock(mutex_);
    flights_.erase(key);
  }

 private:
  using Flight = detail::Flight<V>;
  using FlightRef = std::shared_ptr<Flight>;

  // The flight for `key` and whether the caller leads it: whether it is new. `channel` may be null.
  std::pair<FlightRef, bool> board(const K& key, const Chan<Arrival<V>>* channel) {
    const std::lock_guard lock(mutex_);
    const auto it = flights_.find(key);
    const bool leads = it == flights_.end();
    const FlightRef flight = leads ? std::make_shared<Flight>() : it->second;
    if (channel != nullptr) flight->channels.push_back(*channel);
    if (leads) {
      flight->under_way.add(1);
      flights_.emplace(key, flight);
    } else {
      flight->joined = true;
    }
    return {flight, leads};
  }

  template <class Fn>
  void fly(const K& key, const FlightRef& flight, Fn& fn) {
    try {
      flight->value.emplace(fn());
    } catch (...) {
      flight->error = std::current_exception();
    }
    land(key, flight);
  }

  void land(const K& key, const FlightRef& flight) {
    {
      const std::lock_guard lock(mutex_);
      // A forgotten flight may have a successor.
      if (const auto it = flights_.find(key); it != flights_.end() && it->second == flight) flights_.erase(it);
    }
    const auto channels = std::exchange(flight->channels, {});
    for (const auto& channel : channels) channel.send(Arrival<V>(flight));  // has room: never parks
    flight->under_way.done();
  }

  Mutex mutex_;
  std::unordered_map<K, FlightRef, Hash, Equal> flights_;
};

}  // namespace heddle::singleflight
