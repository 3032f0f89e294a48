// Threads that are not the scheduler's: how they start goroutines and wait for them.
//
//     std::thread worker([] {
//       if (!heddle::post([] { serve(); })) return;                     // a goroutine, started from outside
//       heddle::Result<int> n = heddle::run_and_wait([] { return count(); });   // … and waited for
//     });
//
//     what                                    on a foreign thread
//     ready(), WaitGroup::done, close,        works: nothing parks
//       try_send, try_recv, send with room
//     post, run_and_wait                      works at any time: an error says that no run() is under way
//     go, spawn                               works during run(), by a thread that is done before the main goroutine ends
//     go_n                                    dies with a message
//     whatever would have to park             dies with a message that names it
//
// A thread becomes a worker only by calling run(): it is worker 0 until run() returns.
//
// I1. run() ends by closing a gate, waits until nobody is in it, and only then takes its Ps apart. A thread is in the
//     gate for the few instructions that put a G on a queue, in a section, so it cannot be held up there.
// I2. Who is in run_and_wait() enters a list in the gate, so with the run() that has the goroutine. Who is still there
//     when run() has stopped its threads is told so: the goroutine has been abandoned, or never ran, and will never
//     touch the caller's frame again.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <expected>
#include <memory>
#include <optional>
#include <source_location>
#include <type_traits>
#include <utility>

#include <heddle/core/error.h>
#include <heddle/core/go.h>
#include <heddle/core/task.h>

namespace heddle {
namespace detail {

/// An unstarted G, as new_g(), for any thread.
G* new_posted_g(const GoOptions& options, std::size_t size, const std::source_location& site, void** place);
/// A thread in run_and_wait().
class ForeignCall {
 public:
  ForeignCall() noexcept = default;
  ~ForeignCall();
  ForeignCall(const ForeignCall&) = delete;
  ForeignCall& operator=(const ForeignCall&) = delete;

  /// In the gate: from here on it counts on this run()'s goroutine.
  void enlist() noexcept;
  /// On the goroutine, when the result is there. The object may be gone when it returns.
  void finish() noexcept;
  /// Blocks the thread. False: run() has ended, and finish() will never be called.
  [[nodiscard]] bool wait() noexcept;
  /// For run()'s end: ends the wait of all that are left.
  static void abandon_all() noexcept;

 private:
  enum State : std::uint32_t { kWaiting, kFinished, kAbandoned };
  void settle(State state) noexcept;

  std::atomic<std::uint32_t> state_{kWaiting};  // a futex word
  // Guarded by the list's lock.
  bool listed_ = false;
  ForeignCall* next_ = nullptr;
  ForeignCall* prev_ = nullptr;
};

/// Makes a posted G runnable, and enlists `call` if there is one. False: no run() takes it; it is the caller's to
/// abandon.
[[nodiscard]] bool start_posted_g(G* g, void (*entry)(void*), ForeignCall* call) noexcept;

/// Dies if a goroutine calls: it would block its thread.
void must_be_foreign() noexcept;

template <class Fn>
bool post_call(const GoOptions& options, Fn&& fn, const std::source_location& site, ForeignCall* call) {
  // Boxed: then nothing can throw once there is a G, and if the G is refused the function goes with its box.
  using F = std::decay_t<Fn>;
  auto box = std::make_unique<Box<F>>(std::forward<Fn>(fn));
  void* place = nullptr;
  G* g = new_posted_g(options, sizeof(box.get()), site, &place);
  *static_cast<Box<F>**>(place) = box.get();
  if (!start_posted_g(g, &boxed_entry<F>, call)) {
    abandon_g(g);
    return false;
  }
  static_cast<void>(box.release());
  return true;
}

}  // namespace detail

/// Starts `fn()` on a new goroutine, from any thread. It is on its own from there: it does not keep run() alive (as
/// with go()), unless the main goroutine has left by goexit().
///
/// Errors:  kClosed if no run() is under way, or it is ending; then `fn` is destroyed, uncalled. A goroutine that was
///          posted as run() came to its end may be left behind like others. std::bad_alloc if no stack can be had. An
///          exception that leaves `fn` is a panic.
/// Threads: any, also goroutines. Costs a lock of the stack arena and one of the global queue, and wakes an idle P.
template <class Fn>
  requires std::is_invocable_v<std::decay_t<Fn>&>
Result<void> post(const GoOptions& options, Fn&& fn,
                  const std::source_location& site = std::source_location::current()) {
  if (detail::post_call(options, std::forward<Fn>(fn), site, nullptr)) return {};
  return std::unexpected(Error{Code::kClosed, 0, "post"});
}

template <class Fn>
  requires std::is_invocable_v<std::decay_t<Fn>&>
Result<void> post(Fn&& fn, const std::source_location& site = std::source_location::current()) {
  return post(GoOptions{}, std::forward<Fn>(fn), site);
}

/// Runs `fn()` on a new goroutine while this thread sleeps, and returns its result.
///
/// Errors:  kClosed if no run() is under way or it ended before `fn` did (then `fn` may have run in part); kCanceled if
///          `fn` called goexit(). Throws what left `fn`, and std::bad_alloc if no stack can be had.
/// Threads: any but the scheduler's own; a goroutine dies with a message (spawn() and join() are for it).
/// Lifetime: `fn` may refer to the caller's frame.
template <class Fn>
  requires std::is_invocable_v<Fn&>
[[nodiscard]] auto run_and_wait(Fn&& fn, const std::source_location& site = std::source_location::current())
    -> Result<std::remove_cv_t<std::invoke_result_t<Fn&>>> {
  using T = std::remove_cv_t<std::invoke_result_t<Fn&>>;
  static_assert(!std::is_reference_v<T>, "the function of run_and_wait() returns a value, a pointer, or nothing");
  detail::must_be_foreign();
  detail::ForeignCall call;
  std::optional<detail::TaskValue<T>> value;
  std::exception_ptr error;
  const auto body = [&] {
    struct Finish {
      detail::ForeignCall& call;
      ~Finish() { call.finish(); }
    } const finish{call};
    try {
      if constexpr (std::is_void_v<T>) {
        fn();
        value.emplace();
      } else {
        value.emplace(fn());
      }
    } catch (...) {
      if (!detail::keep_exception(error)) throw;
    }
  };
  if (!detail::post_call(GoOptions{}, body, site, &call) || !call.wait()) {
    return std::unexpected(Error{Code::kClosed, 0, "run_and_wait"});
  }
  if (error != nullptr) std::rethrow_exception(error);
  if (!value) return std::unexpected(Error{Code::kCanceled, 0, "run_and_wait"});
  if constexpr (std::is_void_v<T>) {
    return {};
  } else {
    return *std::move(value);
  }
}

}  // namespace heddle
