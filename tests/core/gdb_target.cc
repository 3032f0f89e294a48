// A program for gdb to look at: goroutines parked in known functions, one that computes, and a line that says it is ready.
// With an argument it aborts instead of waiting, so that the kernel may write a core.
#include <unistd.h>

#include <atomic>
#include <cstdlib>

#include <heddle/core/chan.h>
#include <heddle/core/run.h>
#include <heddle/core/wait_group.h>

namespace gdb_target {

using namespace heddle;

[[gnu::noinline]] int waits_for_a_value(const Chan<int>& c) {
  volatile int v = c.recv().value_or(0);
  return v;
}
[[gnu::noinline]] int takes_a_detour(const Chan<int>& c) {
  volatile int v = waits_for_a_value(c);
  return v + 1;
}
[[gnu::noinline]] void computes(std::atomic<bool>& started) {
  volatile unsigned x = 3;
  for (;;) {
    x = x * 3 + 1;
    started.store(true, std::memory_order_relaxed);
  }
}

}  // namespace gdb_target

int main(int argc, char**) {
  using namespace gdb_target;
  return heddle::run(
      [argc] {
        auto c = make_chan<int>();
        for (int i = 0; i < 3; ++i) go({.name = "waiter"}, [c] { takes_a_detour(c); });
        for (int i = 0; i < 3; ++i) gosched();
        std::atomic<bool> started{false};
        go({.name = "computer"}, [&] { computes(started); });
        while (!started.load()) gosched();
        [[maybe_unused]] const auto n = ::write(STDOUT_FILENO, "ready\n", 6);
        if (argc > 1) std::abort();
        sleep(std::chrono::hours(1));
      },
      {.procs = 2});
}
