#include <heddle/core/internal/freeze.h>

#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <heddle/core/clock.h>
#include <heddle/core/internal/sanitizer.h>
#include <heddle/core/internal/sched.h>
#include <heddle/core/internal/world.h>
#include <heddle/core/internal/unwind.h>

namespace heddle {
namespace {

enum State : std::uint32_t { kNone, kAsked, kAnswers, kFrozen, kGone, kGivenUp };

// An entry's state with the number of its freeze: keeps I6.
//   state:   | number of the freeze, modulo 2^29 | State: 3 bits |
constexpr std::uint32_t in_freeze(std::uint32_t number, State state) noexcept { return number << 3 | state; }

constexpr int kMostThreads = 2048;
constexpr std::int64_t kAnswerTime = 500'000'000;  // ns, for a thread that neither answers nor blocks the signal
constexpr std::int64_t kRestTime = 500'000'000;    // ns, for all to be at rest at once

// Plain words and the compiler's atomics, as in signals.cc: the handler is not instrumented.
constinit FrozenThread threads[kMostThreads] = {};
constinit int count = 0;
constinit std::uint32_t frozen = 0;  // futex word: odd while a freeze is on
constinit int owed = 0;              // signals sent in vain, which may come yet

// For who freezes: his own freeze's.
std::uint32_t now_is(State state) noexcept {
  return in_freeze(__atomic_load_n(&frozen, __ATOMIC_RELAXED), state);  // relaxed: he alone changes it
}

void pause(std::int64_t ns) noexcept {
  const timespec ts{0, ns};
  ::nanosleep(&ts, nullptr);
}

// Reads a small file of a thread's. Returns the bytes read, 0 if it is gone.
std::size_t read_of(std::uint32_t tid, const char* what, char* text, std::size_t size) noexcept {
  text[0] = '\0';
  char path[64];
  std::snprintf(path, sizeof path, "/proc/self/task/%u/%s", tid, what);
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  const auto n = ::read(fd, text, size - 1);
  ::close(fd);
  text[n > 0 ? n : 0] = '\0';
  return n > 0 ? static_cast<std::size_t>(n) : 0;
}

// Threads that need not hold still: ours (I5), and the kernel's workers for a ring, which run no code of the process.
bool of_no_consequence(std::uint32_t tid) noexcept {
  // Not by its name: the threads that it makes begin with that.
  if (tid == sched.maker_tid.load(std::memory_order_acquire)) return true;  // acquire: pairs with maker_thread()
  char name[32];
  read_of(tid, "comm", name, sizeof name);
  for (const char* known : {"heddle-sysmon\n", "heddle-report\n"}) {
    if (std::strcmp(name, known) == 0) return true;
  }
  return std::strncmp(name, "iou-", 4) == 0;
}

bool blocks_signal(std::uint32_t tid) noexcept {
  char text[4096];
  read_of(tid, "status", text, sizeof text);
  const char* at = std::strstr(text, "SigBlk:");
  return at != nullptr && ((std::strtoull(at + 7, nullptr, 16) >> (SIGURG - 1)) & 1) != 0;
}

// Where a thread that cannot answer stands in the handler already.
enum class InHandler : std::uint8_t { kNo, kPreempted, kStands };

InHandler in_handler(std::uint32_t tid) noexcept {
  for (int i = 0; i < sched.nms.load(std::memory_order_acquire); ++i) {
    const M* m = sched.all_ms[i].load(std::memory_order_acquire);  // acquire, both: pair with enter_m()
    if (m == nullptr || m->tid.load(std::memory_order_acquire) != tid) continue;
    // acquire, both: pair with preempt_here().
    if (m->preempted_seen.load(std::memory_order_acquire)) return InHandler::kPreempted;
    return m->stands_seen.load(std::memory_order_acquire) ? InHandler::kStands : InHandler::kNo;
  }
  return InHandler::kNo;
}

FrozenThread* find(std::uint32_t tid) noexcept {
  for (int i = 0; i < count; ++i) {
    if (threads[i].tid == tid) return &threads[i];
  }
  return nullptr;
}

// Asks the threads that were not there at the last look. Returns how many, or -1: too many.
int ask_new_threads() noexcept {
  struct Entry {  // getdents64(2)
    std::uint64_t inode;
    std::int64_t offset;
    unsigned short length;
    unsigned char type;
    char name[1];  // as long as it is
  };
  const auto self = static_cast<std::uint32_t>(::syscall(SYS_gettid));
  const int dir = ::open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (dir < 0) return -1;
  int asked = 0;
  alignas(Entry) char buffer[4096];
  for (;;) {
    const auto n = ::syscall(SYS_getdents64, dir, buffer, sizeof buffer);
    if (n <= 0) break;
    for (long at = 0; at < n && asked >= 0;) {
      const char* entry = buffer + at;
      at += reinterpret_cast<const Entry*>(entry)->length;
      const auto tid = static_cast<std::uint32_t>(std::strtoul(entry + offsetof(Entry, name), nullptr, 10));
      if (tid == 0 || tid == self || find(tid) != nullptr) continue;
      if (count == kMostThreads) {
        asked = -1;
        break;
      }
      FrozenThread& t = threads[count];
      t = FrozenThread{};
      t.tid = tid;
      const bool ask = !of_no_consequence(tid);
      // relaxed: published with `count`.
      __atomic_store_n(&t.state, now_is(ask ? kAsked : kGone), __ATOMIC_RELAXED);
      // release: the handler finds its entry; pairs with the acquire in freeze_here().
      __atomic_store_n(&count, count + 1, __ATOMIC_RELEASE);
      if (!ask) continue;
      ++asked;
      // relaxed: no handler will look at it.
      if (::syscall(SYS_tgkill, ::getpid(), tid, SIGURG) != 0) __atomic_store_n(&t.state, now_is(kGone), __ATOMIC_RELAXED);
    }
    if (asked < 0) break;
  }
  ::close(dir);
  return asked;
}

// Waits until `t` is frozen or accounted for otherwise. Null, or what is wrong.
const char* await(FrozenThread& t) noexcept {
  const std::int64_t until = nanotime() + kAnswerTime;
  for (int looks = 0;; ++looks) {
    // acquire: pairs with the handler's release.
    const std::uint32_t state = __atomic_load_n(&t.state, __ATOMIC_ACQUIRE);
    if (state != now_is(kAsked) && state != now_is(kAnswers)) return nullptr;
    if (looks > 0 && in_handler(t.tid) != InHandler::kNo) return nullptr;  // keeps I2
    // It has ended; or is one of ours that had no name yet.
    if (char name[8]; looks % 100 == 99 && (read_of(t.tid, "comm", name, sizeof name) == 0 || of_no_consequence(t.tid))) {
      std::uint32_t asked = now_is(kAsked);
      // relaxed, both: it publishes nothing; the handler finds itself not asked.
      __atomic_compare_exchange_n(&t.state, &asked, now_is(kGone), false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
      return nullptr;
    }
    // Not said earlier: a thread blocks all signals for a moment when it begins, and when it ends.
    if (nanotime() > until) {
      return blocks_signal(t.tid) ? "a thread of the program blocks SIGURG" : "a thread does not answer to SIGURG";
    }
    pause(20'000);
  }
}

const char* freeze() noexcept {
  count = 0;
  // release: a handler that sees it finds the table; pairs with freeze_here().
  __atomic_fetch_add(&frozen, 1U, __ATOMIC_RELEASE);
  for (int done = 0;;) {
    const int asked = ask_new_threads();
    if (asked < 0) return "too many threads, or no /proc";
    if (asked == 0) return nullptr;
    for (; done < count; ++done) {
      if (const char* wrong = await(threads[done]); wrong != nullptr) return wrong;
    }
  }
}

// Keeps I1.
bool at_rest(const FrozenThread& t) noexcept {
  // acquire: pairs with the handler's release. One that stood in the handler is left to go on to where it can freeze.
  const std::uint32_t state = __atomic_load_n(&t.state, __ATOMIC_ACQUIRE);
  if (state == now_is(kAsked)) return in_handler(t.tid) == InHandler::kPreempted;
  if (state == now_is(kAnswers)) return false;
  if (state != now_is(kFrozen) || t.sections == 0) return true;
  if (t.m == nullptr || t.sections != 1) return false;
  constexpr auto kRelaxed = std::memory_order_relaxed;  // relaxed, all: it holds still
  return t.m->curg_seen.load(kRelaxed) == nullptr && (t.m->parked_seen.load(kRelaxed) || t.m->helper);
}

bool all_at_rest() noexcept {
  for (const FrozenThread& t : frozen_threads()) {
    if (!at_rest(t)) return false;
  }
  return true;
}

}  // namespace

bool FrozenThread::holds_still() const noexcept {
  return __atomic_load_n(&state, __ATOMIC_ACQUIRE) == now_is(kFrozen);  // acquire: pairs with freeze_here()
}

const char* freeze_at_rest() noexcept {
  if (HEDDLE_TSAN) return "ThreadSanitizer's runtime cannot be stopped just anywhere";  // its locks are ours to wait for, too
  thread_making().lock();
  const std::int64_t until = nanotime() + kRestTime;
  for (std::int64_t wait = 20'000;;) {
    // Nobody else stops the world meanwhile, who could then not start it; and sysmon takes no Ps of threads that we keep.
    while (!world_try_lock()) {
      if (nanotime() > until) {
        thread_making().unlock();
        return "the world was stopped for another reason";
      }
      pause(20'000);
    }
    const char* wrong = freeze();
    if (wrong == nullptr && all_at_rest()) return nullptr;  // the locks are thaw()'s
    if (wrong == nullptr && nanotime() > until) wrong = "the scheduler did not come to rest";
    thaw();
    if (wrong != nullptr) return wrong;
    pause(wait);
    wait = wait < 1'000'000 ? wait + wait / 4 : 50'000;
    thread_making().lock();
  }
}

std::span<const FrozenThread> frozen_threads() noexcept { return {threads, static_cast<std::size_t>(count)}; }

void thaw() noexcept {
  const std::uint32_t asked_of_us = now_is(kAsked);
  const std::uint32_t answers = now_is(kAnswers);
  const std::uint32_t froze = now_is(kFrozen);
  const std::uint32_t given_up = now_is(kGivenUp);
  __atomic_fetch_add(&frozen, 1U, __ATOMIC_RELEASE);  // release: the memory is theirs again
  ::syscall(SYS_futex, &frozen, FUTEX_WAKE_PRIVATE, INT32_MAX, nullptr, nullptr, 0);
  for (int i = 0; i < count; ++i) {
    std::uint32_t asked = asked_of_us;
    // relaxed: nobody has it.
    if (__atomic_compare_exchange_n(&threads[i].state, &asked, given_up, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
      __atomic_fetch_add(&owed, 1, __ATOMIC_RELAXED);  // relaxed: a count
      continue;
    }
    // One that has begun to answer comes to its end: it is a few lines away.
    for (std::uint32_t state = answers; state == answers || state == froze;) {
      state = __atomic_load_n(&threads[i].state, __ATOMIC_ACQUIRE);  // acquire: the thread knows its entry no more
      if (state == answers || state == froze) pause(20'000);
    }
  }
  world_unlock();
  thread_making().unlock();
}

std::mutex& thread_making() noexcept {
  static constinit std::mutex mutex;
  return mutex;
}

namespace {

// Settles a signal that was sent in vain. False: none was.
HEDDLE_UNINSTRUMENTED bool come_late() noexcept {
  int n = __atomic_load_n(&owed, __ATOMIC_RELAXED);  // relaxed, both: a count
  while (n > 0) {
    if (__atomic_compare_exchange_n(&owed, &n, n - 1, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) return true;
  }
  return false;
}

}  // namespace

HEDDLE_UNINSTRUMENTED bool freeze_here(const ucontext_t* context) noexcept {
  // acquire: pairs with freeze().
  const std::uint32_t now = __atomic_load_n(&frozen, __ATOMIC_ACQUIRE);
  if (now % 2 == 0) return come_late();  // or it has nothing to do with us
  const auto tid = static_cast<std::uint32_t>(::syscall(SYS_gettid));
  const int n = __atomic_load_n(&count, __ATOMIC_ACQUIRE);  // acquire: pairs with ask_new_threads()
  for (int i = 0; i < n; ++i) {
    FrozenThread* t = &threads[i];
    if (t->tid != tid) continue;
    // acquire: the table's last tenant is done with the entry; pairs with the releases below. Keeps I6.
    std::uint32_t found = in_freeze(now, kAsked);
    if (!__atomic_compare_exchange_n(&t->state, &found, in_freeze(now, kAnswers), false, __ATOMIC_ACQUIRE,
                                     __ATOMIC_RELAXED)) {
      // This freeze has no use for us: the signal is another's. Else thaw() gave us up meanwhile, and counts on our coming.
      return found != in_freeze(now, kGone) && come_late();
    }
    Registers at;
    read_registers(*context, at);
    t->context = context;
    t->sp = at.sp();
    t->sections = __atomic_load_n(reinterpret_cast<const std::uint32_t*>(&detail::thread_state()->sections), __ATOMIC_RELAXED);
    t->m = detail::thread_state()->m;
    // release: gives the entry to who froze us; pairs with his acquires.
    __atomic_store_n(&t->state, in_freeze(now, kFrozen), __ATOMIC_RELEASE);
    while (__atomic_load_n(&frozen, __ATOMIC_ACQUIRE) == now) {  // acquire: pairs with thaw()
      ::syscall(SYS_futex, &frozen, FUTEX_WAIT_PRIVATE, now, nullptr, nullptr, 0);
    }
    __atomic_store_n(&t->state, in_freeze(now, kGone), __ATOMIC_RELEASE);  // release: our last look at the entry
    return true;
  }
  return false;
}

}  // namespace heddle
