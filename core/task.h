// spawn and Task: a goroutine with a result.
//
//     heddle::Task<Page> page = heddle::spawn([url] { return fetch(url); });
//     …
//     show(page.join());                                  // parks until it is there; throws what fetch threw
//
// The goroutine and the handle share one heap object, which holds the result:
//
//     state:   | waiters: 30 bits | somebody wants the channel: 1 | finished: 1 |
//
//     goroutine:   stores the result; sets `finished`; wakes the waiters it saw, closes the channel if one was wanted
//     handle:      finished? takes the result. Else counts itself as a waiter, by the same word, and parks
//
// I1. `finished`, the waiters and the wish for a channel are one word: so the goroutine sees every waiter and wish that
//     came before, and who comes after sees `finished`.
// I2. The result is written before `finished` (release) and read after it (acquire); then by the one handle alone.
// I3. An exception that leaves the function is the result, not a crash, as long as somebody can still join. Whoever of
//     handle and goroutine leaves last with an exception that nobody took makes it a panic: errors do not get lost.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <expected>
#include <optional>
#include <source_location>
#include <type_traits>
#include <utility>
#include <variant>

#include <heddle/core/chan.h>
#include <heddle/core/clock.h>
#include <heddle/core/error.h>
#include <heddle/core/go.h>
#include <heddle/core/lock.h>
#include <heddle/core/select.h>
#include <heddle/core/sema.h>

namespace heddle {

class Context;

namespace detail {

/// In a handler: stores the exception and returns true; false if it is goexit's, which must go on.
[[nodiscard]] bool keep_exception(std::exception_ptr& out) noexcept;

/// Dies: `op` was called on a Task without a goroutine.
[[noreturn]] void no_task(const char* op) noexcept;

/// What a goroutine and its Task share, but for the value.
class TaskCore {
 public:
  explicit TaskCore(void (*destroy)(TaskCore*) noexcept) noexcept : destroy_(destroy) {}
  TaskCore(const TaskCore&) = delete;
  TaskCore& operator=(const TaskCore&) = delete;

  // --- the goroutine's side ---
  void finish() noexcept;

  // --- the handle's side ---
  // acquire: the result; pairs with finish().
  [[nodiscard]] bool finished() const noexcept { return (state_.load(std::memory_order_acquire) & kFinished) != 0; }
  void wait() {
    if (!finished()) wait_slow();
  }
  [[nodiscard]] bool wait_for(Duration d);
  [[nodiscard]] Result<void> wait(const Context& ctx);
  [[nodiscard]] RecvChan<std::monostate> channel();
  /// After finish(), if there is no value: throws what the function threw, or Panic if it ended by goexit.
  [[noreturn]] void rethrow();

  // --- both ---
  /// Gives a reference back. The last one raises the panic of I3, or frees.
  void release() noexcept;

  std::exception_ptr error;  // guarded by I2

 private:
  static constexpr std::uint32_t kFinished = 1;
  static constexpr std::uint32_t kWantsChannel = 2;
  static constexpr std::uint32_t kWaiter = 4;  // one of them

  void wait_slow();

  std::atomic<std::uint32_t> state_{0};
  std::atomic<std::uint32_t> refs_{2};
  Sema sema_;
  RawMutex lock_{LockRank::kSync};
  Chan<std::monostate> channel_;  // guarded by lock_ until it is set; then constant
  void (*const destroy_)(TaskCore*) noexcept;
};

template <class T>
using TaskValue = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

template <class T>
struct TaskState : TaskCore {
  TaskState() noexcept : TaskCore([](TaskCore* core) noexcept { delete static_cast<TaskState*>(core); }) {}
  std::optional<TaskValue<T>> value;
};

/// One side's reference. The goroutine's also says that it has finished.
template <class T>
struct TaskEnd {
  TaskState<T>* state;  // null: moved from
  explicit TaskEnd(TaskState<T>* s) noexcept : state(s) {}
  TaskEnd(TaskEnd&& other) noexcept : state(std::exchange(other.state, nullptr)) {}
  ~TaskEnd() {
    if (state == nullptr) return;
    state->finish();
    state->release();
  }
};

/// The goroutine of a Task. In this order the function dies before `finished`: what it owns is gone when join() returns.
template <class T, class F>
struct TaskBody {
  TaskEnd<T> end;
  F fn;
  void operator()() {
    try {
      if constexpr (std::is_void_v<T>) {
        fn();
        end.state->value.emplace();
      } else {
        end.state->value.emplace(fn());
      }
    } catch (...) {
      if (!keep_exception(end.state->error)) throw;
    }
  }
};

}  // namespace detail

/// The handle of a goroutine that spawn() started; T is what its function returns, or void.
///
/// It is joined once. A Task that goes without having been joined leaves its goroutine running, and the result is
/// dropped; but an exception that nobody can take any more is a panic, as in a goroutine started by go(): it prints the
/// goroutine that dropped the last reference, and ends the process with status 2. A goroutine that ends by goexit() has
/// no result: join() throws Panic.
/// Memory:   what the goroutine did is seen by whoever join(), wait() or done() told that it has ended.
/// Threads:  one goroutine at a time, but for done(), wait() and on_done(), which any number may use while the handle
///           stays. What parks needs a goroutine; a foreign thread uses run_and_wait() (foreign.h).
/// Lifetime: one allocation, freed when both sides are done. A goroutine abandoned by run() never frees its part.
template <class T>
class [[nodiscard]] Task {
  static_assert(!std::is_reference_v<T>, "the function of spawn() returns a value, a pointer, or nothing");

 public:
  using value_type = T;

  /// A handle of no goroutine.
  constexpr Task() noexcept = default;
  Task(Task&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  Task& operator=(Task&& other) noexcept {
    Task(std::move(other)).swap(*this);
    return *this;
  }
  ~Task() {
    if (state_ != nullptr) state_->release();
  }
  void swap(Task& other) noexcept { std::swap(state_, other.state_); }

  /// False for a handle of no goroutine: never had one, joined, or moved from. All calls below but done() want true,
  /// and die with a message else.
  [[nodiscard]] bool valid() const noexcept { return state_ != nullptr; }

  /// Parks until the goroutine has ended, and returns its result; the handle is then empty.
  ///
  /// Errors:  throws the exception that left the function; Panic if it called goexit().
  T join() {
    must_have("join").wait();
    return take();
  }

  /// As join(), but parks for `d` at most. On a timeout the handle stays as it was.
  ///
  /// Errors:  kTimeout. Throws as join().
  [[nodiscard]] Result<T> join_for(Duration d) {
    if (!must_have("join_for").wait_for(d)) return std::unexpected(Error{Code::kTimeout, 0, "Task::join_for"});
    if constexpr (std::is_void_v<T>) {
      take();
      return {};
    } else {
      return take();
    }
  }

  /// The same until a point of time.
  [[nodiscard]] Result<T> join_until(TimePoint deadline) {
    return join_for(deadline == kNoDeadline ? Duration::max() : Duration(deadline - now()));
  }

  /// As join(), unless `ctx` is done first. Then the handle stays as it was, and the goroutine goes on.
  ///
  /// Errors:  ctx.err()'s code, "task join"; if it is done already nothing is looked at. Throws as join().
  [[nodiscard]] Result<T> join(const Context& ctx) {
    if (Result<void> ended = must_have("join").wait(ctx); !ended) return std::unexpected(ended.error());
    if constexpr (std::is_void_v<T>) {
      take();
      return {};
    } else {
      return take();
    }
  }

  /// Parks until the goroutine has ended. The result stays for join().
  void wait() const { must_have("wait").wait(); }

  /// The same, unless `ctx` is done first. Errors: as join(ctx), but throws nothing.
  [[nodiscard]] Result<void> wait(const Context& ctx) const { return must_have("wait").wait(ctx); }

  /// True if the goroutine has ended; false for an empty handle.
  [[nodiscard]] bool done() const noexcept { return state_ != nullptr && state_->finished(); }

  /// A channel that is closed when the goroutine has ended; made when first asked for (an allocation).
  [[nodiscard]] RecvChan<std::monostate> done_channel() const { return must_have("done_channel").channel(); }

 private:
  template <class Fn>
  friend auto spawn(const GoOptions& options, Fn&& fn, const std::source_location& site);
  explicit Task(detail::TaskState<T>* adopted) noexcept : state_(adopted) {}

  detail::TaskState<T>& must_have(const char* op) const noexcept {
    if (state_ == nullptr) detail::no_task(op);
    return *state_;
  }

  // The goroutine has ended.
  T take() {
    const Task self(std::move(*this));  // the handle is empty also if this throws
    if (!self.state_->value) self.state_->rethrow();
    if constexpr (!std::is_void_v<T>) return *std::move(self.state_->value);
  }

  detail::TaskState<T>* state_ = nullptr;
};

/// Starts `fn()` on a new goroutine and returns the handle of its result.
///
/// Errors:  as go(); then nothing is started. An exception that leaves `fn` is what join() throws.
/// Threads: as go().
template <class Fn>
[[nodiscard]] auto spawn(const GoOptions& options, Fn&& fn,
                         const std::source_location& site = std::source_location::current()) {
  using F = std::decay_t<Fn>;
  using T = std::remove_cv_t<std::invoke_result_t<F&>>;
  auto* state = new detail::TaskState<T>;
  Task<T> task(state);
  detail::TaskEnd<T> end(state);
  go(options, detail::TaskBody<T, F>{std::move(end), std::forward<Fn>(fn)}, site);
  return task;
}

template <class Fn>
  requires std::is_invocable_v<std::decay_t<Fn>&>
[[nodiscard]] auto spawn(Fn&& fn, const std::source_location& site = std::source_location::current()) {
  return spawn(GoOptions{}, std::forward<Fn>(fn), site);
}

/// For select: the case "the goroutine of `task` has ended". `fn` takes nothing; join() then returns at once.
///
/// Lifetime: `task` must outlive the select.
template <class T, class Fn>
[[nodiscard]] auto on_done(const Task<T>& task, Fn&& fn) {
  return on_recv(task.done_channel(), std::forward<Fn>(fn));
}

}  // namespace heddle
