#include <heddle/core/foreign.h>

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <heddle/core/check.h>
#include <heddle/core/internal/sched.h>
#include <heddle/core/lock.h>
#include <heddle/core/park.h>

namespace heddle {
namespace {

std::atomic<bool> gate_open{false};
std::atomic<int> in_gate{0};

// False if no run() is under way, or it ends. Else leave_gate() must follow, in the same section.
bool enter_gate() noexcept {
  // seq_cst, all four: we count ourselves, then look whether it is open; foreign_close() closes, then looks at the
  // count.
  in_gate.fetch_add(1, std::memory_order_seq_cst);
  if (gate_open.load(std::memory_order_seq_cst) && !sched.stopping.load(std::memory_order_acquire)) return true;
  in_gate.fetch_sub(1, std::memory_order_seq_cst);
  return false;
}

void leave_gate() noexcept { in_gate.fetch_sub(1, std::memory_order_seq_cst); }

// The threads in run_and_wait().
RawMutex calls_lock{LockRank::kLeaf};
detail::ForeignCall* first_call = nullptr;  // guarded by calls_lock

}  // namespace

void foreign_open() noexcept { gate_open.store(true, std::memory_order_seq_cst); }

void foreign_close() noexcept {
  gate_open.store(false, std::memory_order_seq_cst);
  while (in_gate.load(std::memory_order_seq_cst) != 0) {
    const timespec pause{0, 50'000};
    ::nanosleep(&pause, nullptr);
  }
}

namespace detail {

bool start_posted_g(G* g, void (*entry)(void*), ForeignCall* call) noexcept {
  const Section section;  // keeps I1
  if (!enter_gate()) return false;
  if (call != nullptr) call->enlist();
  start_g(g, entry);
  leave_gate();
  return true;
}

void must_be_foreign() noexcept {
  if (current_m() != nullptr) fatal("run_and_wait on a goroutine would block its thread: spawn() it and join()");
}

void ForeignCall::enlist() noexcept {
  const LockGuard guard(calls_lock);
  listed_ = true;
  next_ = first_call;
  if (next_ != nullptr) next_->prev_ = this;
  first_call = this;
}

ForeignCall::~ForeignCall() {
  const LockGuard guard(calls_lock);
  if (!listed_) return;
  (prev_ != nullptr ? prev_->next_ : first_call) = next_;
  if (next_ != nullptr) next_->prev_ = prev_;
}

void ForeignCall::settle(State state) noexcept {
  std::atomic<std::uint32_t>* word = &state_;
  word->store(state, std::memory_order_release);  // release: the result; pairs with wait()
  // The object may be gone by now: at worst somebody who waits at the same address looks once for nothing.
  ::syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

void ForeignCall::finish() noexcept { settle(kFinished); }

bool ForeignCall::wait() noexcept {
  for (;;) {
    const std::uint32_t state = state_.load(std::memory_order_acquire);  // acquire: pairs with settle()
    if (state != kWaiting) return state == kFinished;
    ::syscall(SYS_futex, &state_, FUTEX_WAIT_PRIVATE, kWaiting, nullptr, nullptr, 0);
  }
}

void ForeignCall::abandon_all() noexcept {
  const LockGuard guard(calls_lock);  // so none of them goes away meanwhile
  for (ForeignCall* call = first_call; call != nullptr; call = call->next_) {
    // relaxed: no goroutine runs any more. A call whose goroutine has finished keeps its result.
    if (call->state_.load(std::memory_order_relaxed) == kWaiting) call->settle(kAbandoned);
  }
}

}  // namespace detail
}  // namespace heddle
