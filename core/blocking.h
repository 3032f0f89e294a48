// Calls that block the thread: a library's query, a compression, getaddrinfo(3), flock(2).
//
// Nothing breaks if such a call is made as it is: after a millisecond or two its P is taken and given to another thread. But
// these say it beforehand, which costs less and delays nobody:
//
//     blocking(fn)                     hops to a helper thread and back: for what may take long (more than some 50 us)
//     enter_syscall(), exit_syscall()  two stores if it is short after all: for what usually takes a few us and may take long
#pragma once

#include <type_traits>
#include <utility>

namespace heddle {

namespace detail {
void enter_blocking();
void exit_blocking();
struct BlockingScope {
  BlockingScope() { enter_blocking(); }
  ~BlockingScope() { exit_blocking(); }
  BlockingScope(const BlockingScope&) = delete;
  BlockingScope& operator=(const BlockingScope&) = delete;
};
}  // namespace detail

/// Runs `fn()` on a helper thread, where it may block or compute as long as it likes, and returns what it returns. Other
/// goroutines run meanwhile. thread_locals are the helper's while `fn` runs.
///
/// At most set_max_blocking() calls run at once (512); others wait their turn. A helper without work ends after ten seconds.
/// Off goroutines it just calls `fn`; a goroutine that is locked to a thread runs it there.
/// Errors:  what `fn` throws. Threads: any.
template <class F>
auto blocking(F&& fn) -> std::invoke_result_t<F&> {
  const detail::BlockingScope scope;
  return fn();
}

/// How many blocking() calls may run at once; at least 1. Threads: any; counts for calls that start afterwards.
void set_max_blocking(int n) noexcept;

/// The goroutine is about to make a call that may block; its P may be given to another thread while it does. Between the two
/// nothing of heddle may be called. Threads: goroutines; elsewhere they do nothing.
void enter_syscall() noexcept;
/// The call is over. If the P has been given away, waits for one.
void exit_syscall();

/// The pair, for a scope.
struct SyscallScope {
  SyscallScope() noexcept { enter_syscall(); }
  ~SyscallScope() { exit_syscall(); }
  SyscallScope(const SyscallScope&) = delete;
  SyscallScope& operator=(const SyscallScope&) = delete;
};

/// Wires the calling goroutine to one thread until unlock_os_thread() was called as often: no other thread runs it, and that
/// thread runs no other goroutine. The thread may be another than the one it ran on until now. For libraries that keep state
/// per thread. A goroutine that ends locked gives the thread back. Threads: goroutines.
void lock_os_thread();
void unlock_os_thread();

/// For long loops that call nothing of heddle: lets others run if this goroutine has used up its slice. Costs a load.
/// Without it the goroutine is preempted by a signal all the same. Threads: any.
void yield_check();

}  // namespace heddle
