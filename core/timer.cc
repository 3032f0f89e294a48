// What timers do when their time comes, and how a tick is called back.
//
// A tick that was sent and not received is in the channel's buffer of one. stop() and reset() do, in this order:
// disarm; if the time had come, wait for the send to end (settle); empty the buffer; and reset() arms. Two of them at
// once would break into each other between emptying and arming, so all of this is under the timer's `ops` lock. The one
// way past it is to move an armed one-shot timer: armed means that the buffer was emptied when it was armed, and
// nothing was sent since.
#include <heddle/core/timer.h>

#include <exception>

#include <heddle/core/check.h>
#include <heddle/core/go.h>
#include <heddle/core/internal/chan_core.h>
#include <heddle/core/internal/lazy_timer.h>
#include <heddle/core/panic.h>

namespace heddle {
namespace {

// Never before `d` has passed; to measure well is worth its price for short times only.
std::int64_t time_of(Duration d) noexcept {
  constexpr Duration kLong = std::chrono::milliseconds(10);
  if (d <= Duration::zero()) return 0;
  return nanos_after(d < kLong ? nanotime() : nanotime_near(), d);
}

// On the scheduler's side. The channel lives: its owner settles the timer before it lets go of it.
void send_tick(TimerNode* node) {
  auto* chan = static_cast<detail::ChanCore*>(static_cast<LazyTimer*>(node)->arg);
  TimePoint time = now();
  static_cast<void>(detail::chan_try_send(chan, &time));
}

Chan<TimePoint> make_tick_chan() {
  auto chan = make_chan<TimePoint>(1);
  chan.core()->looks_unbuffered = true;
  return chan;
}

// On the scheduler's side: the timer's reference goes to the goroutine.
void start_func(TimerNode* timer) {
  auto* node = static_cast<detail::FuncNode*>(static_cast<LazyTimer*>(timer)->arg);
  struct Held {
    detail::FuncNode* node;
    ~Held() { detail::func_node_unref(node); }
  };
  try {
    go(
        GoOptions{},
        [node] {
          const Held held{node};  // also if the function ends by goexit()
          node->call(node);
        },
        node->site);
  } catch (const std::exception& e) {
    fatal("after_func: cannot start the goroutine: %s", e.what());
  }
}

}  // namespace

namespace detail {

TickSource::TickSource(Duration first, Duration period) : timer_(nullptr), chan_(make_tick_chan()) {
  timer_ = lazy_timer_new(&send_tick, chan_.core());
  timer_->period = period.count();
  static_cast<void>(lazy_timer_arm(*timer_, time_of(first)));
}

TickSource::~TickSource() {
  if (timer_ == nullptr) return;
  static_cast<void>(lazy_timer_stop(*timer_));
  lazy_timer_settle(*timer_);
  lazy_timer_free(timer_);
}

// Under `ops`. True if a tick was prevented from coming, or taken back.
bool TickSource::call_off() noexcept {
  const bool armed = lazy_timer_stop(*timer_);
  // A periodic one may be sending a tick while armed for the next.
  if (armed && timer_->period == 0) return true;
  lazy_timer_settle(*timer_);
  const bool taken_back = chan_.try_recv().has_value();
  return armed || taken_back;
}

bool TickSource::stop() noexcept {
  LockGuard guard(timer_->ops);
  return call_off();
}

bool TickSource::reset(Duration first, Duration period) noexcept {
  const std::int64_t when = time_of(first);
  if (period == Duration::zero() && lazy_timer_move(*timer_, when)) [[likely]] return true;
  LockGuard guard(timer_->ops);
  const bool pending = call_off();
  timer_->period = period.count();
  static_cast<void>(lazy_timer_arm(*timer_, when));
  return pending;
}

void func_node_start(FuncNode* node, Duration d) {
  node->timer = lazy_timer_new(&start_func, node);
  node->timer->forget = [](LazyTimer* t) { func_node_unref(static_cast<FuncNode*>(t->arg)); };
  static_cast<void>(lazy_timer_arm(*node->timer, time_of(d)));
}

void func_node_unref(FuncNode* node) noexcept {
  // acq_rel: whoever is last sees what the others did with the function; their releases pair with its acquire.
  if (node->refs.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  lazy_timer_free(node->timer);  // without a reference of its own it is not armed, nor does it fire
  node->destroy(node);
}

bool func_node_stop(FuncNode* node) noexcept {
  if (!lazy_timer_stop(*node->timer)) return false;
  func_node_unref(node);  // the timer's; the handle has its own
  return true;
}

bool func_node_reset(FuncNode* node, Duration d) noexcept {
  const std::int64_t when = time_of(d);
  if (lazy_timer_move(*node->timer, when)) return true;
  LockGuard guard(node->timer->ops);
  // relaxed: the caller has one, so the count cannot reach 0 meanwhile.
  node->refs.fetch_add(1, std::memory_order_relaxed);
  if (!lazy_timer_arm(*node->timer, when)) return false;
  // relaxed: likewise. Another reset() came first: it holds the timer's
  node->refs.fetch_sub(1, std::memory_order_relaxed);
  return true;
}

}  // namespace detail

void Ticker::check(Duration period) {
  if (period <= Duration::zero()) throw Panic("non-positive interval for Ticker");
}

RecvChan<TimePoint> after(Duration d) {
  Chan<TimePoint> chan = make_tick_chan();
  detail::ChanCore& core = *chan.core();
  LazyTimer* timer = lazy_timer_new(&send_tick, &core);
  core.owner = timer;
  core.at_end = [](detail::ChanCore& c) noexcept {
    auto* t = static_cast<LazyTimer*>(c.owner);
    static_cast<void>(lazy_timer_stop(*t));
    lazy_timer_settle(*t);
    lazy_timer_free(t);
  };
  static_cast<void>(lazy_timer_arm(*timer, time_of(d)));
  return chan;
}

}  // namespace heddle
