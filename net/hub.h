// Hub: what one says, many hear. Each subscriber has a bounded queue, and its hub a policy for those who do not keep
// up.
//
//     net::Hub<std::string> hub;
//     auto mine = hub.subscribe();                                 // a queue of its own:  for (auto text : mine.in())
//     … auto theirs = hub.subscribe(conn.out(), {.slow = Slow::kLeaves, .on_left = [&] { conn.close(kTooSlow); }});
//     hub.broadcast("hello");                                      // conn: a MessageConn<SharedCodec<LineCodec>>
//
// Messages are shared, not copied: a queue holds pointers to the one that all get, which nobody may change any more.
//
// I1. A broadcast goes to those who are subscribed when it begins, but for those who leave meanwhile. Each gets the
//     messages of one broadcaster in their order. Those of several may come to two subscribers in different orders.
// I2. A subscriber's queue is sent to under that subscriber's lock, or counted as `busy` where that may have to wait.
//     Who unsubscribes sets `left` under the lock and waits until nobody is busy: after that nothing is sent there any
//     more.
// I3. A broadcast holds no lock of the hub: it goes through a list that is never changed, only replaced. So who
//     subscribes or leaves waits for no broadcast to others, and a slow subscriber under Slow::kWaits holds up only
//     those who broadcast.
// I4. A subscriber's lock is held over try_send() and close(), which may ready goroutines: that is allowed, because who
//     waits at a queue holds no lock of ours, and nothing under this lock parks.
// I5. A queue made here is closed once: by leave() if nobody is busy, else by the last one who was, and none follows
//     (I2).
//
// To subscribe and to leave cost a copy of the list, so that a broadcast, of which there are more, costs none.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include <heddle/core/chan.h>
#include <heddle/core/cond.h>
#include <heddle/core/context.h>
#include <heddle/core/defer.h>
#include <heddle/core/mutex.h>
#include <heddle/core/panic.h>
#include <heddle/core/select.h>

namespace heddle::net {

/// What becomes of a message for a subscriber whose queue is full.
enum class Slow : std::uint8_t {
  kMisses,  // the subscriber does not get it; it is counted
  kLeaves,  // the subscriber is unsubscribed, at once
  kWaits,   // broadcast() waits for room
};

struct SubscribeOptions {
  Slow slow = Slow::kMisses;
  std::size_t capacity = 64;  ///< Messages in the subscriber's queue, if the hub makes it. 0 fits Slow::kWaits alone.

  /// Called when the subscriber leaves by Slow::kLeaves, or because somebody closed its queue; by who broadcasts,
  /// without a lock. Not called any more when unsubscribe() has returned. It must neither throw nor touch this
  /// subscription.
  std::function<void()> on_left = {};
};

struct HubStats {
  std::size_t subscribers = 0;  // now
  std::uint64_t broadcasts = 0;
  std::uint64_t sent = 0;    // messages put into queues
  std::uint64_t missed = 0;  // messages not put into one that was full
  std::uint64_t left = 0;    // subscribers that on_left tells of
};

/// See the file's opening.
///
/// Threads:  any number of goroutines. broadcast() without Slow::kWaits never parks for a subscriber.
/// Lifetime: subscriptions may outlive it; they then get no more messages, and queues that it made are closed.
template <class T>
class Hub {
 public:
  using Message = std::shared_ptr<const T>;

 private:
  struct Subscriber;
  struct Core;

 public:
  /// A place among the subscribers; its destructor gives it up, as unsubscribe() does. Movable.
  class Subscription {
   public:
    Subscription() noexcept = default;
    Subscription(Subscription&& other) noexcept = default;
    Subscription& operator=(Subscription&& other) noexcept {
      std::swap(core_, other.core_);
      std::swap(subscriber_, other.subscriber_);
      return *this;
    }
    ~Subscription() { unsubscribe(); }

    /// The queue that the hub made: the messages, until it is closed because the subscription or the hub ended. The nil
    /// channel if the caller gave a queue.
    [[nodiscard]] RecvChan<Message> in() const {
      return subscriber_ == nullptr ? RecvChan<Message>() : subscriber_->own;
    }

    /// Messages missed because the queue was full.
    [[nodiscard]] std::uint64_t missed() const noexcept {
      // relaxed: a count.
      return subscriber_ == nullptr ? 0 : subscriber_->missed.load(std::memory_order_relaxed);
    }

    /// True if messages may still come.
    [[nodiscard]] bool active() const {
      if (subscriber_ == nullptr) return false;
      const std::lock_guard guard(subscriber_->lock);
      return !subscriber_->left;
    }

    /// Ends the subscription. When it returns, nothing is being sent to the queue and on_left is not running (I2).
    /// Parks for who is at that. Idempotent.
    void unsubscribe() {
      if (subscriber_ == nullptr) return;
      core_->remove(subscriber_);
      static_cast<void>(subscriber_->leave());
      subscriber_->wait_until_idle();
    }

   private:
    friend class Hub;
    Subscription(std::shared_ptr<Core> core, std::shared_ptr<Subscriber> subscriber) noexcept
        : core_(std::move(core)), subscriber_(std::move(subscriber)) {}

    std::shared_ptr<Core> core_;
    std::shared_ptr<Subscriber> subscriber_;  // null: none, or moved from
  };

  Hub() : core_(std::make_shared<Core>()) {}
  Hub(const Hub&) = delete;
  Hub& operator=(const Hub&) = delete;
  /// As close(). No broadcast may be under way.
  ~Hub() { close(); }

  /// A subscriber with a queue of its own. After close(): one whose queue is closed. Errors: std::bad_alloc.
  [[nodiscard]] Subscription subscribe(SubscribeOptions options = {}) {
    Chan<Message> own = make_chan<Message>(options.capacity);
    return add(std::make_shared<Subscriber>(own, own, std::move(options)));
  }

  /// A subscriber that has a queue already, such as a connection's out(); it is never closed here. Errors:
  /// std::bad_alloc.
  [[nodiscard]] Subscription subscribe(SendChan<Message> queue, SubscribeOptions options = {}) {
    return add(std::make_shared<Subscriber>(Chan<Message>(), std::move(queue), std::move(options)));
  }

  /// Sends `message` to all subscribers. Parks for those with Slow::kWaits, in turn.
  ///
  /// Returns: to how many queues it went. Errors: std::bad_alloc.
  std::size_t broadcast(Message message) { return core_->broadcast({}, message); }
  std::size_t broadcast(T message) { return core_->broadcast({}, std::make_shared<const T>(std::move(message))); }

  /// The same; when `ctx` is done nobody is waited for any more, and a subscriber without room misses it.
  std::size_t broadcast(const Context& ctx, Message message) { return core_->broadcast(ctx, message); }

  /// Ends all subscriptions: queues made here are closed, behind what is in them. on_left is not called. Parks for
  /// broadcasts that wait for room, and lets them go. Idempotent.
  void close() {
    for (const std::shared_ptr<Subscriber>& one : core_->close()) {
      static_cast<void>(one->leave());
      one->wait_until_idle();
    }
  }

  [[nodiscard]] HubStats stats() const { return core_->stats(); }

 private:
  using List = std::vector<std::shared_ptr<Subscriber>>;

  struct Subscriber {
    Subscriber(Chan<Message> made, SendChan<Message> to, SubscribeOptions o)
        : own(std::move(made)), queue(std::move(to)), options(std::move(o)) {}

    // True: it was this call that ended it.
    bool leave() {
      const std::lock_guard guard(lock);
      if (left) return false;
      left = true;
      gone.close();
      if (own && busy == 0) own.close();  // keeps I5
      return true;
    }

    void wait_until_idle() {
      std::unique_lock guard(lock);
      idle.wait(guard, [this] { return busy == 0; });
    }

    void enter_locked() { ++busy; }
    void exit() {
      const std::lock_guard guard(lock);
      if (--busy > 0) return;
      if (left && own) own.close();
      idle.broadcast();
    }

    // Constant.
    const Chan<Message> own;  // nil: the queue is the caller's
    const SendChan<Message> queue;
    const SubscribeOptions options;
    const Chan<Done> gone = make_chan<Done>();  // closed with `left`: lets go who waits for room

    std::atomic<std::uint64_t> missed{0};  // written by broadcasters
    Mutex lock;
    bool left = false;     // guarded by lock
    std::size_t busy = 0;  // guarded by lock: broadcasters that wait for room or are in on_left
    Cond idle;             // of lock: busy has become 0
  };

  enum class Sent : std::uint8_t { kSent, kMissed, kGone, kMustGo };

  struct Core {
    Subscription add(const std::shared_ptr<Core>& self, std::shared_ptr<Subscriber> subscriber) {
      {
        const std::lock_guard guard(lock);
        if (!closed) {
          auto next = std::make_shared<List>(*list);
          next->push_back(subscriber);
          list = std::move(next);
          return Subscription(self, std::move(subscriber));
        }
      }
      static_cast<void>(subscriber->leave());
      return Subscription(self, std::move(subscriber));
    }

    void remove(const std::shared_ptr<Subscriber>& subscriber) {
      const std::lock_guard guard(lock);
      const auto at = std::find(list->begin(), list->end(), subscriber);
      if (at == list->end()) return;
      try {
        auto next = std::make_shared<List>(*list);
        next->erase(next->begin() + (at - list->begin()));
        list = std::move(next);
      } catch (const std::bad_alloc&) {  // it stays in the list, and gets nothing, for it has left
      }
    }

    List close() {
      const std::lock_guard guard(lock);
      closed = true;
      List all = *list;
      list = std::make_shared<const List>();
      return all;
    }

    std::size_t broadcast(const Context& ctx, const Message& message) {
      std::shared_ptr<const List> to;
      {
        const std::lock_guard guard(lock);
        to = list;
      }
      std::size_t sent = 0;
      std::size_t missed = 0;
      for (const std::shared_ptr<Subscriber>& one : *to) {
        switch (send(*one, ctx, message)) {
          case Sent::kSent: ++sent; break;
          case Sent::kMissed: ++missed; break;
          case Sent::kGone: break;
          case Sent::kMustGo: dismiss(one); break;
        }
      }
      // relaxed, all: counts.
      broadcasts.fetch_add(1, std::memory_order_relaxed);
      sent_all.fetch_add(sent, std::memory_order_relaxed);
      missed_all.fetch_add(missed, std::memory_order_relaxed);
      return sent;
    }

    // kMustGo: it has to go, and we are counted as busy with it.
    Sent send(Subscriber& to, const Context& ctx, const Message& message) {
      {
        const std::lock_guard guard(to.lock);
        if (to.left) return Sent::kGone;
        try {
          if (to.queue.try_send(message)) return Sent::kSent;
        } catch (const Panic&) {  // its owner has closed it
          to.enter_locked();
          return Sent::kMustGo;
        }
        switch (to.options.slow) {
          case Slow::kMisses: return miss(to);
          case Slow::kLeaves: to.enter_locked(); return Sent::kMustGo;
          case Slow::kWaits: to.enter_locked(); break;
        }
      }
      Sent how = Sent::kGone;
      bool by_context = false;
      try {
        select(on_send(to.queue, message, [&] { how = Sent::kSent; }), on_recv(to.gone, [] {}),
               on_done(ctx, [&] { by_context = true; }));
      } catch (const Panic&) {
        return Sent::kMustGo;  // still counted as busy
      }
      to.exit();
      return by_context ? miss(to) : how;
    }

    static Sent miss(Subscriber& to) {
      // relaxed: a count.
      to.missed.fetch_add(1, std::memory_order_relaxed);
      return Sent::kMissed;
    }

    void dismiss(const std::shared_ptr<Subscriber>& one) {
      const auto last = defer([&] { one->exit(); });
      remove(one);
      if (!one->leave()) return;
      // relaxed: a count.
      left_all.fetch_add(1, std::memory_order_relaxed);
      if (one->options.on_left) one->options.on_left();
    }

    HubStats stats() {
      const std::lock_guard guard(lock);
      // relaxed, all: counts.
      return {.subscribers = list->size(),
              .broadcasts = broadcasts.load(std::memory_order_relaxed),
              .sent = sent_all.load(std::memory_order_relaxed),
              .missed = missed_all.load(std::memory_order_relaxed),
              .left = left_all.load(std::memory_order_relaxed)};
    }

    Mutex lock;
    std::shared_ptr<const List> list =
        std::make_shared<const List>();  // guarded by lock; what it points at is constant
    bool closed = false;                 // guarded by lock
    std::atomic<std::uint64_t> broadcasts{0}, sent_all{0}, missed_all{0}, left_all{0};
  };

  Subscription add(std::shared_ptr<Subscriber> subscriber) { return core_->add(core_, std::move(subscriber)); }

  const std::shared_ptr<Core> core_;
};

}  // namespace heddle::net
