// PollDesc: waiting and closing. The arming is the back ends' (net_poller.h), the state words are fd_lock.h and
// ready_word.h.
#include <heddle/net/internal/poll_desc.h>

#include <algorithm>

#include <heddle/core/section.h>
#include <heddle/core/timer_node.h>
#include <heddle/net/internal/net_poller.h>
#include <heddle/net/internal/sys.h>

namespace heddle::net {
namespace {

bool publish_in_word(G* g, void* word) { return static_cast<ReadyWord*>(word)->publish(g); }

// Ends a parked wait at its deadline. A local of the goroutine that waits.
struct KickTimer : TimerNode {
  explicit KickTimer(ReadyWord& w) noexcept
      : TimerNode([](TimerNode* timer) {
          // Under the timers' lock, which permits readying. If an event came first there is no G to ready.
          if (G* g = static_cast<KickTimer*>(timer)->word.kick()) ready_tail(g);
        }),
        word(w) {}
  ReadyWord& word;
};

}  // namespace

std::uint32_t PollDesc::open(int new_fd) noexcept {
  fd = new_fd;
  in.reset();
  out.reset();
  // relaxed: the slot is the caller's alone; FdLock::open publishes it.
  in_deadline.store(kNever, std::memory_order_relaxed);
  out_deadline.store(kNever, std::memory_order_relaxed);
  watched.store(0, std::memory_order_relaxed);
  uneven.store(false, std::memory_order_relaxed);
  abort.store(false, std::memory_order_relaxed);
  diverted.store(false, std::memory_order_relaxed);
  intake.store(Intake::kOpen, std::memory_order_relaxed);
  drained = false;
  short_read_drains = true;
  return lock.open();
}

void PollDesc::retire() noexcept {
  fd = -1;
  armed = canceling = 0;
  want_out = close_owed = owed_away = false;
  waiter = nullptr;
  requests.store(0, std::memory_order_relaxed);
  home.store(nullptr, std::memory_order_relaxed);
  lock.retire();
}

template <class Deadline>
WaitResult PollDesc::wait_with(Mode mode, bool watches, WaitReason reason, Deadline deadline_of) noexcept {
  struct Env {
    PollDesc& pd;
    Mode mode;
    bool watches;
    WaitReason reason;
    Deadline& deadline_of;
    int error = 0;

    std::int64_t deadline() const noexcept { return deadline_of(); }
    static std::int64_t now() noexcept { return nanotime(); }
    bool arm() noexcept {
      if (watches) error = pd.watch(mode);
      return error == 0;
    }
    void park(ReadyWord& word, std::int64_t when) noexcept {
      if (when == kNever) {
        heddle::park(publish_in_word, &word, reason);
        return;
      }
      KickTimer timer(word);
      timer_start(timer, when);
      heddle::park(publish_in_word, &word, reason);
      timer_stop(timer);
    }
    [[noreturn]] void second_waiter() const noexcept {
      fatal("fd %d: a second goroutine waits to %s", pd.fd, mode == Mode::kRead ? "read" : "write");
    }
  } env{*this, mode, watches, reason, deadline_of};
  const WaitStatus status = wait_ready(mode == Mode::kRead ? in : out, env);
  return {status, env.error};
}

// The end of `ctx` is a deadline that comes at once: it is told by a kick, like any change of a deadline (ready_word.h I3: err()
// is set before the function runs, and looked at after begin).
template <class Deadline>
WaitResult PollDesc::wait_within(const Context* ctx, Mode mode, bool watches, WaitReason reason, Deadline deadline) {
  if (ctx == nullptr || !ctx->can_be_done()) return wait_with(mode, watches, reason, deadline);
  // The function keeps nothing of this call: it may run after it, when the slot has another tenant.
  StopFunc stop = after_func(*ctx, [this, mode] { kick(mode); });
  const WaitResult result = wait_with(mode, watches, reason, [&] { return ctx->err() ? 0 : deadline(); });
  stop();
  return result;
}

WaitResult PollDesc::wait(Mode mode, WaitReason reason, const Context* ctx) {
  std::atomic<std::int64_t>& slot = mode == Mode::kRead ? in_deadline : out_deadline;
  // relaxed: ordered by the RMW of the ready word before it (ready_word.h I3).
  return wait_within(ctx, mode, true, reason, [&slot] { return slot.load(std::memory_order_relaxed); });
}

WaitResult PollDesc::wait_until(Mode mode, std::int64_t deadline, WaitReason reason, const Context* ctx) {
  return wait_within(ctx, mode, true, reason, [deadline] { return deadline; });
}

WaitResult PollDesc::pause(Mode mode, std::int64_t until, WaitReason reason, const Context* ctx) {
  std::atomic<std::int64_t>& slot = mode == Mode::kRead ? in_deadline : out_deadline;
  // relaxed: as in wait().
  const auto deadline = [&slot] { return slot.load(std::memory_order_relaxed); };
  const WaitResult result =
      wait_within(ctx, mode, false, reason, [&deadline, until] { return std::min(deadline(), until); });
  if (result.status != WaitStatus::kTimeout || nanotime() >= deadline() || (ctx != nullptr && ctx->err())) return result;
  return {WaitStatus::kReady, 0};
}

int PollDesc::watch(Mode mode) noexcept {
  const Section section;  // from "which is my home" to the act
  NetPoller* owner = home.load(std::memory_order_seq_cst);
  if (owner == nullptr) {
    NetPoller* mine = NetPoller::here();
    if (mine == nullptr) mine = NetPoller::at(0);
    if (home.compare_exchange_strong(owner, mine, std::memory_order_seq_cst)) {
      owner = mine;
      owner->count_open(+1);
    }
  }
  if (lock.closing()) return 0;  // I2: arm nothing; the word says kClosed now or soon, so the wait ends
  return owner->watch(*this, mode);
}

void PollDesc::set_deadline(Mode mode, std::int64_t when) noexcept {
  // relaxed: released by the RMW in kick() (ready_word.h I3).
  (mode == Mode::kRead ? in_deadline : out_deadline).store(when, std::memory_order_relaxed);
  kick(mode);
}

void PollDesc::kick(Mode mode) noexcept {
  if (G* g = (mode == Mode::kRead ? in : out).kick()) ready(g);
}

bool PollDesc::close(std::uint32_t generation, FinishWaiter* w) noexcept {
  if (!lock.close(generation)) return false;
  waiter = w;  // the finisher comes after our hold is dropped
  if (G* g = in.close()) ready(g);
  if (G* g = out.close()) ready(g);
  NetPoller* owner = home.load(std::memory_order_seq_cst);  // I2
  if (owner == nullptr) {
    drop();
  } else {
    owner->end(*this);
  }
  return true;
}

void PollDesc::leave(FdUse use) noexcept {
  if (lock.leave(use) == FdLeave::kFinish) NetPoller::finish(*this, false);
}

void PollDesc::notify_in() noexcept {
  if (G* g = in.notify()) ready_tail(g);
}

void PollDesc::notify_out() noexcept {
  if (G* g = out.notify()) ready_tail(g);
}

void FinishWaiter::wait(WaitReason reason) noexcept {
  while (word.begin() == WaitBegin::kArmed) park(publish_in_word, &word, reason);
}

Slab<PollDesc>& socket_slab() noexcept {
  static constinit Slab<PollDesc> slab;
  return slab;
}

Error to_error(const WaitResult& result, const char* op, const Context* ctx) noexcept {
  switch (result.status) {
    case WaitStatus::kTimeout:
      if (ctx != nullptr) {
        if (const std::optional<Error> end = ctx->err()) return {end->code, 0, op};
      }
      return {Code::kTimeout, 0, op};
    case WaitStatus::kClosed:
      return {Code::kClosed, 0, op};
    case WaitStatus::kFailed:
      return Error::from_errno(result.error, op);
    case WaitStatus::kReady:
      break;
  }
  fatal("%s: a wait that ended in readiness is no error", op);
}

}  // namespace heddle::net
