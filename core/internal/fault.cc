// What goes wrong outside our control flow: a stack that overflows, an exception that leaves a goroutine, SIGQUIT.
//
// I1. The SIGSEGV handler runs on the M's signal stack: the goroutine's own has no room. It allocates nothing.
// I2. A fault that is not a guard's goes to whoever handled SIGSEGV before us, or kills the process as it would have.
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cxxabi.h>
#include <exception>
#include <typeinfo>

#include <heddle/core/check.h>
#include <heddle/core/internal/sched.h>

namespace heddle {
namespace {

constexpr std::size_t kSignalStack = std::size_t{64} << 10;
constexpr auto kRelaxed = std::memory_order_relaxed;  // relaxed, all: a report

struct sigaction old_segv;
struct sigaction old_bus;
std::terminate_handler old_terminate;

void say(const char* text, std::size_t n) noexcept { [[maybe_unused]] const auto w = ::write(STDERR_FILENO, text, n); }

void say_creation(const G* g) noexcept {
  char text[512];
  const char* file = g->site_file.load(kRelaxed);
  const int n = std::snprintf(text, sizeof text, "created by goroutine %llu at %s:%u\n",
                              static_cast<unsigned long long>(g->creator.load(kRelaxed)), file == nullptr ? "?" : file,
                              g->site_line.load(kRelaxed));
  if (n > 0) say(text, std::min(static_cast<std::size_t>(n), sizeof text - 1));
}

void on_fault(int sig, siginfo_t* info, void* context) {
  bool in_guard = false;
  const G* g = stack_arena().find(info->si_addr, &in_guard);
  if (g != nullptr && in_guard) {
    char text[256];
    const char* name = g->name.load(kRelaxed);
    const int n = std::snprintf(text, sizeof text,
                                "heddle: goroutine %llu%s%s%s overflowed its stack of %zu KiB\nfatal error: stack overflow\n\n",
                                static_cast<unsigned long long>(g->id.load(kRelaxed)), name == nullptr ? "" : " \"",
                                name == nullptr ? "" : name, name == nullptr ? "" : "\"", slot_bytes(g->stack_class) >> 10);
    if (n > 0) say(text, std::min(static_cast<std::size_t>(n), sizeof text - 1));
    say_creation(g);
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

// An exception left a goroutine (its stack is still whole: see run_entry), or something called std::terminate there.
[[noreturn]] void on_terminate() {
  G* g = current_g();
  if (g == nullptr) {
    if (old_terminate != nullptr) old_terminate();
    std::abort();
  }
  char text[1024];
  int n = 0;
  if (const std::type_info* type = abi::__cxa_current_exception_type(); type != nullptr) {
    const char* what = "";
    try {
      throw;
    } catch (const std::exception& e) {
      what = e.what();
    } catch (const char* s) {
      what = s;
    } catch (...) {  // no text to be had: the type must do
    }
    int status = 0;
    char* name = abi::__cxa_demangle(type->name(), nullptr, nullptr, &status);
    const char* type_name = status == 0 ? name : type->name();
    // heddle's own panics print like Go's; others say their type.
    if (std::strcmp(type_name, "heddle::Panic") == 0) {
      n = std::snprintf(text, sizeof text, "panic: %s\n\n", what);
    } else {
      n = std::snprintf(text, sizeof text, "panic: %s%s%s\n\n", type_name, *what != '\0' ? ": " : "", what);
    }
  } else {
    n = std::snprintf(text, sizeof text, "panic: std::terminate called\n\n");
  }
  say(text, std::min(static_cast<std::size_t>(n), sizeof text - 1));
  const char* name = g->name.load(kRelaxed);
  n = std::snprintf(text, sizeof text, "goroutine %llu [running]%s%s%s:\n",
                    static_cast<unsigned long long>(g->id.load(kRelaxed)), name == nullptr ? "" : " \"",
                    name == nullptr ? "" : name, name == nullptr ? "" : "\"");
  say(text, std::min(static_cast<std::size_t>(n), sizeof text - 1));
  say_creation(g);
  ::_exit(2);
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
    return true;
  }();
  static_cast<void>(once);
}

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
