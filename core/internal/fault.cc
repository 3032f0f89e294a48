// What goes wrong outside our control flow: a stack that overflows, an exception that leaves a goroutine, SIGQUIT.
//
// I1. The SIGSEGV handler runs on the M's signal stack: the goroutine's own has no room. It allocates nothing.
// I2. A fault that is not a guard's goes to whoever handled SIGSEGV before us, or kills the process as it would have.
// I3. Names for a stack's frames need malloc and files, and the thread that fails may hold malloc's lock. So another thread
//     makes that part of the report, while the one that fails waits with its stack intact, for a limited time; when that has
//     passed it prints the addresses itself, by frame pointers.
// I4. The first failure is reported; a goroutine that fails meanwhile waits for the end, which is near.
// I5. A panic that nobody recovered comes here unwound, since its deferred calls had to run first: its stack was copied
//     when it was thrown (panics.h). Other failures are read from the stack itself.
#include <dlfcn.h>
#include <signal.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string>

#include <heddle/core/check.h>
#include <heddle/core/internal/bubble.h>
#include <heddle/core/internal/panics.h>
#include <heddle/core/internal/report.h>
#include <heddle/core/internal/sched.h>
#include <heddle/core/internal/signals.h>
#include <heddle/core/panic.h>
#include <heddle/core/traceback.h>

namespace heddle {
namespace {

constexpr std::size_t kSignalStack = std::size_t{64} << 10;
constexpr auto kRelaxed = std::memory_order_relaxed;  // relaxed, all: a report

struct sigaction old_segv;
struct sigaction old_bus;
std::terminate_handler old_terminate;

void say(const char* text, std::size_t n) noexcept { [[maybe_unused]] const auto w = ::write(STDERR_FILENO, text, n); }

std::size_t creation_text(const G* g, char* text, std::size_t size) noexcept {
  const char* file = g->site_file.load(kRelaxed);
  const int n = std::snprintf(text, size, "created by goroutine %llu at %s:%u\n",
                              static_cast<unsigned long long>(g->creator.load(kRelaxed)), file == nullptr ? "?" : file,
                              g->site_line.load(kRelaxed));
  return n > 0 ? std::min(static_cast<std::size_t>(n), size - 1) : 0;
}

void say_creation(const G* g) noexcept {
  char text[512];
  say(text, creation_text(g, text, sizeof text));
}

// A goroutine that fails, and what is to be told of it.
//
//     kAsked --thread--> kPrinting --thread--> kPrinted          kAsked --who waits, out of patience--> kGivenUp
enum Telling : int { kAsked, kPrinting, kPrinted, kGivenUp };

struct Failure {
  const G* g;
  Registers registers;
  const StackImage* image;  // where it failed, if its stack is no longer there
  TracebackLevel level;
  std::atomic<int> telling;
};

constexpr std::int64_t kPatience = 5'000;  // ms
constexpr std::size_t kOverflowEnds = 20;  // frames from each end of an overflowed stack

constinit Failure failure{};
constinit std::atomic<bool> failing{false};

// The first to come goes on (I4).
void claim_failure() noexcept {
  // acq_rel: one at a time; the release is for dying_of_panic().
  if (!failing.exchange(true, std::memory_order_acq_rel)) return;
  for (;;) ::pause();
}

// A word of the stack to be shown: of the copy if there is one, else in place, for then it is ours and holds still.
bool stack_word(std::uintptr_t address, std::uintptr_t& out) noexcept {
  if (failure.image != nullptr) return failure.image->word(address, out);
  const auto lo = reinterpret_cast<std::uintptr_t>(failure.g->stack_lo);
  const auto hi = reinterpret_cast<std::uintptr_t>(failure.g->stack_hi);
  if (address < lo || address + sizeof out > hi) return false;
  out = *reinterpret_cast<const std::uintptr_t*>(address);
  return true;
}

// By frame pointers and the dynamic linker's tables.
void say_raw_frames() noexcept {
  std::uintptr_t pc = failure.registers.pc();
  std::uintptr_t fp = failure.registers.fp();
  for (std::size_t i = 0; i < kOverflowEnds && pc != 0; ++i) {
    Dl_info info{};
    const bool known = ::dladdr(reinterpret_cast<void*>(pc), &info) != 0 && info.dli_fname != nullptr;
    const auto base = known ? reinterpret_cast<std::uintptr_t>(info.dli_fbase) : 0;
    char text[512];
    const int n = std::snprintf(text, sizeof text, "%s\n\t%s +0x%zx\n",
                                known && info.dli_sname != nullptr ? info.dli_sname : "?", known ? info.dli_fname : "?",
                                static_cast<std::size_t>(pc - base));
    if (n > 0) say(text, std::min(static_cast<std::size_t>(n), sizeof text - 1));
    std::uintptr_t caller_fp = 0;
    if (fp % 8 != 0 || !stack_word(fp, caller_fp) || !stack_word(fp + 8, pc)) return;
    if (caller_fp <= fp && caller_fp != 0) return;
    fp = caller_fp;
  }
}

// Waits for the thread to print; prints what it can itself if that takes too long (I3). Async-signal-safe but for dladdr.
void await_telling() noexcept {
  const auto told = [] { return failure.telling.load(std::memory_order_acquire); };  // acquire: its output is out
  for (std::int64_t ms = 0; ms < kPatience && told() != kPrinted; ++ms) {
    const timespec pause{0, 1'000'000};
    ::nanosleep(&pause, nullptr);
  }
  int asked = kAsked;
  // A thread that prints already gets as long once more, and then this process ends with what is out.
  if (failure.telling.compare_exchange_strong(asked, kGivenUp)) {
    say_raw_frames();
    say_creation(failure.g);
    return;
  }
  for (std::int64_t ms = 0; ms < kPatience && told() != kPrinted; ++ms) {
    const timespec pause{0, 1'000'000};
    ::nanosleep(&pause, nullptr);
  }
}

void finish_telling(const std::string& text) noexcept {
  int asked = kAsked;
  if (!failure.telling.compare_exchange_strong(asked, kPrinting)) return;
  print_report(text);
}

void tell_overflow(void*) {
  StackImage image;
  std::string text;
  if (failure.level != TracebackLevel::kNone && copy_from(*failure.g, failure.registers, image)) {
    text = report_frames(image, failure.level == TracebackLevel::kSystem, kOverflowEnds);
  }
  char creation[512];
  creation_text(failure.g, creation, sizeof creation);
  finish_telling(text + creation);
  failure.telling.store(kPrinted, std::memory_order_release);  // release: pairs with await_telling()
}

void tell_panic(void*) {
  const bool system = failure.level == TracebackLevel::kSystem;
  StackImage copy;
  const StackImage* image = failure.image;
  if (image == nullptr && copy_from(*failure.g, failure.registers, copy)) image = &copy;
  finish_telling(report_one(*failure.g, image, system));
  if (failure.level == TracebackLevel::kAll || system) {
    print_report("\n" + report_all({.stacks = true, .runtime_frames = system}, nullptr, failure.g));
  }
  failure.telling.store(kPrinted, std::memory_order_release);  // release: pairs with await_telling()
}

void on_fault(int sig, siginfo_t* info, void* context) {
  bool in_guard = false;
  const G* g = stack_arena().find(info->si_addr, &in_guard);
  if (g != nullptr && in_guard) {
    claim_failure();
    char text[256];
    const char* name = g->name.load(kRelaxed);
    const int n = std::snprintf(text, sizeof text,
                                "heddle: goroutine %llu%s%s%s overflowed its stack of %zu KiB\nfatal error: stack overflow\n\n",
                                static_cast<unsigned long long>(g->id.load(kRelaxed)), name == nullptr ? "" : " \"",
                                name == nullptr ? "" : name, name == nullptr ? "" : "\"", slot_bytes(g->stack_class) >> 10);
    if (n > 0) say(text, std::min(static_cast<std::size_t>(n), sizeof text - 1));
    failure.g = g;
    failure.level = traceback_level();
    read_registers(*static_cast<const ucontext_t*>(context), failure.registers);
    failure.telling.store(kAsked, std::memory_order_release);  // release: published before sysmon hears of it
    sysmon_request_overflow_report();
    await_telling();
    ::_exit(2);
  }
  // Not ours: as if we were not there (I2).
  const struct sigaction& old = sig == SIGBUS ? old_bus : old_segv;
  if ((old.sa_flags & SA_SIGINFO) != 0 && old.sa_sigaction != nullptr) {
    old.sa_sigaction(sig, info, context);
    return;
  }
  if (old.sa_handler != SIG_DFL && old.sa_handler != SIG_IGN) {
    old.sa_handler(sig);
    return;
  }
  ::signal(sig, SIG_DFL);  // the faulting instruction runs again and ends the process
}

void on_quit(int) {
  const int saved = errno;
  if (sched.running.load(kRelaxed)) sysmon_request_dump();
  errno = saved;
}

// Prints the message and the goroutine's stack, `image` if it is given, and ends the process.
[[noreturn]] void report_and_exit(const G* g, const std::string& message, const StackImage* image) noexcept {
  claim_failure();
  say(message.data(), message.size());
  say("\n", 1);
  tell_test_seed();
  failure.g = g;
  failure.level = traceback_level();
  if (failure.level == TracebackLevel::kNone) ::_exit(2);
  if (image != nullptr) {
    failure.image = image;
    failure.registers = image->registers;
  } else {
    read_registers_here(failure.registers);
  }
  failure.telling.store(kAsked, std::memory_order_release);  // release: pairs with the start of the thread
  if (start_report_thread(tell_panic, nullptr)) {
    await_telling();
  } else {
    say_raw_frames();
    say_creation(g);
  }
  ::_exit(2);
}

// Something called std::terminate on a goroutine: the C++ runtime, because an exception came to a function that lets
// none through, or out of a destructor in the midst of unwinding; or the program itself.
[[noreturn]] void on_terminate() {
  G* g = current_g();
  if (g == nullptr) {
    if (old_terminate != nullptr) old_terminate();
    std::abort();
  }
  std::string message = "panic: std::terminate called\n";
  if (const std::exception_ptr thrown = std::current_exception(); thrown != nullptr) {
    message = "panic: " + PanicValue(thrown).text() + "\n";
  }
  report_and_exit(g, message, nullptr);
}

}  // namespace

void install_signal_handlers() {
  static const bool once = [] {
    struct sigaction fault {};
    fault.sa_sigaction = on_fault;
    fault.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&fault.sa_mask);
    ::sigaction(SIGSEGV, &fault, &old_segv);
    ::sigaction(SIGBUS, &fault, &old_bus);
    // A program that handles SIGQUIT itself keeps its handler.
    struct sigaction quit {};
    ::sigaction(SIGQUIT, nullptr, &quit);
    if ((quit.sa_flags & SA_SIGINFO) == 0 && quit.sa_handler == SIG_DFL) {
      quit.sa_handler = on_quit;
      quit.sa_flags = SA_RESTART | SA_ONSTACK;
      sigemptyset(&quit.sa_mask);
      ::sigaction(SIGQUIT, &quit, nullptr);
    }
    install_runtime_signal();
    return true;
  }();
  static_cast<void>(once);
}

void start_overflow_report() noexcept { static_cast<void>(start_report_thread(tell_overflow, nullptr)); }

void die_of_panic(const detail::PanicNote& note) noexcept {
  report_and_exit(must_current_g("panic"), detail::panic_lines(note), note.has_image ? &note.image : nullptr);
}

// acquire: pairs with claim_failure().
bool dying_of_panic() noexcept { return failing.load(std::memory_order_acquire); }

void install_terminate_handler() {
  if (std::get_terminate() == &on_terminate) return;
  old_terminate = std::set_terminate(&on_terminate);
}

void* make_signal_stack() {
  stack_t now{};
  // A sanitizer, or the user, may have given this thread one; theirs will do.
  if (::sigaltstack(nullptr, &now) == 0 && (now.ss_flags & SS_DISABLE) == 0) return nullptr;
  void* mem = ::mmap(nullptr, kSignalStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mem == MAP_FAILED) return nullptr;  // overflows then end in a plain SIGSEGV
  stack_t ss{};
  ss.ss_sp = mem;
  ss.ss_size = kSignalStack;
  ::sigaltstack(&ss, nullptr);
  return mem;
}

void drop_signal_stack(void* stack) noexcept {
  if (stack == nullptr) return;
  stack_t off{};
  off.ss_flags = SS_DISABLE;
  ::sigaltstack(&off, nullptr);
  ::munmap(stack, kSignalStack);
}

}  // namespace heddle
