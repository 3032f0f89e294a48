// The list of who wants what, the handler, and the courier: the thread between them.
//
//     kNone --notify()--> kStarting --thread made--> kUp --run() ends: told, joined--> kNone
//                              '--no thread--> kNone
//
// I5. A Want is unlinked under lock_, by stop or by the run's end. A goroutine that delivers counts itself as a user under
//     the same lock before it uses it outside; who has unlinked it is a user, too, and the last one frees it.
// I6. What the run's end unlinks is kept for ever: channel and context may have goroutines waiting that were abandoned, and
//     to drop the last handle would wake these.
// I7. The dispositions change under lock_, so `former` of a signal is what it had when nobody wanted it.
#include <heddle/core/notify.h>

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <new>
#include <optional>
#include <utility>

#include <heddle/core/foreign.h>
#include <heddle/core/internal/notify_end.h>
#include <heddle/core/internal/sanitizer.h>
#include <heddle/core/lock.h>
#include <heddle/core/park.h>
#include <heddle/core/section.h>

#if HEDDLE_TSAN
extern "C" int __sigaction(int, const struct sigaction*, struct sigaction*) noexcept;  // glibc's own name for sigaction
#endif

namespace heddle {
namespace {

using namespace std::chrono_literals;

constexpr int kSignals = 64;
using Bits = std::uint64_t;  // bit sig - 1

constexpr Bits bit_of(int sig) noexcept { return Bits{1} << (sig - 1); }

// One channel or context that wants signals.
struct Want {
  explicit Want(Chan<int> to) noexcept : ch(std::move(to)) {}
  explicit Want(CancelFunc to) noexcept : cancel(std::move(to)) {}

  const Chan<int> ch;
  const std::optional<CancelFunc> cancel;  // instead of the channel

  // guarded by lock_
  std::uint64_t id = 0;  // ascending along the list
  Bits signals = 0;
  Want* next = nullptr;

  std::atomic<int> users{1};  // raised under lock_, lowered without: I5
};

enum class Courier : std::uint8_t { kNone, kStarting, kUp };

constinit RawMutex lock_{LockRank::kLeaf};
// guarded by lock_
constinit Want* first_ = nullptr;
constinit Want* forgotten_ = nullptr;  // I6
constinit std::uint64_t last_id_ = 0;
constinit int counts_[kSignals + 1] = {};
constinit struct sigaction former_[kSignals + 1] = {};

constinit std::atomic<Courier> courier_{Courier::kNone};
constinit std::atomic<Bits> wanted_{0};  // written under lock_; the courier reads
constinit std::atomic<bool> over_{false};
constinit pthread_t thread_{};

// The handler's: plain words and the compiler's atomics, so that it stays uninstrumented.
constinit Bits came_ = 0;
constinit std::uint32_t bell_ = 0;

HEDDLE_UNINSTRUMENTED void ring() noexcept {
  __atomic_fetch_add(&bell_, 1U, __ATOMIC_RELEASE);  // release: what was stored before; pairs with the courier's load
  ::syscall(SYS_futex, &bell_, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

HEDDLE_UNINSTRUMENTED void on_signal(int sig) {
  const int saved = errno;
  __atomic_fetch_or(&came_, Bits{1} << (sig - 1), __ATOMIC_RELAXED);  // relaxed: ring() releases it
  ring();
  errno = saved;
}

int set_action(int sig, const struct sigaction* action, struct sigaction* before) noexcept {
#if HEDDLE_TSAN
  return __sigaction(sig, action, before);  // past TSan's interceptor, which would put the handler off
#else
  return ::sigaction(sig, action, before);
#endif
}

bool can_be_had(int sig) noexcept {
  switch (sig) {
    case SIGKILL:
    case SIGSTOP:
    case SIGSEGV:
    case SIGBUS:
    case SIGFPE:
    case SIGILL:
    case SIGURG: return false;
    default: return sig >= 1 && sig <= kSignals;
  }
}

template <class F>
void for_each_signal(Bits bits, F f) {
  for (; bits != 0; bits &= bits - 1) f(__builtin_ctzll(bits) + 1);
}

// Takes the count of each of `bits` down; who has none gets its former disposition back. Keeps I7.
void release_locked(Bits bits) noexcept {
  for_each_signal(bits, [](int sig) {
    if (--counts_[sig] != 0) return;
    set_action(sig, &former_[sig], nullptr);
    wanted_.fetch_and(~bit_of(sig), std::memory_order_relaxed);  // relaxed: ring() releases it
  });
}

// False: the kernel refuses one of them, and nothing has changed. Keeps I7.
bool claim_locked(Bits bits) noexcept {
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART | SA_ONSTACK;
  sigfillset(&action.sa_mask);
  Bits done = 0;
  for (Bits left = bits; left != 0; left &= left - 1) {
    const int sig = __builtin_ctzll(left) + 1;
    if (counts_[sig] == 0 && set_action(sig, &action, &former_[sig]) != 0) {
      release_locked(done);
      return false;
    }
    ++counts_[sig];
    done |= bit_of(sig);
    wanted_.fetch_or(bit_of(sig), std::memory_order_relaxed);  // relaxed: as above
  }
  return true;
}

// Keeps I5.
void leave(Want* want) noexcept {
  // acq_rel: each one's use comes before the last one frees it; pairs with the others', and with stop_notify().
  if (want->users.fetch_sub(1, std::memory_order_acq_rel) == 1) delete want;
}

// On a goroutine of its own: to all that want it, in the order in which they came.
void deliver(int sig) {
  for (std::uint64_t last = 0;;) {
    Want* want = nullptr;
    {
      const LockGuard guard(lock_);
      want = first_;
      while (want != nullptr && (want->id <= last || (want->signals & bit_of(sig)) == 0)) want = want->next;
      if (want == nullptr) return;
      want->users.fetch_add(1, std::memory_order_relaxed);  // relaxed: the lock orders it
      last = want->id;
    }
    struct Use {
      Want* want;
      ~Use() { leave(want); }
    } const use{want};
    if (want->cancel) {
      (*want->cancel)(Error{Code::kCanceled, sig, "signal"});
    } else {
      static_cast<void>(want->ch.try_send(sig));  // keeps I2
    }
  }
}

void* carry(void*) {
  pthread_setname_np(pthread_self(), "heddle-signals");
  Bits open = 0;  // what this thread lets through
  for (;;) {
    const std::uint32_t seen = __atomic_load_n(&bell_, __ATOMIC_ACQUIRE);  // acquire: pairs with ring()
    if (over_.load(std::memory_order_relaxed)) return nullptr;
    const Bits wanted = wanted_.load(std::memory_order_relaxed);
    sigset_t let;
    sigset_t block;
    sigemptyset(&let);
    sigemptyset(&block);
    for_each_signal(wanted & ~open, [&](int sig) { sigaddset(&let, sig); });
    for_each_signal(open & ~wanted, [&](int sig) { sigaddset(&block, sig); });
    pthread_sigmask(SIG_UNBLOCK, &let, nullptr);
    pthread_sigmask(SIG_BLOCK, &block, nullptr);
    open = wanted;
    const Bits came = __atomic_exchange_n(&came_, Bits{0}, __ATOMIC_RELAXED);  // relaxed: acquired with the bell
    for_each_signal(came, [](int sig) {
      try {
        static_cast<void>(post({.name = "signal"}, [sig] { deliver(sig); }));  // refused: run() ends (I4)
      } catch (const std::bad_alloc&) {  // no stack, no memory: the signal waits until there is some
        __atomic_fetch_or(&came_, bit_of(sig), __ATOMIC_RELAXED);  // relaxed: our own, the next turn takes it
        ::usleep(1000);
      }
    });
    if (came == 0) ::syscall(SYS_futex, &bell_, FUTEX_WAIT_PRIVATE, seen, nullptr, nullptr, 0);
  }
}

// All signals but the runtime's are blocked in it, until they are wanted.
bool start_thread() noexcept {
  sigset_t most;
  sigset_t before;
  sigfillset(&most);
  sigdelset(&most, SIGURG);
  over_.store(false, std::memory_order_relaxed);  // relaxed: the thread starts after it
  pthread_sigmask(SIG_BLOCK, &most, &before);
  const int error = pthread_create(&thread_, nullptr, carry, nullptr);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return error == 0;
}

bool have_courier() {
  for (;;) {
    Courier now = Courier::kNone;
    if (courier_.compare_exchange_strong(now, Courier::kStarting)) {
      const Section section;  // run() ends before it, or after it: there is no thread that notify_end() does not know
      const bool started = start_thread();
      courier_.store(started ? Courier::kUp : Courier::kNone);
      return started;
    }
    if (now == Courier::kUp) return true;
    sleep(100us);  // another goroutine starts it
  }
}

Result<Bits> bits_of(std::span<const int> signals) {
  Bits bits = 0;
  for (const int sig : signals) {
    if (!can_be_had(sig)) return std::unexpected(Error{Code::kInvalid, 0, "notify"});
    bits |= bit_of(sig);
  }
  if (bits == 0) return std::unexpected(Error{Code::kInvalid, 0, "notify"});
  return bits;
}

// Enters `fresh` for `bits`, or adds them to the one there that `same` finds.
template <class Same>
Result<std::uint64_t> enter(std::unique_ptr<Want> fresh, Bits bits, Same same) {
  if (!have_courier()) return std::unexpected(Error{Code::kNoResources, 0, "notify"});
  std::uint64_t id = 0;
  {
    const LockGuard guard(lock_);
    Want** at = &first_;
    while (*at != nullptr && !same(**at)) at = &(*at)->next;
    const Bits more = *at == nullptr ? bits : bits & ~(*at)->signals;
    if (!claim_locked(more)) return std::unexpected(Error{Code::kInvalid, 0, "notify"});
    if (*at == nullptr) {
      *at = fresh.release();
      (*at)->id = ++last_id_;
    }
    (*at)->signals |= more;
    id = (*at)->id;
  }
  ring();
  return id;
}

// Unlinks it; the caller is its user then. Null: there is none.
template <class Which>
Want* unlink(Which which) noexcept {
  Want* want = nullptr;
  {
    const LockGuard guard(lock_);
    Want** at = &first_;
    while (*at != nullptr && !which(**at)) at = &(*at)->next;
    if (*at == nullptr) return nullptr;
    want = std::exchange(*at, (*at)->next);
    release_locked(want->signals);
  }
  ring();
  return want;
}

}  // namespace

Result<void> notify(const Chan<int>& ch, std::span<const int> signals) {
  static_cast<void>(must_current_g("notify"));
  const Result<Bits> bits = bits_of(signals);
  if (!bits) return std::unexpected(bits.error());
  if (!ch) return std::unexpected(Error{Code::kInvalid, 0, "notify"});
  const Result<std::uint64_t> id =
      enter(std::make_unique<Want>(ch), *bits, [&ch](const Want& w) { return w.ch && w.ch == ch; });
  if (!id) return std::unexpected(id.error());
  return {};
}

void stop_notify(const Chan<int>& ch) {
  static_cast<void>(must_current_g("stop_notify"));
  if (!ch) return;
  Want* want = unlink([&ch](const Want& w) { return w.ch && w.ch == ch; });
  if (want == nullptr) return;
  // acquire: what the others sent; pairs with leave(). They wait for nothing (I2), so this is short.
  while (want->users.load(std::memory_order_acquire) != 1) sleep(20us);
  leave(want);
}

Result<SignalContext> notify_context(const Context& parent, std::span<const int> signals) {
  static_cast<void>(must_current_g("notify_context"));
  const Result<Bits> bits = bits_of(signals);
  if (!bits) return std::unexpected(bits.error());
  ContextAndCancel made = with_cancel_cause(parent);
  const Result<std::uint64_t> id = enter(std::make_unique<Want>(made.cancel), *bits, [](const Want&) { return false; });
  if (!id) return std::unexpected(id.error());
  return SignalContext(std::move(made), *id);
}

void SignalContext::stop() {
  const std::uint64_t id = std::exchange(id_, 0);
  if (id == 0 || current_g() == nullptr) return;  // moved from; or its run() has let go of it
  Want* want = unlink([id](const Want& w) { return w.id == id; });
  if (want == nullptr) return;
  leave(want);
  cancel_();
}

void notify_end() noexcept {
  if (courier_.load() != Courier::kUp) {  // kStarting: whoever was about to start it has been abandoned
    courier_.store(Courier::kNone);
    return;
  }
  {
    const LockGuard guard(lock_);
    while (Want* want = first_) {
      first_ = std::exchange(want->next, forgotten_);
      forgotten_ = want;
      release_locked(want->signals);
    }
  }
  over_.store(true, std::memory_order_relaxed);  // relaxed: ring() releases it
  ring();
  pthread_join(thread_, nullptr);
  __atomic_store_n(&came_, Bits{0}, __ATOMIC_RELAXED);  // relaxed: nobody has the handler any more
  courier_.store(Courier::kNone);
}

}  // namespace heddle
