// Timer, Ticker, after, after_func: the passing of time as a channel, or as a goroutine.
//
// The semantics are those of Go 1.23's package time: a timer's channel behaves as if it had no buffer. What stop() or
// reset() has called off does not come out of it, even if its time had come before; len() and cap() are 0. There is no
// need to drain it, and no harm in it but waiting for the next tick.
//
// I1. A tick is sent when its time has come, not before, at most once; never after a stop() or reset() that came to its
//     end before it was received.
// I2. A receiver that is slow misses ticks: at most one waits in the channel. A Ticker's ticks stay on its grid: they
//     do not drift, however late each is.
// I3. To move an armed timer to another time is a store, from any M; a million armed ones cost each operation the walk
//     of a heap's path at most (internal/lazy_timer.h says how).
// I4. Ownership is by handles, as there is no garbage collector to find who still listens:
//        Timer, Ticker    own their timer. Gone, no tick comes; their channel's handles stay valid.
//        after()          the channel owns the timer, which goes with the channel's last handle.
//        after_func()     the timer owns itself until it has fired: the handle may be dropped, as it usually is.
// I5. run() that ends forgets the timers: after its end none fires. Timers belong to one run().
#pragma once

#include <atomic>
#include <cstdint>
#include <source_location>
#include <type_traits>
#include <utility>

#include <heddle/core/chan.h>
#include <heddle/core/clock.h>

namespace heddle {

struct LazyTimer;

namespace detail {

/// What a Timer and a Ticker are: a timer that sends into a channel.
class TickSource {
 public:
  TickSource(Duration first, Duration period);
  TickSource(TickSource&& other) noexcept
      : timer_(std::exchange(other.timer_, nullptr)), chan_(std::move(other.chan_)) {}
  TickSource& operator=(TickSource&& other) noexcept {
    std::swap(timer_, other.timer_);
    std::swap(chan_, other.chan_);
    return *this;
  }
  ~TickSource();

  [[nodiscard]] const RecvChan<TimePoint>& chan() const noexcept { return chan_; }
  bool stop() noexcept;
  bool reset(Duration first, Duration period) noexcept;

 private:
  [[nodiscard]] bool call_off() noexcept;

  LazyTimer* timer_;  // null: moved from
  RecvChan<TimePoint> chan_;
};

/// A function on its way to a goroutine of its own.
struct FuncNode {
  std::atomic<std::uint32_t> refs{2};  // the handle, and the armed timer (or the goroutine that it became)
  LazyTimer* timer = nullptr;
  void (*call)(FuncNode* node);
  void (*destroy)(FuncNode* node);
  std::source_location site;
};

void func_node_start(FuncNode* node, Duration d);  // the caller's memory until it returns
void func_node_unref(FuncNode* node) noexcept;
bool func_node_stop(FuncNode* node) noexcept;
bool func_node_reset(FuncNode* node, Duration d) noexcept;

}  // namespace detail

/// A single event: after `d` the current time is sent on c().
///
/// Threads: goroutines; one Timer may be used by any number at once.
/// Lifetime: see I4. Source: package time, Timer.
class Timer {
 public:
  /// Starts it. `d` <= 0: at once. Errors: std::bad_alloc.
  explicit Timer(Duration d) : source_(d, Duration::zero()) {}

  /// Where the time comes out: the time at which it was sent, which is when the scheduler came to it.
  [[nodiscard]] const RecvChan<TimePoint>& c() const noexcept { return source_.chan(); }

  /// Calls it off: nothing comes from c() any more. Returns: true if that prevented a tick, so it is also true if the
  /// time had come and nobody had received the tick.
  bool stop() noexcept { return source_.stop(); }

  /// Starts it anew, `d` from now; what it was set to before is called off. Returns: what stop() would have.
  bool reset(Duration d) noexcept { return source_.reset(d, Duration::zero()); }

 private:
  detail::TickSource source_;
};

/// A clock's ticks: the current time is sent on c() every `period`, for who is there to take it (I2).
///
/// Threads, lifetime: as for Timer. Source: package time, Ticker.
class Ticker {
 public:
  /// Starts it; the first tick comes after one period. Errors: throws Panic unless period > 0; std::bad_alloc.
  explicit Ticker(Duration period) : source_((check(period), period), period) {}

  [[nodiscard]] const RecvChan<TimePoint>& c() const noexcept { return source_.chan(); }

  /// Stops ticking. c() is not closed, so that nobody takes the end for a tick.
  void stop() noexcept { static_cast<void>(source_.stop()); }

  /// Ticks with another period, the first time one period from now. Starts a stopped one. Errors: as the constructor.
  void reset(Duration period) {
    check(period);
    static_cast<void>(source_.reset(period, period));
  }

 private:
  static void check(Duration period);

  detail::TickSource source_;
};

/// A channel on which the current time is sent after `d`. The timer ends with the channel's last handle, so an after()
/// in a select that ends another way leaves nothing behind. Errors: std::bad_alloc. Threads: goroutines.
[[nodiscard]] RecvChan<TimePoint> after(Duration d);

/// The handle of after_func(). A copy is not to be had; moved from it can only be destroyed or assigned to.
class FuncTimer {
 public:
  explicit FuncTimer(detail::FuncNode* adopted) noexcept : node_(adopted) {}
  FuncTimer(FuncTimer&& other) noexcept : node_(std::exchange(other.node_, nullptr)) {}
  FuncTimer& operator=(FuncTimer&& other) noexcept {
    std::swap(node_, other.node_);
    return *this;
  }
  ~FuncTimer() {
    if (node_ != nullptr) detail::func_node_unref(node_);
  }

  /// Calls it off. Returns: true if the function had not been started, and will not be. It does not wait for one that
  /// runs.
  bool stop() noexcept { return detail::func_node_stop(node_); }

  /// Starts the function `d` from now: instead of before, or, if it was started already, once more. Returns: true if it
  /// had not been started. Two calls of the function may then run at once: what they share is theirs to guard.
  bool reset(Duration d) noexcept { return detail::func_node_reset(node_, d); }

 private:
  detail::FuncNode* node_;
};

/// Runs `fn()` on a goroutine of its own after `d`. The handle may be dropped: the timer goes on.
///
/// Errors:   std::bad_alloc. If no stack can be had when the time comes, the process ends with a message.
/// Threads:  goroutines. Lifetime: `fn` lives as long as the timer is armed, runs, or has a handle; it is destroyed by
/// a
///           goroutine (or, if run() ends first, by the thread that called it).
template <class Fn>
  requires std::is_invocable_v<std::decay_t<Fn>&>
FuncTimer after_func(Duration d, Fn&& fn, const std::source_location& site = std::source_location::current()) {
  struct Node : detail::FuncNode {
    explicit Node(Fn&& f) : fn(std::forward<Fn>(f)) {}
    std::decay_t<Fn> fn;
  };
  auto* node = new Node(std::forward<Fn>(fn));
  node->call = [](detail::FuncNode* n) { static_cast<Node*>(n)->fn(); };
  node->destroy = [](detail::FuncNode* n) { delete static_cast<Node*>(n); };
  node->site = site;
  try {
    detail::func_node_start(node, d);
  } catch (...) {
    delete node;
    throw;
  }
  return FuncTimer(node);
}

}  // namespace heddle
