#include <heddle/core/internal/signals.h>

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include <memory>

#include <heddle/core/clock.h>
#include <heddle/core/internal/freeze.h>
#include <heddle/core/internal/handover.h>
#include <heddle/core/internal/preempt.h>
#include <heddle/core/internal/sanitizer.h>
#include <heddle/core/internal/stack.h>
#include <heddle/core/section.h>

#if HEDDLE_TSAN
extern "C" int __sigaction(int, const struct sigaction*, struct sigaction*) noexcept;  // glibc's own name for sigaction
#endif

namespace heddle {

enum Ask : std::uint32_t { kNone, kAsked, kCopying, kDone };

struct SignalSlot {
  std::uint32_t tid;      // 0: free; written by the slot's thread
  std::uint32_t reasons;  // set by askers, taken by the handler
  std::uint32_t ask;      // see the drawing

  // The asker's before kAsked and after kDone; the handler's while kCopying.
  std::byte* buffer;
  std::size_t size;  // in: room; out: bytes copied
  G* g;
  std::uint64_t id;
  Registers registers;
};

namespace {

// What the handler copies of a stack at most: its newest part. A deeper stack's report ends early.
constexpr std::size_t kMostBytes = std::size_t{128} << 10;
// More threads than have Ps: those that run blocking calls count, too.
constexpr int kSlots = kMaxMs + 64;

// Plain words and the compiler's atomics, so that the handler stays uninstrumented (I3).
constinit SignalSlot slots[kSlots] = {};
constinit struct sigaction old_action {};

// initial-exec: reading it must not allocate, also where heddle is a shared library.
[[gnu::tls_model("initial-exec")]] constinit thread_local SignalSlot* my_slot = nullptr;

HEDDLE_UNINSTRUMENTED void answer_stack(SignalSlot* slot, const ucontext_t* context) noexcept {
  std::uint32_t asked = kAsked;
  // acquire: the asker's buffer is ours; pairs with the release in ask().
  if (!__atomic_compare_exchange_n(&slot->ask, &asked, kCopying, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) return;
  read_registers(*context, slot->registers);
  const std::uintptr_t sp = slot->registers.sp();
  bool in_guard = false;
  G* g = stack_arena().find(reinterpret_cast<const void*>(sp), &in_guard);  // keeps I4
  std::size_t copied = 0;
  if (g != nullptr && !in_guard && sp < reinterpret_cast<std::uintptr_t>(g->stack_hi)) {
    const std::uintptr_t lo = StackImage::low_end(sp, *g);
    const std::size_t used = reinterpret_cast<std::uintptr_t>(g->stack_hi) - lo;
    copied = used < slot->size ? used : slot->size;
    copy_stack(slot->buffer, reinterpret_cast<const std::byte*>(lo), copied);
    slot->id = g->id.load(std::memory_order_relaxed);  // relaxed: it runs on this thread
  } else {
    g = nullptr;
  }
  slot->g = g;
  slot->size = copied;
  // release: gives buffer and registers back to the asker; pairs with the acquire in capture_running().
  __atomic_store_n(&slot->ask, kDone, __ATOMIC_RELEASE);
}

HEDDLE_UNINSTRUMENTED void on_runtime_signal(int sig, siginfo_t* info, void* context) {
  const int saved = errno;
  SignalSlot* slot = my_slot;
  std::uint32_t reasons = 0;
  // acq_rel: what the asker wrote before it set the bit is ours.
  if (slot != nullptr) reasons = __atomic_exchange_n(&slot->reasons, 0U, __ATOMIC_ACQ_REL);
  const bool frozen = freeze_here(static_cast<const ucontext_t*>(context));
  if ((reasons & kReasonStack) != 0) answer_stack(slot, static_cast<const ucontext_t*>(context));
  if ((reasons & kReasonPreempt) != 0) {
    if (M* m = detail::thread_state()->m; m != nullptr) preempt_here(m, static_cast<const ucontext_t*>(context));
  }
  if (reasons == 0 && !frozen) {
    // Not from us: as if we were not there.
    if ((old_action.sa_flags & SA_SIGINFO) != 0 && old_action.sa_sigaction != nullptr) {
      old_action.sa_sigaction(sig, info, context);
    } else if ((old_action.sa_flags & SA_SIGINFO) == 0 && old_action.sa_handler != SIG_DFL &&
               old_action.sa_handler != SIG_IGN) {
      old_action.sa_handler(sig);
    }
  }
  errno = saved;
}

void ask(SignalSlot& slot, std::uint32_t tid, std::byte* buffer, std::size_t size) noexcept {
  slot.buffer = buffer;
  slot.size = size;
  slot.g = nullptr;
  // release: lends the buffer; pairs with the acquire in answer_stack().
  __atomic_store_n(&slot.ask, kAsked, __ATOMIC_RELEASE);
  __atomic_fetch_or(&slot.reasons, kReasonStack, __ATOMIC_ACQ_REL);  // acq_rel: after the line above
  if (::syscall(SYS_tgkill, ::getpid(), tid, SIGURG) != 0) {
    std::uint32_t asked = kAsked;
    // relaxed: nobody has it.
    __atomic_compare_exchange_n(&slot.ask, &asked, kNone, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  }
}

[[nodiscard]] bool done(const SignalSlot& slot) noexcept {
  const std::uint32_t now = __atomic_load_n(&slot.ask, __ATOMIC_ACQUIRE);  // acquire: pairs with answer_stack()
  return now == kDone || now == kNone;
}

// Takes the buffer back. True if it holds an answer.
[[nodiscard]] bool settle(SignalSlot& slot) noexcept {
  std::uint32_t now = kAsked;
  // acquire, on failure too: see done().
  if (__atomic_compare_exchange_n(&slot.ask, &now, kNone, false, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE)) return false;
  // Copying is a memcpy on a thread that may have lost its CPU: wait for it (I2).
  while (now == kCopying) {
    const timespec pause{0, 20'000};
    ::nanosleep(&pause, nullptr);
    now = __atomic_load_n(&slot.ask, __ATOMIC_ACQUIRE);
  }
  __atomic_store_n(&slot.ask, kNone, __ATOMIC_RELAXED);  // relaxed: ours alone from kDone on
  return now == kDone;
}

}  // namespace

void signal_preempt(SignalSlot* slot) noexcept {
  const std::uint32_t tid = __atomic_load_n(&slot->tid, __ATOMIC_RELAXED);  // relaxed: see I1
  if (tid == 0) return;
  if ((__atomic_fetch_or(&slot->reasons, kReasonPreempt, __ATOMIC_ACQ_REL) & kReasonPreempt) != 0) return;
  ::syscall(SYS_tgkill, ::getpid(), tid, SIGURG);
}

void install_runtime_signal() {
  preempt_setup();
  struct sigaction action {};
  action.sa_sigaction = on_runtime_signal;
  action.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
#if HEDDLE_TSAN
  __sigaction(SIGURG, &action, &old_action);  // past TSan's interceptor; keeps I3
#else
  ::sigaction(SIGURG, &action, &old_action);
#endif
}

SignalSlot* register_signalled_thread() noexcept {
  const auto tid = static_cast<std::uint32_t>(::syscall(SYS_gettid));
  for (SignalSlot& slot : slots) {
    std::uint32_t free = 0;
    // acq_rel: the last tenant is done with it.
    if (!__atomic_compare_exchange_n(&slot.tid, &free, tid, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) continue;
    __atomic_store_n(&slot.reasons, 0U, __ATOMIC_RELAXED);  // relaxed: a reason left over has lost its signal
    my_slot = &slot;
    return &slot;
  }
  // All taken: this thread's goroutines are reported without their stacks while they run, and are not preempted.
  return nullptr;
}

void unregister_signalled_thread() noexcept {
  SignalSlot* slot = my_slot;
  if (slot == nullptr) return;
  my_slot = nullptr;
  __atomic_store_n(&slot->tid, 0U, __ATOMIC_RELEASE);  // release: pairs with the next tenant's acquire
}

std::vector<RunningStack> capture_running(std::int64_t timeout_ns) {
  struct Asked {
    SignalSlot* slot;
    std::unique_ptr<std::byte[]> buffer;
  };
  std::vector<Asked> asked;
  const auto self = static_cast<std::uint32_t>(::syscall(SYS_gettid));
  for (SignalSlot& slot : slots) {
    const std::uint32_t tid = __atomic_load_n(&slot.tid, __ATOMIC_RELAXED);  // relaxed: see I1
    if (tid == 0 || tid == self) continue;
    // Uninitialized: the handler says how much of it is true.
    asked.push_back({&slot, std::unique_ptr<std::byte[]>(new std::byte[kMostBytes])});
    ask(slot, tid, asked.back().buffer.get(), kMostBytes);
  }
  const std::int64_t until = nanotime() + timeout_ns;
  for (const Asked& a : asked) {
    while (!done(*a.slot) && nanotime() < until) {
      const timespec pause{0, 20'000};
      ::nanosleep(&pause, nullptr);
    }
  }
  std::vector<RunningStack> found;
  for (Asked& a : asked) {
    if (!settle(*a.slot) || a.slot->g == nullptr) continue;
    RunningStack r;
    r.g = a.slot->g;
    r.id = a.slot->id;
    r.image.registers = a.slot->registers;
    r.image.exact_pc = true;
    r.image.lo = StackImage::low_end(r.image.registers.sp(), *r.g);
    r.image.bytes.assign(a.buffer.get(), a.buffer.get() + a.slot->size);
    found.push_back(std::move(r));
  }
  return found;
}

}  // namespace heddle
