// NetPoller: what both back ends share of a worker's poller. Sleep and doorbell, inbox, timers, streams' lives, closing.
//
//        the holder of the P                         the host, its P idle         anybody
//   reap():  serve the inbox                     wait():  announce sleep,      post():  ask the home for something,
//            poll_events()   (back end)                   re-check, then                ring its doorbell
//            turn the wheel                               block()  (back end)  wake():  ring its doorbell
//
// A back end (uring_poller.h, epoll_poller.h) knows how to watch, receive and accept, and reports to the descriptors. All
// that it does for a descriptor beyond watch() and end() happens on its home's scheduler side: so its own state and the
// "home's" fields of descriptors need no lock.
//
// I1. No request is lost: it is pushed before the doorbell is rung, and wait() looks at the inbox after it has announced
//     sleep (doorbell.h I1). A request made on the home itself rings nothing; wait() sees it all the same.
// I2. No callback of a sink runs inside a call that a sink or a goroutine made: what they ask is posted, also at home.
// I3. A poller is destroyed on its own thread when no goroutine runs any more. It calls off what is armed, waits
//     for the last completion (so the kernel holds no socket of ours and every port is free), and closes the descriptors
//     that are homed on it; the last poller also closes those that have no home. Sinks are not called any more.
//
// "Home" is whoever holds the poller's P. "Am I at home?" is here() == home, in a section (core/section.h): outside, the P may
// go elsewhere between the question and the act.
#pragma once

#include <atomic>
#include <cstdint>

#include <heddle/core/poller.h>
#include <heddle/net/internal/doorbell.h>
#include <heddle/net/internal/inbox.h>
#include <heddle/net/internal/poll_desc.h>
#include <heddle/net/internal/wheel.h>

namespace heddle::net {

struct AcceptDesc;
struct StreamConn;

class NetPoller : public Poller {
 public:
  NetPoller();
  ~NetPoller() override;
  NetPoller(const NetPoller&) = delete;
  NetPoller& operator=(const NetPoller&) = delete;

  // The seam (core/poller.h).
  int reap() final;
  [[nodiscard]] bool pending() const noexcept final { return !inbox_.empty() || events_pending(); }
  [[nodiscard]] bool in_use() const noexcept final { return open_.load(std::memory_order_relaxed) > 0; }  // a hint
  void wait(std::int64_t deadline) final;
  void wake() noexcept final { doorbell_.ring(); }
  [[nodiscard]] bool has_ready() const noexcept final {
    return !inbox_.empty() || fetched_.load(std::memory_order_relaxed) || events_ready();  // relaxed: a hint
  }

  /// The poller of the P that the caller holds, or nullptr. In a section.
  [[nodiscard]] static NetPoller* here() noexcept;
  /// The poller of worker `index`.
  [[nodiscard]] static NetPoller* at(int index) noexcept;
  /// How many workers serve connections (they have a P to come back to).
  [[nodiscard]] static int homes() noexcept;
  /// Tells one run() from the next, for what a process keeps between calls but goroutines of one run only may share.
  [[nodiscard]] static std::uint64_t run_number() noexcept;

  // --- any thread; the caller is inside `pd` or has a hold on it ---

  /// Makes the back end report `mode` to `pd`'s ready word, now or from now on. Returns 0 or an errno.
  [[nodiscard]] virtual int watch(PollDesc& pd, Mode mode) noexcept = 0;

  /// Forgets a descriptor whose number outlives it (FinishWaiter::takes_fd): nothing is reported for it any more. Nobody is
  /// inside, and nothing armed.
  virtual void forget(PollDesc& pd) noexcept = 0;

  /// Takes over the closer's hold on `pd`, to drop it when nothing is armed any more.
  void end(PollDesc& pd) noexcept;

  /// Asks the home (this) for `requests` (bits of Request).
  void post(PollDesc& pd, std::uint32_t requests) noexcept;

  /// The end of a closing descriptor that nobody is inside of (poll_desc.h I1). `at_home`: on its home's scheduler side.
  static void finish(PollDesc& pd, bool at_home) noexcept;

  void count_open(int n) noexcept { open_.fetch_add(n, std::memory_order_relaxed); }        // a hint
  void count_streams(int n) noexcept { streams_.fetch_add(n, std::memory_order_relaxed); }  // a hint
  [[nodiscard]] int streams() const noexcept { return streams_.load(std::memory_order_relaxed); }

  // --- the home, on the scheduler's side ---

  /// Asks the acceptor for a sink and starts the stream.
  void adopt(StreamConn& stream) noexcept;

  Wheel& wheel() noexcept { return wheel_; }

 protected:
  /// Handles events that have come, without blocking. Returns how many.
  virtual int poll_events() noexcept = 0;
  /// Blocks until there are events, the doorbell rings, or `timeout` ns have passed (negative: no limit).
  virtual void block(std::int64_t timeout) noexcept = 0;
  /// True if poll_events() has something to do that it knows of without a system call. Threads: the home.
  [[nodiscard]] virtual bool events_pending() const noexcept = 0;
  /// The same for any thread, which may need a system call for it.
  [[nodiscard]] virtual bool events_ready() const noexcept = 0;
  /// Brings what is armed in line with what is wanted: pause, resume, closing, accepting again.
  virtual void update(PollDesc& pd) noexcept = 0;
  /// True if armed operations hold on to the socket, so that its end must begin with calling them off at home.
  [[nodiscard]] virtual bool holds_sockets() const noexcept = 0;

  /// For update(): the kernel holds nothing of the closing `pd` any more. Drops the closer's hold.
  void ended(PollDesc& pd) noexcept;

  /// Calls `f(pd)` for each descriptor that is homed here and not closing.
  template <class F>
  void for_each_open(F f) noexcept;

  /// For destructors of back ends, when nothing is armed any more.
  void close_all() noexcept;

  Doorbell doorbell_;

 private:
  static constexpr int kTimerBudget = 256;       // entries per turn: 256 time-outs at 2 us are half a millisecond
  static constexpr unsigned kClockEvery = 16;    // busy turns per look at the clock, which costs 40 ns

  int serve_inbox() noexcept;
  void serve(PollDesc& pd, std::uint32_t requests) noexcept;
  int turn_wheel() noexcept;
  void drop_at_home(PollDesc& pd) noexcept;

  Inbox inbox_;
  alignas(64) Wheel wheel_;
  unsigned turns_ = 0;
  std::atomic<bool> fetched_{false};  // wait() has brought events that no reap() has handled
  alignas(64) std::atomic<int> open_{0};  // descriptors homed here: watchers and finishers on any M
  std::atomic<int> streams_{0};           // streams among them, for dealing out new ones
};

}  // namespace heddle::net
